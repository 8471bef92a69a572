//go:build cgo

package engine

import (
	"context"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// unsteady is what makes a statement answer otherwise the next time, or in another order.
var unsteady = regexp.MustCompile(`(?i)random|uuid|now|current|today|sample|limit|offset|fetch|top|first|last|any_value|arbitrary|list|agg|row_number|rank|lag|lead|nth|arg_|setseed|version|timestamp\(|qualify|distinct on|over`)

// FuzzStatement runs any text: nothing panics, and what is answered is answered the same whether scans are narrowed or not, and whether partials
// take the place of samples or not.
func FuzzStatement(f *testing.F) {
	for _, sql := range []string{
		"select * from samples where tag = 'alpha' and time >= '2026-01-01 00:00:00.09'", "select * from samples s join tags t using (tag_id) where t.unit = 'rpm' or s.tag = 'beta'",
		"with x as (select * from samples where tag in ('beta', 'alpha')) select a.time, b.value from x a left join x b using (time_ns) where a.quality < 3",
		"select * from (select tag as t, * from samples) where t like 'a%' and not (time > '2026-01-01')", "select * from samples a asof join samples b on a.tag = b.tag and a.time > b.time where a.tag = 'beta'",
		"select count(*) from samples where tag in (select name from tags where unit = 'bar') and severity = 'Good'", "select * from echo(tags => ['a'], pixels => 3)", "select 1; select 2", "from samples",
		"select tag, date_trunc('day', time) as d, count(*), avg(value), max(time) from samples where severity = 'Good' and time > '2026-01-01' group by all having min(value) > 1 order by d",
		"select time_bucket(interval '1 day', time) as time, sum(value) / count(value) as value from samples where tag in ('beta', 'gamma') group by rollup (1) order by value, time",
		"select time_bucket(interval 1 minute, time) b, tag, avg(value), stddev(value) from samples where severity = 'Good' group by all having count(*) > 1 order by all",
		"select t.unit, count(*), avg(value), min(time), count(distinct s.tag) from samples s join tags t on t.tag_id = s.tag_id and s.time > '2026-01-01' where value is not null and t.unit <> 'rpm' group by t.unit order by 2",
		"select distinct tag, date_trunc('hour', time) from samples left join tags using (tag_id) where unit = 'bar' and severity = 'Good'",
		"select u.unit, x.m from tags u join (select t.name, max(s.value) m from samples s cross join tags t where t.tag_id = s.tag_id group by 1) x on x.name = u.name where x.name like '%a'",
		"select *, row_number() over (partition by tag order by time desc) as n from samples where severity = 'Good' qualify n <= 2 and value > 1 order by all", "select distinct on (tag) tag, value from samples where value is not null order by tag, time desc",
		"select x.tag, t.unit from (select *, rank() over (partition by tag_id order by time_ns, value) as place from samples where severity = 'Good' and time > '2026-01-01') x join tags t using (tag_id) where place = 1 and x.value < 9",
		"pivot samples on tag in ('alpha', 'beta') using max(value) group by severity", "select tag, value - lag(value) over (partition by tag order by time_ns) from samples qualify row_number() over (order by time_ns, tag) < 9",
		"with recursive r as (select 1 as i union all select i + 1 from r where i < 9) select i, (select count(*) from samples where quality = i) from r", "select * from tags where name in (select tag from samples where value between 3 and 5) and unit is distinct from 'bar'",
		"select list_transform([1, 2], lambda x: x + 1), {'a': 1e999}, map {'a': 1}, 'x'::blob, time '1:00', interval 1 day, 1::decimal(30, 3), null, $1", "select * from samples s, lateral (select s.value * 2 as d) where s.tag = $$beta$$ -- ;",
		"select * exclude (seq) replace (value * 2 as value) from main.samples t(time) union by name select * from varve.main.good_samples", "select * from unnest([timestamptz '2026-01-01']) u(at) asof left join samples on u.at >= samples.time",
		"select\u00a01", "select 'a\x00b'", "select '\xff'", "(((", "select " + strings.Repeat("(", 300) + "1" + strings.Repeat(")", 300), "describe samples", "show tables", "set threads = 1", "select getenv('HOME')", "from '/etc/passwd'",
	} {
		f.Add(sql)
	}
	d := openTest(f)
	plain := openWith(f, slices.DeleteFunc(testTables(), func(t *Table) bool { return t.Internal }))
	f.Fuzz(func(t *testing.T, sql string) {
		if len(sql) > 2000 {
			t.Skip()
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_, _ = d.Describe(ctx, &testScanner{}, sql)
		if unsteady.MatchString(sql) {
			_ = d.Execute(ctx, &testScanner{}, sql, nil, NewWriter(io.Discard, func() error { return nil }))
			return
		}
		wide, err := answerWithin(ctx, d, &testScanner{ignore: true}, sql)
		if err != nil {
			return
		}
		narrow, err := answerWithin(ctx, d, &testScanner{encode: true}, sql)
		if ctx.Err() != nil {
			return
		}
		require.NoError(t, err)
		require.Equal(t, wide, narrow)
		plainly, err := answerWithin(ctx, plain, &testScanner{}, sql)
		if ctx.Err() != nil {
			return
		}
		require.NoError(t, err)
		require.Equal(t, plainly, narrow)
	})
}
