package storage

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/cockroachdb/pebble/v2"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/chunk"
	"github.com/varvedb/varve/storage/head"
	"github.com/varvedb/varve/storage/keys"
)

// Sealing rewrites what generations left of a partition as few large chunks per tag, merged, with the values that were
// replaced or removed split off:
//
//	generations up to b  →  sealed chunks, packed blocks, versions and rollups under b  →  directory row of b  →  the old ones go
//
// A crash at any moment leaves either all of it or nothing that a read looks at. The chunks are written as tables of their
// own and ingested: durable at once, and not looked at while the directory has no row of b. The row and the headers are one
// batch. What they replace is removed by a second one, which is repeated if a crash came between the two: a generation
// that is no higher than a sealed one is not looked at either.
//
// Only durable generations are sealed, so that a power cut never takes back what a seal was made of. Later generations of
// the partition lie above it, as if it were one of them, until they are sealed in turn: that rewrites the chunks they
// overlap and leaves the others alone.
type sealing struct {
	db      *DB
	p       keys.Partition
	through uint64 // newest generation to be sealed, and the name of the seal
	whole   bool   // rewrite what older seals left too
	forget  bool   // look at each version, whether it is to be kept
	folded  uint64 // up to where erasures are folded, if not through the seal
	src     sources
	all     []generation // of the partition, up to through
	cursor  *Cursor

	tables *sealedTables
	chunks chunkWriter
	hourly rollups
	gone   *pebble.Batch     // deletes headers and rollup rows
	left   map[uint64]remain // what sealed generations lose to this one
	entry  generation        // of the directory
	met    []event           // values of the tag being sealed that met others of their key
	// history is what generations have of the tag beside its chunks, ascending by generation, then as they wrote it.
	history []event
}

// remain is what is taken away from a sealed generation.
type remain struct{ samples, bytes uint64 }

// sealOptions say what a seal does.
type sealOptions struct {
	through uint64 // of what generations, which must be durable
	name    uint64 // of the seal, if higher than the newest of them; then it is made even if there is nothing new
	whole   bool   // rewrite what older seals left too
	folded  uint64 // up to where erasures are folded, if not through the seal
	forget  bool   // look at each version, whether it is to be kept
}

// seal seals generations of a partition. It does nothing if there are none.
// It returns how many bytes of older seals it superseded. The sealer's mu is held.
func (db *DB) seal(ctx context.Context, p keys.Partition, o sealOptions) (dead uint64, err error) {
	s := &sealing{db: db, p: p, whole: o.whole, forget: o.forget, folded: o.folded, src: db.storedOnly(), left: map[uint64]remain{}}
	defer s.src.close()
	s.src.newest = min(s.src.newest, o.through)
	s.src.erasures = &erasures{floors: s.src.erasures.floors} // what else is erased goes when it is folded
	for _, g := range s.src.directory.of(p) {
		if g.id <= s.src.newest {
			s.all = append(s.all, g)
		}
	}
	n := len(s.all)
	if n == 0 || s.all[n-1].sealed && o.name <= s.all[n-1].id { // sealed, or nothing new since
		return 0, nil
	}
	s.through = max(s.all[n-1].id, o.name)
	s.src.offset = s.through // range deletes behind it are not for this seal
	if err := s.run(ctx); err != nil {
		return 0, fmt.Errorf("seal %s through generation %d: %w", p, s.through, err)
	}
	for _, l := range s.left {
		dead += l.bytes
	}
	return dead, nil
}

func (s *sealing) run(ctx context.Context) (err error) {
	s.entry = generation{id: s.through, sealed: true, first: s.all[0].first, last: s.all[0].last}
	for _, g := range s.all {
		s.entry.first, s.entry.last = min(s.entry.first, g.first), max(s.entry.last, g.last)
		s.entry.ingest, s.entry.thinned = max(s.entry.ingest, g.ingest), s.entry.thinned || g.thinned
	}
	if s.entry.folded = s.folded; s.folded == 0 {
		s.entry.folded = s.through
	}
	s.cursor = s.src.cursor(0, model.TimeRange{})
	defer s.cursor.Close()
	s.cursor.in, s.cursor.met = s.p.Range(), s.meet
	if err := s.db.clearUnfinished(s.p, s.through); err != nil {
		return err
	}
	s.gone = s.db.engine.NewBatch()
	defer func() {
		if s.gone != nil {
			err = errors.Join(err, s.gone.Close())
		}
	}()
	s.tables = newSealedTables(s.db)
	defer func() { err = errors.Join(err, s.tables.discard()) }()
	s.chunks.sealing, s.chunks.most = s, s.db.o.SealedSamples
	s.hourly.sealing = s
	tags, err := s.tags()
	if err != nil {
		return err
	}
	s.cursor.packs = newPackWalkers(&s.src)
	defer func() { err = errors.Join(err, s.cursor.packs.close()) }()
	if s.cursor.walkers, err = newChunkWalkers(&s.src, s.p, s.all); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.cursor.walkers.close()) }()
	rest := tags.Iterator()
	for tag := model.TagID(0); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		if tag, err = s.next(tag, rest); err != nil {
			return err
		}
		if tag == 0 {
			break
		}
		if err := s.tag(ctx, tag); err != nil {
			return fmt.Errorf("tag %d: %w", tag, err)
		}
	}
	if err := s.chunks.endPack(ctx); err != nil {
		return err
	}
	if err := s.tables.finish(ctx); err != nil {
		return err
	}
	return s.commit()
}

// next is the first tag behind one that has a chunk or is among the rest, 0 for none.
func (s *sealing) next(behind model.TagID, rest roaring.IntPeekable) (model.TagID, error) {
	tag, err := s.cursor.walkers.next(behind)
	for rest.HasNext() && rest.PeekNext() <= uint32(behind) {
		rest.Next()
	}
	if rest.HasNext() && (tag == 0 || rest.PeekNext() < uint32(tag)) {
		tag = model.TagID(rest.PeekNext())
	}
	return tag, err
}

// tags is the tags that the generations to be sealed have anything of beside chunks that are not sealed.
func (s *sealing) tags() (*roaring.Bitmap, error) {
	tags := roaring.New()
	for i := range s.all {
		g := &s.all[i]
		kinds := []keys.Kind{keys.Packed, keys.Version, keys.Deletion}
		if g.sealed {
			kinds = []keys.Kind{keys.Sealed, keys.SealedPacked, keys.SealedVersion}
			if !s.whole {
				continue
			}
		}
		for _, k := range kinds {
			if err := s.tagsOf(k, g.id, tags); err != nil {
				return nil, err
			}
		}
	}
	s.db.mu.RLock()
	defer s.db.mu.RUnlock()
	for _, op := range openOps(s.db.ops.all, s.p, sealedThrough(s.all)) {
		if op.offset <= s.through {
			for _, t := range op.tags {
				tags.Add(uint32(t))
			}
		}
	}
	return tags, nil
}

func (s *sealing) tagsOf(k keys.Kind, generation uint64, tags *roaring.Bitmap) error {
	lower := keys.AppendGeneration(nil, s.p, k, generation)
	it, err := s.cursor.rows(s.p, k, generation, lower, keys.Next(lower))
	if err != nil {
		return engineError("list tags", err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		c, err := keys.DecodeChunk(it.Key())
		if err != nil {
			return fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		if k != keys.Packed && k != keys.SealedPacked {
			tags.Add(uint32(c.Tag))
			continue
		}
		err = chunk.Each(it.Value(), func(tag model.TagID, _ []byte) error {
			tags.Add(uint32(tag))
			return nil
		})
		if err != nil {
			return err
		}
	}
	return engineError("list tags", it.Error())
}

// tag seals what there is of one tag.
func (s *sealing) tag(ctx context.Context, tag model.TagID) error {
	c := s.cursor
	c.reset(tag)
	if s.forget || len(openOps(c.ops, s.p, sealedThrough(s.all))) > 0 {
		return s.retell(ctx, tag)
	}
	if _, err := c.gather(s.p, c.in); err != nil {
		return err
	}
	if err := s.readHistory(tag); err != nil {
		return err
	}
	pieces := append(slices.Clone(c.pieces), s.interrupted()...)
	slices.SortFunc(pieces, func(a, b piece) int { return order(a.low() < b.low()) })
	dirty := s.dirty(pieces)
	s.met = s.met[:0]
	s.chunks.begin(tag, !slices.Contains(dirty, false))
	if err := s.hourly.begin(tag, pieces, dirty); err != nil {
		return err
	}
	for from := 0; from < len(pieces); {
		if !dirty[from] {
			if err := s.hourly.keep(&pieces[from]); err != nil {
				return err
			}
			from++
			continue
		}
		to := from + 1
		for to < len(pieces) && dirty[to] {
			to++
		}
		if err := s.region(ctx, pieces[from:to]); err != nil {
			return err
		}
		from = to
	}
	if err := s.chunks.end(ctx); err != nil {
		return err
	}
	if err := s.hourly.end(ctx); err != nil {
		return err
	}
	return s.versions(ctx, tag)
}

// readHistory reads what generations wrote beside the chunks of a tag.
func (s *sealing) readHistory(tag model.TagID) error {
	s.history = s.history[:0]
	for i := range s.all {
		if g := &s.all[i]; g.hasVersions && !g.sealed {
			rows, err := s.src.versions(s.p, keys.Version, g.id, tag)
			if err != nil {
				return err
			}
			s.history = appendEvents(s.history, rows, g.id)
		}
	}
	return nil
}

// interrupted is pieces that take away what older generations have of keys that something else happened to before a
// generation came to what it holds of them. A value equal to the older one is then no resend of it, and has an origin of
// its own.
func (s *sealing) interrupted() []piece {
	var out []piece
	for i := range s.history {
		e := &s.history[i]
		if e.Current {
			continue
		}
		if n := len(out); n == 0 || out[n-1].age != e.age-1 {
			out = append(out, piece{age: e.age - 1, data: &chunk.Data{}, key: keys.Chunk{Seq: math.MaxUint32}, interrupts: true})
		}
		x := &out[len(out)-1] // behind all of its age, and before the generation
		if n := len(x.gone); n == 0 || x.gone[n-1].Time != e.Time || x.gone[n-1].Seq != e.Seq {
			x.gone = append(x.gone, head.Removed{Time: e.Time, Seq: e.Seq, Offset: e.Offset})
		}
	}
	for i := range out {
		out[i].span()
	}
	return out
}

// retell seals all there is of a tag that a range delete, or the undoing of one, has to be folded for: what stands becomes
// chunks, what was taken away history.
func (s *sealing) retell(ctx context.Context, tag model.TagID) error {
	c := s.cursor
	rows := rowWriter{sealing: s, tag: tag}
	c.past = &past{asOf: math.MaxInt64, keys: metKeys, both: true, settled: rows.take}
	defer func() { c.past = nil }()
	if _, err := c.gather(s.p, c.in); err != nil {
		return err
	}
	low, high := int64(math.MaxInt64), int64(math.MinInt64)
	for i := range c.pieces {
		x := &c.pieces[i]
		low, high = min(low, x.low()), max(high, x.high())
		if err := s.replace(x); err != nil {
			return err
		}
	}
	if err := c.listPast(s.p); err != nil || len(c.groups) == 0 {
		return err
	}
	for i := range c.groups {
		low, high = min(low, c.groups[i].first), max(high, c.groups[i].last)
	}
	s.chunks.begin(tag, true)
	s.chunks.region(low, high)
	if err := s.hourly.remake(tag); err != nil {
		return err
	}
	for i := range c.groups {
		if err := c.deliver(&c.groups[i]); err != nil {
			return err
		}
		s.hourly.add(&c.block.Samples)
		if err := s.chunks.add(ctx, &c.block); err != nil {
			return err
		}
		if len(rows.rows) >= rowsOfValue {
			if err := rows.write(ctx); err != nil {
				return err
			}
		}
	}
	if err := s.chunks.endRegion(ctx); err != nil {
		return err
	}
	if err := s.chunks.end(ctx); err != nil {
		return err
	}
	if err := s.hourly.end(ctx); err != nil {
		return err
	}
	return rows.write(ctx)
}

// rowsOfValue is about how many rows of history one value holds, where there are many.
const rowsOfValue = 16 << 10

// rowWriter writes the history of a tag, in several values if it is long.
type rowWriter struct {
	sealing *sealing
	tag     model.TagID
	rows    []chunk.VersionRow
	values  uint32
}

// take takes settled events in order, less those that a chunk has.
func (w *rowWriter) take(events []event) {
	for i, e := range events {
		last := i+1 == len(events) || events[i+1].key() != e.key()
		if last && e.rank == lastRank { // the chunk has it
			continue
		}
		e.Current = false
		e.Blob = slices.Clone(e.Blob)
		w.rows = append(w.rows, e.VersionRow)
	}
}

func (w *rowWriter) write(ctx context.Context) error {
	if len(w.rows) == 0 {
		return nil
	}
	s := w.sealing
	value := chunk.AppendVersions(nil, w.rows)
	s.entry.hasVersions = true
	s.entry.versions += uint64(len(value))
	start := s.p.Range().Start
	k := keys.Chunk{Partition: s.p, Kind: keys.SealedVersion, Generation: s.through, Tag: w.tag, Start: start, End: start, Seq: w.values}
	w.rows = w.rows[:0]
	w.values++
	return s.tables.add(ctx, keys.SealedVersion, k.Append(nil), value)
}

// low and high are the first and the last instant that a piece speaks of.
func (x *piece) low() int64 {
	if x.sealed() {
		return x.key.Start
	}
	return x.first
}

func (x *piece) high() int64 {
	if x.sealed() {
		return x.key.End
	}
	return x.last
}

// dirty says which pieces are to be rewritten: all but the sealed chunks that nothing newer overlaps. A small sealed chunk
// in front of new samples is rewritten with them, unless it is more than they are: chunks grow that way and no sample is
// rewritten more than a few times.
func (s *sealing) dirty(pieces []piece) []bool {
	dirty := make([]bool, len(pieces))
	fresh := uint64(0)
	for i := range pieces {
		x := &pieces[i]
		dirty[i] = s.whole || !x.sealed()
		if !x.sealed() {
			fresh += max(x.count, 1)
		}
	}
	for i := range pieces {
		if x := &pieces[i]; x.sealed() && !dirty[i] {
			dirty[i] = slices.ContainsFunc(pieces, func(y piece) bool {
				return !y.sealed() && y.first <= x.key.End && y.last >= x.key.Start
			})
		}
	}
	for i := len(pieces) - 2; i >= 0; i-- {
		if x := &pieces[i]; !dirty[i] && dirty[i+1] && x.count < uint64(s.chunks.most)/2 && x.count <= 2*fresh {
			dirty[i] = true
		}
	}
	return dirty
}

// region merges neighbouring pieces and writes them as sealed chunks that answer for all instants of the pieces.
func (s *sealing) region(ctx context.Context, pieces []piece) error {
	c := s.cursor
	low, high := pieces[0].low(), pieces[0].high()
	gone := false
	for i := range pieces {
		x := &pieces[i]
		low, high = min(low, x.low()), max(high, x.high())
		gone = gone || len(x.gone) > 0 && !x.interrupts
		if err := s.replace(x); err != nil {
			return err
		}
	}
	s.chunks.region(low, high)
	c.pieces = append(c.pieces[:0], pieces...)
	c.makeGroups(gone)
	for i := range c.groups {
		if err := c.deliver(&c.groups[i]); err != nil {
			return err
		}
		s.hourly.add(&c.block.Samples)
		if err := s.chunks.add(ctx, &c.block); err != nil {
			return err
		}
	}
	return s.chunks.endRegion(ctx)
}

// replace notes that the chunk of a piece, of a generation or an older seal, is no longer needed.
func (s *sealing) replace(x *piece) error {
	switch x.key.Kind {
	case keys.Sealed:
		l := s.left[x.age]
		s.left[x.age] = remain{l.samples + x.count, l.bytes + x.bytes}
	case keys.Unsealed:
	default:
		return nil
	}
	h := x.key.Header()
	return s.gone.Delete(h.Append(nil), nil)
}

// meet notes a value that may be no longer the one that stands.
func (s *sealing) meet(x model.Sample, from chunk.Origin, age uint64) {
	x.Blob = slices.Clone(x.Blob)
	s.met = append(s.met, event{
		VersionRow: chunk.VersionRow{Sample: x, Kind: model.Inserted, Ingest: from.Ingest * 1e9, Source: from.Source},
		age:        age, rank: lastRank,
	})
}

// versions writes the history of a tag: what older seals have of it, what generations wrote beside their chunks, and what
// merging left out. A tag whose history did not change keeps what it has.
func (s *sealing) versions(ctx context.Context, tag model.TagID) error {
	events := append(s.met, s.history...)
	if len(events) == 0 && !s.whole {
		return nil
	}
	sealed, err := s.cursor.sealedVersions(s.p, s.all)
	if err != nil {
		return err
	}
	events = append(events, sealed...)
	if len(events) == 0 {
		return nil
	}
	rows := rowWriter{sealing: s, tag: tag}
	rows.take(sinceFloor(settleEvents(events, true), s.src.erasures.floor(tag)))
	return rows.write(ctx)
}

// commit makes the seal take effect: its tables and headers are there, and the directory row makes them be looked at.
func (s *sealing) commit() error {
	db := s.db
	b := db.engine.NewBatch()
	kept := s.kept()
	for _, g := range kept {
		if _, touched := s.left[g.id]; touched || g.id == s.through {
			if err := setDirectory(b, s.p, &g); err != nil {
				return err
			}
		}
	}
	if err := db.engine.Apply(b, pebble.NoSync); err != nil {
		return err
	}
	db.mu.Lock()
	gens := slices.Clone(kept)
	for _, g := range db.directory.of(s.p) {
		if g.id > s.through {
			gens = append(gens, g)
		}
	}
	db.directory = db.directory.replaced(s.p, gens)
	db.mu.Unlock()
	// From here on no new view looks at what was replaced, and older ones have a snapshot of it.
	gone := s.gone
	s.gone = nil // committed, or closed, from here on
	if err := db.clearSealed(s.p, gone); err != nil {
		return err
	}
	_, err := db.engine.AsyncFlush()
	return err
}

// kept is the sealed generations of the partition as they will be.
func (s *sealing) kept() []generation {
	var kept []generation
	for _, g := range s.all {
		if !g.sealed || s.whole || g.id == s.through {
			continue
		}
		if l, ok := s.left[g.id]; ok {
			g.samples -= min(l.samples, g.samples)
			g.bytes -= min(l.bytes, g.bytes)
		}
		kept = append(kept, g)
	}
	return append(kept, s.entry)
}

func setDirectory(b *pebble.Batch, p keys.Partition, g *generation) error {
	v := g.append(nil)
	for _, space := range []keys.Space{keys.Directory, keys.DirectoryMirror} {
		if err := b.Set(keys.AppendDirectory(nil, space, p, g.id), v, nil); err != nil {
			return err
		}
	}
	return nil
}

// clearSealed removes what the seals of a partition made superfluous: generations that are in them, and older seals that a
// whole one replaced. b deletes the headers of the former already, unless it is nil. Nothing that a view could still need
// goes, since views have snapshots.
func (db *DB) clearSealed(p keys.Partition, b *pebble.Batch) error {
	db.mu.RLock()
	gens := db.directory.of(p)
	db.mu.RUnlock()
	headersToo := b == nil
	if headersToo {
		b = db.engine.NewBatch()
	}
	stored, err := db.storedGenerations(p)
	if err != nil {
		return err
	}
	through := sealedThrough(gens)
	if err := db.clearUnsealed(b, p, through, headersToo); err != nil {
		return err
	}
	for _, g := range stored {
		if g.id > through || isSealed(gens, g.id) {
			continue
		}
		switch {
		case g.moved > 0:
			db.clearMoved(b, p, &g)
		case g.sealed:
			if _, err := db.clearSealedData(b, p, g.id); err != nil {
				return err
			}
		}
		for _, space := range []keys.Space{keys.Directory, keys.DirectoryMirror} {
			if err := b.Delete(keys.AppendDirectory(nil, space, p, g.id), nil); err != nil {
				return err
			}
		}
	}
	if b.Empty() {
		return b.Close()
	}
	return db.engine.Apply(b, pebble.NoSync)
}

// clearUnsealed deletes what the generations up to through wrote of a partition, but for directory rows: one range for each
// kind, so that the LSM can drop tables that lie in it whole.
func (db *DB) clearUnsealed(b *pebble.Batch, p keys.Partition, through uint64, headersToo bool) error {
	for _, k := range []keys.Kind{keys.Unsealed, keys.Packed, keys.Version, keys.Deletion} {
		lower, upper := keys.AppendGeneration(nil, p, k, 0), keys.AppendGeneration(nil, p, k, through+1)
		var headers *pebble.Batch
		if k == keys.Unsealed && headersToo {
			headers = b
		}
		found, err := db.clearHeaders(headers, lower, upper)
		if err != nil {
			return err
		}
		if found {
			if err := b.DeleteRange(lower, upper, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// clearSealedData deletes what a seal wrote, but for its directory row, and reports whether there was anything.
func (db *DB) clearSealedData(b *pebble.Batch, p keys.Partition, generation uint64) (found bool, err error) {
	chunks, lower := keys.AppendGeneration(nil, p, keys.Sealed, generation), keys.AppendSealed(nil, p, generation)
	if found, err = db.clearHeaders(b, chunks, keys.Next(chunks)); err == nil && !found {
		found, err = db.clearHeaders(nil, lower, keys.Next(lower))
	}
	if err != nil || !found {
		return false, err
	}
	return true, b.DeleteRange(lower, keys.Next(lower), nil)
}

// clearHeaders deletes the headers of the chunks with keys from lower to upper, and reports whether there are such keys.
// Headers lie by tag and time: each is deleted by its name, which the key of its chunk has. With those of a seal go the
// rollup rows it wrote for the tags. Without a batch it only looks.
func (db *DB) clearHeaders(b *pebble.Batch, lower, upper []byte) (found bool, err error) {
	it, err := db.engine.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return false, engineError("list chunks to be cleared away", err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	return clearHeadersOf(b, it)
}

// clearHeadersOf is clearHeaders for the keys of it.
func clearHeadersOf(b *pebble.Batch, it rows) (found bool, err error) {
	tag := model.TagID(0) // the last whose rows are deleted; no tag has the id 0
	for ok := it.First(); ok; ok = it.Next() {
		if found = true; b == nil {
			return true, nil
		}
		c, err := keys.DecodeChunk(it.Key())
		if err != nil {
			return false, fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		h := c.Header()
		if err := b.Delete(h.Append(nil), nil); err != nil {
			return false, err
		}
		if c.Kind != keys.Sealed || c.Tag == tag {
			continue
		}
		tag = c.Tag
		for level := byte(levelHours); level < numLevels; level++ {
			if err := b.Delete(rollupRow(level, tag, c.Partition, c.Generation), nil); err != nil {
				return false, err
			}
		}
	}
	return found, engineError("list chunks to be cleared away", it.Error())
}

// storedGenerations is the directory rows of a partition that the engine has, those no longer looked at included.
func (db *DB) storedGenerations(p keys.Partition) ([]generation, error) {
	var out []generation
	for _, space := range []keys.Space{keys.Directory, keys.DirectoryMirror} {
		lower := p.Append([]byte{byte(space)})
		it, err := db.engine.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: keys.Next(lower)})
		if err != nil {
			return nil, engineError("read the directory", err)
		}
		out, err = out[:0], nil
		for ok := it.First(); ok && err == nil; ok = it.Next() {
			var id uint64
			var g generation
			if _, id, err = keys.DecodeDirectory(append([]byte{byte(keys.Directory)}, it.Key()[1:]...)); err == nil {
				if g, err = decodeGeneration(id, it.Value()); err == nil {
					out = append(out, g)
				}
			}
		}
		if err = errors.Join(err, engineError("read the directory", it.Error()), it.Close()); err == nil {
			return out, nil
		}
		if !isDamage(err) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("read the directory of %s: both copies: %w", p, ErrCorrupt)
}
