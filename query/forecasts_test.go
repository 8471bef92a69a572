package query

import (
	"bytes"
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/internal/plain"
	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/catalog"
)

// forecastRow is a row of an answer about forecasts.
type forecastRow struct {
	time, issued int64
	model        string
	value        float64
}

// forecastStore is a store of one tag with a clock at now.
func forecastStore(t *testing.T, now int64) (*storage.DB, *Engine) {
	db, err := storage.Open("store", storage.Options{FS: vfs.NewMem(), MinFreeBytes: -1, BallastBytes: -1, SealAfter: -1})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	settings := []model.Settings{{From: model.MinTime, Type: model.Float64}}
	_, err = db.ChangeCatalog(context.Background(), []catalog.Change{{Create: &catalog.Create{Tag: model.Tag{Name: "a", UUID: model.UUID{1}, Settings: settings}}}})
	require.NoError(t, err)
	e, err := New(FromDB(db), Options{Now: func() time.Time { return time.Unix(0, now) }})
	require.NoError(t, err)
	return db, e
}

func doubles(x []model.Sample) *model.Samples {
	s := &model.Samples{Type: model.Float64}
	for _, v := range x {
		s.Append(v)
	}
	return s
}

func rowsOfForecast(t *testing.T, records []arrow.Record) (out []forecastRow) {
	for _, rec := range records {
		for i := range int(rec.NumRows()) {
			column := func(name string) arrow.Array { return rec.Column(rec.Schema().FieldIndices(name)[0]) }
			out = append(out, forecastRow{
				int64(column("time").(*array.Timestamp).Value(i)), int64(column("issued").(*array.Timestamp).Value(i)),
				column("model").(*array.String).Value(i), column("value").(*array.Float64).Value(i),
			})
		}
	}
	return out
}

// plainForecast is what a request asks for, sample by sample: each is looked at by itself.
func plainForecast(runs plain.Runs, r ForecastRuns, now int64) (out []forecastRow) {
	issued := model.TimeRange{Start: r.IssuedFrom, End: r.IssuedTo}
	if r.Pick != EachRun {
		issued = model.TimeRange{Start: model.MinTime, End: now + 1}
		if r.AsOf != nil {
			issued.End = *r.AsOf + 1
		}
	}
	list := runs.Of(1, issued, r.Models, math.MaxInt64, false)
	for k := len(list) - 1; k >= 0; k-- {
		if r.Pick == NewestRun && k > 0 {
			continue
		}
		for _, x := range list[k].Samples {
			if x.Time < r.Start || x.Time >= r.End {
				continue
			}
			if r.Pick == Curve {
				owner := slices.IndexFunc(list, func(o plain.Run) bool {
					return o.Issued+r.Lead <= x.Time && o.Samples[0].Time <= x.Time && x.Time <= o.Samples[len(o.Samples)-1].Time
				})
				if owner != k {
					continue
				}
			}
			out = append(out, forecastRow{x.Time, list[k].Issued, list[k].Model, math.Float64frombits(x.Bits)})
		}
	}
	if r.Pick == Curve {
		slices.SortFunc(out, func(a, b forecastRow) int { return int(a.time - b.time) })
	}
	return out
}

// TestForecastsAreThoseOfAPlainModel writes random runs, replaces some, and asks for each pick; then holds errors and their measures
// against the same worked out one by one.
func TestForecastsAreThoseOfAPlainModel(t *testing.T) {
	ctx := context.Background()
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 7))
		const now = 500
		db, e := forecastStore(t, now)
		var actual []model.Sample
		for at := int64(1); at < 400; at += 1 + rng.Int64N(20) {
			actual = append(actual, model.Sample{Time: at, Type: model.Float64, Bits: math.Float64bits(float64(rng.IntN(5) - 2))})
		}
		p, err := db.Submit(ctx, &storage.Batch{Source: "s", Epoch: 1, Sequence: 1, ContentHash: 1, Runs: []storage.Run{{Tag: 1, Mode: model.Update, Samples: *doubles(actual)}}})
		require.NoError(t, err)
		_, err = p.Applied(ctx)
		require.NoError(t, err)
		var runs plain.Runs
		for range 40 {
			run := plain.Run{Tag: 1, Issued: rng.Int64N(60) * 10, Model: []string{"", "m"}[rng.IntN(2)]}
			for at, n := run.Issued+rng.Int64N(60)-20, rng.IntN(20); len(run.Samples) <= n; at += 1 + rng.Int64N(12) {
				run.Samples = append(run.Samples, model.Sample{Time: at, Type: model.Float64, Bits: math.Float64bits(float64(rng.IntN(9)))})
			}
			changed, err := db.PutForecast(ctx, 1, run.Issued, run.Model, "ann", doubles(run.Samples))
			require.NoError(t, err)
			require.Equal(t, runs.Put(&run), changed)
			if rng.IntN(10) == 0 {
				_, err := db.Flush(ctx)
				require.NoError(t, err)
			}
		}
		for range 60 {
			r := ForecastRuns{Tags: Tags{Names: []string{"a"}}, Pick: Pick(1 + rng.IntN(3)), Start: rng.Int64N(600) - 50, BatchRows: 7}
			r.End = r.Start + 1 + rng.Int64N(300)
			if rng.IntN(3) == 0 {
				r.Models = []string{"m"}
			}
			switch {
			case r.Pick == EachRun:
				r.IssuedFrom = rng.Int64N(500)
				r.IssuedTo = r.IssuedFrom + 1 + rng.Int64N(200)
			case rng.IntN(2) == 0:
				at := rng.Int64N(600)
				r.AsOf = &at
			}
			if r.Pick == Curve {
				r.Lead = rng.Int64N(3) * 15
			}
			want := plainForecast(runs, r, now)
			sink := &recordSink{}
			n, err := e.ReadForecast(ctx, r, sink)
			require.NoError(t, err)
			have := rowsOfForecast(t, sink.records(t))
			require.Equal(t, want, have, "%+v", r)
			require.Equal(t, uint64(len(want)), n)
			requireComparison(t, e, r, want, actual)
		}
	}
}

// requireComparison holds a comparison against actual values interpolated one by one.
func requireComparison(t *testing.T, e *Engine, r ForecastRuns, want []forecastRow, actual []model.Sample) {
	ctx := context.Background()
	sink := &recordSink{}
	_, err := e.CompareForecast(ctx, ForecastComparison{ForecastRuns: r}, sink)
	require.NoError(t, err)
	var count, ratios int64
	var bias, mae, squares, mape float64
	k := 0
	for _, rec := range sink.records(t) {
		for i := range int(rec.NumRows()) {
			at, value := want[k].time, want[k].value
			k++
			require.Equal(t, at, int64(rec.Column(0).(*array.Timestamp).Value(i)))
			require.Equal(t, value, rec.Column(3).(*array.Float64).Value(i))
			n, found := slices.BinarySearchFunc(actual, at, func(x model.Sample, at int64) int { return int(x.Time - at) })
			of := func(i int) float64 { return math.Float64frombits(actual[i].Bits) }
			if !found && (n == 0 || n == len(actual)) { // nothing there, or no longer known
				require.True(t, rec.Column(4).IsNull(i))
				continue
			}
			is := 0.0
			if found {
				is = of(n)
			} else {
				a, b := actual[n-1].Time, actual[n].Time
				is = of(n-1) + (of(n)-of(n-1))*float64(at-a)/float64(b-a)
			}
			require.InDelta(t, is, rec.Column(2).(*array.Float64).Value(i), 1e-9)
			miss := rec.Column(4).(*array.Float64).Value(i)
			require.InDelta(t, value-is, miss, 1e-9)
			count++
			bias, mae, squares = bias+miss, mae+math.Abs(miss), squares+miss*miss
			if got := rec.Column(2).(*array.Float64).Value(i); got != 0 {
				ratios++
				mape += 100 * math.Abs(miss/got)
			}
		}
	}
	require.Len(t, want, k)
	sink = &recordSink{}
	_, err = e.CompareForecast(ctx, ForecastComparison{ForecastRuns: r, Summary: true}, sink)
	require.NoError(t, err)
	rec := sink.records(t)[0]
	require.Equal(t, count, rec.Column(1).(*array.Int64).Value(0))
	require.Equal(t, ratios, rec.Column(6).(*array.Int64).Value(0))
	n := float64(count)
	for i, x := range []float64{bias / n, mae / n, math.Sqrt(squares / n), mape / float64(ratios)} {
		c := rec.Column(2 + i).(*array.Float64)
		if math.IsNaN(x) {
			require.True(t, c.IsNull(0))
			continue
		}
		require.InDelta(t, x, c.Value(0), 1e-9*max(1, math.Abs(x)))
	}
}

// TestTheCurrentValueOfAForecast is between two samples, behind the last one that one, and nothing before the first.
func TestTheCurrentValueOfAForecast(t *testing.T) {
	ctx := context.Background()
	sample := func(at int64, x float64) model.Sample {
		return model.Sample{Time: at, Type: model.Float64, Bits: math.Float64bits(x)}
	}
	for _, x := range []struct {
		samples []model.Sample
		want    []forecastRow
	}{
		{[]model.Sample{sample(490, 10), sample(510, 20)}, []forecastRow{{500, 5, "m", 15}}},
		{[]model.Sample{sample(480, 10), sample(490, 20)}, []forecastRow{{490, 5, "m", 20}}},
		{[]model.Sample{sample(501, 10), sample(510, 20)}, nil},
	} {
		db, e := forecastStore(t, 500)
		_, err := db.PutForecast(ctx, 1, 5, "m", "ann", doubles(x.samples))
		require.NoError(t, err)
		sink := &recordSink{}
		_, err = e.ReadForecast(ctx, ForecastRuns{Tags: Tags{Names: []string{"a"}}, Pick: Current, Start: model.All.Start, End: model.All.End}, sink)
		require.NoError(t, err)
		require.Equal(t, x.want, rowsOfForecast(t, sink.records(t)))
	}
}

// TestForecastsOfATagThatChanged: runs from before a type changed are read, and compared with what the tag has at each of their times, in the
// epoch of that; where it is no number there is nothing to compare with.
func TestForecastsOfATagThatChanged(t *testing.T) {
	ctx := context.Background()
	db, e := forecastStore(t, 500)
	var run []model.Sample
	for at := int64(0); at < 600; at += 7 {
		run = append(run, model.Sample{Time: at, Type: model.Float64, Bits: math.Float64bits(float64(at))})
	}
	_, err := db.PutForecast(ctx, 1, 5, "m", "ann", doubles(run))
	require.NoError(t, err)
	write := func(id model.TagID, s model.Samples) {
		p, err := db.Submit(ctx, &storage.Batch{Source: "s", Epoch: 1, Sequence: uint64(id), ContentHash: 1, Runs: []storage.Run{{Tag: id, Mode: model.Update, Samples: s}}})
		require.NoError(t, err)
		_, err = p.Applied(ctx)
		require.NoError(t, err)
	}
	retype := func(typ model.Type, from int64) {
		r, err := db.ChangeCatalog(ctx, []catalog.Change{{Update: &catalog.Update{ID: 1, Settings: &model.Settings{From: from, Type: typ}}}})
		require.NoError(t, err)
		require.NoError(t, r[0].Err)
	}
	write(1, *doubles([]model.Sample{{Time: 20, Type: model.Float64, Bits: math.Float64bits(1.5)}, {Time: 120, Type: model.Float64, Bits: math.Float64bits(2.5)}}))
	retype(model.Int64, 200)
	whole := model.Samples{Type: model.Int64}
	for at := int64(211); at < 390; at += 13 {
		whole.Append(model.Sample{Time: at, Type: model.Int64, Bits: uint64(at % 5)})
	}
	write(2, whole)
	retype(model.String, 400)
	r := ForecastRuns{Tags: Tags{Names: []string{"a"}}, Pick: NewestRun, Start: 0, End: 400, BatchRows: 1000}
	sink := &recordSink{}
	n, err := e.CompareForecast(ctx, ForecastComparison{ForecastRuns: r, UseUncertain: true}, sink)
	require.NoError(t, err)
	require.Equal(t, uint64(58), n)
	compared := 0
	for _, rec := range sink.records(t) {
		for i := range int(rec.NumRows()) {
			at := int64(rec.Column(0).(*array.Timestamp).Value(i))
			var one bytesSink
			_, err := e.ReadAtTimes(ctx, AtTimesRequest{Tags: r.Tags, Times: []int64{at}, UseUncertain: true}, &one)
			require.NoError(t, err)
			_, rows, _ := one.read(t)
			value, has := rows[0].value["value"]
			if whole, is := value.(int64); is {
				value = math.Float64bits(float64(whole))
			}
			require.Equal(t, !has, rec.Column(2).IsNull(i), "at %d", at)
			require.Equal(t, float64(at), rec.Column(3).(*array.Float64).Value(i))
			if has {
				compared++
				require.Equal(t, value, math.Float64bits(rec.Column(2).(*array.Float64).Value(i)), "at %d", at)
				require.Equal(t, float64(at)-math.Float64frombits(value.(uint64)), rec.Column(4).(*array.Float64).Value(i))
			}
		}
	}
	require.Equal(t, 53, compared, "all but those before the first sample of either epoch")
	r.End = 401
	_, err = e.CompareForecast(ctx, ForecastComparison{ForecastRuns: r}, &recordSink{})
	require.ErrorIs(t, err, ErrBadRequest)
	require.ErrorContains(t, err, "is of type string from 1970-01-01T00:00:00.0000004Z to")
	read := &recordSink{}
	n, err = e.ReadForecast(ctx, r, read)
	require.NoError(t, err)
	require.Equal(t, uint64(58), n)
	require.Equal(t, 399.0, rowsOfForecast(t, read.records(t))[57].value)
}

// TestForecastsThatMakeNoSense are refused before anything is read.
func TestForecastsThatMakeNoSense(t *testing.T) {
	_, e := forecastStore(t, 500)
	good := ForecastRuns{Tags: Tags{Names: []string{"a"}}, Pick: NewestRun, Start: 0, End: 10}
	for _, spoil := range []func(*ForecastRuns){
		func(r *ForecastRuns) { r.Pick = 0 }, func(r *ForecastRuns) { r.Pick = 5 }, func(r *ForecastRuns) { r.End = 0 },
		func(r *ForecastRuns) { r.Lead = 1 }, func(r *ForecastRuns) { r.Pick, r.Lead = Curve, -1 }, func(r *ForecastRuns) { r.IssuedTo = 7 },
		func(r *ForecastRuns) { r.Pick = EachRun }, func(r *ForecastRuns) { r.Known = -1 }, func(r *ForecastRuns) { r.BatchRows = MaxBatchRows + 1 },
		func(r *ForecastRuns) { r.Models = make([]string, MaxForecastModels+1) }, func(r *ForecastRuns) { r.Names = []string{"b"} },
	} {
		r := good
		spoil(&r)
		_, err := e.ReadForecast(context.Background(), r, &recordSink{})
		require.Error(t, err)
		_, err = e.CompareForecast(context.Background(), ForecastComparison{ForecastRuns: r}, &recordSink{})
		require.Error(t, err)
	}
}

// recordSink keeps the bytes of an answer.
type recordSink struct{ bytesSink }

// records is the record batches of the answer.
func (s *recordSink) records(t *testing.T) (out []arrow.Record) {
	r, err := ipc.NewReader(bytes.NewReader(s.Bytes()))
	require.NoError(t, err)
	for r.Next() {
		rec := r.Record()
		rec.Retain()
		out = append(out, rec)
	}
	require.NoError(t, r.Err())
	return out
}
