package queue

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

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
		case int64(q.samples.Bytes())+n <= q.o.MaxBytes:
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

// makeRoom takes away what every destination has and, if it may and must, the oldest segment. It reports whether there is room now.
func (q *Queue) makeRoom(ctx context.Context, n int64) (bool, error) {
	q.settle()
	if int64(q.samples.Bytes())+n <= q.o.MaxBytes {
		return true, nil
	}
	if q.o.Full != DropOldest {
		return false, nil
	}
	segments := q.samples.Segments()
	if len(segments) < 2 {
		return false, nil
	}
	if err := q.drop(ctx, segments[1].First); err != nil {
		return false, fmt.Errorf("make room in the queue: %w", err)
	}
	return true, nil
}

// drop loses the records below offset end to every destination that may not have them. Gaps that tell of it are on disk before the records
// go.
func (q *Queue) drop(ctx context.Context, end uint64) error {
	for _, s := range q.senders {
		s.mu.Lock()
		stretches := slices.Clone(s.place.stretches)
		s.mu.Unlock()
		for _, x := range stretches {
			if x.first < end {
				if err := q.reportLost(ctx, s, x.first, min(x.end, end), "the queue of the collector was full"); err != nil {
					return err
				}
			}
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

// span is the times of samples.
type span struct{ from, to int64 }

// reportLost tells a destination that the samples of records [first, end) are lost: for each tag the range of their times.
func (q *Queue) reportLost(ctx context.Context, s *sender, first, end uint64, reason string) error {
	spans := map[string]span{}
	r, err := q.samples.NewReader(first)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }() // it was only read
	for {
		offset, record, err := r.Next(ctx)
		var lost *log.LostError
		if errors.As(err, &lost) {
			if lost.Lost.End >= end {
				break
			}
			continue
		}
		if err != nil {
			return err
		}
		if offset >= end {
			break
		}
		_, b, err := decodeRecord(record)
		if err != nil {
			return err
		}
		for _, run := range b.Runs {
			from, to, ok := timesOf(run)
			if !ok {
				continue
			}
			if x, had := spans[run.Tag]; had {
				from, to = min(from, x.from), max(to, x.to)
			}
			spans[run.Tag] = span{from, to}
		}
		if offset == end-1 {
			break
		}
	}
	bySpan := map[span][]string{}
	for tag, x := range spans {
		bySpan[x] = append(bySpan[x], tag)
	}
	for x, tags := range bySpan {
		slices.Sort(tags)
		to := x.to
		if to < math.MaxInt64 {
			to++ // a gap ends behind its last instant
		}
		g := Gap{Tags: tags, Kind: varvev1.GapKind_GAP_KIND_LOST, Start: x.from, End: to, Reason: reason}
		if err := q.putGap(ctx, s.d.Name, g); err != nil {
			return err
		}
	}
	return nil
}

// timesOf is the first and the last time of a run.
func timesOf(r *varvev1.Run) (from, to int64, ok bool) {
	switch {
	case len(r.TimesNs) > 0:
		return slices.Min(r.TimesNs), slices.Max(r.TimesNs), true
	case r.Count > 0:
		last := r.FirstTimeNs + int64(r.Count-1)*r.StepNs
		return min(r.FirstTimeNs, last), max(r.FirstTimeNs, last), true
	}
	at, unit := r.FirstTimeNs, int64(max(r.TimeUnitNs, 1))
	from, to = at, at
	for _, d := range r.TimeDeltas {
		at += d * unit
		from, to = min(from, at), max(to, at)
	}
	return from, to, true
}
