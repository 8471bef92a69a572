package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/varvedb/varve/bench/plant"
	"github.com/varvedb/varve/bench/wire"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// loadResult is what a client process saw of one load.
type loadResult struct {
	Sent     uint64 `json:"sent"` // samples; those of a load that ended early may not have left this machine
	Accepted uint64 `json:"accepted"`
	Applied  uint64 `json:"applied"`
	Batches  uint64 `json:"batches"`

	AcceptedSeconds float64 `json:"accepted_seconds"` // from the first batch to the last answer of that mark
	AppliedSeconds  float64 `json:"applied_seconds"`
	CPUSeconds      float64 `json:"cpu_seconds"` // of the client, in that time
	WireBytes       uint64  `json:"wire_bytes"`  // of batches, before HTTP/2 framing

	AckMilliseconds percentiles `json:"ack_milliseconds"` // from a batch's encoding to its accepted answer

	// AcceptedRuns is how many runs of each connection are in batches that were accepted, in the order of the workload.
	AcceptedRuns []uint64 `json:"accepted_runs"`
	Error        string   `json:"error,omitempty"` // why the load ended early
}

// percentiles of a set of times.
type percentiles struct {
	P50 float64 `json:"p50"`
	P95 float64 `json:"p95"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

func percentilesOf(all []float64) percentiles {
	if len(all) == 0 {
		return percentiles{}
	}
	slices.Sort(all)
	at := func(p int) float64 { return all[(len(all)-1)*p/100] }
	return percentiles{at(50), at(95), at(99), all[len(all)-1]}
}

// load is every connection of a client, ready to begin.
type load struct{ senders []*sender }

// prepareLoad makes the samples, connects, and resolves the tags.
func prepareLoad(ctx context.Context, server string, o *options) (*load, error) {
	return prepareLoadOf(ctx, server, o, newWorkloads(o))
}

// prepareLoadOf connects for samples that are made already, one connection a workload.
func prepareLoadOf(ctx context.Context, server string, o *options, works []workload) (*load, error) {
	l := &load{}
	epoch := uint64(time.Now().UnixNano())
	for i, w := range works {
		s, err := newSender(ctx, server, o, fmt.Sprintf("bench-%d", i), epoch, w)
		if err != nil {
			l.close()
			return nil, fmt.Errorf("connection %d: %w", i, err)
		}
		l.senders = append(l.senders, s)
	}
	return l, nil
}

func (l *load) close() {
	for _, s := range l.senders {
		s.close()
	}
}

// run sends everything and waits until it is applied. watch hears of progress four times a second; its error stops nothing.
func (l *load) run(ctx context.Context, watch func(accepted uint64) error) *loadResult {
	cpu, _ := cpuSeconds("self")
	began := time.Now()
	var wait sync.WaitGroup
	for _, s := range l.senders {
		wait.Go(func() { s.run(began) })
	}
	over := make(chan struct{})
	go func() { wait.Wait(); close(over) }()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for running := true; running; {
		select {
		case <-over:
			running = false
		case <-ctx.Done():
			l.close()
			<-over
			running = false
		case <-tick.C:
			var accepted uint64
			for _, s := range l.senders {
				accepted += s.accepted.Load()
			}
			watch(accepted)
		}
	}
	cpuEnd, _ := cpuSeconds("self")
	return l.result(cpuEnd - cpu)
}

func (l *load) result(cpu float64) *loadResult {
	r := &loadResult{CPUSeconds: cpu}
	var acks []float64
	for _, s := range l.senders {
		r.Sent += s.sent
		r.Accepted += s.accepted.Load()
		r.Applied += s.applied
		r.Batches += s.sequence
		r.WireBytes += s.wireBytes
		r.AcceptedSeconds = max(r.AcceptedSeconds, s.lastAccepted.Seconds())
		r.AppliedSeconds = max(r.AppliedSeconds, s.lastApplied.Seconds())
		r.AcceptedRuns = append(r.AcceptedRuns, s.acceptedBatches*uint64(s.runs))
		if s.err != nil && r.Error == "" {
			r.Error = s.err.Error()
		}
		acks = append(acks, s.acks...)
	}
	r.AckMilliseconds = percentilesOf(acks)
	return r
}

// sender is one connection: a source with its own epoch and dense sequences. One goroutine encodes and sends, one
// receives; each owns the fields under its name until both are over.
type sender struct {
	conn   *grpc.ClientConn
	stream grpc.ClientStream
	cancel context.CancelFunc

	work    workload
	first   int      // number of the workload's first tag
	ids     []uint32 // of the workload's tags
	encoder wire.Encoder
	buffers *wire.Buffers
	runs    int                               // of a batch
	window  chan time.Time                    // when each batch not yet accepted was begun, in order
	pace    *pace                             // of batches; nil for as fast as they are accepted
	acked   func(begun time.Time, ms float64) // is told of each accepted batch; nil for nobody

	// Of the sending goroutine.
	sequence  uint64
	sent      uint64
	wireBytes uint64

	// Of the receiving goroutine.
	acceptedBatches uint64
	appliedBatches  uint64
	applied         uint64
	lastAccepted    time.Duration
	lastApplied     time.Duration
	acks            []float64

	accepted atomic.Uint64 // samples
	total    atomic.Uint64 // batches, once all are sent
	err      error         // written by run
}

func newSender(ctx context.Context, server string, o *options, source string, epoch uint64, w workload) (*sender, error) {
	conn, err := dial(server)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	s := &sender{
		conn:    conn,
		cancel:  cancel,
		work:    w,
		encoder: wire.Encoder{Mode: o.writeMode(), TimeUnit: millisecond},
		buffers: wire.NewBuffers(o.InFlight+2, 20*o.BatchSamples),
		runs:    o.BatchSamples / o.RunSamples,
		window:  make(chan time.Time, o.InFlight),
	}
	s.stream, err = conn.NewStream(ctx, &varvev1.IngestService_ServiceDesc.Streams[0], varvev1.IngestService_Ingest_FullMethodName)
	if err == nil {
		err = s.greet(&varvev1.Hello{Source: source, Epoch: epoch, Kind: varvev1.SourceKind_SOURCE_KIND_COLLECTOR, CreateTags: true, WantApplied: true})
	}
	if err == nil {
		err = s.resolve(w)
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *sender) close() {
	s.cancel()
	s.conn.Close()
}

// exchange sends one request and returns the next response.
func (s *sender) exchange(r *varvev1.IngestRequest) (*varvev1.IngestResponse, error) {
	if err := s.stream.SendMsg(r); err != nil && !errors.Is(err, io.EOF) { // EOF: the reason comes with RecvMsg
		return nil, err
	}
	var answer varvev1.IngestResponse
	return &answer, s.stream.RecvMsg(&answer)
}

func (s *sender) greet(h *varvev1.Hello) error {
	answer, err := s.exchange(&varvev1.IngestRequest{Message: &varvev1.IngestRequest_Hello{Hello: h}})
	if err != nil {
		return fmt.Errorf("say hello as %s: %w", h.Source, err)
	}
	if answer.GetWelcome() == nil {
		return fmt.Errorf("say hello as %s: got %T, want a Welcome", h.Source, answer.Message)
	}
	return nil
}

// resolveAtOnce is how many tags a message names: a million do not fit the largest message a server takes.
const resolveAtOnce = 10_000

// resolve creates the tags of the workload and keeps their ids.
func (s *sender) resolve(w workload) error {
	from, to := w.tags()
	s.first, s.ids = from, make([]uint32, 0, to-from)
	for at := from; at < to; at += resolveAtOnce {
		if err := s.resolveSome(at, min(at+resolveAtOnce, to)); err != nil {
			return err
		}
	}
	return nil
}

func (s *sender) resolveSome(from, to int) error {
	ask := &varvev1.Resolve{}
	for tag := from; tag < to; tag++ {
		ask.Tags = append(ask.Tags, &varvev1.NewTag{Name: plant.Name(tag), Type: varvev1.Type_TYPE_FLOAT64})
	}
	answer, err := s.exchange(&varvev1.IngestRequest{Message: &varvev1.IngestRequest_Resolve{Resolve: ask}})
	if err != nil {
		return fmt.Errorf("resolve %d tags: %w", len(ask.Tags), err)
	}
	resolved := answer.GetResolved().GetTags()
	if len(resolved) != len(ask.Tags) {
		return fmt.Errorf("resolve %d tags: %d answers in %T", len(ask.Tags), len(resolved), answer.Message)
	}
	for i, r := range resolved {
		if r.Id == 0 {
			return fmt.Errorf("resolve %s: %s %s", ask.Tags[i].Name, r.Code, r.Reason)
		}
		s.ids = append(s.ids, r.Id)
	}
	return nil
}

// run sends the whole workload and returns when all of it is applied, or the stream has ended.
func (s *sender) run(began time.Time) {
	received := make(chan error, 1)
	go func() { received <- s.receive(began) }()
	sendErr := s.send()
	if sendErr == nil {
		s.stream.CloseSend() // an error shows in what is received
	} else if !errors.Is(sendErr, io.EOF) {
		s.cancel()
	}
	s.err = <-received
	if s.err == nil {
		s.err = sendErr
	}
}

func (s *sender) send() error {
	for {
		s.encoder.Begin(s.buffers.Get())
		runs := 0
		samples := uint64(0)
		for ; runs < s.runs; runs++ {
			tag, times, values, ok := s.work.next()
			if !ok {
				break
			}
			s.encoder.Run(s.ids[tag-s.first], times, values)
			samples += uint64(len(times))
		}
		if runs == 0 {
			s.total.Store(s.sequence)
			return nil
		}
		now := s.pace.next()
		select {
		case s.window <- now:
		case <-s.stream.Context().Done():
			return s.stream.Context().Err()
		}
		s.sequence++
		buf, start := s.encoder.Finish(s.sequence, now.UnixNano())
		s.wireBytes += uint64(len(buf) - start)
		s.sent += samples
		if err := s.stream.SendMsg(&wire.Message{Buf: buf, Start: start, Pool: s.buffers}); err != nil {
			return err
		}
	}
}

// receive follows the answers until every batch is applied.
func (s *sender) receive(began time.Time) error {
	for {
		var answer varvev1.IngestResponse
		if err := s.stream.RecvMsg(&answer); errors.Is(err, io.EOF) {
			if total := s.total.Load(); s.appliedBatches < total {
				return fmt.Errorf("the server ended the stream with %d of %d batches applied", s.appliedBatches, total)
			}
			return nil
		} else if err != nil {
			return err
		}
		at := time.Since(began)
		ack := answer.GetAck()
		for _, b := range ack.GetBatches() {
			if b.Rejected > 0 {
				s.cancel()
				return fmt.Errorf("batch %d: %d samples were rejected, first: %v", b.Sequence, b.Rejected, b.Rejections[:min(1, len(b.Rejections))])
			}
			switch ack.Mark {
			case varvev1.Mark_MARK_ACCEPTED:
				begun := <-s.window
				ms := float64(time.Since(begun).Microseconds()) / 1000
				s.acks = append(s.acks, ms)
				if s.acked != nil {
					s.acked(begun, ms)
				}
				s.acceptedBatches++
				s.accepted.Add(b.Samples)
				s.lastAccepted = at
			case varvev1.Mark_MARK_APPLIED:
				s.appliedBatches++
				s.applied += b.Samples
				s.lastApplied = at
			}
		}
	}
}
