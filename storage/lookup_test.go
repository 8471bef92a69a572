package storage

import (
	"context"
	"runtime"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/internal/plain"
	"github.com/varvedb/varve/model"
)

// A run of two samples years apart must not take along what stands between them: neither into memory, nor by reading it.
func TestLookUpTakesOnlyTheTimesOfTheRun(t *testing.T) {
	o := testOptions(vfs.NewMem())
	o.GenerationSamples, o.GenerationBytes, o.SegmentBytes = 1<<20, 64<<20, 8<<20
	db, err := Open("store", o)
	require.NoError(t, err)
	h := &history{t: t, db: db, model: plain.Store{}, tags: len(testTypes), clock: newClock()}
	h.createTags()
	const n, day = 400_000, 86400e9
	ctx := context.Background()
	write := func(w plain.Write) *Result {
		p, err := db.Submit(ctx, &Batch{Runs: []Run{{Tag: w.Tag, Mode: w.Mode, Samples: w.Samples}}})
		require.NoError(t, err)
		res, err := p.Applied(ctx)
		require.NoError(t, err)
		return res
	}
	s := model.Samples{Type: model.Int64}
	for i := range int64(n) {
		s.Append(model.Sample{Time: i * 60e9, Type: model.Int64, Bits: uint64(i)})
	}
	require.Equal(t, n, write(plain.Write{Tag: 3, Mode: model.Update, Samples: s}).Applied)
	_, err = db.Flush(ctx)
	require.NoError(t, err)
	edit := model.Samples{Type: model.Int64, Times: []int64{(n - 1) * 60e9, 0, 30e9, 5*day + 60e9, 5*day + 60e9, 1000 * day}, Bits: make([]uint64, 6)}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	res := write(plain.Write{Tag: 3, Mode: model.Replace, Samples: edit})
	runtime.ReadMemStats(&after)
	require.Equal(t, Result{Applied: 4, Rejected: 2, Failures: []Failure{{0, 2, 1, model.Absent}, {0, 5, 1, model.Absent}}}, *res)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(8<<20), "bytes allocated to replace four of %d samples", n)
	v, err := db.View(ctx, Accepted)
	require.NoError(t, err)
	have := readAll(t, v, 3, model.All)
	require.Len(t, have, n)
	for i, x := range have {
		want := uint64(i)
		if x.Time == 0 || x.Time == 5*day+60e9 || x.Time == (n-1)*60e9 {
			want = 0
		}
		require.Equal(t, want, x.Bits)
	}
	v.Close()
	require.NoError(t, db.Close())
}
