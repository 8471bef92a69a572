package backup

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/catalog"
)

const day = 24 * int64(time.Hour)

func storeOptions(fs vfs.FS) storage.Options {
	return storage.Options{
		FS: fs, MemoryBytes: 64 << 20, SegmentBytes: 16 << 10, GenerationSamples: 300, GenerationBytes: 64 << 10,
		MinFreeBytes: -1, BallastBytes: -1, BlockBytes: 1 << 10, SealAfter: -1, SealedSamples: 256,
	}
}

func options(fs vfs.FS) Options {
	return Options{FS: fs, Release: "test", Storage: storeOptions(fs), Now: func() time.Time { return time.Unix(1_767_268_800, 0) }}
}

var types = []model.Type{model.Float64, model.Float32, model.Int64, model.Uint64, model.Bool, model.State, model.String, model.Bytes}

// plant is a store that random samples, late ones and corrections go into.
type plant struct {
	t   testing.TB
	db  *storage.DB
	rng *rand.Rand
	seq uint64
}

func newPlant(t testing.TB, fs vfs.FS, dir string, seed uint64) *plant {
	db, err := storage.Open(dir, storeOptions(fs))
	require.NoError(t, err)
	p := &plant{t: t, db: db, rng: rand.New(rand.NewPCG(seed, 7))}
	var changes []catalog.Change
	for i, ty := range types {
		changes = append(changes, catalog.Change{Create: &catalog.Create{Tag: model.Tag{
			Name: fmt.Sprintf("T%d", i+1), UUID: model.UUID{byte(i + 1)}, Settings: []model.Settings{{From: model.MinTime, Type: ty}},
		}}})
	}
	_, err = db.ChangeCatalog(context.Background(), changes)
	require.NoError(t, err)
	return p
}

// write sends batches of which one in a few is a correction or a removal.
func (p *plant) write(batches int) {
	for range batches {
		require.NoError(p.t, p.send(context.Background()))
	}
}

func (p *plant) send(ctx context.Context) error {
	p.seq++
	b := &storage.Batch{Source: "plant", Epoch: 1, Sequence: p.seq, ContentHash: p.seq}
	mode := model.Update
	if p.rng.IntN(5) == 0 {
		b.Author, b.Reason = "mara", "typo"
		if p.rng.IntN(3) == 0 {
			mode = model.Remove
		}
	}
	tag := 1 + p.rng.IntN(len(types))
	r := storage.Run{Tag: model.TagID(tag), Mode: mode}
	s := &r.Samples
	s.Reset(types[tag-1])
	at := p.rng.Int64N(3*day) / 60e9 * 60e9
	for range 1 + p.rng.IntN(30) {
		x := model.Sample{Time: at, Type: s.Type, Quality: model.Quality(p.rng.IntN(2)) << 30, Bits: p.rng.Uint64N(2)}
		if s.Type.Blob() {
			x.Bits, x.Blob = 0, fmt.Appendf(nil, "v%d", p.rng.IntN(4))
		}
		at += 60e9
		s.Append(x)
	}
	if mode == model.Remove {
		s.Bits, s.Blobs, s.Quality = nil, nil, nil
		r.All = true
	}
	b.Runs = append(b.Runs, r)
	pending, err := p.db.Submit(ctx, b)
	if err != nil {
		return err
	}
	_, err = pending.Applied(ctx)
	return err
}

func (p *plant) checkpoint(dir string) uint64 {
	offset, err := p.db.Checkpoint(context.Background(), dir)
	require.NoError(p.t, err)
	return offset
}

func listOf(t testing.TB, db *storage.DB) string {
	v, err := db.View(context.Background(), storage.Accepted)
	require.NoError(t, err)
	defer v.Close()
	var b strings.Builder
	_, err = v.WriteContents(context.Background(), &b)
	require.NoError(t, err)
	return b.String()
}

// contents is the content list of a closed store.
func contents(t testing.TB, fs vfs.FS, dir string) string {
	db, err := storage.OpenReadOnly(dir, storeOptions(fs))
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	return listOf(t, db)
}

func takeOf(t testing.TB, fs vfs.FS, source, dir string) Taken {
	k, err := Take(context.Background(), source, dir, options(fs))
	require.NoError(t, err)
	return k
}

// TestRestoreGivesBackWhatWasTaken takes backups of a store that grows, is sealed and is corrected, and restores each.
func TestRestoreGivesBackWhatWasTaken(t *testing.T) {
	fs := vfs.NewMem()
	p := newPlant(t, fs, "store", 1)
	want := map[string]string{}
	var last Taken
	for i := range 5 {
		p.write(40)
		if i == 2 {
			_, err := p.db.Seal(context.Background())
			require.NoError(t, err)
		}
		offset := p.checkpoint("copy")
		list := listOf(t, p.db)
		k := takeOf(t, fs, "copy", "backups")
		require.Equal(t, offset, k.Offset)
		require.Equal(t, uint64(len(types)), k.Tags)
		require.Equal(t, list, contents(t, fs, "copy"), "taking changes nothing")
		require.NoError(t, fs.RemoveAll("copy"))
		if i > 0 {
			require.Less(t, k.NewFiles, len(k.Files), "tables of the last backup are not copied again")
		}
		want[k.ID], last = list, k
	}
	require.NoError(t, p.db.Close())
	closed := takeOf(t, fs, "store", "backups") // of the stopped store itself
	want[closed.ID] = want[last.ID]
	require.Equal(t, last.Content.Hash, closed.Content.Hash, "equal content, equal list")

	before := len(filesOf(t, fs, "backups"))
	v, err := Verify(context.Background(), "backups", "", options(fs), func(d storage.Damage) { require.Fail(t, "damage", d.String()) })
	require.NoError(t, err)
	require.Len(t, v.Backups, 6)
	require.Equal(t, closed.Samples, v.Store.Content.Samples)
	require.Len(t, filesOf(t, fs, "backups"), before)

	for id, list := range want {
		target := "new/" + id
		m, err := Restore(context.Background(), "backups", id, target, options(fs))
		require.NoError(t, err)
		require.Equal(t, id, m.ID)
		require.Equal(t, list, contents(t, fs, target))
		db, err := storage.Open(target, storeOptions(fs)) // and for good
		require.NoError(t, err)
		require.Equal(t, list, listOf(t, db))
		require.Equal(t, closed.Store, db.Status().UUID)
		require.NoError(t, db.Close())
	}
	m, err := Restore(context.Background(), "backups", "3", "third", options(fs))
	require.NoError(t, err)
	require.Equal(t, uint64(3), serialOf(m.ID))
}

// TestBackupBesideIngest takes backups of a store that is being written to. Each is the store at its log offset, no
// more and no less.
func TestBackupBesideIngest(t *testing.T) {
	fs := vfs.NewMem()
	p := newPlant(t, fs, "store", 2)
	ctx, cancel := context.WithCancel(context.Background())
	var writer sync.WaitGroup
	var at sync.Map // content list by offset, taken by the writer between two batches
	writer.Go(func() {
		for ctx.Err() == nil {
			p.write(1)
			at.Store(p.db.Status().Accepted, listOf(p.t, p.db))
		}
	})
	held := 0
	for i := range 8 {
		dir := fmt.Sprintf("copy%d", i)
		offset := p.checkpoint(dir)
		k := takeOf(t, fs, dir, "backups")
		require.Equal(t, offset, k.Offset)
		_, err := Restore(context.Background(), "backups", k.ID, "new"+dir, options(fs))
		require.NoError(t, err)
		if list, ok := at.Load(offset); ok {
			held++
			require.Equal(t, list, contents(t, fs, "new"+dir), "offset %d", offset)
		}
		time.Sleep(10 * time.Millisecond)
	}
	cancel()
	writer.Wait()
	t.Logf("%d of 8 backups were at an offset whose content was noted", held)
	require.NoError(t, p.db.Close())
}

func TestPruneKeepsWhatIsNeeded(t *testing.T) {
	fs := vfs.NewMem()
	p := newPlant(t, fs, "store", 3)
	var ids, lists []string
	for i := range 5 {
		p.write(30)
		_, err := p.db.Seal(context.Background())
		require.NoError(t, err)
		dir := fmt.Sprintf("copy%d", i)
		p.checkpoint(dir)
		ids, lists = append(ids, takeOf(t, fs, dir, "backups").ID), append(lists, listOf(t, p.db))
	}
	require.NoError(t, p.db.Close())
	_, err := Prune("backups", 0, options(fs))
	require.ErrorContains(t, err, "at least 1")
	done, err := Prune("backups", 2, options(fs))
	require.NoError(t, err)
	require.Equal(t, ids[:3], done.Removed)
	require.Equal(t, ids[3:], done.Kept)
	require.NotZero(t, done.Files)
	for i, id := range ids {
		_, err := Restore(context.Background(), "backups", id, "new"+id, options(fs))
		if i < 3 {
			require.ErrorIs(t, err, ErrNoBackup)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, lists[i], contents(t, fs, "new"+id))
	}
	again, err := Prune("backups", 2, options(fs))
	require.NoError(t, err)
	require.Zero(t, again.Files)
	next := takeOf(t, fs, "copy4", "backups")
	require.Greater(t, serialOf(next.ID), serialOf(ids[4]))
	require.Zero(t, next.NewFiles, "all of it is there")
}

func TestFoldersBelongToOneStore(t *testing.T) {
	fs := vfs.NewMem()
	for i, dir := range []string{"a", "b"} {
		p := newPlant(t, fs, dir, uint64(i))
		p.write(5)
		require.NoError(t, p.db.Close())
	}
	takeOf(t, fs, "a", "backups")
	_, err := Take(context.Background(), "b", "backups", options(fs))
	require.ErrorIs(t, err, ErrOtherStore)
	_, err = Take(context.Background(), "b", "a", options(fs))
	require.ErrorIs(t, err, ErrExists, "not among other files")
	_, err = Restore(context.Background(), "backups", "", "b", options(fs))
	require.ErrorIs(t, err, ErrExists, "not over a store")
	_, err = Restore(context.Background(), "b", "", "c", options(fs))
	require.ErrorIs(t, err, ErrNoBackup)

	db, err := storage.Open("a", storeOptions(fs))
	require.NoError(t, err)
	_, err = Take(context.Background(), "a", "backups", options(fs))
	require.ErrorContains(t, err, "lock", "not of a store in use")
	require.NoError(t, db.Close())
	f, err := Open(fs, "backups")
	require.NoError(t, err)
	_, err = Take(context.Background(), "a", "backups", options(fs))
	require.ErrorContains(t, err, "somebody else")
	require.NoError(t, f.Close())
}

// TestBackupHasWhatWasMoved: days in the tier are in backups, of a running store and of a stopped one, and come back into the store's own
// directory; what is there already is not copied again. From there they are moved on.
func TestBackupHasWhatWasMoved(t *testing.T) {
	fs := vfs.NewMem()
	p := newPlant(t, fs, "store", 3)
	p.write(80)
	require.NoError(t, p.db.Close())
	o := options(fs)
	clock := time.Unix(0, 400*day)
	moving := func(dir, slow string) *storage.DB {
		so := storeOptions(fs)
		so.TierDir, so.TierAfter = slow, time.Hour
		so.Now = func() time.Time { return clock }
		db, err := storage.Open(dir, so)
		require.NoError(t, err)
		return db
	}
	wait := func(db *storage.DB, done func(storage.Status) bool) {
		require.Eventually(t, func() bool { return done(db.Status()) }, 30*time.Second, 10*time.Millisecond)
	}
	p.db = moving("store", "slow")
	p.write(1) // dates what is old
	_, err := p.db.Seal(context.Background())
	require.NoError(t, err)
	wait(p.db, func(s storage.Status) bool { return s.Seals > 0 && s.Moved == s.Seals })
	want := listOf(t, p.db)

	_, err = p.db.Checkpoint(context.Background(), "check")
	require.NoError(t, err)
	first, err := Take(context.Background(), "check", "folder", o)
	require.NoError(t, err)
	require.NoError(t, fs.RemoveAll("check"))
	require.NoError(t, p.db.Close())
	moved := 0
	for _, f := range first.Files {
		if strings.HasPrefix(f.Name, "tier/") {
			moved++
		}
	}
	require.NotZero(t, moved)
	second, err := Take(context.Background(), "store", "folder", o)
	require.NoError(t, err)
	for _, f := range second.Files {
		require.False(t, strings.HasPrefix(f.Name, "TIER"), "places of this machine are no part of a backup")
	}
	require.LessOrEqual(t, second.NewFiles, len(second.Files)-moved, "no object is copied twice")

	require.NoError(t, fs.RemoveAll("slow"))
	_, err = Take(context.Background(), "store", "folder", o)
	require.Error(t, err, "a backup that lacks what was moved is none")
	found := 0
	_, err = Verify(context.Background(), "folder", "", o, func(d storage.Damage) { found++; t.Log(d.String()) })
	require.NoError(t, err)
	require.Zero(t, found)

	for _, id := range []string{first.ID, second.ID} {
		_, err = Restore(context.Background(), "folder", id, "back"+id, o)
		require.NoError(t, err)
		db, err := storage.Open("back"+id, storeOptions(fs))
		require.NoError(t, err)
		require.Equal(t, want, listOf(t, db))
		require.NoError(t, db.Close())
	}
	db := moving("back"+first.ID, "slow3")
	wait(db, func(storage.Status) bool {
		left, err := fs.List("back" + first.ID + "/tier")
		require.NoError(t, err)
		return len(left) == 0
	})
	require.Equal(t, want, listOf(t, db))
	require.Empty(t, db.Status().Alarms)
	require.NoError(t, db.Close())
}
