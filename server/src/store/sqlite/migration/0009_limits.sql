-- What the limits of items and of lost leases need. first_active_ms: the batch's time in RUNNING at the start of the
-- item's first attempt, of items that came back. lost_in_row: leases lost since an item of the slice was last recorded.

ALTER TABLE batch_execution_details ADD COLUMN first_active_ms INTEGER;
ALTER TABLE batch_slices ADD COLUMN lost_in_row INTEGER NOT NULL DEFAULT 0;

CREATE INDEX batch_slices_lost ON batch_slices (batch_seq, slice_no) WHERE lost_in_row >= 5;
