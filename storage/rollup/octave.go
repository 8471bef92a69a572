package rollup

import (
	"math"
	"math/bits"
)

// Doubles of one octave, from a power of two to the next, have sign and exponent in common, and are whole multiples of one
// unit. Sums of them are sums of integers: exact, in any order, and faster than sums that look after what rounding takes.
// Measurements stay in one octave for most of a minute.

// octaveLeast and octaveMost bound the exponents for which no sum of an octave overflows or underflows.
const (
	octaveLeast = 256
	octaveMost  = 1791
)

// mantissaBits are below the exponent. blockSamples mantissas, with the bit before them, add up to less than 2^64.
const mantissaBits = 52

// octave is what doubles that are alike have in common.
type octave uint64

func octaveOf(bits uint64) octave { return octave(bits >> mantissaBits) }

// has reports whether doubles are of the octave whose bits differ from one of it only where off is set.
func (o octave) has(off uint64) bool {
	e := o & 0x7FF
	return off>>mantissaBits == 0 && e >= octaveLeast && e <= octaveMost
}

// beyond is what the bits of a double have more than its value in units.
func (o octave) beyond() uint64 { return uint64(o)<<mantissaBits - 1<<mantissaBits }

// of is w units.
func (o octave) of(w wide) wide {
	unit := math.Float64frombits((uint64(o) - mantissaBits) << mantissaBits)
	return wide{w.hi * unit, w.lo * unit}
}

// sumOctave is the exact sum of at most blockSamples doubles of one octave; false where they are not.
func sumOctave(raw []uint64) (sum wide, ok bool) {
	n, first := uint64(len(raw)), raw[0]
	var s0, s1, s2, s3, off uint64
	for len(raw) >= 4 {
		a, b, c, d := raw[0], raw[1], raw[2], raw[3]
		s0 += a
		s1 += b
		s2 += c
		s3 += d
		off |= (a ^ first) | (b ^ first) | ((c ^ first) | (d ^ first))
		raw = raw[4:]
	}
	for _, u := range raw {
		s0 += u
		off |= u ^ first
	}
	o := octaveOf(first)
	if !o.has(off) {
		return wide{}, false
	}
	return o.of(wideUint(s0 + s1 + (s2 + s3) - n*o.beyond())), true
}

// extentOctave is sumOctave with the bits of the least and of the greatest double.
func extentOctave(raw []uint64) (sum wide, lo, hi uint64, ok bool) {
	n, first := uint64(len(raw)), raw[0]
	var s0, s1, off uint64
	lo0, hi0, lo1, hi1 := first, first, first, first
	for len(raw) >= 2 {
		a, b := raw[0], raw[1]
		s0 += a
		s1 += b
		off |= (a ^ first) | (b ^ first)
		lo0, hi0 = min(lo0, a), max(hi0, a)
		lo1, hi1 = min(lo1, b), max(hi1, b)
		raw = raw[2:]
	}
	for _, u := range raw {
		s0 += u
		off |= u ^ first
		lo0, hi0 = min(lo0, u), max(hi0, u)
	}
	o := octaveOf(first)
	if !o.has(off) {
		return wide{}, 0, 0, false
	}
	lo, hi = min(lo0, lo1), max(hi0, hi1)
	if int64(first) < 0 {
		lo, hi = hi, lo
	}
	return o.of(wideUint(s0 + s1 - n*o.beyond())), lo, hi, true
}

// places are where in a block of doubles the least and the greatest are seen first and last.
type places struct{ low, lowAgain, high, highAgain int }

// placeBits are enough for a place in a block. Below the mantissa there is room for it, once sign and exponent are shifted out.
const (
	placeBits = 64 - mantissaBits
	placeMask = 1<<placeBits - 1
)

// placesOctave is sumOctave with the places of extremes. The place of each double stands below its mantissa, and in a second copy
// counted down, so that of equal ones the first is the least in the first copy and the last in the second.
func placesOctave(raw []uint64) (sum wide, p places, ok bool) {
	n, first := uint64(len(raw)), raw[0]
	var s, off uint64
	up := first << placeBits
	lo0, hi0, lo1, hi1 := up, up, up|placeMask, up|placeMask
	for i, u := range raw {
		s += u
		off |= u ^ first
		up := u<<placeBits | uint64(i)
		down := up ^ placeMask
		lo0, hi0 = min(lo0, up), max(hi0, up)
		lo1, hi1 = min(lo1, down), max(hi1, down)
	}
	o := octaveOf(first)
	if !o.has(off) {
		return wide{}, places{}, false
	}
	p = places{int(lo0 & placeMask), int(^lo1 & placeMask), int(^hi1 & placeMask), int(hi0 & placeMask)}
	if int64(first) < 0 {
		p = places{p.high, p.highAgain, p.low, p.lowAgain}
	}
	return o.of(wideUint(s - n*o.beyond())), p, true
}

// sumExtent is the sum of at most blockSamples doubles, none of them NaN, with the bits of the least and of the greatest.
func sumExtent(raw []uint64) (sum wide, lo, hi uint64) {
	if sum, lo, hi, ok := extentOctave(raw); ok {
		return sum, lo, hi
	}
	least, greatest := extent(raw)
	return sumDoubles(raw), math.Float64bits(unordered(least)), math.Float64bits(unordered(greatest))
}

// weights are the distances of times: of weight i, from from[i] to to[i].
type weights struct{ from, to []int64 }

// sumOctave is the exact sum of doubles of one octave, each times its weight; false where they are not of one octave. The weights
// add up to total, which is less than 2^56.
func (w weights) sumOctave(raw []uint64, total uint64) (sum wide, ok bool) {
	first := raw[0]
	var hi, lo, carry, off uint64
	from, to := w.from[:len(raw)], w.to[:len(raw)]
	for i, u := range raw {
		h, l := bits.Mul64(u, uint64(to[i]-from[i]))
		lo, carry = bits.Add64(lo, l, 0)
		hi += h + carry
		off |= u ^ first
	}
	o := octaveOf(first)
	if !o.has(off) {
		return wide{}, false
	}
	h, l := bits.Mul64(o.beyond(), total)
	lo, carry = bits.Sub64(lo, l, 0)
	hi -= h + carry
	return o.of(Int128{int64(hi), lo}.wide()), true
}

// total is the sum of at most blockSamples doubles, each times its weight.
func (w weights) total(raw []uint64, total uint64) wide {
	if len(raw) == 0 {
		return wide{}
	}
	if sum, ok := w.sumOctave(raw, total); ok {
		return sum
	}
	return w.sum(raw)
}

// sum is the sum of at most blockSamples doubles, each times its weight, with compensation, as block.sum has it.
func (w weights) sum(raw []uint64) wide {
	var s, e float64
	from, to := w.from[:len(raw)], w.to[:len(raw)]
	for i, u := range raw {
		p, q := twoProduct(math.Float64frombits(u), float64(to[i]-from[i]))
		var r float64
		s, r = twoSum(s, p)
		e += r + q
	}
	return newWide(s, e)
}
