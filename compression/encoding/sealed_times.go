package encoding

import (
	"encoding/binary"
)

// A sealed time column is a grid and how many units each time is behind its place on it:
//
//	head     1 byte: 1 in the low three bits; bit 3 and the unit as unsealed times have them
//	first    varint, in units, or nanoseconds if bit 3 is set
//	step     varint, in units
//	offsets  integer column; constant 0 where the grid is all
//	firsts   before it, unless that is constant: the offset of the first of each further block and of the last time, packed
const (
	sealedTimeGrid   = 1 // offsets are constant: firsts are left out
	sealedTimeOffset = 2

	sealedTimeNewest = sealedTimeOffset
)

// AppendTimes encodes times in any order.
func (e *SealedEncoder) AppendTimes(dst []byte, t []int64) []byte {
	n := len(t)
	u := sealedUnit(t)
	words := sized(e.words, n)
	e.words = words
	var step int64
	if n > 1 {
		if g := bestGrid(t, u); g.width <= 24 && e.gridPays(t, u, g) {
			step = g.step
		}
	}
	at, stepNs := t[0], step*int64(u.factor)
	anyBit := uint64(0)
	for i, x := range t {
		words[i] = uint64(u.exact(x - at))
		anyBit |= words[i]
		at += stepNs
	}
	codec := byte(sealedTimeOffset)
	if anyBit == 0 {
		codec = sealedTimeGrid
	}
	dst = appendFirst(dst, codec, u, t[0])
	dst = binary.AppendUvarint(dst, zigzag(step))
	if codec == sealedTimeGrid {
		return dst
	}
	firsts := sized(e.packed, blocksOf(n))
	e.packed = firsts
	for k := range firsts {
		firsts[k] = zigzag(int64(words[min((k+1)*SealedBlock, n-1)]))
	}
	width := widthOf(firsts)
	dst = appendLow(append(dst, byte(width)), firsts, 0, width)
	return e.appendIntColumn(dst, words)
}

// sealedUnit is the largest unit that divides every difference; 1 ns where one of them could overflow.
func sealedUnit(t []int64) *unit {
	if len(t) == 1 {
		return &units[coarsest(maxUnit, t[0])]
	}
	k, prev := maxUnit, int64(0)
	least, most := t[0], t[0]
	for i := 1; i < len(t); i++ {
		least, most = min(least, t[i]), max(most, t[i])
		d := t[i] - t[i-1]
		if d != prev && !units[k].divides(d) {
			k = coarsest(k, d)
		}
		prev = d
	}
	if uint64(most)-uint64(least) >= 1<<61 {
		k = 0
	}
	return &units[k]
}

// gridPays compares offsets from the grid, each on its own, with what differences of the times take.
func (e *SealedEncoder) gridPays(t []int64, u *unit, g grid) bool {
	if g.width == 0 {
		return true
	}
	n := min(len(t), sampleMost)
	at := (len(t) - n) / 2
	s := e.sample[:n]
	for i := range s {
		s[i] = uint64(u.exact(t[at+i] - t[at]))
	}
	p := e.planInts(s, n)
	for i := range s {
		s[i] -= uint64(int64(i) * g.step)
	}
	q := e.planInts(s, n)
	return q.bits <= p.bits
}

// sealedTimes is a time column up to its offsets.
type sealedTimes struct {
	codec       byte
	first, step int64 // nanoseconds
	factor      int64
	width       uint
	firsts      []byte
	b           []byte
}

func (c *sealedTimes) open(n int, b []byte) (ok, known bool) {
	head := b[0]
	c.codec = head & timeCodecMask
	if c.codec == 0 {
		return false, true
	}
	if c.codec > sealedTimeNewest || head>>4 > maxUnit {
		return false, false
	}
	c.factor = int64(units[head>>4].factor)
	if c.first, b, ok = varint(b[1:]); !ok {
		return false, true
	}
	if head&timeFirstInNs == 0 {
		c.first *= c.factor
	}
	if c.step, b, ok = varint(b); !ok {
		return false, true
	}
	c.step *= c.factor
	if c.codec == sealedTimeGrid {
		return true, true
	}
	c.width, c.firsts, c.b, ok = packedStream(blocksOf(n), b)
	return ok, true
}

// at is time i, which firsts has under k.
func (c *sealedTimes) at(i, k int) int64 {
	t := c.first + int64(i)*c.step
	if c.codec == sealedTimeGrid {
		return t
	}
	return t + unzigzag(lowAt(c.firsts, k, c.width))*c.factor
}

// Times decodes blocks [from, to) of a column of n times into dst.
func (d *SealedDecoder) Times(dst []int64, n int, b []byte, from, to int) error {
	if err := checkBlocks("times", len(dst), n, b, from, to); err != nil {
		return err
	}
	var c sealedTimes
	ok, known := c.open(n, b)
	if ok && c.codec == sealedTimeOffset {
		ok, known = d.readOffsets(&c, dst, n, from, to)
	} else if ok {
		fillGrid(dst, c.first+int64(from)*SealedBlock*c.step, c.step)
	}
	return columnError("times", n, b, ok, known)
}

func fillGrid(dst []int64, at, step int64) {
	for len(dst) >= 4 {
		four := dst[:4:4]
		four[0], four[1], four[2], four[3] = at, at+step, at+2*step, at+3*step
		at += 4 * step
		dst = dst[4:]
	}
	for i := range dst {
		dst[i] = at
		at += step
	}
}

func (d *SealedDecoder) readOffsets(c *sealedTimes, dst []int64, n, from, to int) (ok, known bool) {
	v := &d.ints
	if ok, known := v.open(d, n, c.b, from, to); !ok {
		return false, known
	}
	at := c.first + int64(from)*SealedBlock*c.step
	radix := v.codec == sealedPlain && v.stream.coder == streamRadix
	for i := from * SealedBlock; len(dst) > 0; i += SealedBlock {
		if radix { // jitter: digits and grid in one go
			block := dst[:min(SealedBlock, len(dst))]
			readRadix(&v.stream, block, i/SealedBlock, at+int64(v.stream.lo)*c.factor, c.step, c.factor)
			at += int64(len(block)) * c.step
			dst = dst[len(block):]
			continue
		}
		block := d.block[:min(SealedBlock, len(dst))]
		if !v.read(block, i) {
			return false, true
		}
		for k, x := range block {
			dst[k] = at + int64(x)*c.factor
			at += c.step
		}
		dst = dst[len(block):]
	}
	return true, true
}

// TimeBlocks is the first time of every block of a column of n times, and its last, without decoding blocks. It reuses
// dst's memory.
func (d *SealedDecoder) TimeBlocks(dst []int64, n int, b []byte) (firsts []int64, last int64, err error) {
	if err := checkBlocks("times", -1, n, b, 0, blocksOf(max(n, 1))); err != nil {
		return nil, 0, err
	}
	var c sealedTimes
	if ok, known := c.open(n, b); !ok {
		return nil, 0, columnError("times", n, b, ok, known)
	}
	dst = sized(dst, blocksOf(n))
	dst[0] = c.first
	for k := 1; k < len(dst); k++ {
		dst[k] = c.at(k*SealedBlock, k-1)
	}
	return dst, c.at(n-1, len(dst)-1), nil
}
