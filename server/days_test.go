package server

import (
	"io"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

func (s *running) hashDay(t *testing.T, r *varvev1.HashDayRequest) (rows []*varvev1.DayHash, err error) {
	stream, err := varvev1.NewQueryServiceClient(s.conn).HashDay(testContext(t), r)
	require.NoError(t, err)
	for {
		m, err := stream.Recv()
		if err == io.EOF {
			return rows, nil
		}
		if err != nil {
			return nil, err
		}
		rows = append(rows, m.Rows...)
	}
}

// TestDaysOverTheDoor asks what changed after a late edit: the day it lies in, and there the tag.
func TestDaysOverTheDoor(t *testing.T) {
	const day = 86400e9
	s := start(t, Options{})
	ctx := testContext(t)
	client, admin := varvev1.NewQueryServiceClient(s.conn), varvev1.NewAdminServiceClient(s.conn)
	s.write(t, floats("a", 0, 1, 2), floats("a", 2*day, 3), floats("b", 5e9, 4), floats("c", -1e9, 4))
	_, err := admin.Flush(ctx, &varvev1.FlushRequest{})
	require.NoError(t, err)
	ask := &varvev1.ListDaysRequest{Tags: []string{"a"}, TagIds: []uint32{2}}
	before, err := client.ListDays(ctx, ask)
	require.NoError(t, err)
	require.Len(t, before.Log, 32)
	require.Len(t, before.Days, 2)
	old, err := s.hashDay(t, &varvev1.HashDayRequest{TagIds: []uint32{2, 1, 3}})
	require.NoError(t, err)
	require.Len(t, old, 2)
	require.Equal(t, []uint32{2, 1}, []uint32{old[0].TagId, old[1].TagId})
	require.EqualValues(t, 2, old[1].Samples)
	require.EqualValues(t, 1e9, old[1].LastNs)
	for _, d := range before.Days {
		require.LessOrEqual(t, d.Changed, before.Offset)
	}

	s.write(t, floats("a", 1e9, 2.5))
	after, err := client.ListDays(ctx, ask)
	require.NoError(t, err)
	require.Equal(t, before.Log, after.Log)
	var changed []int32
	for _, d := range after.Days {
		if d.Changed > before.Offset {
			changed = append(changed, d.Day)
		}
	}
	require.Equal(t, []int32{0}, changed)
	now, err := s.hashDay(t, &varvev1.HashDayRequest{TagIds: []uint32{2, 1}})
	require.NoError(t, err)
	require.Equal(t, old[0].Hash, now[0].Hash)
	require.NotEqual(t, old[1].Hash, now[1].Hash)

	_, err = s.hashDay(t, &varvev1.HashDayRequest{})
	requireCode(t, codes.InvalidArgument, err, "no tag")
	_, err = s.hashDay(t, &varvev1.HashDayRequest{TagIds: []uint32{99}})
	requireCode(t, codes.NotFound, err, "id 99")
	_, err = client.ListDays(ctx, &varvev1.ListDaysRequest{Tags: []string{"nowhere"}})
	requireCode(t, codes.NotFound, err, "nowhere")
	_, err = client.ListDays(ctx, &varvev1.ListDaysRequest{TagIds: []uint32{1}, Consistency: 9})
	requireCode(t, codes.InvalidArgument, err, "consistency")
}
