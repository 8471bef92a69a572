package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"sync/atomic"
	"testing"
	"time"

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
	db, sources := openW1(b, tags, storage.Options{GenerationSamples: 400 * tags, MemoryBytes: 64 << 20, SealAfter: -1})
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

// openW1 is an empty store with tags of W1, and what says their values.
func openW1(b *testing.B, tags int, o storage.Options) (*storage.DB, []*plant.Tag) {
	o.ScrubRate, o.MinFreeBytes, o.BallastBytes = -1, -1, -1
	db, err := storage.Open(b.TempDir(), o)
	require.NoError(b, err)
	changes, sources := make([]catalog.Change, tags), make([]*plant.Tag, tags)
	for i := range tags {
		changes[i].Create = &catalog.Create{Tag: model.Tag{
			Name: plant.Name(i), UUID: model.UUID{byte(i), byte(i >> 8), 1}, Settings: []model.Settings{{From: model.MinTime, Type: model.Float64}},
		}}
		sources[i] = plant.NewTag(1, i, plant.Start, 1000)
	}
	results, err := db.ChangeCatalog(context.Background(), changes)
	require.NoError(b, err)
	for i, r := range results {
		require.NoError(b, r.Err, fmt.Sprint(i))
	}
	return db, sources
}

// BenchmarkEdgeDay is a day of W1 as an edge stores it, every tag's sample by itself each second, with a clock that goes as fast as the
// store: a generation of ten minutes, and those that a head of a sixth of --memory 32MiB, and 64MiB, makes of 5,000 tags. Fewer tags have
// a head as much smaller, so that generations and sealed chunks come as they do there.
func BenchmarkEdgeDay(b *testing.B) {
	const tags, day = 500, 86_400
	for _, memory := range []int64{32 << 20, 64 << 20} {
		b.Run(fmt.Sprintf("memory=%dMiB", memory>>20), func(b *testing.B) {
			for range b.N {
				storeDay(b, tags, day, memory, memory/6*tags/5000)
			}
		})
	}
	b.Run("generation=10m", func(b *testing.B) {
		for range b.N {
			storeDay(b, tags, day, 64<<20, 1<<30)
		}
	})
}

func storeDay(b *testing.B, tags, seconds int, memory, generation int64) {
	ctx := context.Background()
	var clock atomic.Int64
	clock.Store(plant.Start * millisecond)
	db, sources := openW1(b, tags, storage.Options{
		MemoryBytes: memory, GenerationBytes: generation, Now: func() time.Time { return time.Unix(0, clock.Load()) },
	})
	defer func() { require.NoError(b, db.Close()) }()
	batch := storage.Batch{Source: "bench", Epoch: 1, Runs: make([]storage.Run, tags)}
	for i := range batch.Runs {
		batch.Runs[i] = storage.Run{Tag: model.TagID(i + 1), Mode: model.Update, Samples: model.Samples{
			Type: model.Float64, Times: make([]int64, 1), Bits: make([]uint64, 1),
		}}
	}
	began, err := usageOf(os.Getpid())
	if err != nil {
		b.Skip(err)
	}
	value := make([]float64, 1)
	var last *storage.Pending
	for range seconds {
		batch.Sequence++
		batch.ContentHash++
		for i := range batch.Runs {
			s := &batch.Runs[i].Samples
			sources[i].Next(s.Times, value)
			s.Times[0] *= millisecond
			s.Bits[0] = math.Float64bits(value[0])
		}
		clock.Add(int64(time.Second))
		last, err = db.Submit(ctx, &batch)
		require.NoError(b, err)
		if batch.Sequence%60 == 0 {
			_, err = last.Applied(ctx)
			require.NoError(b, err)
			for db.Status().Generations >= 64 { // at the pace of a plant a seal is done before the next generation
				time.Sleep(200 * time.Millisecond)
			}
		}
	}
	_, err = db.Seal(ctx)
	require.NoError(b, err)
	ended, err := usageOf(os.Getpid())
	require.NoError(b, err)
	status := db.Status()
	n := float64(status.Samples)
	b.ReportMetric((ended.cpu-began.cpu)*1e9/n, "cpu-ns/sample")
	b.ReportMetric(float64(ended.writeBytes-began.writeBytes)/n, "written-B/sample")
	b.ReportMetric(float64(status.Bytes.Total-status.Bytes.Log)/n, "B/sample")
}
