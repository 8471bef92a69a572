package encoding

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// The codecs of a time column, in the low three bits of its first byte. They reach disk and are never renumbered; zero
// is never written. Bit 3 says that the first time is in nanoseconds though the rest is in units; the high four bits are
// the unit, as the power of ten of nanoseconds from 0 (1 ns) to 9 (1 s).
const (
	timeGrid   = 1 // first time, step
	timeJitter = 2 // grid, and how much later each time is than its place on it, in a fixed number of bits
	timeDelta2 = 3 // first time, last time, first difference; differences of differences in a bucket stream

	timeCodecMask = 0b0111
	timeFirstInNs = 0b1000
	maxUnit       = 9
)

// unit divides exactly by a power of ten with a multiplication: 10^k is 2^k times 5^k, and an odd number has an inverse
// modulo 2^64.
type unit struct {
	k       int
	factor  uint64 // 10^k
	inverse uint64 // of 5^k
	most    uint64 // greatest quotient of an int64's magnitude
}

var units = func() (u [maxUnit + 1]unit) {
	factor, five := uint64(1), uint64(1)
	for k := range u {
		inverse := five // right in three bits; each step doubles them
		for range 5 {
			inverse *= 2 - five*inverse
		}
		u[k] = unit{k: k, factor: factor, inverse: inverse, most: (1 << 63) / factor}
		factor, five = factor*10, five*5
	}
	return u
}()

// divides reports whether v is a multiple of u.
func (u *unit) divides(v int64) bool {
	magnitude := uint64(v)
	if v < 0 {
		magnitude = -magnitude
	}
	return bits.RotateLeft64(magnitude*u.inverse, -u.k) <= u.most
}

// exact is v/u for a multiple of u.
func (u *unit) exact(v int64) int64 { return int64(uint64(v>>u.k) * u.inverse) }

// coarsest is the largest unit, at most k, that divides v.
func coarsest(k int, v int64) int {
	for !units[k].divides(v) {
		k--
	}
	return k
}

// AppendTimes encodes at least one time, in any order.
func AppendTimes(dst []byte, t []int64) []byte {
	if len(t) == 1 {
		return appendFirst(dst, timeGrid, &units[coarsest(maxUnit, t[0])], t[0])
	}
	step := t[1] - t[0]
	i := 2
	for i < len(t) && t[i]-t[i-1] == step {
		i++
	}
	if i == len(t) {
		return appendGrid(dst, t[0], step)
	}
	u, repeats := stepUnit(t)
	g := bestGrid(t, u)
	if g.width <= 12 && repeats < len(t)/4 {
		return g.append(dst, t, u) // next to jitter the stream would pay its prefixes for nothing
	}
	var h histogram
	prev := step
	for i := 2; i < len(t); i++ {
		d := t[i] - t[i-1]
		h.add(u.exact(d) - u.exact(prev))
		prev = d
	}
	k, size := h.best()
	if packedBytes(len(t), g.width) <= (size+7)/8+3 {
		return g.append(dst, t, u)
	}
	return appendDelta2(dst, t, u, k)
}

// appendGrid takes the unit of the step or, where that does not divide the first time, the finer one that divides both
// if it costs less than a first time in nanoseconds.
func appendGrid(dst []byte, first, step int64) []byte {
	at := len(dst)
	coarse := &units[coarsest(maxUnit, step)]
	dst = binary.AppendUvarint(appendFirst(dst, timeGrid, coarse, first), zigzag(coarse.exact(step)))
	if both := &units[coarsest(coarse.k, first)]; both != coarse {
		n := len(dst)
		dst = binary.AppendUvarint(appendFirst(dst, timeGrid, both, first), zigzag(both.exact(step)))
		if len(dst)-n < n-at {
			return dst[:at+copy(dst[at:], dst[n:])]
		}
		return dst[:n]
	}
	return dst
}

// stepUnit is the largest unit that divides every difference. It is 1 ns where sums of differences could overflow: only
// then do they wrap, and what wraps is no longer a multiple of anything else. repeats is how often a difference was that
// of the time before.
func stepUnit(t []int64) (u *unit, repeats int) {
	k, magnitudes, prev := maxUnit, uint64(0), int64(0)
	for i := 1; i < len(t); i++ {
		d := t[i] - t[i-1]
		if d == prev {
			repeats++
			continue
		}
		prev = d
		magnitudes |= uint64(d ^ d>>63)
		if !units[k].divides(d) {
			k = coarsest(k, d)
		}
	}
	if bits.Len64(magnitudes)+bits.Len(uint(len(t))) > 60 {
		k = 0
	}
	return &units[k], repeats
}

// appendFirst writes the first byte and the time a column counts from.
func appendFirst(dst []byte, codec byte, u *unit, first int64) []byte {
	if u.divides(first) {
		return binary.AppendUvarint(append(dst, codec|byte(u.k)<<4), zigzag(u.exact(first)))
	}
	return binary.AppendUvarint(append(dst, codec|timeFirstInNs|byte(u.k)<<4), zigzag(first))
}

// grid is times that scatter in [0, 2^width) units behind the places first + i*step.
type grid struct {
	first int64 // nanoseconds
	step  int64 // units
	width uint
}

// bestGrid takes the mean step, then the roundest one that strays from the mean over the whole column by no more than
// the times scatter anyway: the mean of jittered times is off by a part of the jitter, and plants scan at round periods.
func bestGrid(t []int64, u *unit) grid {
	n := int64(len(t) - 1)
	mean := (u.exact(t[n]-t[0]) + n/2) / n
	g := fitGrid(t, u, mean)
	if g.width == 0 || g.width > 48 {
		return g
	}
	slack := int64(1)<<g.width/n + 1
	round := mean
	for p := int64(10); p <= 10*slack; p *= 10 {
		r := (mean + p/2) / p * p
		if r-mean > slack || mean-r > slack {
			break
		}
		round = r
	}
	if round == mean {
		return g
	}
	if h := fitGrid(t, u, round); h.width <= g.width {
		return h
	}
	return g
}

// fitGrid measures how far t scatters around a grid of the given step. Sums wrap, as the decoder's do.
func fitGrid(t []int64, u *unit, step int64) grid {
	stepNs := step * int64(u.factor)
	var least, most, at int64
	for i := range t {
		off := t[i] - t[0] - at
		least, most = min(least, off), max(most, off)
		at += stepNs
	}
	width := bits.Len64(uint64(u.exact(most) - u.exact(least)))
	return grid{first: t[0] + least, step: step, width: uint(width)}
}

func (g grid) append(dst []byte, t []int64, u *unit) []byte {
	dst = appendFirst(dst, timeJitter, u, g.first)
	dst = binary.AppendUvarint(dst, zigzag(g.step))
	dst = append(dst, byte(g.width))
	at, stepNs := g.first, g.step*int64(u.factor)
	if g.width <= 56 {
		dst, room := roomBehind(dst, packedBytes(len(t), g.width))
		var c cursor
		for _, x := range t {
			c = put56(room, c, uint64(u.exact(x-at)), g.width)
			at += stepNs
		}
		return dst[:len(dst)+c.bytes()]
	}
	w := newBitWriter(dst)
	for _, x := range t {
		w.put(uint64(u.exact(x-at)), g.width)
		at += stepNs
	}
	return w.close()
}

func appendDelta2(dst []byte, t []int64, u *unit, k buckets) []byte {
	dst = appendFirst(dst, timeDelta2, u, t[0])
	var span uint64 // of the wrapping quotients, so that the decoder finds it again
	prev := u.exact(t[1] - t[0])
	for i := 1; i < len(t); i++ {
		span += uint64(u.exact(t[i] - t[i-1]))
	}
	dst = binary.AppendUvarint(dst, zigzag(int64(span)))
	dst = binary.AppendUvarint(dst, zigzag(prev))
	w := newBitWriter(append(dst, byte(k.narrow), byte(k.wide)))
	for i := 2; i < len(t); i++ {
		d := u.exact(t[i] - t[i-1])
		k.put(&w, d-prev)
		prev = d
	}
	return w.close()
}

// timeColumn is a parsed column up to its bit stream.
type timeColumn struct {
	codec  byte
	factor int64
	first  int64 // nanoseconds
	span   int64 // nanoseconds, of timeDelta2
	step   int64 // nanoseconds; of timeDelta2 units
	b      []byte
}

func parseTimes(n int, b []byte) (c timeColumn, err error) {
	if n < 1 || len(b) == 0 {
		return c, fmt.Errorf("decode times: %d of them in %d bytes: %w", n, len(b), ErrCorrupt)
	}
	head := b[0]
	c.codec = head & timeCodecMask
	if c.codec > timeDelta2 || head>>4 > maxUnit {
		return c, fmt.Errorf("decode times: codec byte %#02x: %w", head, ErrVersion)
	}
	size := len(b)
	bad := func() error {
		return fmt.Errorf("decode times: codec byte %#02x: %d times do not fit in %d bytes: %w", head, n, size, ErrCorrupt)
	}
	c.factor = int64(units[head>>4].factor)
	v, b, ok := varint(b[1:])
	if c.codec == 0 || !ok {
		return c, bad()
	}
	if c.first = v; head&timeFirstInNs == 0 {
		c.first *= c.factor
	}
	if c.codec == timeDelta2 {
		if v, b, ok = varint(b); !ok {
			return c, bad()
		}
		c.span = v * c.factor
	}
	if n > 1 {
		if v, b, ok = varint(b); !ok {
			return c, bad()
		}
		if c.step = v; c.codec != timeDelta2 {
			c.step *= c.factor
		}
	} else if c.codec != timeGrid {
		return c, bad() // a single time is always a grid
	}
	c.b = b
	return c, nil
}

// DecodeTimes reads n times, n at least 1, reusing dst's memory, and returns what stands behind them.
func DecodeTimes(dst []int64, n int, b []byte) (times []int64, rest []byte, err error) {
	c, err := parseTimes(n, b)
	if err != nil {
		return nil, nil, err
	}
	ok := true
	switch c.codec {
	case timeGrid:
		dst, rest = sized(dst, n), c.b
		at := c.first
		for i := range dst {
			dst[i] = at
			at += c.step
		}
	case timeJitter:
		dst, rest, ok = c.decodeJitter(dst, n)
	case timeDelta2:
		dst, rest, ok = c.decodeDelta2(dst, n)
	}
	if !ok {
		return nil, nil, fmt.Errorf("decode times: codec byte %#02x: %d times do not fit in %d bytes: %w", b[0], n, len(b), ErrCorrupt)
	}
	return dst, rest, nil
}

func (c *timeColumn) decodeJitter(dst []int64, n int) ([]int64, []byte, bool) {
	width, stream, rest, ok := packedStream(n, c.b)
	if !ok {
		return nil, nil, false
	}
	dst = sized(dst, n)
	unpack(dst, stream, 0, width)
	at, factor := c.first, c.factor
	for i := range dst {
		dst[i] = at + dst[i]*factor
		at += c.step
	}
	return dst, rest, true
}

func (c *timeColumn) decodeDelta2(dst []int64, n int) ([]int64, []byte, bool) {
	k, b, ok := parseBuckets(c.b)
	if !ok || n-2 > len(b)*8 {
		return nil, nil, false
	}
	dst = sized(dst, n)
	used, ok := readBuckets(k, dst[2:], b)
	if !ok {
		return nil, nil, false
	}
	at, step := c.first, c.step
	dst[0] = at
	at += step * c.factor
	dst[1] = at
	for i := 2; i < n; i++ {
		step += dst[i]
		at += step * c.factor
		dst[i] = at
	}
	return dst, b[used:], at == c.first+c.span
}

// TimeBounds is the first and the last of n times, without a look at those between.
func TimeBounds(n int, b []byte) (first, last int64, err error) {
	c, err := parseTimes(n, b)
	if err != nil {
		return 0, 0, err
	}
	switch c.codec {
	case timeGrid:
		return c.first, c.first + int64(n-1)*c.step, nil
	case timeDelta2:
		return c.first, c.first + c.span, nil
	}
	width, stream, _, ok := packedStream(n, c.b)
	if !ok {
		return 0, 0, fmt.Errorf("read bounds of times: %d of them do not fit in %d bytes: %w", n, len(b), ErrCorrupt)
	}
	first = c.first + int64(unpackAt(stream, 0, width))*c.factor
	last = c.first + int64(n-1)*c.step + int64(unpackAt(stream, n-1, width))*c.factor
	return first, last, nil
}
