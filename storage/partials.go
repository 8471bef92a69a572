package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/chunk"
	"github.com/varvedb/varve/storage/keys"
	"github.com/varvedb/varve/storage/rollup"
)

// Partials is what consecutive buckets of one tag hold, and what lies next to them.
type Partials struct {
	Before  rollup.Partial   // of the last sample before the first bucket; empty if there is none
	Buckets []rollup.Partial // of each bucket, empty ones included
	After   rollup.Partial   // of the first sample behind the last bucket
	Reading Reading          // how the buckets were read
}

// Detail says how much of its samples a partial must tell.
type Detail uint8

const (
	// Full is everything a partial can tell.
	Full Detail = iota
	// Plain is counts, qualities, durations, minimum, maximum and sum; not their times, first and last values, squares and
	// integrals. It costs a fraction of Full where all samples are Good.
	Plain
)

// Partials fills into with the partials of the buckets [edges[i], edges[i+1]). Edges ascend, each once, at least two. Whole
// days and hours come from rollups where nothing newer lies over them, the rest from samples: the answer is that of the
// samples, sums within the bound that package rollup states.
//
// A rollup that is damaged raises an alarm, and the samples stand in for it. Samples that cannot be read are an error.
//
// Gaps break the shape, in the buckets and next to them, as Breaks has it.
func (v *View) Partials(ctx context.Context, tag model.TagID, edges []int64, detail Detail, into *Partials) error {
	n := len(edges) - 1
	into.Buckets = slices.Grow(into.Buckets[:0], n)[:n]
	clear(into.Buckets)
	if breaks := v.Breaks(tag, nil); breaks != nil {
		return v.brokenPartials(ctx, tag, breaks, edges, detail, into)
	}
	var r partialReader
	r.open(v, tag, edges)
	defer r.close()
	if err := r.fill(ctx, detail, into.Buckets); err != nil {
		return err
	}
	into.Reading = r.cursor.reading
	return r.bounds(ctx, into)
}

// fill fills empty buckets with their samples.
func (r *partialReader) fill(ctx context.Context, detail Detail, buckets []rollup.Partial) error {
	r.detail, r.out = detail, buckets
	least := hourNanos
	if detail == Plain {
		least = fineNanos
	}
	r.long = r.fits(least)
	return r.run(ctx)
}

// bounds finds the samples next to the buckets.
func (r *partialReader) bounds(ctx context.Context, into *Partials) error {
	into.Before, into.After = rollup.Partial{}, rollup.Partial{}
	if err := r.bound(ctx, model.TimeRange{Start: model.MinTime, End: r.edges[0], Reverse: true}, &into.Before); err != nil {
		return err
	}
	return r.bound(ctx, model.TimeRange{Start: r.edges[len(r.edges)-1], End: model.All.End}, &into.After)
}

// open makes r a reader of a tag, to be closed.
func (r *partialReader) open(v *View, tag model.TagID, edges []int64) {
	for i := 1; i < len(edges); i++ {
		if edges[i] <= edges[i-1] {
			panic(fmt.Sprintf("storage: edge %d at %d, behind one at %d", i, edges[i], edges[i-1]))
		}
	}
	r.src, r.tag, r.edges = &v.src, tag, edges
	r.rows = rollupRows{src: &v.src, tag: tag}
	r.cursor = partialCursors.Get().(*Cursor)
	r.cursor.src, r.cursor.deep, r.cursor.reading = &v.src, true, Reading{}
	r.cursor.reset(tag)
}

func (r *partialReader) close() {
	r.rows.close()
	r.cursor.giveBack()
}

// fits reports whether something of a length fits a bucket.
func (r *partialReader) fits(length int64) bool {
	for i := 1; i < len(r.edges); i++ {
		if uint64(r.edges[i])-uint64(r.edges[i-1]) >= uint64(length) {
			return true
		}
	}
	return false
}

// partialCursors are cursors that keep the memory they decode into: an answer about many tags, or in many windows, would
// spend more on making it than on filling it.
var partialCursors = sync.Pool{New: func() any { return new(Cursor) }}

// maxKeptSamples bounds what a rare huge chunk leaves behind.
const maxKeptSamples = 64 << 10

// giveBack closes a cursor and keeps its memory, without what it refers to.
func (c *Cursor) giveBack() {
	c.Close()
	for i := range c.data {
		c.data[i] = keptData(c.data[i])
	}
	c.merged = keptData(c.merged)
	clear(c.pieces[:cap(c.pieces)])
	c.src, c.parts, c.groups, c.pieces, c.heads, c.block, c.err = nil, nil, nil, c.pieces[:0], nil, Block{}, nil
	c.ops, c.open, c.now, c.erased, c.deep = nil, nil, nil, nil, false
	partialCursors.Put(c)
}

// keptData is the memory of d, or none where it holds text or too much.
func keptData(d chunk.Data) chunk.Data {
	if d.Blobs != nil || cap(d.Times) > maxKeptSamples {
		return chunk.Data{}
	}
	return d
}

// partialReader fills the buckets of one tag from left to right.
type partialReader struct {
	src    *sources
	tag    model.TagID
	edges  []int64
	out    []rollup.Partial
	taker  Taker // in place of out, see Offer
	detail Detail
	at     int // the bucket being filled
	rows   rollupRows
	cursor *Cursor
	inHead []keys.Partition // of what heads have, ascending

	raw    model.TimeRange // to be read before what comes next
	thin   bool            // rollups are all that is left of the partition
	opened bool            // hours or plain have the hours of the partition
	// Where rollups leave several stretches of a partition to be read, its chunks are listed once.
	stretches bool
	listed    bool
	chunks    []piece // nil where there is more to it than sealed chunks
	memory    []piece // of chunks
	hours     []rollup.Partial
	plain     rollup.Plain
	fine      rollup.Plain // of the ten minutes of an hour
	row       rollup.Row
	noRow     bool // rows cannot be read any more
	long      bool // a rollup fits a bucket
}

func (r *partialReader) run(ctx context.Context) error {
	in := model.TimeRange{Start: r.edges[0], End: r.edges[len(r.edges)-1]}
	parts, err := r.src.partitionsOf(r.tag, in)
	if err != nil {
		return err
	}
	days := model.TimeRange{Start: keys.DayOf(in.Start).Range().Start, End: max(in.End, keys.DayOf(in.End-1).Range().End)}
	r.inHead = r.src.headPartitions(r.tag, days)
	for _, p := range parts {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := r.partition(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// partition adds what one partition has.
func (r *partialReader) partition(ctx context.Context, p keys.Partition) error {
	in := p.Range()
	start := in.Start
	in.Start, in.End = max(in.Start, r.edges[0]), min(in.End, r.edges[len(r.edges)-1])
	r.raw = model.TimeRange{Start: in.Start, End: in.Start}
	r.stretches, r.listed = false, false
	var day rollupFound
	var usable hourMask
	var err error
	r.hours, r.opened, r.thin = r.hours[:0], false, r.cursor.thinned(p)
	if r.thin {
		if usable, day, err = r.left(p); usable == 0 {
			return err
		}
	} else if usable, day, err = r.usable(p); err != nil {
		return err
	}
	if usable == 0 {
		r.raw.End = in.End
		return r.flush(ctx, p)
	}
	if usable == allHours && r.inOne(start, start+hoursOfDay*hourNanos) {
		if ok, err := r.addDay(day); ok || err != nil {
			return err
		}
	}
	hours, err := r.openHours(p, day)
	if err != nil {
		return err
	}
	if !hours {
		r.raw.End = in.End
		return r.flush(ctx, p)
	}
	r.stretches = true
	fine := fineUnknown
	for h := 0; h < hoursOfDay; {
		from, to := start+int64(h)*hourNanos, start+int64(h+1)*hourNanos
		if to <= in.Start || from >= in.End {
			h++
			continue
		}
		if usable.has(h) && r.detail == Plain && fine != fineNone && !r.inOne(from, to) {
			if fine == fineUnknown {
				if fine, err = r.openFine(p, day); err != nil {
					return err
				}
			}
			if fine == fineOpen {
				plain, err := r.readFine(h)
				if err != nil {
					return err
				}
				if plain {
					if err := r.cut(ctx, p, h, start, in); err != nil {
						return err
					}
					h++
					continue
				}
				fine = fineNone
			}
		}
		if !usable.has(h) || !r.inOne(from, to) || !r.takesHour(h) {
			r.raw.End = min(to, in.End)
			h++
			continue
		}
		if err := r.flush(ctx, p); err != nil {
			return err
		}
		r.advance(from)
		n := 1
		for h+n < hoursOfDay && usable.has(h+n) && start+int64(h+n+1)*hourNanos <= r.edges[r.at+1] && r.takesHour(h+n) {
			n++
		}
		if err := r.addHours(h, h+n); err != nil {
			return err
		}
		h += n
		r.raw.Start = start + int64(h)*hourNanos
		r.raw.End = r.raw.Start
	}
	return r.flush(ctx, p)
}

// Whether a day has rollups of ten minutes.
const (
	fineUnknown = iota
	fineNone
	fineOpen
)

// openFine finds the ten minutes that belong to the row of a day.
func (r *partialReader) openFine(p keys.Partition, day rollupFound) (int, error) {
	if r.noRow {
		return fineNone, nil
	}
	row, err := r.rows.find(levelFine, p, r.src.directory.of(p), nil)
	if err != nil || row.generation != day.generation {
		return fineNone, r.damaged(err)
	}
	if err := r.row.Reset(row.value); err != nil {
		return fineNone, r.damaged(err)
	}
	if r.row.Len() != fineOfDay {
		return fineNone, r.damaged(fmt.Errorf("%d times ten minutes: %w", r.row.Len(), rollup.ErrCorrupt))
	}
	return fineOpen, nil
}

// readFine reads the ten minutes of an hour of the row that openFine found; false if they are not plain, or damaged.
func (r *partialReader) readFine(h int) (bool, error) {
	plain, err := r.fine.ReadSome(&r.row, h*fineOfHour, (h+1)*fineOfHour)
	return plain && err == nil, r.damaged(err)
}

// cut adds an hour that edges cut: ten minutes that none of them cuts from rollups.
func (r *partialReader) cut(ctx context.Context, p keys.Partition, h int, start int64, in model.TimeRange) error {
	for i := h * fineOfHour; i < (h+1)*fineOfHour; {
		from, to := start+int64(i)*fineNanos, start+int64(i+1)*fineNanos
		if to <= in.Start || from >= in.End {
			i++
			continue
		}
		if !r.inOne(from, to) {
			r.raw.End = min(to, in.End)
			i++
			continue
		}
		if err := r.flush(ctx, p); err != nil {
			return err
		}
		r.advance(from)
		n := 1
		for i+n < (h+1)*fineOfHour && start+int64(i+n+1)*fineNanos <= r.edges[r.at+1] {
			n++
		}
		few := r.fine.Partial(i, i+n)
		r.out[r.at].Merge(&few)
		r.cursor.reading.TenMinutes += int64(n)
		i += n
		r.raw.Start = start + int64(i)*fineNanos
		r.raw.End = r.raw.Start
	}
	return nil
}

// usable is the hours of a partition that its rollups, of the seal that day is of, are right for: nothing that is not sealed
// lies over them, and no range delete or its undoing, and nothing erased, that they do not know concerns them.
func (r *partialReader) usable(p keys.Partition) (m hourMask, day rollupFound, err error) {
	gens := r.src.directory.of(p)
	if r.noRow || !r.long || !wholeDay(p) || sealedThrough(gens) == 0 || len(openOps(r.cursor.ops, p, sealedThrough(gens))) > 0 || r.cursor.erases(p) {
		return 0, day, nil
	}
	if day, err = r.rows.find(levelDay, p, gens, nil); err != nil || len(day.value) == 0 {
		return 0, day, r.damaged(err)
	}
	_, inHead := slices.BinarySearchFunc(r.inHead, p, keys.Partition.Compare)
	unsealed := slices.ContainsFunc(gens, func(g generation) bool { return !g.sealed && g.id <= r.src.newest })
	m = allHours
	if !inHead && !unsealed {
		return m, day, nil
	}
	c, in := r.cursor, p.Range()
	c.in = in
	if _, err := c.gather(p, in); err != nil {
		return 0, day, c.damaged(in, err)
	}
	var over hourMask
	for i := range c.pieces {
		if x := &c.pieces[i]; !x.key.Kind.Sealed() {
			over.set(in.Start, x.first, x.last)
		}
	}
	return m &^ over, day, nil
}

// damaged passes over damage of rollups, with an alarm: samples stand in for them.
func (r *partialReader) damaged(err error) error {
	if err == nil || !isRollupDamage(err) {
		return err
	}
	r.noRow = true
	r.src.db.alarms.raise("store_damaged", fmt.Sprintf("rollups of tag %d: %v: samples stand in for them until the days are sealed again", r.tag, err))
	return nil
}

// advance makes the bucket that holds an instant the one being filled.
func (r *partialReader) advance(t int64) {
	if r.edges[r.at+1] > t {
		return
	}
	if r.at+2 < len(r.edges) && r.edges[r.at+2] > t {
		r.at++
		return
	}
	i, found := slices.BinarySearch(r.edges[r.at+1:], t)
	if found {
		i++
	}
	r.at += i
}

// inOne reports whether one bucket holds all of [from, to).
func (r *partialReader) inOne(from, to int64) bool {
	if from < r.edges[0] || to > r.edges[len(r.edges)-1] {
		return false
	}
	at := r.at
	r.advance(from)
	one := to <= r.edges[r.at+1]
	if r.raw.Start < r.raw.End {
		r.at = at // what is to be read comes first
	}
	return one
}

// addDay adds a whole day; false if its row is damaged, or not taken.
func (r *partialReader) addDay(day rollupFound) (bool, error) {
	p, err := rollup.Decode(day.value)
	if err != nil || !r.takes(&p) {
		return false, r.damaged(err)
	}
	r.give(&p)
	r.cursor.reading.Days++
	return true, nil
}

// openHours finds the hours that belong to the row of a day; false if there are none.
func (r *partialReader) openHours(p keys.Partition, day rollupFound) (bool, error) {
	if r.noRow {
		return false, nil
	}
	row, err := r.rows.find(levelHours, p, r.src.directory.of(p), nil)
	if err != nil || row.generation != day.generation {
		return false, r.damaged(err)
	}
	if err := r.row.Reset(row.value); err != nil {
		return false, r.damaged(err)
	}
	if r.row.Len() != hoursOfDay {
		return false, r.damaged(fmt.Errorf("%d hours: %w", r.row.Len(), rollup.ErrCorrupt))
	}
	r.hours = r.hours[:0]
	plain := false
	if r.detail == Plain {
		if plain, err = r.plain.Read(&r.row); err != nil {
			return false, r.damaged(err)
		}
	}
	if !plain {
		if r.hours, err = rollup.DecodeRow(row.value); err != nil {
			r.hours = r.hours[:0]
			return false, r.damaged(err)
		}
	}
	r.opened = true
	return true, nil
}

// empty reports whether one of the hours that are open has no samples.
func (r *partialReader) empty(h int) bool {
	if len(r.hours) > 0 {
		return r.hours[h].Empty()
	}
	p := r.plain.Partial(h, h+1)
	return p.Empty()
}

// addHours adds hours [from, to), which lie in the bucket being filled.
func (r *partialReader) addHours(from, to int) error {
	r.cursor.reading.Hours += int64(to - from)
	if len(r.hours) == 0 {
		p := r.plain.Partial(from, to)
		r.out[r.at].Merge(&p)
		return nil
	}
	for h := from; h < to; h++ {
		r.give(&r.hours[h])
	}
	return nil
}

// left is the rollups of a partition whose samples are erased: there is nothing else, whatever lies over them.
func (r *partialReader) left(p keys.Partition) (hourMask, rollupFound, error) {
	if r.noRow {
		return 0, rollupFound{}, r.cursor.damaged(p.Range(), fmt.Errorf("the rollups that outlived its samples: %w", ErrCorrupt))
	}
	day, err := r.rows.find(levelDay, p, r.src.directory.of(p), nil)
	switch {
	case isRollupDamage(err):
		return 0, day, r.cursor.damaged(p.Range(), fmt.Errorf("the rollups that outlived its samples: %w: %w", ErrCorrupt, err))
	case err != nil || len(day.value) == 0:
		return 0, day, err
	}
	return allHours, day, nil
}

// flush adds the samples that are to be read.
func (r *partialReader) flush(ctx context.Context, p keys.Partition) error {
	if r.raw.Empty() {
		return nil
	}
	if r.thin {
		return r.nothing(p)
	}
	in := r.raw
	r.raw.Start = r.raw.End
	r.list(p)
	c := r.cursor
	c.reset(r.tag)
	if r.chunks != nil {
		c.narrow(r.chunks, in)
	} else {
		c.in, c.parts = in, []keys.Partition{p}
	}
	for {
		b, err := c.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		r.add(&b.Samples)
	}
}

// nothing passes over what is to be read of a partition whose samples are erased, if there were none.
func (r *partialReader) nothing(p keys.Partition) error {
	start := p.Range().Start
	var over hourMask
	over.set(start, r.raw.Start, r.raw.End-1)
	for h := range hoursOfDay {
		if !over.has(h) {
			continue
		}
		if !r.opened || !r.empty(h) {
			return r.cursor.damaged(r.raw, errErased(r.raw, "only rollups are left: ask for whole days, hours or, of minimum, maximum, count and average, ten minutes"))
		}
	}
	r.raw.Start = r.raw.End
	return nil
}

// list lists the chunks of a partition of which several stretches are to be read.
func (r *partialReader) list(p keys.Partition) {
	if r.listed {
		return
	}
	r.listed, r.chunks = true, nil
	if !r.stretches {
		return
	}
	c, in := r.cursor, p.Range()
	in.Start, in.End = max(in.Start, r.edges[0]), min(in.End, r.edges[len(r.edges)-1])
	c.reset(r.tag)
	c.in = in
	gone, err := c.gather(p, in)
	c.cutErased(p)
	if err != nil || !c.sealedOnly(gone) { // each stretch finds for itself what is its own of the damage
		return
	}
	r.chunks = append(r.memory[:0], c.pieces...)
	r.memory = r.chunks
}

func (r *partialReader) add(s *model.Samples) {
	if r.taker != nil {
		r.taker.Samples(s)
		return
	}
	for from := 0; from < s.Len(); {
		r.advance(s.Times[from])
		to := searchTime(s.Times, from, r.edges[r.at+1])
		if r.detail == Plain {
			r.out[r.at].AddPlain(s, from, to)
		} else {
			r.out[r.at].Add(s, from, to)
		}
		from = to
	}
}

// boundNear is where a bound is looked for first: a chunk is read from the block that holds it, and not from its start.
const boundNear = int64(5 * time.Minute)

// bound makes p of the first sample of a range: that of the lowest seq, in a reverse range that of the highest.
func (r *partialReader) bound(ctx context.Context, in model.TimeRange, p *rollup.Partial) error {
	near := in
	if uint64(in.End)-uint64(in.Start) > uint64(boundNear) && !in.Empty() {
		if in.Reverse {
			near.Start = in.End - boundNear
		} else {
			near.End = in.Start + boundNear
		}
	}
	all := in
	for _, in := range []model.TimeRange{near, all} {
		if in.Empty() {
			return nil
		}
		c := r.cursor
		c.reset(r.tag)
		c.in = in
		var err error
		if c.parts, err = r.src.partitionsOf(r.tag, in); err != nil {
			return err
		}
		if in.Reverse {
			slices.Reverse(c.parts)
		}
		if slices.ContainsFunc(c.parts, c.thinned) {
			return r.boundLeft(ctx, all, p)
		}
		b, err := c.Next(ctx)
		if errors.Is(err, io.EOF) {
			continue
		}
		if err != nil {
			return err
		}
		p.Add(&b.Samples, 0, 1)
		return nil
	}
	return nil
}

// boundLeft is bound where the samples of some partitions are erased: rollups know the first and the last of them.
func (r *partialReader) boundLeft(ctx context.Context, in model.TimeRange, p *rollup.Partial) error {
	c := r.cursor
	parts, err := r.src.partitionsOf(r.tag, in)
	if err != nil {
		return err
	}
	if in.Reverse {
		slices.Reverse(parts)
	}
	for _, part := range parts {
		if c.thinned(part) {
			x, ok, err := r.endOf(part, in)
			if err != nil {
				return err
			}
			if ok {
				s := model.Samples{Type: x.Type}
				s.Append(x.Sample)
				p.Add(&s, 0, 1)
				return nil
			}
			continue
		}
		c.reset(r.tag)
		c.in, c.parts = in, []keys.Partition{part}
		b, err := c.Next(ctx)
		if errors.Is(err, io.EOF) {
			continue
		}
		if err != nil {
			return err
		}
		p.Add(&b.Samples, 0, 1)
		return nil
	}
	return nil
}

// endOf is the first sample in a range, of a reverse one the last, as rollups of a partition know it.
func (r *partialReader) endOf(p keys.Partition, in model.TimeRange) (x rollup.Point, ok bool, err error) {
	r.raw = p.Range()                          // what is to be said in errors
	rows := rollupRows{src: r.src, tag: r.tag} // those of r only go ahead
	defer rows.close()
	r.rows, rows = rows, r.rows
	defer func() { r.rows, rows = rows, r.rows }()
	_, day, err := r.left(p)
	if err != nil || len(day.value) == 0 {
		return x, false, err
	}
	ends := func(q *rollup.Partial) (rollup.Point, bool) {
		if in.Reverse {
			return q.Last()
		}
		return q.First()
	}
	if in.Start <= r.raw.Start && in.End >= r.raw.End {
		q, err := rollup.Decode(day.value)
		if err != nil {
			return x, false, r.cursor.damaged(r.raw, fmt.Errorf("%w: %w", ErrCorrupt, err))
		}
		x, ok = ends(&q)
		return x, ok, nil
	}
	row, err := r.rows.find(levelHours, p, r.src.directory.of(p), nil)
	if err == nil && row.generation == day.generation {
		if hours, err := decodeRollups(row.value, hoursOfDay); err == nil {
			return endOfHours(hours, r.raw.Start, in, ends)
		}
	}
	return x, false, r.cursor.damaged(r.raw, errErased(r.raw, "only rollups are left, and they do not know the sample next to %s", in))
}

// endOfHours is endOf by the hours of a day. An hour that the range cuts is in the way if it has samples.
func endOfHours(hours []rollup.Partial, start int64, in model.TimeRange, ends func(*rollup.Partial) (rollup.Point, bool)) (x rollup.Point, ok bool, err error) {
	for i := range hours {
		h := i
		if in.Reverse {
			h = len(hours) - 1 - i
		}
		hour := model.TimeRange{Start: start + int64(h)*hourNanos, End: start + int64(h+1)*hourNanos}
		switch {
		case hours[h].Empty() || hour.End <= in.Start || hour.Start >= in.End:
		case hour.Start < in.Start || hour.End > in.End:
			return x, false, errErased(hour, "only rollups are left, and they do not know the sample next to %s", in)
		default:
			x, ok = ends(&hours[h])
			return x, ok, nil
		}
	}
	return x, false, nil
}
