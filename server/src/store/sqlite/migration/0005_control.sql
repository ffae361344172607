-- What control needs of a batch beside its spec. deadline_at: when it is given up, by OPEN_TTL while OPEN, by
-- MAX_DURATION once it has run. purge_at: when it goes, with its items and bodies; set at the end.

ALTER TABLE batch_executions ADD COLUMN overlap_key TEXT;
ALTER TABLE batch_executions ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
ALTER TABLE batch_executions ADD COLUMN not_before_at INTEGER;
ALTER TABLE batch_executions ADD COLUMN deadline_at INTEGER;
ALTER TABLE batch_executions ADD COLUMN drain_mode TEXT CHECK (drain_mode IN ('FINISH', 'ABORT'));
ALTER TABLE batch_executions ADD COLUMN purge_at INTEGER;

UPDATE batch_executions SET purge_at = ended_at + 2592000000 WHERE ended_at IS NOT NULL;

CREATE INDEX batch_executions_overlap ON batch_executions (overlap_key, seq)
  WHERE overlap_key IS NOT NULL AND status NOT IN ('COMPLETED', 'FAILED', 'STOPPED');
CREATE INDEX batch_executions_deadline ON batch_executions (deadline_at)
  WHERE deadline_at IS NOT NULL AND status NOT IN ('COMPLETED', 'FAILED', 'STOPPED');
CREATE INDEX batch_executions_purge ON batch_executions (purge_at) WHERE purge_at IS NOT NULL;
