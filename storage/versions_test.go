package storage

import (
	"context"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/model"
)

// Versions are read while other tags get their first sample of the head, which moves its table of tags.
func TestVersionsBesideNewTags(t *testing.T) {
	o := testOptions(vfs.NewMem())
	o.GenerationSamples = 4096
	db, err := Open("store", o)
	require.NoError(t, err)
	h := &history{t: t, db: db, tags: len(testTypes)}
	h.createTags()
	ctx := context.Background()
	write := func(tag model.TagID, time int64, v uint64) *Pending {
		b := &Batch{Author: "mara", Runs: []Run{{Tag: tag, Mode: model.Update}}}
		b.Runs[0].Samples.Reset(testTypes[tag-1])
		b.Runs[0].Samples.Append(model.Sample{Time: time, Type: testTypes[tag-1], Bits: v, Blob: []byte("x")})
		p, err := db.Submit(ctx, b)
		require.NoError(t, err)
		return p
	}
	_, err = write(1, 1, 1).Applied(ctx)
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 3000 {
			write(model.TagID(2+i%7), int64(i), uint64(i))
			if i%100 == 0 {
				_, _ = db.Flush(ctx)
			}
		}
	}()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		v, err := db.View(ctx, Eventual)
		require.NoError(t, err)
		have, err := v.Versions(ctx, 1, model.All)
		require.NoError(t, err)
		require.Len(t, have, 1)
		require.Equal(t, "mara", have[0].Author)
		v.Close()
	}
	require.NoError(t, db.Close())
}

// TestAsOfWhereNothingStands: of a sample that was removed only the history is left, and an as-of read finds it there.
func TestAsOfWhereNothingStands(t *testing.T) {
	h := newHistory(t, 1, vfs.NewMem())
	for i, mode := range []model.WriteMode{model.Update, model.Remove} {
		run := Run{Tag: 1, Mode: mode, Samples: model.Samples{Type: model.Float64, Times: []int64{5}}}
		if mode == model.Update {
			run.Samples.Bits = []uint64{7}
		}
		h.clock.Add(int64(i) * 10e9)
		p, err := h.db.Submit(context.Background(), &Batch{Runs: []Run{run}, Author: "mara", Reason: "typo"})
		require.NoError(t, err)
		res, err := p.Applied(context.Background())
		require.NoError(t, err)
		require.Equal(t, 1, res.Applied)
	}
	for range 2 {
		v, err := h.db.View(context.Background(), Accepted)
		require.NoError(t, err)
		require.Len(t, collect(t, v.SamplesAsOf(1, model.All, h.clock.Load()-10e9)), 1)
		require.Empty(t, collect(t, v.SamplesAsOf(1, model.All, h.clock.Load())))
		v.Close()
		seal(t, h.db)
	}
	require.NoError(t, h.db.Close())
}
