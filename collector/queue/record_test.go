package queue

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// A batch on its way is what its runs say, byte by byte what it would be if they had been decoded: a server knows a batch that comes again by its bytes.
func TestBatchesGoAsTheyLie(t *testing.T) {
	runs := []*varvev1.Run{
		{Tag: "a", FirstTimeNs: 7, StepNs: 3, Count: 2, Float64: []float64{1, math.NaN()}, NullAt: []uint32{1}},
		{Tag: "é", Mode: varvev1.WriteMode_WRITE_MODE_NO_REPLACE, TimesNs: []int64{5}, Text: []string{""}, QualityCount: []uint32{1}, QualityCode: []uint32{0x80000000}},
		{Tag: "a", TimesNs: []int64{-9}, Int64: []int64{math.MinInt64}},
	}
	for _, alone := range []string{"", "b"} {
		record, err := encodeRecord(1234, alone, runs)
		require.NoError(t, err)
		whole := &varvev1.Batch{OriginTimeNs: 1234, Runs: runs}

		at, b, err := batchOf(record, "b")
		require.NoError(t, err)
		require.EqualValues(t, 1234, at)
		clear(record) // it shares no memory
		b.Sequence, whole.Sequence = 99, 99
		got, err := proto.Marshal(b)
		require.NoError(t, err)
		want, err := proto.MarshalOptions{Deterministic: true}.Marshal(whole)
		require.NoError(t, err)
		require.Equal(t, want, got)
		require.Equal(t, len(want), proto.Size(b))

		var tags []string
		require.NoError(t, eachRun(encoded(b), func(run []byte) error {
			tag, err := tagOf(run)
			tags = append(tags, string(tag))
			return err
		}))
		require.Equal(t, []string{"a", "é", "a"}, tags)
		again, err := decoded(b)
		require.NoError(t, err)
		again.Sequence = 99
		require.True(t, proto.Equal(whole, again))
	}
	record, err := encodeRecord(1234, "b", runs)
	require.NoError(t, err)
	at, b, err := batchOf(record, "c")
	require.NoError(t, err)
	require.EqualValues(t, 1234, at)
	require.True(t, proto.Equal(&varvev1.Batch{}, b))
	require.NoError(t, eachRun(encoded(b), func([]byte) error { return fmt.Errorf("it has runs") }))
}

// What makes no sense is an error, not a panic, and what can be decoded has the runs that are seen while it is encoded.
func FuzzRuns(f *testing.F) {
	record, err := encodeRecord(1, "", []*varvev1.Run{{Tag: "a", TimesNs: []int64{1}, Float64: []float64{1}}})
	require.NoError(f, err)
	f.Add(record)
	f.Add([]byte{2, 3<<3 | 2, 200})
	f.Fuzz(func(t *testing.T, record []byte) {
		_, b, err := batchOf(record, "")
		if err != nil {
			return
		}
		var tags []string
		scanned := eachRun(encoded(b), func(run []byte) error {
			tag, err := tagOf(run)
			tags = append(tags, string(tag))
			return err
		})
		whole, err := decoded(b)
		if err != nil {
			return
		}
		require.NoError(t, scanned)
		require.Len(t, tags, len(whole.Runs))
	})
}

// silent takes every batch and answers none.
type silent struct{ varvev1.IngestServiceClient }

type silentStream struct {
	grpc.ClientStream
	ctx     context.Context
	answers chan *varvev1.IngestResponse
}

func (silent) Ingest(ctx context.Context, _ ...grpc.CallOption) (grpc.BidiStreamingClient[varvev1.IngestRequest, varvev1.IngestResponse], error) {
	return &silentStream{ctx: ctx, answers: make(chan *varvev1.IngestResponse, 1)}, nil
}

func (s *silentStream) Send(m *varvev1.IngestRequest) error {
	if r := m.GetResolve(); r != nil {
		out := &varvev1.Resolved{}
		for range r.Tags {
			out.Tags = append(out.Tags, &varvev1.ResolvedTag{Id: 1})
		}
		s.answers <- &varvev1.IngestResponse{Message: &varvev1.IngestResponse_Resolved{Resolved: out}}
	} else if m.GetHello() != nil {
		s.answers <- &varvev1.IngestResponse{Message: &varvev1.IngestResponse_Welcome{Welcome: &varvev1.Welcome{}}}
	}
	return nil
}

func (s *silentStream) Recv() (*varvev1.IngestResponse, error) {
	select {
	case a := <-s.answers:
		return a, nil
	case <-s.ctx.Done():
		return nil, s.ctx.Err()
	}
}

func (s *silentStream) CloseSend() error { return nil }

// A server that answers nothing costs the memory that may be under way, and not what it would be decoded.
func TestWhatIsUnderWayTakesItsBytes(t *testing.T) {
	q, _, err := Open(t.TempDir(), Options{Source: "s", Behind: time.Hour, Destinations: []Destination{{Name: "a", Ingest: silent{}}}})
	require.NoError(t, err)
	defer func() { require.NoError(t, q.Close()) }()
	runs := make([]*varvev1.Run, 5000)
	put := func(second int) {
		for i := range runs {
			runs[i] = &varvev1.Run{Tag: fmt.Sprintf("PLANT.AREA-1.TI-%05d", i), TimesNs: []int64{int64(second) * 1e9}, Float64: []float64{float64(second)}}
		}
		require.NoError(t, q.Put(t.Context(), runs))
	}
	put(0)
	before := heapBytes()
	const seconds = 60
	for i := range seconds {
		put(i + 1)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { _ = q.Run(ctx); close(ended) }()
	defer func() { cancel(); <-ended }()
	s := q.senders[0]
	require.Eventually(t, func() bool {
		s.mu.Lock()
		x := s.session
		s.mu.Unlock()
		if x == nil {
			return false
		}
		n, size := x.InFlight()
		return n == seconds+1 || size > inFlightBytes[live]-maxRecordBytes
	}, time.Minute, 10*time.Millisecond)
	require.Less(t, heapBytes()-before, int64(4*inFlightBytes[live])) // decoded it is eleven times
}

func heapBytes() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
