package server

import (
	"google.golang.org/grpc"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/query"
)

func (s *queryService) ReadTimeInState(r *varvev1.ReadTimeInStateRequest, stream grpc.ServerStreamingServer[varvev1.ArrowData]) error {
	q, err := askStates(r)
	return s.stream(q, err, stream)
}

func askStates(r *varvev1.ReadTimeInStateRequest) (question, error) {
	req, err := statesRequest(r)
	return ask("read_time_in_state", req, err, (*query.Engine).StatesSchema, (*query.Engine).ReadTimeInState)
}

func statesRequest(r *varvev1.ReadTimeInStateRequest) (query.StatesRequest, error) {
	consistency, err := readOptions(r.Consistency, r.BatchRows)
	if err != nil {
		return query.StatesRequest{}, err
	}
	return query.StatesRequest{
		Tags:         query.Tags{Names: r.Tags, IDs: tagIDs(r.TagIds), Expressions: r.Expressions},
		Buckets:      query.Buckets{Start: r.StartNs, End: r.EndNs, Step: r.StepNs, Edges: r.EdgesNs, Every: r.Every, Zone: r.Zone, Calendar: []byte(r.Calendar)},
		UseUncertain: r.UseUncertain, While: r.While, Consistency: consistency, BatchRows: int(r.BatchRows),
	}, nil
}
