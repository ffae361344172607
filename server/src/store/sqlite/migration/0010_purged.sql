-- Batches that are gone: deleted, or past their retention. Until what they had is deleted too (emptied), and a while longer
-- so that whoever asks for one learns that it was there. A name may be used again, and go again; its
-- revisions go on where they were, so that whoever knew the one batch is told of the other.

CREATE TABLE purged_batches (
  seq       INTEGER NOT NULL PRIMARY KEY,
  name      TEXT    NOT NULL,
  purged_at INTEGER NOT NULL,
  forget_at INTEGER NOT NULL,
  revision  INTEGER NOT NULL,
  emptied   INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX purged_batches_name ON purged_batches (name, purged_at);
CREATE INDEX purged_batches_full ON purged_batches (seq) WHERE emptied = 0;
CREATE INDEX requests_batch ON requests (batch_name);
