-- Overlap and admission by indexes alone; request ids by caller and call.

ALTER TABLE batch_executions ADD COLUMN overlap_policy TEXT CHECK (overlap_policy IN
  ('SKIP', 'BUFFER_ONE', 'BUFFER_ALL', 'CANCEL_OTHER', 'ALLOW_ALL'));
UPDATE batch_executions SET overlap_policy = json_extract(spec, '$.overlap.policy') WHERE overlap_key IS NOT NULL;

-- With all that is asked of a batch that waits, so that no row is read of one that has to wait on.
CREATE INDEX batch_executions_queued ON batch_executions
  (priority DESC, seq, not_before_at, overlap_key, overlap_policy, started_at) WHERE status = 'QUEUED';
CREATE INDEX batch_executions_slots ON batch_executions (seq) WHERE status IN ('RUNNING', 'PAUSING', 'STOPPING');

-- principal: who called; '' as long as there are no credentials.
CREATE TABLE requests_new (
  principal         TEXT    NOT NULL,
  rpc               TEXT    NOT NULL,
  request_id        TEXT    NOT NULL,
  request_sha256    BLOB    NOT NULL,
  batch_name        TEXT    NOT NULL,
  expires_at        INTEGER NOT NULL,
  PRIMARY KEY (principal, rpc, request_id)
) WITHOUT ROWID;
INSERT INTO requests_new (principal, rpc, request_id, request_sha256, batch_name, expires_at)
SELECT '', CASE b.kind WHEN 'REDECODE' THEN 'Redecode' ELSE 'StartBatch' END, r.request_id, r.request_sha256,
  r.batch_name, r.expires_at
FROM requests r LEFT JOIN batch_executions b ON b.name = r.batch_name;
DROP TABLE requests;
ALTER TABLE requests_new RENAME TO requests;

DROP VIEW batch_progress;
CREATE VIEW batch_progress AS
SELECT
  seq, name, display_name, batch_type, kind, status, pause_cause, pause_reason, end_reason,
  total_count, expanded = 0 AS total_is_partial, processed_count,
  successful_count, failed_count, skipped_count, canceled_count,
  total_count - processed_count AS open_count,
  CASE
    WHEN status = 'COMPLETED' THEN 100.0
    WHEN total_count = 0 THEN 0.0
    ELSE min(((processed_count - canceled_count) * 10000 / total_count) / 100.0, 99.99)
  END AS percentage,
  records_count, requests_count, retried_attempts, revision,
  strftime('%Y-%m-%dT%H:%M:%fZ', as_of_at / 1000.0, 'unixepoch') AS as_of,
  zone,
  overlap_key, priority,
  strftime('%Y-%m-%dT%H:%M:%fZ', not_before_at / 1000.0, 'unixepoch') AS not_before,
  strftime('%Y-%m-%dT%H:%M:%fZ', created_at / 1000.0, 'unixepoch') AS create_time,
  strftime('%Y-%m-%dT%H:%M:%fZ', started_at / 1000.0, 'unixepoch') AS start_time,
  strftime('%Y-%m-%dT%H:%M:%fZ', ended_at / 1000.0, 'unixepoch') AS end_time
FROM batch_executions;
