package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestConformanceToPublicVectors runs the command on the bundled vectors. What differs from them stands with its reason in
// query/part13/testdata/differences.txt.
func TestConformanceToPublicVectors(t *testing.T) {
	var out, stderr bytes.Buffer
	require.Zero(t, run(t.Context(), []string{"conformance", "--output", "json", "--failures", "../../query/testdata/conformance/opcua_aggregates.json"}, &out, &stderr), stderr.String())
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	var whole bytes.Buffer
	require.Zero(t, run(t.Context(), []string{"conformance", "--output", "json", "../../query/testdata/conformance/opcua_examples_105.json"}, &whole, &stderr), stderr.String())
	// AnnotationCount, and four rows of DurationBad and PercentBad.
	require.JSONEq(t, `{"file":"opcua_examples_105.json","cases":159,"rows":1393,"value":{"pass":1360,"of":1393},"severity":{"pass":1393,"of":1393},
		"code":{"pass":1393,"of":1393},"bits":{"pass":1393,"of":1393},"contested":{"pass":0,"of":0}}`, whole.String()[strings.LastIndex(whole.String(), "{\"file\""):])
	require.JSONEq(t, `{"file":"opcua_aggregates.json","cases":193,"rows":1260,"value":{"pass":1052,"of":1065},"severity":{"pass":1041,"of":1042},
		"code":{"pass":975,"of":979},"bits":{"pass":1014,"of":1039},"contested":{"pass":191,"of":195}}`, lines[len(lines)-1])
	failures := 0
	for _, line := range lines {
		var d struct{ Case, Row, In, Want, Got string }
		require.NoError(t, json.Unmarshal([]byte(line), &d))
		if d.In != "" {
			failures++
			require.NotEmpty(t, d.Case+d.Row)
		}
	}
	require.NotZero(t, failures)
}

// TestConformanceOfFiltersAndBounds: of the points of the algorithms that the filters follow one is not as its source has it, because
// after (4, 0.6) was sent a reader holds 0.6, and the source goes on to compare with 0.5. Of raw reads only what is contested differs.
func TestConformanceOfFiltersAndBounds(t *testing.T) {
	var out, stderr bytes.Buffer
	folder := "../../query/testdata/conformance/"
	require.Zero(t, run(t.Context(), []string{"conformance", "--output", "json", "--failures", folder + "swinging_door.json", folder + "opcua_part11_raw_bounds.json"}, &out, &stderr), stderr.String())
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.JSONEq(t, `{"file":"swinging_door.json","cases":20,"rows":77,"value":{"pass":36,"of":37},"severity":{"pass":0,"of":0},
		"code":{"pass":0,"of":0},"bits":{"pass":0,"of":0},"contested":{"pass":30,"of":40}}`, lines[len(lines)-2])
	require.JSONEq(t, `{"file":"opcua_part11_raw_bounds.json","cases":45,"rows":125,"value":{"pass":121,"of":121},"severity":{"pass":123,"of":123},
		"code":{"pass":123,"of":123},"bits":{"pass":0,"of":0},"contested":{"pass":0,"of":2}}`, lines[len(lines)-1])
	require.Contains(t, out.String(), `{"case":"trend","rule":"swinging_door, textbook","rows":5,"pass":5}`)
	require.Contains(t, out.String(), `{"case":"deadband_maxDelta","source":"gfoidl","row":"5","in":"value","want":"left out","got":"[5 0.4]"}`)
}

// TestConformanceOfLTTB asks for what other implementations keep: every point of theirs, and no other.
func TestConformanceOfLTTB(t *testing.T) {
	var out, stderr bytes.Buffer
	require.Zero(t, run(t.Context(), []string{"conformance", "--output", "json", "--failures", "../../query/testdata/conformance/lttb.json"}, &out, &stderr), stderr.String())
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.JSONEq(t, `{"file":"lttb.json","cases":9,"rows":408,"value":{"pass":408,"of":408},"severity":{"pass":0,"of":0},
		"code":{"pass":0,"of":0},"bits":{"pass":0,"of":0},"contested":{"pass":0,"of":0}}`, lines[len(lines)-1])
	require.Len(t, lines, 10)
}

// TestConformanceOfOwnFunctions runs the command on examples of other engines. docs/reference/aggregates.md says what differs: by decision
// what is contested.
func TestConformanceOfOwnFunctions(t *testing.T) {
	var out, stderr bytes.Buffer
	const dir = "../../query/testdata/conformance/"
	require.Zero(t, run(t.Context(), []string{"conformance", "--output", "json", "--failures", dir + "time_weighted.json", dir + "percentile_sketch.json"}, &out, &stderr), stderr.String())
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.JSONEq(t, `{"file":"time_weighted.json","cases":29,"rows":79,"value":{"pass":74,"of":74},"severity":{"pass":0,"of":0},
		"code":{"pass":0,"of":0},"bits":{"pass":0,"of":0},"contested":{"pass":2,"of":5}}`, lines[len(lines)-2])
	require.JSONEq(t, `{"file":"percentile_sketch.json","cases":13,"rows":31,"value":{"pass":15,"of":15},"severity":{"pass":0,"of":0},
		"code":{"pass":0,"of":0},"bits":{"pass":0,"of":0},"contested":{"pass":5,"of":16}}`, lines[len(lines)-1])
	for _, line := range lines[:len(lines)-2] {
		var d struct {
			Case, In  string
			Contested bool
		}
		require.NoError(t, json.Unmarshal([]byte(line), &d))
		require.True(t, d.In == "" || d.Contested, line)
	}
}

func TestConformanceRefusesOtherFiles(t *testing.T) {
	var out, stderr bytes.Buffer
	require.Equal(t, exitFailure, run(t.Context(), []string{"conformance", "../../go.mod"}, &out, &stderr))
	require.Contains(t, stderr.String(), "not a file of test vectors")
	require.Equal(t, exitUsage, run(t.Context(), []string{"conformance"}, &out, &stderr))
}

// TestQueryAsksForPart13AndCalendars prints aggregates of Part 13 for people and programs, and of days in a zone.
func TestQueryAsksForPart13AndCalendars(t *testing.T) {
	addr, stop := runServe(t, "--data", filepath.Join(t.TempDir(), "store"), "--listen", "127.0.0.1:0", "--min-free", "0", "--ballast", "0", "--memory", "64MiB")
	defer stop()
	ask := func(args ...string) (string, string, int) {
		var out, stderr bytes.Buffer
		code := run(t.Context(), append(args, "--server", addr), &out, &stderr)
		return out.String(), stderr.String(), code
	}
	_, stderr, code := ask("import", "sample/tep/tep_idv06.csv.gz")
	require.Zero(t, code, stderr)
	of := []string{"query", "--start", "2001-01-01T06:00:00Z", "--end", "2001-01-01T14:00:00Z", "XMEAS_01"}
	table, stderr, code := ask(append(of, "--every", "4h", "--aggregate", "WorstQuality,Count")...)
	require.Zero(t, code, stderr)
	require.Equal(t, []string{
		"TIME TAG FUNCTION VALUE QUALITY PERCENT_GOOD RAW_COUNT",
		"2001-01-01T06:00:00Z XMEAS_01 WorstQuality Good Good+Calculated 100 80",
		"2001-01-01T06:00:00Z XMEAS_01 Count 80 Good+Calculated 100 80",
		"2001-01-01T10:00:00Z XMEAS_01 WorstQuality Good Good+Calculated 100 80",
		"2001-01-01T10:00:00Z XMEAS_01 Count 80 Good+Calculated 100 80",
	}, fields(table))
	text, stderr, code := ask(append(of, "--every", "1d", "--tz", "Asia/Kolkata", "--aggregate", "count", "--output", "csv")...)
	require.Zero(t, code, stderr)
	require.Equal(t, []string{
		"time,tag,count,quality,percent_good,label", "2001-01-01T06:00:00Z,XMEAS_01,160,Good,100,2001-01-01",
	}, fields(text))
	shifts := filepath.Join(t.TempDir(), "shifts.json")
	require.NoError(t, os.WriteFile(shifts, []byte(`{"zone": "UTC", "shifts": [
		{"name": "early", "start": "06:00", "end": "10:00"}, {"name": "late", "start": "10:00", "end": "14:00"}]}`), 0o600))
	text, stderr, code = ask(append(of, "--every", "shift", "--calendar", shifts, "--aggregate", "Count", "--output", "json")...)
	require.Zero(t, code, stderr)
	require.Contains(t, text, "early")
	require.Contains(t, text, "late")
	for args, says := range map[string]string{
		"--aggregate Count,kount":                "must be one of Part 13",
		"--aggregate Average --every fortnight":  "fortnight",
		"--aggregate average":                    "time_weighted_average",
		"--every 1d":                             "add --interpolated, or --aggregate",
		"--aggregate Count --calendar none.json": "--every",
	} {
		_, stderr, code := ask(append(of, strings.Fields(args)...)...)
		require.NotZero(t, code, args)
		require.Contains(t, stderr, says, args)
	}
}

// fields is lines with one space between words.
func fields(text string) (lines []string) {
	for line := range strings.Lines(text) {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	return lines
}
