package query

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/query/counter"
	"github.com/varvedb/varve/query/part13"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/chunk"
)

func functions(t require.TestingT, names ...string) (out []Function) {
	for _, n := range names {
		f, err := ParseFunction(n)
		require.NoError(t, err, n)
		out = append(out, f)
	}
	return out
}

var ownNames = []string{
	"percentile(95)", "percentile(0)", "median", "time_weighted_percentile(95)", "time_weighted_percentile(37.5)", "increase", "rate", "total(h)", "integral",
	"transitions", "delta", "first_time", "last_time", "circular_mean", "circular_mean(24)", "circular_deviation",
}

// TestOwnFunctionsAreTheirFormulas holds own functions of random samples, forward and in reverse, against ReadAggregates where that has
// them, and else against plain loops over the samples.
func TestOwnFunctionsAreTheirFormulas(t *testing.T) {
	for seed := range uint64(400) {
		rng := rand.New(rand.NewPCG(seed, 31))
		typ := []model.Type{model.Float64, model.Float32, model.Int64, model.Uint64}[rng.IntN(4)]
		tag := &model.Tag{ID: 1, Name: "a", Settings: []model.Settings{{From: model.MinTime, Type: typ, Stepped: rng.IntN(2) == 0}}}
		if rng.IntN(2) == 0 {
			tag.Settings = append(tag.Settings, model.Settings{From: int64(rng.IntN(1000)), Type: typ, Stepped: !tag.Settings[0].Stepped})
		}
		if seed%2 == 0 {
			drawMaxGaps(rng, tag)
		}
		b := randomBlock(rng, typ)
		if typ == model.Float64 && rng.IntN(3) == 0 {
			for i := range b.Bits {
				if rng.IntN(10) == 0 {
					b.Bits[i] = math.Float64bits([]float64{math.NaN(), -2.5, -3}[rng.IntN(3)])
				}
			}
		}
		e, err := New(&plainStore{tags: []*model.Tag{tag}, samples: map[model.TagID]*storage.Block{1: b}, block: 7}, Options{})
		require.NoError(t, err)
		r := ProcessedRequest{
			Tags: Tags{IDs: []model.TagID{1}}, Buckets: Buckets{Start: int64(rng.IntN(600)), End: int64(rng.IntN(1200)), Step: int64(rng.IntN(200))},
			Configuration: part13.Defaults, Counter: counter.Limits{Highest: []uint64{0, 5}[rng.IntN(2)], Step: uint64(rng.IntN(4))},
		}
		r.Configuration.TreatUncertainAsBad = rng.IntN(2) == 0
		if r.Counter.Highest == 0 {
			r.Counter.Step = 0
		}
		if r.Start == r.End {
			continue
		}
		wide := AggregatesRequest{Tags: r.Tags, Buckets: r.Buckets, UseUncertain: !r.Configuration.TreatUncertainAsBad}
		for a := Count; a <= WorstQuality; a++ {
			wide.Aggregates = append(wide.Aggregates, a)
		}
		r.Functions = append(functions(t, AggregateNames()...), functions(t, ownNames...)...)
		rec, aggregates := readProcessed(t, e, r), readAggregates(t, e, wide)
		n := len(r.Functions)
		require.Equal(t, aggregates.NumRows()*int64(n), rec.NumRows())
		buckets, err := r.buckets()
		require.NoError(t, err)
		quality := aggregates.Column(int(aggregates.NumCols()) - 2).(*array.Uint32)
		for row := range int(rec.NumRows()) {
			i, f := row/n, r.Functions[row%n]
			where := fmt.Sprintf("seed %d, %s of %d to %d", seed, f, buckets.edges[i], buckets.edges[i+1])
			require.Equal(t, buckets.edges[i], int64(rec.Column(0).(*array.Timestamp).Value(row)), where)
			have := processedNumber(rec.Column(5).(*array.Float64), rec.Column(6).(*array.Int64), row)
			q, want := quality.Value(i), 0.0
			if f.own != 0 {
				want = numberAt(t, aggregates.Column(aggregates.Schema().FieldIndices(f.name)[0]), i)
			} else {
				reset := false
				want, reset = plainOwn(tag, &b.Samples, buckets.edges[i], buckets.edges[i+1], r, f)
				if reset && q == 0 {
					q = uint32(model.UncertainDataSubNormal)
				}
			}
			within := 1e-11 * math.Abs(want)
			switch f.kind {
			case kindCircularMean:
				within = 1e-9
				if math.Abs(want-have) > f.argument/2 { // on both sides of where directions come round
					have = want - (f.argument - math.Abs(want-have))
				}
			case kindCircularDeviation: // a root of what rounding left
				within = 1e-5
			}
			require.True(t, want != want && have != have || want == have || math.Abs(want-have) <= within, "%s: %v, want %v", where, have, want)
			require.Equal(t, q, rec.Column(8).(*array.Uint32).Value(row), where)
		}
		rec.Release()
		aggregates.Release()
	}
}

// processedNumber is the number of a row, NaN for none.
func processedNumber(numbers *array.Float64, whole *array.Int64, row int) float64 {
	switch {
	case numbers.IsValid(row):
		return numbers.Value(row)
	case whole.IsValid(row):
		return float64(whole.Value(row))
	}
	return math.NaN()
}

// plainOwn is a function of one bucket, written from docs/reference/aggregates.md, and whether it counted over a reset.
func plainOwn(tag *model.Tag, s *model.Samples, from, to int64, r ProcessedRequest, f Function) (float64, bool) {
	start, end, first, behind := from, to, from, to
	if from > to {
		start, end, first, behind = to, from, to+1, from+1
	}
	usable := func(i int) bool {
		q := s.QualityAt(i)
		return !s.IsNull(i) && (q.IsGood() || !r.Configuration.TreatUncertainAsBad && q.IsUncertain())
	}
	value := func(i int) float64 {
		v, _ := s.At(i).Float64()
		return v
	}
	var inside []int // usable samples of the bucket
	last := -1       // the usable one before them
	for i, t := range s.Times {
		switch {
		case usable(i) && t < first:
			last = i
		case usable(i) && t < behind:
			inside = append(inside, i)
		}
	}
	chain := inside
	if last >= 0 {
		chain = append([]int{last}, inside...)
	}
	shape := reference(tag, s, from, to, !r.Configuration.TreatUncertainAsBad)
	n := len(inside)
	switch f.kind {
	case kindTotal:
		return shape["time_weighted_average"] * shape["duration_good"] / f.argument, false
	case kindTransitions:
		changes := 0.0
		for k := 1; k < len(chain); k++ {
			a, b := value(chain[k-1]), value(chain[k])
			if a != b && (a == a || b == b) {
				changes++
			}
		}
		return changes, false
	case kindIncrease, kindRate:
		return plainIncrease(s, chain, n, r.Counter, f.kind == kindRate)
	case kindTimeWeightedPercentile:
		return plainHeldPercentile(tag, s, start, end, usable, value, f.argument/100), false
	}
	if n == 0 {
		return math.NaN(), false
	}
	switch f.kind {
	case kindDelta:
		return value(inside[n-1]) - value(inside[0]), false
	case kindFirstTime:
		return float64(s.Times[inside[0]]), false
	case kindLastTime:
		return float64(s.Times[inside[n-1]]), false
	}
	var values []float64
	for _, i := range inside {
		if v := value(i); v == v {
			values = append(values, v)
		}
	}
	if len(values) == 0 {
		return math.NaN(), false
	}
	if f.kind == kindPercentile {
		slices.Sort(values)
		place := f.argument / 100 * float64(len(values)-1)
		low := math.Floor(place)
		high := math.Ceil(place)
		return values[int(low)] + (values[int(high)]-values[int(low)])*(place-low), false
	}
	var x, y float64
	for _, v := range values {
		x += math.Cos(v / f.argument * 2 * math.Pi)
		y += math.Sin(v / f.argument * 2 * math.Pi)
	}
	length := min(math.Hypot(x, y)/float64(len(values)), 1)
	switch {
	case f.kind == kindCircularMean && length < 1e-12:
		return math.NaN(), false
	case f.kind == kindCircularMean:
		mean := math.Atan2(y, x) / (2 * math.Pi) * f.argument
		if mean < 0 {
			mean += f.argument
		}
		return mean, false
	}
	return math.Sqrt(-2*math.Log(length)) / (2 * math.Pi) * f.argument, false
}

// plainIncrease counts along a chain of samples, of which the last own ones are of the bucket.
func plainIncrease(s *model.Samples, chain []int, own int, limits counter.Limits, perSecond bool) (sum float64, reset bool) {
	isWhole := func(v float64) bool { return v >= 0 && v == math.Trunc(v) }
	step := float64(limits.Step)
	if limits.Step == 0 {
		step = float64(limits.Highest / 2)
	}
	highest, steps := float64(limits.Highest), 0
	var firstTime, lastTime int64
	for k := range chain {
		b, _ := s.At(chain[k]).Float64()
		if !model.Finite(b) {
			continue
		}
		lastTime = s.Times[chain[k]]
		a := math.NaN()
		if k > 0 {
			a, _ = s.At(chain[k-1]).Float64()
		}
		if !model.Finite(a) {
			if steps == 0 {
				firstTime = lastTime
			}
			continue
		}
		steps++
		switch {
		case b >= a:
			sum += b - a
		case isWhole(a) && isWhole(b) && a <= highest && highest-a+b+1 <= step:
			sum += highest - a + b + 1
		default:
			sum += max(b, 0)
			reset = true
		}
	}
	if own == 0 || steps == 0 || perSecond && firstTime == lastTime {
		return math.NaN(), reset
	}
	if perSecond {
		sum /= float64(lastTime-firstTime) / 1e9
	}
	return sum, reset
}

// plainHeldPercentile holds each usable sample up to the next one, a nanosecond at a time.
func plainHeldPercentile(tag *model.Tag, s *model.Samples, start, end int64, usable func(int) bool, value func(int) float64, q float64) float64 {
	var values []float64
	for i, t := range s.Times {
		until := t + 1
		if i+1 < s.Len() {
			until = s.Times[i+1]
		}
		for x := max(t, start); x < min(until, end) && usable(i) && value(i) == value(i); x++ {
			if reaches(tag, t, until, x) {
				values = append(values, value(i))
			}
		}
	}
	if len(values) == 0 {
		return math.NaN()
	}
	slices.Sort(values)
	return values[max(int(math.Ceil(q*float64(len(values))-1e-9)), 1)-1]
}

// TestPercentilesOfManySamplesSayThatTheyAreApproximate asks for percentiles of more samples than are held.
func TestPercentilesOfManySamplesSayThatTheyAreApproximate(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 5))
	b := &storage.Block{Samples: model.Samples{Type: model.Float64}}
	var values []float64
	for i := range exactSamples + 10 {
		v := math.Exp(rng.NormFloat64())
		values = append(values, v)
		b.Append(model.Sample{Time: int64(i) * 1000, Type: model.Float64, Bits: math.Float64bits(v)})
		b.Origins = append(b.Origins, chunk.Origin{Samples: 1})
	}
	tag := &model.Tag{ID: 1, Name: "a", Settings: []model.Settings{{From: model.MinTime, Type: model.Float64}}}
	e, err := New(&plainStore{tags: []*model.Tag{tag}, samples: map[model.TagID]*storage.Block{1: b}, block: 5000}, Options{})
	require.NoError(t, err)
	for _, many := range []bool{false, true} {
		r := ProcessedRequest{
			Tags: Tags{IDs: []model.TagID{1}}, Buckets: Buckets{End: exactSamples * 1000}, Configuration: part13.Defaults,
			Functions: functions(t, "percentile(99)", "time_weighted_percentile(99)"),
		}
		if many {
			r.End += 5000
		}
		rec := readProcessed(t, e, r)
		sorted := slices.Sorted(slices.Values(values[:r.End/1000]))
		exact := sorted[int(0.99*float64(len(sorted)))]
		for i, name := range []string{"percentile(99)", "time_weighted_percentile(99)"} {
			within := 0.001
			if many {
				name, within = "approximate_"+name, 0.011
			}
			names := rec.Column(4).(*array.Dictionary)
			require.Equal(t, name, names.Dictionary().(*array.String).Value(names.GetValueIndex(i)))
			require.InEpsilon(t, exact, rec.Column(5).(*array.Float64).Value(i), within, name)
		}
		rec.Release()
	}
}

func TestFunctionNamesAreChecked(t *testing.T) {
	for _, name := range []string{
		"avg", "Mean", "average", "percentile", "percentile()", "percentile(101)", "percentile(-1)", "percentile(NaN)", "percentile(95", "median(50)", "total", "total(kWh)",
		"circular_mean(0)", "circular_mean(+Inf)", "increase(1)", "Percentile(95)", "percentile(95)x", "",
	} {
		_, err := ParseFunction(name)
		require.ErrorIs(t, err, ErrBadRequest, name)
		require.NotContains(t, err.Error(), "%!", name)
	}
	_, err := ParseFunction("avg")
	require.ErrorContains(t, err, "time_weighted_average or event_weighted_average")
	tags := []*model.Tag{
		{ID: 1, Name: "a", Settings: []model.Settings{{From: model.MinTime, Type: model.String}}},
		{ID: 2, Name: "b", Settings: []model.Settings{{From: model.MinTime, Type: model.Bool}}},
		{ID: 3, Name: "c", Settings: []model.Settings{{From: model.MinTime, Type: model.Bytes}}},
	}
	e, err := New(&plainStore{tags: tags, block: 1}, Options{})
	require.NoError(t, err)
	for id, names := range map[model.TagID][]string{
		1: {"median", "transitions", "delta", "increase", "total(s)", "sum"}, 2: {"median", "rate", "circular_mean", "integral"}, 3: {"first", "last"},
	} {
		for _, name := range names {
			_, err := e.ReadProcessed(context.Background(), ProcessedRequest{
				Tags: Tags{IDs: []model.TagID{id}}, Buckets: Buckets{End: 1}, Functions: functions(t, name), Configuration: part13.Defaults,
			}, &bytesSink{})
			require.ErrorIs(t, err, ErrBadRequest, name)
		}
	}
	for _, r := range []ProcessedRequest{
		{Functions: functions(t, "first_time"), Counter: counter.Limits{Highest: 3, Step: 4}},
		{Functions: []Function{{}}},
		{Functions: functions(t, "count", "count")},
	} {
		r.Tags, r.Buckets, r.Configuration = Tags{IDs: []model.TagID{1}}, Buckets{End: 1}, part13.Defaults
		_, err := e.ReadProcessed(context.Background(), r, &bytesSink{})
		require.ErrorIs(t, err, ErrBadRequest)
	}
}

// rollupsOnly is a store whose samples retention took away.
type rollupsOnly struct{ *plainStore }

func (s rollupsOnly) View(ctx context.Context, c storage.Consistency) (View, error) {
	_, err := s.plainStore.View(ctx, c)
	return s, err
}

func (s rollupsOnly) Samples(tag model.TagID, in model.TimeRange) Cursor {
	return (&plainStore{block: 1}).Samples(tag, in)
}

// TestWhatOnlySamplesTellIsNotGuessed asks where rollups are all that is left.
func TestWhatOnlySamplesTellIsNotGuessed(t *testing.T) {
	b := &storage.Block{Samples: model.Samples{Type: model.Int64, Times: []int64{1, 2, 3}, Bits: []uint64{4, 5, 6}}, Origins: make([]chunk.Origin, 3)}
	tag := &model.Tag{ID: 1, Name: "a", Settings: []model.Settings{{From: model.MinTime, Type: model.Int64}}}
	e, err := New(rollupsOnly{&plainStore{tags: []*model.Tag{tag}, samples: map[model.TagID]*storage.Block{1: b}, block: 1}}, Options{})
	require.NoError(t, err)
	one := Tags{IDs: []model.TagID{1}}
	rec := readProcessed(t, e, ProcessedRequest{Tags: one, Buckets: Buckets{Start: 1, End: 3}, Functions: functions(t, "sum", "median", "increase"), Configuration: part13.Defaults})
	defer rec.Release()
	require.Equal(t, "[9 (null) (null)]", rec.Column(5).String())
	require.Equal(t, []uint32{0, uint32(model.BadNoData), uint32(model.BadNoData)}, rec.Column(8).(*array.Uint32).Uint32Values())
	_, err = e.ReadTimeInState(context.Background(), StatesRequest{Tags: one, Buckets: Buckets{Start: 1, End: 3}}, &bytesSink{})
	require.ErrorIs(t, err, storage.ErrErased)
}
