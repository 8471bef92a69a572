package queue

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/varvedb/varve/collector/session"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/storage/log"
)

// room waits until there is room for n bytes, or makes some.
func (q *Queue) room(ctx context.Context, n int64) error {
	defer context.AfterFunc(ctx, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.changed.Broadcast()
	})()
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		switch {
		case q.closed:
			return ErrClosed
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case int64(q.samples.Bytes())+n <= q.bound():
			return nil
		case q.making:
			q.changed.Wait()
			continue
		}
		q.making = true
		q.mu.Unlock()
		made, err := q.makeRoom(ctx, n)
		q.mu.Lock()
		q.making = false
		q.changed.Broadcast()
		if err != nil {
			return err
		}
		if !made {
			q.changed.Wait()
		}
	}
}

// bound is how many bytes of samples may lie on disk when something is put. Thinning writes what is left of a segment before that goes.
func (q *Queue) bound() int64 {
	if q.o.Full == Thin {
		return q.o.MaxBytes - int64(q.thinRoom())
	}
	return q.o.MaxBytes
}

// queueFull is the reason of gaps where a queue lost what it had.
const queueFull = "the queue of the collector was full"

// makeRoom takes away what every destination has and, if it may and must, the oldest segment. It reports whether there is room now.
func (q *Queue) makeRoom(ctx context.Context, n int64) (bool, error) {
	q.settle()
	if int64(q.samples.Bytes())+n <= q.bound() {
		return true, nil
	}
	segments := q.samples.Segments()
	if q.o.Full == Block || len(segments) < 2 {
		return false, nil
	}
	tell := q.tellLost
	if q.o.Full == Thin {
		tell = q.thin
	}
	if err := q.drop(ctx, segments[1].First, tell); err != nil {
		return false, fmt.Errorf("make room in the queue: %w", err)
	}
	return true, nil
}

// drop takes the records below offset end away from every destination that may not have them, once tell has put on disk what a destination is to know of
// them.
func (q *Queue) drop(ctx context.Context, end uint64, tell func(context.Context, *sender, []offsets) error) error {
	for _, s := range q.senders {
		s.mu.Lock()
		parts := s.place.below(end)
		s.mu.Unlock()
		if len(parts) == 0 {
			continue
		}
		if err := tell(ctx, s, parts); err != nil {
			return err
		}
		s.mu.Lock()
		err := s.loseLocked(s.place.undone(), end, "the queue is full")
		s.mu.Unlock()
		if err != nil {
			return err
		}
	}
	q.settle()
	return nil
}

// offsets is records of the queue.
type offsets struct{ first, end uint64 }

// below is the records below offset end that the destination may not have.
func (p *place) below(end uint64) (out []offsets) {
	for _, x := range p.stretches {
		if x.first < end {
			out = append(out, offsets{x.first, min(x.end, end)})
		}
	}
	return out
}

// tellLost tells a destination that records are lost.
func (q *Queue) tellLost(ctx context.Context, s *sender, parts []offsets) error {
	for _, p := range parts {
		if err := q.reportLost(ctx, s, p.first, p.end, queueFull); err != nil {
			return err
		}
	}
	return nil
}

// span is the times of samples, and the type of their values.
type span struct {
	from, to int64
	typ      varvev1.Type
}

// reportLost tells a destination that the samples of records [first, end) are lost: for each tag the range of their times.
func (q *Queue) reportLost(ctx context.Context, s *sender, first, end uint64, reason string) error {
	spans := map[string]span{}
	damaged, err := q.eachRun(ctx, s.d.Name, offsets{first, end}, func(run *varvev1.Run) error {
		if from, to, ok := session.Times(run, 0, session.RunLen(run)); ok {
			widen(spans, run.Tag, span{from, to, typeOf(run)})
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := q.putSpans(ctx, s.d.Name, bySpan(spans), varvev1.GapKind_GAP_KIND_LOST, reason); err != nil {
		return err
	}
	return q.tellDamaged(ctx, s, damaged)
}

// eachRun calls f with the runs that a destination is to get of records [in.first, in.end). f keeps none of them: all are one message. It returns
// the records that are damaged.
func (q *Queue) eachRun(ctx context.Context, destination string, in offsets, f func(*varvev1.Run) error) (damaged []offsets, err error) {
	return q.eachRecord(ctx, destination, in, func(_ uint64, _ int64, message []byte) error { return decodeRuns(message, f) })
}

// eachRecord calls f with the batches of records [in.first, in.end), encoded as a destination gets them, and when they were put. It returns those
// that are damaged.
func (q *Queue) eachRecord(ctx context.Context, destination string, in offsets, f func(offset uint64, at int64, message []byte) error) (damaged []offsets, err error) {
	r, err := q.samples.NewReader(in.first)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }() // it was only read
	for next := in.first; next < in.end; {
		offset, record, err := r.Next(ctx)
		var lost *log.LostError
		if errors.As(err, &lost) {
			next = lost.Lost.End
			damaged = append(damaged, offsets{lost.Lost.First, min(next, in.end)})
			continue
		}
		if err != nil {
			return nil, err
		}
		if offset >= in.end {
			return damaged, nil
		}
		at, message, err := openRecord(record, destination)
		if err != nil {
			return nil, err
		}
		if err := f(offset, at, message); err != nil {
			return nil, err
		}
		next = offset + 1
	}
	return damaged, nil
}

// widen makes the span of a tag hold another one too.
func widen(spans map[string]span, tag string, x span) {
	if had, ok := spans[tag]; ok {
		x = span{min(x.from, had.from), max(x.to, had.to), max(x.typ, had.typ)}
	}
	spans[tag] = x
}

// bySpan is the tags of each span.
func bySpan(spans map[string]span) map[span][]string {
	out := map[span][]string{}
	for tag, x := range spans {
		out[x] = append(out[x], tag)
	}
	return out
}

// putSpans puts a gap for the tags of each span, from its first time to its last.
func (q *Queue) putSpans(ctx context.Context, destination string, spans map[span][]string, kind varvev1.GapKind, reason string) error {
	for x, tags := range spans {
		slices.Sort(tags)
		g := Gap{Tags: tags, Kind: kind, Start: x.from, End: behind(x.to), Reason: reason, typ: x.typ}
		if err := q.putGap(ctx, destination, g); err != nil {
			return err
		}
	}
	return nil
}

// behind is the end of a gap whose last instant is to.
func behind(to int64) int64 {
	if to < math.MaxInt64 {
		to++
	}
	return to
}
