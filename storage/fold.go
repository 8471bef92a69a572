package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/cockroachdb/pebble/v2"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/chunk"
	"github.com/varvedb/varve/storage/keys"
	"github.com/varvedb/varve/storage/record"
)

// Folding an erasure into a partition takes off the disk what reads have left out since its record:
//
//	seal what came before the record  →  take out of the seals what it names  →  directory row: folded up to it
//
// A seal never reaches behind an erasure that is not folded, so that all of a seal came before it. What reads see is the
// same before, between and after; so nothing has to happen at one moment but what belongs to one tag, and after a crash it
// is done again.

// foldBatch is about how many bytes one batch of changes has.
const foldBatch = 4 << 20

// concerns reports whether an erasure has something to fold into a partition.
func (db *DB) concerns(e *erasure, p keys.Partition, gens []generation) bool {
	if len(gens) == 0 || foldedThrough(gens) >= e.offset {
		return false
	}
	in := p.Range()
	if e.what != record.OldVersions {
		return gens[0].id <= e.offset && e.in.Start < in.End && in.Start < e.in.End
	}
	// Once nothing was written for long enough, all versions there are have ended before.
	newest, versions := int64(model.MinTime), false
	for _, g := range gens {
		newest, versions = max(newest, g.ingest), versions || g.hasVersions
	}
	for _, op := range openOps(db.ops.all, p, sealedThrough(gens)) {
		newest, versions = max(newest, op.ingest), true
	}
	return versions && gens[len(gens)-1].id <= e.offset && e.in.Contains(newest)
}

// nextErasure is the oldest erasure up to an offset that is to be folded into a partition, nil for none.
func (db *DB) nextErasure(p keys.Partition, durable uint64) *erasure {
	db.mu.RLock()
	defer db.mu.RUnlock()
	gens := db.directory.of(p)
	for _, e := range db.erasures.open {
		if e.offset <= durable && db.concerns(e, p, gens) {
			return e
		}
	}
	return nil
}

// settleErasures sorts out the erasures that no partition has anything left of. DB.mu is held, or nobody else is there yet.
func (db *DB) settleErasures() {
	if len(db.erasures.open) == 0 {
		return
	}
	next := &erasures{done: db.erasures.done, floors: db.erasures.floors, closes: db.erasures.closes}
	for _, e := range db.erasures.open {
		switch {
		case e.offset > db.written, // some of what it concerns may not be in the directory yet
			slices.ContainsFunc(db.directory.parts, func(p partition) bool { return db.concerns(e, p.name, p.gens) }):
			next.open = append(next.open, e)
		case e.what != record.OldVersions:
			next.done = joined(next.done, e)
		}
	}
	if len(next.open) < len(db.erasures.open) {
		db.erasures = next
		db.noteKeptLocked(nil)
	}
}

// foldAll folds what was erased into every partition, and has the LSM let go of it.
func (db *DB) foldAll(ctx context.Context) error {
	durable := db.archived.value()
	db.mu.RLock()
	parts := db.directory.parts
	db.mu.RUnlock()
	for _, p := range parts {
		if db.nextErasure(p.name, durable) == nil {
			continue
		}
		if err := db.sealNow(ctx, p.name); err != nil {
			return err
		}
		if err := db.reclaim(ctx, []keys.Partition{p.name}); err != nil {
			return err
		}
	}
	return nil
}

// fold folds into a partition what erasures up to a durable offset take of it. The sealer's mu is held.
func (db *DB) fold(ctx context.Context, p keys.Partition, durable uint64) error {
	defer func() {
		db.mu.Lock()
		db.settleErasures()
		db.mu.Unlock()
	}()
	for {
		e := db.nextErasure(p, durable)
		if e == nil {
			return nil
		}
		if err := db.foldOne(ctx, p, e); err != nil {
			return fmt.Errorf("erase of %s what record %d says: %w", p, e.offset, err)
		}
	}
}

func (db *DB) foldOne(ctx context.Context, p keys.Partition, e *erasure) error {
	all := p.Append([]byte{byte(keys.SealedData)})
	if e.what == record.OldVersions {
		db.sealer.gone = append(db.sealer.gone, stretch{all, keys.Next(all)})
		_, err := db.seal(ctx, p, sealOptions{through: e.offset, name: e.offset, whole: true, forget: true})
		return err
	}
	if err := db.sealToFold(ctx, p, e); err != nil {
		return err
	}
	f := newFolding(db, p, e)
	defer f.close()
	return f.run(ctx)
}

// sealToFold seals what came before an erasure. What was moved to a tier is brought back, since an object is never changed,
// unless all of it goes.
func (db *DB) sealToFold(ctx context.Context, p keys.Partition, e *erasure) error {
	db.mu.RLock()
	gens := db.directory.of(p)
	db.mu.RUnlock()
	before := func(g generation) bool { return g.id <= e.offset }
	moved := slices.ContainsFunc(gens, func(g generation) bool { return before(g) && g.moved > 0 })
	if !moved {
		_, err := db.seal(ctx, p, sealOptions{through: e.offset, folded: e.offset - 1}) // it may be of the generation that e ended
		return err
	}
	if !slices.ContainsFunc(gens, func(g generation) bool { return before(g) && !g.sealed }) {
		f := newFolding(db, p, e)
		defer f.close()
		if _, all, err := f.taken(ctx); err != nil || all {
			return err
		}
	}
	_, err := db.seal(ctx, p, sealOptions{through: e.offset, name: e.offset, whole: true, folded: e.offset - 1})
	return err
}

func newFolding(db *DB, p keys.Partition, e *erasure) *folding {
	f := &folding{db: db, p: p, e: e, src: db.storedOnly(), lost: map[uint64]remain{}, own: roaring.New()}
	f.src.erasures, f.src.newest, f.src.offset = &erasures{}, min(f.src.newest, e.offset), e.offset
	for _, g := range f.src.directory.of(p) {
		if g.id <= e.offset {
			f.seals = append(f.seals, g)
		}
	}
	f.cursor = f.src.cursor(0, model.TimeRange{})
	f.cursor.in = p.Range()
	f.batch = db.engine.NewBatch()
	return f
}

func (f *folding) close() {
	_ = f.batch.Close()
	f.cursor.Close()
	f.src.close()
}

// folding takes what one erasure names out of the seals of one partition.
type folding struct {
	db      *DB
	p       keys.Partition
	e       *erasure
	src     sources
	seals   []generation // all that came before the erasure
	cursor  *Cursor
	batch   *pebble.Batch
	own     *roaring.Bitmap   // tags that have keys of their own, of chunks or rollups
	lost    map[uint64]remain // what is taken out of each seal
	encoder chunk.SealedEncoder
	decoder chunk.SealedDecoder
	data    chunk.Data
}

func (f *folding) run(ctx context.Context) error {
	taken, all, err := f.taken(ctx)
	if err != nil {
		return err
	}
	if all {
		return f.drop(ctx)
	}
	f.note(taken)
	for it := taken.Iterator(); it.HasNext(); {
		if err := ctx.Err(); err != nil {
			return err
		}
		tag := model.TagID(it.Next())
		if err := f.tag(ctx, tag); err != nil {
			return fmt.Errorf("tag %d: %w", tag, err)
		}
	}
	for i := range f.seals {
		if err := f.packs(f.seals[i].id, taken); err != nil {
			return err
		}
	}
	return f.finish(!taken.IsEmpty() && f.e.what == record.OldSamples)
}

// taken is the tags that something is taken of, and whether that is all there is of every tag.
func (f *folding) taken(ctx context.Context) (taken *roaring.Bitmap, all bool, err error) {
	present, err := f.tags(ctx)
	if err != nil {
		return nil, false, err
	}
	taken, all = roaring.New(), f.e.what == record.SamplesAndRollups
	for it := present.Iterator(); it.HasNext(); {
		tag := it.Next()
		cuts, whole := f.cuts(model.TagID(tag))
		if len(cuts) > 0 {
			taken.Add(tag)
		}
		all = all && whole
	}
	return taken, all, nil
}

// fewTags is up to how many tags the LSM is told of each by itself what it may let go of: it rewrites the tables that have any
// of it.
const fewTags = 64

// note notes which keys the LSM is to let go of; no tags are the whole partition.
func (f *folding) note(tags *roaring.Bitmap) {
	s := &f.db.sealer
	latest := []byte{byte(keys.Latest)} // newest samples were erased too
	if !slices.ContainsFunc(s.gone, func(x stretch) bool { return string(x.lower) == string(latest) }) {
		s.gone = append(s.gone, stretch{latest, keys.Next(latest)})
	}
	if tags == nil || tags.GetCardinality() > fewTags {
		all := f.p.Append([]byte{byte(keys.SealedData)})
		s.gone = append(s.gone, stretch{all, keys.Next(all)})
		return
	}
	for _, g := range f.seals {
		pack := keys.AppendGeneration(nil, f.p, keys.SealedPacked, g.id)
		s.gone = append(s.gone, stretch{pack, keys.Next(pack)})
		for _, tag := range tagsOf(tags) {
			for _, k := range []keys.Kind{keys.Sealed, keys.SealedVersion} {
				lower := keys.AppendGenerationTag(f.p, k, g.id, tag)
				s.gone = append(s.gone, stretch{lower, keys.Next(lower)})
			}
		}
	}
}

// cuts is what is to be taken of a tag in the partition, and whether that is all there is.
func (f *folding) cuts(tag model.TagID) (cuts []model.TimeRange, whole bool) {
	in := f.p.Range()
	for _, x := range f.e.of(tag, nil) {
		if x.in.Start < in.End && in.Start < x.in.End {
			cuts = append(cuts, x.in)
			whole = whole || covers(x.in, f.p)
		}
	}
	return cuts, whole
}

// tags is the tags that the seals have anything of.
func (f *folding) tags(ctx context.Context) (*roaring.Bitmap, error) {
	s := sealing{db: f.db, p: f.p, cursor: f.cursor}
	present := roaring.New()
	thinned := false
	for _, g := range f.seals {
		for _, k := range []keys.Kind{keys.Sealed, keys.SealedVersion} {
			if err := s.tagsOf(k, g.id, f.own); err != nil {
				return nil, err
			}
		}
		if err := s.tagsOf(keys.SealedPacked, g.id, present); err != nil {
			return nil, err
		}
		thinned = thinned || g.thinned
	}
	if thinned { // tags of which rollups are all that is left are found by those
		for tag := model.TagID(1); int(tag) <= f.db.catalog.Len(); tag++ {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			found := false
			if err := f.headers(tag, levelDay, func([]byte, keys.Header) error { found = true; return nil }); err != nil {
				return nil, err
			}
			if found {
				f.own.Add(uint32(tag))
			}
		}
	}
	present.Or(f.own)
	return present, nil
}

// headers calls each for the rows of the Headers space that seals of the partition have of a tag on a level.
func (f *folding) headers(tag model.TagID, level byte, each func(key []byte, h keys.Header) error) error {
	in := f.p.Range()
	for year := keys.Period(in.Start); year <= keys.Period(in.End-1); year++ {
		prefix := keys.AppendHeaders(nil, year, level, tag, 0)
		it, err := f.cursor.iterator(keys.AppendTime(slices.Clone(prefix), in.Start), keys.AppendTime(slices.Clone(prefix), in.End))
		if err != nil {
			return engineError("list headers", err)
		}
		for ok := it.First(); ok; ok = it.Next() {
			h, err := keys.DecodeHeader(it.Key())
			if err != nil {
				return fmt.Errorf("%w: %w", ErrCorrupt, err)
			}
			if h.Generation > f.e.offset {
				continue
			}
			if err := each(it.Key(), h); err != nil {
				return err
			}
		}
		if err := it.Error(); err != nil {
			return engineError("list headers", err)
		}
	}
	return nil
}

// drop takes all seals of the partition as they are.
func (f *folding) drop(ctx context.Context) error {
	f.note(nil)
	for it := f.own.Iterator(); it.HasNext(); {
		if err := ctx.Err(); err != nil {
			return err
		}
		tag := model.TagID(it.Next())
		for level := byte(0); level < numLevels; level++ {
			if err := f.headers(tag, level, func(key []byte, _ keys.Header) error { return f.batch.Delete(key, nil) }); err != nil {
				return err
			}
		}
	}
	for _, g := range f.seals {
		lower := keys.AppendSealed(nil, f.p, g.id)
		if err := f.batch.DeleteRange(lower, keys.Next(lower), nil); err != nil {
			return err
		}
		for _, space := range []keys.Space{keys.Directory, keys.DirectoryMirror} {
			if err := f.batch.Delete(keys.AppendDirectory(nil, space, f.p, g.id), nil); err != nil {
				return err
			}
		}
	}
	delete(f.db.sealer.dead, f.p)
	return f.commit(nil)
}

// commit applies what is left of the batch and puts others in the place of the seals.
func (f *folding) commit(seals []generation) error {
	db := f.db
	if err := db.engine.Apply(f.batch, pebble.NoSync); err != nil {
		return err
	}
	f.batch = db.engine.NewBatch()
	db.mu.Lock()
	for _, g := range db.directory.of(f.p) {
		if g.id > f.e.offset {
			seals = append(seals, g)
		}
	}
	db.directory = db.directory.replaced(f.p, seals)
	db.mu.Unlock()
	_, err := db.engine.AsyncFlush()
	return err
}

// finish says in the directory that the erasure is folded.
func (f *folding) finish(thinned bool) error {
	seals := slices.Clone(f.seals)
	for i := range seals {
		g, newest := &seals[i], i+1 == len(seals)
		l, touched := f.lost[g.id]
		g.samples -= min(l.samples, g.samples)
		g.bytes -= min(l.bytes, g.bytes)
		if newest {
			g.folded = f.e.offset
			g.thinned = g.thinned || thinned
		}
		if newest || touched {
			if err := setDirectory(f.batch, f.p, g); err != nil {
				return err
			}
		}
	}
	return f.commit(seals)
}

// some applies the batch if it has grown large. Between two tags any moment is as good as another.
func (f *folding) some() error {
	if f.batch.Len() < foldBatch {
		return nil
	}
	if err := f.db.engine.Apply(f.batch, pebble.NoSync); err != nil {
		return err
	}
	f.batch = f.db.engine.NewBatch()
	return nil
}

// tag takes what is erased out of chunks, versions and rollups that are the tag's own.
func (f *folding) tag(ctx context.Context, tag model.TagID) error {
	cuts, whole := f.cuts(tag)
	if f.e.what == record.OldSamples {
		if err := f.rollUp(ctx, tag); err != nil {
			return err
		}
	}
	c := f.cursor
	c.reset(tag)
	c.ops = nil // what a range delete hides is on the disk all the same
	if _, err := c.gather(f.p, c.in); err != nil {
		return err
	}
	live := slices.Clone(c.pieces)
	for i := range live {
		if x := &live[i]; whole && x.sealed() {
			f.lose(x.age, x.count, x.bytes)
		}
	}
	if err := f.chunks(tag, live, cuts, whole); err != nil {
		return err
	}
	if err := f.versions(tag, cuts, whole); err != nil {
		return err
	}
	level := byte(levelHours) // what is left of a day is rolled up again when it is sealed
	if whole {
		level = 0
	}
	for ; level < numLevels; level++ {
		if level > 0 && f.e.what == record.OldSamples {
			break
		}
		if err := f.headers(tag, level, func(key []byte, _ keys.Header) error { return f.batch.Delete(key, nil) }); err != nil {
			return err
		}
	}
	return f.some()
}

func (f *folding) lose(seal, samples, bytes uint64) {
	l := f.lost[seal]
	f.lost[seal] = remain{l.samples + samples, l.bytes + bytes}
}

// chunks takes what is erased out of the tag's own chunks. Those that later seals superseded go whole.
func (f *folding) chunks(tag model.TagID, live []piece, cuts []model.TimeRange, whole bool) error {
	for _, g := range f.seals {
		prefix := keys.AppendGenerationTag(f.p, keys.Sealed, g.id, tag)
		it, err := f.src.engine.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: keys.Next(prefix)})
		if err != nil {
			return engineError("list chunks", err)
		}
		for ok := it.First(); ok && err == nil; ok = it.Next() {
			var k keys.Chunk
			if k, err = keys.DecodeChunk(it.Key()); err != nil {
				err = fmt.Errorf("%w: %w", ErrCorrupt, err)
				break
			}
			n := slices.IndexFunc(live, func(x piece) bool { return x.sealed() && x.key == k })
			switch {
			case whole || n < 0:
				err = f.batch.Delete(it.Key(), nil)
			case slices.ContainsFunc(cuts, func(r model.TimeRange) bool { return r.Overlaps(live[n].first, live[n].last) }):
				err = f.rewrite(&live[n], it.Key(), it.Value(), cuts)
			}
		}
		if err = errors.Join(err, engineError("list chunks", it.Error()), it.Close()); err != nil {
			return err
		}
	}
	return nil
}

// rewrite puts what is left of a chunk in its place. It answers for the same instants, perhaps without samples.
func (f *folding) rewrite(x *piece, key, value []byte, cuts []model.TimeRange) error {
	left, err := f.left(value, cuts)
	if err != nil {
		return err
	}
	old := x.key.Header()
	if err := errors.Join(f.batch.Delete(key, nil), f.batch.Delete(old.Append(nil), nil)); err != nil {
		return err
	}
	f.lose(x.age, x.count, x.bytes)
	k := x.key
	v := headerValue{length: uint64(k.End - k.Start), before: uint64(k.End - k.Start)}
	if n := left.Len(); n > 0 {
		b := f.encoder.Append(nil, &left.Samples, left.Origins)
		k.Seq = left.SeqAt(0)
		v.count, v.bytes = uint64(n), uint64(len(b))
		v.before, v.after = uint64(left.Times[0]-k.Start), uint64(k.End-left.Times[n-1])
		l := f.lost[x.age]
		f.lost[x.age] = remain{l.samples - v.count, l.bytes - min(v.bytes, l.bytes)}
		if err := f.batch.Set(k.Append(nil), b, nil); err != nil {
			return err
		}
	}
	h := k.Header()
	return f.batch.Set(h.Append(nil), v.append(nil, keys.Sealed), nil)
}

// left is the samples of a sealed chunk outside of cuts.
func (f *folding) left(value []byte, cuts []model.TimeRange) (*chunk.Data, error) {
	if err := f.decoder.Decode(value, model.All, &f.data); err != nil {
		return nil, err
	}
	return without(&f.data, cuts), nil
}

// versions takes what is erased out of the history of a tag.
func (f *folding) versions(tag model.TagID, cuts []model.TimeRange, whole bool) error {
	for _, g := range f.seals {
		prefix := keys.AppendGenerationTag(f.p, keys.SealedVersion, g.id, tag)
		it, err := f.src.engine.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: keys.Next(prefix)})
		if err != nil {
			return engineError("read versions", err)
		}
		for ok := it.First(); ok && err == nil; ok = it.Next() {
			if whole {
				err = f.batch.Delete(it.Key(), nil)
				continue
			}
			var rows []chunk.VersionRow
			if rows, err = chunk.DecodeVersions(it.Value()); err != nil {
				break
			}
			n := len(rows)
			rows = slices.DeleteFunc(rows, func(r chunk.VersionRow) bool {
				return slices.ContainsFunc(cuts, func(in model.TimeRange) bool { return in.Contains(r.Time) })
			})
			switch {
			case len(rows) == 0:
				err = f.batch.Delete(it.Key(), nil)
			case len(rows) < n:
				err = f.batch.Set(it.Key(), chunk.AppendVersions(nil, rows), nil)
			}
		}
		if err = errors.Join(err, engineError("read versions", it.Error()), it.Close()); err != nil {
			return err
		}
	}
	return nil
}

// packs takes what is erased out of the blocks that tags share.
func (f *folding) packs(seal uint64, taken *roaring.Bitmap) error {
	lower := keys.AppendGeneration(nil, f.p, keys.SealedPacked, seal)
	it, err := f.src.engine.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: keys.Next(lower)})
	if err != nil {
		return engineError("read packed chunks", err)
	}
	defer func() { _ = it.Close() }()
	for ok := it.First(); ok; ok = it.Next() {
		var pack chunk.Packer
		changed := false
		err := chunk.Each(it.Value(), func(tag model.TagID, b []byte) error {
			if !taken.Contains(uint32(tag)) {
				pack.Add(tag, b)
				return nil
			}
			changed = true
			left, err := f.packed(seal, tag, b)
			if err == nil && left != nil {
				pack.Add(tag, left)
			}
			return err
		})
		switch {
		case err != nil:
			return err
		case pack.Len() == 0:
			err = f.batch.Delete(it.Key(), nil)
		case changed:
			err = f.batch.Set(it.Key(), pack.Finish(nil), nil)
		}
		if err = errors.Join(err, f.some()); err != nil {
			return err
		}
	}
	return engineError("read packed chunks", it.Error())
}

// packed is what is left of a tag's chunk in a shared block: nil for nothing, no bytes where it must say that nothing is left.
func (f *folding) packed(seal uint64, tag model.TagID, b []byte) ([]byte, error) {
	cuts, whole := f.cuts(tag)
	if len(b) == 0 {
		if whole {
			return nil, nil
		}
		return b, nil
	}
	if whole {
		info, err := chunk.Inspect(b)
		f.lose(seal, uint64(info.Count), uint64(len(b)))
		return nil, err
	}
	left, err := f.left(b, cuts)
	if err != nil {
		return nil, fmt.Errorf("tag %d: %w", tag, err)
	}
	out := []byte{}
	if left.Len() > 0 {
		out = f.encoder.Append(nil, &left.Samples, left.Origins)
	}
	f.lose(seal, uint64(f.data.Len()-left.Len()), uint64(max(len(b)-len(out), 0)))
	return out, nil
}

// rollUp makes sure that rollups say what samples said that are about to go.
func (f *folding) rollUp(ctx context.Context, tag model.TagID) error {
	newest := f.seals[len(f.seals)-1].id
	old := f.db.engine.NewBatch() // the rows are deleted below, all of them
	defer func() { _ = old.Close() }()
	s := sealing{db: f.db, p: f.p, through: newest, src: f.src, all: f.seals, cursor: f.cursor, gone: old, tables: &sealedTables{db: f.db, headers: f.batch}}
	r := rollups{sealing: &s, few: true}
	if len(openOps(f.src.opsOf(tag), f.p, newest)) == 0 {
		rows := rollupRows{src: &f.src, tag: tag}
		day, err := rows.find(levelDay, f.p, f.seals, nil)
		hours, err2 := rows.find(levelHours, f.p, f.seals, nil)
		rows.close()
		err = errors.Join(err, err2)
		if err != nil && !isRollupDamage(err) || err == nil && len(day.value) > 0 && hours.generation == day.generation {
			return err
		}
	}
	if err := r.remake(tag); err != nil {
		return err
	}
	c := f.src.cursor(tag, f.p.Range())
	defer c.Close()
	for {
		b, err := c.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		r.add(&b.Samples)
	}
	for level := byte(levelHours); level < numLevels; level++ {
		if err := f.headers(tag, level, func(key []byte, _ keys.Header) error { return f.batch.Delete(key, nil) }); err != nil {
			return err
		}
	}
	err := r.end(ctx)
	f.batch = s.tables.headers
	return err
}
