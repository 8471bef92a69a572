//go:build cgo

package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/cmd/varve-sql/rewrite"
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

// TestExactBounds holds what take says is exact to the rows themselves.
func TestExactBounds(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 3))
	t.Logf("seed %d", seed)
	qualities := []int64{0, 1, 1<<30 - 1, 1 << 30, 1<<30 + 5, 1<<31 - 1, 1 << 31, 1<<32 - 1}
	names := []string{"Good", "Uncertain", "Bad"}
	type row struct{ ns, quality int64 }
	var rows []row
	for _, us := range []int64{-2, -1, 0, 1, 2} {
		for _, rest := range []int64{0, 1, 999} {
			rows = append(rows, row{us*1000 + rest, qualities[rng.IntN(len(qualities))]})
		}
	}
	exact := 0
	for range 20_000 {
		b := rewrite.Bound{Role: []rewrite.Role{rewrite.Time, rewrite.TimeNS, rewrite.Quality, rewrite.Severity}[rng.IntN(4)], Op: rewrite.Op(rng.IntN(5))}
		var cells []cell
		for range 1 + rng.IntN(2)*rng.IntN(2) {
			c := cell{typ: "BIGINT", null: rng.IntN(10) == 0}
			switch b.Role {
			case rewrite.Time:
				c.typ, c.number = "TIMESTAMP WITH TIME ZONE", rng.Int64N(7)-3
			case rewrite.TimeNS:
				c.number = rng.Int64N(6000) - 3000
			case rewrite.Quality:
				c.number = qualities[rng.IntN(len(qualities))] + rng.Int64N(3) - 1
			case rewrite.Severity:
				c.typ, c.text = "VARCHAR", append(names, "x")[rng.IntN(4)]
			}
			cells = append(cells, c)
			if b.Op != rewrite.Equal {
				break
			}
		}
		var h Hints
		isExact := h.take(b, cells)
		for _, r := range rows {
			severity := min(r.quality>>30, 2)
			left := !h.Nothing && (h.Start == nil || r.ns >= *h.Start) && (h.End == nil || r.ns < *h.End) && (h.Severities == 0 || h.Severities>>severity&1 == 1)
			meets := slices.ContainsFunc(cells, func(c cell) bool {
				x := map[rewrite.Role]int64{rewrite.Time: micros(r.ns), rewrite.TimeNS: r.ns, rewrite.Quality: r.quality}[b.Role]
				order := int(min(max(x-c.number, -1), 1))
				if b.Role == rewrite.Severity {
					order = strings.Compare(names[severity], c.text)
				}
				return !c.null && (b.Op == rewrite.Equal && order == 0 || b.Op == rewrite.Less && order < 0 || b.Op == rewrite.LessOrEqual && order <= 0 ||
					b.Op == rewrite.Greater && order > 0 || b.Op == rewrite.GreaterOrEqual && order >= 0)
			})
			if isExact {
				require.Equal(t, meets, left, "%+v %+v: %+v", b, cells, r)
			} else if meets {
				require.True(t, left, "%+v %+v: %+v", b, cells, r)
			}
		}
		if isExact {
			exact++
		}
	}
	require.Greater(t, exact, 5_000)
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
