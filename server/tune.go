package server

import (
	"fmt"
	"time"

	"google.golang.org/grpc"

	"github.com/varvedb/varve/compression/swingingdoor"
	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/query"
)

func (s *queryService) Tune(r *varvev1.TuneRequest, stream grpc.ServerStreamingServer[varvev1.ArrowData]) error {
	q, err := askTune(r)
	return s.stream(q, err, stream)
}

func askTune(r *varvev1.TuneRequest) (question, error) {
	req, err := tuneRequest(r)
	return ask("tune", req, err, (*query.Engine).TuneSchema, (*query.Engine).Tune)
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
