package storage

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/chunk"
	"github.com/varvedb/varve/storage/head"
	"github.com/varvedb/varve/storage/keys"
)

// Cursor delivers the samples of one tag in blocks. It is for one goroutine.
//
// It goes partition by partition. Of each it lists the chunks that overlap the range, from their headers, from packed
// blocks and from the heads, and groups those whose times overlap each other. A group of one chunk, the common case, is
// decoded and delivered; larger groups are merged first, the newest generation winning.
type Cursor struct {
	src    *sources
	tag    model.TagID
	in     model.TimeRange
	iter   *pebble.Iterator
	chunks *pebble.Iterator // over sealed ones
	cold   []*tierRows      // of the partition being read
	parts  []keys.Partition // not yet read, in the order of the range
	groups []group          // of the partition being read, not yet delivered, in the order of the range
	gens   []generation
	pieces []piece

	data    []chunk.Data // decode targets of a group
	merged  chunk.Data
	sealed  *chunk.SealedDecoder // from sealedDecoders once one is needed
	heads   []head.Resolved
	key     []byte
	block   Block
	err     error // of listing partitions; delivered by the first Next
	met     onMet
	ops     []*rangeOp    // of the tag
	erased  []erased      // of the tag
	deep    bool          // look at erased samples whose rollups stay while they are still there
	open    []*rangeOp    // of ops, what is not folded into the sealed data of the partition being read
	now     *past         // of the partition being read: past, or where range deletes have to be undone from history
	past    *past         // of who asks what was, see past.go; nil: the samples that stand
	packs   *packWalkers  // of who reads all tags in order; nil: packed blocks are looked up one by one
	walkers *chunkWalkers // likewise, of chunks that are not sealed
	room    func(n int) (times []int64, bits []uint64)
	reading Reading
}

// piece is one run of samples ascending by (time, seq): a chunk, a packed chunk or what a head has.
type piece struct {
	age         uint64 // generation, or above all generations for heads
	first, last int64
	key         keys.Chunk        // of a chunk to be read; of a sealed one it has the instants it answers for
	packed      []byte            // chunk bytes out of a packed block
	data        *chunk.Data       // a head's samples
	gone        []head.Removed    // keys removed from older pieces, ascending
	cuts        []model.TimeRange // taken away by range deletes
	interrupts  bool              // see sealing.interrupted
	count       uint64            // samples, where a header says so
	bytes       uint64            // of the chunk, likewise
}

// sealed reports whether the piece is a sealed chunk of its own.
func (x *piece) sealed() bool { return x.key.Kind == keys.Sealed }

// eventAge is the age of what the piece says happened. Whatever is sealed comes before all that is not, and the values of
// chunks behind the sealed history, whichever seal wrote either.
func (x *piece) eventAge() uint64 {
	if x.key.Kind.Sealed() {
		return 0
	}
	return x.age
}

type group struct {
	pieces      []piece // ascending by age
	first, last int64
	history     []event // of keys from behind the group before up to last; only where the cursor asks what was
}

// headAge orders heads behind all generations.
const headAge = 1 << 62

func (s *sources) cursor(tag model.TagID, in model.TimeRange) *Cursor {
	c := &Cursor{src: s}
	c.Reset(tag, in)
	return c
}

// Reset makes the cursor one of another tag or range. It keeps its memory and its iterator, which is most of what a cursor
// costs; tags in ascending order find the iterator near where they want it.
func (c *Cursor) Reset(tag model.TagID, in model.TimeRange) {
	c.reset(tag)
	if c.in = in; in.Empty() {
		return
	}
	if c.past != nil {
		if err := c.known(); err != nil {
			c.err = &RangeError{Tag: tag, In: in, Err: err}
			return
		}
	}
	c.parts, c.err = c.src.partitionsOf(tag, in)
	if in.Reverse {
		slices.Reverse(c.parts)
	}
}

// Close lets go of what the cursor holds.
func (c *Cursor) Close() {
	if c.iter != nil {
		_ = c.iter.Close()
		c.iter = nil
	}
	if c.chunks != nil {
		_ = c.chunks.Close()
		c.chunks = nil
	}
	c.closeCold()
	if c.sealed != nil {
		sealedDecoders.Put(c.sealed)
		c.sealed = nil
	}
}

// sealedDecoders go from cursor to cursor: one works in tens of kilobytes, more than a short answer has.
var sealedDecoders = sync.Pool{New: func() any { return new(chunk.SealedDecoder) }}

// DecodeInto offers memory to decode into, with room for n times and values: of a block that one chunk is, and that is read
// forward, they lie there, perhaps behind others of the chunk. Where room returns nil, and for all other blocks, the
// cursor has memory of its own.
func (c *Cursor) DecodeInto(room func(n int) (times []int64, bits []uint64)) { c.room = room }

// Next is the next block, never empty, or io.EOF behind the last. An error about damaged data names tag and range; the
// cursor may be asked again and goes on behind the damage.
func (c *Cursor) Next(ctx context.Context) (*Block, error) {
	if c.err != nil {
		err := c.err
		c.err = nil
		return nil, err
	}
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if len(c.groups) == 0 {
			if len(c.parts) == 0 {
				return nil, io.EOF
			}
			p := c.parts[0]
			c.parts = c.parts[1:]
			if err := c.list(p); err != nil {
				c.groups = nil // some may be made, of less than they are of
				return nil, c.damaged(p.Range(), err)
			}
			continue
		}
		g := c.groups[0]
		c.groups = c.groups[1:]
		if err := c.deliver(&g); err != nil {
			return nil, c.damaged(model.TimeRange{Start: g.first, End: g.last + 1}, err)
		}
		if c.block.Len() > 0 {
			return &c.block, nil
		}
	}
}

// RangeError says where samples of a tag could not be read. It matches ErrCorrupt where they are damaged.
type RangeError struct {
	Tag model.TagID
	In  model.TimeRange
	Err error
}

func (e *RangeError) Error() string { return fmt.Sprintf("read tag %d in %s: %v", e.Tag, e.In, e.Err) }

func (e *RangeError) Unwrap() error { return e.Err }

func (e *RangeError) Is(target error) bool { return target == ErrCorrupt && isDamage(e.Err) }

func (c *Cursor) damaged(in model.TimeRange, err error) error {
	return &RangeError{Tag: c.tag, In: in, Err: err}
}

// list fills groups with what one partition holds of the range.
func (c *Cursor) list(p keys.Partition) error {
	in := p.Range()
	in.Start, in.End = max(in.Start, c.in.Start), min(in.End, c.in.End)
	gone, err := c.gather(p, in)
	if err != nil {
		return err
	}
	c.cutErased(p)
	if c.now != nil {
		if err := c.listPast(p); err != nil {
			return err
		}
	} else {
		c.makeGroups(gone)
	}
	if c.in.Reverse {
		slices.Reverse(c.groups)
	}
	return nil
}

// gather fills pieces with what one partition holds of the range, and reports whether any of them removes from older ones.
func (c *Cursor) gather(p keys.Partition, in model.TimeRange) (gone bool, err error) {
	all := c.src.directory.of(p)
	c.now, c.open = c.past, nil
	var hold []*rangeOp
	if len(c.ops) > 0 {
		folded := false
		c.open = openOps(c.ops, p, sealedThrough(all))
		if hold, folded = holding(c.open); folded && c.now == nil {
			c.now = &past{asOf: math.MaxInt64}
		}
	}
	c.gens = overlapping(all, in, c.src.newest, c.gens[:0])
	c.pieces = c.pieces[:0]
	if len(c.gens) > 0 {
		if err := c.listHeaders(p, all, in); err != nil {
			return false, err
		}
		if err := c.listPacked(p, in); err != nil {
			return false, err
		}
		if err := c.listSealedPacked(p, all, in); err != nil {
			return false, err
		}
		c.pieces = slices.DeleteFunc(c.pieces, func(x piece) bool { return !in.Overlaps(x.first, x.last) })
	}
	c.reading.Listed += int64(len(c.pieces))
	gone = c.listHeads(in)
	for _, g := range c.gens {
		if g.deletions {
			k, err := c.listDeletions(p, in, g.id)
			if err != nil {
				return false, err
			}
			gone = gone || k
		}
	}
	if c.now == nil {
		for _, d := range hold {
			c.cutTaken(d.offset, d.in)
		}
	}
	return gone, nil
}

// sealedOnly reports whether all that gather found are sealed chunks with nothing over them. What a smaller range has is then
// those of them that it meets.
func (c *Cursor) sealedOnly(gone bool) bool {
	return !gone && c.now == nil && !slices.ContainsFunc(c.pieces, func(x piece) bool { return !x.sealed() || len(x.cuts) > 0 })
}

// narrow lists what a range has of the sealed chunks of a larger one.
func (c *Cursor) narrow(chunks []piece, in model.TimeRange) {
	c.in, c.pieces = in, c.pieces[:0]
	for i := range chunks {
		if in.Overlaps(chunks[i].first, chunks[i].last) {
			c.pieces = append(c.pieces, chunks[i])
		}
	}
	c.makeGroups(false)
}

// iterator is the cursor's iterator with new bounds.
func (c *Cursor) iterator(lower, upper []byte) (*pebble.Iterator, error) {
	if c.iter == nil {
		it, err := c.src.engine.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
		if err != nil {
			return nil, err
		}
		c.iter = it
		return it, nil
	}
	c.iter.SetBounds(lower, upper)
	return c.iter, nil
}

// listHeaders finds the tag's own chunks. A chunk never leaves its partition, so that scanning headers from the
// partition's start finds those that begin before the range. Sealed chunks are listed whether or not their samples meet
// the range: they may supersede others that do.
func (c *Cursor) listHeaders(p keys.Partition, all []generation, in model.TimeRange) error {
	from, sealed := p.Range().Start, sealedThrough(all)
	for year := keys.Period(from); year <= keys.Period(in.End-1); year++ {
		prefix := keys.AppendHeaders(nil, year, 0, c.tag, 0)
		lower, upper := keys.AppendTime(slices.Clone(prefix), from), keys.AppendTime(slices.Clone(prefix), in.End)
		it, err := c.iterator(lower, upper)
		if err != nil {
			return engineError("list chunks", err)
		}
		for ok := it.First(); ok; ok = it.Next() {
			h, err := keys.DecodeHeader(it.Key())
			if err != nil {
				return fmt.Errorf("%w: %w", ErrCorrupt, err)
			}
			v, err := decodeHeaderValue(it.Value(), h.Kind)
			if err != nil {
				return err
			}
			last := h.Start + int64(v.length)
			switch {
			case h.Generation > c.src.newest:
				continue
			case h.Kind == keys.Sealed:
				if !isSealed(all, h.Generation) { // not yet, in this view
					continue
				}
			case h.Generation <= sealed || last < in.Start: // the former is in sealed ones, and on its way out
				continue
			}
			c.pieces = append(c.pieces, piece{
				age: h.Generation, first: h.Start + int64(v.before), last: last - int64(v.after), count: v.count, bytes: v.bytes,
				key: keys.Chunk{Partition: p, Kind: h.Kind, Generation: h.Generation, Tag: c.tag, Start: h.Start, End: last, Seq: h.Seq},
			})
		}
		if err := it.Error(); err != nil {
			return engineError("list chunks", err)
		}
	}
	return nil
}

// listSealedPacked finds the tag's chunk in the packed blocks of the newest seal that has one, and takes out the sealed
// pieces that another one supersedes. What a seal packs of a tag is all there was of it; a chunk of its own in a later seal
// has it too.
func (c *Cursor) listSealedPacked(p keys.Partition, all []generation, in model.TimeRange) error {
	packed := piece{}
	for i := len(all) - 1; i >= 0 && packed.age == 0; i-- {
		if g := &all[i]; g.sealed && g.packed && g.id <= c.src.newest {
			b, found, err := c.findPacked(p, keys.SealedPacked, g.id)
			if err != nil {
				return err
			}
			if found {
				packed = piece{age: g.id, packed: b, key: keys.Chunk{Kind: keys.SealedPacked}}
			}
		}
	}
	// Also a chunk that has no samples any more.
	newer := slices.ContainsFunc(c.pieces, func(x piece) bool { return x.sealed() && x.age > packed.age })
	c.pieces = supersede(c.pieces, packed.age, in.End-1)
	if newer || len(packed.packed) == 0 { // an empty one says that nothing is left
		return nil
	}
	info, err := chunk.Inspect(packed.packed)
	if err != nil {
		return err
	}
	if in.Overlaps(info.First, info.Last) {
		packed.first, packed.last, packed.count = info.First, info.Last, uint64(info.Count)
		packed.packed = slices.Clone(packed.packed)
		c.pieces = append(c.pieces, packed)
	}
	return nil
}

// supersede takes out the sealed chunks that later ones answer for, those that the seal of generation packed made one of a
// packed block, and those without samples. Chunks that begin behind last are not among the pieces.
func supersede(pieces []piece, packed uint64, last int64) []piece {
	several, any := false, false
	seen := uint64(0)
	for i := range pieces {
		if x := &pieces[i]; x.sealed() {
			several = several || seen != 0 && seen != x.age
			any = any || x.count == 0 || x.age < packed
			seen = x.age
		}
	}
	if !several && !any {
		return pieces
	}
	kept := make([]piece, 0, len(pieces))
	for i := range pieces {
		x := &pieces[i]
		if x.sealed() && (x.count == 0 || x.age < packed || several && answered(pieces, x, last)) {
			continue
		}
		kept = append(kept, *x)
	}
	return kept
}

// answered reports whether chunks of later seals answer for all instants, up to last, that x answers for. A seal replaces
// the whole of a chunk or nothing of it.
func answered(pieces []piece, x *piece, last int64) bool {
	for at, end := x.key.Start, min(x.key.End, last); at <= end; {
		next := at
		for i := range pieces {
			if y := &pieces[i]; y.sealed() && y.age > x.age && y.key.Start <= at && y.key.End >= next {
				next = y.key.End + 1
			}
		}
		if next == at {
			return false
		}
		at = next
	}
	return true
}

// listPacked finds the tag's chunks in blocks shared by several tags.
func (c *Cursor) listPacked(p keys.Partition, in model.TimeRange) error {
	for _, g := range c.gens {
		if !g.packed || g.sealed {
			continue
		}
		b, found, err := c.findPacked(p, keys.Packed, g.id)
		if err != nil {
			return err
		}
		if !found {
			continue
		}
		info, err := chunk.Inspect(b)
		if err != nil {
			return err
		}
		if in.Overlaps(info.First, info.Last) {
			c.pieces = append(c.pieces, piece{age: g.id, first: info.First, last: info.Last, packed: slices.Clone(b)})
		}
	}
	return nil
}

// findPacked finds the tag's chunk in the packed blocks of a generation: in the last block whose first tag is not above
// the tag. The bytes hold until the iterator moves.
func (c *Cursor) findPacked(p keys.Partition, k keys.Kind, generation uint64) (b []byte, found bool, err error) {
	if c.packs != nil {
		return c.packs.find(p, k, generation, c.tag)
	}
	lower := keys.AppendGeneration(nil, p, k, generation)
	it, err := c.rows(p, k, generation, lower, keys.Next(lower))
	if err != nil {
		return nil, false, engineError("find packed chunk", err)
	}
	found = it.SeekLT(keys.AppendGenerationTag(p, k, generation, c.tag+1))
	if err := it.Error(); err != nil {
		return nil, false, engineError("find packed chunk", err)
	}
	if !found {
		return nil, false, nil
	}
	return chunk.Find(it.Value(), c.tag)
}

// listHeads adds what the heads have, and reports whether they remove anything from older pieces.
func (c *Cursor) listHeads(in model.TimeRange) (gone bool) {
	if len(c.heads) < len(c.src.heads) {
		c.heads = make([]head.Resolved, len(c.src.heads))
	}
	for i, h := range c.src.heads {
		c.src.db.mu.RLock()
		g := h.Tag(c.tag)
		var snap head.Snapshot
		if g != nil {
			snap = h.Snapshot(g, c.src.offset)
		}
		c.src.db.mu.RUnlock()
		r := &c.heads[i]
		if g == nil {
			r.History = r.History[:0] // of the partition before
			continue
		}
		snap.Resolve(in, r)
		if n := r.Len(); n > 0 || len(r.Removed) > 0 {
			x := piece{age: headAge + uint64(i), data: &r.Data, gone: r.Removed}
			x.span()
			c.pieces = append(c.pieces, x)
			c.reading.InMemory += int64(n)
			gone = gone || len(r.Removed) > 0
		}
	}
	return gone
}

// span sets first and last from the samples and removals of a piece in memory.
func (x *piece) span() {
	x.first, x.last = model.All.End, model.MinTime
	if n := x.data.Len(); n > 0 {
		x.first, x.last = x.data.Times[0], x.data.Times[n-1]
	}
	if n := len(x.gone); n > 0 {
		x.first, x.last = min(x.first, x.gone[0].Time), max(x.last, x.gone[n-1].Time)
	}
}

// listDeletions adds the keys of the tag that a generation removed from older ones.
func (c *Cursor) listDeletions(p keys.Partition, in model.TimeRange, id uint64) (bool, error) {
	prefix := keys.AppendGenerationTag(p, keys.Deletion, id, c.tag)
	it, err := c.iterator(prefix, keys.Next(prefix))
	if err != nil {
		return false, engineError("list removals", err)
	}
	var gone []head.Removed
	for ok := it.First(); ok; ok = it.Next() {
		rows, err := chunk.DecodeDeletions(it.Value())
		if err != nil {
			return false, err
		}
		for _, d := range rows {
			if in.Contains(d.Time) {
				gone = append(gone, head.Removed{Time: d.Time, Seq: d.Seq, Offset: d.Offset})
			}
		}
	}
	if err := it.Error(); err != nil {
		return false, engineError("list removals", err)
	}
	if len(gone) == 0 {
		return false, nil
	}
	for i := range c.pieces {
		if x := &c.pieces[i]; x.age == id {
			x.gone = gone
			x.first, x.last = min(x.first, gone[0].Time), max(x.last, gone[len(gone)-1].Time)
			return true, nil
		}
	}
	x := piece{age: id, data: &chunk.Data{}, gone: gone}
	x.span()
	c.pieces = append(c.pieces, x)
	return true, nil
}

// makeGroups sorts the pieces by time and joins those that overlap. Where anything was removed all are one group.
func (c *Cursor) makeGroups(gone bool) {
	c.groups = c.groups[:0]
	if len(c.pieces) == 0 {
		return
	}
	slices.SortFunc(c.pieces, func(a, b piece) int {
		switch {
		case a.first < b.first:
			return -1
		case a.first > b.first:
			return 1
		}
		return 0
	})
	from := 0
	last := c.pieces[0].last
	for i := 1; i <= len(c.pieces); i++ {
		if i < len(c.pieces) && (gone || c.pieces[i].first <= last) {
			last = max(last, c.pieces[i].last)
			continue
		}
		g := group{pieces: c.pieces[from:i], first: c.pieces[from].first, last: last}
		slices.SortStableFunc(g.pieces, byAge)
		c.groups = append(c.groups, g)
		if i < len(c.pieces) {
			from, last = i, c.pieces[i].last
		}
	}
}

// byAge is the order in which pieces are merged: the older first, and those of one age as they were written.
func byAge(a, b piece) int {
	return cmp.Or(cmp.Compare(a.age, b.age), cmp.Compare(a.key.Seq, b.key.Seq))
}

// deliver makes block the samples of a group that lie in the range.
func (c *Cursor) deliver(g *group) error {
	for len(c.data) < max(len(g.pieces), 1) { // a group of history alone has none
		c.data = append(c.data, chunk.Data{})
	}
	single := len(g.pieces) == 1 && len(g.pieces[0].gone) == 0
	c.data[0].Room = nil
	if single && !c.in.Reverse && len(g.pieces[0].cuts) == 0 && c.now == nil {
		c.data[0].Room = c.room
	}
	for i := range g.pieces {
		if err := c.load(&g.pieces[i], &c.data[i]); err != nil {
			return err
		}
		if x := &g.pieces[i]; len(x.cuts) > 0 {
			x.data = without(x.data, x.cuts)
		}
	}
	if c.now != nil {
		return c.deliverPast(g)
	}
	d := g.pieces[0].data
	if !single {
		merge(g.pieces, &c.merged, c.met)
		d = &c.merged
	}
	c.cut(d)
	return nil
}

// cut makes block the samples of d that lie in the range.
func (c *Cursor) cut(d *chunk.Data) {
	from, _ := slices.BinarySearch(d.Times, c.in.Start)
	to, _ := slices.BinarySearch(d.Times, c.in.End)
	c.block.Samples = d.Samples.Slice(from, max(from, to))
	c.block.Origins = cutOrigins(d.Origins, from, to)
	if c.in.Reverse {
		reverse(&c.block)
	}
}

// load decodes a piece that is not in memory yet.
func (c *Cursor) load(x *piece, into *chunk.Data) error {
	if x.data != nil {
		return nil
	}
	b := x.packed
	if b == nil {
		v, closer, err := c.get(x)
		if err != nil {
			return engineError(fmt.Sprintf("read chunk of generation %d", x.age), missing(err))
		}
		defer closer.Close()
		b = v
	}
	decode := chunk.Decode
	if x.key.Kind.Sealed() {
		if c.sealed == nil {
			c.sealed = sealedDecoders.Get().(*chunk.SealedDecoder)
		}
		decode = func(b []byte, into *chunk.Data) error { return c.sealed.Decode(b, c.in, into) }
	}
	if err := decode(b, into); err != nil {
		return err
	}
	x.data = into
	c.reading.Chunks++
	c.reading.Decoded += int64(into.Len())
	return nil
}

// Reading is what the cursor read so far, of all tags it was reset to.
func (c *Cursor) Reading() Reading { return c.reading }

// get is the bytes of the chunk of a piece; they hold until closed, or the next chunk is asked for.
func (c *Cursor) get(x *piece) ([]byte, io.Closer, error) {
	k := &x.key
	c.key = k.Append(c.key[:0])
	if c.walkers != nil && k.Kind == keys.Unsealed {
		b, err := c.walkers.find(x.age, c.key)
		return b, io.NopCloser(nil), err
	}
	n, moved := c.src.moved(k.Partition, k.Kind, k.Generation)
	if !moved && k.Kind == keys.Sealed {
		b, err := c.sealedChunk()
		return b, io.NopCloser(nil), err
	}
	if !moved {
		return c.src.engine.Get(c.key)
	}
	it, err := c.coldRows(n, c.key, nil)
	if err != nil {
		return nil, nil, err
	}
	v, err := valueAt(it, c.key)
	return v, io.NopCloser(nil), err
}

// sealedChunk is the sealed chunk under key. One follows another in the same table or the next, so that an iterator that is
// there finds it in half the time that Get takes.
func (c *Cursor) sealedChunk() ([]byte, error) {
	if c.chunks == nil {
		it, err := c.src.engine.NewIter(&pebble.IterOptions{
			LowerBound: []byte{byte(keys.SealedData)}, UpperBound: []byte{byte(keys.SealedData) + 1},
		})
		if err != nil {
			return nil, err
		}
		c.chunks = it
	}
	if c.chunks.SeekGE(c.key) && bytes.Equal(c.chunks.Key(), c.key) {
		return c.chunks.ValueAndErr()
	}
	if err := c.chunks.Error(); err != nil {
		return nil, err
	}
	return nil, pebble.ErrNotFound
}

// reset makes the cursor one of another tag over no range, keeping its memory and its iterator.
func (c *Cursor) reset(tag model.TagID) {
	c.tag, c.parts, c.groups, c.err = tag, nil, nil, nil
	c.ops = c.src.opsOf(tag)
	c.erased = c.src.erasedOf(tag)
}

// cutOrigins is the origins of the samples [from, to). It lies in the memory of in where no origin has to be shortened: of a tag that is written
// a sample at a time there are as many as samples.
func cutOrigins(in []chunk.Origin, from, to int) []chunk.Origin {
	if from >= to {
		return nil
	}
	first, begin := 0, 0
	for first < len(in) && begin+in[first].Samples <= from {
		begin += in[first].Samples
		first++
	}
	last, end := first, begin
	for last < len(in) && end < to {
		end += in[last].Samples
		last++
	}
	out := in[first:last:last]
	if len(out) > 0 && (begin < from || end > to) {
		out = slices.Clone(out)
		out[0].Samples -= from - begin
		out[len(out)-1].Samples -= max(end-to, 0)
	}
	return out
}

// reverse turns a block round. Its columns may belong to a head, so that copies are turned.
func reverse(b *Block) {
	b.Times, b.Bits, b.Blobs = reversed(b.Times), reversed(b.Bits), reversed(b.Blobs)
	b.Quality, b.Null, b.Seq = reversed(b.Quality), reversed(b.Null), reversed(b.Seq)
	b.Origins = reversed(b.Origins)
}

// reversed is a copy of a column, last first; nil stays nil.
func reversed[T any](s []T) []T {
	s = slices.Clone(s)
	slices.Reverse(s)
	return s
}
