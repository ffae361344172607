-- Uploads to a batch: how far each has come and who has it, and what its chunks held, to tell a repeat from another
-- content. Chunks are needed as long as the batch is OPEN, the one that sealed it as long as there is the batch.

CREATE TABLE uploads (
  batch_seq         INTEGER NOT NULL,
  upload_id         TEXT    NOT NULL,
  epoch             INTEGER NOT NULL DEFAULT 1,
  committed_count   INTEGER NOT NULL DEFAULT 0,
  duplicate_count   INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (batch_seq, upload_id),
  CHECK (duplicate_count <= committed_count)
) WITHOUT ROWID;

CREATE TABLE upload_chunks (
  batch_seq         INTEGER NOT NULL,
  upload_id         TEXT    NOT NULL,
  first_offset      INTEGER NOT NULL,
  item_count        INTEGER NOT NULL,
  keys_sha256       BLOB    NOT NULL,
  sealed            INTEGER NOT NULL,
  PRIMARY KEY (batch_seq, upload_id, first_offset, item_count)
) WITHOUT ROWID;
