package log

import (
	"bytes"
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// readFile and writeFile are how a test damages what is on the disk.
func readFile(t testing.TB, fs vfs.FS, name string) []byte {
	t.Helper()
	f, err := fs.Open(fs.PathJoin(testDir, name))
	require.NoError(t, err)
	defer f.Close()
	info, err := f.Stat()
	require.NoError(t, err)
	b := make([]byte, info.Size())
	if len(b) > 0 {
		_, err = f.ReadAt(b, 0)
		require.NoError(t, err)
	}
	return b
}

func writeFile(t testing.TB, fs vfs.FS, name string, b []byte) {
	t.Helper()
	f, err := fs.Create(fs.PathJoin(testDir, name), "log")
	require.NoError(t, err)
	_, err = f.Write(bytes.Clone(b))
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())
	require.NoError(t, syncDir(fs, testDir))
}

func logFiles(t testing.TB, fs vfs.FS) []string {
	t.Helper()
	names, err := fs.List(testDir)
	require.NoError(t, err)
	names = slices.DeleteFunc(names, func(n string) bool { return n == "lock" })
	slices.Sort(names)
	return names
}

// spoil does one thing to one file, and says what.
func spoil(t testing.TB, fs vfs.FS, rng *rand.Rand) (string, string) {
	t.Helper()
	names := logFiles(t, fs)
	if len(names) == 0 { // closed before anything was sent
		return "", "nothing"
	}
	name := names[rng.IntN(len(names))]
	b := readFile(t, fs, name)
	what := "flipped a bit"
	switch k := rng.IntN(8); {
	case k == 0 && len(b) > 0:
		what = "zeroed the tail"
		clear(b[rng.IntN(len(b)):])
	case k == 1 && len(b) > 0:
		what = "cut the tail off"
		b = b[:rng.IntN(len(b))]
	case k == 2 && len(b) > 0:
		what = "zeroed a block"
		at := rng.IntN(len(b)) &^ 511
		clear(b[at:min(at+512, len(b))])
	case k == 3:
		what = "removed the file"
		require.NoError(t, fs.Remove(fs.PathJoin(testDir, name)))
		require.NoError(t, syncDir(fs, testDir))
		return name, what
	case k == 4 && len(b) > 200:
		what = "zeroed the last bytes"
		clear(b[len(b)-1-rng.IntN(200):])
	case len(b) > 0:
		b[rng.IntN(len(b))] ^= 1 << rng.IntN(8)
	}
	writeFile(t, fs, name, b)
	return name, what
}

// TestDamage spoils one place of the log of a process that was killed or that closed the log. Every synced record is then
// there as it was, or named as lost; none is ever taken for a torn tail.
func TestDamage(t *testing.T) {
	for seed := range uint64(2000) {
		rng := rand.New(rand.NewPCG(seed, 9))
		s := simulation{rng: rng, kill: true, at: moment{disk: vfs.NewCrashableMem(), sent: map[uint64][]byte{}, first: 1}}
		if rng.IntN(2) == 0 {
			s.at = liveAndClose(t, s.at, rng)
		} else {
			require.NoError(t, s.life(), "seed %d", seed)
			s.at = *s.after
		}
		name, what := spoil(t, s.at.disk, rng)
		if !checkDamaged(t, s.at, what == "removed the file") {
			t.Fatalf("seed %d: %s in %s", seed, what, name)
		}
	}
}

// liveAndClose ends with a clean close, after which even the power may go.
func liveAndClose(t testing.TB, m moment, rng *rand.Rand) moment {
	t.Helper()
	l, _, err := Open(testDir, Options{FS: m.disk, Rand: fixedRand{}, SegmentBytes: 4096 << rng.IntN(4)})
	require.NoError(t, err)
	for range rng.IntN(60) {
		p := randomPayload(rng)
		c, err := l.Submit(context.Background(), p)
		require.NoError(t, err)
		m.sent[c.Offset()] = p
		if rng.IntN(3) == 0 {
			require.NoError(t, c.Wait(context.Background()))
		}
	}
	require.NoError(t, l.Close())
	m.acked = l.HighWatermark()
	m.disk = m.disk.CrashClone(vfs.CrashCloneCfg{})
	return m
}

// checkDamaged reports whether every record of m is as it was or named as lost, now and after a restart.
func checkDamaged(t testing.TB, m moment, removed bool) bool {
	var before []Lost
	for life := range 2 {
		l, rec, err := Open(testDir, Options{FS: m.disk, Rand: fixedRand{}})
		if !assert.NoError(t, err) || !assert.Greater(t, rec.Next, m.acked) {
			return false
		}
		if !removed && !assert.LessOrEqual(t, rec.First, m.first) {
			return false
		}
		got, lost := readAll(t, l, rec.First)
		if !assert.Equal(t, offsetsOf(rec.Lost), offsetsOf(lost), "lost to recovery, lost to the reader") {
			return false
		}
		for offset := rec.First; offset < rec.Next; offset++ {
			p, ok := got[offset]
			if ok == offsetsOf(lost)[offset] || ok && !bytes.Equal(p, m.sent[offset]) {
				return assert.Fail(t, "wrong record", "offset %d: there %v, acked up to %d, recovery %+v", offset, ok, m.acked, rec)
			}
		}
		if life == 1 {
			// Oldest segments that are gone look trimmed; whoever still needs them is told by ErrTrimmed.
			return removed || assert.Subset(t, offsetsOf(rec.Lost), offsetsOf(before), "lost at first, lost later") && l.Close() == nil
		}
		before = rec.Lost
		p := []byte("behind the damage")
		offset, err := l.Append(context.Background(), p)
		if !assert.NoError(t, err) || !assert.Equal(t, rec.Next, offset) || !assert.NoError(t, l.Close()) {
			return false
		}
		m.sent[offset], m.acked = p, offset
	}
	return true
}

func offsetsOf(lost []Lost) map[uint64]bool {
	set := map[uint64]bool{}
	for _, l := range lost {
		for o := l.First; o < l.End; o++ {
			set[o] = true
		}
	}
	return set
}

// An idle log makes its mark durable, so that a power cut later leaves the last record with a claim.
func TestIdleLogSyncsItsMark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewCrashableMem()
		l, _ := mustOpen(t, Options{FS: mem})
		appendN(t, l, 5)
		time.Sleep(2 * markSyncDelay)
		synctest.Wait()
		disk := mem.CrashClone(vfs.CrashCloneCfg{})
		require.NoError(t, l.Close())
		b := readFile(t, disk, segmentName(1, 1))
		clear(b[len(b)-50:])
		writeFile(t, disk, segmentName(1, 1), b)
		l, rec := mustOpen(t, Options{FS: disk})
		require.Equal(t, map[uint64]bool{5: true}, offsetsOf(rec.Lost))
		require.NoError(t, l.Close())
	})
}

// TestMarkMatters shows what the mark is for: without it, or without its sync on Close, damage at the end passes for a
// torn tail.
func TestMarkMatters(t *testing.T) {
	for _, op := range []string{"write", "sync"} {
		t.Run(op, func(t *testing.T) {
			mistaken := 0
			for _, skip := range []bool{false, true} {
				mem := vfs.NewCrashableMem()
				l, _ := mustOpen(t, Options{FS: &hookFS{mem, func(c call) (bool, error) {
					return skip && c.op == op && c.path == testDir+"/"+markName, nil
				}}})
				appendN(t, l, 5)
				require.NoError(t, l.Close())
				disk := mem.CrashClone(vfs.CrashCloneCfg{})
				name := segmentName(1, 1)
				b := readFile(t, disk, name)
				clear(b[len(b)-50:])
				writeFile(t, disk, name, b)
				l, rec := mustOpen(t, Options{FS: disk})
				if len(rec.Lost) == 0 {
					require.True(t, skip, "with the mark, record 5 is lost by name: %+v", rec)
					require.Equal(t, uint64(5), rec.Next)
					mistaken++
				}
				require.NoError(t, l.Close())
			}
			require.Equal(t, 1, mistaken)
		})
	}
}
