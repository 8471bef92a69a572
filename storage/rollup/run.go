package rollup

import (
	"math"

	"github.com/varvedb/varve/model"
)

// blockSamples is how many samples are added at a time: few enough to stay in the first-level cache through the passes
// over them and to keep the rounding of a pass small, enough to spread the cost of merging a block.
const blockSamples = 512

// maxExactTime is the largest distance of times that a double holds exactly, about 104 days; maxExactInt the same of values.
const (
	maxExactTime = 1 << 53
	maxExactInt  = 1 << 53
)

// block is one run of values of one class, and the value before them at index 0, as doubles.
type block struct {
	values [blockSamples + 1]float64
	n      int // values behind index 0

	lo, hi float64 // the least and the greatest, if none is NaN
}

// addRun adds samples [from, to) of a numeric type, which are all of class c, Good or Uncertain, as the last point of p is.
// It comes to what addPoint for each of them comes to, but for the rounding that the package promises.
//
// Each pass over a block is a loop of its own. Loops this short keep everything in registers and run four additions side
// by side, which is worth more than reading a block from the cache several times.
func (p *Partial) addRun(s *model.Samples, from, to int, c class) {
	var b block
	for from < to {
		n := min(blockSamples, to-from)
		if !p.addBlock(&b, s, from, n, c) {
			for i := from; i < from+n; i++ {
				p.addPoint(pointOf(s, i))
			}
		}
		from += n
	}
}

// addBlock adds samples [from, from+n), or nothing where one of them needs more care: NaN and infinities, integers and
// times that a double does not hold, sums that overflow.
func (p *Partial) addBlock(b *block, s *model.Samples, from, n int, c class) bool {
	last := &p.points[lastPoint]
	times := s.Times[from : from+n]
	if uint64(times[n-1])-uint64(last.Time) >= maxExactTime || !b.load(p.typ, last.Bits, s.Bits[from:from+n]) {
		return false
	}
	sum := b.sum()
	if !model.Finite(sum.hi) {
		return false
	}
	held, sloped := b.integrals(last.Time, times, sum)
	if !model.Finite(held.hi) || !model.Finite(sloped.hi) {
		return false
	}
	st := Stats{typ: p.typ, n: int64(n), m2: b.squares(sum)}
	if p.typ.Float() {
		st.sum = sum
	} else {
		st.all = sumInts(p.typ, s.Bits[from:from+n])
	}
	b.extremes(&p.stats[c], &st, b.lo, b.hi, s.Bits[from:from+n], times)
	p.stats[c].merge(&st)
	p.addIntegrals(c, held, sloped)
	changes := b.changes(p.typ, last.Bits, s.Bits[from:from+n])
	p.transitions[lenient] += changes
	dt := uint64(times[n-1]) - uint64(last.Time)
	if c == classGood {
		p.transitions[strict] += changes
		p.durations[goodToGood] += dt
	} else {
		p.durations[fromUncertain] += dt
	}
	p.counts[c] += int64(n)
	x := pointOf(s, from+n-1)
	p.remember(firstPoint, &x)
	p.remember(firstSample, &x)
	p.remember(firstGood+2*int(c), &x)
	return true
}

// addIntegrals adds segments and bridges of a run of one class, where they are the same.
func (p *Partial) addIntegrals(c class, held, sloped wide) {
	if c == classGood {
		p.add(steppedGood, held)
		p.add(slopedStrict, sloped)
		p.add(bridgedSteppedStrict, held)
		p.add(bridgedSlopedStrict, sloped)
	} else {
		p.add(steppedUncertain, held)
	}
	p.add(slopedLenient, sloped)
	p.add(bridgedSteppedLenient, held)
	p.add(bridgedSlopedLenient, sloped)
}

// load reads the values; false if a double does not hold one of them exactly.
func (b *block) load(t model.Type, before uint64, raw []uint64) bool {
	b.n = len(raw)
	v := b.values[1 : 1+len(raw)]
	b.values[0] = wideValue(t, before).hi
	switch t {
	case model.Float64:
		return b.loadDoubles(raw)
	case model.Float32:
		for i, u := range raw {
			v[i] = float64(math.Float32frombits(uint32(u)))
		}
		b.bounds()
	case model.Int64:
		outside := uint64(int64(before) + maxExactInt)
		for i, u := range raw {
			v[i] = float64(int64(u))
			outside |= uint64(int64(u) + maxExactInt) // stays below 2^54 for those within
		}
		b.bounds()
		return outside < 2*maxExactInt
	case model.Uint64:
		outside := before
		for i, u := range raw {
			v[i] = float64(int64(u))
			outside |= u
		}
		b.bounds()
		return outside < maxExactInt
	}
	return true
}

// sum adds with compensation in four lanes: n values are within n²·2^-110 of the sum of their magnitudes. (Ogita, Rump,
// Oishi 2005, Sum2, whose last rounding is left out.)
func (b *block) sum() wide {
	v := b.values[1 : 1+b.n]
	var s0, s1, s2, s3, e0, e1, e2, e3 float64
	for len(v) >= 4 {
		var e float64
		s0, e = twoSum(s0, v[0])
		e0 += e
		s1, e = twoSum(s1, v[1])
		e1 += e
		s2, e = twoSum(s2, v[2])
		e2 += e
		s3, e = twoSum(s3, v[3])
		e3 += e
		v = v[4:]
	}
	for _, x := range v {
		var e float64
		s0, e = twoSum(s0, x)
		e0 += e
	}
	return newWide(s0, e0).add(newWide(s1, e1)).add(newWide(s2, e2).add(newWide(s3, e3)))
}

// squares is the sum of the squares of the distances from the mean of values with that sum. The distances are taken from
// the mean as a double, and what that is beside the mean is taken out at the end.
func (b *block) squares(sum wide) wide {
	v := b.values[1 : 1+b.n]
	n := wide{float64(b.n), 0}
	mean := sum.div(n).hi
	var s0, s1, s2, s3 float64
	for len(v) >= 4 {
		d0, d1, d2, d3 := v[0]-mean, v[1]-mean, v[2]-mean, v[3]-mean
		// The conversions keep compilers from fusing: every machine shall come to the same bits.
		s0 += float64(d0 * d0)
		s1 += float64(d1 * d1)
		s2 += float64(d2 * d2)
		s3 += float64(d3 * d3)
		v = v[4:]
	}
	for _, x := range v {
		d := x - mean
		s0 += float64(d * d)
	}
	beside := sum.sub(wide{mean, 0}.mul(n)).hi
	return wide{max(0, ((s0+s1)+(s2+s3))-float64(beside*beside/n.hi)), 0}
}

// integrals is held and sloped integral over the segments that end on the values. On a regular grid both follow from the
// sum.
func (b *block) integrals(before int64, times []int64, sum wide) (held, sloped wide) {
	step := times[0] - before
	if regular(before, times, step) {
		dt, first, last := wide{float64(step), 0}, wide{b.values[0], 0}, wide{b.values[b.n], 0}
		change := first.sub(last)
		return sum.add(change).mul(dt), sum.add(change.half()).mul(dt)
	}
	var l0, l1, r0, r1, p, q, e float64
	a := b.values[0]
	v := b.values[1 : 1+len(times)]
	for i, t := range times {
		dt := float64(t - before)
		before = t
		p, q = twoProduct(a, dt)
		l0, e = twoSum(l0, p)
		l1 += e + q
		a = v[i]
		p, q = twoProduct(a, dt)
		r0, e = twoSum(r0, p)
		r1 += e + q
	}
	held = newWide(l0, l1)
	return held, held.half().add(newWide(r0, r1).half())
}

func regular(before int64, times []int64, step int64) bool {
	var off int64
	for len(times) >= 4 {
		a, b, c, d := times[0], times[1], times[2], times[3]
		off |= ((a - before) ^ step) | ((b - a) ^ step) | (((c - b) ^ step) | ((d - c) ^ step))
		before, times = d, times[4:]
	}
	for _, t := range times {
		off |= (t - before) ^ step
		before = t
	}
	return off == 0
}

// changes is how many values differ from the one before, which first is that of the first.
func (b *block) changes(t model.Type, first uint64, raw []uint64) (n int64) {
	if t.Float() && b.lo <= 0 && b.hi >= 0 {
		return b.changesAtZero()
	}
	a := first
	for len(raw) >= 4 {
		x, y, z, u := raw[0], raw[1], raw[2], raw[3]
		n += differ(x, a) + differ(y, x) + (differ(z, y) + differ(u, z))
		a, raw = u, raw[4:]
	}
	for _, u := range raw {
		n += differ(u, a)
		a = u
	}
	return n
}

// differ is 1 where a is not b. A branch would often be guessed wrong.
func differ(a, b uint64) int64 {
	d := a ^ b
	return int64((d | -d) >> 63)
}

// changesAtZero is changes where 0 and -0 may be among the values.
func (b *block) changesAtZero() (n int64) {
	a := b.values[0]
	for _, x := range b.values[1 : 1+b.n] {
		if x != a {
			n++
		}
		a = x
	}
	return n
}

func sumInts(t model.Type, raw []uint64) (sum Int128) {
	var low int64 // at most blockSamples values within 2^53 fit
	for _, u := range raw {
		low += int64(u)
	}
	return Int128{low >> 63, uint64(low)}
}

// loadDoubles reads doubles and finds the least and the greatest in the same pass. They are compared as integers of the
// same order, as that needs no branch.
func (b *block) loadDoubles(raw []uint64) bool {
	v := b.values[1 : 1+len(raw)]
	lo0, hi0 := int64(math.MaxInt64), int64(math.MinInt64)
	lo1, hi1 := lo0, hi0
	for len(raw) >= 2 && len(v) >= 2 {
		x, y := raw[0], raw[1]
		v[0], v[1] = math.Float64frombits(x), math.Float64frombits(y)
		lo0, hi0 = min(lo0, ordered(x)), max(hi0, ordered(x))
		lo1, hi1 = min(lo1, ordered(y)), max(hi1, ordered(y))
		raw, v = raw[2:], v[2:]
	}
	if len(raw) > 0 {
		x := raw[0]
		v[0] = math.Float64frombits(x)
		lo0, hi0 = min(lo0, ordered(x)), max(hi0, ordered(x))
	}
	b.lo, b.hi = unordered(min(lo0, lo1)), unordered(max(hi0, hi1))
	return true
}

// bounds finds the least and the greatest of values that are loaded.
func (b *block) bounds() {
	lo, hi := int64(math.MaxInt64), int64(math.MinInt64)
	for _, f := range b.values[1 : 1+b.n] {
		x := ordered(math.Float64bits(f))
		lo, hi = min(lo, x), max(hi, x)
	}
	b.lo, b.hi = unordered(lo), unordered(hi)
}

// ordered is an integer that compares as the double of those bits does, with -0 below 0.
func ordered(u uint64) int64 {
	i := int64(u)
	return i ^ int64(uint64(i>>63)>>1)
}

func unordered(i int64) float64 {
	return math.Float64frombits(uint64(i ^ int64(uint64(i>>63)>>1)))
}

// extremes gives st the minimum and maximum of the block, which lo and hi are. What they are merged with next is so: where
// that goes further any sample of the block will do, and where it is the same it came first, so the first sample that has
// it is looked for only where the block goes further.
func (b *block) extremes(so, st *Stats, lo, hi float64, raw []uint64, times []int64) {
	v := b.values[1 : 1+b.n]
	anyOf := func(so Extreme, bound float64) Extreme {
		if wideValue(st.typ, so.Bits).hi == bound {
			return Extreme{Bits: so.Bits, Time: times[0]}
		}
		return Extreme{Bits: raw[0], Time: times[0]}
	}
	least, greatest := wideValue(so.typ, so.min.Bits).hi, wideValue(so.typ, so.max.Bits).hi
	st.min, st.max = anyOf(so.min, lo), anyOf(so.max, hi)
	if so.n == 0 || !(lo >= least) {
		st.min = find(v, lo, raw, times)
	}
	if so.n == 0 || !(hi <= greatest) {
		st.max = find(v, hi, raw, times)
	}
}

func find(v []float64, want float64, raw []uint64, times []int64) (x Extreme) {
	seen := 0
	for i, f := range v {
		if f == want {
			if seen == 0 {
				x = Extreme{Bits: raw[i], Time: times[i]}
			}
			if seen++; seen == 2 {
				x.Again = true
				break
			}
		}
	}
	return x
}
