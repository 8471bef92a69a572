package storage

import (
	"context"
	"fmt"
	"math"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/catalog"
)

// BenchmarkIngest submits what a plant of 10,000 tags at 1 Hz sends, in batches of 2,000 runs of 10 samples, and waits
// until all is applied. One iteration is one batch of 20,000 samples.
func BenchmarkIngest(b *testing.B) {
	for _, mode := range []model.WriteMode{model.Update, model.Insert} {
		b.Run("mode="+mode.String(), func(b *testing.B) { benchmarkIngest(b, mode) })
	}
}

func benchmarkIngest(b *testing.B, mode model.WriteMode) {
	const tags, runs, n = 10_000, 2_000, 10
	dir, err := os.MkdirTemp("", "varve-bench")
	require.NoError(b, err)
	defer os.RemoveAll(dir)
	db, err := Open(dir+"/store", Options{})
	require.NoError(b, err)
	var changes []catalog.Change
	for i := range tags {
		changes = append(changes, catalog.Change{Create: &catalog.Create{Tag: model.Tag{
			Name: fmt.Sprintf("T%05d", i), UUID: model.UUID{byte(i), byte(i >> 8), 1}, Settings: []model.Settings{{From: model.MinTime, Type: model.Float64}},
		}}})
	}
	_, err = db.ChangeCatalog(context.Background(), changes)
	require.NoError(b, err)
	batch := &Batch{Source: "bench", Epoch: 1, Runs: make([]Run, runs)}
	for i := range batch.Runs {
		batch.Runs[i] = Run{Mode: mode, Samples: model.Samples{Type: model.Float64, Times: make([]int64, n), Bits: make([]uint64, n)}}
	}
	base := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano()
	rnd := uint64(1)
	var last *Pending
	b.ResetTimer()
	for i := range b.N {
		batch.Sequence = uint64(i + 1)
		batch.ContentHash = uint64(i)
		for k := range batch.Runs {
			r := &batch.Runs[k]
			tag := i%(tags/runs)*runs + k
			r.Tag = model.TagID(tag + 1)
			t := base + int64(i/(tags/runs))*n*1e9
			for j := range n {
				rnd = rnd*6364136223846793005 + 1442695040888963407
				r.Samples.Times[j] = t + int64(j)*1e9
				if tag/20%2 == 1 {
					r.Samples.Times[j] += int64(rnd>>33%41) * 1e6
				}
				if tag%20 < 12 {
					r.Samples.Bits[j] = math.Float64bits(math.Round(float64(tag)+float64(rnd>>40%1000)) / 100)
				} else {
					r.Samples.Bits[j] = math.Float64bits(float64(tag))
				}
			}
		}
		last, err = db.Submit(context.Background(), batch)
		require.NoError(b, err)
	}
	_, err = last.Applied(context.Background())
	require.NoError(b, err)
	b.StopTimer()
	b.ReportMetric(float64(b.N)*runs*n/b.Elapsed().Seconds()/1e6, "Msamples/s")
	_, err = db.Flush(context.Background())
	require.NoError(b, err)
	s := db.Status()
	b.ReportMetric(float64(s.Bytes.Total)/float64(s.Samples), "B/sample")
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.Sys)/(1<<20), "MiB-sys")
	require.NoError(b, db.Close())
}
