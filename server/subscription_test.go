package server

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

func (s *running) subscribe(t testing.TB, r *varvev1.SubscribeRequest) grpc.ServerStreamingClient[varvev1.SubscribeResponse] {
	t.Helper()
	stream, err := varvev1.NewSubscriptionServiceClient(s.conn).Subscribe(testContext(t), r)
	require.NoError(t, err)
	return stream
}

// changeLines is a message as text, a line for each row and for each range.
func changeLines(t testing.TB, m *varvev1.SubscribeResponse) (lines []string) {
	t.Helper()
	switch {
	case m.GetLost() != nil:
		return []string{fmt.Sprintf("lost [%d, %d)", m.GetLost().First, m.GetLost().End)}
	case m.GetRange() != nil:
		r := m.GetRange()
		for i, tag := range r.Tags {
			require.NotZero(t, r.TagIds[i])
			for _, in := range r.Ranges {
				lines = append(lines, fmt.Sprintf("%s %s [%d, %d) by %s: %s", strings.ToLower(strings.TrimPrefix(r.Effect.String(), "RANGE_EFFECT_")), tag, in.StartNs, in.EndNs, r.Author, r.Reason))
			}
		}
		return lines
	}
	reader, err := ipc.NewReader(bytes.NewReader(m.GetChanges()))
	require.NoError(t, err)
	defer reader.Release()
	for reader.Next() {
		rec := reader.Record()
		var names []string
		for _, f := range rec.Schema().Fields() {
			names = append(names, f.Name)
		}
		require.Equal(t, "time tag value value_int value_text value_bytes quality seq kind ingest_time offset author reason", strings.Join(names, " "))
		tags := rec.Column(1).(*array.Dictionary)
		for i := range int(rec.NumRows()) {
			value := ""
			for _, c := range []int{2, 3, 4, 5} {
				if !rec.Column(c).IsNull(i) {
					value += " " + rec.Column(c).ValueStr(i)
				}
			}
			line := fmt.Sprintf("%s %s %d%s", rec.Column(8).ValueStr(i), tags.Dictionary().ValueStr(tags.GetValueIndex(i)), rec.Column(0).(*array.Timestamp).Value(i), value)
			if !rec.Column(11).IsNull(i) {
				line += fmt.Sprintf(" by %s: %s", rec.Column(11).ValueStr(i), rec.Column(12).ValueStr(i))
			}
			lines = append(lines, line)
		}
	}
	require.NoError(t, reader.Err())
	require.EqualValues(t, len(lines), m.Rows)
	return lines
}

func TestSubscribersAreToldWhatBecameOfTags(t *testing.T) {
	s := start(t, Options{})
	s.write(t, floats("A", 1e9, 1), floats("B.1", 1e9, 1))
	revision := s.db.Catalog().Revision()
	stream := s.subscribe(t, &varvev1.SubscribeRequest{Tags: []string{"A"}, Globs: []string{"B.*"}, LingerMs: new(uint32)})
	recv := func() []string {
		m, err := stream.Recv()
		require.NoError(t, err)
		require.GreaterOrEqual(t, m.CatalogRevision, revision, "the tags of the rows are in the catalogue of the message")
		return changeLines(t, m)
	}
	ingest, admin, ctx := varvev1.NewIngestServiceClient(s.conn), varvev1.NewAdminServiceClient(s.conn), testContext(t)
	edit := func(run *varvev1.Run) {
		w, err := ingest.Edit(ctx, &varvev1.EditRequest{Author: "mara", Reason: "scale", Runs: []*varvev1.Run{run}})
		require.NoError(t, err)
		require.Zero(t, w.Result.Rejected)
	}
	first, err := stream.Recv()
	require.NoError(t, err)
	require.Nil(t, first.What, "where it begins is told at once")
	require.NotEmpty(t, first.Token)
	s.write(t, floats("A", 5e9, 2, 3), floats("C", 5e9, 7))
	require.Equal(t, []string{"new A 5000000000 2", "new A 6000000000 3"}, recv())
	s.write(t, floats("A", 6e9, 3)) // equal to the newest: nothing changes
	s.write(t, floats("A", 2e9, 9))
	require.Equal(t, []string{"updated A 2000000000 9"}, recv())
	s.write(t, &varvev1.Run{Tag: "A", Mode: varvev1.WriteMode_WRITE_MODE_NO_REPLACE, TimesNs: []int64{2e9, 3e9}, Float64: []float64{8, 8}})
	require.Equal(t, []string{"late A 3000000000 8"}, recv(), "what is ignored is not told")
	edit(&varvev1.Run{Tag: "A", TimesNs: []int64{2e9}, Float64: []float64{4}})
	require.Equal(t, []string{"replaced A 2000000000 4 by mara: scale"}, recv())
	edit(&varvev1.Run{Tag: "A", Mode: varvev1.WriteMode_WRITE_MODE_REMOVE, TimesNs: []int64{2e9}})
	require.Equal(t, []string{"removed A 2000000000 by mara: scale"}, recv())
	s.write(t, &varvev1.Run{Tag: "B.text", TimesNs: []int64{1e9}, Text: []string{"läuft"}}) // made now, and matches
	revision = s.db.Catalog().Revision()
	require.Equal(t, []string{"new B.text 1000000000 läuft"}, recv())

	deleted, err := admin.DeleteRange(ctx, &varvev1.DeleteRangeRequest{Tags: []string{"A", "C"}, StartNs: 0, EndNs: 4e9, Author: "ann", Reason: "test run"})
	require.NoError(t, err)
	require.Equal(t, []string{"deleted A [0, 4000000000) by ann: test run"}, recv())
	_, err = admin.UndeleteRange(ctx, &varvev1.UndeleteRangeRequest{Offset: deleted.Offset, Author: "ann", Reason: "oops"})
	require.NoError(t, err)
	require.Equal(t, []string{"restored A [0, 4000000000) by ann: oops"}, recv())
	_, err = admin.Purge(ctx, &varvev1.PurgeRequest{Tags: []string{"A", "B.1", "B.text"}, StartNs: 0, EndNs: 2e9, Author: "ann", Reason: "privacy"})
	require.NoError(t, err)
	require.Equal(t, []string{
		"erased A [0, 2000000000) by ann: privacy", "erased B.1 [0, 2000000000) by ann: privacy", "erased B.text [0, 2000000000) by ann: privacy",
	}, recv())

	// A token goes on behind its message, and a stream may be cut anywhere.
	var all, pieces []string
	s.write(t, floats("A", 100e9, 1, 2, 3, 4, 5, 6, 7))
	s.write(t, floats("B.1", 100e9, 1, 2, 3, 4, 5))
	whole := s.subscribe(t, &varvev1.SubscribeRequest{Globs: []string{"*"}, From: &varvev1.SubscribeRequest_Oldest{Oldest: true}})
	for len(all) == 0 || all[len(all)-1] != "new B.1 104000000000 5" {
		m, err := whole.Recv()
		require.NoError(t, err)
		all = append(all, changeLines(t, m)...)
	}
	r := &varvev1.SubscribeRequest{Globs: []string{"*"}, From: &varvev1.SubscribeRequest_Oldest{Oldest: true}, BatchRows: 3}
	for len(pieces) < len(all) {
		m, err := s.subscribe(t, r).Recv()
		require.NoError(t, err)
		pieces = append(pieces, changeLines(t, m)...)
		r.From = &varvev1.SubscribeRequest_Token{Token: m.Token}
	}
	require.Equal(t, all, pieces)
}

// TestSubscribersInAUnit are told each value in it, from the unit the tag had at its time, also where that changes meanwhile.
func TestSubscribersInAUnit(t *testing.T) {
	s := start(t, Options{})
	ctx, catalog := testContext(t), s.newCatalog()
	_, err := catalog.CreateTags(ctx, &varvev1.CreateTagsRequest{Tags: []*varvev1.Tag{
		{Name: "P", Settings: []*varvev1.Settings{{Type: varvev1.Type_TYPE_INT64, Unit: "mbar"}}},
		{Name: "T", Settings: []*varvev1.Settings{{Type: varvev1.Type_TYPE_FLOAT64, Unit: "Cel"}}},
		{Name: "text", Settings: []*varvev1.Settings{{Type: varvev1.Type_TYPE_STRING}}},
	}})
	require.NoError(t, err)
	s.write(t, &varvev1.Run{Tag: "P", TimesNs: []int64{1e9, 2e9}, Int64: []int64{1500, 2500}})
	oldest := &varvev1.SubscribeRequest_Oldest{Oldest: true}
	stream := s.subscribe(t, &varvev1.SubscribeRequest{Tags: []string{"P"}, From: oldest, LingerMs: new(uint32), Unit: "bar"})
	recv := func() []string {
		m, err := stream.Recv()
		require.NoError(t, err)
		reader, err := ipc.NewReader(bytes.NewReader(m.GetChanges()))
		require.NoError(t, err)
		defer reader.Release()
		code, _ := reader.Schema().Field(2).Metadata.GetValue("varve.unit")
		require.Equal(t, "bar", code)
		return changeLines(t, m)
	}
	require.Equal(t, []string{"new P 1000000000 1.5", "new P 2000000000 2.5"}, recv())
	update := func(unit string, from int64) {
		_, err := catalog.UpdateTag(ctx, &varvev1.UpdateTagRequest{Name: "P", Settings: &varvev1.Settings{FromNs: from, Type: varvev1.Type_TYPE_INT64, Unit: unit}})
		require.NoError(t, err)
	}
	update("bar", 3e9)
	s.write(t, &varvev1.Run{Tag: "P", TimesNs: []int64{15e8, 3e9}, Int64: []int64{2000, 3}})
	require.Equal(t, []string{"updated P 1500000000 2", "new P 3000000000 3"}, recv())
	ingest := varvev1.NewIngestServiceClient(s.conn)
	_, err = ingest.Edit(ctx, &varvev1.EditRequest{Author: "mara", Reason: "x", Runs: []*varvev1.Run{{Tag: "P", Mode: varvev1.WriteMode_WRITE_MODE_REMOVE, TimesNs: []int64{2e9}}}})
	require.NoError(t, err)
	require.Equal(t, []string{"removed P 2000000000 by mara: x"}, recv())

	update("Cel", 4e9)
	s.write(t, &varvev1.Run{Tag: "P", TimesNs: []int64{35e8}, Int64: []int64{4}}, &varvev1.Run{Tag: "P", TimesNs: []int64{5e9}, Int64: []int64{20}})
	require.Equal(t, []string{"new P 3500000000 4"}, recv(), "what came before is told")
	_, err = stream.Recv()
	requireCode(t, codes.InvalidArgument, err, "from 1970-01-01T00:00:04Z on")

	for _, c := range []struct {
		r    *varvev1.SubscribeRequest
		text string
	}{
		{&varvev1.SubscribeRequest{Tags: []string{"T"}, Unit: "bar"}, "tag T (id 2)"},
		{&varvev1.SubscribeRequest{Tags: []string{"text"}, Unit: "bar"}, "is of type string and no number"},
		{&varvev1.SubscribeRequest{Tags: []string{"T"}, Unit: "°C"}, "Cel"},
		{&varvev1.SubscribeRequest{Globs: []string{"*"}, Unit: "K"}, "with patterns"},
	} {
		_, err := s.subscribe(t, c.r).Recv()
		requireCode(t, codes.InvalidArgument, err, c.text)
	}
}

func TestSubscribeRefuses(t *testing.T) {
	s, other := start(t, Options{MaxSubscriptions: 1}), start(t, Options{})
	s.write(t, floats("A", 1e9, 1))
	other.write(t, floats("A", 1e9, 1))
	first := func(s *running, r *varvev1.SubscribeRequest) (*varvev1.SubscribeResponse, error) {
		return s.subscribe(t, r).Recv()
	}
	oldest := &varvev1.SubscribeRequest_Oldest{Oldest: true}
	for _, c := range []struct {
		r    *varvev1.SubscribeRequest
		code codes.Code
		text string
	}{
		{&varvev1.SubscribeRequest{}, codes.InvalidArgument, "no tag is asked for"},
		{&varvev1.SubscribeRequest{Tags: []string{"nobody"}}, codes.NotFound, `tag "nobody"`},
		{&varvev1.SubscribeRequest{TagIds: []uint32{99}}, codes.NotFound, "id 99"},
		{&varvev1.SubscribeRequest{Globs: make([]string, 1001)}, codes.InvalidArgument, "1001 patterns"},
		{&varvev1.SubscribeRequest{Globs: []string{strings.Repeat("*", 1025)}}, codes.InvalidArgument, "1025 bytes"},
		{&varvev1.SubscribeRequest{Globs: []string{"*"}, BatchRows: 1 << 17}, codes.InvalidArgument, "most is 65536"},
		{&varvev1.SubscribeRequest{Globs: []string{"*"}, From: &varvev1.SubscribeRequest_Oldest{}}, codes.InvalidArgument, "oldest is false"},
		{&varvev1.SubscribeRequest{Globs: []string{"*"}, From: &varvev1.SubscribeRequest_Token{Token: "abc"}}, codes.InvalidArgument, "not a token"},
	} {
		_, err := first(s, c.r)
		requireCode(t, c.code, err, c.text)
	}
	m, err := first(other, &varvev1.SubscribeRequest{Globs: []string{"*"}, From: oldest})
	require.NoError(t, err)
	_, err = first(s, &varvev1.SubscribeRequest{Globs: []string{"*"}, From: &varvev1.SubscribeRequest_Token{Token: m.Token}})
	requireCode(t, codes.FailedPrecondition, err, "another log")
	broken := []byte(m.Token)
	broken[20] ^= 1
	_, err = first(other, &varvev1.SubscribeRequest{Globs: []string{"*"}, From: &varvev1.SubscribeRequest_Token{Token: string(broken)}})
	requireCode(t, codes.InvalidArgument, err, "not a token")

	held := s.subscribe(t, &varvev1.SubscribeRequest{Globs: []string{"*"}, From: oldest})
	_, err = held.Recv()
	require.NoError(t, err)
	_, err = first(s, &varvev1.SubscribeRequest{Globs: []string{"*"}})
	requireCode(t, codes.ResourceExhausted, err, "--max-subscriptions")
	go s.stop()
	_, err = held.Recv()
	requireCode(t, codes.Unavailable, err, "shutting down")
}

// A subscriber that does not read holds nothing up: what it has not read yet stays in the log, and once that is trimmed it is told.
func TestSlowSubscribersHoldNothingUp(t *testing.T) {
	s := start(t, Options{})
	s.write(t, floats("A", 0, 1), floats("B", 0, 1))
	slow := s.subscribe(t, &varvev1.SubscribeRequest{Tags: []string{"A"}, From: &varvev1.SubscribeRequest_Oldest{Oldest: true}, LingerMs: new(uint32)})
	first, err := slow.Recv()
	require.NoError(t, err)
	require.Equal(t, []string{"new A 0 1"}, changeLines(t, first))

	rng := rand.New(rand.NewPCG(1, 1))
	const batches, each = 40, 20_000
	values := make([]float64, each)
	for i := range batches { // 6 MB: more than the windows of the transport hold of it
		for k := range values {
			values[k] = rng.Float64()
		}
		s.write(t, floats("A", int64(1+i*each)*1e9, values...))
	}
	rows, last := 0, first
	for rows < batches*each {
		if last, err = slow.Recv(); err != nil {
			break
		}
		require.Nil(t, last.GetLost())
		rows += int(last.Rows)
	}
	require.NoError(t, err)
	require.Equal(t, batches*each, rows)

	// Nothing keeps the log of this store: everything is in a generation, and its full segments go.
	_, err = s.db.Flush(testContext(t))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return s.db.Oldest().Offset > 2 }, 10*time.Second, time.Millisecond)
	late := s.subscribe(t, &varvev1.SubscribeRequest{Tags: []string{"A"}, From: &varvev1.SubscribeRequest_Token{Token: first.Token}})
	m, err := late.Recv()
	require.NoError(t, err)
	require.NotNil(t, m.GetLost(), "%v", m)
	require.Equal(t, first.Offset+1, m.GetLost().First)
	require.Greater(t, m.GetLost().End, m.GetLost().First)
	require.Equal(t, m.GetLost().End-1, m.Offset)
	s.write(t, floats("A", 1e15, 5))
	for {
		m, err := late.Recv()
		require.NoError(t, err)
		require.Nil(t, m.GetLost())
		if lines := changeLines(t, m); lines[len(lines)-1] == "new A 1000000000000000 5" {
			break
		}
	}
}
