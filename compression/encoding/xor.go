package encoding

import "math/bits"

// appendXOR writes the first value whole, then for each further one, XORed with the one before it,
//
//	0                                    equal
//	10 bits                              the bits lie in the window of leading and trailing zeros last written
//	11 leading:5 length-1:6 bits         a new window; leading zeros beyond 31 are kept as bits
//
// It works on values shifted up by shift, so that sign and exponent of a float32 stand where those of a float64 do.
func appendXOR(dst []byte, v []uint64, shift uint) []byte {
	dst = appendScalar(dst, v[0], shift)
	dst, room := roomBehind(dst, xorBytesMost*(len(v)-1))
	var at cursor
	win := noWindow
	prev := v[0]
	for _, x := range v[1:] {
		d := (x ^ prev) << (shift & 63)
		prev = x
		if d == 0 {
			at = put56(room, at, 0, 1)
			continue
		}
		if win.fits(d) {
			at = put56(room, at, 0b10, 2)
		} else {
			win = windowOf(d)
			at = put56(room, at, 0b11<<11|uint64(win.lead)<<6|uint64(win.length-1), 13)
		}
		if d >>= win.trail & 63; win.length > 56 {
			at = put56(room, at, d>>56, win.length-56)
			d &= 1<<56 - 1
		}
		at = put56(room, at, d, min(win.length, 56))
	}
	return dst[:len(dst)+at.bytes()]
}

// xorSample is how many values xorSize looks at: more would take longer than they save.
const xorSample = 48

// xorSize is about how many bytes appendXOR takes behind the first value, judged by the values in the middle.
func xorSize(v []uint64, shift uint) int {
	m := len(v) - 1
	if len(v) > xorSample+1 {
		from := (len(v) - xorSample) / 2
		v = v[from : from+xorSample+1]
	}
	size := 0
	win := noWindow
	prev := v[0]
	for _, x := range v[1:] {
		d := (x ^ prev) << (shift & 63)
		prev = x
		switch {
		case d == 0:
			size++
		case win.fits(d):
			size += 2 + int(win.length)
		default:
			win = windowOf(d)
			size += 13 + int(win.length)
		}
	}
	return size * m / (len(v) - 1) / 8
}

// window is where the bits of an XOR stream lie: behind lead zeros and before trail of them.
type window struct{ lead, length, trail uint }

// noWindow fits nothing: only zero has 64 leading zeros.
var noWindow = window{lead: 64}

func windowOf(d uint64) window {
	lead, trail := min(uint(bits.LeadingZeros64(d)), 31), uint(bits.TrailingZeros64(d))
	return window{lead, 64 - lead - trail, trail}
}

// fits reports whether d is written in the window: its bits lie inside, and a new window would not save the bits that it
// costs within two values.
func (w window) fits(d uint64) bool {
	lead, trail := uint(bits.LeadingZeros64(d)), uint(bits.TrailingZeros64(d))
	return lead >= w.lead && trail >= w.trail && min(lead, 31)+trail <= w.lead+w.trail+windowSlack
}

const windowSlack = 8

// xorBytesMost is the most one value of an XOR stream takes: 77 bits.
const xorBytesMost = 10

// xorReach is how far behind its first byte the longest entry of an XOR stream makes the decoder look.
const xorReach = 10 + peekBytes

// xorState is what one value's decoding leaves for the next.
type xorState struct {
	prev          uint64
	trail, length uint // window; length 0 before the first
	pos           uint // bits read
}

func decodeXOR(dst []uint64, n int, b []byte, shift uint) ([]uint64, []byte, bool) {
	first, b, ok := scalar(b, shift)
	if !ok || n-1 > len(b)*8 {
		return nil, nil, false
	}
	dst = sized(dst, n)
	dst[0] = first
	s := xorState{prev: first << shift}
	i, used := 1, 0
	if len(b) > xorReach {
		read, ok := s.read(dst[1:], b, uint(len(b)-xorReach), shift)
		if i += read; !ok {
			return nil, nil, false
		}
	}
	if i < n {
		// The last bytes go through a copy with room behind it.
		var tail [3 * xorReach]byte
		from := int(s.pos >> 3)
		last := copy(tail[:], b[min(from, len(b)):])
		s.pos &= 7
		read, ok := s.read(dst[i:], tail[:], uint(last), shift)
		if i += read; !ok {
			return nil, nil, false
		}
		used = from
	}
	used += int(s.pos+7) / 8
	if i < n || used > len(b) {
		return nil, nil, false
	}
	return dst, b[used:], true
}

// read decodes until dst is full or the byte position passes last; b must reach xorReach bytes behind last. It returns
// how many values it read, and false for a window that cannot be.
func (s *xorState) read(dst []uint64, b []byte, last, shift uint) (int, bool) {
	prev, trail, length, pos := s.prev, s.trail, s.length, s.pos
	i := 0
	for ; i < len(dst) && pos>>3 <= last; i++ {
		w := peek(b, pos)
		switch {
		case w>>63 == 0:
			pos++
		case w>>62 == 0b10:
			if length == 0 {
				return i, false
			}
			prev ^= peek(b, pos+2) >> ((64 - length) & 63) << (trail & 63)
			pos += 2 + length
		default:
			lead := uint(w>>57) & 31
			length = uint(w>>51)&63 + 1
			if lead+length > 64 {
				return i, false
			}
			trail = 64 - lead - length
			prev ^= peek(b, pos+13) >> ((64 - length) & 63) << (trail & 63)
			pos += 13 + length
		}
		dst[i] = prev >> (shift & 63)
	}
	s.prev, s.trail, s.length, s.pos = prev, trail, length, pos
	return i, true
}
