package server

import (
	"context"
	"fmt"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"google.golang.org/grpc"

	"github.com/varvedb/varve/compression/swingingdoor"
	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/query"
)

func (s *queryService) Tune(r *varvev1.TuneRequest, stream grpc.ServerStreamingServer[varvev1.ArrowData]) error {
	req, err := tuneRequest(r)
	if err != nil {
		return err
	}
	out := newArrowSender(stream, &s.buffers)
	return out.end(s.tune(stream.Context(), "tune", req, out))
}

// tune is readRange for what filters would do.
func (s *Server) tune(ctx context.Context, door string, req query.TuneRequest, sink query.Sink) error {
	start := time.Now()
	rows, err := s.engine.Tune(ctx, req, sink)
	s.metrics.answered(door, rows, time.Since(start))
	return err
}

func tuneRequest(r *varvev1.TuneRequest) (query.TuneRequest, error) {
	consistency, err := consistencyOf(r.Consistency)
	if err != nil {
		return query.TuneRequest{}, err
	}
	req := query.TuneRequest{
		Tags:  query.Tags{Names: r.Tags, IDs: tagIDs(r.TagIds)},
		Start: r.StartNs, End: r.EndNs, Deviations: r.Deviations, OfSpan: r.PercentOfSpan, Limits: r.Limits, WithKept: r.WithKept,
		Compression: model.Filter{MinTime: time.Duration(r.MinTimeNs), MaxTime: time.Duration(r.MaxTimeNs)},
		Consistency: consistency,
	}
	if f := r.Exception; f != nil {
		req.Exception = model.Filter{Deviation: f.Deviation, MinTime: time.Duration(f.MinTimeNs), MaxTime: time.Duration(f.MaxTimeNs)}
	}
	switch r.Form {
	case varvev1.FilterForm_FILTER_FORM_UNSPECIFIED, varvev1.FilterForm_FILTER_FORM_STRICT:
		req.Form = swingingdoor.Strict
	case varvev1.FilterForm_FILTER_FORM_TEXTBOOK:
		req.Form = swingingdoor.Textbook
	default:
		return req, fmt.Errorf("form %d of the swinging door: %w", r.Form, query.ErrBadRequest)
	}
	return req, nil
}

type askTune struct{ query.TuneRequest }

func (q askTune) schema(e *query.Engine) (*arrow.Schema, error) { return e.TuneSchema(q.TuneRequest) }

func (q askTune) read(ctx context.Context, s *Server, door string, sink query.Sink) error {
	return s.tune(ctx, door, q.TuneRequest, sink)
}
