package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func writeGzip(t *testing.T, path string, content []byte) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write(content)
	require.NoError(t, err)
	require.NoError(t, z.Close())
	require.NoError(t, os.WriteFile(path, b.Bytes(), 0o644))
}

func TestBenchCodecs(t *testing.T) {
	dir := t.TempDir()
	table := "time,PT-101,text,empty,valve\n"
	var doubles []byte
	for i := range 3000 {
		table += fmt.Sprintf("2026-01-01T00:00:00Z,%.1f,run,,%d\n", 50+5*math.Sin(float64(i)/100), i/1000)
	}
	for i := range 70000 { // two chunks
		doubles = binary.LittleEndian.AppendUint64(doubles, math.Float64bits(math.Sqrt(float64(i))))
	}
	csvFile, doubleFile := filepath.Join(dir, "plant.csv"), filepath.Join(dir, "roots.f64.gz")
	require.NoError(t, os.WriteFile(csvFile, []byte(table), 0o644))
	writeGzip(t, doubleFile, doubles)

	var out, errs bytes.Buffer
	code := run(context.Background(), []string{"bench", "codecs", "--output", "json", "--passes", "1", csvFile, doubleFile}, &out, &errs)
	require.Zero(t, code, errs.String())
	var results []codecResult
	require.NoError(t, json.Unmarshal(out.Bytes(), &results))
	of := map[string]map[string]codecResult{}
	for _, r := range results {
		key := r.File + " " + r.Column
		if of[key] == nil {
			of[key] = map[string]codecResult{}
		}
		of[key][r.Codec] = r
		require.Contains(t, []int{3000, 70000}, r.Values)
		require.Positive(t, r.BitsPerValue)
		require.Positive(t, r.EncodeMPerS)
		require.Positive(t, r.DecodeMPerS)
	}
	require.Len(t, of, 3, "columns of text and empty ones are no numbers")
	pressure := of["plant.csv PT-101"]
	for name, r := range pressure {
		require.LessOrEqual(t, pressure["chosen"].BitsPerValue, r.BitsPerValue*1.05, name)
	}
	require.Contains(t, pressure, "decimal")
	require.Equal(t, []string{"runs"}, of["plant.csv valve"]["chosen"].Chose)
	require.NotContains(t, of["roots.f64.gz "], "narrow")
	require.Contains(t, of["roots.f64.gz "], "zstd")

	out.Reset()
	require.Zero(t, run(context.Background(), []string{"bench", "codecs", "--passes", "1", csvFile}, &out, &errs))
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.True(t, strings.HasPrefix(lines[0], "FILE"), lines[0])
	require.Contains(t, out.String(), "chosen (")
}

func TestBenchCodecsRefuses(t *testing.T) {
	dir := t.TempDir()
	odd := filepath.Join(dir, "odd.f64")
	require.NoError(t, os.WriteFile(odd, []byte("seven b"), 0o644))
	for want, args := range map[int][][]string{
		exitUsage:   {{"bench", "codecs"}, {"bench", "codecs", "--output", "xml", odd}, {"bench", "codecs", "--passes", "0", odd}},
		exitFailure: {{"bench", "codecs", odd}, {"bench", "codecs", filepath.Join(dir, "none.csv")}, {"bench", "codecs", dir}},
	} {
		for _, a := range args {
			var out, errs bytes.Buffer
			require.Equal(t, want, run(context.Background(), a, &out, &errs), "%v: %s", a, errs.String())
		}
	}
}
