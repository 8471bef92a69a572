package encoding

import (
	"encoding/binary"
	"math/bits"
)

// A residual stream is what a predictor leaves: whole numbers that lie near each other, or nearly all of them do. Every
// number is written as its distance from lo. The coders reach disk and are never renumbered; zero is never written.
const (
	streamPacked  = 1 // each in the same number of bits
	streamRadix   = 2 // several to a word, as digits of a base that is no power of two
	streamPatched = 3 // packed; those that do not fit are exceptions
	streamSplit   = 4 // some low bits packed, the rest a symbol in a lane
	streamBytes   = 5 // packed in 1, 2 or 4 bits, and the bytes that gives in a lane; those that do not fit are exceptions
	streamTable   = 6 // the most frequent numbers as symbols in a lane

	streamNewest = streamTable
)

// escape is the symbol that says that the number stands elsewhere.
const escape = 255

// appendStream writes r as planned; where the entropy stage turns out not to compress, packed.
func (e *SealedEncoder) appendStream(dst []byte, r []uint64, p streamPlan) []byte {
	at, ok := len(dst), true
	e.misses, e.missed = e.misses[:0], e.missed[:0]
	switch p.coder {
	case streamPacked:
		dst = appendLow(append(appendLo(dst, p), byte(p.width)), r, p.lo, p.width)
	case streamRadix:
		dst = e.appendRadix(binary.AppendUvarint(appendLo(dst, p), p.base), r, p.lo, p.base)
	case streamPatched:
		dst = e.appendPatched(append(appendLo(dst, p), byte(p.width)), r, p)
	case streamSplit:
		dst, ok = e.appendSplit(append(appendLo(dst, p), byte(p.width)), r, p)
	case streamBytes:
		dst, ok = e.appendBytes(append(appendLo(dst, p), byte(p.width)), r, p)
	case streamTable:
		dst, ok = e.appendTable(dst, r, p)
	}
	if ok {
		return dst
	}
	least, most := bounds(r)
	width := uint(bits.Len64(uint64(most) - uint64(least)))
	return e.appendStream(dst[:at], r, streamPlan{coder: streamPacked, lo: uint64(least), width: width})
}

// appendLo is what every stream begins with.
func appendLo(dst []byte, p streamPlan) []byte {
	return binary.AppendUvarint(append(dst, p.coder), zigzag(int64(p.lo)))
}

func bounds(r []uint64) (least, most int64) {
	least, most = int64(r[0]), int64(r[0])
	for _, x := range r {
		least, most = min(least, int64(x)), max(most, int64(x))
	}
	return least, most
}

func (e *SealedEncoder) miss(i int, d uint64) {
	e.misses = append(e.misses, uint64(i))
	e.missed = append(e.missed, zigzag(int64(d)))
}

func (e *SealedEncoder) appendPatched(dst []byte, r []uint64, p streamPlan) []byte {
	packed := sized(e.packed, len(r))
	e.packed = packed
	for i, x := range r {
		d := x - p.lo
		if d > p.most {
			e.miss(i, d)
			d = 0
		}
		packed[i] = d
	}
	dst = appendExceptions(dst, len(r), e.misses, e.missed)
	return appendLow(dst, packed, 0, p.width)
}

func (e *SealedEncoder) appendSplit(dst []byte, r []uint64, p streamPlan) ([]byte, bool) {
	mask, mid := lowMask(p.width), uint64(splitMiddle)<<p.width
	packed, symbols := sized(e.packed, len(r)), sized(e.symbols, len(r))
	e.packed, e.symbols = packed, symbols
	for i, x := range r {
		d := x - p.lo
		if d > p.most {
			e.miss(i, d-mid)
			symbols[i], packed[i] = escape, 0
			continue
		}
		symbols[i], packed[i] = byte(d>>p.width), d&mask
	}
	dst = e.appendEscapes(dst, len(r))
	dst = appendLow(dst, packed, 0, p.width)
	return e.appendLane(dst, symbols)
}

// appendTable writes the symbols' numbers behind escapes: how many there are, and the distance of each from the one before,
// packed. The first is lo.
func (e *SealedEncoder) appendTable(dst []byte, r []uint64, p streamPlan) ([]byte, bool) {
	counts := e.counts[:p.base]
	steps := e.packed[:0]
	first, last := uint64(0), uint64(0)
	for d, c := range counts {
		if uint64(c) < p.most {
			counts[d] = escape
			continue
		}
		counts[d] = uint32(len(steps))
		if len(steps) == 0 {
			first, last = uint64(d), uint64(d)
		}
		steps = append(steps, uint64(d)-last)
		last = uint64(d)
	}
	e.packed = steps
	symbols := sized(e.symbols, len(r))
	e.symbols = symbols
	lo, zone := p.lo, p.base
	p.lo += first
	for i, x := range r {
		symbol := uint32(escape)
		if d := x - lo; d < zone {
			symbol = counts[d]
		}
		if symbol == escape {
			e.miss(i, x-p.lo)
		}
		symbols[i] = byte(symbol)
	}
	dst = e.appendEscapes(appendLo(dst, p), len(r))
	width := widthOf(steps)
	dst = appendLow(append(dst, byte(len(steps)), byte(width)), steps[1:], 0, width)
	return e.appendLane(dst, symbols)
}

func (e *SealedEncoder) appendBytes(dst []byte, r []uint64, p streamPlan) ([]byte, bool) {
	symbols := sized(e.symbols, len(r))[:0]
	e.symbols = symbols
	acc, used := uint64(0), uint(0)
	for i, x := range r {
		d := x - p.lo
		if d > p.most {
			e.miss(i, d)
			d = 0
		}
		acc |= d << used
		if used += p.width; used == 8 {
			symbols = append(symbols, byte(acc))
			acc, used = 0, 0
		}
	}
	if used > 0 {
		symbols = append(symbols, byte(acc))
	}
	dst = appendExceptions(dst, len(r), e.misses, e.missed)
	return e.appendLane(dst, symbols)
}

// streamReader decodes a residual stream block by block.
type streamReader struct {
	coder      byte
	lo         uint64
	width      uint
	bits       []byte
	exceptions exceptions
	escapes    escapes
	lane       laneReader

	base   uint64 // of a radix stream
	digits int
	word   uint
	words  [SealedBlock / 2]uint64 // of a radix block; no word has fewer than two digits

	table [256]uint64 // what each symbol is, where symbols are all
}

// open reads a stream of n numbers, from which those of [first, end) will be asked for. It is all of b.
func (s *streamReader) open(d *SealedDecoder, n int, b []byte, first, end int) (ok, known bool) {
	if len(b) == 0 || b[0] == 0 {
		return false, true
	}
	if b[0] > streamNewest {
		return false, false
	}
	s.coder = b[0]
	s.exceptions, s.escapes = exceptions{}, escapes{}
	lo, b, ok := varint(b[1:])
	if s.lo = uint64(lo); !ok || len(b) == 0 {
		return false, true
	}
	switch s.coder {
	case streamRadix:
		s.base, s.bits, ok = uvarint(b)
		s.digits, s.word = radixOf(s.base)
		return ok && s.digits > 0 && radixBytes(n, s.digits, s.word) <= len(s.bits), true
	case streamTable:
		if b, ok = s.escapes.open(n, b, first/SealedBlock, s.lo); !ok {
			return false, true
		}
		b, ok = s.openTable(b)
		return ok && s.lane.open(d, n, b, first, end), true
	}
	if s.width, b = uint(b[0]), b[1:]; s.width > 64 {
		return false, true
	}
	switch s.coder {
	case streamPatched:
		b, ok = s.exceptions.open(n, b, first)
	case streamSplit:
		if b, ok = s.escapes.open(n, b, first/SealedBlock, s.lo+splitMiddle<<s.width); !ok {
			return false, true
		}
		size := packedBytes(n, s.width)
		s.bits = b
		for x := range s.table {
			s.table[x] = s.lo + uint64(x)
		}
		return s.width <= 56 && size <= len(b) && s.lane.open(d, n, b[size:], first, end), true
	case streamBytes:
		if b, ok = s.exceptions.open(n, b, first); !ok || s.width != 1 && s.width != 2 && s.width != 4 {
			return false, true
		}
		each := int(8 / s.width)
		return s.lane.open(d, (n+each-1)/each, b, first/each, (end+each-1)/each), true
	}
	s.bits = b
	return ok && packedBytes(n, s.width) <= len(b), true
}

func (s *streamReader) openTable(b []byte) ([]byte, bool) {
	if len(b) < 2 || b[0] == 0 || b[0] == escape || b[1] > 64 {
		return nil, false
	}
	steps, width := int(b[0])-1, uint(b[1])
	size := packedBytes(steps, width)
	if b = b[2:]; size > len(b) {
		return nil, false
	}
	table := s.table[:steps+1]
	unpackLow(table[1:], b, 0, width)
	table[0] = s.lo
	for k := range table[1:] {
		table[k+1] += table[k]
	}
	clear(s.table[steps+1:]) // symbols that damage makes
	return b[size:], true
}

// read decodes the numbers of one block from number i on into dst.
func (s *streamReader) read(dst []uint64, i int) bool {
	switch s.coder {
	case streamRadix:
		readRadix(s, dst, i/SealedBlock, s.lo, 0, 1)
	case streamSplit, streamTable:
		symbols, ok := s.lane.read(i, i+len(dst))
		if !ok {
			return false
		}
		if s.whole() {
			dst = dst[:len(symbols)]
			for k, x := range symbols {
				dst[k] = s.table[x]
			}
		} else {
			s.join(dst, symbols, i)
		}
		s.escapes.put(dst, symbols)
	case streamBytes:
		each := int(8 / s.width)
		symbols, ok := s.lane.read(i/each, (i+len(dst)+each-1)/each)
		if !ok {
			return false
		}
		splitBytes(dst, symbols, s.lo, s.width)
	default:
		unpackLow(dst, s.bits[i/8*int(s.width):], s.lo, s.width)
	}
	if s.exceptions.next < s.exceptions.count {
		s.exceptions.put(dst, i, func(z uint64) uint64 { return s.lo + uint64(unzigzag(z)) })
	}
	return true
}

// whole reports whether symbols say all there is of the numbers, through the table, but for escapes.
func (s *streamReader) whole() bool {
	return s.coder == streamTable || s.coder == streamSplit && s.width == 0
}

// join puts symbols above their low bits.
func (s *streamReader) join(dst []uint64, symbols []byte, i int) {
	lo, b := s.lo, s.bits[i/8*int(s.width):]
	switch s.width {
	case 4:
		for len(dst) >= 8 && len(symbols) >= 8 && len(b) >= 4 {
			w, y, d := binary.LittleEndian.Uint32(b), symbols[:8:8], dst[:8:8]
			d[0] = lo + uint64(w&15) + uint64(y[0])<<4
			d[1] = lo + uint64(w>>4&15) + uint64(y[1])<<4
			d[2] = lo + uint64(w>>8&15) + uint64(y[2])<<4
			d[3] = lo + uint64(w>>12&15) + uint64(y[3])<<4
			d[4] = lo + uint64(w>>16&15) + uint64(y[4])<<4
			d[5] = lo + uint64(w>>20&15) + uint64(y[5])<<4
			d[6] = lo + uint64(w>>24&15) + uint64(y[6])<<4
			d[7] = lo + uint64(w>>28) + uint64(y[7])<<4
			dst, symbols, b = dst[8:], symbols[8:], b[4:]
		}
	case 8:
		lows := b[:len(dst)]
		symbols = symbols[:len(dst)]
		for k := range dst {
			dst[k] = lo + uint64(lows[k]) + uint64(symbols[k])<<8
		}
		return
	}
	unpackLow(dst, b, lo, s.width)
	for k, x := range symbols {
		dst[k] += uint64(x) << (s.width & 63)
	}
}

// splitBytes is the numbers of width bits in bytes, the first in the lowest bits.
func splitBytes(dst []uint64, b []byte, lo uint64, width uint) {
	each := 8 / int(width)
	whole := len(dst) / each
	switch width {
	case 4:
		for k, x := range b[:whole] {
			two := dst[2*k : 2*k+2 : 2*k+2]
			two[0], two[1] = lo+uint64(x&15), lo+uint64(x>>4)
		}
	case 2:
		for k, x := range b[:whole] {
			four := dst[4*k : 4*k+4 : 4*k+4]
			four[0], four[1], four[2], four[3] = lo+uint64(x&3), lo+uint64(x>>2&3), lo+uint64(x>>4&3), lo+uint64(x>>6)
		}
	case 1:
		for k, x := range b[:whole] {
			eight := dst[8*k : 8*k+8 : 8*k+8]
			eight[0], eight[1], eight[2], eight[3] = lo+uint64(x&1), lo+uint64(x>>1&1), lo+uint64(x>>2&1), lo+uint64(x>>3&1)
			eight[4], eight[5], eight[6], eight[7] = lo+uint64(x>>4&1), lo+uint64(x>>5&1), lo+uint64(x>>6&1), lo+uint64(x>>7)
		}
	}
	for k := whole * each; k < len(dst); k++ {
		dst[k] = lo + uint64(b[whole])>>(uint(k-whole*each)*width)&lowMask(width)
	}
}
