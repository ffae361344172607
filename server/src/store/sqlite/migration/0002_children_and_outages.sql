-- Children of a batch, pauses by an outage, and the breaker of an upstream. A CHECK cannot be changed in place, so the
-- table of batches is made anew, with every word of the contract allowed at once; its views go and come back with it.

DROP VIEW batch_progress;
DROP VIEW batch_items;

CREATE TABLE batch_executions_new (
  seq               INTEGER PRIMARY KEY AUTOINCREMENT,
  name              TEXT    NOT NULL UNIQUE,
  display_name      TEXT    NOT NULL,
  batch_type        TEXT    NOT NULL,
  kind              TEXT    NOT NULL DEFAULT 'FETCH' CHECK (kind IN ('FETCH', 'RETRY', 'REDECODE', 'FILL')),
  parent_seq        INTEGER,
  status            TEXT    NOT NULL CHECK (status IN
    ('OPEN', 'QUEUED', 'RUNNING', 'PAUSING', 'PAUSED', 'STOPPING', 'COMPLETED', 'FAILED', 'STOPPED')),
  pause_cause       TEXT    CHECK (pause_cause IN ('UPSTREAM_OUTAGE', 'USER', 'SYSTEM_FAILURE')),
  pause_reason      TEXT,
  pause_message     TEXT,
  end_reason        TEXT    CHECK (end_reason IN
    ('ALL_ITEMS_FINAL', 'FAILURE_THRESHOLD', 'MAX_DURATION', 'OPEN_TTL', 'SOURCE_UNREADABLE', 'USER_STOP', 'OVERLAP_CANCEL')),
  end_message       TEXT,
  spec              TEXT    NOT NULL,
  as_of_at          INTEGER NOT NULL,
  zone              TEXT    NOT NULL,

  -- The source: how far it is read, and who reads it.
  expanded          INTEGER NOT NULL DEFAULT 0,
  source_position   TEXT,
  source_owner      TEXT,
  source_epoch      INTEGER NOT NULL DEFAULT 0,
  source_lease_at   INTEGER,
  list_date         TEXT,
  list_sha256       TEXT,

  -- Figures, exact at this revision.
  total_count       INTEGER NOT NULL DEFAULT 0,
  duplicate_count   INTEGER NOT NULL DEFAULT 0,
  successful_count  INTEGER NOT NULL DEFAULT 0,
  failed_count      INTEGER NOT NULL DEFAULT 0,
  skipped_count     INTEGER NOT NULL DEFAULT 0,
  canceled_count    INTEGER NOT NULL DEFAULT 0,
  processed_count   INTEGER GENERATED ALWAYS AS (successful_count + failed_count + skipped_count + canceled_count) VIRTUAL,
  returned_count    INTEGER NOT NULL DEFAULT 0,
  records_count     INTEGER NOT NULL DEFAULT 0,
  records_changed   INTEGER NOT NULL DEFAULT 0,
  bytes_received    INTEGER NOT NULL DEFAULT 0,
  requests_count    INTEGER NOT NULL DEFAULT 0,
  retried_attempts  INTEGER NOT NULL DEFAULT 0,
  temporary_items   INTEGER NOT NULL DEFAULT 0,
  permanent_items   INTEGER NOT NULL DEFAULT 0,
  system_items      INTEGER NOT NULL DEFAULT 0,
  temporary_attempts INTEGER NOT NULL DEFAULT 0,
  permanent_attempts INTEGER NOT NULL DEFAULT 0,
  system_attempts   INTEGER NOT NULL DEFAULT 0,

  revision          INTEGER NOT NULL DEFAULT 1,
  control_revision  INTEGER NOT NULL DEFAULT 1,
  created_at        INTEGER NOT NULL,
  started_at        INTEGER,
  ended_at          INTEGER,
  state_since_at    INTEGER NOT NULL,
  active_ms         INTEGER NOT NULL DEFAULT 0,
  paused_ms         INTEGER NOT NULL DEFAULT 0,
  bodies_expire_at  INTEGER,

  CHECK ((kind = 'FETCH') = (parent_seq IS NULL)),
  CHECK ((pause_cause IS NOT NULL) = (status IN ('PAUSING', 'PAUSED'))),
  CHECK ((end_reason IS NOT NULL) = (status IN ('STOPPING', 'COMPLETED', 'FAILED', 'STOPPED'))),
  CHECK ((ended_at IS NOT NULL) = (status IN ('COMPLETED', 'FAILED', 'STOPPED'))),
  CHECK (status <> 'COMPLETED' OR (expanded = 1 AND canceled_count = 0
    AND successful_count + failed_count + skipped_count = total_count)),
  CHECK (successful_count + failed_count + skipped_count + canceled_count <= total_count)
);
INSERT INTO batch_executions_new (
  seq, name, display_name, batch_type, status, pause_cause, pause_reason, pause_message, end_reason,
  end_message, spec, as_of_at, zone, expanded, source_position, source_owner, source_epoch, source_lease_at,
  list_date, list_sha256, total_count, duplicate_count, successful_count, failed_count, skipped_count,
  canceled_count, returned_count, records_count, records_changed, bytes_received, requests_count,
  retried_attempts, temporary_items, permanent_items, system_items, temporary_attempts, permanent_attempts,
  system_attempts, revision, control_revision, created_at, started_at, ended_at, state_since_at, active_ms,
  paused_ms, bodies_expire_at
)
SELECT
  seq, name, display_name, batch_type, status, pause_cause, pause_reason, pause_message, end_reason,
  end_message, spec, as_of_at, zone, expanded, source_position, source_owner, source_epoch, source_lease_at,
  list_date, list_sha256, total_count, duplicate_count, successful_count, failed_count, skipped_count,
  canceled_count, returned_count, records_count, records_changed, bytes_received, requests_count,
  retried_attempts, temporary_items, permanent_items, system_items, temporary_attempts, permanent_attempts,
  system_attempts, revision, control_revision, created_at, started_at, ended_at, state_since_at, active_ms,
  paused_ms, bodies_expire_at
FROM batch_executions;
DROP TABLE batch_executions;
ALTER TABLE batch_executions_new RENAME TO batch_executions;

CREATE INDEX batch_executions_live ON batch_executions (status, seq)
  WHERE status NOT IN ('COMPLETED', 'FAILED', 'STOPPED');
CREATE INDEX batch_executions_bodies ON batch_executions (bodies_expire_at) WHERE bodies_expire_at IS NOT NULL;
CREATE INDEX batch_executions_children ON batch_executions (parent_seq, seq) WHERE parent_seq IS NOT NULL;

-- The breaker, where it is not closed. probe_at: when the next probe is due. probe_wait_ms: the last wait.
ALTER TABLE upstreams ADD COLUMN tripped_at INTEGER;
ALTER TABLE upstreams ADD COLUMN probe_at INTEGER;
ALTER TABLE upstreams ADD COLUMN probe_wait_ms INTEGER NOT NULL DEFAULT 0;

-- For readers: the figures of a batch, and the items' states with RUNNING and CANCELED worked out.
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
  strftime('%Y-%m-%dT%H:%M:%fZ', created_at / 1000.0, 'unixepoch') AS create_time,
  strftime('%Y-%m-%dT%H:%M:%fZ', started_at / 1000.0, 'unixepoch') AS start_time,
  strftime('%Y-%m-%dT%H:%M:%fZ', ended_at / 1000.0, 'unixepoch') AS end_time
FROM batch_executions;

CREATE VIEW batch_items AS
SELECT
  d.batch_seq, b.name AS batch_name, d.item_index, d.item_key AS stock_code, d.columns,
  CASE
    WHEN d.status <> 'PENDING' THEN d.status
    WHEN s.status = 'CANCELED' THEN 'CANCELED'
    WHEN s.status = 'LEASED' AND s.lease_until_at > (julianday('now') - 2440587.5) * 86400000 THEN 'RUNNING'
    ELSE 'PENDING'
  END AS status,
  d.attempts, d.not_before_at, d.error_class, d.error_reason, d.http_status, d.error_message, d.records_inserted,
  d.records_changed, d.latency_ms,
  strftime('%Y-%m-%dT%H:%M:%fZ', d.first_attempt_at / 1000.0, 'unixepoch') AS start_time,
  CASE WHEN d.status <> 'PENDING' THEN strftime('%Y-%m-%dT%H:%M:%fZ', d.updated_at / 1000.0, 'unixepoch') END AS end_time
FROM batch_execution_details d
JOIN batch_executions b ON b.seq = d.batch_seq
JOIN batch_slices s ON s.batch_seq = d.batch_seq AND s.slice_no = d.slice_no;
