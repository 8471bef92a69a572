package storage

import (
	"cmp"
	"context"
	"errors"
	"io"
	"slices"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/rollup"
)

// Break is an instant at which the shape of a tag ends because of a gap: from there on it is Bad, up to its next sample. No sample
// stands at it.
type Break struct {
	Time    int64
	Quality model.Quality
	Type    model.Type // of the tag
}

// addTo adds the break behind what a partial has.
func (b *Break) addTo(p *rollup.Partial) { p.AddGap(b.Type, b.Time, b.Quality) }

// Breaks is where gaps end the shape of a tag. Within a gap each sample counts, and between two of them the shape goes on, because what
// is stored of that time was collected after all. So a gap breaks it at its start, unless a sample stands there, and right behind the
// last sample in it, unless one stands there, just behind its end. Without samples there is the first of these breaks alone.
//
// A nil Breaks is of a tag without gaps. It is for one goroutine, and of use while its view is open.
type Breaks struct {
	view *View
	tag  model.TagID
	typ  model.Type
	asOf *int64
	gaps []gapBreaks // by start
}

// gapBreaks is the breaks of one gap, once they were asked for.
type gapBreaks struct {
	model.Gap
	at    [2]int64
	n     int
	found bool
}

// Breaks is where gaps end the shape of a tag, nil where it has none; with an instant of ingest time by the gaps and the samples that
// stood then, see SamplesAsOf.
func (v *View) Breaks(tag model.TagID, asOf *int64) *Breaks {
	standing := v.GapsAsOf(tag, asOf)
	if len(standing) == 0 {
		return nil
	}
	typ, _ := v.src.db.catalog.Type(tag)
	b := &Breaks{view: v, tag: tag, typ: typ, asOf: asOf, gaps: make([]gapBreaks, len(standing))}
	for i, g := range standing {
		b.gaps[i].Gap = g
	}
	return b
}

// In is the breaks of a forward range, in order. Where several gaps break at one instant the worse quality is the break's: that of what
// is lost.
func (b *Breaks) In(ctx context.Context, in model.TimeRange) (out []Break, err error) {
	err = b.each(ctx, in, func(g *gapBreaks, at int64) { out = append(out, Break{at, g.Kind.Quality(), b.typ}) })
	slices.SortFunc(out, func(x, y Break) int { return cmp.Or(cmp.Compare(x.Time, y.Time), cmp.Compare(y.Quality, x.Quality)) })
	return slices.CompactFunc(out, func(x, y Break) bool { return x.Time == y.Time }), err
}

// Gaps is the gaps that have a break in a forward range, by their starts.
func (b *Breaks) Gaps(ctx context.Context, in model.TimeRange) (out []model.Gap, err error) {
	err = b.each(ctx, in, func(g *gapBreaks, _ int64) {
		if n := len(out); n == 0 || out[n-1] != g.Gap {
			out = append(out, g.Gap)
		}
	})
	return out, err
}

func (b *Breaks) each(ctx context.Context, in model.TimeRange, do func(g *gapBreaks, at int64)) error {
	if b == nil {
		return nil
	}
	for i := range b.gaps {
		g := &b.gaps[i]
		if g.From >= in.End {
			return nil
		}
		if g.To < in.Start { // the last break may stand at the end of the gap
			continue
		}
		if err := b.find(ctx, g); err != nil {
			return err
		}
		for _, at := range g.at[:g.n] {
			if in.Contains(at) {
				do(g, at)
			}
		}
	}
	return nil
}

// find finds the breaks of a gap.
func (b *Breaks) find(ctx context.Context, g *gapBreaks) error {
	if g.found {
		return nil
	}
	add := func(at int64) error {
		stands, err := b.stands(ctx, at)
		if err == nil && !stands {
			g.at[g.n] = at
			g.n++
		}
		return err
	}
	g.n = 0
	if err := add(g.From); err != nil {
		return err
	}
	last, any, err := b.last(ctx, g.From, g.To)
	if err == nil && any {
		err = add(last + 1)
	}
	g.found = err == nil
	return err
}

// stands reports whether a sample stands at an instant. Where only rollups are left of the samples one does, as far as anybody knows.
func (b *Breaks) stands(ctx context.Context, at int64) (bool, error) {
	in := model.TimeRange{Start: at, End: at + 1}
	c := b.cursor(in)
	defer c.Close()
	parts, err := b.view.src.partitionsOf(b.tag, in)
	if err != nil || slices.ContainsFunc(parts, c.thinned) {
		return true, err
	}
	_, err = c.Next(ctx)
	if errors.Is(err, io.EOF) {
		return false, nil
	}
	return true, err
}

// last is the time of the last sample of a range, which is looked for near its end first.
func (b *Breaks) last(ctx context.Context, from, to int64) (at int64, found bool, err error) {
	near := from
	if uint64(to)-uint64(from) > uint64(boundNear) {
		near = to - boundNear
	}
	for _, start := range []int64{near, from} {
		c := b.cursor(model.TimeRange{Start: start, End: to, Reverse: true})
		block, err := c.Next(ctx)
		if err == nil {
			at = block.Times[0]
		}
		c.Close()
		if err == nil || !errors.Is(err, io.EOF) {
			return at, err == nil, err
		}
		if start == from {
			break
		}
	}
	return 0, false, nil
}

func (b *Breaks) cursor(in model.TimeRange) *Cursor {
	if b.asOf != nil {
		return b.view.SamplesAsOf(b.tag, in, *b.asOf)
	}
	return b.view.Samples(b.tag, in)
}

// brokenPieces is how many pieces of buckets are read at a time where breaks cut them.
const brokenPieces = 1024

// brokenPartials is Partials of a tag with gaps. Breaks cut buckets in pieces, which are read as buckets are and merged with the breaks
// between them: so rollups answer for all that no break lies in.
func (v *View) brokenPartials(ctx context.Context, tag model.TagID, breaks *Breaks, edges []int64, detail Detail, into *Partials) error {
	inside, err := breaks.In(ctx, model.TimeRange{Start: edges[0], End: edges[len(edges)-1]})
	if err != nil {
		return err
	}
	if err := v.fillBroken(ctx, tag, inside, edges, detail, into); err != nil {
		return err
	}
	var r partialReader
	r.open(v, tag, edges)
	defer r.close()
	if err := r.bounds(ctx, into); err != nil {
		return err
	}
	found, err := breaks.In(ctx, timeNext(model.TimeRange{Start: model.MinTime, End: edges[0], Reverse: true}, into.Before))
	if err != nil {
		return err
	}
	if n := len(found); n > 0 {
		found[n-1].addTo(&into.Before)
	}
	found, err = breaks.In(ctx, timeNext(model.TimeRange{Start: edges[len(edges)-1], End: model.All.End}, into.After))
	if err == nil && len(found) > 0 {
		var p rollup.Partial
		found[0].addTo(&p)
		p.Merge(&into.After)
		into.After = p
	}
	return err
}

// timeNext is what lies between the edge at which a range begins and its first sample, which a partial has: all of it where that is
// empty.
func timeNext(in model.TimeRange, p rollup.Partial) model.TimeRange {
	out := model.TimeRange{Start: in.Start, End: in.End}
	x, ok := p.First()
	switch {
	case ok && in.Reverse:
		out.Start = x.Time
	case ok:
		out.End = x.Time
	}
	return out
}

// fillBroken fills the buckets, which the breaks cut.
func (v *View) fillBroken(ctx context.Context, tag model.TagID, inside []Break, edges []int64, detail Detail, into *Partials) error {
	cuts := slices.Clone(edges)
	for _, x := range inside {
		cuts = append(cuts, x.Time)
	}
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)
	pieces := make([]rollup.Partial, min(brokenPieces, len(cuts)-1))
	into.Reading = Reading{}
	bucket := 0
	for from := 0; from < len(cuts)-1; from += len(pieces) {
		now := pieces[:min(len(pieces), len(cuts)-1-from)]
		clear(now)
		var r partialReader
		r.open(v, tag, cuts[from:from+len(now)+1])
		err := r.fill(ctx, detail, now)
		into.Reading.Add(&r.cursor.reading)
		r.close()
		if err != nil {
			return err
		}
		for i := range now {
			start := cuts[from+i]
			for start >= edges[bucket+1] {
				bucket++
			}
			p := &into.Buckets[bucket]
			if len(inside) > 0 && inside[0].Time == start {
				inside[0].addTo(p)
				inside = inside[1:]
			}
			p.Merge(&now[i])
		}
	}
	return nil
}
