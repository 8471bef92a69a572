package storage

import (
	"context"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// A store whose making was cut off before it had a log is made again; one with a log is not touched.
func TestUnfinishedStoreIsMadeAgain(t *testing.T) {
	fs := vfs.NewMem()
	db, err := Open("store", testOptions(fs))
	require.NoError(t, err)
	require.NoError(t, db.Close())
	spoil := func() {
		names, err := fs.List("store/lsm")
		require.NoError(t, err)
		for _, n := range names {
			f, err := fs.Create("store/lsm/"+n, vfs.WriteCategoryUnspecified)
			require.NoError(t, err)
			require.NoError(t, f.Close())
		}
	}
	spoil()
	_, err = Open("store", testOptions(fs))
	require.Error(t, err)

	require.NoError(t, fs.RemoveAll("store/log"))
	db, err = Open("store", testOptions(fs))
	require.NoError(t, err)
	require.NoError(t, db.Close())
}

// A store that has samples is never made again, whatever became of its log: a log on a disk that is not mounted is no
// reason to remove what there is.
func TestStoreWithTablesIsNeverMadeAgain(t *testing.T) {
	fs := vfs.NewMem()
	h := newHistory(t, 1, fs)
	h.step()
	_, err := h.db.Flush(context.Background())
	require.NoError(t, err)
	require.NoError(t, h.db.Close())
	require.NoError(t, fs.RemoveAll("store/log"))
	before, err := fs.List("store/lsm")
	require.NoError(t, err)

	disk := &diskFS{FS: fs}
	disk.fail(syscall.EIO, func(c diskCall) bool { return c.op == "open" && strings.Contains(c.path, "MANIFEST") })
	_, err = Open("store", testOptions(disk))
	require.Error(t, err)
	after, err := fs.List("store/lsm")
	require.NoError(t, err)
	require.Subset(t, after, before)

	db, err := Open("store", testOptions(fs))
	require.NoError(t, err)
	requireSame(t, db, h.model, h.rng)
	require.NoError(t, db.Close())
}
