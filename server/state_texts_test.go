package server

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/stretchr/testify/require"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// TestStatesAreWrittenByText writes texts to a tag of states: each becomes the code that the set in force at its time has for it.
func TestStatesAreWrittenByText(t *testing.T) {
	s := start(t, Options{})
	ctx := testContext(t)
	client := varvev1.NewCatalogServiceClient(s.conn)
	for from, states := range [][]*varvev1.DigitalState{
		{{Code: 0, Text: "stopped"}, {Code: 1, Text: "running"}},
		{{Code: 0, Text: "stopped"}, {Code: 1, Text: "starting"}, {Code: 2, Text: "running"}},
	} {
		_, err := client.PutStateSet(ctx, &varvev1.PutStateSetRequest{Set: &varvev1.StateSet{Name: "pump", FromNs: int64(from) * 10e9, States: states}})
		require.NoError(t, err)
	}
	_, err := client.CreateTags(ctx, &varvev1.CreateTagsRequest{Tags: []*varvev1.Tag{
		{Name: "pump", Settings: []*varvev1.Settings{{Type: varvev1.Type_TYPE_STATE, StateSet: "pump"}}},
		{Name: "free", Settings: []*varvev1.Settings{{Type: varvev1.Type_TYPE_STATE}}},
		{Name: "number", Settings: []*varvev1.Settings{{Type: varvev1.Type_TYPE_INT64}}},
	}})
	require.NoError(t, err)
	write := func(r *varvev1.Run) *varvev1.BatchResult {
		w, err := varvev1.NewIngestServiceClient(s.conn).Write(ctx, &varvev1.WriteRequest{Batch: &varvev1.Batch{Runs: []*varvev1.Run{r}}})
		require.NoError(t, err)
		return w.Result
	}
	result := write(&varvev1.Run{
		Tag: "pump", TimesNs: []int64{1e9, 2e9, 3e9, 4e9, 11e9, 12e9}, Text: []string{"running", "starting", "anything", "", "starting", "running"}, NullAt: []uint32{2},
	})
	require.EqualValues(t, 4, result.Samples)
	require.EqualValues(t, 2, result.Rejected)
	for i, says := range []string{`"starting" is not in the digital-state set "pump" in force at 1970-01-01T00:00:02Z`, `"" is not in`} {
		require.Equal(t, varvev1.RejectCode_REJECT_CODE_UNKNOWN_STATE, result.Rejections[i].Code)
		require.Contains(t, result.Rejections[i].Reason, says)
	}
	b, err := ipcBytes(varvev1.NewQueryServiceClient(s.conn).ReadAggregates(ctx, &varvev1.ReadAggregatesRequest{Tags: []string{"pump"}, EndNs: 20e9, StepNs: 10e9, Aggregates: []string{"first", "last", "count"}}))
	require.NoError(t, err)
	reader, err := ipc.NewReader(bytes.NewReader(b))
	require.NoError(t, err)
	defer reader.Release()
	require.True(t, reader.Next())
	rec := reader.Record()
	require.Equal(t, []any{"[1 1]", "[1 2]"}, []any{fmt.Sprint(rec.Column(2)), fmt.Sprint(rec.Column(3))})

	require.EqualValues(t, 1, write(&varvev1.Run{Tag: "pump", TimesNs: []int64{5e9}, State: []int64{1}}).Samples, "codes go on as they were")
	for _, x := range []struct {
		run  *varvev1.Run
		code varvev1.RejectCode
	}{
		{&varvev1.Run{Tag: "free", TimesNs: []int64{1e9}, Text: []string{"running"}}, varvev1.RejectCode_REJECT_CODE_UNKNOWN_STATE},
		{&varvev1.Run{Tag: "number", TimesNs: []int64{1e9}, Text: []string{"1"}}, varvev1.RejectCode_REJECT_CODE_TYPE_MISMATCH},
		{&varvev1.Run{Tag: "pump", TimesNs: []int64{6e9, 7e9}, Text: []string{"running"}}, varvev1.RejectCode_REJECT_CODE_MALFORMED},
		{&varvev1.Run{Tag: "pump", TimesNs: []int64{6e9}, Text: []string{"running"}, State: []int64{1}}, varvev1.RejectCode_REJECT_CODE_MALFORMED},
	} {
		result := write(x.run)
		require.Zero(t, result.Samples, "%v", x.run)
		require.Equal(t, x.code, result.Rejections[0].Code, "%v", result.Rejections)
	}
}
