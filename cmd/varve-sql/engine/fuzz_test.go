//go:build cgo

package engine

import (
	"context"
	"io"
	"regexp"
	"slices"
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
