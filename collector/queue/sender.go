package queue

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/varvedb/varve/collector/session"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// sender brings one destination everything: both lanes and the gaps, over connections of its own.
type sender struct {
	q *Queue
	d Destination

	mu      sync.Mutex
	changed sync.Cond // anything below
	place   place
	dirty   bool   // the place is not on disk as it is
	end     func() // ends the lanes that run; nil while none do

	telling      sync.Mutex // held while gaps are told, or folded; before mu
	waiting      waiting    // gaps that are not in the log of gaps any more
	waitingDirty bool       // it is not on disk as it is
	untoldHere   bool       // not all that waits does so for a tag that the destination does not have

	refusals refusals        // what the destination refuses
	absent   map[string]bool // tags that it does not have and does not make, as lanes were told

	session *session.Session // of the live lane; nil while there is none
	made    uint64           // how often lanes asked for tags, which are there then

	named   map[part]told // what the destination knows of what is read; tellCollecting's alone, as is through
	through int64         // what arrived told last

	idle     bool   // the live lane has nothing to send
	liveSent uint64 // records it handed over, since the beginning

	st DestinationStatus
}

func newSender(q *Queue, d Destination, p place, w waiting, f refusals) *sender {
	s := &sender{
		q: q, d: d, place: p, waiting: w, untoldHere: w.size > 0, refusals: f, dirty: true, absent: map[string]bool{}, named: map[part]told{}, through: math.MinInt64,
		st: DestinationStatus{Name: d.Name},
	}
	s.changed.L = &s.mu
	return s
}

// fit holds the place to the logs that there are: what is not there any more is lost.
func (s *sender) fit() error {
	s.fitGaps()
	return s.loseBelow(context.Background())
}

func (s *sender) fitGaps() {
	gap := s.q.gaps.LowWatermark()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.place.gap = max(s.place.gap, gap)
	if high := s.q.gaps.HighWatermark(); s.waiting.through <= high { // else the log was lost, and counts anew
		s.place.gap = max(s.place.gap, s.waiting.through+1)
	}
}

// loseBelow gives up what is not in the log any more.
func (s *sender) loseBelow(ctx context.Context) error {
	low := s.q.samples.LowWatermark()
	s.mu.Lock()
	undone := s.place.undone()
	s.mu.Unlock()
	if undone >= low {
		return nil
	}
	if err := s.q.tellDamaged(ctx, s, []offsets{{undone, low}}); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.loseLocked(undone, low, "not in the log any more")
}

// loseLocked gives up offsets [first, end). Lanes begin anew for it.
func (s *sender) loseLocked(first, end uint64, why string) error {
	if first >= end || s.place.waiting(end-1) == s.place.waiting(first-1) {
		return nil
	}
	n := s.place.waiting(end-1) - s.place.waiting(first-1)
	epoch, err := s.q.newEpoch()
	if err != nil {
		return err
	}
	s.place.lose(first, end, epoch)
	s.st.Dropped += n
	s.restartLocked()
	s.q.o.Logger.Error("records are lost to a destination", "destination", s.d.Name, "records", n, "why", why)
	return nil
}

// restartLocked lets the lanes begin anew with the place as it is now.
func (s *sender) restartLocked() {
	s.dirty = true
	if s.end != nil {
		s.end()
	}
	s.changed.Broadcast()
}

// persist writes the place, if it went on, and says from where on records and gaps are needed.
func (s *sender) persist() (undone, gap uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.endRefusedLocked(); err != nil {
		return 0, 0, err
	}
	if s.dirty {
		if err := s.writeLocked(); err != nil {
			return 0, 0, err
		}
	}
	return s.place.undone(), s.place.gap, nil
}

// writeLocked writes the place, and before it the gaps of what was refused below it, and those that wait: those below place.gap were told or wait.
func (s *sender) writeLocked() error {
	if err := s.tellRefusedLocked(); err != nil {
		return err
	}
	if s.waitingDirty {
		s.waiting.through = s.place.gap - 1
		if err := s.q.writeWaiting(s.d.Name, &s.waiting); err != nil {
			return err
		}
		s.waitingDirty = false
	}
	if err := s.q.writePlace(s.d.Name, &s.place); err != nil {
		return err
	}
	s.dirty = false
	return nil
}

// done notes what a lane sent under an epoch. A place that was numbered anew does not know those numbers.
func (s *sender) done(epoch uint64, l lane, through uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.place.epoch != epoch {
		return
	}
	before := s.place.waiting(open - 1)
	s.place.done(l, through)
	s.st.Sent += before - s.place.waiting(open-1)
	s.dirty = true
	s.changed.Broadcast()
}

// The first pause between attempts, and how long another program of the same source is given.
const (
	firstPause  = 100 * time.Millisecond
	fencedPause = 10 * time.Second
)

// errRestored is a server that has sequences which this queue did not give.
var errRestored = errors.New("the server has later sequences than this queue gave: the queue was restored from an older copy")

// run sends until ctx ends.
func (s *sender) run(ctx context.Context) {
	pause := time.Duration(0)
	for ctx.Err() == nil {
		sent := s.status().Sent
		err := s.lanes(ctx)
		if ctx.Err() != nil {
			return
		}
		s.mu.Lock()
		if err != nil {
			s.st.LastError = err.Error()
		}
		again := err == nil // the place was numbered anew
		if status.Code(err) == codes.FailedPrecondition || errors.Is(err, errRestored) {
			epoch, random := s.q.newEpoch()
			if again = random == nil; again {
				s.q.o.Logger.Warn("a destination refuses the sequences of this queue; it gets others", "destination", s.d.Name, "error", err)
				s.place.renumber(epoch)
				s.dirty = true
			}
		}
		progress := s.st.Sent != sent
		s.mu.Unlock()
		switch {
		case progress:
			pause = firstPause
		case errors.Is(err, session.ErrFenced):
			pause = min(fencedPause, s.q.o.BackoffMax)
		default:
			pause = min(max(2*pause, firstPause), s.q.o.BackoffMax)
		}
		if !again || pause > firstPause {
			s.q.o.Logger.Warn("a destination is not reached", "destination", s.d.Name, "error", err, "retry_in", pause)
		}
		sleep(ctx, pause)
	}
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// lanes runs both lanes, the gaps and what is read until one fails, which ends the others, or the place is numbered anew: nil then.
func (s *sender) lanes(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s.mu.Lock()
	anew := false
	s.end = func() { anew = true; cancel(nil) }
	s.idle = false
	err := s.writeLocked() // an epoch is on disk before it is used
	epoch := s.place.epoch
	s.mu.Unlock()
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	for _, part := range []func(context.Context, uint64) error{s.sendLive, s.sendBacklog, s.sendGaps, s.tellCollecting} {
		wg.Go(func() {
			if err := part(ctx, epoch); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end, s.session, s.st.Connected = nil, nil, false
	if anew {
		return nil
	}
	return context.Cause(ctx)
}

// wait waits for changed until ready, or ctx ends. ready is asked with mu held, which wait takes.
func (s *sender) wait(ctx context.Context, ready func() bool) error {
	defer context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.changed.Broadcast()
	})()
	s.mu.Lock()
	defer s.mu.Unlock()
	for !ready() && ctx.Err() == nil {
		s.changed.Wait()
	}
	return context.Cause(ctx)
}

// sourceOf is the name of a lane to the server.
func (s *sender) sourceOf(l lane) string {
	if l == backlog {
		return s.q.o.Source + " (backlog)"
	}
	return s.q.o.Source
}

// What may be under way on each lane, which is memory while a server does not answer. The backlog's share is small so that what is live does not wait behind
// it.
var (
	inFlightBatches = [lanes]int{live: 64, backlog: 16}
	inFlightBytes   = [lanes]int{live: 4 << 20, backlog: 2 << 20}
)

// askedAgain is how many batches are sent again that the server says it applied, for their own answers: more than may have been under way, and not so many
// that the server would not know them any more.
const askedAgain = 512

// open opens a lane's session.
func (s *sender) open(ctx context.Context, epoch uint64, l lane) (*session.Session, error) {
	x, err := session.Open(ctx, s.d.Ingest, session.Options{
		Source: s.sourceOf(l), Epoch: epoch, CreateTags: true, Until: s.d.Until,
		InFlightBatches: inFlightBatches[l], InFlightBytes: inFlightBytes[l], BackoffMin: firstPause, BackoffMax: s.q.o.BackoffMax,
		Logger:       s.q.o.Logger,
		Release:      func(b *varvev1.Batch) { s.done(epoch, l, b.Sequence) },
		Answers:      true,
		OnAck:        s.acked,
		OnRejected:   func(b *varvev1.Batch, r *varvev1.BatchResult) { s.refused(l, b, r) },
		OnDisconnect: s.disconnected,
	})
	if err != nil {
		return nil, err
	}
	w := x.Welcome()
	s.mu.Lock()
	s.st.Connected, s.st.LastError = true, ""
	last := s.place.next - 1
	if l == live {
		last = s.place.now().sequence + (max(s.q.samples.HighWatermark()+1, s.place.now().first) - s.place.now().first) - 1
	}
	s.mu.Unlock()
	if w.HighestSequence > last {
		return nil, errors.Join(fmt.Errorf("%w (%d, here %d)", errRestored, w.HighestSequence, last), x.Close())
	}
	if s.d.Until < varvev1.Mark_MARK_ARCHIVED {
		s.done(epoch, l, w.AppliedThrough-min(w.AppliedThrough, askedAgain))
	}
	return x, nil
}

func (s *sender) acked(m varvev1.Mark, r *varvev1.BatchResult) {
	if r.Rejected == 0 || m > varvev1.Mark_MARK_APPLIED {
		return
	}
	s.mu.Lock()
	s.st.Rejected += r.Rejected
	s.mu.Unlock()
	if s.q.o.OnRejected != nil {
		s.q.o.OnRejected(s.d.Name, r)
	}
}

func (s *sender) disconnected(err error, _ time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.st.Connected, s.st.LastError = false, err.Error()
	s.st.Reconnects++
}

func (s *sender) status() DestinationStatus {
	high := s.q.samples.HighWatermark()
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.st
	st.Waiting, st.GapsWaiting = s.place.waiting(high), s.waiting.size
	for _, x := range s.place.stretches {
		if x.lane == backlog {
			st.Backlog += x.end - x.first
		}
	}
	return st
}
