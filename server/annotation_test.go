package server

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// annotated is a server with tags a and b, and its annotations.
func annotated(t *testing.T) (*running, varvev1.AnnotationServiceClient) {
	s := start(t, Options{})
	for _, tag := range []string{"a", "b"} {
		s.write(t, &varvev1.Run{Tag: tag, Mode: varvev1.WriteMode_WRITE_MODE_APPEND, TimesNs: []int64{5e9, 25e9}, Float64: []float64{1, 2}})
	}
	return s, varvev1.NewAnnotationServiceClient(s.conn)
}

func TestAnAnnotationIsMadeOnce(t *testing.T) {
	_, c := annotated(t)
	ctx := testContext(t)
	r := &varvev1.AnnotateRequest{Tag: "a", StartNs: proto.Int64(5), StopNs: proto.Int64(5), Text: "stuck", Author: "ann", Id: "9AA00000-0000-4700-8000-000000000001"}
	first, err := c.Annotate(ctx, r)
	require.NoError(t, err)
	require.Equal(t, strings.ToLower(r.Id), first.Id)
	require.Equal(t, []any{int64(5), int64(5), "a", "stuck", "ann", "", false}, []any{*first.StartNs, *first.StopNs, first.Tag, first.Text, first.Author, first.Editor, first.Removed})
	again, err := c.Annotate(ctx, r)
	require.NoError(t, err)
	require.True(t, proto.Equal(first, again), "%v", again)
	for _, change := range []func(r *varvev1.AnnotateRequest){
		func(r *varvev1.AnnotateRequest) { r.Tag = "b" },
		func(r *varvev1.AnnotateRequest) { r.Text = "other" },
		func(r *varvev1.AnnotateRequest) { r.Author = "lee" },
		func(r *varvev1.AnnotateRequest) { r.StartNs, r.StopNs = nil, nil },
	} {
		other := proto.Clone(r).(*varvev1.AnnotateRequest)
		change(other)
		_, err := c.Annotate(ctx, other)
		requireCode(t, codes.AlreadyExists, err, strings.ToLower(r.Id))
	}
	edited, err := c.EditAnnotation(ctx, &varvev1.EditAnnotationRequest{Id: first.Id, Text: "replaced", Author: "lee"})
	require.NoError(t, err)
	require.Equal(t, []any{"replaced", "ann", "lee", first.CreatedNs}, []any{edited.Text, edited.Author, edited.Editor, edited.CreatedNs})
	require.NotZero(t, edited.EditedNs)
	removed, err := c.RemoveAnnotation(ctx, &varvev1.RemoveAnnotationRequest{Id: first.Id, Author: "lee"})
	require.NoError(t, err)
	require.True(t, removed.Removed)
	require.Empty(t, removed.Text)
	_, err = c.RemoveAnnotation(ctx, &varvev1.RemoveAnnotationRequest{Id: first.Id, Author: "lee"})
	requireCode(t, codes.NotFound, err, "no annotation stands")
	list, err := c.ListAnnotations(ctx, &varvev1.ListAnnotationsRequest{Tags: []string{"a"}, History: true})
	require.NoError(t, err)
	require.Len(t, list.Annotations, 1)
	var said []string
	for _, v := range list.Annotations[0].History {
		said = append(said, v.Author+": "+v.Text)
	}
	require.Equal(t, []string{"ann: stuck", "lee: replaced", "lee: "}, said)
}

func TestAnnotationsAreRefused(t *testing.T) {
	_, c := annotated(t)
	ctx := testContext(t)
	good := &varvev1.AnnotateRequest{Tag: "a", StartNs: proto.Int64(5), StopNs: proto.Int64(9), Text: strings.Repeat("x", 4096), Author: "ann"}
	_, err := c.Annotate(ctx, good)
	require.NoError(t, err)
	for text, bad := range map[string]func(r *varvev1.AnnotateRequest){
		"text is empty":         func(r *varvev1.AnnotateRequest) { r.Text = "" },
		"most is 4096":          func(r *varvev1.AnnotateRequest) { r.Text += "x" },
		"author is empty":       func(r *varvev1.AnnotateRequest) { r.Author = "" },
		"a start and a stop":    func(r *varvev1.AnnotateRequest) { r.StopNs = nil },
		"must not be earlier":   func(r *varvev1.AnnotateRequest) { r.StopNs = proto.Int64(4) },
		"from -922337203685477": func(r *varvev1.AnnotateRequest) { r.StartNs = proto.Int64(-1 << 63) },
		"exactly one":           func(r *varvev1.AnnotateRequest) { r.TagId = 1 },
		`UUID "x"`:              func(r *varvev1.AnnotateRequest) { r.Id = "x" },
	} {
		r := proto.Clone(good).(*varvev1.AnnotateRequest)
		bad(r)
		_, err := c.Annotate(ctx, r)
		requireCode(t, codes.InvalidArgument, err, text)
	}
	unknown := proto.Clone(good).(*varvev1.AnnotateRequest)
	unknown.Tag = "nobody"
	_, err = c.Annotate(ctx, unknown)
	requireCode(t, codes.NotFound, err, "nobody")
	_, err = c.EditAnnotation(ctx, &varvev1.EditAnnotationRequest{Id: "9aa00000-0000-4700-8000-000000000001", Text: "x", Author: "ann"})
	requireCode(t, codes.NotFound, err, "no annotation stands")
	for _, r := range []*varvev1.ListAnnotationsRequest{
		{}, {Tags: []string{"a"}, PageSize: 10_001}, {Tags: []string{"a"}, StartNs: proto.Int64(5), EndNs: proto.Int64(5)},
		{Tags: []string{"a"}, PageToken: "1/2"}, {Tags: []string{"a"}, PageToken: "1/2/3 "},
	} {
		_, err := c.ListAnnotations(ctx, r)
		requireCode(t, codes.InvalidArgument, err, "")
	}
}

// TestAnnotationsComeInPages: whatever the size of pages, and however large the texts, all come once and in order.
func TestAnnotationsComeInPages(t *testing.T) {
	_, c := annotated(t)
	ctx := testContext(t)
	var want []string
	for _, tag := range []string{"a", "b"} {
		for i := range 400 {
			r := &varvev1.AnnotateRequest{Tag: tag, StartNs: proto.Int64(int64(i / 3)), StopNs: proto.Int64(int64(i / 3)), Text: fmt.Sprint(tag, i, strings.Repeat("x", 4000)), Author: "ann"}
			_, err := c.Annotate(ctx, r)
			require.NoError(t, err)
			want = append(want, r.Text)
		}
	}
	for _, size := range []uint32{0, 1, 7, 400, 10_000} {
		var got []string
		r := &varvev1.ListAnnotationsRequest{Tags: []string{"b", "a", "b"}, PageSize: size}
		pages := 0
		for {
			page, err := c.ListAnnotations(ctx, r)
			require.NoError(t, err)
			require.Less(t, proto.Size(page), 4<<20)
			for _, a := range page.Annotations {
				got = append(got, a.Text)
			}
			if pages++; page.NextPageToken == "" {
				break
			}
			r.PageToken = page.NextPageToken
		}
		require.Equal(t, want, got)
		require.Greater(t, pages, 1)
	}
}

// TestAnnotationCountOverBothDoors: those that begin in an interval and stand, forward and in reverse.
func TestAnnotationCountOverBothDoors(t *testing.T) {
	s, c := annotated(t)
	ctx := testContext(t)
	for _, at := range [][2]int64{{0, 0}, {4, 4}, {4, 9}, {10, 10}, {20, 20}} {
		_, err := c.Annotate(ctx, &varvev1.AnnotateRequest{Tag: "a", StartNs: proto.Int64(at[0] * 1e9), StopNs: proto.Int64(at[1] * 1e9), Text: "x", Author: "ann"})
		require.NoError(t, err)
	}
	_, err := c.Annotate(ctx, &varvev1.AnnotateRequest{Tag: "a", Text: "of the tag", Author: "ann"})
	require.NoError(t, err)
	gone, err := c.Annotate(ctx, &varvev1.AnnotateRequest{Tag: "a", StartNs: proto.Int64(5e9), StopNs: proto.Int64(5e9), Text: "x", Author: "ann"})
	require.NoError(t, err)
	_, err = c.RemoveAnnotation(ctx, &varvev1.RemoveAnnotationRequest{Id: gone.Id, Author: "ann"})
	require.NoError(t, err)
	for _, r := range []struct {
		start, end int64
		want       []int64
	}{{0, 20e9, []int64{3, 1, 0, 0}}, {20e9, 0, []int64{1, 3, 0, 0}}} {
		ask := &varvev1.ReadProcessedRequest{Tags: []string{"a", "b"}, StartNs: r.start, EndNs: r.end, StepNs: 10e9, Aggregates: []string{"AnnotationCount"}}
		b, err := ipcBytes(varvev1.NewQueryServiceClient(s.conn).ReadProcessed(ctx, ask))
		require.NoError(t, err)
		plain, err := ipc.NewReader(bytes.NewReader(b))
		require.NoError(t, err)
		want := records(t, plain)[0]
		require.Equal(t, r.want, want.Column(want.Schema().FieldIndices("value_int")[0]).(*array.Int64).Int64Values())
		ticket, err := proto.Marshal(&varvev1.FlightQuestion{Question: &varvev1.FlightQuestion_Processed{Processed: ask}})
		require.NoError(t, err)
		got, err := flightRecords(t, s.conn, ticket)
		require.NoError(t, err)
		require.True(t, array.RecordEqual(want, got[0]))
		want.Release()
		got[0].Release()
		plain.Release()
	}
}
