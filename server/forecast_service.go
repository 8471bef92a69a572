package server

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/query"
	"github.com/varvedb/varve/storage"
)

// forecastService keeps forecast runs.
type forecastService struct {
	varvev1.UnimplementedForecastServiceServer
	*Server
}

func (s *forecastService) PutForecast(ctx context.Context, r *varvev1.PutForecastRequest) (*varvev1.PutForecastResponse, error) {
	author, err := authorOf(ctx, r.Author)
	if err != nil {
		return nil, err
	}
	if r.Samples == nil {
		return nil, fmt.Errorf("a forecast run has samples: %w", errBadField)
	}
	tag, err := s.findTag(r.Samples.Tag, r.Samples.TagId)
	if err != nil {
		return nil, err
	}
	if tag.Retyped() {
		return nil, fmt.Errorf("tag %s: its type changed, and there are no new forecasts of such a tag: %w", tag.Name, errBadField)
	}
	samples, err := runSamples(r.Samples, tag)
	if err != nil {
		return nil, fmt.Errorf("forecast run of tag %s: %w", tag.Name, err)
	}
	changed, err := s.db.PutForecast(ctx, tag.ID, r.IssuedNs, r.Model, author, samples)
	if err != nil {
		return nil, err
	}
	return &varvev1.PutForecastResponse{Changed: changed}, nil
}

// runSamples is the samples of a forecast run. Whatever is wrong with one refuses the run.
func runSamples(r *varvev1.Run, tag *model.Tag) (*model.Samples, error) {
	if r.Mode != 0 || r.All || len(r.Seq) > 0 {
		return nil, fmt.Errorf("mode, all and seq are for samples of the tag itself: %w", errBadField)
	}
	b, err := proto.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode run: %w", err)
	}
	var wire wireRun
	if err := wire.parse(b); err != nil {
		return nil, err
	}
	typ := tag.Current().Type
	j := newJudge(door{}, model.Update)
	n, f := wire.samples()
	if f.code == 0 && (n < 1 || n > storage.MaxRunSamples) {
		f = malformed("%d samples, least is 1, most is %d", n, storage.MaxRunSamples)
	}
	if f.code == 0 {
		f = wire.check(model.Update, typ, n)
	}
	out := &model.Samples{}
	if f.code == 0 {
		f = j.decodeRun(&wire, typ, model.Update, n, out)
	}
	if f.code != 0 {
		return nil, fmt.Errorf("%s: %w", f.reason(), errBadField)
	}
	for i, b := range out.Blobs {
		if len(b) > model.MaxBlobBytes {
			return nil, fmt.Errorf("value %d has %d bytes, most is %d: %w", i, len(b), model.MaxBlobBytes, errBadField)
		}
	}
	return out, nil
}

func (s *forecastService) ListForecasts(ctx context.Context, r *varvev1.ListForecastsRequest) (*varvev1.ListForecastsResponse, error) {
	issued := model.All
	if r.IssuedFromNs != nil {
		issued.Start = *r.IssuedFromNs
	}
	if r.IssuedToNs != nil {
		issued.End = *r.IssuedToNs
	}
	switch {
	case r.PageSize > maxPageSize:
		return nil, fmt.Errorf("page_size is %d, most is %d: %w", r.PageSize, maxPageSize, errBadField)
	case issued.Start < model.MinTime || issued.Empty():
		return nil, fmt.Errorf("issue times from %d to %d: the end must be later: %w", issued.Start, issued.End, errBadField)
	case len(r.Models) > query.MaxForecastModels:
		return nil, fmt.Errorf("%d models, most is %d: %w", len(r.Models), query.MaxForecastModels, errBadField)
	case len(r.Tags)+len(r.TagIds) > query.MaxForecastTags:
		return nil, fmt.Errorf("%d tags, most is %d: %w", len(r.Tags)+len(r.TagIds), query.MaxForecastTags, errBadField)
	}
	tags, err := s.tagIDs(r.Tags, r.TagIds, 1)
	if err != nil {
		return nil, fmt.Errorf("forecasts: %w", err)
	}
	slices.Sort(tags)
	last, err := parseForecastToken(r.PageToken)
	if err != nil {
		return nil, err
	}
	view, err := s.db.View(ctx, storage.Accepted)
	if err != nil {
		return nil, err
	}
	defer view.Close()
	limit, size := cmp.Or(int(r.PageSize), defaultPageSize), 0
	out := &varvev1.ListForecastsResponse{}
	for _, tag := range slices.Compact(tags) {
		q := storage.ForecastQuery{Tag: tag, Issued: issued, Models: r.Models, Replaced: r.Replaced}
		switch cmp.Compare(tag, last.tag) {
		case -1:
			continue
		case 0:
			if q.Issued.End = min(q.Issued.End, last.issued+1); q.Issued.Empty() {
				continue
			}
		}
		for run, err := range view.Forecasts(ctx, q) {
			if err != nil {
				return nil, err
			}
			if tag == last.tag && run.Issued == last.issued && run.Offset >= last.offset {
				continue
			}
			if len(out.Runs) == limit || size >= pageBytes {
				out.NextPageToken = last.String()
				return out, nil
			}
			wire := s.forecastToWire(run)
			out.Runs = append(out.Runs, wire)
			size += proto.Size(wire)
			last = forecastToken{tag, run.Issued, run.Offset}
		}
	}
	return out, nil
}

func (s *Server) forecastToWire(r *storage.ForecastRun) *varvev1.ForecastRun {
	out := &varvev1.ForecastRun{
		TagId: uint32(r.Tag), IssuedNs: r.Issued, Model: r.Model, FirstNs: r.First, LastNs: r.Last, Samples: uint32(r.Samples),
		IngestNs: r.Ingest, Author: r.Author, ReplacedNs: r.Replaced,
	}
	if tag, ok := s.db.Catalog().Tag(r.Tag); ok {
		out.Tag = tag.Name
	}
	return out
}

// forecastToken is the run that a page ends with, and zero in front of the first.
type forecastToken struct {
	tag    model.TagID
	issued int64
	offset uint64
}

func (t forecastToken) String() string { return fmt.Sprintf("%d/%d/%d", t.tag, t.issued, t.offset) }

func parseForecastToken(text string) (t forecastToken, err error) {
	if text == "" {
		return t, nil
	}
	if _, err := fmt.Sscanf(text, "%d/%d/%d", &t.tag, &t.issued, &t.offset); err != nil || t.String() != text || t.issued == math.MaxInt64 {
		return t, fmt.Errorf("page_token %.80q: must be the next_page_token of the page before: %w", text, errBadField)
	}
	return t, nil
}

func (s *queryService) ReadForecast(r *varvev1.ReadForecastRequest, stream grpc.ServerStreamingServer[varvev1.ArrowData]) error {
	q, err := askForecast(r)
	return s.stream(q, err, stream)
}

func askForecast(r *varvev1.ReadForecastRequest) (question, error) {
	req, err := forecastRequest(r)
	return ask("read_forecast", req, err, (*query.Engine).ForecastSchema, (*query.Engine).ReadForecast)
}

func (s *queryService) CompareForecast(r *varvev1.CompareForecastRequest, stream grpc.ServerStreamingServer[varvev1.ArrowData]) error {
	q, err := askComparison(r)
	return s.stream(q, err, stream)
}

func askComparison(r *varvev1.CompareForecastRequest) (question, error) {
	req, err := comparisonRequest(r)
	return ask("compare_forecast", req, err, (*query.Engine).ComparisonSchema, (*query.Engine).CompareForecast)
}

func forecastRequest(r *varvev1.ReadForecastRequest) (query.ForecastRuns, error) {
	consistency, err := readOptions(r.GetConsistency(), r.GetBatchRows())
	if err != nil {
		return query.ForecastRuns{}, err
	}
	req := query.ForecastRuns{
		Tags: query.Tags{Names: r.GetTags(), IDs: tagIDs(r.GetTagIds())}, Pick: cmp.Or(query.Pick(r.GetPick()), query.NewestRun), Models: r.GetModels(),
		Start: model.All.Start, End: model.All.End, IssuedFrom: r.GetIssuedFromNs(), IssuedTo: r.GetIssuedToNs(), Lead: r.GetLeadNs(),
		Known: r.GetKnownNs(), Consistency: consistency, BatchRows: int(r.GetBatchRows()),
	}
	if r.GetPick() != varvev1.ForecastPick_FORECAST_PICK_EACH {
		if req.IssuedTo != 0 {
			return req, fmt.Errorf("issued_to_ns is for every run of a range, elsewhere it is as_of_ns: %w", query.ErrBadRequest)
		}
		if r != nil && r.AsOfNs != nil {
			if *r.AsOfNs > model.MaxTime || *r.AsOfNs < model.MinTime {
				return req, fmt.Errorf("as_of_ns is %d: %w", *r.AsOfNs, query.ErrBadRange)
			}
			req.AsOf = r.AsOfNs
		}
	} else if r.AsOfNs != nil {
		return req, fmt.Errorf("as_of_ns beside a range of issue times: %w", query.ErrBadRequest)
	}
	if r != nil && r.StartNs != nil {
		req.Start = *r.StartNs
	}
	if r != nil && r.EndNs != nil {
		req.End = *r.EndNs
	}
	return req, nil
}

func comparisonRequest(r *varvev1.CompareForecastRequest) (query.ForecastComparison, error) {
	req, err := forecastRequest(r.Forecast)
	return query.ForecastComparison{ForecastRuns: req, UseUncertain: r.UseUncertain, Summary: r.Summary}, err
}
