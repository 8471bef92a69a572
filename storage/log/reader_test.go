package log

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestReaderFollowsWriters(t *testing.T) {
	l, _ := mustOpen(t, Options{FS: vfs.NewMem(), SegmentBytes: 8192, UnsyncedBytes: 4096})
	const callers, each = 4, 300
	var mu sync.Mutex
	sent := map[uint64][]byte{}
	var writers, readers sync.WaitGroup
	for caller := range uint64(callers) {
		writers.Go(func() {
			rng := newRand(caller)
			for range each {
				mu.Lock()
				p := randomPayload(rng)
				c, err := l.Submit(ctx, p)
				if err == nil {
					sent[c.Offset()] = p
				}
				mu.Unlock()
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range 2 {
		readers.Go(func() {
			r, err := l.NewReader(1)
			if err != nil {
				t.Error(err)
				return
			}
			defer r.Close()
			for want := uint64(1); want <= callers*each; want++ {
				offset, p, err := r.Next(ctx)
				if err != nil || offset != want {
					t.Errorf("read %d instead of %d: %v", offset, want, err)
					return
				}
				mu.Lock()
				same := bytes.Equal(p, sent[offset])
				mu.Unlock()
				if !same {
					t.Errorf("record %d is not what was sent", offset)
				}
				if i == 0 {
					l.Applied(offset)
				} else if offset%100 == 0 {
					time.Sleep(time.Millisecond) // fall behind
				}
			}
		})
	}
	writers.Wait()
	readers.Wait()
	require.NoError(t, l.Close())
}

func TestReaderWaitsAndStops(t *testing.T) {
	l, _ := mustOpen(t, Options{FS: vfs.NewMem()})
	r, err := l.NewReader(1)
	require.NoError(t, err)
	short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	_, _, err = r.Next(short)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	appendN(t, l, 1)
	offset, _, err := r.Next(ctx)
	require.NoError(t, err)
	require.Equal(t, uint64(1), offset)
	stopped := make(chan error)
	go func() {
		_, _, err := r.Next(ctx)
		stopped <- err
	}()
	require.NoError(t, l.Close())
	require.ErrorIs(t, <-stopped, ErrClosed)
	require.NoError(t, r.Close())
	_, _, err = r.Next(ctx)
	require.ErrorIs(t, err, ErrClosed)
	_, err = l.Append(ctx, nil)
	require.ErrorIs(t, err, ErrClosed)
	require.ErrorIs(t, l.Close(), ErrClosed)
}

// Damage under a running log is named once, and reading goes on behind it.
func TestReaderFindsDamageAndGoesOn(t *testing.T) {
	fs := vfs.NewMem()
	l, _ := mustOpen(t, Options{FS: fs, SegmentBytes: 4096})
	appendN(t, l, 50)
	f, err := fs.OpenReadWrite(fs.PathJoin(testDir, l.Segments()[0].File), "log")
	require.NoError(t, err)
	at := int64(headerBytes + 4*(frameBytes+100) + frameBytes + 10) // payload of record 5
	_, err = f.WriteAt([]byte("spoilt"), at)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("spoilt"), at+2*(frameBytes+100)-frameBytes) // header of record 7
	require.NoError(t, err)
	require.NoError(t, f.Close())
	got, lost := readAll(t, l, 1)
	require.Len(t, got, 48)
	require.Equal(t, map[uint64]bool{5: true, 7: true}, offsetsOf(lost))
	require.Equal(t, l.Segments()[0].File, lost[0].File)
	require.Equal(t, at-10-frameBytes, lost[0].At)
	got, lost = readAll(t, l, 6)
	require.Len(t, got, 44)
	require.Equal(t, map[uint64]bool{7: true}, offsetsOf(lost))
	require.NoError(t, l.Close())
}

func TestTrim(t *testing.T) {
	mem := vfs.NewCrashableMem()
	l, _ := mustOpen(t, Options{FS: mem, SegmentBytes: 4096})
	appendN(t, l, 100)
	segments := l.Segments()
	require.Greater(t, len(segments), 2)
	require.NoError(t, l.Trim(segments[1].First-2)) // the last record of the first segment is still needed
	require.Len(t, l.Segments(), len(segments))
	slow, err := l.NewReader(1)
	require.NoError(t, err)
	_, _, err = slow.Next(ctx)
	require.NoError(t, err)
	require.NoError(t, l.Trim(segments[2].First))
	require.Equal(t, segments[2:], l.Segments())
	require.Less(t, l.Bytes(), uint64(100*(100+frameBytes)))

	_, err = l.NewReader(segments[2].First - 1)
	require.ErrorIs(t, err, ErrTrimmed)
	var trimmed *TrimmedError
	require.ErrorAs(t, err, &trimmed)
	require.Equal(t, segments[2].First, trimmed.First)
	for err = nil; err == nil; { // finishes the file it has open, then learns
		_, _, err = slow.Next(ctx)
	}
	require.ErrorIs(t, err, ErrTrimmed)
	require.NoError(t, slow.Close())

	l2, rec := mustOpen(t, Options{FS: mem.CrashClone(vfs.CrashCloneCfg{})})
	require.Equal(t, segments[2].First, rec.First, "the names are gone for good")
	require.Equal(t, uint64(101), rec.Next)
	require.NoError(t, l2.Close())

	require.NoError(t, l.Trim(1000))
	require.Len(t, l.Segments(), 1, "the newest stays")
	appendN(t, l, 1)
	require.NoError(t, l.Close())
}

// A file that cannot be removed holds up the newer ones: without them it would look as if they were lost.
func TestTrimRemovesOldestFirst(t *testing.T) {
	fs := newFaulty(vfs.NewMem())
	l, _ := mustOpen(t, Options{FS: fs, SegmentBytes: 4096})
	appendN(t, l, 150)
	segments := l.Segments()
	fs.set(func(c call) error {
		if c.op == "remove" && strings.HasSuffix(c.path, segments[0].File) {
			return syscall.EACCES
		}
		return nil
	})
	require.ErrorIs(t, l.Trim(segments[2].First), syscall.EACCES)
	require.ErrorIs(t, l.Trim(segments[3].First), syscall.EACCES)
	require.NoError(t, l.Close())
	l, rec := mustOpen(t, Options{FS: fs})
	require.Equal(t, uint64(1), rec.First)
	require.Empty(t, rec.Lost)
	fs.heal()
	require.NoError(t, l.Trim(segments[2].First))
	require.NoError(t, l.SetNext(1000))
	require.NoError(t, l.Close())
	l, rec = mustOpen(t, Options{FS: fs})
	require.Equal(t, uint64(1000), rec.First)
	require.NoError(t, l.Trim(999)) // what is in front of the jump goes too
	require.Len(t, logFiles(t, fs), 2)
	require.NoError(t, l.Close())
}

func TestSetNext(t *testing.T) {
	mem := vfs.NewCrashableMem()
	l, _ := mustOpen(t, Options{FS: mem})
	appendN(t, l, 10)
	require.NoError(t, l.SetNext(5))
	require.Equal(t, uint64(10), l.HighWatermark())
	require.NoError(t, l.SetNext(1000))
	require.Equal(t, uint64(999), l.HighWatermark())
	_, err := l.NewReader(10)
	require.ErrorIs(t, err, ErrTrimmed)
	disks := []*vfs.MemFS{mem.CrashClone(vfs.CrashCloneCfg{})} // before any record
	appendN(t, l, 3)
	disks = append(disks, mem.CrashClone(vfs.CrashCloneCfg{}))
	require.NoError(t, l.Close())
	for i, disk := range disks {
		l, rec := mustOpen(t, Options{FS: disk})
		require.Equal(t, Recovery{First: 1000, Next: 1000 + 3*uint64(i)}, rec)
		appendN(t, l, 1)
		got, lost := readAll(t, l, 1000)
		require.Len(t, got, 3*i+1)
		require.Empty(t, lost)
		require.NoError(t, l.Close())
	}
}

// The segment that jumped is needed even if its first record could not be written: it alone says that nothing in front of
// it was lost.
func TestFailedWriteBehindAJump(t *testing.T) {
	fs := newFaulty(vfs.NewMem())
	l, _ := mustOpen(t, Options{FS: fs})
	appendN(t, l, 10)
	require.NoError(t, l.SetNext(1000))
	fs.set(func(c call) error {
		if c.op == "write" && strings.Contains(c.path, segmentSuffix) {
			return syscall.ENOSPC
		}
		return nil
	})
	_, err := l.Append(ctx, nil)
	require.ErrorIs(t, err, ErrNoSpace)
	fs.heal()
	appendN(t, l, 1)
	require.NoError(t, l.Close())
	l, rec := mustOpen(t, Options{FS: fs})
	require.Equal(t, Recovery{First: 1000, Next: 1001}, rec)
	require.NoError(t, l.Close())
}

// The store knows that offsets up to 50 were durable once. The log that lost them must not use them again.
func TestAppliedBeyondTheEnd(t *testing.T) {
	fs := vfs.NewMem()
	l, rec := mustOpen(t, Options{FS: fs, Applied: 50})
	require.Equal(t, Recovery{First: 51, Next: 51}, rec)
	appendN(t, l, 10)
	require.NoError(t, l.Close())
	l, rec = mustOpen(t, Options{FS: fs, Applied: 70})
	require.Equal(t, uint64(51), rec.First)
	require.Equal(t, uint64(71), rec.Next)
	require.Len(t, rec.Lost, 1)
	require.Equal(t, uint64(61), rec.Lost[0].First)
	require.Equal(t, uint64(71), rec.Lost[0].End)
	appendN(t, l, 1)
	require.NoError(t, l.Close())
}

func TestCopyTo(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(0, 60).Draw(rt, "records")
		after := uint64(rapid.IntRange(0, n).Draw(rt, "after"))
		through := uint64(rapid.IntRange(int(after), n).Draw(rt, "through"))
		l, _ := mustOpen(t, Options{FS: vfs.NewMem(), SegmentBytes: 4096})
		appendN(t, l, n)
		to := vfs.NewCrashableMem()
		require.NoError(t, l.CopyTo(to, "backup/a/log", after, through))
		require.Error(t, l.CopyTo(to, "backup/b", 0, uint64(n)+1))
		require.NoError(t, l.Close())

		c, rec, err := Open("backup/a/log", Options{FS: to.CrashClone(vfs.CrashCloneCfg{})})
		require.NoError(t, err)
		require.Equal(t, Recovery{First: after + 1, Next: through + 1}, rec)
		got, lost := readAll(t, c, after+1)
		require.Empty(t, lost)
		require.Len(t, got, int(through-after))
		for offset, p := range got {
			require.Equal(t, payloadOf(offset, 100), p)
		}
		appendN(t, c, 1)
		require.NoError(t, c.Close())
	})
}

func TestCopyKeepsLossesLost(t *testing.T) {
	fs := vfs.NewMem()
	l, _ := mustOpen(t, Options{FS: fs})
	appendN(t, l, 10)
	require.NoError(t, l.Close())
	name := logFiles(t, fs)[0]
	b := readFile(t, fs, name)
	b[headerBytes+3*(frameBytes+100)+40] ^= 1
	b[headerBytes+9*(frameBytes+100)+40] ^= 1
	writeFile(t, fs, name, b)
	l, rec := mustOpen(t, Options{FS: fs})
	want := map[uint64]bool{4: true, 10: true}
	require.Equal(t, want, offsetsOf(rec.Lost))
	require.NoError(t, l.CopyTo(fs, "copy", 0, 10))
	require.NoError(t, l.Close())
	c, rec, err := Open("copy", Options{FS: fs})
	require.NoError(t, err)
	require.Equal(t, want, offsetsOf(rec.Lost))
	require.Equal(t, uint64(11), rec.Next)
	require.NoError(t, c.Close())
}

// TestModel runs random operations against a slice of payloads.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		fs := vfs.NewMem()
		open := func() *Log {
			l, rec, err := Open(testDir, Options{FS: fs, SegmentBytes: 4096, BacklogBytes: 16 << 10})
			require.NoError(rt, err)
			require.Empty(rt, rec.Lost)
			require.Empty(rt, rec.Damaged)
			return l
		}
		l := open()
		var model [][]byte // record i+1
		var applied, trimmed uint64
		rt.Repeat(map[string]func(*rapid.T){
			"append": func(rt *rapid.T) {
				p := rapid.SliceOfN(rapid.Byte(), 0, 1500).Draw(rt, "payload")
				cut := rapid.IntRange(0, len(p)).Draw(rt, "cut")
				offset, err := l.Append(ctx, p[:cut], p[cut:])
				if errors.Is(err, ErrBacklogFull) {
					require.Greater(rt, uint64(len(model)), applied)
					applied = uint64(len(model))
					l.Applied(applied)
					return
				}
				require.NoError(rt, err)
				model = append(model, p)
				require.Equal(rt, uint64(len(model)), offset)
			},
			"trim": func(rt *rapid.T) {
				through := rapid.Uint64Range(0, uint64(len(model))).Draw(rt, "through")
				require.NoError(rt, l.Trim(through))
				trimmed = max(trimmed, through)
				if list := l.Segments(); len(list) > 0 {
					require.LessOrEqual(rt, list[0].First, trimmed+1)
				}
			},
			"reopen": func(rt *rapid.T) {
				require.NoError(rt, l.Close())
				l = open()
			},
			"": func(rt *rapid.T) {
				require.Equal(rt, uint64(len(model)), l.HighWatermark())
				if len(model) == 0 {
					return
				}
				low := l.Segments()[0].First
				from := rapid.Uint64Range(low, uint64(len(model))+1).Draw(rt, "from")
				r, err := l.NewReader(from)
				require.NoError(rt, err)
				defer r.Close()
				for o := from; o <= uint64(len(model)); o++ {
					offset, p, err := r.Next(ctx)
					require.NoError(rt, err)
					require.Equal(rt, o, offset)
					require.True(rt, bytes.Equal(model[o-1], p))
				}
			},
		})
		require.NoError(rt, l.Close())
	})
}
