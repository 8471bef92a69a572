package main

import (
	"bytes"
	"encoding/json"
	"io"
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

// measurable is a directory and the program of this tree, where figures can be had.
func measurable(t *testing.T) (dir, binary string) {
	if _, err := cpuSeconds("self"); err != nil {
		t.Skip("figures come from /proc, which this machine does not have: ", err)
	}
	dir = t.TempDir()
	binary, err := build(t.Context(), "", dir)
	require.NoError(t, err)
	return dir, binary
}

// A plant sent in order and shuffled is the same plant, by every answer and by hash.
func TestMeasureShuffle(t *testing.T) {
	o := small("w1", 0)
	o.Dir, o.Binary = measurable(t)
	o.Tags, o.Step, o.RunSamples, o.InFlight, o.Queries, o.Seal = 20, 10, 1, 4, true, true
	require.NoError(t, o.validate())
	r, err := measureShuffle(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, 20, r.Equal)
	require.Positive(t, r.AcceptedRate)
	require.Positive(t, r.SealedBytes)
	var table bytes.Buffer
	require.NoError(t, r.table(&table))
	require.Contains(t, table.String(), "same content")

	a := []content{{day: 1, tag: 1, hash: 1}, {day: 1, tag: 2, hash: 2}}
	b := []content{{day: 1, tag: 1, hash: 1}, {day: 1, tag: 2, hash: 3}}
	_, err = compareContents(a, b)
	require.ErrorContains(t, err, "hash:3")
	_, err = compareContents(a, b[:1])
	require.Error(t, err)
}

// More tags and more samples, both series small.
func TestMeasureGrowth(t *testing.T) {
	o := &growthOptions{
		Series: []string{"tags", "amount"}, Tags: []int{20, 200}, Samples: 20_000, AmountTags: 20, Total: 240_000, Stage: 80_000, Connections: 2, Repeat: 1, Output: "table",
	}
	o.Dir, o.Binary = measurable(t)
	require.NoError(t, o.validate())
	r, err := measureGrowth(t.Context(), o, io.Discard)
	require.NoError(t, err)
	require.Len(t, r.Tags, 2)
	require.Equal(t, 1.0, r.Tags[0].Rate)
	require.Positive(t, r.Tags[1].StartedIdleRSS)
	require.Len(t, r.Amount, 4)
	require.Equal(t, uint64(240_000), r.Amount[3].Stored.Samples)
	require.Zero(t, r.Amount[3].Stored.Generations)
	var table bytes.Buffer
	require.NoError(t, r.table(&table))
	require.Contains(t, table.String(), "sealed")

	o.Tags = []int{30}
	require.ErrorContains(t, o.validate(), "--samples")
	o.Tags, o.Total = []int{20}, 100_000
	require.ErrorContains(t, o.validate(), "--total")
}

// A whole run on a small plant: the figures are worth nothing, but every answer is compared with what was sent.
func TestMeasure(t *testing.T) {
	dir, binary := measurable(t)
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
		questions := 6 + len(bucketQuestions(o))
		if workload == "w1" {
			questions++ // the wide table
		}
		require.Len(t, again.Queries, questions)
		require.Positive(t, again.Stored.BytesPerSample)
	}
}
