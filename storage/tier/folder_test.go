package tier

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

func put(t *testing.T, s Store, name, text string) {
	w, err := s.Create(name)
	require.NoError(t, err)
	_, err = w.Write([]byte(text))
	require.NoError(t, err)
	require.NoError(t, w.Finish())
}

func get(t *testing.T, s Store, name string) string {
	o, err := s.Open(name)
	require.NoError(t, err)
	b := make([]byte, o.Size())
	_, err = o.ReadAt(b, 0)
	require.NoError(t, err)
	require.NoError(t, o.Close())
	return string(b)
}

func TestFolder(t *testing.T) {
	fs := vfs.NewMem()
	require.NoError(t, fs.MkdirAll("slow", 0o755))
	f := NewFolder(fs, "slow")
	put(t, f, "a", "one")
	put(t, f, "b", "two")
	put(t, f, "a", "three")
	require.Equal(t, "three", get(t, f, "a"))
	w, err := f.Create("c")
	require.NoError(t, err)
	_, err = f.Open("c")
	require.ErrorIs(t, err, ErrNotFound)
	w.Abort()
	_, err = f.Create("d") // and the process ends
	require.NoError(t, err)
	names, err := f.List()
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"a", "b"}, names)
	left, err := fs.List("slow")
	require.NoError(t, err)
	require.Len(t, left, 2)
	require.NoError(t, f.Remove("b"))
	require.ErrorIs(t, f.Remove("b"), ErrNotFound)

	require.NoError(t, fs.RemoveAll("slow"))
	_, err = f.Open("a")
	require.Error(t, err)
	require.False(t, errors.Is(err, ErrNotFound), "a folder that is gone does not say what it has")
}

// A finished object outlasts a power cut, and an unfinished one is not there.
func TestFolderOutlastsPowerCuts(t *testing.T) {
	for seed := range uint64(50) {
		fs := vfs.NewCrashableMem()
		require.NoError(t, fs.MkdirAll("slow", 0o755))
		root, err := fs.OpenDir("")
		require.NoError(t, err)
		require.NoError(t, root.Sync())
		f := NewFolder(fs, "slow")
		put(t, f, "a", "one")
		w, err := f.Create("b")
		require.NoError(t, err)
		_, err = w.Write([]byte("two"))
		require.NoError(t, err)
		rng := rand.New(rand.NewPCG(seed, 1))
		f = NewFolder(fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng}), "slow")
		require.Equal(t, "one", get(t, f, "a"))
		_, err = f.Open("b")
		require.ErrorIs(t, err, ErrNotFound)
	}
}
