package server

import (
	"bytes"
	"testing"

	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// TestOwnFunctionsOverBothDoors asks gRPC and Flight for own functions beside those of Part 13.
func TestOwnFunctionsOverBothDoors(t *testing.T) {
	s := start(t, Options{})
	s.write(t, everyKind()...)
	ctx := testContext(t)
	r := &varvev1.ReadProcessedRequest{
		Tags: []string{"float", "narrow", "int", "unsigned"}, StartNs: 9e9, EndNs: -1e9, StepNs: 2e9, CounterHighest: 10, CounterStep: 3,
		Aggregates: []string{
			"Average", "sum", "count", "last", "worst_quality", "time_weighted_average", "percentile(95)", "median", "time_weighted_percentile(5)", "increase", "rate",
			"total(min)", "integral", "transitions", "delta", "first_time", "last_time", "circular_mean", "circular_deviation(24)",
		},
	}
	b, err := ipcBytes(varvev1.NewQueryServiceClient(s.conn).ReadProcessed(ctx, r))
	require.NoError(t, err)
	requireSameOverFlight(t, s, b, &varvev1.FlightQuestion{Question: &varvev1.FlightQuestion_Processed{Processed: r}}, 5*4*len(r.Aggregates))
	for _, bad := range []*varvev1.ReadProcessedRequest{
		{Tags: r.Tags, EndNs: 4e9, Aggregates: []string{"avg"}},
		{Tags: r.Tags, EndNs: 4e9, Aggregates: []string{"percentile(200)"}},
		{Tags: r.Tags, EndNs: 4e9, Aggregates: []string{"increase"}, CounterHighest: 1, CounterStep: 2},
		{Tags: []string{"text"}, EndNs: 4e9, Aggregates: []string{"total(h)"}},
		{Tags: r.Tags, EndNs: 4e9, Aggregates: make([]string, 65)},
	} {
		_, err := ipcBytes(varvev1.NewQueryServiceClient(s.conn).ReadProcessed(ctx, bad))
		require.Equal(t, codes.InvalidArgument, status.Code(err), "%v", bad)
	}
}

// TestTimeInStateOverBothDoors asks gRPC and Flight for the states of a bool and of integers.
func TestTimeInStateOverBothDoors(t *testing.T) {
	s := start(t, Options{})
	s.write(t, everyKind()...)
	ctx := testContext(t)
	r := &varvev1.ReadTimeInStateRequest{Tags: []string{"bool", "int"}, EndNs: 4e9, StepNs: 3e9}
	b, err := ipcBytes(varvev1.NewQueryServiceClient(s.conn).ReadTimeInState(ctx, r))
	require.NoError(t, err)
	requireSameOverFlight(t, s, b, &varvev1.FlightQuestion{Question: &varvev1.FlightQuestion_TimeInState{TimeInState: r}}, 4)
	reader, err := ipc.NewReader(bytes.NewReader(b))
	require.NoError(t, err)
	defer reader.Release()
	require.True(t, reader.Next())
	rec := reader.Record()
	require.Equal(t, []float64{1, 1, 1, 1}, rec.Column(5).(*array.Float64).Float64Values())
	require.Equal(t, `["false" "true" "false" (null)]`, rec.Column(4).(*array.String).String())
	for _, bad := range []*varvev1.ReadTimeInStateRequest{
		{Tags: []string{"float"}, EndNs: 4e9},
		{Tags: []string{"text"}, EndNs: 4e9},
		{Tags: []string{"bool"}},
		{EndNs: 4e9},
		{Tags: []string{"bool"}, EndNs: 4e9, BatchRows: 1 << 21},
	} {
		_, err := ipcBytes(varvev1.NewQueryServiceClient(s.conn).ReadTimeInState(ctx, bad))
		require.Equal(t, codes.InvalidArgument, status.Code(err), "%v", bad)
	}
}

// requireSameOverFlight asks Flight what gRPC answered with b, in one batch of so many rows.
func requireSameOverFlight(t *testing.T, s *running, b []byte, q *varvev1.FlightQuestion, rows int) {
	t.Helper()
	plain, err := ipc.NewReader(bytes.NewReader(b))
	require.NoError(t, err)
	defer plain.Release()
	want := records(t, plain)
	require.Len(t, want, 1)
	require.Equal(t, int64(rows), want[0].NumRows())
	ticket, err := proto.Marshal(q)
	require.NoError(t, err)
	got, err := flightRecords(t, s.conn, ticket)
	require.NoError(t, err)
	require.Len(t, got, 1)
	require.True(t, array.RecordEqual(want[0], got[0]))
	want[0].Release()
	got[0].Release()
}
