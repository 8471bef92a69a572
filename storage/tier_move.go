package storage

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/objstorage"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/varvedb/varve/storage/durable"
	"github.com/varvedb/varve/storage/keys"
	"github.com/varvedb/varve/storage/tier"
)

// A seal is moved in four steps, each of which finds the one before durable:
//
//	object  →  directory row that names it  →  (flush)  →  the keys leave the LSM
//
// What a crash leaves is an object that no row names, which is removed, or keys that a row says to be elsewhere, which are
// removed too. Views from before the row have a snapshot of the keys.

// tendTier moves what is due and removes what nobody needs any more. It ends after a while, so that sealing gets its turn.
func (db *DB) tendTier(ctx context.Context) {
	t, now := &db.tier, time.Now()
	db.sealer.mu.Lock()
	defer db.sealer.mu.Unlock()
	if t.down.Load() && now.Sub(t.probed) >= tierRetry/6 {
		if t.probed = now; t.answers() {
			t.reached()
		}
	}
	if t.own == nil || now.Before(t.retry) {
		return
	}
	err := db.moveDue(ctx, now.Add(time.Second))
	if err == nil && now.Sub(t.swept) >= tierRetry {
		t.swept = now
		err = db.sweepTier()
	}
	switch {
	case ctx.Err() != nil:
	case err == nil:
		t.alarms.clear("tier_failing")
	default:
		t.retry = now.Add(tierRetry)
		t.alarms.raise("tier_failing", fmt.Sprintf("%v: what lies where stays as it is; tried again in %s", err, tierRetry))
	}
}

// moveDue moves seals until there is none to be moved or the time has come.
func (db *DB) moveDue(ctx context.Context, until time.Time) error {
	if err := db.knowObjects(); err != nil {
		return err
	}
	old := db.tierable()
	db.mu.RLock()
	parts := db.directory.parts
	db.mu.RUnlock()
	for _, p := range parts {
		last := p.gens[len(p.gens)-1]
		for _, g := range p.gens {
			var err error
			n := objectName{p.name, g.id, g.moved}
			switch {
			case g.moved > 0 && db.tier.nearby[n.String()]:
				err = db.bringNear(ctx, n)
			case g.sealed && g.moved == 0 && last.sealed && p.name.Range().End <= old:
				err = db.moveSeal(ctx, p.name, g.id)
			default:
				continue
			}
			if err != nil {
				return fmt.Errorf("move generation %d of %s: %w", g.id, p.name, err)
			}
			if !time.Now().Before(until) {
				return nil
			}
		}
	}
	return nil
}

// knowObjects finds out what objects there are.
func (db *DB) knowObjects() error {
	t := &db.tier
	if t.made != nil {
		return nil
	}
	nearby := map[string]bool{}
	if t.near != nil {
		names, err := t.near.List()
		if err != nil {
			return err
		}
		for _, n := range names {
			nearby[n] = true
		}
	}
	names, err := t.own.List()
	if err != nil {
		return err
	}
	t.made, t.nearby = map[string]bool{}, nearby
	for _, n := range names {
		t.made[n] = true
	}
	return nil
}

// moveSeal moves what a seal wrote of a partition into an object. The sealer's mu is held.
func (db *DB) moveSeal(ctx context.Context, p keys.Partition, seal uint64) error {
	n := objectName{p: p, seal: seal}
	bytes, err := db.copySeal(ctx, n)
	if err != nil {
		return err
	}
	db.tier.made[n.String()] = true
	change := func() (gens []generation, moved generation) {
		for _, g := range db.directory.of(p) {
			if g.id == seal {
				g.moved = bytes
				moved = g
			}
			gens = append(gens, g)
		}
		return gens, moved
	}
	db.mu.RLock()
	_, g := change()
	db.mu.RUnlock()
	b := db.engine.NewBatch()
	if err := setDirectory(b, p, &g); err != nil {
		return err
	}
	if err := db.engine.Apply(b, pebble.NoSync); err != nil {
		return err
	}
	if err := db.engine.Flush(); err != nil {
		return err
	}
	db.mu.Lock()
	gens, _ := change() // later generations may have come
	db.directory = db.directory.replaced(p, gens)
	db.mu.Unlock()
	lower := keys.AppendSealed(nil, p, seal) // a table may have keys of several seals
	db.sealer.gone = append(db.sealer.gone, stretch{lower, keys.Next(lower)})
	return db.clearCopied(p, seal)
}

// clearCopied removes from the LSM what a seal wrote, if an object has it.
func (db *DB) clearCopied(p keys.Partition, seal uint64) error {
	db.mu.RLock()
	_, moved := db.directory.object(p, seal)
	db.mu.RUnlock()
	if !moved {
		return nil
	}
	lower := keys.AppendSealed(nil, p, seal)
	b := db.engine.NewBatch()
	if err := b.DeleteRange(lower, keys.Next(lower), nil); err != nil {
		return err
	}
	if err := db.engine.Apply(b, pebble.NoSync); err != nil {
		return err
	}
	_, err := db.engine.AsyncFlush()
	return err
}

// copySeal writes the object of a seal and returns its length.
func (db *DB) copySeal(ctx context.Context, n objectName) (bytes uint64, err error) {
	lower := keys.AppendSealed(nil, n.p, n.seal)
	it, err := db.engine.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: keys.Next(lower)})
	if err != nil {
		return 0, engineError("read what is to be moved", err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	out, err := db.newObject(ctx, n)
	if err != nil {
		return 0, err
	}
	w := sstable.NewWriter(out, db.engineOptions.MakeWriterOptions(6, db.engine.TableFormat()))
	for ok := it.First(); ok; ok = it.Next() {
		if err := w.Set(it.Key(), it.Value()); err != nil {
			return 0, errors.Join(err, w.Close())
		}
	}
	if err := it.Error(); err != nil {
		out.failed = engineError("read what is to be moved", err) // and so Finish fails
	}
	if err := w.Close(); err != nil {
		return 0, err
	}
	return out.bytes, nil
}

// objectWritable is an object being written, as the writer of tables wants it.
type objectWritable struct {
	name   objectName
	out    tier.Writer
	buf    *bufio.Writer
	pace   func(int64) error
	bytes  uint64
	failed error
	ended  bool
}

var _ objstorage.Writable = (*objectWritable)(nil)

func (db *DB) newObject(ctx context.Context, n objectName) (*objectWritable, error) {
	out, err := db.tier.own.Create(n.String())
	if err != nil {
		return nil, notWritten(n, err)
	}
	return &objectWritable{name: n, out: out, buf: bufio.NewWriterSize(out, tableBuffer), pace: paced(ctx, tierRate)}, nil
}

func (w *objectWritable) Write(p []byte) error {
	if w.failed == nil {
		w.failed = w.pace(int64(len(p)))
	}
	if w.failed != nil {
		return w.failed
	}
	w.bytes += uint64(len(p))
	if _, err := w.buf.Write(p); err != nil {
		w.failed = notWritten(w.name, err)
	}
	return w.failed
}

func notWritten(n objectName, err error) error {
	return &ObjectError{n.String(), fmt.Errorf("write it: %w", err)}
}

func (w *objectWritable) Finish() error {
	if w.failed == nil {
		if err := w.buf.Flush(); err != nil {
			w.failed = notWritten(w.name, err)
		}
	}
	if w.failed != nil {
		w.Abort()
		return w.failed
	}
	w.ended = true
	if err := w.out.Finish(); err != nil {
		return notWritten(w.name, err)
	}
	return nil
}

// Abort gives the object up, unless it is finished.
func (w *objectWritable) Abort() {
	if !w.ended {
		w.ended = true
		w.out.Abort()
	}
}

// paced is a function that counts bytes and keeps to a rate, until ctx ends.
func paced(ctx context.Context, rate int64) func(int64) error {
	debt := int64(0)
	return func(n int64) error {
		if debt += n; debt < rate/10 {
			return ctx.Err()
		}
		d := time.Duration(float64(debt) / float64(rate) * float64(time.Second))
		debt = 0
		return pause(ctx, d)
	}
}

// bringNear moves an object that a restore put into the store's directory to where objects belong.
func (db *DB) bringNear(ctx context.Context, n objectName) error {
	t := &db.tier
	from, err := t.near.Open(n.String())
	if err != nil {
		return err
	}
	defer from.Close()
	out, err := db.newObject(ctx, n)
	if err != nil {
		return err
	}
	if _, err := io.Copy(writableWriter{out}, io.NewSectionReader(from, 0, from.Size())); err != nil {
		out.Abort()
		return err
	}
	if err := out.Finish(); err != nil {
		return err
	}
	t.made[n.String()] = true
	if err := t.near.Remove(n.String()); err != nil {
		return err
	}
	delete(t.nearby, n.String())
	return nil
}

type writableWriter struct{ w *objectWritable }

func (w writableWriter) Write(p []byte) (int, error) {
	if err := w.w.Write(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// sweepTier removes objects that no directory row names, once nobody reads by a directory that did. While a checkpoint is
// there that may name them all of them stay. The sealer's mu is held.
func (db *DB) sweepTier() (err error) {
	t := &db.tier
	if err := db.knowObjects(); err != nil {
		return err
	}
	db.mu.RLock()
	busy := db.directory.held.older()
	needed := map[string]bool{}
	for _, o := range db.directory.objects() {
		needed[o.object.String()] = true
	}
	db.mu.RUnlock()
	var gone, pins []string
	for name := range t.made {
		switch {
		case strings.HasPrefix(name, pinPrefix):
			pins = append(pins, name)
		case !needed[name]:
			gone = append(gone, name)
		}
	}
	if busy || len(gone) == 0 {
		return nil
	}
	pinned := false
	for _, name := range pins {
		held, err := db.pinned(name)
		if err != nil {
			return err
		}
		pinned = pinned || held
	}
	if pinned {
		return nil
	}
	// The rows that named them are on their way out of the LSM; a power cut must not bring them back.
	if err := db.engine.Flush(); err != nil {
		return err
	}
	if gone, err = db.unnamed(gone); err != nil {
		return err
	}
	for _, name := range append(gone, pins...) {
		if err := t.own.Remove(name); err != nil && !errors.Is(err, tier.ErrNotFound) {
			return err
		}
		delete(t.made, name)
		t.forget(name)
	}
	return nil
}

// unnamed is those of some objects that no row of the directory names which the LSM has, be it one that is not looked at any more.
func (db *DB) unnamed(objects []string) ([]string, error) {
	for _, space := range []keys.Space{keys.Directory, keys.DirectoryMirror} {
		err := db.scan(space, func(k, v []byte) error {
			p, id, err := keys.DecodeDirectory(append([]byte{byte(keys.Directory)}, k...))
			if err != nil {
				return err
			}
			g, err := decodeGeneration(id, v)
			if err != nil {
				return err
			}
			name := objectName{p: p, seal: id}.String()
			objects = slices.DeleteFunc(objects, func(n string) bool { return g.moved > 0 && n == name })
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return objects, nil
}

// holdObject keeps an object until the count is lowered; nil for one that the directory does not name any more.
func (db *DB) holdObject(n objectName) *holders {
	db.mu.RLock()
	defer db.mu.RUnlock()
	if have, moved := db.directory.object(n.p, n.seal); !moved || have != n {
		return nil
	}
	db.directory.held.count.Add(1)
	return db.directory.held
}

// forget closes an object that is removed.
func (t *tiering) forget(name string) {
	t.mu.Lock()
	o := t.open[name]
	if o != nil && o.users == 0 {
		delete(t.open, name)
	} else {
		o = nil
	}
	t.mu.Unlock()
	if o != nil {
		_ = o.reader.Close() // of a file that is gone
	}
}

// pinned reports whether the checkpoint that a pin names is still there.
func (db *DB) pinned(name string) (bool, error) {
	o, err := db.tier.own.Open(name)
	if err != nil {
		return false, err
	}
	b := make([]byte, min(o.Size(), maxSmallFile))
	_, err = o.ReadAt(b, 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if err := errors.Join(err, o.Close()); err != nil {
		return false, err
	}
	_, err = db.o.FS.Stat(string(b))
	return !isNotExist(err), nil
}

// pin keeps all objects as long as the directory of a checkpoint is there, which it must be already.
func (db *DB) pin(dir string) error {
	t := &db.tier
	db.sealer.mu.Lock()
	defer db.sealer.mu.Unlock()
	if err := db.knowObjects(); err != nil {
		return err
	}
	name := ""
	for i := 0; name == ""; i++ {
		free := fmt.Sprintf("%s%d", pinPrefix, i)
		held := false
		if t.made[free] {
			var err error
			if held, err = db.pinned(free); err != nil {
				return err
			}
		}
		if !held {
			name = free
		}
	}
	w, err := t.own.Create(name)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(w, dir); err != nil {
		w.Abort()
		return err
	}
	if err := w.Finish(); err != nil {
		return err
	}
	t.made[name] = true
	return nil
}

// checkpointTier gives a checkpoint the places where its objects are. It comes before the LSM's part, so that nothing that names
// an object is copied later than the object is held.
func (db *DB) checkpointTier(dir string) error {
	t := &db.tier
	x := tierFile{from: t.from}
	if t.own != nil {
		x.from = append([]string{t.ownDir}, t.from...)
		if err := db.pin(dir); err != nil {
			return fmt.Errorf("hold the objects of the tier: %w", err)
		}
	}
	if t.near != nil {
		if err := db.linkNear(dir); err != nil {
			return err
		}
	}
	if len(x.from) == 0 {
		return nil
	}
	return durable.WriteFile(db.o.FS, dir, tierName, x.append(nil))
}

// linkNear takes the objects in the store's directory into a checkpoint. One that is moved meanwhile is found where it went.
func (db *DB) linkNear(dir string) error {
	fs, into := db.o.FS, path.Join(dir, nearName)
	if err := durable.MakeDir(fs, into); err != nil {
		return err
	}
	names, err := fs.List(path.Join(db.dir, nearName))
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := vfs.LinkOrCopy(fs, path.Join(db.dir, nearName, n), path.Join(into, n)); err != nil && !isNotExist(err) {
			return err
		}
	}
	return durable.SyncDir(fs, into)
}

// clearMoved deletes the headers and rollup rows that an object has chunks of, from before a later seal replaced it. Where the object
// does not answer they stay: nothing looks at them any more.
func (db *DB) clearMoved(b *pebble.Batch, p keys.Partition, g *generation) {
	lower := keys.AppendGeneration(nil, p, keys.Sealed, g.id)
	it, err := db.tier.rows(objectName{p, g.id, g.moved}, lower, keys.Next(lower))
	if err == nil {
		_, err = clearHeadersOf(b, it)
		err = errors.Join(err, it.Close())
	}
	if err != nil {
		db.o.Logger.Warn("clear away what was moved", "partition", p, "generation", g.id, "error", err)
	}
}

// TierObject is an object of the tier that the store needs.
type TierObject struct {
	Name  string
	Bytes int64
	name  objectName
}

// TierObjects is the objects of the tier that a store has now, in no order.
func (db *DB) TierObjects() []TierObject {
	db.mu.RLock()
	defer db.mu.RUnlock()
	var out []TierObject
	for _, t := range db.directory.objects() {
		out = append(out, TierObject{t.object.String(), t.size, *t.object})
	}
	return out
}

// OpenTierObject opens one of TierObjects to be read as it is, unchecked but for its length.
func (db *DB) OpenTierObject(o TierObject) (tier.Object, error) { return db.tier.find(o.name) }
