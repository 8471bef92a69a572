package server

import (
	"bytes"
	"testing"

	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/flight"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// TestPlotsOverBothDoors asks gRPC and Flight for the same plots.
func TestPlotsOverBothDoors(t *testing.T) {
	s := start(t, Options{})
	s.write(t, everyKind()...)
	ctx := testContext(t)
	queries, client := varvev1.NewQueryServiceClient(s.conn), flight.NewClientFromConn(s.conn, nil)
	for _, r := range []*varvev1.ReadPlotRequest{
		{Tags: []string{"unsigned", "bool"}, EndNs: 4e9, Width: 2},
		{Tags: []string{"float", "int", "unsigned"}, StartNs: 1e9, EndNs: 3e9, Width: 7, BatchRows: 2, MaxGapNs: proto.Int64(1), UseUncertain: true},
		{TagIds: []uint32{1, 3}, EndNs: 9e9, Lttb: 2, AsOfNs: proto.Int64(1 << 62), Consistency: varvev1.Consistency_CONSISTENCY_EVENTUAL},
	} {
		b, err := ipcBytes(queries.ReadPlot(ctx, r))
		require.NoError(t, err)
		plain, err := ipc.NewReader(bytes.NewReader(b))
		require.NoError(t, err)
		want := records(t, plain)
		require.NotEmpty(t, want)
		ticket, err := proto.Marshal(&varvev1.FlightQuestion{Question: &varvev1.FlightQuestion_Plot{Plot: r}})
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
	for text, bad := range map[string]*varvev1.ReadPlotRequest{
		"no tag":                   {EndNs: 1, Width: 5},
		"plot of 0 pixels":         {Tags: []string{"float"}, EndNs: 1},
		"plot of 4294967295":       {Tags: []string{"float"}, EndNs: 1, Width: 1<<32 - 1},
		"give one":                 {Tags: []string{"float"}, EndNs: 1, Width: 1, Lttb: 5},
		"must not be negative":     {Tags: []string{"float"}, EndNs: 1, Width: 1, MaxGapNs: proto.Int64(-1)},
		"the end must be behind":   {Tags: []string{"float"}, Width: 1},
		"which is of type string":  {Tags: []string{"text"}, EndNs: 1, Width: 1},
		"consistency 9 is unknown": {Tags: []string{"float"}, EndNs: 1, Width: 1, Consistency: 9},
		"most is 1048576":          {Tags: []string{"float"}, EndNs: 1, Width: 1, BatchRows: 1<<20 + 1},
	} {
		_, err := ipcBytes(queries.ReadPlot(ctx, bad))
		requireCode(t, codes.InvalidArgument, err, text)
	}
	_, err := ipcBytes(queries.ReadPlot(ctx, &varvev1.ReadPlotRequest{Tags: []string{"nobody"}, EndNs: 1, Width: 1}))
	requireCode(t, codes.NotFound, err, "nobody")
}
