package server

import (
	"context"
	"time"

	"google.golang.org/grpc"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/query"
)

func (s *queryService) ReadPlot(r *varvev1.ReadPlotRequest, stream grpc.ServerStreamingServer[varvev1.ArrowData]) error {
	req, err := plotRequest(r)
	if err != nil {
		return err
	}
	out := newArrowSender(stream, &s.buffers)
	return out.end(s.readPlot(stream.Context(), "read_plot", req, out))
}

// readPlot is readRange for plots.
func (s *Server) readPlot(ctx context.Context, door string, req query.PlotRequest, sink query.Sink) error {
	start := time.Now()
	rows, err := s.engine.ReadPlot(ctx, req, sink)
	s.metrics.answered(door, rows, time.Since(start))
	return err
}

func plotRequest(r *varvev1.ReadPlotRequest) (query.PlotRequest, error) {
	consistency, err := readOptions(r.Consistency, r.BatchRows)
	if err != nil {
		return query.PlotRequest{}, err
	}
	req := query.PlotRequest{
		Tags:  query.Tags{Names: r.Tags, IDs: tagIDs(r.TagIds)},
		Start: r.StartNs, End: r.EndNs, Width: int(r.Width), LTTB: int(r.Lttb), UseUncertain: r.UseUncertain, AsOf: r.AsOfNs,
		Consistency: consistency, BatchRows: int(r.BatchRows),
	}
	if r.MaxGapNs != nil {
		gap := time.Duration(*r.MaxGapNs)
		req.MaxGap = &gap
	}
	return req, nil
}
