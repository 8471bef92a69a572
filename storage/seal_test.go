package storage

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/internal/plain"
	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/catalog"
	"github.com/varvedb/varve/storage/keys"
)

// TestPowerCutInsideSeal cuts the power at a random call that sealing makes of the disk. Everything was durable before, so
// that everything is there after, once, whatever the seal had come to; and sealing again works.
func TestPowerCutInsideSeal(t *testing.T) {
	eachSeed(t, seeds("VARVE_CRASH_SEEDS", 1000)/4, cutInsideSeal)
}

func cutInsideSeal(t *testing.T, seed uint64) {
	mem := vfs.NewCrashableMem()
	disk := &diskFS{FS: mem}
	rng := rand.New(rand.NewPCG(seed, 5))
	c := &powerCut{history: &history{t: t, rng: rng, model: plain.Store{}, tags: len(testTypes), clock: newClock()}, fs: mem}
	db, err := Open("store", c.options(disk))
	require.NoError(t, err)
	c.db = db
	c.createTags()
	for range 1 + rng.IntN(3) {
		for range 1 + rng.IntN(8) {
			c.send()
		}
		if rng.IntN(2) == 0 {
			c.sendOp() // so that the seal folds it
			c.send()
		}
		_, err := c.db.Flush(context.Background())
		require.NoError(t, err)
		c.countAcked()
		var clone *vfs.MemFS
		at, calls := int64(rng.IntN(120)), atomic.Int64{}
		disk.set(func(diskCall) (bool, error) {
			if calls.Add(1) == at {
				clone = disk.crashClone(mem, vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
			}
			return false, nil
		})
		seal(t, c.db)
		require.NoError(t, c.db.Close())
		disk.heal()
		if clone == nil {
			clone = mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
		}
		mem = clone
		disk = &diskFS{FS: mem}
		c.fs = mem
		c.recover(disk)
		require.Len(t, c.sent, c.acked)
		requirePartials(t, c.db, c.model, rng)
		if rng.IntN(2) == 0 {
			seal(t, c.db)
			requireSame(t, c.db, c.model, rng)
			requirePartials(t, c.db, c.model, rng)
			requireSealedOnly(t, c.db)
		}
	}
	require.NoError(t, c.db.Close())
}

// requireSealedOnly holds that nothing is left of what was sealed.
func requireSealedOnly(t *testing.T, db *DB) {
	for _, p := range db.directory.parts {
		for _, g := range p.gens {
			require.True(t, g.sealed, "generation %d of %s", g.id, p.name)
		}
	}
	require.NoError(t, db.scan(keys.Data, func(k, _ []byte) error {
		c, err := keys.DecodeChunk(append([]byte{byte(keys.Data)}, k...))
		require.NoError(t, err)
		require.Fail(t, "left behind", "%+v", c)
		return nil
	}))
	require.NoError(t, db.scan(keys.Headers, func(k, _ []byte) error {
		h, err := keys.DecodeHeader(append([]byte{byte(keys.Headers)}, k...))
		require.NoError(t, err)
		require.Equal(t, keys.Sealed, h.Kind, "header left behind: %+v", h)
		return nil
	}))
}

// TestSealRewritesWhatIsDirty holds how much a seal rewrites: nothing of chunks that later samples do not overlap, and a
// small chunk together with what follows it.
func TestSealRewritesWhatIsDirty(t *testing.T) {
	db, err := Open("store", testOptions(vfs.NewMem()))
	require.NoError(t, err)
	defer db.Close()
	_, err = db.ChangeCatalog(context.Background(), []catalog.Change{{Create: &catalog.Create{Tag: model.Tag{
		Name: "T", UUID: model.UUID{1}, Settings: []model.Settings{{From: model.MinTime, Type: model.Float64}},
	}}}})
	require.NoError(t, err)
	sequence := uint64(0)
	write := func(from, n int, value uint64) {
		sequence++
		s := model.Samples{Type: model.Float64}
		for i := range n {
			s.Append(model.Sample{Time: int64(from+i) * 1e9, Type: model.Float64, Bits: value})
		}
		p, err := db.Submit(context.Background(), &Batch{
			Source: "s", Epoch: 1, Sequence: sequence, ContentHash: sequence, Runs: []Run{{Tag: 1, Mode: model.Update, Samples: s}},
		})
		require.NoError(t, err)
		_, err = p.Applied(context.Background())
		require.NoError(t, err)
	}
	chunks := func() (spans [][3]int) {
		seal(t, db)
		v, err := db.View(context.Background(), Accepted)
		require.NoError(t, err)
		defer v.Close()
		c := v.src.cursor(1, model.All)
		defer c.Close()
		p := keys.DayOf(0)
		_, err = c.gather(p, p.Range())
		require.NoError(t, err)
		for _, x := range c.pieces {
			spans = append(spans, [3]int{int(x.first / 1e9), int(x.count), int(x.age)})
		}
		return spans
	}
	write(0, 1000, 1) // four chunks of about 256
	first := chunks()
	require.Len(t, first, 4)
	write(2000, 100, 1) // behind a full chunk
	second := chunks()
	require.Equal(t, first, second[:4])
	require.Equal(t, [2]int{2000, 100}, [2]int(second[4][:2]))
	write(2100, 100, 1) // behind a small one
	third := chunks()
	require.Equal(t, first, third[:4])
	require.Equal(t, [2]int{2000, 200}, [2]int(third[4][:2]))
	write(300, 1, 2) // late, into the second chunk
	fourth := chunks()
	require.Len(t, fourth, 5)
	for i, x := range fourth {
		if i == 1 {
			require.Equal(t, first[1][:2], x[:2])
			require.NotEqual(t, first[1][2], x[2], "the second chunk was rewritten")
			continue
		}
		require.Equal(t, third[i], x, "chunk %d was not", i)
	}
}
