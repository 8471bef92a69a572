package query

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/query/part13"
	"github.com/varvedb/varve/storage"
)

// TestAggregatesAreTheirFormulas holds all aggregates of random samples, forward and in reverse, stepped and sloped, with
// settings that change, against plain loops over the samples.
func TestAggregatesAreTheirFormulas(t *testing.T) {
	for seed := range uint64(450) {
		rng := rand.New(rand.NewPCG(seed, 11))
		typ := []model.Type{model.Float64, model.Float32, model.Int64, model.Uint64}[rng.IntN(4)]
		good := seed%3 == 2 // and nothing asked for that keeps a window from being answered by Goods
		if good {
			typ = model.Float64
		}
		tag := &model.Tag{ID: 1, Name: "a", Settings: []model.Settings{{From: model.MinTime, Type: typ, Stepped: rng.IntN(2) == 0}}}
		if rng.IntN(3) == 0 {
			tag.Settings = append(tag.Settings, model.Settings{From: int64(rng.IntN(1000)), Type: typ, Stepped: !tag.Settings[0].Stepped})
		}
		if seed%2 == 0 {
			drawMaxGaps(rng, tag)
		}
		b := &storage.Block{Samples: model.Samples{Type: typ}}
		at := int64(rng.IntN(400))
		for range rng.IntN(60) {
			x := model.Sample{Time: at, Type: typ, Quality: []model.Quality{0, 0, 0, model.Uncertain, model.BadSensorFailure}[rng.IntN(5)], Null: rng.IntN(10) == 0}
			if good {
				x.Quality, x.Null = model.Good, false
			}
			switch v := rng.IntN(50); typ {
			case model.Float64:
				x.Bits = math.Float64bits(float64(v) / 2)
			case model.Float32:
				x.Bits = uint64(math.Float32bits(float32(v) / 4))
			default:
				x.Bits = uint64(v)
			}
			b.Append(x)
			at += 1 + int64(rng.IntN(20))
		}
		store := &plainStore{tags: []*model.Tag{tag}, samples: map[model.TagID]*storage.Block{1: b}}
		e, err := New(store, Options{})
		require.NoError(t, err)
		r := AggregatesRequest{Tags: Tags{IDs: []model.TagID{1}}, Buckets: Buckets{Start: int64(rng.IntN(600)), End: int64(rng.IntN(1200)), Step: int64(rng.IntN(200))}, UseUncertain: rng.IntN(2) == 0}
		if r.Start == r.End {
			continue
		}
		for a := Count; a <= WorstQuality; a++ {
			if !good || a != MinimumTime && a != MaximumTime && a != StandardDeviation {
				r.Aggregates = append(r.Aggregates, a)
			}
		}
		rec := readAggregates(t, e, r)
		buckets, err := r.buckets()
		require.NoError(t, err)
		edges := buckets.edges
		require.Equal(t, int64(len(edges)-1), rec.NumRows())
		for i := range len(edges) - 1 {
			where := fmt.Sprintf("seed %d, bucket %d to %d", seed, edges[i], edges[i+1])
			require.Equal(t, edges[i], int64(rec.Column(0).(*array.Timestamp).Value(i)), where)
			want := reference(tag, &b.Samples, edges[i], edges[i+1], r.UseUncertain)
			for k, name := range rec.Schema().Fields() {
				w, ok := want[name.Name]
				if !ok {
					require.Less(t, k, 2, name.Name)
					continue
				}
				have := numberAt(t, rec.Column(k), i)
				require.True(t, w != w && have != have || math.Abs(w-have) <= 1e-12*math.Abs(w), "%s: %s is %v, want %v", where, name.Name, have, w)
			}
		}
		rec.Release()
	}
}

// TestAggregatesOfManyTagsAreThoseOfEach asks for more buckets than one round has, of tags that differ in settings and length,
// by several workers, and holds each tag's rows against its answer alone by one.
func TestAggregatesOfManyTagsAreThoseOfEach(t *testing.T) {
	const tags, buckets = 100, 200
	rng := rand.New(rand.NewPCG(5, 7))
	store := &plainStore{samples: map[model.TagID]*storage.Block{}}
	all := AggregatesRequest{Buckets: Buckets{Start: 1000, End: 1000 + buckets*10, Step: 10}, Aggregates: []Aggregate{Count, Minimum, Last, TimeWeightedAverage}, BatchRows: MaxBatchRows}
	for i := range tags {
		id := model.TagID(i + 1)
		tag := &model.Tag{ID: id, Name: fmt.Sprint(i), Settings: []model.Settings{{From: model.MinTime, Type: model.Float64}}}
		for at := int64(1000); rng.IntN(3) > 0; {
			at += 1 + int64(rng.IntN(500))
			last := tag.Settings[len(tag.Settings)-1]
			tag.Settings = append(tag.Settings, model.Settings{From: at, Type: model.Float64, Stepped: !last.Stepped})
		}
		b := &storage.Block{Samples: model.Samples{Type: model.Float64}}
		for at, n := int64(rng.IntN(1500)), rng.IntN(800); n > 0; n-- {
			b.Append(model.Sample{Time: at, Type: model.Float64, Bits: math.Float64bits(rng.Float64())})
			at += 1 + int64(rng.IntN(6))
		}
		store.tags, store.samples[id] = append(store.tags, tag), b
		all.IDs = append(all.IDs, id)
	}
	require.Greater(t, tags*buckets, 4*roundBuckets)
	before := runtime.GOMAXPROCS(4)
	defer runtime.GOMAXPROCS(before)
	e, err := New(store, Options{})
	require.NoError(t, err)
	for range 2 {
		rec := readAggregates(t, e, all)
		runtime.GOMAXPROCS(1)
		for i, id := range all.IDs {
			one := all
			one.IDs = []model.TagID{id}
			want := readAggregates(t, e, one)
			have := rec.NewSlice(int64(i)*buckets, int64(i+1)*buckets)
			for k := range int(rec.NumCols()) {
				if k != 1 { // the tag, whose index differs
					require.True(t, array.Equal(want.Column(k), have.Column(k)), "tag %d, column %s", id, rec.ColumnName(k))
				}
			}
			have.Release()
			want.Release()
		}
		rec.Release()
		runtime.GOMAXPROCS(4)
		all.Start, all.End = all.End, all.Start
	}
}

// numberAt is a cell as a double, NaN for null.
func numberAt(t *testing.T, c arrow.Array, i int) float64 {
	if c.IsNull(i) {
		return math.NaN()
	}
	switch c := c.(type) {
	case *array.Float64:
		return c.Value(i)
	case *array.Float32:
		return float64(c.Value(i))
	case *array.Int64:
		return float64(c.Value(i))
	case *array.Uint64:
		return float64(c.Value(i))
	case *array.Uint32:
		return float64(c.Value(i))
	case *array.Timestamp:
		return float64(c.Value(i))
	case *array.Decimal128:
		f, _ := new(big.Float).SetInt(c.Value(i).BigInt()).Float64()
		return f
	}
	require.Fail(t, "column", "%T", c)
	return 0
}

// reference is the formulas of docs/reference/aggregates.md, as they stand there.
func reference(tag *model.Tag, s *model.Samples, from, to int64, useUncertain bool) map[string]float64 {
	return referenceWhile(tag, s, from, to, useUncertain, func(int64) bool { return true })
}

// referenceWhile is the formulas over the instants that count.
func referenceWhile(tag *model.Tag, s *model.Samples, from, to int64, useUncertain bool, counts func(int64) bool) map[string]float64 {
	start, end, first, behind := from, to, from, to
	if from > to {
		start, end, first, behind = to, from, to+1, from+1
	}
	nan := math.NaN()
	out := map[string]float64{"count": 0, "sum": nan, "minimum": nan, "maximum": nan, "minimum_time": nan, "maximum_time": nan, "first": nan, "last": nan,
		"range": nan, "standard_deviation": nan, "event_weighted_average": nan, "time_weighted_average": nan, "worst_quality": nan}
	usable := func(i int) bool {
		q := s.QualityAt(i)
		return !s.IsNull(i) && (q.IsGood() || useUncertain && q.IsUncertain())
	}
	value := func(i int) float64 {
		f, _ := s.At(i).Float64()
		return f
	}
	worst, any, ends := model.Quality(0), false, false // ends: on a usable sample
	var values []float64
	var sum, area, covered, good, known float64
	for i, t := range s.Times {
		if t >= first && t < behind && counts(t) {
			q := s.QualityAt(i)
			if !any || min(q>>30, 2) > min(worst>>30, 2) {
				worst = q
			}
			any, ends = true, usable(i)
			if ends {
				v := value(i)
				if len(values) == 0 {
					out["first"] = v
				}
				if !(v >= out["minimum"]) {
					out["minimum"], out["minimum_time"] = v, float64(t)
				}
				if !(v <= out["maximum"]) {
					out["maximum"], out["maximum_time"] = v, float64(t)
				}
				out["last"] = v
				values = append(values, v)
				sum += v
			}
		}
		until := t + 1
		if i+1 < s.Len() {
			until = s.Times[i+1]
		}
		a, b := max(t, start), min(until, end)
		if a >= b {
			continue
		}
		for x := a; x < b; x++ { // a nanosecond at a time: settings may change at any
			if !reaches(tag, t, until, x) || !counts(x) {
				continue
			}
			known++
			if !usable(i) {
				continue
			}
			good++
			v := value(i)
			if !tag.At(x).Stepped && i+1 < s.Len() && usable(i+1) && (tag.At(x).MaxGap == 0 || until-t <= int64(tag.At(x).MaxGap)) {
				v += (value(i+1) - v) * (float64(x-t) + 0.5) / float64(until-t)
			}
			area += v
			covered++
		}
	}
	if n := float64(len(values)); n > 0 {
		out["count"], out["sum"], out["range"], out["event_weighted_average"] = n, sum, out["maximum"]-out["minimum"], sum/n
		squares := 0.0
		for _, v := range values {
			squares += (v - sum/n) * (v - sum/n)
		}
		out["standard_deviation"] = math.Sqrt(squares / max(n-1, 1))
	}
	if covered > 0 {
		out["time_weighted_average"] = area / covered
	}
	if any {
		out["worst_quality"] = float64(worst)
	}
	length := float64(end - start)
	out["duration_good"], out["percent_good"] = good, 100*good/length
	held := 0.0
	for x := start; x < end; x++ {
		if counts(x) {
			held++
		}
	}
	out["while_ns"] = held
	switch {
	case held == 0 && !any:
		out["quality"] = float64(model.BadNoData)
	case held == 0 && !ends:
		out["quality"] = float64(model.Bad)
	case good == held:
		out["quality"] = float64(model.Good)
	case good > 0:
		out["quality"] = float64(model.UncertainDataSubNormal)
	case known == 0 && !any:
		out["quality"] = float64(model.BadNoData)
	default:
		out["quality"] = float64(model.Bad)
	}
	return out
}

// reaches reports whether a sample stands at an instant, or may hold up to it with the next one where it is.
func reaches(tag *model.Tag, sample, next, instant int64) bool {
	most := int64(tag.At(instant).MaxGap)
	return instant == sample || most == 0 || next-sample <= most
}

// drawMaxGaps limits how far apart samples may be, in some of a tag's settings.
func drawMaxGaps(rng *rand.Rand, tag *model.Tag) {
	for i := range tag.Settings {
		if rng.IntN(2) == 0 {
			tag.Settings[i].MaxGap = time.Duration(1 + rng.IntN(18))
		}
	}
}

// TestAggregatesOfAnInstantAreThereIfItsValueIs: reads at instants and aggregates agree on where a tag has a value.
func TestAggregatesOfAnInstantAreThereIfItsValueIs(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 67))
		tag := &model.Tag{ID: 1, Name: "a", Settings: []model.Settings{{From: model.MinTime, Type: model.Float64, Stepped: rng.IntN(2) == 0}, {From: int64(rng.IntN(300)), Type: model.Float64}}}
		drawMaxGaps(rng, tag)
		b := randomBlock(rng, model.Float64)
		if b.Len() < 2 {
			continue
		}
		e, err := New(&plainStore{tags: []*model.Tag{tag}, samples: map[model.TagID]*storage.Block{1: b}, block: 7}, Options{})
		require.NoError(t, err)
		first, last := b.Times[0], b.Times[b.Len()-1]
		at := AtTimesRequest{Tags: Tags{IDs: []model.TagID{1}}, UseUncertain: true}
		for x := first - 3; x <= last; x++ {
			at.Times = append(at.Times, x)
		}
		var sink bytesSink
		_, err = e.ReadAtTimes(context.Background(), at, &sink)
		require.NoError(t, err)
		_, rows, _ := sink.read(t)
		rec := readAggregates(t, e, AggregatesRequest{Tags: at.Tags, Buckets: Buckets{Start: first - 3, End: last + 1, Step: 1}, Aggregates: []Aggregate{DurationGood}, UseUncertain: true})
		require.Equal(t, len(rows), int(rec.NumRows()))
		for i, row := range rows {
			_, has := row.value["value"]
			has = has && !model.Quality(row.quality).IsBad()
			require.Equal(t, has, rec.Column(2).(*array.Int64).Value(i) == 1, "seed %d, instant %d", seed, at.Times[i])
		}
		rec.Release()
	}
}

// TestRollupsThatAreLeftDoNotPassForWhole: where samples are erased nobody knows how far apart they were.
func TestRollupsThatAreLeftDoNotPassForWhole(t *testing.T) {
	tag := &model.Tag{ID: 1, Name: "a", Settings: []model.Settings{{From: model.MinTime, Type: model.Float64, MaxGap: 10}}}
	b := &storage.Block{Samples: model.Samples{Type: model.Float64}}
	for _, at := range []int64{0, 9, 10, 25, 30} {
		b.Append(model.Sample{Time: at, Type: model.Float64, Bits: math.Float64bits(float64(at))})
	}
	store := &plainStore{tags: []*model.Tag{tag}, samples: map[model.TagID]*storage.Block{1: b}, erased: true}
	e, err := New(store, Options{})
	require.NoError(t, err)
	for _, c := range []struct {
		end     int64
		quality model.Quality
		good    float64
	}{{10, model.Good, 10}, {31, model.UncertainDataSubNormal, 17}} { // from 10 to 25 it is one nanosecond
		rec := readAggregates(t, e, AggregatesRequest{Tags: Tags{IDs: []model.TagID{1}}, Buckets: Buckets{Start: 0, End: c.end}, Aggregates: []Aggregate{DurationGood}})
		require.Equal(t, uint32(c.quality), rec.Column(3).(*array.Uint32).Value(0))
		require.InDelta(t, c.good, numberAt(t, rec.Column(2), 0), 0)
		rec.Release()
	}
	b.Times = []int64{0, 25, 26, 27, 30} // 0 and 25 are a rollup
	rec := readAggregates(t, e, AggregatesRequest{Tags: Tags{IDs: []model.TagID{1}}, Buckets: Buckets{Start: 0, End: 31}, Aggregates: []Aggregate{DurationGood}})
	defer rec.Release()
	require.Equal(t, uint32(model.UncertainDataSubNormal), rec.Column(3).(*array.Uint32).Value(0))
	require.InDelta(t, 31, numberAt(t, rec.Column(2), 0), 0)
}

func readAggregates(t *testing.T, e *Engine, r AggregatesRequest) arrow.Record {
	var sink bytesSink
	n, err := e.ReadAggregates(context.Background(), r, &sink)
	require.NoError(t, err)
	reader, err := ipc.NewReader(bytes.NewReader(sink.Bytes()))
	require.NoError(t, err)
	defer reader.Release()
	require.True(t, reader.Next())
	rec := reader.Record()
	rec.Retain()
	require.Equal(t, n, uint64(rec.NumRows()))
	require.False(t, reader.Next())
	require.Zero(t, e.MemoryTaken())
	schema, err := e.AggregatesSchema(r)
	require.NoError(t, err)
	require.True(t, schema.Equal(reader.Schema()))
	return rec
}

// TestManyProcessorsDoNotMakeAQuestionTooLarge asks on a machine where a worker for each processor would need more than a query may
// hold.
// TestSettingsThatChangeAtAnEdge: what is stepped up to the edge of a bucket slopes in the next one.
func TestSettingsThatChangeAtAnEdge(t *testing.T) {
	s := newPlainStore(model.Float64)
	s.tags[0].Settings[0].Stepped = true
	s.tags[0].Settings = append(s.tags[0].Settings, model.Settings{From: 10, Type: model.Float64})
	for i, v := range []float64{4, 8} {
		s.add(1, 0, model.Sample{Time: int64(20 * i), Bits: math.Float64bits(v)})
	}
	s.samples[1].Quality, s.samples[1].Null = nil, nil // all Good
	e, err := New(s, Options{})
	require.NoError(t, err)
	rec := readAggregates(t, e, AggregatesRequest{Tags: Tags{IDs: []model.TagID{1}}, Buckets: Buckets{End: 20, Step: 10}, Aggregates: []Aggregate{TimeWeightedAverage}})
	defer rec.Release()
	require.Equal(t, []float64{4, 7}, rec.Column(2).(*array.Float64).Float64Values())
}

func TestManyProcessorsDoNotMakeAQuestionTooLarge(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(64))
	tag := &model.Tag{ID: 1, Name: "a", Settings: []model.Settings{{From: model.MinTime, Type: model.Float64}}}
	e, err := New(&plainStore{tags: []*model.Tag{tag}}, Options{})
	require.NoError(t, err)
	r := AggregatesRequest{Tags: Tags{IDs: []model.TagID{1}}, Buckets: Buckets{End: 5000, Step: 1}, Aggregates: []Aggregate{Count}, BatchRows: MaxBatchRows}
	readAggregates(t, e, r).Release()
	for _, name := range []string{"Average", "percentile(95)"} {
		readProcessed(t, e, ProcessedRequest{Tags: r.Tags, Buckets: r.Buckets, Functions: functions(t, name), Configuration: part13.Defaults}).Release()
	}
}

func TestAggregateRequestsAreChecked(t *testing.T) {
	store := &plainStore{tags: []*model.Tag{
		{ID: 1, Name: "a", Settings: []model.Settings{{From: model.MinTime, Type: model.Float64}}},
		{ID: 2, Name: "b", Settings: []model.Settings{{From: model.MinTime, Type: model.String}}},
	}}
	e, err := New(store, Options{})
	require.NoError(t, err)
	for _, name := range []string{"avg", "average", "Mean"} {
		_, err := ParseAggregate(name)
		require.ErrorIs(t, err, ErrBadRequest)
		require.ErrorContains(t, err, "time_weighted_average")
		require.ErrorContains(t, err, "event_weighted_average")
	}
	one := Tags{IDs: []model.TagID{1}}
	for _, r := range []AggregatesRequest{
		{Tags: one, Buckets: Buckets{Start: 1, End: 2}},
		{Tags: one, Buckets: Buckets{Start: 1, End: 1}, Aggregates: []Aggregate{Count}},
		{Tags: one, Buckets: Buckets{Start: 1, End: 2, Step: -1}, Aggregates: []Aggregate{Count}},
		{Tags: one, Buckets: Buckets{Start: 0, End: 1 << 40, Step: 1}, Aggregates: []Aggregate{Count}},
		{Tags: one, Buckets: Buckets{Start: 0, End: math.MaxInt64}, Aggregates: []Aggregate{Count}},
		{Tags: one, Buckets: Buckets{Start: 1, End: 2}, Aggregates: []Aggregate{Count, Count}},
		{Tags: one, Buckets: Buckets{Start: 1, End: 2}, Aggregates: []Aggregate{99}},
		{Tags: one, Buckets: Buckets{Edges: []int64{1}}, Aggregates: []Aggregate{Count}},
		{Tags: one, Buckets: Buckets{Edges: []int64{1, 2, 2}}, Aggregates: []Aggregate{Count}},
		{Tags: one, Buckets: Buckets{Edges: []int64{1, 3, 2}}, Aggregates: []Aggregate{Count}},
		{Tags: one, Buckets: Buckets{Edges: []int64{1, 3}, Step: 1}, Aggregates: []Aggregate{Count}},
		{Tags: Tags{}, Buckets: Buckets{Start: 1, End: 2}, Aggregates: []Aggregate{Count}},
		{Tags: Tags{IDs: []model.TagID{2}}, Buckets: Buckets{Start: 1, End: 2}, Aggregates: []Aggregate{Minimum}},
		{Tags: Tags{IDs: []model.TagID{1, 2}}, Buckets: Buckets{Start: 1, End: 2}, Aggregates: []Aggregate{First}},
	} {
		_, err := e.ReadAggregates(context.Background(), r, &bytesSink{})
		require.Error(t, err, "%+v", r)
	}
	rec := readAggregates(t, e, AggregatesRequest{Tags: one, Buckets: Buckets{Edges: []int64{5, 7, 100}}, Aggregates: []Aggregate{Count, Minimum}})
	defer rec.Release()
	require.Equal(t, int64(2), rec.NumRows())
	require.Equal(t, int64(0), rec.Column(2).(*array.Int64).Value(1))
	require.True(t, rec.Column(3).IsNull(0))
	require.Equal(t, uint32(model.BadNoData), rec.Column(4).(*array.Uint32).Value(0))
}
