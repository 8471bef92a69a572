package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/internal/chart"
)

// TestAPlotIsThatOfAllSamples draws a tag with gaps from the pixels that the server answers, and from all samples.
func TestAPlotIsThatOfAllSamples(t *testing.T) {
	address, _ := serveInProcess(t, t.TempDir())
	rng := rand.New(rand.NewPCG(2, 4))
	start := time.Date(2026, 3, 1, 6, 0, 0, 0, time.UTC)
	var csv strings.Builder
	csv.WriteString("time,tag,value,quality\n")
	want := chart.New("P-1", start.UnixNano(), start.Add(8*time.Hour).UnixNano(), 60, 12, false)
	v, last := 5.0, start
	for at := start; at.Before(start.Add(8 * time.Hour)); at = at.Add(time.Duration(1 + rng.Int64N(40e9))) {
		quality := "Good"
		v += math.Round(rng.NormFloat64()*16) / 64
		switch rng.IntN(200) {
		case 0:
			quality = "Uncertain"
		case 1:
			quality = "Bad"
		case 2:
			at = at.Add(20 * time.Minute)
		}
		fmt.Fprintf(&csv, "%s,P-1,%v,%s\n", at.Format(time.RFC3339Nano), v, quality)
		if quality == "Bad" || at.Sub(last) > 15*time.Minute {
			want.Gap()
		}
		if quality != "Bad" {
			want.Add(at.UnixNano(), v)
		}
		last = at
	}
	varve(t, "tags", "create", "--server", address, "P-1", "--type", "float64", "--max-gap", "15m")
	varve(t, "import", "--server", address, writeFile(t, "x.csv", csv.String()))
	var picture strings.Builder
	require.NoError(t, want.Draw(&picture, time.UTC))
	ask := []string{"query", "--server", address, "--start", "2026-03-01T06:00:00Z", "--end", "2026-03-01T14:00:00Z", "P-1"}
	require.Equal(t, picture.String(), varve(t, append(ask, "--plot", "--width", "60")...))

	rows := strings.Split(strings.TrimSpace(varve(t, append(ask, "--pixels", "10", "--use-uncertain", "-o", "csv")...)), "\n")
	require.Equal(t, "tag,bucket,kind,time,value,worst_quality,gap", rows[0])
	require.Greater(t, len(rows), 20)
	require.LessOrEqual(t, len(rows), 1+6*10)
	kept := varve(t, append(ask, "--pixels", "10", "--lttb", "-o", "csv")...)
	require.Contains(t, kept, "\nP-1,,kept,2026-03-01T06:00:00Z,")
}
