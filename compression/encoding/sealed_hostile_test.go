package encoding

import (
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// sealedSeed is a column that one codec of a kind is for.
type sealedSeed struct {
	name   string
	n      int
	b      []byte
	starts []byte // what it must begin with
}

// sealedDecoders is every decoder of sealed columns behind one face. values is what was decoded, one way or the other.
var sealedDecoders = []struct {
	name   string
	seeds  func() []sealedSeed
	decode func(d *SealedDecoder, n int, b []byte, from, to int) (values any, err error)
}{
	{"times", sealedTimeSeeds, func(d *SealedDecoder, n int, b []byte, from, to int) (any, error) {
		dst := make([]int64, min(to*SealedBlock, n)-from*SealedBlock)
		return dst, d.Times(dst, n, b, from, to)
	}},
	{"ints", sealedIntSeeds, func(d *SealedDecoder, n int, b []byte, from, to int) (any, error) {
		dst := make([]uint64, min(to*SealedBlock, n)-from*SealedBlock)
		return dst, d.Ints(dst, n, b, from, to)
	}},
	{"float64s", sealedFloatSeeds, func(d *SealedDecoder, n int, b []byte, from, to int) (any, error) {
		dst := make([]uint64, min(to*SealedBlock, n)-from*SealedBlock)
		return dst, d.Float64s(dst, n, b, from, to)
	}},
	{"float32s", sealedFloat32Seeds, func(d *SealedDecoder, n int, b []byte, from, to int) (any, error) {
		dst := make([]uint64, min(to*SealedBlock, n)-from*SealedBlock)
		return dst, d.Float32s(dst, n, b, from, to)
	}},
	{"blobs", sealedBlobSeeds, func(d *SealedDecoder, n int, b []byte, from, to int) (any, error) {
		v, _, err := d.Blobs(nil, nil, n, b, from, to)
		return v, err
	}},
}

// seedRandom is the same for every run, so that seeds are.
func seedRandom() *rand.Rand { return rand.New(rand.NewPCG(98333408, 1)) }

func sealedIntSeeds() []sealedSeed {
	const n = 2500
	r := seedRandom()
	seed := func(name string, n int, of func(i int) uint64, starts ...byte) sealedSeed {
		v := make([]uint64, n)
		for i := range v {
			v[i] = of(i)
		}
		if starts[0] == sealedDictionary {
			return sealedSeed{name, n, new(SealedEncoder).AppendInts(nil, v), starts}
		}
		return sealedSeed{name, n, new(SealedEncoder).appendIntColumn(nil, v), starts}
	}
	normal := func(sd float64) uint64 { return uint64(int64(math.Round(r.NormFloat64() * sd))) }
	walk := uint64(0)
	return []sealedSeed{
		seed("constant", n, func(int) uint64 { return math.MaxUint64 }, sealedConstant),
		seed("runs", n, func(i int) uint64 { return scatter(i / 100) }, sealedRuns),
		seed("packed", 100, func(int) uint64 { return 1000 + r.Uint64N(64) }, sealedPlain, streamPacked),
		seed("radix", n, func(int) uint64 { return r.Uint64N(41) }, sealedPlain, streamRadix),
		seed("patched", n, func(i int) uint64 { return r.Uint64N(128) + uint64(i%251/250)<<50 }, sealedPlain, streamPatched),
		seed("split", n, func(i int) uint64 { return normal(9) + uint64(i%251/250)<<50 }, sealedPlain, streamSplit),
		seed("split with low bits", n, func(int) uint64 { return normal(r.ExpFloat64() * 400) }, sealedPlain, streamSplit),
		seed("bytes", n, func(i int) uint64 { return max(r.Uint64N(40), 37) + uint64(i%251/250)<<50 }, sealedPlain, streamBytes),
		seed("table", n, func(i int) uint64 { return normal(3)*1009 + uint64(i%251/250)<<50 }, sealedPlain, streamTable),
		seed("smooth", n, func(int) uint64 { walk += normal(20); return walk }, sealedSmooth),
		seed("slope", n, func(i int) uint64 { return uint64(i*i*1000) + r.Uint64N(4) }, sealedSlope),
		seed("dictionary", n, func(int) uint64 { return []uint64{1 << 60, 7, 1 << 33, 0x80ab0000, 1 << 45}[r.Uint64N(5)] }, sealedDictionary),
	}
}

func sealedTimeSeeds() []sealedSeed {
	const n = 2500
	r := seedRandom()
	seed := func(name string, n int, of func(i int) int64, starts ...byte) sealedSeed {
		v := make([]int64, n)
		for i := range v {
			v[i] = of(i)
		}
		return sealedSeed{name, n, new(SealedEncoder).AppendTimes(nil, v), starts}
	}
	return []sealedSeed{
		seed("grid", n, func(i int) int64 { return noon + int64(i)*1e9 }, 0x91),
		seed("one", 1, func(int) int64 { return math.MinInt64 }, 0x01),
		seed("jitter", n, func(i int) int64 { return noon + int64(i)*1e9 + r.Int64N(41)*1e6 }, 0x62),
		seed("gaps", n, func(i int) int64 { return noon + int64(i+i/200*3000)*1e9 }, 0x92),
		seed("wrap", n, func(int) int64 { return int64(r.Uint64()) }, 0x02),
	}
}

func sealedFloatSeeds() []sealedSeed {
	const n = 2500
	r := seedRandom()
	seed := func(name string, of func(i int) float64, starts ...byte) sealedSeed {
		v := make([]uint64, n)
		for i := range v {
			v[i] = math.Float64bits(of(i))
		}
		return sealedSeed{name, n, new(SealedEncoder).AppendFloat64s(nil, v), starts}
	}
	levels := make([]float64, 90)
	for i := range levels {
		levels[i] = r.NormFloat64()
	}
	at := 100.0
	return []sealedSeed{
		seed("constant", func(int) float64 { return math.Pi }, sealedFloatConstant),
		seed("runs", func(i int) float64 { return math.Sqrt(float64(i / 100)) }, sealedFloatRuns),
		seed("decimal", func(i int) float64 {
			if i%500 == 7 {
				return math.NaN()
			}
			return math.Round(r.NormFloat64()*1e4) / 100
		}, sealedFloatDecimal),
		seed("dictionary", func(int) float64 { return levels[r.IntN(len(levels))] }, sealedFloatDictionary),
		seed("bits", func(int) float64 { at += r.NormFloat64() * 1e-9; return at }, sealedFloatBits),
		{"xor", n, appendXORBlocks([]byte{sealedFloatXOR}, decimalWalk(5, n), 0), []byte{sealedFloatXOR}},
		seed("narrow", func(int) float64 { return float64(float32(r.NormFloat64())) }, sealedFloatNarrow),
		seed("real", func(int) float64 { return r.NormFloat64() }, sealedFloatReal),
	}
}

func sealedFloat32Seeds() []sealedSeed {
	const n = 2500
	r := seedRandom()
	seed := func(name string, of func(i int) float64, starts ...byte) sealedSeed {
		v := make([]uint64, n)
		for i := range v {
			v[i] = uint64(math.Float32bits(float32(of(i))))
		}
		return sealedSeed{name, n, new(SealedEncoder).AppendFloat32s(nil, v), starts}
	}
	return []sealedSeed{
		seed("constant", func(int) float64 { return 2.5 }, sealedFloatConstant),
		seed("decimal", func(int) float64 { return math.Round(r.NormFloat64()*1e4) / 100 }, sealedFloatDecimal),
		seed("real", func(int) float64 { return r.NormFloat64() }, sealedFloatReal),
	}
}

func sealedBlobSeeds() []sealedSeed {
	r := seedRandom()
	seed := func(name string, n int, of func(i int) []byte, starts ...byte) sealedSeed {
		v := make([][]byte, n)
		for i := range v {
			v[i] = of(i)
		}
		return sealedSeed{name, n, new(SealedEncoder).AppendBlobs(nil, v), starts}
	}
	return []sealedSeed{
		seed("plain", 100, func(i int) []byte { return binary.AppendUvarint(nil, scatter(i)) }, sealedBlobPlain),
		seed("text", 2500, func(int) []byte {
			return binary.BigEndian.AppendUint32([]byte("alarm raised by valve "), r.Uint32())
		}, sealedBlobPlain),
		seed("dictionary", 2500, func(int) []byte { return []byte([]string{"RUNNING", "STOPPED", ""}[r.IntN(3)]) }, sealedBlobDictionary),
	}
}

// TestSealedSeedsUseTheirCodec keeps the seeds from drifting away from the codecs they stand for, and sees that any blocks
// of each are what they are among all.
func TestSealedSeedsUseTheirCodec(t *testing.T) {
	for _, kind := range sealedDecoders {
		for _, s := range kind.seeds() {
			require.Equal(t, s.starts, s.b[:len(s.starts)], "%s %s", kind.name, s.name)
			var d SealedDecoder
			all, err := kind.decode(&d, s.n, s.b, 0, blocksOf(s.n))
			require.NoError(t, err, "%s %s", kind.name, s.name)
			for from := range blocksOf(s.n) {
				for to := from + 1; to <= blocksOf(s.n); to++ {
					some, err := kind.decode(&d, s.n, s.b, from, to)
					require.NoError(t, err, "%s %s", kind.name, s.name)
					switch all := all.(type) {
					case []uint64:
						require.Equal(t, part(all, from, to), some)
					case []int64:
						require.Equal(t, part(all, from, to), some)
					case [][]byte:
						require.Equal(t, part(all, from, to), some)
					}
				}
			}
		}
	}
}

// harmless is what a decoder may say of damage.
func harmless(err error) bool {
	return err == nil || errors.Is(err, ErrCorrupt) || errors.Is(err, ErrVersion)
}

func TestSealedDamageIsHarmless(t *testing.T) {
	r := seedRandom()
	for _, kind := range sealedDecoders {
		for _, s := range kind.seeds() {
			var d SealedDecoder
			decode := func(b []byte) {
				from := r.IntN(blocksOf(s.n))
				_, err := kind.decode(&d, s.n, b, from, from+1+r.IntN(blocksOf(s.n)-from))
				require.True(t, harmless(err), "%s %s: %v", kind.name, s.name, err)
				if kind.name == "times" {
					_, _, err := d.TimeBlocks(nil, s.n, b)
					require.True(t, harmless(err), "%s %s: %v", kind.name, s.name, err)
				}
			}
			for cut := range min(len(s.b), 300) {
				decode(s.b[:cut:cut])
				decode(s.b[: len(s.b)-cut : len(s.b)-cut])
			}
			for range 2000 {
				b := append([]byte(nil), s.b...)
				for range 1 + r.IntN(3) {
					// Most of what a decoder believes stands in the first bytes.
					b[min(r.IntN(len(b)), max(r.IntN(60), r.IntN(len(b))))] ^= 1 << r.IntN(8)
				}
				decode(b)
			}
		}
	}
}

func TestSealedColumnsEndWhereTheyEnd(t *testing.T) {
	for _, kind := range sealedDecoders {
		for _, s := range kind.seeds() {
			var d SealedDecoder
			for cut := range min(len(s.b), 40) {
				_, err := kind.decode(&d, s.n, s.b[:cut:cut], 0, blocksOf(s.n))
				require.ErrorIs(t, err, ErrCorrupt, "%s %s cut to %d of %d bytes", kind.name, s.name, cut, len(s.b))
			}
		}
	}
}

func TestSealedCodecZeroAndUnknown(t *testing.T) {
	for _, kind := range sealedDecoders {
		var d SealedDecoder
		_, err := kind.decode(&d, 1, make([]byte, 64), 0, 1)
		require.ErrorIs(t, err, ErrCorrupt, kind.name)
		unknown := make([]byte, 64)
		unknown[0] = 0x77
		_, err = kind.decode(&d, 1, unknown, 0, 1)
		require.ErrorIs(t, err, ErrVersion, kind.name)
		require.NotErrorIs(t, err, ErrCorrupt, kind.name)
		_, err = kind.decode(&d, 1, nil, 0, 1)
		require.ErrorIs(t, err, ErrCorrupt, kind.name)
	}
	// Inside a column a codec of a newer release is one too: in a decimal column, in its stream.
	v := decimalWalk(7, 3000)
	b := new(SealedEncoder).AppendFloat64s(nil, v)
	require.Equal(t, byte(sealedFloatDecimal), b[0])
	require.Zero(t, b[2]) // no exceptions
	b[3] = 0x33
	require.ErrorIs(t, new(SealedDecoder).Float64s(v, len(v), b, 0, 3), ErrVersion)
}

// TestSealedCountsThatBytesCannotHold claims as many values as there can be for columns of a few.
func TestSealedCountsThatBytesCannotHold(t *testing.T) {
	dst := make([]uint64, sealedMost)
	for _, s := range sealedIntSeeds() {
		var d SealedDecoder
		require.NoError(t, d.Ints(dst[:s.n], s.n, s.b, 0, blocksOf(s.n)))
		before := allocated()
		err := d.Ints(dst, sealedMost, s.b, 0, 64)
		require.True(t, harmless(err), "%s: %v", s.name, err)
		require.Less(t, allocated()-before, uint64(64<<10), s.name)
	}
}

// TestSealedScratchIsKept holds the promise that nothing is allocated once memory is warm.
func TestSealedScratchIsKept(t *testing.T) {
	var e SealedEncoder
	var d SealedDecoder
	var b []byte
	floats, ints, times := decimalWalk(3, 5000), make([]uint64, 5000), make([]int64, 5000)
	r := seedRandom()
	for i := range ints {
		ints[i], times[i] = []uint64{1 << 60, 7, 1 << 33}[r.Uint64N(3)], noon+int64(i)*1e9+r.Int64N(41)*1e6
	}
	dst, at := make([]uint64, 5000), make([]int64, 5000)
	round := func() {
		b = e.AppendFloat64s(b[:0], floats)
		require.NoError(t, d.Float64s(dst, 5000, b, 0, 5))
		b = e.AppendInts(b[:0], ints)
		require.NoError(t, d.Ints(dst, 5000, b, 0, 5))
		b = e.AppendTimes(b[:0], times)
		require.NoError(t, d.Times(at, 5000, b, 0, 5))
	}
	round()
	runtime.GC()
	require.LessOrEqual(t, testing.AllocsPerRun(20, round), 0.5)
}

// fuzzSealed gives a decoder any bytes under any count and any blocks: it must not panic, and must say what is wrong.
func fuzzSealed(f *testing.F, name string) {
	for _, kind := range sealedDecoders {
		if kind.name != name {
			continue
		}
		for _, s := range kind.seeds() {
			f.Add(uint16(s.n), uint8(0), uint8(1), s.b)
			f.Add(uint16(s.n), uint8(1), uint8(2), s.b)
		}
		var d SealedDecoder
		f.Fuzz(func(t *testing.T, n uint16, from, more uint8, b []byte) {
			if n == 0 || int(from)+int(more) > blocksOf(int(n)) || more == 0 {
				return
			}
			if _, err := kind.decode(&d, int(n), b, int(from), int(from)+int(more)); !harmless(err) {
				t.Fatal(err)
			}
		})
	}
}

func FuzzSealedInts(f *testing.F)     { fuzzSealed(f, "ints") }
func FuzzSealedTimes(f *testing.F)    { fuzzSealed(f, "times") }
func FuzzSealedFloat64s(f *testing.F) { fuzzSealed(f, "float64s") }
func FuzzSealedFloat32s(f *testing.F) { fuzzSealed(f, "float32s") }
func FuzzSealedBlobs(f *testing.F)    { fuzzSealed(f, "blobs") }

// FuzzSealedTimeBlocks looks at the heads of time columns alone.
func FuzzSealedTimeBlocks(f *testing.F) {
	for _, s := range sealedTimeSeeds() {
		f.Add(uint16(s.n), s.b)
	}
	var d SealedDecoder
	f.Fuzz(func(t *testing.T, n uint16, b []byte) {
		if firsts, _, err := d.TimeBlocks(nil, int(n), b); !harmless(err) || err == nil && len(firsts) != blocksOf(int(n)) {
			t.Fatal(len(firsts), err)
		}
	})
}

// TestQuotientIsDivision holds the quotient without a division against the division.
func TestQuotientIsDivision(t *testing.T) {
	r := seedRandom()
	for k := range tens {
		for range 200000 {
			m := float64(r.Int64() >> (11 + r.IntN(50)))
			if got, want := tens[k].quotient(m), m/tens[k].power; got != want {
				t.Fatalf("%v / 10^%d: %v, want %v", m, k, got, want)
			}
		}
	}
}
