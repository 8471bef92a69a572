package encoding

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
)

// The codecs of a float column. They reach disk and are never renumbered; zero is never written.
const (
	floatConstant = 1 // one value for all
	floatDecimal  = 2 // one value for all, as an integer over a power of ten
	floatRuns     = 3 // value and length of each run
	floatXOR      = 4 // Gorilla: each value XOR the one before, leading and trailing zeros cut off
	floatClasses  = 5 // first value; differences of the bits, taken as integers, in a class stream
)

// AppendFloat64s encodes at least one value, given as IEEE 754 bits.
func AppendFloat64s(dst []byte, v []uint64) []byte { return appendFloats(dst, v, 0) }

// AppendFloat32s encodes at least one value, given as IEEE 754 bits in the low half; the high half is not kept.
func AppendFloat32s(dst []byte, v []uint64) []byte {
	anyBit := uint64(0)
	for _, x := range v {
		anyBit |= x
	}
	if anyBit>>32 != 0 {
		low := make([]uint64, len(v))
		for i, x := range v {
			low[i] = x & (1<<32 - 1)
		}
		v = low
	}
	return appendFloats(dst, v, 32)
}

// DecodeFloat64s reads n values, n at least 1, reusing dst's memory, and returns what stands behind them.
func DecodeFloat64s(dst []uint64, n int, b []byte) (values []uint64, rest []byte, err error) {
	return decodeFloats(dst, n, b, 0)
}

// DecodeFloat32s is DecodeFloat64s for what AppendFloat32s wrote.
func DecodeFloat32s(dst []uint64, n int, b []byte) (values []uint64, rest []byte, err error) {
	return decodeFloats(dst, n, b, 32)
}

// appendFloats encodes values of 64-shift bits.
func appendFloats(dst []byte, v []uint64, shift uint) []byte {
	m := len(v) - 1
	var h, odd histogram // two, because adding to a counter that was just added to waits for the store
	anyBit := uint64(0)
	for i := 1; i < m; i += 2 {
		d, e := v[i]-v[i-1], v[i+1]-v[i]
		anyBit |= d | e
		h.add(int64(d))
		odd.add(int64(e))
	}
	if m%2 == 1 {
		d := v[m] - v[m-1]
		anyBit |= d
		h.add(int64(d))
	}
	h.merge(&odd)
	changes := m - h[0]
	if changes == 0 {
		return appendFloatConstant(dst, v[0], shift)
	}
	if changes < m/32 {
		return appendFloatRuns(dst, v, changes+1, shift)
	}
	if changes > m/4 { // a repeated value takes one bit of an XOR stream, and two or more as a class
		c, size := chooseClasses(&h, m, uint(bits.TrailingZeros64(anyBit)))
		if xor := xorSize(v, shift); size/8+classesHead <= xor+xor/20 { // classes are several times as fast
			return c.append(appendScalar(append(dst, floatClasses), v[0], shift), v, size)
		}
	}
	return appendXOR(append(dst, floatXOR), v, shift)
}

// appendFloatConstant writes the one value of a column, as a decimal if it is a short one: a column of one sample, as
// slow tags have, is the value and little else.
func appendFloatConstant(dst []byte, v uint64, shift uint) []byte {
	f := math.Float64frombits(v)
	if shift == 32 {
		f = float64(math.Float32frombits(uint32(v)))
	}
	for digits, power := range powersOfTen {
		mantissa := math.Round(f * power)
		if !(math.Abs(mantissa) < 1<<34) { // five bytes; NaN stops here too
			break
		}
		if decimalBits(int64(mantissa), power, shift) == v {
			return binary.AppendVarint(append(dst, floatDecimal, byte(digits)), int64(mantissa))
		}
	}
	return appendScalar(append(dst, floatConstant), v, shift)
}

var powersOfTen = [...]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6}

// decimalBits is the value of mantissa/power. Both are exact, so the division rounds the same way everywhere.
func decimalBits(mantissa int64, power float64, shift uint) uint64 {
	f := float64(mantissa) / power
	if shift == 32 {
		return uint64(math.Float32bits(float32(f)))
	}
	return math.Float64bits(f)
}

// appendScalar writes one value whole.
func appendScalar(dst []byte, v uint64, shift uint) []byte {
	if shift == 32 {
		return binary.BigEndian.AppendUint32(dst, uint32(v))
	}
	return binary.BigEndian.AppendUint64(dst, v)
}

func scalar(b []byte, shift uint) (v uint64, rest []byte, ok bool) {
	if shift == 32 {
		if len(b) < 4 {
			return 0, nil, false
		}
		return uint64(binary.BigEndian.Uint32(b)), b[4:], true
	}
	if len(b) < 8 {
		return 0, nil, false
	}
	return binary.BigEndian.Uint64(b), b[8:], true
}

func appendFloatRuns(dst []byte, v []uint64, runs int, shift uint) []byte {
	dst = binary.AppendUvarint(append(dst, floatRuns), uint64(runs))
	start := 0
	for i := 1; i <= len(v); i++ {
		if i == len(v) || v[i] != v[start] {
			dst = appendScalar(dst, v[start], shift)
			dst = binary.AppendUvarint(dst, uint64(i-start))
			start = i
		}
	}
	return dst
}

func decodeFloats(dst []uint64, n int, b []byte, shift uint) ([]uint64, []byte, error) {
	if n < 1 || len(b) == 0 {
		return nil, nil, fmt.Errorf("decode floats: %d of them in %d bytes: %w", n, len(b), ErrCorrupt)
	}
	codec := b[0]
	var rest []byte
	ok := false
	switch codec {
	case 0:
	case floatConstant:
		dst, rest, ok = decodeFloatConstant(dst, n, b[1:], shift)
	case floatDecimal:
		dst, rest, ok = decodeFloatDecimal(dst, n, b[1:], shift)
	case floatRuns:
		dst, rest, ok = decodeFloatRuns(dst, n, b[1:], shift)
	case floatXOR:
		dst, rest, ok = decodeXOR(dst, n, b[1:], shift)
	case floatClasses:
		dst, rest, ok = decodeFloatClasses(dst, n, b[1:], shift)
	default:
		return nil, nil, fmt.Errorf("decode floats: codec %d, newest known is %d: %w", codec, floatClasses, ErrVersion)
	}
	if !ok {
		return nil, nil, fmt.Errorf("decode floats: codec %d: %d values do not fit in %d bytes: %w", codec, n, len(b), ErrCorrupt)
	}
	return dst, rest, nil
}

func decodeFloatConstant(dst []uint64, n int, b []byte, shift uint) ([]uint64, []byte, bool) {
	v, b, ok := scalar(b, shift)
	if !ok {
		return nil, nil, false
	}
	return repeat(dst, n, v), b, true
}

func decodeFloatDecimal(dst []uint64, n int, b []byte, shift uint) ([]uint64, []byte, bool) {
	if len(b) == 0 || int(b[0]) >= len(powersOfTen) {
		return nil, nil, false
	}
	power := powersOfTen[b[0]]
	mantissa, b, ok := varint(b[1:])
	if !ok || mantissa > 1<<53 || mantissa < -1<<53 {
		return nil, nil, false
	}
	return repeat(dst, n, decimalBits(mantissa, power, shift)), b, true
}

func decodeFloatRuns(dst []uint64, n int, b []byte, shift uint) ([]uint64, []byte, bool) {
	runs, b, ok := uvarint(b)
	if !ok || runs > uint64(n) || runs > uint64(len(b)/5) {
		return nil, nil, false
	}
	dst = sized(dst, n)
	at := 0
	for range runs {
		var v, length uint64
		if v, b, ok = scalar(b, shift); !ok {
			return nil, nil, false
		}
		if length, b, ok = uvarint(b); !ok || length > uint64(n-at) {
			return nil, nil, false
		}
		run := dst[at : at+int(length)]
		for i := range run {
			run[i] = v
		}
		at += len(run)
	}
	return dst, b, at == n
}

func decodeFloatClasses(dst []uint64, n int, b []byte, shift uint) ([]uint64, []byte, bool) {
	first, b, ok := scalar(b, shift)
	if !ok || n-1 > len(b)*4 {
		return nil, nil, false
	}
	dst = sized(dst, n)
	dst[0] = first
	if b, ok = decodeClasses(dst, b); !ok {
		return nil, nil, false
	}
	if shift == 32 {
		for _, v := range dst {
			if v>>32 != 0 {
				return nil, nil, false
			}
		}
	}
	return dst, b, true
}
