package encoding

import (
	"encoding/binary"
	"encoding/hex"
	"hash/fnv"
	"math"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/internal/golden"
)

// sealedExamples are the columns that docs/format/sealed.md spells out. Of a float64 column f64 has the bits, of a float32
// column f32; ints that write names are written past the choice of a codec.
var sealedExamples = map[string]struct {
	example
	write func(e *SealedEncoder, v []uint64) []byte
}{
	"times-grid":   {example: example{times: []int64{noon, noon + 1e9, noon + 2e9}}},
	"times-jitter": {example: example{times: []int64{noon + 3e6, noon + 1007e6, noon + 2000e6, noon + 3012e6, noon + 4001e6, noon + 5015e6}}},
	"times-gap":    {example: example{times: []int64{noon, noon + 1e9, noon + 2e9, noon + 3600e9, noon + 3601e9, noon + 3602e9}}},

	"ints-constant":   {example: example{ints: []uint64{7, 7, 7}}},
	"ints-runs":       {example: example{ints: slices.Concat(slices.Repeat([]uint64{1 << 40}, 50), slices.Repeat([]uint64{5}, 150))}},
	"ints-packed":     {example: example{ints: []uint64{100, 103, 101, 107, 100}}},
	"ints-radix":      {example: example{ints: []uint64{2, 0, 1, 1, 2, 0, 0, 2, 1, 0, 2, 2, 0, 1, 2, 1, 0, 2, 1, 1, 2, 0, 2, 0}}, write: planned(sealedPlain, streamPlan{coder: streamRadix, base: 3, most: 2})},
	"ints-patched":    {example: example{ints: slices.Concat(slices.Repeat([]uint64{9, 10}, 15), []uint64{1009, 10})}, write: planned(sealedPlain, streamPlan{coder: streamPatched, lo: 9, width: 1, most: 1})},
	"ints-smooth":     {example: example{ints: []uint64{1000, 1003, 999, 1002}}, write: smoothed(1)},
	"ints-slope":      {example: example{ints: []uint64{0, 100, 200, 301, 402, 503}}, write: sloped},
	"ints-dictionary": {example: example{ints: []uint64{0, 1 << 40, 1 << 40, 0, 0, 0, 1 << 40, 0}}, write: (*SealedEncoder).intDictionary},
	"ints-split":      {example: example{ints: mostlyZero(1 << 20)}, write: planned(sealedPlain, streamPlan{coder: streamSplit, lo: ^uint64(127), most: escape - 1})},
	"ints-bytes":      {example: example{ints: slices.Concat(mostlyZero(1), mostlyZero(1), mostlyZero(1), mostlyZero(1), mostlyZero(1), mostlyZero(1), mostlyZero(1), mostlyZero(1))}, write: planned(sealedPlain, streamPlan{coder: streamBytes, width: 1, most: 1})},
	"ints-table":      {example: example{ints: mostlyZero(1000)}, write: tabled},

	"floats-constant":   {example: example{f64: float64s(math.Pi, math.Pi)}},
	"floats-runs":       {example: example{f64: slices.Concat(slices.Repeat(float64s(1), 50), slices.Repeat(float64s(2.5), 150))}},
	"floats-decimal":    {example: example{f64: float64s(20.01, 20.02, math.Inf(1), 20.05, 20)}, write: decimalColumn},
	"floats-dictionary": {example: example{f64: float64s(0.5, 1.25, 0.5, 0.5, 1.25, 0.5)}, write: floatDictionary},
	"floats-bits":       {example: example{f64: float64s(1, 1.0000000000000002, 1.0000000000000007)}},
	"floats-xor":        {example: example{f64: float64s(12, 12, 24, 24, 12)}, write: xorColumn},
	"floats-narrow":     {example: example{f64: float64s(float64(float32(0.1)), float64(float32(0.3)))}, write: narrowColumn},
	"floats-real":       {example: example{f32: []uint64{0x3F812345, 0x3F81ABCD, 0x3F80FFFF}}, write: realColumn},

	"blobs-plain":      {example: example{blobs: []string{"ab", "", "c"}}},
	"blobs-dictionary": {example: example{blobs: []string{"RUN", "RUN", "STOP", "RUN", "STOP", "RUN", "RUN"}}},
}

// mostlyZero is 128 zeros, but for every sixteenth, which is x.
func mostlyZero(x uint64) []uint64 {
	v := make([]uint64, 128)
	for i := range v {
		if i%16 == 5 {
			v[i] = x
		}
	}
	return v
}

func planned(codec byte, p streamPlan) func(e *SealedEncoder, v []uint64) []byte {
	return func(e *SealedEncoder, v []uint64) []byte { return e.appendStream([]byte{codec}, v, p) }
}

func smoothed(slow uint) func(e *SealedEncoder, v []uint64) []byte {
	return func(e *SealedEncoder, v []uint64) []byte {
		return e.appendPredicted(nil, v, intPlan{codec: sealedSmooth, slow: slow})
	}
}

func sloped(e *SealedEncoder, v []uint64) []byte {
	return e.appendPredicted(nil, v, intPlan{codec: sealedSlope})
}

func (e *SealedEncoder) intDictionary(v []uint64) []byte {
	e.table.collect(v)
	e.table.arrange(signed, signed)
	return e.appendIntDictionary(nil, v)
}

func tabled(e *SealedEncoder, v []uint64) []byte {
	return e.appendStream([]byte{sealedPlain}, v, e.planTable(v, 0, 1000))
}

func decimalColumn(e *SealedEncoder, v []uint64) []byte {
	c := decimals{ok: true, digits: 2}
	e.words, e.misses, e.missed = c.convert(nil, nil, nil, v, 0)
	return e.appendDecimals([]byte{sealedFloatDecimal}, c, len(v), intPlan{})
}

func floatDictionary(e *SealedEncoder, v []uint64) []byte {
	e.table.collect(v)
	e.table.arrangeFloats(0)
	return e.appendFloatDictionary([]byte{sealedFloatDictionary}, v, 0, intPlan{})
}

func xorColumn(_ *SealedEncoder, v []uint64) []byte {
	return appendXORBlocks([]byte{sealedFloatXOR}, v, 0)
}

func narrowColumn(e *SealedEncoder, v []uint64) []byte {
	return e.appendNarrow([]byte{sealedFloatNarrow}, v, true)
}

func realColumn(e *SealedEncoder, v []uint64) []byte {
	return e.appendReal([]byte{sealedFloatReal}, v, 32)
}

// TestSealedPageAndCodeAgree holds docs/format/sealed.md against what is written and read.
func TestSealedPageAndCodeAgree(t *testing.T) {
	page := golden.Blocks(t, "../../docs/format/sealed.md")
	for name, x := range sealedExamples {
		var e SealedEncoder
		var d SealedDecoder
		var b []byte
		values := slices.Concat(x.ints, x.f64, x.f32)
		got := make([]uint64, len(values))
		var err error
		switch {
		case x.times != nil:
			at := make([]int64, len(x.times))
			b = e.AppendTimes(nil, x.times)
			require.NoError(t, d.Times(at, len(at), page[name], 0, 1), name)
			require.Equal(t, x.times, at, name)
		case x.blobs != nil:
			var v [][]byte
			for _, s := range x.blobs {
				v = append(v, []byte(s))
			}
			b = e.AppendBlobs(nil, v)
			blobs, _, err := d.Blobs(nil, nil, len(v), page[name], 0, 1)
			require.NoError(t, err, name)
			for i, s := range x.blobs {
				require.Equal(t, s, string(blobs[i]), name)
			}
		case x.ints != nil:
			b = e.AppendInts(nil, values)
			err = d.Ints(got, len(got), page[name], 0, blocksOf(len(got)))
		case x.f64 != nil:
			b = e.AppendFloat64s(nil, values)
			err = d.Float64s(got, len(got), page[name], 0, 1)
		default:
			b = e.AppendFloat32s(nil, values)
			err = d.Float32s(got, len(got), page[name], 0, 1)
		}
		if x.write != nil {
			b = x.write(new(SealedEncoder), values)
		}
		require.Equal(t, hex.EncodeToString(b), hex.EncodeToString(page[name]), name)
		require.NoError(t, err, name)
		require.True(t, slices.Equal(values, got), name)
	}
	require.Len(t, page, len(sealedExamples), "an example on the page that no test writes")
}

// sealedFixture is every seed as the first release wrote it: kind, count, column, and a hash of what must be read.
const sealedFixture = "testdata/sealed-v1.bin"

func hashOf(values any) uint64 {
	h := fnv.New64a()
	if blobs, ok := values.([][]byte); ok {
		for _, x := range blobs {
			_ = binary.Write(h, binary.LittleEndian, uint64(len(x)))
			h.Write(x)
		}
		return h.Sum64()
	}
	_ = binary.Write(h, binary.LittleEndian, values)
	return h.Sum64()
}

// TestSealedColumnsOfTheFirstRelease reads what the first release wrote. VARVE_REWRITE=1 writes it anew, which no release
// after the first may do.
func TestSealedColumnsOfTheFirstRelease(t *testing.T) {
	var d SealedDecoder
	if os.Getenv("VARVE_REWRITE") != "" {
		var out []byte
		for k, kind := range sealedDecoders {
			for _, s := range kind.seeds() {
				values, err := kind.decode(&d, s.n, s.b, 0, blocksOf(s.n))
				require.NoError(t, err)
				out = binary.AppendUvarint(append(out, byte(k)), uint64(s.n))
				out = append(binary.AppendUvarint(out, uint64(len(s.b))), s.b...)
				out = binary.LittleEndian.AppendUint64(out, hashOf(values))
			}
		}
		require.NoError(t, os.WriteFile(sealedFixture, out, 0o644))
	}
	b, err := os.ReadFile(sealedFixture)
	require.NoError(t, err)
	columns := 0
	for ; len(b) > 0; columns++ {
		kind := sealedDecoders[b[0]]
		n, b1, _ := uvarint(b[1:])
		size, b1, _ := uvarint(b1)
		values, err := kind.decode(&d, int(n), b1[:size], 0, blocksOf(int(n)))
		require.NoError(t, err, "column %d, %s", columns, kind.name)
		require.Equal(t, binary.LittleEndian.Uint64(b1[size:]), hashOf(values), "column %d, %s", columns, kind.name)
		b = b1[size+8:]
	}
	require.Equal(t, 31, columns)
}
