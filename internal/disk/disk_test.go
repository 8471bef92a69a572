package disk

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// A file is renamed, and removed, while one writes to it and another one reads it: both go on.
func TestOpenFilesAreRenamedAndRemoved(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	w, err := FS().Create(path("making"), vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	_, err = w.Write([]byte("one"))
	require.NoError(t, err)
	require.NoError(t, FS().Rename(path("making"), path("made")))
	_, err = w.Write([]byte(" two"))
	require.NoError(t, err)
	require.NoError(t, w.SyncData())
	r, err := FS().Open(path("made"))
	require.NoError(t, err)
	tail, err := Open(path("made"))
	require.NoError(t, err)
	info, err := r.Stat()
	require.NoError(t, err)
	require.EqualValues(t, len("one two"), info.Size())

	require.NoError(t, os.Rename(path("made"), path("made.1")))
	require.NoError(t, os.WriteFile(path("made"), []byte("new"), 0o644))
	require.NoError(t, FS().Remove(path("made.1")))
	for _, f := range []interface {
		ReadAt([]byte, int64) (int, error)
	}{r, tail} {
		b := make([]byte, 7)
		_, err = f.ReadAt(b, 0)
		require.NoError(t, err)
		require.Equal(t, "one two", string(b))
	}
	for _, f := range []interface{ Close() error }{w, r, tail} {
		require.NoError(t, f.Close())
	}
	require.NoError(t, SyncDir(dir))

	// A new file is made in place of an old one, whose length is forgotten, and an old one goes on to be written.
	w, err = FS().Create(path("made"), vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	w, err = FS().OpenReadWrite(path("made"), vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	_, err = w.WriteAt([]byte("three"), 2)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	w, err = FS().ReuseForWrite(path("made"), path("again"), vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	_, err = w.Write([]byte("ab"))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	b, err := os.ReadFile(path("again"))
	require.NoError(t, err)
	require.Equal(t, "abthree", string(b))
	_, err = FS().Open(path("nothing"))
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, os.Remove(path("again")))
}
