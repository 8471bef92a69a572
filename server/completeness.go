package server

import (
	"google.golang.org/grpc"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/query"
)

func (s *queryService) ReadCompleteness(r *varvev1.ReadCompletenessRequest, stream grpc.ServerStreamingServer[varvev1.ArrowData]) error {
	q, err := askCompleteness(r)
	return s.stream(q, err, stream)
}

func askCompleteness(r *varvev1.ReadCompletenessRequest) (question, error) {
	_, err := readOptions(varvev1.Consistency_CONSISTENCY_UNSPECIFIED, r.BatchRows)
	req := query.CompletenessRequest{
		Tags:     query.Tags{Names: r.Tags, IDs: tagIDs(r.TagIds)},
		Buckets:  query.Buckets{Start: r.StartNs, End: r.EndNs, Step: r.StepNs, Edges: r.EdgesNs, Every: r.Every, Zone: r.Zone, Calendar: []byte(r.Calendar)},
		Interval: r.IntervalNs, BySource: r.BySource, WithDurations: r.WithDurations, BatchRows: int(r.BatchRows),
	}
	return ask("read_completeness", req, err, (*query.Engine).CompletenessSchema, (*query.Engine).ReadCompleteness)
}
