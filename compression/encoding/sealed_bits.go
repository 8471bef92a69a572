package encoding

import (
	"encoding/binary"
	"math/bits"
)

// Packed numbers of sealed columns run from the least significant bit of each byte up, unlike those of the unsealed codecs:
// several are then cut off one word as it was loaded, with no byte swapped and no place worked out for each. A block is a
// whole number of bytes, whatever the width.

// appendLow appends the numbers less lo, each in width bits.
func appendLow(dst []byte, numbers []uint64, lo uint64, width uint) []byte {
	if width == 0 {
		return dst
	}
	size := packedBytes(len(numbers), width)
	dst, room := roomBehind(dst, size)
	at, used, acc := 0, uint(0), uint64(0)
	high := max(width, 32) - 32
	for _, x := range numbers {
		x -= lo
		if width > 56 { // with up to seven bits before it, a number may be more than a word
			acc |= x & (1<<32 - 1) << used
			used += 32
			binary.LittleEndian.PutUint64(room[at:], acc)
			at, acc, used = at+int(used>>3), acc>>(used&0x38), used&7
			acc |= x >> 32 << used
			used += high
		} else {
			acc |= x << (used & 63)
			used += width
		}
		binary.LittleEndian.PutUint64(room[at:], acc)
		at, acc, used = at+int(used>>3), acc>>(used&0x38), used&7
	}
	return dst[:len(dst)+size]
}

// lowReach is how far past its first byte the reader of a number looks.
const lowReach = 9

// low is the 64 bits of b that begin at bit pos. It reads lowReach bytes.
func low(b []byte, pos uint) uint64 {
	b = b[pos>>3:]
	_ = b[lowReach-1]
	return binary.LittleEndian.Uint64(b)>>(pos&7) | uint64(b[8])<<1<<(63-pos&7)
}

// lowAt is number i of a packed stream.
func lowAt(b []byte, i int, width uint) uint64 {
	pos := uint(i) * width
	if int(pos>>3)+lowReach <= len(b) {
		return low(b, pos) & lowMask(width)
	}
	var near [2 * lowReach]byte
	copy(near[:], b[pos>>3:])
	return low(near[:], pos&7) & lowMask(width)
}

func lowMask(width uint) uint64 { return 1<<width - 1 }

// unpackLow reads len(dst) numbers of width bits from the start of b, which holds them, and adds lo to each.
func unpackLow(dst []uint64, b []byte, lo uint64, width uint) {
	if width == 0 {
		fill(dst, lo)
		return
	}
	mask := lowMask(width)
	pos, end := uint(0), uint(max(len(b)-lowReach, -1)+1)*8 // a number that begins before end can be read whole
	if width <= 14 {                                        // four of them, and seven bits before, are one word
		width &= 15
		for len(dst) >= 4 && pos < end {
			w := binary.LittleEndian.Uint64(b[pos>>3:]) >> (pos & 7)
			pos += 4 * width
			four := dst[:4:4]
			four[0] = lo + w&mask
			w >>= width
			four[1] = lo + w&mask
			w >>= width
			four[2] = lo + w&mask
			w >>= width
			four[3] = lo + w&mask
			dst = dst[4:]
		}
	}
	if pos < end {
		direct := min(len(dst), int((end-pos+width-1)/width))
		pos = unpackEach(dst[:direct], b, lo, width, pos)
		dst = dst[direct:]
	}
	if len(dst) == 0 {
		return
	}
	// The last words would reach behind b: they are read from a copy with room behind it.
	var tail [3 * lowReach]byte
	copy(tail[:], b[pos>>3:])
	unpackEach(dst, tail[:], lo, width, pos&7)
}

func unpackEach(dst []uint64, b []byte, lo uint64, width, pos uint) uint {
	mask := lowMask(width)
	if width > 57 {
		for i := range dst {
			dst[i] = lo + low(b, pos)&mask
			pos += width
		}
		return pos
	}
	for i := range dst {
		dst[i] = lo + binary.LittleEndian.Uint64(b[pos>>3:])>>(pos&7)&mask
		pos += width
	}
	return pos
}

// fill is v everywhere, eight at a time: one by one a core stores half as fast as it could.
func fill(dst []uint64, v uint64) {
	for len(dst) >= 8 {
		eight := dst[:8:8]
		eight[0], eight[1], eight[2], eight[3] = v, v, v, v
		eight[4], eight[5], eight[6], eight[7] = v, v, v, v
		dst = dst[8:]
	}
	for i := range dst {
		dst[i] = v
	}
}

// widthOf is the bits that the largest of numbers needs.
func widthOf(numbers []uint64) uint {
	anyBit := uint64(0)
	for _, x := range numbers {
		anyBit |= x
	}
	return uint(bits.Len64(anyBit))
}
