package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/model"
)

// F11 and failing disks: a read that fails is an error for who asked, is not called damage, and works when tried again.
func TestFailedReads(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			f := newFaulty(t, seed)
			for range 80 {
				f.write(f.randomWrites())
			}
			_, err := f.db.Flush(context.Background())
			require.NoError(t, err)
			require.NoError(t, f.db.Close())
			f.open() // with nothing cached but what open reads
			m := modelOf(f.sent)
			failures := 0
			for tag := model.TagID(1); int(tag) <= f.tags; tag++ {
				failures += f.readWithFaults(tag, m.Current(tag, model.All))
			}
			require.Positive(t, failures, "a read met the fault")
			f.write(f.randomWrites())
			_, err = f.db.Flush(context.Background())
			require.NoError(t, err)
			requireNoAlarms(t, f.db)
			requireSame(t, f.db, modelOf(f.sent), f.rng)
			require.NoError(t, f.db.Close())
		})
	}
}

// readWithFaults reads a tag while half of the reads of tables fail, and returns how often it did. Which half is drawn:
// a fixed turn could hit the same read of every attempt.
func (f *faulty) readWithFaults(tag model.TagID, want []model.Sample) int {
	t := f.t
	v, err := f.db.View(context.Background(), Accepted)
	require.NoError(t, err)
	defer v.Close()
	var mu sync.Mutex
	rng := rand.New(rand.NewPCG(uint64(tag), 5))
	f.disk.set(func(c diskCall) (bool, error) {
		mu.Lock()
		defer mu.Unlock()
		if strings.HasSuffix(c.path, ".sst") && c.op == "read" && rng.IntN(2) == 0 {
			return false, syscall.EIO
		}
		return false, nil
	})
	defer f.disk.heal()
	failures := 0
	for range 100 {
		have, err := readUntilError(v, tag)
		if err == nil {
			require.Equal(t, len(want), len(have), "tag %d", tag)
			for i := range want {
				require.True(t, sameSample(want[i], have[i]), "tag %d: want %+v, have %+v", tag, want[i], have[i])
			}
			return failures
		}
		failures++
		require.ErrorIs(t, err, syscall.EIO)
		require.False(t, errors.Is(err, ErrCorrupt), "%v", err)
	}
	t.Fatalf("tag %d cannot be read although half of the reads work", tag)
	return failures
}

// requireNoAlarms demands that every alarm is taken back, given a moment, and that none ever spoke of damage. Writes that
// wait for a flush are an alarm too, and a passing one where a test's memtables are small.
func requireNoAlarms(t testing.TB, db *DB) {
	t.Helper()
	require.Empty(t, alarmOf(db, "store_damaged"))
	require.Eventually(t, func() bool { return len(db.Status().Alarms) == 0 }, patience, time.Millisecond,
		"alarms that stay: %+v", db.Status().Alarms)
}

func readUntilError(v *View, tag model.TagID) (out []model.Sample, err error) {
	c := v.Samples(tag, model.All)
	defer c.Close()
	for {
		b, err := c.Next(context.Background())
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		for i := range b.Len() {
			x := b.At(i)
			x.Blob = append([]byte(nil), x.Blob...)
			out = append(out, x)
		}
	}
}

// F11: too many open files while a store is opened is an error to try again, not damage, and takes nothing away.
func TestTooManyOpenFiles(t *testing.T) {
	f := newFaulty(t, 1)
	// Too few generations for a compaction: one that runs while the LSM gives up on opening takes the process with it.
	for range 10 {
		f.write(f.randomWrites())
	}
	require.NoError(t, f.db.Close())
	failures := 0
	for nth := range 25 {
		mem := f.fs.CrashClone(everything(nth))
		g := &faulty{powerCut: f.powerCut, disk: &diskFS{FS: mem}, fatal: make(chan error, 1)}
		var calls atomic.Int64
		g.disk.set(func(c diskCall) (bool, error) {
			if (c.op == "open" || c.op == "create") && calls.Add(1) > int64(nth) {
				return false, syscall.EMFILE
			}
			return false, nil
		})
		if err := g.openAndClose(); err != nil {
			failures++
			require.ErrorContains(t, err, syscall.EMFILE.Error(), "open number %d", nth)
			require.False(t, isDamage(err), "open number %d: %v", nth, err)
		}
		db, err := Open("store", testOptions(mem.CrashClone(everything(nth))))
		require.NoError(t, err, "open number %d", nth)
		require.Empty(t, db.Status().Alarms)
		requireSame(t, db, modelOf(f.sent), f.rng)
		require.NoError(t, db.Close())
	}
	require.Greater(t, failures, 10)
}

// Apply reads the log, and stored samples for the modes that must know them. When such a read fails for a while, apply
// waits and goes on; ingest and reads do not end with it.
func TestApplyOutlastsFailedReads(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			f := newFaulty(t, seed)
			for range 60 {
				f.write(f.randomWrites())
			}
			_, err := f.db.Flush(context.Background())
			require.NoError(t, err)
			require.NoError(t, f.db.Close())
			f.open()
			var failed atomic.Int64
			f.disk.set(func(c diskCall) (bool, error) {
				if (c.op == "read" || c.op == "open") && !strings.HasSuffix(c.path, "/mark") {
					return false, []error{syscall.EIO, syscall.EMFILE}[failed.Add(1)%2]
				}
				return false, nil
			})
			for range 20 {
				f.write(f.randomWrites())
			}
			time.Sleep(50 * time.Millisecond)
			require.Positive(t, failed.Load())
			f.disk.heal()
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			_, err = f.sent[len(f.sent)-1].pending.Applied(ctx)
			require.NoError(t, err, "apply goes on")
			requireSame(t, f.db, modelOf(f.sent), f.rng)
			requireNoAlarms(t, f.db)
			require.NoError(t, f.db.Close())
			f.restart()
		})
	}
}
