package collector

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/model"
)

// rig is a collector whose sources do what a test tells them.
type rig struct {
	*Collector
	t      *testing.T
	script *script
	out    *plainOutlet
	file   string
	log    *lockedBuffer
	end    func() error
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

const twoSources = `collector: plant
destinations:
  - address: 127.0.0.1:7420
queue: {dir: DIR}
health: {off: true}
sources:
  - name: one
    type: scripted
    settings: {device: d1}
  - name: two
    type: scripted
    settings: {device: d2}
`

func startRig(t *testing.T, dir, text string, out *plainOutlet, stop ...time.Duration) *rig {
	r := &rig{t: t, script: &script{runs: make(chan scriptedRun)}, out: out, file: filepath.Join(dir, "c.yaml"), log: &lockedBuffer{}}
	r.write(text)
	c, err := ReadConfig(r.file, []Kind{r.script.kind()})
	require.NoError(t, err)
	r.Collector, err = New(c, Options{
		Outlet: out, Logger: slog.New(slog.NewTextHandler(r.log, nil)), Tick: 5 * time.Millisecond, BackoffMin: time.Millisecond,
		BackoffMax: 4 * time.Millisecond, StopTimeout: append(stop, 0)[0],
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(background)
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	r.end = sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() { _ = r.end() })
	return r
}

func (r *rig) write(text string) {
	require.NoError(r.t, os.WriteFile(r.file, []byte(strings.ReplaceAll(text, "DIR", filepath.Dir(r.file))), 0o644))
}

func (r *rig) reload(text string) error {
	r.write(text)
	c, err := ReadConfig(r.file, []Kind{r.script.kind()})
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- r.Reload(background, c) }()
	return <-done
}

// next is the next run of a source, which must come.
func (r *rig) next() scriptedRun {
	select {
	case x := <-r.script.runs:
		return x
	case <-time.After(10 * time.Second):
		r.t.Fatal("no source was started")
	}
	panic("unreachable")
}

// both is the first runs of both sources.
func (r *rig) both() (one, two scriptedRun) {
	a, b := r.next(), r.next()
	if a.env.Name == "two" {
		a, b = b, a
	}
	require.Equal(r.t, []string{"one", "two"}, []string{a.env.Name, b.env.Name})
	return a, b
}

func (r *rig) quiet() {
	select {
	case x := <-r.script.runs:
		r.t.Fatalf("source %s was started", x.env.Name)
	case <-time.After(30 * time.Millisecond):
	}
}

func nowReading(address string, v Value) Reading { return at(address, time.Now().UnixNano(), v) }

// A source that fails or panics is started again; the other does not notice.
func TestSourcesAreApart(t *testing.T) {
	r := startRig(t, t.TempDir(), twoSources, newPlainOutlet())
	one, two := r.both()
	require.NoError(t, one.out.Put(background, []Reading{nowReading("x", Int64(1))}))
	for _, err := range []error{errors.New("no route"), errors.New("panic"), errors.New("no route")} {
		one.end <- err
		require.NoError(t, two.out.Put(two.ctx, []Reading{nowReading("x", Int64(1))}))
		one = r.next()
		require.Equal(t, "one", one.env.Name)
	}
	require.NoError(t, two.ctx.Err())
	require.EqualValues(t, 3, r.mu.running["one"].feed.counts.restarts.Load())
	require.Contains(t, r.log.String(), "panic: as the test wants it")
	require.Len(t, r.out.gapsOf("one.x"), 1, "nobody reads it meanwhile, which is one gap")
	require.NoError(t, one.out.Put(background, []Reading{nowReading("x", Int64(2))}))
	require.Len(t, r.out.gapsOf("one.x"), 2)
	require.Len(t, r.out.of("two.x"), 3)
	require.Empty(t, r.out.gapsOf("two.x"))
	one.end <- nil // there is nothing more to read
	r.quiet()
	require.NoError(t, r.end())
}

func TestReload(t *testing.T) {
	r := startRig(t, t.TempDir(), twoSources, newPlainOutlet())
	one, two := r.both()
	require.NoError(t, one.out.Put(background, []Reading{nowReading("x", Int64(1))}))

	// A bad one changes nothing.
	err := r.reload(twoSources + "    tagz: []\n")
	require.ErrorContains(t, err, `c.yaml:13: unknown key "tagz"`)
	err = r.reload(strings.Replace(twoSources, "7420", "7421", 1))
	require.ErrorIs(t, err, ErrRestart)
	require.ErrorContains(t, err, "the destinations changed")
	r.quiet()

	// Tags change: connections stay.
	tagged := twoSources + "    tags: [{address: x, tag: TWO}]\n"
	require.NoError(t, r.reload(tagged))
	r.quiet()
	require.NoError(t, errors.Join(one.ctx.Err(), two.ctx.Err()))
	require.NoError(t, two.out.Put(background, []Reading{nowReading("x", Int64(1)), nowReading("y", Int64(1))}))
	require.NoError(t, one.out.Put(background, []Reading{nowReading("x", Int64(2))}))
	require.Equal(t, []string{"TWO", "one.x"}, r.out.tags())

	// Settings of one change: it alone is started anew, and its tags go on.
	require.NoError(t, r.reload(strings.Replace(tagged, "d1", "d3", 1)))
	<-one.ctx.Done()
	require.ErrorIs(t, one.out.Put(background, []Reading{nowReading("x", Int64(3))}), errOver)
	one = r.next()
	require.Equal(t, "d3", one.settings.Device)
	require.NoError(t, two.ctx.Err())
	require.NoError(t, one.out.Put(background, []Reading{nowReading("x", Int64(4))}))
	require.Len(t, r.out.of("one.x"), 3)

	// One goes, another comes.
	require.NoError(t, r.reload(strings.Replace(strings.Replace(tagged, "d1", "d3", 1), "name: two", "name: three", 1)))
	<-two.ctx.Done()
	three := r.next()
	require.Equal(t, "three", three.env.Name)
	require.NoError(t, three.out.Put(background, []Reading{nowReading("x", Int64(5))}))
	require.Len(t, r.out.of("TWO"), 2, "the tag is free for the other")
	require.NoError(t, one.ctx.Err())

	// A tag goes from a source to one that stands before it.
	swapped := strings.Replace(strings.Replace(twoSources, "d1", "d3", 1), "name: two", "name: three", 1)
	require.NoError(t, r.reload(strings.Replace(swapped, "{device: d3}", "{device: d3}\n    tags: [{address: x, tag: TWO}]", 1)))
	r.quiet()
	require.NoError(t, one.out.Put(background, []Reading{nowReading("x", Int64(6))}))
	require.NoError(t, three.out.Put(background, []Reading{nowReading("x", Int64(7))}))
	require.Len(t, r.out.of("TWO"), 3)
	require.Len(t, r.out.of("three.x"), 1)
	require.NoError(t, r.end())
}

func TestTheFileIsWatched(t *testing.T) {
	r := startRig(t, t.TempDir(), twoSources, newPlainOutlet())
	_, two := r.both()
	ctx, cancel := context.WithCancel(background)
	defer cancel()
	asked := make(chan os.Signal)
	go r.Watch(ctx, []Kind{r.script.kind()}, asked, time.Millisecond)
	r.write(twoSources + "what: 1\n")
	require.Eventually(t, func() bool { return strings.Contains(r.log.String(), `c.yaml:13: unknown key`) }, 10*time.Second, time.Millisecond)
	r.write(strings.Replace(twoSources, "d2", "d4", 1))
	two = r.next()
	require.Equal(t, "d4", two.settings.Device)
	asked <- os.Interrupt
	require.Eventually(t, func() bool { return strings.Count(r.log.String(), "was read anew") >= 2 }, 10*time.Second, time.Millisecond)
	require.NoError(t, r.end())
}

// What was read is on disk when the collector has stopped, also what an exception test held back, and the time until it runs again is a gap.
func TestStopAndStart(t *testing.T) {
	dir := t.TempDir()
	text := twoSources + "    tags: [{match: '*', exc_dev: 10}]\n"
	r := startRig(t, dir, text, newPlainOutlet())
	one, two := r.both()
	now := time.Now().UnixNano()
	require.NoError(t, one.out.Put(background, []Reading{at("x", now, Int64(1))}))
	require.NoError(t, two.out.Put(background, []Reading{at("x", now, Int64(1)), at("x", now+1, Int64(2))}))
	require.NoError(t, r.end())
	require.Len(t, r.out.of("two.x"), 2)
	require.Positive(t, r.out.waits)
	stopped := r.out.gapsOf("one.x")
	require.Len(t, stopped, 1)
	require.Contains(t, stopped[0], "not_collected from ")

	again := startRig(t, dir, text, newPlainOutlet())
	one, _ = again.both()
	require.Equal(t, stopped, again.out.gapsOf("one.x"), "told again, word for word, which changes nothing")
	require.NoError(t, one.out.Put(background, []Reading{at("x", now, Int64(1)), nowReading("x", Int64(1))}))
	require.Len(t, again.out.gapsOf("one.x"), 2)
	require.Len(t, again.out.of("one.x"), 2)
	require.NoError(t, again.end())
}

// A source is told to end when it is noted until when it was read: the gap of a stop does not begin before it.
func TestStopNotesUntilWhenItIsRead(t *testing.T) {
	r := startRig(t, t.TempDir(), twoSources, newPlainOutlet())
	one, _ := r.both()
	noted := make(chan int64, 1)
	go func() {
		<-one.ctx.Done()
		noted <- readAlive(r.Collector.mu.config.Queue.Dir)["one"]
	}()
	read := time.Now().UnixNano()
	require.NoError(t, r.end())
	require.GreaterOrEqual(t, <-noted, read)
}

// A full queue must keep a collector neither from stopping nor from having what it can have.
func TestStopWithAFullQueue(t *testing.T) {
	out := newPlainOutlet()
	r := startRig(t, t.TempDir(), twoSources, out, 50*time.Millisecond)
	one, _ := r.both()
	out.mu.Lock()
	out.full = make(chan struct{})
	out.mu.Unlock()
	put := make(chan error, 1)
	go func() { put <- one.out.Put(one.ctx, []Reading{nowReading("x", Int64(1))}) }()
	ended := make(chan error, 1)
	go func() { ended <- r.end() }()
	require.ErrorContains(t, <-put, "1 samples were not stored")
	<-ended
	require.EqualValues(t, 1, r.mu.running["one"].feed.counts.lost.Load())
}

func TestHealthTags(t *testing.T) {
	out := newPlainOutlet()
	out.status = OutletStatus{Bytes: 77, Destinations: []DestinationStatus{{Name: "main", Connected: true, OldestAge: 3 * time.Second, Rejected: 4, GapsWaiting: 8, GapsDropped: 9}}}
	r := startRig(t, t.TempDir(), strings.Replace(twoSources, "health: {off: true}", "health: {every: 1s}", 1), out)
	one, _ := r.both()
	one.out.Count(Reconnects, 2)
	one.out.Count(Counter(200), 2)
	ahead := time.Now().Add(time.Minute).UnixNano()
	require.NoError(t, one.out.Put(background, []Reading{at("x", ahead, Int64(1)), {Address: "y", Value: Bool(true)}}))
	r.putHealth(background)
	newest := func(tag string) model.Sample {
		s := out.of(tag)
		require.NotEmpty(t, s, tag)
		return s[len(s)-1]
	}
	for tag, want := range map[string]uint64{
		"plant.one.running": 1, "plant.two.running": 1, "plant.one.readings": 2, "plant.one.samples": 2, "plant.one.untimed": 1, "plant.one.reconnects": 2,
		"plant.one.rejected": 0, "plant.one.tags": 2, "plant.queue_bytes": 77, "plant.to.main.connected": 1, "plant.to.main.rejected": 4,
		"plant.to.main.gaps_waiting": 8, "plant.to.main.gaps_dropped": 9,
	} {
		require.Equal(t, want, newest(tag).Bits, tag)
		require.NotNil(t, r.NewTag(tag), tag)
	}
	age, _ := newest("plant.queue_age_s").Float64()
	require.Equal(t, 3.0, age)
	skew, _ := newest("plant.one.clock_skew_s").Float64()
	require.InDelta(t, 60, skew, 59)
	lag, _ := newest("plant.one.lag_s").Float64()
	require.Negative(t, lag)
	require.NoError(t, r.end())
}
