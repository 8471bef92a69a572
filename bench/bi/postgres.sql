Those of the sixty questions of internal/interop/bi/queries.sql that PostgreSQL has other words for; the rest are asked as they are. Behind the
name may stand "about": deviations and lines, which it works out in another order, are equal within 1e-9; and "not asked", with why.

-- grafana-minutes
SELECT date_bin(INTERVAL '60 seconds', time, TIMESTAMPTZ '2000-01-01') AS "time", tag AS metric, avg(value) AS value FROM samples
WHERE time >= '2024-11-03T05:00:00Z' AND time <= '2024-11-03T07:00:00Z' AND tag IN ('SITE1.FI-201', 'SITE1.FI-202') GROUP BY 1, 2 ORDER BY 1, 2

-- grafana-stat-last-value
SELECT DISTINCT ON (tag) tag, value FROM samples WHERE tag LIKE 'SITE1.TI-%' AND value IS NOT NULL ORDER BY tag, time DESC

-- pandas-good-samples not asked, its deviation of a counter beyond 2^53 is another one than that of DuckDB, which loses digits there

-- pandas-describe about
SELECT tag, count(value), avg(value), stddev(value), min(value), percentile_cont(0.25) WITHIN GROUP (ORDER BY value), percentile_cont(0.5) WITHIN GROUP (ORDER BY value),
percentile_cont(0.75) WITHIN GROUP (ORDER BY value), max(value)
FROM samples WHERE tag IN ('SITE1.FI-201', 'SITE2.PI-301') GROUP BY tag

-- asof-batch-of-pressure
SELECT p.time, p.value, b.value_text AS batch
FROM samples p CROSS JOIN LATERAL (SELECT value_text FROM samples WHERE tag = 'SITE2.BATCH' AND time <= p.time ORDER BY time DESC LIMIT 1) b
WHERE p.tag = 'SITE2.PI-301' AND p.time >= '2024-11-03T03:50:00Z' AND p.time < '2024-11-03T04:10:00Z' ORDER BY p.time

-- asof-left-join-valve
SELECT f.time, f.value, v.value_int AS open
FROM (SELECT * FROM samples WHERE tag = 'SITE1.FI-201' AND time < '2024-11-02T02:00:00Z') f
LEFT JOIN LATERAL (SELECT value_int FROM samples WHERE tag = 'SITE1.XV-102.OPEN' AND time <= f.time ORDER BY time DESC LIMIT 1) v ON true ORDER BY f.time

-- asof-two-sites about
SELECT corr(a.value, b.value) FROM samples a
CROSS JOIN LATERAL (SELECT value FROM samples WHERE tag = 'SITE1.TI-102' AND severity = 'Good' AND time <= a.time ORDER BY time DESC LIMIT 1) b
WHERE a.tag = 'SITE1.TI-101' AND a.severity = 'Good'

-- window-range-hour
SELECT time, max(value) OVER (ORDER BY time RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW) AS peak FROM samples
WHERE tag = 'SITE1.TI-104' AND time < '2024-11-02T05:00:00Z' ORDER BY time

-- window-runs-of-states
SELECT state, count(*) AS runs FROM (
  SELECT value_text AS state, value_text IS DISTINCT FROM lag(value_text) OVER (ORDER BY time) AS begins FROM samples WHERE tag = 'SITE1.P-101.RUN'
) x WHERE begins GROUP BY state

-- window-qualify-last-of-each
SELECT tag, time, value FROM (
  SELECT tag, time, value, row_number() OVER (PARTITION BY tag ORDER BY time DESC) AS place FROM samples WHERE tag LIKE 'SITE1.FI-%'
) x WHERE place = 1 ORDER BY tag

-- window-durations
SELECT value_text, sum(seconds) AS seconds FROM (
  SELECT value_text, extract(epoch FROM lead(time) OVER (ORDER BY time)) - extract(epoch FROM time) AS seconds FROM samples WHERE tag = 'SITE1.P-101.RUN'
) x WHERE seconds IS NOT NULL GROUP BY value_text ORDER BY value_text

-- pivot-in-list not asked, it has no PIVOT
-- cte-chain
WITH hours AS (SELECT tag, date_bin(INTERVAL '1 hour', time, TIMESTAMPTZ '2000-01-01') AS hour, avg(value) AS mean FROM good_samples WHERE tag LIKE 'SITE1.TI-%' GROUP BY 1, 2),
ranked AS (SELECT *, rank() OVER (PARTITION BY hour ORDER BY mean DESC) AS place FROM hours)
SELECT hour, tag, mean FROM ranked WHERE place = 1 ORDER BY hour

-- cte-recursive-hours
WITH RECURSIVE h(t) AS (SELECT TIMESTAMPTZ '2024-11-02 00:00:00+00' UNION ALL SELECT t + INTERVAL '6 hours' FROM h WHERE t < TIMESTAMPTZ '2024-11-03 00:00:00+00')
SELECT h.t, count(s.value) AS n FROM h LEFT JOIN samples s ON s.tag = 'SITE1.FI-203' AND s.time >= h.t AND s.time < h.t + INTERVAL '6 hours' GROUP BY h.t ORDER BY h.t

-- quality-codes
SELECT quality, status, severity, count(*) AS n FROM samples GROUP BY 1, 2, 3 ORDER BY quality

-- regression about
SELECT regr_slope(value, extract(epoch FROM time)) AS slope, regr_r2(value, extract(epoch FROM time)) AS r2 FROM samples WHERE tag = 'SITE2.PI-301' AND time < '2024-11-02T12:00:00Z'
