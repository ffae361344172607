-- What readers ask for: batches in other orders than by number, and when an item was canceled.

CREATE INDEX batch_executions_created ON batch_executions (created_at, seq);
CREATE INDEX batch_executions_ended ON batch_executions (coalesce(ended_at, 0), seq);
CREATE INDEX batch_executions_as_of ON batch_executions (as_of_at, seq);

-- What a store keeps of itself. token_key: 32 random bytes that page tokens and cursors are sealed with.
CREATE TABLE settings (
  name              TEXT    NOT NULL PRIMARY KEY,
  value             BLOB    NOT NULL
) WITHOUT ROWID;

ALTER TABLE batch_slices ADD COLUMN canceled_at INTEGER;
UPDATE batch_slices SET canceled_at = (
  SELECT coalesce(b.ended_at, b.state_since_at) FROM batch_executions b WHERE b.seq = batch_slices.batch_seq
) WHERE status = 'CANCELED';
