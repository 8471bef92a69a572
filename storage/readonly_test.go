package storage

import (
	"context"
	"io"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// filesUnder is the bytes of every file under dir.
func filesUnder(t testing.TB, fs vfs.FS, dir string) map[string]string {
	out := map[string]string{}
	names, err := fs.List(dir)
	require.NoError(t, err)
	for _, n := range names {
		full := fs.PathJoin(dir, n)
		info, err := fs.Stat(full)
		require.NoError(t, err)
		if info.IsDir() {
			for k, v := range filesUnder(t, fs, full) {
				out[k] = v
			}
			continue
		}
		f, err := fs.Open(full)
		require.NoError(t, err)
		b, err := io.ReadAll(f)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		out[full] = string(b)
	}
	return out
}

// TestReadOnlyChangesNothing opens closed and crashed stores to read, writes to them all the same, and finds every byte as it was.
func TestReadOnlyChangesNothing(t *testing.T) {
	for seed := range uint64(12) {
		fs := vfs.NewCrashableMem()
		h := newHistory(t, seed, fs)
		for i := range 60 {
			h.step()
			if i%25 == 24 {
				seal(t, h.db)
			}
		}
		disk := fs
		if seed%2 == 1 { // as a kill leaves it
			disk = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(seed, 1))})
		}
		want := contentsOf(t, h.db)
		m := h.model
		require.NoError(t, h.db.Close())
		before := filesUnder(t, disk, "store")

		o := testOptions(disk)
		o.GenerationSamples = 100 // replay writes generations
		db, err := OpenReadOnly("store", o)
		require.NoError(t, err)
		requireSame(t, db, m, h.rng)
		require.Equal(t, want, contentsOf(t, db))
		require.Empty(t, db.Status().Alarms)
		h.db = db
		h.step()
		_, err = db.Flush(context.Background())
		require.NoError(t, err)
		seal(t, db)
		require.NoError(t, db.Close())
		require.Equal(t, before, filesUnder(t, disk, "store"))
	}
}

func TestReadOnlyNeedsAStoreThatNobodyHasOpen(t *testing.T) {
	dir := t.TempDir()
	_, err := OpenReadOnly(dir, Options{})
	require.ErrorIs(t, err, os.ErrNotExist)
	names, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, names)
	o := testOptions(vfs.Default)
	db, err := Open(dir, o)
	require.NoError(t, err)
	_, err = OpenReadOnly(dir, testOptions(vfs.Default))
	require.ErrorContains(t, err, "lock")
	require.NoError(t, db.Close())
	db, err = OpenReadOnly(dir, testOptions(vfs.Default))
	require.NoError(t, err)
	require.NoError(t, db.Close())
}
