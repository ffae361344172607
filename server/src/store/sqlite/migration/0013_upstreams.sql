-- What an operator sets and holds, and the pace. An upstream's id says scheme, host and port.
ALTER TABLE upstreams ADD COLUMN configured_rate_per_s REAL;
ALTER TABLE upstreams ADD COLUMN configured_burst INTEGER;
ALTER TABLE upstreams ADD COLUMN configured_in_flight_max INTEGER;
ALTER TABLE upstreams ADD COLUMN operator_since_at INTEGER;
ALTER TABLE upstreams ADD COLUMN operator_until_at INTEGER;
ALTER TABLE upstreams ADD COLUMN operator_reason TEXT NOT NULL DEFAULT '';
ALTER TABLE upstreams ADD COLUMN pace REAL NOT NULL DEFAULT 1;
ALTER TABLE upstreams ADD COLUMN paced_from_at INTEGER;

-- Ids were the host with dashes for whatever is no letter and no digit, with eight digits of a hash behind it where that
-- was not enough to tell it.
CREATE TABLE ids_of_before (upstream TEXT NOT NULL PRIMARY KEY, host TEXT NOT NULL, bare TEXT NOT NULL, dashed TEXT NOT NULL);
INSERT INTO ids_of_before
  SELECT upstream, host,
         CASE WHEN upstream GLOB '*-[0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f]'
                   AND host GLOB '*[^0-9A-Za-z.]*'
              THEN substr(upstream, 1, length(upstream) - 9) ELSE upstream END,
         replace(replace(host, '.', '-'), '_', '-')
  FROM upstreams;
UPDATE OR REPLACE upstreams SET upstream = (
  SELECT CASE
    WHEN bare = dashed THEN b.host
    WHEN substr(bare, 1, length(dashed) + 6) = 'http-' || dashed || '-'
      THEN 'http-' || b.host || substr(bare, length(dashed) + 6)
    WHEN substr(bare, 1, length(dashed) + 7) = 'https-' || dashed || '-'
      THEN 'https-' || b.host || substr(bare, length(dashed) + 7)
    ELSE b.upstream END
  FROM ids_of_before b WHERE b.upstream = upstreams.upstream);
-- IPv6 addresses and very long names: a new id is made when they are asked again.
DELETE FROM upstreams WHERE host LIKE '[%' OR instr(upstream, host) = 0;
DROP TABLE ids_of_before;
