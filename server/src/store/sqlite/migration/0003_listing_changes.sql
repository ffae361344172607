-- For readers: what changed from a version of a list to any later one of the same address. Later is the one for a later
-- day, and of two for one day the one fetched later: the correction. CROSS JOIN keeps the order of the tables, so that a
-- condition on the versions is met before any issue is read, and each issue is looked up by its code.
CREATE VIEW listing_changes AS
SELECT
  a.uri, a.list_date AS from_list_date, a.sha256 AS from_sha256, b.list_date AS to_list_date, b.sha256 AS to_sha256,
  NOT EXISTS (SELECT 1 FROM list_versions m WHERE m.uri = a.uri
    AND (m.list_date, m.fetched_at) > (a.list_date, a.fetched_at)
    AND (m.list_date, m.fetched_at) < (b.list_date, b.fetched_at)) AS is_next,
  'NEW' AS change, new.code, NULL AS old_value, new.name AS new_value
FROM list_versions a
CROSS JOIN list_versions b ON b.uri = a.uri AND (b.list_date, b.fetched_at) > (a.list_date, a.fetched_at)
CROSS JOIN listed_issues new ON (new.list_date, new.list_sha256) = (b.list_date, b.sha256)
WHERE NOT EXISTS (SELECT 1 FROM listed_issues old
  WHERE (old.list_date, old.list_sha256, old.code) = (a.list_date, a.sha256, new.code))
UNION ALL
SELECT
  a.uri, a.list_date AS from_list_date, a.sha256 AS from_sha256, b.list_date AS to_list_date, b.sha256 AS to_sha256,
  NOT EXISTS (SELECT 1 FROM list_versions m WHERE m.uri = a.uri
    AND (m.list_date, m.fetched_at) > (a.list_date, a.fetched_at)
    AND (m.list_date, m.fetched_at) < (b.list_date, b.fetched_at)) AS is_next,
  'GONE', old.code, old.name, NULL
FROM list_versions a
CROSS JOIN list_versions b ON b.uri = a.uri AND (b.list_date, b.fetched_at) > (a.list_date, a.fetched_at)
CROSS JOIN listed_issues old ON (old.list_date, old.list_sha256) = (a.list_date, a.sha256)
WHERE NOT EXISTS (SELECT 1 FROM listed_issues new
  WHERE (new.list_date, new.list_sha256, new.code) = (b.list_date, b.sha256, old.code))
UNION ALL
SELECT
  a.uri, a.list_date AS from_list_date, a.sha256 AS from_sha256, b.list_date AS to_list_date, b.sha256 AS to_sha256,
  NOT EXISTS (SELECT 1 FROM list_versions m WHERE m.uri = a.uri
    AND (m.list_date, m.fetched_at) > (a.list_date, a.fetched_at)
    AND (m.list_date, m.fetched_at) < (b.list_date, b.fetched_at)) AS is_next,
  'MOVED', new.code, old.market, new.market
FROM list_versions a
CROSS JOIN list_versions b ON b.uri = a.uri AND (b.list_date, b.fetched_at) > (a.list_date, a.fetched_at)
CROSS JOIN listed_issues new ON (new.list_date, new.list_sha256) = (b.list_date, b.sha256)
CROSS JOIN listed_issues old ON (old.list_date, old.list_sha256, old.code) = (a.list_date, a.sha256, new.code)
WHERE old.market <> new.market
UNION ALL
SELECT
  a.uri, a.list_date AS from_list_date, a.sha256 AS from_sha256, b.list_date AS to_list_date, b.sha256 AS to_sha256,
  NOT EXISTS (SELECT 1 FROM list_versions m WHERE m.uri = a.uri
    AND (m.list_date, m.fetched_at) > (a.list_date, a.fetched_at)
    AND (m.list_date, m.fetched_at) < (b.list_date, b.fetched_at)) AS is_next,
  'RENAMED', new.code, old.name, new.name
FROM list_versions a
CROSS JOIN list_versions b ON b.uri = a.uri AND (b.list_date, b.fetched_at) > (a.list_date, a.fetched_at)
CROSS JOIN listed_issues new ON (new.list_date, new.list_sha256) = (b.list_date, b.sha256)
CROSS JOIN listed_issues old ON (old.list_date, old.list_sha256, old.code) = (a.list_date, a.sha256, new.code)
WHERE old.name <> new.name;
