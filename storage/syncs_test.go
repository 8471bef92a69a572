package storage

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/internal/plain"
)

// everySync is every class of sync that the store issues itself, beside those inside the LSM, and whether a power cut
// shows that it is missing. docs/design/track-record.md says of the others why they are there.
var everySync = map[string]bool{
	"open: FORMAT":                       true,
	"open: names in store":               true,
	"open: names in .":                   true,
	"log: records":                       true,
	"log: new segment":                   true,
	"log: mark":                          false,
	"log: names in store":                true,
	"log: names in store/log":            true,
	"checkpoint: names in .":             true,
	"checkpoint: FORMAT":                 true,
	"checkpoint: names in copy":          true,
	"checkpoint: ACCEPTED-LOSS":          true,
	"checkpoint: log: records":           true,
	"checkpoint: log: new segment":       false,
	"checkpoint: log: mark":              false,
	"checkpoint: log: names in copy":     false,
	"checkpoint: log: names in copy/log": true,
	"accept loss: ACCEPTED-LOSS":         true,
	"accept loss: names in store":        true,
}

var copyNumber = regexp.MustCompile(`^copy\d+`)

// syncClass names a sync by what would be lost without it; empty for calls that are none of ours.
func syncClass(c diskCall) string {
	if c.op != "sync" || byLSM() {
		return ""
	}
	who := "open: "
	if calledFrom("/storage/log.") {
		who = "log: "
	}
	switch {
	case calledFrom("(*DB).checkpoint") && who == "log: ":
		who = "checkpoint: log: "
	case calledFrom("(*DB).checkpoint"):
		who = "checkpoint: "
	case calledFrom("(*losses).accept"):
		who = "accept loss: "
	}
	name := copyNumber.ReplaceAllString(c.path, "copy")
	switch base := path.Base(name); {
	case c.dir:
		return who + "names in " + name
	case c.data:
		return who + "records"
	case strings.HasSuffix(base, ".making"):
		return who + "new segment"
	default:
		return who + strings.TrimSuffix(base, ".new")
	}
}

// recorder is a testing.TB that ends the run instead of the test.
type recorder struct {
	testing.TB
	said string
}

var errRunFailed = errors.New("the run failed")

func (r *recorder) Errorf(format string, args ...any) { r.said += fmt.Sprintf(format, args...) }
func (r *recorder) FailNow()                          { panic(errRunFailed) }
func (r *recorder) Helper()                           {}

// run calls f and returns what it had to complain about.
func (r *recorder) run(f func(testing.TB)) (said string) {
	defer func() {
		if p := recover(); p != nil && p != errRunFailed {
			panic(p)
		}
		said = r.said
	}()
	f(r)
	return r.said
}

// cutHistory is a history of everything that the store syncs: batches, flushes, checkpoints, accepted losses. The power
// is cut after each kind of step, and takes whatever was not synced.
type cutHistory struct {
	*powerCut
	skip   string
	seen   map[string]bool
	seenMu sync.Mutex
	copies map[string]checkpointed
	lost   []OffsetRange
	seed   uint64
}

// checkpointed is what a checkpoint must hold.
type checkpointed struct {
	through  uint64
	accepted string // its ACCEPTED-LOSS
}

func (c *cutHistory) disk(mem *vfs.MemFS) *diskFS {
	d := &diskFS{FS: mem}
	d.set(func(call diskCall) (bool, error) {
		class := syncClass(call)
		if class == "" {
			return false, nil
		}
		c.seenMu.Lock()
		c.seen[class] = true
		c.seenMu.Unlock()
		return class == c.skip, nil
	})
	return d
}

func newCutHistory(t testing.TB, seed uint64, skip string, seen map[string]bool) *cutHistory {
	rng := rand.New(rand.NewPCG(seed, 6))
	c := &cutHistory{
		powerCut: &powerCut{history: &history{t: t, rng: rng, model: plain.Store{}, tags: len(testTypes), clock: newClock()}, fs: vfs.NewCrashableMem()},
		skip:     skip, seen: seen, copies: map[string]checkpointed{}, seed: seed,
	}
	c.first()
	c.createTags()
	return c
}

// first makes the store. A power cut in the midst of it must leave what can be opened.
func (c *cutHistory) first() {
	disk := c.disk(c.fs)
	skip := *disk.hook.Load()
	left := 24
	if c.seed%8 != 0 {
		left = 0
	}
	var midst []*vfs.MemFS
	var mu sync.Mutex
	disk.set(func(call diskCall) (bool, error) {
		mu.Lock()
		defer mu.Unlock()
		if left--; left >= 0 {
			midst = append(midst, disk.crashClone(c.fs, vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rand.New(rand.NewPCG(c.seed, uint64(left)))}))
		}
		return skip(call)
	})
	db, err := Open("store", c.options(disk))
	require.NoError(c.t, err)
	c.db = db
	mu.Lock()
	defer mu.Unlock()
	left = 0
	for _, fs := range midst {
		db, err := Open("store", testOptions(fs))
		if err != nil && strings.Contains(err.Error(), "could not open manifest file") {
			// The LSM names its first manifest in one directory sync with making it, and the names may come apart. Nothing
			// was accepted yet; the store has to be made again.
			continue
		}
		require.NoError(c.t, err, "after a cut while the store was made")
		require.NoError(c.t, db.Close())
	}
}

func (c *cutHistory) run() {
	for range 1 + c.rng.IntN(2) {
		c.write(2 + c.rng.IntN(20))
		if c.rng.IntN(2) == 0 {
			c.checkpoint()
		}
		c.cut()
	}
	if c.damage() {
		c.acceptLoss()
		c.cut()
		c.write(5)
		c.checkpoint()
		c.cut()
	}
	require.NoError(c.t, c.db.Close())
	c.reopen(c.fs.CrashClone(vfs.CrashCloneCfg{})) // what a clean end leaves
	require.NoError(c.t, c.db.Close())
}

func (c *cutHistory) write(n int) {
	for range n {
		c.send()
		if c.rng.IntN(12) == 0 {
			_, err := c.db.Flush(context.Background())
			require.NoError(c.t, err)
		}
	}
	require.NoError(c.t, c.sent[len(c.sent)-1].pending.Accepted(context.Background()))
	c.acked = len(c.sent)
}

func (c *cutHistory) checkpoint() {
	c.crashes++
	name := fmt.Sprintf("copy%d", c.crashes)
	done := make(chan error)
	var made checkpointed
	go func() {
		var err error
		made.through, err = c.db.Checkpoint(context.Background(), name)
		done <- err
	}()
	// Batches go on meanwhile, so that part of the copy is a log.
	for range 60 {
		select {
		case err := <-done:
			require.NoError(c.t, err)
			done = nil
		default:
			c.write(1)
			continue
		}
		break
	}
	if done != nil {
		require.NoError(c.t, <-done)
	}
	accepted, err := readFile(c.fs, "store/"+acceptedName)
	require.True(c.t, err == nil || isNotExist(err))
	made.accepted = string(accepted)
	c.copies[name] = made
	c.write(1 + c.rng.IntN(3)) // behind the copy
}

// cut takes the power away and holds store and checkpoints against what was acknowledged.
func (c *cutHistory) cut() {
	clone := c.fs.CrashClone(vfs.CrashCloneCfg{})
	require.NoError(c.t, c.db.Close())
	c.reopen(clone)
}

func (c *cutHistory) reopen(clone *vfs.MemFS) {
	c.fs = clone
	_, err := readFile(clone, "store/"+acceptedName)
	require.True(c.t, err == nil || isNotExist(err))
	require.Equal(c.t, len(c.lost) > 0, err == nil, "%s is there", acceptedName)
	for _, name := range slices.Sorted(maps.Keys(c.copies)) {
		db, err := Open(name, testOptions(clone.CrashClone(vfs.CrashCloneCfg{})))
		require.NoError(c.t, err, name)
		c.requireHolds(db, c.copies[name].through)
		have, err := readFile(clone, name+"/"+acceptedName)
		require.True(c.t, err == nil || isNotExist(err))
		require.Equal(c.t, c.copies[name].accepted, string(have), "%s of %s", acceptedName, name)
		require.NoError(c.t, db.Close())
	}
	db, err := Open("store", c.options(c.disk(clone)))
	require.NoError(c.t, err)
	c.db = db
	c.requireHolds(db, c.sent[len(c.sent)-1].pending.Offset())
}

// requireHolds demands exactly the batches through an offset, without those given up.
func (c *cutHistory) requireHolds(db *DB, through uint64) {
	n := 0
	for n < len(c.sent) && c.sent[n].pending.Offset() <= through {
		n++
	}
	require.Empty(c.t, db.Status().Lost)
	requireNoAlarms(c.t, db)
	kept := slices.DeleteFunc(slices.Clone(c.sent[:n]), func(b sentBatch) bool {
		return slices.ContainsFunc(c.lost, func(l OffsetRange) bool { return b.pending.Offset() >= l.First && b.pending.Offset() < l.End })
	})
	requireSame(c.t, db, modelOf(kept), rand.New(rand.NewPCG(c.seed, 7)))
}

// damage flips a bit of a log record that is in no generation yet, and opens the store again. It reports whether a record
// was hit.
func (c *cutHistory) damage() bool {
	c.write(4)
	require.NoError(c.t, c.db.Close())
	names, err := c.fs.List("store/log")
	require.NoError(c.t, err)
	slices.Sort(names)
	for _, name := range slices.Backward(names) {
		info, err := c.fs.Stat("store/log/" + name)
		require.NoError(c.t, err)
		if !strings.HasSuffix(name, ".log") || info.Size() < 400 {
			continue
		}
		f, err := c.fs.OpenReadWrite("store/log/"+name, vfs.WriteCategoryUnspecified)
		require.NoError(c.t, err)
		b := make([]byte, 1)
		at := info.Size() / 2
		_, err = f.ReadAt(b, at)
		require.NoError(c.t, err)
		b[0] ^= 4
		_, err = f.WriteAt(b, at)
		require.NoError(c.t, err)
		require.NoError(c.t, f.Sync())
		require.NoError(c.t, f.Close())
		break
	}
	db, err := Open("store", c.options(c.disk(c.fs)))
	require.NoError(c.t, err)
	c.db = db
	return len(db.Status().Lost) > 0
}

func (c *cutHistory) acceptLoss() {
	for _, l := range c.db.Status().Lost {
		require.NoError(c.t, c.db.AcceptLoss(context.Background(), l, "mara", "flipped bit"))
		c.lost = append(c.lost, l)
	}
	v, err := c.db.View(context.Background(), Accepted)
	require.NoError(c.t, err)
	require.Empty(c.t, v.Lost())
	v.Close()
}

// notShort leaves out of a short run, as that under the race detector is, what takes minutes there; the run of all tests before it has it whole.
func notShort(t *testing.T) {
	if testing.Short() {
		t.Skip("which syncs matter does not depend on the race detector; a run that is not short says it")
	}
}

// The history with all syncs in place holds, and shows every class of them that there is.
func TestEverySyncIsKnown(t *testing.T) {
	notShort(t)
	seen := map[string]bool{}
	for seed := range uint64(20) {
		if !t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { newCutHistory(t, seed, "", seen).run() }) {
			return
		}
	}
	require.Equal(t, slices.Sorted(maps.Keys(everySync)), slices.Sorted(maps.Keys(seen)))
}

// Without any one class of them, some power cut takes what was acknowledged.
func TestEverySyncMatters(t *testing.T) {
	notShort(t)
	for class, shows := range everySync {
		t.Run(class, func(t *testing.T) {
			t.Parallel()
			most := 40
			if !shows {
				most = 5
			}
			for seed := range uint64(most) {
				r := &recorder{TB: t}
				if said := r.run(func(t testing.TB) { newCutHistory(t, seed, class, map[string]bool{}).run() }); said != "" {
					require.True(t, shows, "seed %d notices that it is missing: %s", seed, said)
					t.Logf("%s: without it, seed %d: %s", class, seed, firstLines(said))
					return
				}
			}
			require.False(t, shows, "none of %d seeds notices that it is missing", most)
		})
	}
}

// firstLines is the part of a complaint that says what went wrong.
func firstLines(said string) string {
	said, _, _ = strings.Cut(said, "Test:")
	_, after, found := strings.Cut(said, "Error:")
	if !found {
		after = said
	}
	lines := strings.Split(strings.TrimSpace(after), "\n")
	return strings.Join(strings.Fields(strings.Join(lines[:min(3, len(lines))], " ")), " ")
}
