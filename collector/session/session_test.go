package session

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// plainServer is the least that answers as the protocol says: it applies each sequence once, in order, and ends streams
// where its faults say so.
type plainServer struct {
	varvev1.UnimplementedIngestServiceServer
	maxMessage uint64
	// breakBefore is asked before each message in and each ack out; true ends the stream as a lost connection would.
	breakBefore func() bool
	refuse      error // ends every stream after its first batch
	rejects     bool  // every sample

	mu       sync.Mutex
	applied  []uint64 // in the order applied
	contents map[uint64]string
	ids      map[string]uint32
	sessions uint64
}

func (p *plainServer) Ingest(stream varvev1.IngestService_IngestServer) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	hello := first.GetHello()
	if hello == nil {
		return status.Error(codes.InvalidArgument, "no hello")
	}
	p.mu.Lock()
	p.sessions++
	w := &varvev1.Welcome{Session: p.sessions, AppliedThrough: uint64(len(p.applied)), MaxMessageBytes: p.maxMessage}
	p.mu.Unlock()
	if err := stream.Send(&varvev1.IngestResponse{Message: &varvev1.IngestResponse_Welcome{Welcome: w}}); err != nil {
		return err
	}
	for {
		m, err := stream.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if p.breakBefore != nil && p.breakBefore() {
			return status.Error(codes.Unavailable, "broken before taking a message")
		}
		if err := p.answer(stream, hello, m); err != nil {
			return err
		}
	}
}

func (p *plainServer) answer(stream varvev1.IngestService_IngestServer, hello *varvev1.Hello, m *varvev1.IngestRequest) error {
	if r := m.GetResolve(); r != nil {
		return stream.Send(&varvev1.IngestResponse{Message: &varvev1.IngestResponse_Resolved{Resolved: p.resolve(r)}})
	}
	result, err := p.apply(m.GetBatch())
	if err != nil {
		return err
	}
	if p.refuse != nil {
		return p.refuse
	}
	marks := []varvev1.Mark{varvev1.Mark_MARK_ACCEPTED}
	if hello.WantApplied {
		marks = append(marks, varvev1.Mark_MARK_APPLIED)
	}
	if hello.WantArchived {
		marks = append(marks, varvev1.Mark_MARK_ARCHIVED)
	}
	for _, mark := range marks {
		if p.breakBefore != nil && p.breakBefore() {
			return status.Error(codes.Unavailable, "broken before an ack")
		}
		ack := &varvev1.Ack{Mark: mark, Batches: []*varvev1.BatchResult{result}}
		if err := stream.Send(&varvev1.IngestResponse{Message: &varvev1.IngestResponse_Ack{Ack: ack}}); err != nil {
			return err
		}
	}
	return nil
}

func (p *plainServer) resolve(r *varvev1.Resolve) *varvev1.Resolved {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := &varvev1.Resolved{}
	for _, t := range r.Tags {
		id, ok := p.ids[t.Name]
		if !ok {
			id = uint32(len(p.ids) + 1)
			p.ids[t.Name] = id
		}
		out.Tags = append(out.Tags, &varvev1.ResolvedTag{Id: id, Type: t.Type, Created: !ok})
	}
	return out
}

func (p *plainServer) apply(b *varvev1.Batch) (*varvev1.BatchResult, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	content, err := proto.MarshalOptions{Deterministic: true}.Marshal(&varvev1.Batch{Runs: b.Runs, Frames: b.Frames})
	if err != nil {
		return nil, err
	}
	r := &varvev1.BatchResult{Sequence: b.Sequence, Samples: uint64(len(b.Runs))}
	if p.rejects {
		r.Samples, r.Rejected = 0, r.Samples
	}
	if had, ok := p.contents[b.Sequence]; ok {
		if had != string(content) {
			return nil, status.Error(codes.FailedPrecondition, "sequence used before with other content")
		}
		r.Duplicate = true
		return r, nil
	}
	if b.Sequence != uint64(len(p.applied))+1 {
		return nil, status.Errorf(codes.InvalidArgument, "sequence %d behind %d", b.Sequence, len(p.applied))
	}
	p.applied = append(p.applied, b.Sequence)
	p.contents[b.Sequence] = string(content)
	return r, nil
}

func startServer(t *testing.T, p *plainServer) varvev1.IngestServiceClient {
	p.contents, p.ids = map[uint64]string{}, map[string]uint32{}
	lis := bufconn.Listen(1 << 20)
	srv := grpc.NewServer()
	varvev1.RegisterIngestServiceServer(srv, p)
	served := make(chan struct{})
	go func() { defer close(served); _ = srv.Serve(lis) }()
	conn, err := grpc.NewClient("passthrough:///plain", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }))
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, conn.Close())
		srv.Stop()
		<-served
		goleak.VerifyNone(t)
	})
	return varvev1.NewIngestServiceClient(conn)
}

func batch(sequence uint64) *varvev1.Batch {
	return &varvev1.Batch{Sequence: sequence, Runs: []*varvev1.Run{{TagId: 1, TimesNs: []int64{int64(sequence)}, Float64: []float64{float64(sequence)}}}}
}

func quick(o Options) Options {
	o.Source, o.Epoch = "line-1", 7
	o.BackoffMin, o.BackoffMax = time.Millisecond, 2*time.Millisecond
	return o
}

// Every batch is applied once, done once and in order, whatever is lost on the way.
func TestBatchesSurviveLostConnections(t *testing.T) {
	for _, until := range []varvev1.Mark{varvev1.Mark_MARK_ACCEPTED, varvev1.Mark_MARK_APPLIED, varvev1.Mark_MARK_ARCHIVED} {
		t.Run(until.String(), func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			rng := rand.New(rand.NewPCG(seed, 1))
			var mu sync.Mutex
			p := &plainServer{breakBefore: func() bool { mu.Lock(); defer mu.Unlock(); return rng.IntN(20) == 0 }}
			client := startServer(t, p)

			var released []uint64
			s, err := Open(context.Background(), client, quick(Options{
				Until: until, InFlightBatches: 8,
				Release: func(b *varvev1.Batch) { released = append(released, b.Sequence) },
			}))
			require.NoError(t, err)
			const batches = 300
			var want []uint64
			for i := uint64(1); i <= batches; i++ {
				require.NoError(t, s.Send(context.Background(), batch(i)))
				n, _ := s.InFlight()
				require.LessOrEqual(t, n, 8)
				want = append(want, i)
			}
			require.NoError(t, s.Flush(context.Background()))
			require.NoError(t, s.Close())
			require.Equal(t, want, p.applied)
			require.Equal(t, want, released)
			require.Greater(t, p.sessions, uint64(1), "no connection was lost, so nothing was tested")
		})
	}
}

// What is rejected is told of every batch, also of one whose answer was lost and that the server says it has.
func TestRejectionsSurviveLostConnections(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 1))
	var mu sync.Mutex
	p := &plainServer{rejects: true, breakBefore: func() bool { mu.Lock(); defer mu.Unlock(); return rng.IntN(10) == 0 }}
	told := map[uint64]bool{}
	s, err := Open(context.Background(), startServer(t, p), quick(Options{
		Until: varvev1.Mark_MARK_ACCEPTED, InFlightBatches: 8, Answers: true,
		OnRejected: func(b *varvev1.Batch, r *varvev1.BatchResult) {
			require.Equal(t, b.Sequence, r.Sequence)
			told[b.Sequence] = true
		},
	}))
	require.NoError(t, err)
	for i := uint64(1); i <= 200; i++ {
		require.NoError(t, s.Send(context.Background(), batch(i)))
	}
	require.NoError(t, s.Flush(context.Background()))
	require.NoError(t, s.Close())
	require.Len(t, told, 200)
	require.Len(t, p.applied, 200)
	require.Greater(t, p.sessions, uint64(1), "no connection was lost, so nothing was tested")
}

func TestResolveSurvivesLostConnections(t *testing.T) {
	n := 0
	p := &plainServer{maxMessage: 400, breakBefore: func() bool { n++; return n%3 == 0 }}
	client := startServer(t, p)
	s, err := Open(context.Background(), client, quick(Options{CreateTags: true}))
	require.NoError(t, err)
	var tags []*varvev1.NewTag
	for i := range 100 {
		tags = append(tags, &varvev1.NewTag{Name: fmt.Sprintf("TI-%03d", i), Type: varvev1.Type_TYPE_FLOAT64})
	}
	got, err := s.Resolve(context.Background(), tags)
	require.NoError(t, err)
	require.Len(t, got, len(tags))
	for i, r := range got {
		require.Equal(t, uint32(i+1), r.Id)
	}
	require.NoError(t, s.Close())
}

func TestResumesBehindWhatIsApplied(t *testing.T) {
	p := &plainServer{}
	client := startServer(t, p)
	first, err := Open(context.Background(), client, quick(Options{}))
	require.NoError(t, err)
	for i := range uint64(5) {
		require.NoError(t, first.Send(context.Background(), batch(i+1)))
	}
	require.NoError(t, first.Flush(context.Background()))
	require.NoError(t, first.Close())

	again, err := Open(context.Background(), client, quick(Options{}))
	require.NoError(t, err)
	require.EqualValues(t, 5, again.Welcome().AppliedThrough)
	require.NoError(t, again.Send(context.Background(), batch(6)))
	require.NoError(t, again.Flush(context.Background()))
	require.NoError(t, again.Close())
	require.Len(t, p.applied, 6)
}

func TestFinalErrorsEndTheSession(t *testing.T) {
	for name, refuse := range map[string]error{
		"fenced":       status.Error(codes.Aborted, "a newer session"),
		"other bytes":  status.Error(codes.FailedPrecondition, "sequence was used before with other content"),
		"not allowed":  status.Error(codes.PermissionDenied, "no right"),
		"unknown user": status.Error(codes.Unauthenticated, "who"),
	} {
		t.Run(name, func(t *testing.T) {
			p := &plainServer{refuse: refuse}
			s, err := Open(context.Background(), startServer(t, p), quick(Options{}))
			require.NoError(t, err)
			require.NoError(t, s.Send(context.Background(), batch(1)))
			err = s.Flush(context.Background())
			require.Equal(t, status.Code(refuse), status.Code(err))
			if name == "fenced" {
				require.ErrorIs(t, err, ErrFenced)
			}
			require.Equal(t, err, s.Send(context.Background(), batch(2)))
			require.Equal(t, err, s.Close())
			require.EqualValues(t, 1, p.sessions)
		})
	}
}

func TestSendChecksBeforeItSends(t *testing.T) {
	p := &plainServer{maxMessage: 200}
	s, err := Open(context.Background(), startServer(t, p), quick(Options{}))
	require.NoError(t, err)
	require.NoError(t, s.Send(context.Background(), batch(1)))
	require.ErrorIs(t, s.Send(context.Background(), batch(3)), ErrSequence)
	require.ErrorIs(t, s.Send(context.Background(), batch(1)), ErrSequence)
	large := batch(2)
	large.Runs[0].Float64 = make([]float64, 100)
	require.ErrorIs(t, s.Send(context.Background(), large), ErrTooLarge)
	require.NoError(t, s.Send(context.Background(), batch(2)))
	require.NoError(t, s.Flush(context.Background()))
	require.NoError(t, s.Close())
	require.ErrorIs(t, s.Send(context.Background(), batch(3)), ErrClosed)
}

func TestWaitersHeedTheirContext(t *testing.T) {
	hold := make(chan struct{})
	p := &plainServer{breakBefore: func() bool { <-hold; return false }}
	s, err := Open(context.Background(), startServer(t, p), quick(Options{InFlightBatches: 1}))
	require.NoError(t, err)
	require.NoError(t, s.Send(context.Background(), batch(1)))
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, s.Send(ctx, batch(2)), context.DeadlineExceeded)
	require.ErrorIs(t, s.Flush(ctx), context.DeadlineExceeded)
	_, err = s.Resolve(ctx, []*varvev1.NewTag{{Name: "a"}})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	close(hold)
	require.NoError(t, s.Flush(context.Background()))
	require.NoError(t, s.Close())
}

func TestGivesUpWithoutAServer(t *testing.T) {
	lost := false
	p := &plainServer{breakBefore: func() bool { return lost }}
	client := startServer(t, p)
	_, err := Open(context.Background(), client, Options{Source: "line-1"})
	require.ErrorContains(t, err, "Epoch")
	o := quick(Options{GiveUpAfter: time.Nanosecond})
	lost = true
	s, err := Open(context.Background(), client, o)
	require.NoError(t, err)
	require.NoError(t, s.Send(context.Background(), batch(1)))
	require.ErrorContains(t, s.Flush(context.Background()), "nothing came through for 1ns")
	require.Error(t, s.Close())
}

// A server that welcomes every session and takes no batch must not be asked as fast as it answers, nor for ever.
func TestGivesUpOnAServerThatOnlyWelcomes(t *testing.T) {
	p := &plainServer{breakBefore: func() bool { return true }}
	var pauses []time.Duration
	s, err := Open(context.Background(), startServer(t, p), Options{
		Source: "line-1", Epoch: 7, BackoffMin: time.Millisecond, BackoffMax: 16 * time.Millisecond, GiveUpAfter: 100 * time.Millisecond,
		OnDisconnect: func(_ error, in time.Duration) { pauses = append(pauses, in) },
	})
	require.NoError(t, err)
	require.NoError(t, s.Send(context.Background(), batch(1)))
	require.ErrorContains(t, s.Flush(context.Background()), "nothing came through")
	require.Error(t, s.Close())
	require.Less(t, len(pauses), 40)
	require.GreaterOrEqual(t, pauses[len(pauses)-1], 8*time.Millisecond)
}
