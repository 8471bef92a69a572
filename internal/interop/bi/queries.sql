-- Sixty questions as outside tools send them. A question begins with a line "-- NAME"; behind the name may stand
--   unordered      the order of rows is not asked for, so it does not count
--   near           sums, averages and deviations: equal within 1e-12 of the value
--   oracle JSON    the expectation is what the read of package query answers to the question in JSON, over Flight, to the bit;
--                  else it is what DuckDB answers to the same text, over Parquet files written from the same samples by plant.py

-- tableau-sum-by-tag unordered near
SELECT "samples"."tag" AS "tag", SUM("samples"."value") AS "sum:value:ok", COUNT("samples"."value") AS "cnt:value:ok"
FROM "main"."samples" "samples" GROUP BY 1

-- tableau-average-by-day unordered near
SELECT CAST(DATE_TRUNC('day', "samples"."time") AS TIMESTAMPTZ) AS "tdy:time:ok", AVG("samples"."value") AS "avg:value:ok"
FROM "main"."samples" "samples" WHERE ("samples"."tag" = 'SITE1.TI-102') GROUP BY 1

-- tableau-top-10-tags
SELECT "tag", "n" FROM (SELECT "samples"."tag" AS "tag", COUNT(1) AS "n" FROM "main"."samples" "samples" GROUP BY 1) "t0"
ORDER BY "n" DESC, "tag" ASC LIMIT 10

-- tableau-filter-by-set unordered near
SELECT "samples"."severity" AS "severity", MIN("samples"."value") AS "min:value:ok", MAX("samples"."value") AS "max:value:ok"
FROM "main"."samples" "samples"
WHERE ("samples"."tag" IN ('SITE1.TI-101', 'SITE1.TI-103', 'SITE2.PI-301')) AND ("samples"."time" >= TIMESTAMPTZ '2024-11-02 06:00:00+00')
AND ("samples"."time" < TIMESTAMPTZ '2024-11-03 06:00:00+00') GROUP BY 1

-- tableau-join-with-tags unordered near
SELECT "tags"."unit" AS "unit", AVG("samples"."value") AS "avg:value:ok"
FROM "main"."samples" "samples" INNER JOIN "main"."tags" "tags" ON ("samples"."tag_id" = "tags"."tag_id")
WHERE "samples"."severity" = 'Good' GROUP BY 1

-- tableau-custom-sql
SELECT "Custom SQL Query"."tag" AS "tag", "Custom SQL Query"."last" AS "last"
FROM (select tag, max(time) as last from samples where tag like 'SITE1.FI-%' group by tag) "Custom SQL Query" ORDER BY 1

-- tableau-count-distinct unordered
SELECT COUNT(DISTINCT "samples"."tag") AS "ctd:tag:ok" FROM "main"."samples" "samples" HAVING (COUNT(1) > 0)

-- powerbi-first-rows
select "_"."time", "_"."tag", "_"."value" from "varve"."main"."samples" "_" where "_"."tag" = 'SITE1.FI-202'
order by "_"."time" limit 1000

-- powerbi-grouped unordered near
select "rows"."tag" as "tag", sum("rows"."value") as "total", min("rows"."time") as "from"
from (select "_"."tag", "_"."value", "_"."time" from "varve"."main"."samples" "_"
      where "_"."time" >= TIMESTAMPTZ '2024-11-03 00:00:00+00' and "_"."time" < TIMESTAMPTZ '2024-11-04 00:00:00+00') "rows"
group by "tag"

-- powerbi-left-join unordered
select "$Outer"."tag", "$Inner"."description", "$Outer"."n"
from (select "tag_id", "tag", count(*) as "n" from "main"."samples" group by "tag_id", "tag") "$Outer"
left outer join (select "tag_id" as "id2", "description" from "main"."tags") "$Inner" on ("$Outer"."tag_id" = "$Inner"."id2")

-- powerbi-null-handling unordered near
select "_"."tag", sum(case when "_"."value" is null then 0 else 1 end) as "with", avg(coalesce("_"."value", 0)) as "avg0"
from "main"."samples" "_" where "_"."tag" in ('SITE1.TI-104', 'SITE1.XV-102.OPEN') group by "_"."tag"

-- powerbi-distinct-values
select distinct "_"."status" as "status" from "main"."samples" "_" order by "status" limit 1001

-- grafana-minutes near
SELECT time_bucket(INTERVAL '60 seconds', time) AS "time", tag AS metric, avg(value) AS value FROM samples
WHERE time >= '2024-11-03T05:00:00Z' AND time <= '2024-11-03T07:00:00Z' AND tag IN ('SITE1.FI-201', 'SITE1.FI-202') GROUP BY 1, 2 ORDER BY 1, 2

-- grafana-hours-of-one-tag near
SELECT date_trunc('hour', time) AS "time", avg(value) AS "avg", min(value) AS "min", max(value) AS "max" FROM samples
WHERE tag = 'SITE2.PI-301' AND time BETWEEN '2024-11-02T00:00:00Z' AND '2024-11-03T00:00:00Z' GROUP BY 1 ORDER BY 1

-- grafana-epoch near
SELECT floor(extract(epoch FROM time) / 300) * 300 AS "time_sec", max(value) AS "SITE1.TI-105" FROM samples
WHERE tag = 'SITE1.TI-105' AND time >= to_timestamp(1730548800) AND time < to_timestamp(1730552400) GROUP BY 1 ORDER BY 1

-- grafana-variable
SELECT name FROM tags WHERE name LIKE 'SITE1.%' ORDER BY name

-- grafana-state-timeline
SELECT time, value_text AS state FROM samples WHERE tag = 'SITE1.P-101.RUN' AND time >= '2024-11-02T00:00:00Z' AND time < '2024-11-02T12:00:00Z' ORDER BY time

-- grafana-stat-last-value
SELECT tag, arg_max(value, time) AS value FROM samples WHERE tag LIKE 'SITE1.TI-%' AND value IS NOT NULL GROUP BY tag ORDER BY tag

-- grafana-annotations-of-bad-quality
SELECT time, tag, status AS text FROM samples WHERE severity = 'Bad' AND tag LIKE 'SITE2.%' ORDER BY time, tag

-- dbeaver-grid
SELECT time, tag, value, quality, status, severity, value_int, value_text, time_ns, seq FROM main.samples WHERE tag = 'LAB.PH' ORDER BY time_ns, seq LIMIT 200

-- dbeaver-row-count unordered
SELECT COUNT(*) FROM varve.main.samples

-- dbeaver-filter
SELECT x.time, x.value FROM main.samples x WHERE x.tag = 'SITE1.TI-103' AND x.value > 82.5 ORDER BY x.time

-- dbeaver-tags
SELECT name, description, type, unit, stepped FROM main.tags t ORDER BY name

-- dbeaver-tag-facts
SELECT name, first_time, last_time, samples FROM tags ORDER BY name

-- pandas-one-tag
SELECT time, value FROM samples WHERE tag = 'SITE1.FI-203' AND time >= TIMESTAMP '2024-11-02 10:00:00' AND time < TIMESTAMP '2024-11-02 11:00:00' ORDER BY time

-- pandas-nanoseconds
SELECT time_ns, time, value FROM samples WHERE tag = 'SITE1.VIB-1' AND time_ns BETWEEN 1730509200000000001 AND 1730509260000000000 ORDER BY time_ns

-- pandas-equal-microsecond
SELECT time_ns, value FROM samples WHERE tag = 'SITE1.VIB-1' AND time = TIMESTAMPTZ '2024-11-02 01:00:00.333333+00'

-- pandas-behind-a-microsecond
SELECT count(*), min(time_ns) FROM samples WHERE tag = 'SITE1.VIB-1' AND time > TIMESTAMPTZ '2024-11-02 01:00:00.333333+00'

-- pandas-up-to-a-microsecond
SELECT count(*), max(time_ns) FROM samples WHERE tag = 'SITE1.VIB-1' AND time <= TIMESTAMPTZ '2024-11-02 01:00:00.333333+00'

-- pandas-good-samples unordered near
SELECT tag, count(*) AS n, avg(value) AS mean, stddev_samp(value) AS sd FROM good_samples WHERE tag LIKE 'SITE%' GROUP BY tag

-- pandas-describe unordered near
SELECT tag, count(value), avg(value), stddev(value), min(value), quantile_cont(value, 0.25), median(value), quantile_cont(value, 0.75), max(value)
FROM samples WHERE tag IN ('SITE1.FI-201', 'SITE2.PI-301') GROUP BY tag

-- pandas-integers-exact
SELECT time, value_int FROM samples WHERE tag = 'SITE2.COUNT-401' ORDER BY time LIMIT 50

-- pandas-text
SELECT time, value_text FROM samples WHERE tag = 'SITE2.BATCH' ORDER BY time

-- asof-batch-of-pressure
SELECT p.time, p.value, b.value_text AS batch
FROM samples p ASOF JOIN (SELECT time, value_text FROM samples WHERE tag = 'SITE2.BATCH') b ON p.time >= b.time
WHERE p.tag = 'SITE2.PI-301' AND p.time >= '2024-11-03T03:50:00Z' AND p.time < '2024-11-03T04:10:00Z' ORDER BY p.time

-- asof-left-join-valve
SELECT f.time, f.value, v.value_int AS open
FROM (SELECT * FROM samples WHERE tag = 'SITE1.FI-201' AND time < '2024-11-02T02:00:00Z') f
ASOF LEFT JOIN (SELECT * FROM samples WHERE tag = 'SITE1.XV-102.OPEN') v ON f.time >= v.time ORDER BY f.time

-- asof-two-sites near
WITH a AS (SELECT time, value FROM samples WHERE tag = 'SITE1.TI-101' AND severity = 'Good'), b AS (SELECT time, value FROM samples WHERE tag = 'SITE1.TI-102' AND severity = 'Good')
SELECT corr(a.value, b.value) FROM a ASOF JOIN b ON a.time >= b.time

-- window-delta
SELECT time, value_int - lag(value_int) OVER (ORDER BY time) AS made FROM samples WHERE tag = 'SITE2.COUNT-401' AND time < '2024-11-02T06:00:00Z' ORDER BY time

-- window-moving-average near
SELECT time, avg(value) OVER (ORDER BY time ROWS BETWEEN 4 PRECEDING AND CURRENT ROW) AS smooth FROM samples
WHERE tag = 'SITE1.TI-103' AND time >= '2024-11-03T00:00:00Z' AND time < '2024-11-03T03:00:00Z' ORDER BY time

-- window-range-hour near
SELECT time, max(value) OVER (ORDER BY time RANGE BETWEEN INTERVAL 1 HOUR PRECEDING AND CURRENT ROW) AS peak FROM samples
WHERE tag = 'SITE1.TI-104' AND time < '2024-11-02T05:00:00Z' ORDER BY time

-- window-runs-of-states unordered
SELECT state, count(*) AS runs FROM (
  SELECT value_text AS state, value_text IS DISTINCT FROM lag(value_text) OVER (ORDER BY time) AS begins FROM samples WHERE tag = 'SITE1.P-101.RUN'
) WHERE begins GROUP BY state

-- window-qualify-last-of-each
SELECT tag, time, value FROM samples WHERE tag LIKE 'SITE1.FI-%' QUALIFY row_number() OVER (PARTITION BY tag ORDER BY time DESC) = 1 ORDER BY tag

-- window-durations near
SELECT value_text, sum(seconds) AS seconds FROM (
  SELECT value_text, epoch(lead(time) OVER (ORDER BY time)) - epoch(time) AS seconds FROM samples WHERE tag = 'SITE1.P-101.RUN'
) WHERE seconds IS NOT NULL GROUP BY value_text ORDER BY value_text

-- pivot-in-list near
PIVOT (SELECT time_bucket(INTERVAL '1 hour', time) AS hour, tag, value FROM samples WHERE tag IN ('SITE1.TI-101', 'SITE1.TI-102'))
ON tag IN ('SITE1.TI-101', 'SITE1.TI-102') USING avg(value) GROUP BY hour ORDER BY hour

-- pivot-by-case near
SELECT date_trunc('hour', time) AS hour, avg(CASE WHEN tag = 'SITE1.FI-201' THEN value END) AS f1, avg(value) FILTER (WHERE tag = 'SITE1.FI-202') AS f2
FROM samples WHERE tag IN ('SITE1.FI-201', 'SITE1.FI-202') GROUP BY hour ORDER BY hour

-- pivot-by-self-join near
SELECT a.time, a.value - b.value AS difference FROM samples a JOIN samples b ON a.time = b.time
WHERE a.tag = 'SITE1.TI-101' AND b.tag = 'SITE1.TI-102' AND a.time < '2024-11-02T04:00:00Z' ORDER BY a.time

-- cte-chain near
WITH hours AS (SELECT tag, time_bucket(INTERVAL '1 hour', time) AS hour, avg(value) AS mean FROM good_samples WHERE tag LIKE 'SITE1.TI-%' GROUP BY ALL),
ranked AS (SELECT *, rank() OVER (PARTITION BY hour ORDER BY mean DESC) AS place FROM hours)
SELECT hour, tag, mean FROM ranked WHERE place = 1 ORDER BY hour

-- cte-recursive-hours near
WITH RECURSIVE h(t) AS (SELECT TIMESTAMPTZ '2024-11-02 00:00:00+00' UNION ALL SELECT t + INTERVAL 6 HOUR FROM h WHERE t < TIMESTAMPTZ '2024-11-03 00:00:00+00')
SELECT h.t, count(s.value) AS n FROM h LEFT JOIN samples s ON s.tag = 'SITE1.FI-203' AND s.time >= h.t AND s.time < h.t + INTERVAL 6 HOUR GROUP BY h.t ORDER BY h.t

-- subquery-in unordered near
SELECT tag, avg(value) FROM samples WHERE tag_id IN (SELECT tag_id FROM tag_attributes WHERE name = 'area' AND value = 'boiler') GROUP BY tag

-- attribute-join unordered near
SELECT a.value AS area, count(*) AS n, avg(s.value) AS mean FROM samples s JOIN tag_attributes a ON a.tag_id = s.tag_id AND a.name = 'area' GROUP BY a.value

-- exists-bad
SELECT t.name FROM tags t WHERE EXISTS (SELECT 1 FROM samples s WHERE s.tag_id = t.tag_id AND s.status = 'BadSensorFailure') ORDER BY t.name

-- union-of-extremes
SELECT 'low' AS what, tag, min(value) AS value FROM samples WHERE tag LIKE 'SITE1.TI-%' GROUP BY tag
UNION ALL SELECT 'high', tag, max(value) FROM samples WHERE tag LIKE 'SITE1.TI-%' GROUP BY tag ORDER BY 1, 2

-- zoned-days near
SELECT CAST(date_trunc('day', time AT TIME ZONE 'America/New_York') AS TIMESTAMP) AS day, count(*) AS n, avg(value) AS mean FROM samples WHERE tag = 'SITE1.FI-202' GROUP BY 1 ORDER BY 1

-- zoned-hour-of-day near
SELECT extract(hour FROM time AT TIME ZONE 'Europe/Berlin') AS hour, avg(value) AS mean FROM samples WHERE tag = 'SITE1.TI-105' GROUP BY 1 ORDER BY 1

-- histogram
SELECT floor(value) AS bin, count(*) AS n FROM samples WHERE tag = 'SITE1.TI-102' AND value IS NOT NULL GROUP BY bin ORDER BY bin

-- quality-codes
SELECT quality, status, severity, count(*) AS n FROM samples GROUP BY ALL ORDER BY quality

-- regression near
SELECT regr_slope(value, epoch(time)) AS slope, regr_r2(value, epoch(time)) AS r2 FROM samples WHERE tag = 'SITE2.PI-301' AND time < '2024-11-02T12:00:00Z'

-- aggregate-hours unordered oracle {"processed": {"tags": ["SITE1.TI-101", "SITE1.FI-201"], "start_ns": 1730505600000000000, "end_ns": 1730592000000000000, "every": "1h", "aggregates": ["time_weighted_average", "maximum"]}}
SELECT tag, bucket, function, value, quality, percent_good FROM aggregate(tags => ['SITE1.TI-101', 'SITE1.FI-201'], start => '2024-11-02T00:00:00Z', stop => '2024-11-03T00:00:00Z',
  every => '1h', functions => ['time_weighted_average', 'maximum'])

-- aggregate-days-of-new-york unordered oracle {"processed": {"tags": ["SITE1.FI-202"], "start_ns": 1730520000000000000, "end_ns": 1730696400000000000, "every": "1d", "zone": "America/New_York", "aggregates": ["TimeAverage2", "PercentGood"]}}
SELECT tag, bucket, function, value, quality, percent_good FROM aggregate(tags => ['SITE1.FI-202'], start => '2024-11-02T04:00:00Z', stop => '2024-11-04T05:00:00Z', every => '1d',
  zone => 'America/New_York', functions => ['TimeAverage2', 'PercentGood'])

-- interpolated-quarters unordered oracle {"at_times": {"tags": ["SITE1.TI-101", "SITE1.P-101.RUN"], "start_ns": 1730570400000000000, "end_ns": 1730584800000000000, "every_ns": 900000000000}}
SELECT tag, time, value, value_text, quality FROM interpolated(tags => ['SITE1.TI-101', 'SITE1.P-101.RUN'], start => '2024-11-02T18:00:00Z', stop => '2024-11-02T22:00:00Z', every => '15m')

-- raw-with-bounds unordered oracle {"range": {"tags": ["SITE1.XV-102.OPEN"], "start_ns": 1730530000000000000, "end_ns": 1730534000000000000, "bounds": "BOUNDS_OUTSIDE"}}
SELECT tag, time, value_int, quality FROM raw(tags => ['SITE1.XV-102.OPEN'], start => TIMESTAMPTZ '2024-11-02 06:46:40+00', stop => TIMESTAMPTZ '2024-11-02 07:53:20+00', bounds => 'outside')
