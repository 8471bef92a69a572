//go:build unix

package main

import (
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// A query that fails leaves what stands under the name of its file, be it a file, a device or a pipe.
func TestQueryFileOutlastsAFailure(t *testing.T) {
	dir := t.TempDir()
	kept, pipe := filepath.Join(dir, "kept.csv"), filepath.Join(dir, "pipe")
	require.NoError(t, os.WriteFile(kept, []byte("before"), 0o640))
	require.NoError(t, syscall.Mkfifo(pipe, 0o666))
	reader, err := os.OpenFile(pipe, os.O_RDWR, 0)
	require.NoError(t, err)
	defer reader.Close()
	for _, ok := range []bool{false, true} {
		for _, name := range []string{kept, pipe, filepath.Join(dir, "new.csv")} {
			f := queryFlags{file: name, output: "csv"}
			w, finish, err := f.openOutput(io.Discard)
			require.NoError(t, err)
			_, err = io.WriteString(w, "half")
			require.NoError(t, err)
			require.NoError(t, finish(ok))
		}
		names, err := filepath.Glob(filepath.Join(dir, "*"))
		require.NoError(t, err)
		b, err := os.ReadFile(kept)
		require.NoError(t, err)
		info, err := os.Stat(kept)
		require.NoError(t, err)
		require.EqualValues(t, 0o640, info.Mode().Perm())
		if ok {
			require.Equal(t, "half", string(b))
			require.Equal(t, []string{kept, filepath.Join(dir, "new.csv"), pipe}, names)
		} else {
			require.Equal(t, "before", string(b))
			require.Equal(t, []string{kept, pipe}, names)
		}
	}
}
