package server

import (
	"fmt"

	"google.golang.org/grpc"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/query"
	"github.com/varvedb/varve/query/part13"
)

func (s *queryService) ReadWide(r *varvev1.ReadWideRequest, stream grpc.ServerStreamingServer[varvev1.ArrowData]) error {
	q, err := askWide(r)
	return s.stream(q, err, stream)
}

func askWide(r *varvev1.ReadWideRequest) (question, error) {
	req, err := wideRequest(r)
	return ask("read_wide", req, err, (*query.Engine).WideSchema, (*query.Engine).ReadWide)
}

func wideRequest(r *varvev1.ReadWideRequest) (query.WideRequest, error) {
	consistency, err := readOptions(r.Consistency, r.BatchRows)
	if err != nil {
		return query.WideRequest{}, err
	}
	req := query.WideRequest{
		Tags:        query.Tags{Names: r.Tags, IDs: tagIDs(r.TagIds), Expressions: r.Expressions},
		Buckets:     query.Buckets{Start: r.StartNs, End: r.EndNs, Step: r.StepNs, Every: r.Every, Zone: r.Zone, Calendar: []byte(r.Calendar)},
		OnSamplesOf: r.OnSamplesOf, Consistency: consistency, BatchRows: int(r.BatchRows), WithQuality: r.WithQuality,
		MaxAge: r.MaxAgeNs, AsOf: r.AsOfNs, Stepped: r.Stepped, BridgeBad: r.BridgeBad, UseUncertain: r.UseUncertain,
		Resolution: r.TimeResolutionNs, Unit: r.Unit,
	}
	req.While = r.While
	if req.Fill, err = query.ParseFill(r.Fill, r.FillLimit); err != nil {
		return req, err
	}
	if req.Mode, err = wideMode(r.Mode); err != nil || r.Aggregate == "" {
		return req, err
	}
	if f, ok := part13.Parse(r.Aggregate); ok {
		bad := !r.UseUncertain
		req.Function, req.Configuration = f, configurationOf(&bad, r.PercentDataBad, r.PercentDataGood, r.UseSlopedExtrapolation)
		return req, nil
	}
	req.Aggregate, err = query.ParseAggregate(r.Aggregate)
	return req, err
}

func wideMode(m varvev1.ReadWideRequest_Mode) (query.WideMode, error) {
	switch m {
	case varvev1.ReadWideRequest_MODE_UNSPECIFIED, varvev1.ReadWideRequest_MODE_ASOF:
		return query.WideAsOf, nil
	case varvev1.ReadWideRequest_MODE_INTERPOLATED:
		return query.WideInterpolated, nil
	case varvev1.ReadWideRequest_MODE_AGGREGATE:
		return query.WideAggregate, nil
	}
	return 0, fmt.Errorf("mode %d is unknown: %w", m, query.ErrBadRequest)
}
