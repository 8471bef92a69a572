package rollup

import (
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/varvedb/varve/model"
)

// drawPoints makes points of one tag. wild values include NaN, infinities and whatever bits there are.
func drawPoints(rt *rapid.T, t model.Type, wild bool) []Point {
	rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 1))
	n := rapid.SampledFrom([]int{0, 1, 2, 5, 40, 200, 1500}).Draw(rt, "points")
	mixed := rapid.SampledFrom([]int{0, 0, 1, 30, 60}).Draw(rt, "percent not Good")
	gaps := rapid.SampledFrom([]int{0, 0, 3}).Draw(rt, "percent gaps")
	times := rapid.SampledFrom([]string{"grid", "jitter", "dense", "wide"}).Draw(rt, "times")
	values := rapid.SampledFrom([]string{"few", "decimal", "any", "far"}).Draw(rt, "values")
	at := int64(noon)
	if times == "wide" {
		at = model.MinTime + 5
	}
	mostly := model.Good
	if rng.IntN(5) == 0 {
		mostly = model.UncertainSubNormal
	}
	var out []Point
	for i := range n {
		x := Point{Sample: model.Sample{Time: at, Type: t, Quality: mostly}}
		if rng.IntN(100) < mixed {
			x.Quality = []model.Quality{model.Good, model.Uncertain, model.UncertainSubNormal, model.Bad, model.BadNoData, 0xC0000001}[rng.IntN(6)]
			x.Null = rng.IntN(4) == 0
		}
		switch {
		case rng.IntN(100) < gaps && (i == 0 || out[i-1].Time < at):
			x.Gap, x.Null, x.Quality = true, true, model.BadNoCommunication
		case t.Blob():
			if !x.Null {
				x.Blob = make([]byte, rng.IntN(5))
				if rng.IntN(20) == 0 {
					x.Blob = make([]byte, 100)
				}
				for k := range x.Blob {
					x.Blob[k] = byte(rng.Uint32())
				}
			}
		case !x.Null:
			x.Bits = drawValue(rng, t, values, wild)
		}
		if i > 0 && out[i-1].Time == at && !out[i-1].Gap {
			x.Seq = out[i-1].Seq + 1
		}
		out = append(out, x)
		switch times {
		case "grid":
			at += 1e9
		case "jitter":
			at += 1e9 + rng.Int64N(1e7)
		case "dense":
			at += rng.Int64N(3)
		case "wide":
			at += rng.Int64N(1 << 52)
			if n < 100 {
				at += rng.Int64N(math.MaxInt64 / 64)
			}
		}
	}
	return out
}

func drawValue(rng *rand.Rand, t model.Type, values string, wild bool) uint64 {
	if wild && t.Float() && rng.IntN(200) == 0 {
		f := []float64{math.NaN(), math.Inf(1), math.Inf(-1), math.Copysign(0, -1), math.MaxFloat64}[rng.IntN(5)]
		if t == model.Float32 {
			return uint64(math.Float32bits(float32(f)))
		}
		return math.Float64bits(f)
	}
	var f float64
	switch values {
	case "few":
		f = float64(rng.IntN(3) - 1)
	case "decimal":
		f = float64(rng.IntN(20000)-5000) / 10
	case "any":
		f = rng.NormFloat64() * 1e5
	case "far":
		f = math.Ldexp(rng.NormFloat64(), rng.IntN(120)-60)
	}
	switch t {
	case model.Float64:
		return math.Float64bits(f)
	case model.Float32:
		return uint64(math.Float32bits(float32(f)))
	case model.Bool:
		return rng.Uint64() & 1
	case model.State:
		if values == "far" {
			return uint64(rng.IntN(100))
		}
		return uint64(rng.IntN(5)) - 2
	}
	switch values {
	case "few":
		return uint64(rng.IntN(3))
	case "far":
		return rng.Uint64()
	}
	return uint64(int64(f)) & (math.MaxUint64 >> (rng.IntN(2) * 20))
}

// build is the partial of points, added run by run.
func build(t model.Type, points []Point) (p Partial) {
	for i := 0; i < len(points); {
		if points[i].Gap {
			p.AddGap(t, points[i].Time, points[i].Quality)
			i++
			continue
		}
		s := model.Samples{Type: t}
		for ; i < len(points) && !points[i].Gap; i++ {
			s.Append(points[i].Sample)
		}
		p.Add(&s, 0, s.Len())
	}
	return p
}

// buildSplit is the same by merging parts, in an order of its own.
func buildSplit(rng *rand.Rand, t model.Type, points []Point) Partial {
	if len(points) < 2 || rng.IntN(4) == 0 {
		return build(t, points)
	}
	at := rng.IntN(len(points) + 1)
	p, q := buildSplit(rng, t, points[:at]), buildSplit(rng, t, points[at:])
	if rng.IntN(3) == 0 {
		p, q = stored(p), stored(q)
	}
	p.Merge(&q)
	return p
}

func stored(p Partial) Partial {
	q, err := Decode(p.Append(nil, AllGroups))
	if err != nil {
		panic(err)
	}
	return q
}

// exact is p without what rounding may change.
func exact(p Partial) Partial {
	for i := range p.stats {
		p.stats[i].sum, p.stats[i].m2 = wide{}, wide{}
	}
	p.integrals = [numIntegrals]wide{}
	for i := range p.points {
		p.points[i].Blob = append([]byte(nil), p.points[i].Blob...)
	}
	if len(p.states) == 0 {
		p.states = nil
	}
	return p
}

func anyType(rt *rapid.T) model.Type {
	return rapid.SampledFrom([]model.Type{model.Float64, model.Float64, model.Float32, model.Int64, model.Uint64, model.Bool, model.State, model.String, model.Bytes}).Draw(rt, "type")
}

func TestMergeOfAnySplitIsTheWhole(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		typ, wild := anyType(rt), rapid.Bool().Draw(rt, "wild")
		points := drawPoints(rt, typ, wild)
		whole := build(typ, points)
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "split seed"), 2))
		split := buildSplit(rng, typ, points)
		require.Equal(rt, exact(whole), exact(split))
		require.Equal(rt, exact(whole), exact(stored(whole)))
		if wild || len(points) == 0 {
			return
		}
		sumBound, bound := bounds(len(points), 64) // parts of parts are stored again and again
		requireStats(rt, points, &split, sumBound)
		first, last := points[0].Time, points[len(points)-1].Time
		for i := range 8 {
			r := Rule{Stepped: i&1 != 0, UncertainAsBad: i&2 != 0, Bridged: i&4 != 0}
			want, covered, magnitude := refIntegral(points, r, first, last, math.MinInt64)
			have, haveCovered := split.integral(r)
			require.Equal(rt, covered, haveCovered)
			if numeric(typ) {
				requireNear(rt, want, have.float(), magnitude, bound, "%+v", r)
			}
		}
	})
}

// requireNear holds a double against an exact number that may be off by 2^-53 of itself and share of magnitude.
func requireNear(t require.TestingT, want *big.Float, have float64, magnitude *big.Float, share float64, what ...any) {
	if h, ok := t.(interface{ Helper() }); ok {
		h.Helper()
	}
	if !model.Finite(have) {
		require.Fail(t, "not finite", what...)
	}
	off := zero().Abs(zero().Sub(num(have), want))
	allowed := zero().Add(zero().Mul(zero().Abs(want), num(0x1p-53)), zero().Mul(magnitude, num(share)))
	if off.Cmp(allowed) > 0 {
		require.Fail(t, fmt.Sprintf("have %v, want %s: off by %s, allowed is %s", have, want.Text('g', 30), off.Text('g', 5), allowed.Text('g', 5)), what...)
	}
}

// bounds are the promised shares of the magnitudes for sums and integrals of n samples, stored so many times. Magnitudes of
// integrals are those of both ends added up, twice the integral at least, and stored ones are within 2^-70 of themselves.
func bounds(n, stored int) (sum, integral float64) {
	arithmetic := 0x1p-88 + float64(n)*0x1p-104
	return arithmetic + float64(stored)*0x1p-76, arithmetic + float64(stored)*0x1p-71
}

func TestIntervalsAnswerAsTheSamplesDo(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		typ := anyType(rt)
		points := drawPoints(rt, typ, false)
		start, end := int64(noon-1e9), int64(noon+1e9)
		if len(points) > 0 {
			start = points[rapid.IntRange(0, len(points)-1).Draw(rt, "start")].Time + rapid.Int64Range(-3, 3).Draw(rt, "start offset")
			end = points[rapid.IntRange(0, len(points)-1).Draw(rt, "end")].Time + rapid.Int64Range(-3, 3).Draw(rt, "end offset")
		}
		if start > end {
			start, end = end, start
		}
		hold := rapid.SampledFrom([]int64{math.MinInt64, start, start/2 + end/2, end, math.MaxInt64}).Draw(rt, "hold")
		throughStore := rapid.Bool().Draw(rt, "stored")
		from := slices.IndexFunc(points, func(x Point) bool { return x.Time >= start })
		if from < 0 {
			from = len(points)
		}
		to := from
		for to < len(points) && points[to].Time < end {
			to++
		}
		part := func(points []Point) *Partial {
			p := build(typ, points)
			if throughStore {
				p = stored(p)
			}
			return &p
		}
		iv := Interval{Start: start, End: end, Before: part(points[:from]), In: part(points[from:to]), After: part(points[to:]), Hold: hold}
		require.Equal(rt, refDurations(points, start, end, hold), iv.Durations())
		sumBound, bound := bounds(len(points), 0)
		if throughStore {
			sumBound, bound = bounds(len(points), 1)
		}
		for i := range 8 {
			r := Rule{Stepped: i&1 != 0, UncertainAsBad: i&2 != 0, Bridged: i&4 != 0}
			have, ok := iv.Integral(r)
			if !numeric(typ) {
				require.True(rt, !ok || have == Integral{})
				continue
			}
			require.True(rt, ok)
			want, covered, magnitude := refIntegral(points, r, start, end, hold)
			require.Equal(rt, covered, have.Covered, "%+v", r)
			requireNear(rt, want, have.Value, magnitude, bound, "%+v", r)
		}
		for _, uncertainAsBad := range []bool{false, true} {
			if n, ok := iv.Transitions(uncertainAsBad); ok && !typ.Blob() {
				require.Equal(rt, refTransitions(points, uncertainAsBad, start, end, func(*Point) {}), n)
			}
		}
		if states(typ) {
			want := refStates(points, start, end, hold)
			have, ok := iv.States()
			if len(refStates(points[from:to], math.MinInt64, math.MaxInt64, math.MinInt64)) <= MaxStates {
				require.True(rt, ok)
				require.Equal(rt, want, append([]State(nil), have...))
			} else {
				require.False(rt, ok)
			}
		}
		requireStats(rt, points[from:to], iv.In, sumBound)
		requireSamples(rt, points[from:to], iv.In)
	})
}

func requireStats(rt *rapid.T, points []Point, p *Partial, bound float64) {
	for _, uncertainAsBad := range []bool{false, true} {
		s, ok := p.Stats(uncertainAsBad)
		if len(points) == 0 || !numeric(points[0].Type) {
			require.True(rt, !ok || s.N() == 0)
			continue
		}
		require.True(rt, ok)
		var used []Point
		sum, magnitude := zero(), zero()
		for _, x := range points {
			if refUsable(&x, uncertainAsBad) {
				used = append(used, x)
				sum.Add(sum, valueOf(&x))
				magnitude.Add(magnitude, zero().Abs(valueOf(&x)))
			}
		}
		require.EqualValues(rt, len(used), s.N())
		if len(used) == 0 {
			continue
		}
		requireNear(rt, sum, s.Sum(), magnitude, bound, "sum")
		if !points[0].Type.Float() {
			whole, _ := sum.Int(nil)
			have := new(big.Int).Lsh(big.NewInt(s.SumInt().Hi), 64)
			have.Add(have, new(big.Int).SetUint64(s.SumInt().Lo))
			require.Zero(rt, whole.Cmp(have), "exact sum %s, have %s", whole, have)
		}
		n := inum(int64(len(used)))
		mean := zero().Quo(sum, n)
		requireNear(rt, mean, s.Mean(), zero().Quo(magnitude, n), bound+0x1p-100, "mean")
		squares := zero()
		for _, x := range used {
			d := zero().Sub(valueOf(&x), mean)
			squares.Add(squares, d.Mul(d, d))
		}
		variance := zero().Quo(squares, n)
		requireNear(rt, variance, s.Variance(), variance, 0x1p-40, "variance")
		requireExtreme(rt, used, s, false)
		requireExtreme(rt, used, s, true)
	}
}

func requireExtreme(rt *rapid.T, used []Point, s Stats, greatest bool) {
	x, ok := s.Min()
	if greatest {
		x, ok = s.Max()
	}
	require.True(rt, ok)
	best, again := &used[0], false
	for i := range used[1:] {
		y := &used[1+i]
		switch c := valueOf(y).Cmp(valueOf(best)); {
		case c == 0:
			again = true
		case (c > 0) == greatest:
			best, again = y, false
		}
	}
	require.Equal(rt, Extreme{best.Bits, best.Time, again}, x)
}

func requireSamples(rt *rapid.T, points []Point, p *Partial) {
	var counts Counts
	worst, seen := model.Quality(0), -1
	var first, last *Point
	for i := range points {
		x := &points[i]
		if x.Gap {
			continue
		}
		if first == nil {
			first = x
		}
		last = x
		switch {
		case x.Quality.IsBad():
			counts.Bad++
		case x.Null:
			counts.Null++
		case x.Quality.IsGood():
			counts.Good++
		default:
			counts.Uncertain++
		}
		if s := min(int(x.Quality>>30), 2); s > seen {
			seen, worst = s, x.Quality
		}
	}
	require.Equal(rt, counts, p.Counts())
	q, ok := p.WorstQuality()
	require.Equal(rt, seen >= 0, ok)
	require.Equal(rt, worst, q)
	same := func(want *Point, have Point, ok bool) {
		require.Equal(rt, want != nil, ok)
		if want == nil {
			return
		}
		if have.Cut {
			require.Greater(rt, len(want.Blob), maxBlob)
			have.Blob = want.Blob
		}
		require.True(rt, want.SameValue(have.Sample), "have %+v, want %+v", have, want)
		require.Equal(rt, want.Time, have.Time)
		require.Equal(rt, want.Seq, have.Seq)
	}
	have, ok := p.First()
	same(first, have, ok)
	have, ok = p.Last()
	same(last, have, ok)
}
