package encoding

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// A residual stream is what a predictor leaves: whole numbers that lie near each other, or nearly all of them do. Every
// number is written as its distance from lo. The coders reach disk and are never renumbered; zero is never written.
const (
	streamPacked  = 1 // each in the same number of bits
	streamRadix   = 2 // several to a word, as digits of a base that is no power of two
	streamPatched = 3 // packed; those that do not fit are exceptions
	streamSplit   = 4 // s low bits packed, the rest a symbol in a lane; those beyond a symbol are exceptions
	streamBytes   = 5 // packed in 1, 2 or 4 bits, and the bytes that gives in a lane; those that do not fit are exceptions
)

// escape is the symbol of an exception in a split stream; smaller ones say what they are.
const escape = 255

// streamPlan is a coder with its settings, and about how many bytes it takes.
type streamPlan struct {
	coder byte
	lo    uint64
	width uint // bits of a packed number; of a split stream the low ones
	base  uint64
	most  uint64 // greatest distance that is no exception
	bytes float64
}

// entropyGain is what an entropy stage must save to be worth decoding: a part of the bytes, and so many bits a value.
const (
	entropyGain  = 0.03
	entropyFloor = 0.05
)

// planStream is the coder of fewest bytes for r, with the entropy stages held to what they cost to decode.
func (e *SealedEncoder) planStream(r []uint64) streamPlan {
	least, most := int64(r[0]), int64(r[0])
	for _, x := range r {
		least, most = min(least, int64(x)), max(most, int64(x))
	}
	n := len(r)
	span := uint64(most) - uint64(least)
	width := uint(bits.Len64(span))
	best := streamPlan{coder: streamPacked, lo: uint64(least), width: width, most: span, bytes: float64(packedBytes(n, width))}
	if width == 0 {
		return best
	}
	if digits, word := radixOf(span + 1); digits > 0 {
		if size := float64(n) / float64(digits) * float64(word) / 8; size < best.bytes*0.97 {
			best = streamPlan{coder: streamRadix, lo: uint64(least), base: span + 1, most: span, bytes: size}
		}
	}
	low, high := e.zone(r)
	if p := e.planPatched(r, low, high); p.bytes+4 < best.bytes*0.97 {
		best = p
	}
	if n < laneLeast {
		return best
	}
	plain := best
	for _, p := range []streamPlan{e.planSplit(r, low, high), e.planBytes(r, low)} {
		if p.bytes < plain.bytes*(1-entropyGain)-entropyFloor/8*float64(n) && p.bytes < best.bytes {
			best = p
		}
	}
	return best
}

// zone is where nearly all of r lies, judged by values sampled over it.
func (e *SealedEncoder) zone(r []uint64) (low, high int64) {
	s := e.order[:0]
	for i := range min(len(r), sampleZone) {
		s = append(s, r[i*len(r)/min(len(r), sampleZone)]^1<<63)
	}
	sortWords(s)
	cut := len(s) / 100
	return int64(s[cut] ^ 1<<63), int64(s[len(s)-1-cut] ^ 1<<63)
}

// planPatched takes the width of fewest bits, the numbers beyond it as exceptions on both sides of the zone's middle.
func (e *SealedEncoder) planPatched(r []uint64, low, high int64) streamPlan {
	n := len(r)
	lo := uint64(low)
	var h [65]int
	for _, x := range r {
		h[bits.Len64(x-lo)]++
	}
	top := uint(64)
	for top > 0 && h[top] == 0 {
		top--
	}
	place := uint(bits.Len(uint(n - 1)))
	best := streamPlan{bytes: math.MaxFloat64}
	beyond := 0
	for w := top; ; w-- {
		size := float64(packedBytes(n, w) + packedBytes(beyond, place) + packedBytes(beyond, top) + 4)
		if size < best.bytes {
			best = streamPlan{coder: streamPatched, lo: lo, width: w, most: lowMask(w), bytes: size}
		}
		if w == 0 {
			return best
		}
		beyond += h[w]
	}
}

// planSplit places the 255 symbols around the zone and takes the number of low bits that leaves the fewest bytes.
func (e *SealedEncoder) planSplit(r []uint64, low, high int64) streamPlan {
	n := len(r)
	span := uint64(high) - uint64(low)
	shift := uint(max(bits.Len64(span)-6, 0))
	if shift > 56 {
		return streamPlan{bytes: math.MaxFloat64}
	}
	// The window of 255 symbols stands so that the zone is in its middle.
	lo := uint64(low) - (escape<<shift-span)/2
	if shift > 0 {
		lo &^= lowMask(shift)
	}
	h := &e.bins
	h.clear()
	beyond, top := 0, uint64(0)
	for _, x := range r {
		d := x - lo
		if d>>shift >= escape {
			beyond++
			top = max(top, d)
			d = escape << shift
		}
		h[d>>shift&0xFF]++
	}
	place := uint(bits.Len(uint(n - 1)))
	exceptions := float64(packedBytes(beyond, place) + packedBytes(beyond, uint(bits.Len64(top))))
	best := streamPlan{bytes: math.MaxFloat64}
	for up := range uint(4) {
		used, size := h.cost(n)
		size += float64(n)*float64(shift+up)/8 + exceptions + 10 + float64(used)*0.4 + float64(2*laneGroups(n)+6*laneGroups(n))
		// Fewer symbols decode faster and need a smaller table: more of them must pay.
		if size < best.bytes*0.998 {
			best = streamPlan{coder: streamSplit, lo: lo, width: shift + up, most: escape<<shift - 1, bytes: size}
		}
		if shift+up >= 56 {
			break
		}
		h.fold()
	}
	return best
}

// planBytes is for numbers of less than a bit each: a Huffman code has none shorter, so eight, four or two go together.
func (e *SealedEncoder) planBytes(r []uint64, low int64) streamPlan {
	n := len(r)
	lo := uint64(low)
	best := streamPlan{bytes: math.MaxFloat64}
	place := uint(bits.Len(uint(n - 1)))
	for _, w := range [...]uint{1, 2, 4} {
		if n*int(w)/8 < laneLeast {
			continue
		}
		h := &e.bins
		h.clear()
		beyond, top := 0, uint64(0)
		acc, used := byte(0), uint(0)
		for _, x := range r {
			d := x - lo
			if d > lowMask(w) {
				beyond++
				top = max(top, d)
				d = 0
			}
			acc = acc<<w | byte(d)
			if used += w; used == 8 {
				h[acc]++
				acc, used = 0, 0
			}
		}
		if beyond*8 > n {
			continue
		}
		symbols, size := h.cost(n * int(w) / 8)
		size += float64(packedBytes(beyond, place)+packedBytes(beyond, uint(bits.Len64(top)))) + 14 + float64(symbols)*0.4
		if size < best.bytes {
			best = streamPlan{coder: streamBytes, lo: lo, width: w, most: lowMask(w), bytes: size}
		}
	}
	return best
}

func lowMask(width uint) uint64 { return 1<<width - 1 }

// appendStream writes r as planned; where the entropy stage turns out not to compress, packed.
func (e *SealedEncoder) appendStream(dst []byte, r []uint64, p streamPlan) []byte {
	at := len(dst)
	dst = binary.AppendUvarint(append(dst, p.coder), zigzag(int64(p.lo)))
	switch p.coder {
	case streamPacked:
		return appendPacked(append(dst, byte(p.width)), r, p.lo, p.width)
	case streamRadix:
		return appendRadix(binary.AppendUvarint(dst, p.base), r, p.lo, p.base)
	}
	dst = append(dst, byte(p.width))
	e.misses, e.missed = e.misses[:0], e.missed[:0]
	e.symbols = sized(e.symbols, len(r))
	switch p.coder {
	case streamPatched:
		dst, e.packed = e.appendPatched(dst, r, p)
		return dst
	case streamSplit:
		var ok bool
		if dst, ok = e.appendSplit(dst, r, p); ok {
			return dst
		}
	case streamBytes:
		var ok bool
		if dst, ok = e.appendBytes(dst, r, p); ok {
			return dst
		}
	}
	least, most := int64(r[0]), int64(r[0])
	for _, x := range r {
		least, most = min(least, int64(x)), max(most, int64(x))
	}
	width := uint(bits.Len64(uint64(most) - uint64(least)))
	return e.appendStream(dst[:at], r, streamPlan{coder: streamPacked, lo: uint64(least), width: width})
}

func (e *SealedEncoder) miss(i int, d uint64) {
	e.misses = append(e.misses, i)
	e.missed = append(e.missed, d)
}

func (e *SealedEncoder) appendPatched(dst []byte, r []uint64, p streamPlan) ([]byte, []uint64) {
	packed := sized(e.packed, len(r))
	for i, x := range r {
		d := x - p.lo
		if d > p.most {
			e.miss(i, d)
			d = 0
		}
		packed[i] = d
	}
	dst = appendExceptions(dst, len(r), e.misses, e.missed)
	return appendPacked(dst, packed, 0, p.width), packed
}

func (e *SealedEncoder) appendSplit(dst []byte, r []uint64, p streamPlan) ([]byte, bool) {
	mask := lowMask(p.width)
	e.packed = sized(e.packed, len(r))
	for i, x := range r {
		d := x - p.lo
		if d > p.most {
			e.miss(i, d)
			e.symbols[i], e.packed[i] = escape, 0
			continue
		}
		e.symbols[i], e.packed[i] = byte(d>>p.width), d&mask
	}
	dst = appendExceptions(dst, len(r), e.misses, e.missed)
	dst = appendPacked(dst, e.packed, 0, p.width)
	return e.appendLane(dst, e.symbols)
}

func (e *SealedEncoder) appendBytes(dst []byte, r []uint64, p streamPlan) ([]byte, bool) {
	symbols := e.symbols[:0]
	acc, used := byte(0), uint(0)
	for i, x := range r {
		d := x - p.lo
		if d > p.most {
			e.miss(i, d)
			d = 0
		}
		acc = acc<<p.width | byte(d)
		if used += p.width; used == 8 {
			symbols = append(symbols, acc)
			acc, used = 0, 0
		}
	}
	if used > 0 {
		symbols = append(symbols, acc<<(8-used))
	}
	dst = appendExceptions(dst, len(r), e.misses, e.missed)
	return e.appendLane(dst, symbols)
}

// Exceptions are places in a column of n and what stands there:
//
//	count   uvarint; nothing more if 0
//	width   1 byte, of the numbers
//	places  packed, as wide as n-1 needs, ascending
//	numbers packed
func appendExceptions(dst []byte, n int, places []int, numbers []uint64) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(places)))
	if len(places) == 0 {
		return dst
	}
	top := uint64(0)
	for _, x := range numbers {
		top |= x
	}
	width, placeWidth := uint(bits.Len64(top)), uint(bits.Len(uint(n-1)))
	dst = append(dst, byte(width))
	w := newBitWriter(dst)
	for _, i := range places {
		w.put(uint64(i), placeWidth)
	}
	return appendPacked(w.close(), numbers, 0, width)
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

func (x *exceptions) place(k int) int { return int(unpackAt(x.places, k, x.placeWidth)) }

// put writes those of places [i, i+len(dst)), with lo added, into dst.
func (x *exceptions) put(dst []uint64, i int, lo uint64) {
	for ; x.next < x.count; x.next++ {
		at := x.place(x.next) - i
		if at >= len(dst) {
			return
		}
		if at >= 0 { // else the bytes are damaged
			dst[at] = lo + unpackAt(x.numbers, x.next, x.width)
		}
	}
}

// radixOf is how many digits of a base go into a word of how many bits, so that a digit takes the fewest; no digits where
// bits of their own would do.
func radixOf(base uint64) (digits int, word uint) {
	if base < 3 || base > 1<<16 {
		return 0, 0
	}
	best := float64(bits.Len64(base-1)) - 0.02
	power, d := uint64(1), 0
	for {
		hi, lo := bits.Mul64(power, base)
		if hi != 0 {
			return digits, word
		}
		power, d = lo, d+1
		if w := uint(bits.Len64(power - 1)); float64(w)/float64(d) < best {
			best, digits, word = float64(w)/float64(d), d, w
		}
	}
}

// radixWords is how many words n digits take. Every block begins with a word of its own.
func radixWords(n, digits int) int {
	whole, rest := n/SealedBlock, n%SealedBlock
	return whole*radixBlock(digits) + (rest+digits-1)/digits
}

func radixBlock(digits int) int { return (SealedBlock + digits - 1) / digits }

// appendRadix writes each word as the fraction of the greatest that its digits make, rounded up: the decoder then takes
// digit by digit off the top with one multiplication each, and no division.
func appendRadix(dst []byte, r []uint64, lo, base uint64) []byte {
	digits, word := radixOf(base)
	power := uint64(1)
	for range digits {
		power *= base
	}
	w := newBitWriter(dst)
	for len(r) > 0 {
		block := r[:min(SealedBlock, len(r))]
		r = r[len(block):]
		for len(block) > 0 {
			value := uint64(0)
			for i := range digits {
				value *= base
				if i < len(block) {
					value += block[i] - lo
				}
			}
			block = block[min(digits, len(block)):]
			// ⌈value × 2^word / power⌉
			hi, low := value>>(64-word), value<<word
			if word == 64 {
				hi, low = value, 0
			}
			q, rem := bits.Div64(hi, low, power)
			if rem != 0 {
				q++
			}
			w.put(q, word)
		}
	}
	return w.close()
}

// streamReader decodes a residual stream block by block.
type streamReader struct {
	coder  byte
	n      int
	lo     uint64
	width  uint
	base   uint64 // of a radix stream
	digits int
	word   uint
	bits   []byte
	exceptions
	lane laneReader
}

// open reads a stream of n numbers, from which those of [first, end) will be asked for. It is all of b.
func (s *streamReader) open(d *SealedDecoder, n int, b []byte, first, end int) (ok, known bool) {
	if len(b) == 0 || b[0] == 0 {
		return false, true
	}
	if b[0] > streamBytes {
		return false, false
	}
	s.coder, s.n = b[0], n
	s.exceptions = exceptions{}
	lo, b, ok := varint(b[1:])
	if s.lo = uint64(lo); !ok || len(b) == 0 {
		return false, true
	}
	if s.coder == streamRadix {
		s.base, s.bits, ok = uvarint(b)
		s.digits, s.word = radixOf(s.base)
		return ok && s.digits > 0 && packedBytes(radixWords(n, s.digits), s.word) <= len(s.bits), true
	}
	if s.width = uint(b[0]); s.width > 64 {
		return false, true
	}
	s.bits = b[1:]
	if s.coder != streamPacked {
		if s.bits, ok = s.exceptions.open(n, s.bits, first); !ok {
			return false, true
		}
	}
	switch s.coder {
	case streamSplit:
		size := packedBytes(n, s.width)
		return s.width <= 56 && size <= len(s.bits) && s.lane.open(d, n, s.bits[size:], first, end), true
	case streamBytes:
		if s.width != 1 && s.width != 2 && s.width != 4 {
			return false, true
		}
		each := int(8 / s.width)
		return s.lane.open(d, (n+each-1)/each, s.bits, first/each, (end+each-1)/each), true
	}
	return packedBytes(n, s.width) <= len(s.bits), true
}

// read decodes the numbers of one block from number i on into dst.
func (s *streamReader) read(dst []uint64, i int) bool {
	switch s.coder {
	case streamRadix:
		s.readRadix(dst, i/SealedBlock)
		return true
	case streamSplit:
		symbols, ok := s.lane.read(i, i+len(dst))
		if !ok {
			return false
		}
		s.join(dst, symbols, i)
	case streamBytes:
		if !s.readBytes(dst, i) {
			return false
		}
	default:
		unpack(dst, s.bits[i/8*int(s.width):], s.lo, s.width)
	}
	if s.next < s.count {
		s.put(dst, i, s.lo)
	}
	return true
}

// join puts symbols above their low bits.
func (s *streamReader) join(dst []uint64, symbols []byte, i int) {
	if s.width == 0 {
		for k, x := range symbols {
			dst[k] = s.lo + uint64(x)
		}
		return
	}
	unpack(dst, s.bits[i/8*int(s.width):], s.lo, s.width)
	for k, x := range symbols {
		dst[k] += uint64(x) << (s.width & 63)
	}
}

func (s *streamReader) readBytes(dst []uint64, i int) bool {
	each := int(8 / s.width)
	symbols, ok := s.lane.read(i/each, (i+len(dst)+each-1)/each)
	if !ok {
		return false
	}
	lo, w, mask := s.lo, s.width&7, byte(lowMask(s.width))
	for len(dst) > 0 {
		x := symbols[0]
		symbols = symbols[1:]
		for k := range min(each, len(dst)) {
			dst[k] = lo + uint64(x>>((8-w-uint(k)*w)&7)&mask)
		}
		dst = dst[min(each, len(dst)):]
	}
	return true
}

func (s *streamReader) readRadix(dst []uint64, block int) {
	pos := uint(block*radixBlock(s.digits)) * s.word
	lo, base, digits, word, up := s.lo, s.base, s.digits, s.word, 64-s.word
	b := s.bits
	for len(dst) > 0 {
		if int(pos>>3)+peekBytes > len(b) { // the last words are read from a copy with room behind it
			var tail [3 * peekBytes]byte
			from := pos >> 3
			copy(tail[:], b[from:])
			f := peek(tail[:], pos&7) >> (up & 63) << (up & 63)
			for k := range min(digits, len(dst)) {
				hi, low := bits.Mul64(f, base)
				dst[k], f = lo+hi, low
			}
		} else {
			f := peek(b, pos) >> (up & 63) << (up & 63)
			for k := range dst[:min(digits, len(dst))] {
				hi, low := bits.Mul64(f, base)
				dst[k], f = lo+hi, low
			}
		}
		dst = dst[min(digits, len(dst)):]
		pos += word
	}
}
