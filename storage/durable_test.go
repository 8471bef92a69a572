package storage

import (
	"context"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// The tables with the first copy of the applied offset are damaged. What flushes make durable is known from the second:
// flushes end, and the log is trimmed. No compaction can take those tables along; generations are written all the same.
func TestDurableOffsetOutlastsDamage(t *testing.T) {
	fs := vfs.NewCrashableMem()
	h := newHistory(t, 5, fs)
	h.step()
	_, err := h.db.Flush(context.Background())
	require.NoError(t, err)
	h.spoilTables(fs, func(smallest []byte) bool { return pebble.DefaultComparer.Compare(smallest, appliedKey) <= 0 })
	o := testOptions(fs)
	db, err := Open("store", o)
	require.NoError(t, err)
	h.db = db
	for range 80 {
		h.step()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		archived, err := db.Flush(ctx)
		cancel()
		require.NoError(t, err)
		require.Equal(t, db.Status().Accepted, archived)
	}
	require.NotEmpty(t, alarmOf(db, "store_damaged")) // beside that of the compactions which meet it
	requireSame(t, db, h.model, h.rng)
	require.NoError(t, db.Close())
}

// spoilTables closes the store and flips a bit in the first block of every table whose first key matches.
func (h *history) spoilTables(fs vfs.FS, match func(smallest []byte) bool) {
	t := h.t
	tables, err := h.db.engine.SSTables()
	require.NoError(t, err)
	require.NoError(t, h.db.Close())
	spoilt := 0
	for _, level := range tables {
		for _, table := range level {
			if !match(table.Smallest.UserKey) {
				continue
			}
			f, err := fs.OpenReadWrite(fs.PathJoin("store/lsm", table.FileNum.String()+".sst"), vfs.WriteCategoryUnspecified)
			require.NoError(t, err)
			b := make([]byte, 1)
			_, err = f.ReadAt(b, 10)
			require.NoError(t, err)
			_, err = f.WriteAt([]byte{b[0] ^ 16}, 10)
			require.NoError(t, err)
			require.NoError(t, f.Close())
			spoilt++
		}
	}
	require.Positive(t, spoilt)
}

// A compaction that fails on a damaged table is tried again, but not in a tight loop.
func TestFailingCompactionDoesNotSpin(t *testing.T) {
	fs := vfs.NewCrashableMem()
	h := newHistory(t, 5, fs)
	h.step()
	_, err := h.db.Flush(context.Background())
	require.NoError(t, err)
	h.spoilTables(fs, func(smallest []byte) bool { return pebble.DefaultComparer.Compare(smallest, appliedKey) <= 0 })
	db, err := Open("store", testOptions(fs))
	require.NoError(t, err)
	h.db = db
	failures := func() uint64 {
		for _, a := range db.Status().Alarms {
			if a.Name == "writes_failing" {
				return a.Count
			}
		}
		return 0
	}
	for range 20 {
		h.step()
		_, err := db.Flush(context.Background())
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool { return failures() > 0 }, patience, 10*time.Millisecond, "a compaction meets the damage")
	before := failures()
	time.Sleep(2 * time.Second)
	require.Less(t, failures()-before, uint64(20), "attempts in two seconds")
	require.NoError(t, db.Close())
}
