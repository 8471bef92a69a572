package encoding

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// Exceptions are places in a column of n and what stands there:
//
//	count   uvarint; nothing more if 0
//	width   1 byte, of the numbers
//	places  packed, as wide as n-1 needs, ascending
//	numbers packed
func appendExceptions(dst []byte, n int, places []uint64, numbers []uint64) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(places)))
	if len(places) == 0 {
		return dst
	}
	width := widthOf(numbers)
	dst = appendLow(append(dst, byte(width)), places, 0, uint(bits.Len(uint(n-1))))
	return appendLow(dst, numbers, 0, width)
}

// exceptions reads them in order of place.
type exceptions struct {
	places, numbers   []byte
	placeWidth, width uint
	count, next       int
}

// open splits them off b and moves to the first at or behind place i.
func (x *exceptions) open(n int, b []byte, i int) ([]byte, bool) {
	count, b, ok := uvarint(b)
	if !ok || count > uint64(n) {
		return nil, false
	}
	*x = exceptions{count: int(count)}
	if count == 0 {
		return b, true
	}
	if len(b) == 0 || b[0] > 64 {
		return nil, false
	}
	x.width, x.placeWidth = uint(b[0]), uint(bits.Len(uint(n-1)))
	b = b[1:]
	split := packedBytes(x.count, x.placeWidth)
	size := split + packedBytes(x.count, x.width)
	if size > len(b) {
		return nil, false
	}
	x.places, x.numbers = b[:split], b[split:size]
	for end := x.count; x.next < end; { // places ascend
		if mid := (x.next + end) / 2; x.place(mid) < i {
			x.next = mid + 1
		} else {
			end = mid
		}
	}
	return b[size:], true
}

func (x *exceptions) place(k int) int { return int(lowAt(x.places, k, x.placeWidth)) }

// put writes those of places [i, i+len(dst)) into dst, of turns them into what they stand for.
func (x *exceptions) put(dst []uint64, i int, of func(uint64) uint64) {
	for ; x.next < x.count; x.next++ {
		at := x.place(x.next) - i
		if at >= len(dst) {
			return
		}
		if at >= 0 { // else the bytes are damaged
			dst[at] = of(lowAt(x.numbers, x.next, x.width))
		}
	}
}

// splitMiddle is the symbol that escapes of a split stream count from, so that those on either side are small.
const splitMiddle = 128

// Escapes are the numbers whose symbol says no more than that. Where they stand the symbols show:
//
//	count    uvarint; nothing more if 0
//	width    1 byte, of the numbers
//	before   for each block but the first how many are in those before it, packed, as wide as count needs
//	numbers  packed
func (e *SealedEncoder) appendEscapes(dst []byte, n int) []byte {
	count := len(e.missed)
	dst = binary.AppendUvarint(dst, uint64(count))
	if count == 0 {
		return dst
	}
	width := widthOf(e.missed)
	dst = append(dst, byte(width))
	before := e.starts[:0]
	for i, k := 0, 1; k < blocksOf(n); k++ {
		for i < count && e.misses[i] < uint64(k*SealedBlock) {
			i++
		}
		before = append(before, uint64(i))
	}
	e.starts = before
	dst = appendLow(dst, before, 0, uint(bits.Len(uint(count))))
	return appendLow(dst, e.missed, 0, width)
}

// escapes reads them in order.
type escapes struct {
	numbers     []byte
	mid         uint64 // what they are counted from
	width       uint
	count, next int
}

// open splits them off b and moves to the first of a block.
func (x *escapes) open(n int, b []byte, block int, mid uint64) ([]byte, bool) {
	count, b, ok := uvarint(b)
	if !ok || count > uint64(n) {
		return nil, false
	}
	*x = escapes{count: int(count), mid: mid}
	if count == 0 {
		return b, true
	}
	if len(b) == 0 || b[0] > 64 {
		return nil, false
	}
	x.width, b = uint(b[0]), b[1:]
	beforeWidth := uint(bits.Len(uint(count)))
	split := packedBytes(blocksOf(n)-1, beforeWidth)
	size := split + packedBytes(x.count, x.width)
	if size > len(b) {
		return nil, false
	}
	if block > 0 {
		x.next = int(lowAt(b[:split], block-1, beforeWidth))
	}
	x.numbers = b[split:size]
	return b[size:], true
}

// before is how many of symbols stand before the first escape.
func (x *escapes) before(symbols []byte) int {
	if x.next < x.count {
		if k := bytes.IndexByte(symbols, escape); k >= 0 {
			return k
		}
	}
	return len(symbols)
}

// take is the next of them. There is one behind what before counted.
func (x *escapes) take() uint64 {
	number := x.mid + uint64(unzigzag(lowAt(x.numbers, x.next, x.width)))
	x.next++
	return number
}

// put writes the numbers of the escapes among symbols into dst.
func (x *escapes) put(dst []uint64, symbols []byte) {
	for i := x.before(symbols); i < len(symbols); i += 1 + x.before(symbols[i+1:]) {
		dst[i] = x.take()
	}
}
