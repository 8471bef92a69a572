package storage

import (
	"cmp"
	"context"
	"math"
	"slices"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/chunk"
	"github.com/varvedb/varve/storage/head"
	"github.com/varvedb/varve/storage/keys"
)

// past makes a cursor answer from everything that happened to a key and not only from what stands. Of most keys nothing
// did: their samples are merged as always. Those that something is written about beside the chunks are put together from
// all events, group by group, so that what is held at once is a few chunks however long the range is.
type past struct {
	asOf    int64 // the last second of ingest time that counts
	keys    pastKeys
	both    bool          // for a seal: settled is told, and samples are asked for too
	settled func([]event) // takes the events of a group's keys, in order; nil where samples are asked for

	events  []event
	kept    []chunk.Data // of the pieces, what had been ingested
	overlay chunk.Data
	gone    []head.Removed
}

// pastKeys says of which keys a past wants all events.
type pastKeys uint8

const (
	toldKeys pastKeys = iota // that a history says something about: enough to know what stood
	metKeys                  // and of those that may be in several pieces: enough to know every value that ended
	everyKey
)

// SamplesAsOf reads the samples of a tag in a range as they stood at an instant of ingest time. Ingest time counts in whole
// seconds: a version belongs to the answer if the second it was ingested in is that of asOf or an earlier one, so that an
// asOf inside a second means the end of it. Of several versions of a key ingested in one second the last one counts.
func (v *View) SamplesAsOf(tag model.TagID, in model.TimeRange, asOf int64) *Cursor {
	c := &Cursor{src: &v.src, past: &past{asOf: chunk.Second(asOf)}}
	c.Reset(tag, in)
	return c
}

// Modified reads the values of a tag in a range that were replaced or removed, in the order of the range. Of one key the
// oldest comes first, or in a reverse read last.
func (v *View) Modified(tag model.TagID, in model.TimeRange) *ModifiedCursor {
	m := &ModifiedCursor{c: v.src.cursor(tag, in)}
	m.c.past = &past{asOf: math.MaxInt64, keys: metKeys, settled: m.take}
	return m
}

// ModifiedCursor delivers values that no longer stand in blocks. It is for one goroutine.
type ModifiedCursor struct {
	c     *Cursor
	block ModifiedBlock
}

// ModifiedBlock is values that no longer stand and what ended each. Its memory holds until the next call of Next.
type ModifiedBlock struct {
	Block
	Ends []End
}

// End is how a value came to stand no longer.
type End struct {
	Kind           model.VersionKind // Replaced or Removed
	Time           int64             // ingest time, ns: exact for edits, to the second for others
	Offset         uint64            // of the log record; 0 where it is not known
	Author, Reason string            // of an edit, else empty
}

// Next is the next block, never empty, or io.EOF behind the last. Errors are those of [Cursor.Next].
func (m *ModifiedCursor) Next(ctx context.Context) (*ModifiedBlock, error) {
	m.block.Samples.Reset(0)
	m.block.Origins, m.block.Ends = m.block.Origins[:0], m.block.Ends[:0]
	_, err := m.c.Next(ctx)
	if err != nil {
		return nil, err
	}
	return &m.block, nil
}

// Close lets go of what the cursor holds.
func (m *ModifiedCursor) Close() { m.c.Close() }

// take makes a block of the values among events that others ended.
func (m *ModifiedCursor) take(events []event) {
	var d chunk.Data
	for i := 1; i < len(events); i++ {
		e, end := &events[i-1], &events[i]
		if e.Kind == model.Removed || e.Time != end.Time || e.Seq != end.Seq {
			continue
		}
		if d.Type == 0 {
			d.Samples.Reset(e.Type)
		}
		d.Samples.Append(e.Sample)
		addOrigin(&d, chunk.Origin{Source: e.Source, Ingest: chunk.Second(e.Ingest)}, 1)
		m.block.Ends = append(m.block.Ends, End{end.Kind, end.Ingest, end.Offset, end.Author, end.Reason})
	}
	m.block.Block = Block{Samples: d.Samples, Origins: d.Origins}
	if m.c.in.Reverse {
		reverse(&m.block.Block)
		slices.Reverse(m.block.Ends)
	}
	m.c.block = m.block.Block // what Next of the cursor judges
}

// listPast makes groups of the pieces, and gives each the history of the times up to its end. A history behind the last
// piece has a group without any.
func (c *Cursor) listPast(p keys.Partition) error {
	for i := range c.pieces {
		c.pieces[i].gone = nil // the history has it, with the instant at which it went
	}
	c.pieces = slices.DeleteFunc(c.pieces, func(x piece) bool { return x.data != nil && x.data.Len() == 0 })
	for i := range c.pieces {
		if x := &c.pieces[i]; x.data != nil {
			x.span()
		}
	}
	c.makeGroups(false)
	events, err := c.history(p)
	if err != nil {
		return err
	}
	for i := range c.groups {
		g := &c.groups[i]
		n, _ := slices.BinarySearchFunc(events, g.last, func(e event, t int64) int { return order(e.Time <= t) })
		if g.history = events[:n:n]; n > 0 {
			g.first = min(g.first, events[0].Time)
		}
		events = events[n:]
	}
	if n := len(events); n > 0 {
		c.groups = append(c.groups, group{first: events[0].Time, last: events[n-1].Time, history: events})
	}
	return nil
}

// deliverPast makes block the samples of a group as they stood, or hands on what happened to its keys.
func (c *Cursor) deliverPast(g *group) error {
	p := c.now
	c.block = Block{}
	p.gather(g, c.in, c.open)
	c.addOps(p)
	events := settleEvents(p.events, p.both)
	if p.settled != nil {
		if told := sinceFloor(events, c.src.erasures.floor(c.tag)); len(told) > 0 {
			p.settled(told)
		}
		if !p.both {
			return nil
		}
	}
	for len(p.kept) < len(g.pieces) {
		p.kept = append(p.kept, chunk.Data{})
	}
	pieces := make([]piece, 0, len(g.pieces)+1)
	for i := range g.pieces {
		x := g.pieces[i]
		x.data = ingestedBy(x.data, p.asOf, &p.kept[i])
		pieces = append(pieces, x)
	}
	if len(events) > 0 {
		pieces = append(pieces, p.standing(events))
	}
	if len(pieces) == 0 { // there is a history, and none of it had happened
		return nil
	}
	d := pieces[0].data
	if len(pieces) > 1 {
		merge(pieces, &c.merged, nil)
		d = &c.merged
	}
	c.cut(d)
	return nil
}

// gather collects the events of the keys that are to be put together and that had happened.
func (p *past) gather(g *group, in model.TimeRange, open []*rangeOp) {
	p.events = p.events[:0]
	for _, e := range g.history {
		p.add(e)
	}
	all := p.keys == everyKey || p.keys == metKeys && len(g.pieces) > 1
	for i := range g.pieces {
		x := &g.pieces[i]
		if all {
			l := lane{data: x.data}
			for k := range x.data.Times {
				p.sample(x, k, l.origin(), in)
				l.skip(1)
			}
			continue
		}
		if len(open) > 0 {
			p.told(x, g.history, in, open)
			continue
		}
		for n := 0; n < len(g.history); n++ {
			at := g.history[n].key()
			if n > 0 && g.history[n-1].key() == at {
				continue
			}
			if k, found := findKey(x.data, at); found {
				p.sample(x, k, originOf(x.data, k), in)
			}
		}
	}
}

// told adds the samples of a piece that a history or a range delete says something about.
func (p *past) told(x *piece, history []event, in model.TimeRange, open []*rangeOp) {
	l := lane{data: x.data}
	for k, t := range x.data.Times {
		wanted := slices.ContainsFunc(open, func(op *rangeOp) bool { return op.in.Contains(t) })
		if !wanted {
			at := key{t, x.data.SeqAt(k)}
			_, wanted = slices.BinarySearchFunc(history, at, func(e event, at key) int {
				return cmp.Or(cmp.Compare(e.Time, at.time), cmp.Compare(e.Seq, at.seq))
			})
		}
		if wanted {
			p.sample(x, k, l.origin(), in)
		}
		l.skip(1)
	}
}

// addOps adds to the events of every key what range deletes and their undoings did to it.
func (c *Cursor) addOps(p *past) {
	if len(c.open) == 0 || len(p.events) == 0 {
		return
	}
	slices.SortStableFunc(p.events, compareEvents)
	n := len(p.events)
	for i := range n {
		e := p.events[i]
		if i > 0 && p.events[i-1].key() == e.key() {
			continue
		}
		for _, op := range c.open {
			if op.in.Contains(e.Time) && chunk.Second(op.ingest) <= p.asOf {
				x := c.src.opEvent(op, e.key(), e.Type)
				if op.undo != 0 {
					x.undone = undoneBy(c.ops, op.offset)
				}
				p.events = append(p.events, x)
			}
		}
	}
}

// sample adds sample k of a piece.
func (p *past) sample(x *piece, k int, o chunk.Origin, in model.TimeRange) {
	if !in.Contains(x.data.Times[k]) {
		return
	}
	row := chunk.VersionRow{Sample: x.data.At(k), Kind: model.Inserted, Current: true, Ingest: o.Ingest * 1e9, Source: o.Source}
	p.add(event{VersionRow: row, age: x.eventAge(), rank: lastRank})
}

func (p *past) add(e event) {
	if chunk.Second(e.Ingest) <= p.asOf {
		p.events = append(p.events, e)
	}
}

// standing is a piece that lies over all others: of every key that something is told about, what settled events leave of
// it, or that it is gone.
func (p *past) standing(settled []event) piece {
	p.gone = p.gone[:0]
	p.overlay.Reset()
	p.overlay.Samples.Reset(settled[0].Type)
	for i := range settled { // the first event of a key is never settled away, so that each key is among them
		e := &settled[i]
		if i+1 < len(settled) && settled[i+1].key() == e.key() {
			continue
		}
		p.gone = append(p.gone, head.Removed{Time: e.Time, Seq: e.Seq})
		if e.Kind == model.Removed {
			continue
		}
		p.overlay.Samples.Append(e.Sample)
		addOrigin(&p.overlay, chunk.Origin{Source: e.Source, Ingest: chunk.Second(e.Ingest)}, 1)
	}
	return piece{age: math.MaxUint64, data: &p.overlay, gone: p.gone}
}

// key is the key that the event happened to.
func (e *event) key() key { return key{e.Time, e.Seq} }

// findKey is the place of a key among samples.
func findKey(d *chunk.Data, at key) (int, bool) {
	k, found := slices.BinarySearch(d.Times, at.time)
	for ; found && k < len(d.Times) && d.Times[k] == at.time; k++ {
		if d.SeqAt(k) == at.seq {
			return k, true
		}
	}
	return 0, false
}

// originOf is where sample k came from.
func originOf(d *chunk.Data, k int) chunk.Origin {
	for _, o := range d.Origins {
		if k -= o.Samples; k < 0 {
			return o
		}
	}
	return chunk.Origin{}
}

// ingestedBy is the samples of d that were ingested in a second or before, in out unless that is all of them. Samples whose
// origin nobody knows were there from the beginning.
func ingestedBy(d *chunk.Data, second int64, out *chunk.Data) *chunk.Data {
	if !slices.ContainsFunc(d.Origins, func(o chunk.Origin) bool { return o.Ingest > second }) {
		return d
	}
	out.Reset()
	out.Samples.Reset(d.Type)
	at := 0
	for _, o := range d.Origins {
		if o.Ingest <= second {
			appendSamples(out, d, at, at+o.Samples)
			addOrigin(out, o, o.Samples)
		}
		at += o.Samples
	}
	return out
}
