package encoding

import (
	"math"
	"math/bits"
	"slices"
)

// streamPlan is a coder with its settings, and about how many bytes it takes.
type streamPlan struct {
	coder byte
	lo    uint64
	width uint // bits of a packed number; of a split stream the low ones
	base  uint64
	most  uint64 // greatest distance that is no exception
	bytes float64
}

// An entropy stage takes a nanosecond a value to decode, a third of all there is. It must save entropyGain of the bytes for
// that, and entropyLeast bits a value, but no more than entropyMost.
const (
	entropyGain  = 0.08
	entropyLeast = 0.05
	entropyMost  = 1
)

// stagePays reports whether staged bytes are few enough instead of plain ones for n values.
func stagePays(staged, plain float64, n int) bool {
	value := float64(n) / 8
	return plain-staged > min(max(plain*entropyGain, entropyLeast*value), entropyMost*value)
}

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
		if size := float64(radixBytes(n, digits, word) + 1); size < best.bytes*0.97 {
			best = streamPlan{coder: streamRadix, lo: uint64(least), base: span + 1, most: span, bytes: size}
		}
	}
	s := e.sortedSample(r)
	staged := streamPlan{bytes: math.MaxFloat64}
	wider := uint(65)
	for _, part := range [...]int{100, 12} { // numbers of which many lie far out have a narrow zone all the same
		low, high := int64(s[len(s)/part]^1<<63), int64(s[len(s)-1-len(s)/part]^1<<63)
		zone := uint(bits.Len64(uint64(high) - uint64(low)))
		if zone+1 >= wider {
			break
		}
		wider = zone
		if zone+1 < width {
			if p := e.planPatched(r, low); p.bytes+4 < best.bytes*0.97 {
				best = p
			}
		}
		if n < laneLeast || zone > 60 {
			continue
		}
		if p := e.planSplit(r, low, high); p.bytes < staged.bytes {
			staged = p
		}
		if zone > 7 && zone <= tableZone && staged.coder != streamTable { // one, since its counts stay in e
			if p := e.planTable(r, low, high); p.bytes < staged.bytes*0.98 {
				staged = p
			}
		}
		if zone <= 4 {
			if p := e.planBytes(r, low, high, zone); p.bytes < staged.bytes*1.01 { // fewer symbols decode faster
				staged = p
			}
		}
	}
	if stagePays(staged.bytes, best.bytes, n) {
		return staged
	}
	return best
}

// sortedSample is a sample of r in ascending order, as unsigned words.
func (e *SealedEncoder) sortedSample(r []uint64) []uint64 {
	s := e.order[:0]
	count := min(len(r), sampleZone)
	for i := range count {
		s = append(s, r[i*len(r)/count]^1<<63)
	}
	slices.Sort(s)
	return s
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
	size += float64(float64(n)*float64(shift)/8) + float64(float64(h[escape])*float64(bits.Len64(far))/8) + laneCost(n, used)
	return streamPlan{coder: streamSplit, lo: lo, width: shift, most: escape<<shift - 1, bytes: size}
}

// laneCost is about what a lane takes beside its codes.
func laneCost(n, symbols int) float64 {
	return 10 + float64(float64(symbols)*0.4) + float64(8*laneGroups(n))
}

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
		sum += float64(float64(c) * max(whole-math.Log2(float64(c)), 1))
		width, last = max(width, bits.Len(uint(d-last))), d
	}
	if beyond > 0 {
		sum += float64(float64(beyond) * (whole - math.Log2(float64(beyond)) + float64(bits.Len64(far))))
	}
	size := float64(sum*1.005/8) + float64(float64(symbols*width)/8) + laneCost(n, symbols)
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
