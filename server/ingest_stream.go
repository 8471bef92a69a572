package server

import (
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
	"google.golang.org/grpc"

	"github.com/varvedb/varve/internal/message"
	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/identity"
)

// ingestStream is one collector's stream.
//
//	reader → handler: decode, judge, submit → acceptance → application → archiving
//
// The reader only receives, so that a stream can end while nothing arrives. The handler's goroutine submits; it waits
// in storage while too much is unsynced or unapplied, and nothing is read meanwhile. Each of the three marks has a
// goroutine that answers in the order submitted. Whatever ends the stream early cancels ctx with the reason.
type ingestStream struct {
	server *Server
	stream grpc.ServerStream
	ctx    context.Context
	cancel context.CancelCauseFunc

	// archiving ends when nobody waits for archived marks any more; it is a child of ctx.
	archiving     context.Context
	stopArchiving context.CancelCauseFunc

	hello   *varvev1.Hello // nil until it came
	session *session
	judge   *judge
	room    *semaphore.Weighted // bytes of messages whose batches are not accepted yet
	ahead   *semaphore.Weighted // batches that are not applied yet

	sending  chan struct{} // holds a token while a message is sent
	accepted *queue[sent]
	applied  *queue[sent]
	archived *queue[archivable]
}

// sent is a batch on its way to its marks.
type sent struct {
	sequence   uint64
	pending    *storage.Pending // nil only for a Write without identity that was refused whole
	taken      int
	rejections rejections
	origins    []runOrigin // only where results of apply are wanted
	bytes      int64
}

// offset is the number of the batch's log record, 0 for none.
func (b *sent) offset() uint64 {
	if b.pending == nil {
		return 0
	}
	return b.pending.Offset()
}

// maxAhead is the most batches of a stream between submission and apply. The identity of a batch is judged against what
// is applied, and one more than identity.MaxHoles sequences ahead of that is refused.
const maxAhead = identity.MaxHoles / 2

// archivable is a batch that waits to be archived.
type archivable struct{ sequence, offset uint64 }

// ingest serves one stream until the client ends it, a newer session fences it, or the server drains.
func (s *Server) ingest(stream grpc.ServerStream) error {
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	st := &ingestStream{
		server: s, stream: stream, ctx: ctx, cancel: cancel,
		room:    semaphore.NewWeighted(s.options.StreamBytes),
		ahead:   semaphore.NewWeighted(maxAhead),
		sending: make(chan struct{}, 1), accepted: newQueue[sent](), applied: newQueue[sent](), archived: newQueue[archivable](),
	}
	return s.runUntil(ctx, "ingest", st.serve)
}

// serve is the life of a stream.
func (st *ingestStream) serve() error {
	defer st.cancel(nil)
	s, ctx := st.server, st.ctx
	st.archiving, st.stopArchiving = context.WithCancelCause(ctx)
	defer context.AfterFunc(s.drain, func() { st.stopArchiving(errDraining) })()
	answers := st.answer()
	err := st.receive()
	if st.session != nil {
		st.session.close(errProtocol)
		defer s.sessions.finish(st.session)
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause // fenced or in conflict, or the client is gone: nothing to wait for
	}
	if err != nil {
		st.stopArchiving(err) // a batch may be archived in ten minutes; only a client that ended well is waited for
	}
	st.accepted.close()
	if answerErr := answers.Wait(); answerErr != nil && (err == nil || errors.Is(err, context.Canceled)) {
		err = answerErr
	}
	if cause := context.Cause(ctx); cause != nil && err == nil {
		err = cause
	}
	return err
}

// receive handles messages until there are no more. The error is why, nil for the client's end of the stream.
func (st *ingestStream) receive() error {
	messages, end := make(chan *message.Received), make(chan error, 1)
	st.server.background.Add(1)
	go func() {
		defer st.server.background.Done()
		end <- st.server.guard("ingest reader", func() error { return st.read(messages) })
	}()
	for {
		select {
		case m := <-messages:
			err := st.handle(m)
			m.Free()
			if err != nil {
				return err
			}
		case err := <-end:
			if err == io.EOF {
				return nil
			}
			return err
		case <-st.server.drain.Done():
			return errDraining
		case <-st.ctx.Done():
			return context.Cause(st.ctx)
		}
	}
}

// read hands over messages as they come.
func (st *ingestStream) read(messages chan<- *message.Received) error {
	for {
		m := &message.Received{}
		if err := st.stream.RecvMsg(m); err != nil {
			return err
		}
		select {
		case messages <- m:
		case <-st.ctx.Done():
			m.Free()
			return context.Cause(st.ctx)
		}
	}
}

func (st *ingestStream) handle(m *message.Received) error {
	message, err := parseIngest(m.Data())
	if err != nil {
		return err
	}
	switch {
	case message.hello != nil:
		return st.handleHello(message.hello)
	case st.hello == nil:
		return fmt.Errorf("the first message must be a hello: %w", errProtocol)
	case message.resolve != nil:
		return st.handleResolve(message.resolve)
	}
	return st.handleBatch(message.batch)
}

func (st *ingestStream) handleHello(h *varvev1.Hello) error {
	if st.hello != nil {
		return fmt.Errorf("hello came twice: %w", errProtocol)
	}
	mode, err := checkSource(h.Source, h.Epoch, h.Kind)
	if err != nil {
		return err
	}
	st.hello = h
	st.session = st.server.sessions.begin(h.Source, st.cancel)
	st.judge = newJudge(st.server.door(), mode)
	state := st.server.db.Identity(h.Source, h.Epoch)
	st.server.log.Info("session opened", "source", h.Source, "epoch", h.Epoch, "session", st.session.number, "applied_through", state.Through)
	return st.send(&varvev1.IngestResponse{Message: &varvev1.IngestResponse_Welcome{Welcome: &varvev1.Welcome{
		Session: st.session.number, AppliedThrough: state.Through, HighestSequence: state.Highest,
		CatalogRevision: st.server.db.Catalog().Revision(), MaxMessageBytes: uint64(st.server.options.MaxMessageBytes),
	}}})
}

// checkSource judges what a source says of itself; the mode is the default for its runs.
func checkSource(source string, epoch uint64, kind varvev1.SourceKind) (model.WriteMode, error) {
	const most = 256
	if err := model.CheckName(source); err != nil {
		return 0, fmt.Errorf("source: %w: %w", err, errBadField)
	}
	if len(source) > most {
		return 0, fmt.Errorf("source %.40q… has %d bytes, most is %d: %w", source, len(source), most, errBadField)
	}
	if epoch == 0 {
		return 0, fmt.Errorf("epoch is 0: %w", errBadField)
	}
	return checkKind(kind)
}

// checkKind is the default mode of a kind of source.
func checkKind(kind varvev1.SourceKind) (model.WriteMode, error) {
	switch kind {
	case varvev1.SourceKind_SOURCE_KIND_UNSPECIFIED, varvev1.SourceKind_SOURCE_KIND_COLLECTOR:
		return model.Update, nil
	case varvev1.SourceKind_SOURCE_KIND_IMPORT:
		return model.NoReplace, nil
	}
	return 0, fmt.Errorf("kind of source %d is unknown: %w", kind, errBadField)
}

func (st *ingestStream) handleResolve(r *varvev1.Resolve) error {
	resolved, err := st.server.resolve(st.ctx, r, st.hello.CreateTags)
	if err != nil {
		return err
	}
	return st.send(&varvev1.IngestResponse{Message: &varvev1.IngestResponse_Resolved{Resolved: resolved}})
}

func (st *ingestStream) handleBatch(encoded []byte) error {
	size := min(int64(len(encoded)), st.server.options.StreamBytes)
	if err := st.acquire(st.ahead, 1); err != nil {
		return err
	}
	if err := st.acquire(st.room, size); err != nil {
		return err
	}
	if err := st.server.judgeBatch(st.ctx, st.judge, encoded, st.hello.CreateTags); err != nil {
		return err
	}
	j := st.judge
	if j.batch.Sequence == 0 {
		return fmt.Errorf("sequence of a batch is 0: %w", errBadField)
	}
	j.batch.Source, j.batch.Epoch = st.hello.Source, st.hello.Epoch
	j.batch.Import = st.hello.Kind == varvev1.SourceKind_SOURCE_KIND_IMPORT
	pending, err := st.session.submit(st.ctx, st.server.db, &j.batch)
	if err != nil {
		return fmt.Errorf("submit sequence %d of source %q: %w", j.batch.Sequence, j.batch.Source, err)
	}
	b := sent{sequence: j.batch.Sequence, pending: pending, taken: j.taken, rejections: j.rejections, bytes: size}
	if st.hello.WantApplied {
		b.origins = j.takeOrigins()
	}
	st.server.metrics.took(j, len(encoded))
	st.accepted.push(b)
	return nil
}

// acquire waits for room. A draining server does not wait: what holds the room may be an apply that is stopped.
func (st *ingestStream) acquire(of *semaphore.Weighted, n int64) error {
	if of.TryAcquire(n) {
		return nil
	}
	ctx, stop := context.WithCancelCause(st.ctx)
	defer stop(nil)
	defer context.AfterFunc(st.server.drain, func() { stop(errDraining) })()
	if err := of.Acquire(ctx, n); err != nil {
		return context.Cause(ctx)
	}
	return nil
}

// answer starts the goroutines that answer; they end behind the last batch once accepted is closed, or with ctx.
func (st *ingestStream) answer() *errgroup.Group {
	group := &errgroup.Group{}
	start := func(name string, f func() error) {
		group.Go(func() error {
			err := st.server.guard(name, f)
			if err != nil {
				st.cancel(err)
			}
			return err
		})
	}
	start("acceptance", st.answerAccepted)
	start("application", st.answerApplied)
	start("archiving", func() error {
		if err := st.answerArchived(); st.archiving.Err() == nil || st.ctx.Err() != nil {
			return err
		}
		return nil // told to stop, which must not end what the other two have left to do
	})
	return group
}

func (st *ingestStream) answerAccepted() error {
	defer st.applied.close()
	for {
		batches, err := st.accepted.take(st.ctx)
		if err != nil || len(batches) == 0 {
			return err
		}
		for _, b := range batches {
			if err := b.pending.Accepted(st.ctx); err != nil {
				return fmt.Errorf("accept sequence %d: %w", b.sequence, err)
			}
			st.room.Release(b.bytes)
			result := &varvev1.BatchResult{
				Sequence: b.sequence, Offset: b.offset(), Samples: uint64(b.taken),
				Rejected: b.rejections.count, Rejections: b.rejections.list,
			}
			if err := st.ack(varvev1.Mark_MARK_ACCEPTED, result); err != nil {
				return err
			}
			b.rejections = rejections{}
			st.applied.push(b)
		}
	}
}

// answerApplied waits for every batch, also where nobody wants to know: a conflict ends the stream.
func (st *ingestStream) answerApplied() error {
	defer st.archived.close()
	for {
		batches, err := st.applied.take(st.ctx)
		if err != nil || len(batches) == 0 {
			return err
		}
		for _, b := range batches {
			result, err := b.pending.Applied(st.ctx)
			if err != nil {
				return fmt.Errorf("apply sequence %d: %w", b.sequence, err)
			}
			st.ahead.Release(1)
			if result.Conflict != nil {
				return fmt.Errorf("sequence %d of source %q, epoch %d: %w", b.sequence, st.hello.Source, st.hello.Epoch, result.Conflict)
			}
			st.server.metrics.applied(result)
			if st.hello.WantApplied {
				if err := st.ack(varvev1.Mark_MARK_APPLIED, st.server.appliedResult(&b, result)); err != nil {
					return err
				}
				giveOrigins(b.origins)
			}
			if st.hello.WantArchived {
				st.archived.push(archivable{b.sequence, b.offset()})
			}
		}
	}
}

// appliedResult is what became of a batch as its APPLIED answer says it.
func (s *Server) appliedResult(b *sent, r *storage.Result) *varvev1.BatchResult {
	return &varvev1.BatchResult{
		Sequence: b.sequence, Offset: b.offset(), Samples: uint64(r.Applied), Ignored: uint64(r.Ignored),
		Rejected: uint64(r.Rejected), Duplicate: r.Duplicate, Rejections: fromFailures(s.db.Catalog(), b.origins, r.Failures),
	}
}

// answerArchived reports batches as they reach durable generations.
func (st *ingestStream) answerArchived() error {
	var waiting []archivable
	for {
		if len(waiting) == 0 {
			var err error
			if waiting, err = st.archived.take(st.archiving); err != nil || len(waiting) == 0 {
				return err
			}
		}
		if err := st.server.db.WaitArchived(st.archiving, waiting[0].offset); err != nil {
			return causeOf(st.archiving, err)
		}
		through := st.server.db.Status().Archived
		ack := []*varvev1.BatchResult{{Sequence: waiting[0].sequence}}
		for waiting = waiting[1:]; len(waiting) > 0 && waiting[0].offset <= through; waiting = waiting[1:] {
			ack = append(ack, &varvev1.BatchResult{Sequence: waiting[0].sequence})
		}
		if err := st.ack(varvev1.Mark_MARK_ARCHIVED, ack...); err != nil {
			return err
		}
	}
}

func (st *ingestStream) ack(mark varvev1.Mark, batches ...*varvev1.BatchResult) error {
	return st.send(&varvev1.IngestResponse{Message: &varvev1.IngestResponse_Ack{Ack: &varvev1.Ack{Mark: mark, Batches: batches}}})
}

// send sends one message at a time; gRPC allows no two.
func (st *ingestStream) send(m *varvev1.IngestResponse) error {
	select {
	case st.sending <- struct{}{}:
	case <-st.ctx.Done():
		return context.Cause(st.ctx)
	}
	defer func() { <-st.sending }()
	return st.stream.SendMsg(m)
}

// causeOf is why ctx ended, if that is what err is about.
func causeOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, ctx.Err()) {
		return cause
	}
	return err
}
