package server

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/varvedb/varve/storage"
)

// sessions is the open session of every source. The newest wins.
type sessions struct {
	counter atomic.Uint64
	fenced  atomic.Uint64

	// mu guards what is below. It is held for a look-up only; sessions are fenced outside of it.
	mu         sync.Mutex
	open       map[string]*session
	lastFenced string // source
	firstFence time.Time
}

// alarm is what an operator should know of sessions: two queues under one name take turns at fencing each other.
func (s *sessions) alarm() (storage.Alarm, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lastFenced == "" {
		return storage.Alarm{}, false
	}
	return storage.Alarm{
		Name: "source_fenced", Since: s.firstFence, Count: s.fenced.Load(),
		Detail: fmt.Sprintf("a newer session took over from an open one, last of source %q; if this goes on, two queues have one name", s.lastFenced),
	}, true
}

// session is one source's right to submit batches.
type session struct {
	number uint64
	source string
	end    context.CancelCauseFunc // ends the stream

	// mu is held while a batch is submitted, so that a fence returns behind the last submission.
	mu     sync.Mutex
	closed error // why no further batch is submitted
}

// begin opens a session and fences the one before: when it returns, the older submits nothing more.
func (s *sessions) begin(source string, end context.CancelCauseFunc) *session {
	next := &session{source: source, end: end}
	s.mu.Lock()
	next.number = s.counter.Add(1)
	old := s.open[source]
	s.open[source] = next
	if old != nil {
		if s.lastFenced = source; s.firstFence.IsZero() {
			s.firstFence = time.Now()
		}
	}
	s.mu.Unlock()
	if old != nil {
		s.fenced.Add(1)
		old.end(errFenced) // first, so that a submission that waits for room gives up
		old.close(errFenced)
	}
	return next
}

// finish forgets a session, unless a newer one took its place.
func (s *sessions) finish(old *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[old.source] == old {
		delete(s.open, old.source)
	}
}

func (s *sessions) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open)
}

// close waits for a submission on its way and lets none follow.
func (s *session) close(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed == nil {
		s.closed = why
	}
}

// submit hands a batch to storage if the session still may.
func (s *session) submit(ctx context.Context, db *storage.DB, b *storage.Batch) (*storage.Pending, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed != nil {
		return nil, s.closed
	}
	return db.Submit(ctx, b)
}
