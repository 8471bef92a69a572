package rollup

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/model"
)

func floats(values ...float64) *model.Samples {
	s := &model.Samples{Type: model.Float64}
	for i, v := range values {
		s.Append(model.Sample{Time: noon + int64(i)*1e9, Type: model.Float64, Bits: math.Float64bits(v)})
	}
	return s
}

func partialOf(s *model.Samples) *Partial {
	var p Partial
	p.Add(s, 0, s.Len())
	return &p
}

// NaN and infinities are values: sums are what IEEE arithmetic makes of them, in any order; extremes pass over NaN.
func TestSpecialValues(t *testing.T) {
	inf, nan := math.Inf(1), math.NaN()
	for _, c := range []struct {
		name               string
		values             []float64
		sum, least, most   float64
		leastAgain, finite bool
	}{
		{"NaN among others", []float64{nan, 3, 1, nan, 2}, nan, 1, 3, false, false},
		{"NaN alone", []float64{nan, nan}, nan, nan, nan, true, false},
		{"infinity", []float64{1, inf, 2}, inf, 1, inf, false, false},
		{"both infinities", []float64{inf, 1, -inf}, nan, -inf, inf, false, false},
		{"zeros are one value", []float64{math.Copysign(0, -1), 0, 1}, 1, 0, 1, true, true},
		{"cancellation", []float64{1e17, 1, -1e17}, 1, -1e17, 1e17, false, true},
		{"overflow", []float64{math.MaxFloat64, math.MaxFloat64}, inf, math.MaxFloat64, math.MaxFloat64, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			// Ones behind them make a run, which takes other code, and change no extreme.
			for _, length := range []int{0, 2 * minRun} {
				values := append([]float64(nil), c.values...)
				for range length {
					values = append(values, 1)
				}
				s := floats(values...)
				whole := partialOf(s)
				for at := range len(c.values) + 1 {
					var p, q Partial
					p.Add(s, 0, at)
					q.Add(s, at, s.Len())
					p.Merge(&q)
					for _, p := range []*Partial{whole, &p} {
						st, ok := p.Stats(true)
						require.True(t, ok)
						want := c.sum + float64(length)
						require.True(t, st.Sum() == want || want != want && st.Sum() != st.Sum(), "sum %v, want %v", st.Sum(), want)
						if length == 0 {
							require.Equal(t, c.finite, model.Finite(st.Variance()))
							least, _ := st.Min()
							require.Equal(t, c.leastAgain, least.Again)
							requireDouble(t, c.least, math.Float64frombits(least.Bits))
							most, _ := st.Max()
							requireDouble(t, c.most, math.Float64frombits(most.Bits))
						}
					}
				}
			}
		})
	}
}

func requireDouble(t *testing.T, want, have float64) {
	t.Helper()
	require.True(t, want == have || want != want && have != have, "have %v, want %v", have, want)
}

// Equal values have variance 0, whatever their bits and however they were merged.
func TestEqualValuesHaveNoVariance(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		v := math.Float64frombits(rng.Uint64()&^(0x7FF<<52) | uint64(600+rng.IntN(800))<<52)
		values := make([]float64, 1+rng.IntN(3000))
		for i := range values {
			values[i] = v
		}
		s := floats(values...)
		var p Partial
		for at := 0; at < s.Len(); {
			end := min(s.Len(), at+1+rng.IntN(800))
			var q Partial
			q.Add(s, at, end)
			p.Merge(&q)
			at = end
		}
		st, _ := p.Stats(true)
		require.Zero(t, st.Variance(), "%v, %d times", v, len(values))
		requireDouble(t, v, st.Mean())
	}
}

func TestIntegersBeyondDoubles(t *testing.T) {
	s := &model.Samples{Type: model.Int64}
	for i, v := range []int64{math.MaxInt64, math.MaxInt64, math.MinInt64, math.MaxInt64 - 1} {
		s.Append(model.Sample{Time: int64(i), Type: model.Int64, Bits: uint64(v)})
	}
	st, _ := partialOf(s).Stats(true)
	require.Equal(t, Int128{0, 2*math.MaxInt64 - 2}, st.SumInt())
	least, _ := st.Min()
	require.Equal(t, Extreme{Bits: 1 << 63, Time: 2}, least)
	most, _ := st.Max()
	require.Equal(t, Extreme{Bits: math.MaxInt64, Time: 0, Again: true}, most)

	u := &model.Samples{Type: model.Uint64}
	for i := range 3 * minRun {
		u.Append(model.Sample{Time: int64(i), Type: model.Uint64, Bits: math.MaxUint64})
	}
	st, _ = partialOf(u).Stats(true)
	require.Equal(t, Int128{3*minRun - 1, ^uint64(0) - 3*minRun + 1}, st.SumInt())
	require.Zero(t, st.Variance())
}

func TestMisuse(t *testing.T) {
	p := partialOf(floats(1, 2, 3))
	require.Panics(t, func() { q := *p; q.Merge(partialOf(floats(1))) })
	require.Panics(t, func() { q := *p; q.Add(floats(1), 0, 1) })
	require.Panics(t, func() { q := *p; q.AddGap(model.Float64, noon, model.BadNoCommunication) })
	require.Panics(t, func() { q := *p; q.AddGap(model.Int64, noon+5e9, model.BadNoCommunication) })
	require.Panics(t, func() { AppendRow(nil, nil, AllGroups) })
	require.Panics(t, func() { AppendRow(nil, make([]Partial, MaxRow+1), AllGroups) })
}

// A copy keeps what it had: states live in a slice, and it must not be shared.
func TestCopiesAreIndependent(t *testing.T) {
	s := &model.Samples{Type: model.State}
	for i := range 100 {
		s.Append(model.Sample{Time: int64(i), Type: model.State, Bits: uint64(i / 10)})
	}
	var p Partial
	p.Add(s, 0, 50)
	kept := p
	want := stored(p)
	p.Add(s, 50, 100)
	require.Equal(t, exact(want), exact(kept))
}

// The examples of OPC UA Part 13 (Annex A points to the file they are from), as far as they are numbers of intervals. Left
// out are sloped extrapolation, which is the reader's, and DurationGood of Historian1, which follows version 1.04 for
// segments that end inside an interval and 1.05 for those that its end cuts.
func TestExamplesOfPart13(t *testing.T) {
	var file struct {
		Cases []struct {
			ID, Dataset, Aggregate string
			Start                  int64 `json:"start_s"`
			Stepped                bool
			UncertainAsBad         bool       `json:"uncertain_as_bad"`
			IntervalMs             int64      `json:"interval_ms"`
			Expect                 []*float64 // null: no value
		}
		Datasets map[string][]struct {
			T       int64 // seconds
			V       float64
			Quality model.Quality
		}
	}
	b, err := os.ReadFile("testdata/part13.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &file))
	for _, c := range file.Cases {
		t.Run(c.ID, func(t *testing.T) {
			s := &model.Samples{Type: model.Float64}
			for _, x := range file.Datasets[c.Dataset] {
				s.Append(model.Sample{Time: x.T * 1e9, Type: model.Float64, Bits: math.Float64bits(x.V), Quality: x.Quality, Null: x.Quality.IsBad()})
			}
			for i, want := range c.Expect {
				if want == nil {
					continue
				}
				start := c.Start*1e9 + int64(i)*c.IntervalMs*1e6
				end := start + c.IntervalMs*1e6
				from, to := 0, 0
				for j, at := range s.Times {
					if at < start {
						from = j + 1
					}
					if at < end {
						to = j + 1
					}
				}
				var before, in, after Partial
				before.Add(s, 0, from)
				in.Add(s, from, to)
				after.Add(s, to, s.Len())
				// Annex A works in steps of 1 ms and lets the last sample hold for one of them (5.4.2.4).
				// Totals over interpolated bounds extrapolate to the end of the interval.
				iv := Interval{Start: start, End: end, Before: &before, In: &in, After: &after, Hold: s.Times[s.Len()-1] + 1e6}
				if c.Aggregate == "Total" {
					iv.Hold = end
				}
				require.InDelta(t, *want, answer(t, c.Aggregate, &iv, Rule{Stepped: c.Stepped, UncertainAsBad: c.UncertainAsBad}), 0.0006, "interval %d", i)
			}
		})
	}
}

func answer(t *testing.T, aggregate string, iv *Interval, r Rule) float64 {
	d := iv.Durations()
	switch aggregate {
	case "TimeAverage", "Total", "TimeAverage2", "Total2":
		if aggregate == "TimeAverage" {
			r.Stepped = false // always sloped
		}
		r.Bridged = aggregate == "TimeAverage" || aggregate == "Total"
		v, ok := iv.Integral(r)
		require.True(t, ok)
		if aggregate == "TimeAverage" || aggregate == "TimeAverage2" {
			return v.Mean()
		}
		return v.Value / 1e9
	case "DurationGood":
		return float64(d.Good()) / 1e6
	case "DurationBad":
		n := d.NoValue() // and what is before the first sample, but not what is behind Hold
		if iv.Before.Empty() {
			n += d.NotCovered
		}
		if r.UncertainAsBad {
			n += d.Uncertain
		}
		return float64(n) / 1e6
	case "NumberOfTransitions":
		n, ok := iv.Transitions(r.UncertainAsBad)
		require.True(t, ok)
		if _, ok := iv.Before.LastUsable(r.UncertainAsBad); !ok && iv.In.Counts().Good > 0 {
			n++ // the examples count the first value of all
		}
		return float64(n)
	}
	st, ok := iv.In.Stats(true) // of Good samples in either setting
	require.True(t, ok)
	switch aggregate {
	case "Average":
		return st.Mean()
	case "Minimum":
		least, _ := st.Min()
		return math.Float64frombits(least.Bits)
	case "Maximum":
		most, _ := st.Max()
		return math.Float64frombits(most.Bits)
	case "VariancePopulation":
		return st.Variance()
	case "VarianceSample":
		return st.SampleVariance()
	case "Count":
		return float64(iv.In.Counts().Good)
	}
	t.Fatalf("no aggregate %s", aggregate)
	return 0
}
