-- Since when a RUNNING batch stands still though nothing holds it back.
ALTER TABLE batch_executions ADD COLUMN stalled_at INTEGER;

-- When the hold began that the upstream asked for: however the clock is set, no hold lasts longer than it was to.
ALTER TABLE upstreams ADD COLUMN held_since_at INTEGER;
