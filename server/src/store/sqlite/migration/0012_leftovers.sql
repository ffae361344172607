-- Chunks of a batch that has left OPEN go a little at a time, so that the seal of many does not wait for them.
-- has_stale_chunks: 1 until they are gone.

ALTER TABLE batch_executions ADD COLUMN has_stale_chunks INTEGER NOT NULL DEFAULT 0;

CREATE INDEX batch_executions_stale_chunks ON batch_executions (seq) WHERE has_stale_chunks = 1;
-- Whether an upload has sealed its batch is asked while they are there.
CREATE INDEX upload_chunks_sealed ON upload_chunks (batch_seq, upload_id) WHERE sealed = 1;

-- What a child that decoded its parent's bodies wrote is the parent's, also when the child is gone: redecoded_seq is that
-- parent, and as long as there is one the row stays.
ALTER TABLE purged_batches ADD COLUMN redecoded_seq INTEGER;

CREATE INDEX purged_batches_redecoded ON purged_batches (redecoded_seq) WHERE redecoded_seq IS NOT NULL;
