package query

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/query/part13"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/catalog"
)

// TestProcessedValuesFromRollups asks a sealed store, which answers whole hours and days from rollups, and one that has the same samples
// in memory.
func TestProcessedValuesFromRollups(t *testing.T) {
	for _, typ := range []model.Type{model.Float64, model.Int64, model.Bool} {
		rng := rand.New(rand.NewPCG(uint64(typ), 31))
		samples := daysOf(rng, typ)
		sealed, raw := storeOf(t, samples, true), storeOf(t, samples, false)
		var functions []Function
		for i := range part13.Names() {
			if f := part13.Aggregate(i + 1); f.Of(typ) {
				functions = append(functions, Standard(f))
			}
		}
		const hour = int64(3600e9)
		for range 30 {
			r := ProcessedRequest{
				Tags: Tags{Names: []string{"a"}}, Functions: functions, Resolution: 1 + rng.Int64N(5e9),
				Configuration: part13.Configuration{
					TreatUncertainAsBad: rng.IntN(2) == 0, PercentDataBad: 50 + uint8(rng.IntN(51)), PercentDataGood: 50 + uint8(rng.IntN(51)),
					SlopedExtrapolation: rng.IntN(2) == 0,
				},
			}
			r.Step = []int64{hour, 24 * hour, 7 * hour, 25 * hour / 2}[rng.IntN(4)]
			r.Start, r.End = rng.Int64N(3)*hour*24, (3+rng.Int64N(3))*hour*24
			if rng.IntN(2) == 0 {
				r.Start += rng.Int64N(hour)
			}
			if rng.IntN(2) == 0 {
				r.Start, r.End = r.End, r.Start
			}
			a, b := readProcessed(t, sealed, r), readProcessed(t, raw, r)
			requireAlike(t, a, b, fmt.Sprintf("%s, %+v", typ, r))
			a.Release()
			b.Release()
		}
	}
}

// daysOf is samples of four days, most of them Good, with a day without any.
func daysOf(rng *rand.Rand, typ model.Type) model.Samples {
	s := model.Samples{Type: typ}
	const day = int64(86_400e9)
	for at := rng.Int64N(day); at < 5*day; at += 1 + rng.Int64N(600e9) {
		if at/day == 2 {
			at = 3*day + rng.Int64N(day/2)
		}
		x := model.Sample{Time: at, Type: typ, Null: rng.IntN(50) == 0}
		if rng.IntN(20) == 0 {
			x.Quality = []model.Quality{model.Uncertain, model.BadSensorFailure, model.UncertainLastUsableValue}[rng.IntN(3)]
		}
		if !x.Null {
			switch v := rng.IntN(2000) - 1000; typ {
			case model.Float64:
				x.Bits = math.Float64bits(float64(v) / 10)
			case model.Bool:
				x.Bits = uint64(v & 1)
			default:
				x.Bits = uint64(int64(v))
			}
		}
		s.Append(x)
	}
	return s
}

// storeOf has samples as those of tag a.
func storeOf(t *testing.T, samples model.Samples, seal bool) *Engine {
	settings := []model.Settings{{From: model.MinTime, Type: samples.Type, Stepped: samples.Type.AlwaysStepped()}}
	e, err := New(FromDB(databaseOf(t, settings, samples, seal)), Options{})
	require.NoError(t, err)
	return e
}

// databaseOf has samples as those of tag a, which has these settings.
func databaseOf(t *testing.T, settings []model.Settings, samples model.Samples, seal bool) *storage.DB {
	ctx := context.Background()
	db, err := storage.Open("store", storage.Options{FS: vfs.NewMem(), MinFreeBytes: -1, BallastBytes: -1, SealAfter: -1})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	_, err = db.ChangeCatalog(ctx, []catalog.Change{{Create: &catalog.Create{Tag: model.Tag{
		Name: "a", UUID: model.UUID{1}, Settings: settings,
	}}}})
	require.NoError(t, err)
	pending, err := db.Submit(ctx, &storage.Batch{
		Source: "s", Epoch: 1, Sequence: 1, ContentHash: 1, Runs: []storage.Run{{Tag: 1, Mode: model.Update, Samples: samples}},
	})
	require.NoError(t, err)
	_, err = pending.Applied(ctx)
	require.NoError(t, err)
	if seal {
		_, err = db.Seal(ctx)
		require.NoError(t, err)
	}
	return db
}

// requireAlike holds doubles to what rollups promise, and all else to the bit.
func requireAlike(t *testing.T, a, b arrow.Record, where string) {
	t.Helper()
	require.Equal(t, b.NumRows(), a.NumRows(), where)
	for k := range int(a.NumCols()) {
		x, y := a.Column(k), b.Column(k)
		f, ok := x.(*array.Float64)
		if !ok {
			require.True(t, array.Equal(y, x), "%s: %s is\n%s\nnot\n%s", where, a.ColumnName(k), x, y)
			continue
		}
		g := y.(*array.Float64)
		for i := range f.Len() {
			require.Equal(t, g.IsNull(i), f.IsNull(i), where)
			require.InDelta(t, g.Value(i), f.Value(i), 1e-12*max(1e5, math.Abs(g.Value(i))), "%s: row %d of %s", where, i, a.ColumnName(k))
		}
	}
}
