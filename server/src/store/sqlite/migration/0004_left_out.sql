-- Rows and events that a reply held and that became no record of their own.
ALTER TABLE batch_execution_details ADD COLUMN rows_left_out INTEGER NOT NULL DEFAULT 0;

DROP VIEW batch_items;
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
  d.records_changed, d.rows_left_out, d.latency_ms,
  strftime('%Y-%m-%dT%H:%M:%fZ', d.first_attempt_at / 1000.0, 'unixepoch') AS start_time,
  CASE WHEN d.status <> 'PENDING' THEN strftime('%Y-%m-%dT%H:%M:%fZ', d.updated_at / 1000.0, 'unixepoch') END AS end_time
FROM batch_execution_details d
JOIN batch_executions b ON b.seq = d.batch_seq
JOIN batch_slices s ON s.batch_seq = d.batch_seq AND s.slice_no = d.slice_no;
