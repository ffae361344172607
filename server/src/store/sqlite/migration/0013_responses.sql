-- Replies as they came: what http_fetch writes.
CREATE TABLE responses (
  item_key          TEXT    NOT NULL,
  as_of_at          INTEGER NOT NULL,
  method            TEXT    NOT NULL,
  url               TEXT    NOT NULL,
  http_status       INTEGER NOT NULL,
  content_type      TEXT    NOT NULL,
  size_bytes        INTEGER NOT NULL CHECK (size_bytes >= 0),
  sha256            BLOB    NOT NULL CHECK (length(sha256) = 32),
  -- One zstd frame. NULL: it was not to be stored.
  body              BLOB,
  batch_seq         INTEGER NOT NULL,
  fetched_at        INTEGER NOT NULL,
  PRIMARY KEY (item_key, as_of_at, method, url)
);
