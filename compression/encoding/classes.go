package encoding

import (
	"math/bits"
	"slices"
)

// A class stream holds the differences of values that scatter, as noisy measurements do. Each difference, zigzag coded,
// belongs to one of four classes of width; the two bits that say which stand apart from the difference itself:
//
//	shift    1 byte: trailing zero bits that all differences share and that are left out
//	widths   4 bytes, ascending, 1 to 64
//	classes  two bits a difference, four to a byte, the first at the top
//	bits     the differences, each in the width of its class
//
// Because a width is known before its bits are reached, neither encoder nor decoder waits for one value to find the
// next, and none of their branches depends on the data. Gorilla's do: on noise it is mispredicted every other value.
type classes struct {
	shift  uint
	widths [4]uint
}

const classesHead = 5

// chooseClasses is the four widths that take the fewest bits for m differences, counted in h by the length of their
// zigzag code, and how many bits those are with their classes.
func chooseClasses(h *histogram, m int, shift uint) (c classes, size int) {
	// Widths that few differences need are no candidates, which leaves at most 17 to try.
	var width, upTo [18]int
	last, since, total := -1, h[0], h[0]
	for n := 1; n <= 64; n++ {
		since += h[n]
		total += h[n]
		if h[n] > 0 && (since*16 >= m || total == m) {
			last++
			width[last], upTo[last] = n-int(shift), total
			since = 0
		}
	}
	best, at := int(^uint(0)>>1), [4]int{3: last}
	for i := range last + 1 {
		for j := i; j <= last; j++ {
			for k := j; k <= last; k++ {
				n := upTo[i]*width[i] + (upTo[j]-upTo[i])*width[j] + (upTo[k]-upTo[j])*width[k] + (m-upTo[k])*width[last]
				if n < best {
					best, at[0], at[1], at[2] = n, i, j, k
				}
			}
		}
	}
	c.shift = shift
	for i := range at {
		c.widths[i] = uint(width[at[i]])
	}
	return c, best + 2*m
}

// append writes the stream of the differences of v, each shifted up; size is what chooseClasses said.
func (c *classes) append(dst []byte, v []uint64, size int, up uint) []byte {
	var classOf [65]byte
	k := byte(0)
	for n := range classOf {
		for k < 3 && uint(n) > c.widths[k] {
			k++
		}
		classOf[n] = k
	}
	m := len(v) - 1
	dst = append(slices.Grow(dst, classesHead+size/8+16), byte(c.shift))
	for _, w := range c.widths {
		dst = append(dst, byte(w))
	}
	at := len(dst)
	dst = dst[:at+(m+3)/4] // has the room for all bits, so the writer leaves which where it is
	which := dst[at:]
	clear(which)
	w := newBitWriter(dst)
	prev := v[0]
	for i, x := range v[1:] {
		z := zigzag(int64((x-prev)<<(up&63)) >> (c.shift & 63))
		prev = x
		k := classOf[bits.Len64(z)]
		which[i>>2] |= k << (6 - i&3*2)
		w.put(z, c.widths[k&3])
	}
	return w.close()
}

// decodeClasses reads the stream behind the first value, which dst[0] holds, into the rest of dst.
func decodeClasses(dst []uint64, b []byte, up uint) (rest []byte, ok bool) {
	groups := (len(dst) - 1 + 3) / 4
	if len(b) < classesHead+groups || b[0] > 63 {
		return nil, false
	}
	c := classes{shift: uint(b[0])}
	for i := range c.widths {
		c.widths[i] = uint(b[1+i])
		if c.widths[i] < 1 || c.widths[i] > 64 {
			return nil, false
		}
	}
	which, b := b[classesHead:classesHead+groups], b[classesHead+groups:]
	prev := dst[0] << (up & 63)
	dst = dst[1:]
	i, pos := c.read(dst, which, b, &prev, up)
	if i == len(dst) {
		used := int(pos+7) / 8
		return b[used:], true
	}

	// The last bytes go through a copy with room behind it.
	const reach = 32 + peekBytes
	var tail [reach + 2*peekBytes]byte
	from := int(pos >> 3)
	n := copy(tail[:reach], b[from:])
	pos &= 7
	for ; i < len(dst); i++ {
		w := c.widths[which[i>>2]>>(6-i&3*2)&3]
		if pos+w > uint(n)*8 {
			return nil, false
		}
		prev += uint64(unzigzag(peek(tail[:], pos)>>(64-w))) << c.shift
		dst[i] = prev >> (up & 63)
		pos += w
	}
	return b[from+int(pos+7)/8:], true
}

// read decodes groups of four as long as b reaches behind what they could take, and returns how many values that were
// and how many bits.
func (c *classes) read(dst []uint64, which, b []byte, prev *uint64, up uint) (int, uint) {
	widths, shift, v := c.widths, c.shift&63, *prev
	up &= 63
	pos, i := uint(0), 0
	for ; i+4 <= len(dst) && int(pos>>3)+32+peekBytes <= len(b); i += 4 {
		k := which[i>>2]
		w0, w1, w2, w3 := widths[k>>6], widths[k>>4&3], widths[k>>2&3], widths[k&3]
		p1 := pos + w0
		p2 := p1 + w1
		p3 := p2 + w2
		out := dst[i : i+4 : i+4]
		v += uint64(unzigzag(peek(b, pos)>>((64-w0)&63))) << shift
		out[0] = v >> up
		v += uint64(unzigzag(peek(b, p1)>>((64-w1)&63))) << shift
		out[1] = v >> up
		v += uint64(unzigzag(peek(b, p2)>>((64-w2)&63))) << shift
		out[2] = v >> up
		v += uint64(unzigzag(peek(b, p3)>>((64-w3)&63))) << shift
		out[3] = v >> up
		pos = p3 + w3
	}
	*prev = v
	return i, pos
}
