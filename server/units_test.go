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

// TestUnitsOverBothDoors asks gRPC and Flight for samples, instants and aggregates of both kinds in another unit than is stored.
func TestUnitsOverBothDoors(t *testing.T) {
	s := start(t, Options{})
	ctx := testContext(t)
	_, err := s.newCatalog().CreateTags(ctx, &varvev1.CreateTagsRequest{Tags: []*varvev1.Tag{
		{Name: "pressure", Settings: []*varvev1.Settings{{Type: varvev1.Type_TYPE_FLOAT64, Unit: "mbar"}}},
		{Name: "temperature", Settings: []*varvev1.Settings{{Type: varvev1.Type_TYPE_INT64, Unit: "Cel"}}},
	}})
	require.NoError(t, err)
	s.write(t, floats("pressure", 1e9, 1500, 2500), &varvev1.Run{Tag: "temperature", TimesNs: []int64{1e9, 2e9}, Int64: []int64{0, 100}})
	client := varvev1.NewQueryServiceClient(s.conn)

	ranges := func(tag, unit string) *varvev1.FlightQuestion {
		return &varvev1.FlightQuestion{Question: &varvev1.FlightQuestion_Range{Range: &varvev1.ReadRangeRequest{
			Tags: []string{tag}, StartNs: proto.Int64(0), EndNs: proto.Int64(9e9), Unit: unit}}}
	}
	instants := func(tag, unit string) *varvev1.FlightQuestion {
		return &varvev1.FlightQuestion{Question: &varvev1.FlightQuestion_AtTimes{AtTimes: &varvev1.ReadAtTimesRequest{
			Tags: []string{tag}, TimesNs: []int64{1e9, 15e8}, Unit: unit}}}
	}
	aggregates := func(tag, unit string) *varvev1.FlightQuestion {
		return &varvev1.FlightQuestion{Question: &varvev1.FlightQuestion_Aggregates{Aggregates: &varvev1.ReadAggregatesRequest{
			Tags: []string{tag}, EndNs: 4e9, StepNs: 2e9, Aggregates: []string{"maximum"}, Unit: unit}}}
	}
	processed := func(tag, unit string) *varvev1.FlightQuestion {
		return &varvev1.FlightQuestion{Question: &varvev1.FlightQuestion_Processed{Processed: &varvev1.ReadProcessedRequest{
			Tags: []string{tag}, EndNs: 4e9, StepNs: 2e9, Aggregates: []string{"Maximum"}, Unit: unit}}}
	}
	modified := func(tag, unit string) *varvev1.FlightQuestion {
		return &varvev1.FlightQuestion{Question: &varvev1.FlightQuestion_Modified{Modified: &varvev1.ReadModifiedRequest{Tags: []string{tag}, EndNs: 9e9, Unit: unit}}}
	}
	s.write(t, floats("pressure", 1e9, 1500, 2000))
	s.write(t, floats("pressure", 1e9, 1500, 2500))
	overGRPC := func(q *varvev1.FlightQuestion) ([]byte, error) {
		switch x := q.Question.(type) {
		case *varvev1.FlightQuestion_AtTimes:
			return ipcBytes(client.ReadAtTimes(ctx, x.AtTimes))
		case *varvev1.FlightQuestion_Aggregates:
			return ipcBytes(client.ReadAggregates(ctx, x.Aggregates))
		case *varvev1.FlightQuestion_Processed:
			return ipcBytes(client.ReadProcessed(ctx, x.Processed))
		case *varvev1.FlightQuestion_Modified:
			return ipcBytes(client.ReadModified(ctx, x.Modified))
		}
		return ipcBytes(client.ReadRange(ctx, q.GetRange()))
	}
	for _, x := range []struct {
		question *varvev1.FlightQuestion
		column   string
		want     []float64
	}{
		{ranges("pressure", "bar"), "value", []float64{1.5, 2.5}},
		{ranges("temperature", "[degF]"), "value", []float64{32, 212}},
		{instants("pressure", "bar"), "value", []float64{1.5, 2}},
		{instants("temperature", "K"), "value", []float64{273.15, 323.15}},
		{aggregates("pressure", "bar"), "maximum", []float64{1.5, 2.5}},
		{aggregates("temperature", "[degF]"), "maximum", []float64{32, 212}},
		{processed("pressure", "bar"), "value", []float64{1.5, 2.5}},
		{processed("temperature", "[degF]"), "value", []float64{32, 212}},
		{modified("pressure", "bar"), "value", []float64{2.5, 2}},
	} {
		b, err := overGRPC(x.question)
		require.NoError(t, err)
		reader, err := ipc.NewReader(bytes.NewReader(b))
		require.NoError(t, err)
		want := records(t, reader)
		require.Len(t, want, 1)
		i := want[0].Schema().FieldIndices(x.column)[0]
		require.Equal(t, x.want, want[0].Column(i).(*array.Float64).Float64Values(), "%v", x.question)
		require.Equal(t, []string{"varve.unit"}, want[0].Schema().Field(i).Metadata.Keys())

		ticket, err := proto.Marshal(x.question)
		require.NoError(t, err)
		got, err := flightRecords(t, s.conn, ticket)
		require.NoError(t, err)
		require.Len(t, got, 1)
		require.True(t, array.RecordEqual(want[0], got[0]), "%v", x.question)
		require.True(t, want[0].Schema().Equal(got[0].Schema()))
		want[0].Release()
		got[0].Release()
		reader.Release()
	}
	for _, bad := range []*varvev1.FlightQuestion{ranges("pressure", "Cel"), instants("pressure", "psi"), aggregates("temperature", "bar"), processed("temperature", "°C"), modified("temperature", "bar")} {
		_, err := overGRPC(bad)
		require.Equal(t, codes.InvalidArgument, status.Code(err), "%v", err)
		ticket, err := proto.Marshal(bad)
		require.NoError(t, err)
		_, err = flightRecords(t, s.conn, ticket)
		require.Equal(t, codes.InvalidArgument, status.Code(err), "%v", err)
	}
	x, err := client.Explain(ctx, &varvev1.ExplainRequest{Tag: "pressure", Aggregate: "TimeAverage2", StartNs: 1e9, EndNs: 2e9, Unit: "bar"})
	require.NoError(t, err)
	require.Equal(t, "bar", x.Unit)
	require.Equal(t, 2.0, x.Value.GetNumber())
	require.Equal(t, "1.5", x.Bounds[0].Value.Text)
	require.Equal(t, 2.5, x.Bounds[1].From[0].Value.GetNumber())
	_, err = client.Explain(ctx, &varvev1.ExplainRequest{Tag: "pressure", Aggregate: "TimeAverage2", EndNs: 2e9, Unit: "Cel"})
	require.Equal(t, codes.InvalidArgument, status.Code(err), "%v", err)
}
