package server

import (
	"context"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"google.golang.org/grpc"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/query"
)

func (s *queryService) ReadTimeInState(r *varvev1.ReadTimeInStateRequest, stream grpc.ServerStreamingServer[varvev1.ArrowData]) error {
	req, err := statesRequest(r)
	if err != nil {
		return err
	}
	out := newArrowSender(stream, &s.buffers)
	return out.end(s.readTimeInState(stream.Context(), "read_time_in_state", req, out))
}

// readTimeInState is readRange for times in states.
func (s *Server) readTimeInState(ctx context.Context, door string, req query.StatesRequest, sink query.Sink) error {
	start := time.Now()
	rows, err := s.engine.ReadTimeInState(ctx, req, sink)
	s.metrics.answered(door, rows, time.Since(start))
	return err
}

func statesRequest(r *varvev1.ReadTimeInStateRequest) (query.StatesRequest, error) {
	consistency, err := readOptions(r.Consistency, r.BatchRows)
	if err != nil {
		return query.StatesRequest{}, err
	}
	return query.StatesRequest{
		Tags:         query.Tags{Names: r.Tags, IDs: tagIDs(r.TagIds)},
		Buckets:      query.Buckets{Start: r.StartNs, End: r.EndNs, Step: r.StepNs, Edges: r.EdgesNs, Every: r.Every, Zone: r.Zone, Calendar: []byte(r.Calendar)},
		UseUncertain: r.UseUncertain, Consistency: consistency, BatchRows: int(r.BatchRows),
	}, nil
}

// askStates is a ticket for times in states.
type askStates struct{ query.StatesRequest }

func (q askStates) schema(e *query.Engine) (*arrow.Schema, error) {
	return e.StatesSchema(q.StatesRequest)
}

func (q askStates) read(ctx context.Context, s *Server, door string, sink query.Sink) error {
	return s.readTimeInState(ctx, door, q.StatesRequest, sink)
}
