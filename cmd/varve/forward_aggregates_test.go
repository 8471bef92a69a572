package main

import (
	"fmt"
	"io"
	"math"
	"math/rand/v2"
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
			out[row.Time] = fmt.Sprintf("%x %x", math.Float64bits(v), uint32(row.Quality))
		}
	}
}

// derived is the samples of a tag of aggregates, in the same shape.
func derived(t testing.TB, s *served, tag string) (map[int64]string, error) {
	out := map[int64]string{}
	start, end := int64(-math.MaxInt64), int64(math.MaxInt64)
	stream, err := s.client().query.ReadRange(t.Context(), &varvev1.ReadRangeRequest{Tags: []string{tag}, StartNs: &start, EndNs: &end})
	if err != nil {
		return nil, err
	}
	r, err := answer.NewReader(stream)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	for rows := answer.NewRows(r, nil); ; {
		row, err := rows.Next()
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		out[row.Time] = fmt.Sprintf("%x %x", row.Value.Bits, uint32(row.Quality))
	}
}

// TestForwardAggregates holds averages, counts and maxima at the site to what the edge answers, after late samples, edits, removals and deletes at the edge, while edge, site, forwarder and
// networks stop and start.
func TestForwardAggregates(t *testing.T) {
	seeds := 2
	if testing.Short() {
		seeds = 1
	}
	functions := map[string]string{"time_weighted_average": ".AVG", "maximum": ".MAX", "event_weighted_average": ".MEAN"}
	for k := range seeds {
		seed := uint64(time.Now().UnixNano()) + uint64(k)
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 0))
			edge := newServed(t, "--generation-samples", "200")
			site := newServed(t, "--generation-samples", "300")
			load := newForwardLoad(t, rng, edge)
			load.kinds = []int{0, 0, 0, 0, 1, 2, 3, 4, 5, 8}
			for range rng.IntN(20) {
				load.step()
			}
			rules := ""
			for f, suffix := range functions {
				rules += fmt.Sprintf("  - {tags: ['PLAIN.*'], function: %s, every: 10s, suffix: %s, settle: 1ms}\n", f, suffix)
			}
			f := newForwarding(t, forwardConfig(t, edge, site, "raw: "+[]string{"true", "false"}[rng.IntN(2)]+"\naggregates:\n"+rules))
			f.start()
			for range 60 {
				load.step()
				switch rng.IntN(12) {
				case 0:
					site.restart()
				case 1:
					edge.restart()
				case 2:
					f.stop()
					f.start()
				case 3:
					site.wire.cut()
				case 4, 5:
					time.Sleep(time.Duration(rng.IntN(1500)) * time.Millisecond)
				}
			}
			for function, suffix := range functions {
				for tag := range load.model {
					want := aggregatesOf(t, edge, tag, function)
					var got map[int64]string
					var err error
					same := func() bool {
						if got, err = derived(t, site, tag+suffix); err != nil || len(got) != len(want) {
							return len(want) == 0
						}
						for at, v := range want {
							if got[at] != v {
								return false
							}
						}
						return true
					}
					for until := time.Now().Add(60 * time.Second); time.Now().Before(until) && !same(); time.Sleep(50 * time.Millisecond) {
					}
					if len(want) > 0 {
						require.NoError(t, err)
						require.Equal(t, want, got, "%s of %s", function, tag)
					}
				}
			}
		})
	}
}
