package log

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

const testDir = "store/log"

// moment is what is known of a log when the power goes.
type moment struct {
	disk  *vfs.MemFS
	sent  map[uint64][]byte // by offset, the newest record that got it
	acked uint64            // everything up to here was acknowledged
	first uint64            // everything below was allowed to be trimmed
}

// check reopens the log and reports the first way in which it breaks its promise: acked ⊆ recovered ⊆ sent.
func (m moment) check() error {
	l, rec, err := Open(testDir, Options{FS: m.disk, Rand: fixedRand{}})
	if err != nil {
		return fmt.Errorf("reopen: %w", err)
	}
	defer l.Close()
	switch {
	case len(rec.Lost) > 0:
		return fmt.Errorf("lost by a power cut: %v", rec.Lost)
	case len(rec.Damaged) > 0:
		return fmt.Errorf("damaged by a power cut: %v", rec.Damaged)
	case rec.Next <= m.acked:
		return fmt.Errorf("acknowledged up to %d, recovered up to %d", m.acked, rec.Next-1)
	case rec.First > m.first:
		return fmt.Errorf("trimmed below %d, recovered from %d", m.first, rec.First)
	case l.HighWatermark() != rec.Next-1:
		return fmt.Errorf("recovered up to %d, high watermark is %d", rec.Next-1, l.HighWatermark())
	}
	r, err := l.NewReader(rec.First)
	if err != nil {
		return err
	}
	defer r.Close()
	for want := rec.First; want < rec.Next; want++ {
		offset, payload, err := r.Next(context.Background())
		if err != nil {
			return fmt.Errorf("read of %d: %w", want, err)
		}
		if offset != want || !bytes.Equal(payload, m.sent[want]) {
			return fmt.Errorf("record %d is not what was sent as %d", offset, want)
		}
	}
	// What could be read once stays: it is still there after a second cut that takes everything unsynced.
	l2, again, err := Open(testDir, Options{FS: m.disk.CrashClone(vfs.CrashCloneCfg{}), Rand: fixedRand{}})
	if err != nil {
		return fmt.Errorf("reopen after the second cut: %w", err)
	}
	defer l2.Close()
	if again.Next < rec.Next || len(again.Lost) > 0 {
		return fmt.Errorf("read up to %d, after another cut there is %d, lost %v", rec.Next-1, again.Next-1, again.Lost)
	}
	return nil
}

// fixedRand makes the ids of test logs.
type fixedRand struct{}

func (fixedRand) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(0xC0 + i)
	}
	return len(p), nil
}

func randomPayload(r *rand.Rand) []byte {
	n := r.IntN(200)
	switch r.IntN(8) {
	case 0:
		n = 0
	case 1:
		n = r.IntN(20_000)
	}
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// simulation runs a log turn by turn under one seed, which decides what is sent, when the power goes down to the single
// call to the file system, and what survives of that which was not synced.
type simulation struct {
	rng   *rand.Rand
	skip  string // class of syncs that are not done
	kill  bool   // only the process goes, not the power: whatever was written survives
	at    moment
	cutIn int // calls until the power goes; negative: it has gone
	log   *Log
	after *moment
}

func (s *simulation) hook(c call) (bool, error) {
	if s.cutIn == 0 && s.log != nil {
		m := s.at
		m.sent = maps.Clone(m.sent)
		m.acked = s.log.HighWatermark()
		percent := 100
		if !s.kill {
			percent = s.rng.IntN(101)
		}
		m.disk = s.at.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: s.rng})
		s.after = &m
	}
	s.cutIn--
	return c.class() != "" && c.class() == s.skip, nil
}

// life runs the log until its power goes.
func (s *simulation) life() error {
	s.after, s.log = nil, nil
	s.cutIn = -1
	l, rec, err := open(testDir, Options{
		FS: &hookFS{s.at.disk, s.hook}, Rand: fixedRand{}, SegmentBytes: 4096 << s.rng.IntN(4),
	})
	if err != nil {
		return err
	}
	s.log, s.cutIn = l, s.rng.IntN(60)
	s.at.acked = rec.Next - 1
	for s.after == nil {
		for range s.rng.IntN(5) {
			p := randomPayload(s.rng)
			c, err := l.Submit(context.Background(), p)
			if err != nil {
				return err
			}
			s.at.sent[c.Offset()] = p
		}
		l.step()
		l.Applied(l.HighWatermark())
		switch s.rng.IntN(12) {
		case 0:
			s.at.first = max(s.at.first, s.rng.Uint64N(l.HighWatermark()+1)+1)
			if err := l.Trim(s.at.first - 1); err != nil {
				return err
			}
		case 1:
			l.syncMark()
		case 2:
			if err := l.Resume(); err != nil {
				return err
			}
		}
	}
	return nil
}

// run lives several lives and checks after each.
func (s *simulation) run(seed uint64) error {
	s.rng = rand.New(rand.NewPCG(seed, 7))
	s.at = moment{disk: vfs.NewCrashableMem(), sent: map[uint64][]byte{}, first: 1}
	for range 1 + s.rng.IntN(4) {
		if err := s.life(); err != nil {
			return err
		}
		s.at = *s.after
		check := s.at
		check.disk = s.at.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: s.rng})
		if err := check.check(); err != nil {
			return err
		}
	}
	return nil
}

func TestPowerCut(t *testing.T) {
	for seed := range uint64(600) {
		s := simulation{}
		require.NoError(t, s.run(seed), "seed %d", seed)
	}
}

// TestEverySyncMatters takes out one kind of sync at a time. The promise must then break for some seed: if it held, the
// sync would be for nothing, or the test blind.
func TestEverySyncMatters(t *testing.T) {
	for _, class := range []string{"records", "new segment", "names in " + testDir, "names in store", "names in ."} {
		t.Run(class, func(t *testing.T) {
			for seed := range uint64(300) {
				s := simulation{skip: class}
				if err := s.run(seed); err != nil {
					t.Logf("without it: seed %d: %v", seed, err)
					return
				}
			}
			t.Fatal("no seed notices that it is missing")
		})
	}
}

// TestPowerCutUnderConcurrency is TestPowerCut with real goroutines. What a seed decides is fewer things, but the race
// detector sees the rest.
func TestPowerCutUnderConcurrency(t *testing.T) {
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 8))
		mem := vfs.NewCrashableMem()
		l, _, err := Open(testDir, Options{FS: mem, SegmentBytes: 16 << 10, UnsyncedBytes: 4 << 10, Rand: fixedRand{}})
		require.NoError(t, err)
		m := moment{sent: map[uint64][]byte{}, first: 1}
		var mu sync.Mutex
		var wg sync.WaitGroup
		for caller := range 4 {
			wg.Go(func() {
				rng := rand.New(rand.NewPCG(seed, uint64(caller)))
				for range 40 {
					mu.Lock() // so that sent is complete whenever mu is free
					p := randomPayload(rng)
					c, err := l.Submit(context.Background(), p)
					if err == nil {
						m.sent[c.Offset()] = p
					}
					mu.Unlock()
					if err == nil && rng.IntN(2) == 0 {
						err = c.Wait(context.Background())
					}
					if err != nil {
						t.Errorf("seed %d: %v", seed, err)
						return
					}
					l.Applied(l.HighWatermark())
				}
			})
		}
		cut := rng.Uint64N(160)
		for high := l.HighWatermark(); high < cut; high = l.HighWatermark() { // asked twice it may be past all there will be
			require.NoError(t, l.table.wait(context.Background(), high+1))
			if !mu.TryLock() {
				continue
			}
			mu.Unlock()
		}
		mu.Lock()
		at := moment{sent: maps.Clone(m.sent), acked: l.HighWatermark(), first: 1}
		at.disk = mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
		mu.Unlock()
		wg.Wait()
		require.NoError(t, at.check(), "seed %d", seed)
		require.NoError(t, l.Close())
	}
}
