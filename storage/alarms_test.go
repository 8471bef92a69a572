package storage

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// TestShortStallsAreNoAlarm: at a high rate every other generation waits some 50 ms for the flush of the one before it.
func TestShortStallsAreNoAlarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAlarms(time.Now, slog.New(slog.NewTextHandler(io.Discard, nil)))
		s := &stalls{alarms: a, name: "writes_stalled"}
		for range 30 {
			s.begin("short")
			time.Sleep(stallPatience / 20)
			require.Empty(t, a.list())
			s.end()
		}
		time.Sleep(2 * stallPatience)
		require.Empty(t, a.list())

		s.begin("long")
		time.Sleep(2 * stallPatience)
		require.Len(t, a.list(), 1)
		require.Equal(t, "long", a.list()[0].Detail)
		s.end()
		require.Empty(t, a.list())
	})
}

// TestSlowDiskIsOver: a disk that was slow once is not slow for good.
func TestSlowDiskIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAlarms(time.Now, slog.New(slog.NewTextHandler(io.Discard, nil)))
		for range 3 {
			a.slowDisk("sync of a table")
			time.Sleep(slowAgain / 2)
		}
		require.Len(t, a.list(), 1)
		require.EqualValues(t, 3, a.list()[0].Count)
		time.Sleep(slowAgain)
		require.Empty(t, a.list())
	})
}

// TestAlarmsAreDocumented: an operator finds each alarm on the page of alarms.
func TestAlarmsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../docs/operating/alarms.md")
	require.NoError(t, err)
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	raised := regexp.MustCompile(`(?:raise\(|const name = |name: |scrubAlarm = )"([a-z]+_[a-z_]+)"`)
	found := map[string]bool{}
	for _, file := range files {
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, m := range raised.FindAllSubmatch(b, -1) {
			found[string(m[1])] = true
		}
	}
	require.Greater(t, len(found), 14)
	for name := range found {
		require.Contains(t, string(page), "`"+name+"`")
	}
}
