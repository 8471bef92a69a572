package counter

import (
	"encoding/json"
	"math"
	"math/big"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/varvedb/varve/internal/golden"
	"github.com/varvedb/varve/storage/rollup"
)

func partialOf(l Limits, points ...Point) *Partial {
	var p Partial
	for _, x := range points {
		p.Add(x.Time, x.Value, l)
	}
	return &p
}

func seconds(points [][2]float64) (out []Point) {
	for _, x := range points {
		out = append(out, Point{int64(x[0] * 1e9), uint64(x[1])})
	}
	return out
}

// TestPublicCounters holds increases, rates and resets of counters that never roll over against those of others.
func TestPublicCounters(t *testing.T) {
	var file struct {
		Counters []struct {
			Points        [][2]float64
			ResetSum      *uint64 `json:"reset_sum"`
			Resets        *int64  `json:"num_resets"`
			Delta         *uint64
			Rate          *float64 `json:"rate_per_unit"`
			FirstStep     *uint64  `json:"first_step_delta"`
			LastStep      *uint64  `json:"last_step_delta"`
			FirstStepRate *float64 `json:"first_step_rate"`
			LastStepRate  *float64 `json:"last_step_rate"`
			Monotonic     []uint64 `json:"monotonic_values"`
		}
		Resets struct {
			Step   int64 `json:"step_s"`
			At     int64 `json:"eval_s"`
			Series map[string][]uint64
			Cases  []struct {
				Range  int64 `json:"range_s"`
				Expect map[string]int64
			}
		}
		Increase struct {
			Points [][2]any
			Expect []uint64
		}
	}
	raw, err := os.ReadFile("testdata/conformance.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, &file))
	require.Len(t, file.Counters, 4)
	require.Len(t, file.Resets.Cases, 5)

	var none Limits
	for _, c := range file.Counters {
		points := seconds(c.Points)
		p, n := partialOf(none, points...), len(points)
		if c.ResetSum != nil { // what was counted beyond the difference of the ends
			require.Equal(t, *c.ResetSum, p.Increase().Lo+p.First.Value-p.Last.Value)
		}
		if c.Resets != nil {
			require.Equal(t, *c.Resets, p.Resets)
		}
		if c.Delta != nil {
			require.Equal(t, *c.Delta, p.Increase().Lo)
		}
		if c.Rate != nil {
			require.Equal(t, *c.Rate, p.Rate())
			first, last := partialOf(none, points[:2]...), partialOf(none, points[n-2:]...)
			require.Equal(t, []uint64{*c.FirstStep, *c.LastStep}, []uint64{first.Increase().Lo, last.Increase().Lo})
			require.Equal(t, []float64{*c.FirstStepRate, *c.LastStepRate}, []float64{first.Rate(), last.Rate()})
		}
		for i, want := range c.Monotonic {
			require.Equal(t, want, partialOf(none, points[:i+1]...).Increase().Lo)
		}
	}
	for name, values := range file.Resets.Series {
		for _, c := range file.Resets.Cases {
			var p Partial
			for i, v := range values {
				if at := int64(i) * file.Resets.Step; at > file.Resets.At-c.Range && at <= file.Resets.At {
					p.Add(at*1e9, v, none)
				}
			}
			require.Equal(t, c.Expect[name], p.Resets, "%s over %d s", name, c.Range)
		}
	}
	// The first value is -2, which no counter shows; from the next one on the series are comparable.
	var p Partial
	for i, x := range file.Increase.Points[1:] {
		p.Add(int64(i)*1e10, uint64(x[1].(float64)), none)
		require.Equal(t, file.Increase.Expect[i+1]-file.Increase.Expect[1], p.Increase().Lo)
	}
}

// TestWorkedExample holds the page and the package against each other.
func TestWorkedExample(t *testing.T) {
	const page = "../../docs/reference/reductions.md"
	l := Limits{Highest: 65535}
	var p Partial
	for _, row := range golden.Table(t, page, "counter-samples") {
		at, err := time.Parse(time.DateTime, "2026-11-25 "+row[0])
		require.NoError(t, err)
		v, err := strconv.ParseUint(row[1], 10, 64)
		require.NoError(t, err)
		before := p
		p.Add(at.UnixNano(), v, l)
		counted := strconv.FormatUint(p.Increase().Lo-before.Increase().Lo, 10)
		switch {
		case before.Samples == 0:
			counted = "-"
		case p.Rollovers > before.Rollovers:
			counted += " rollover"
		case p.Resets > before.Resets:
			counted += " reset"
		}
		have := counted
		want := row[2]
		if len(row) > 3 {
			want += " " + row[3]
		}
		require.Equal(t, want, have, "at %s", row[0])
	}
	require.Equal(t, golden.Table(t, page, "counter"), [][]string{
		{"increase", strconv.FormatUint(p.Increase().Lo, 10)},
		{"rate", strconv.FormatFloat(p.Rate(), 'g', 5, 64)},
		{"rollovers", strconv.FormatInt(p.Rollovers, 10)},
		{"resets", strconv.FormatInt(p.Resets, 10)},
	})
}

func TestFalls(t *testing.T) {
	const most = math.MaxUint64
	for _, c := range []struct {
		name              string
		l                 Limits
		from, to, counted uint64
		rollovers, resets int64
	}{
		{"growth", Limits{Highest: 99}, 40, 90, 50, 0, 0},
		{"no limits", Limits{}, 90, 4, 4, 0, 1},
		{"rollover", Limits{Highest: 99}, 90, 4, 14, 1, 0},
		{"from the highest to zero", Limits{Highest: 99}, 99, 0, 1, 1, 0},
		{"half a turn", Limits{Highest: 99}, 60, 9, 49, 1, 0},
		{"more than half", Limits{Highest: 99}, 60, 10, 10, 0, 1},
		{"within its step", Limits{Highest: 99, Step: 20}, 90, 10, 20, 1, 0},
		{"beyond its step", Limits{Highest: 99, Step: 20}, 90, 11, 11, 0, 1},
		{"from above the highest", Limits{Highest: 99}, 120, 4, 4, 0, 1},
		{"growth above the highest", Limits{Highest: 99}, 90, 120, 30, 0, 0},
		{"64 bits", Limits{Highest: most}, most - 1, 3, 5, 1, 0},
		{"64 bits, a whole turn but one", Limits{Highest: most, Step: most}, most, most - 1, most, 1, 0},
		{"64 bits, growth", Limits{}, 0, most, most, 0, 0},
	} {
		p := partialOf(c.l, Point{0, c.from}, Point{1e9, c.to})
		require.Equal(t, rollup.Int128{Lo: c.counted}, p.Increase(), c.name)
		require.Equal(t, [2]int64{c.rollovers, c.resets}, [2]int64{p.Rollovers, p.Resets}, c.name)
	}
}

func TestMoreThan64Bits(t *testing.T) {
	const most = math.MaxUint64
	p := partialOf(Limits{Highest: most, Step: most}, Point{0, 0}, Point{1e9, most}, Point{2e9, most - 1})
	require.Equal(t, rollup.Int128{Hi: 1, Lo: most - 1}, p.Increase())
	require.Equal(t, 0x1p64, p.Rate())
}

func TestRate(t *testing.T) {
	require.True(t, math.IsNaN(new(Partial).Rate()))
	require.True(t, math.IsNaN(partialOf(Limits{}, Point{5, 1}).Rate()))
	require.Equal(t, 0.5, partialOf(Limits{}, Point{math.MinInt64, 7}, Point{math.MinInt64 + 4e9, 9}).Rate())
	require.InDelta(t, 100/18446744073.709, partialOf(Limits{}, Point{math.MinInt64, 0}, Point{math.MaxInt64, 100}).Rate(), 1e-15)
}

func TestLimitsAreChecked(t *testing.T) {
	require.NoError(t, Limits{Highest: 10, Step: 10}.Check())
	require.NoError(t, Limits{}.Check())
	require.ErrorContains(t, Limits{Highest: 10, Step: 11}.Check(), "step 11 and highest value 10")
	require.Error(t, Limits{Step: 1}.Check())
}

// TestCountedIsWhatWasCounted lets a counter count, roll over and be reset, reads it now and then, and finds what it has
// counted, exactly, in any split: all of it as long as it is read often enough and resets are told apart by the step.
func TestCountedIsWhatWasCounted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := Limits{Highest: rapid.SampledFrom([]uint64{9, 99, 65535, math.MaxUint32, math.MaxUint64 - 1, math.MaxUint64}).Draw(t, "highest")}
		l.Step = max(1, l.Highest/uint64(rapid.IntRange(2, 10).Draw(t, "steps a turn")))
		turn := new(big.Int).Add(new(big.Int).SetUint64(l.Highest), big.NewInt(1))
		value := rapid.Uint64Range(0, l.Highest).Draw(t, "first")
		points := []Point{{0, value}}
		counted := new(big.Int)
		var rollovers, resets int64
		for i := range rapid.IntRange(0, 40).Draw(t, "reads") {
			step := rapid.Uint64Range(0, l.Step).Draw(t, "step")
			next := new(big.Int).SetUint64(value)
			reset := rapid.IntRange(0, 9).Draw(t, "reset") == 0
			if reset && l.Highest-value >= l.Step && step < value { // so far below that no rollover leads there
				value, resets = step, resets+1
			} else {
				next.Add(next, new(big.Int).SetUint64(step))
				if next.Cmp(turn) >= 0 {
					next.Sub(next, turn)
					rollovers++
				}
				value = next.Uint64()
			}
			counted.Add(counted, new(big.Int).SetUint64(step))
			points = append(points, Point{int64(i+1) * 1e9, value})
		}
		var parts []*Partial
		for from := 0; from < len(points); {
			to := rapid.IntRange(from, len(points)).Draw(t, "cut") // some are empty
			parts = append(parts, partialOf(l, points[from:to]...))
			if to == from {
				to++
				parts = append(parts, partialOf(l, points[from:to]...))
			}
			from = to
		}
		for len(parts) > 1 {
			i := rapid.IntRange(0, len(parts)-2).Draw(t, "merge")
			parts[i].Merge(parts[i+1], l)
			parts = append(parts[:i+1], parts[i+2:]...)
		}
		p := parts[0]
		require.Equal(t, partialOf(l, points...), p)
		have := new(big.Int).SetInt64(p.Increase().Hi)
		have.Lsh(have, 64).Add(have, new(big.Int).SetUint64(p.Increase().Lo))
		require.Equal(t, counted.String(), have.String())
		require.Equal(t, [2]int64{rollovers, resets}, [2]int64{p.Rollovers, p.Resets})
		require.Equal(t, [2]Point{points[0], points[len(points)-1]}, [2]Point{p.First, p.Last})
		require.Equal(t, int64(len(points)), p.Samples)
	})
}

func BenchmarkAdd(b *testing.B) {
	l := Limits{Highest: 65535}
	var p Partial
	for i := range b.N {
		p.Add(int64(i), uint64(i*7)&0xFFFF, l)
	}
}
