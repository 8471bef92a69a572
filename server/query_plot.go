package server

import (
	"time"

	"google.golang.org/grpc"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/query"
)

func (s *queryService) ReadPlot(r *varvev1.ReadPlotRequest, stream grpc.ServerStreamingServer[varvev1.ArrowData]) error {
	q, err := askPlot(r)
	return s.stream(q, err, stream)
}

func askPlot(r *varvev1.ReadPlotRequest) (question, error) {
	req, err := plotRequest(r)
	return ask("read_plot", req, err, (*query.Engine).PlotSchema, (*query.Engine).ReadPlot)
}

func plotRequest(r *varvev1.ReadPlotRequest) (query.PlotRequest, error) {
	consistency, err := readOptions(r.Consistency, r.BatchRows)
	if err != nil {
		return query.PlotRequest{}, err
	}
	req := query.PlotRequest{
		Tags:  query.Tags{Names: r.Tags, IDs: tagIDs(r.TagIds), Expressions: r.Expressions},
		Start: r.StartNs, End: r.EndNs, Width: int(r.Width), LTTB: int(r.Lttb), UseUncertain: r.UseUncertain, AsOf: r.AsOfNs,
		Consistency: consistency, BatchRows: int(r.BatchRows), Unit: r.Unit,
	}
	if r.MaxGapNs != nil {
		gap := time.Duration(*r.MaxGapNs)
		req.MaxGap = &gap
	}
	return req, nil
}
