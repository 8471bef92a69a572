package main

import (
	"fmt"
	"io"
	"maps"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/internal/answer"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// aggregatesOf is what a server answers for buckets of 10 s of a tag, by bucket: those that have a value.
func aggregatesOf(t testing.TB, s *served, tag, function string) map[int64]string {
	out := map[int64]string{}
	stream, err := s.client().query.ReadProcessed(t.Context(), &varvev1.ReadProcessedRequest{
		Tags: []string{tag}, StartNs: 1_699_999_000e9, EndNs: 1_700_020_000e9, StepNs: 10e9, Aggregates: []string{function},
	})
	require.NoError(t, err)
	r, err := answer.NewReader(stream)
	require.NoError(t, err)
	defer r.Close()
	for rows := answer.NewRows(r, nil); ; {
		row, err := rows.Next()
		if err == io.EOF {
			return out
		}
		require.NoError(t, err)
		if v, ok := row.Value.Number(); ok {
			out[row.Time] = valueOf(math.Float64bits(v), row.Quality)
		}
	}
}

// TestForwardAggregates holds averages, counts and maxima at the site to what the edge answers, after late samples, edits, removals and deletes at the edge, while edge, site, forwarder and
// networks stop and start.
func TestForwardAggregates(t *testing.T) {
	functions := map[string]string{"time_weighted_average": ".AVG", "maximum": ".MAX", "event_weighted_average": ".MEAN"}
	bySeeds(t, 2, func(t *testing.T, seed uint64) {
		x := newTrial(t, seed)
		x.load.kinds = []int{0, 0, 0, 0, 1, 2, 3, 4, 5, 8}
		x.run(x.rng.IntN(20), 1)
		rules := "raw: " + []string{"true", "false"}[x.rng.IntN(2)] + "\naggregates:\n"
		for f, suffix := range functions {
			rules += fmt.Sprintf("  - {tags: ['PLAIN.*'], function: %s, every: 10s, suffix: %s, settle: 1ms}\n", f, suffix)
		}
		x.forward(forwardConfig(t, x.edge, x.site, rules))
		x.run(60, 4, x.site.restart, x.edge.restart, x.restart, x.site.wire.cut, x.pause, x.pause, x.pause, x.pause)
		for function, suffix := range functions {
			for tag := range x.load.model {
				requireAggregates(t, x, tag, function, tag+suffix)
			}
		}
	})
}

// requireAggregates waits until the site holds in a tag what the edge answers of another.
func requireAggregates(t testing.TB, x *trial, tag, function, siteTag string) {
	want := aggregatesOf(t, x.edge, tag, function)
	if len(want) == 0 {
		return
	}
	var got map[int64]string
	var err error
	for until := time.Now().Add(60 * time.Second); time.Now().Before(until) && !maps.Equal(want, got); time.Sleep(20 * time.Millisecond) {
		got, err = samplesAt(t, x.site.client(), siteTag)
	}
	require.NoError(t, err)
	require.Equal(t, want, got, "%s of %s", function, tag)
}
