package server

import (
	"bytes"
	"context"
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/flight"
	pb "github.com/apache/arrow/go/v15/arrow/flight/gen/flight"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// flightCalls is what a client can send to the Flight service: each makes a call of bytes.
var flightCalls = []func(context.Context, pb.FlightServiceClient, []byte) error{
	func(ctx context.Context, c pb.FlightServiceClient, b []byte) error {
		_, err := c.GetFlightInfo(ctx, &pb.FlightDescriptor{Type: pb.FlightDescriptor_CMD, Cmd: b})
		return err
	},
	func(ctx context.Context, c pb.FlightServiceClient, b []byte) error { // the descriptor itself
		d := &pb.FlightDescriptor{}
		if proto.Unmarshal(b, d) != nil {
			return nil
		}
		_, err := c.GetSchema(ctx, d)
		return err
	},
	func(ctx context.Context, c pb.FlightServiceClient, b []byte) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		stream, err := c.DoGet(ctx, &pb.Ticket{Ticket: b})
		for n := 0; err == nil && n < 100; n++ {
			_, err = stream.Recv()
		}
		return err
	},
	func(ctx context.Context, c pb.FlightServiceClient, b []byte) error {
		at := 0
		if len(b) > 0 {
			at, b = int(b[0])%len(sqlActions), b[1:]
		}
		stream, err := c.DoAction(ctx, &pb.Action{Type: sqlActions[at].Type, Body: b})
		for err == nil {
			_, err = stream.Recv()
		}
		return err
	},
	func(ctx context.Context, c pb.FlightServiceClient, b []byte) error {
		stream, err := c.DoPut(ctx)
		if err != nil {
			return err
		}
		for _, m := range putMessages(b) {
			if stream.Send(m) != nil {
				break
			}
		}
		_ = stream.CloseSend()
		for err == nil {
			_, err = stream.Recv()
		}
		return err
	},
}

// putMessages are the messages of a stream of DoPut, in one text: each part behind its length, of two bytes, a command first and then
// header and body of each message. What is missing is empty.
func putMessages(b []byte) (out []*pb.FlightData) {
	part := func() []byte {
		if len(b) < 2 {
			b = nil
			return nil
		}
		n := min(int(binary.BigEndian.Uint16(b)), len(b)-2)
		p := b[2 : 2+n]
		b = b[2+n:]
		return p
	}
	first := &pb.FlightDescriptor{Type: pb.FlightDescriptor_CMD, Cmd: part()}
	for first != nil || len(b) > 0 {
		out = append(out, &pb.FlightData{FlightDescriptor: first, DataHeader: part(), DataBody: part()})
		first = nil
	}
	return out
}

// putBytes is what putMessages reads: a command and the messages of records.
func putBytes(t testing.TB, command []byte, records ...arrow.Record) []byte {
	out := append(binary.BigEndian.AppendUint16(nil, uint16(len(command))), command...)
	w := &recordedPut{out: &out}
	writer := flight.NewRecordWriter(w, ipc.WithSchema(records[0].Schema()))
	for _, r := range records {
		require.NoError(t, writer.Write(r))
	}
	require.NoError(t, writer.Close())
	return out
}

// recordedPut writes the messages that a client sends as putMessages reads them.
type recordedPut struct{ out *[]byte }

func (s *recordedPut) Send(m *flight.FlightData) error {
	for _, part := range [][]byte{m.DataHeader, m.DataBody} {
		*s.out = append(binary.BigEndian.AppendUint16(*s.out, uint16(len(part))), part...)
	}
	return nil
}

// FuzzFlight sends anything to the Flight service of a server: descriptors, tickets, actions, and Arrow messages behind commands. None
// ends in an error of the server's own, and it goes on to answer. Seeds are what clients send.
func FuzzFlight(f *testing.F) {
	s := start(f, Options{Statements: &testStatements{}})
	s.oneOfEach(f)
	for _, sql := range []proto.Message{
		&pb.CommandStatementQuery{Query: "rows 3"}, &pb.CommandPreparedStatementQuery{PreparedStatementHandle: bytes.Repeat([]byte{7}, 16)}, &pb.CommandGetTables{IncludeSchema: true},
		&pb.CommandGetDbSchemas{}, &pb.CommandGetSqlInfo{Info: []uint32{0, 500}}, &pb.CommandGetPrimaryKeys{Table: "tags"}, &pb.CommandStatementUpdate{Query: "rows 1"},
	} {
		packed, err := packSQL(sql)
		require.NoError(f, err)
		f.Add(uint8(0), packed)
		f.Add(uint8(2), packed)
		d, err := proto.Marshal(&pb.FlightDescriptor{Type: pb.FlightDescriptor_CMD, Cmd: packed})
		require.NoError(f, err)
		f.Add(uint8(1), d)
	}
	second := int64(time.Second)
	from, to := testNow.UnixNano(), testNow.UnixNano()+60*second
	for _, q := range []*varvev1.FlightQuestion{
		{Question: &varvev1.FlightQuestion_Range{Range: &varvev1.ReadRangeRequest{Tags: []string{"float64", "nobody"}, StartNs: &from, EndNs: &to}}},
		{Question: &varvev1.FlightQuestion_Aggregates{Aggregates: &varvev1.ReadAggregatesRequest{Tags: []string{"float64"}, StartNs: from, EndNs: to}}},
		{Question: &varvev1.FlightQuestion_AtTimes{AtTimes: &varvev1.ReadAtTimesRequest{Tags: []string{"float64"}, TimesNs: []int64{from, to}}}},
		{Question: &varvev1.FlightQuestion_Plot{Plot: &varvev1.ReadPlotRequest{Tags: []string{"float64"}, StartNs: from, EndNs: to, Width: 10}}},
		{Question: &varvev1.FlightQuestion_Latest{Latest: &varvev1.LatestRequest{Expressions: []string{"x := float64 + int64"}}}},
	} {
		b, err := proto.Marshal(q)
		require.NoError(f, err)
		f.Add(uint8(0), b)
		f.Add(uint8(2), b)
	}
	prepare, err := packSQL(&pb.ActionCreatePreparedStatementRequest{Query: "echo"})
	require.NoError(f, err)
	f.Add(uint8(3), append([]byte{0}, prepare...))
	f.Add(uint8(3), append([]byte{1}, prepare...))
	// Bulk ingest, and parameters.
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema([]arrow.Field{
		{Name: "tag", Type: arrow.BinaryTypes.String}, {Name: "time", Type: &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}}, {Name: "value", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
	}, nil))
	for i := range 3 {
		b.Field(0).(*array.StringBuilder).Append("float64")
		b.Field(1).(*array.TimestampBuilder).Append(arrow.Timestamp(testNow.UnixMicro() + int64(i)))
		b.Field(2).(*array.Float64Builder).Append(float64(i))
	}
	record := b.NewRecord()
	f.Add(uint8(4), putBytes(f, ingestCommand(map[string]string{"atomic": "false"}), record))
	bind, err := packSQL(&pb.CommandPreparedStatementQuery{PreparedStatementHandle: bytes.Repeat([]byte{7}, 16)})
	require.NoError(f, err)
	f.Add(uint8(4), putBytes(f, bind, record))

	client := pb.NewFlightServiceClient(s.conn)
	f.Fuzz(func(t *testing.T, call uint8, b []byte) {
		if bytes.Contains(b, []byte("endless")) {
			return // the statement of this name is what it says
		}
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		err := flightCalls[int(call)%len(flightCalls)](ctx, client, b)
		require.NoError(t, ctx.Err(), "the call does not end")
		if code := status.Code(err); code == codes.Internal || code == codes.Unavailable {
			require.True(t, strings.Contains(err.Error(), "invalid UTF-8"), err) // which is not sent, or not answered, by the library
		}
	})
}

// FuzzTicket gives bytes that carry the right signature, so that what is behind it is read. Parameters in a ticket are left alone: the server wrote
// them, and believes itself.
func FuzzTicket(f *testing.F) {
	list, err := newTickets(strings.NewReader(strings.Repeat("k", 1000)), func() time.Time { return testNow })
	require.NoError(f, err)
	for _, x := range []execution{{text: "select 1"}, {handle: handle{1}, args: []byte("args")}, {}} {
		ticket, _, err := list.issue("ana", x)
		require.NoError(f, err)
		f.Add(ticket[:len(ticket)-32])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := list.verify("ana", append(bytes.Clone(b), list.sign("ana", b)...))
		if err == nil {
			require.True(t, bytes.HasSuffix(b, append([]byte(x.text), x.args...)), "text and parameters are what stands at the end")
		}
		_, err = list.verify("ben", append(bytes.Clone(b), list.sign("ana", b)...))
		require.Error(t, err)
	})
}
