package encoding

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// Bit streams are written from the most significant bit of each byte down, and end on a byte with zero bits as filler.

// bitWriter collects bits in a word and appends whole words, so that the common path is a shift and an or.
type bitWriter struct {
	b    []byte
	acc  uint64 // collected bits, at the top
	free uint   // bits of acc not yet used, 1 to 64
}

func newBitWriter(dst []byte) bitWriter { return bitWriter{b: dst, free: 64} }

// put appends the low n bits of v, n from 0 to 64. The bits of v above them must be zero.
func (w *bitWriter) put(v uint64, n uint) {
	if n < w.free {
		w.free -= n
		w.acc |= v << (w.free & 63)
		return
	}
	rest := n - w.free
	w.b = binary.BigEndian.AppendUint64(w.b, w.acc|v>>rest)
	w.free = 64 - rest
	w.acc = v << w.free
}

// close appends the bits still collected.
func (w *bitWriter) close() []byte {
	var last [8]byte
	binary.BigEndian.PutUint64(last[:], w.acc)
	return append(w.b, last[:(64-w.free+7)/8]...)
}

// cursor is where put56 stands in memory that is there already. It is passed and returned by value, with few enough
// fields to live in registers: kept in memory, every value would wait for the one before to be stored.
type cursor struct {
	at   int    // next byte
	acc  uint64 // bits not yet passed over, at the top
	used uint   // how many, 0 to 7
}

// put56 writes the low n bits of v, n at most 56; the bits above them must be zero. It stores a whole word at c.at, so
// room must be 8 bytes larger than what is written, and moves on by whole bytes: no branch, nothing to mispredict.
func put56(room []byte, c cursor, v uint64, n uint) cursor {
	c.acc |= v << ((64 - n - c.used) & 63)
	c.used += n
	binary.BigEndian.PutUint64(room[c.at:], c.acc)
	return cursor{c.at + int(c.used>>3), c.acc << (c.used & 0x38), c.used & 7}
}

// bytes is how many bytes were written.
func (c cursor) bytes() int { return c.at + int(c.used+7)/8 }

// roomBehind is dst with room for size bytes and the word that put56 stores past them, and that room.
func roomBehind(dst []byte, size int) (grown, room []byte) {
	dst = slices.Grow(dst, size+8)
	return dst, dst[len(dst) : len(dst)+size+8]
}

// peek is the 64 bits of b that start at bit pos. It reads 9 bytes.
func peek(b []byte, pos uint) uint64 {
	b = b[pos>>3:]
	_ = b[8]
	return binary.BigEndian.Uint64(b)<<(pos&7) | uint64(b[8])>>(8-pos&7&63)
}

// peek56 is the n bits of b that start at bit pos, n at most 56; mask has n ones. It reads 8 bytes.
func peek56(b []byte, pos, n uint, mask uint64) uint64 {
	return binary.BigEndian.Uint64(b[pos>>3:]) >> ((64 - n - pos&7) & 63) & mask
}

// peekBytes is how far past its first byte peek reads.
const peekBytes = 9

// packedBytes is the size of n values of width bits.
func packedBytes(n int, width uint) int { return (n*int(width) + 7) / 8 }

// appendPacked appends values less base, each in width bits.
func appendPacked(dst []byte, values []uint64, base uint64, width uint) []byte {
	if width == 0 {
		return dst
	}
	if width <= 56 {
		dst, room := roomBehind(dst, packedBytes(len(values), width))
		var c cursor
		for _, v := range values {
			c = put56(room, c, v-base, width)
		}
		return dst[:len(dst)+c.bytes()]
	}
	w := newBitWriter(dst)
	for _, v := range values {
		w.put(v-base, width)
	}
	return w.close()
}

// unpack reads len(dst) values of width bits from b, which must hold them, and adds base to each.
func unpack[T int64 | uint64](dst []T, b []byte, base uint64, width uint) {
	if width == 0 {
		for i := range dst {
			dst[i] = T(base)
		}
		return
	}
	// The words of the last values would reach behind b: those are read from a copy with room behind it.
	direct := 0
	if room := len(b) - peekBytes; room >= 0 {
		direct = min(len(dst), room*8/int(width)+1)
	}
	unpackWords(dst[:direct], b, 0, base, width)
	if direct == len(dst) {
		return
	}
	pos := uint(direct) * width
	var tail [3 * peekBytes]byte
	copy(tail[:], b[pos>>3:])
	unpackWords(dst[direct:], tail[:], pos&7, base, width)
}

// unpackAt is value i of a packed stream.
func unpackAt(b []byte, i int, width uint) uint64 {
	if width == 0 {
		return 0
	}
	pos := uint(i) * width
	var near [2 * peekBytes]byte
	copy(near[:], b[pos>>3:])
	return peek(near[:], pos&7) >> (64 - width)
}

func unpackWords[T int64 | uint64](dst []T, b []byte, pos uint, base uint64, width uint) {
	down, mask := 64-width, uint64(1)<<width-1
	if width <= 56 {
		for i := range dst {
			dst[i] = T(base + peek56(b, pos, width, mask))
			pos += width
		}
		return
	}
	for i := range dst {
		dst[i] = T(base + peek(b, pos)>>(down&63))
		pos += width
	}
}

func zigzag(v int64) uint64   { return uint64(v)<<1 ^ uint64(v>>63) }
func unzigzag(u uint64) int64 { return int64(u>>1) ^ -int64(u&1) }

// uvarintLen is the size of v as binary.AppendUvarint writes it.
func uvarintLen(v uint64) int { return (bits.Len64(v|1) + 6) / 7 }

// uvarint reads an unsigned variable-length integer and returns what stands behind it.
func uvarint(b []byte) (v uint64, rest []byte, ok bool) {
	v, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, nil, false
	}
	return v, b[n:], true
}

// varint reads a zigzag integer and returns what stands behind it.
func varint(b []byte) (v int64, rest []byte, ok bool) {
	u, rest, ok := uvarint(b)
	return unzigzag(u), rest, ok
}
