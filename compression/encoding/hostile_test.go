package encoding

import (
	"encoding/binary"
	"math"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// decoders is every decoder behind one face, with columns that make good seeds.
var decoders = []struct {
	name   string
	seeds  func() map[string][]byte
	decode func(n int, b []byte) (rest []byte, err error)
}{
	{"times", timeSeeds, func(n int, b []byte) ([]byte, error) { _, rest, err := DecodeTimes(nil, n, b); return rest, err }},
	{"ints", intSeeds, func(n int, b []byte) ([]byte, error) { _, rest, err := DecodeInts(nil, n, b); return rest, err }},
	{"float64s", floatSeeds(0), func(n int, b []byte) ([]byte, error) { _, rest, err := DecodeFloat64s(nil, n, b); return rest, err }},
	{"float32s", floatSeeds(32), func(n int, b []byte) ([]byte, error) { _, rest, err := DecodeFloat32s(nil, n, b); return rest, err }},
	{"blobs", blobSeeds, func(n int, b []byte) ([]byte, error) {
		_, _, rest, err := DecodeBlobs(nil, nil, n, b)
		return rest, err
	}},
}

// seedCount is how many values every seed column has.
const seedCount = 100

// scatter is a sequence that no codec but the general ones fits.
func scatter(i int) uint64 { return uint64(i) * 0x9E3779B97F4A7C15 >> 20 }

func ints(of func(i int) uint64) []byte {
	v := make([]uint64, seedCount)
	for i := range v {
		v[i] = of(i)
	}
	return AppendInts(nil, v)
}

func intSeeds() map[string][]byte {
	return map[string][]byte{
		"constant":      ints(func(int) uint64 { return math.MaxUint64 }),
		"runs":          ints(func(i int) uint64 { return uint64(i/40) << 40 }),
		"packed":        ints(func(i int) uint64 { return scatter(i) % 1000 }),
		"delta":         ints(func(i int) uint64 { return uint64(i)<<30 + scatter(i)%1000 }),
		"delta buckets": ints(func(i int) uint64 { return uint64(i/7) + uint64(i/50)<<40 }),
		"grid":          ints(func(i int) uint64 { return uint64(i) << 33 }),
		"delta2":        ints(func(i int) uint64 { return uint64(i)<<33 + uint64(i/30)<<12 }),
	}
}

func times(of func(i int) int64) []byte {
	v := make([]int64, seedCount)
	for i := range v {
		v[i] = of(i)
	}
	return AppendTimes(nil, v)
}

func timeSeeds() map[string][]byte {
	return map[string][]byte{
		"grid":   times(func(i int) int64 { return 1767225600e9 + int64(i)*1e9 }),
		"jitter": times(func(i int) int64 { return 1767225600e9 + int64(i)*1e9 + int64(scatter(i)%41)*1e6 }),
		"delta2": times(func(i int) int64 { return 1767225600e9 + int64(i)*1e9 + int64(i/30)*3600e9 }),
		"wrap":   times(func(i int) int64 { return int64(scatter(i) << 30) }),
	}
}

func floatSeeds(shift uint) func() map[string][]byte {
	floats := func(of func(i int) float64) []byte {
		v := make([]uint64, seedCount)
		for i := range v {
			if v[i] = math.Float64bits(of(i)); shift == 32 {
				v[i] = uint64(math.Float32bits(float32(of(i))))
			}
		}
		if shift == 32 {
			return AppendFloat32s(nil, v)
		}
		return AppendFloat64s(nil, v)
	}
	return func() map[string][]byte {
		return map[string][]byte{
			"constant": floats(func(int) float64 { return math.Pi }),
			"decimal":  floats(func(int) float64 { return 20.01 }),
			"runs":     floats(func(i int) float64 { return float64(i / 50) }),
			"xor":      floats(func(i int) float64 { return float64(i/5) * 0.1 }),
			"classes":  floats(func(i int) float64 { return float64(2000+scatter(i)%100) / 100 }),
		}
	}
}

func blobSeeds() map[string][]byte {
	few, many := make([][]byte, seedCount), make([][]byte, seedCount)
	for i := range few {
		few[i] = []byte([]string{"RUNNING", "STOPPED", ""}[scatter(i)%3])
		many[i] = binary.AppendUvarint(nil, scatter(i))
	}
	return map[string][]byte{"dictionary": AppendBlobs(nil, few), "plain": AppendBlobs(nil, many)}
}

// TestSeedsUseTheirCodec keeps the seeds from drifting away from the codecs they stand for.
func TestSeedsUseTheirCodec(t *testing.T) {
	want := map[string]map[string]byte{
		"times":    {"grid": 0x91, "jitter": 0x62, "delta2": 0x93},
		"ints":     {"constant": 1, "runs": 2, "packed": 3, "delta": 4, "delta buckets": 5, "grid": 6, "delta2": 7},
		"float64s": {"constant": 1, "decimal": 2, "runs": 3, "xor": 4, "classes": 5},
		"float32s": {"constant": 1, "decimal": 2, "runs": 3, "xor": 4, "classes": 5},
		"blobs":    {"plain": 1, "dictionary": 2},
	}
	for _, d := range decoders {
		seeds := d.seeds()
		for name, codec := range want[d.name] {
			require.Equal(t, codec, seeds[name][0], "%s %s", d.name, name)
		}
	}
}

func TestCutColumnsAreCorrupt(t *testing.T) {
	for _, d := range decoders {
		for name, b := range d.seeds() {
			for cut := range b {
				_, err := d.decode(seedCount, b[:cut:cut])
				require.ErrorIs(t, err, ErrCorrupt, "%s %s cut to %d of %d bytes", d.name, name, cut, len(b))
			}
			rest, err := d.decode(seedCount, b)
			require.NoError(t, err, "%s %s", d.name, name)
			require.Empty(t, rest)
		}
	}
}

func TestCodecZeroAndUnknown(t *testing.T) {
	for _, d := range decoders {
		_, err := d.decode(1, make([]byte, 64))
		require.ErrorIs(t, err, ErrCorrupt, d.name)
		unknown := make([]byte, 64)
		unknown[0] = 0x77
		_, err = d.decode(1, unknown)
		require.ErrorIs(t, err, ErrVersion, d.name)
		require.NotErrorIs(t, err, ErrCorrupt, d.name)
		_, err = d.decode(1, nil)
		require.ErrorIs(t, err, ErrCorrupt, d.name)
	}
}

// TestHugeCountAllocatesNothing claims a billion values for columns of a hundred. Codecs that store every value must
// refuse before they allocate; the others are the caller's to bound.
func TestHugeCountAllocatesNothing(t *testing.T) {
	perValue := map[string]bool{"packed": true, "delta": true, "delta buckets": true, "delta2": true, "jitter": true, "xor": true, "classes": true}
	for _, d := range decoders {
		for name, b := range d.seeds() {
			if !perValue[name] {
				continue
			}
			before := allocated()
			_, err := d.decode(1<<30, b)
			require.ErrorIs(t, err, ErrCorrupt, "%s %s", d.name, name)
			require.Less(t, allocated()-before, uint64(64<<10), "%s %s of %d bytes", d.name, name, len(b))
		}
	}
}

func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// fuzzColumn gives a decoder any bytes under any count: it must not panic, and must say how much it read or why not.
func fuzzColumn(f *testing.F, name string) {
	for _, d := range decoders {
		if d.name != name {
			continue
		}
		for _, b := range d.seeds() {
			f.Add(uint16(seedCount), b)
			f.Add(uint16(1), b)
		}
		f.Fuzz(func(t *testing.T, n uint16, b []byte) {
			rest, err := d.decode(int(n), b)
			if err == nil && len(rest) >= len(b) {
				t.Fatalf("%d values from no bytes", n)
			}
		})
	}
}

func FuzzDecodeInts(f *testing.F)     { fuzzColumn(f, "ints") }
func FuzzDecodeFloat64s(f *testing.F) { fuzzColumn(f, "float64s") }
func FuzzDecodeFloat32s(f *testing.F) { fuzzColumn(f, "float32s") }
func FuzzDecodeBlobs(f *testing.F)    { fuzzColumn(f, "blobs") }

// FuzzDecodeTimes also holds the bounds against the times.
func FuzzDecodeTimes(f *testing.F) {
	for _, b := range timeSeeds() {
		f.Add(uint16(seedCount), b)
		f.Add(uint16(1), b)
	}
	f.Fuzz(func(t *testing.T, n uint16, b []byte) {
		first, last, boundsErr := TimeBounds(int(n), b)
		v, _, err := DecodeTimes(nil, int(n), b)
		if err == nil && (boundsErr != nil || first != v[0] || last != v[n-1]) {
			t.Fatalf("times from %d to %d, bounds %d and %d, %v", v[0], v[n-1], first, last, boundsErr)
		}
	})
}
