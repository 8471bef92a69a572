package storage

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/internal/plain"
	"github.com/varvedb/varve/model"
)

// faulty is a store on a disk that fails on demand, and what is known of it.
type faulty struct {
	*powerCut
	disk  *diskFS
	fatal chan error // the first error after which the process must end
}

// newFaulty opens a store on a failing disk. OnFatal returns where the store promises to stop by itself, and does not
// where the LSM must not go on: a goroutine that waits for ever stands for the process that ended.
func newFaulty(t testing.TB, seed uint64) *faulty {
	f := &faulty{fatal: make(chan error, 1)}
	mem := vfs.NewCrashableMem()
	f.disk = &diskFS{FS: mem}
	f.powerCut = &powerCut{history: &history{
		t: t, rng: rand.New(rand.NewPCG(seed, 4)), model: plain.Store{}, tags: len(testTypes),
	}, fs: mem}
	f.open()
	f.createTags()
	return f
}

func (f *faulty) options() Options {
	o := testOptions(f.disk)
	o.GenerationSamples, o.SegmentBytes = 150, 4<<10
	o.OnFatal = func(err error) {
		select {
		case f.fatal <- err:
		default:
		}
		if strings.HasPrefix(err.Error(), "lsm: ") {
			select {}
		}
	}
	return o
}

func (f *faulty) open() {
	db, err := Open("store", f.options())
	require.NoError(f.t, err)
	f.db = db
}

// ended reports whether OnFatal was called.
func (f *faulty) ended() bool { return len(f.fatal) > 0 }

func (f *faulty) randomWrites() []plain.Write {
	writes := []plain.Write{f.randomWrite()}
	for f.rng.IntN(2) == 0 {
		w := f.randomWrite()
		w.Author, w.Reason = writes[0].Author, writes[0].Reason
		writes = append(writes, w)
	}
	return writes
}

// patience is how long a test waits for what must happen: far longer than it takes on a machine with something else to do.
const patience = 30 * time.Second

// try sends one batch and waits for its answer, but no longer than a while: a disk that fails may hold it up.
func (f *faulty) try(writes []plain.Write) error {
	return f.tryFor(2*time.Second, writes)
}

// write sends one batch to a disk that works.
func (f *faulty) write(writes []plain.Write) {
	f.t.Helper()
	require.NoError(f.t, f.tryFor(patience, writes))
}

func (f *faulty) tryFor(d time.Duration, writes []plain.Write) error {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	p, err := f.db.Submit(ctx, f.batch(writes))
	if err != nil {
		f.seq--
		return err
	}
	f.stamp(writes)
	f.sent = append(f.sent, sentBatch{writes: writes, pending: p})
	if err := p.Accepted(ctx); err != nil {
		return err
	}
	f.acked = len(f.sent)
	return nil
}

// restart cuts the power, loses some of what was not synced, and holds what a healthy disk has against what was sent.
func (f *faulty) restart() {
	f.fs = f.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: f.rng.IntN(101), RNG: f.rng})
	f.recover(f.fs)
	f.db.Close()
}

// F4: an fsync of the log fails. Nothing is acknowledged from then on, the process is told to end, and the next one finds
// every acknowledged batch.
func TestFailedLogSyncEndsTheProcess(t *testing.T) {
	for seed := range uint64(fewer(40)) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			f := newFaulty(t, seed)
			var count atomic.Int64
			nth := 1 + f.rng.Int64N(60)
			var file atomic.Value
			f.disk.set(func(c diskCall) (bool, error) {
				if c.op != "sync" || c.part() != "log" || count.Add(1) < nth {
					return false, nil
				}
				if count.Load() == nth { // later ones succeed, as a kernel that forgot the error would have it
					file.Store(c.path)
					return false, syscall.EIO
				}
				return false, nil
			})
			var err error
			for i := 0; i < 300 && err == nil && count.Load() < nth; i++ {
				err = f.try(f.randomWrites())
			}
			require.GreaterOrEqual(t, count.Load(), nth, "the log was synced often enough")
			select {
			case err := <-f.fatal:
				require.ErrorIs(t, err, syscall.EIO)
				f.fatal <- err
			case <-time.After(patience):
				t.Fatalf("sync %d, of %v, failed and OnFatal was not called", nth, file.Load())
			}
			acked := f.acked
			for range 5 {
				require.Error(t, f.try(f.randomWrites()), "accepted after a failed fsync of %v", file.Load())
			}
			require.Equal(t, acked, f.acked)
			if v, err := f.db.View(context.Background(), Eventual); err == nil { // reads go on for as long as the process lives
				for tag := range f.tags {
					readAll(t, v, model.TagID(tag+1), model.All)
				}
				v.Close()
			}
			old := f.db
			f.restart()
			require.Error(t, old.Close())
		})
	}
}

// F4 inside the LSM: whatever it was doing when a write or fsync failed, it is done again in a new file, or the process
// ends; a flush is never taken for durable.
func TestFailedWriteInsideTheLSM(t *testing.T) {
	for _, what := range []string{"table write", "table sync", "manifest write", "manifest sync", "directory sync"} {
		for seed := range uint64(fewer(4)) {
			t.Run(fmt.Sprintf("%s/seed=%d", strings.ReplaceAll(what, " ", "-"), seed), func(t *testing.T) {
				t.Parallel()
				f := newFaulty(t, seed)
				var count atomic.Int64
				nth := 1 + f.rng.Int64N(8)
				f.disk.set(func(c diskCall) (bool, error) {
					if c.part() == "lsm" && lsmCall(c) == what && count.Add(1) == nth {
						return false, syscall.EIO
					}
					return false, nil
				})
				for i := 0; i < 400 && count.Load() < nth && !f.ended(); i++ {
					if err := f.try(f.randomWrites()); err != nil {
						require.True(t, f.ended(), "%v", err)
					}
					if i%10 == 9 {
						f.flushFor(300 * time.Millisecond)
					}
				}
				f.flushFor(300 * time.Millisecond)
				require.GreaterOrEqual(t, count.Load(), nth)
				if strings.HasPrefix(what, "manifest") {
					require.True(t, f.ended(), "a failed %s ends the process", what)
				}
				if f.ended() { // the LSM stands still behind the error, as the process would have
					f.restart()
					return
				}
				_, err := f.db.Flush(context.Background())
				require.NoError(t, err)
				f.model = modelOf(f.sent)
				requireSame(t, f.db, f.model, f.rng)
				require.NoError(t, f.db.Close())
				f.restart()
			})
		}
	}
}

// flushFor flushes, which a failing disk may keep from ending.
func (f *faulty) flushFor(d time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	if _, err := f.db.Flush(ctx); err != nil {
		require.True(f.t, errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrLowSpace), "%v", err)
	}
}

// lsmCall names what the LSM does to a file of its own.
func lsmCall(c diskCall) string {
	base := c.path[strings.LastIndexByte(c.path, '/')+1:]
	switch {
	case c.dir:
		return "directory " + c.op
	case strings.HasSuffix(base, ".sst"):
		return "table " + c.op
	case strings.HasPrefix(base, "MANIFEST"):
		return "manifest " + c.op
	}
	return "other " + c.op
}

// A flush that fails again and again is tried again and again, but not in a tight loop, and reads go on.
func TestFailingFlushDoesNotSpin(t *testing.T) {
	f := newFaulty(t, 1)
	var tables atomic.Int64
	f.disk.set(func(c diskCall) (bool, error) {
		if c.part() == "lsm" && c.op == "create" {
			tables.Add(1)
			return false, syscall.ENOSPC
		}
		return false, nil
	})
	for tables.Load() == 0 {
		f.write(f.randomWrites())
	}
	before := tables.Load()
	time.Sleep(500 * time.Millisecond)
	require.Less(t, tables.Load()-before, int64(20), "attempts in half a second")
	// Apply may wait for room by now, and with it who asks for all that is accepted; what is applied is read all the same.
	v, err := f.db.View(context.Background(), Eventual)
	require.NoError(t, err)
	readAll(t, v, 1, model.All)
	v.Close()
	f.disk.heal()
	requireSame(t, f.db, modelOf(f.sent), f.rng)
	_, err = f.db.Flush(context.Background())
	require.NoError(t, err)
	require.NoError(t, f.db.Close())
	f.restart()
}

// A memtable that holds nothing is flushed to no table. That is no failure, and what comes next does not pause behind it.
func TestFlushOfNothingIsNoFailure(t *testing.T) {
	db, err := Open("store", testOptions(vfs.NewMem()))
	require.NoError(t, err)
	disk := db.engineOptions.FS.(*pausingFS)
	require.NoError(t, db.engine.Flush()) // of what making the store left
	before := db.engine.Metrics().Flush.Count
	require.NoError(t, db.engine.Flush())
	require.Equal(t, before+1, db.engine.Metrics().Flush.Count)
	require.False(t, disk.failed.Load())
	require.NoError(t, db.Close())
}

// F5, F6: the disk is full for one kind of call, or for all. Reads go on; ingest is refused with ErrLowSpace, or waits;
// when space returns it goes on by itself, and what was refused can be sent again under its identity.
func TestFullDisk(t *testing.T) {
	kinds := map[string]func(diskCall) bool{
		"everything":    func(c diskCall) bool { return c.takesSpace() },
		"log write":     func(c diskCall) bool { return c.part() == "log" && c.op == "write" },
		"log create":    func(c diskCall) bool { return c.part() == "log" && c.op == "create" },
		"log rename":    func(c diskCall) bool { return c.part() == "log" && c.op == "rename" },
		"log mark":      func(c diskCall) bool { return strings.HasSuffix(c.path, "/mark") && c.op == "write" },
		"table create":  func(c diskCall) bool { return lsmCall(c) == "table create" },
		"table write":   func(c diskCall) bool { return lsmCall(c) == "table write" },
		"compaction":    func(c diskCall) bool { return lsmCall(c) == "table write" && calledFrom("tableCompaction).Execute") },
		"lsm, not logs": func(c diskCall) bool { return c.part() == "lsm" && c.takesSpace() },
	}
	for kind, match := range kinds {
		for seed := range uint64(fewer(3)) {
			t.Run(fmt.Sprintf("%s/seed=%d", strings.ReplaceAll(kind, " ", "-"), seed), func(t *testing.T) {
				t.Parallel()
				f := newFaulty(t, seed)
				f.fillAndFree(match)
			})
		}
	}
}

// fillAndFree runs a store into a full disk and out of it again.
func (f *faulty) fillAndFree(match func(diskCall) bool) {
	t := f.t
	for range 5 + f.rng.IntN(40) {
		f.write(f.randomWrites())
	}
	again := &appends{failed: map[string]bool{}}
	f.disk.set(func(c diskCall) (bool, error) { return again.hook(c, match) })
	var refused []plain.Write
	for i := 0; i < 60 && !f.ended(); i++ {
		writes := f.randomWrites()
		if refused != nil {
			writes = refused
		}
		err := f.try(writes)
		refused = nil
		if err != nil {
			require.True(t, errors.Is(err, ErrLowSpace) || errors.Is(err, context.DeadlineExceeded), "%v", err)
			if !errors.Is(err, ErrLowSpace) {
				break // it waits; whether it was taken shows once there is space
			}
			if f.acked < len(f.sent) {
				f.sent = f.sent[:len(f.sent)-1]
				f.seq--
			}
			refused = writes
		}
		if i%10 == 9 && refused == nil {
			f.flushFor(30 * time.Millisecond)
		}
		if i%20 == 0 {
			requireReads(t, f.db, modelOf(f.sent[:f.acked]), f.rng)
		}
	}
	require.False(t, f.ended(), "a full disk ended the process")
	require.Positive(t, again.refusals.Load(), "the fault was met")
	again.space.Store(true)
	f.resume(refused)
	require.Empty(t, again.list(), "files written again after a failed write")
	require.NoError(t, f.db.Close())
	f.restart()
}

// resume demands that ingest goes on by itself now that there is space.
func (f *faulty) resume(refused []plain.Write) {
	t := f.t
	// It takes a fraction of a second on a machine with nothing else to do.
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if n := len(f.sent); f.acked < n { // the batch that waited
		require.NoError(t, f.sent[n-1].pending.Accepted(ctx))
		f.acked = n
	}
	if refused != nil {
		f.write(refused)
	}
	for range 30 {
		f.write(f.randomWrites())
	}
	_, err := f.db.Flush(ctx)
	require.NoError(t, err)
	f.model = modelOf(f.sent)
	requireSame(t, f.db, f.model, f.rng)
	requireNoAlarms(f.t, f.db)
	v, err := f.db.View(ctx, Accepted)
	require.NoError(t, err)
	require.Empty(t, v.Lost())
	v.Close()
}

// appends is a disk that refuses calls until there is space, and looks for writes to a file that saw one fail.
type appends struct {
	space    atomic.Bool
	refusals atomic.Int64

	mu     sync.Mutex
	failed map[string]bool
	again  []string
}

func (a *appends) hook(c diskCall, match func(diskCall) bool) (bool, error) {
	refuse := !a.space.Load() && match(c)
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case c.op == "write" && a.failed[c.path]:
		a.again = append(a.again, c.path)
	case c.op == "write" && refuse:
		a.failed[c.path] = true
	case c.op == "create" && !refuse:
		delete(a.failed, c.path) // another file of that name
	}
	if refuse {
		a.refusals.Add(1)
		return false, syscall.ENOSPC
	}
	return false, nil
}

func (a *appends) list() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.again
}

// requireReads is requireSame for a store whose apply may be held up: it reads what is applied.
func requireReads(t testing.TB, db *DB, m plain.Store, rng *rand.Rand) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	v, err := db.View(ctx, Accepted)
	if err == nil {
		v.Close()
		requireSame(t, db, m, rng)
		return
	}
	v, err = db.View(context.Background(), Eventual)
	require.NoError(t, err)
	defer v.Close()
	for tag := range testTypes {
		readAll(t, v, model.TagID(tag+1), model.All)
	}
}
