package storage

import (
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
