package queue

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// plainServer is a server without a network, for clocks that do not run by themselves: it keeps what the contract of IngestService says,
// in maps. Whatever it took it keeps over its own crashes.
type plainServer struct {
	serving sync.WaitGroup

	mu         sync.Mutex
	down       bool
	latency    time.Duration
	maxMessage uint64
	breaks     func() bool // before a message is taken, and before it is answered: the connection is lost there

	streams map[string]*plainStream // the one of each source
	queues  map[identity]*plainQueue
	values  map[key]value
	tags    map[string]bool
	gaps    []*varvev1.RecordGapsRequest
	told    map[string][]string // by tag what it was told of gaps, in order

	refuse func(tag string, time int64) bool // nil: it takes all
	late   bool                              // it sees what it refuses only when it applies a batch, unless that comes again
	unmade func(tag string) bool             // tags that it does not make
	listed int                               // most rejections of an answer
	calls  []proto.Message                   // RecordGapsRequest and EndGapsRequest

	twice  int                 // samples that came under two identities
	ranks  map[string][]uint64 // of each source, sequences in the order applied, as far as they were fresh
	onTake func(source string, r *varvev1.Run)
	noGaps bool            // it takes none for now
	lists  map[part]uint64 // of what is read
	inList map[part][]string
	said   []*varvev1.ReportCollectingRequest
	onSaid func(r *varvev1.ReportCollectingRequest) // with mu held
	except map[string]float64                       // deviations of exception filters, by tag
	week   *week                                    // keeps samples in place of values, where there are very many
}

type identity struct {
	source string
	epoch  uint64
}

type plainQueue struct {
	content map[uint64][32]byte
	through uint64
	highest uint64
}

type key struct {
	tag  string
	time int64
}

type value struct {
	float float64
	by    identity
}

func newPlainServer() *plainServer {
	return &plainServer{maxMessage: 16 << 20, listed: 1000, streams: map[string]*plainStream{}, queues: map[identity]*plainQueue{}, values: map[key]value{}, tags: map[string]bool{},
		ranks: map[string][]uint64{}, told: map[string][]string{}}
}

// plainStream is one Ingest stream, both ends of it.
type plainStream struct {
	grpc.ClientStream
	ctx    context.Context
	in     chan *varvev1.IngestRequest
	out    chan *varvev1.IngestResponse
	closed chan struct{}

	mu       sync.Mutex
	err      error
	archived bool                   // acks of that mark are wanted
	pending  []*varvev1.BatchResult // for the next of them
}

func (s *plainStream) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
		close(s.closed)
	}
}

func (s *plainStream) Send(m *varvev1.IngestRequest) error {
	select {
	case s.in <- m:
		return nil
	case <-s.closed:
	case <-s.ctx.Done():
	}
	return io.EOF
}

func (s *plainStream) Recv() (*varvev1.IngestResponse, error) {
	select {
	case m := <-s.out:
		return m, nil
	default:
	}
	select {
	case m := <-s.out:
		return m, nil
	case <-s.closed:
		s.mu.Lock()
		defer s.mu.Unlock()
		return nil, s.err
	case <-s.ctx.Done():
		return nil, status.FromContextError(s.ctx.Err()).Err()
	}
}

func (s *plainStream) CloseSend() error { s.fail(io.EOF); return nil }

func (s *plainStream) Header() (metadata.MD, error) { return nil, nil }

// Ingest is part of varvev1.IngestServiceClient.
func (p *plainServer) Ingest(ctx context.Context, _ ...grpc.CallOption) (grpc.BidiStreamingClient[varvev1.IngestRequest, varvev1.IngestResponse], error) {
	s := &plainStream{ctx: ctx, in: make(chan *varvev1.IngestRequest), out: make(chan *varvev1.IngestResponse, 1024), closed: make(chan struct{})}
	p.serving.Go(func() { p.serve(s) })
	p.serving.Go(func() { p.archive(s) })
	return s, nil
}

func (p *plainServer) Write(context.Context, *varvev1.WriteRequest, ...grpc.CallOption) (*varvev1.WriteResponse, error) {
	return nil, status.Error(codes.Unimplemented, "not asked")
}

func (p *plainServer) Edit(context.Context, *varvev1.EditRequest, ...grpc.CallOption) (*varvev1.WriteResponse, error) {
	return nil, status.Error(codes.Unimplemented, "not asked")
}

func (p *plainServer) serve(s *plainStream) {
	var who identity
	for {
		var m *varvev1.IngestRequest
		select {
		case m = <-s.in:
		case <-s.closed:
			return
		case <-s.ctx.Done():
			return
		}
		p.mu.Lock()
		latency := p.latency
		p.mu.Unlock()
		time.Sleep(latency)
		answers, err := p.take(s, &who, m)
		for _, a := range answers {
			s.out <- a
		}
		if err != nil {
			s.fail(err)
			return
		}
	}
}

// archive answers every while what was taken is in the archive.
func (p *plainServer) archive(s *plainStream) {
	for {
		select {
		case <-time.After(10 * time.Second):
		case <-s.closed:
			return
		case <-s.ctx.Done():
			return
		}
		p.mu.Lock()
		if n := len(s.pending); n > 0 && !p.down {
			s.out <- &varvev1.IngestResponse{Message: &varvev1.IngestResponse_Ack{Ack: &varvev1.Ack{Mark: varvev1.Mark_MARK_ARCHIVED, Batches: s.pending}}}
			s.pending = nil
		}
		p.mu.Unlock()
	}
}

var errAway = status.Error(codes.Unavailable, "away")

func (p *plainServer) take(s *plainStream, who *identity, m *varvev1.IngestRequest) ([]*varvev1.IngestResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down || p.breaks != nil && p.breaks() {
		return nil, errAway
	}
	answers, err := p.takeLocked(s, who, m)
	for i := range answers {
		if p.breaks != nil && p.breaks() {
			return answers[:i], errAway
		}
	}
	return answers, err
}

func one(r *varvev1.IngestResponse) []*varvev1.IngestResponse { return []*varvev1.IngestResponse{r} }

func (p *plainServer) takeLocked(s *plainStream, who *identity, m *varvev1.IngestRequest) ([]*varvev1.IngestResponse, error) {
	if h := m.GetHello(); h != nil {
		*who = identity{h.Source, h.Epoch}
		if old := p.streams[h.Source]; old != nil {
			old.fail(status.Error(codes.Aborted, "fenced"))
		}
		p.streams[h.Source] = s
		s.archived = h.WantArchived
		w := &varvev1.Welcome{MaxMessageBytes: p.maxMessage}
		if q := p.queues[*who]; q != nil {
			w.AppliedThrough, w.HighestSequence = q.through, q.highest
		}
		return one(&varvev1.IngestResponse{Message: &varvev1.IngestResponse_Welcome{Welcome: w}}), nil
	}
	if p.streams[who.source] != s {
		return nil, status.Error(codes.Aborted, "fenced")
	}
	if r := m.GetResolve(); r != nil {
		out := &varvev1.Resolved{}
		for _, t := range r.Tags {
			if !p.tags[t.Name] && (t.Type == varvev1.Type_TYPE_UNSPECIFIED || p.unmade != nil && p.unmade(t.Name)) {
				out.Tags = append(out.Tags, &varvev1.ResolvedTag{Code: varvev1.RejectCode_REJECT_CODE_UNKNOWN_TAG})
				continue
			}
			p.tags[t.Name] = true
			out.Tags = append(out.Tags, &varvev1.ResolvedTag{Id: 1, Type: t.Type})
		}
		return one(&varvev1.IngestResponse{Message: &varvev1.IngestResponse_Resolved{Resolved: out}}), nil
	}
	b, err := received(m.GetBatch())
	if err != nil {
		return nil, err
	}
	door, r, err := p.apply(*who, b)
	if err != nil {
		return nil, err
	}
	if s.archived {
		s.pending = append(s.pending, &varvev1.BatchResult{Sequence: r.Sequence})
	}
	ack := func(m varvev1.Mark, r *varvev1.BatchResult) *varvev1.IngestResponse {
		return &varvev1.IngestResponse{Message: &varvev1.IngestResponse_Ack{Ack: &varvev1.Ack{Mark: m, Batches: []*varvev1.BatchResult{r}}}}
	}
	return []*varvev1.IngestResponse{ack(varvev1.Mark_MARK_ACCEPTED, door), ack(varvev1.Mark_MARK_APPLIED, r)}, nil
}

// received is a batch as it comes off the wire.
func received(b *varvev1.Batch) (*varvev1.Batch, error) {
	wire, err := proto.Marshal(b)
	if err != nil {
		return nil, err
	}
	out := &varvev1.Batch{}
	return out, proto.Unmarshal(wire, out)
}

// maxHoles is how many sequences may be missing below the highest.
const maxHoles = 1024

// apply takes a batch, and says what the door makes of it and what became of it.
func (p *plainServer) apply(who identity, b *varvev1.Batch) (door, r *varvev1.BatchResult, err error) {
	q := p.queues[who]
	if q == nil {
		q = &plainQueue{content: map[uint64][32]byte{}}
		p.queues[who] = q
	}
	bytes, err := proto.MarshalOptions{Deterministic: true}.Marshal(&varvev1.Batch{Runs: b.Runs})
	if err != nil {
		return nil, nil, err
	}
	sum := sha256.Sum256(bytes)
	door, r = &varvev1.BatchResult{Sequence: b.Sequence}, &varvev1.BatchResult{Sequence: b.Sequence}
	had, ok := q.content[b.Sequence]
	if p.late && !ok {
		p.judge(b, r)
	} else {
		p.judge(b, door)
	}
	switch {
	case ok && had == sum:
		r.Duplicate = true
		return door, r, nil
	case ok:
		return nil, nil, status.Errorf(codes.FailedPrecondition, "sequence %d came with other content", b.Sequence)
	case b.Sequence > q.through+maxHoles:
		return nil, nil, status.Errorf(codes.FailedPrecondition, "sequence %d, behind %d", b.Sequence, q.through)
	}
	q.content[b.Sequence] = sum
	q.highest = max(q.highest, b.Sequence)
	for _, ok := q.content[q.through+1]; ok; _, ok = q.content[q.through+1] {
		q.through++
	}
	p.ranks[who.source] = append(p.ranks[who.source], b.Sequence)
	for _, run := range b.Runs {
		if p.week != nil {
			p.week.take(run)
			continue
		}
		samples, _, ok := plainSamples(run, nil)
		if !ok {
			return nil, nil, status.Errorf(codes.InvalidArgument, "run of tag %q", run.Tag)
		}
		for _, x := range samples {
			if p.refuses(run.Tag, x.time) {
				continue
			}
			k, float := key{run.Tag, x.time}, math.Float64frombits(x.bits)
			had, stands := p.values[k]
			if stands && (had.by != who || had.float != float) {
				p.twice++
			}
			if !stands || run.Mode != varvev1.WriteMode_WRITE_MODE_NO_REPLACE {
				p.values[k] = value{float, who}
			}
		}
		if p.onTake != nil {
			p.onTake(who.source, run)
		}
	}
	return door, r, nil
}

// set changes a server that is at work.
func (p *plainServer) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

func (p *plainServer) refuses(tag string, at int64) bool {
	return p.refuse != nil && p.refuse(tag, at) || p.unmade != nil && !p.tags[tag] && p.unmade(tag)
}

// judge says which samples of a batch are refused, those one behind the other together.
func (p *plainServer) judge(b *varvev1.Batch, r *varvev1.BatchResult) {
	for i, run := range b.Runs {
		samples, _, _ := plainSamples(run, nil)
		for j := 0; j < len(samples); {
			n := 0
			for j+n < len(samples) && p.refuses(run.Tag, samples[j+n].time) {
				n++
			}
			if n > 0 {
				r.Rejected += uint64(n)
				if len(r.Rejections) < p.listed {
					r.Rejections = append(r.Rejections, &varvev1.Rejection{
						Run: uint32(i), First: uint32(j), Count: uint32(n), Code: varvev1.RejectCode_REJECT_CODE_TYPE_MISMATCH, Tag: run.Tag,
					})
				}
			}
			j += n + 1
		}
	}
}

// setDown takes the server away, or brings it back. Its streams end.
func (p *plainServer) setDown(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
	if down {
		for _, s := range p.streams {
			s.fail(errAway)
		}
		clear(p.streams)
	}
}

// RecordGaps is part of varvev1.GapServiceClient.
func (p *plainServer) RecordGaps(_ context.Context, r *varvev1.RecordGapsRequest, _ ...grpc.CallOption) (*varvev1.RecordGapsResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down || p.noGaps {
		return nil, errAway
	}
	if err := p.haveLocked(r.Tags); err != nil {
		return nil, err
	}
	p.gaps, p.calls = append(p.gaps, r), append(p.calls, r)
	for _, t := range r.Tags {
		p.told[t] = append(p.told[t], fmt.Sprint("from ", r.StartNs))
	}
	return &varvev1.RecordGapsResponse{}, nil
}

// ReportCollecting is part of varvev1.GapServiceClient.
func (p *plainServer) ReportCollecting(_ context.Context, r *varvev1.ReportCollectingRequest, _ ...grpc.CallOption) (*varvev1.ReportCollectingResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down {
		return nil, errAway
	}
	name := part{r.Source, int(r.Part)}
	if len(r.Tags) == 0 && p.lists[name] != r.List {
		return &varvev1.ReportCollectingResponse{}, nil
	}
	if p.lists == nil {
		p.lists, p.inList = map[part]uint64{}, map[part][]string{}
	}
	if p.lists[name] = r.List; len(r.Tags) > 0 {
		p.inList[name] = r.Tags
	}
	p.said = append(p.said, r)
	if p.onSaid != nil {
		p.onSaid(r)
	}
	a := &varvev1.ReportCollectingResponse{Known: true}
	for _, t := range r.Tags {
		if !p.tags[t] {
			a.UnknownTags++
		}
	}
	if r.Exceptions == nil {
		return a, nil
	}
	a.Exceptions = 1
	for i, t := range p.inList[name] {
		if d := p.except[t]; d != 0 {
			a.Exceptions = a.Exceptions*31 + uint64(i) + math.Float64bits(d)
			a.Tags = append(a.Tags, &varvev1.TagException{Tag: uint32(i), Exception: &varvev1.Filter{Deviation: d}})
		}
	}
	if a.Exceptions == *r.Exceptions {
		a.Tags = nil
	}
	return a, nil
}

// haveLocked is the error of calls about tags that are not there.
func (p *plainServer) haveLocked(tags []string) error {
	for _, t := range tags {
		if !p.tags[t] {
			return status.Errorf(codes.NotFound, "tag %q", t)
		}
	}
	return nil
}

// EndGaps is part of varvev1.GapServiceClient.
func (p *plainServer) EndGaps(_ context.Context, r *varvev1.EndGapsRequest, _ ...grpc.CallOption) (*varvev1.EndGapsResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down {
		return nil, errAway
	}
	if err := p.haveLocked(r.Tags); err != nil {
		return nil, err
	}
	p.calls = append(p.calls, r)
	for _, t := range r.Tags {
		p.told[t] = append(p.told[t], fmt.Sprint("to ", r.EndNs))
	}
	return &varvev1.EndGapsResponse{}, nil
}

func (p *plainServer) WithdrawGaps(context.Context, *varvev1.WithdrawGapsRequest, ...grpc.CallOption) (*varvev1.WithdrawGapsResponse, error) {
	return nil, status.Error(codes.Unimplemented, "not asked")
}

func (p *plainServer) ListGaps(context.Context, *varvev1.ListGapsRequest, ...grpc.CallOption) (*varvev1.ListGapsResponse, error) {
	return nil, status.Error(codes.Unimplemented, "not asked")
}

// covered reports whether a gap tells that a sample is missing.
func (p *plainServer) covered(k key) bool {
	for _, g := range p.gaps {
		if k.time < g.StartNs || g.EndNs != nil && k.time >= *g.EndNs {
			continue
		}
		for _, t := range g.Tags {
			if t == k.tag {
				return true
			}
		}
	}
	return false
}
