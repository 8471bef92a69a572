package forward

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// testLane is a lane of buckets of a minute that go 10 s after their end, with a clock that the test turns.
func testLane() (*lane, *time.Time) {
	now := time.Date(2026, 3, 1, 12, 0, 3, 0, time.UTC)
	f := &Forwarder{c: &Config{Linger: time.Second}, o: Options{Now: func() time.Time { return now }}}
	f.health = newHealth(f.o.Now, 1, 0)
	a := &lane{f: f, every: time.Minute, settle: 10 * time.Second, dirty: map[uint32]*dirty{}, health: &f.health.filtered[0], waits: nothing}
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

	a.markTime(1, now.UnixNano(), now.UnixNano(), false)
	a.hasten()
	require.Equal(t, 7*time.Second, due(), "its bucket is not over")

	a.markTime(1, now.Add(-time.Hour).UnixNano(), now.UnixNano(), false)
	a.hasten()
	require.Equal(t, time.Second, due())
	*now = now.Add(500 * time.Millisecond)
	a.markRange(1, now.Add(-time.Hour).UnixNano(), now.UnixNano(), now.UnixNano(), true)
	a.hasten()
	require.Equal(t, 1500*time.Millisecond, due(), "there are more")
	a.hasten()
	require.Equal(t, 1500*time.Millisecond, due(), "there are no more")
	*now = began.Add(6500 * time.Millisecond)
	a.markTime(1, now.Add(-time.Hour).UnixNano(), now.UnixNano(), false)
	a.hasten()
	require.Equal(t, 7*time.Second, due(), "they do not put it off")

	*now = began.Add(7 * time.Second)
	a.passed = a.over()
	a.wait(slowest)
	require.Equal(t, 17*time.Second, due(), "and every 10 s, so that the place moves on")
}

// TestRulesThatAreBehind: what waits for the end of its bucket is behind, and not overdue; what is late, or over, is.
func TestRulesThatAreBehind(t *testing.T) {
	a, now := testLane()
	began := *now
	behind := func(lag, overdue time.Duration) {
		t.Helper()
		st := a.f.Status()
		require.Equal(t, []RuleStatus{{Lag: lag, Overdue: overdue}}, st.Filtered)
		require.Equal(t, overdue, st.Overdue)
		require.Zero(t, st.Lag, "it is of samples that go as they are")
	}
	at := func(d time.Duration) { *now = began.Add(d) }
	behind(0, 0)
	a.markTime(1, began.UnixNano(), began.UnixNano(), false)
	a.tell()
	at(time.Minute)
	behind(time.Minute, 0)
	at(67*time.Second + 5*time.Second)
	behind(72*time.Second, 5*time.Second)

	a.marks = []mark{{}}
	a.of(1).sent(a.over())
	require.NoError(t, a.move())
	behind(0, 0)

	a.markTime(1, began.Add(time.Hour).UnixNano(), now.UnixNano(), false) // of a clock that is ahead
	a.markTime(1, math.MaxInt64, now.UnixNano(), false)
	a.markTime(2, began.Add(-time.Hour).UnixNano(), now.UnixNano(), false)
	a.tell()
	at(75 * time.Second)
	behind(3*time.Second, 3*time.Second)
	a.of(2).sent(a.over())
	require.NoError(t, a.move())
	behind(3*time.Second, 0)

	a.days = true
	a.tell()
	require.True(t, a.f.Status().Reading)
	require.False(t, a.f.health.samples().Reading, "aggregates would wait for themselves")
}

// TestLagWhileTheArchiveIsRead: what came last is sent, however long nothing more comes.
func TestLagWhileTheArchiveIsRead(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	h := newHealth(func() time.Time { return now }, 0, 0)
	h.at(now.UnixNano())
	now = now.Add(time.Hour)
	require.Equal(t, time.Hour, h.status().Lag)
	h.reading()
	require.Zero(t, h.status().Lag)
}
