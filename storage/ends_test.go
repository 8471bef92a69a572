package storage

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/storage/record"
)

// A record of a kind that this release does not apply ends apply. Whoever waits for it then gets an answer, also who waits
// for room in the backlog or for a generation; reads serve what was applied.
func TestWhoWaitsIsToldThatApplyEnded(t *testing.T) {
	o := testOptions(vfs.NewMem())
	o.BacklogBytes = 4 << 10
	db, err := Open("store", o)
	require.NoError(t, err)
	h := &history{t: t, db: db, tags: len(testTypes), clock: newClock()}
	h.createTags()
	ctx := context.Background()

	db.mu.RLock() // apply has to wait
	payload := record.AppendIdentity(record.AppendHeader(nil, record.Header{Kind: record.Samples}), record.Samples, &record.Identity{Source: string(make([]byte, 8<<10)), Epoch: 1, Sequence: 1, Stream: 1}, 0)
	p, err := db.submit(ctx, payload)
	require.NoError(t, err)
	answers := make(chan error, 4)
	go func() {
		_, err := db.submit(ctx, record.AppendHeader(nil, record.Header{Kind: record.Cut}))
		answers <- err
	}()
	go func() { answers <- db.WaitArchived(ctx, p.offset) }()
	go func() {
		_, err := (&Pending{p}).Applied(ctx)
		answers <- err
	}()
	time.Sleep(50 * time.Millisecond) // until they wait
	require.Empty(t, answers)
	db.mu.RUnlock()
	soon(t, "one who waits", func() {
		for range 3 {
			require.ErrorIs(t, <-answers, ErrApplyStopped)
		}
	})
	v, err := db.View(ctx, Accepted)
	require.NoError(t, err)
	require.Equal(t, []OffsetRange{{p.offset, p.offset + 1}}, v.Lost())
	v.Close()
	soon(t, "Close", func() { require.NoError(t, db.Close()) })
}

// A store that is being closed answers everybody: with what it still knows, or that it is closed.
func TestCallsBesideClose(t *testing.T) {
	ctx := context.Background()
	for seed := range uint64(10) {
		h := newHistory(t, seed, vfs.NewMem())
		for range 5 {
			h.step()
		}
		var calls sync.WaitGroup
		started := make(chan struct{}, 2)
		calls.Go(func() {
			for started <- struct{}{}; !h.db.closed.Load(); {
				h.db.Status()
			}
			h.db.Status()
		})
		calls.Go(func() {
			started <- struct{}{}
			for i := 0; ; i++ {
				if _, err := h.db.Checkpoint(ctx, fmt.Sprintf("copy%d", i)); err != nil {
					require.ErrorIs(t, err, ErrClosed)
					return
				}
			}
		})
		<-started
		<-started
		time.Sleep(time.Duration(seed) * time.Millisecond)
		soon(t, "Close", func() { require.NoError(t, h.db.Close()) })
		soon(t, "a call", calls.Wait)
		_, err := h.db.View(ctx, Accepted)
		require.ErrorIs(t, err, ErrClosed)
		_, err = h.db.Flush(ctx)
		require.ErrorIs(t, err, ErrClosed)
	}
}
