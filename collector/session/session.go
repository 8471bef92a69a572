// Package session is the client side of the Ingest stream: it sends the batches of one source and keeps each until the
// server says it may be forgotten.
//
// # The path of a batch
//
//	Send → in flight → stream → (lost connection: again from the first batch not done) → Ack → OnAck → Release
//
// # What it promises
//
// Batches reach the server in the order of their sequence, and every batch that Send took is either done or is sent
// again on the next connection; the server drops the ones it has by (source, epoch, sequence), so each applies once.
// Memory is bounded: Send waits while [Options.InFlightBatches] or [Options.InFlightBytes] are not done. An error that
// sending again cannot mend (another session fenced this one, the sequence was used before, no right to write) ends the
// session, and every later call returns it.
//
// # The parts
//
// session.go is what callers use, queue.go the batches and questions under way, stream.go one connection after the other.
package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// Errors to test with errors.Is. Errors of the server keep their gRPC status.
var (
	ErrClosed   = errors.New("session is closed")
	ErrFenced   = errors.New("a newer session of the same source has taken over")
	ErrSequence = errors.New("sequence is not the next one")
	ErrTooLarge = errors.New("message is larger than the server takes")
)

// Options say who sends and how much may be under way. Source and Epoch are required.
type Options struct {
	// Source names the queue that sends, 1 to 256 bytes; Epoch, not 0, names its counter.
	Source string
	Epoch  uint64
	// Kind decides the server's default write mode. The default is a collector.
	Kind varvev1.SourceKind
	// CreateTags asks the server to create tags it does not know.
	CreateTags bool

	// Until is the mark at which a batch is done: MARK_ACCEPTED (safe in the server's log), MARK_APPLIED or
	// MARK_ARCHIVED. A later mark keeps more batches in memory for longer. The default is MARK_APPLIED.
	Until varvev1.Mark
	// InFlightBatches and InFlightBytes bound the batches not yet done; one batch is always let through. A larger
	// window hides a longer round trip and fsync, and costs its size in memory. The defaults are 64 and 32 MiB.
	InFlightBatches int
	InFlightBytes   int

	// BackoffMin and BackoffMax are the first and longest pause between attempts to connect; each is drawn from the
	// upper half of a doubling range. The defaults are 100 ms and 10 s.
	BackoffMin, BackoffMax time.Duration
	// GiveUpAfter ends the session when connections were lost or refused for so long without a batch done between
	// them. The default, 0, tries for ever.
	GiveUpAfter time.Duration

	// OnAck is called for every result, in the order the server sends them, by one goroutine at a time; the stream
	// stands still meanwhile. A batch sent again may be reported as MARK_ACCEPTED again. A batch found applied after a reconnect is reported as MARK_APPLIED with Duplicate set and
	// no counts, because its own answer was lost.
	OnAck func(varvev1.Mark, *varvev1.BatchResult)
	// OnRejected is called, behind OnAck, for a result with rejections, with the batch that they are of. What it is told of a batch it may be told again.
	OnRejected func(*varvev1.Batch, *varvev1.BatchResult)
	// Answers sends a batch until its own answer came, also one that the server says after a reconnect that it applied: what was rejected of it
	// stands in that answer alone. The default takes the server's word.
	Answers bool
	// Release is called with each batch that is done, for reuse of its memory.
	Release func(*varvev1.Batch)
	// OnDisconnect is told why a connection ended and when the next is tried.
	OnDisconnect func(err error, retryIn time.Duration)
	// Logger gets connects and disconnects. The default discards.
	Logger *slog.Logger
}

func (o *Options) setDefaults() error {
	if o.Source == "" || len(o.Source) > 256 {
		return fmt.Errorf("session: Source has %d bytes, must have 1 to 256", len(o.Source))
	}
	if o.Epoch == 0 {
		return errors.New("session: Epoch is 0, which names no queue")
	}
	if o.Until == varvev1.Mark_MARK_UNSPECIFIED {
		o.Until = varvev1.Mark_MARK_APPLIED
	}
	if o.InFlightBatches <= 0 {
		o.InFlightBatches = 64
	}
	if o.InFlightBytes <= 0 {
		o.InFlightBytes = 32 << 20
	}
	if o.BackoffMin <= 0 {
		o.BackoffMin = 100 * time.Millisecond
	}
	if o.BackoffMax < o.BackoffMin {
		o.BackoffMax = max(10*time.Second, o.BackoffMin)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Session sends the batches of one source. Its methods may be called from any goroutine, but the order of batches is
// the order of the calls to Send.
type Session struct {
	o      Options
	client varvev1.IngestServiceClient
	cancel context.CancelFunc
	done   chan struct{} // closed when the connection loop has ended

	// mu guards what is inside it. changed is broadcast whenever any of it changes. Neither the network nor a callback
	// is called while it is held.
	mu struct {
		sync.Mutex
		changed sync.Cond
		queue   queue
		welcome *varvev1.Welcome
		live    bool  // a connection stands and its Welcome has come
		closing bool  // Close was called: nothing more will be sent
		err     error // why the session ended
	}
}

// Open connects, says Hello and returns once the server's Welcome has come. The first attempt is not repeated, so that
// a wrong address is told at once; from then on the session connects again by itself.
func Open(ctx context.Context, client varvev1.IngestServiceClient, o Options) (*Session, error) {
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s := &Session{o: o, client: client, cancel: cancel, done: make(chan struct{})}
	s.mu.changed.L = &s.mu
	stopWatch := context.AfterFunc(ctx, cancel) // ctx bounds the handshake only
	first, err := s.connect(run)
	if !stopWatch() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		cancel()
		return nil, err
	}
	s.installWelcome(first.welcome)
	go s.run(run, first)
	return s, nil
}

// Welcome is the server's answer to the newest Hello. A source resumes behind its AppliedThrough.
func (s *Session) Welcome() *varvev1.Welcome {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.welcome
}

// Send puts a batch on its way, waiting while too much is in flight. The first batch may have any sequence, each later
// one that of the batch before plus 1. The batch belongs to the session until Release gets it.
func (s *Session) Send(ctx context.Context, b *varvev1.Batch) error {
	size := proto.Size(b)
	defer s.wakeOn(ctx)()
	s.mu.Lock()
	defer s.mu.Unlock()
	q := &s.mu.queue
	if err := s.checkBatchLocked(b, size); err != nil {
		return err
	}
	for s.mu.err == nil && !s.mu.closing && ctx.Err() == nil &&
		len(q.batches) > 0 && (len(q.batches) >= s.o.InFlightBatches || q.bytes+size > s.o.InFlightBytes) {
		s.mu.changed.Wait()
	}
	if err := s.usableLocked(ctx); err != nil {
		return err
	}
	if err := s.checkBatchLocked(b, size); err != nil { // others may have sent meanwhile, the Welcome may be new
		return err
	}
	q.push(b, size)
	s.mu.changed.Broadcast()
	return nil
}

// messageOverhead is more than an IngestRequest adds to the batch inside it.
const messageOverhead = 16

func (s *Session) checkBatchLocked(b *varvev1.Batch, size int) error {
	if last := s.mu.queue.last; b.Sequence == 0 || last != 0 && b.Sequence != last+1 {
		return fmt.Errorf("send batch %d behind batch %d: %w", b.Sequence, last, ErrSequence)
	}
	if most := s.mu.welcome.MaxMessageBytes; most > 0 && uint64(size)+messageOverhead > most {
		return fmt.Errorf("send batch %d of %d bytes, most is %d: %w", b.Sequence, size, most-messageOverhead, ErrTooLarge)
	}
	return nil
}

// Resolve asks for the ids of tags, in the order given, creating those that do not exist if CreateTags is set. It
// splits the question as the protocol demands.
func (s *Session) Resolve(ctx context.Context, tags []*varvev1.NewTag) ([]*varvev1.ResolvedTag, error) {
	defer s.wakeOn(ctx)()
	out := make([]*varvev1.ResolvedTag, 0, len(tags))
	for len(tags) > 0 {
		n := s.resolvePart(tags)
		part, err := s.resolveOnce(ctx, tags[:n])
		if err != nil {
			return nil, err
		}
		out, tags = append(out, part...), tags[n:]
	}
	return out, nil
}

// maxResolveTags is the most tags the protocol allows in one Resolve.
const maxResolveTags = 100_000

// resolvePart is how many of tags fit into one Resolve, at least 1.
func (s *Session) resolvePart(tags []*varvev1.NewTag) int {
	most := int(min(s.Welcome().MaxMessageBytes, 1<<30))
	if most == 0 {
		most = 1 << 20
	}
	bytes, n := messageOverhead, 0
	for n < len(tags) && n < maxResolveTags {
		bytes += proto.Size(tags[n]) + messageOverhead
		if n > 0 && bytes > most {
			break
		}
		n++
	}
	return n
}

func (s *Session) resolveOnce(ctx context.Context, tags []*varvev1.NewTag) ([]*varvev1.ResolvedTag, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usableLocked(ctx); err != nil {
		return nil, err
	}
	q := s.mu.queue.ask(tags)
	s.mu.changed.Broadcast()
	for s.mu.err == nil && ctx.Err() == nil && q.answer == nil {
		s.mu.changed.Wait()
	}
	if q.answer == nil {
		if s.mu.err != nil {
			return nil, s.mu.err
		}
		return nil, context.Cause(ctx)
	}
	if len(q.answer.Tags) != len(tags) {
		return nil, fmt.Errorf("resolve %d tags: the server answered with %d", len(tags), len(q.answer.Tags))
	}
	return q.answer.Tags, nil
}

// Flush waits until every batch sent so far, and those sent meanwhile, are done.
func (s *Session) Flush(ctx context.Context) error {
	defer s.wakeOn(ctx)()
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.mu.err == nil && ctx.Err() == nil && len(s.mu.queue.batches) > 0 {
		s.mu.changed.Wait()
	}
	if len(s.mu.queue.batches) == 0 {
		return nil
	}
	if s.mu.err != nil {
		return s.mu.err
	}
	return context.Cause(ctx)
}

// InFlight is the number and bytes of batches not yet done.
func (s *Session) InFlight() (batches, bytes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.mu.queue.batches), s.mu.queue.bytes
}

// Err is why the session ended, nil while it works.
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.err
}

// Done is closed when the session has ended; Err says why.
func (s *Session) Done() <-chan struct{} { return s.done }

// Close ends the session without waiting for batches in flight: the server may or may not have them, and a later
// session of the same source and epoch learns which. Call Flush first to be sure of them.
func (s *Session) Close() error {
	s.mu.Lock()
	s.mu.closing = true
	err := s.mu.err
	s.mu.changed.Broadcast()
	s.mu.Unlock()
	select {
	case <-s.done:
	case <-time.After(closeTimeout):
		s.cancel()
		<-s.done
	}
	s.cancel()
	return err
}

// closeTimeout is how long Close lets the server end the stream by itself.
const closeTimeout = 2 * time.Second

func (s *Session) usableLocked(ctx context.Context) error {
	switch {
	case s.mu.err != nil:
		return s.mu.err
	case s.mu.closing:
		return ErrClosed
	}
	return context.Cause(ctx)
}

// wakeOn wakes the waiters when ctx ends, so that each looks at its own; the function returned stops that.
func (s *Session) wakeOn(ctx context.Context) func() bool {
	return context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.mu.changed.Broadcast()
	})
}
