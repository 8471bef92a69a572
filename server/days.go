package server

import (
	"context"
	"time"

	"google.golang.org/grpc"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/query"
	"github.com/varvedb/varve/storage"
)

func (s *queryService) ListDays(ctx context.Context, r *varvev1.ListDaysRequest) (*varvev1.ListDaysResponse, error) {
	consistency, err := consistencyOf(r.Consistency)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	days, err := s.engine.ListDays(ctx, query.DaysRequest{Tags: query.Tags{Names: r.Tags, IDs: tagIDs(r.TagIds)}, Consistency: consistency})
	if err != nil {
		return nil, err
	}
	s.metrics.answered("list_days", uint64(len(days.Days)), time.Since(start))
	out := &varvev1.ListDaysResponse{Log: days.Log, Offset: days.Offset, Days: make([]*varvev1.StoredDay, len(days.Days))}
	for i, d := range days.Days {
		out.Days[i] = &varvev1.StoredDay{Day: d.Partition.Number, Changed: d.Changed}
	}
	return out, nil
}

func (s *queryService) HashDay(r *varvev1.HashDayRequest, stream grpc.ServerStreamingServer[varvev1.HashDayResponse]) error {
	consistency, err := consistencyOf(r.Consistency)
	if err != nil {
		return err
	}
	start, rows, out := time.Now(), uint64(0), &varvev1.HashDayResponse{}
	err = s.engine.HashDay(stream.Context(), query.DayRequest{IDs: tagIDs(r.TagIds), Day: r.Day, Consistency: consistency}, func(c storage.Content) error {
		out.Rows = append(out.Rows, &varvev1.DayHash{
			TagId: uint32(c.Tag), Samples: c.Samples, Versions: c.Versions, FirstNs: c.First, LastNs: c.Last, Hash: c.Hash,
		})
		rows++
		if len(out.Rows) < hashesPerMessage {
			return nil
		}
		full := out
		out = &varvev1.HashDayResponse{}
		return stream.Send(full)
	})
	s.metrics.answered("hash_day", rows, time.Since(start))
	if err == nil && len(out.Rows) > 0 {
		err = stream.Send(out)
	}
	return err
}
