package storage

import (
	"io"
	"log/slog"
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
