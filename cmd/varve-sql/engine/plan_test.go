//go:build cgo

package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// plansOf is the texts that the sessions of a database keep.
func plansOf(d *Database) (texts []string) {
	for _, s := range d.idle {
		for _, p := range s.plans.all {
			texts = append(texts, p.text)
		}
	}
	return texts
}

// A plan that is kept has nothing of the execution before: neither its values and their types, nor its rows, nor its clock, nor who asked.
func TestAPlanHasNothingOfAnExecution(t *testing.T) {
	d := openTest(t)
	const where = "select count(*), min(tag) from samples where tag = $1 and time < $2"
	for range 2 {
		for i, tag := range []any{"alpha", "beta", nil, "nobody", "gamma"} {
			s := &testScanner{}
			rows, err := answer(d, s, where, tag, Instant(testStart+int64(i)*testStep+1000))
			require.NoError(t, err)
			want := map[any]string{"alpha": "1|alpha", "beta": "2|beta", "gamma": "5|gamma"}[tag]
			if want == "" {
				want = "0|(null)"
			}
			require.Equal(t, []string{want}, rows)
			if tag != nil {
				require.Len(t, s.asked, 1)
				require.Equal(t, []string{tag.(string)}, s.asked[0].Names.Names, "the scan is asked of who asks now")
			}
		}
	}
	// Types of values.
	for range 2 {
		for value, want := range map[any]string{int64(1): "2|BIGINT", 1.5: "2.5|DOUBLE", nil: "(null)|"} {
			rows, err := answer(d, &testScanner{}, "select $1 + 1, typeof($1)", value)
			require.NoError(t, err)
			require.True(t, strings.HasPrefix(rows[0], want), "%v: %s", value, rows)
		}
		rows, err := answer(d, &testScanner{}, "select count(*) from samples where time >= $1", "2026-01-01 00:00:00.09")
		require.NoError(t, err)
		require.Equal(t, []string{"200"}, rows)
		rows, err = answer(d, &testScanner{}, "select count(*) from samples where time >= $1", Instant(testStart))
		require.NoError(t, err)
		require.Equal(t, []string{"2000"}, rows)
	}
	// The clock.
	var last string
	for range 3 {
		rows, err := answer(d, &testScanner{}, "select now()::varchar, count(*) from samples where time < now() and time > now() - interval 1 day")
		require.NoError(t, err)
		require.Greater(t, rows[0], last)
		last = rows[0]
		time.Sleep(2 * time.Millisecond)
	}
	// Sets of tags are selected anew, also where the tags are others.
	const set = "select count(*) from samples where tag_id in (select tag_id from tags where unit = $1)"
	for unit, want := range map[string]string{"rpm": "400", "bar": "800", "none": "0"} {
		rows, err := answer(d, &testScanner{}, set, unit)
		require.NoError(t, err)
		require.Equal(t, []string{want}, rows)
	}
	// An error ends with its execution.
	_, err := answer(d, &testScanner{err: errors.New("disk")}, where, "alpha", Instant(math.MaxInt64))
	require.ErrorContains(t, err, "disk")
	_, err = answer(d, &testScanner{}, where, "alpha")
	require.ErrorIs(t, err, ErrStatement)
	rows, err := answer(d, &testScanner{}, where, "alpha", Instant(testStart+1000))
	require.NoError(t, err)
	require.Equal(t, []string{"1|alpha"}, rows)
	// What is described is the same before and after.
	before, err := d.Describe(context.Background(), &testScanner{}, "select $1::bigint as a, tag from samples where time > $2")
	require.NoError(t, err)
	_, err = answer(d, &testScanner{}, "select $1::bigint as a, tag from samples where time > $2", "7", "2026-01-01")
	require.NoError(t, err)
	after, err := d.Describe(context.Background(), &testScanner{}, "select $1::bigint as a, tag from samples where time > $2")
	require.NoError(t, err)
	require.True(t, before.Columns.Equal(after.Columns) && before.Parameters.Equal(after.Parameters))
	// Columns that depend on arguments are asked for each time.
	for range 2 {
		for tags, want := range map[string]string{"['a', 'b']": "0|1", "['c']": "0"} {
			rows, err := answer(d, &testScanner{}, "select * from spread(tags => "+tags+")")
			require.NoError(t, err)
			require.Equal(t, []string{want}, rows)
		}
	}
	require.NotContains(t, strings.Join(plansOf(d), "\n"), "spread")
}

func TestPlansAreBounded(t *testing.T) {
	d := openTest(t)
	for i := range maxPlans + 10 {
		_, err := answer(d, &testScanner{}, fmt.Sprintf("select %d", i))
		require.NoError(t, err)
		_, err = answer(d, &testScanner{}, "select 'often'")
		require.NoError(t, err)
	}
	texts := plansOf(d)
	require.Len(t, texts, maxPlans)
	require.Contains(t, texts, "select 'often'")
	require.NotContains(t, texts, "select 0")
	for i := range 6 {
		_, err := answer(d, &testScanner{}, fmt.Sprintf("select %d /* %s */", i, strings.Repeat("x", maxPlanBytes/4)))
		require.NoError(t, err)
	}
	require.Len(t, plansOf(d), 3)
	_, err := answer(d, &testScanner{}, "select 1 /* "+strings.Repeat("x", maxPlanBytes)+" */")
	require.NoError(t, err)
	require.Empty(t, plansOf(d))
}

// BenchmarkAgain is a statement with two parameters again and again, of a table of a few rows: what is left is the engine's.
func BenchmarkAgain(b *testing.B) {
	d := openTest(b)
	for b.Loop() {
		w := NewWriter(io.Discard, func() error { return nil })
		sql := "select time, value from samples where tag = $1 and time >= $2 order by time desc limit 1"
		require.NoError(b, d.Execute(context.Background(), &testScanner{encode: true}, sql, []Value{"alpha", Instant(testStart + 395*testStep)}, w))
	}
}
