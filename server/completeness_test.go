package server

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

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

// A collector gets the exception filters of the tags that it reads, by their places, when they are others than it has, and none where it asks for none.
func TestCollectorsGetExceptions(t *testing.T) {
	s := start(t, Options{})
	for _, tag := range []string{"a", "b", "c"} {
		s.write(t, &varvev1.Run{Tag: tag, TimesNs: []int64{5e9}, Float64: []float64{1}})
	}
	ctx := testContext(t)
	gaps, tags := varvev1.NewGapServiceClient(s.conn), varvev1.NewCatalogServiceClient(s.conn)
	report := func(has *uint64, names ...string) *varvev1.ReportCollectingResponse {
		a, err := gaps.ReportCollecting(ctx, &varvev1.ReportCollectingRequest{Source: "plant.line", List: 5, Tags: names, ThroughNs: 40e9, Exceptions: has})
		require.NoError(t, err)
		return a
	}
	update := func(r *varvev1.UpdateTagRequest) {
		_, err := tags.UpdateTag(ctx, r)
		require.NoError(t, err)
	}
	require.Zero(t, report(new(uint64), nil...).Exceptions, "the list is not known")
	require.Zero(t, report(nil, "a", "nobody", "b", "c").Exceptions, "they were not asked for")
	none := report(new(uint64))
	require.NotZero(t, none.Exceptions)
	require.Empty(t, none.Tags)
	update(&varvev1.UpdateTagRequest{Name: "b", Exception: &varvev1.Filter{Deviation: 0.5, MinTimeNs: 1, MaxTimeNs: 6e9}})
	update(&varvev1.UpdateTagRequest{Name: "c", Exception: &varvev1.Filter{Deviation: 2}, Settings: &varvev1.Settings{Stepped: true, MaxGapNs: 7e9}})
	some := report(&none.Exceptions)
	want := []*varvev1.TagException{
		{Tag: 2, Exception: &varvev1.Filter{Deviation: 0.5, MinTimeNs: 1, MaxTimeNs: 6e9}},
		{Tag: 3, Exception: &varvev1.Filter{Deviation: 2, MaxTimeNs: 7e9}, Stepped: true}, // never longer than its longest gap
	}
	require.Len(t, some.Tags, len(want))
	for i, x := range want {
		require.True(t, proto.Equal(x, some.Tags[i]), "%v", some.Tags[i])
	}
	require.Empty(t, report(&some.Exceptions).Tags, "they are the same")
	require.Len(t, report(&none.Exceptions).Tags, 2)
	_, err := tags.RenameTag(ctx, &varvev1.RenameTagRequest{Name: "b", NewName: "d"})
	require.NoError(t, err)
	require.Equal(t, some.Exceptions, report(&some.Exceptions, "a", "nobody", "b", "c").Exceptions, "by the name that the collector has")
	update(&varvev1.UpdateTagRequest{Name: "d", Exception: &varvev1.Filter{}})
	less := report(&some.Exceptions)
	require.Len(t, less.Tags, 1)
	require.NotEqual(t, some.Exceptions, less.Exceptions)
}

// A tag has the word of whoever named it last; what was said of one that is named no more stays as it was; lists are bounded.
func TestCollectingIsWhatWasSaidLast(t *testing.T) {
	c := newCollecting()
	of := func(tag model.TagID) string {
		x, ok := c.of(tag)
		return fmt.Sprint(x.Source, " ", x.Through, " ", ok)
	}
	a, b := listName{"a", 0}, listName{"b", 0}
	again := func(l listName, number uint64, through int64) bool { _, ok := c.again(l, number, through); return ok }
	require.False(t, again(a, 1, 5))
	c.report(a, 1, []model.TagID{1, 2}, 5)
	require.True(t, again(a, 1, 6))
	require.False(t, again(a, 2, 7))
	require.Equal(t, []string{"a 6 true", "a 6 true", " 0 false"}, []string{of(1), of(2), of(3)})
	c.report(a, 2, []model.TagID{2, 3}, 8)
	require.True(t, again(a, 2, 9))
	require.Equal(t, []string{"a 6 true", "a 9 true", "a 9 true"}, []string{of(1), of(2), of(3)})
	c.report(b, 1, []model.TagID{2}, 4)
	require.Equal(t, "b 4 true", of(2))
	for i := range maxCollectedLists {
		c.report(listName{"x", uint32(i)}, 1, nil, 1)
	}
	require.Len(t, c.lists, maxCollectedLists)
	require.False(t, again(a, 2, 10), "it is forgotten for what was said later")
	require.True(t, again(listName{"x", 0}, 1, 2))
	require.Equal(t, "a 9 true", of(3))
}
