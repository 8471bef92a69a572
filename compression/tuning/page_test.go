package tuning

import (
	"math"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/compression/exception"
	"github.com/varvedb/varve/compression/filter"
	"github.com/varvedb/varve/compression/swingingdoor"
	"github.com/varvedb/varve/internal/golden"
	"github.com/varvedb/varve/model"
)

const page = "../../docs/reference/filters.md"

// TestExamplesOfThePage runs each block of samples: seconds, value, and whether it is kept.
func TestExamplesOfThePage(t *testing.T) {
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	blocks := strings.Split(string(text), "```samples ")[1:]
	require.Len(t, blocks, 2)
	for _, block := range blocks {
		block, _, _ = strings.Cut(block, "```")
		head, lines, _ := strings.Cut(block, "\n")
		var s filter.Settings
		kind := ""
		for _, setting := range strings.Fields(head) {
			name, value, _ := strings.Cut(setting, "=")
			number, _ := strconv.ParseFloat(value, 64)
			switch name {
			case "filter":
				kind = value
			case "deviation":
				s.Deviation = number
			case "max":
				s.MaxTime = time.Duration(number) * time.Second
			default:
				t.Fatalf("setting %s", setting)
			}
		}
		var f interface {
			Add([]filter.Kept, model.Sample) []filter.Kept
			Flush([]filter.Kept) []filter.Kept
		}
		if kind == "exception" {
			f, err = exception.New(s)
		} else {
			f, err = swingingdoor.New(s, swingingdoor.Strict)
		}
		require.NoError(t, err)
		var want []int64
		var got []filter.Kept
		for _, line := range strings.Split(strings.TrimSpace(lines), "\n") {
			words := strings.Fields(line)
			at, err := strconv.ParseInt(words[0], 10, 64)
			require.NoError(t, err)
			v, err := strconv.ParseFloat(words[1], 64)
			require.NoError(t, err)
			if len(words) > 2 {
				require.Equal(t, "kept", words[2])
				want = append(want, at)
			}
			got = f.Add(got, model.Sample{Time: at * 1e9, Type: model.Float64, Bits: math.Float64bits(v)})
		}
		var kept []int64
		for _, k := range f.Flush(got) {
			kept = append(kept, k.Time/1e9)
		}
		require.Equal(t, want, kept, head)
	}
}

func TestStateOfThePage(t *testing.T) {
	s := deviation(1)
	f, err := swingingdoor.New(s, swingingdoor.Strict)
	require.NoError(t, err)
	for at, v := range []float64{20, 20.5, 20} {
		f.Add(nil, model.Sample{Time: int64(at), Type: model.Float64, Bits: math.Float64bits(v)})
	}
	want := golden.Block(t, page, "state")
	require.Equal(t, want, f.AppendState(nil))
	g, err := swingingdoor.Restore(s, swingingdoor.Strict, want)
	require.NoError(t, err)
	require.Equal(t, f, g)
}
