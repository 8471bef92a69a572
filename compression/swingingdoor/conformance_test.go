package swingingdoor_test

import (
	"encoding/json"
	"math"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/compression/filter"
	"github.com/varvedb/varve/compression/swingingdoor"
	"github.com/varvedb/varve/model"
)

func number(t int64, v float64) model.Sample {
	return model.Sample{Time: t, Type: model.Float64, Bits: math.Float64bits(v)}
}

func deviation(d float64) filter.Settings { return filter.Settings{Filter: model.Filter{Deviation: d}} }

// run is what a filter keeps of samples, with the last.
func run(t require.TestingT, s filter.Settings, form swingingdoor.Form, samples []model.Sample) []filter.Kept {
	f, err := swingingdoor.New(s, form)
	require.NoError(t, err)
	var kept []filter.Kept
	for _, x := range samples {
		kept = f.Add(kept, x)
	}
	return f.Flush(kept)
}

// points is samples as [seconds, value].
func points(kept []filter.Kept) [][2]float64 {
	out := [][2]float64{}
	for _, k := range kept {
		v, _ := k.Float64()
		out = append(out, [2]float64{float64(k.Time) / 1e9, v})
	}
	return out
}

func seconds(raw [][2]float64) (samples []model.Sample) {
	for _, p := range raw {
		samples = append(samples, number(int64(p[0]*1e9), p[1]))
	}
	return samples
}

// TestPublicVectors holds both forms against what others keep. What differs does so on purpose, and the reason is here.
func TestPublicVectors(t *testing.T) {
	differs := map[string]struct {
		why  string
		kept [][2]float64
	}{
		"trend3": {
			"at the end of a batch the source tests one more door; a stream has no end, and (8,3) is exactly a deviation off the line",
			[][2]float64{{1, 0}, {4, 5}, {5, -2}, {6, 5}, {9, 5}},
		},
		"trend3_mini": {"as trend3", [][2]float64{{5, -2}, {6, 5}, {9, 5}}},
		"minDeltaX": {
			"the source leaves out what comes within the time of a sample kept or sooner; here sooner only",
			[][2]float64{{0, 2}, {4, 2}, {5, 10}, {6, 3}, {9, 3}},
		},
	}
	var file struct {
		Cases []struct {
			Name, Variant string
			Params        struct {
				CompDev float64 `json:"comp_dev"`
				MaxDX   float64 `json:"max_dx"`
				MinDX   float64 `json:"min_dx"`
			}
			Raw, Expect [][2]float64
		}
	}
	raw, err := os.ReadFile("testdata/swinging_door.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, &file))
	textbook := 0
	for _, c := range file.Cases {
		s := deviation(c.Params.CompDev)
		s.MaxTime = time.Duration(c.Params.MaxDX * 1e9)
		s.MinTime = time.Duration(c.Params.MinDX * 1e9)
		other, known := differs[c.Name]
		if !known {
			other.kept = c.Expect
		}
		if c.Variant == "textbook" {
			require.False(t, known, c.Name)
			textbook++
		}
		require.Equal(t, other.kept, points(run(t, s, swingingdoor.Textbook, seconds(c.Raw))), "%s: %s", c.Name, other.why)
		require.Equal(t, other.kept, points(run(t, s, swingingdoor.Strict, seconds(c.Raw))), "%s: %s", c.Name, other.why)
	}
	require.Equal(t, 6, textbook)
}
