package circular

import (
	"math"
	"math/cmplx"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/varvedb/varve/internal/golden"
)

type direction struct {
	value  float64
	weight uint64
}

func sumOf(t require.TestingT, period float64, directions ...direction) *Sum {
	s, err := New(period)
	require.NoError(t, err)
	for _, d := range directions {
		s.Add(d.value, d.weight)
	}
	return s
}

func degrees(values ...float64) (out []direction) {
	for _, v := range values {
		out = append(out, direction{v, 1})
	}
	return out
}

func TestDirections(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for _, c := range []struct {
		name            string
		of              []direction
		mean, deviation float64
	}{
		{"around zero", degrees(350, 10), 0, 10.0255},
		{"one", degrees(123), 123, 0},
		{"the same, turns apart", degrees(-90, 270, 630), 270, 0},
		{"a full turn is zero", degrees(360), 0, 0},
		{"opposite", degrees(0, 180), nan, inf},
		{"all round", degrees(0, 90, 180, 270), nan, inf},
		{"right angle", degrees(0, 90), 45, 47.7019},
		{"none", nil, nan, nan},
		{"not finite", degrees(nan, inf, -inf), nan, nan},
		{"not finite among others", degrees(nan, 20, inf), 20, 0},
		{"weights", []direction{{0, 3}, {90, 1}}, 18.4349, 39.2802},
		{"no weight", []direction{{40, 0}, {50, 7}}, 50, 0},
	} {
		s := sumOf(t, Degrees, c.of...)
		requireNear(t, c.mean, s.Mean(), c.name)
		requireNear(t, c.deviation, s.Deviation(), c.name)
	}
	requireNear(t, 23.5, sumOf(t, 24, degrees(23, 0)...).Mean(), "hours")
}

func requireNear(t *testing.T, want, have float64, name string) {
	t.Helper()
	require.True(t, want != want && have != have || want == have || math.Abs(want-have) < 1e-4, "%s: have %v, want %v", name, have, want)
}

// TestWorkedExample holds the page and the package against each other.
func TestWorkedExample(t *testing.T) {
	const page = "../../docs/reference/reductions.md"
	parse := func(s string) float64 {
		f, err := strconv.ParseFloat(s, 64)
		require.NoError(t, err)
		return f
	}
	var events, held []direction
	for _, row := range golden.Table(t, page, "circular-samples") {
		events = append(events, direction{parse(row[0]), 1})
		held = append(held, direction{parse(row[0]), uint64(parse(row[1]) * 1e9)})
	}
	var have [][]string
	for _, c := range []struct {
		name string
		of   []direction
	}{{"event-weighted", events}, {"time-weighted", held}} {
		s := sumOf(t, Degrees, c.of...)
		have = append(have, []string{c.name, strconv.FormatFloat(s.Mean(), 'f', 3, 64), strconv.FormatFloat(s.Deviation(), 'f', 3, 64)})
	}
	require.Equal(t, golden.Table(t, page, "circular"), have)
}

var anyDirection = rapid.Custom(func(t *rapid.T) direction {
	return direction{
		rapid.OneOf(rapid.Float64Range(-1000, 1000), rapid.SampledFrom([]float64{0, 90, 180, 270, 360})).Draw(t, "value"),
		rapid.OneOf(rapid.Uint64Range(1, 10), rapid.Uint64Range(1, 1e18)).Draw(t, "weight"),
	}
})

// TestMeanIsThatOfComplexNumbers adds the arrows as complex numbers, in any split.
func TestMeanIsThatOfComplexNumbers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		directions := rapid.SliceOfN(anyDirection, 1, 30).Draw(t, "directions")
		var arrow complex128
		var weight float64
		for _, d := range directions {
			arrow += cmplx.Rect(float64(d.weight), d.value*math.Pi/180)
			weight += float64(d.weight)
		}
		cut := rapid.IntRange(0, len(directions)).Draw(t, "cut")
		s := sumOf(t, Degrees, directions[:cut]...)
		s.Merge(sumOf(t, Degrees, directions[cut:]...))
		agreement := cmplx.Abs(arrow) / weight
		require.InDelta(t, agreement, s.Agreement(), 1e-13)
		if agreement > 1e-6 {
			apart := math.Remainder(s.Mean()-cmplx.Phase(arrow)*180/math.Pi, 360)
			require.InDelta(t, 0, apart, 1e-6)
			require.True(t, s.Mean() >= 0 && s.Mean() < 360)
			require.InDelta(t, math.Sqrt(-2*math.Log(math.Min(agreement, 1)))*180/math.Pi, s.Deviation(), 1e-5)
		}
	})
}

// Equal directions deviate by nothing at all, however many there are and however they were merged.
func TestEqualDirectionsDoNotDeviate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := anyDirection.Draw(t, "direction")
		s := sumOf(t, Degrees)
		for range rapid.IntRange(1, 20).Draw(t, "parts") {
			part := sumOf(t, Degrees)
			for range rapid.IntRange(0, 1000).Draw(t, "samples") {
				part.Add(d.value, d.weight)
			}
			s.Merge(part)
		}
		s.Add(d.value, d.weight)
		require.Zero(t, s.Deviation())
		require.Equal(t, 1.0, s.Agreement())
	})
}

func TestPeriodIsChecked(t *testing.T) {
	for _, period := range []float64{0, -360, math.NaN(), math.Inf(1)} {
		_, err := New(period)
		require.ErrorContains(t, err, "period of directions", period)
	}
	require.Panics(t, func() { sumOf(t, 360).Merge(sumOf(t, 24)) })
}

func BenchmarkAdd(b *testing.B) {
	s := sumOf(b, Degrees)
	for i := range b.N {
		s.Add(float64(i%1000)*0.36, 1e9)
	}
}
