package encoding

import (
	"math"
	"math/bits"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var hostileInts = []uint64{0, 1, 2, 1 << 31, 1 << 32, 1<<53 - 1, 1 << 53, 1<<53 + 1, 1<<63 - 1, 1 << 63, 1<<63 + 1, math.MaxUint64, math.MaxUint64 - 1}

func drawInts(t *rapid.T) []uint64 {
	n := rapid.OneOf(rapid.IntRange(1, 5), rapid.IntRange(1, 300)).Draw(t, "n")
	one := rapid.OneOf(rapid.SampledFrom(hostileInts), rapid.Uint64(), rapid.Uint64Range(0, 9))
	v := make([]uint64, n)
	switch rapid.IntRange(0, 4).Draw(t, "shape") {
	case 0:
		for i := range v {
			v[i] = one.Draw(t, "v")
		}
	case 1: // runs
		for i := range v {
			if i == 0 || rapid.IntRange(0, 9).Draw(t, "turn") == 0 {
				v[i] = one.Draw(t, "v")
			} else {
				v[i] = v[i-1]
			}
		}
	case 2: // counter, now and then with a jump
		step := one.Draw(t, "step")
		for i := range v {
			if i == 0 || rapid.IntRange(0, 50).Draw(t, "jump") == 0 {
				v[i] = one.Draw(t, "v")
			} else {
				v[i] = v[i-1] + step + rapid.Uint64Range(0, 3).Draw(t, "extra")
			}
		}
	case 3: // grid
		step := one.Draw(t, "step")
		v[0] = one.Draw(t, "v")
		for i := 1; i < n; i++ {
			v[i] = v[i-1] + step
		}
	case 4: // narrow around a base
		base, width := one.Draw(t, "base"), rapid.IntRange(0, 64).Draw(t, "width")
		for i := range v {
			v[i] = base
			if width > 0 {
				v[i] += rapid.Uint64().Draw(t, "v") >> (64 - width)
			}
		}
	}
	return v
}

func drawTimes(t *rapid.T) []int64 {
	if rapid.IntRange(0, 3).Draw(t, "as ints") == 0 {
		v := drawInts(t)
		out := make([]int64, len(v))
		for i := range v {
			out[i] = int64(v[i])
		}
		return out
	}
	n := rapid.IntRange(1, 300).Draw(t, "n")
	unit := rapid.SampledFrom([]int64{1, 100, 1e3, 1e6, 1e8, 1e9, 60e9}).Draw(t, "unit")
	first := rapid.OneOf(rapid.SampledFrom([]int64{0, math.MinInt64, math.MinInt64 + 1, math.MaxInt64, math.MaxInt64 - 1, -1}), rapid.Int64()).Draw(t, "first")
	if rapid.Bool().Draw(t, "aligned") {
		first = first / unit * unit
	}
	step := rapid.Int64Range(-3, 1<<20).Draw(t, "step")
	jitter := rapid.Int64Range(0, 5000).Draw(t, "jitter")
	out := make([]int64, n)
	for i := range out {
		out[i] = first + unit*(int64(i)*step+rapid.Int64Range(0, jitter).Draw(t, "off"))
		if rapid.IntRange(0, 200).Draw(t, "gap") == 0 {
			first += unit * rapid.Int64Range(0, 1<<30).Draw(t, "gap length")
		}
	}
	return out
}

func TestTimesComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := drawTimes(t)
		b := AppendTimes([]byte("before"), v)
		got, rest, err := DecodeTimes(nil, len(v), append(b, "behind"...)[6:])
		require.NoError(t, err)
		require.Equal(t, v, got)
		require.Equal(t, "behind", string(rest))
		first, last, err := TimeBounds(len(v), b[6:])
		require.NoError(t, err)
		require.Equal(t, v[0], first)
		require.Equal(t, v[len(v)-1], last)
	})
}

func TestIntsComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := drawInts(t)
		b := AppendInts([]byte("before"), v)
		got, rest, err := DecodeInts(nil, len(v), append(b, "behind"...)[6:])
		require.NoError(t, err)
		require.Equal(t, v, got)
		require.Equal(t, "behind", string(rest))
	})
}

var hostileFloats = []uint64{
	0, 1 << 63, math.Float64bits(math.Inf(1)), math.Float64bits(math.Inf(-1)), 0x7FF8000000000001, 0x7FF0000000000001, 0xFFF8DEADBEEF0001,
	1, math.Float64bits(math.MaxFloat64), math.Float64bits(1), math.Float64bits(-1), math.Float64bits(20.01), math.Float64bits(0.1), math.MaxUint64,
}

func drawFloats(t *rapid.T) []uint64 {
	n := rapid.OneOf(rapid.IntRange(1, 5), rapid.IntRange(1, 300)).Draw(t, "n")
	one := rapid.OneOf(rapid.SampledFrom(hostileFloats), rapid.Uint64())
	v := make([]uint64, n)
	kind := rapid.IntRange(0, 2).Draw(t, "shape")
	for i := range v {
		switch {
		case kind == 0:
			v[i] = one.Draw(t, "v")
		case kind == 1 && i > 0 && rapid.IntRange(0, 90).Draw(t, "turn") != 0:
			v[i] = v[i-1]
		case kind == 2:
			v[i] = math.Float64bits(float64(rapid.Int64Range(-3000, 3000).Draw(t, "decimal")) / 100)
		default:
			v[i] = one.Draw(t, "v")
		}
	}
	return v
}

func TestFloatsComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := drawFloats(t)
		b := AppendFloat64s([]byte("before"), v)
		got, rest, err := DecodeFloat64s(nil, len(v), append(b, "behind"...)[6:])
		require.NoError(t, err)
		require.Equal(t, v, got)
		require.Equal(t, "behind", string(rest))

		for i := range v {
			v[i] >>= 32
		}
		b = AppendFloat32s([]byte("before"), v)
		got, rest, err = DecodeFloat32s(nil, len(v), append(b, "behind"...)[6:])
		require.NoError(t, err)
		require.Equal(t, v, got)
		require.Equal(t, "behind", string(rest))
	})
}

// TestEveryFloatCodecTakesEveryValue runs the codecs past the choice between them.
func TestEveryFloatCodecTakesEveryValue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := drawFloats(t)
		behind := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "behind")
		for _, shift := range []uint{0, 32} {
			if shift == 32 {
				for i := range v {
					v[i] >>= 32
				}
			}
			got, rest, ok := decodeXOR(nil, len(v), append(appendXOR(nil, v, shift), behind...), shift)
			require.True(t, ok)
			require.Equal(t, v, got)
			require.Equal(t, string(behind), string(rest))

			got, rest, ok = decodeFloatRuns(nil, len(v), append(appendFloatRuns(nil, v, runsOf(v), shift)[1:], behind...), shift)
			require.True(t, ok)
			require.Equal(t, v, got)
			require.Equal(t, string(behind), string(rest))

			if len(v) == 1 {
				continue // has no difference to put in a class, and never gets there
			}
			got, rest, ok = decodeFloatClasses(nil, len(v), append(appendAllClasses(v, shift), behind...), shift)
			require.True(t, ok)
			require.Equal(t, v, got)
			require.Equal(t, string(behind), string(rest))
		}
	})
}

func runsOf(v []uint64) int {
	runs := 1
	for i := 1; i < len(v); i++ {
		if v[i] != v[i-1] {
			runs++
		}
	}
	return runs
}

func appendAllClasses(v []uint64, shift uint) []byte {
	var h histogram
	anyBit := uint64(0)
	for i := 1; i < len(v); i++ {
		h.add(int64(v[i] - v[i-1]))
		anyBit |= v[i] - v[i-1]
	}
	c, size := chooseClasses(&h, len(v)-1, min(uint(bits.TrailingZeros64(anyBit)), 63))
	return c.append(appendScalar(nil, v[0], shift), v, size)
}

func TestFloat32IgnoresItsHighHalf(t *testing.T) {
	v := []uint64{1<<40 | 7, 9, 1<<63 | 12, 5, 6}
	got, _, err := DecodeFloat32s(nil, len(v), AppendFloat32s(nil, v))
	require.NoError(t, err)
	require.Equal(t, []uint64{7, 9, 12, 5, 6}, got)
}

func drawBlobs(t *rapid.T) [][]byte {
	if rapid.Bool().Draw(t, "few") {
		of := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 40), 1, 5).Draw(t, "of")
		return rapid.SliceOfN(rapid.SampledFrom(of), 1, 200).Draw(t, "values")
	}
	return rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 40), 1, 100).Draw(t, "values")
}

func TestBlobsComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := drawBlobs(t)
		b := AppendBlobs([]byte("before"), v)
		got, _, rest, err := DecodeBlobs(nil, nil, len(v), append(b, "behind"...)[6:])
		require.NoError(t, err)
		require.Len(t, got, len(v))
		for i := range v {
			require.Equal(t, string(v[i]), string(got[i]))
		}
		require.Equal(t, "behind", string(rest))
	})
}
