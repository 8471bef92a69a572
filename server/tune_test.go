package server

import (
	"bytes"
	"math"
	"testing"

	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// TestTuneOverBothDoors asks gRPC and Flight the same of tags of every type, and holds a row against what is known of it.
func TestTuneOverBothDoors(t *testing.T) {
	s := start(t, Options{})
	s.write(t, append(everyKind(), floats("saw", 0, 0, 1, 0, 1, 0, 4.5, 10.5, 15, 20, 0))...)
	ctx := testContext(t)
	r := &varvev1.TuneRequest{
		Tags: []string{"saw"}, EndNs: 100e9, Deviations: []float64{0, 1}, Limits: []float64{0.5, 5}, WithKept: true,
		Exception: &varvev1.Filter{}, Form: varvev1.FilterForm_FILTER_FORM_STRICT,
	}
	for _, run := range everyKind() {
		r.Tags = append(r.Tags, run.Tag)
	}
	b, err := ipcBytes(varvev1.NewQueryServiceClient(s.conn).Tune(ctx, r))
	require.NoError(t, err)
	plain, err := ipc.NewReader(bytes.NewReader(b))
	require.NoError(t, err)
	defer plain.Release()
	want := records(t, plain)
	require.Len(t, want, 2*len(r.Tags), "a batch for every row")

	row := want[1]
	count := func(name string) int64 {
		return row.Column(row.Schema().FieldIndices(name)[0]).(*array.Int64).Value(0)
	}
	require.EqualValues(t, 10, count("samples"))
	require.EqualValues(t, 10, count("sent"))
	require.EqualValues(t, 4, count("kept"))
	require.Equal(t, count("bytes")-count("bytes_kept"), count("bytes_saved"))
	require.Positive(t, count("bytes_saved"))
	require.EqualValues(t, 8, count("crossings"))
	require.EqualValues(t, 2, count("crossings_moved"))
	require.EqualValues(t, 4, count("crossings_lost"))
	require.Zero(t, count("crossings_invented"))
	require.Equal(t, 0.4, row.Column(3).(*array.Float64).Value(0))
	require.Equal(t, 1.0, row.Column(4).(*array.Float64).Value(0))
	require.EqualValues(t, 1e9, row.Column(5).(*array.Timestamp).Value(0))
	lists := row.Column(int(row.NumCols()) - 1).(*array.List).ListValues().(*array.Timestamp)
	var kept []int64
	for _, at := range lists.TimestampValues() {
		kept = append(kept, int64(at)/1e9)
	}
	require.Equal(t, []int64{0, 4, 8, 9}, kept)
	crossing := row.Column(int(row.NumCols()) - 2).(*array.List).ListValues().(*array.Struct)
	require.Equal(t, 8, crossing.Len())
	require.True(t, crossing.Field(3).IsNull(0), "the first is lost")
	require.EqualValues(t, 4100e6, crossing.Field(3).(*array.Timestamp).Value(4))

	ticket, err := proto.Marshal(&varvev1.FlightQuestion{Question: &varvev1.FlightQuestion_Tune{Tune: r}})
	require.NoError(t, err)
	got, err := flightRecords(t, s.conn, ticket)
	require.NoError(t, err)
	require.Len(t, got, len(want))
	for i := range want {
		require.True(t, array.RecordEqual(want[i], got[i]), "row %d", i)
		want[i].Release()
		got[i].Release()
	}

	for _, bad := range []*varvev1.TuneRequest{
		{Tags: []string{"saw"}, EndNs: 4e9},
		{EndNs: 4e9, Deviations: []float64{1}},
		{Tags: []string{"saw"}, EndNs: 4e9, Deviations: make([]float64, 101)},
		{Tags: []string{"saw"}, EndNs: 4e9, Deviations: []float64{1}, Limits: make([]float64, 101)},
		{Tags: []string{"saw"}, EndNs: 4e9, Deviations: []float64{1}, Limits: []float64{math.NaN()}},
		{Tags: []string{"saw"}, EndNs: 4e9, Deviations: []float64{-1}},
		{Tags: []string{"saw"}, EndNs: 4e9, Deviations: []float64{math.Inf(1)}},
		{Tags: []string{"saw"}, EndNs: 4e9, Deviations: []float64{1}, MinTimeNs: -1},
		{Tags: []string{"saw"}, EndNs: 4e9, Deviations: []float64{1}, Exception: &varvev1.Filter{Deviation: -1}},
		{Tags: []string{"saw"}, EndNs: 4e9, Deviations: []float64{1}, PercentOfSpan: true}, // it has no span
		{Tags: []string{"saw"}, EndNs: 4e9, Deviations: []float64{1}, Form: 9},
		{Tags: []string{"saw"}, StartNs: 4e9, EndNs: 4e9, Deviations: []float64{1}},
	} {
		_, err := ipcBytes(varvev1.NewQueryServiceClient(s.conn).Tune(ctx, bad))
		require.Equal(t, codes.InvalidArgument, status.Code(err), "%v: %v", bad, err)
	}
	_, err = ipcBytes(varvev1.NewQueryServiceClient(s.conn).Tune(ctx, &varvev1.TuneRequest{Tags: []string{"none"}, EndNs: 4e9, Deviations: []float64{1}}))
	require.Equal(t, codes.NotFound, status.Code(err))
}
