package collector

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/varvedb/varve/compression/exception"
	"github.com/varvedb/varve/compression/filter"
	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// testClock is a clock that a test sets.
type testClock struct{ ns atomic.Int64 }

func (c *testClock) now() time.Time { return time.Unix(0, c.ns.Load()) }

// plant is a feed with its outlet.
type testFeed struct {
	*feed
	out   *plainOutlet
	clock *testClock
}

func makeFeed(t require.TestingT, dir, tags string) testFeed {
	text := strings.Replace(smallConfig, "dir: q", "dir: "+dir, 1) + tags
	c, err := ParseConfig("c.yaml", []byte(text), testKinds())
	require.NoError(t, err)
	x := testFeed{out: newPlainOutlet(), clock: &testClock{}}
	x.clock.ns.Store(1_000_000_000_000)
	x.feed, err = newFeed(c, &c.Sources[0], x.out, newRegistry(), slog.New(slog.DiscardHandler), x.clock.now)
	require.NoError(t, err)
	return x
}

func at(address string, ns int64, v Value) Reading {
	return Reading{Address: address, Time: ns, HasTime: true, Value: v}
}

var background = context.Background()

func TestReadingsBecomeSamples(t *testing.T) {
	f := makeFeed(t, t.TempDir(), `
    tags:
      - {address: a, tag: A, type: float64, unit: degC}
      - {address: s, tag: S, state_set: pumps}
      - {address: gone, skip: true}
      - {match: "x/*", tag: "X.{1}"}
`)
	require.NoError(t, f.put(background, []Reading{
		at("a", 5, Int64(7)),
		{Address: "a", Time: 6, HasTime: true, Quality: model.BadSensorFailure},
		{Address: "a", Value: Float64(1.5)},
		{Address: "a", Value: Float64(2.5)},
		at("a", 8, String("no")),
		at("s", 5, Bool(true)), at("s", 6, String("Running")), at("s", 7, Int64(3)), at("s", 8, Float64(0.5)),
		at("gone", 5, Int64(1)), at("other", 5, Int64(1)),
		at("x/1", 5, Uint64(9)), at("x/1", 6, Float64(9)), at("x/1", 7, Float64(9.5)),
		{Address: "x/2", Time: 5, HasTime: true},
		{Address: "a", Time: 1, HasTime: true, Value: Float64(0), Historical: true},
	}, false))
	received := f.clock.ns.Load()
	x := func(t model.Type, ns int64, bits uint64) model.Sample {
		return model.Sample{Type: t, Time: ns, Bits: bits}
	}
	require.Equal(t, []model.Sample{
		x(model.Float64, 5, math.Float64bits(7)), {Type: model.Float64, Time: 6, Null: true, Quality: model.BadSensorFailure},
		x(model.Float64, received, math.Float64bits(1.5)), x(model.Float64, received+1, math.Float64bits(2.5)),
		x(model.Float64, 1, 0),
	}, f.out.of("A"))
	require.Equal(t, []model.Sample{x(model.State, 5, 1), {Type: model.String, Time: 6, Blob: []byte("Running")}, x(model.State, 7, 3)}, f.out.of("S"))
	require.Equal(t, []model.Sample{x(model.Uint64, 5, 9), x(model.Uint64, 6, 9)}, f.out.of("X.1"))
	require.Equal(t, []string{"A", "S", "X.1"}, f.out.tags())
	require.Equal(t, 1, f.out.late["A"])
	n := &f.counts
	require.Equal(t, []int64{16, 10, 2, 2, 4}, []int64{n.readings.Load(), n.samples.Load(), n.untimed.Load(), n.unmapped.Load(), n.rejected.Load()})
	require.Equal(t, &varvev1.NewTag{Name: "A", Type: varvev1.Type_TYPE_FLOAT64, Unit: "degC"}, f.names.newTag("A"))
	require.Equal(t, varvev1.Type_TYPE_STATE, f.names.newTag("S").Type)
	require.Equal(t, varvev1.Type_TYPE_UINT64, f.names.newTag("X.1").Type)
	require.Nil(t, f.names.newTag("X.2"), "nothing says what type it has")
}

// The type of a tag is found once, and stands after a restart: 5 and then 5.5 must not be an integer today and a number tomorrow.
func TestFoundTypesStay(t *testing.T) {
	dir := t.TempDir()
	f := makeFeed(t, dir, "")
	require.NoError(t, f.put(background, []Reading{at("a", 5, Float64(7.5)), at("b", 5, String("x"))}, false))
	require.NoError(t, f.close())
	known := filepath.Join(dir, "sources", "plc", knownFile)
	b, err := os.ReadFile(known)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(known, append(b, `{"address":"c","ta`...), 0o644)) // as a power cut leaves it
	f = makeFeed(t, dir, "")
	require.Equal(t, varvev1.Type_TYPE_FLOAT64, f.names.newTag("plc.a").Type, "known before the first reading, for what waits in the queue")
	require.NoError(t, f.put(background, []Reading{at("a", 6, Int64(8)), at("b", 6, Int64(8))}, false))
	require.Equal(t, []model.Sample{{Type: model.Float64, Time: 6, Bits: math.Float64bits(8)}}, f.out.of("plc.a"))
	require.Empty(t, f.out.of("plc.b"))
	require.EqualValues(t, 1, f.counts.rejected.Load())
	require.NoError(t, f.close())
}

func TestTagsAreBounded(t *testing.T) {
	f := makeFeed(t, t.TempDir(), "    max_tags: 3\n")
	for i := range 10 {
		require.NoError(t, f.put(background, []Reading{at(fmt.Sprint(i), 5, Int64(1))}, false))
	}
	require.Len(t, f.out.tags(), 3)
	require.Len(t, f.mu.tags, 3)
	require.EqualValues(t, 7, f.counts.rejected.Load())
}

func TestTwoAddressesAreNotOneTag(t *testing.T) {
	f := makeFeed(t, t.TempDir(), "    tags: [{match: '*', tag: same}]\n")
	require.NoError(t, f.put(background, []Reading{at("a", 5, Int64(1)), at("b", 5, Int64(2)), at("a", 6, Int64(3))}, false))
	require.Len(t, f.out.of("same"), 2)
	require.EqualValues(t, 1, f.counts.rejected.Load())
}

// What is left out is within the deviation of what a reader holds, on every deviation the sample before is sent too, qualities and texts are
// never left out unless equal, and a flush leaves nothing behind. The filter by itself is the model.
func TestExceptionTest(t *testing.T) {
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		f := makeFeed(t, filepath.Join(dir, fmt.Sprint(n)), "    tags: [{address: a, type: float64, exc_dev: 1, exc_max: 40ns}, {address: s, type: string, exc_dev: 0}]\n")
		defer func() { require.NoError(t, f.close()) }()
		model1, err := exception.New(filter.Settings{Filter: model.Filter{Deviation: 1, MaxTime: 40}})
		require.NoError(t, err)
		var want []model.Sample
		var all []model.Sample
		var texts, changes []string
		now := int64(0)
		for range rapid.IntRange(1, 60).Draw(t, "readings") {
			now += rapid.Int64Range(1, 9).Draw(t, "step")
			v := rapid.Float64Range(-2, 2).Draw(t, "v")
			q := model.Quality(rapid.SampledFrom([]uint32{0, 0, 0, 0, 0x80000000}).Draw(t, "q"))
			x := model.Sample{Type: model.Float64, Time: now, Bits: math.Float64bits(v), Quality: q}
			all = append(all, x)
			for _, k := range model1.Add(nil, x) {
				want = append(want, k.Sample)
			}
			text := rapid.SampledFrom([]string{"on", "off"}).Draw(t, "text")
			if len(texts) == 0 || texts[len(texts)-1] != text {
				changes = append(changes, text)
			}
			texts = append(texts, text)
			require.NoError(t, f.put(background, []Reading{{Address: "a", Time: now, HasTime: true, Value: Float64(v), Quality: q}, at("s", now, String(text))}, false))
			if rapid.IntRange(0, 20).Draw(t, "flush") == 0 {
				require.NoError(t, f.flush(background))
				for _, k := range model1.Flush(nil) {
					want = append(want, k.Sample)
				}
				if changes[len(changes)-1] == text && f.out.of("plc.s")[len(f.out.of("plc.s"))-1].Time == now && len(f.out.of("plc.s")) > len(changes) {
					changes = append(changes, text) // the last of a run is sent by a flush
				}
			}
		}
		require.NoError(t, f.flush(background))
		for _, k := range model1.Flush(nil) {
			want = append(want, k.Sample)
		}
		sent := f.out.of("plc.a")
		require.Equal(t, want, sent)
		require.Equal(t, all[len(all)-1], sent[len(sent)-1])
		require.EqualValues(t, len(all)*2-len(sent)-len(f.out.of("plc.s")), f.counts.unchanged.Load(), "every reading is a sample or unchanged")
		i := 0
		for _, x := range all { // the bound, said without the filter
			for i+1 < len(sent) && sent[i+1].Time <= x.Time {
				i++
			}
			require.Equal(t, sent[i].Quality, x.Quality)
			if slices.ContainsFunc(sent, func(s model.Sample) bool { return s.Time == x.Time }) {
				continue
			}
			held, _ := sent[i].Float64()
			v, _ := x.Float64()
			require.LessOrEqual(t, math.Abs(held-v), 1+1e-9)
		}
		for k := 1; k < len(sent); k++ { // the foot of every step
			a, _ := sent[k-1].Float64()
			b, _ := sent[k].Float64()
			if j := slices.IndexFunc(all, func(x model.Sample) bool { return x.Time == sent[k].Time }); math.Abs(a-b) > 1 && sent[k].Quality == sent[k-1].Quality {
				require.Equal(t, all[j-1].Time, sent[k-1].Time, "the sample before a deviation is sent with it")
			}
		}
		got := f.out.of("plc.s")
		at := 0
		for i, text := range texts { // what a reader holds is what was there, always
			for at+1 < len(got) && got[at+1].Time <= all[i].Time {
				at++
			}
			require.Equal(t, text, string(got[at].Blob))
		}
		require.LessOrEqual(t, len(got), len(changes)*2+len(texts))
	})
}

func TestDownAndUp(t *testing.T) {
	f := makeFeed(t, t.TempDir(), "    tags: [{address: a, exc_dev: 10}, {address: b}, {match: 'x/*'}]\n")
	require.NoError(t, f.put(background, []Reading{at("a", 5, Int64(1)), at("a", 6, Int64(2)), at("x/1", 5, Int64(1))}, false))
	require.Len(t, f.out.of("plc.a"), 1, "the other is held back")
	require.NoError(t, f.down(background, []string{"a"}, varvev1.GapKind_GAP_KIND_DEVICE_DOWN, 7, "no answer"))
	require.Len(t, f.out.of("plc.a"), 2, "what was held back comes before the gap")
	require.NoError(t, f.down(background, []string{"a"}, varvev1.GapKind_GAP_KIND_DEVICE_DOWN, 8, "no answer"))
	require.NoError(t, f.put(background, []Reading{at("a", 4, Int64(1)), {Address: "a", Time: 3, HasTime: true, Value: Int64(4), Historical: true}}, false))
	require.Equal(t, []string{"device_down from 7"}, f.out.gapsOf("plc.a"), "what is late does not end it")
	require.NoError(t, f.put(background, []Reading{at("a", 9, Int64(2)), at("a", 10, Int64(2))}, false))
	require.Equal(t, []string{"device_down from 7", "ends 9"}, f.out.gapsOf("plc.a"))
	sent := f.out.of("plc.a")
	require.EqualValues(t, 9, sent[len(sent)-1].Time, "the first behind a gap is sent, however near it is")

	require.NoError(t, f.down(background, nil, varvev1.GapKind_GAP_KIND_DEVICE_DOWN, 20, "no answer"))
	require.Equal(t, []string{"device_down from 20"}, f.out.gapsOf("plc.b"), "a tag that had no reading yet, too")
	require.Equal(t, []string{"device_down from 20"}, f.out.gapsOf("plc.x/1"))
	require.NoError(t, f.up(background, nil, 30))
	require.Equal(t, []string{"device_down from 20", "ends 30"}, f.out.gapsOf("plc.b"))
	require.NoError(t, f.lost(background, []string{"b", "nobody"}, 40, 50, "overflow"))
	require.Equal(t, []string{"device_down from 20", "ends 30", "lost 40 to 50"}, f.out.gapsOf("plc.b"))
	require.NoError(t, f.lost(background, nil, 50, 50, "nothing"))
	require.Len(t, f.out.gapsOf("plc.b"), 3)
}

func TestStaleTags(t *testing.T) {
	f := makeFeed(t, t.TempDir(), "    tags: [{address: a, stale_after: 10s}, {address: b, stale_after: 1m}, {address: c}]\n")
	var warned bytes.Buffer
	f.log = slog.New(slog.NewTextHandler(&warned, nil))
	begin := f.clock.ns.Load()
	second := int64(time.Second)
	require.NoError(t, f.put(background, []Reading{at("a", begin-5, Int64(1)), at("b", begin, Int64(1))}, false))
	f.clock.ns.Add(10 * second)
	require.NoError(t, f.stale(background))
	require.Empty(t, f.out.gaps, "not longer than it may")
	f.clock.ns.Add(1)
	require.NoError(t, f.stale(background))
	require.NoError(t, f.stale(background))
	require.Equal(t, []string{fmt.Sprintf("not_collected from %d", begin-4)}, f.out.gapsOf("plc.a"))
	require.Empty(t, f.out.gapsOf("plc.b"))
	require.Equal(t, 1, strings.Count(warned.String(), "no reading"), "said once")
	require.Contains(t, warned.String(), "plc.a")
	f.clock.ns.Add(100 * second)
	require.NoError(t, f.put(background, []Reading{at("a", begin+90*second, Int64(2))}, false))
	require.NoError(t, f.stale(background))
	require.Equal(t, fmt.Sprintf("ends %d", begin+90*second), f.out.gapsOf("plc.a")[1])
	require.Equal(t, []string{fmt.Sprintf("not_collected from %d", begin+1)}, f.out.gapsOf("plc.b"))
	require.Empty(t, f.out.gapsOf("plc.c"))
}

// While a full queue keeps a source waiting that polls, nothing is read: its tags have a gap up to their next readings. What others read is not gone.
func TestAFullQueueIsAGapOfWhatIsPolled(t *testing.T) {
	for _, polls := range []bool{true, false} {
		f := makeFeed(t, t.TempDir(), "    tags: [{address: a, exc_dev: 10}, {address: b}]\n")
		f.fullAfter = time.Millisecond
		f.mu.entry.kind.Polls = polls
		now := f.clock.ns.Load()
		require.NoError(t, f.put(background, []Reading{at("a", now-9, Int64(1)), at("b", now-8, Int64(1))}, false))
		require.Empty(t, f.out.gaps)

		f.out.mu.Lock()
		full := make(chan struct{})
		f.out.full = full
		f.out.mu.Unlock()
		waited := make(chan error, 1)
		go func() {
			waited <- f.put(background, []Reading{at("a", now-4, Int64(50)), at("b", now+3, Int64(2))}, false)
		}()
		if polls {
			require.Eventually(t, func() bool { return len(f.out.gapsOf("plc.b")) > 0 }, time.Minute, time.Millisecond)
		}
		close(full)
		require.NoError(t, <-waited)
		require.Len(t, f.out.of("plc.b"), 2, "what had been read is stored")
		f.out.mu.Lock()
		f.out.full = nil
		f.out.mu.Unlock()
		f.clock.ns.Add(100)
		require.NoError(t, f.put(background, []Reading{at("a", now+90, Int64(51)), at("b", now+91, Int64(2))}, false))
		if !polls {
			require.Empty(t, f.out.gaps)
			continue
		}
		require.Equal(t, []string{fmt.Sprintf("not_collected from %d", now), fmt.Sprintf("ends %d", now+90)}, f.out.gapsOf("plc.a"))
		require.Equal(t, []string{fmt.Sprintf("not_collected from %d", now+4), fmt.Sprintf("ends %d", now+91)}, f.out.gapsOf("plc.b"))
		require.EqualValues(t, now+90, f.out.of("plc.a")[len(f.out.of("plc.a"))-1].Time, "the first behind a gap is sent")
	}
}

// What the collector says of a tag by itself and what its source says come from two sides: the end of a gap is never put before its beginning, or it
// would stay open.
func TestGapsArePutInTheirOrder(t *testing.T) {
	f := makeFeed(t, t.TempDir(), "    tags: [{address: a, exc_dev: 10, stale_after: 1s}]\n")
	now := f.clock.ns.Load()
	require.NoError(t, f.put(background, []Reading{at("a", now, Int64(1)), at("a", now+1, Int64(2))}, false)) // the second is held back
	second := int64(time.Second)
	f.clock.ns.Add(10 * second)
	slow := make(chan struct{})
	f.out.first = slow
	stale := make(chan error, 1)
	go func() { stale <- f.stale(background) }() // hands on what was held back, and waits there with the gap
	require.Eventually(t, func() bool { f.out.mu.Lock(); defer f.out.mu.Unlock(); return f.out.first == nil }, time.Minute, time.Millisecond)
	require.NoError(t, f.put(background, []Reading{at("a", now+10*second, Int64(3))}, false))
	close(slow)
	require.NoError(t, <-stale)
	require.Equal(t, []string{fmt.Sprintf("not_collected from %d", now+2), fmt.Sprintf("ends %d", now+10*second)}, f.out.gapsOf("plc.a"))
}

// A clock that is off by years must not put its samples in the archive, nor be forgotten.
func TestQuarantine(t *testing.T) {
	dir := t.TempDir()
	tags := "    clock: {ahead: 1m, behind: 1h}\n    tags: [{address: a}, {address: b}]\n"
	f := makeFeed(t, dir, tags)
	now := f.clock.ns.Load()
	minute := int64(time.Minute)
	year := 365 * 24 * 60 * minute
	require.NoError(t, f.put(background, []Reading{
		at("a", now, Int64(1)), at("a", now+minute, Int64(2)), at("a", now+minute+1, Int64(3)), at("a", now+75*year, Float64(4)),
		at("b", now-60*minute, String("x")), at("b", now-60*minute-1, String("y")),
		{Address: "b", Time: now - 2*year, HasTime: true, Value: String("z"), Historical: true},
		at("a", math.MaxInt64, Int64(5)), at("a", math.MinInt64, Int64(6)),
	}, false))
	require.Len(t, f.out.of("plc.a"), 2)
	require.Len(t, f.out.of("plc.b"), 2)
	require.EqualValues(t, 5, f.counts.quarantined.Load())
	require.Equal(t, []string{fmt.Sprintf("quarantined from %d", now+minute+1)}, f.out.gapsOf("plc.a"))
	require.NoError(t, f.flush(background))

	config, err := ParseConfig("c.yaml", []byte(strings.Replace(smallConfig, "dir: q", "dir: "+dir, 1)+tags), testKinds())
	require.NoError(t, err)
	list, err := ListQuarantine(config, "")
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, 5, list[0].Readings)
	require.Equal(t, 2, list[0].Addresses)
	require.Equal(t, "waiting", list[0].State)
	require.ErrorContains(t, RequestReplay(config, "plc/none", Replay{}), "no quarantine file has the id")

	f.clock.ns.Add(10 * minute)
	before := len(f.out.of("plc.a"))
	require.NoError(t, f.housekeep(background))
	require.Len(t, f.out.of("plc.a"), before, "nobody asked")
	require.NoError(t, RequestReplay(config, list[0].ID, Replay{Shift: -time.Duration(75 * year)}))
	require.NoError(t, f.housekeep(background))
	a := f.out.of("plc.a")[before:]
	require.Equal(t, []int64{now + minute + 1 - 75*year, now}, []int64{a[0].Time, a[1].Time}, "the others have no time that a sample may have, or one ahead still")
	require.Equal(t, len(a), f.out.late["plc.a"])
	list, err = ListQuarantine(config, "plc")
	require.NoError(t, err)
	require.Equal(t, "replayed", list[0].State)

	require.NoError(t, RequestReplay(config, list[0].ID, Replay{Receipt: true})) // again, with the times of receipt
	require.NoError(t, f.housekeep(background))
	a = f.out.of("plc.a")
	require.EqualValues(t, now, a[len(a)-1].Time)
	list, err = ListQuarantine(config, "")
	require.NoError(t, err)
	require.NoError(t, DropQuarantine(config, list[0].ID))
	list, err = ListQuarantine(config, "")
	require.NoError(t, err)
	require.Empty(t, list)
	require.NoError(t, f.close())
}

func TestQuarantineIsBounded(t *testing.T) {
	f := makeFeed(t, t.TempDir(), "    clock: {keep: 1kB}\n")
	for range 100 {
		require.NoError(t, f.put(background, []Reading{at("a", math.MaxInt64, Int64(5))}, false))
	}
	require.LessOrEqual(t, f.mu.quarant.all, int64(1000))
	require.Positive(t, f.counts.quarantined.Load())
	require.EqualValues(t, 100, f.counts.quarantined.Load()+f.counts.lost.Load())
	now := f.clock.ns.Load()
	require.Equal(t, []string{fmt.Sprintf("quarantined from %d", now), fmt.Sprintf("lost from %d", now)}, f.out.gapsOf("plc.a"), "what is not set aside is lost")
}

// Sources read in many goroutines, while tags change under them: nothing is lost, and what one goroutine hands on keeps its order.
func TestManyAtOnce(t *testing.T) {
	dir := t.TempDir()
	plain, other := "    tags: [{match: '**', exc_dev: 0}]\n", "    tags: [{match: '**', exc_dev: 0, unit: bar, stale_after: 1h}]\n"
	f := makeFeed(t, dir, plain)
	var entries []*SourceEntry
	for _, tags := range []string{plain, other} {
		c, err := ParseConfig("c.yaml", []byte(strings.Replace(smallConfig, "dir: q", "dir: "+dir, 1)+tags), testKinds())
		require.NoError(t, err)
		entries = append(entries, &c.Sources[0])
	}
	const writers, puts = 8, 200
	var wg, others sync.WaitGroup
	stop := make(chan struct{})
	others.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			require.NoError(t, f.remap(background, entries[i%2]))
			f.expect()
			require.NoError(t, f.flush(background))
			require.NoError(t, f.stale(background))
			f.health(true)
		}
	})
	for w := range writers {
		wg.Go(func() {
			for i := range int64(puts) {
				require.NoError(t, f.put(background, []Reading{at(fmt.Sprint(w), i, Int64(i)), at(fmt.Sprint("b", w), i, Bool(i%2 == 0))}, false))
			}
		})
	}
	wg.Wait()
	close(stop)
	others.Wait()
	require.NoError(t, f.flush(background))
	for w := range writers {
		for _, tag := range []string{fmt.Sprint("plc.", w), fmt.Sprint("plc.b", w)} {
			got := map[int64]bool{}
			for _, x := range f.out.of(tag) {
				got[x.Time] = true
			}
			require.Len(t, got, puts)
		}
	}
	require.Zero(t, f.counts.rejected.Load())
	require.NoError(t, f.close())
}

func TestRefusedByTheQueue(t *testing.T) {
	f := makeFeed(t, t.TempDir(), "")
	f.out.refuse = errors.New("disk is gone")
	require.ErrorContains(t, f.put(background, []Reading{at("a", 5, Int64(1)), at("a", 6, Int64(1))}, false), "2 samples were not stored: disk is gone")
	require.EqualValues(t, 2, f.counts.lost.Load())
	require.Zero(t, f.counts.samples.Load())
	require.Equal(t, []string{"lost 5 to 7"}, f.out.gapsOf("plc.a"))

	f.mu.entry.kind.Resumes = true
	require.Error(t, f.put(background, []Reading{at("a", 8, Int64(1))}, false))
	require.Len(t, f.out.gapsOf("plc.a"), 1, "it is read again")
}

func TestComplaintsAreFew(t *testing.T) {
	f := makeFeed(t, t.TempDir(), "    tags: [{address: a, type: int64}]\n")
	var b bytes.Buffer
	f.log = slog.New(slog.NewTextHandler(&b, nil))
	for range 100 {
		require.NoError(t, f.put(background, []Reading{at("a", 5, String("x"))}, false))
	}
	require.Equal(t, 1, strings.Count(b.String(), "\n"))
	f.clock.ns.Add(int64(complainEvery))
	require.NoError(t, f.put(background, []Reading{at("a", 5, String("x"))}, false))
	require.Equal(t, 2, strings.Count(b.String(), "\n"))
}
