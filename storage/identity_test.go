package storage

import (
	"context"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/identity"
)

// A source that gets its answers sends on however far apply is behind: more batches accepted and not applied than may be
// missing are no gap. A sequence that is too far ahead of all of them is.
func TestSequencesAreJudgedAgainstWhatIsOnItsWay(t *testing.T) {
	db, err := Open("store", testOptions(vfs.NewMem()))
	require.NoError(t, err)
	h := &history{t: t, db: db, tags: len(testTypes), clock: newClock()}
	h.createTags()
	ctx := context.Background()
	send := func(seq uint64) (*Pending, error) {
		b := &Batch{Source: "plc-7", Epoch: 1, Sequence: seq, ContentHash: seq, Runs: []Run{{Tag: 1, Mode: model.Update}}}
		b.Runs[0].Samples = model.Samples{Type: model.Float64, Times: []int64{int64(seq)}, Bits: []uint64{seq}}
		return db.Submit(ctx, b)
	}
	const n = 3 * identity.MaxHoles
	accepted := make(chan error, n)
	var last *Pending
	db.mu.RLock() // apply has to wait
	go func() {
		defer close(accepted)
		for seq := uint64(1); seq <= n; seq++ {
			p, err := send(seq)
			accepted <- err
			if err != nil {
				return
			}
			last = p
		}
	}()
	for range identity.MaxHoles {
		require.NoError(t, <-accepted)
	}
	time.Sleep(20 * time.Millisecond)
	db.mu.RUnlock()
	soon(t, "Submit", func() {
		for err := range accepted {
			require.NoError(t, err)
		}
	})
	res, err := last.Applied(ctx)
	require.NoError(t, err)
	require.Equal(t, Result{Applied: 1}, *res)
	require.Equal(t, identity.State{Known: true, Through: n, Highest: n, Last: db.Identity("plc-7", 1).Last}, db.Identity("plc-7", 1))
	_, err = send(n + identity.MaxHoles + 2)
	require.ErrorIs(t, err, ErrSequenceGap)
	_, err = send(n + identity.MaxHoles + 1)
	require.NoError(t, err)
	require.NoError(t, db.Close())
}
