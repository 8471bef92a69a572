package server

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

func TestAGapIsReportedEndedAndWithdrawn(t *testing.T) {
	s, _ := annotated(t)
	c := varvev1.NewGapServiceClient(s.conn)
	ctx := testContext(t)
	report := &varvev1.RecordGapsRequest{Tags: []string{"a", "b"}, Kind: varvev1.GapKind_GAP_KIND_LOST, StartNs: 6e9, Source: "plc", Author: "ann", Reason: "disk"}
	made, err := c.RecordGaps(ctx, report)
	require.NoError(t, err)
	require.Equal(t, uint32(2), made.Recorded)
	again, err := c.RecordGaps(ctx, report)
	require.NoError(t, err)
	require.Zero(t, again.Recorded)
	end := &varvev1.EndGapsRequest{Tags: []string{"a"}, EndNs: 20e9, Source: "dcs", Author: "lee", Reason: "mended"}
	ended, err := c.EndGaps(ctx, end)
	require.NoError(t, err)
	require.Zero(t, ended.Ended, "the gap is of another source")
	end.Source = "plc"
	ended, err = c.EndGaps(ctx, end)
	require.NoError(t, err)
	require.Equal(t, uint32(1), ended.Ended)
	list := func(withdrawn bool, tags ...string) []*varvev1.Gap {
		page, err := c.ListGaps(ctx, &varvev1.ListGapsRequest{Tags: tags, Withdrawn: withdrawn})
		require.NoError(t, err)
		return page.Gaps
	}
	gaps := list(false, "b", "a")
	require.Len(t, gaps, 2)
	require.Equal(t, []any{"a", made.Id, int64(6e9), int64(20e9), "ann", "disk", "lee", "mended", "plc", varvev1.GapKind_GAP_KIND_LOST},
		[]any{gaps[0].Tag, gaps[0].Id, gaps[0].StartNs, gaps[0].GetEndNs(), gaps[0].Author, gaps[0].Reason, gaps[0].ChangedBy, gaps[0].ChangedReason, gaps[0].Source, gaps[0].Kind})
	require.Nil(t, gaps[1].EndNs)
	gone, err := c.WithdrawGaps(ctx, &varvev1.WithdrawGapsRequest{Id: made.Id, Tags: []string{"b"}, Author: "lee"})
	require.NoError(t, err)
	require.Equal(t, uint32(1), gone.Withdrawn)
	require.Empty(t, list(false, "b"))
	require.True(t, list(true, "b")[0].Withdrawn)
	_, err = c.WithdrawGaps(ctx, &varvev1.WithdrawGapsRequest{Id: made.Id, Tags: []string{"b"}, Author: "lee"})
	requireCode(t, codes.NotFound, err, fmt.Sprintf("gap %d: no gap stands", made.Id))
	gone, err = c.WithdrawGaps(ctx, &varvev1.WithdrawGapsRequest{Id: made.Id, Author: "lee"})
	require.NoError(t, err)
	require.Equal(t, uint32(1), gone.Withdrawn)
}

func TestGapsAreRefused(t *testing.T) {
	s, _ := annotated(t)
	c := varvev1.NewGapServiceClient(s.conn)
	ctx := testContext(t)
	good := &varvev1.RecordGapsRequest{
		Tags: []string{"a"}, Kind: varvev1.GapKind_GAP_KIND_QUARANTINED, StartNs: 5, EndNs: proto.Int64(9), Source: strings.Repeat("s", 256), Author: "ann", Reason: strings.Repeat("x", 1024),
	}
	_, err := c.RecordGaps(ctx, good)
	require.NoError(t, err)
	for text, bad := range map[string]func(r *varvev1.RecordGapsRequest){
		"kind of gap 0":   func(r *varvev1.RecordGapsRequest) { r.Kind = 0 },
		"kind of gap 6":   func(r *varvev1.RecordGapsRequest) { r.Kind = 6 },
		"most is 1024":    func(r *varvev1.RecordGapsRequest) { r.Reason += "x" },
		"most is 256":     func(r *varvev1.RecordGapsRequest) { r.Source += "x" },
		"author is empty": func(r *varvev1.RecordGapsRequest) { r.Author = "" },
		"from 5 to 5":     func(r *varvev1.RecordGapsRequest) { r.EndNs = proto.Int64(5) },
		"from -9223372":   func(r *varvev1.RecordGapsRequest) { r.StartNs = math.MinInt64 },
		"leave it out":    func(r *varvev1.RecordGapsRequest) { r.EndNs = proto.Int64(math.MaxInt64) },
		"0 tags":          func(r *varvev1.RecordGapsRequest) { r.Tags = nil },
	} {
		r := proto.Clone(good).(*varvev1.RecordGapsRequest)
		bad(r)
		_, err := c.RecordGaps(ctx, r)
		requireCode(t, codes.InvalidArgument, err, text)
	}
	_, err = c.RecordGaps(ctx, &varvev1.RecordGapsRequest{Tags: []string{"nobody"}, Kind: 1, EndNs: proto.Int64(9), Author: "ann"})
	requireCode(t, codes.NotFound, err, "nobody")
	_, err = c.EndGaps(ctx, &varvev1.EndGapsRequest{Tags: []string{"a"}, EndNs: math.MinInt64, Author: "ann"})
	requireCode(t, codes.InvalidArgument, err, "end of gaps")
	_, err = c.EndGaps(ctx, &varvev1.EndGapsRequest{Tags: []string{"a"}, Source: strings.Repeat("s", 257), Author: "ann"})
	requireCode(t, codes.InvalidArgument, err, "source has 257 bytes")
	_, err = c.WithdrawGaps(ctx, &varvev1.WithdrawGapsRequest{Id: 1, Tags: make([]string, 10_001), Author: "ann"})
	requireCode(t, codes.ResourceExhausted, err, "most is 10000")
	for _, r := range []*varvev1.ListGapsRequest{
		{}, {Tags: []string{"a"}, PageSize: 10_001}, {Tags: []string{"a"}, StartNs: proto.Int64(5), EndNs: proto.Int64(5)},
		{Tags: []string{"a"}, PageToken: "1/2"}, {Tags: []string{"a"}, PageToken: "1/2/3 "},
	} {
		_, err := c.ListGaps(ctx, r)
		requireCode(t, codes.InvalidArgument, err, "")
	}
	_, err = ipcBytes(varvev1.NewQueryServiceClient(s.conn).ReadRange(ctx, &varvev1.ReadRangeRequest{
		Tags: []string{"a"}, StartNs: proto.Int64(0), EndNs: proto.Int64(9), Limit: 1, WithGaps: true,
	}))
	requireCode(t, codes.InvalidArgument, err, "no samples to be counted")
}

// TestGapsComeInPages: whatever the size of pages, and however long the reasons, all come once and in order.
func TestGapsComeInPages(t *testing.T) {
	s, _ := annotated(t)
	c := varvev1.NewGapServiceClient(s.conn)
	ctx := testContext(t)
	var want []string
	for i := range 300 {
		r := &varvev1.RecordGapsRequest{Tags: []string{"a", "b"}, Kind: 1, StartNs: int64(i / 3), EndNs: proto.Int64(int64(i + 1000)), Author: "ann", Reason: fmt.Sprint(i, strings.Repeat("x", 1000))}
		_, err := c.RecordGaps(ctx, r)
		require.NoError(t, err)
		want = append(want, r.Reason)
	}
	want = append(want, want...)
	for _, size := range []uint32{0, 1, 7, 10_000} {
		var got []string
		r := &varvev1.ListGapsRequest{Tags: []string{"b", "a", "b"}, PageSize: size}
		for {
			page, err := c.ListGaps(ctx, r)
			require.NoError(t, err)
			require.Less(t, proto.Size(page), 4<<20)
			for _, g := range page.Gaps {
				got = append(got, g.Reason)
			}
			if page.NextPageToken == "" {
				break
			}
			r.PageToken = page.NextPageToken
		}
		require.Equal(t, want, got)
	}
}

// TestGapsOverBothDoors asks gRPC and Flight the same of a tag with a gap: raw with its row, at instants, aggregates of both kinds, plot.
func TestGapsOverBothDoors(t *testing.T) {
	s, _ := annotated(t)
	ctx := testContext(t)
	_, err := varvev1.NewGapServiceClient(s.conn).RecordGaps(ctx, &varvev1.RecordGapsRequest{Tags: []string{"a"}, Kind: 2, StartNs: 10e9, EndNs: proto.Int64(20e9), Author: "ann"})
	require.NoError(t, err)
	q := varvev1.NewQueryServiceClient(s.conn)
	one := []string{"a"}
	ranged := &varvev1.ReadRangeRequest{Tags: one, StartNs: proto.Int64(0), EndNs: proto.Int64(30e9), WithGaps: true, WithSource: true, Bounds: varvev1.Bounds_BOUNDS_INTERPOLATED}
	instants := &varvev1.ReadAtTimesRequest{Tags: one, EndNs: 30e9, EveryNs: 3e9}
	own := &varvev1.ReadAggregatesRequest{Tags: one, EndNs: 30e9, StepNs: 15e9, Aggregates: []string{"count", "duration_good", "time_weighted_average"}}
	processed := &varvev1.ReadProcessedRequest{Tags: one, EndNs: 30e9, StepNs: 15e9, Aggregates: []string{"DurationBad", "StartBound", "time_weighted_percentile(50)"}}
	plot := &varvev1.ReadPlotRequest{Tags: one, EndNs: 30e9, Width: 10}
	for name, x := range map[string]struct {
		ask    func() ([]byte, error)
		ticket *varvev1.FlightQuestion
		column string
		want   string
	}{
		"range":      {func() ([]byte, error) { return ipcBytes(q.ReadRange(ctx, ranged)) }, &varvev1.FlightQuestion{Question: &varvev1.FlightQuestion_Range{Range: ranged}}, "gap", `[(null) (null) "lost" (null) (null)]`},
		"at":         {func() ([]byte, error) { return ipcBytes(q.ReadAtTimes(ctx, instants)) }, &varvev1.FlightQuestion{Question: &varvev1.FlightQuestion_AtTimes{AtTimes: instants}}, "value", "[(null) (null) 1 1 (null) (null) (null) (null) (null) 2]"},
		"aggregates": {func() ([]byte, error) { return ipcBytes(q.ReadAggregates(ctx, own)) }, &varvev1.FlightQuestion{Question: &varvev1.FlightQuestion_Aggregates{Aggregates: own}}, "duration_good", "[5000000000 1]"},
		"processed":  {func() ([]byte, error) { return ipcBytes(q.ReadProcessed(ctx, processed)) }, &varvev1.FlightQuestion{Question: &varvev1.FlightQuestion_Processed{Processed: processed}}, "value", "[10000 (null) 1 10000 (null) 2]"},
		"plot":       {func() ([]byte, error) { return ipcBytes(q.ReadPlot(ctx, plot)) }, &varvev1.FlightQuestion{Question: &varvev1.FlightQuestion_Plot{Plot: plot}}, "gap", "[false true false]"},
	} {
		b, err := x.ask()
		require.NoError(t, err, name)
		reader, err := ipc.NewReader(bytes.NewReader(b))
		require.NoError(t, err, name)
		want := records(t, reader)[0]
		require.Equal(t, x.want, want.Column(want.Schema().FieldIndices(x.column)[0]).String(), name)
		ticket, err := proto.Marshal(x.ticket)
		require.NoError(t, err, name)
		got, err := flightRecords(t, s.conn, ticket)
		require.NoError(t, err, name)
		require.True(t, array.RecordEqual(want, got[0]), name)
		want.Release()
		got[0].Release()
		reader.Release()
	}
}
