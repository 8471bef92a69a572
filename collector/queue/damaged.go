package queue

import (
	"context"
	"math"

	"github.com/varvedb/varve/internal/saturate"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// queueDamaged is the reason of gaps where records could not be read.
const queueDamaged = "records of the collector's queue are damaged"

// tellDamaged tells a destination what may have been in records that are damaged, of those that it may not have.
func (q *Queue) tellDamaged(ctx context.Context, s *sender, damaged []offsets) error {
	for _, d := range damaged {
		s.mu.Lock()
		parts := s.place.below(d.end)
		s.mu.Unlock()
		for _, p := range parts {
			if p.first = max(p.first, d.first); p.first >= p.end {
				continue
			}
			for _, run := range q.holds.runs(p) {
				if err := q.tellLostOf(ctx, s, run); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// tellLostOf tells of records that cannot be read: of each tag that was said to be in them the times at which its samples can have been.
func (q *Queue) tellLostOf(ctx context.Context, s *sender, of offsets) error {
	c, around, whole, err := q.holds.about(ctx, of)
	if err != nil {
		return err
	}
	if !whole {
		q.o.Logger.Error("what damaged records of the queue held is not all known: what other records hold is told of them", "destination", s.d.Name, "first", of.first, "end", of.end)
		around = offsets{0, open}
	}
	n, err := q.neighbours(ctx, s.d.Name, of, around)
	if err != nil {
		return err
	}
	if !whole {
		c.take(n, q.o.Now().UnixNano())
	}
	if c.ordered {
		c.from, c.until = max(c.from, n.before), min(c.until, n.after)
	}
	for _, late := range []bool{false, true} {
		spans := map[string]span{}
		for k, h := range c.of {
			if k.late != late {
				continue
			}
			x := span{saturate.Add(c.from, h.least), saturate.Add(c.until, h.most), h.typ}
			if t, ok := n.last[k]; ok && h.ordered {
				x.from = max(x.from, saturate.Add(t, 1))
			}
			if t, ok := n.next[k]; ok && h.ordered {
				x.to = min(x.to, saturate.Sub(t, 1))
			}
			if x.from <= x.to {
				spans[k.tag] = x
			}
		}
		if err := q.putSpans(ctx, s.d.Name, bySpan(spans), varvev1.GapKind_GAP_KIND_LOST, queueDamaged); err != nil {
			return err
		}
	}
	return nil
}

// neighbours is what can be read around damaged records.
type neighbours struct {
	before, after int64            // when those next to them were put; the ends of time where there are none
	last, next    map[tagKey]int64 // of each tag the newest sample in front of them, and the oldest behind
	of            map[tagKey]held  // what holds of all
}

func (q *Queue) neighbours(ctx context.Context, destination string, of, around offsets) (*neighbours, error) {
	n := &neighbours{before: math.MinInt64, after: math.MaxInt64, last: map[tagKey]int64{}, next: map[tagKey]int64{}, of: map[tagKey]held{}}
	around = offsets{max(around.first, q.samples.LowWatermark()), min(around.end, q.samples.HighWatermark()+1)}
	_, err := q.eachRecord(ctx, destination, around, func(offset uint64, at int64, message []byte) error {
		before := offset < of.first
		if before {
			n.before = at
		} else {
			n.after = min(n.after, at)
		}
		return decodeRuns(message, func(r *varvev1.Run) error {
			n.add(before, at, r)
			return nil
		})
	})
	return n, err
}

// add adds a run of a record that was put at an instant.
func (n *neighbours) add(before bool, at int64, r *varvev1.Run) {
	k, x, ok := keyOf(r)
	if !ok {
		return
	}
	h, had := n.of[k]
	h = h.with(had, saturate.Sub(x.from, at), saturate.Sub(x.to, at))
	h.typ = max(h.typ, x.typ)
	n.of[k] = h
	if t, ok := n.last[k]; before && (!ok || x.to > t) {
		n.last[k] = x.to
	}
	if t, ok := n.next[k]; !before && (!ok || x.from < t) {
		n.next[k] = x.from
	}
}

// take adds what other records hold to what is said, in no order, of records that were put between those next to them; until now where there are none.
func (c *chapter) take(n *neighbours, now int64) {
	if n.after != math.MaxInt64 {
		c.until = n.after
	} else if c.until == math.MinInt64 {
		c.until = now
	}
	if n.before != math.MinInt64 {
		c.from = n.before
	} else if c.from == math.MaxInt64 {
		c.from = c.until
	}
	c.add(&chapter{from: c.from, until: c.until, of: n.of})
	for k, h := range c.of {
		h.ordered = false
		c.of[k] = h
	}
}
