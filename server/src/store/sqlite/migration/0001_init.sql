-- Instants are INTEGER milliseconds since the epoch, UTC, in columns that end in _at or are named ts_ms; the datasets'
-- own ts is in seconds, as the upstream gives it. Booleans are 0 and 1. What each column means is in docs/data.md.

CREATE TABLE batch_executions (
  seq               INTEGER PRIMARY KEY AUTOINCREMENT,
  name              TEXT    NOT NULL UNIQUE,
  display_name      TEXT    NOT NULL,
  batch_type        TEXT    NOT NULL,
  status            TEXT    NOT NULL CHECK (status IN
    ('QUEUED', 'RUNNING', 'PAUSING', 'PAUSED', 'STOPPING', 'COMPLETED', 'FAILED', 'STOPPED')),
  pause_cause       TEXT    CHECK (pause_cause IN ('USER', 'SYSTEM_FAILURE')),
  pause_reason      TEXT,
  pause_message     TEXT,
  end_reason        TEXT    CHECK (end_reason IN ('ALL_ITEMS_FINAL', 'USER_STOP', 'SOURCE_UNREADABLE')),
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

  CHECK ((pause_cause IS NOT NULL) = (status IN ('PAUSING', 'PAUSED'))),
  CHECK ((end_reason IS NOT NULL) = (status IN ('STOPPING', 'COMPLETED', 'FAILED', 'STOPPED'))),
  CHECK ((ended_at IS NOT NULL) = (status IN ('COMPLETED', 'FAILED', 'STOPPED'))),
  CHECK (status <> 'COMPLETED' OR (expanded = 1 AND canceled_count = 0
    AND successful_count + failed_count + skipped_count = total_count)),
  CHECK (successful_count + failed_count + skipped_count + canceled_count <= total_count)
);
CREATE INDEX batch_executions_live ON batch_executions (status, seq)
  WHERE status NOT IN ('COMPLETED', 'FAILED', 'STOPPED');
CREATE INDEX batch_executions_bodies ON batch_executions (bodies_expire_at) WHERE bodies_expire_at IS NOT NULL;

-- One row per item, from its expansion on. RUNNING and CANCELED are not written here: view batch_items works them out.
CREATE TABLE batch_execution_details (
  batch_seq         INTEGER NOT NULL,
  item_index        INTEGER NOT NULL,
  item_key          TEXT    NOT NULL,
  columns           TEXT,
  slice_no          INTEGER NOT NULL,
  status            TEXT    NOT NULL DEFAULT 'PENDING' CHECK (status IN ('PENDING', 'SUCCEEDED', 'FAILED', 'SKIPPED')),
  attempts          INTEGER NOT NULL DEFAULT 0,
  recorded_attempts INTEGER NOT NULL DEFAULT 0,
  not_before_at     INTEGER,
  error_class       TEXT    CHECK (error_class IN ('TEMPORARY', 'PERMANENT', 'SYSTEM')),
  error_reason      TEXT,
  error_message     TEXT,
  retry_after_ms    INTEGER,
  http_status       INTEGER,
  records_inserted  INTEGER NOT NULL DEFAULT 0,
  records_changed   INTEGER NOT NULL DEFAULT 0,
  size_bytes        INTEGER,
  sha256            BLOB,
  content_type      TEXT,
  latency_ms        INTEGER,
  node              TEXT,
  first_attempt_at  INTEGER,
  last_attempt_at   INTEGER,
  updated_at        INTEGER,
  PRIMARY KEY (batch_seq, item_index),
  UNIQUE (batch_seq, item_key),
  CHECK (status <> 'FAILED' OR error_class IS NOT NULL)
) WITHOUT ROWID;

-- About a hundred neighbouring items, leased together.
CREATE TABLE batch_slices (
  batch_seq         INTEGER NOT NULL,
  slice_no          INTEGER NOT NULL,
  first_index       INTEGER NOT NULL,
  end_index         INTEGER NOT NULL,
  status            TEXT    NOT NULL DEFAULT 'READY' CHECK (status IN ('READY', 'LEASED', 'DONE', 'CANCELED')),
  owner             TEXT,
  epoch             INTEGER NOT NULL DEFAULT 0,
  lease_until_at    INTEGER,
  ready_at          INTEGER NOT NULL DEFAULT 0,
  open_count        INTEGER NOT NULL CHECK (open_count >= 0),
  lost_count        INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (batch_seq, slice_no),
  CHECK ((status = 'LEASED') = (owner IS NOT NULL)),
  CHECK ((status = 'LEASED') = (lease_until_at IS NOT NULL)),
  CHECK ((status = 'DONE') = (open_count = 0))
) WITHOUT ROWID;
CREATE INDEX batch_slices_ready ON batch_slices (batch_seq, ready_at, slice_no) WHERE status = 'READY';
CREATE INDEX batch_slices_leased ON batch_slices (batch_seq, lease_until_at) WHERE status = 'LEASED';

-- Attempts worth telling: failed, given back after a request, or of an item that had failed before.
CREATE TABLE item_attempts (
  batch_seq         INTEGER NOT NULL,
  item_index        INTEGER NOT NULL,
  number            INTEGER NOT NULL,
  outcome           TEXT    NOT NULL CHECK (outcome IN ('SUCCEEDED', 'FAILED', 'RELEASED')),
  charged           INTEGER NOT NULL,
  started_at        INTEGER NOT NULL,
  ended_at          INTEGER NOT NULL,
  node              TEXT    NOT NULL,
  requests          INTEGER NOT NULL,
  bytes_received    INTEGER NOT NULL,
  http_status       INTEGER,
  error_class       TEXT,
  error_reason      TEXT,
  error_message     TEXT,
  retry_after_ms    INTEGER,
  PRIMARY KEY (batch_seq, item_index, number)
) WITHOUT ROWID;

CREATE TABLE kept_bodies (
  batch_seq         INTEGER NOT NULL,
  item_index        INTEGER NOT NULL,
  body              BLOB    NOT NULL,
  http_status       INTEGER NOT NULL,
  content_type      TEXT    NOT NULL,
  fetched_at        INTEGER NOT NULL,
  PRIMARY KEY (batch_seq, item_index)
) WITHOUT ROWID;

CREATE TABLE requests (
  request_id        TEXT    NOT NULL PRIMARY KEY,
  request_sha256    BLOB    NOT NULL,
  batch_name        TEXT    NOT NULL,
  expires_at        INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE upstreams (
  upstream          TEXT    NOT NULL PRIMARY KEY,
  host              TEXT    NOT NULL,
  rate_per_s        REAL    NOT NULL,
  burst             INTEGER NOT NULL,
  held_until_at     INTEGER,
  push_backs        INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

CREATE TABLE list_versions (
  uri               TEXT    NOT NULL,
  list_date         TEXT    NOT NULL,
  sha256            TEXT    NOT NULL,
  fetched_at        INTEGER NOT NULL,
  issue_count       INTEGER NOT NULL,
  PRIMARY KEY (uri, list_date, sha256)
) WITHOUT ROWID;

CREATE TABLE listed_issues (
  list_date         TEXT    NOT NULL,
  list_sha256       TEXT    NOT NULL,
  row_no            INTEGER NOT NULL,
  code              TEXT    NOT NULL,
  name              TEXT    NOT NULL,
  market            TEXT    NOT NULL,
  segment           TEXT,
  industry33_code   TEXT    NOT NULL,
  industry33        TEXT    NOT NULL,
  industry17_code   TEXT    NOT NULL,
  industry17        TEXT    NOT NULL,
  scale_code        TEXT    NOT NULL,
  scale             TEXT    NOT NULL,
  PRIMARY KEY (list_date, list_sha256, row_no),
  UNIQUE (list_date, list_sha256, code)
) WITHOUT ROWID;

CREATE TABLE stock_prices (
  code              TEXT    NOT NULL,
  interval          TEXT    NOT NULL,
  ts                INTEGER NOT NULL,
  session_date      TEXT    NOT NULL,
  symbol            TEXT    NOT NULL,
  open              REAL,
  high              REAL,
  low               REAL,
  close             REAL,
  adj_close         REAL,
  volume            INTEGER CHECK (volume >= 0),
  currency          TEXT,
  provisional       INTEGER NOT NULL DEFAULT 0,
  batch_seq         INTEGER NOT NULL,
  fetched_at        INTEGER NOT NULL,
  PRIMARY KEY (code, interval, ts)
) WITHOUT ROWID;

CREATE TABLE stock_events (
  code              TEXT    NOT NULL,
  kind              TEXT    NOT NULL CHECK (kind IN ('DIVIDEND', 'SPLIT', 'CAPITAL_GAIN')),
  date              TEXT    NOT NULL,
  ts                INTEGER NOT NULL,
  symbol            TEXT    NOT NULL,
  amount            REAL,
  numerator         REAL,
  denominator       REAL,
  currency          TEXT,
  batch_seq         INTEGER NOT NULL,
  fetched_at        INTEGER NOT NULL,
  PRIMARY KEY (code, kind, date),
  CHECK ((kind = 'SPLIT') = (numerator IS NOT NULL AND denominator IS NOT NULL)),
  CHECK ((kind = 'SPLIT') = (amount IS NULL))
) WITHOUT ROWID;

-- For readers: the figures of a batch, and the items' states with RUNNING and CANCELED worked out.
CREATE VIEW batch_progress AS
SELECT
  seq, name, display_name, batch_type, status, pause_cause, end_reason,
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
