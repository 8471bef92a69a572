package query

import (
	"context"
	"io"
	"slices"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/rollup"
)

// stretch is the partials of consecutive intervals of one tag, and the nearest usable samples on both sides of them.
type stretch struct {
	view     View
	strict   bool // Uncertain is taken for Bad
	partials storage.Partials
	besides  int64 // samples read one by one
}

// ascendingEdges puts the edges of an answer in ascending order, in place, and is them as storage takes them, in the memory of into: in reverse
// the samples of (a, b] are those of [a+1, b+1).
func ascendingEdges(edges, into []int64) []int64 {
	reverse := edges[0] > edges[1]
	if reverse {
		slices.Reverse(edges)
	}
	into = append(into[:0], edges...)
	if reverse {
		for i := range into {
			into[i]++
		}
	}
	return into
}

// read fills the partials, and makes those before and behind the intervals know the nearest usable samples.
func (s *stretch) read(ctx context.Context, tag model.TagID, edges []int64) error {
	p := &s.partials
	if err := s.view.Partials(ctx, tag, edges, storage.Full, p); err != nil {
		return err
	}
	if err := s.usableBefore(ctx, tag); err != nil {
		return err
	}
	if first, _ := p.After.UsableEnds(s.strict); first == nil && !p.After.Empty() {
		found, err := s.usable(ctx, tag, model.TimeRange{Start: p.After.FirstPoint().Time, End: model.All.End}, 1)
		if err != nil {
			return err
		}
		if len(found) > 0 {
			after := partialOf(found)
			after.TakeFirst(&p.After)
			p.After = after
		}
	}
	return nil
}

// usableBefore makes the partial before the intervals know the nearest usable sample.
func (s *stretch) usableBefore(ctx context.Context, tag model.TagID) error {
	p := &s.partials
	if _, last := p.Before.UsableEnds(s.strict); last != nil || p.Before.Empty() {
		return nil
	}
	found, err := s.usable(ctx, tag, model.TimeRange{Start: model.MinTime, End: p.Before.LastPoint().Time + 1, Reverse: true}, 1)
	if err != nil || len(found) == 0 {
		return err
	}
	before := partialOf(found)
	before.TakeLast(&p.Before)
	p.Before = before
	return nil
}

func partialOf(s []model.Sample) (p rollup.Partial) {
	all := model.Samples{Type: s[0].Type}
	for _, x := range s {
		all.Append(x)
	}
	p.Add(&all, 0, all.Len())
	return p
}

// usable are the first n usable samples of a range, in its order.
func (s *stretch) usable(ctx context.Context, tag model.TagID, in model.TimeRange, n int) (found []model.Sample, err error) {
	cursor := s.view.Samples(tag, in)
	defer cursor.Close()
	for {
		b, err := cursor.Next(ctx)
		if err == io.EOF {
			return found, nil
		}
		if err != nil {
			return nil, err
		}
		s.besides += int64(b.Len())
		for i := range b.Len() {
			x := b.At(i)
			if point := (rollup.Point{Sample: x}); !point.Usable(s.strict) {
				continue
			}
			x.Blob = slices.Clone(x.Blob)
			if found = append(found, x); len(found) == n {
				return found, nil
			}
		}
	}
}
