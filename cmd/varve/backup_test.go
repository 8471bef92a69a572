package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const backupTable = "time,P.1,P.2\n2026-01-01T00:00:00Z,1,10\n2026-01-01T00:01:00Z,2,20\n"

// TestBackupAndRestore is what an operator does, from the first backup to a server on the restored store.
func TestBackupAndRestore(t *testing.T) {
	dir := t.TempDir()
	data, checkpoints, folder := filepath.Join(dir, "data"), filepath.Join(dir, "checkpoints"), filepath.Join(dir, "backups")
	address, stop := serveInProcess(t, data, "--checkpoint-dir", checkpoints)
	varve(t, "import", "--server", address, writeFile(t, "one.csv", backupTable))

	var first, second takenJSON
	require.NoError(t, json.Unmarshal([]byte(varve(t, "backup", "--server", address, "--to", folder, "-o", "json")), &first))
	require.Equal(t, uint64(4), first.Samples)
	require.Equal(t, "2026-01-01T00:01:00Z", first.Last)
	require.NotEmpty(t, first.Content)
	left, err := os.ReadDir(checkpoints)
	require.NoError(t, err)
	require.Empty(t, left, "the checkpoint is gone")
	varve(t, "edit", "set", "--server", address, "--author", "mara", "--reason", "typo", "P.1", "2026-01-01T00:00:00Z", "7")
	want := varve(t, "query", "--server", address, "--start", "2026-01-01T00:00:00Z", "--end", "2026-01-02T00:00:00Z", "-o", "csv", "P.1", "P.2")
	require.NoError(t, json.Unmarshal([]byte(varve(t, "backup", "--server", address, "--to", folder, "-o", "json")), &second))
	require.Less(t, second.NewFiles, second.Files)
	require.NotEqual(t, first.Content, second.Content)
	stop()
	require.Contains(t, varve(t, "backup", "--data", data, "--to", folder), "000003-")
	require.Contains(t, varve(t, "backup", "list", folder), "000002-")

	require.Contains(t, varve(t, "verify", "--data", data), "0 places")
	require.Contains(t, varve(t, "verify", "--backup", folder), "backups  3")
	restored := filepath.Join(dir, "restored")
	require.Contains(t, varve(t, "restore", "--from", folder, "--backup", "2", "--to", restored), second.Snapshot)
	code, says := fails(t, "restore", "--from", folder, "--to", restored)
	require.Equal(t, exitFailure, code)
	require.Contains(t, says, "not empty")
	require.Contains(t, varve(t, "backup", "prune", "--keep", "2", folder), "removed "+first.ID)
	_, says = fails(t, "restore", "--from", folder, "--backup", first.ID, "--to", filepath.Join(dir, "gone"))
	require.Contains(t, says, "no such backup")

	address, _ = serveInProcess(t, restored)
	require.Equal(t, want, varve(t, "query", "--server", address, "--start", "2026-01-01T00:00:00Z", "--end", "2026-01-02T00:00:00Z", "-o", "csv", "P.1", "P.2"))
	_, says = fails(t, "backup", "--server", address, "--to", folder)
	require.Contains(t, says, "--checkpoint-dir")
}

func TestBackupUsage(t *testing.T) {
	for _, args := range [][]string{
		{"backup"}, {"backup", "--to", "x", "-o", "yaml"}, {"backup", "prune", "x"}, {"backup", "prune", "--keep", "1"}, {"backup", "list"},
		{"restore", "--from", "x"}, {"restore", "--to", "x"}, {"restore", "x"},
	} {
		code, _ := fails(t, args...)
		require.Equal(t, exitUsage, code, "%v", args)
	}
	code, says := fails(t, "backup", "list", t.TempDir())
	require.Equal(t, exitFailure, code)
	require.Contains(t, says, "no such backup")
}

// TestVerifyNamesWhatIsDamaged flips a bit of every table in turn.
func TestVerifyNamesWhatIsDamaged(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	address, stop := serveInProcess(t, data)
	_, says := fails(t, "verify", "--data", data)
	require.Contains(t, says, "open")
	varve(t, "import", "--server", address, writeFile(t, "one.csv", backupTable))
	stop()
	_, stop = serveInProcess(t, data, "--generation-age", "1s")
	time.Sleep(2500 * time.Millisecond) // the imported rows become a generation
	stop()
	tables, err := filepath.Glob(filepath.Join(data, "lsm", "*.sst"))
	require.NoError(t, err)
	require.NotEmpty(t, tables)
	for _, name := range tables {
		b, err := os.ReadFile(name)
		require.NoError(t, err)
		b[10] ^= 4
		require.NoError(t, os.WriteFile(name, b, 0o666))
		code, says := fails(t, "verify", "--data", data, "-o", "json")
		require.Equal(t, exitFailure, code)
		var r verifyReport
		require.NoError(t, json.NewDecoder(strings.NewReader(says)).Decode(&r))
		require.False(t, r.Sound)
		require.Equal(t, "lsm/"+filepath.Base(name), r.Damage[0].File)
		b[10] ^= 4
		require.NoError(t, os.WriteFile(name, b, 0o666))
	}
	varve(t, "verify", "--data", data)
	code, _ := fails(t, "verify")
	require.Equal(t, exitUsage, code)
	code, _ = fails(t, "verify", "--data", data, "--backup", data)
	require.Equal(t, exitUsage, code)
}

// TestVerifyComparesServers: two servers that were sent the same are equal, and so is a backup; a correction on one is found.
func TestVerifyComparesServers(t *testing.T) {
	dir := t.TempDir()
	folder := filepath.Join(dir, "backups")
	left, _ := serveInProcess(t, filepath.Join(dir, "a"), "--checkpoint-dir", filepath.Join(dir, "checkpoints"), "--scrub-rate", "1GiB")
	csv := writeFile(t, "one.csv", backupTable)
	varve(t, "import", "--server", left, csv)
	varve(t, "backup", "--server", left, "--to", folder)
	varve(t, "restore", "--from", folder, "--to", filepath.Join(dir, "b"))
	right, _ := serveInProcess(t, filepath.Join(dir, "b"), "--scrub-rate", "0")

	require.Contains(t, varve(t, "verify", "--server", left, "--against", right), "2 tags and days compared, 0 differ")
	require.Contains(t, varve(t, "verify", "--server", left, "--backup", folder), "0 differ")
	list := varve(t, "verify", "--server", left)
	require.Equal(t, list, varve(t, "verify", "--server", right))
	require.Contains(t, list, "2026-01-01 1 2 0 ")
	varve(t, "edit", "set", "--server", left, "--author", "mara", "--reason", "typo", "P.2", "2026-01-01T00:00:00Z", "7")
	code, says := fails(t, "verify", "--server", left, "--against", right, "-o", "json")
	require.Equal(t, exitFailure, code)
	var c comparison
	require.NoError(t, json.NewDecoder(strings.NewReader(says)).Decode(&c))
	require.False(t, c.Equal)
	require.Len(t, c.Differences, 1)
	require.Equal(t, uint32(2), c.Differences[0].Tag)
	_, says = fails(t, "verify", "--server", left, "--backup", folder, "--id", "1")
	require.Contains(t, says, "differs: 2026-01-01 tag 2")
	varve(t, "verify", "--server", left, "--against", right, "--end", "2026-01-01T00:00:00Z")
	var s serverStatus
	require.Eventually(t, func() bool {
		require.NoError(t, json.Unmarshal([]byte(varve(t, "status", "--server", left, "-o", "json")), &s))
		return s.Scrub.Pass == 1 && s.Scrub.Ended != ""
	}, 10*time.Second, 20*time.Millisecond)
	for _, args := range [][]string{
		{"--server", left, "--data", dir}, {"--against", right, "--data", dir}, {"--server", left, "--against", right, "--backup", folder},
		{"--server", left, "--start", "yesterday"}, {"--server", left, "--start", "2026-01-02T00:00:00Z", "--end", "2026-01-01T00:00:00Z"},
	} {
		code, _ := fails(t, append([]string{"verify"}, args...)...)
		require.Equal(t, exitUsage, code, "%v", args)
	}
}
