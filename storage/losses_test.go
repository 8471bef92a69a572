package storage

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// lossy is a closed store whose log holds records that are in no generation, and the offsets of those.
type lossy struct {
	*powerCut
	offsets []uint64
}

func newLossy(t testing.TB, batches int) *lossy {
	fs := vfs.NewCrashableMem()
	l := &lossy{powerCut: &powerCut{history: newHistory(t, 11, fs), fs: fs}}
	require.NoError(t, l.db.Close())
	l.open(lossyOptions(fs))
	_, err := l.db.Flush(context.Background())
	require.NoError(t, err)
	for range batches {
		l.sendWrites()
		p := l.sent[len(l.sent)-1].pending
		require.NoError(t, p.Accepted(context.Background()))
		l.offsets = append(l.offsets, p.Offset())
	}
	require.NoError(t, l.db.Close())
	return l
}

// lossyOptions cut no head by themselves, and segments soon.
func lossyOptions(fs vfs.FS) Options {
	o := testOptions(fs)
	o.GenerationSamples, o.GenerationBytes, o.SegmentBytes = 1<<30, 1<<30, 4<<10
	return o
}

// harm spoils the payloads of some of the records in the log, oldest first.
func (l *lossy) harm(offsets ...uint64) {
	names, err := l.fs.List("store/log")
	require.NoError(l.t, err)
	slices.Sort(names)
	for _, name := range names {
		if !strings.HasSuffix(name, ".log") {
			continue
		}
		f, err := l.fs.OpenReadWrite("store/log/"+name, vfs.WriteCategoryUnspecified)
		require.NoError(l.t, err)
		info, err := f.Stat()
		require.NoError(l.t, err)
		b := make([]byte, info.Size())
		_, err = f.ReadAt(b, 0)
		require.NoError(l.t, err)
		for at := int64(64); at+32 < int64(len(b)); { // docs/format/log.md
			size := int64(b[at+4]) | int64(b[at+5])<<8 | int64(b[at+6])<<16
			if offset := uint64(b[at+8]) | uint64(b[at+9])<<8; slices.Contains(offsets, offset) {
				_, err := f.WriteAt([]byte{b[at+32] ^ 1}, at+32)
				require.NoError(l.t, err)
			}
			at += 32 + size
		}
		require.NoError(l.t, f.Close())
	}
}

// soon demands that do returns.
func soon(t testing.TB, what string, do func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatalf("%s does not return", what)
	}
}

func (l *lossy) open(o Options) {
	soon(l.t, "Open", func() {
		db, err := Open("store", o)
		require.NoError(l.t, err)
		l.db = db
	})
}

// requireWithout holds the store against all batches but those at some offsets.
func (l *lossy) requireWithout(lost ...uint64) {
	kept := slices.DeleteFunc(slices.Clone(l.sent), func(b sentBatch) bool { return slices.Contains(lost, b.pending.Offset()) })
	soon(l.t, "a view", func() { requireSame(l.t, l.db, modelOf(kept), rand.New(rand.NewPCG(1, 8))) })
}

// A loss at the very end of the log is behind everything: no later record shows that apply went on. Once it is accepted,
// the store opens, reads do not wait, and it closes, whether or not there is a record behind.
func TestAcceptedLossAtTheEnd(t *testing.T) {
	for _, how := range []string{"option", "file", "call", "call while space is low"} {
		t.Run(how, func(t *testing.T) {
			l := newLossy(t, 6)
			last := l.offsets[5]
			l.harm(last)
			o := lossyOptions(l.fs)
			lost := OffsetRange{last, last + 1}
			switch how {
			case "option":
				o.AcceptLoss = true
			case "file": // the process ended between keeping the acceptance and logging it
				db := &DB{o: o, dir: "store"}
				require.NoError(t, db.losses.accept(db, lost, "mara", "disk 2"))
			}
			l.open(o)
			if strings.HasPrefix(how, "call") {
				require.Equal(t, []OffsetRange{lost}, l.db.Status().Lost)
				l.db.space.low.Store(strings.HasSuffix(how, "low"))
				require.NoError(t, l.db.AcceptLoss(context.Background(), lost, "mara", "disk 2"))
				l.db.space.low.Store(false)
			}
			l.requireWithout(last)
			require.Empty(t, l.db.Status().Lost)
			requireNoAlarms(t, l.db)
			require.GreaterOrEqual(t, l.db.Status().Applied, last)
			soon(t, "Flush", func() {
				_, err := l.db.Flush(context.Background())
				require.NoError(t, err)
			})
			soon(t, "Close", func() { require.NoError(t, l.db.Close()) })
			l.open(lossyOptions(l.fs))
			l.requireWithout(last)
			require.NoError(t, l.db.Close())
		})
	}
}

// Losses are accepted one after the other. Whoever lets reads wait again, the one that is open still says so: a view names
// it and does not wait, and the store closes.
func TestEachLossIsWaitedFor(t *testing.T) {
	l := newLossy(t, 12)
	lost := []uint64{l.offsets[2], l.offsets[5], l.offsets[9]}
	l.harm(lost...)
	l.open(lossyOptions(l.fs))
	for i, offset := range lost {
		open := OffsetRange{offset, offset + 1}
		require.Eventually(t, func() bool { return slices.Contains(l.db.Status().Lost, open) }, patience, time.Millisecond)
		l.db.resumeApplied() // as a read does that works again, be it the generation writer's
		soon(t, "a view", func() {
			v, err := l.db.View(context.Background(), Accepted)
			require.NoError(t, err)
			require.Equal(t, []OffsetRange{open}, v.Lost())
			v.Close()
		})
		if i == 1 {
			soon(t, "Close", func() { require.NoError(t, l.db.Close()) })
			l.open(lossyOptions(l.fs))
		}
		require.NoError(t, l.db.AcceptLoss(context.Background(), open, "mara", "disk 2"))
	}
	l.requireWithout(lost...)
	soon(t, "Close", func() { require.NoError(t, l.db.Close()) })
}

// While apply waits before a loss the head gets old and is to be flushed, which cannot end. Space is looked at all the
// same: low space stops ingest, and space that returns lets it go on.
func TestSpaceIsWatchedDuringALoss(t *testing.T) {
	l := newLossy(t, 6)
	l.harm(l.offsets[3])
	disk := &diskFS{FS: l.fs}
	disk.free.Store(1 << 30)
	o := lossyOptions(disk)
	o.MinFreeBytes, o.GenerationAge = 1<<20, time.Second
	o.Now = func() time.Time { return time.Now().Add(time.Hour) }
	l.open(o)
	f := &faulty{powerCut: l.powerCut, disk: disk}
	high := l.db.Status().Accepted
	f.eventually("a cut is asked for", func() bool { return l.db.Status().Accepted > high })
	disk.free.Store(1 << 19)
	f.eventually("alarm", func() bool { return f.hasAlarm("low_disk_space") })
	disk.free.Store(1 << 30)
	f.eventually("resume", func() bool { return !f.hasAlarm("low_disk_space") })
	soon(t, "Close", func() { require.NoError(t, l.db.Close()) })
}

// The oldest segment of the log is gone while its records are in no generation: they are lost by name, and the store
// serves what it has and goes on once that is accepted.
func TestFrontOfTheLogIsGone(t *testing.T) {
	l := newLossy(t, 60)
	db, err := Open("store", lossyOptions(l.fs))
	require.NoError(t, err)
	durable := db.Status().Archived
	segments := db.log.Segments()
	require.NoError(t, db.Close())
	i := 0
	for segments[i].First <= durable+1 {
		i++ // the first that holds no more what is in no generation
	}
	for _, s := range segments[:i] {
		require.NoError(t, l.fs.Remove("store/log/"+s.File))
	}
	gone := OffsetRange{durable + 1, segments[i].First}
	l.open(lossyOptions(l.fs))
	require.Equal(t, []OffsetRange{gone}, l.db.Status().Lost)
	soon(t, "a view", func() {
		v, err := l.db.View(context.Background(), Accepted)
		require.NoError(t, err)
		require.Equal(t, []OffsetRange{gone}, v.Lost())
		v.Close()
	})
	soon(t, "Close", func() { require.NoError(t, l.db.Close()) })
	o := lossyOptions(l.fs)
	o.AcceptLoss = true
	l.open(o)
	var lost []uint64
	for offset := gone.First; offset < gone.End; offset++ {
		lost = append(lost, offset)
	}
	l.requireWithout(lost...)
	require.Empty(t, l.db.Status().Lost)
	_, err = l.db.Flush(context.Background())
	require.NoError(t, err)
	require.NoError(t, l.db.Close())
	l.open(lossyOptions(l.fs))
	l.requireWithout(lost...)
	require.NoError(t, l.db.Close())
}
