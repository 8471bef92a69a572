package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// connection is one Ingest stream whose Welcome has come.
type connection struct {
	stream  varvev1.IngestService_IngestClient
	welcome *varvev1.Welcome
	cancel  context.CancelFunc
}

func (s *Session) connect(ctx context.Context) (*connection, error) {
	ctx, cancel := context.WithCancel(ctx)
	c, err := s.hello(ctx)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("open ingest stream of source %q: %w", s.o.Source, err)
	}
	c.cancel = cancel
	s.o.Logger.Info("ingest stream is open", "source", s.o.Source, "session", c.welcome.Session, "applied_through", c.welcome.AppliedThrough)
	return c, nil
}

func (s *Session) hello(ctx context.Context) (*connection, error) {
	stream, err := s.client.Ingest(ctx)
	if err != nil {
		return nil, err
	}
	hello := &varvev1.Hello{
		Source: s.o.Source, Epoch: s.o.Epoch, Kind: s.o.Kind, CreateTags: s.o.CreateTags,
		WantApplied:  s.o.Until >= varvev1.Mark_MARK_APPLIED,
		WantArchived: s.o.Until >= varvev1.Mark_MARK_ARCHIVED,
	}
	err = stream.Send(&varvev1.IngestRequest{Message: &varvev1.IngestRequest_Hello{Hello: hello}})
	if err != nil && !errors.Is(err, io.EOF) { // io.EOF: the stream's own error comes from Recv
		return nil, err
	}
	answer, err := stream.Recv()
	if err != nil {
		return nil, err
	}
	w := answer.GetWelcome()
	if w == nil {
		return nil, fmt.Errorf("the server answered a Hello with %T", answer.Message)
	}
	return &connection{stream: stream, welcome: w}, nil
}

// installWelcome makes a new connection the present one and settles what it says is applied.
func (s *Session) installWelcome(w *varvev1.Welcome) {
	s.mu.Lock()
	through := w.AppliedThrough
	if s.o.Until > varvev1.Mark_MARK_APPLIED || s.o.Answers {
		through = 0 // ask again by sending again
	}
	done := s.mu.queue.reconnected(through)
	s.mu.welcome, s.mu.live = w, true
	s.mu.changed.Broadcast()
	s.mu.Unlock()
	for _, b := range done {
		if s.o.OnAck != nil {
			s.o.OnAck(varvev1.Mark_MARK_APPLIED, &varvev1.BatchResult{Sequence: b.Sequence, Duplicate: true})
		}
		if s.o.Release != nil {
			s.o.Release(b)
		}
	}
}

// run keeps a connection until the session is closed or an error is final.
func (s *Session) run(ctx context.Context, c *connection) {
	defer close(s.done)
	var r retry
	for {
		began := time.Now()
		err := s.serve(c)
		s.mu.Lock()
		s.mu.live = false
		closing, settled, idle := s.mu.closing, s.mu.queue.settled, s.mu.queue.idle()
		s.mu.Unlock()
		switch {
		case closing:
			s.end(ErrClosed)
			return
		case final(err):
			s.end(err)
			return
		}
		r.lost(settled, idle && time.Since(began) >= s.o.BackoffMax)
		if c = s.reconnect(ctx, &r, err); c == nil {
			return
		}
		s.installWelcome(c.welcome)
	}
}

// retry is how long nothing has been settled, over however many connections: a server that takes every connection and
// no batch is as far away as one that takes none.
type retry struct {
	settled uint64
	since   time.Time // of the first connection lost since something was settled
	pause   time.Duration
}

// lost begins anew where something was settled over the connection just lost, or stood is true: it stood for a while and
// there was nothing to settle.
func (r *retry) lost(settled uint64, stood bool) {
	if settled > r.settled || stood || r.since.IsZero() {
		*r = retry{settled: settled, since: time.Now()}
	}
}

// next is the pause before the next attempt.
func (r *retry) next(o *Options) time.Duration {
	r.pause = min(max(2*r.pause, o.BackoffMin), o.BackoffMax)
	return r.pause/2 + rand.N(r.pause/2+1)
}

// reconnect tries until a connection stands. It returns nil after it has ended the session.
func (s *Session) reconnect(ctx context.Context, r *retry, cause error) *connection {
	for {
		if s.o.GiveUpAfter > 0 && time.Since(r.since) >= s.o.GiveUpAfter {
			s.end(fmt.Errorf("nothing came through for %s: %w", s.o.GiveUpAfter, cause))
			return nil
		}
		wait := r.next(&s.o)
		s.o.Logger.Warn("ingest stream ended", "source", s.o.Source, "err", cause, "retry_in", wait)
		if s.o.OnDisconnect != nil {
			s.o.OnDisconnect(cause, wait)
		}
		if !s.sleep(wait) {
			s.end(ErrClosed)
			return nil
		}
		c, err := s.connect(ctx)
		if err == nil {
			return c
		}
		if final(err) {
			s.end(err)
			return nil
		}
		cause = err
	}
}

// sleep pauses, and reports false where Close came first.
func (s *Session) sleep(d time.Duration) bool {
	until, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	defer s.wakeOn(until)()
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.mu.closing && until.Err() == nil {
		s.mu.changed.Wait()
	}
	return !s.mu.closing
}

func (s *Session) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.err == nil {
		s.mu.err = err
	}
	s.mu.changed.Broadcast()
}

// serve writes and reads one connection until it ends and returns why. It leaves no goroutine behind.
func (s *Session) serve(c *connection) error {
	defer c.cancel()
	written := make(chan struct{})
	go func() {
		defer close(written)
		s.write(c)
	}()
	err := s.read(c)
	s.mu.Lock()
	s.mu.live = false
	s.mu.changed.Broadcast()
	s.mu.Unlock()
	c.cancel()
	<-written
	return err
}

// write sends what is under way until the connection is down or the session closes. Its errors are told by read.
func (s *Session) write(c *connection) {
	for {
		s.mu.Lock()
		var m *varvev1.IngestRequest
		for s.mu.live && !s.mu.closing {
			if m = s.mu.queue.toWrite(); m != nil {
				break
			}
			s.mu.changed.Wait()
		}
		closing := s.mu.closing
		s.mu.Unlock()
		if m == nil {
			if closing {
				_ = c.stream.CloseSend() // never fails on a client stream
			}
			return
		}
		if c.stream.Send(m) != nil {
			return
		}
	}
}

func (s *Session) read(c *connection) error {
	for {
		m, err := c.stream.Recv()
		if status.Code(err) == codes.Aborted {
			return fmt.Errorf("ingest stream of source %q: %w: %w", s.o.Source, ErrFenced, err)
		}
		if err != nil {
			return fmt.Errorf("ingest stream of source %q: %w", s.o.Source, err)
		}
		switch m := m.Message.(type) {
		case *varvev1.IngestResponse_Ack:
			s.acked(m.Ack)
		case *varvev1.IngestResponse_Resolved:
			s.mu.Lock()
			asked := s.mu.queue.answered(m.Resolved)
			s.mu.changed.Broadcast()
			s.mu.Unlock()
			if !asked {
				return errors.New("the server answered a Resolve that was not sent")
			}
		default:
			return fmt.Errorf("the server sent %T amid the stream", m)
		}
	}
}

func (s *Session) acked(a *varvev1.Ack) {
	for _, r := range a.Batches {
		if s.o.OnAck != nil {
			s.o.OnAck(a.Mark, r)
		}
		if r.Rejected == 0 || s.o.OnRejected == nil {
			continue
		}
		s.mu.Lock()
		b := s.mu.queue.find(r.Sequence)
		s.mu.Unlock()
		if b != nil {
			s.o.OnRejected(b, r)
		}
	}
	if a.Mark < s.o.Until {
		return
	}
	var done []*varvev1.Batch
	s.mu.Lock()
	for _, r := range a.Batches {
		finished, _ := s.mu.queue.finish(r.Sequence) // an answer to a batch of before the reconnect may come twice
		done = append(done, finished...)
	}
	s.mu.changed.Broadcast()
	s.mu.Unlock()
	if s.o.Release != nil {
		for _, b := range done {
			s.o.Release(b)
		}
	}
}

// final reports whether connecting again cannot mend err.
func final(err error) bool {
	switch status.Code(err) {
	case codes.Aborted, codes.FailedPrecondition, codes.InvalidArgument, codes.PermissionDenied, codes.Unauthenticated,
		codes.Unimplemented, codes.NotFound, codes.OutOfRange, codes.DataLoss:
		return true
	}
	return false
}
