package server

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// What a collector says makes time behind the newest sample unchanged, and what is later than that buffered, over both doors.
func TestCompletenessOverBothDoors(t *testing.T) {
	s := startWeb(t, Options{})
	for _, tag := range []string{"a", "b"} {
		s.write(t, &varvev1.Run{Tag: tag, TimesNs: []int64{5e9, 25e9}, Float64: []float64{1, 2}})
	}
	ctx := testContext(t)
	gaps := varvev1.NewGapServiceClient(s.conn)
	said, err := gaps.ReportCollecting(ctx, &varvev1.ReportCollectingRequest{Source: "plant.line", List: 5, ThroughNs: 40e9})
	require.NoError(t, err)
	require.False(t, said.Known)
	said, err = gaps.ReportCollecting(ctx, &varvev1.ReportCollectingRequest{Source: "plant.line", List: 5, Tags: []string{"b", "nobody"}, ThroughNs: 35e9})
	require.NoError(t, err)
	require.True(t, said.Known)
	require.EqualValues(t, 1, said.UnknownTags)
	said, err = gaps.ReportCollecting(ctx, &varvev1.ReportCollectingRequest{Source: "plant.line", List: 5, ThroughNs: 40e9})
	require.NoError(t, err)
	require.True(t, said.Known)

	r := &varvev1.ReadCompletenessRequest{Tags: []string{"a", "b"}, StartNs: 5e9, EndNs: 45e9, StepNs: 20e9}
	b, err := ipcBytes(varvev1.NewQueryServiceClient(s.conn).ReadCompleteness(ctx, r))
	require.NoError(t, err)
	requireSameOverFlight(t, s.running, b, &varvev1.FlightQuestion{Question: &varvev1.FlightQuestion_Completeness{Completeness: r}}, 4)
	web := s.get(t, "read=completeness&tags=b&start=1970-01-01T00:00:05Z&end=1970-01-01T00:00:45Z&interval=10s&format=csv")
	require.Contains(t, web.body, "b,plant.line,1970-01-01T00:00:05Z,1970-01-01T00:00:45Z,87.5,50,37.5,0,0,0,0,12.5,0,2,")

	for _, bad := range []*varvev1.ReadCompletenessRequest{
		{Tags: r.Tags}, {EndNs: 4e9}, {Tags: r.Tags, EndNs: 4e9, IntervalNs: -1}, {Tags: r.Tags, StartNs: 9, EndNs: 4}, {Tags: r.Tags, EndNs: 4e9, BatchRows: 1 << 21},
		{Tags: r.Tags, EndNs: 4e9, BySource: true, WithDurations: true},
	} {
		_, err := ipcBytes(varvev1.NewQueryServiceClient(s.conn).ReadCompleteness(ctx, bad))
		require.Equal(t, codes.InvalidArgument, status.Code(err), "%v", bad)
	}
	for _, bad := range []*varvev1.ReportCollectingRequest{
		{List: 1}, {Source: "x"}, {Source: "x", List: 1, ThroughNs: -1 << 63}, {Source: fmt.Sprintf("%257d", 1), List: 1},
	} {
		_, err := gaps.ReportCollecting(ctx, bad)
		require.Equal(t, codes.InvalidArgument, status.Code(err), "%v", bad)
	}
	_, err = gaps.ReportCollecting(ctx, &varvev1.ReportCollectingRequest{Source: "x", List: 1, Tags: make([]string, 10_001)})
	require.Error(t, err)
}

// A tag has the word of whoever named it last; what was said of one that is named no more stays as it was; lists are bounded.
func TestCollectingIsWhatWasSaidLast(t *testing.T) {
	c := newCollecting()
	of := func(tag model.TagID) string {
		x, ok := c.of(tag)
		return fmt.Sprint(x.Source, " ", x.Through, " ", ok)
	}
	a, b := listName{"a", 0}, listName{"b", 0}
	require.False(t, c.again(a, 1, 5))
	c.report(a, 1, []model.TagID{1, 2}, 5)
	require.True(t, c.again(a, 1, 6))
	require.False(t, c.again(a, 2, 7))
	require.Equal(t, []string{"a 6 true", "a 6 true", " 0 false"}, []string{of(1), of(2), of(3)})
	c.report(a, 2, []model.TagID{2, 3}, 8)
	require.True(t, c.again(a, 2, 9))
	require.Equal(t, []string{"a 6 true", "a 9 true", "a 9 true"}, []string{of(1), of(2), of(3)})
	c.report(b, 1, []model.TagID{2}, 4)
	require.Equal(t, "b 4 true", of(2))
	for i := range maxCollectedLists {
		c.report(listName{"x", uint32(i)}, 1, nil, 1)
	}
	require.Len(t, c.lists, maxCollectedLists)
	require.False(t, c.again(a, 2, 10), "it is forgotten for what was said later")
	require.True(t, c.again(listName{"x", 0}, 1, 2))
	require.Equal(t, "a 9 true", of(3))
}
