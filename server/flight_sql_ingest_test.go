package server

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/flight"
	pb "github.com/apache/arrow/go/v15/arrow/flight/gen/flight"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// ingestCommand is CommandStatementIngest into samples, in append mode, as clients of newer releases send it.
func ingestCommand(options map[string]string) []byte {
	value := protowire.AppendTag(nil, 1, protowire.BytesType)
	value = protowire.AppendBytes(value, []byte{0x08, 2, 0x10, 2}) // fail where it is not there, append where it is
	value = protowire.AppendTag(value, 2, protowire.BytesType)
	value = protowire.AppendString(value, "samples")
	for k, v := range options {
		pair := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), k)
		pair = protowire.AppendString(protowire.AppendTag(pair, 2, protowire.BytesType), v)
		value = protowire.AppendBytes(protowire.AppendTag(value, 1000, protowire.BytesType), pair)
	}
	return anyOf("CommandStatementIngest", value)
}

func anyOf(name string, value []byte) []byte {
	b := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), anyOfSQL+name)
	return protowire.AppendBytes(protowire.AppendTag(b, 2, protowire.BytesType), value)
}

// put sends records with DoPut and returns the count of rows.
func (s *running) put(ctx context.Context, command []byte, records ...arrow.Record) (int64, error) {
	stream, err := pb.NewFlightServiceClient(s.conn).DoPut(ctx)
	if err != nil {
		return 0, err
	}
	w := flight.NewRecordWriter(stream, ipc.WithSchema(records[0].Schema()), ipc.WithDictionaryDeltas(true))
	w.SetFlightDescriptor(&flight.FlightDescriptor{Type: flight.DescriptorCMD, Cmd: command})
	for _, r := range records {
		if w.Write(r) != nil {
			break // the stream knows why
		}
	}
	_ = w.Close()
	_ = stream.CloseSend()
	result, err := stream.Recv()
	if err != nil {
		return 0, err
	}
	var done pb.DoPutUpdateResult
	return done.RecordCount, proto.Unmarshal(result.AppMetadata, &done)
}

// recordOf is a record of columns given as name, type and then the values of each row as text; "-" is NULL.
func recordOf(t testing.TB, fields []arrow.Field, rows ...[]string) arrow.Record {
	t.Helper()
	for i := range fields {
		fields[i].Nullable = true
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema(fields, nil))
	for _, row := range rows {
		for i, text := range row {
			if text == "-" {
				b.Field(i).AppendNull()
				continue
			}
			require.NoError(t, b.Field(i).AppendValueFromString(text))
		}
	}
	return b.NewRecord()
}

// oneOfEach makes a tag of each type, named for it, and a set of states.
func (s *running) oneOfEach(t testing.TB) {
	t.Helper()
	c, ctx := varvev1.NewCatalogServiceClient(s.conn), testContext(t)
	_, err := c.PutStateSet(ctx, &varvev1.PutStateSetRequest{Set: &varvev1.StateSet{Name: "pump", States: []*varvev1.DigitalState{{Code: 0, Text: "off"}, {Code: 1, Text: "on"}}}})
	require.NoError(t, err)
	r := &varvev1.CreateTagsRequest{}
	for typ := model.Float64; typ <= model.Bytes; typ++ {
		settings := &varvev1.Settings{Type: varvev1.Type(typ)}
		if typ == model.State {
			settings.StateSet = "pump"
		}
		r.Tags = append(r.Tags, &varvev1.Tag{Name: typ.String(), Settings: []*varvev1.Settings{settings}})
	}
	made, err := c.CreateTags(ctx, r)
	require.NoError(t, err)
	for _, one := range made.Tags {
		require.True(t, one.Created)
	}
}

// storedRows is the samples of a tag, by the store itself.
func (s *running) storedRows(t testing.TB, name string) (out []string) {
	t.Helper()
	answer, err := ipcBytes(varvev1.NewQueryServiceClient(s.conn).ReadRange(testContext(t), &varvev1.ReadRangeRequest{Tags: []string{name}, StartNs: proto.Int64(math.MinInt64 / 2), EndNs: proto.Int64(math.MaxInt64 / 2)}))
	require.NoError(t, err)
	r, err := ipc.NewReader(strings.NewReader(string(answer)))
	require.NoError(t, err)
	for r.Next() {
		record := r.Record()
		for i := range int(record.NumRows()) {
			var row []string
			for k, f := range record.Schema().Fields() {
				if strings.HasPrefix(f.Name, "value") || f.Name == "quality" || f.Name == "time" {
					row = append(row, record.Column(k).ValueStr(i))
				}
			}
			out = append(out, strings.Join(row, " "))
		}
	}
	return out
}

var (
	int64Type  arrow.DataType = arrow.PrimitiveTypes.Int64
	doubleType arrow.DataType = arrow.PrimitiveTypes.Float64
	textType   arrow.DataType = arrow.BinaryTypes.String
)

// allFields is every column rows may have.
func allFields() []arrow.Field {
	return []arrow.Field{
		{Name: "tag", Type: textType}, {Name: "time", Type: arrow.FixedWidthTypes.Timestamp_us}, {Name: "time_ns", Type: int64Type},
		{Name: "value", Type: doubleType}, {Name: "value_int", Type: int64Type}, {Name: "value_text", Type: textType},
		{Name: "value_bytes", Type: arrow.BinaryTypes.Binary}, {Name: "quality", Type: int64Type},
	}
}

func TestRowsOfEveryTypeAreIngested(t *testing.T) {
	s := start(t, Options{})
	s.oneOfEach(t)
	at := "2026-03-01 11:00:00.000001"
	n, err := s.put(testContext(t), ingestCommand(nil), recordOf(t, allFields(),
		[]string{"float64", at, "-", "0.1", "-", "-", "-", "-"},
		[]string{"float64", at, "1772362800000001002", "NaN", "-", "-", "-", "0"},
		[]string{"float64", "2026-03-01 11:00:01", "-", "-", "-", "-", "-", "2156593152"},
		[]string{"float32", at, "-", "0.1", "-", "-", "-", "1073741824"},
		[]string{"int64", at, "-", "9007199254740992", "9007199254740993", "-", "-", "-"},
		[]string{"int64", "-", "1772362800000000000", "-3", "-", "-", "-", "-"},
		[]string{"uint64", at, "-", "1e19", "-", "18446744073709551615", "-", "-"},
		[]string{"bool", at, "-", "-", "1", "-", "-", "-"},
		[]string{"state", at, "-", "-", "1", "on", "-", "-"},
		[]string{"state", "2026-03-01 11:00:02", "-", "-", "-", "off", "-", "-"},
		[]string{"string", at, "-", "-", "-", "läuft", "-", "-"},
		[]string{"bytes", at, "-", "-", "-", "-", "AAH/", "-"},
	))
	require.NoError(t, err)
	require.Equal(t, int64(12), n)
	for tag, want := range map[string][]string{
		"float64": {"2026-03-01 11:00:00.000001Z 0.1 0", "2026-03-01 11:00:00.000001002Z NaN 0", "2026-03-01 11:00:01Z (null) 2156593152"},
		"float32": {"2026-03-01 11:00:00.000001Z 0.1 1073741824"},
		"int64":   {"2026-03-01 11:00:00Z -3 0", "2026-03-01 11:00:00.000001Z 9007199254740993 0"},
		"uint64":  {"2026-03-01 11:00:00.000001Z 18446744073709551615 0"},
		"bool":    {"2026-03-01 11:00:00.000001Z true 0"},
		"string":  {"2026-03-01 11:00:00.000001Z läuft 0"},
		"bytes":   {"2026-03-01 11:00:00.000001Z AAH/ 0"},
	} {
		require.Equal(t, want, s.storedRows(t, tag), tag)
	}
	states := strings.Join(s.storedRows(t, "state"), "\n")
	require.Contains(t, states, "on")
	require.Contains(t, states, "off")
}

// TestAnIngestIsAllOrNothing: each fault is told by its row, and nothing of the good ones is stored.
func TestAnIngestIsAllOrNothing(t *testing.T) {
	s := start(t, Options{})
	s.oneOfEach(t)
	good := []string{"float64", "2026-03-01 11:00:00", "-", "1", "-", "-", "-", "-"}
	at := good[1]
	for _, c := range []struct {
		row  []string
		text string
	}{
		{[]string{"nobody", at, "-", "1", "-", "-", "-", "-"}, "row 1 (nobody): no tag has this name"},
		{[]string{"-", at, "-", "1", "-", "-", "-", "-"}, "row has no tag"},
		{[]string{"float64", "-", "-", "1", "-", "-", "-", "-"}, "row has no time"},
		{[]string{"float64", at, "5", "1", "-", "-", "-", "-"}, "time is 2026-03-01T11:00:00Z and time_ns is 1970"},
		{[]string{"float64", "2200-01-01 00:00:00", "-", "1", "-", "-", "-", "-"}, "is not from"},
		{[]string{"float64", "2999-01-01 00:00:00", "-", "1", "-", "-", "-", "-"}, "that nanoseconds in 64 bits cannot say"},
		{[]string{"float64", at, "-", "-", "-", "-", "-", "-"}, "row has no value and its quality is Good"},
		{[]string{"float64", at, "-", "1", "-", "-", "-", "4294967296"}, "quality is 4294967296"},
		{[]string{"float64", at, "-", "1", "2", "-", "-", "-"}, "value_int has a value, the tag is float64"},
		{[]string{"float64", at, "-", "-", "-", "1", "-", "-"}, "value_text has a value"},
		{[]string{"float32", at, "-", "1e300", "-", "-", "-", "-"}, "no value that is one exactly"},
		{[]string{"int64", at, "-", "1.5", "-", "-", "-", "-"}, "taken from value_int, then value"},
		{[]string{"uint64", at, "-", "-", "-1", "-", "-", "-"}, "no value that is one exactly"},
		{[]string{"uint64", at, "-", "-", "-", "18446744073709551616", "-", "-"}, "no value that is one exactly"},
		{[]string{"bool", at, "-", "-", "2", "-", "-", "-"}, "value is 2, the tag is bool"},
		{[]string{"state", at, "-", "-", "7", "-", "-", "-"}, "code 7 is not in the digital-state set"},
		{[]string{"state", at, "-", "-", "-", "maybe", "-", "-"}, `"maybe" is not in the digital-state set`},
		{[]string{"string", at, "-", "1", "-", "-", "-", "-"}, "value has a value, the tag is string"},
	} {
		_, err := s.put(testContext(t), ingestCommand(nil), recordOf(t, allFields(), good, c.row))
		requireCode(t, codes.InvalidArgument, err, c.text)
		require.Contains(t, err.Error(), "none was stored")
		require.Contains(t, err.Error(), "row 1 ", c.text)
		require.Empty(t, s.storedRows(t, "float64"))
	}
	lists := s.rejects.of("")
	require.Len(t, lists, 18)
	require.Equal(t, uint64(1), lists[0].count)
	require.Equal(t, rejectedRow{row: 1, tag: "nobody", time: 1772362800000000000, code: varvev1.RejectCode_REJECT_CODE_UNKNOWN_TAG, reason: lists[0].rows[0].reason}, lists[0].rows[0])
	require.Empty(t, s.rejects.of("ana"))

	// With atomic false the good rows of the same record are stored, and a resend changes nothing.
	for range 2 {
		ctx := metadata.AppendToOutgoingContext(testContext(t), "x-varve-ingest-atomic", "false")
		n, err := s.put(ctx, ingestCommand(nil), recordOf(t, allFields(), good, []string{"nobody", at, "-", "1", "-", "-", "-", "-"}))
		require.NoError(t, err)
		require.Equal(t, int64(1), n)
		require.Len(t, s.storedRows(t, "float64"), 1)
	}
	require.Len(t, s.rejects.of(""), 20)
}

func TestIngestKeepsWhatIsThereUnlessToldToUpdate(t *testing.T) {
	s := start(t, Options{})
	s.oneOfEach(t)
	fields := func() []arrow.Field {
		return []arrow.Field{{Name: "tag", Type: &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: textType}}, {Name: "time", Type: arrow.FixedWidthTypes.Timestamp_ns}, {Name: "value", Type: doubleType}}
	}
	put := func(options map[string]string, value string) {
		n, err := s.put(testContext(t), ingestCommand(options), recordOf(t, fields(), []string{"float64", "2026-03-01 11:00:00", value}))
		require.NoError(t, err)
		require.Equal(t, int64(1), n)
	}
	put(nil, "1")
	put(map[string]string{"mode": "no_replace"}, "2")
	require.Equal(t, []string{"2026-03-01 11:00:00Z 1 0"}, s.storedRows(t, "float64"))
	put(map[string]string{"mode": "update", "atomic": "true"}, "3")
	require.Equal(t, []string{"2026-03-01 11:00:00Z 3 0"}, s.storedRows(t, "float64"))
}

func TestIngestsThatMakeNoSense(t *testing.T) {
	s := start(t, Options{MaxBatchSamples: 3})
	s.oneOfEach(t)
	good := func(rows ...[]string) arrow.Record {
		return recordOf(t, []arrow.Field{{Name: "tag", Type: textType}, {Name: "time_ns", Type: int64Type}, {Name: "value", Type: doubleType}}, rows...)
	}
	row := []string{"float64", "5", "1"}
	named := func(name string) []byte {
		return anyOf("CommandStatementIngest", protowire.AppendString(protowire.AppendTag(nil, 2, protowire.BytesType), name))
	}
	with := func(num protowire.Number, text string) []byte {
		value := protowire.AppendString(protowire.AppendTag(nil, 2, protowire.BytesType), "samples")
		return anyOf("CommandStatementIngest", protowire.AppendString(protowire.AppendTag(value, num, protowire.BytesType), text))
	}
	field := func(name string, typ arrow.DataType) arrow.Field { return arrow.Field{Name: name, Type: typ} }
	for _, c := range []struct {
		command []byte
		record  arrow.Record
		code    codes.Code
		text    string
	}{
		{named("tags"), good(row), codes.InvalidArgument, "into the table samples alone"},
		{with(3, "other"), good(row), codes.InvalidArgument, `schema "other"`},
		{with(4, "other"), good(row), codes.InvalidArgument, `catalog "other"`},
		{with(1, "\x10\x03"), good(row), codes.InvalidArgument, "append mode"},
		{with(6, "t"), good(row), codes.InvalidArgument, "no transactions"},
		{ingestCommand(map[string]string{"mode": "replace"}), good(row), codes.InvalidArgument, `option "mode"`},
		{ingestCommand(map[string]string{"x": "y"}), good(row), codes.InvalidArgument, `option "x"`},
		{ingestCommand(nil), good(row, row, row, row), codes.ResourceExhausted, "4 rows, most is 3"},
		{ingestCommand(nil), recordOf(t, []arrow.Field{field("tag", textType), field("time_ns", int64Type)}, []string{"a", "1"}), codes.InvalidArgument, "none of the columns value"},
		{ingestCommand(nil), recordOf(t, []arrow.Field{field("tag", textType), field("value", doubleType)}, []string{"a", "1"}), codes.InvalidArgument, "no column time"},
		{ingestCommand(nil), recordOf(t, []arrow.Field{field("time_ns", int64Type), field("value", doubleType)}, []string{"1", "1"}), codes.InvalidArgument, "no column tag"},
		{ingestCommand(nil), recordOf(t, []arrow.Field{field("tag", textType), field("time_ns", int64Type), field("value", textType)}, []string{"a", "1", "1"}), codes.InvalidArgument, "column value is utf8"},
		{ingestCommand(nil), recordOf(t, []arrow.Field{field("tag", textType), field("time_ns", int64Type), field("severity", textType)}, []string{"a", "1", "1"}), codes.InvalidArgument, `column "severity"`},
		{ingestCommand(nil), recordOf(t, []arrow.Field{field("tag", textType), field("tag", textType)}, []string{"a", "1"}), codes.InvalidArgument, "column tag stands twice"},
	} {
		_, err := s.put(testContext(t), c.command, c.record)
		requireCode(t, c.code, err, c.text)
	}
	_, err := s.put(testContext(t), ingestCommand(nil), good(row, row), good(row, row))
	requireCode(t, codes.ResourceExhausted, err, "4 rows and more in one ingest")
	require.Empty(t, s.storedRows(t, "float64"))
	n, err := s.put(testContext(t), ingestCommand(map[string]string{"atomic": "false"}), good(row, row), good([]string{"float64", "6", "1"}, []string{"float64", "7", "1"}))
	require.NoError(t, err)
	require.Equal(t, int64(4), n)
	require.Len(t, s.storedRows(t, "float64"), 3)
}

func TestWhoIngestsNeedsToBeOneWhoWrites(t *testing.T) {
	s, as := startWithTokens(t, Options{Statements: &testStatements{}}, map[string]Scope{"ana": Read, "cem": Write, "dev": Read | Write})
	record := recordOf(t, []arrow.Field{{Name: "tag", Type: textType}, {Name: "time_ns", Type: int64Type}, {Name: "value", Type: doubleType}}, []string{"x", "5", "1"})
	_, err := s.put(as(testContext(t), "ana"), ingestCommand(nil), record)
	requireCode(t, codes.PermissionDenied, err, "ana has scope read, to ingest needs write")
	_, err = s.put(as(testContext(t), "cem"), ingestCommand(nil), record)
	requireCode(t, codes.InvalidArgument, err, "no tag has this name")
	require.Len(t, s.rejects.of("cem"), 1)
	bind, err := packSQL(&pb.CommandPreparedStatementQuery{PreparedStatementHandle: make([]byte, 16)})
	require.NoError(t, err)
	_, err = s.put(as(testContext(t), "cem"), bind, record)
	requireCode(t, codes.PermissionDenied, err, "to bind parameters needs read")
	_, err = s.put(as(testContext(t), "ana"), bind, record)
	requireCode(t, codes.NotFound, err, "no such prepared statement")
}

// TestBrokenStreamsEndTheirCallAlone sends what no client would.
func TestBrokenStreamsEndTheirCallAlone(t *testing.T) {
	s := start(t, Options{Statements: &testStatements{}})
	s.oneOfEach(t)
	send := func(messages ...*pb.FlightData) error {
		stream, err := pb.NewFlightServiceClient(s.conn).DoPut(testContext(t))
		require.NoError(t, err)
		for _, m := range messages {
			if stream.Send(m) != nil {
				break
			}
		}
		_ = stream.CloseSend()
		_, err = stream.Recv()
		return err
	}
	descriptor := &pb.FlightDescriptor{Type: pb.FlightDescriptor_CMD, Cmd: ingestCommand(nil)}
	requireCode(t, codes.InvalidArgument, send(), "without a message")
	requireCode(t, codes.InvalidArgument, send(&pb.FlightData{DataHeader: []byte("junk")}), "must have a descriptor")
	requireCode(t, codes.InvalidArgument, send(&pb.FlightData{FlightDescriptor: &pb.FlightDescriptor{Type: pb.FlightDescriptor_CMD, Cmd: []byte("junk")}}), "command of Flight SQL")
	requireCode(t, codes.InvalidArgument, send(&pb.FlightData{FlightDescriptor: descriptor}), "malformed")
	requireCode(t, codes.InvalidArgument, send(&pb.FlightData{FlightDescriptor: descriptor, DataHeader: []byte("junk")}), "malformed")
	requireCode(t, codes.Unimplemented, send(&pb.FlightData{FlightDescriptor: &pb.FlightDescriptor{Type: pb.FlightDescriptor_CMD, Cmd: anyOf("CommandOfTomorrow", nil)}}), "not offered")
	tables, err := packSQL(&pb.CommandGetTables{})
	require.NoError(t, err)
	requireCode(t, codes.InvalidArgument, send(&pb.FlightData{FlightDescriptor: &pb.FlightDescriptor{Type: pb.FlightDescriptor_CMD, Cmd: tables}}), "is a question")

	var whole gatheredData
	record := recordOf(t, allFields(), []string{"float64", "2026-03-01 11:00:00", "-", "1", "-", "-", "-", "-"}, []string{"string", "2026-03-01 11:00:00", "-", "-", "-", "x", "-", "-"})
	w := flight.NewRecordWriter(&whole, ipc.WithSchema(record.Schema()))
	w.SetFlightDescriptor(descriptor)
	require.NoError(t, w.Write(record))
	require.NoError(t, w.Close())
	rng := rand.New(rand.NewPCG(7, 7))
	for range 300 {
		messages := make([]*pb.FlightData, len(whole.sent))
		for i, m := range whole.sent {
			messages[i] = proto.Clone(m).(*pb.FlightData)
		}
		m := messages[rng.IntN(len(messages))]
		if b := m.DataHeader; len(m.DataBody) > 0 && rng.IntN(2) == 0 {
			m.DataBody[rng.IntN(len(m.DataBody))] ^= 1 << rng.IntN(8)
		} else {
			b[rng.IntN(len(b))] ^= 1 << rng.IntN(8)
		}
		if err := send(messages...); err != nil {
			require.NotContains(t, err.Error(), "internal error", fmt.Sprint(messages))
		}
	}
}

// gatheredData keeps what a writer sends.
type gatheredData struct{ sent []*pb.FlightData }

// Send is part of flight.DataStreamWriter.
func (g *gatheredData) Send(m *pb.FlightData) error {
	g.sent = append(g.sent, proto.Clone(m).(*pb.FlightData))
	return nil
}
