package encoding

import (
	"encoding/hex"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/internal/golden"
)

// noon is 2026-01-01 12:00:00 UTC.
const noon = 1767268800e9

func float64s(v ...float64) []uint64 {
	out := make([]uint64, len(v))
	for i, x := range v {
		out[i] = math.Float64bits(x)
	}
	return out
}

// example is a column that docs/format/encodings.md spells out.
type example struct {
	times []int64
	ints  []uint64
	f64   []uint64
	f32   []uint64
	blobs []string
}

var examples = map[string]example{
	"times-grid":       {times: []int64{noon, noon + 1e9, noon + 2e9}},
	"times-jitter":     {times: []int64{noon + 3e6, noon + 1007e6, noon + 2000e6, noon + 3012e6, noon + 4001e6, noon + 5015e6}},
	"times-delta2":     {times: []int64{noon, noon + 1e9, noon + 2e9, noon + 3e9, noon + 4e9, noon + 3600e9, noon + 3601e9, noon + 3602e9}},
	"ints-constant":    {ints: []uint64{7, 7, 7}},
	"ints-runs":        {ints: []uint64{1 << 40, 1 << 40, 1 << 40, 1 << 40, 0, 0, 0, 0}},
	"ints-packed":      {ints: []uint64{100, 103, 101, 107, 100}},
	"ints-delta":       {ints: []uint64{1000, 2001, 3000, 4003, 5001}},
	"ints-buckets":     {ints: []uint64{5, 5, 5, 6, 6, 6, 6, 5, 5, 1 << 20}},
	"ints-grid":        {ints: []uint64{10, 8, 6}},
	"ints-delta2":      {ints: drifted()},
	"floats-constant":  {f64: float64s(math.Pi, math.Pi)},
	"floats-decimal":   {f64: float64s(20.01)},
	"floats-runs":      {f32: slices.Concat(slices.Repeat([]uint64{0x3F800000}, 50), slices.Repeat([]uint64{0x40200000}, 150))},
	"floats-xor":       {f64: float64s(12, 12, 24, 24, 12, 12, 12, 12, 12)},
	"floats-classes":   {f64: float64s(20.01, 20.02, 19.98, 20.05, 20)},
	"blobs-plain":      {blobs: []string{"ab", "", "c"}},
	"blobs-dictionary": {blobs: []string{"RUN", "RUN", "STOP", "RUN", "STOP", "RUN", "RUN"}},
}

// drifted is a counter of 1,000 that once takes 7 more, behind its 20th value.
func drifted() []uint64 {
	v := make([]uint64, 40)
	for i := range v {
		v[i] = uint64(i*1000 + i/20*7)
	}
	return v
}

func (e example) encode() []byte {
	switch {
	case e.times != nil:
		return AppendTimes(nil, e.times)
	case e.ints != nil:
		return AppendInts(nil, e.ints)
	case e.f64 != nil:
		return AppendFloat64s(nil, e.f64)
	case e.f32 != nil:
		return AppendFloat32s(nil, e.f32)
	}
	var v [][]byte
	for _, s := range e.blobs {
		v = append(v, []byte(s))
	}
	return AppendBlobs(nil, v)
}

// TestPageAndCodeAgree holds docs/format/encodings.md against what is written and read.
func TestPageAndCodeAgree(t *testing.T) {
	page := golden.Blocks(t, "../../docs/format/encodings.md")
	require.Len(t, page, len(examples), "an example on the page that no test writes")
	for name, e := range examples {
		b := page[name]
		require.Equal(t, hex.EncodeToString(e.encode()), hex.EncodeToString(b), name)
		e.requireDecoded(t, name, b)
	}
}

func (e example) requireDecoded(t *testing.T, name string, b []byte) {
	switch {
	case e.times != nil:
		got, _, err := DecodeTimes(nil, len(e.times), b)
		require.NoError(t, err, name)
		require.Equal(t, e.times, got, name)
	case e.ints != nil:
		got, _, err := DecodeInts(nil, len(e.ints), b)
		require.NoError(t, err, name)
		require.Equal(t, e.ints, got, name)
	case e.f64 != nil:
		got, _, err := DecodeFloat64s(nil, len(e.f64), b)
		require.NoError(t, err, name)
		require.Equal(t, e.f64, got, name)
	case e.f32 != nil:
		got, _, err := DecodeFloat32s(nil, len(e.f32), b)
		require.NoError(t, err, name)
		require.Equal(t, e.f32, got, name)
	default:
		got, _, _, err := DecodeBlobs(nil, nil, len(e.blobs), b)
		require.NoError(t, err, name)
		require.Len(t, got, len(e.blobs), name)
		for i, x := range got {
			require.Equal(t, e.blobs[i], string(x), name)
		}
	}
}
