package server

import (
	"context"
	"fmt"
	"io"
	"math"
	"testing"

	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"

	"github.com/varvedb/varve/internal/cputime"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// arrowReader is the bytes of an answer as they arrive.
type arrowReader struct {
	stream grpc.ServerStreamingClient[varvev1.ArrowData]
	rest   []byte
}

func (r *arrowReader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		m, err := r.stream.Recv()
		if err != nil {
			return 0, err
		}
		r.rest = m.Ipc
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// BenchmarkReadRange measures delivery to a client in this process: read, encode, send, receive, decode.
func BenchmarkReadRange(b *testing.B) {
	const tags, samples = 20, 100_000
	s := start(b, Options{})
	var names []string
	for i := range tags {
		run := &varvev1.Run{Tag: fmt.Sprint("t", i), FirstTimeNs: 1e9, StepNs: 1e9, Count: samples}
		for k := range samples {
			run.Float64 = append(run.Float64, math.Round(1000*math.Sin(float64(k)/100))/10)
		}
		s.write(b, run)
		names = append(names, run.Tag)
	}
	_, err := s.db.Flush(context.Background())
	require.NoError(b, err)
	client := varvev1.NewQueryServiceClient(s.conn)
	before := cputime.Used(b)
	for b.Loop() {
		stream, err := client.ReadRange(context.Background(), &varvev1.ReadRangeRequest{Tags: names, EndNs: proto.Int64(math.MaxInt64), StartNs: proto.Int64(0)})
		require.NoError(b, err)
		reader, err := ipc.NewReader(&arrowReader{stream: stream})
		require.NoError(b, err)
		rows := int64(0)
		for reader.Next() {
			rows += reader.Record().NumRows()
		}
		require.True(b, reader.Err() == nil || reader.Err() == io.EOF)
		require.Equal(b, int64(tags*samples), rows)
		reader.Release()
	}
	b.ReportMetric(float64(b.N)*tags*samples/b.Elapsed().Seconds()/1e6, "Msamples/s")
	b.ReportMetric(float64(cputime.Used(b)-before)/float64(b.N*tags*samples), "cpu-ns/sample")
}

// BenchmarkShortAnswers measures an hour of one tag to a client in this process, and beside it a call that does nothing: what
// is left is ours.
func BenchmarkShortAnswers(b *testing.B) {
	s := start(b, Options{})
	run := &varvev1.Run{Tag: "a", FirstTimeNs: 1e9, StepNs: 1e9, Count: 3600}
	for k := range int(run.Count) {
		run.Float64 = append(run.Float64, math.Round(1000*math.Sin(float64(k)/100))/10)
	}
	s.write(b, run)
	_, err := s.db.Flush(context.Background())
	require.NoError(b, err)
	health, client := healthpb.NewHealthClient(s.conn), varvev1.NewQueryServiceClient(s.conn)
	for name, ask := range map[string]func(){
		"call=health": func() {
			_, err := health.Check(context.Background(), &healthpb.HealthCheckRequest{})
			require.NoError(b, err)
		},
		"call=read_range": func() {
			stream, err := client.ReadRange(context.Background(), &varvev1.ReadRangeRequest{Tags: []string{"a"}, StartNs: proto.Int64(0), EndNs: proto.Int64(math.MaxInt64)})
			require.NoError(b, err)
			reader, err := ipc.NewReader(&arrowReader{stream: stream})
			require.NoError(b, err)
			require.True(b, reader.Next())
			require.EqualValues(b, run.Count, reader.Record().NumRows())
			require.False(b, reader.Next())
			reader.Release()
		},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			before := cputime.Used(b)
			for b.Loop() {
				ask()
			}
			b.ReportMetric(float64(cputime.Used(b)-before)/1e3/float64(b.N), "cpu-µs/op")
		})
	}
}
