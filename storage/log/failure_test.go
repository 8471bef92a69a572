package log

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// faulty is a file system that fails what a test says from now on.
type faulty struct {
	*hookFS
	fail atomic.Pointer[func(call) error]
}

func newFaulty(fs vfs.FS) *faulty {
	f := &faulty{}
	f.hookFS = &hookFS{fs, func(c call) (bool, error) {
		if fail := f.fail.Load(); fail != nil {
			return false, (*fail)(c)
		}
		return false, nil
	}}
	return f
}

func (f *faulty) set(fail func(call) error) { f.fail.Store(&fail) }

func (f *faulty) heal() { f.fail.Store(nil) }

var ctx = context.Background()

func appendN(t testing.TB, l *Log, n int) {
	t.Helper()
	for range n {
		next := l.HighWatermark() + 1
		offset, err := l.Append(ctx, payloadOf(next, 100))
		require.NoError(t, err)
		require.Equal(t, next, offset)
	}
}

// requireWhole reads everything and demands records [1, end) as appendN wrote them.
func requireWhole(t testing.TB, l *Log, end uint64) {
	t.Helper()
	got, lost := readAll(t, l, 1)
	require.Empty(t, lost)
	require.Len(t, got, int(end-1))
	for offset, p := range got {
		require.Equal(t, payloadOf(offset, 100), p)
	}
}

func TestDiskFullAndSpaceAgain(t *testing.T) {
	for _, step := range []string{"write record", "create", "write header", "rename"} {
		t.Run(step, func(t *testing.T) {
			mem := vfs.NewCrashableMem()
			fs := newFaulty(mem)
			l, _ := mustOpen(t, Options{FS: fs})
			appendN(t, l, 10)
			if step != "write record" { // the segment in use goes with the first failure
				fs.set(func(c call) error {
					if c.op == "write" && strings.HasPrefix(c.path, testDir) && !strings.HasSuffix(c.path, markName) {
						return syscall.ENOSPC
					}
					return nil
				})
				_, err := l.Append(ctx, []byte("x"))
				require.ErrorIs(t, err, ErrNoSpace)
			}
			fs.set(func(c call) error {
				full := map[string]bool{
					"write record": c.op == "write" && strings.HasSuffix(c.path, makingSuffix),
					"create":       c.op == "create",
					"write header": c.op == "write" && strings.HasSuffix(c.path, makingSuffix),
					"rename":       c.op == "rename",
				}[step]
				if full {
					return syscall.ENOSPC
				}
				return nil
			})
			for range 3 {
				a, err := l.Submit(ctx, []byte("refused"))
				require.NoError(t, err)
				require.ErrorIs(t, a.Wait(ctx), ErrNoSpace)
				require.ErrorIs(t, a.Wait(ctx), syscall.ENOSPC)
				require.Equal(t, uint64(11), a.Offset())
				require.Error(t, l.Resume())
			}
			requireWhole(t, l, 11) // reads go on

			fs.heal()
			require.NoError(t, l.Resume())
			appendN(t, l, 5)
			requireWhole(t, l, 16)
			require.NoError(t, l.Close())
			l, rec := mustOpen(t, Options{FS: mem})
			require.Equal(t, uint64(16), rec.Next)
			require.Empty(t, rec.Lost)
			require.Empty(t, rec.Torn)
			requireWhole(t, l, 16)
			require.NoError(t, l.Close())
		})
	}
}

// A write that fails half-way leaves part of a record, or whole ones that were never acknowledged. The next segment
// supersedes them.
func TestFailedWriteIsSuperseded(t *testing.T) {
	mem := vfs.NewCrashableMem()
	partial := &partialWrites{FS: mem}
	l, _ := mustOpen(t, Options{FS: partial})
	appendN(t, l, 3)
	partial.left.Store(250) // one record and most of the next
	var commits []*Commit
	l.turn.Lock() // so that all go in one write
	for range 5 {
		c, err := l.Submit(ctx, payloadOf(99, 100))
		require.NoError(t, err)
		commits = append(commits, c)
	}
	l.turn.Unlock()
	for _, c := range commits {
		require.ErrorIs(t, c.Wait(ctx), ErrNoSpace)
	}
	partial.left.Store(-1)
	appendN(t, l, 3)
	requireWhole(t, l, 7)
	require.Len(t, l.Segments(), 2)
	killed := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: newRand(1)})
	require.NoError(t, l.Close())
	for _, fs := range []vfs.FS{mem, killed} {
		l, rec := mustOpen(t, Options{FS: fs})
		require.Equal(t, uint64(7), rec.Next)
		requireWhole(t, l, 7)
		require.NoError(t, l.Close())
	}
}

// partialWrites is a disk that takes some more bytes, then none.
type partialWrites struct {
	vfs.FS
	left atomic.Int64 // 0 for no limit, negative for healed
}

type partialFile struct {
	vfs.File
	fs *partialWrites
}

func (p *partialWrites) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := p.FS.Create(name, c)
	if err != nil {
		return nil, err
	}
	return &partialFile{f, p}, nil
}

func (f *partialFile) Write(b []byte) (int, error) {
	left := f.fs.left.Load()
	if left <= 0 || left >= int64(len(b)) {
		return f.File.Write(b)
	}
	n, _ := f.File.Write(b[:left])
	return n, syscall.ENOSPC
}

func TestFailedSyncIsFatal(t *testing.T) {
	for _, class := range []string{"records", "new segment", "names in " + testDir, "mark"} {
		t.Run(class, func(t *testing.T) {
			mem := vfs.NewCrashableMem()
			fs := newFaulty(mem)
			var syncs, fatal atomic.Int32
			died := make(chan error, 1)
			l, _ := mustOpen(t, Options{FS: fs, SegmentBytes: 4096, OnFatal: func(err error) {
				fatal.Add(1)
				died <- err
			}})
			appendN(t, l, 5)
			fs.set(func(c call) error {
				if c.class() == class {
					syncs.Add(1)
					return syscall.EIO
				}
				return nil
			})
			switch class {
			case "mark":
				l.syncMark()
			case "records":
				c, err := l.Submit(ctx, payloadOf(6, 100))
				require.NoError(t, err)
				require.ErrorIs(t, c.Wait(ctx), syscall.EIO)
				require.Equal(t, uint64(5), l.HighWatermark())
			default: // syncs that a new segment needs
				var err error
				for err == nil {
					var c *Commit
					c, err = l.Submit(ctx, payloadOf(l.HighWatermark()+1, 100))
					require.NoError(t, err)
					err = c.Wait(ctx)
				}
				require.ErrorIs(t, err, syscall.EIO)
			}
			high := l.HighWatermark()
			require.ErrorIs(t, <-died, syscall.EIO)
			_, err := l.Submit(ctx, nil)
			require.ErrorIs(t, err, syscall.EIO)
			require.ErrorIs(t, l.Resume(), syscall.EIO)
			require.ErrorIs(t, l.SetNext(1000), syscall.EIO)
			requireWhole(t, l, high+1)
			require.ErrorIs(t, l.Close(), syscall.EIO)
			require.Equal(t, int32(1), syncs.Load(), "the file is never synced again")
			require.Equal(t, int32(1), fatal.Load())
		})
	}
}

// After a failed fsync the kernel may call the pages clean that it never wrote. The next process reads them, and its own
// fsync of that file would succeed without writing anything. What it reads must not count as durable on such grounds.
func TestFailedSyncThenRestartThenPowerCut(t *testing.T) {
	mem := vfs.NewCrashableMem()
	fs := newFaulty(mem)
	l, _ := mustOpen(t, Options{FS: fs, OnFatal: func(error) {}})
	appendN(t, l, 5)
	fs.set(func(c call) error {
		if c.class() == "records" {
			return syscall.EIO
		}
		return nil
	})
	_, err := l.Append(ctx, payloadOf(6, 100))
	require.ErrorIs(t, err, syscall.EIO)
	require.Error(t, l.Close())

	// In the next life, syncs of the old file do nothing.
	old := l.Segments()[0].File
	lying := &hookFS{mem, func(c call) (bool, error) {
		return c.op == "sync" && strings.Contains(c.path, old), nil
	}}
	l, rec := mustOpen(t, Options{FS: lying})
	require.Equal(t, uint64(7), rec.Next)
	require.Equal(t, uint64(6), l.HighWatermark())
	requireWhole(t, l, 7)
	after := mem.CrashClone(vfs.CrashCloneCfg{})
	require.NoError(t, l.Close())
	l, rec = mustOpen(t, Options{FS: after})
	require.Equal(t, uint64(7), rec.Next)
	requireWhole(t, l, 7)
	require.NoError(t, l.Close())
}

// A full disk at start leaves records that nobody claims as fsynced unread until there is space to write them again.
func TestCarryWaitsForSpace(t *testing.T) {
	mem := vfs.NewCrashableMem()
	fs := newFaulty(mem)
	l, _ := mustOpen(t, Options{FS: fs, OnFatal: func(error) {}})
	appendN(t, l, 5)
	fs.set(func(c call) error {
		if c.class() == "records" {
			return syscall.EIO
		}
		return nil
	})
	_, err := l.Append(ctx, payloadOf(6, 100))
	require.ErrorIs(t, err, syscall.EIO)
	require.Error(t, l.Close())

	fs.set(func(c call) error {
		if c.op == "create" {
			return syscall.ENOSPC
		}
		return nil
	})
	l, rec := mustOpen(t, Options{FS: fs})
	require.Equal(t, uint64(7), rec.Next)
	require.Equal(t, uint64(5), l.HighWatermark())
	requireWhole(t, l, 6)
	c, err := l.Submit(ctx, payloadOf(7, 100))
	require.NoError(t, err)
	require.Equal(t, uint64(7), c.Offset(), "6 is spoken for")
	require.ErrorIs(t, c.Wait(ctx), ErrNoSpace)
	fs.heal()
	offset, err := l.Append(ctx, payloadOf(7, 100))
	require.NoError(t, err)
	require.Equal(t, uint64(7), offset)
	requireWhole(t, l, 8)
	require.NoError(t, l.Close())
}

func TestFailedReadIsRetried(t *testing.T) {
	fs := newFaulty(vfs.NewMem())
	l, _ := mustOpen(t, Options{FS: fs, SegmentBytes: 4096})
	appendN(t, l, 100)
	for _, op := range []string{"read", "open"} {
		r, err := l.NewReader(1)
		require.NoError(t, err)
		var failures int
		for want := uint64(1); want <= 100; {
			var failed bool
			fs.set(func(c call) error {
				if c.op == op && !failed {
					failed = true
					return syscall.EIO
				}
				return nil
			})
			offset, p, err := r.Next(ctx)
			if err != nil {
				require.ErrorIs(t, err, syscall.EIO)
				require.NotErrorIs(t, err, ErrCorrupt)
				failures++
				fs.heal()
				offset, p, err = r.Next(ctx)
			}
			require.NoError(t, err)
			require.Equal(t, want, offset)
			require.Equal(t, payloadOf(want, 100), p)
			want++
		}
		require.Positive(t, failures)
		require.NoError(t, r.Close())
	}
	fs.heal()
	require.NoError(t, l.Close())

	fs.set(func(c call) error {
		if c.op == "read" && strings.HasSuffix(c.path, segmentSuffix) {
			return syscall.EIO
		}
		return nil
	})
	_, _, err := Open(testDir, Options{FS: fs})
	require.ErrorIs(t, err, syscall.EIO)
	require.NotErrorIs(t, err, ErrCorrupt, "what cannot be read now may be whole")
	fs.heal()
	l, rec := mustOpen(t, Options{FS: fs})
	require.Equal(t, uint64(101), rec.Next)
	require.NoError(t, l.Close())
}

func TestSubmitWaitsWhileTooMuchIsUnsynced(t *testing.T) {
	fs := newFaulty(vfs.NewMem())
	release := make(chan struct{})
	l, _ := mustOpen(t, Options{FS: fs, UnsyncedBytes: 4096})
	fs.set(func(c call) error {
		if c.class() == "records" {
			<-release
		}
		return nil
	})
	big := make([]byte, 5000)
	c, err := l.Submit(ctx, big)
	require.NoError(t, err)
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	_, err = l.Submit(short, big)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	close(release)
	require.NoError(t, c.Wait(ctx))
	_, err = l.Append(ctx, big)
	require.NoError(t, err)
	require.Equal(t, uint64(2), l.HighWatermark(), "the refused record has no offset")
	require.NoError(t, l.Close())
}

func TestBacklog(t *testing.T) {
	l, _ := mustOpen(t, Options{FS: vfs.NewMem(), BacklogBytes: 4096, MaxRecordBytes: 5000})
	_, err := l.Submit(ctx, make([]byte, 3000), make([]byte, 2001))
	require.ErrorIs(t, err, ErrTooLarge)
	appendSize := func(n int) error {
		_, err := l.Append(ctx, make([]byte, n))
		return err
	}
	require.NoError(t, appendSize(2000))
	require.NoError(t, appendSize(2000))
	require.NoError(t, appendSize(2000))
	require.ErrorIs(t, appendSize(1), ErrBacklogFull)
	short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, l.BacklogWait(short), context.DeadlineExceeded)
	waited := make(chan error)
	go func() { waited <- l.BacklogWait(ctx) }()
	l.Applied(2)
	require.NoError(t, <-waited)
	require.NoError(t, appendSize(1))
	go func() { waited <- l.BacklogWait(ctx) }()
	require.NoError(t, <-waited)
	require.NoError(t, l.Close())
	require.ErrorIs(t, l.BacklogWait(ctx), ErrClosed)
}

func TestBacklogForgetsWhatFailed(t *testing.T) {
	fs := newFaulty(vfs.NewMem())
	l, _ := mustOpen(t, Options{FS: fs, BacklogBytes: 4096})
	fs.set(func(c call) error {
		if c.op == "create" {
			return syscall.ENOSPC
		}
		return nil
	})
	for range 50 {
		_, err := l.Append(ctx, make([]byte, 1000))
		require.ErrorIs(t, err, ErrNoSpace)
		require.False(t, errors.Is(err, ErrBacklogFull))
	}
	require.NoError(t, l.Close())
}

// TestSlowDiskIsTold: records that wait for a disk are told while they wait, and are written all the same.
func TestSlowDiskIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := newFaulty(vfs.NewMem())
		told := make(chan string, 9)
		l, _, err := Open("log", Options{FS: fs, OnSlow: func(what string) { told <- what }})
		require.NoError(t, err)
		appendN(t, l, 3)
		fs.set(func(c call) error {
			if c.class() == "records" {
				time.Sleep(2 * slowDisk)
			}
			return nil
		})
		done := make(chan struct{})
		go func() {
			defer close(done)
			appendN(t, l, 1)
		}()
		time.Sleep(slowDisk / 2)
		synctest.Wait()
		require.Empty(t, told)
		time.Sleep(slowDisk)
		synctest.Wait()
		require.Contains(t, <-told, "up to offset 4 ")
		<-done
		fs.heal()
		appendN(t, l, 1)
		require.NoError(t, l.Close())
		require.Empty(t, told)
	})
}
