package storage

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/model"
)

// A slow disk slows the writers and costs no memory: each fsync of the log takes 50 ms, and tables are written at a crawl,
// while eight writers send as fast as they are let. What waits in memory stays within the options' bounds.
func TestSlowDiskSlowsWriters(t *testing.T) {
	const (
		writers, perRun = 8, 200
		backlog         = 256 << 10
		generation      = 64 << 10
	)
	disk := &diskFS{FS: vfs.NewMem()}
	o := testOptions(disk)
	o.BacklogBytes, o.GenerationBytes, o.GenerationSamples, o.SegmentBytes = backlog, generation, 1<<30, 1<<20
	db, err := Open("store", o)
	require.NoError(t, err)
	h := &history{t: t, db: db, tags: len(testTypes), clock: newClock()}
	h.createTags()
	disk.set(func(c diskCall) (bool, error) {
		switch {
		case c.part() == "log" && c.op == "sync":
			time.Sleep(50 * time.Millisecond)
		case c.op == "write" && strings.HasSuffix(c.path, ".sst"):
			time.Sleep(5 * time.Millisecond)
		}
		return false, nil
	})

	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	var sent, slowest atomic.Int64
	var all sync.WaitGroup
	var last [writers]*Pending
	for w := range writers {
		all.Go(func() {
			batch := Batch{Runs: []Run{{Tag: 1, Mode: model.Update}}}
			s := &batch.Runs[0].Samples
			for n := int64(0); ctx.Err() == nil; n++ {
				s.Reset(model.Float64)
				for i := range int64(perRun) {
					s.Append(model.Sample{Time: (n*perRun+i)*writers + int64(w), Type: model.Float64, Bits: uint64(n*perRun+i+1) * 0x9E3779B97F4A7C15})
				}
				began := time.Now()
				p, err := db.Submit(ctx, &batch)
				if err != nil {
					assert.ErrorIs(t, err, context.DeadlineExceeded)
					return
				}
				last[w] = p
				sent.Add(perRun)
				if took := time.Since(began).Milliseconds(); took > slowest.Load() {
					slowest.Store(took)
				}
			}
		})
	}
	var worst int64
	for ctx.Err() == nil {
		time.Sleep(5 * time.Millisecond)
		worst = max(worst, db.bytesWaiting(perRun*8))
	}
	all.Wait()
	disk.heal()
	t.Logf("%d samples sent, slowest Submit %d ms, most bytes waiting in memory %d", sent.Load(), slowest.Load(), worst)
	require.GreaterOrEqual(t, slowest.Load(), int64(20), "writers are slowed")
	// The head that is filled, those that are frozen, what is not applied, and one batch over each bound.
	const most = (2+maxFrozen)*(generation+perRun*64) + backlog + writers*perRun*64
	require.Less(t, worst, int64(most))
	for _, p := range last {
		if p == nil { // the time was over before this one's turn came
			continue
		}
		_, err := p.Applied(context.Background())
		require.NoError(t, err)
	}
	v, err := db.View(context.Background(), Accepted)
	require.NoError(t, err)
	require.Equal(t, int(sent.Load()), len(readAll(t, v, 1, model.All)))
	v.Close()
	require.NoError(t, db.Close())
}

// bytesWaiting is what the store holds of samples that are in no generation yet: heads, and records not applied, of so
// many bytes each.
func (db *DB) bytesWaiting(record int64) int64 {
	db.mu.RLock()
	n := db.head.Bytes
	for _, h := range db.frozen {
		n += h.Bytes
	}
	db.mu.RUnlock()
	db.submitMu.Lock()
	waiting := len(db.waiting)
	db.submitMu.Unlock()
	return n + int64(waiting)*record
}
