package storage

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/internal/plain"
	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/keys"
)

// move moves seals, all or by chance, as the sealer does when they are due.
func move(t testing.TB, db *DB, wanted func() bool) (moved int) {
	db.sealer.mu.Lock()
	defer db.sealer.mu.Unlock()
	require.NoError(t, db.knowObjects())
	for _, p := range partsOf(db) {
		for _, g := range p.gens {
			if !g.sealed || !wanted() {
				continue
			}
			if g.moved == 0 {
				require.NoError(t, db.moveSeal(context.Background(), p.name, g.id))
				moved++
			} else if n := (objectName{p.name, g.id, g.moved}); db.tier.nearby[n.String()] {
				require.NoError(t, db.bringNear(context.Background(), n))
			}
		}
	}
	return moved
}

func all() bool { return true }

func partsOf(db *DB) []partition {
	db.mu.RLock()
	defer db.mu.RUnlock()
	return db.directory.parts
}

func sweep(t testing.TB, db *DB) {
	db.sealer.mu.Lock()
	defer db.sealer.mu.Unlock()
	require.NoError(t, db.sweepTier())
}

// requireSwept holds that the tier has what the directory names and nothing else, and the LSM none of it.
func requireSwept(t testing.TB, db *DB) {
	sweep(t, db)
	var want []string
	for _, o := range db.TierObjects() {
		want = append(want, o.Name)
	}
	have, err := db.tier.own.List()
	require.NoError(t, err)
	require.ElementsMatch(t, want, have)
	require.NoError(t, db.scan(keys.SealedData, func(k, _ []byte) error {
		c, err := keys.DecodeChunk(append([]byte{byte(keys.SealedData)}, k...))
		require.NoError(t, err)
		db.mu.RLock()
		_, moved := db.directory.object(c.Partition, c.Generation)
		db.mu.RUnlock()
		require.False(t, moved, "left behind: %+v", c)
		return nil
	}))
}

// TestTieredStoreAnswersLikeThePlainModel moves seals between writes, seals over what was moved, and opens the store with and
// without its tier's directory being named.
func TestTieredStoreAnswersLikeThePlainModel(t *testing.T) {
	moved := 0
	for seed := range uint64(seeds("VARVE_MODEL_SEEDS", fewer(20))) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			fs := vfs.NewMem()
			h := &history{t: t, rng: rand.New(rand.NewPCG(seed, 11)), model: plain.Store{}, tags: len(testTypes), clock: newClock(), tierDir: "slow"}
			h.open(fs)
			h.createTags()
			some := func() bool { return h.rng.IntN(3) > 0 }
			for i := range 120 {
				h.step()
				switch h.rng.IntN(20) {
				case 0:
					_, err := h.db.Flush(context.Background())
					require.NoError(t, err)
				case 1:
					require.NoError(t, h.db.Close())
					h.tierDir = ""
					h.open(fs)
					require.Equal(t, int64(math.MinInt64), h.db.tierable(), "nothing is moved")
					requireSame(t, h.db, h.model, h.rng)
					require.NoError(t, h.db.Close())
					h.tierDir = "slow"
					h.open(fs)
				case 2, 3:
					seal(t, h.db)
				case 4, 5:
					moved += move(t, h.db, some)
				case 6:
					sweep(t, h.db)
				}
				if i%20 == 19 {
					requireSame(t, h.db, h.model, h.rng)
				}
			}
			seal(t, h.db)
			moved += move(t, h.db, all)
			requireSame(t, h.db, h.model, h.rng)
			requirePartials(t, h.db, h.model, h.rng)
			require.Equal(t, modelContents(h.model), contentsOf(t, h.db))
			requireNoAlarms(t, h.db)
			requireSwept(t, h.db)
			s := h.db.Status()
			require.Equal(t, s.Seals, s.Moved)
			require.NotZero(t, s.Bytes.Moved)
			require.NoError(t, h.db.Close())

			found, rows, _, err := verified(t, fs)
			require.NoError(t, err)
			require.Empty(t, found)
			require.Equal(t, modelContents(h.model), rows)
			before := filesUnder(t, fs, "slow")
			o := testOptions(fs)
			o.TierDir = "slow"
			db, err := OpenReadOnly("store", o)
			require.NoError(t, err)
			requireSame(t, db, h.model, h.rng)
			h.db = db
			for range 10 {
				h.step()
			}
			seal(t, db)
			requireSame(t, db, h.model, h.rng)
			require.NoError(t, db.Close())
			require.Equal(t, before, filesUnder(t, fs, "slow"))
		})
	}
	require.NotZero(t, moved)
}

// TestPowerCutInsideMove cuts the power at a random call of the disk inside sealing, moving and sweeping.
func TestPowerCutInsideMove(t *testing.T) {
	eachSeed(t, seeds("VARVE_CRASH_SEEDS", 1000)/4, cutInsideMove)
}

func cutInsideMove(t *testing.T, seed uint64) {
	mem := vfs.NewCrashableMem()
	disk := &diskFS{FS: mem}
	rng := rand.New(rand.NewPCG(seed, 6))
	c := &powerCut{history: &history{t: t, rng: rng, model: plain.Store{}, tags: len(testTypes), clock: newClock(), tierDir: "slow"}, fs: mem}
	db, err := Open("store", c.options(disk))
	require.NoError(t, err)
	c.db = db
	c.createTags()
	for range 1 + rng.IntN(3) {
		for range 1 + rng.IntN(8) {
			c.send()
		}
		seal(t, c.db)
		if rng.IntN(2) == 0 {
			move(t, c.db, all)
		}
		for range rng.IntN(8) {
			c.send()
		}
		_, err := c.db.Flush(context.Background())
		require.NoError(t, err)
		c.countAcked()
		var clone *vfs.MemFS
		at, calls := int64(rng.IntN(160)), atomic.Int64{}
		disk.set(func(diskCall) (bool, error) {
			if calls.Add(1) == at {
				clone = disk.crashClone(mem, vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
			}
			return false, nil
		})
		seal(t, c.db)
		move(t, c.db, all)
		sealWhole(t, c.db)
		move(t, c.db, all)
		sweep(t, c.db)
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
		c.db.sealer.mu.Lock()
		require.NoError(t, c.db.clearLeftover())
		c.db.sealer.mu.Unlock()
		requireSwept(t, c.db)
		if rng.IntN(2) == 0 {
			seal(t, c.db)
			move(t, c.db, all)
			requireSame(t, c.db, c.model, rng)
			requirePartials(t, c.db, c.model, rng)
			requireSwept(t, c.db)
		}
	}
	require.NoError(t, c.db.Close())
}

// sealWhole writes a little into some partitions and seals them whole, so that what was moved is superseded. What it writes is
// what stands there already, and changes nothing.
func sealWhole(t testing.TB, db *DB) {
	db.sealer.mu.Lock()
	defer db.sealer.mu.Unlock()
	for _, p := range partsOf(db) {
		if n := len(p.gens); !p.gens[n-1].sealed {
			_, err := db.seal(context.Background(), p.name, sealOptions{through: db.archived.value(), whole: true})
			require.NoError(t, err)
		}
	}
}

// tieredStore is a closed store whose seals are all moved.
func tieredStore(t testing.TB, seed uint64) (*vfs.MemFS, *history) {
	fs := vfs.NewCrashableMem()
	h := &history{t: t, rng: rand.New(rand.NewPCG(seed, 12)), model: plain.Store{}, tags: len(testTypes), clock: newClock(), tierDir: "slow"}
	h.open(fs)
	h.createTags()
	for range 60 {
		h.step()
	}
	seal(t, h.db)
	require.NotZero(t, move(t, h.db, all))
	return fs, h
}

// largestObject is one that reads need.
func largestObject(t testing.TB, fs vfs.FS) string {
	return slices.MaxFunc(objectFiles(t, fs), func(a, b string) int {
		x, err := fs.Stat(a)
		require.NoError(t, err)
		y, err := fs.Stat(b)
		require.NoError(t, err)
		return int(x.Size() - y.Size())
	})
}

// objectFiles is the objects of a tier in "slow", as files.
func objectFiles(t testing.TB, fs vfs.FS) (out []string) {
	for name := range filesUnder(t, fs, "slow") {
		out = append(out, name)
	}
	require.NotEmpty(t, out)
	slices.Sort(out)
	return out
}

// TestDamagedObjects harms one place of one object per seed: what is read is right, or an error names tag, range and object, and
// is ErrCorrupt. Verify and the scrub find it, unless nothing covers the place and nothing reads it.
func TestDamagedObjects(t *testing.T) {
	whole, h := tieredStore(t, 1)
	require.NoError(t, h.db.Close())
	n := max(seeds("VARVE_DAMAGE_SEEDS", 2000)/10, 40)
	failed := 0
	for seed := range uint64(n) {
		rng := rand.New(rand.NewPCG(seed, 13))
		fs := whole.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rng})
		d := &damagedStore{fs: fs}
		d.list(t, "slow")
		what := d.harm(t, fs, rng)
		if seed%10 == 0 {
			what = "cut " + d.files[0]
			b := filesUnder(t, fs, "slow")[d.files[0]]
			f, err := fs.Create(d.files[0], vfs.WriteCategoryUnspecified)
			require.NoError(t, err)
			_, err = f.Write([]byte(b)[:rng.IntN(len(b))])
			require.NoError(t, err)
			require.NoError(t, f.Close())
		}
		db, err := Open("store", testOptions(fs))
		require.NoError(t, err, what)
		v, err := db.View(context.Background(), Accepted)
		require.NoError(t, err)
		bad := false
		for tag := model.TagID(1); int(tag) <= len(testTypes); tag++ {
			have, damaged := readDamaged(v, tag)
			want := h.model.Current(tag, model.All)
			i := 0
			for _, x := range have {
				for i < len(want) && !sameSample(want[i], x) {
					require.Error(t, damaged, "%s: tag %d misses %+v", what, tag, want[i])
					i++
				}
				require.Less(t, i, len(want), "%s: tag %d has %+v", what, tag, x)
				i++
			}
			if damaged == nil {
				require.Equal(t, len(want), len(have), what)
				continue
			}
			bad = true
			require.ErrorIs(t, damaged, ErrCorrupt, what)
			require.NotErrorIs(t, damaged, ErrUnreachable, what)
			require.Contains(t, damaged.Error(), fmt.Sprintf("tag %d in", tag), what)
			require.Contains(t, damaged.Error(), "object d", what)
			require.NotEmpty(t, alarmOf(db, "store_damaged"), what)
		}
		v.Close()
		require.NoError(t, db.Close())
		found, _, _, err := verified(t, fs)
		require.NoError(t, err, what)
		if bad {
			failed++
			require.Contains(t, strings.Join(found, "\n"), "tier/d", what)
		}
	}
	require.NotZero(t, failed)
}

// TestMissingObject: one object is gone and the folder is not.
func TestMissingObject(t *testing.T) {
	fs, h := tieredStore(t, 2)
	require.NoError(t, h.db.Close())
	require.NoError(t, fs.Remove(largestObject(t, fs)))
	h.open(fs)
	v, err := h.db.View(context.Background(), Accepted)
	require.NoError(t, err)
	failed := 0
	for tag := model.TagID(1); int(tag) <= len(testTypes); tag++ {
		if _, err := readDamaged(v, tag); err != nil {
			failed++
			require.ErrorIs(t, err, ErrCorrupt)
			require.ErrorContains(t, err, "it is missing")
		}
	}
	v.Close()
	require.NotZero(t, failed)
	require.NoError(t, h.db.Close())
	found, _, _, err := verified(t, fs)
	require.NoError(t, err)
	require.Contains(t, strings.Join(found, "\n"), "table in tier/d")
}

// TestUnreachableTier takes the tier away under a running store and gives it back. What lies there is an error that says so and is no
// damage, whatever lies elsewhere is read, writes go on, also those that have to know what stands there, and the store opens.
func TestUnreachableTier(t *testing.T) {
	for name, fail := range map[string]func(t *testing.T, disk *diskFS, fs *vfs.MemFS) (heal func()){
		"no answer": func(_ *testing.T, disk *diskFS, _ *vfs.MemFS) func() {
			disk.fail(syscall.EIO, func(c diskCall) bool { return strings.HasPrefix(c.path, "slow/") })
			return disk.heal
		},
		"not mounted": func(t *testing.T, _ *diskFS, fs *vfs.MemFS) func() {
			require.NoError(t, fs.Rename("slow", "elsewhere"))
			return func() { require.NoError(t, fs.Rename("elsewhere", "slow")) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			fs, h := tieredStore(t, 3)
			require.NoError(t, h.db.Close())
			disk := &diskFS{FS: fs}
			heal := fail(t, disk, fs)
			h.open(disk)
			db := h.db
			v, err := db.View(context.Background(), Accepted)
			require.NoError(t, err)
			failed := 0
			for tag := model.TagID(1); int(tag) <= len(testTypes); tag++ {
				have, err := readDamaged(v, tag)
				if err == nil {
					require.Len(t, have, len(h.model.Current(tag, model.All)))
					continue
				}
				failed++
				var at *RangeError
				require.ErrorAs(t, err, &at)
				require.Equal(t, tag, at.Tag)
				require.ErrorIs(t, err, ErrUnreachable)
				require.NotErrorIs(t, err, ErrCorrupt)
				require.ErrorContains(t, err, "object d")
			}
			v.Close()
			require.NotZero(t, failed)
			require.NotEmpty(t, alarmOf(db, "tier_unreachable"))

			put := func(tag model.TagID, at int64, mode model.WriteMode) *Result {
				w := plain.Write{Tag: tag, Mode: mode}
				w.Samples.Reset(testTypes[tag-1])
				w.Samples.Append(model.Sample{Time: at, Type: testTypes[tag-1], Bits: 1})
				p, err := db.Submit(context.Background(), h.batch([]plain.Write{w}))
				require.NoError(t, err)
				writes := []plain.Write{w}
				h.stamp(writes)
				ctx, stop := context.WithTimeout(context.Background(), time.Minute)
				defer stop()
				res, err := p.Applied(ctx)
				require.NoError(t, err)
				if res.Applied > 0 {
					h.model.Apply(&writes[0])
				}
				return res
			}
			const later = 400 * 86400e9
			require.Equal(t, 1, put(1, later, model.Update).Applied)
			require.Equal(t, 1, put(1, later+1, model.Insert).Applied)
			// Where something is that cannot be looked at.
			require.Equal(t, 1, put(1, h.model.Current(1, model.All)[0].Time, model.Insert).Rejected)
			_, err = db.Flush(context.Background())
			require.NoError(t, err)
			v, err = db.View(context.Background(), Accepted)
			require.NoError(t, err)
			require.Len(t, collect(t, v.Samples(1, model.TimeRange{Start: later, End: later + 10})), 2)
			v.Close()
			_, err = db.Checkpoint(context.Background(), "copy")
			require.Error(t, err, "a copy without what it names is none")

			heal()
			db.sealer.mu.Lock()
			db.tier.probed = time.Time{}
			db.sealer.mu.Unlock()
			db.tendTier(context.Background())
			require.Empty(t, alarmOf(db, "tier_unreachable"))
			requireSame(t, db, h.model, h.rng)
			require.NoError(t, db.Close())
		})
	}
}

// TestFullTier: what does not fit stays where it is and is read there, and is moved once there is room.
func TestFullTier(t *testing.T) {
	fs := vfs.NewMem()
	disk := &diskFS{FS: fs}
	h := &history{t: t, rng: rand.New(rand.NewPCG(4, 12)), model: plain.Store{}, tags: len(testTypes), clock: newClock(), tierDir: "slow"}
	h.open(disk)
	h.createTags()
	for range 60 {
		h.step()
	}
	seal(t, h.db)
	h.clock.Add(400 * 86400e9)
	h.step() // the newest record dates what is old
	seal(t, h.db)
	require.NoError(t, h.db.Close())
	disk.fail(syscall.ENOSPC, func(c diskCall) bool { return strings.HasPrefix(c.path, "slow/") && c.takesSpace() })
	o := clocked(testOptions(disk), h.clock)
	o.TierDir, o.TierAfter = "slow", time.Hour
	db, err := Open("store", o)
	require.NoError(t, err)
	h.db = db
	db.sealer.mu.Lock()
	err = db.moveDue(context.Background(), time.Now().Add(time.Hour))
	db.sealer.mu.Unlock()
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.ErrorContains(t, err, "object d")
	db.tendTier(context.Background())
	require.Contains(t, alarmOf(db, "tier_failing"), "no space")
	require.Zero(t, db.Status().Moved)
	requireSame(t, db, h.model, h.rng)
	disk.heal()
	db.tendTier(context.Background())
	require.Zero(t, db.Status().Moved, "it is left alone for a while")
	db.sealer.mu.Lock()
	db.tier.retry = time.Time{}
	db.sealer.mu.Unlock()
	require.Eventually(t, func() bool { db.tendTier(context.Background()); return db.Status().Moved > 0 }, time.Minute, time.Millisecond)
	require.Empty(t, db.Status().Alarms)
	requireSame(t, db, h.model, h.rng)
	requireSwept(t, db)
	require.NoError(t, db.Close())
}

// TestOnlyOldDaysAreMoved: a day is moved once it ended TierAfter before the newest record was taken.
func TestOnlyOldDaysAreMoved(t *testing.T) {
	fs := vfs.NewMem()
	h := &history{t: t, rng: rand.New(rand.NewPCG(5, 12)), model: plain.Store{}, tags: len(testTypes), clock: newClock()}
	h.open(fs)
	h.createTags()
	for range 40 {
		h.step()
	}
	h.clock.Store(2*86400e9 + 12*3600e9) // the day of number 1 ended 12 hours ago
	h.step()
	seal(t, h.db)
	require.NoError(t, h.db.Close())
	o := clocked(testOptions(fs), h.clock)
	o.TierDir, o.TierAfter = "slow", 12*time.Hour
	db, err := Open("store", o)
	require.NoError(t, err)
	db.sealer.mu.Lock()
	require.NoError(t, db.moveDue(context.Background(), time.Now().Add(time.Hour)))
	db.sealer.mu.Unlock()
	old := 0
	for _, p := range db.directory.parts {
		for _, g := range p.gens {
			require.Equal(t, p.name.Number <= 1, g.moved > 0, "%s", p.name)
			if g.moved > 0 {
				old++
			}
		}
	}
	require.NotZero(t, old)
	require.NoError(t, db.Close())
}

// TestViewsOutlastMoves: a view reads what it did before a move, and before what was moved is superseded and swept.
func TestViewsOutlastMoves(t *testing.T) {
	fs, h := tieredStore(t, 6)
	_ = fs
	db := h.db
	read := func(v *View) (out [][]model.Sample) {
		for tag := model.TagID(1); int(tag) <= len(testTypes); tag++ {
			out = append(out, collect(t, v.Samples(tag, model.All)))
		}
		return out
	}
	var views []*View
	var want [][][]model.Sample
	look := func() {
		v, err := db.View(context.Background(), Accepted)
		require.NoError(t, err)
		views, want = append(views, v), append(want, read(v))
	}
	look()
	for range 5 {
		h.step()
	}
	_, err := db.Flush(context.Background())
	require.NoError(t, err)
	sealWhole(t, db)
	look() // of the new seals in the LSM
	move(t, db, all)
	sweep(t, db)
	objects, err := db.tier.own.List()
	require.NoError(t, err)
	require.Greater(t, len(objects), len(db.TierObjects()), "what the first view reads stays")
	for i, v := range views {
		require.Equal(t, want[i], read(v))
		v.Close()
	}
	requireSwept(t, db)
	requireSame(t, db, h.model, h.rng)
	require.NoError(t, db.Close())
}

// TestCheckpointsHoldObjects: as long as a checkpoint is there it opens and has everything, whatever became of the store.
func TestCheckpointsHoldObjects(t *testing.T) {
	fs, h := tieredStore(t, 7)
	db := h.db
	_, err := db.Checkpoint(context.Background(), "copy")
	require.NoError(t, err)
	want := contentsOf(t, db)
	for range 5 {
		h.step()
	}
	_, err = db.Flush(context.Background())
	require.NoError(t, err)
	sealWhole(t, db)
	sweep(t, db)
	require.NoError(t, db.Close())
	h.open(fs)
	db = h.db
	sweep(t, db)
	for _, open := range []func(string, Options) (*DB, error){OpenReadOnly, Open} {
		c, err := open("copy", testOptions(fs))
		require.NoError(t, err)
		require.Equal(t, want, contentsOf(t, c))
		require.NoError(t, c.Close())
	}
	// The copy seals and moves for itself, in a folder of its own, and takes nothing from the store.
	o := testOptions(fs)
	o.TierDir = "slow"
	c, err := Open("copy", o)
	require.NoError(t, err)
	require.NotEqual(t, db.tier.ownDir, c.tier.ownDir)
	move(t, c, all)
	sweep(t, c)
	require.Equal(t, want, contentsOf(t, c))
	require.NoError(t, c.Close())
	requireSame(t, db, h.model, h.rng)
	require.NoError(t, fs.RemoveAll("copy"))
	requireSwept(t, db)
	requireSame(t, db, h.model, h.rng)
	require.NoError(t, db.Close())
}

// TestMovedStoreKeepsItsObjects: a store directory that was copied or has another name now reads from where its objects are, and
// removes nothing there.
func TestMovedStoreKeepsItsObjects(t *testing.T) {
	dir := t.TempDir()
	o := testOptions(vfs.Default)
	o.TierDir, o.TierAfter = dir+"/slow", -1
	h := &history{t: t, rng: rand.New(rand.NewPCG(8, 12)), model: plain.Store{}, tags: len(testTypes)}
	db, err := Open(dir+"/store", o)
	require.NoError(t, err)
	h.db = db
	h.createTags()
	for range 60 {
		h.step()
	}
	seal(t, db)
	require.NotZero(t, move(t, db, all))
	want := contentsOf(t, db)
	own := db.tier.ownDir
	require.NoError(t, db.Close())
	require.NoError(t, os.Rename(dir+"/store", dir+"/renamed"))
	db, err = Open(dir+"/renamed", o)
	require.NoError(t, err)
	require.NotEqual(t, own, db.tier.ownDir)
	require.Equal(t, want, contentsOf(t, db))
	sweep(t, db)
	require.NoError(t, db.Close())
	left, err := os.ReadDir(own)
	require.NoError(t, err)
	require.NotEmpty(t, left)
}

// TestScrubFindsDamagedObjects: objects are scrubbed behind the tables.
func TestScrubFindsDamagedObjects(t *testing.T) {
	fs, h := tieredStore(t, 3)
	require.NoError(t, h.db.Close())
	name := largestObject(t, fs)
	f, err := fs.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	b := make([]byte, 1)
	_, err = f.ReadAt(b, 30)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte{b[0] ^ 1}, 30)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	o := testOptions(fs)
	o.ScrubRate = 1 << 40
	db, err := Open("store", o)
	require.NoError(t, err)
	s := scrubbed(t, db)
	require.Equal(t, uint64(1), s.Damaged)
	require.Contains(t, alarmOf(db, scrubAlarm), "tier/d")
	require.Contains(t, alarmOf(db, scrubAlarm), "not readable: tag")
	require.NoError(t, db.Close())
}

// TestScrubKnowsWhatIsSuperseded: an object that went between the list of a pass and the look is no damage, and one being looked at stays.
func TestScrubKnowsWhatIsSuperseded(t *testing.T) {
	_, h := tieredStore(t, 12)
	db := h.db
	listed := db.directory.objects()
	held := db.holdObject(*listed[0].object)
	require.NotNil(t, held)
	for range 40 {
		h.step()
	}
	_, err := db.Flush(context.Background())
	require.NoError(t, err)
	sealWhole(t, db)
	sweep(t, db)
	_, err = db.tier.find(*listed[0].object)
	require.NoError(t, err)
	held.count.Add(-1)
	sweep(t, db)
	gone := 0
	for i := range listed {
		if db.holdObject(*listed[i].object) == nil {
			gone++
		}
		bad, err := db.checkTable(context.Background(), &listed[i], nil)
		require.NoError(t, err)
		require.Empty(t, bad)
	}
	require.NotZero(t, gone)
	requireNoAlarms(t, db)
	require.NoError(t, db.Close())
}

// TestTierFile reads what TIER says and refuses everything else.
func TestTierFile(t *testing.T) {
	x := tierFile{store: "/var/lib/varve", own: "/mnt/slow/3f0a", from: []string{"/mnt/\"old\"", "b"}}
	have, err := parseTier(x.append(nil))
	require.NoError(t, err)
	require.Equal(t, x, have)
	b := x.append(nil)
	for i := range b {
		c := append([]byte(nil), b...)
		c[i] ^= 4
		if y, err := parseTier(c); err == nil {
			require.NotEqual(t, x, y) // a name: nothing tells that it was another
		} else {
			require.True(t, errors.Is(err, ErrCorrupt) || errors.Is(err, ErrVersion))
		}
	}
	_, err = parseTier([]byte("varve tier\nformat 2\nwhatever\n"))
	require.ErrorIs(t, err, ErrVersion)
	require.Equal(t, fenced(t, "text TIER"), string((&tierFile{store: "/var/lib/varve", own: "/mnt/slow/9aa0000000000001", from: []string{"/mnt/old/4b00000000000001"}}).append(nil)))
}

// TestEverySyncOfAMoveMatters takes out one kind of sync at a time: the power cut behind a move then takes samples away.
func TestEverySyncOfAMoveMatters(t *testing.T) {
	for _, x := range []struct {
		name    string
		skip    func(diskCall) bool
		matters bool
	}{
		{"none", func(diskCall) bool { return false }, false},
		{"object", func(c diskCall) bool { return !c.dir && strings.HasSuffix(c.path, ".sst.new") }, true},
		{"names of objects", func(c diskCall) bool { return c.dir && strings.HasPrefix(c.path, "slow/") }, true},
		{"name of the folder", func(c diskCall) bool { return c.dir && c.path == "slow" }, true},
		{"name of the tier", func(c diskCall) bool { return c.dir && c.path == "." && calledFrom("placeTier") }, true},
		{"TIER", func(c diskCall) bool { return strings.HasSuffix(c.path, tierName+".new") }, true},
		{"names in the store", func(c diskCall) bool { return c.dir && c.path == "store" && calledFrom("placeTier") }, false}, // the log syncs them again
	} {
		t.Run(x.name, func(t *testing.T) {
			mem := vfs.NewCrashableMem()
			disk := &diskFS{FS: mem}
			met := 0
			disk.set(func(c diskCall) (bool, error) {
				if c.op != "sync" || byLSM() && !strings.HasPrefix(c.path, "slow") || !x.skip(c) {
					return false, nil
				}
				met++
				return true, nil
			})
			h := &history{t: t, rng: rand.New(rand.NewPCG(10, 12)), model: plain.Store{}, tags: len(testTypes), clock: newClock(), tierDir: "slow"}
			h.open(disk)
			h.createTags()
			for range 20 {
				h.step()
			}
			seal(t, h.db)
			move(t, h.db, all)
			clone := mem.CrashClone(vfs.CrashCloneCfg{})
			require.NoError(t, h.db.Close())
			require.Equal(t, x.name == "none", met == 0)
			r := &recorder{TB: t}
			said := r.run(func(r testing.TB) {
				o := testOptions(clone)
				o.TierDir = "slow"
				db, err := Open("store", o)
				require.NoError(r, err)
				defer db.Close()
				requireSame(r, db, h.model, h.rng)
				_, err = db.Flush(context.Background())
				require.NoError(r, err)
			})
			require.Equal(t, x.matters, said != "", "%s", said)
		})
	}
}

// TestMovedSealsLeaveTheDisk: the LSM gives back the space of what was moved by itself.
func TestMovedSealsLeaveTheDisk(t *testing.T) {
	_, h := tieredStore(t, 11)
	require.Eventually(t, func() bool {
		levels, err := h.db.engine.SSTables()
		require.NoError(t, err)
		return !slices.ContainsFunc(levels[len(levels)-1], func(x pebble.SSTableInfo) bool { // above lies only that it is deleted
			return x.Smallest.UserKey[0] == byte(keys.SealedData)
		})
	}, time.Minute, 10*time.Millisecond)
	requireSame(t, h.db, h.model, h.rng)
	require.NoError(t, h.db.Close())
}
