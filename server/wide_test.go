package server

import (
	"bytes"
	"math"
	"testing"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/flight"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/query"
)

// TestWideAnswersOverBothDoors asks gRPC and Flight the same, in every mode.
func TestWideAnswersOverBothDoors(t *testing.T) {
	s := start(t, Options{})
	s.write(t, everyKind()...)
	ctx := testContext(t)
	client := flight.NewClientFromConn(s.conn, nil)
	const asof, interpolated, aggregate = varvev1.ReadWideRequest_MODE_ASOF, varvev1.ReadWideRequest_MODE_INTERPOLATED, varvev1.ReadWideRequest_MODE_AGGREGATE
	for i, r := range []*varvev1.ReadWideRequest{
		{Tags: []string{"text", "float", "int", "bool", "narrow", "bytes"}, StartNs: 0, EndNs: 4e9, StepNs: 5e8, WithQuality: true},
		{Tags: []string{"float", "int"}, StartNs: 4e9, EndNs: 0, StepNs: 7e8, Mode: interpolated, UseUncertain: true, BridgeBad: true, Stepped: proto.Bool(true)},
		{Tags: []string{"float"}, TagIds: []uint32{2}, EndNs: math.MaxInt64, OnSamplesOf: "unsigned", Mode: asof, MaxAgeNs: 1, AsOfNs: proto.Int64(math.MaxInt64), BatchRows: 1},
		{Tags: []string{"unsigned", "bool", "text"}, StartNs: 0, EndNs: 4e9, StepNs: 1e9, Mode: aggregate, Aggregate: "count", WithQuality: true},
		{Tags: []string{"float", "int"}, EndNs: 4e9, Every: "1d", Zone: "Europe/Berlin", Mode: aggregate, Aggregate: "Average", PercentDataGood: proto.Uint32(50), PercentDataBad: proto.Uint32(50), UseSlopedExtrapolation: true},
		{Tags: []string{"float"}, StartNs: 1e9, EndNs: 1e9, Consistency: varvev1.Consistency_CONSISTENCY_EVENTUAL},
	} {
		b, err := ipcBytes(varvev1.NewQueryServiceClient(s.conn).ReadWide(ctx, r))
		require.NoError(t, err)
		plain, err := ipc.NewReader(bytes.NewReader(b))
		require.NoError(t, err)
		want := records(t, plain)
		require.NotEmpty(t, want)
		if i == 0 {
			requireWide(t, want[0])
		}
		ticket, err := proto.Marshal(&varvev1.FlightQuestion{Question: &varvev1.FlightQuestion_Wide{Wide: r}})
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
}

// requireWide holds the row at a second and a half against what was written a second in.
func requireWide(t *testing.T, rec arrow.Record) {
	require.Equal(t, []string{"time", "text", "text:q", "float", "float:q", "int", "int:q", "bool", "bool:q", "narrow", "narrow:q", "bytes", "bytes:q"}, columnNames(rec))
	require.True(t, rec.Column(1).IsNull(1), "nothing is there half a second in")
	require.Equal(t, "läuft", rec.Column(1).(*array.String).Value(3))
	require.Equal(t, 1.5, rec.Column(3).(*array.Float64).Value(3))
	require.Equal(t, int64(math.MinInt64), rec.Column(5).(*array.Int64).Value(3))
	require.True(t, rec.Column(7).(*array.Boolean).Value(3))
	require.Equal(t, float64(float32(0.1)), rec.Column(9).(*array.Float64).Value(3))
	require.Equal(t, []byte{0xFF, 0}, rec.Column(11).(*array.Binary).Value(3))
	require.True(t, rec.Column(5).IsNull(4))
	require.Equal(t, uint32(0x80000000), rec.Column(6).(*array.Uint32).Value(4))
	stepped, ok := rec.Schema().Field(1).Metadata.GetValue("stepped")
	require.True(t, ok)
	require.Equal(t, "true", stepped)
}

func columnNames(rec arrow.Record) (names []string) {
	for _, f := range rec.Schema().Fields() {
		names = append(names, f.Name)
	}
	return names
}

func TestWideAnswersThatCannotBe(t *testing.T) {
	s := start(t, Options{})
	s.write(t, everyKind()...)
	one := []string{"float"}
	many := make([]string, query.MaxRangeTags+1)
	for code, all := range map[codes.Code][]*varvev1.ReadWideRequest{
		codes.InvalidArgument: {
			{StepNs: 1, EndNs: 1},
			{Tags: many, StepNs: 1, EndNs: 1},
			{Tags: many[:query.MaxWideColumns+1], StepNs: 1, EndNs: 1},
			{Tags: one, StepNs: 1, EndNs: 1, Mode: 9},
			{Tags: one, StepNs: 1, EndNs: 1, Consistency: 9},
			{Tags: one, StepNs: 1, EndNs: 1, BatchRows: 1<<20 + 1},
			{Tags: one, StepNs: 1, EndNs: 1, Mode: varvev1.ReadWideRequest_MODE_AGGREGATE, Aggregate: "average"},
			{Tags: one, StepNs: 1, EndNs: 1, Aggregate: "count"},
			{Tags: append(one, one...), StepNs: 1, EndNs: 1},
		},
		codes.NotFound:   {{Tags: []string{"nobody"}, StepNs: 1, EndNs: 1}, {Tags: one, EndNs: 1, OnSamplesOf: "nobody"}},
		codes.OutOfRange: {{Tags: []string{"unsigned"}, StartNs: 1e9, EndNs: 1e9}},
	} {
		for _, r := range all {
			_, err := ipcBytes(varvev1.NewQueryServiceClient(s.conn).ReadWide(testContext(t), r))
			requireCode(t, code, err, "")
		}
	}
}
