package plot

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/rollup"
)

// TestPartialsAreTheirSamples makes rollups of random samples: whatever OfPartial answers is what the samples give, and it
// answers whenever all samples can be drawn, or none.
func TestPartialsAreTheirSamples(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		typ := rapid.SampledFrom([]model.Type{model.Float64, model.Float32, model.Int64, model.Uint64}).Draw(t, "type")
		uncertainAsBad := rapid.Bool().Draw(t, "uncertain as bad")
		whole := rapid.Bool().Draw(t, "nothing but good samples")
		large := !typ.Float() && rapid.IntRange(0, 3).Draw(t, "large") == 0 // neighbours that are the same as doubles
		s := model.Samples{Type: typ}
		var p rollup.Partial
		var want Interval
		plain, drawn := true, 0
		at := rapid.SampledFrom([]int64{0, -50, 1_700_000_000_000_000_000}).Draw(t, "start")
		for range rapid.IntRange(0, 12).Draw(t, "samples") {
			x := model.Sample{Time: at, Type: typ}
			v := float64(rapid.IntRange(0, 5).Draw(t, "value"))
			if !whole {
				x.Quality = rapid.SampledFrom([]model.Quality{model.Good, model.Good, model.UncertainSubNormal, model.BadSensorFailure}).Draw(t, "quality")
				x.Null = rapid.IntRange(0, 9).Draw(t, "null") == 0
				if typ.Float() && rapid.IntRange(0, 9).Draw(t, "not finite") == 0 {
					v = rapid.SampledFrom([]float64{math.NaN(), math.Inf(1), math.Inf(-1)}).Draw(t, "which")
				}
			}
			switch typ {
			case model.Float64:
				x.Bits = math.Float64bits(v)
			case model.Float32:
				x.Bits = uint64(model.NarrowFloat32(v))
			default:
				x.Bits = uint64(v)
				if large {
					x.Bits += 1 << 53
					v = float64(x.Bits)
				}
			}
			if x.Null {
				x.Bits = 0
			}
			if !whole && rapid.IntRange(0, 15).Draw(t, "gap") == 0 {
				p.AddGap(typ, at, model.BadNoCommunication)
				want.Break(at, model.BadNoCommunication)
				plain = false
				at++
				x.Time = at
			}
			s.Reset(typ)
			s.Append(x)
			p.Add(&s, 0, 1)
			if x.Null || x.Quality.IsBad() || uncertainAsBad && x.Quality.IsUncertain() {
				want.Break(at, x.Quality)
			} else {
				want.Add(at, v, x.Quality)
				plain = plain && model.Finite(v)
				drawn++
			}
			at += rapid.Int64Range(0, 3).Draw(t, "step")
		}
		if !whole && rapid.IntRange(0, 9).Draw(t, "gap at the end") == 0 {
			p.AddGap(typ, at, model.BadNoCommunication)
			want.Break(at, model.BadNoCommunication)
			plain = false
		}
		have, ok := OfPartial(&p, uncertainAsBad)
		require.Equal(t, plain && (drawn == 0 || int64(drawn) == p.Counts().All() && !large), ok)
		if ok {
			require.Equal(t, want, have)
		}
	})
}

func TestPartialsThatAreNotEnough(t *testing.T) {
	var state rollup.Partial
	state.Add(&model.Samples{Type: model.State, Times: []int64{5}, Bits: []uint64{1}}, 0, 1)
	_, ok := OfPartial(&state, true)
	require.False(t, ok)

	s := model.Samples{Type: model.Float64}
	for i := range int64(1000) {
		s.Append(model.Sample{Time: i, Type: model.Float64, Bits: math.Float64bits(float64(i % 7))})
	}
	var full, plain rollup.Partial
	full.Add(&s, 0, s.Len())
	_, ok = OfPartial(&full, true)
	require.True(t, ok)
	plain.AddPlain(&s, 0, s.Len())
	_, ok = OfPartial(&plain, true)
	require.False(t, ok)
}

// TestRollupsOfManySamplesAreTheirSamples adds many samples at once, with zeros of both signs, and has the same points bit for bit.
func TestRollupsOfManySamplesAreTheirSamples(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := model.Samples{Type: model.Float64}
		var p, merged rollup.Partial
		var want Interval
		n := rapid.IntRange(1, 400).Draw(t, "samples")
		values := rapid.SliceOfN(rapid.SampledFrom([]float64{0, math.Copysign(0, -1), 1, -1}), 7, 7).Draw(t, "values")
		seed := rapid.Uint64().Draw(t, "seed")
		for i := range int64(n) {
			seed = seed*6364136223846793005 + 1442695040888963407
			v := values[seed>>40%7]
			s.Append(model.Sample{Time: i, Type: model.Float64, Bits: math.Float64bits(v)})
			want.Add(i, v, model.Good)
		}
		p.Add(&s, 0, n)
		cut := rapid.IntRange(0, n).Draw(t, "cut")
		var behind rollup.Partial
		merged.Add(&s, 0, cut)
		behind.Add(&s, cut, n)
		merged.Merge(&behind)
		for _, p := range []*rollup.Partial{&p, &merged} {
			have, ok := OfPartial(p, true)
			require.True(t, ok)
			for i, x := range []Point{want.First, want.Min, want.Max, want.Last} {
				y := []Point{have.First, have.Min, have.Max, have.Last}[i]
				require.Equal(t, [2]uint64{uint64(x.Time), math.Float64bits(x.Value)}, [2]uint64{uint64(y.Time), math.Float64bits(y.Value)})
			}
		}
	})
}
