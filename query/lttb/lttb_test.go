package lttb

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/varvedb/varve/internal/golden"
	"github.com/varvedb/varve/model"
)

// TestPublicSelections holds Select against what other implementations select: indices 0 to 4999 as times, and dates.
func TestPublicSelections(t *testing.T) {
	var file struct {
		SeriesY []float64 `json:"series_y"`
		Cases   []struct {
			Name, Algorithm, Gap string
			Threshold            int
			Input                json.RawMessage
			Expect               [][2]any
			ExpectX              []int `json:"expect_x"`
		}
	}
	raw, err := os.ReadFile("../testdata/conformance/lttb.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, &file))
	require.Len(t, file.Cases, 12)
	for _, c := range file.Cases {
		t.Run(c.Name, func(t *testing.T) {
			var input [][2]any
			if string(c.Input) == `"@series"` {
				for x, y := range file.SeriesY {
					input = append(input, [2]any{float64(x), y})
				}
				for _, x := range c.ExpectX {
					c.Expect = append(c.Expect, input[x])
				}
			} else {
				require.NoError(t, json.Unmarshal(c.Input, &input))
			}
			var times []int64
			var values []float64
			for _, p := range input {
				times, values = append(times, timeOf(t, p[0])), append(values, p[1].(float64))
			}
			var gap time.Duration
			switch {
			case c.Gap != "":
				gap, err = time.ParseDuration(c.Gap)
				require.NoError(t, err)
			case c.Algorithm != "":
				require.Equal(t, "gp_lttb (gap size = range / threshold)", c.Algorithm)
				gap = time.Duration(times[len(times)-1]-times[0]) / time.Duration(c.Threshold)
			}
			var have [][2]any
			for _, i := range Select(times, values, c.Threshold, gap) {
				have = append(have, input[i])
			}
			require.Equal(t, c.Expect, have)
		})
	}
}

func timeOf(t *testing.T, x any) int64 {
	if f, ok := x.(float64); ok {
		return int64(f)
	}
	at, err := time.Parse(time.RFC3339, x.(string))
	require.NoError(t, err)
	return at.UnixNano()
}

// TestWorkedExample holds the page and Select against each other.
func TestWorkedExample(t *testing.T) {
	var times []int64
	var values []float64
	var want []int
	for i, row := range golden.Table(t, "../../docs/reference/reductions.md", "lttb") {
		at, err := time.Parse(time.DateTime, "2026-11-25 "+row[0])
		require.NoError(t, err)
		v, err := strconv.ParseFloat(row[1], 64)
		require.NoError(t, err)
		times, values = append(times, at.UnixNano()), append(values, v)
		if len(row) > 2 {
			want = append(want, i)
		}
	}
	require.Equal(t, want, Select(times, values, 8, 5*time.Minute))
	require.Equal(t, slices.DeleteFunc(want, func(i int) bool { return i == 3 || i == 8 }), Select(times, values, 4, 5*time.Minute))
}

// drawSeries draws times that may be equal and as far apart as times can be, and values of which some are not finite.
func drawSeries(t *rapid.T) (times []int64, values []float64) {
	at := rapid.SampledFrom([]int64{0, 1_700_000_000_000_000_000, math.MinInt64 + 1}).Draw(t, "start")
	step := rapid.SampledFrom([]int64{1, 1e9, 365 * 86400 * 1e9}).Draw(t, "step")
	value := rapid.OneOf(rapid.Float64Range(-100, 100), rapid.SampledFrom([]float64{0, 1, math.MaxFloat64, -math.MaxFloat64}))
	if rapid.Bool().Draw(t, "broken") {
		value = rapid.OneOf(value, value, value, rapid.SampledFrom([]float64{math.NaN(), math.Inf(1), math.Inf(-1)}))
	}
	for _, v := range rapid.SliceOfN(value, 0, 60).Draw(t, "values") {
		times, values = append(times, at), append(values, v)
		at += step * int64(rapid.IntRange(0, 4).Draw(t, "steps"))
	}
	return times, values
}

func TestSelectKeepsWhatItPromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		times, values := drawSeries(t)
		n := rapid.OneOf(rapid.IntRange(-1, 70), rapid.IntRange(len(times)-3, len(times)+1)).Draw(t, "n")
		gap := rapid.SampledFrom([]time.Duration{0, 1, 3 * time.Second}).Draw(t, "gap")
		kept := Select(times, values, n, gap)

		is := map[int]bool{}
		for i, k := range kept {
			require.True(t, k >= 0 && k < len(times) && (i == 0 || kept[i-1] < k), "kept %v of %d", kept, len(times))
			is[k] = true
		}
		if n >= len(times) {
			require.Len(t, kept, len(times))
			return
		}
		ends, runs := 0, 0
		for i, v := range values {
			broken := func(j int) bool { // between i and its neighbour j
				return j < 0 || j == len(values) || model.Finite(v) != model.Finite(values[j]) ||
					model.Finite(v) && gap > 0 && uint64(times[max(i, j)])-uint64(times[min(i, j)]) > uint64(gap)
			}
			switch {
			case model.Finite(v) && (broken(i-1) || broken(i+1)):
				ends++
				require.True(t, is[i], "end %d of %v is not kept", i, values)
			case !model.Finite(v) && broken(i-1):
				runs++
				require.True(t, is[i])
			case !model.Finite(v):
				require.False(t, is[i], "more than one of a run that is not finite")
			}
		}
		choice := 0
		for _, v := range values {
			if model.Finite(v) {
				choice++
			}
		}
		require.Len(t, kept, max(ends+runs, min(n, choice+runs)))
	})
}

// Times are nanoseconds of this century: had they become doubles, all of one microsecond would be one. And years apart from a
// start nothing changes.
func TestTimesKeepTheirNanoseconds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(3, 50).Draw(t, "samples")
		near, far := make([]int64, n), make([]int64, n)
		values := make([]float64, n)
		for i := range n {
			if i > 0 {
				near[i] = near[i-1] + int64(rapid.IntRange(0, 3).Draw(t, "step"))
			}
			far[i] = near[i] + 4_000_000_000_000_000_001
			values[i] = float64(rapid.IntRange(-9, 9).Draw(t, "value"))
		}
		keep := rapid.IntRange(2, n).Draw(t, "keep")
		require.Equal(t, Select(near, values, keep, 0), Select(far, values, keep, 0))
	})
}

// A peak is seen also where differences of values overflow.
func TestLargestValues(t *testing.T) {
	most := math.MaxFloat64
	require.Equal(t, []int{0, 2, 4}, Select([]int64{0, 1, 2, 3, 4}, []float64{-most, most / 2, most, 0, -most}, 3, 0))
}

func TestFewAndNone(t *testing.T) {
	require.Empty(t, Select(nil, nil, 5, 0))
	require.Equal(t, []int{0}, Select([]int64{7}, []float64{1}, 0, 0))
	require.Equal(t, []int{0, 2}, Select([]int64{7, 8, 9}, []float64{1, 5, 2}, 0, 0))
	nan := math.NaN()
	require.Equal(t, []int{0}, Select([]int64{7, 8, 9}, []float64{nan, nan, nan}, 2, 0))
	// More are asked for than there are to choose from.
	require.Equal(t, []int{0, 1, 4, 5, 6}, Select([]int64{1, 2, 3, 4, 5, 6, 7}, []float64{1, nan, nan, nan, 2, 3, 4}, 6, 0))
}

func BenchmarkSelect(b *testing.B) {
	times, values := make([]int64, 1_000_000), make([]float64, 1_000_000)
	for i := range times {
		times[i], values[i] = int64(i)*1e9, math.Sin(float64(i)/5000)
	}
	for _, n := range []int{1000, 100_000} {
		b.Run(fmt.Sprintf("samples=1M/keep=%d", n), func(b *testing.B) {
			for range b.N {
				Select(times, values, n, time.Hour)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1e6, "ns/sample")
		})
	}
}
