package server

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/varvedb/varve/internal/message"
	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/query"
	"github.com/varvedb/varve/storage"
)

func TestCatalogue(t *testing.T) {
	s := start(t, Options{})
	c, ctx := varvev1.NewCatalogServiceClient(s.conn), testContext(t)
	set, err := c.PutStateSet(ctx, &varvev1.PutStateSetRequest{Set: &varvev1.StateSet{Name: "pump", States: []*varvev1.DigitalState{{Code: 0, Text: "off"}, {Code: 1, Text: "on"}}}})
	require.NoError(t, err)
	require.Equal(t, uint32(1), set.Version)
	made, err := c.CreateTags(ctx, &varvev1.CreateTagsRequest{Tags: []*varvev1.Tag{
		{Name: "P-1.RUN", Settings: []*varvev1.Settings{{Type: varvev1.Type_TYPE_STATE, StateSet: "pump"}}, Attributes: map[string]string{"area": "north"}},
		{Name: "P-1.FLOW", Uuid: "0190c0de-0000-7000-8000-000000000001", Settings: []*varvev1.Settings{{Type: varvev1.Type_TYPE_FLOAT64, Unit: "m3/h", MaxGapNs: 5e9}}, SpanHigh: 100},
		{Name: "", Settings: []*varvev1.Settings{{Type: 1}}},
		{Name: "P-1.FLOW", Settings: []*varvev1.Settings{{Type: varvev1.Type_TYPE_INT64}}},
		{Name: "no uuid", Uuid: "nonsense", Settings: []*varvev1.Settings{{Type: 1}}},
		{Name: "no type"},
	}})
	require.NoError(t, err)
	require.True(t, made.Tags[0].Created)
	require.True(t, made.Tags[0].Tag.Settings[0].Stepped, "states are stepped")
	require.Equal(t, "0190c0de-0000-7000-8000-000000000001", made.Tags[1].Tag.Uuid)
	require.Equal(t, varvev1.RejectCode_REJECT_CODE_BAD_NAME, made.Tags[2].Code)
	require.Equal(t, varvev1.RejectCode_REJECT_CODE_TYPE_MISMATCH, made.Tags[3].Code)
	require.Equal(t, varvev1.RejectCode_REJECT_CODE_MALFORMED, made.Tags[4].Code)
	require.NotZero(t, made.Tags[5].Code)

	id := made.Tags[1].Tag.Id
	for _, r := range []*varvev1.GetTagRequest{{Name: "P-1.FLOW"}, {Id: id}, {Uuid: made.Tags[1].Tag.Uuid}} {
		got, err := c.GetTag(ctx, r)
		require.NoError(t, err)
		require.True(t, proto.Equal(made.Tags[1].Tag, got))
	}
	for _, r := range []*varvev1.GetTagRequest{{Name: "nobody"}, {Id: 999}, {Uuid: "0190c0de-0000-7000-8000-00000000ffff"}} {
		_, err := c.GetTag(ctx, r)
		requireCode(t, codes.NotFound, err, "tag not found")
	}
	for _, r := range []*varvev1.GetTagRequest{{}, {Name: "P-1.FLOW", Id: id}, {Name: "x", Uuid: "y"}, {Uuid: "y"}} {
		_, err := c.GetTag(ctx, r)
		requireCode(t, codes.InvalidArgument, err, "field cannot be used")
	}

	updated, err := c.UpdateTag(ctx, &varvev1.UpdateTagRequest{Id: id, Description: proto.String("main flow"), SetAttributes: map[string]string{"area": "south"}, Exception: &varvev1.Filter{Deviation: 0.5}})
	require.NoError(t, err)
	require.Equal(t, "main flow", updated.Description)
	require.Equal(t, 100.0, updated.SpanHigh, "what is not carried stays")
	_, err = c.UpdateTag(ctx, &varvev1.UpdateTagRequest{Id: id, Exception: &varvev1.Filter{Deviation: -1}})
	requireCode(t, codes.InvalidArgument, err, "not negative")
	renamed, err := c.RenameTag(ctx, &varvev1.RenameTagRequest{Name: "P-1.FLOW", NewName: "P-1.Q"})
	require.NoError(t, err)
	require.Len(t, renamed.Aliases, 2)
	got, err := c.GetTag(ctx, &varvev1.GetTagRequest{Name: "P-1.FLOW"})
	require.NoError(t, err, "the old name resolves")
	require.Equal(t, id, got.Id)

	page, err := c.ListTags(ctx, &varvev1.ListTagsRequest{Filter: "P-1.*", PageSize: 1})
	require.NoError(t, err)
	require.Equal(t, uint64(2), page.Total)
	require.Equal(t, "P-1.Q", page.Tags[0].Name)
	page, err = c.ListTags(ctx, &varvev1.ListTagsRequest{Filter: "P-1.*", PageSize: 1, PageToken: page.NextPageToken})
	require.NoError(t, err)
	require.Equal(t, "P-1.RUN", page.Tags[0].Name)
	require.Empty(t, page.NextPageToken)
	_, err = c.ListTags(ctx, &varvev1.ListTagsRequest{PageSize: maxPageSize + 1})
	requireCode(t, codes.InvalidArgument, err, "page_size")
	_, err = c.ListTags(ctx, &varvev1.ListTagsRequest{Filter: strings.Repeat("*", maxGlobBytes+1)})
	requireCode(t, codes.InvalidArgument, err, "filter")

	sets, err := c.ListStateSets(ctx, &varvev1.ListStateSetsRequest{})
	require.NoError(t, err)
	require.Len(t, sets.Sets, 1)
	one, err := c.GetStateSet(ctx, &varvev1.GetStateSetRequest{Name: "pump"})
	require.NoError(t, err)
	require.True(t, proto.Equal(set, one))
	_, err = c.GetStateSet(ctx, &varvev1.GetStateSetRequest{Name: "pump", Version: 9})
	requireCode(t, codes.NotFound, err, "version 9")
	_, err = c.PutStateSet(ctx, &varvev1.PutStateSetRequest{})
	requireCode(t, codes.InvalidArgument, err, "no set")
}

// TestPagesEndBeforeTheyAreTooLarge: tags with long attributes must not make a page that a client refuses.
func TestPagesEndBeforeTheyAreTooLarge(t *testing.T) {
	s := start(t, Options{})
	c, ctx := varvev1.NewCatalogServiceClient(s.conn), testContext(t)
	attributes := map[string]string{}
	for i := range 60 {
		attributes[fmt.Sprint("key", i)] = strings.Repeat("v", model.MaxAttributeBytes)
	}
	r := &varvev1.CreateTagsRequest{}
	for i := range 20 {
		r.Tags = append(r.Tags, &varvev1.Tag{Name: fmt.Sprintf("t%02d", i), Attributes: attributes, Settings: []*varvev1.Settings{{Type: 1}}})
	}
	for _, part := range [][]*varvev1.Tag{r.Tags[:10], r.Tags[10:]} {
		_, err := s.newCatalog().CreateTags(ctx, &varvev1.CreateTagsRequest{Tags: part})
		require.NoError(t, err)
	}
	seen, token := 0, ""
	for pages := 1; ; pages++ {
		page, err := c.ListTags(ctx, &varvev1.ListTagsRequest{PageToken: token})
		require.NoError(t, err)
		for _, tag := range page.Tags {
			require.Equal(t, fmt.Sprintf("t%02d", seen), tag.Name)
			seen++
		}
		if token = page.NextPageToken; token == "" {
			require.Greater(t, pages, 1)
			break
		}
	}
	require.Equal(t, 20, seen)
}

func TestStateSetsComeInPages(t *testing.T) {
	s := start(t, Options{})
	c, ctx := varvev1.NewCatalogServiceClient(s.conn), testContext(t)
	set := &varvev1.StateSet{}
	for code := range int64(1200) {
		set.States = append(set.States, &varvev1.DigitalState{Code: code, Text: fmt.Sprintf("%01024d", code)})
	}
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		set.Name = name
		_, err := c.PutStateSet(ctx, &varvev1.PutStateSetRequest{Set: set})
		require.NoError(t, err)
	}
	var names, pages []string
	for token := ""; ; {
		page, err := c.ListStateSets(ctx, &varvev1.ListStateSetsRequest{PageToken: token})
		require.NoError(t, err)
		for _, one := range page.Sets {
			names = append(names, one.Name)
		}
		pages = append(pages, token)
		if token = page.NextPageToken; token == "" {
			break
		}
	}
	require.Equal(t, []string{"a", "b", "c", "d", "e"}, names)
	require.Equal(t, []string{"", "b", "d"}, pages)
}

func (s *running) newCatalog() *catalogService { return &catalogService{Server: s.Server} }

func TestGarbageIsAnInvalidArgument(t *testing.T) {
	s := start(t, Options{})
	for method := range scopeOf {
		if strings.HasSuffix(method, "/Ingest") {
			continue
		}
		var out message.Received
		err := s.conn.Invoke(testContext(t), method, &message.Encoded{Buffers: mem.BufferSlice{mem.SliceBuffer("\xff\xff\xff")}}, &out, forceCodec())
		requireCode(t, codes.InvalidArgument, err, "")
	}
}

func TestElementsAreCountedBeforeTheyAreDecoded(t *testing.T) {
	s := start(t, Options{})
	many := func(n int) string { return strings.Repeat("\x0A\x00", n+1) }
	ticket := many(query.MaxRangeTags)
	ticket = string(protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), ticket))
	comparisons := string(protowire.AppendString(protowire.AppendTag(nil, flightRange, protowire.BytesType), strings.Repeat("\x7A\x00", 1_000_000)))
	comparisons = string(protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), comparisons))
	command := "\x08\x02" + string(protowire.AppendString(protowire.AppendTag(nil, 2, protowire.BytesType), many(query.MaxRangeTags)))
	for _, c := range []struct {
		method, body string
		code         codes.Code
		text         string
	}{
		{"/varve.v1.CatalogService/CreateTags", many(maxCreateTags), codes.ResourceExhausted, "100001 elements"},
		{"/varve.v1.QueryService/Latest", many(query.MaxLatestTags), codes.InvalidArgument, "1000001 tags are asked for"},
		{"/varve.v1.QueryService/ReadRange", many(query.MaxRangeTags), codes.InvalidArgument, "100001 tags are asked for"},
		{"/varve.v1.QueryService/ListDays", many(query.MaxRangeTags), codes.InvalidArgument, "100001 tags are asked for"},
		{"/varve.v1.QueryService/ReadRange", strings.Repeat("\x7A\x00", 1_000_000), codes.InvalidArgument, "1000000 comparisons"},
		{"/arrow.flight.protocol.FlightService/DoGet", comparisons, codes.InvalidArgument, "1000000 comparisons"},
		{"/arrow.flight.protocol.FlightService/DoGet", ticket, codes.InvalidArgument, "100001 tags are asked for"},
		{"/arrow.flight.protocol.FlightService/GetFlightInfo", command, codes.InvalidArgument, "100001 tags are asked for"},
	} {
		var out message.Received
		err := s.conn.Invoke(testContext(t), c.method, &message.Encoded{Buffers: mem.BufferSlice{mem.SliceBuffer(c.body)}}, &out, forceCodec())
		requireCode(t, c.code, err, c.text)
	}
	// What an answer costs cannot show that a ticket was not decoded; what it allocates can.
	allocated := testing.AllocsPerRun(1, func() { _, _ = parseTicket([]byte(many(query.MaxRangeTags))) })
	require.Less(t, allocated, 20.0)
	ids := make([]uint32, query.MaxRangeTags+1)
	_, err := ipcBytes(varvev1.NewQueryServiceClient(s.conn).ReadRange(testContext(t), &varvev1.ReadRangeRequest{TagIds: ids, StartNs: proto.Int64(0), EndNs: proto.Int64(0)}))
	requireCode(t, codes.InvalidArgument, err, "100001 tags are asked for")
}

func TestAdministration(t *testing.T) {
	s := start(t, Options{Version: "1.2.3", CheckpointDir: "copies"})
	admin, ctx := varvev1.NewAdminServiceClient(s.conn), testContext(t)
	s.write(t, floats("a", 1, 1, 2, 3))
	older := s.ingestStream(t, hello("x"))
	s.ingestStream(t, hello("x"))
	requireCode(t, codes.Aborted, older.end(), "newer")
	st, err := admin.Status(ctx, &varvev1.StatusRequest{})
	require.NoError(t, err)
	require.Equal(t, "1.2.3", st.Version)
	require.Equal(t, uint64(1), st.Tags)
	require.Equal(t, uint64(3), st.Samples)
	require.Equal(t, uint64(1), st.Sessions)
	require.NotZero(t, st.MemoryBytes)
	require.Equal(t, "source_fenced", st.Alarms[0].Name)
	flushed, err := admin.Flush(ctx, &varvev1.FlushRequest{})
	require.NoError(t, err)
	require.GreaterOrEqual(t, flushed.ArchivedOffset, st.AcceptedOffset)

	for _, dir := range []string{"", ".", "..", "../x", "/etc/x", "a/b", `a\b`, "copies/../../x"} {
		_, err := admin.Checkpoint(ctx, &varvev1.CheckpointRequest{Directory: dir})
		requireCode(t, codes.PermissionDenied, err, "inside")
	}
	_, err = admin.AcceptLoss(ctx, &varvev1.AcceptLossRequest{Range: &varvev1.OffsetRange{First: 1, End: 2}, Author: "ana", Reason: "disk"})
	require.Error(t, err, "nothing is lost")
	_, err = admin.AcceptLoss(ctx, &varvev1.AcceptLossRequest{Author: "ana"})
	requireCode(t, codes.InvalidArgument, err, "reason")
	refusing := start(t, Options{})
	_, err = varvev1.NewAdminServiceClient(refusing.conn).Checkpoint(ctx, &varvev1.CheckpointRequest{Directory: "x"})
	requireCode(t, codes.PermissionDenied, err, "--checkpoint-dir")
}

func TestMetrics(t *testing.T) {
	s := start(t, Options{})
	s.write(t, floats("a", 1, 1, 2, 3))
	s.ingestStream(t, hello("twice"))
	s.ingestStream(t, hello("twice"))
	_, err := varvev1.NewIngestServiceClient(s.conn).Write(testContext(t), &varvev1.WriteRequest{Batch: &varvev1.Batch{Runs: []*varvev1.Run{floats("nobody", 1, 1, 2)}}})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	addr, served := make(chan net.Addr, 1), make(chan error, 1)
	go func() { served <- s.ServeMetrics(ctx, "127.0.0.1:0", func(a net.Addr) { addr <- a }) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	resp, err := client.Get(fmt.Sprintf("http://%s/metrics", <-addr))
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	for _, want := range []string{
		"varve_ingest_samples_accepted_total 3", "varve_ingest_samples_applied_total 3",
		`varve_ingest_samples_rejected_total{code="REJECT_CODE_UNKNOWN_TAG"} 2`, "varve_head_samples 3", "varve_tags 1",
		`varve_calls_total{method="/varve.v1.IngestService/Write",status="OK"} 2`, "process_open_fds", `varve_alarm{name="source_fenced"} 1`,
		"varve_tls_handshakes_failed_total 0", `varve_disk_bytes{part="log"}`,
	} {
		require.Contains(t, string(body), want)
	}
	cancel()
	require.NoError(t, <-served)
}

func TestOptionsThatMakeNoSense(t *testing.T) {
	db, err := storage.Open("store", storage.Options{FS: vfs.NewMem(), MinFreeBytes: -1, BallastBytes: -1, MemoryBytes: 64 << 20})
	require.NoError(t, err)
	defer db.Close()
	for field, o := range map[string]Options{
		"MaxMessageBytes": {MaxMessageBytes: 1}, "MaxBatchSamples": {MaxBatchSamples: -1}, "MaxBatchRuns": {MaxBatchRuns: -1},
		"StreamBytes": {StreamBytes: -1}, "MaxConnections": {MaxConnections: -1}, "DrainTimeout": {DrainTimeout: -1}, "StallTimeout": {StallTimeout: -1},
	} {
		_, err := New(db, o)
		require.ErrorContains(t, err, field)
	}
}
