package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/internal/plain"
	"github.com/varvedb/varve/model"
)

// damagedStore is a closed store, part of it in generations and part in the log, and every state of the model it went
// through.
type damagedStore struct {
	fs     *vfs.MemFS
	sent   []sentBatch
	states func(batches int) plain.Store
	files  []string
	sizes  []int64
}

func makeDamagedStore(t *testing.T, seed uint64) *damagedStore {
	fs := vfs.NewCrashableMem()
	c := &powerCut{history: newHistory(t, seed, fs), fs: fs}
	for range 60 {
		c.send()
		if c.rng.IntN(15) == 0 {
			_, err := c.db.Flush(context.Background())
			require.NoError(t, err)
		}
		if c.rng.IntN(20) == 0 {
			seal(t, c.db)
		}
	}
	require.NoError(t, c.db.Close())
	d := &damagedStore{fs: fs, sent: c.sent}
	known := map[int]plain.Store{}
	d.states = func(n int) plain.Store {
		if known[n] == nil {
			known[n] = modelOf(c.sent[:n])
		}
		return known[n]
	}
	d.list(t, "store")
	return d
}

func (d *damagedStore) list(t *testing.T, dir string) {
	names, err := d.fs.List(dir)
	require.NoError(t, err)
	for _, n := range names {
		full := dir + "/" + n
		info, err := d.fs.Stat(full)
		require.NoError(t, err)
		switch {
		case info.IsDir():
			d.list(t, full)
		case info.Size() > 0:
			d.files = append(d.files, full)
			d.sizes = append(d.sizes, info.Size())
		}
	}
}

// harm flips a bit, or zeroes a stretch or the tail, of one file, and says what it did.
func (d *damagedStore) harm(t *testing.T, fs *vfs.MemFS, rng *rand.Rand) string {
	i := rng.IntN(len(d.files))
	name, size := d.files[i], d.sizes[i]
	f, err := fs.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	defer f.Close()
	at := rng.Int64N(size)
	switch rng.IntN(4) {
	case 0:
		n := min(size-at, 1+rng.Int64N(512))
		_, err = f.WriteAt(make([]byte, n), at)
		require.NoError(t, err)
		return fmt.Sprintf("zeroed %d bytes at %d of %s (%d bytes)", n, at, name, size)
	case 1:
		_, err = f.WriteAt(make([]byte, size-at), at)
		require.NoError(t, err)
		return fmt.Sprintf("zeroed %s from %d of %d bytes", name, at, size)
	}
	b := make([]byte, 1)
	_, err = f.ReadAt(b, at)
	require.NoError(t, err)
	bit := rng.IntN(8)
	b[0] ^= 1 << bit
	_, err = f.WriteAt(b, at)
	require.NoError(t, err)
	return fmt.Sprintf("flipped bit %d at %d of %s (%d bytes)", bit, at, name, size)
}

// TestDamage harms one place of a closed store per seed. What is read afterwards is right, or an error says what is
// damaged, or the view names the records it lacks and is right as of before them. A wrong value is never read.
func TestDamage(t *testing.T) {
	n := seeds("VARVE_DAMAGE_SEEDS", 2000)
	const stores = 8
	for k := range stores {
		t.Run(fmt.Sprintf("store=%d", k), func(t *testing.T) {
			t.Parallel()
			d := makeDamagedStore(t, uint64(k))
			for seed := k; seed < n; seed += stores {
				rng := rand.New(rand.NewPCG(uint64(seed), 3))
				fs := d.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rng})
				what := d.harm(t, fs, rng)
				if !t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { d.verify(t, fs, what) }) {
					return
				}
			}
		})
	}
}

func (d *damagedStore) verify(t *testing.T, fs *vfs.MemFS, what string) {
	o := testOptions(fs)
	db, err := Open("store", o)
	if err != nil {
		require.NotContains(t, err.Error(), "panic", what)
		return // it names what it could not read; nothing wrong was read
	}
	defer db.Close()
	v, err := db.View(context.Background(), Accepted)
	require.NoError(t, err, what)
	defer v.Close()
	batches := len(d.sent)
	if lost := v.Lost(); len(lost) > 0 {
		require.NotEmpty(t, db.Status().Alarms, what)
		for batches > 0 && d.sent[batches-1].pending.Offset() >= lost[0].First {
			batches--
		}
	}
	m := d.states(batches)
	for tag := model.TagID(1); int(tag) <= len(testTypes); tag++ {
		have, damaged := readDamaged(v, tag)
		want := m.Current(tag, model.All)
		if damaged == nil {
			require.Equal(t, len(want), len(have), "%s: tag %d", what, tag)
		}
		// Behind damage some samples may be missing; those that come are right.
		i := 0
		for _, x := range have {
			for i < len(want) && (want[i].Time < x.Time || want[i].Time == x.Time && want[i].Seq < x.Seq) {
				require.Error(t, damaged, "%s: tag %d misses %+v", what, tag, want[i])
				i++
			}
			require.True(t, i < len(want) && sameSample(want[i], x), "%s: tag %d has %+v", what, tag, x)
			i++
		}
		if damaged != nil {
			require.True(t, errors.Is(damaged, ErrCorrupt) || strings.Contains(damaged.Error(), "decode"), "%s: %v", what, damaged)
			require.Contains(t, damaged.Error(), fmt.Sprintf("tag %d", tag), what)
			continue
		}
		wantL, ok := m.Latest(tag)
		haveL, ok2 := v.Latest(tag)
		require.Equal(t, ok, ok2, "%s: latest of tag %d", what, tag)
		require.True(t, !ok || sameSample(wantL, haveL), "%s: latest of tag %d: want %+v, have %+v", what, tag, wantL, haveL)
	}
}

// readDamaged reads a tag whole, going on behind damage, and returns the first error.
func readDamaged(v *View, tag model.TagID) (out []model.Sample, damaged error) {
	c := v.Samples(tag, model.All)
	defer c.Close()
	for range 10_000 {
		b, err := c.Next(context.Background())
		if errors.Is(err, io.EOF) {
			return out, damaged
		}
		if err != nil {
			if damaged == nil {
				damaged = err
			}
			continue
		}
		for i := range b.Len() {
			x := b.At(i)
			x.Blob = append([]byte(nil), x.Blob...)
			out = append(out, x)
		}
	}
	return out, fmt.Errorf("tag %d: the cursor does not end: %w", tag, damaged)
}
