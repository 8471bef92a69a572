package query

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/query/counter"
	"github.com/varvedb/varve/query/part13"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/catalog"
	"github.com/varvedb/varve/storage/chunk"
)

// TestStoredSamplesAnswerAsThePlainModel asks a store, some of it sealed, some in chunks, some in memory, over days and
// with several samples at one time, for ranges with bounds and for values at instants.
func TestStoredSamplesAnswerAsThePlainModel(t *testing.T) {
	const minute = int64(60e9)
	rng := rand.New(rand.NewPCG(3, 9))
	ctx := context.Background()
	db, err := storage.Open("store", storage.Options{FS: vfs.NewMem(), MinFreeBytes: -1, BallastBytes: -1, SealAfter: -1})
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	settings := []model.Settings{{From: model.MinTime, Type: model.Float64, MaxGap: 3 * 3600e9}, {From: 30 * 3600e9, Type: model.Float64, Stepped: true}}
	_, err = db.ChangeCatalog(ctx, []catalog.Change{{Create: &catalog.Create{Tag: model.Tag{Name: "a", UUID: model.UUID{1}, Settings: settings}}}})
	require.NoError(t, err)
	tag, ok := db.Catalog().ByName("a")
	require.True(t, ok)

	plain := newPlainStore(model.Float64)
	plain.tags[0].Settings, plain.tags[0].Name = tag.Settings, "a"
	var all []model.Sample
	for at := int64(0); at < 72*3600e9; at += 1 + rng.Int64N(4*minute) {
		for seq := range uint32(1 + rng.IntN(8)/7) {
			all = append(all, model.Sample{
				Time: at, Seq: seq, Type: model.Float64, Bits: math.Float64bits(float64(rng.IntN(1000)) / 8),
				Quality: []model.Quality{0, 0, 0, 0, model.Uncertain, model.BadSensorFailure}[rng.IntN(6)],
			})
		}
		if rng.IntN(300) == 0 {
			at += 5 * 3600e9
		}
	}
	for _, x := range all {
		plain.add(1, 0, x)
	}
	parts := [3]model.Samples{}
	for i, x := range all { // late ones among those of later parts
		p := i * 3 / len(all)
		if rng.IntN(5) == 0 || i > 0 && all[i-1].Time == x.Time { // those of one time come in order
			p = 2
		}
		parts[p].Type = model.Float64
		parts[p].Append(x)
	}
	for i := range parts {
		run := storage.Run{Tag: tag.ID, Mode: model.Append, Samples: parts[i]}
		run.Samples.Seq = nil
		pending, err := db.Submit(ctx, &storage.Batch{Source: "s", Epoch: 1, Sequence: uint64(i + 1), ContentHash: uint64(i + 1), Runs: []storage.Run{run}})
		require.NoError(t, err)
		_, err = pending.Applied(ctx)
		require.NoError(t, err)
		switch i {
		case 0:
			_, err = db.Seal(ctx)
		case 1:
			_, err = db.Flush(ctx)
		}
		require.NoError(t, err)
	}
	e, err := New(FromDB(db), Options{})
	require.NoError(t, err)
	instant := func() int64 {
		if rng.IntN(3) == 0 {
			return all[rng.IntN(len(all))].Time
		}
		return rng.Int64N(80*3600e9) - 3600e9
	}
	for range 300 {
		r := RangeRequest{Tags: Tags{Names: []string{"a"}}, Start: instant(), End: instant(), WithSeq: true, Bounds: Bounds(rng.IntN(4))}
		if rng.IntN(3) == 0 {
			r.Limit = 1 + rng.Uint64N(20)
			r.OpenStart = rng.IntN(2) == 0 && r.Bounds != Interpolated
			r.OpenEnd = !r.OpenStart && rng.IntN(2) == 0 && r.Bounds != Interpolated
		}
		var sink bytesSink
		_, err := e.ReadRange(ctx, r, &sink)
		require.NoError(t, err)
		_, rows, _ := sink.read(t)
		requireRows(t, plain, plain.tags[0], r, plainRange(plain, plain.tags[0], r), rows)
	}
	for range 100 {
		r := AtTimesRequest{Tags: Tags{Names: []string{"a"}}, BridgeBad: rng.IntN(2) == 0, UseUncertain: rng.IntN(2) == 0}
		for range 1 + rng.IntN(10) {
			r.Times = append(r.Times, instant())
		}
		if rng.IntN(2) == 0 {
			slices.Sort(r.Times)
		}
		var sink bytesSink
		_, err := e.ReadAtTimes(ctx, r, &sink)
		require.NoError(t, err)
		_, rows, _ := sink.read(t)
		require.Len(t, rows, len(r.Times))
		for i, at := range r.Times {
			want := plainAt(plain.tags[0], all, at, plainRules{bridge: r.BridgeBad, useUncertain: r.UseUncertain})
			require.Equal(t, at, rows[i].time)
			require.Equal(t, uint32(want.Quality), rows[i].quality, "at %s", model.FormatTime(at))
			if want.Null {
				require.NotContains(t, rows[i].value, "value")
			} else {
				requireNear(t, model.Float64, want.Bits, rows[i].value["value"])
			}
		}
	}
}

// TestStoredStatesAndOwnFunctionsAreThoseOfSamples asks a store that is sealed, so that rollups answer, and samples that are not, for
// own functions and for times in states.
func TestStoredStatesAndOwnFunctionsAreThoseOfSamples(t *testing.T) {
	const hour = int64(3600e9)
	rng := rand.New(rand.NewPCG(5, 41))
	ctx := context.Background()
	db, err := storage.Open("store", storage.Options{FS: vfs.NewMem(), MinFreeBytes: -1, BallastBytes: -1, SealAfter: -1})
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	types := []model.Type{model.Float64, model.Uint64, model.State, model.Bool, model.State}
	plain := &plainStore{block: 1000, samples: map[model.TagID]*storage.Block{}}
	for i, typ := range types {
		settings := []model.Settings{{From: model.MinTime, Type: typ, Stepped: typ.AlwaysStepped()}}
		settings[0].MaxGap = []time.Duration{2 * time.Hour, 90 * time.Minute, 3 * time.Minute, 0, 0}[i]
		if i == 0 {
			settings = append(settings, model.Settings{From: 30*hour + 7, Type: typ, Stepped: true, MaxGap: 3 * time.Minute})
		}
		tag := model.Tag{Name: string('a' + rune(i)), UUID: model.UUID{byte(i + 1)}, Settings: settings}
		_, err := db.ChangeCatalog(ctx, []catalog.Change{{Create: &catalog.Create{Tag: tag}}})
		require.NoError(t, err)
		stored, ok := db.Catalog().ByName(tag.Name)
		require.True(t, ok)
		plain.tags = append(plain.tags, stored)
		b := &storage.Block{Samples: model.Samples{Type: typ}}
		count := uint64(0)
		for at := int64(0); at < 72*hour; at += 1 + rng.Int64N(hour/15) {
			x := model.Sample{Time: at, Type: typ, Quality: []model.Quality{0, 0, 0, 0, 0, model.Uncertain, model.BadSensorFailure}[rng.IntN(7)]}
			switch count = (count + rng.Uint64N(40)) % 1000; i {
			case 0:
				x.Bits = math.Float64bits(float64(rng.IntN(1000)) / 8)
			case 1:
				x.Bits = count
			case 4: // more states than a partial tells apart
				x.Bits = rng.Uint64N(90)
			default:
				x.Bits = rng.Uint64N(2)
			}
			b.Append(x)
			b.Origins = append(b.Origins, chunk.Origin{Samples: 1})
			if rng.IntN(80) == 0 {
				at += rng.Int64N(4 * hour)
			}
		}
		plain.samples[stored.ID] = b
		pending, err := db.Submit(ctx, &storage.Batch{
			Source: "s", Epoch: 1, Sequence: uint64(i + 1), ContentHash: uint64(i + 1), Runs: []storage.Run{{Tag: stored.ID, Mode: model.Append, Samples: b.Samples}},
		})
		require.NoError(t, err)
		_, err = pending.Applied(ctx)
		require.NoError(t, err)
	}
	now := func() time.Time { return time.Unix(0, 80*hour) }
	samples, err := New(plain, Options{Now: now})
	require.NoError(t, err)
	stored, err := New(FromDB(db), Options{Now: now})
	require.NoError(t, err)
	for _, sealed := range []bool{false, true} {
		if sealed {
			_, err := db.Seal(ctx)
			require.NoError(t, err)
		}
		for range 15 {
			b := Buckets{Start: rng.Int64N(90 * hour), End: rng.Int64N(90 * hour), Step: hour/2 + rng.Int64N(30*hour)}
			if rng.IntN(2) == 0 { // whole days and hours, as rollups have them
				b = Buckets{Start: rng.Int64N(3) * 24 * hour, End: 96 * hour, Step: []int64{hour, 24 * hour}[rng.IntN(2)]}
			}
			strict := rng.IntN(2) == 0
			r := ProcessedRequest{
				Tags: Tags{Names: []string{"a", "b"}}, Buckets: b, Configuration: part13.Defaults, Counter: counter.Limits{Highest: 999, Step: 300},
				Functions: append(functions(t, AggregateNames()...), functions(t, ownNames...)...),
			}
			r.Configuration.TreatUncertainAsBad = strict
			want, have := readProcessed(t, samples, r), readProcessed(t, stored, r)
			require.Equal(t, want.NumRows(), have.NumRows())
			for i, f := range want.Schema().Fields() {
				if f.Name != "value" {
					require.True(t, array.Equal(want.Column(i), have.Column(i)), "sealed %v, column %s of %+v", sealed, f.Name, b)
					continue
				}
				x, y := want.Column(i).(*array.Float64), have.Column(i).(*array.Float64)
				for k := range x.Len() {
					require.Equal(t, x.IsNull(k), y.IsNull(k))
					require.InDelta(t, x.Value(k), y.Value(k), 1e-9*math.Abs(x.Value(k)), "sealed %v, %s of %+v", sealed, r.Functions[k%len(r.Functions)], b)
				}
			}
			want.Release()
			have.Release()
			for _, name := range []string{"b", "c", "d", "e"} {
				r := StatesRequest{Tags: Tags{Names: []string{name}}, Buckets: b, UseUncertain: !strict}
				require.Equal(t, readStates(t, samples, r), readStates(t, stored, r), "sealed %v, %+v", sealed, r)
			}
		}
	}
}
