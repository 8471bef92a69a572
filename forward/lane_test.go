package forward

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// testLane is a lane of buckets of a minute that go 10 s after their end, with a clock that the test turns.
func testLane() (*lane, *time.Time) {
	now := time.Date(2026, 3, 1, 12, 0, 3, 0, time.UTC)
	f := &Forwarder{c: &Config{Linger: time.Second}, o: Options{Now: func() time.Time { return now }}}
	a := &lane{f: f, every: time.Minute, settle: 10 * time.Second, dirty: map[uint32]*dirty{}}
	a.passed = a.over()
	return a, &now
}

// TestWhenPassesAre: a pass is due when the next bucket is over, and soon after late changes, unless more of them come.
func TestWhenPassesAre(t *testing.T) {
	a, now := testLane()
	began := *now
	due := func() time.Duration { return a.due.Sub(began) }
	a.wait(slowest)
	require.Equal(t, 7*time.Second, due(), "12:00 is over at 12:00:10")

	a.markTime(1, now.UnixNano(), false)
	a.hasten()
	require.Equal(t, 7*time.Second, due(), "its bucket is not over")

	a.markTime(1, now.Add(-time.Hour).UnixNano(), false)
	a.hasten()
	require.Equal(t, time.Second, due())
	*now = now.Add(500 * time.Millisecond)
	a.markRange(1, now.Add(-time.Hour).UnixNano(), now.UnixNano(), true)
	a.hasten()
	require.Equal(t, 1500*time.Millisecond, due(), "there are more")
	a.hasten()
	require.Equal(t, 1500*time.Millisecond, due(), "there are no more")
	*now = began.Add(6500 * time.Millisecond)
	a.markTime(1, now.Add(-time.Hour).UnixNano(), false)
	a.hasten()
	require.Equal(t, 7*time.Second, due(), "they do not put it off")

	*now = began.Add(7 * time.Second)
	a.passed = a.over()
	a.wait(slowest)
	require.Equal(t, 17*time.Second, due(), "and every 10 s, so that the place moves on")
}
