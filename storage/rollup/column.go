package rollup

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"slices"
)

// The forms of a column, low four bits of its first byte. The high four are a power of ten: integers are multiples of it,
// decimals are divided by it. They reach disk and are never renumbered; zero has no meaning.
const (
	formConstant = 1 // varint
	formPacked   = 2 // varint base, width, each value less the base in width bits
	formDeltas   = 3 // varint first, varint base, width, each difference less the base in width bits
	formSame     = 4 // number of an earlier column with the same values
	formHigh     = 5 // bytes per value, the high bytes of each; those below are zero
	formGrid     = 6 // an integral that follows from the statistics, see grid.go: number of exceptions, then those
	formMask     = 0x0F
)

// exceptionBytes is what an exception to formGrid takes: position, high double, low part.
const exceptionBytes = 1 + 8 + 4

var powersOfTen = [16]int64{1, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15}

// appendInts writes integers: the smallest of constant, packed and deltas, in the largest unit of 1, 1e3, 1e6 and 1e9.
func appendInts(dst []byte, v []uint64) []byte {
	unit := 9
	for ; unit > 0; unit -= 3 {
		if !slices.ContainsFunc(v, func(u uint64) bool { return int64(u)%powersOfTen[unit] != 0 }) {
			break
		}
	}
	w := make([]int64, len(v))
	for i, u := range v {
		w[i] = int64(u) / powersOfTen[unit]
	}
	return appendWords(dst, w, unit)
}

// appendWords writes w, whose meaning exponent says; it overwrites w.
func appendWords(dst []byte, w []int64, exponent int) []byte {
	head := byte(exponent << 4)
	base, width := rangeOf(w)
	if width == 0 {
		return binary.AppendVarint(append(dst, formConstant|head), base)
	}
	first := w[0]
	deltaBase, deltaWidth := rangeOf(differences(w))
	if deltaWidth < width {
		dst = binary.AppendVarint(append(dst, formDeltas|head), first)
		dst = append(binary.AppendVarint(dst, deltaBase), byte(deltaWidth))
		return appendBits(dst, w[1:], deltaBase, deltaWidth)
	}
	for i := 1; i < len(w); i++ {
		w[i] += w[i-1]
	}
	dst = append(binary.AppendVarint(append(dst, formPacked|head), base), byte(width))
	return appendBits(dst, w, base, width)
}

// differences turns each value but the first into what it is more than the one before, and returns those.
func differences(w []int64) []int64 {
	for i := len(w) - 1; i > 0; i-- {
		w[i] -= w[i-1]
	}
	return w[1:]
}

// rangeOf is the least value, and how many bits the others are above it.
func rangeOf(w []int64) (base int64, width int) {
	if len(w) == 0 {
		return 0, 0
	}
	lo, hi := w[0], w[0]
	for _, x := range w {
		lo, hi = min(lo, x), max(hi, x)
	}
	return lo, bits.Len64(uint64(hi) - uint64(lo))
}

// appendBits packs each value less base into width bits, least significant first.
func appendBits(dst []byte, w []int64, base int64, width int) []byte {
	var low uint64 // bits not yet written
	have := 0
	for _, x := range w {
		r := uint64(x) - uint64(base)
		low |= r << have
		if have+width < 64 {
			have += width
			continue
		}
		dst = binary.LittleEndian.AppendUint64(dst, low)
		low = r >> (64 - have) // 0 where have is 0
		have += width - 64
	}
	for ; have > 0; have -= 8 {
		dst = append(dst, byte(low))
		low >>= 8
	}
	return dst
}

// appendFloats writes doubles, given by their bits: as decimals where every one is a whole number over a power of ten,
// else as they are.
func appendFloats(dst []byte, v []uint64) []byte {
	w := make([]int64, len(v))
	for k := range powersOfTen {
		if decimals(w, v, k) {
			return appendWords(dst, w, k)
		}
	}
	var any uint64
	for _, u := range v {
		any |= u
	}
	width := max(1, 8-bits.TrailingZeros64(any)/8)
	dst = append(dst, formHigh, byte(width))
	for _, u := range v {
		dst = append(dst, binary.BigEndian.AppendUint64(nil, u)[:width]...)
	}
	return dst
}

// decimals fills w with v times a power of ten; false if that does not give every bit back.
func decimals(w []int64, v []uint64, k int) bool {
	for i, u := range v {
		f := math.Round(math.Float64frombits(u) * float64(powersOfTen[k]))
		if !(math.Abs(f) < maxExactInt) {
			return false
		}
		w[i] = int64(f)
		if math.Float64bits(float64(w[i])/float64(powersOfTen[k])) != u { // -0 is none
			return false
		}
	}
	return true
}

// column is a column that was found in a row: its first byte, and what stands behind it.
type column struct {
	form   byte
	body   []byte
	behind []byte // what stands behind the column
	first  int64  // constant; base of packed; first of deltas
	base   int64  // of deltas
	width  int
}

// parseColumn reads the head of a column of n values and returns what stands behind the column. Nothing is allocated.
func parseColumn(b []byte, n int) (c column, rest []byte, err error) {
	if len(b) == 0 {
		return c, nil, fmt.Errorf("column without a first byte: %w", ErrCorrupt)
	}
	c.form, b = b[0], b[1:]
	size := 0 // of the values
	switch c.form & formMask {
	case formConstant:
		c.first, b, err = varint(b)
	case formPacked, formDeltas:
		if c.first, b, err = varint(b); err != nil {
			break
		}
		values := n
		if c.form&formMask == formDeltas {
			if c.base, b, err = varint(b); err != nil {
				break
			}
			values--
		}
		if len(b) == 0 || b[0] > 64 {
			return c, nil, fmt.Errorf("width of a column: %w", ErrCorrupt)
		}
		c.width, b = int(b[0]), b[1:]
		size = (values*c.width + 7) / 8
	case formSame:
		if len(b) == 0 {
			return c, nil, fmt.Errorf("no number of the same column: %w", ErrCorrupt)
		}
		c.first, b = int64(b[0]), b[1:]
	case formHigh:
		if len(b) == 0 || b[0] < 1 || b[0] > 8 {
			return c, nil, fmt.Errorf("bytes of a double: %w", ErrCorrupt)
		}
		c.width, b = int(b[0]), b[1:]
		size = n * c.width
	case formGrid:
		if len(b) == 0 {
			return c, nil, fmt.Errorf("no number of exceptions: %w", ErrCorrupt)
		}
		size, b = int(b[0])*exceptionBytes, b[1:]
	case 0:
		return c, nil, fmt.Errorf("form 0 of a column: %w", ErrCorrupt)
	default:
		return c, nil, fmt.Errorf("form %d of a column: %w", c.form&formMask, ErrVersion)
	}
	if err != nil {
		return c, nil, err
	}
	if size > len(b) {
		return c, nil, fmt.Errorf("column of %d bytes in %d: %w", size, len(b), ErrCorrupt)
	}
	c.body, c.behind = b[:size], b[size:]
	return c, c.behind, nil
}

// skip makes c the column of its numbers from i on, a multiple of 8, where those are found without the ones before, and returns
// how many are left out.
func (c *column) skip(i int) int {
	switch c.form & formMask {
	case formPacked:
		c.body = c.body[i/8*c.width:]
	case formHigh:
		c.body = c.body[i*c.width:]
	case formDeltas:
		return 0
	}
	return i
}

func varint(b []byte) (int64, []byte, error) {
	v, n := binary.Varint(b)
	if n <= 0 {
		return 0, nil, fmt.Errorf("number in a column: %w", ErrCorrupt)
	}
	return v, b[n:], nil
}

// ints fills dst with the integers of c.
func (c *column) ints(dst []uint64) error {
	if err := c.words(dst); err != nil {
		return err
	}
	if unit := uint64(powersOfTen[c.form>>4]); unit != 1 {
		for i := range dst {
			dst[i] *= unit
		}
	}
	return nil
}

// floats fills dst with the bits of the doubles of c.
func (c *column) floats(dst []uint64) error {
	if c.form&formMask == formHigh {
		for i := range dst {
			var u uint64
			for _, x := range c.body[i*c.width : (i+1)*c.width] {
				u = u<<8 | uint64(x)
			}
			dst[i] = u << (64 - 8*c.width)
		}
		return nil
	}
	if err := c.words(dst); err != nil {
		return err
	}
	scale := float64(powersOfTen[c.form>>4])
	for i, u := range dst {
		dst[i] = math.Float64bits(float64(int64(u)) / scale)
	}
	return nil
}

// words fills dst with the numbers of a constant, packed or delta column, before their exponent.
func (c *column) words(dst []uint64) error {
	switch c.form & formMask {
	case formConstant:
		for i := range dst {
			dst[i] = uint64(c.first)
		}
	case formPacked:
		unpack(dst, c.body, uint64(c.first), c.width)
	case formDeltas:
		sum := uint64(c.first)
		dst[0] = sum
		unpack(dst[1:], c.body, uint64(c.base), c.width)
		for i, d := range dst[1:] {
			sum += d
			dst[i+1] = sum
		}
	default:
		return fmt.Errorf("form %d where integers are expected: %w", c.form&formMask, ErrCorrupt)
	}
	return nil
}

// unpack fills dst with numbers of width bits plus base.
func unpack(dst []uint64, b []byte, base uint64, width int) {
	mask := uint64(1)<<width - 1 // all ones for 64
	at := 0
	for i := range dst {
		from, shift := at>>3, at&7
		if from+8 > len(b) {
			unpackTail(dst[i:], b, base, width, at)
			return
		}
		u := binary.LittleEndian.Uint64(b[from:]) >> shift
		if shift+width > 64 {
			u |= uint64(b[from+8]) << (64 - shift)
		}
		dst[i] = base + u&mask
		at += width
	}
}

// unpackTail is unpack for what stands in the last eight bytes.
func unpackTail(dst []uint64, b []byte, base uint64, width, at int) {
	for i := range dst {
		var u uint64
		for k := 0; k < width; k++ {
			u |= uint64(b[(at+k)>>3]>>((at+k)&7)&1) << k
		}
		dst[i] = base + u
		at += width
	}
}
