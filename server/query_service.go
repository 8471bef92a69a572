package server

import (
	"context"
	"fmt"
	"math"
	"time"

	"google.golang.org/grpc"

	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/query"
	"github.com/varvedb/varve/query/part13"
	"github.com/varvedb/varve/storage"
)

// queryService answers questions about samples.
type queryService struct {
	varvev1.UnimplementedQueryServiceServer
	*Server
}

func (s *queryService) ReadRange(r *varvev1.ReadRangeRequest, stream grpc.ServerStreamingServer[varvev1.ArrowData]) error {
	req, err := rangeRequest(r)
	if err != nil {
		return err
	}
	out := newArrowSender(stream, &s.buffers)
	return out.end(s.readRange(stream.Context(), "read_range", req, out))
}

func (s *queryService) ReadModified(r *varvev1.ReadModifiedRequest, stream grpc.ServerStreamingServer[varvev1.ArrowData]) error {
	consistency, err := readOptions(r.Consistency, r.BatchRows)
	if err != nil {
		return err
	}
	req := query.ModifiedRequest{
		Tags:  query.Tags{Names: r.Tags, IDs: tagIDs(r.TagIds)},
		Start: r.StartNs, End: r.EndNs, Consistency: consistency, Limit: r.Limit, BatchRows: int(r.BatchRows), WithSeq: r.WithSeq,
	}
	start := time.Now()
	out := newArrowSender(stream, &s.buffers)
	rows, err := s.engine.ReadModified(stream.Context(), req, out)
	s.metrics.answered("read_modified", rows, time.Since(start))
	return out.end(err)
}

func (s *queryService) Latest(r *varvev1.LatestRequest, stream grpc.ServerStreamingServer[varvev1.ArrowData]) error {
	consistency, err := consistencyOf(r.Consistency)
	if err != nil {
		return err
	}
	req := query.LatestRequest{Tags: query.Tags{Names: r.Tags, IDs: tagIDs(r.TagIds)}, Consistency: consistency}
	start := time.Now()
	out := newArrowSender(stream, &s.buffers)
	rows, err := s.engine.Latest(stream.Context(), req, out)
	s.metrics.answered("latest", rows, time.Since(start))
	return out.end(err)
}

// readRange answers one question, whichever door it came through.
func (s *Server) readRange(ctx context.Context, door string, req query.RangeRequest, sink query.Sink) error {
	start := time.Now()
	rows, err := s.engine.ReadRange(ctx, req, sink)
	s.metrics.answered(door, rows, time.Since(start))
	return err
}

func (s *queryService) ReadAggregates(r *varvev1.ReadAggregatesRequest, stream grpc.ServerStreamingServer[varvev1.ArrowData]) error {
	req, err := aggregatesRequest(r)
	if err != nil {
		return err
	}
	out := newArrowSender(stream, &s.buffers)
	return out.end(s.readAggregates(stream.Context(), "read_aggregates", req, out))
}

// readAggregates is readRange for aggregates.
func (s *Server) readAggregates(ctx context.Context, door string, req query.AggregatesRequest, sink query.Sink) error {
	start := time.Now()
	rows, err := s.engine.ReadAggregates(ctx, req, sink)
	s.metrics.answered(door, rows, time.Since(start))
	return err
}

func (s *queryService) ReadProcessed(r *varvev1.ReadProcessedRequest, stream grpc.ServerStreamingServer[varvev1.ArrowData]) error {
	req, err := processedRequest(r)
	if err != nil {
		return err
	}
	out := newArrowSender(stream, &s.buffers)
	return out.end(s.readProcessed(stream.Context(), "read_processed", req, out))
}

// readProcessed is readRange for processed values.
func (s *Server) readProcessed(ctx context.Context, door string, req query.ProcessedRequest, sink query.Sink) error {
	start := time.Now()
	rows, err := s.engine.ReadProcessed(ctx, req, sink)
	s.metrics.answered(door, rows, time.Since(start))
	return err
}

func processedRequest(r *varvev1.ReadProcessedRequest) (query.ProcessedRequest, error) {
	consistency, err := readOptions(r.Consistency, r.BatchRows)
	if err != nil {
		return query.ProcessedRequest{}, err
	}
	if n, most := len(r.Aggregates), len(part13.Names()); n > most {
		return query.ProcessedRequest{}, fmt.Errorf("%d aggregates, most is %d: %w", n, most, query.ErrBadRequest)
	}
	req := query.ProcessedRequest{
		Tags:  query.Tags{Names: r.Tags, IDs: tagIDs(r.TagIds)},
		Start: r.StartNs, End: r.EndNs, Step: r.StepNs, Edges: r.EdgesNs, Consistency: consistency,
		BatchRows: int(r.BatchRows), Configuration: part13.Defaults, Stepped: r.Stepped, Resolution: r.TimeResolutionNs,
	}
	c := &req.Configuration
	c.SlopedExtrapolation = r.UseSlopedExtrapolation
	if r.TreatUncertainAsBad != nil {
		c.TreatUncertainAsBad = *r.TreatUncertainAsBad
	}
	if r.PercentDataBad != nil {
		c.PercentDataBad = uint8(min(*r.PercentDataBad, math.MaxUint8))
	}
	if r.PercentDataGood != nil {
		c.PercentDataGood = uint8(min(*r.PercentDataGood, math.MaxUint8))
	}
	for _, name := range r.Aggregates {
		f, err := query.ParseFunction(name)
		if err != nil {
			return query.ProcessedRequest{}, err
		}
		req.Functions = append(req.Functions, f)
	}
	return req, nil
}

func aggregatesRequest(r *varvev1.ReadAggregatesRequest) (query.AggregatesRequest, error) {
	consistency, err := consistencyOf(r.Consistency)
	if err != nil {
		return query.AggregatesRequest{}, err
	}
	if r.BatchRows > query.MaxBatchRows {
		return query.AggregatesRequest{}, fmt.Errorf("batch_rows is %d, most is %d: %w", r.BatchRows, query.MaxBatchRows, query.ErrBadRequest)
	}
	if n := len(r.Aggregates); n > query.MaxAggregates {
		return query.AggregatesRequest{}, fmt.Errorf("%d aggregates, most is %d: %w", n, query.MaxAggregates, query.ErrBadRequest)
	}
	req := query.AggregatesRequest{
		Tags:  query.Tags{Names: r.Tags, IDs: tagIDs(r.TagIds)},
		Start: r.StartNs, End: r.EndNs, Step: r.StepNs, Edges: r.EdgesNs, Consistency: consistency,
		BatchRows: int(r.BatchRows), UseUncertain: r.UseUncertain,
	}
	for _, name := range r.Aggregates {
		a, err := query.ParseAggregate(name)
		if err != nil {
			return query.AggregatesRequest{}, err
		}
		req.Aggregates = append(req.Aggregates, a)
	}
	return req, nil
}

func rangeRequest(r *varvev1.ReadRangeRequest) (query.RangeRequest, error) {
	consistency, err := readOptions(r.Consistency, r.BatchRows)
	if err != nil {
		return query.RangeRequest{}, err
	}
	return query.RangeRequest{
		Tags:  query.Tags{Names: r.Tags, IDs: tagIDs(r.TagIds)},
		Start: r.StartNs, End: r.EndNs, Consistency: consistency, Limit: r.Limit, BatchRows: int(r.BatchRows),
		WithSource: r.WithSource, WithSeq: r.WithSeq, AsOf: r.AsOfNs,
	}, nil
}

// readOptions checks what requests for stored values share.
func readOptions(c varvev1.Consistency, batchRows uint32) (storage.Consistency, error) {
	if batchRows > query.MaxBatchRows {
		return 0, fmt.Errorf("batch_rows is %d, most is %d: %w", batchRows, query.MaxBatchRows, query.ErrBadRequest)
	}
	return consistencyOf(c)
}

func tagIDs(ids []uint32) []model.TagID {
	out := make([]model.TagID, len(ids))
	for i, id := range ids {
		out[i] = model.TagID(id)
	}
	return out
}

func consistencyOf(c varvev1.Consistency) (storage.Consistency, error) {
	switch c {
	case varvev1.Consistency_CONSISTENCY_UNSPECIFIED, varvev1.Consistency_CONSISTENCY_ACCEPTED:
		return storage.Accepted, nil
	case varvev1.Consistency_CONSISTENCY_EVENTUAL:
		return storage.Eventual, nil
	}
	return 0, fmt.Errorf("consistency %d is unknown: %w", c, query.ErrBadRequest)
}
