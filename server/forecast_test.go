package server

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// answered is the records of an answer.
func answered(t *testing.T, stream grpc.ServerStreamingClient[varvev1.ArrowData], err error) (out []arrow.Record) {
	require.NoError(t, err)
	var b []byte
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		b = append(b, m.Ipc...)
	}
	r, err := ipc.NewReader(bytes.NewReader(b))
	require.NoError(t, err)
	for r.Next() {
		rec := r.Record()
		rec.Retain()
		out = append(out, rec)
	}
	return out
}

// TestForecastsThroughTheDoors writes runs, lists them page by page, and holds Flight against gRPC.
func TestForecastsThroughTheDoors(t *testing.T) {
	s, _ := annotated(t) // a: 1 at 5 s, 2 at 25 s
	ctx := testContext(t)
	c, q := varvev1.NewForecastServiceClient(s.conn), varvev1.NewQueryServiceClient(s.conn)
	put := func(issued int64, name string, values ...float64) bool {
		r, err := c.PutForecast(ctx, &varvev1.PutForecastRequest{
			IssuedNs: issued, Model: name, Author: "ann",
			Samples: &varvev1.Run{Tag: "a", FirstTimeNs: 15e9, StepNs: 10e9, Count: uint32(len(values)), Float64: values, NullAt: []uint32{2}},
		})
		require.NoError(t, err)
		return r.Changed
	}
	require.True(t, put(1, "m", 3, 4, 0))
	require.False(t, put(1, "m", 3, 4, 0))
	require.True(t, put(1, "m", 3, 5, 0))
	require.True(t, put(2, "", 7, 8, 0))

	var runs []*varvev1.ForecastRun
	for page := ""; ; {
		r, err := c.ListForecasts(ctx, &varvev1.ListForecastsRequest{Tags: []string{"a", "b"}, Replaced: true, PageSize: 1, PageToken: page})
		require.NoError(t, err)
		runs = append(runs, r.Runs...)
		if page = r.NextPageToken; page == "" {
			break
		}
	}
	require.Len(t, runs, 3)
	require.Equal(t, []int64{2, 1, 1}, []int64{runs[0].IssuedNs, runs[1].IssuedNs, runs[2].IssuedNs})
	require.Equal(t, []any{"a", "", "ann", int64(15e9), int64(35e9), uint32(3), int64(0)}, []any{runs[0].Tag, runs[0].Model, runs[0].Author, runs[0].FirstNs, runs[0].LastNs, runs[0].Samples, runs[1].ReplacedNs})
	require.Equal(t, runs[1].IngestNs, runs[2].ReplacedNs)

	read := &varvev1.ReadForecastRequest{Tags: []string{"a"}, Models: []string{"m"}, EndNs: proto.Int64(30e9)}
	stream, err := q.ReadForecast(ctx, read)
	plain := answered(t, stream, err)
	require.Len(t, plain, 1)
	require.Equal(t, []float64{3, 5}, plain[0].Column(2).(*array.Float64).Float64Values())
	ticket, err := proto.Marshal(&varvev1.FlightQuestion{Question: &varvev1.FlightQuestion_Forecast{Forecast: read}})
	require.NoError(t, err)
	flown, err := flightRecords(t, s.conn, ticket)
	require.NoError(t, err)
	require.Len(t, flown, 1)
	require.True(t, array.RecordEqual(plain[0], flown[0]))

	compare := &varvev1.CompareForecastRequest{Forecast: read}
	stream, err = q.CompareForecast(ctx, compare)
	plain = answered(t, stream, err)
	require.Len(t, plain, 1)
	require.Equal(t, []float64{1.5, 3}, plain[0].Column(4).(*array.Float64).Float64Values())
	ticket, err = proto.Marshal(&varvev1.FlightQuestion{Question: &varvev1.FlightQuestion_Comparison{Comparison: compare}})
	require.NoError(t, err)
	flown, err = flightRecords(t, s.conn, ticket)
	require.NoError(t, err)
	require.True(t, array.RecordEqual(plain[0], flown[0]))
}

// TestForecastsThatAreRefused: whatever is wrong with a sample refuses its run.
func TestForecastsThatAreRefused(t *testing.T) {
	s, _ := annotated(t)
	ctx := testContext(t)
	c := varvev1.NewForecastServiceClient(s.conn)
	for _, x := range []struct {
		run  *varvev1.Run
		code codes.Code
		text string
	}{
		{nil, codes.InvalidArgument, "has samples"},
		{&varvev1.Run{Tag: "zz", TimesNs: []int64{1}, Float64: []float64{1}}, codes.NotFound, "zz"},
		{&varvev1.Run{Tag: "a"}, codes.InvalidArgument, "samples"},
		{&varvev1.Run{Tag: "a", TimesNs: []int64{1}, Int64: []int64{1}}, codes.InvalidArgument, "the tag is float64"},
		{&varvev1.Run{Tag: "a", TimesNs: []int64{1, 2}, Float64: []float64{1}}, codes.InvalidArgument, "2 samples and 1 values"},
		{&varvev1.Run{Tag: "a", TimesNs: []int64{2, 1}, Float64: []float64{1, 2}}, codes.InvalidArgument, "not later"},
		{&varvev1.Run{Tag: "a", TimesNs: []int64{1}, Float64: []float64{1}, Seq: []uint32{1}}, codes.InvalidArgument, "seq"},
	} {
		_, err := c.PutForecast(ctx, &varvev1.PutForecastRequest{IssuedNs: 1, Samples: x.run, Author: "ann"})
		requireCode(t, x.code, err, x.text)
	}
	_, err := c.ListForecasts(ctx, &varvev1.ListForecastsRequest{Tags: []string{"a"}, PageToken: "x"})
	requireCode(t, codes.InvalidArgument, err, "page_token")
	stream, err := varvev1.NewQueryServiceClient(s.conn).CompareForecast(ctx, &varvev1.CompareForecastRequest{})
	require.NoError(t, err)
	_, err = stream.Recv()
	requireCode(t, codes.InvalidArgument, err, "")
}
