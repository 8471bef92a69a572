package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/internal/cputime"
	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/catalog"
	"github.com/varvedb/varve/storage/record"
)

// BenchmarkIngest submits what a plant of so many tags at 1 Hz sends, in batches of 2,000 runs of 10 samples, and waits
// until all is applied. One iteration is one batch of 20,000 samples.
func BenchmarkIngest(b *testing.B) {
	for _, tags := range []int{plantTags, 100_000, 1_000_000} {
		for _, mode := range []model.WriteMode{model.Update, model.Insert} {
			b.Run(fmt.Sprintf("tags=%d/mode=%s", tags, mode), func(b *testing.B) { benchmarkIngest(b, tags, mode) })
		}
	}
}

// BenchmarkRange reads an hour of 100 tags, spread over the plant, out of several generations. One iteration is all of
// them, on an open store.
func BenchmarkRange(b *testing.B) {
	p := openPlant(b, plantTags)
	defer p.close()
	for i := range 5 * 360 { // an hour
		p.send(i, model.Update)
	}
	_, err := p.db.Flush(context.Background())
	require.NoError(b, err)
	b.ResetTimer()
	rows := 0
	for range b.N {
		rows += p.readSpread()
	}
	b.ReportMetric(float64(rows)/b.Elapsed().Seconds()/1e6, "Msamples/s")
}

// BenchmarkContents works out the contents of twenty minutes of 10,000 tags, 12 million samples in 60 generations that are not sealed: as they
// come from a plant, and with every other ten seconds sent five minutes late, as a server gets them that was away for so long.
func BenchmarkContents(b *testing.B) {
	for _, c := range []struct {
		name string
		late int // batches
	}{{"in order", 0}, {"half late", 30 * plantTags / plantRuns}} {
		b.Run(c.name, func(b *testing.B) {
			p := openPlantWith(b, plantTags, Options{GenerationSamples: 200_000, SealAfter: -1})
			defer p.close()
			shares := plantTags / plantRuns
			order := make([]int, 120*shares)
			for i := range order {
				order[i] = i
			}
			slices.SortStableFunc(order, func(x, y int) int {
				at := func(i int) int { return i + i/shares%2*c.late }
				return at(x) - at(y)
			})
			for n, i := range order {
				p.sendAs(uint64(n+1), i, model.Update)
			}
			_, err := p.db.Flush(context.Background())
			require.NoError(b, err)
			v, err := p.db.View(context.Background(), Accepted)
			require.NoError(b, err)
			defer v.Close()
			for b.Loop() {
				samples := uint64(0)
				for x, err := range v.Contents(context.Background(), model.All) {
					require.NoError(b, err)
					samples += x.Samples
				}
				require.Equal(b, uint64(len(order)*plantRuns*plantRun), samples)
			}
			b.ReportMetric(float64(b.N*len(order)*plantRuns*plantRun)/b.Elapsed().Seconds()/1e6, "Msamples/s")
		})
	}
}

// plant is a store that a plant of tags at 1 Hz writes to, 2,000 runs of 10 samples a batch.
type plant struct {
	b     *testing.B
	tags  int
	db    *DB
	batch Batch
	rnd   uint64
	last  *Pending
	dir   string
}

// readSpread reads all there is of 100 tags, spread over the plant, and counts the samples.
func (p *plant) readSpread() (rows int) {
	v, err := p.db.View(context.Background(), Accepted)
	require.NoError(p.b, err)
	defer v.Close()
	c := v.Samples(1, model.TimeRange{})
	defer c.Close()
	for tag := model.TagID(1); tag <= plantTags; tag += plantTags / 100 {
		c.Reset(tag, model.All)
		for {
			block, err := c.Next(context.Background())
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(p.b, err)
			rows += block.Len()
		}
	}
	return rows
}

const (
	plantTags = 10_000
	plantRuns = 2_000
	plantRun  = 10
)

func openPlant(b *testing.B, tags int) *plant { return openPlantWith(b, tags, Options{}) }

func openPlantWith(b *testing.B, tags int, o Options) *plant {
	dir, err := os.MkdirTemp("", "varve-bench")
	require.NoError(b, err)
	db, err := Open(dir+"/store", o)
	require.NoError(b, err)
	var changes []catalog.Change
	for i := range tags {
		changes = append(changes, catalog.Change{Create: &catalog.Create{Tag: model.Tag{
			Name: fmt.Sprintf("T%05d", i), UUID: model.UUID{byte(i), byte(i >> 8), byte(i >> 16), 1}, Settings: []model.Settings{{From: model.MinTime, Type: model.Float64}},
		}}})
	}
	for some := range slices.Chunk(changes, plantTags) {
		_, err = db.ChangeCatalog(context.Background(), some)
		require.NoError(b, err)
	}
	p := &plant{b: b, tags: tags, db: db, dir: dir, rnd: 1, batch: Batch{Source: "bench", Epoch: 1, Runs: make([]Run, plantRuns)}}
	for i := range p.batch.Runs {
		p.batch.Runs[i].Samples = model.Samples{Type: model.Float64, Times: make([]int64, plantRun), Bits: make([]uint64, plantRun)}
	}
	return p
}

func (p *plant) close() {
	require.NoError(p.b, p.db.Close())
	require.NoError(p.b, os.RemoveAll(p.dir))
}

// send submits batch i: the next 10 s of 2,000 tags.
func (p *plant) send(i int, mode model.WriteMode) { p.sendAs(uint64(i+1), i, mode) }

// sendAs submits batch i under a sequence number.
func (p *plant) sendAs(sequence uint64, i int, mode model.WriteMode) {
	shares := p.tags / plantRuns
	base := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano()
	p.batch.Sequence, p.batch.ContentHash = sequence, uint64(i)
	for k := range p.batch.Runs {
		r := &p.batch.Runs[k]
		tag := i%shares*plantRuns + k
		r.Tag, r.Mode = model.TagID(tag+1), mode
		t := base + int64(i/shares)*plantRun*1e9
		for j := range plantRun {
			p.rnd = p.rnd*6364136223846793005 + 1442695040888963407
			r.Samples.Times[j] = t + int64(j)*1e9
			if tag/20%2 == 1 {
				r.Samples.Times[j] += int64(p.rnd>>33%41) * 1e6
			}
			v := float64(tag)
			if tag%20 < 12 {
				v = math.Round(v+float64(p.rnd>>40%1000)) / 100
			}
			r.Samples.Bits[j] = math.Float64bits(v)
		}
	}
	var err error
	p.last, err = p.db.Submit(context.Background(), &p.batch)
	require.NoError(p.b, err)
}

func benchmarkIngest(b *testing.B, tags int, mode model.WriteMode) {
	p := openPlant(b, tags)
	b.ResetTimer()
	before := cputime.Used(b)
	for i := range b.N {
		p.send(i, mode)
	}
	_, err := p.last.Applied(context.Background())
	require.NoError(b, err)
	b.StopTimer()
	b.ReportMetric((cputime.Used(b)-before).Seconds()*1e9/float64(b.N*plantRuns*plantRun), "cpu-ns/sample")
	b.ReportMetric(float64(b.N)*plantRuns*plantRun/b.Elapsed().Seconds()/1e6, "Msamples/s")
	_, err = p.db.Flush(context.Background())
	require.NoError(b, err)
	s := p.db.Status()
	b.ReportMetric(float64(s.Bytes.Total)/float64(s.Samples), "B/sample")
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.Sys)/(1<<20), "MiB-sys")
	p.close()
}

// BenchmarkErase erases part of a sealed day of 10,000 tags, 3.6 million samples, until it is off the disk. Written is by the
// LSM, the compaction that lets go of it included.
func BenchmarkErase(b *testing.B) {
	for _, x := range []struct {
		name string
		what record.What
		take func(tag model.TagID) bool
	}{
		{"all", record.SamplesAndRollups, func(model.TagID) bool { return true }},
		{"half", record.SamplesAndRollups, func(tag model.TagID) bool { return tag%2 == 0 }},
		{"one", record.SamplesAndRollups, func(tag model.TagID) bool { return tag == 5000 }},
		{"half-thinned", record.OldSamples, func(tag model.TagID) bool { return tag%2 == 0 }},
	} {
		b.Run(x.name, func(b *testing.B) {
			for range b.N {
				b.StopTimer()
				p := openPlant(b, plantTags)
				for i := range 5 * 36 {
					p.send(i, model.Update)
				}
				_, err := p.db.Seal(context.Background())
				require.NoError(b, err)
				tags := roaring.New()
				for tag := model.TagID(1); tag <= plantTags; tag++ {
					if x.take(tag) {
						tags.Add(uint32(tag))
					}
				}
				samples, written := p.db.Status().Samples, writtenBy(p.db)
				b.StartTimer()
				_, err = p.db.submitErasure(context.Background(), &record.Erasure{What: x.what, Cause: record.ByRetention, Class: "c", From: p.db.directory.parts[0].name.Range().Start, To: p.db.directory.parts[0].name.Range().End}, tags)
				require.NoError(b, err)
				require.NoError(b, p.db.FoldErased(context.Background()))
				b.StopTimer()
				b.ReportMetric(float64(writtenBy(p.db)-written)/float64(samples), "B-written/sample")
				require.Less(b, p.db.Status().Samples, samples)
				p.close()
				b.StartTimer()
			}
		})
	}
}

// writtenBy is the bytes that flushes and compactions of the LSM wrote.
func writtenBy(db *DB) uint64 {
	t := db.engine.Metrics().Total()
	return t.TableBytesFlushed + t.TableBytesCompacted
}

// BenchmarkSealedRange reads an hour of 100 tags, spread over the plant, that are sealed: in the LSM, or in an object of a tier on
// the same disk. One iteration is all of them: with a cache that has room for all, or on a store just opened.
func BenchmarkSealedRange(b *testing.B) {
	for _, place := range []string{"lsm", "tier"} {
		p := openPlant(b, plantTags)
		for i := range 5 * 360 { // an hour
			p.send(i, model.Update)
		}
		require.NoError(b, p.db.Close())
		o := Options{TierAfter: -1, ScrubRate: -1}
		if place == "tier" {
			o.TierDir = p.dir + "/slow"
		}
		reopen := func() {
			var err error
			p.db, err = Open(p.dir+"/store", o)
			require.NoError(b, err)
		}
		reopen()
		_, err := p.db.Seal(context.Background())
		require.NoError(b, err)
		if place == "tier" {
			require.NotZero(b, move(b, p.db, all))
		}
		for _, cache := range []string{"cold", "warm"} {
			b.Run("place="+place+"/cache="+cache, func(b *testing.B) {
				for range b.N {
					if cache == "cold" {
						b.StopTimer()
						require.NoError(b, p.db.Close())
						reopen()
						b.StartTimer()
					}
					rows := p.readSpread()
					require.Equal(b, 100*3600, rows)
				}
			})
		}
		p.close()
	}
}
