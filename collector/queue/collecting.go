package queue

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// Collecting is a source that is read.
type Collecting struct {
	Source string   // collector and source
	List   uint64   // names Tags: another number where one came or went; not 0
	Tags   []string // as they are when Options.Collecting is asked; not written to afterwards
	Until  int64    // the source was read until then, ns UTC
}

// told is what a destination knows of a list.
type told struct {
	list    uint64
	unknown uint32    // of its tags the destination does not have so many
	again   time.Time // when they are named again for it; zero for never

	exceptions uint64 // those that were handed on; 0 for none
}

// part is one part of a list, as one call takes it.
type part struct {
	source string
	number int
}

const (
	// againAfter is how often tags are named again that a destination still does not have: they come with their first sample.
	againAfter = time.Minute
	// onTheWay is how long what was read may take to the disk of the queue: before that it may not be there.
	onTheWay = time.Second
)

// errNotKnown is that nothing can be said yet of what has arrived.
var errNotKnown = errors.New("what has arrived is not known")

// tellCollecting tells the destination every while until when sources were read and all of it has arrived. It ends with ctx alone.
func (s *sender) tellCollecting(ctx context.Context, _ uint64) error {
	if s.d.Gaps == nil || s.q.o.Collecting == nil {
		return s.wait(ctx, func() bool { return false })
	}
	for ctx.Err() == nil {
		pause := s.q.o.CollectingEvery
		switch err := s.tellOnce(ctx); {
		case errors.Is(err, errNotKnown):
			pause = min(pause, onTheWay)
		case err == nil || ctx.Err() != nil:
		case status.Code(err) == codes.Unimplemented: // an older server
			return s.wait(ctx, func() bool { return false })
		default:
			s.q.o.Logger.Warn("a destination is not told what is read", "destination", s.d.Name, "error", err)
			pause = min(pause, gapPause)
		}
		sleep(ctx, pause)
	}
	return context.Cause(ctx)
}

func (s *sender) tellOnce(ctx context.Context) error {
	sources := s.q.o.Collecting() // before what has arrived is looked at: that goes on
	arrived := s.arrived()
	if arrived == math.MinInt64 {
		return errNotKnown
	}
	for _, r := range sources {
		through := min(r.Until, arrived)
		number := 0
		for tags := range slices.Chunk(r.Tags, maxGapTags) {
			if err := s.tellPart(ctx, part{r.Source, number}, r.List, tags, through); err != nil {
				return fmt.Errorf("source %s: %w", r.Source, err)
			}
			number++
		}
	}
	return nil
}

// tellPart names the tags only where the destination does not have the list.
func (s *sender) tellPart(ctx context.Context, p part, list uint64, tags []string, through int64) error {
	now := s.q.o.Now()
	t := s.named[p]
	if t.list != list {
		t = told{list: list}
	}
	m := &varvev1.ReportCollectingRequest{Source: p.source, Part: uint32(p.number), List: list, ThroughNs: through}
	if s.d.Exceptions != nil {
		m.Exceptions = &t.exceptions
	}
	if s.named[p].list == list && (t.again.IsZero() || now.Before(t.again)) {
		a, err := s.d.Gaps.ReportCollecting(ctx, m)
		if err != nil {
			return err
		}
		if a.Known {
			s.named[p] = s.takeExceptions(t, tags, a)
			return nil
		}
	}
	m.Tags = tags
	a, err := s.d.Gaps.ReportCollecting(ctx, m)
	if err != nil {
		return err
	}
	switch before := s.named[p]; {
	case a.UnknownTags == 0:
		t.again = time.Time{}
	case before.list == list && before.unknown == a.UnknownTags:
		t.again = now.Add(againAfter)
	default:
		t.again = now
	}
	t.unknown = a.UnknownTags
	s.named[p] = s.takeExceptions(t, tags, a)
	return nil
}

// takeExceptions hands on the exception filters of a list where they are others than those before.
func (s *sender) takeExceptions(t told, tags []string, a *varvev1.ReportCollectingResponse) told {
	if a.Exceptions == 0 || a.Exceptions == t.exceptions || s.d.Exceptions == nil {
		return t
	}
	of := map[string]*varvev1.TagException{}
	for _, x := range a.Tags {
		if x.GetException() != nil && uint64(x.Tag) < uint64(len(tags)) {
			of[tags[x.Tag]] = x
		}
	}
	s.d.Exceptions(tags, of)
	t.exceptions = a.Exceptions
	return t
}

// arrived is an instant before which everything was put that the destination has. It never goes back. Of gaps the log does not say when they were
// put: while one waits it stays.
func (s *sender) arrived() int64 {
	at := s.q.o.Now().Add(-onTheWay).UnixNano()
	s.mu.Lock()
	undone, gap, untold := s.place.undone(), s.place.gap, s.untoldHere || len(s.refusals.fresh) > 0
	s.mu.Unlock()
	switch oldest, ok := s.q.putAt(undone); {
	case untold, gap <= s.q.gaps.HighWatermark(), !ok:
		return s.through
	case oldest != 0:
		at = min(at, oldest-int64(onTheWay))
	}
	s.through = max(s.through, at)
	return s.through
}

// putAt is when a record was put; 0 where there is none yet, false where that cannot be read.
func (q *Queue) putAt(offset uint64) (int64, bool) {
	if offset > q.samples.HighWatermark() {
		return 0, true
	}
	r, err := q.samples.NewReader(offset)
	if err != nil {
		return 0, false
	}
	defer func() { _ = r.Close() }() // it was only read
	_, record, err := r.Next(context.Background())
	if err != nil {
		return 0, false
	}
	at, _, _, err := recordTime(record)
	return at, err == nil
}
