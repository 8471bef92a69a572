package server

import (
	"context"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"google.golang.org/grpc"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/query"
)

// question is what package query is asked, whichever door it came through.
type question struct {
	name   string // in metrics, of the door that has a call for it
	schema func(*query.Engine) (*arrow.Schema, error)
	read   func(context.Context, *query.Engine, query.Sink) (uint64, error)
}

// ask is a question, or why its message is none. schema and read are the methods of the engine that answer it.
func ask[R any](name string, r R, err error, schema func(*query.Engine, R) (*arrow.Schema, error),
	read func(*query.Engine, context.Context, R, query.Sink) (uint64, error),
) (question, error) {
	return question{
		name:   name,
		schema: func(e *query.Engine) (*arrow.Schema, error) { return schema(e, r) },
		read: func(ctx context.Context, e *query.Engine, sink query.Sink) (uint64, error) {
			return read(e, ctx, r, sink)
		},
	}, err
}

// answer answers a question and notes at which door.
func (s *Server) answer(ctx context.Context, door string, q question, sink query.Sink) error {
	start := time.Now()
	rows, err := q.read(ctx, s.engine, sink)
	s.metrics.answered(door, rows, time.Since(start))
	return err
}

// stream answers a call of QueryService whose message is a question, or no question for the reason in err.
func (s *queryService) stream(q question, err error, stream grpc.ServerStreamingServer[varvev1.ArrowData]) error {
	if err != nil {
		return err
	}
	out := newArrowSender(stream, &s.buffers)
	return out.end(s.answer(stream.Context(), q.name, q, out))
}
