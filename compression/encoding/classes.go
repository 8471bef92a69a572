package encoding

import (
	"math/bits"
)

// A class stream holds the differences of values that scatter, as noisy measurements do. Each difference, zigzag coded,
// belongs to one of four classes of width; the two bits that say which stand apart from the difference itself:
//
//	shift    1 byte: trailing zero bits that all differences share and that are left out
//	widths   4 bytes, ascending, 0 to 64
//	classes  two bits a difference, four to a byte, the first at the top
//	bits     the differences, each in the width of its class
//
// Because a width is known before its bits are reached, neither encoder nor decoder waits for one value to find the
// next, and none of their branches depends on the data. Gorilla's do: on noise it is mispredicted every other value.
type classes struct {
	shift  uint
	widths [4]uint
	masks  [4]uint64 // of the decoder: as many ones as the class is wide
}

const classesHead = 5

// chooseClasses is the four widths that take the fewest bits for m differences, counted in h by the length of their
// zigzag code, and how many bits those are with their classes.
func chooseClasses(h *histogram, m int, shift uint) (c classes, size int) {
	// Widths that few differences need are no candidates, which leaves at most 17 to try.
	var width, upTo [18]int
	last, since, total := -1, 0, 0
	for n := range h {
		since += h[n]
		total += h[n]
		if h[n] > 0 && (since*16 >= m || total == m) {
			last++
			width[last], upTo[last] = max(n-int(shift), 0), total
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

// append writes the stream of the differences of v; size is the bits that chooseClasses said.
func (c *classes) append(dst []byte, v []uint64, size int) []byte {
	var classOf [65]byte
	k := byte(0)
	for n := range classOf {
		for k < 3 && uint(n) > c.widths[k] {
			k++
		}
		classOf[n] = k
	}
	dst = append(dst, byte(c.shift))
	for _, w := range c.widths {
		dst = append(dst, byte(w))
	}
	// The room for the bits is there from the start, so that which stays where it is.
	groups := (len(v) - 1 + 3) / 4
	dst, room := roomBehind(dst, groups+size/8+1)
	which := room[:groups]
	clear(which)
	if c.widths[3] > 56 {
		return c.appendWide(dst[:len(dst)+groups], which, v, &classOf)
	}
	room = room[groups:]
	var at cursor
	prev, four := v[0], byte(0)
	for i, x := range v[1:] {
		z := c.residual(x - prev)
		prev = x
		k := classOf[bits.Len64(z)]
		four = four<<2 | k
		if i&3 == 3 {
			which[i>>2] = four
		}
		at = put56(room, at, z, c.widths[k&3])
	}
	if m := len(v) - 1; m&3 != 0 {
		which[groups-1] = four << (8 - m&3*2)
	}
	return dst[:len(dst)+groups+at.bytes()]
}

func (c *classes) appendWide(dst, which []byte, v []uint64, classOf *[65]byte) []byte {
	w := newBitWriter(dst)
	for i := 1; i < len(v); i++ {
		z := c.residual(v[i] - v[i-1])
		k := classOf[bits.Len64(z)]
		which[(i-1)>>2] |= k << (6 - (i-1)&3*2)
		w.put(z, c.widths[k&3])
	}
	return w.close()
}

func (c *classes) residual(difference uint64) uint64 {
	d := int64(difference)
	if c.shift != 0 { // spares most columns a shift
		d >>= c.shift & 63
	}
	return zigzag(d)
}

// decodeClasses reads the stream behind the first value, which dst[0] holds, into the rest of dst.
func decodeClasses(dst []uint64, b []byte) (rest []byte, ok bool) {
	first, dst := dst[0], dst[1:]
	groups := (len(dst) + 3) / 4
	if len(b) < classesHead+groups || b[0] > 63 {
		return nil, false
	}
	c := classes{shift: uint(b[0])}
	for i := range c.widths {
		c.widths[i] = uint(b[1+i])
		if c.widths[i] > 64 {
			return nil, false
		}
		c.masks[i] = 1<<c.widths[i] - 1
	}
	which, b := b[classesHead:classesHead+groups], b[classesHead+groups:]
	i, pos := c.read(dst, which, b)
	if i < len(dst) {
		pos, ok = c.readTail(dst, i, which, b, pos)
		if !ok {
			return nil, false
		}
	}
	sum := first
	if c.shift == 0 {
		for i, d := range dst {
			sum += d
			dst[i] = sum
		}
	} else {
		for i, d := range dst {
			sum += d << (c.shift & 63)
			dst[i] = sum
		}
	}
	return b[(pos+7)/8:], true
}

// read reads the differences of whole groups as long as b reaches behind what a group could take, and returns how many
// differences and how many bits that were.
func (c *classes) read(dst []uint64, which, b []byte) (i int, pos uint) {
	if max(c.widths[0], c.widths[1], c.widths[2], c.widths[3]) > 56 {
		return c.readWide(dst, which, b)
	}
	widths, masks := c.widths, c.masks
	for last := len(b) - 4*7 - 8; i+4 <= len(dst) && int(pos>>3) <= last; i += 4 {
		k := which[i>>2]
		k0, k1, k2, k3 := k>>6, k>>4&3, k>>2&3, k&3
		w0, w1, w2, w3 := widths[k0], widths[k1], widths[k2], widths[k3]
		p1 := pos + w0
		p2 := p1 + w1
		p3 := p2 + w2
		out := dst[i : i+4 : i+4]
		out[0] = uint64(unzigzag(peek56(b, pos, w0, masks[k0])))
		out[1] = uint64(unzigzag(peek56(b, p1, w1, masks[k1])))
		out[2] = uint64(unzigzag(peek56(b, p2, w2, masks[k2])))
		out[3] = uint64(unzigzag(peek56(b, p3, w3, masks[k3])))
		pos = p3 + w3
	}
	return i, pos
}

func (c *classes) readWide(dst []uint64, which, b []byte) (i int, pos uint) {
	for last := len(b) - peekBytes; i < len(dst) && int(pos>>3) <= last; i++ {
		k := which[i>>2] >> (6 - i&3*2) & 3
		dst[i] = uint64(unzigzag(peek(b, pos) >> ((64 - c.widths[k]) & 63) & c.masks[k]))
		pos += c.widths[k]
	}
	return i, pos
}

// readTail reads the differences from i on, through a copy of the last bytes with room behind it.
func (c *classes) readTail(dst []uint64, i int, which, b []byte, pos uint) (uint, bool) {
	const reach = 4*7 + 8
	var tail [reach + peekBytes]byte
	from := pos >> 3
	if int(from) > len(b) {
		return 0, false
	}
	end := uint(copy(tail[:reach], b[from:])) * 8
	pos -= from * 8
	for ; i < len(dst); i++ {
		k := which[i>>2] >> (6 - i&3*2) & 3
		if pos+c.widths[k] > end {
			return 0, false
		}
		dst[i] = uint64(unzigzag(peek(tail[:], pos) >> ((64 - c.widths[k]) & 63) & c.masks[k]))
		pos += c.widths[k]
	}
	return from*8 + pos, true
}
