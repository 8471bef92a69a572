package server

import (
	"fmt"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

func ints(tag string, first int64, values ...int64) *varvev1.Run {
	return &varvev1.Run{Tag: tag, FirstTimeNs: first, StepNs: 1e9, Count: uint32(len(values)), Int64: values}
}

// told is what a read answers, a text for each row: seconds, and the value in the column that holds it exactly.
func (s *running) told(t *testing.T, r *varvev1.ReadRangeRequest) (rows []string) {
	for _, rec := range s.readRange(t, r) {
		for i := range int(rec.NumRows()) {
			text := fmt.Sprint(int64(rec.Column(0).(*array.Timestamp).Value(i)) / 1e9)
			for _, name := range []string{"value_bytes", "value_text", "value_int", "value"} {
				if at := rec.Schema().FieldIndices(name); len(at) == 1 && !rec.Column(at[0]).IsNull(i) {
					text += " " + name + "=" + rec.Column(at[0]).ValueStr(i)
					break
				}
			}
			rows = append(rows, text)
		}
		rec.Release()
	}
	return rows
}

// TestTypeOfATagChanges goes through what the doors make of a tag that is float64 up to 100 s, int64 up to 200 s and float64 again.
func TestTypeOfATagChanges(t *testing.T) {
	s := start(t, Options{})
	ctx := testContext(t)
	tags, client, admin := varvev1.NewCatalogServiceClient(s.conn), varvev1.NewIngestServiceClient(s.conn), varvev1.NewAdminServiceClient(s.conn)
	write := func(runs ...*varvev1.Run) *varvev1.BatchResult {
		w, err := client.Write(ctx, &varvev1.WriteRequest{CreateTags: true, Batch: &varvev1.Batch{Runs: runs}})
		require.NoError(t, err)
		return w.Result
	}
	retype := func(from int64, typ varvev1.Type) error {
		_, err := tags.UpdateTag(ctx, &varvev1.UpdateTagRequest{Name: "a", Settings: &varvev1.Settings{FromNs: from, Type: typ}})
		return err
	}
	write(floats("a", 98e9, 0.5, 1.5))
	changes := s.subscribe(t, &varvev1.SubscribeRequest{Tags: []string{"a"}, LingerMs: proto.Uint32(0), From: &varvev1.SubscribeRequest_Oldest{Oldest: true}})
	requireCode(t, codes.InvalidArgument, retype(99e9, varvev1.Type_TYPE_INT64), "it has samples up to 1970-01-01T00:01:39Z, a type changes behind them")
	require.NoError(t, retype(100e9, varvev1.Type_TYPE_INT64))
	require.NoError(t, retype(200e9, varvev1.Type_TYPE_FLOAT64))

	// A run of one type over all epochs: what does not fit its time is refused, by its place in the batch, and named.
	r := write(floats("a", 97e9, 0.25), floats("a", 99e9, 2.5, 3, 4), ints("a", 199e9, 1<<53+1, 7))
	require.EqualValues(t, 3, r.Samples)
	require.Len(t, r.Rejections, 2)
	require.Equal(t, varvev1.RejectCode_REJECT_CODE_TYPE_MISMATCH, r.Rejections[0].Code)
	require.Equal(t, []uint32{1, 1, 2}, []uint32{r.Rejections[0].Run, r.Rejections[0].First, r.Rejections[0].Count})
	require.Equal(t, "values are float64, the tag is int64 from 1970-01-01T00:01:40Z to 1970-01-01T00:03:20Z", r.Rejections[0].Reason)
	require.Equal(t, []uint32{2, 1, 1}, []uint32{r.Rejections[1].Run, r.Rejections[1].First, r.Rejections[1].Count})
	require.Equal(t, "values are int64, the tag is float64 from 1970-01-01T00:03:20Z on", r.Rejections[1].Reason)
	r = write(ints("a", 97e9, 9))
	require.Equal(t, "values are int64, the tag is float64 before 1970-01-01T00:01:40Z", r.Rejections[0].Reason)

	// A frame whose samples lie in two epochs of the type.
	w, err := client.Write(ctx, &varvev1.WriteRequest{Batch: &varvev1.Batch{Frames: []*varvev1.Frame{{
		Tags: []string{"a"}, TimesNs: []int64{96e9, 150e9, 201e9}, Float64: []float64{-1, -2, -3},
	}}}})
	require.NoError(t, err)
	require.EqualValues(t, 2, w.Result.Samples)
	require.EqualValues(t, 1, w.Result.Rejections[0].First)

	all := &varvev1.ReadRangeRequest{Tags: []string{"a"}, StartNs: proto.Int64(0), EndNs: proto.Int64(300e9)}
	want := []string{"96 value=-1", "97 value=0.25", "98 value=0.5", "99 value=2.5", "199 value_int=9007199254740993", "201 value=-3"}
	require.Equal(t, want, s.told(t, all))
	require.Equal(t, []string{"199 value=9007199254740993"}, s.told(t, &varvev1.ReadRangeRequest{Tags: []string{"a"}, StartNs: proto.Int64(100e9), EndNs: proto.Int64(200e9)}),
		"of one epoch alone the column is of its type")

	// Ids of epochs are the tag's; names go with it.
	tag, err := tags.GetTag(ctx, &varvev1.GetTagRequest{Name: "a"})
	require.NoError(t, err)
	for id := range uint32(3) {
		same, err := tags.GetTag(ctx, &varvev1.GetTagRequest{Id: tag.Id + id})
		require.NoError(t, err)
		require.True(t, proto.Equal(tag, same))
		require.Equal(t, want, s.told(t, &varvev1.ReadRangeRequest{TagIds: []uint32{tag.Id + id}, StartNs: all.StartNs, EndNs: all.EndNs}))
	}
	list, err := tags.ListTags(ctx, &varvev1.ListTagsRequest{})
	require.NoError(t, err)
	require.Len(t, list.Tags, 1)
	_, err = tags.RenameTag(ctx, &varvev1.RenameTagRequest{Name: "a", NewName: "b"})
	require.NoError(t, err)
	all.Tags = []string{"b"}
	require.Equal(t, want, s.told(t, all))

	// One removal, and one range delete, reach over all epochs; what was there is read as modified and comes back.
	remove := &varvev1.Run{TagId: tag.Id, TimesNs: []int64{96e9, 199e9, 5e9}, Mode: varvev1.WriteMode_WRITE_MODE_REMOVE}
	e, err := client.Edit(ctx, &varvev1.EditRequest{Author: "ana", Reason: "drift", Runs: []*varvev1.Run{remove}})
	require.NoError(t, err)
	require.EqualValues(t, 2, e.Result.Samples)
	require.EqualValues(t, 2, e.Result.Rejections[0].First)
	require.Equal(t, []string{"97 value=0.25", "98 value=0.5", "99 value=2.5", "201 value=-3"}, s.told(t, all))
	del, err := admin.DeleteRange(ctx, &varvev1.DeleteRangeRequest{Tags: []string{"b"}, StartNs: 98e9, EndNs: 250e9, Author: "ana", Reason: "rig"})
	require.NoError(t, err)
	require.Equal(t, []string{"97 value=0.25"}, s.told(t, all))
	requireCode(t, codes.InvalidArgument, func() error {
		_, err := tags.UpdateTag(ctx, &varvev1.UpdateTagRequest{Name: "b", Settings: &varvev1.Settings{FromNs: 240e9, Type: varvev1.Type_TYPE_STRING}})
		return err
	}(), fmt.Sprintf("range delete %d reaches to 1970-01-01T00:04:10Z and may be undone", del.Offset))
	_, err = admin.UndeleteRange(ctx, &varvev1.UndeleteRangeRequest{Offset: del.Offset, Author: "ana", Reason: "rig"})
	require.NoError(t, err)
	require.Equal(t, []string{"97 value=0.25", "98 value=0.5", "99 value=2.5", "201 value=-3"}, s.told(t, all))
	requireCode(t, codes.InvalidArgument, func() error {
		_, err := tags.UpdateTag(ctx, &varvev1.UpdateTagRequest{Name: "b", Settings: &varvev1.Settings{FromNs: 150e9, Unit: "bar"}})
		return err
	}(), "the type is float64 from 1970-01-01T00:03:20Z on, and what was before is not changed any more")
	require.Equal(t, model.TagID(tag.Id), s.db.Catalog().Retyped(model.TagID(tag.Id+2)).ID)

	// Subscribers are told of all of it, under the tag's name and id.
	var lines []string
	for !strings.Contains(fmt.Sprint(lines), "restored") {
		m, err := changes.Recv()
		require.NoError(t, err)
		if m.GetRange() != nil {
			require.Equal(t, []uint32{tag.Id}, m.GetRange().TagIds)
		}
		lines = append(lines, changeLines(t, m)...)
	}
	for _, part := range []string{"9007199254740993", "deleted b [98000000000, 250000000000) by ana: rig", "restored b"} {
		require.Contains(t, fmt.Sprint(lines), part)
	}
}
