package server

import (
	"fmt"

	"google.golang.org/grpc"

	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/query"
	"github.com/varvedb/varve/query/counter"
	"github.com/varvedb/varve/storage"
)

// queryService answers questions about samples.
type queryService struct {
	varvev1.UnimplementedQueryServiceServer
	*Server
}

func (s *queryService) ReadRange(r *varvev1.ReadRangeRequest, stream grpc.ServerStreamingServer[varvev1.ArrowData]) error {
	q, err := askRange(r)
	return s.stream(q, err, stream)
}

func askRange(r *varvev1.ReadRangeRequest) (question, error) {
	req, err := rangeRequest(r)
	return ask("read_range", req, err, (*query.Engine).RangeSchema, (*query.Engine).ReadRange)
}

func (s *queryService) ReadModified(r *varvev1.ReadModifiedRequest, stream grpc.ServerStreamingServer[varvev1.ArrowData]) error {
	q, err := askModified(r)
	return s.stream(q, err, stream)
}

func askModified(r *varvev1.ReadModifiedRequest) (question, error) {
	req, err := modifiedRequest(r)
	return ask("read_modified", req, err, (*query.Engine).ModifiedSchema, (*query.Engine).ReadModified)
}

func (s *queryService) Latest(r *varvev1.LatestRequest, stream grpc.ServerStreamingServer[varvev1.ArrowData]) error {
	q, err := askLatest(r)
	return s.stream(q, err, stream)
}

func askLatest(r *varvev1.LatestRequest) (question, error) {
	req, err := latestRequest(r)
	return ask("latest", req, err, (*query.Engine).LatestSchema, (*query.Engine).Latest)
}

func (s *queryService) ReadAggregates(r *varvev1.ReadAggregatesRequest, stream grpc.ServerStreamingServer[varvev1.ArrowData]) error {
	q, err := askAggregates(r)
	return s.stream(q, err, stream)
}

func askAggregates(r *varvev1.ReadAggregatesRequest) (question, error) {
	req, err := aggregatesRequest(r)
	return ask("read_aggregates", req, err, (*query.Engine).AggregatesSchema, (*query.Engine).ReadAggregates)
}

func (s *queryService) ReadProcessed(r *varvev1.ReadProcessedRequest, stream grpc.ServerStreamingServer[varvev1.ArrowData]) error {
	q, err := askProcessed(r)
	return s.stream(q, err, stream)
}

func askProcessed(r *varvev1.ReadProcessedRequest) (question, error) {
	req, err := processedRequest(r)
	return ask("read_processed", req, err, (*query.Engine).ProcessedSchema, (*query.Engine).ReadProcessed)
}

func processedRequest(r *varvev1.ReadProcessedRequest) (query.ProcessedRequest, error) {
	consistency, err := readOptions(r.Consistency, r.BatchRows)
	if err != nil {
		return query.ProcessedRequest{}, err
	}
	if n := len(r.Aggregates); n > query.MaxFunctions {
		return query.ProcessedRequest{}, fmt.Errorf("%d aggregates, most is %d: %w", n, query.MaxFunctions, query.ErrBadRequest)
	}
	req := query.ProcessedRequest{
		Tags:    query.Tags{Names: r.Tags, IDs: tagIDs(r.TagIds), Expressions: r.Expressions},
		Buckets: query.Buckets{Start: r.StartNs, End: r.EndNs, Step: r.StepNs, Edges: r.EdgesNs, Every: r.Every, Zone: r.Zone, Calendar: []byte(r.Calendar)}, Consistency: consistency,
		BatchRows: int(r.BatchRows), Configuration: configurationOf(r.TreatUncertainAsBad, r.PercentDataBad, r.PercentDataGood, r.UseSlopedExtrapolation),
		Stepped: r.Stepped, Resolution: r.TimeResolutionNs,
		Counter: counter.Limits{Highest: r.CounterHighest, Step: r.CounterStep}, Unit: r.Unit,
	}
	req.While = r.While
	if req.Fill, err = query.ParseFill(r.Fill, r.FillLimit); err != nil {
		return req, err
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
		Tags:    query.Tags{Names: r.Tags, IDs: tagIDs(r.TagIds), Expressions: r.Expressions},
		Buckets: query.Buckets{Start: r.StartNs, End: r.EndNs, Step: r.StepNs, Edges: r.EdgesNs, Every: r.Every, Zone: r.Zone, Calendar: []byte(r.Calendar)}, Consistency: consistency,
		BatchRows: int(r.BatchRows), UseUncertain: r.UseUncertain, Unit: r.Unit,
	}
	req.While = r.While
	if req.Fill, err = query.ParseFill(r.Fill, r.FillLimit); err != nil {
		return req, err
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

func modifiedRequest(r *varvev1.ReadModifiedRequest) (query.ModifiedRequest, error) {
	consistency, err := readOptions(r.Consistency, r.BatchRows)
	if err != nil {
		return query.ModifiedRequest{}, err
	}
	return query.ModifiedRequest{
		Tags:  query.Tags{Names: r.Tags, IDs: tagIDs(r.TagIds)},
		Start: r.StartNs, End: r.EndNs, Consistency: consistency, Limit: r.Limit, BatchRows: int(r.BatchRows), WithSeq: r.WithSeq,
		Unit: r.Unit,
	}, nil
}

func latestRequest(r *varvev1.LatestRequest) (query.LatestRequest, error) {
	consistency, err := consistencyOf(r.Consistency)
	return query.LatestRequest{Tags: query.Tags{Names: r.Tags, IDs: tagIDs(r.TagIds), Expressions: r.Expressions}, Consistency: consistency, Unit: r.Unit}, err
}

func rangeRequest(r *varvev1.ReadRangeRequest) (query.RangeRequest, error) {
	consistency, err := readOptions(r.Consistency, r.BatchRows)
	if err != nil {
		return query.RangeRequest{}, err
	}
	req := query.RangeRequest{
		Tags:  query.Tags{Names: r.Tags, IDs: tagIDs(r.TagIds), Expressions: r.Expressions},
		Start: r.GetStartNs(), End: r.GetEndNs(), OpenStart: r.StartNs == nil, OpenEnd: r.EndNs == nil,
		Consistency: consistency, Limit: r.Limit, BatchRows: int(r.BatchRows),
		WithSource: r.WithSource, WithSeq: r.WithSeq, WithGaps: r.WithGaps, AsOf: r.AsOfNs, Unit: r.Unit,
	}
	switch {
	case r.AfterTimeNs != nil:
		req.After = &query.Position{Time: *r.AfterTimeNs, Seq: r.AfterSeq}
	case r.AfterSeq != 0:
		return req, fmt.Errorf("after_seq %d without after_time_ns: %w", r.AfterSeq, query.ErrBadRequest)
	}
	if req.Bounds, err = boundsOf(r.Bounds); err != nil {
		return req, err
	}
	if req.Severities, err = severitiesOf(r.Severities); err != nil {
		return req, err
	}
	req.Where, err = comparisonsOf(r.Where)
	return req, err
}

func boundsOf(b varvev1.Bounds) (query.Bounds, error) {
	switch b {
	case varvev1.Bounds_BOUNDS_UNSPECIFIED, varvev1.Bounds_BOUNDS_NONE:
		return query.NoBounds, nil
	case varvev1.Bounds_BOUNDS_INSIDE:
		return query.Inside, nil
	case varvev1.Bounds_BOUNDS_OUTSIDE:
		return query.Outside, nil
	case varvev1.Bounds_BOUNDS_INTERPOLATED:
		return query.Interpolated, nil
	}
	return 0, fmt.Errorf("bounds %d are unknown: %w", b, query.ErrBadRequest)
}

func severitiesOf(severities []varvev1.Severity) (set query.Severities, err error) {
	for _, s := range severities {
		switch s {
		case varvev1.Severity_SEVERITY_GOOD:
			set |= query.SeverityGood
		case varvev1.Severity_SEVERITY_UNCERTAIN:
			set |= query.SeverityUncertain
		case varvev1.Severity_SEVERITY_BAD:
			set |= query.SeverityBad
		default:
			return 0, fmt.Errorf("severity %d is unknown: %w", s, query.ErrBadRequest)
		}
	}
	return set, nil
}

func comparisonsOf(in []*varvev1.Comparison) (out []query.Comparison, err error) {
	for _, c := range in {
		if c.Operator < 0 || c.Operator > varvev1.Comparison_OPERATOR_GREATER_OR_EQUAL {
			return nil, fmt.Errorf("operator %d is unknown: %w", c.Operator, query.ErrBadRequest)
		}
		x := query.Comparison{Operator: query.Operator(c.Operator)} // its numbers are those of the wire
		switch o := c.Operand.(type) {
		case *varvev1.Comparison_Number:
			x.Operand = o.Number
		case *varvev1.Comparison_Integer:
			x.Operand = o.Integer
		case *varvev1.Comparison_Text:
			x.Operand = o.Text
		}
		out = append(out, x)
	}
	return out, nil
}

func (s *queryService) ReadAtTimes(r *varvev1.ReadAtTimesRequest, stream grpc.ServerStreamingServer[varvev1.ArrowData]) error {
	q, err := askAtTimes(r)
	return s.stream(q, err, stream)
}

func askAtTimes(r *varvev1.ReadAtTimesRequest) (question, error) {
	req, err := atTimesRequest(r)
	return ask("read_at_times", req, err, (*query.Engine).AtTimesSchema, (*query.Engine).ReadAtTimes)
}

func atTimesRequest(r *varvev1.ReadAtTimesRequest) (query.AtTimesRequest, error) {
	consistency, err := readOptions(r.Consistency, r.BatchRows)
	if err != nil {
		return query.AtTimesRequest{}, err
	}
	return query.AtTimesRequest{
		Tags:  query.Tags{Names: r.Tags, IDs: tagIDs(r.TagIds), Expressions: r.Expressions},
		Times: r.TimesNs, Start: r.StartNs, End: r.EndNs, Every: r.EveryNs, Consistency: consistency, BatchRows: int(r.BatchRows),
		Stepped: r.Stepped, Discrete: r.Discrete, BridgeBad: r.BridgeBad, UseUncertain: r.UseUncertain, AsOf: r.AsOfNs, Unit: r.Unit,
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
