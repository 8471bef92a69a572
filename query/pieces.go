package query

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/rollup"
)

// piece is a part of a bucket in which one rule says how the shape of a tag follows from its samples.
type piece struct {
	rollup.Interval
	samples model.TimeRange // whose samples belong to it
	bucket  int             // counted from the earliest
	out     bool            // the condition does not hold
	unsure  bool            // rollups are all that is left, and do not tell whether samples are too far apart
}

// pieces cuts the consecutive buckets of a tag at the instants at which its settings change, and reads what each piece holds. Pieces come
// in ascending order, a batch of them is held at once.
type pieces struct {
	stretch
	detail storage.Detail
	most   int  // pieces of a batch, at least 2; 0 for windowBuckets
	usable bool // what lies before a piece has the nearest usable sample too; otherwise the nearest one

	tag     *model.Tag
	bounds  []int64 // edges of the buckets, ascending
	shift   int64   // from an edge to the first instant whose samples lie behind it: 1 in reverse
	changes []int64 // of settings, behind from
	from    int64   // where the next piece begins
	first   int64   // and its samples
	bucket  int     // and of which bucket it is

	parts   []piece // the batch
	at      int     // of parts: the piece that is next
	before  rollup.Partial
	begun   bool
	edges   []int64
	filled  []int // of parts, which each of partials.Buckets belongs to
	nothing rollup.Partial
	near    nearby

	while         *condition // nil for none; the tags of which are read in
	conditionView View
	held          *held
	in            model.TimeRange // the stretch found last
}

// open begins with the buckets of a tag, whose edges ascend or, in reverse, descend.
func (p *pieces) open(tag *model.Tag, edges []int64) {
	p.bounds = append(p.bounds[:0], edges...)
	p.shift = 0
	if edges[0] > edges[1] {
		slices.Reverse(p.bounds)
		p.shift = 1
	}
	p.tag, p.from, p.first, p.bucket, p.begun = tag, p.bounds[0], p.bounds[0]+p.shift, 0, false
	p.parts, p.at = p.parts[:0], 0
	p.changes = p.changes[:0]
	for i := 1; i < len(tag.Settings); i++ {
		s, last := &tag.Settings[i], &tag.Settings[i-1]
		isOther := s.Stepped != last.Stepped && !s.Type.AlwaysStepped() || s.MaxGap != last.MaxGap
		if isOther && s.From > p.from && s.From < p.bounds[len(p.bounds)-1] {
			p.changes = append(p.changes, s.From)
		}
	}
}

// close is called behind the last piece.
func (p *pieces) close() {
	if p.held != nil {
		p.held.close()
		p.held = nil
	}
}

// whole reports whether each bucket is one piece, over which samples may be any distance apart.
func (p *pieces) whole() bool {
	return p.while == nil && len(p.changes) == 0 && p.tag.At(p.from).MaxGap == 0
}

// stored are edges as storage takes them: in reverse the samples of (a, b] are those of [a+1, b+1).
func (p *pieces) stored(edges []int64) []int64 {
	p.edges = append(p.edges[:0], edges...)
	for i := range p.edges {
		p.edges[i] += p.shift
	}
	return p.edges
}

// of hands out the pieces of a bucket in which the condition holds, if there is one. Buckets are asked for in ascending order. A piece holds until the next one.
func (p *pieces) of(ctx context.Context, bucket int, do func(*piece) error) error {
	return p.all(ctx, bucket, func(x *piece) error {
		if x.out {
			return nil
		}
		return do(x)
	})
}

// all hands out those in which it does not hold too.
func (p *pieces) all(ctx context.Context, bucket int, do func(*piece) error) error {
	for {
		if p.at == len(p.parts) {
			if p.bucket > bucket {
				return nil
			}
			if err := p.cut(ctx); err != nil {
				return err
			}
			if err := p.readParts(ctx); err != nil {
				return err
			}
		}
		x := &p.parts[p.at]
		if x.bucket > bucket {
			return nil
		}
		x.Before = &p.before
		if err := do(x); err != nil {
			return err
		}
		p.before.TakeLast(x.In)
		if p.at++; p.at == len(p.parts) && p.bucket > bucket {
			return nil
		}
	}
}

// cut makes the next pieces, as many as there are or fit a batch. In reverse the samples at the later edge of a bucket are its own, and those at
// the earlier one are not, but inside of it a stretch of a condition has those of its start: where one starts or ends next to an edge there are pieces
// with time and no samples, or the other way round.
func (p *pieces) cut(ctx context.Context) (err error) {
	p.parts, p.at = p.parts[:0], 0
	if p.while != nil && p.held == nil {
		if p.held, err = p.while.within(ctx, p.conditionView, p.bounds[0], p.bounds[len(p.bounds)-1]+p.shift); err != nil {
			return err
		}
		p.in = model.TimeRange{Start: p.from, End: p.from}
	}
	most := cmp.Or(p.most, windowBuckets)
	for p.bucket+1 < len(p.bounds) && len(p.parts) < most {
		edge := p.bounds[p.bucket+1]
		end := edge + p.shift // of the samples; that of the time is the edge
		out := false
		if p.held != nil {
			if p.in.End <= p.from && !p.in.Empty() || p.in.Start == p.from && p.in.Empty() {
				if p.in, err = p.held.next(ctx); err != nil {
					return err
				}
			}
			switch {
			case p.in.Empty():
				out = true
			case p.in.Start > p.from:
				out, end = true, min(end, p.in.Start)
			default:
				end = min(end, p.in.End)
			}
		}
		for len(p.changes) > 0 && p.changes[0] <= p.from {
			p.changes = p.changes[1:]
		}
		if len(p.changes) > 0 && p.changes[0] < edge {
			end = min(end, p.changes[0])
		}
		reach := reachOf(p.tag.At(min(p.from, edge-1)).MaxGap) // at the edge itself still that of the bucket
		p.parts = append(p.parts, piece{
			bucket: p.bucket, out: out, samples: model.TimeRange{Start: p.first, End: end}, Interval: rollup.Interval{Start: p.from, End: min(end, edge), Reach: reach},
		})
		if p.from, p.first = min(end, edge), end; end == edge+p.shift {
			p.bucket++
		}
	}
	return nil
}

func reachOf(most time.Duration) uint64 { return uint64(max(most, 0)) }

// readParts reads what the pieces hold, and what lies before and behind each.
func (p *pieces) readParts(ctx context.Context) error {
	p.edges, p.filled = append(p.edges[:0], p.parts[0].samples.Start), p.filled[:0]
	for i := range p.parts {
		if in := p.parts[i].samples; !in.Empty() {
			p.edges, p.filled = append(p.edges, in.End), append(p.filled, i)
		}
	}
	if err := p.fill(ctx); err != nil {
		return err
	}
	if !p.begun {
		if p.usable {
			if err := p.usableBefore(ctx, p.tag.ID); err != nil {
				return err
			}
		}
		p.before, p.begun = p.partials.Before, true
	}
	after, k := &p.partials.After, len(p.filled)
	for i := len(p.parts) - 1; i >= 0; i-- {
		x := &p.parts[i]
		x.In, x.After = &p.nothing, after
		if !x.samples.Empty() {
			k--
			x.In = &p.partials.Buckets[k]
		}
		if !x.In.Empty() {
			after = x.In
		}
	}
	return nil
}

func (p *pieces) fill(ctx context.Context) error {
	if !slices.ContainsFunc(p.parts, func(x piece) bool { return x.Reach > 0 }) {
		return p.view.Partials(ctx, p.tag.ID, p.edges, p.detail, &p.partials)
	}
	p.near.begin(p)
	if err := p.view.Offer(ctx, p.tag.ID, p.edges, &p.near); err != nil {
		return err
	}
	p.besides += p.near.samples
	return nil
}

// nearby fills the partials of pieces, and parts samples that are further apart than the shape reaches: a storage.Taker. Rollups do not
// tell how far apart their samples are, but they lie in no longer time than from the first to the last.
type nearby struct {
	of      *pieces
	at      int
	samples int64
}

func (n *nearby) begin(p *pieces) {
	*n = nearby{of: p}
	into := &p.partials
	into.Buckets = slices.Grow(into.Buckets[:0], len(p.filled))[:len(p.filled)]
	clear(into.Buckets)
	into.Before, into.After, into.Reading = rollup.Partial{}, rollup.Partial{}, storage.Reading{}
}

// part is the piece that a partial is filled of.
func (n *nearby) part(i int) *piece { return &n.of.parts[n.of.filled[i]] }

// find is which partial the samples of an instant belong to, -1 for none before them, and their number for those behind.
func (n *nearby) find(t int64) int {
	edges := n.of.edges
	if n.at+1 < len(edges) && edges[n.at] <= t && t < edges[n.at+1] {
		return n.at
	}
	i, found := slices.BinarySearch(edges, t)
	if !found {
		i--
	}
	return i
}

// Takes takes what is known to have no samples too far apart. Of erased samples it takes hours in any case: there is nothing else.
func (n *nearby) Takes(p *rollup.Partial, erased bool) bool {
	if p.Empty() {
		return true
	}
	reach, span := n.span(p)
	return reach == 0 || span <= reach || erased && span < uint64(time.Hour)
}

// span is how far the shape of the piece that a rollup belongs to reaches, and from when to when the rollup is.
func (n *nearby) span(p *rollup.Partial) (reach, span uint64) {
	first := p.FirstPoint().Time
	return n.part(n.find(first)).Reach, uint64(p.LastPoint().Time) - uint64(first)
}

func (n *nearby) Rollup(p *rollup.Partial) {
	if p.Empty() {
		return
	}
	n.at = n.find(p.FirstPoint().Time)
	x, in := n.part(n.at), &n.of.partials.Buckets[n.at]
	reach, span := n.span(p)
	x.unsure = x.unsure || reach > 0 && span > reach
	n.split(in, reach, p.FirstPoint().Time)
	in.Merge(p)
	if span < uint64(time.Hour) {
		n.of.partials.Reading.Hours++
	} else {
		n.of.partials.Reading.Days++
	}
}

// split parts what a piece has from what comes at an instant, if that is too far away.
func (n *nearby) split(in *rollup.Partial, reach uint64, t int64) {
	if last := in.LastPoint(); reach > 0 && last != nil && !last.Gap && uint64(t)-uint64(last.Time) > reach {
		in.Part()
	}
}

func (n *nearby) Samples(s *model.Samples) {
	into := &n.of.partials
	n.samples += int64(s.Len())
	for from := 0; from < s.Len(); {
		i := n.find(s.Times[from])
		switch {
		case i < 0:
			into.Before = rollup.Partial{}
			into.Before.Add(s, from, from+1)
			from++
			continue
		case i == len(into.Buckets):
			if into.After.Empty() {
				into.After.Add(s, from, from+1)
			}
			return
		}
		n.at = i
		in, reach, end := &into.Buckets[i], n.part(i).Reach, n.of.edges[i+1]
		n.split(in, reach, s.Times[from])
		to := from + 1
		for to < s.Len() && s.Times[to] < end && (reach == 0 || uint64(s.Times[to])-uint64(s.Times[to-1]) <= reach) {
			to++
		}
		in.Add(s, from, to)
		from = to
	}
}

// Gap takes a break into the piece it stands in. A gap lasts over any distance.
func (n *nearby) Gap(b storage.Break) {
	into := &n.of.partials
	switch i := n.find(b.Time); {
	case i < 0:
		into.Before.AddGap(b.Type, b.Time, b.Quality)
	case i < len(into.Buckets):
		n.split(&into.Buckets[i], n.part(i).Reach, b.Time)
		into.Buckets[i].AddGap(b.Type, b.Time, b.Quality)
	case into.After.Empty():
		into.After.AddGap(b.Type, b.Time, b.Quality)
	}
}
