package query

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/internal/golden"
	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/query/part13"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/chunk"
)

// filledRow is what one aggregate says of one bucket.
type filledRow struct {
	bucket  int64
	value   any // nil for none
	quality model.Quality
	good    float64
	samples int64
	gone    bool // not in the answer
}

// plainFill fills the rows of one aggregate, written from docs/reference/aggregates.md: loops over all of them.
func plainFill(rows []filledRow, f Fill) []filledRow {
	out := append([]filledRow{}, rows...)
	for i, r := range rows {
		if r.value != nil || r.quality&^0xffff != model.BadNoData || r.samples != 0 {
			continue
		}
		before, behind := -1, -1
		for k := range rows {
			if rows[k].value != nil && k < i {
				before = k
			}
			if rows[k].value != nil && k > i && behind < 0 {
				behind = k
			}
		}
		switch {
		case f.Rule == FillOmit:
			out[i].gone = true
		case f.Rule == FillConstant:
			out[i].value, out[i].quality = f.Constant, model.UncertainSubstituteValue
		case f.Rule == FillPrevious && before >= 0 && (f.Limit == 0 || i-before <= f.Limit):
			out[i].value, out[i].quality = rows[before].value, model.UncertainLastUsableValue
		case f.Rule == FillLinear && before >= 0 && behind >= 0 && (f.Limit == 0 || behind-before-1 <= f.Limit):
			a, b := rows[before].value.(float64), rows[behind].value.(float64)
			share := float64(r.bucket-rows[before].bucket) / float64(rows[behind].bucket-rows[before].bucket)
			out[i].value, out[i].quality = a+(b-a)*share, model.Uncertain|0x402
		}
	}
	return out
}

func requireFilled(t *testing.T, want, have filledRow, where string) {
	t.Helper()
	if x, ok := want.value.(float64); ok && have.value != nil {
		y := have.value.(float64)
		require.True(t, x != x && y != y || x == y || math.Abs(x-y) <= 1e-9*math.Abs(x)+1e-12, "%s: %v, want %v", where, y, x)
		want.value, have.value = nil, nil
	}
	require.Equal(t, want, have, where)
}

// TestFillsAreTheirRules holds filled answers of random samples with holes, forward and in reverse, by steps and by a calendar, over
// several windows, against loops over the answer that is not filled.
func TestFillsAreTheirRules(t *testing.T) {
	const second = int64(time.Second)
	for seed := range uint64(80) {
		rng := rand.New(rand.NewPCG(seed, 71))
		tag := &model.Tag{ID: 1, Name: "a", Settings: []model.Settings{{From: model.MinTime, Type: model.Float64, Stepped: rng.IntN(2) == 0, MaxGap: 20 * time.Second}}}
		b := &storage.Block{Samples: model.Samples{Type: model.Float64}}
		for at := rng.Int64N(400); at < 3000; at += 1 + rng.Int64N(30) {
			if rng.IntN(12) == 0 {
				at += rng.Int64N(1000) // longer than a window of many aggregates
			}
			q := []model.Quality{0, 0, 0, 0, model.Uncertain, model.BadSensorFailure}[rng.IntN(6)]
			b.Append(model.Sample{Time: at * second, Type: model.Float64, Bits: math.Float64bits(float64(rng.IntN(100)) / 4), Quality: q})
			b.Origins = append(b.Origins, chunk.Origin{Samples: 1})
		}
		e, err := New(&plainStore{tags: []*model.Tag{tag}, samples: map[model.TagID]*storage.Block{1: b}, block: 7}, Options{})
		require.NoError(t, err)
		buckets := Buckets{Start: rng.Int64N(1500) * second, End: (1500 + rng.Int64N(2000)) * second, Step: (1 + rng.Int64N(40)) * second}
		if rng.IntN(4) == 0 {
			buckets.Step, buckets.Every = 0, "8s of day"
		}
		if rng.IntN(2) == 0 {
			buckets.Start, buckets.End = buckets.End, buckets.Start
		}
		fill := Fill{Rule: FillRule(rng.IntN(5))}
		switch fill.Rule {
		case FillConstant:
			fill.Constant = float64(rng.IntN(9))
		case FillPrevious, FillLinear:
			fill.Limit = []int{0, 0, 1, 5, 40}[rng.IntN(5)]
		}
		names := []string{"count", "time_weighted_average", "minimum", "last", "percentile(50)", "integral", "Average", "TimeAverage2", "Maximum", "Count"}
		if fill.Rule != FillLinear && fill.Rule != FillConstant {
			names = append(names, "first_time")
		}
		for len(names) < 40 { // which makes windows short
			names = append(names, fmt.Sprintf("percentile(%d)", len(names)))
		}
		r := ProcessedRequest{Tags: Tags{IDs: []model.TagID{1}}, Buckets: buckets, Functions: functions(t, names...), Configuration: part13.Defaults}
		have := r
		have.Fill = fill
		plain, filled := processedRows(t, e, r), processedRows(t, e, have)
		for _, f := range r.Functions {
			want := plain[f.name]
			if f.fillable() {
				want = plainFill(want, fill)
			}
			k := 0
			for _, w := range want {
				if !w.gone {
					requireFilled(t, w, filled[f.name][k], fmt.Sprintf("seed %d, %v of %s at %d", seed, fill, f, w.bucket))
					k++
				}
			}
			require.Len(t, filled[f.name], k, "seed %d, %v of %s", seed, fill, f)
		}
		requireFilledAggregates(t, e, buckets, fill, fmt.Sprintf("seed %d", seed))
	}
}

// processedRows is an answer by function.
func processedRows(t *testing.T, e *Engine, r ProcessedRequest) map[string][]filledRow {
	rec := readProcessed(t, e, r)
	defer rec.Release()
	out := map[string][]filledRow{}
	names := rec.Column(4).(*array.Dictionary)
	for i := range int(rec.NumRows()) {
		name := names.Dictionary().(*array.String).Value(names.GetValueIndex(i))
		row := filledRow{
			bucket: int64(rec.Column(2).(*array.Timestamp).Value(i)), quality: model.Quality(rec.Column(8).(*array.Uint32).Value(i)),
			good: rec.Column(9).(*array.Float64).Value(i), samples: rec.Column(12).(*array.Int64).Value(i),
		}
		if v := processedNumber(rec.Column(5).(*array.Float64), rec.Column(6).(*array.Int64), i); v == v {
			row.value = v
		}
		out[name] = append(out[name], row)
	}
	return out
}

// requireFilledAggregates holds filled answers of ReadAggregates and ReadWide against loops over those that are not filled.
func requireFilledAggregates(t *testing.T, e *Engine, buckets Buckets, fill Fill, where string) {
	asked := []Aggregate{Count, TimeWeightedAverage, Minimum, Last}
	r := AggregatesRequest{Tags: Tags{IDs: []model.TagID{1}}, Buckets: buckets, Aggregates: asked, BatchRows: MaxBatchRows}
	rowsOf := func(r AggregatesRequest) [][]filledRow {
		rec := readAggregates(t, e, r)
		defer rec.Release()
		out := make([][]filledRow, len(r.Aggregates))
		for k := range out {
			for i := range int(rec.NumRows()) {
				row := filledRow{bucket: int64(rec.Column(0).(*array.Timestamp).Value(i)), quality: model.Quality(rec.Column(6).(*array.Uint32).Value(i)), good: rec.Column(7).(*array.Float64).Value(i)}
				if v := numberAt(t, rec.Column(2+k), i); v == v {
					row.value = v
				}
				out[k] = append(out[k], row)
			}
		}
		return out
	}
	plain := rowsOf(r)
	r.Fill = fill
	filled := rowsOf(r)
	var others [][]filledRow
	for _, rows := range plain[1:] {
		others = append(others, plainFill(rows, fill))
	}
	for k, a := range asked {
		rows := plainFill(plain[k], fill)
		for i := range rows { // one quality for all
			for _, other := range others {
				x := other[i]
				if rows[i].gone = x.gone; x.value != nil && x.quality.IsUncertain() && plain[k][i].quality == model.BadNoData {
					rows[i].quality = x.quality
				}
			}
			if a == Count {
				rows[i].value = plain[k][i].value
			}
		}
		i := 0
		for _, w := range rows {
			if !w.gone {
				requireFilled(t, w, filled[k][i], fmt.Sprintf("%s, %v of %s at %d", where, fill, a, w.bucket))
				i++
			}
		}
		require.Len(t, filled[k], i)
	}
	for _, x := range []WideRequest{{Aggregate: TimeWeightedAverage}, {Function: part13.Average, Configuration: part13.Defaults}} {
		x.Tags, x.Buckets, x.Mode, x.WithQuality, x.BatchRows = Tags{IDs: []model.TagID{1}}, buckets, WideAggregate, true, 13
		base := readWide(t, e, x)
		samples := processedRows(t, e, ProcessedRequest{Tags: x.Tags, Buckets: buckets, Functions: functions(t, "count", "Average"), Configuration: part13.Defaults})["count"]
		rows := make([]filledRow, len(base.cells[0]))
		for i := range rows {
			rows[i] = filledRow{bucket: base.cells[0][i].(int64), quality: model.Quality(base.cells[2][i].(uint32)), samples: samples[i].samples}
			if bits, ok := base.cells[1][i].(uint64); ok {
				rows[i].value = math.Float64frombits(bits)
			}
		}
		x.Fill = fill
		y, err := e.wide(x)
		require.NoError(t, err)
		share := y.fixedBytes() + y.workerBytes() + 2*y.rowBytes()*int64(y.batchRows) // windows of two batches
		tight, err := New(e.store, Options{MemoryBytes: share, QueryBytes: share})
		require.NoError(t, err)
		have := readWide(t, tight, x)
		i := 0
		for _, w := range plainFill(rows, fill) {
			if w.gone {
				continue
			}
			row := filledRow{bucket: have.cells[0][i].(int64), quality: model.Quality(have.cells[2][i].(uint32)), samples: w.samples}
			if bits, ok := have.cells[1][i].(uint64); ok {
				row.value = math.Float64frombits(bits)
			}
			requireFilled(t, w, row, fmt.Sprintf("%s, wide, %v at %d", where, fill, w.bucket))
			i++
		}
		require.Len(t, have.cells[0], i)
	}
}

func TestFillsAreChecked(t *testing.T) {
	for _, c := range []struct {
		text  string
		limit uint32
	}{{"last", 0}, {"none", 3}, {"omit", 1}, {"7", 1}, {"linear", MaxBuckets + 1}} {
		_, err := ParseFill(c.text, c.limit)
		require.ErrorIs(t, err, ErrBadRequest, c.text)
	}
	s := newPlainStore(model.Float64, model.Int64, model.State)
	e, err := New(s, Options{})
	require.NoError(t, err)
	parse := func(text string) Fill {
		f, err := ParseFill(text, 0)
		require.NoError(t, err)
		return f
	}
	buckets := Buckets{Start: 0, End: 10, Step: 1}
	for _, c := range []struct {
		id   model.TagID
		name string
		fill string
		ok   bool
	}{
		{1, "minimum_time", "linear", false}, {1, "minimum_time", "previous", true}, {1, "minimum", "linear", true}, {2, "minimum", "0.5", true}, {3, "last", "linear", false},
		{3, "last", "0", false}, {3, "last", "previous", true}, {3, "count", "linear", true}, {1, "MinimumActualTime", "linear", true}, {3, "Start", "1", false},
	} {
		_, err := e.ProcessedSchema(ProcessedRequest{Tags: Tags{IDs: []model.TagID{c.id}}, Buckets: buckets, Functions: functions(t, c.name), Configuration: part13.Defaults, Fill: parse(c.fill)})
		require.Equal(t, c.ok, err == nil, "%v: %v", c, err)
	}
	r := AggregatesRequest{Tags: Tags{IDs: []model.TagID{2}}, Buckets: buckets, Aggregates: []Aggregate{Minimum}, Fill: parse("0.5")}
	_, err = e.AggregatesSchema(r)
	require.ErrorContains(t, err, "column of int64")
	r.Fill = parse("-3")
	_, err = e.AggregatesSchema(r)
	require.NoError(t, err)
	_, err = e.WideSchema(WideRequest{Tags: r.Tags, Buckets: buckets, Mode: WideAsOf, Fill: parse("0")})
	require.ErrorIs(t, err, ErrBadRequest)
}

// TestFilledIntegersKeepTheirType fills exact sums, and minima of integers on a line.
func TestFilledIntegersKeepTheirType(t *testing.T) {
	tag := &model.Tag{ID: 1, Name: "a", Settings: []model.Settings{{From: model.MinTime, Type: model.Int64, MaxGap: 1}}}
	b := &storage.Block{Samples: model.Samples{Type: model.Int64}}
	for _, at := range []int64{0, 1, 30} {
		b.Append(model.Sample{Time: at, Type: model.Int64, Bits: math.MaxInt64 - uint64(at)})
	}
	e, err := New(&plainStore{tags: []*model.Tag{tag}, samples: map[model.TagID]*storage.Block{1: b}}, Options{})
	require.NoError(t, err)
	r := AggregatesRequest{Tags: Tags{IDs: []model.TagID{1}}, Buckets: Buckets{Start: 0, End: 40, Step: 10}, Aggregates: []Aggregate{Sum, Minimum}, Fill: Fill{Rule: FillPrevious}}
	rec := readAggregates(t, e, r)
	require.Equal(t, "18446744073709551613", rec.Column(2).(*array.Decimal128).Value(1).BigInt().String())
	require.Equal(t, int64(math.MaxInt64-1), rec.Column(3).(*array.Int64).Value(2))
	rec.Release()
	r.Fill.Rule = FillLinear
	rec = readAggregates(t, e, r)
	defer rec.Release()
	require.Equal(t, int64(math.MaxInt64-11), rec.Column(3).(*array.Int64).Value(1), "a third of the way, to the nearest: 1 to 30")
	require.True(t, rec.Column(2).IsValid(1))
}

// TestWorkedExampleOfFills holds the page and the answers against each other.
func TestWorkedExampleOfFills(t *testing.T) {
	store := pageStore(t, "fill-samples", model.Float64)
	store.tags[0].Settings[0].MaxGap = 90 * time.Second
	e, err := New(store, Options{})
	require.NoError(t, err)
	want := golden.Table(t, aggregatesPage, "fills")
	have := [][]string{want[0]}
	buckets := Buckets{Start: pageTime(t, "12:00:00"), End: pageTime(t, "12:06:00"), Step: 60e9}
	for _, row := range want[1:] {
		var limit uint32
		var name string
		_, err := fmt.Sscanf(row[0], "%s", &name)
		require.NoError(t, err)
		if row[1] != "-" {
			_, err = fmt.Sscan(row[1], &limit)
			require.NoError(t, err)
		}
		fill, err := ParseFill(name, limit)
		require.NoError(t, err)
		line := []string{row[0], row[1]}
		rows := processedRows(t, e, ProcessedRequest{Tags: Tags{IDs: []model.TagID{1}}, Buckets: buckets, Functions: functions(t, "time_weighted_average"), Configuration: part13.Defaults, Fill: fill})
		for _, r := range rows["time_weighted_average"] {
			text := "-"
			if r.value != nil {
				text = fmt.Sprintf("%.4g", r.value)
			}
			line = append(line, text)
		}
		for len(line) < len(want[0]) {
			line = append(line, "gone")
		}
		have = append(have, line)
	}
	require.Equal(t, lines(want), lines(have))
}
