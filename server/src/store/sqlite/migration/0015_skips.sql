-- What need not be fetched. settings_sha256: hash of the connector's settings; NULL of batches that were made before, of
-- which nothing counts as fetched.
ALTER TABLE batch_executions ADD COLUMN settings_sha256 BLOB CHECK (length(settings_sha256) = 32);
CREATE INDEX batch_executions_settings ON batch_executions (settings_sha256, as_of_at, seq)
  WHERE settings_sha256 IS NOT NULL;

-- Keys that an upstream said do not exist. address_sha256: hash of what makes an address of a key. They go at purge_at,
-- which is no sooner than their time to live after they were found, however old the logical date is that they expire by.
CREATE TABLE missing_keys (
  number            INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  dataset           TEXT    NOT NULL,
  item_key          TEXT    NOT NULL,
  address_sha256    BLOB    NOT NULL CHECK (length(address_sha256) = 32),
  reason            TEXT    NOT NULL,
  http_status       INTEGER,
  as_of_at          INTEGER NOT NULL,
  expire_at         INTEGER NOT NULL,
  batch_name        TEXT    NOT NULL,
  purge_at          INTEGER NOT NULL,
  UNIQUE (dataset, item_key, address_sha256)
);
CREATE INDEX missing_keys_purge ON missing_keys (purge_at);
