package query

import (
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/query/part13"
)

// TestAveragesOfHugeValues: averages of values whose sums are beyond doubles are those of values 2^256 times smaller, times 2^256; and where
// a value is no number, or infinite, so is the average.
func TestAveragesOfHugeValues(t *testing.T) {
	overflowed := 0
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 19))
		const shrink = 0x1p-256
		s, small := newPlainStore(model.Float64, model.Bool), newPlainStore(model.Float64, model.Bool)
		for _, x := range []*plainStore{s, small} {
			x.tags[0].Settings[0].Unit, x.tags[1].Name = "m", "p"
			x.tags[1].Aliases[0].Name = "p"
			x.block = 1 + rng.IntN(9)
		}
		stepped := rng.IntN(2) == 0
		s.tags[0].Settings[0].Stepped, small.tags[0].Settings[0].Stepped = stepped, stepped
		special := rng.IntN(4) == 0
		at := int64(rng.IntN(1e9))
		for range 40 {
			v := (rng.Float64() - 0.4) * math.MaxFloat64
			if rng.IntN(3) == 0 {
				v = math.Ldexp(rng.Float64()-0.5, 600+rng.IntN(424))
			}
			if special && rng.IntN(20) == 0 {
				v = []float64{math.NaN(), math.Inf(1)}[rng.IntN(2)]
			}
			q := []model.Quality{0, 0, 0, 0, 0x40000000, 0x80000000}[rng.IntN(6)*rng.IntN(2)]
			s.add(1, 0, model.Sample{Time: at, Bits: math.Float64bits(v), Quality: q})
			small.add(1, 0, model.Sample{Time: at, Bits: math.Float64bits(v * shrink), Quality: q})
			for _, x := range []*plainStore{s, small} {
				x.add(2, 0, model.Sample{Time: at, Bits: uint64(at) % 2})
			}
			at += 1 + int64(rng.IntN(2e9))
		}
		one, err := New(s, Options{})
		require.NoError(t, err)
		other, err := New(small, Options{})
		require.NoError(t, err)
		b := Buckets{Start: rng.Int64N(5e9), End: 30e9 + rng.Int64N(20e9), Step: 1e9 + rng.Int64N(9e9)}
		if rng.IntN(3) == 0 {
			b.Start, b.End = b.End, b.Start
		}
		while, unit, factor := "", "", 1.0
		if rng.IntN(3) == 0 && b.Start < b.End {
			while = "p"
		}
		if rng.IntN(3) == 0 {
			unit, factor = "km", 1000
		}
		own := AggregatesRequest{
			Tags: Tags{IDs: []model.TagID{1}}, Buckets: b, UseUncertain: rng.IntN(2) == 0, While: while, Unit: unit,
			Aggregates: []Aggregate{EventWeightedAverage, TimeWeightedAverage, Count},
		}
		same := func(have, want *array.Float64, where string) {
			for i := range have.Len() {
				require.Equal(t, want.IsNull(i), have.IsNull(i), where)
				if want.IsNull(i) {
					continue
				}
				w := want.Value(i) / shrink
				if !model.Finite(want.Value(i)) {
					require.False(t, model.Finite(have.Value(i)), where)
					continue
				}
				require.InEpsilon(t, 1+w/math.MaxFloat64, 1+have.Value(i)/math.MaxFloat64, 1e-12, "%s: %v, not %v", where, have.Value(i), w)
				overflowed++
			}
		}
		where := fmt.Sprintf("seed %d", seed)
		have, want := readAggregates(t, one, own), readAggregates(t, other, own)
		for _, name := range []string{"event_weighted_average", "time_weighted_average"} {
			i := have.Schema().FieldIndices(name)[0]
			same(have.Column(i).(*array.Float64), want.Column(i).(*array.Float64), where+" "+name)
		}
		names := []string{"Average", "TimeAverage", "TimeAverage2", "time_weighted_average", "event_weighted_average"}
		if while != "" {
			names = names[3:]
		}
		long := ProcessedRequest{Tags: own.Tags, Buckets: b, Functions: functions(t, names...), Configuration: part13.Defaults, While: while, Unit: unit}
		long.Configuration.TreatUncertainAsBad = !own.UseUncertain
		have, want = readProcessed(t, one, long), readProcessed(t, other, long)
		same(have.Column(5).(*array.Float64), want.Column(5).(*array.Float64), where)
		require.True(t, array.Equal(have.Column(8), want.Column(8)), where)
		require.Zero(t, s.open.Load())

		// By itself: the average of the Good samples, in numbers of any size.
		sum, n := new(big.Float).SetPrec(2200), 0
		for i, x := range s.samples[1].Times {
			v := math.Float64frombits(s.samples[1].Bits[i])
			if model.Between(b.Start, b.End).Contains(x) && s.samples[1].QualityAt(i).IsGood() && model.Finite(v) {
				sum.Add(sum, big.NewFloat(v))
				n++
			}
		}
		if n > 0 && !special && while == "" {
			own.Buckets.Step, own.UseUncertain = 0, false
			rec := readAggregates(t, one, own)
			mean, _ := sum.Quo(sum, big.NewFloat(float64(n)*factor)).Float64()
			require.InEpsilon(t, 2+mean/math.MaxFloat64, 2+numberAt(t, rec.Column(rec.Schema().FieldIndices("event_weighted_average")[0]), 0)/math.MaxFloat64, 1e-12, where)
		}
	}
	require.Greater(t, overflowed, 5000)
}
