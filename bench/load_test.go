package main

import (
	"context"
	"net"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/varvedb/varve/bench/plant"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// recorder is an ingest service that keeps what it gets, and answers as the contract says.
type recorder struct {
	varvev1.UnimplementedIngestServiceServer
	failAfter int // batches of a stream; 0 for never

	mu     sync.Mutex
	times  map[string][]int64
	values map[string][]float64
	names  []string // by id, from 1
}

func (r *recorder) Ingest(stream grpc.BidiStreamingServer[varvev1.IngestRequest, varvev1.IngestResponse]) error {
	batches := 0
	for {
		m, err := stream.Recv()
		if err != nil {
			return nil // the client is done
		}
		switch {
		case m.GetHello() != nil:
			err = stream.Send(&varvev1.IngestResponse{Message: &varvev1.IngestResponse_Welcome{Welcome: &varvev1.Welcome{Session: 1}}})
		case m.GetResolve() != nil:
			err = stream.Send(&varvev1.IngestResponse{Message: &varvev1.IngestResponse_Resolved{Resolved: r.resolve(m.GetResolve())}})
		default:
			if batches++; r.failAfter > 0 && batches > r.failAfter {
				return status.Error(codes.Unavailable, "gone")
			}
			result := &varvev1.BatchResult{Sequence: m.GetBatch().Sequence, Samples: r.keep(m.GetBatch())}
			for _, mark := range []varvev1.Mark{varvev1.Mark_MARK_ACCEPTED, varvev1.Mark_MARK_APPLIED} {
				err = stream.Send(&varvev1.IngestResponse{Message: &varvev1.IngestResponse_Ack{Ack: &varvev1.Ack{Mark: mark, Batches: []*varvev1.BatchResult{result}}}})
			}
		}
		if err != nil {
			return err
		}
	}
}

func (r *recorder) resolve(ask *varvev1.Resolve) *varvev1.Resolved {
	r.mu.Lock()
	defer r.mu.Unlock()
	answer := &varvev1.Resolved{}
	for _, t := range ask.Tags {
		r.names = append(r.names, t.Name)
		answer.Tags = append(answer.Tags, &varvev1.ResolvedTag{Id: uint32(len(r.names)), Type: t.Type, Created: true})
	}
	return answer
}

func (r *recorder) keep(b *varvev1.Batch) (samples uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, run := range b.Runs {
		name, at := r.names[run.TagId-1], run.FirstTimeNs
		for i, v := range run.Float64 {
			if i > 0 && run.Count > 0 {
				at += run.StepNs
			} else if i > 0 {
				at += run.TimeDeltas[i-1] * int64(run.TimeUnitNs)
			}
			r.times[name] = append(r.times[name], at)
			r.values[name] = append(r.values[name], v)
		}
		samples += uint64(len(run.Float64))
	}
	return samples
}

func record(t *testing.T, r *recorder, o *options) *loadResult {
	t.Helper()
	require.NoError(t, o.validate())
	r.times, r.values = map[string][]int64{}, map[string][]float64{}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := grpc.NewServer()
	varvev1.RegisterIngestServiceServer(s, r)
	go s.Serve(listener)
	t.Cleanup(s.Stop)
	l, err := prepareLoad(context.Background(), listener.Addr().String(), o)
	require.NoError(t, err)
	t.Cleanup(l.close)
	return l.run(context.Background(), func(uint64) error { return nil })
}

func TestLoadSendsTheWorkload(t *testing.T) {
	for _, workload := range []string{"w1", "w2"} {
		o, r := small(workload, 0), &recorder{}
		o.BatchSamples, o.InFlight = 1800, 4
		got := record(t, r, o)
		require.Empty(t, got.Error)
		require.Equal(t, uint64(o.samples()), got.Sent)
		require.Equal(t, uint64(o.samples()), got.Accepted)
		require.Equal(t, uint64(o.samples()), got.Applied)
		require.Positive(t, got.AppliedSeconds)
		for tag := range o.Tags {
			times, values := makeTag(o, tag, o.samplesPerTag())
			require.True(t, slices.Equal(times, r.times[plant.Name(tag)]), "times of %s, tag %d", workload, tag)
			require.True(t, slices.Equal(values, r.values[plant.Name(tag)]), "values of %s, tag %d", workload, tag)
		}
	}
}

// What the client says was accepted is what the checks after a kill rest on.
func TestLoadThatBreaksSaysWhatWasAccepted(t *testing.T) {
	o, r := small("w1", 0), &recorder{failAfter: 5}
	o.BatchSamples, o.InFlight = 1000, 16
	got := record(t, r, o)
	require.Contains(t, got.Error, "gone")
	require.Equal(t, uint64(2*5*1000), got.Accepted)
	require.Equal(t, []uint64{500, 500}, got.AcceptedRuns)
}
