package main

import (
	"context"
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/bench/plant"
	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/catalog"
)

// BenchmarkSeal seals three hours of 1,000 tags of W1 that lie in generations of 400 samples a tag, as those of W1 do. One
// iteration is all of it; what is measured is the CPU time of sealing, the LSM's part in it included.
func BenchmarkSeal(b *testing.B) {
	const tags, samples = 1000, 10_800
	ctx, cpu, written := context.Background(), 0.0, 0.0
	for range b.N {
		b.StopTimer()
		db := storeW1(b, tags, samples)
		_, err := db.Flush(ctx)
		require.NoError(b, err)
		b.StartTimer()
		begin, err := cpuSeconds("self")
		if err != nil {
			b.Skip(err)
		}
		_, err = db.Seal(ctx)
		require.NoError(b, err)
		end, err := cpuSeconds("self")
		require.NoError(b, err)
		cpu += end - begin
		b.StopTimer()
		written += float64(db.Status().Bytes.Sealed) / (tags * samples)
		require.NoError(b, db.Close())
	}
	n := float64(b.N)
	b.ReportMetric(cpu*1e9/(n*tags*samples), "cpu-ns/sample")
	b.ReportMetric(written/n, "B/sample")
}

// storeW1 is a store that has the first samples of tags of W1 in generations.
func storeW1(b *testing.B, tags, samples int) *storage.DB {
	ctx := context.Background()
	db, err := storage.Open(b.TempDir(), storage.Options{
		GenerationSamples: 400 * tags, MemoryBytes: 64 << 20, SealAfter: -1, ScrubRate: -1, MinFreeBytes: -1, BallastBytes: -1,
	})
	require.NoError(b, err)
	changes, sources := make([]catalog.Change, tags), make([]*plant.Tag, tags)
	for i := range tags {
		changes[i].Create = &catalog.Create{Tag: model.Tag{
			Name: plant.Name(i), UUID: model.UUID{byte(i), byte(i >> 8), 1}, Settings: []model.Settings{{From: model.MinTime, Type: model.Float64}},
		}}
		sources[i] = plant.NewTag(1, i, plant.Start, 1000)
	}
	results, err := db.ChangeCatalog(ctx, changes)
	require.NoError(b, err)
	for i, r := range results {
		require.NoError(b, r.Err, fmt.Sprint(i))
	}
	const run = 10
	batch := storage.Batch{Source: "bench", Epoch: 1, Runs: make([]storage.Run, tags)}
	for i := range batch.Runs {
		batch.Runs[i] = storage.Run{Tag: model.TagID(i + 1), Mode: model.Update, Samples: model.Samples{
			Type: model.Float64, Times: make([]int64, run), Bits: make([]uint64, run),
		}}
	}
	values := make([]float64, run)
	for range samples / run {
		batch.Sequence++
		batch.ContentHash++
		for i := range batch.Runs {
			s := &batch.Runs[i].Samples
			sources[i].Next(s.Times, values)
			for k, v := range values {
				s.Times[k] *= millisecond
				s.Bits[k] = math.Float64bits(v)
			}
		}
		p, err := db.Submit(ctx, &batch)
		require.NoError(b, err)
		require.NoError(b, p.Accepted(ctx))
	}
	return db
}
