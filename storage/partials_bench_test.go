package storage

import (
	"context"
	"fmt"
	"math"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/internal/cputime"
	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/catalog"
)

// openSealed is a sealed store of tags at 1 Hz, half of them with times that jitter, with decimal values.
func openSealed(b *testing.B, tags, samples int) *DB {
	db, err := Open("store", Options{FS: vfs.NewMem(), MinFreeBytes: -1, BallastBytes: -1, SealAfter: -1})
	require.NoError(b, err)
	var changes []catalog.Change
	for i := range tags {
		changes = append(changes, catalog.Change{Create: &catalog.Create{Tag: model.Tag{
			Name: fmt.Sprintf("T%05d", i), UUID: model.UUID{byte(i), byte(i >> 8), 1}, Settings: []model.Settings{{From: model.MinTime, Type: model.Float64}},
		}}})
	}
	_, err = db.ChangeCatalog(context.Background(), changes)
	require.NoError(b, err)
	const run = 3600
	rnd, sequence := uint64(1), uint64(0)
	for from := 0; from < samples; from += run {
		for tag := range tags {
			s := model.Samples{Type: model.Float64}
			for i := from; i < min(from+run, samples); i++ {
				rnd = rnd*6364136223846793005 + 1442695040888963407
				t := int64(i) * 1e9
				if tag%2 == 1 {
					t += int64(rnd>>33%41) * 1e6
				}
				s.Times = append(s.Times, t)
				s.Bits = append(s.Bits, math.Float64bits(math.Round(500+300*math.Sin(float64(i)/5000)+float64(rnd>>40%16))/10))
			}
			sequence++
			p, err := db.Submit(context.Background(), &Batch{
				Source: "s", Epoch: 1, Sequence: sequence, ContentHash: sequence, Runs: []Run{{Tag: model.TagID(tag + 1), Mode: model.Update, Samples: s}},
			})
			require.NoError(b, err)
			if tag == tags-1 {
				_, err = p.Applied(context.Background())
				require.NoError(b, err)
			}
		}
	}
	_, err = db.Seal(context.Background())
	require.NoError(b, err)
	return db
}

func evenEdges(start, step int64, n int) []int64 {
	edges := make([]int64, n+1)
	for i := range edges {
		edges[i] = start + int64(i)*step
	}
	return edges
}

// BenchmarkPartials is one tag at a time: minutes of three hours, and hundreds of buckets of two months.
func BenchmarkPartials(b *testing.B) {
	const days = 60
	minutes, long := openSealed(b, 20, 10_800), openSealed(b, 2, days*86400)
	defer minutes.Close()
	defer long.Close()
	for _, c := range []struct {
		name  string
		db    *DB
		tags  int
		edges []int64
	}{
		{"minutes", minutes, 20, evenEdges(0, 60e9, 180)},
		{"hours", long, 2, evenEdges(0, 9*3600e9, days*24/9)},
		{"any", long, 2, evenEdges(12_345_678_901, (days-1)*86400*1_000_000_000/164, 164)},
		{"month", long, 2, evenEdges(0, 30*86400e9, 1)},
	} {
		for _, d := range []Detail{Full, Plain} {
			for odd := range 2 {
				b.Run(fmt.Sprintf("edges=%s/detail=%s/jitter=%d", c.name, []string{"full", "plain"}[d], odd), func(b *testing.B) {
					v, err := c.db.View(context.Background(), Accepted)
					require.NoError(b, err)
					defer v.Close()
					var p Partials
					tag, before := odd, cputime.Used(b)
					for b.Loop() {
						require.NoError(b, v.Partials(context.Background(), model.TagID(tag+1), c.edges, d, &p))
						tag = (tag + 2) % c.tags
					}
					b.ReportMetric((cputime.Used(b)-before).Seconds()/float64(b.N)*1e6, "cpu-µs/op")
				})
			}
		}
	}
}
