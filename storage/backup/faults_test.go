package backup

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/storage"
)

// seeds is how many seeds a crash or damage test runs: the number in the environment variable, or std.
func seeds(name string, std int) uint64 {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil && n > 0 {
		return uint64(max(n/20, 3))
	}
	return uint64(std)
}

// cutAt takes what a power cut at the nth call to the disk leaves.
type cutAt struct {
	mem   *vfs.MemFS
	rng   *rand.Rand
	at    int64
	calls atomic.Int64
	left  *vfs.MemFS
}

func (c *cutAt) MaybeError(op errorfs.Op) error {
	if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && c.calls.Add(1) == c.at {
		c.left = c.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: c.rng.IntN(101), RNG: c.rng})
	}
	return nil
}

func (c *cutAt) String() string { return "power cut" }

// done is the disk after the cut, or as it is if it did not come to one.
func (c *cutAt) done() *vfs.MemFS {
	if c.left == nil {
		return c.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: c.rng.IntN(101), RNG: c.rng})
	}
	return c.left
}

// twoCopies is a store with a checkpoint, a backup of it, and a later checkpoint.
func twoCopies(t *testing.T, fs vfs.FS, seed uint64) (lists [2]string, first Taken) {
	p := newPlant(t, fs, "store", seed)
	for i := range lists {
		p.write(15)
		if seed%2 == 0 {
			_, err := p.db.Seal(context.Background())
			require.NoError(t, err)
		}
		p.checkpoint(fmt.Sprintf("copy%d", i))
		lists[i] = listOf(t, p.db)
		if i == 0 {
			first = takeOf(t, fs, "copy0", "backups")
		}
	}
	require.NoError(t, p.db.Close())
	return lists, first
}

// TestPowerCutInsideBackup cuts the power at a random call to the disk while a second backup is taken. The first is there
// and restores; the second is there whole or not at all; and another one can be taken and old ones pruned.
func TestPowerCutInsideBackup(t *testing.T) {
	for seed := range seeds("VARVE_CRASH_SEEDS", 40) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			mem := vfs.NewCrashableMem()
			lists, first := twoCopies(t, mem, seed)
			rng := rand.New(rand.NewPCG(seed, 9))
			cut := &cutAt{mem: mem, rng: rng, at: 1 + rng.Int64N(120)}
			takeOf(t, errorfs.Wrap(mem, cut), "copy1", "backups")
			left := cut.done()
			f, err := Open(left, "backups")
			require.NoError(t, err)
			all, err := f.List()
			require.NoError(t, err, "no manifest is there in part")
			require.NoError(t, f.Close())
			require.Equal(t, first.ID, all[0].ID)
			for i, m := range all {
				target := fmt.Sprintf("new%d", i)
				_, err := Restore(context.Background(), "backups", m.ID, target, options(left))
				require.NoError(t, err)
				require.Equal(t, lists[i], contents(t, left, target))
			}
			takeOf(t, left, "copy1", "backups")
			_, err = Prune("backups", 1, options(left))
			require.NoError(t, err)
			_, err = Restore(context.Background(), "backups", "", "last", options(left))
			require.NoError(t, err)
			require.Equal(t, lists[1], contents(t, left, "last"))
		})
	}
}

// TestPowerCutInsidePrune: whatever manifest is left has all its files.
func TestPowerCutInsidePrune(t *testing.T) {
	for seed := range seeds("VARVE_CRASH_SEEDS", 15) {
		mem := vfs.NewCrashableMem()
		lists, _ := twoCopies(t, mem, seed)
		takeOf(t, mem, "copy1", "backups")
		rng := rand.New(rand.NewPCG(seed, 10))
		cut := &cutAt{mem: mem, rng: rng, at: 1 + rng.Int64N(20)}
		_, err := Prune("backups", 1, options(errorfs.Wrap(mem, cut)))
		require.NoError(t, err)
		left := cut.done()
		f, err := Open(left, "backups")
		require.NoError(t, err)
		all, err := f.List()
		require.NoError(t, err)
		require.NoError(t, f.Close())
		require.NotEmpty(t, all)
		for i, m := range all {
			_, err := Restore(context.Background(), "backups", m.ID, m.ID, options(left))
			require.NoError(t, err)
			require.Equal(t, lists[i+2-len(all)], contents(t, left, m.ID))
		}
	}
}

// TestPowerCutInsideRestore: after it the target is not there, or it is the whole store; and restoring again works.
func TestPowerCutInsideRestore(t *testing.T) {
	for seed := range seeds("VARVE_CRASH_SEEDS", 40) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			mem := vfs.NewCrashableMem()
			lists, _ := twoCopies(t, mem, seed)
			rng := rand.New(rand.NewPCG(seed, 11))
			cut := &cutAt{mem: mem, rng: rng, at: 1 + rng.Int64N(90)}
			_, err := Restore(context.Background(), "backups", "", "new", options(errorfs.Wrap(mem, cut)))
			require.NoError(t, err)
			whole := cut.left == nil
			left := cut.done()
			if _, err := left.Stat("new"); err == nil {
				require.Equal(t, lists[0], contents(t, left, "new"))
				return
			}
			require.False(t, whole, "a restore that returned is durable")
			_, err = Restore(context.Background(), "backups", "", "new", options(left))
			if errors.Is(err, ErrExists) { // cut between the marker and the name: it says what is in the way
				require.NoError(t, left.RemoveAll("new.restoring"))
				_, err = Restore(context.Background(), "backups", "", "new", options(left))
			}
			require.NoError(t, err)
			require.Equal(t, lists[0], contents(t, left, "new"))
		})
	}
}

// filesOf is every file under dir.
func filesOf(t testing.TB, fs vfs.FS, dir string) (files []string) {
	names, err := fs.List(dir)
	require.NoError(t, err)
	for _, n := range names {
		full := path.Join(dir, n)
		info, err := fs.Stat(full)
		require.NoError(t, err)
		if info.IsDir() {
			files = append(files, filesOf(t, fs, full)...)
		} else {
			files = append(files, full)
		}
	}
	return files
}

func readAll(t testing.TB, fs vfs.FS, name string) []byte {
	f, err := fs.Open(name)
	require.NoError(t, err)
	defer f.Close()
	b, err := io.ReadAll(f)
	require.NoError(t, err)
	return b
}

func overwrite(t testing.TB, fs vfs.FS, name string, b []byte) {
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	_, err = f.Write(b)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

// TestDamagedBackupsAreRefused harms one file of a folder per seed: a flipped bit, a cut tail, zeros, a missing file. No
// restore of it ever leaves anything at its target.
func TestDamagedBackupsAreRefused(t *testing.T) {
	mem := vfs.NewCrashableMem()
	_, _ = twoCopies(t, mem, 2)
	files := filesOf(t, mem, "backups")
	for seed := range seeds("VARVE_DAMAGE_SEEDS", 100) * 3 {
		rng := rand.New(rand.NewPCG(seed, 12))
		fs := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rng})
		name := files[rng.IntN(len(files))]
		if path.Base(name) == lockName {
			continue
		}
		b := readAll(t, fs, name)
		if len(b) == 0 {
			continue
		}
		what := ""
		switch at := rng.IntN(len(b)); rng.IntN(4) {
		case 0:
			b, what = b[:at], "cut off"
		case 1:
			b[at] ^= 1 << rng.IntN(8)
			what = "flipped a bit"
		case 2:
			if strings.Trim(string(b[at:]), "\x00") == "" {
				continue
			}
			clear(b[at:])
			what = "zeroed the tail"
		default:
			b, what = nil, "removed"
		}
		if b == nil {
			require.NoError(t, fs.Remove(name))
		} else {
			overwrite(t, fs, name, b)
		}
		found := 0
		_, verifyErr := Verify(context.Background(), "backups", "", options(fs), func(storage.Damage) { found++ })
		require.True(t, verifyErr != nil || found > 0, "verify overlooks: %s: %s", what, name)
		_, err := Restore(context.Background(), "backups", "", "new", options(fs))
		require.Error(t, err, "%s: %s", what, name)
		require.True(t, errors.Is(err, ErrDamaged) || errors.Is(err, ErrNoBackup) || errors.Is(err, ErrVersion) || errors.Is(err, ErrOtherStore), "%s %s: %v", what, name, err)
		for _, left := range []string{"new", "new" + restoringEnd} {
			_, err = fs.Stat(left)
			require.True(t, notExist(err), "%s: %s left %s", what, name, left)
		}
	}
}

// TestMixedSetsAreRefused makes manifests of files that are whole but do not belong together.
func TestMixedSetsAreRefused(t *testing.T) {
	fs := vfs.NewMem()
	p := newPlant(t, fs, "store", 4)
	var taken []Taken
	for i := range 2 {
		p.write(30)
		dir := fmt.Sprintf("copy%d", i)
		p.checkpoint(dir)
		taken = append(taken, takeOf(t, fs, dir, "backups"))
	}
	require.NoError(t, p.db.Close())
	write := func(m Manifest) error {
		m.ID = makeID(9, m.Time)
		overwrite(t, fs, path.Join("backups", manifestsName, m.ID+manifestEnd), m.encode())
		_, err := Restore(context.Background(), "backups", "9", "new", options(fs))
		_, statErr := fs.Stat("new")
		require.True(t, notExist(statErr))
		return err
	}
	part := func(m *Manifest, name string) (files []File) {
		for _, f := range m.Files {
			if strings.HasPrefix(f.Name, name) {
				files = append(files, f)
			}
		}
		return files
	}
	a, b := taken[0].Manifest, taken[1].Manifest
	mixed := *b
	mixed.Files = append(append(part(b, "FORMAT"), part(b, "log")...), part(a, "lsm")...)
	require.ErrorIs(t, write(mixed), ErrDamaged, "the data of one and the log of the other")
	mixed.Files = part(b, "l")
	require.ErrorIs(t, write(mixed), ErrDamaged, "no FORMAT")
	other := *b
	other.Revision++
	require.ErrorIs(t, write(other), ErrDamaged, "another catalogue")
	for _, name := range []string{"/etc/passwd", "../x", "lsm/../../x", "lsm/a/b", "lsm/..", "lsm/.hidden", `lsm\x`, "log", "", "lsm/a b", "LSM/x"} {
		bad := *b
		bad.Files = append(append([]File{}, b.Files...), File{Name: name, Length: 1, Hash: sha256.Sum256(nil)})
		require.ErrorIs(t, write(bad), ErrDamaged, "%q", name)
	}
	twice := *b
	twice.Files = append([]File{b.Files[0]}, b.Files...)
	require.ErrorIs(t, write(twice), ErrDamaged, "a name twice")
	for _, id := range []string{"../1", "000001-x", "x", "000001"} {
		f, err := Open(fs, "backups")
		require.NoError(t, err)
		_, err = f.Manifest(id)
		require.ErrorIs(t, err, ErrNoBackup)
		require.NoError(t, f.Close())
	}
}
