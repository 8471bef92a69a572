package encoding

import "math/bits"

// A bucket stream holds signed residuals of very different size. Each is zigzag coded and written behind a prefix:
//
//	0        it is zero
//	10       it fits in the narrow width
//	110      it fits in the wide width
//	111      64 bits follow
//
// The two widths are chosen per column, so the stream costs the same whatever the unit of the values is.
type buckets struct{ narrow, wide uint }

// histogram counts residuals by the bits their zigzag code needs.
type histogram [65]int

func (h *histogram) add(residual int64) { h[bits.Len64(zigzag(residual))]++ }

func (h *histogram) merge(other *histogram) {
	for i, n := range other {
		h[i] += n
	}
}

// best is the pair of widths with the fewest bits, and how many bits those are.
func (h *histogram) best() (buckets, int) {
	var widths [64]uint
	lens := widths[:0]
	total := h[0]
	for w := 1; w <= 64; w++ {
		if h[w] > 0 {
			lens = append(lens, uint(w))
			total += h[w]
		}
	}
	if len(lens) == 0 {
		return buckets{1, 1}, total
	}
	var below [65]int // residuals of 1 to w bits
	for w := 1; w <= 64; w++ {
		below[w] = below[w-1] + h[w]
	}
	best, bestBits := buckets{}, int(^uint(0)>>1)
	for i, narrow := range lens {
		for _, wide := range lens[i:] {
			n := h[0] + below[narrow]*int(2+narrow) + (below[wide]-below[narrow])*int(3+wide) + (below[64]-below[wide])*67
			if n < bestBits {
				best, bestBits = buckets{narrow, wide}, n
			}
		}
	}
	return best, bestBits
}

func (k buckets) put(w *bitWriter, residual int64) {
	z := zigzag(residual)
	switch n := uint(bits.Len64(z)); {
	case n == 0:
		w.put(0, 1)
	case n <= k.narrow:
		w.put(0b10, 2)
		w.put(z, k.narrow)
	case n <= k.wide:
		w.put(0b110, 3)
		w.put(z, k.wide)
	default:
		w.put(0b111, 3)
		w.put(z, 64)
	}
}

// readBuckets fills dst with residuals from b and returns how many bytes they took; false where b ends too soon.
func readBuckets[T int64 | uint64](k buckets, dst []T, b []byte) (int, bool) {
	if len(dst) > len(b)*8 {
		return 0, false
	}
	// 67 bits and the word behind them are read without a look at the end; the last of b goes through a copy with room.
	const reach = 9 + peekBytes
	i, pos := 0, uint(0)
	if len(b) > reach {
		i, pos = readBucketsUntil(k, dst, b, 0, uint(len(b)-reach))
	}
	if i < len(dst) {
		var tail [3 * reach]byte
		from := pos >> 3
		n := copy(tail[:], b[from:])
		j, tailPos := readBucketsUntil(k, dst[i:], tail[:], pos&7, uint(n))
		i, pos = i+j, from*8+tailPos
	}
	used := int(pos+7) / 8
	return used, i == len(dst) && used <= len(b)
}

// readBucketsUntil reads residuals until dst is full or the byte position passes last. b must reach 18 bytes behind last.
func readBucketsUntil[T int64 | uint64](k buckets, dst []T, b []byte, pos, last uint) (int, uint) {
	for i := range dst {
		if pos>>3 > last {
			return i, pos
		}
		w := peek(b, pos)
		var z uint64
		switch {
		case w>>63 == 0:
			pos++
		case w>>62 == 0b10:
			z = peek(b, pos+2) >> (64 - k.narrow)
			pos += 2 + k.narrow
		case w>>61 == 0b110:
			z = peek(b, pos+3) >> (64 - k.wide)
			pos += 3 + k.wide
		default:
			z = peek(b, pos+3)
			pos += 67
		}
		dst[i] = T(unzigzag(z))
	}
	return len(dst), pos
}

// append writes the widths as two bytes, then the residuals of order 1 or 2 of values: differences from the value
// before, or differences of those. The first order values are the caller's.
func (k buckets) append(dst []byte, values []uint64, order int) []byte {
	w := newBitWriter(append(dst, byte(k.narrow), byte(k.wide)))
	if order == 1 {
		for i := 1; i < len(values); i++ {
			k.put(&w, int64(values[i]-values[i-1]))
		}
		return w.close()
	}
	for i := 2; i < len(values); i++ {
		k.put(&w, int64(values[i]-2*values[i-1]+values[i-2]))
	}
	return w.close()
}

// parseBuckets reads the two widths.
func parseBuckets(b []byte) (buckets, []byte, bool) {
	if len(b) < 2 {
		return buckets{}, nil, false
	}
	k := buckets{uint(b[0]), uint(b[1])}
	return k, b[2:], k.narrow >= 1 && k.narrow <= k.wide && k.wide <= 64
}
