package rollup

import (
	"math"
	"math/big"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/varvedb/varve/model"
)

// goodOf is samples added in random portions; false where Add said so.
func goodOf(rt *rapid.T, points []Point, asked Asked) (g Good, ok bool) {
	var times []int64
	var raw []uint64
	for i := range points {
		times, raw = append(times, points[i].Time), append(raw, points[i].Bits)
	}
	for len(times) > 0 {
		n := min(len(times), rapid.SampledFrom([]int{1, 2, 60, 700, len(times)}).Draw(rt, "portion"))
		if !g.Add(times[:n], raw[:n], asked) {
			return g, false
		}
		times, raw = times[n:], raw[n:]
	}
	return g, true
}

// TestGoodAnswersAsTheSamplesDo holds Good between random edges against exact arithmetic over its samples.
func TestGoodAnswersAsTheSamplesDo(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		points := drawPoints(rt, model.Float64, rapid.IntRange(0, 9).Draw(rt, "wild") == 0)
		octave := rapid.SampledFrom([]uint64{0, 0x3FF, 0xC04}).Draw(rt, "sign and exponent of all")
		for i := range points {
			x := &points[i]
			x.Quality, x.Null, x.Gap = model.Good, false, false
			if octave != 0 {
				x.Bits = x.Bits&(1<<mantissaBits-1) | octave<<mantissaBits
			}
		}
		start, end := int64(noon-1e9), int64(noon+1e9)
		if len(points) > 0 {
			start = points[rapid.IntRange(0, len(points)-1).Draw(rt, "start")].Time + rapid.Int64Range(-3, 3).Draw(rt, "start offset")
			end = points[rapid.IntRange(0, len(points)-1).Draw(rt, "end")].Time + rapid.Int64Range(-3, 3).Draw(rt, "end offset")
		}
		if start > end {
			start, end = end, start
		}
		from := slices.IndexFunc(points, func(x Point) bool { return x.Time >= start })
		if from < 0 {
			from = len(points)
		}
		to := from
		for to < len(points) && points[to].Time < end {
			to++
		}
		asked := Asked{Extremes: true, Moments: rapid.Bool().Draw(rt, "moments"), Area: true, Stepped: rapid.Bool().Draw(rt, "stepped")}
		in, ok := goodOf(rt, points[from:to], asked)
		before, ok1 := goodOf(rt, points[max(from-1, 0):from], asked)
		after, ok2 := goodOf(rt, points[to:min(to+1, len(points))], asked)
		if !ok || !ok1 || !ok2 {
			require.True(rt, slices.ContainsFunc(points, func(x Point) bool { return !(math.Abs(math.Float64frombits(x.Bits)) < 1e300) }) ||
				uint64(points[to-1].Time)-uint64(points[from].Time) >= maxReach)
			return
		}
		iv := GoodInterval{Start: start, End: end, Before: &before, In: &in, After: &after}
		hold := start
		if to > 0 {
			hold = points[to-1].Time + 1
		}
		durations := refDurations(points, start, end, hold)
		require.Equal(rt, durations.Good(), iv.Covered())
		sum, integral := bounds(len(points), 0)
		want, _, magnitude := refIntegral(points, Rule{Stepped: asked.Stepped}, start, end, hold)
		requireNear(rt, want, iv.Area(asked.Stepped), magnitude, integral)

		total, all := zero(), zero()
		least, most := math.Inf(1), math.Inf(-1)
		for _, x := range points[from:to] {
			v := valueOf(&x)
			total.Add(total, v)
			all.Add(all, new(big.Float).Abs(v))
			f := math.Float64frombits(x.Bits)
			least, most = min(least, f), max(most, f)
		}
		stats := in.Stats()
		require.EqualValues(rt, to-from, stats.N())
		requireNear(rt, total, stats.Sum(), all, sum)
		if from < to {
			lo, _ := stats.Min()
			hi, _ := stats.Max()
			require.Equal(rt, least, math.Float64frombits(lo.Bits))
			require.Equal(rt, most, math.Float64frombits(hi.Bits))
			if asked.Moments {
				requireMoment(rt, points[from:to], lo)
				requireMoment(rt, points[from:to], hi)
			}
			require.Equal(rt, points[from].Bits, in.First())
			require.Equal(rt, points[to-1].Bits, in.Last())
		}
	})
}

// requireMoment holds an extreme against the samples that have it: the bits and the time are those of the first.
func requireMoment(rt *rapid.T, points []Point, have Extreme) {
	var want Extreme
	n := 0
	for _, x := range points {
		if math.Float64frombits(x.Bits) == math.Float64frombits(have.Bits) {
			if n++; n == 1 {
				want = Extreme{Bits: x.Bits, Time: x.Time}
			}
		}
	}
	want.Again = n > 1
	require.Equal(rt, want, have)
}

// TestRegularIsOneStepOnly has samples at one time and other steps at every place of a grid.
func TestRegularIsOneStepOnly(t *testing.T) {
	for n := range 12 {
		for odd := -1; odd <= n; odd++ {
			for _, other := range []int64{0, 1, 500, 999, 2000} {
				times, at := []int64(nil), int64(0)
				for i := range n {
					step := int64(1000)
					if i == odd {
						step = other
					}
					at += step
					times = append(times, at)
				}
				require.Equal(t, odd < 0 || odd == n, regular(0, times, 1000), "%v", times)
			}
		}
	}
}

// TestIntegralsOfSamplesAtOneTime are those of the segments, wherever on a grid a second sample lies.
func TestIntegralsOfSamplesAtOneTime(t *testing.T) {
	for twice := 1; twice < 11; twice++ {
		s := model.Samples{Type: model.Float64}
		for i := range 12 {
			at := int64(i) * 1e9
			if i >= twice {
				at -= 1e9
			}
			x := model.Sample{Type: model.Float64, Time: at, Bits: math.Float64bits(70 + float64(i))}
			if i == twice {
				x.Seq = 1
			}
			s.Append(x)
		}
		var run, one Partial
		run.Add(&s, 0, s.Len())
		for i := range s.Len() {
			one.Add(&s, i, i+1)
		}
		var good Good
		require.True(t, good.Add(s.Times, s.Bits, Asked{Area: true}))
		require.Equal(t, one.integrals, run.integrals, "sample %d", twice)
		require.Equal(t, one.integrals[slopedStrict], good.area, "sample %d", twice)
	}
}
