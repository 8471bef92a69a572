package query

import (
	"context"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/internal/cputime"
	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/catalog"
)

// BenchmarkYearPlot is plots of a sealed tag with a sample a second for a year, whole answers but for sending them: by pixels, from
// 8.76 hours to two minutes wide, with a Bad sample now and then, and by LTTB of what it takes.
func BenchmarkYearPlot(b *testing.B) {
	const day = 86_400
	db, err := storage.Open("store", storage.Options{FS: vfs.NewMem(), MinFreeBytes: -1, BallastBytes: -1, SealAfter: -1})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, db.Close()) })
	_, err = db.ChangeCatalog(context.Background(), []catalog.Change{
		{Create: &catalog.Create{Tag: model.Tag{Name: "good", UUID: model.UUID{1}, Settings: []model.Settings{{From: model.MinTime, Type: model.Float64}}}}},
		{Create: &catalog.Create{Tag: model.Tag{Name: "bad", UUID: model.UUID{2}, Settings: []model.Settings{{From: model.MinTime, Type: model.Float64}}}}},
	})
	require.NoError(b, err)
	rnd := uint64(1)
	for d := range 365 {
		var runs []storage.Run
		for tag := range 2 {
			s := model.Samples{Type: model.Float64}
			for i := range day {
				rnd = rnd*6364136223846793005 + 1442695040888963407
				v := math.Round(500+300*math.Sin(float64(d*day+i)/50_000)+float64(rnd>>40%64)) / 10
				x := model.Sample{Time: benchStart + int64(d*day+i)*1e9, Type: model.Float64, Bits: math.Float64bits(v)}
				if tag == 1 && rnd>>33%day == 0 { // once a day
					x.Quality = model.BadSensorFailure
				}
				s.Append(x)
			}
			runs = append(runs, storage.Run{Tag: model.TagID(tag + 1), Mode: model.Update, Samples: s})
		}
		pending, err := db.Submit(context.Background(), &storage.Batch{Source: "s", Epoch: 1, Sequence: uint64(d + 1), ContentHash: uint64(d + 1), Runs: runs})
		require.NoError(b, err)
		_, err = pending.Applied(context.Background())
		require.NoError(b, err)
	}
	_, err = db.Seal(context.Background())
	require.NoError(b, err)
	e, err := New(FromDB(db), Options{})
	require.NoError(b, err)
	for _, c := range []struct {
		tag, width, lttb int
		length           time.Duration
	}{
		{1, 1000, 0, 365 * 24 * time.Hour},
		{2, 1000, 0, 365 * 24 * time.Hour},
		{1, 365, 0, 365 * 24 * time.Hour},
		{1, 1000, 0, 30 * 24 * time.Hour},
		{1, 0, 1000, 12 * 24 * time.Hour},
	} {
		b.Run(fmt.Sprintf("tag=%d/days=%d/width=%d/lttb=%d", c.tag, c.length/(24*time.Hour), c.width, c.lttb), func(b *testing.B) {
			b.ReportAllocs()
			r := PlotRequest{Tags: Tags{IDs: []model.TagID{model.TagID(c.tag)}}, Start: benchStart, End: benchStart + int64(c.length), Width: c.width, LTTB: c.lttb}
			before := cputime.Used(b)
			for b.Loop() {
				_, err := e.ReadPlot(context.Background(), r, dropped{})
				require.NoError(b, err)
			}
			b.ReportMetric((cputime.Used(b)-before).Seconds()/float64(b.N)*1e3, "cpu-ms/op")
		})
	}
}
