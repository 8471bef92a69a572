package query

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/query/part13"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/catalog"
)

// TestExplanationsAreOfTheAnswer explains every aggregate of random histories. Value, time and status are those of the answer, and what
// is said of samples and durations is what loops over the samples say.
func TestExplanationsAreOfTheAnswer(t *testing.T) {
	ctx := context.Background()
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 41))
		typ := []model.Type{model.Float64, model.Float32, model.Int64, model.Bool, model.String}[rng.IntN(5)]
		tag := &model.Tag{ID: 1, Name: "a", Settings: []model.Settings{{From: model.MinTime, Type: typ, Stepped: typ.AlwaysStepped() || rng.IntN(2) == 0}}}
		b := randomBlock(rng, typ)
		e, err := New(&plainStore{tags: []*model.Tag{tag}, samples: map[model.TagID]*storage.Block{1: b}, block: 7}, Options{})
		require.NoError(t, err)
		r := ExplainRequest{
			Tags: Tags{IDs: []model.TagID{1}}, Start: int64(rng.IntN(600)), End: int64(601 + rng.IntN(600)), Resolution: 1 + int64(rng.IntN(5)),
			Configuration: part13.Configuration{
				TreatUncertainAsBad: rng.IntN(2) == 0, PercentDataBad: 50 + uint8(rng.IntN(51)), PercentDataGood: 50 + uint8(rng.IntN(51)),
				SlopedExtrapolation: rng.IntN(2) == 0,
			},
		}
		if rng.IntN(2) == 0 {
			r.Start, r.End = r.End, r.Start
		}
		for _, name := range part13.Names() {
			f, _ := part13.Parse(name)
			if !f.Of(typ) {
				continue
			}
			where := fmt.Sprintf("seed %d, %s", seed, name)
			r.Aggregate = name
			x, err := e.Explain(ctx, r)
			require.NoError(t, err, where)
			rec := readProcessed(t, e, ProcessedRequest{
				Tags: r.Tags, Buckets: Buckets{Start: r.Start, End: r.End}, Functions: []Function{Standard(f)}, Configuration: r.Configuration, Resolution: r.Resolution,
			})
			require.Equal(t, int64(rec.Column(0).(*array.Timestamp).Value(0)), x.Time, where)
			require.Equal(t, model.Quality(rec.Column(8).(*array.Uint32).Value(0)).Text(), x.Quality.Text(), where)
			if number := rec.Column(5).(*array.Float64); number.IsValid(0) {
				require.Equal(t, math.Float64bits(number.Value(0)), math.Float64bits(*x.Value.Number), where)
			} else if text := rec.Column(7).(*array.String); text.IsValid(0) {
				require.Equal(t, text.Value(0), x.Value.Text, where)
			} else {
				require.Equal(t, rec.Column(6).IsNull(0), x.Value.Null, where)
			}
			rec.Release()
			requireCounted(t, &b.Samples, x, where)
			require.NotEmpty(t, x.Formula, where)
		}
		for _, name := range AggregateNames() {
			a, err := ParseAggregate(name)
			require.NoError(t, err)
			if a.numeric() && typ > model.Uint64 {
				continue
			}
			where := fmt.Sprintf("seed %d, %s", seed, name)
			r.Aggregate = name
			x, err := e.Explain(ctx, r)
			require.NoError(t, err, where)
			rec := readAggregates(t, e, AggregatesRequest{
				Tags: r.Tags, Buckets: Buckets{Start: r.Start, End: r.End}, Aggregates: []Aggregate{a}, UseUncertain: !r.Configuration.TreatUncertainAsBad,
			})
			require.Equal(t, uint32(x.Quality), rec.Column(rec.Schema().FieldIndices("quality")[0]).(*array.Uint32).Value(0), where)
			column := rec.Column(rec.Schema().FieldIndices(name)[0])
			require.Equal(t, column.IsNull(0), x.Value.Null, where)
			if doubles, ok := column.(*array.Float64); ok && doubles.IsValid(0) {
				require.InDelta(t, doubles.Value(0), *x.Value.Number, 1e-12*math.Abs(doubles.Value(0)), where)
			} else if column.IsValid(0) && a != MinimumTime && a != MaximumTime && a != WorstQuality {
				require.Equal(t, column.ValueStr(0), x.Value.Text, where)
			}
			rec.Release()
			requireCounted(t, &b.Samples, x, where)
			require.NotEmpty(t, x.Formula, where)
		}
	}
}

// requireCounted counts the samples of an explanation one by one, and what each holds.
func requireCounted(t *testing.T, s *model.Samples, x *Explanation, where string) {
	t.Helper()
	low, high := min(x.Start, x.End), max(x.Start, x.End)
	in := model.Between(x.Start, x.End)
	var n [4]int64
	for i := range s.Len() {
		q := s.QualityAt(i)
		switch {
		case !in.Contains(s.Times[i]):
		case q.IsBad():
			n[2]++
		case s.IsNull(i):
			n[3]++
		case q.IsGood():
			n[0]++
		default:
			n[1]++
		}
	}
	require.Equal(t, n, [4]int64{x.Samples.Good, x.Samples.Uncertain, x.Samples.Bad, x.Samples.Null}, where)
	d := x.Durations
	require.Equal(t, uint64(high-low), d.Good+d.Uncertain+d.Bad+d.NotCovered, where)
	for _, b := range x.Bounds {
		require.True(t, b.Edge == low || b.Edge == high, where)
		require.Equal(t, b.Raw, len(b.From) == 1 && b.From[0].Time == b.Edge, where)
		require.True(t, b.Value.Null || len(b.From) > 0, where)
	}
	if !x.Quality.IsGood() || x.Quality&model.InfoPartial != 0 {
		require.NotEmpty(t, x.Reasons, where)
	}
}

// TestExplanationOfAStore asks a store of which days are sealed: how it was read, since when its settings hold, and what was edited.
func TestExplanationOfAStore(t *testing.T) {
	const hour = int64(3600e9)
	ctx := context.Background()
	db, err := storage.Open("store", storage.Options{FS: vfs.NewMem(), MinFreeBytes: -1, BallastBytes: -1, SealAfter: -1})
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	settings := []model.Settings{{From: model.MinTime, Type: model.Float64}, {From: 36 * hour, Type: model.Float64, Stepped: true}}
	_, err = db.ChangeCatalog(ctx, []catalog.Change{{Create: &catalog.Create{Tag: model.Tag{Name: "a", UUID: model.UUID{1}, Settings: settings}}}})
	require.NoError(t, err)
	sequence := uint64(0)
	submit := func(b storage.Batch) {
		sequence++
		b.Source, b.Epoch, b.Sequence, b.ContentHash = "s", 1, sequence, sequence
		pending, err := db.Submit(ctx, &b)
		require.NoError(t, err)
		_, err = pending.Applied(ctx)
		require.NoError(t, err)
	}
	days := model.Samples{Type: model.Float64}
	for at := int64(0); at < 72*hour; at += 5e9 {
		days.Append(model.Sample{Time: at, Type: model.Float64, Bits: math.Float64bits(float64(at / 5e9))})
	}
	submit(storage.Batch{Runs: []storage.Run{{Tag: 1, Mode: model.Update, Samples: days}}})
	_, err = db.Seal(ctx)
	require.NoError(t, err)
	few := model.Samples{Type: model.Float64}
	for i := range int64(3) {
		few.Append(model.Sample{Time: 72*hour + i*60e9, Type: model.Float64})
	}
	submit(storage.Batch{Runs: []storage.Run{{Tag: 1, Mode: model.Update, Samples: few}}})
	edit := model.Samples{Type: model.Float64}
	edit.Append(model.Sample{Time: 72*hour + 60e9, Type: model.Float64, Bits: math.Float64bits(7)})
	submit(storage.Batch{Author: "ana", Reason: "calibrated", Runs: []storage.Run{{Tag: 1, Mode: model.Replace, Samples: edit}}})
	e, err := New(FromDB(db), Options{})
	require.NoError(t, err)
	explain := func(start, end int64) *Explanation {
		x, err := e.Explain(ctx, ExplainRequest{Tags: Tags{Names: []string{"a"}}, Start: start, End: end, Aggregate: "TimeAverage2", Configuration: part13.Defaults})
		require.NoError(t, err)
		return x
	}
	x := explain(0, 24*hour)
	require.Equal(t, storage.Reading{Days: 1}, x.Reading.Reading)
	require.Zero(t, x.Versions)
	require.Equal(t, int64(model.MinTime), x.SettingsFrom)
	require.False(t, x.Stepped)

	x = explain(24*hour, 29*hour)
	require.Equal(t, storage.Reading{Hours: 5}, x.Reading.Reading)

	x = explain(48*hour, 48*hour+90e9)
	require.Zero(t, x.Reading.Days+x.Reading.Hours+x.Reading.TenMinutes+x.Reading.InMemory)
	require.Equal(t, int64(1), x.Reading.Chunks)
	require.GreaterOrEqual(t, x.Reading.Decoded, int64(18))
	require.True(t, x.Stepped)
	require.Equal(t, 36*hour, x.SettingsFrom)
	require.Equal(t, "settings", x.SteppedBy)

	x = explain(72*hour, 73*hour)
	require.Equal(t, int64(3), x.Reading.InMemory)
	require.Equal(t, int64(1), x.Versions.Replaced)
	require.Equal(t, "ana", x.Versions.Edit.Author)
	require.Equal(t, "calibrated", x.Versions.Edit.Reason)
	require.Contains(t, x.Reasons, "the interval ends behind the last sample there is")

	_, err = e.Explain(ctx, ExplainRequest{Tags: Tags{IDs: []model.TagID{1}}, Start: 1, End: 1, Aggregate: "Average", Configuration: part13.Defaults})
	require.ErrorIs(t, err, ErrBadRange)
	for _, bad := range []ExplainRequest{
		{Tags: Tags{IDs: []model.TagID{1}}, End: 1, Aggregate: "average", Configuration: part13.Defaults},
		{Tags: Tags{IDs: []model.TagID{1, 1}}, End: 1, Aggregate: "Average", Configuration: part13.Defaults},
		{End: 1, Aggregate: "Average", Configuration: part13.Defaults},
		{Tags: Tags{IDs: []model.TagID{1}}, End: 1, Aggregate: "Average", Configuration: part13.Configuration{PercentDataBad: 101, PercentDataGood: 100}},
		{Tags: Tags{IDs: []model.TagID{1}}, End: 1, Aggregate: "Average", Configuration: part13.Defaults, Resolution: -1},
	} {
		_, err := e.Explain(ctx, bad)
		require.ErrorIs(t, err, ErrBadRequest)
	}
	_, err = e.Explain(ctx, ExplainRequest{Tags: Tags{Names: []string{"b"}}, End: 1, Aggregate: "Average", Configuration: part13.Defaults})
	require.ErrorIs(t, err, model.ErrTagNotFound)
	require.Zero(t, e.MemoryTaken())
}
