package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/varvedb/varve/internal/conformance"
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
	require.JSONEq(t, `{"file":"opcua_aggregates.json","cases":193,"rows":1260,"value":{"pass":1049,"of":1062},"severity":{"pass":1039,"of":1039},
		"code":{"pass":973,"of":976},"bits":{"pass":1012,"of":1037},"contested":{"pass":193,"of":198}}`, lines[len(lines)-1])
	var stack bytes.Buffer
	require.Zero(t, run(t.Context(), []string{"conformance", "--output", "json", "../../query/testdata/conformance/opcua_reference_stack.json"}, &stack, &stderr), stderr.String())
	require.JSONEq(t, `{"file":"opcua_reference_stack.json","cases":99,"rows":154,"value":{"pass":136,"of":136},"severity":{"pass":91,"of":91},
		"code":{"pass":88,"of":88},"bits":{"pass":91,"of":91},"contested":{"pass":2,"of":7}}`, stack.String()[strings.LastIndex(stack.String(), "{\"file\""):])
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
	require.JSONEq(t, `{"file":"swinging_door.json","cases":24,"rows":95,"value":{"pass":54,"of":55},"severity":{"pass":0,"of":0},
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
	require.JSONEq(t, `{"file":"lttb.json","cases":12,"rows":3908,"value":{"pass":3908,"of":3908},"severity":{"pass":0,"of":0},
		"code":{"pass":0,"of":0},"bits":{"pass":0,"of":0},"contested":{"pass":0,"of":0}}`, lines[len(lines)-1])
	require.Len(t, lines, 13)
}

// TestConformanceOfOwnFunctions runs the command on examples of other engines. What differs is contested; docs/reference/aggregates.md says why.
func TestConformanceOfOwnFunctions(t *testing.T) {
	var out, stderr bytes.Buffer
	const dir = "../../query/testdata/conformance/"
	require.Zero(t, run(t.Context(), []string{"conformance", "--output", "json", "--failures", dir + "time_weighted.json", dir + "percentile_sketch.json"}, &out, &stderr), stderr.String())
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.JSONEq(t, `{"file":"time_weighted.json","cases":80,"rows":166,"value":{"pass":152,"of":152},"severity":{"pass":0,"of":0},
		"code":{"pass":0,"of":0},"bits":{"pass":0,"of":0},"contested":{"pass":6,"of":14}}`, lines[len(lines)-2])
	require.JSONEq(t, `{"file":"percentile_sketch.json","cases":13,"rows":31,"value":{"pass":15,"of":15},"severity":{"pass":0,"of":0},
		"code":{"pass":0,"of":0},"bits":{"pass":0,"of":0},"contested":{"pass":5,"of":16}}`, lines[len(lines)-1])
}

// TestConformanceOfUnusualFiles asks what no bundled file has: values of other types, all digits of an integer, data sets without a sample or
// without a type, samples out of order, times of other zones, names that occur twice. A question that the server refuses is a row that differs.
func TestConformanceOfUnusualFiles(t *testing.T) {
	file := filepath.Join(t.TempDir(), "unusual.json")
	require.NoError(t, os.WriteFile(file, []byte("\uFEFF"+unusual), 0o600))
	var out, stderr bytes.Buffer
	require.Zero(t, run(t.Context(), []string{"conformance", "--output", "json", "--failures", file, file}, &out, &stderr), stderr.String())
	differ := map[string]string{}
	for _, line := range strings.Split(strings.TrimSpace(out.String()), "\n") {
		var d struct{ Case, In, Got string }
		require.NoError(t, json.Unmarshal([]byte(line), &d))
		if d.In != "" {
			differ[d.Case] = d.In + ": " + d.Got
		}
	}
	require.Equal(t, map[string]string{
		"other integer": "value: 9007199254740993", "delta of text": "value: refused: Delta of tag vectors/1/7 (id 19), which is of type string: query makes no sense",
		"rounded wrong": "value: 0.6666666666666666", "not rounded": "value: 0.6666666666666666", "no aggregate": `value: refused: aggregate "ExtraData"…`, "too many": "value: refused: 28944010000000 buckets, most is 1048576: bad time range",
		"contested": "value: 7", "contested row": "value: 7", "no row": "value: none", "no error": "code: OK",
	}, differ)
	require.Equal(t, 2, strings.Count(out.String(), `"cases":24,"rows":26,"value":{"pass":17,"of":24},"severity":{"pass":12,"of":12},"code":{"pass":11,"of":11},`+
		`"bits":{"pass":4,"of":4},"contested":{"pass":0,"of":2}}`), out.String())
}

const unusual = `{"format": "x", "more": {"a": [1]}, "datasets": {
	"bools": {"value_type": "Boolean", "stepped": true, "points": [
		{"t": "2024-01-01T00:00:00Z", "v": true, "status": "Good"}, {"t": "2024-01-01T00:00:05Z", "v": 0, "status": "Good"}], "more": 3},
	"untyped bools": {"points": [{"t": "2024-01-01T00:00:00Z", "v": null, "status": "Bad"}, {"t": "2024-01-01T00:00:05Z", "v": true}]},
	"texts": {"value_type": "String", "points": [{"t": "2024-01-01T00:00:00Z", "v": "open", "status": "Good"}, {"t": "2024-01-01T00:00:05Z", "v": "shut"}]},
	"ints": {"value_type": "Int64", "points": [{"t": "2024-01-01T00:00:00Z", "v": 9007199254740993}, {"t": "2024-01-01T00:00:05Z", "v": 5e0}]},
	"uints": {"value_type": "UInt64", "points": [{"t": "2024-01-01T00:00:00Z", "v": 18446744073709551615}]},
	"thirds": {"points": [{"t": "2024-01-01T00:00:00Z", "v": 0}, {"t": "2024-01-01T00:00:01Z", "v": 1}, {"t": "2024-01-01T00:00:02Z", "v": 1}]},
	"empty": {"points": []}, "nothing": {},
	"one": {"points": [{"t": "2024-01-01T02:00:00+02:00", "v": 7, "status": "Good"}]},
	"special": {"points": [{"t": "2024-01-01T00:00:00Z", "v": "NaN"}, {"t": "2024-01-01T00:00:02Z", "v": "Infinity"}, {"t": "2024-01-01T00:00:04Z", "v": "-Inf"}]},
	"mixed": {"points": [{"t": "2024-01-01T00:00:05Z", "v": 5}, {"t": "2024-01-01T00:00:00Z", "v": 0},
		{"t": "2024-01-01T00:00:10Z", "v": null, "status": "Bad", "raw_status": "BadSensorFailure"}], "annotations": [{"t": "2024-01-01T00:00:01Z"}]}
}, "cases": [
	{"id": "bool", "dataset": "bools", "aggregate": "Start", "start": "2024-01-01T00:00:00Z", "end": "2024-01-01T00:00:05Z", "interval_ms": 0,
		"expect": [{"v": true, "status": "Good", "bits": []}]},
	{"id": "offset", "dataset": "bools", "aggregate": "Interpolative", "start": "2024-01-01T00:00:00Z", "end": "2024-01-01T00:00:10Z", "interval_ms": 5000,
		"rows_incomplete": true, "expect": [{"t": "2024-01-01T01:00:05+01:00", "v": false, "status": "Good", "bits": ["Raw"]}]},
	{"id": "untyped", "dataset": "untyped bools", "aggregate": "End", "start": "2024-01-01T00:00:00Z", "end": "2024-01-01T00:00:10Z", "expect": [{"v": true, "bits": null}]},
	{"id": "text", "dataset": "texts", "aggregate": "End", "start": "2024-01-01T00:00:00Z", "end": "2024-01-01T00:00:10Z", "interval_ms": 10000,
		"expect": [{"v": "shut", "status": "Good"}]},
	{"id": "delta of text", "dataset": "texts", "aggregate": "Delta", "start": "2024-01-01T00:00:00Z", "end": "2024-01-01T00:00:10Z", "expect": [{"v": 1}]},
	{"id": "integer", "dataset": "ints", "aggregate": "Start", "start": "2024-01-01T00:00:00Z", "end": "2024-01-01T00:00:10Z", "expect": [{"v": 9007199254740993}]},
	{"id": "other integer", "dataset": "ints", "aggregate": "Start", "start": "2024-01-01T00:00:00Z", "end": "2024-01-01T00:00:10Z", "expect": [{"v": 9007199254740992}]},
	{"id": "unsigned", "dataset": "uints", "aggregate": "Start", "start": "2024-01-01T00:00:00Z", "end": "2024-01-01T00:00:10Z", "expect": [{"v": 18446744073709551615}]},
	{"id": "empty", "dataset": "empty", "aggregate": "Count", "start": "2024-01-01T00:00:00Z", "end": "2024-01-01T00:00:10Z", "interval_ms": 5000,
		"expect": [{"v": null, "status": "BadNoData"}, {"v": null, "status": "BadNoData"}]},
	{"id": "nothing", "dataset": "nothing", "aggregate": "Interpolative", "start": "2024-01-01T00:00:00Z", "end": "2024-01-01T00:00:10Z", "interval_ms": 5000,
		"status_precision": "severity only", "expect": [{"v": null, "status": "Bad"}]},
	{"id": "one", "dataset": "one", "aggregate": "Average", "start": "2024-01-01T00:00:00Z", "end": "2024-01-01T00:00:10Z", "interval_ms": 20000, "config": {},
		"expect": [{"t": "2024-01-01T00:00:00Z", "v": 7, "status": "Good", "bits_include": ["Calculated"], "more": 1}]},
	{"id": "rounded", "dataset": "thirds", "aggregate": "Average", "start": "2024-01-01T00:00:00Z", "end": "2024-01-01T00:00:10Z", "expect": [{"v": 0.667}]},
	{"id": "rounded wrong", "dataset": "thirds", "aggregate": "Average", "start": "2024-01-01T00:00:00Z", "end": "2024-01-01T00:00:10Z", "expect": [{"v": 0.66}]},
	{"id": "not rounded", "dataset": "thirds", "aggregate": "Average", "start": "2024-01-01T00:00:00Z", "end": "2024-01-01T00:00:10Z", "value_tolerance": 0,
		"expect": [{"v": 0.667}]},
	{"id": "special", "dataset": "special", "aggregate": "Interpolative", "start": "2024-01-01T00:00:00Z", "end": "2024-01-01T00:00:06Z", "interval_ms": 2000,
		"expect": [{"v": "NaN", "status": "Good"}, {"v": "+Infinity", "status": "Good"}, {"v": "-Infinity", "status": "Good"}]},
	{"id": "reverse", "dataset": "mixed", "aggregate": "StartBound", "start": "2024-01-01T00:00:00Z", "end": "2024-01-01T00:00:05Z", "reverse": true,
		"config": {"treat_uncertain_as_bad": null}, "expect": [{"v": 5, "t": "2024-01-01T00:00:05Z", "status": "Good", "bits": []}]},
	{"id": "annotation", "dataset": "mixed", "aggregate": "AnnotationCount", "start": "2024-01-01T00:00:00Z", "end": "2024-01-01T00:00:10Z", "expect": [{"v": 1, "status": "Good"}]},
	{"id": "no aggregate", "dataset": "one", "aggregate": "ExtraData", "start": "2024-01-01T00:00:00Z", "end": "2024-01-01T00:00:10Z", "expect": [{"v": 1}]},
	{"id": "too many", "dataset": "one", "aggregate": "Count", "start": "2024-01-01T00:00:00Z", "end": "2024-12-01T00:00:10Z", "interval_ms": 0.001, "expect": [{"v": 8}]},
	{"id": "error", "dataset": "one", "aggregate": "Count", "start": "2024-01-01T00:00:00Z", "end": "2024-01-01T00:00:00Z", "expect_error": "Bad_InvalidArgument", "expect": null},
	{"id": "no error", "dataset": "one", "aggregate": "Count", "start": "2024-01-01T00:00:00Z", "end": "2024-01-01T00:00:10Z", "expect_error": "Bad_InvalidArgument"},
	{"id": "contested", "dataset": "one", "aggregate": "Average", "start": "2024-01-01T00:00:00Z", "end": "2024-01-01T00:00:10Z", "contested": "why", "expect": [{"v": 8}]},
	{"id": "contested row", "dataset": "one", "aggregate": "Average", "start": "2024-01-01T00:00:00Z", "end": "2024-01-01T00:00:10Z", "expect": [{"v": 8, "contested_by": ["X"]}]},
	{"id": "no row", "dataset": "one", "aggregate": "Average", "start": "2024-01-01T00:00:00Z", "end": "2024-01-01T00:00:10Z",
		"expect": [{"v": 7, "contested_by": []}, {"v": 7}]}
]}`

// TestConformanceSaysWhatIsWrong has files of the known formats with one mistake each, and what is said of it. None may end the command otherwise.
func TestConformanceSaysWhatIsWrong(t *testing.T) {
	aggregates := func(old, with string) string {
		const file = `{"datasets": {"d": {"value_type": "Int32", "points": [{"t": "2024-01-01T00:00:00Z", "v": 1, "status": "Good"}]}}, "cases": [
			{"id": "a", "dataset": "d", "aggregate": "Count", "start": "2024-01-01T00:00:00Z", "end": "2024-01-01T00:00:10Z", "interval_ms": 0, "expect": [{"t": null, "v": 1}]}]}`
		require.Contains(t, file, old)
		return strings.Replace(file, old, with, 1)
	}
	for text, says := range map[string]string{
		"":                           "unexpected end",
		"[]":                         "array is not what belongs there",
		"null":                       "none of the keys",
		aggregates("]}]}", "]}]} x"): "before byte",
		aggregates(`"v": 1, "status"`, `"v": NaN, "status"`):                                                                          "before byte",
		aggregates("2024-01-01T00:00:00Z\", \"v", "yesterday\", \"v"):                                                                 "time \"yesterday\": must be RFC 3339",
		aggregates("2024-01-01T00:00:00Z\", \"v", "9999-01-01T00:00:00Z\", \"v"):                                                      "must be from 1678 to 2261",
		aggregates(`"t": "2024-01-01T00:00:00Z"`, `"u": 1`):                                                                           "point 0 has no t",
		aggregates(`"v": 1, "status"`, `"v": 1.5, "status"`):                                                                          "value 1.5 at 2024-01-01T00:00:00Z is no int64",
		aggregates(`"v": 1, "status"`, `"v": 1e99, "status"`):                                                                         "is no int64",
		aggregates(`"v": 1, "status"`, `"v": [1], "status"`):                                                                          "is no int64",
		aggregates(`"Good"`, `"Fine"`):                                                                                                "quality \"Fine\"",
		aggregates("Int32", "Complex"):                                                                                                "value type \"Complex\"",
		aggregates(`"dataset": "d"`, `"dataset": "e"`):                                                                                "there is no data set \"e\"",
		aggregates(`"start": "2024-01-01T00:00:00Z", `, ""):                                                                           "needs a start and an end",
		aggregates(`"interval_ms": 0`, `"interval_ms": -1`):                                                                           "interval_ms -1: must be from 0",
		aggregates(`"interval_ms": 0`, `"interval_ms": 1e30`):                                                                         "interval_ms 1e+30: must be",
		aggregates(`"interval_ms": 0`, `"interval_ms": "5s"`):                                                                         "interval_ms before byte",
		aggregates(`{"t": null`, `{"t": "now"`):                                                                                       "row 0: time \"now\"",
		aggregates(`{"t": null`, `{"bits": "Raw"`):                                                                                    "row 0: bits Raw: must be a list",
		aggregates(`, "v": 1}]`, `, "v": {}}]`):                                                                                       "row 0: v map[]: must be a number",
		aggregates(`"points"`, `"annotations": [{"message": "m"}], "points"`):                                                         "annotation \"m\" has no t",
		`{"variants": {}, "cases": [{"name": "a", "algorithm": "swinging_door", "raw": [[1, null]]}]}`:                                "must be x and y",
		`{"series_y": [1], "cases": [{"name": "a", "threshold": 0, "input": "@series"}]}`:                                             "threshold 0",
		`{"series_y": [1], "cases": [{"name": "a", "threshold": 3, "input": "@series", "expect_x": [1]}]}`:                            "place 1 of a series of 1",
		`{"series_y": [1], "cases": [{"name": "a", "threshold": 3}]}`:                                                                 "has no input",
		`{"series_y": [1], "cases": [{"name": "a", "threshold": 3, "input": [[0, null]]}]}`:                                           "value null of a point",
		`{"series_y": [1], "cases": [{"name": "a", "threshold": 3, "input": [[0, 1]], "gap": "soon"}]}`:                               "invalid duration",
		`{"time_weighted": [{"name": "a", "points": []}], "state_duration": [], "counters": []}`:                                      "0 points",
		`{"time_weighted": [{"name": "a", "points": [[0, 1]], "cumulative_integral": [0, 1]}], "state_duration": [], "counters": []}`: "2 integrals",
		`{"time_weighted": [], "state_duration": [{"points": []}], "counters": []}`:                                                   "state_duration 0 has no points",
		`{"time_weighted": [], "state_duration": [], "counters": [{"points": []}]}`:                                                   "0 points",
		`{"time_weighted": [], "state_duration": [], "counters": [], "flux": [{"function": "fill(usePrevious)"}]}`:                    "has no points",
		`{"exact_interpolated": {"series": {"a": [1]}, "cases": [{"a": 1}]}}`:                                                         "has no q",
	} {
		file := filepath.Join(t.TempDir(), "wrong.json")
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		var out, stderr bytes.Buffer
		require.Equal(t, exitFailure, run(t.Context(), []string{"conformance", file}, &out, &stderr), text)
		require.Contains(t, stderr.String(), says, text)
		require.Contains(t, stderr.String(), "not a file of test vectors", text)
	}
}

// nearlyVectors are small files of each format.
var nearlyVectors = []string{
	unusual,
	`{"variants": {}, "cases": [{"name": "a", "algorithm": "swinging_door", "variant": "textbook", "params": {"comp_dev": 1, "max_dx": 6, "min_dx": 1},
		"raw": [[0, 1], [1, 2], [2, 2], [3, -1]], "expect": [[0, 1], [2, 2], [3, -1]]}, {"name": "a", "algorithm": "dead_band", "params": {"exc_dev": 0.1},
		"raw": [[0, 1], [1, 2]], "expect": null, "expect_error": "x"}]}`,
	`{"sample_times": ["2009-08-13T10:00:00Z", "2009-08-13T10:02:00Z"], "cases": [{"name": "a", "start": "2009-08-13T10:01:00Z", "end": null, "max_values": 2,
		"return_bounds": true, "expect": [{"t": "2009-08-13T10:00:00Z"}, {"no_bound": true}]}]}`,
	`{"series_y": [1, 5, 2, 7, 3], "cases": [{"name": "a", "threshold": 3, "input": "@series", "expect_x": [0, 3, 4]}, {"name": "b", "threshold": 3,
		"algorithm": "gp_lttb with gap 36 h", "gap": "36h", "input": [["2020-01-01T00:00:00Z", 1], [5, 2]], "expect": [[5, 2]]}]}`,
	`{"time_weighted": [{"name": "a", "method": "linear", "points": [[0, 1], [10, 3]], "prev": [-5, 2], "next": [20, 1], "target": 15, "cumulative_integral": [0, 20],
		"expected_boundary_value": 2, "average_linear": 2, "range": ["1970-01-01T00:00:00Z", "1970-01-01T00:00:10Z"]}],
		"flux": [{"function": "increase (counter normalised)", "points": [[0, 1], [10, 3]], "expect": [0, 2]}, {"function": "integral(unit: 10s)", "points": [[0, 1]], "expect": 1}],
		"state_duration": [{"points": [[0, "A"], [10, 3]], "duration_s": {"A": 10}, "ranged": [{"state": "A", "start": "1970-01-01T00:00:00Z", "duration": "2d", "expect_s": 10}]}],
		"counters": [{"points": [[0, 1], [10, 3]], "delta": 2, "reset_sum": 0, "rate_per_unit": 0.2, "first_step_delta": 2, "monotonic_values": [1, 3]}],
		"promql": [{"function": "changes", "step_s": 10, "eval_s": 30, "series": {"a": [0, "NaN", 1]}, "cases": [{"range_s": 60, "expect": {"a": 2}}]},
		{"function": "avg_over_time (x)", "step_s": 1, "eval_s": 9, "cases": [{"values": [1, "Inf"], "expect": "Inf"}]}]}`,
	`{"exact_interpolated": {"series": {"a": [0, 1]}, "cases": [{"q": 0.5, "a": 0.5}, {"q": 2, "a": "Inf"}]}, "tdigest_quantile": [{"data": [], "q": 0, "expect": 1}]}`,
}

// FuzzConformanceFiles asks a server the questions of files that are nearly vectors: a seed says what is changed of which one. Each question is
// answered or refused by the server, or it is told what is wrong with the file; totals add up.
func FuzzConformanceFiles(f *testing.F) {
	for seed := range uint64(300) {
		f.Add(seed)
	}
	err := onThrowAwayServer(f.Context(), func(ctx context.Context, conn *grpc.ClientConn) error {
		s := conformance.NewServer(conn)
		f.Fuzz(func(t *testing.T, seed uint64) {
			rng := rand.New(rand.NewPCG(seed, 1))
			var tree any
			require.NoError(t, json.Unmarshal([]byte(nearlyVectors[rng.IntN(len(nearlyVectors))]), &tree))
			for range 1 + rng.IntN(3) {
				tree = changed(rng, tree)
			}
			text, err := json.Marshal(tree)
			require.NoError(t, err)
			file := filepath.Join(t.TempDir(), "fuzz.json")
			require.NoError(t, os.WriteFile(file, text, 0o600))
			r, err := s.Run(ctx, file)
			if err != nil {
				require.True(t, errors.Is(err, conformance.ErrFormat) || status.Code(err) == codes.InvalidArgument, "%v of %s", err, text)
				return
			}
			for _, x := range []conformance.Tally{r.Value, r.Severity, r.Code, r.Bits, r.Contested} {
				require.True(t, 0 <= x.Pass && x.Pass <= x.Of && x.Of <= r.Rows, "%+v of %s", r, text)
			}
			require.Len(t, r.Each, r.Cases, "%s", text)
		})
		return nil
	})
	if err != nil {
		f.Fatal(err)
	}
}

// changed is a tree of JSON with another value at one place, or nothing there.
func changed(rng *rand.Rand, tree any) any {
	if rng.IntN(6) > 0 {
		switch x := tree.(type) {
		case map[string]any:
			if len(x) == 0 {
				break
			}
			key := slices.Sorted(maps.Keys(x))[rng.IntN(len(x))]
			if rng.IntN(12) == 0 {
				delete(x, key)
			} else {
				x[key] = changed(rng, x[key])
			}
			return x
		case []any:
			if len(x) == 0 {
				break
			}
			i := rng.IntN(len(x))
			switch rng.IntN(12) {
			case 0:
				return slices.Delete(x, i, i+1)
			case 1:
				return append(x, x[i])
			}
			x[i] = changed(rng, x[i])
			return x
		}
	}
	others := []any{
		nil, true, false, 0.0, -1.0, 0.5, 1e18, 1e300, -1e300, 9.5e9, "", "x", "NaN", "Infinity", "-Inf", "36h", "2024-01-01T00:00:00Z", "2262-01-01T00:00:00+14:00",
		"0001-01-01T00:00:00Z", "Bad", "Average", "Boolean", strings.Repeat("n", 3000), []any{}, []any{nil}, []any{0.0, 1.0}, map[string]any{}, map[string]any{"t": nil},
	}
	return others[rng.IntN(len(others))]
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
