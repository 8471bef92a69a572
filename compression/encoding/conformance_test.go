package encoding

import (
	"encoding/json"
	"math"
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestPublicSeriesComeBack runs the series that other implementations of these codecs are tested with.
func TestPublicSeriesComeBack(t *testing.T) {
	var file struct {
		Series []struct {
			Name   string
			Points [][2]float64 `json:"seconds_and_value"`
		}
		Integers struct{ Signed, Unsigned []string }
	}
	raw, err := os.ReadFile("testdata/conformance.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, &file))
	require.Len(t, file.Series, 5)

	var sealed sealed
	for _, s := range file.Series {
		var at []int64
		var v []uint64
		for _, p := range s.Points {
			at, v = append(at, int64(p[0])*1e9), append(v, math.Float64bits(p[1]))
		}
		gotTimes, rest, err := DecodeTimes(nil, len(at), AppendTimes(nil, at))
		require.NoError(t, err, s.Name)
		require.Empty(t, rest, s.Name)
		require.Equal(t, at, gotTimes, s.Name)
		got, rest, err := DecodeFloat64s(nil, len(v), AppendFloat64s(nil, v))
		require.NoError(t, err, s.Name)
		require.Empty(t, rest, s.Name)
		require.Equal(t, v, got, s.Name)
		got, _, ok := decodeXOR(nil, len(v), appendXOR(nil, v, 0), 0)
		require.True(t, ok, s.Name)
		require.Equal(t, v, got, s.Name)
		sealed.times(t, at, 0, blocksOf(len(at)))
		sealed.floats(t, v, 0, blocksOf(len(v)))
	}

	var all []uint64
	for _, text := range file.Integers.Signed {
		i, err := strconv.ParseInt(text, 10, 64)
		require.NoError(t, err)
		all = append(all, uint64(i))
	}
	for _, text := range file.Integers.Unsigned {
		u, err := strconv.ParseUint(text, 10, 64)
		require.NoError(t, err)
		all = append(all, u)
	}
	require.Len(t, all, 50)
	for n := range all { // every beginning of the list, so that each codec sees each value
		got, rest, err := DecodeInts(nil, n+1, AppendInts(nil, all[:n+1]))
		require.NoError(t, err)
		require.Empty(t, rest)
		require.Equal(t, all[:n+1], got)
		sealed.ints(t, all[:n+1], 0, 1)
	}
}
