package encoding

import (
	"bytes"
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
	streamSplit   = 4 // some low bits packed, the rest a symbol in a lane
	streamBytes   = 5 // packed in 1, 2 or 4 bits, and the bytes that gives in a lane; those that do not fit are exceptions
	streamTable   = 6 // the most frequent numbers as symbols in a lane

	streamNewest = streamTable
)

// escape is the symbol that says that the number stands elsewhere.
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
	least, most := bounds(r)
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
	zone := uint(bits.Len64(uint64(high) - uint64(low)))
	if zone+1 < width {
		if p := e.planPatched(r, low); p.bytes+4 < best.bytes*0.97 {
			best = p
		}
	}
	if n < laneLeast || zone > 60 {
		return best
	}
	staged := e.planSplit(r, low, high)
	if staged.width > 0 && zone <= tableZone {
		if p := e.planTable(r, low, high); p.bytes < staged.bytes*0.98 {
			staged = p
		}
	}
	if zone <= 4 {
		if p := e.planBytes(r, low, high, zone); p.bytes < staged.bytes*1.01 { // fewer symbols decode faster
			staged = p
		}
	}
	if staged.bytes < best.bytes*(1-entropyGain)-entropyFloor/8*float64(n) {
		return staged
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

// planPatched takes the width of fewest bits above the low end of the zone.
func (e *SealedEncoder) planPatched(r []uint64, low int64) streamPlan {
	n := len(r)
	lo := uint64(low)
	var h [65]int
	anyBit := uint64(0)
	for _, x := range r {
		h[bits.Len64(x-lo)]++
		anyBit |= zigzag(int64(x - lo))
	}
	top := uint(bits.Len64(anyBit))
	place := uint(bits.Len(uint(n - 1)))
	best := streamPlan{bytes: math.MaxFloat64}
	beyond := 0
	for w := uint(64); ; w-- {
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

// planSplit places the 255 symbols around the zone.
func (e *SealedEncoder) planSplit(r []uint64, low, high int64) streamPlan {
	n := len(r)
	span := uint64(high) - uint64(low)
	shift := lowBits(span)
	// The window of 255 symbols stands so that the zone is in its middle.
	lo := uint64(low) - (escape<<shift-span)/2
	if shift > 0 {
		lo &^= lowMask(shift)
	}
	h := &e.bins
	h.clear()
	mid, far := lo+128<<shift, uint64(0)
	for _, x := range r {
		d := (x - lo) >> shift
		if d >= escape {
			far |= zigzag(int64(x - mid))
			d = escape
		}
		h[d]++
	}
	used, size := h.cost(n)
	size += float64(n)*float64(shift)/8 + float64(h[escape])*float64(bits.Len64(far))/8 + laneCost(n, used)
	return streamPlan{coder: streamSplit, lo: lo, width: shift, most: escape<<shift - 1, bytes: size}
}

// laneCost is about what a lane takes beside its codes.
func laneCost(n, symbols int) float64 { return 10 + float64(symbols)*0.4 + float64(8*laneGroups(n)) }

// lowBits is how many low bits stand apart from the symbols of a split stream whose numbers mostly span so much. With four
// or eight they are joined fastest, and with none at all if they need not be; the 255 symbols are then no fewer than 16
// in the zone, which says all that numbers near each other say by how often they occur.
func lowBits(span uint64) uint { return uint(max(bits.Len64(span)-4, 0)) &^ 3 }

// tableZone is the bits of the widest zone that a table of symbols is looked for in.
const tableZone = 14

// planTable is for numbers that gather at some values, as differences do of a converter's steps or of a unit that was
// changed: the most frequent 255 at most become symbols, however far apart.
func (e *SealedEncoder) planTable(r []uint64, low, high int64) streamPlan {
	n := len(r)
	span := uint64(high) - uint64(low)
	lo, room := uint64(low)-span, 3*span+1
	if uint64(cap(e.counts)) < room {
		e.counts = make([]uint32, 3<<tableZone)
	}
	counts := e.counts[:room]
	clear(counts)
	beyond, far := 0, uint64(0)
	mid := lo + room/2
	for _, x := range r {
		d := x - lo
		if d >= room {
			beyond++
			far |= zigzag(int64(x - mid))
			continue
		}
		counts[d]++
	}
	// How many values occur c times, up to c of many; what occurs once never pays.
	const many = 64
	var often [many + 1]int
	for _, c := range counts {
		often[min(c, many)]++
	}
	least, symbols := many, often[many]
	for least > 2 && symbols+often[least-1] < escape {
		least--
		symbols += often[least]
	}
	if symbols >= escape || symbols < 2 {
		return streamPlan{bytes: math.MaxFloat64}
	}
	sum, width, last := 0.0, 0, 0
	whole := math.Log2(float64(n))
	for d, c := range counts {
		if c == 0 {
			continue
		}
		if int(c) < least {
			beyond += int(c)
			far |= zigzag(int64(uint64(d) - room/2))
			continue
		}
		sum += float64(c) * max(whole-math.Log2(float64(c)), 1)
		width, last = max(width, bits.Len(uint(d-last))), d
	}
	if beyond > 0 {
		sum += float64(beyond) * (whole - math.Log2(float64(beyond)) + float64(bits.Len64(far)))
	}
	size := sum*1.005/8 + float64(symbols*width)/8 + laneCost(n, symbols)
	return streamPlan{coder: streamTable, lo: lo, base: room, most: uint64(least), bytes: size}
}

// planBytes is for numbers that span so few bits: a Huffman code has none shorter than one, so eight, four or two go
// together.
func (e *SealedEncoder) planBytes(r []uint64, low, high int64, zone uint) streamPlan {
	n := len(r)
	lo := uint64(low)
	w := uint(4)
	if zone <= 1 {
		w = 1
	} else if zone == 2 {
		w = 2
	}
	if n*int(w)/8 < laneLeast {
		return streamPlan{bytes: math.MaxFloat64}
	}
	h := &e.bins
	h.clear()
	if w == 4 { // what the zone does not need goes half to each side
		lo -= (15 - (uint64(high) - uint64(low))) / 2
	}
	beyond, far, mask := 0, uint64(0), lowMask(w)
	acc, used := uint64(0), uint(0)
	for _, x := range r {
		d := x - lo
		if d > mask {
			beyond++
			far |= zigzag(int64(d))
			d = 0
		}
		acc = acc<<(w&7) | d
		if used += w; used == 8 {
			h[acc&0xFF]++
			used = 0
		}
	}
	place := uint(bits.Len(uint(n - 1)))
	symbols, size := h.cost(n * int(w) / 8)
	size += float64(packedBytes(beyond, place)+packedBytes(beyond, uint(bits.Len64(far)))) + laneCost(n*int(w)/8, symbols)
	return streamPlan{coder: streamBytes, lo: lo, width: w, most: mask, bytes: size}
}

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
	width       uint
	count, next int
}

func (x *escapes) open(n int, b []byte, block int) ([]byte, bool) {
	count, b, ok := uvarint(b)
	if !ok || count > uint64(n) {
		return nil, false
	}
	*x = escapes{count: int(count)}
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

// put writes the numbers of the escapes among symbols, counted from mid, into dst.
func (x *escapes) put(dst []uint64, symbols []byte, mid uint64) bool {
	for i := 0; ; i++ {
		k := bytes.IndexByte(symbols[i:], escape)
		if k < 0 {
			return true
		}
		if x.next >= x.count {
			return false
		}
		i += k
		dst[i] = mid + uint64(unzigzag(lowAt(x.numbers, x.next, x.width)))
		x.next++
	}
}

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

// radixBytes is what the words of n digits take. A block begins with a word and a byte of its own.
func radixBytes(n, digits int, word uint) int {
	block := packedBytes((SealedBlock+digits-1)/digits, word)
	return n/SealedBlock*block + packedBytes((n%SealedBlock+digits-1)/digits, word)
}

// appendRadix writes each word as the fraction of the greatest that its digits make, rounded up: the decoder then takes
// digit by digit off the top with one multiplication each, and no division.
func (e *SealedEncoder) appendRadix(dst []byte, r []uint64, lo, base uint64) []byte {
	digits, word := radixOf(base)
	power := uint64(1)
	for range digits {
		power *= base
	}
	for len(r) > 0 {
		block := r[:min(SealedBlock, len(r))]
		r = r[len(block):]
		words := e.packed[:0]
		for len(block) > 0 {
			value := uint64(0)
			for i := range digits {
				value *= base
				if i < len(block) {
					value += block[i] - lo
				}
			}
			block = block[min(digits, len(block)):]
			// value × 2^word / power, rounded up
			q, rest := bits.Div64(value>>((64-word)&63), value<<word, power)
			if rest != 0 {
				q++
			}
			words = append(words, q)
		}
		dst = appendLow(dst, words, 0, word)
		e.packed = words
	}
	return dst
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

	table [256]uint64 // of a table stream: what each symbol is
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
		if b, ok = s.escapes.open(n, b, first/SealedBlock); !ok {
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
		if b, ok = s.escapes.open(n, b, first/SealedBlock); !ok {
			return false, true
		}
		size := packedBytes(n, s.width)
		s.bits = b
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
	case streamSplit:
		symbols, ok := s.lane.read(i, i+len(dst))
		if !ok {
			return false
		}
		s.join(dst, symbols, i)
		return s.escapes.next >= s.escapes.count || s.escapes.put(dst, symbols, s.lo+splitMiddle<<s.width)
	case streamTable:
		symbols, ok := s.lane.read(i, i+len(dst))
		if !ok {
			return false
		}
		dst = dst[:len(symbols)]
		for k, x := range symbols {
			dst[k] = s.table[x]
		}
		return s.escapes.next >= s.escapes.count || s.escapes.put(dst, symbols, s.lo)
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

// join puts symbols above their low bits.
func (s *streamReader) join(dst []uint64, symbols []byte, i int) {
	lo, b := s.lo, s.bits[i/8*int(s.width):]
	switch s.width {
	case 0:
		dst = dst[:len(symbols)]
		for k, x := range symbols {
			dst[k] = lo + uint64(x)
		}
		return
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
	switch {
	case width == 4 && len(dst)%2 == 0:
		for k, x := range b[:len(dst)/2] {
			two := dst[2*k : 2*k+2 : 2*k+2]
			two[0], two[1] = lo+uint64(x&15), lo+uint64(x>>4)
		}
	case width == 2 && len(dst)%4 == 0:
		for k, x := range b[:len(dst)/4] {
			four := dst[4*k : 4*k+4 : 4*k+4]
			four[0], four[1], four[2], four[3] = lo+uint64(x&3), lo+uint64(x>>2&3), lo+uint64(x>>4&3), lo+uint64(x>>6)
		}
	default:
		mask, each := lowMask(width), uint(8/width)
		for k := range dst {
			dst[k] = lo + uint64(b[uint(k)/each])>>(uint(k)%each*width)&mask
		}
	}
}

// readRadix takes the digits of a block off the top of each word, and puts them, times factor, on at, which step moves on.
func readRadix[T int64 | uint64](s *streamReader, dst []T, block int, at, step, factor T) {
	words := s.words[:(len(dst)+s.digits-1)/s.digits]
	unpackLow(words, s.bits[radixBytes(block*SealedBlock, s.digits, s.word):], 0, s.word)
	base, up := s.base, (64-s.word)&63
	for _, f := range words {
		f <<= up
		digits := dst[:min(s.digits, len(dst))]
		for k := range digits {
			hi, rest := bits.Mul64(f, base)
			digits[k], f = at+T(hi)*factor, rest
			at += step
		}
		dst = dst[len(digits):]
	}
}
