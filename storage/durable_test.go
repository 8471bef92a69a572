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
	tables, err := h.db.engine.SSTables()
	require.NoError(t, err)
	require.NoError(t, h.db.Close())
	spoilt := 0
	for _, level := range tables {
		for _, table := range level {
			if pebble.DefaultComparer.Compare(table.Smallest.UserKey, appliedKey) > 0 {
				continue
			}
			name := fs.PathJoin("store/lsm", table.FileNum.String()+".sst")
			f, err := fs.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
			require.NoError(t, err)
			b := make([]byte, 1)
			_, err = f.ReadAt(b, 10) // in the first block of data
			require.NoError(t, err)
			_, err = f.WriteAt([]byte{b[0] ^ 16}, 10)
			require.NoError(t, err)
			require.NoError(t, f.Close())
			spoilt++
		}
	}
	require.Positive(t, spoilt)
	o := testOptions(fs)
	db, err := Open("store", o)
	require.NoError(t, err)
	h.db = db
	for range 80 {
		h.step()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		archived, err := db.Flush(ctx)
		cancel()
		require.NoError(t, err)
		require.Equal(t, db.Status().Accepted, archived)
	}
	require.Equal(t, "store_damaged", db.Status().Alarms[0].Name)
	requireSame(t, db, h.model, h.rng)
	require.NoError(t, db.Close())
}
