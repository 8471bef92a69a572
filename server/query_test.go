package server

import (
	"bytes"
	"context"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/flight"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/query/part13"
	"github.com/varvedb/varve/storage"
)

// versions is every version of every sample of a tag.
func (s *running) versions(t *testing.T, tag string) []model.Version {
	view, err := s.db.View(testContext(t), storage.Accepted)
	require.NoError(t, err)
	defer view.Close()
	found, ok := s.db.Catalog().ByName(tag)
	require.True(t, ok)
	versions, err := view.Versions(testContext(t), found.ID, model.All)
	require.NoError(t, err)
	return versions
}

// write stores runs, making their tags.
func (s *running) write(t testing.TB, runs ...*varvev1.Run) {
	t.Helper()
	w, err := varvev1.NewIngestServiceClient(s.conn).Write(testContext(t), &varvev1.WriteRequest{CreateTags: true, Batch: &varvev1.Batch{Runs: runs}})
	require.NoError(t, err)
	require.Zero(t, w.Result.Rejected, "%v", w.Result.Rejections)
}

// ipcBytes is an answer as QueryService gives it.
func ipcBytes(stream grpc.ServerStreamingClient[varvev1.ArrowData], err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	var out []byte
	for {
		m, err := stream.Recv()
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return out, err
		}
		out = append(out, m.Ipc...)
	}
}

// records reads all record batches; they are the caller's to release.
func records(t *testing.T, r array.RecordReader) (out []arrow.Record) {
	t.Helper()
	for r.Next() {
		r.Record().Retain()
		out = append(out, r.Record())
	}
	require.NoError(t, r.Err())
	return out
}

func (s *running) readRange(t *testing.T, r *varvev1.ReadRangeRequest) []arrow.Record {
	t.Helper()
	b, err := ipcBytes(varvev1.NewQueryServiceClient(s.conn).ReadRange(testContext(t), r))
	require.NoError(t, err)
	reader, err := ipc.NewReader(bytes.NewReader(b))
	require.NoError(t, err)
	defer reader.Release()
	return records(t, reader)
}

func everyKind() []*varvev1.Run {
	return []*varvev1.Run{
		floats("float", 1e9, 1.5, math.Copysign(0, -1), math.Inf(1)),
		{Tag: "narrow", TimesNs: []int64{1e9}, Float32: []float32{0.1}},
		{Tag: "int", TimesNs: []int64{1e9, 2e9}, Int64: []int64{math.MinInt64, 3}, NullAt: []uint32{1}, QualityCount: []uint32{1, 1}, QualityCode: []uint32{0, 0x80000000}},
		{Tag: "unsigned", TimesNs: []int64{1e9, 2e9}, Uint64: []uint64{math.MaxUint64, 7}},
		{Tag: "bool", TimesNs: []int64{1e9, 2e9}, Bool: []bool{true, false}},
		{Tag: "text", TimesNs: []int64{1e9, 2e9}, Text: []string{"läuft", ""}},
		{Tag: "bytes", TimesNs: []int64{1e9}, Blob: [][]byte{{0xFF, 0}}},
	}
}

// TestAggregatesOverBothDoors asks gRPC and Flight the same and holds the answer against what was written.
func TestAggregatesOverBothDoors(t *testing.T) {
	s := start(t, Options{})
	s.write(t, everyKind()...)
	ctx := testContext(t)
	r := &varvev1.ReadAggregatesRequest{Tags: []string{"unsigned"}, EndNs: 4e9, StepNs: 2e9, Aggregates: []string{"count", "sum", "maximum", "time_weighted_average"}}
	b, err := ipcBytes(varvev1.NewQueryServiceClient(s.conn).ReadAggregates(ctx, r))
	require.NoError(t, err)
	plain, err := ipc.NewReader(bytes.NewReader(b))
	require.NoError(t, err)
	defer plain.Release()
	want := records(t, plain)
	require.Len(t, want, 1)
	require.Equal(t, []int64{1, 1}, want[0].Column(2).(*array.Int64).Int64Values())
	require.Equal(t, "18446744073709551615", want[0].Column(3).ValueStr(0))
	require.Equal(t, []uint64{math.MaxUint64, 7}, want[0].Column(4).(*array.Uint64).Uint64Values())
	require.Equal(t, uint32(model.UncertainDataSubNormal), want[0].Column(6).(*array.Uint32).Value(0))
	require.InDelta(t, 50, want[0].Column(7).(*array.Float64).Value(0), 1e-9)

	ticket, err := proto.Marshal(&varvev1.FlightQuestion{Question: &varvev1.FlightQuestion_Aggregates{Aggregates: r}})
	require.NoError(t, err)
	got, err := flightRecords(t, s.conn, ticket)
	require.NoError(t, err)
	require.Len(t, got, 1)
	require.True(t, array.RecordEqual(want[0], got[0]))
	want[0].Release()
	got[0].Release()

	for _, bad := range []*varvev1.ReadAggregatesRequest{
		{Tags: r.Tags, EndNs: 4e9, Aggregates: []string{"average"}},
		{Tags: r.Tags, EndNs: 4e9},
		{Tags: []string{"text"}, EndNs: 4e9, Aggregates: []string{"sum"}},
		{Tags: r.Tags, StartNs: 4, EndNs: 4, Aggregates: []string{"count"}},
	} {
		_, err := ipcBytes(varvev1.NewQueryServiceClient(s.conn).ReadAggregates(ctx, bad))
		require.Equal(t, codes.InvalidArgument, status.Code(err), "%v", err)
	}
}

// TestProcessedValuesOverBothDoors asks gRPC and Flight for every aggregate of Part 13 of tags of all types.
func TestProcessedValuesOverBothDoors(t *testing.T) {
	s := start(t, Options{})
	s.write(t, everyKind()...)
	ctx := testContext(t)
	good, bad, uncertain := uint32(60), uint32(70), false
	r := &varvev1.ReadProcessedRequest{
		StartNs: 9e9, EndNs: -1e9, StepNs: 2e9, TreatUncertainAsBad: &uncertain, PercentDataGood: &good, PercentDataBad: &bad, UseSlopedExtrapolation: true,
	}
	for _, run := range everyKind() {
		r.Tags = append(r.Tags, run.Tag)
	}
	for _, name := range part13.Names() {
		ask := proto.Clone(r).(*varvev1.ReadProcessedRequest)
		ask.Aggregates = []string{name}
		b, err := ipcBytes(varvev1.NewQueryServiceClient(s.conn).ReadProcessed(ctx, ask))
		if f, _ := part13.Parse(name); !f.Of(model.Bytes) { // a tag of bytes is among them
			require.Equal(t, codes.InvalidArgument, status.Code(err), name)
			continue
		}
		require.NoError(t, err, name)
		plain, err := ipc.NewReader(bytes.NewReader(b))
		require.NoError(t, err)
		want := records(t, plain)
		require.Len(t, want, 1)
		require.Equal(t, int64(5*len(r.Tags)), want[0].NumRows(), name)
		ticket, err := proto.Marshal(&varvev1.FlightQuestion{Question: &varvev1.FlightQuestion_Processed{Processed: ask}})
		require.NoError(t, err)
		got, err := flightRecords(t, s.conn, ticket)
		require.NoError(t, err)
		require.Len(t, got, 1)
		require.True(t, array.RecordEqual(want[0], got[0]), name)
		want[0].Release()
		got[0].Release()
		plain.Release()
	}
	for _, bad := range []*varvev1.ReadProcessedRequest{
		{Tags: r.Tags[:1], EndNs: 4e9},
		{Tags: r.Tags[:1], EndNs: 4e9, Aggregates: []string{"average"}},
		{Tags: r.Tags[:1], StartNs: 4, EndNs: 4, Aggregates: []string{"Count"}},
		{Tags: r.Tags[:1], EndNs: 4e9, Aggregates: []string{"Count"}, PercentDataGood: new(uint32), PercentDataBad: new(uint32)},
		{Tags: r.Tags[:1], EndNs: 4e9, Aggregates: []string{"Count"}, PercentDataGood: proto.Uint32(300)},
		{Tags: r.Tags[:1], EndNs: 4e9, Aggregates: []string{"Count"}, TimeResolutionNs: -1},
	} {
		_, err := ipcBytes(varvev1.NewQueryServiceClient(s.conn).ReadProcessed(ctx, bad))
		require.Equal(t, codes.InvalidArgument, status.Code(err), "%v", bad)
	}
}

// flightRecords is what DoGet answers to a ticket, which the server also describes.
func flightRecords(t *testing.T, conn *grpc.ClientConn, ticket []byte) ([]arrow.Record, error) {
	t.Helper()
	client := flight.NewClientFromConn(conn, nil)
	info, err := client.GetFlightInfo(testContext(t), &flight.FlightDescriptor{Type: flight.DescriptorCMD, Cmd: ticket})
	if err != nil {
		return nil, err
	}
	stream, err := client.DoGet(testContext(t), info.Endpoint[0].Ticket)
	if err != nil {
		return nil, err
	}
	reader, err := flight.NewRecordReader(stream)
	if err != nil {
		return nil, err
	}
	defer reader.Release()
	schema, err := flight.DeserializeSchema(info.Schema, nil)
	require.NoError(t, err)
	require.True(t, schema.Equal(reader.Schema()))
	return records(t, reader), nil
}

func TestFlightAnswersWithTheSameBits(t *testing.T) {
	s := start(t, Options{})
	s.write(t, everyKind()...)
	ctx := testContext(t)
	client := flight.NewClientFromConn(s.conn, nil)
	for _, r := range []*varvev1.ReadRangeRequest{
		{Tags: []string{"float"}, EndNs: proto.Int64(10e9), StartNs: proto.Int64(0)},
		{Tags: []string{"float", "narrow", "int", "unsigned", "bool", "text", "bytes"}, EndNs: proto.Int64(10e9), WithSeq: true, WithSource: true, StartNs: proto.Int64(0)},
		{Tags: []string{"text", "float"}, StartNs: proto.Int64(10e9), Limit: 1, BatchRows: 1, EndNs: proto.Int64(0)},
		{TagIds: []uint32{3}, StartNs: proto.Int64(2e9), EndNs: proto.Int64(2e9)},
		{Tags: []string{"float"}, StartNs: proto.Int64(500e9), EndNs: proto.Int64(600e9)},
		{Tags: []string{"float"}, EndNs: proto.Int64(10e9), AsOfNs: new(int64), StartNs: proto.Int64(0)},
		{Tags: []string{"float", "int"}, EndNs: proto.Int64(10e9), AsOfNs: proto.Int64(math.MaxInt64), WithSource: true, StartNs: proto.Int64(0)},
		{Tags: []string{"float"}, EndNs: proto.Int64(5e9), Limit: 2},
		{Tags: []string{"float", "bool"}, StartNs: proto.Int64(15e8), EndNs: proto.Int64(25e8), Bounds: varvev1.Bounds_BOUNDS_OUTSIDE, WithSource: true},
		{Tags: []string{"unsigned"}, StartNs: proto.Int64(15e8), EndNs: proto.Int64(25e8), Bounds: varvev1.Bounds_BOUNDS_INTERPOLATED, WithSeq: true},
		{Tags: []string{"float"}, StartNs: proto.Int64(0), EndNs: proto.Int64(3e9), AfterTimeNs: proto.Int64(1e9), Bounds: varvev1.Bounds_BOUNDS_INSIDE},
		{
			Tags: []string{"unsigned"}, StartNs: proto.Int64(0), EndNs: proto.Int64(9e9), Severities: []varvev1.Severity{varvev1.Severity_SEVERITY_GOOD},
			Where: []*varvev1.Comparison{{Operator: varvev1.Comparison_OPERATOR_GREATER, Operand: &varvev1.Comparison_Integer{Integer: 7}}},
		},
	} {
		want := s.readRange(t, r)
		ticket, err := proto.Marshal(r)
		require.NoError(t, err)
		info, err := client.GetFlightInfo(ctx, &flight.FlightDescriptor{Type: flight.DescriptorCMD, Cmd: ticket})
		require.NoError(t, err)
		stream, err := client.DoGet(ctx, info.Endpoint[0].Ticket)
		require.NoError(t, err)
		reader, err := flight.NewRecordReader(stream)
		require.NoError(t, err)
		got := records(t, reader)
		schema, err := flight.DeserializeSchema(info.Schema, nil)
		require.NoError(t, err)
		require.True(t, schema.Equal(reader.Schema()))
		require.Equal(t, len(want), len(got))
		for i := range want {
			require.True(t, array.RecordEqual(want[i], got[i]), "%v\n%v", want[i], got[i])
			want[i].Release()
			got[i].Release()
		}
		reader.Release()
	}
	for _, d := range []*flight.FlightDescriptor{{Type: flight.DescriptorPATH, Path: []string{"x"}}, {Type: flight.DescriptorCMD, Cmd: []byte{0xFF}}, {Type: flight.DescriptorCMD}} {
		_, err := client.GetFlightInfo(ctx, d)
		requireCode(t, codes.InvalidArgument, err, "")
	}
	stream, err := client.DoGet(ctx, &flight.Ticket{Ticket: []byte{0xFF}})
	require.NoError(t, err)
	_, err = stream.Recv()
	requireCode(t, codes.InvalidArgument, err, "ticket")
}

// TestRangeOptionsReachTheEngine asks for bounds, counts, pages and filters by what only they answer.
func TestRangeOptionsReachTheEngine(t *testing.T) {
	s := start(t, Options{})
	s.write(t, floats("a", 1e9, 1, 2, 3, 4))
	s.write(t, &varvev1.Run{Tag: "bad", TimesNs: []int64{1e9, 2e9}, Float64: []float64{5, 6}, QualityCount: []uint32{1, 1}, QualityCode: []uint32{0, 0x80000000}})
	s.write(t, &varvev1.Run{Tag: "text", TimesNs: []int64{1e9, 2e9}, Text: []string{"on", "off"}})
	one := []string{"a"}
	above := func(op varvev1.Comparison_Operator, x float64) []*varvev1.Comparison {
		return []*varvev1.Comparison{{Operator: op, Operand: &varvev1.Comparison_Number{Number: x}}}
	}
	for name, c := range map[string]struct {
		r    *varvev1.ReadRangeRequest
		want []int64 // seconds
	}{
		"forward":       {&varvev1.ReadRangeRequest{Tags: one, StartNs: proto.Int64(2e9), Limit: 2}, []int64{2, 3}},
		"backward":      {&varvev1.ReadRangeRequest{Tags: one, EndNs: proto.Int64(3e9), Limit: 2}, []int64{3, 2}},
		"page":          {&varvev1.ReadRangeRequest{Tags: one, EndNs: proto.Int64(3e9), Limit: 2, AfterTimeNs: proto.Int64(2e9)}, []int64{1}},
		"inside":        {&varvev1.ReadRangeRequest{Tags: one, StartNs: proto.Int64(1e9), EndNs: proto.Int64(2e9), Bounds: varvev1.Bounds_BOUNDS_INSIDE}, []int64{1, 2}},
		"none":          {&varvev1.ReadRangeRequest{Tags: one, StartNs: proto.Int64(1e9), EndNs: proto.Int64(2e9), Bounds: varvev1.Bounds_BOUNDS_NONE}, []int64{1}},
		"outside":       {&varvev1.ReadRangeRequest{Tags: one, StartNs: proto.Int64(15e8), EndNs: proto.Int64(16e8), Bounds: varvev1.Bounds_BOUNDS_OUTSIDE}, []int64{1, 2}},
		"good":          {&varvev1.ReadRangeRequest{Tags: []string{"bad"}, StartNs: proto.Int64(0), EndNs: proto.Int64(9e9), Severities: []varvev1.Severity{varvev1.Severity_SEVERITY_GOOD}}, []int64{1}},
		"bad":           {&varvev1.ReadRangeRequest{Tags: []string{"bad"}, StartNs: proto.Int64(0), EndNs: proto.Int64(9e9), Severities: []varvev1.Severity{varvev1.Severity_SEVERITY_BAD}}, []int64{2}},
		"uncertain":     {&varvev1.ReadRangeRequest{Tags: []string{"bad"}, StartNs: proto.Int64(0), EndNs: proto.Int64(9e9), Severities: []varvev1.Severity{varvev1.Severity_SEVERITY_UNCERTAIN}}, nil},
		"equal":         {&varvev1.ReadRangeRequest{Tags: one, StartNs: proto.Int64(0), EndNs: proto.Int64(9e9), Where: above(varvev1.Comparison_OPERATOR_EQUAL, 2)}, []int64{2}},
		"not equal":     {&varvev1.ReadRangeRequest{Tags: one, StartNs: proto.Int64(0), EndNs: proto.Int64(9e9), Where: above(varvev1.Comparison_OPERATOR_NOT_EQUAL, 2)}, []int64{1, 3, 4}},
		"less":          {&varvev1.ReadRangeRequest{Tags: one, StartNs: proto.Int64(0), EndNs: proto.Int64(9e9), Where: above(varvev1.Comparison_OPERATOR_LESS, 2)}, []int64{1}},
		"less or equal": {&varvev1.ReadRangeRequest{Tags: one, StartNs: proto.Int64(0), EndNs: proto.Int64(9e9), Where: above(varvev1.Comparison_OPERATOR_LESS_OR_EQUAL, 2)}, []int64{1, 2}},
		"greater":       {&varvev1.ReadRangeRequest{Tags: one, StartNs: proto.Int64(0), EndNs: proto.Int64(9e9), Where: above(varvev1.Comparison_OPERATOR_GREATER, 3)}, []int64{4}},
		"at least":      {&varvev1.ReadRangeRequest{Tags: one, StartNs: proto.Int64(0), EndNs: proto.Int64(9e9), Where: above(varvev1.Comparison_OPERATOR_GREATER_OR_EQUAL, 3)}, []int64{3, 4}},
		"text": {&varvev1.ReadRangeRequest{Tags: []string{"text"}, StartNs: proto.Int64(0), EndNs: proto.Int64(9e9), Where: []*varvev1.Comparison{
			{Operator: varvev1.Comparison_OPERATOR_EQUAL, Operand: &varvev1.Comparison_Text{Text: "off"}}}}, []int64{2}},
	} {
		var got []int64
		for _, rec := range s.readRange(t, c.r) {
			for i := range int(rec.NumRows()) {
				got = append(got, int64(rec.Column(0).(*array.Timestamp).Value(i))/1e9)
			}
			rec.Release()
		}
		require.Equal(t, c.want, got, name)
	}
}

// TestValuesAtTimesOverBothDoors asks gRPC and Flight the same and holds the answer against the lines between samples.
func TestValuesAtTimesOverBothDoors(t *testing.T) {
	s := start(t, Options{})
	s.write(t, everyKind()...)
	ctx := testContext(t)
	client := flight.NewClientFromConn(s.conn, nil)
	for i, r := range []*varvev1.ReadAtTimesRequest{
		{Tags: []string{"unsigned"}, TimesNs: []int64{2e9, 15e8, 0, 5e9}},
		{Tags: []string{"bool", "text", "float", "int"}, StartNs: 3e9, EveryNs: 5e8},
		{Tags: []string{"unsigned"}, TimesNs: []int64{15e8}, Stepped: proto.Bool(true), AsOfNs: proto.Int64(math.MaxInt64)},
		{TagIds: []uint32{1, 3}, TimesNs: []int64{15e8}, BridgeBad: true, UseUncertain: true, BatchRows: 1},
		{Tags: []string{"float"}, TimesNs: []int64{15e8, 1e9}, Discrete: true, Consistency: varvev1.Consistency_CONSISTENCY_EVENTUAL},
	} {
		b, err := ipcBytes(varvev1.NewQueryServiceClient(s.conn).ReadAtTimes(ctx, r))
		require.NoError(t, err)
		plain, err := ipc.NewReader(bytes.NewReader(b))
		require.NoError(t, err)
		want := records(t, plain)
		if i == 0 { // 2^64-1 at a second, 7 at two: in between the nearest integer, half way up
			require.Equal(t, []uint64{7, 1<<63 + 3, 0, 7}, want[0].Column(2).(*array.Uint64).Uint64Values())
			require.Equal(t, []uint32{0, 0x402, uint32(model.BadNoData), uint32(model.UncertainDataSubNormal) | 0x402}, want[0].Column(3).(*array.Uint32).Uint32Values())
		}
		ticket, err := proto.Marshal(&varvev1.FlightQuestion{Question: &varvev1.FlightQuestion_AtTimes{AtTimes: r}})
		require.NoError(t, err)
		info, err := client.GetFlightInfo(ctx, &flight.FlightDescriptor{Type: flight.DescriptorCMD, Cmd: ticket})
		require.NoError(t, err)
		stream, err := client.DoGet(ctx, info.Endpoint[0].Ticket)
		require.NoError(t, err)
		reader, err := flight.NewRecordReader(stream)
		require.NoError(t, err)
		schema, err := flight.DeserializeSchema(info.Schema, nil)
		require.NoError(t, err)
		require.True(t, schema.Equal(reader.Schema()))
		got := records(t, reader)
		require.Equal(t, len(want), len(got))
		for k := range want {
			require.True(t, array.RecordEqual(want[k], got[k]), "%v\n%v", want[k], got[k])
			want[k].Release()
			got[k].Release()
		}
		plain.Release()
		reader.Release()
	}
	for _, bad := range []*varvev1.ReadAtTimesRequest{
		{Tags: []string{"float"}},
		{Tags: []string{"float"}, TimesNs: []int64{1}, BatchRows: 1<<20 + 1},
		{Tags: []string{"float"}, TimesNs: []int64{1}, Consistency: 9},
		{TimesNs: []int64{1}},
	} {
		_, err := ipcBytes(varvev1.NewQueryServiceClient(s.conn).ReadAtTimes(ctx, bad))
		requireCode(t, codes.InvalidArgument, err, "")
	}
	_, err := ipcBytes(varvev1.NewQueryServiceClient(s.conn).ReadAtTimes(ctx, &varvev1.ReadAtTimesRequest{Tags: []string{"nobody"}, TimesNs: []int64{1}}))
	requireCode(t, codes.NotFound, err, "nobody")
}

func TestQueriesThatMakeNoSense(t *testing.T) {
	s := start(t, Options{})
	s.write(t, floats("a", 1, 1))
	client := varvev1.NewQueryServiceClient(s.conn)
	for _, c := range []struct {
		r    *varvev1.ReadRangeRequest
		code codes.Code
		text string
	}{
		{&varvev1.ReadRangeRequest{StartNs: proto.Int64(0), EndNs: proto.Int64(0)}, codes.InvalidArgument, "no tag"},
		{&varvev1.ReadRangeRequest{Tags: []string{"a", "nobody"}, StartNs: proto.Int64(0), EndNs: proto.Int64(0)}, codes.NotFound, `"nobody"`},
		{&varvev1.ReadRangeRequest{TagIds: []uint32{77}, StartNs: proto.Int64(0), EndNs: proto.Int64(0)}, codes.NotFound, "id 77"},
		{&varvev1.ReadRangeRequest{Tags: []string{"a"}, StartNs: proto.Int64(math.MinInt64), EndNs: proto.Int64(0)}, codes.InvalidArgument, "first instant"},
		{&varvev1.ReadRangeRequest{Tags: []string{"a"}, BatchRows: 1<<20 + 1, StartNs: proto.Int64(0), EndNs: proto.Int64(0)}, codes.InvalidArgument, "batch_rows"},
		{&varvev1.ReadRangeRequest{Tags: []string{"a"}, Consistency: 9, StartNs: proto.Int64(0), EndNs: proto.Int64(0)}, codes.InvalidArgument, "consistency"},
		{&varvev1.ReadRangeRequest{Tags: []string{"a"}, BatchRows: 1 << 20, WithSource: true, WithSeq: true, StartNs: proto.Int64(0), EndNs: proto.Int64(0)}, codes.ResourceExhausted, "share"},
		{&varvev1.ReadRangeRequest{Tags: []string{"a"}, EndNs: proto.Int64(0)}, codes.InvalidArgument, "two of the three"},
		{&varvev1.ReadRangeRequest{Tags: []string{"a"}, EndNs: proto.Int64(0), Limit: 1, AfterSeq: 1}, codes.InvalidArgument, "after_seq"},
		{&varvev1.ReadRangeRequest{Tags: []string{"a"}, EndNs: proto.Int64(0), Limit: 1, Bounds: 9}, codes.InvalidArgument, "bounds"},
		{&varvev1.ReadRangeRequest{Tags: []string{"a"}, EndNs: proto.Int64(0), Limit: 1, Severities: []varvev1.Severity{0}}, codes.InvalidArgument, "severity"},
		{&varvev1.ReadRangeRequest{Tags: []string{"a"}, EndNs: proto.Int64(0), Limit: 1, Where: []*varvev1.Comparison{{Operator: 9}}}, codes.InvalidArgument, "operator"},
		{&varvev1.ReadRangeRequest{Tags: []string{"a"}, EndNs: proto.Int64(0), Limit: 1, Where: []*varvev1.Comparison{{Operator: 1}}}, codes.InvalidArgument, "to compare with"},
		{&varvev1.ReadRangeRequest{Tags: []string{"a"}, EndNs: proto.Int64(0), Limit: 1, Where: make([]*varvev1.Comparison, 17)}, codes.InvalidArgument, "17 comparisons"},
	} {
		_, err := ipcBytes(client.ReadRange(testContext(t), c.r))
		requireCode(t, c.code, err, c.text)
	}
	require.Zero(t, s.engine.MemoryTaken())
	require.Len(t, s.readRange(t, &varvev1.ReadRangeRequest{Tags: []string{"a"}, EndNs: proto.Int64(10), StartNs: proto.Int64(0)}), 1)
}

// TestWhatStoodAndWhatNoLonger asks for the past of an edited tag, over gRPC and as a Flight ticket.
func TestWhatStoodAndWhatNoLonger(t *testing.T) {
	s := start(t, Options{})
	s.write(t, floats("a", 1e9, 1, 2, 3))
	before := time.Now().UnixNano()
	time.Sleep(time.Until(time.Unix(time.Now().Unix()+1, 1e6))) // as-of reads count whole seconds
	edit := func(mode varvev1.WriteMode, reason string, run *varvev1.Run) {
		run.Mode = mode
		w, err := varvev1.NewIngestServiceClient(s.conn).Edit(testContext(t), &varvev1.EditRequest{Author: "mara", Reason: reason, Runs: []*varvev1.Run{run}})
		require.NoError(t, err)
		require.Zero(t, w.Result.Rejected)
	}
	edit(varvev1.WriteMode_WRITE_MODE_REPLACE, "drift", floats("a", 1e9, 1.5))
	edit(varvev1.WriteMode_WRITE_MODE_REMOVE, "never happened", &varvev1.Run{Tag: "a", TimesNs: []int64{3e9}})
	values := func(r []arrow.Record) (out []float64) {
		for _, r := range r {
			out = append(out, r.Column(2).(*array.Float64).Float64Values()...)
		}
		return out
	}
	for range 2 {
		require.Equal(t, []float64{1.5, 2}, values(s.readRange(t, &varvev1.ReadRangeRequest{Tags: []string{"a"}, EndNs: proto.Int64(10e9), StartNs: proto.Int64(0)})))
		require.Equal(t, []float64{1, 2, 3}, values(s.readRange(t, &varvev1.ReadRangeRequest{Tags: []string{"a"}, EndNs: proto.Int64(10e9), AsOfNs: &before, StartNs: proto.Int64(0)})))
		none := int64(-1)
		require.Empty(t, values(s.readRange(t, &varvev1.ReadRangeRequest{Tags: []string{"a"}, EndNs: proto.Int64(10e9), AsOfNs: &none, StartNs: proto.Int64(0)})))

		b, err := ipcBytes(varvev1.NewQueryServiceClient(s.conn).ReadModified(testContext(t), &varvev1.ReadModifiedRequest{Tags: []string{"a"}, EndNs: 10e9, WithSeq: true}))
		require.NoError(t, err)
		reader, err := ipc.NewReader(bytes.NewReader(b))
		require.NoError(t, err)
		got := records(t, reader)
		require.Len(t, got, 1)
		var columns []string
		for _, f := range got[0].Schema().Fields() {
			columns = append(columns, f.Name)
		}
		require.Equal(t, []string{"time", "tag", "value", "quality", "kind", "edit_time", "author", "reason", "edit_offset", "ingest_time", "source", "seq"}, columns)
		require.Equal(t, []float64{1, 3}, values(got))
		text := func(i int) (out []string) {
			for k := range int(got[0].NumRows()) {
				out = append(out, got[0].Column(i).(*array.String).Value(k))
			}
			return out
		}
		require.Equal(t, []string{"replaced", "removed"}, text(4))
		require.Equal(t, []string{"mara", "mara"}, text(6))
		require.Equal(t, []string{"drift", "never happened"}, text(7))
		require.Greater(t, int64(got[0].Column(5).(*array.Timestamp).Value(0)), before)
		reader.Release()
		_, err = s.db.Seal(testContext(t)) // and once more from sealed history
		require.NoError(t, err)
	}
	_, err := ipcBytes(varvev1.NewQueryServiceClient(s.conn).ReadModified(testContext(t), &varvev1.ReadModifiedRequest{Tags: []string{"a"}, BatchRows: 1<<20 + 1}))
	requireCode(t, codes.InvalidArgument, err, "batch_rows")
	_, err = ipcBytes(varvev1.NewQueryServiceClient(s.conn).ReadModified(testContext(t), &varvev1.ReadModifiedRequest{}))
	requireCode(t, codes.InvalidArgument, err, "no tag")
}

// TestDeleteRangeAtTheDoor holds the door's judgement of range deletes and of undoing them.
func TestDeleteRangeAtTheDoor(t *testing.T) {
	s := start(t, Options{})
	s.write(t, floats("a", 1e9, 1, 2, 3))
	admin := varvev1.NewAdminServiceClient(s.conn)
	ctx := testContext(t)
	for _, c := range []struct {
		r    *varvev1.DeleteRangeRequest
		code codes.Code
		text string
	}{
		{&varvev1.DeleteRangeRequest{Tags: []string{"a"}, EndNs: 1, Reason: "x"}, codes.InvalidArgument, "author"},
		{&varvev1.DeleteRangeRequest{Tags: []string{"a"}, EndNs: 1, Author: "x"}, codes.InvalidArgument, "reason"},
		{&varvev1.DeleteRangeRequest{EndNs: 1, Author: "x", Reason: "x"}, codes.InvalidArgument, "0 tags"},
		{&varvev1.DeleteRangeRequest{TagIds: make([]uint32, storage.MaxDeleteTags+1), EndNs: 1, Author: "x", Reason: "x"}, codes.InvalidArgument, "most is"},
		{&varvev1.DeleteRangeRequest{Tags: []string{"a"}, StartNs: 1, EndNs: 1, Author: "x", Reason: "x"}, codes.InvalidArgument, "later"},
		{&varvev1.DeleteRangeRequest{Tags: []string{"a"}, StartNs: math.MinInt64, EndNs: 1, Author: "x", Reason: "x"}, codes.InvalidArgument, "range"},
		{&varvev1.DeleteRangeRequest{Tags: []string{"b"}, EndNs: 1, Author: "x", Reason: "x"}, codes.NotFound, `"b"`},
		{&varvev1.DeleteRangeRequest{TagIds: []uint32{9}, EndNs: 1, Author: "x", Reason: "x"}, codes.NotFound, "id 9"},
	} {
		_, err := admin.DeleteRange(ctx, c.r)
		requireCode(t, c.code, err, c.text)
	}
	_, err := admin.UndeleteRange(ctx, &varvev1.UndeleteRangeRequest{Offset: 1, Author: "x", Reason: "x"})
	requireCode(t, codes.NotFound, err, "range delete 1")
	d, err := admin.DeleteRange(ctx, &varvev1.DeleteRangeRequest{Tags: []string{"a"}, TagIds: []uint32{1}, EndNs: 2e9, Author: "x", Reason: "y"})
	require.NoError(t, err)
	stream, err := admin.ListDeletes(ctx, &varvev1.ListDeletesRequest{})
	require.NoError(t, err)
	one, err := stream.Recv()
	require.NoError(t, err)
	require.Equal(t, d.Offset, one.Offset)
	require.Equal(t, []uint32{1}, one.TagIds)
	require.Equal(t, []string{"a"}, one.Tags)
	require.Nil(t, one.Undone)
	_, err = stream.Recv()
	require.Equal(t, io.EOF, err)
	_, err = admin.UndeleteRange(ctx, &varvev1.UndeleteRangeRequest{Offset: d.Offset, Author: "x", Reason: "y"})
	require.NoError(t, err)
	_, err = admin.UndeleteRange(ctx, &varvev1.UndeleteRangeRequest{Offset: d.Offset, Author: "x", Reason: "y"})
	requireCode(t, codes.NotFound, err, "or it is undone")
}

// TestRetentionAtTheDoor holds the door's judgement of purges, holds and rules, and of samples that are too old for one.
func TestRetentionAtTheDoor(t *testing.T) {
	s := start(t, Options{})
	s.write(t, floats("a", 1e9, 1, 2, 3))
	admin := varvev1.NewAdminServiceClient(s.conn)
	ctx := testContext(t)
	for _, c := range []struct {
		r    *varvev1.PurgeRequest
		code codes.Code
		text string
	}{
		{&varvev1.PurgeRequest{Tags: []string{"a"}, EndNs: 1, Reason: "x"}, codes.InvalidArgument, "author"},
		{&varvev1.PurgeRequest{EndNs: 1, Author: "x", Reason: "x"}, codes.InvalidArgument, "0 tags"},
		{&varvev1.PurgeRequest{Tags: []string{"a"}, StartNs: 1, EndNs: 1, Author: "x", Reason: "x"}, codes.InvalidArgument, "later"},
		{&varvev1.PurgeRequest{Tags: []string{"b"}, EndNs: 1, Author: "x", Reason: "x"}, codes.NotFound, `"b"`},
	} {
		_, err := admin.Purge(ctx, c.r)
		requireCode(t, c.code, err, c.text)
	}
	for _, rule := range []*varvev1.RetentionRule{
		nil, {SamplesNs: 1}, {SamplesNs: -1}, {RollupsNs: 48 * 3600e9}, {SamplesNs: 48 * 3600e9, RollupsNs: 24 * 3600e9}, {Class: strings.Repeat("x", 300)},
	} {
		_, err := admin.SetRetention(ctx, &varvev1.SetRetentionRequest{Rule: rule, Author: "x", Reason: "x"})
		requireCode(t, codes.InvalidArgument, err, "")
	}
	hold, err := admin.Hold(ctx, &varvev1.HoldRequest{StartNs: 0, EndNs: 2e9, Author: "x", Reason: "all of it"})
	require.NoError(t, err)
	_, err = admin.Purge(ctx, &varvev1.PurgeRequest{Tags: []string{"a"}, EndNs: 5e9, Author: "x", Reason: "x"})
	requireCode(t, codes.FailedPrecondition, err, "hold")
	_, err = admin.ReleaseHold(ctx, &varvev1.ReleaseHoldRequest{Offset: hold.Offset + 7, Author: "x", Reason: "x"})
	requireCode(t, codes.NotFound, err, "no hold")
	_, err = admin.ReleaseHold(ctx, &varvev1.ReleaseHoldRequest{Offset: hold.Offset, Author: "x", Reason: "x"})
	require.NoError(t, err)
	_, err = admin.Purge(ctx, &varvev1.PurgeRequest{Tags: []string{"a"}, EndNs: 2e9, Author: "x", Reason: "x"})
	require.NoError(t, err)

	_, err = admin.SetRetention(ctx, &varvev1.SetRetentionRequest{Rule: &varvev1.RetentionRule{SamplesNs: 24 * 3600e9, RollupsNs: 48 * 3600e9}, Author: "x", Reason: "x"})
	require.NoError(t, err)
	s.write(t, floats("a", 10*24*3600e9, 1, 2, 3))
	_, err = admin.Flush(ctx, &varvev1.FlushRequest{})
	require.NoError(t, err)
	require.NoError(t, s.db.ApplyRetention(ctx))
	answer, err := varvev1.NewIngestServiceClient(s.conn).Write(ctx, &varvev1.WriteRequest{Batch: &varvev1.Batch{Runs: []*varvev1.Run{floats("a", 9*24*3600e9-1e9, 1, 2, 3)}}})
	require.NoError(t, err)
	require.Equal(t, varvev1.RejectCode_REJECT_CODE_TIME_OUT_OF_WINDOW, answer.Result.Rejections[0].Code)
	require.Contains(t, answer.Result.Rejections[0].Reason, "older samples are not kept")
	require.EqualValues(t, 1, answer.Result.Rejections[0].Count)
}

func TestLatest(t *testing.T) {
	s := start(t, Options{})
	s.write(t, floats("a", 1e9, 1, 2), floats("b", 1e9, 5))
	_, err := varvev1.NewCatalogServiceClient(s.conn).CreateTags(testContext(t), &varvev1.CreateTagsRequest{Tags: []*varvev1.Tag{{Name: "empty", Settings: []*varvev1.Settings{{Type: 1}}}}})
	require.NoError(t, err)
	b, err := ipcBytes(varvev1.NewQueryServiceClient(s.conn).Latest(testContext(t), &varvev1.LatestRequest{Tags: []string{"b", "empty", "a"}}))
	require.NoError(t, err)
	reader, err := ipc.NewReader(bytes.NewReader(b))
	require.NoError(t, err)
	defer reader.Release()
	got := records(t, reader)
	require.Len(t, got, 1)
	require.Equal(t, []float64{5, 2}, got[0].Column(2).(*array.Float64).Float64Values())
}

// TestAClientThatLeavesEndsItsQuery: nothing of a query outlives the call, whatever the client has not read.
func TestAClientThatLeavesEndsItsQuery(t *testing.T) {
	s := start(t, Options{})
	values := make([]float64, 500_000)
	s.write(t, &varvev1.Run{Tag: "a", FirstTimeNs: 1, StepNs: 1000, Count: uint32(len(values)), Float64: values})
	ctx, cancel := context.WithCancel(testContext(t))
	stream, err := varvev1.NewQueryServiceClient(s.conn).ReadRange(ctx, &varvev1.ReadRangeRequest{Tags: []string{"a"}, EndNs: proto.Int64(math.MaxInt64), StartNs: proto.Int64(0)})
	require.NoError(t, err)
	_, err = stream.Recv()
	require.NoError(t, err)
	cancel()
	require.Eventually(t, func() bool { return s.engine.MemoryTaken() == 0 }, 10*time.Second, 10*time.Millisecond)
}

// TestAClientThatStopsReadingLosesItsAnswer: what the answer held is given back while the client is still connected, and
// once it reads again it learns that the answer is not whole.
func TestAClientThatStopsReadingLosesItsAnswer(t *testing.T) {
	s := start(t, Options{StallTimeout: 100 * time.Millisecond}, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithStaticStreamWindowSize(64<<10))
	values := make([]float64, 500_000)
	s.write(t, &varvev1.Run{Tag: "a", FirstTimeNs: 1, StepNs: 1000, Count: uint32(len(values)), Float64: values})
	r := &varvev1.ReadRangeRequest{Tags: []string{"a"}, EndNs: proto.Int64(math.MaxInt64), StartNs: proto.Int64(0)}
	stream, err := varvev1.NewQueryServiceClient(s.conn).ReadRange(testContext(t), r)
	require.NoError(t, err)
	ticket, err := proto.Marshal(r)
	require.NoError(t, err)
	flights, err := flight.NewClientFromConn(s.conn, nil).DoGet(testContext(t), &flight.Ticket{Ticket: ticket})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return s.ended(t, codes.DeadlineExceeded) && s.engine.MemoryTaken() == 0 }, 10*time.Second, 10*time.Millisecond)
	for err == nil {
		_, err = stream.Recv()
	}
	requireCode(t, codes.DeadlineExceeded, err, "nothing of the answer was taken for 100ms")
	for err = nil; err == nil; {
		_, err = flights.Recv()
	}
	requireCode(t, codes.DeadlineExceeded, err, "stopped reading")
}

// TestEveryAnswerIsWatched: a kind of answer that is left out would hold memory for as long as its client does not read.
func TestEveryAnswerIsWatched(t *testing.T) {
	service := varvev1.QueryService_ServiceDesc
	require.NotEmpty(t, service.Streams)
	for _, m := range service.Streams {
		require.True(t, answers["/"+service.ServiceName+"/"+m.StreamName], m.StreamName)
	}
}
