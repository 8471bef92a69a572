package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/varvedb/varve/internal/message"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

const (
	accepted = varvev1.Mark_MARK_ACCEPTED
	applied  = varvev1.Mark_MARK_APPLIED
	archived = varvev1.Mark_MARK_ARCHIVED
)

// collector is a client's end of an ingest stream.
type collector struct {
	t *testing.T
	grpc.BidiStreamingClient[varvev1.IngestRequest, varvev1.IngestResponse]
	welcome *varvev1.Welcome
}

func (s *running) ingestStream(t *testing.T, h *varvev1.Hello) *collector {
	t.Helper()
	stream, err := varvev1.NewIngestServiceClient(s.conn).Ingest(testContext(t))
	require.NoError(t, err)
	c := &collector{t: t, BidiStreamingClient: stream}
	if h == nil {
		return c
	}
	require.NoError(t, c.Send(&varvev1.IngestRequest{Message: &varvev1.IngestRequest_Hello{Hello: h}}))
	m, err := c.Recv()
	require.NoError(t, err)
	require.NotNil(t, m.GetWelcome())
	c.welcome = m.GetWelcome()
	return c
}

func (c *collector) batch(sequence uint64, runs ...*varvev1.Run) {
	c.t.Helper()
	require.NoError(c.t, c.Send(&varvev1.IngestRequest{Message: &varvev1.IngestRequest_Batch{Batch: &varvev1.Batch{Sequence: sequence, Runs: runs}}}))
}

// ack is the next answer, which must be one batch at a mark.
func (c *collector) ack(mark varvev1.Mark, sequence uint64) *varvev1.BatchResult {
	c.t.Helper()
	m, err := c.Recv()
	require.NoError(c.t, err)
	require.Equal(c.t, mark, m.GetAck().GetMark(), m.String())
	require.Len(c.t, m.GetAck().Batches, 1)
	require.Equal(c.t, sequence, m.GetAck().Batches[0].Sequence)
	return m.GetAck().Batches[0]
}

// end is why the stream ended.
func (c *collector) end() error {
	for {
		if _, err := c.Recv(); err != nil {
			return err
		}
	}
}

func floats(tag string, first int64, values ...float64) *varvev1.Run {
	return &varvev1.Run{Tag: tag, FirstTimeNs: first, StepNs: int64(time.Second), Count: uint32(len(values)), Float64: values}
}

func hello(source string) *varvev1.Hello {
	return &varvev1.Hello{Source: source, Epoch: 7, CreateTags: true, WantApplied: true}
}

func TestBatchReachesEveryMark(t *testing.T) {
	s := start(t, Options{})
	h := hello("plc-1")
	h.WantArchived = true
	c := s.ingestStream(t, h)
	require.Equal(t, uint64(16<<20), c.welcome.MaxMessageBytes)
	c.batch(1, floats("a", 1e9, 1, 2, 3), floats("b", 1e9, math.NaN()))
	a := c.ack(accepted, 1)
	require.Equal(t, uint64(4), a.Samples)
	require.NotZero(t, a.Offset)
	require.Equal(t, uint64(4), c.ack(applied, 1).Samples)
	require.NoError(t, c.CloseSend())
	flushed, err := varvev1.NewAdminServiceClient(s.conn).Flush(testContext(t), &varvev1.FlushRequest{})
	require.NoError(t, err)
	require.GreaterOrEqual(t, flushed.ArchivedOffset, a.Offset)
	c.ack(archived, 1)
	require.Equal(t, io.EOF, c.end())

	again := s.ingestStream(t, h)
	require.Equal(t, uint64(1), again.welcome.AppliedThrough)
	require.Equal(t, uint64(1), again.welcome.HighestSequence)
	again.batch(1, floats("a", 1e9, 1, 2, 3), floats("b", 1e9, math.NaN()))
	again.ack(accepted, 1)
	require.True(t, again.ack(applied, 1).Duplicate)
}

func TestAcksKeepTheOrderOfBatches(t *testing.T) {
	s := start(t, Options{})
	h := hello("plc-1")
	h.WantApplied = false
	c := s.ingestStream(t, h)
	const n = 300
	go func() {
		for i := range n {
			_ = c.Send(&varvev1.IngestRequest{Message: &varvev1.IngestRequest_Batch{Batch: &varvev1.Batch{Sequence: uint64(i + 1), Runs: []*varvev1.Run{floats("a", int64(i)*1e9, 1)}}}})
		}
		_ = c.CloseSend()
	}()
	for i := range n {
		c.ack(accepted, uint64(i+1))
	}
	require.Equal(t, io.EOF, c.end())
}

func TestResolve(t *testing.T) {
	s := start(t, Options{})
	c := s.ingestStream(t, hello("plc-1"))
	require.NoError(t, c.Send(&varvev1.IngestRequest{Message: &varvev1.IngestRequest_Resolve{Resolve: &varvev1.Resolve{Tags: []*varvev1.NewTag{
		{Name: "new", Type: varvev1.Type_TYPE_INT64, Unit: "bar"}, {Name: "look up only"}, {Name: " bad"}, {Name: "odd", Type: 99},
		{Name: "no set", Type: varvev1.Type_TYPE_STATE, StateSet: "nothing"},
	}}}}))
	m, err := c.Recv()
	require.NoError(t, err)
	tags := m.GetResolved().Tags
	require.True(t, tags[0].Created)
	require.Equal(t, varvev1.Type_TYPE_INT64, tags[0].Type)
	require.Equal(t, varvev1.RejectCode_REJECT_CODE_UNKNOWN_TAG, tags[1].Code)
	require.Contains(t, tags[1].Reason, "a type is needed to create it")
	require.Equal(t, varvev1.RejectCode_REJECT_CODE_BAD_NAME, tags[2].Code)
	require.NotZero(t, tags[3].Code)
	require.NotZero(t, tags[4].Code)
	c.batch(1, &varvev1.Run{TagId: tags[0].Id, TimesNs: []int64{5}, Int64: []int64{9}})
	require.Equal(t, uint64(1), c.ack(accepted, 1).Samples)
}

func TestNoCreateWinsOverTheSource(t *testing.T) {
	s := start(t, Options{NoCreate: true})
	c := s.ingestStream(t, hello("plc-1"))
	c.batch(1, floats("a", 1e9, 1))
	a := c.ack(accepted, 1)
	require.Equal(t, varvev1.RejectCode_REJECT_CODE_UNKNOWN_TAG, a.Rejections[0].Code)
	c.ack(applied, 1)
	c.batch(2, floats("a", 1e9, 1))
	c.ack(accepted, 2)
	c.ack(applied, 2)
	require.Equal(t, uint64(2), s.db.Identity("plc-1", 7).Through, "batches refused whole leave no holes")
}

// TestBadInput: each ends its own stream with a clear status, and a stream beside it goes on.
func TestBadInput(t *testing.T) {
	s := start(t, Options{MaxMessageBytes: 64 << 10})
	beside := s.ingestStream(t, hello("bystander"))
	next := uint64(0)
	check := func() {
		t.Helper()
		next++
		beside.batch(next, floats("fine", int64(next)*1e9, 1))
		require.Equal(t, uint64(1), beside.ack(accepted, next).Samples)
		require.Equal(t, uint64(1), beside.ack(applied, next).Samples)
	}
	check()

	raw := func(b []byte) error {
		stream, err := s.conn.NewStream(testContext(t), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/varve.v1.IngestService/Ingest", forceCodec())
		require.NoError(t, err)
		require.NoError(t, stream.SendMsg(&message.Encoded{Buffers: mem.BufferSlice{mem.SliceBuffer(b)}}))
		return stream.RecvMsg(&varvev1.IngestResponse{})
	}
	requireCode(t, codes.InvalidArgument, raw([]byte{0xFF, 0xFF, 0xFF}), "protobuf")
	check()
	requireCode(t, codes.InvalidArgument, raw(bytes.Repeat([]byte{0x1A, 0x7F}, 20)), "protobuf")
	check()
	requireCode(t, codes.InvalidArgument, raw(nil), "none of hello, resolve, batch")
	check()
	requireCode(t, codes.ResourceExhausted, raw(make([]byte, 65<<10)), "larger than max")
	check()

	early := s.ingestStream(t, nil)
	early.batch(1, floats("a", 1, 1))
	requireCode(t, codes.InvalidArgument, early.end(), "first message must be a hello")

	for text, h := range map[string]*varvev1.Hello{
		"source": {Epoch: 1}, "epoch is 0": {Source: "x"}, "kind of source": {Source: "x", Epoch: 1, Kind: 9},
		"most is 256": {Source: string(bytes.Repeat([]byte("s"), 257)), Epoch: 1},
	} {
		c := s.ingestStream(t, nil)
		require.NoError(t, c.Send(&varvev1.IngestRequest{Message: &varvev1.IngestRequest_Hello{Hello: h}}))
		requireCode(t, codes.InvalidArgument, c.end(), text)
	}
	check()

	c := s.ingestStream(t, hello("zero"))
	c.batch(0, floats("a", 1, 1))
	requireCode(t, codes.InvalidArgument, c.end(), "sequence of a batch is 0")
	c = s.ingestStream(t, hello("twice"))
	require.NoError(t, c.Send(&varvev1.IngestRequest{Message: &varvev1.IngestRequest_Hello{Hello: hello("twice")}}))
	requireCode(t, codes.InvalidArgument, c.end(), "hello came twice")

	truncated, cancel := context.WithCancel(testContext(t))
	stream, err := varvev1.NewIngestServiceClient(s.conn).Ingest(truncated)
	require.NoError(t, err)
	require.NoError(t, stream.Send(&varvev1.IngestRequest{Message: &varvev1.IngestRequest_Hello{Hello: hello("cut")}}))
	_, err = stream.Recv()
	require.NoError(t, err)
	cancel()
	require.Eventually(t, func() bool { return s.sessions.count() == 1 }, 10*time.Second, time.Millisecond, "the cut stream's session ends")
	check()
}

// TestANameThatIsNotUTF8IsRefusedByItself sends some beside a good run: the answer names them, and nothing else is lost.
func TestANameThatIsNotUTF8IsRefusedByItself(t *testing.T) {
	s := start(t, Options{})
	request, err := proto.Marshal(&varvev1.WriteRequest{CreateTags: true, Batch: &varvev1.Batch{
		Runs:   []*varvev1.Run{floats("good", 1e9, 1), floats("QQQQ", 1e9, 1)},
		Frames: []*varvev1.Frame{{TimesNs: []int64{1e9}, Tags: []string{"QQQQ", "QQQQ"}, Float64: []float64{1, 2}}},
	}})
	require.NoError(t, err)
	request = bytes.ReplaceAll(request, []byte("QQQQ"), []byte("Q\xFF\xFEQ"))
	var out varvev1.WriteResponse
	require.NoError(t, s.conn.Invoke(testContext(t), "/varve.v1.IngestService/Write", &message.Encoded{Buffers: mem.BufferSlice{mem.SliceBuffer(request)}}, &out, forceCodec()))
	require.Equal(t, uint64(1), out.Result.Samples)
	require.Equal(t, uint64(3), out.Result.Rejected)
	require.Equal(t, varvev1.RejectCode_REJECT_CODE_BAD_NAME, out.Result.Rejections[0].Code)
	require.Equal(t, "Q\uFFFDQ", out.Result.Rejections[0].Tag)
	require.Contains(t, out.Result.Rejections[1].Reason, "stands twice")
}

func TestNewerSessionFencesTheOlder(t *testing.T) {
	s := start(t, Options{})
	older := s.ingestStream(t, hello("plc-1"))
	other := s.ingestStream(t, hello("plc-2"))
	newer := s.ingestStream(t, hello("plc-1"))
	require.Greater(t, newer.welcome.Session, older.welcome.Session)
	requireCode(t, codes.Aborted, older.end(), "newer session")
	newer.batch(1, floats("a", 1, 1))
	newer.ack(accepted, 1)
	newer.ack(applied, 1)
	other.batch(1, floats("b", 1, 1))
	other.ack(accepted, 1)
	require.Equal(t, uint64(1), s.sessions.fenced.Load())
}

// TestFencedSessionSubmitsNothing: the fence returns behind the last submission of the older session.
// TestAFencedSessionEndsThoughItsClientDoesNotRead: its answers fill the client's window and wait there for ever.
func TestAFencedSessionEndsThoughItsClientDoesNotRead(t *testing.T) {
	s := start(t, Options{}, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithStaticStreamWindowSize(64<<10))
	deaf := s.ingestStream(t, hello("plc"))
	var runs []*varvev1.Run
	for range maxRejections {
		runs = append(runs, &varvev1.Run{TagId: 99, TimesNs: []int64{1}, Float64: []float64{1}})
	}
	for n := uint64(1); n <= 20; n++ {
		deaf.batch(n, runs...)
	}
	require.Eventually(t, func() bool { return s.db.Identity("plc", 7).Through == 20 }, 10*time.Second, time.Millisecond)
	time.Sleep(100 * time.Millisecond) // by then an answer waits
	s.ingestStream(t, hello("plc"))
	require.Eventually(t, func() bool { return s.ended(t, codes.Aborted) }, 10*time.Second, 10*time.Millisecond, "the older session's call ends")
}

// ended reports whether any call has ended with a status.
func (s *running) ended(t *testing.T, status codes.Code) bool {
	families, err := s.metrics.registry.Gather()
	require.NoError(t, err)
	for _, family := range families {
		for _, m := range family.GetMetric() {
			for _, l := range m.GetLabel() {
				if family.GetName() == "varve_calls_total" && l.GetName() == "status" && l.GetValue() == status.String() {
					return true
				}
			}
		}
	}
	return false
}

func TestFencedSessionSubmitsNothing(t *testing.T) {
	s := start(t, Options{})
	var ended error
	older := s.sessions.begin("x", func(err error) { ended = err })
	newer := s.sessions.begin("x", func(error) {})
	require.ErrorIs(t, ended, errFenced)
	_, err := older.submit(testContext(t), s.db, nil)
	require.ErrorIs(t, err, errFenced)
	s.sessions.finish(older)
	require.Equal(t, 1, s.sessions.count(), "the older one does not take the newer with it")
	s.sessions.finish(newer)
	require.Zero(t, s.sessions.count())
}

func TestSequenceWithOtherContentEndsTheStream(t *testing.T) {
	s := start(t, Options{})
	h := hello("plc-1")
	h.WantApplied = false
	c := s.ingestStream(t, h)
	c.batch(1, floats("a", 1, 1))
	c.ack(accepted, 1)
	c.batch(1, floats("a", 1, 2))
	requireCode(t, codes.FailedPrecondition, c.end(), "other content; a queue restored from a copy must start a new epoch")
}

// TestDrain: batches sent before the server is told to stop are either answered or never taken; the stream ends with a
// status that says to come again.
func TestDrain(t *testing.T) {
	s := start(t, Options{})
	c := s.ingestStream(t, hello("plc-1"))
	h := hello("archivist")
	h.WantArchived = true
	waiting := s.ingestStream(t, h)
	waiting.batch(1, floats("b", 1, 1))
	waiting.ack(accepted, 1)
	waiting.ack(applied, 1)
	go func() {
		for i := uint64(1); ; i++ {
			if c.Send(&varvev1.IngestRequest{Message: &varvev1.IngestRequest_Batch{Batch: &varvev1.Batch{Sequence: i, Runs: []*varvev1.Run{floats("a", int64(i)*1e9, float64(i))}}}}) != nil {
				return
			}
		}
	}()
	c.ack(accepted, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.stop()
	}()
	acks := map[varvev1.Mark]uint64{accepted: 1}
	var err error
	for {
		var m *varvev1.IngestResponse
		if m, err = c.Recv(); err != nil {
			break
		}
		for _, b := range m.GetAck().Batches {
			require.Equal(t, acks[m.GetAck().Mark]+1, b.Sequence)
			acks[m.GetAck().Mark] = b.Sequence
		}
	}
	requireCode(t, codes.Unavailable, err, "shutting down")
	requireCode(t, codes.Unavailable, waiting.end(), "shutting down")
	<-done
	require.Equal(t, acks[accepted], acks[applied], "what was accepted was also applied before the end")
	require.Equal(t, acks[applied], s.db.Identity("plc-1", 7).Through, "nothing was taken without an answer")
}

// TestClientsMayCompress: requests and answers, and a message that unpacks to more than is taken costs no more than that.
func TestClientsMayCompress(t *testing.T) {
	s := start(t, Options{MaxMessageBytes: 64 << 10}, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.UseCompressor(gzip.Name)))
	c := s.ingestStream(t, hello("plc"))
	c.batch(1, floats("a", 1e9, make([]float64, 5000)...))
	require.Equal(t, uint64(5000), c.ack(accepted, 1).Samples)
	c.ack(applied, 1)
	got := s.readRange(t, &varvev1.ReadRangeRequest{Tags: []string{"a"}, EndNs: proto.Int64(math.MaxInt64), StartNs: proto.Int64(0)})
	require.Equal(t, int64(5000), got[0].NumRows())
	got[0].Release()
	c.batch(2, floats("a", 1e9, make([]float64, 1_000_000)...))
	requireCode(t, codes.ResourceExhausted, c.end(), "larger than max")
}

func TestWriteAndEdit(t *testing.T) {
	s := start(t, Options{})
	client := varvev1.NewIngestServiceClient(s.conn)
	ctx := testContext(t)
	w, err := client.Write(ctx, &varvev1.WriteRequest{CreateTags: true, Batch: &varvev1.Batch{Runs: []*varvev1.Run{floats("a", 1e9, 1, 2), {TagId: 99, TimesNs: []int64{1}, Float64: []float64{1}}}}})
	require.NoError(t, err)
	require.Equal(t, uint64(2), w.Result.Samples)
	require.Equal(t, uint64(1), w.Result.Rejected)
	require.Equal(t, uint32(1), w.Result.Rejections[0].Run)

	insert := floats("a", 1e9, 5, 6, 7)
	insert.Mode = varvev1.WriteMode_WRITE_MODE_INSERT
	w, err = client.Write(ctx, &varvev1.WriteRequest{Batch: &varvev1.Batch{Runs: []*varvev1.Run{{TagId: 99, TimesNs: []int64{1}, Float64: []float64{1}}, insert}}})
	require.NoError(t, err)
	require.Equal(t, uint64(1), w.Result.Samples)
	require.Equal(t, uint64(3), w.Result.Rejected)
	require.Equal(t, varvev1.RejectCode_REJECT_CODE_EXISTS, w.Result.Rejections[1].Code)
	require.Equal(t, uint32(1), w.Result.Rejections[1].Run, "positions are those of the batch as sent")
	require.Equal(t, "a", w.Result.Rejections[1].Tag)

	_, err = client.Write(ctx, &varvev1.WriteRequest{Epoch: 3, Batch: &varvev1.Batch{Sequence: 1, Runs: []*varvev1.Run{floats("a", 1e9, 9)}}})
	requireCode(t, codes.InvalidArgument, err, "no source is given")
	_, err = client.Write(ctx, &varvev1.WriteRequest{Kind: 9, Batch: &varvev1.Batch{Runs: []*varvev1.Run{floats("a", 1e9, 9)}}})
	requireCode(t, codes.InvalidArgument, err, "kind of source 9")
	_, err = client.Edit(ctx, &varvev1.EditRequest{Author: "ana", Runs: []*varvev1.Run{floats("a", 1e9, 9)}})
	requireCode(t, codes.InvalidArgument, err, "reason is empty")
	_, err = client.Edit(ctx, &varvev1.EditRequest{Reason: "drift", Runs: []*varvev1.Run{floats("a", 1e9, 9)}})
	requireCode(t, codes.InvalidArgument, err, "author is empty")
	w, err = client.Edit(ctx, &varvev1.EditRequest{Author: "ana", Reason: "drift", Runs: []*varvev1.Run{floats("a", 1e9, 9), floats("a", 99e9, 9)}})
	require.NoError(t, err)
	require.Equal(t, uint64(1), w.Result.Samples)
	require.Equal(t, varvev1.RejectCode_REJECT_CODE_ABSENT, w.Result.Rejections[0].Code)

	id := &varvev1.WriteRequest{Source: "once", Epoch: 1, Batch: &varvev1.Batch{Sequence: 1, Runs: []*varvev1.Run{floats("a", 5e9, 9)}}}
	_, err = client.Write(ctx, id)
	require.NoError(t, err)
	w, err = client.Write(ctx, id)
	require.NoError(t, err)
	require.True(t, w.Result.Duplicate)
	id.Batch.Runs[0].Float64[0]++
	_, err = client.Write(ctx, id)
	requireCode(t, codes.FailedPrecondition, err, "other content")

	// An edit of another server that is passed on: once, with who made it and why.
	passed := &varvev1.WriteRequest{Source: "once", Epoch: 1, Author: "mara", Reason: "lab", Batch: &varvev1.Batch{Sequence: 2, Runs: []*varvev1.Run{floats("a", 5e9, 3)}}}
	for i := range 2 {
		w, err = client.Write(ctx, passed)
		require.NoError(t, err)
		require.Equal(t, i == 1, w.Result.Duplicate)
	}
	versions := s.versions(t, "a")
	last := versions[len(versions)-1]
	require.Equal(t, "mara lab", last.Author+" "+last.Reason)
	for _, bad := range []*varvev1.WriteRequest{{Author: "mara"}, {Reason: "lab"}, {Author: strings.Repeat("m", 257), Reason: "lab"}, {Author: "mara", Reason: strings.Repeat("x", 4097)}} {
		bad.Batch = &varvev1.Batch{Runs: []*varvev1.Run{floats("a", 5e9, 4)}}
		_, err = client.Write(ctx, bad)
		require.Equal(t, codes.InvalidArgument, status.Code(err), "%v", bad)
	}
}

func TestToStatusKeepsWhatItIsGiven(t *testing.T) {
	require.NoError(t, toStatus(nil))
	require.Equal(t, codes.Unauthenticated, status.Code(toStatus(status.Error(codes.Unauthenticated, "x"))))
	require.Equal(t, codes.Internal, status.Code(toStatus(errors.New("x"))))
	require.Equal(t, codes.Canceled, status.Code(toStatus(context.Canceled)))
}
