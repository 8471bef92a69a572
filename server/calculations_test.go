package server

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

func TestCalculationsOverGRPC(t *testing.T) {
	s := start(t, Options{})
	s.write(t, everyKind()...)
	ctx := testContext(t)
	client := varvev1.NewCatalogServiceClient(s.conn)
	x, err := client.PutCalculation(ctx, &varvev1.PutCalculationRequest{Name: "twice", Expression: " float * 2\n"})
	require.NoError(t, err)
	require.Equal(t, "float * 2", x.Expression)
	for _, bad := range []*varvev1.PutCalculationRequest{{}, {Name: "a"}, {Name: "a", Expression: "1"}, {Name: "twice", Expression: "float > 1", FromNs: 5}} {
		_, err := client.PutCalculation(ctx, bad)
		require.Equal(t, codes.InvalidArgument, status.Code(err), "%v: %v", bad, err)
	}
	_, err = client.PutCalculation(ctx, &varvev1.PutCalculationRequest{Name: "float", Expression: "float"})
	require.Equal(t, codes.AlreadyExists, status.Code(err), "%v", err)
	_, err = client.GetCalculation(ctx, &varvev1.GetCalculationRequest{Name: "none"})
	require.Equal(t, codes.NotFound, status.Code(err))
	all, err := client.ListCalculations(ctx, &varvev1.ListCalculationsRequest{})
	require.NoError(t, err)
	require.Len(t, all.Calculations, 1)
	r := &varvev1.ReadRangeRequest{Tags: []string{"twice"}, StartNs: proto.Int64(0), EndNs: proto.Int64(1e14)}
	got, err := ipcBytes(varvev1.NewQueryServiceClient(s.conn).ReadRange(ctx, r))
	require.NoError(t, err)
	requireSameOverFlight(t, s, got, &varvev1.FlightQuestion{Question: &varvev1.FlightQuestion_Range{Range: r}}, 3)
}
