package main

import (
	"context"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// measureFirst asks each question about aggregates as the first one of a server that has just started on a sealed store,
// again and again. The system has in memory what it likes of the files; the server has to read, check and decode them.
func measureFirst(ctx context.Context, binary, data string, o *options) ([]*queryReport, error) {
	var reports []*queryReport
	for _, q := range bucketQuestions(o) {
		t := timing{name: "first " + q.name + ", gRPC", rows: q.rows()}
		for range o.Repeat {
			if err := t.first(ctx, binary, data, o, &q); err != nil {
				return nil, err
			}
		}
		reports = append(reports, t.report())
	}
	return reports, nil
}

// first starts a server, asks it one question over a connection that is there, and stops it.
func (t *timing) first(ctx context.Context, binary, data string, o *options, q *bucketQuestion) error {
	s, err := startServer(ctx, binary, data, o.ServerArgs)
	if err != nil {
		return err
	}
	defer s.kill()
	conn, err := dial(s.address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := varvev1.NewAdminServiceClient(conn).Status(ctx, &varvev1.StatusRequest{}); err != nil {
		return err
	}
	door := grpcDoor(conn, varvev1.QueryService_ReadAggregates_FullMethodName)
	ask := func(ctx context.Context, visit visitor) error { return door(ctx, q.request, visit) }
	asked := len(t.took)
	if err := t.measure(ctx, s, ask, func() bool { return len(t.took) == asked }); err != nil {
		return err
	}
	_, err = s.stop()
	return err
}
