package encoding

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// long is v, which rapid draws short, repeated with changes until several blocks are full: what a column of a plant is, and
// what makes bugs at the seams of blocks show.
func long(t *rapid.T, v []uint64) []uint64 {
	n := rapid.SampledFrom([]int{0, 0, 0, SealedBlock - 1, SealedBlock, SealedBlock + 1, 2100, 4096, 5000, 9000}).Draw(t, "length")
	if n <= len(v) {
		return v
	}
	r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
	kind := rapid.IntRange(0, 4).Draw(t, "long shape")
	noise := uint64(1) << rapid.IntRange(0, 40).Draw(t, "noise")
	out := make([]uint64, n)
	for i := range out {
		x := v[i%len(v)]
		switch kind {
		case 1:
			x = v[i*len(v)/n] // runs
		case 2:
			x += r.Uint64N(noise)
		case 3:
			x = v[0] + uint64(i)*noise + r.Uint64N(noise)
		case 4:
			if x = v[0] + r.Uint64N(8); r.IntN(200) == 0 {
				x = r.Uint64()
			}
		}
		out[i] = x
	}
	return out
}

// someBlocks is a range of the blocks of n values.
func someBlocks(t *rapid.T, n int) (from, to int) {
	from = rapid.IntRange(0, blocksOf(n)-1).Draw(t, "from")
	return from, rapid.IntRange(from+1, blocksOf(n)).Draw(t, "to")
}

func part[T any](v []T, from, to int) []T { return v[from*SealedBlock : min(to*SealedBlock, len(v))] }

// ends is where memory for n values may end: behind the last, or inside the last block.
func ends(n int) []int {
	last := (n - 1) % SealedBlock
	return []int{n, n - last/2, n - last}
}

// sealed holds one encoder and decoder for a whole test, as a writer and a reader keep theirs: what is left in their memory
// from one column must not show in the next.
type sealed struct {
	e SealedEncoder
	d SealedDecoder
}

func (s *sealed) ints(t require.TestingT, v []uint64, from, to int) []byte {
	b := s.e.AppendInts([]byte("before"), v)[6:]
	want := part(v, from, to)
	for _, n := range ends(len(want)) {
		got := make([]uint64, n)
		require.NoError(t, s.d.Ints(got, len(v), slices.Clip(b), from, to))
		require.True(t, slices.Equal(want[:n], got))
	}
	return b
}

func (s *sealed) floats(t require.TestingT, v []uint64, from, to int) []byte {
	b := s.e.AppendFloat64s([]byte("before"), v)[6:]
	want := part(v, from, to)
	for _, n := range ends(len(want)) {
		got := make([]uint64, n)
		require.NoError(t, s.d.Float64s(got, len(v), slices.Clip(b), from, to))
		require.True(t, slices.Equal(want[:n], got))
	}
	return b
}

func (s *sealed) float32s(t require.TestingT, v []uint64, from, to int) []byte {
	b := s.e.AppendFloat32s([]byte("before"), v)[6:]
	want := part(v, from, to)
	for _, n := range ends(len(want)) {
		got := make([]uint64, n)
		require.NoError(t, s.d.Float32s(got, len(v), slices.Clip(b), from, to))
		require.True(t, slices.Equal(want[:n], got))
	}
	return b
}

func (s *sealed) times(t require.TestingT, v []int64, from, to int) []byte {
	b := s.e.AppendTimes([]byte("before"), v)[6:]
	want := part(v, from, to)
	for _, n := range ends(len(want)) {
		got := make([]int64, n)
		require.NoError(t, s.d.Times(got, len(v), slices.Clip(b), from, to))
		require.True(t, slices.Equal(want[:n], got))
	}
	firsts, last, err := s.d.TimeBlocks(nil, len(v), b)
	require.NoError(t, err)
	require.Equal(t, v[len(v)-1], last)
	require.Len(t, firsts, blocksOf(len(v)))
	for k, first := range firsts {
		require.Equal(t, v[k*SealedBlock], first)
	}
	return b
}

func (s *sealed) blobs(t require.TestingT, v [][]byte, from, to int) []byte {
	b := s.e.AppendBlobs([]byte("before"), v)[6:]
	got, _, err := s.d.Blobs(nil, nil, len(v), slices.Clip(b), from, to)
	require.NoError(t, err)
	require.True(t, slices.EqualFunc(part(v, from, to), got, slices.Equal[[]byte]))
	return b
}

func TestSealedIntsComeBack(t *testing.T) {
	var s sealed
	rapid.Check(t, func(t *rapid.T) {
		v := long(t, drawInts(t))
		from, to := someBlocks(t, len(v))
		s.ints(t, v, from, to)
	})
}

func TestSealedTimesComeBack(t *testing.T) {
	var s sealed
	rapid.Check(t, func(t *rapid.T) {
		v := drawTimes(t)
		if rapid.Bool().Draw(t, "long") {
			words := make([]uint64, len(v))
			for i, x := range v {
				words[i] = uint64(x)
			}
			words = long(t, words)
			v = make([]int64, len(words))
			for i, x := range words {
				v[i] = int64(x)
			}
		}
		from, to := someBlocks(t, len(v))
		s.times(t, v, from, to)
	})
}

func TestSealedFloatsComeBack(t *testing.T) {
	var s sealed
	rapid.Check(t, func(t *rapid.T) {
		v := drawFloats(t)
		switch rapid.IntRange(0, 2).Draw(t, "longer") {
		case 1:
			v = long(t, v)
		case 2:
			v = decimalWalk(rapid.Uint64().Draw(t, "walk"), rapid.IntRange(1, 9000).Draw(t, "n"))
			for range rapid.IntRange(0, 9).Draw(t, "odd ones") {
				v[rapid.IntRange(0, len(v)-1).Draw(t, "at")] = rapid.SampledFrom(hostileFloats).Draw(t, "odd")
			}
		}
		from, to := someBlocks(t, len(v))
		s.floats(t, v, from, to)
		for i, x := range v {
			if v[i] = x >> 32; rapid.IntRange(0, 1).Draw(t, "narrowed") == 1 {
				v[i] = uint64(math.Float32bits(float32(math.Float64frombits(x))))
			}
			if i > 300 {
				v[i] = uint64(math.Float32bits(float32(math.Float64frombits(x))))
			}
		}
		s.float32s(t, v, from, to)
		for i, x := range v {
			v[i] = math.Float64bits(float64(math.Float32frombits(uint32(x))))
		}
		s.floats(t, v, from, to)
	})
}

// decimalWalk is what a transmitter sends: a drift, noise, a few digits.
func decimalWalk(seed uint64, n int) []uint64 {
	r := rand.New(rand.NewPCG(seed, 1))
	scale := math.Pow10(r.IntN(7))
	at, noise := r.NormFloat64()*1000, math.Exp(r.NormFloat64()*3)
	v := make([]uint64, n)
	for i := range v {
		at += r.NormFloat64() * noise / 10
		v[i] = math.Float64bits(math.Round((at+r.NormFloat64()*noise)*scale) / scale)
	}
	return v
}

func TestSealedBlobsComeBack(t *testing.T) {
	var s sealed
	rapid.Check(t, func(t *rapid.T) {
		v := drawBlobs(t)
		if n := rapid.SampledFrom([]int{0, 3000}).Draw(t, "length"); n > len(v) {
			for i := range n - len(v) {
				v = append(v, v[i])
				if i%3 == 0 {
					v[len(v)-1] = append(slices.Clone(v[i]), byte(i), byte(i>>8))
				}
			}
		}
		from, to := someBlocks(t, len(v))
		s.blobs(t, v, from, to)
	})
}

// TestEverySealedFloatCodecTakesItsColumns runs the codecs past the choice between them.
func TestEverySealedFloatCodecTakesItsColumns(t *testing.T) {
	var s sealed
	rapid.Check(t, func(t *rapid.T) {
		v := drawFloats(t)
		if rapid.Bool().Draw(t, "walk") {
			v = decimalWalk(rapid.Uint64().Draw(t, "seed"), rapid.IntRange(1, 3000).Draw(t, "n"))
		}
		for _, codec := range FloatCodecs() {
			b, ok := s.e.AppendFloat64sAs(codec, nil, v)
			if !ok {
				continue
			}
			if b[0] != sealedFloatConstant {
				require.Equal(t, codec, FloatCodecOf(b))
			}
			got := make([]uint64, len(v))
			require.NoError(t, s.d.Float64s(got, len(v), b, 0, blocksOf(len(v))), codec)
			require.True(t, slices.Equal(v, got), codec)
		}
	})
}

func TestSealedFloat32IgnoresItsHighHalf(t *testing.T) {
	var e SealedEncoder
	var d SealedDecoder
	for _, repeat := range []int{1, 3, 20} { // columns without runs, with some, and of nothing else
		v, want := make([]uint64, 3000), make([]uint64, 3000)
		for i := range v {
			want[i] = uint64(math.Float32bits(float32(i/repeat*i/repeat) / 7))
			v[i] = want[i] | scatter(i)<<32
		}
		got := make([]uint64, len(v))
		require.NoError(t, d.Float32s(got, len(v), e.AppendFloat32s(nil, v), 0, 3))
		require.True(t, slices.Equal(want, got), "each value %d times", repeat)
	}
}
