-- What readers ask for: batches in other orders than by number, and when an item was canceled.

CREATE INDEX batch_executions_created ON batch_executions (created_at, seq);
CREATE INDEX batch_executions_ended ON batch_executions (coalesce(ended_at, 0), seq);
CREATE INDEX batch_executions_as_of ON batch_executions (as_of_at, seq);

-- What a store keeps of itself. token_key: 32 random bytes that page tokens and cursors are sealed with.
CREATE TABLE settings (
  name              TEXT    NOT NULL PRIMARY KEY,
  value             BLOB    NOT NULL
) WITHOUT ROWID;

-- What an item's row tells of its last attempt.
ALTER TABLE batch_execution_details ADD COLUMN last_attempt_end_at INTEGER;
ALTER TABLE batch_execution_details ADD COLUMN bytes_received INTEGER;

ALTER TABLE batch_slices ADD COLUMN canceled_at INTEGER;
UPDATE batch_slices SET canceled_at = (
  SELECT coalesce(b.ended_at, b.state_since_at) FROM batch_executions b WHERE b.seq = batch_slices.batch_seq
) WHERE status = 'CANCELED';

-- The order in which the items of a batch became final: runs of one transaction each, numbered from 1 without gaps.
-- items: their indexes as a JSON array, in order. slice_no: instead, a slice that was canceled; its items are those that
-- are PENDING, by index.
CREATE TABLE item_results (
  batch_seq         INTEGER NOT NULL,
  first_no          INTEGER NOT NULL,
  item_count        INTEGER NOT NULL CHECK (item_count > 0),
  slice_no          INTEGER,
  items             TEXT,
  PRIMARY KEY (batch_seq, first_no),
  CHECK ((slice_no IS NULL) <> (items IS NULL))
) WITHOUT ROWID;

-- Of items that are final already the time is known, and the order within it is not: by index.
WITH past AS (
  SELECT batch_seq, item_index, row_number() OVER (PARTITION BY batch_seq ORDER BY updated_at, item_index) - 1 AS n
  FROM batch_execution_details WHERE status <> 'PENDING'
)
INSERT INTO item_results (batch_seq, first_no, item_count, items)
SELECT batch_seq, n / 100 * 100 + 1, count(*), json_group_array(item_index ORDER BY n) FROM past GROUP BY batch_seq, n / 100;

INSERT INTO item_results (batch_seq, first_no, item_count, slice_no)
SELECT s.batch_seq,
  (SELECT count(*) FROM batch_execution_details d WHERE d.batch_seq = s.batch_seq AND d.status <> 'PENDING')
    + sum(s.open_count) OVER (PARTITION BY s.batch_seq ORDER BY s.slice_no) - s.open_count + 1,
  s.open_count, s.slice_no
FROM batch_slices s WHERE s.status = 'CANCELED';
