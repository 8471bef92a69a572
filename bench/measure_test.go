package main

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMain lets the test binary be started as the client, the way the program starts itself.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == clientCommand {
		main()
		return
	}
	os.Exit(m.Run())
}

// A whole run on a small plant: the figures are worth nothing, but every answer is compared with what was sent.
func TestMeasure(t *testing.T) {
	if _, err := cpuSeconds("self"); err != nil {
		t.Skip("figures come from /proc, which this machine does not have: ", err)
	}
	dir := t.TempDir()
	binary, err := build(t.Context(), dir)
	require.NoError(t, err)
	for _, workload := range []string{"w1", "w2"} {
		o := small(workload, 0)
		o.Tags, o.InFlight, o.Queries, o.Dir, o.Binary = 20, 4, true, dir, binary
		require.NoError(t, o.validate())
		r, err := measure(t.Context(), o)
		require.NoError(t, err, workload)

		var table, js bytes.Buffer
		require.NoError(t, printReport(r, "json", &js, &table))
		require.Contains(t, table.String(), "accepted")
		var again report
		require.NoError(t, json.Unmarshal(js.Bytes(), &again))
		require.Equal(t, uint64(o.samples()), again.Ingest.Accepted)
		require.Equal(t, uint64(o.samples()), again.Stored.Samples)
		require.Len(t, again.Queries, 6+len(bucketQuestions(o)))
		require.Positive(t, again.Stored.BytesPerSample)
	}
}
