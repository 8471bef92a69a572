package rollup

import (
	"fmt"
	"math"

	"github.com/varvedb/varve/model"
)

// Plain is the few columns that most questions about a long time ask for, of a row whose samples are all Good: counts,
// sums, least and greatest values, and the times between which they lie. Its memory is used again by Read.
type Plain struct {
	typ   model.Type
	words [plainColumns][MaxRow]uint64
}

const (
	plainN = iota
	plainFirst
	plainSpan
	plainMin
	plainMax
	plainSum
	plainLow
	plainColumns
)

var plainFields = [plainColumns]int{colCounts, colFirstTime, colSpan, colStats, colStats + 2, colStats + 5, colStats + 6}

// Read reads the columns of r; false if it has no statistics, or points that are not plainly Good samples.
func (p *Plain) Read(r *Row) (bool, error) { return p.ReadSome(r, 0, r.n) }

// ReadSome is Read of the partials [from, to) alone; what others there were before, or will be, mean nothing.
func (p *Plain) ReadSome(r *Row, from, to int) (bool, error) {
	if r.typ == 0 || r.groups&HasStats == 0 {
		return false, nil
	}
	for number := colCounts + 1; number < colFirstPoint; number++ { // other counts, qualities, other durations
		if r.columns[number].form != 0 {
			return false, nil
		}
	}
	for _, number := range []int{colFirstPoint, colLastPoint} { // quality, and what marks a gap
		if r.columns[number+1].form != 0 || r.columns[number+3].form != 0 {
			return false, nil
		}
	}
	p.typ = r.typ
	for i, number := range plainFields {
		c := r.columns[number]
		first := c.skip(from &^ 7)
		if err := c.read(p.words[i][first:to], fields[number].kind.doubles(r.typ)); err != nil {
			return false, fmt.Errorf("read rollup: column %d: %w", number, err)
		}
	}
	return true, nil
}

// Partial is the partials [from, to) as one, of which only what Plain reads is known: the other groups are lacking, and
// of the statistics only N, Sum, Min and Max without their times mean anything. Its first and last samples have a time and a
// quality, but no value.
func (p *Plain) Partial(from, to int) (out Partial) {
	st, first, last := p.stats(from, to)
	if first < 0 {
		return out
	}
	out.start(p.typ)
	out.groups = HasStats
	out.counts[classGood] = st.n
	out.stats[0] = st
	a := Point{Sample: model.Sample{Type: p.typ, Time: int64(p.words[plainFirst][first])}}
	z := Point{Sample: model.Sample{Type: p.typ, Time: int64(p.words[plainFirst][last] + p.words[plainSpan][last])}}
	for i := firstPoint; i <= lastGood; i += 2 {
		out.points[i], out.points[i+1] = a, z
	}
	out.durations[goodToGood] = uint64(z.Time) - uint64(a.Time)
	return out
}

// stats is the statistics of the partials [from, to), and which of them are the first and the last that are not empty; first
// is -1 if all are.
func (p *Plain) stats(from, to int) (st Stats, first, last int) {
	if p.typ == model.Float64 {
		return p.doubles(from, to)
	}
	first = -1
	for i := from; i < to; i++ {
		n := int64(p.words[plainN][i])
		if n == 0 {
			continue
		}
		if first < 0 {
			first = i
			st = Stats{typ: p.typ, min: Extreme{Bits: p.words[plainMin][i]}, max: Extreme{Bits: p.words[plainMax][i]}}
		}
		last = i
		st.n += n
		if b := p.words[plainMin][i]; p.further(b, st.min.Bits, false) {
			st.min.Bits = b
		}
		if b := p.words[plainMax][i]; p.further(b, st.max.Bits, true) {
			st.max.Bits = b
		}
		if p.typ.Float() {
			sum := fromStored(math.Float64frombits(p.words[plainSum][i]), int64(p.words[plainLow][i]))
			if first == i {
				st.sum = sum
			} else {
				st.sum = st.sum.add(sum)
			}
		} else {
			st.all = st.all.add(Int128{int64(p.words[plainLow][i]), p.words[plainSum][i]})
		}
	}
	return st, first, last
}

// doubles is stats of float64, most of what is asked for.
func (p *Plain) doubles(from, to int) (st Stats, first, last int) {
	first = -1
	var lo, hi float64
	var sum wide
	for i := from; i < to; i++ {
		n := int64(p.words[plainN][i])
		if n == 0 {
			continue
		}
		a, b := math.Float64frombits(p.words[plainMin][i]), math.Float64frombits(p.words[plainMax][i])
		part := fromStored(math.Float64frombits(p.words[plainSum][i]), int64(p.words[plainLow][i]))
		if first < 0 {
			first, lo, hi, sum = i, a, b, part
		} else {
			sum = sum.add(part)
		}
		last = i
		st.n += n
		if a < lo || lo != lo {
			lo = a
		}
		if b > hi || hi != hi {
			hi = b
		}
	}
	st.typ, st.sum = p.typ, sum
	st.min.Bits, st.max.Bits = math.Float64bits(lo), math.Float64bits(hi)
	return st, first, last
}

// further reports whether a is less than b, or greater; NaN is neither unless b is NaN.
func (p *Plain) further(a, b uint64, greatest bool) bool {
	if isNaN(p.typ, b) {
		return true
	}
	return !isNaN(p.typ, a) && (greatest && less(p.typ, b, a) || !greatest && less(p.typ, a, b))
}

// AddPlain is Add for who asks no more than [Plain] tells: what it leaves out is lacking afterwards, as in Plain.Partial. Where
// samples are not plainly Good doubles it does what Add does.
func (p *Partial) AddPlain(s *model.Samples, from, to int) {
	if from >= to {
		return
	}
	last := &p.points[lastPoint]
	if s.Type != model.Float64 || s.Quality != nil || s.Null != nil || p.typ != 0 && p.typ != s.Type ||
		last.present() && s.Times[from] < last.Time {
		p.Add(s, from, to)
		return
	}
	sum := sumDoubles(s.Bits[from:to])
	if !model.Finite(sum.hi) {
		p.Add(s, from, to)
		return
	}
	p.start(s.Type)
	first, end := Point{Sample: model.Sample{Type: s.Type, Time: s.Times[from], Seq: s.SeqAt(from)}}, Point{Sample: model.Sample{Type: s.Type, Time: s.Times[to-1], Seq: s.SeqAt(to - 1)}}
	if last.present() {
		p.durations[segmentOf(last.class(), classGood)] += uint64(first.Time) - uint64(last.Time)
	}
	p.durations[goodToGood] += uint64(end.Time) - uint64(first.Time)
	lo, hi := extent(s.Bits[from:to])
	n := int64(to - from)
	p.counts[classGood] += n
	p.addWorst(model.Good, true)
	for i := firstPoint; i <= firstGood; i += 2 {
		if !p.points[i].present() {
			p.points[i] = first
		}
		p.points[i+1] = end
	}
	p.stats[classGood].addPlain(&Stats{typ: s.Type, n: n, sum: sum, min: Extreme{Bits: math.Float64bits(unordered(lo))}, max: Extreme{Bits: math.Float64bits(unordered(hi))}})
	if p.groups != HasStats {
		p.groups &= HasStats
		p.dropAbsent()
	}
}

// addPlain is merge without squares and times.
func (s *Stats) addPlain(q *Stats) {
	if s.n == 0 {
		*s = *q
		return
	}
	s.n += q.n
	s.sum = s.sum.add(q.sum)
	s.min.merge(s.typ, &q.min, false)
	s.max.merge(s.typ, &q.max, true)
}

// sumDoubles is the sum of doubles: exact where they are of one octave, else as block.sum has it.
func sumDoubles(raw []uint64) wide {
	if len(raw) > blockSamples { // the bound of a block's sum grows with the square of its length
		return sumDoubles(raw[:blockSamples]).add(sumDoubles(raw[blockSamples:]))
	}
	if sum, ok := sumOctave(raw); ok {
		return sum
	}
	var s0, s1, s2, s3, e0, e1, e2, e3 float64
	for len(raw) >= 4 {
		a, b, c, d := raw[0], raw[1], raw[2], raw[3]
		var e float64
		s0, e = twoSum(s0, math.Float64frombits(a))
		e0 += e
		s1, e = twoSum(s1, math.Float64frombits(b))
		e1 += e
		s2, e = twoSum(s2, math.Float64frombits(c))
		e2 += e
		s3, e = twoSum(s3, math.Float64frombits(d))
		e3 += e
		raw = raw[4:]
	}
	for _, u := range raw {
		var e float64
		s0, e = twoSum(s0, math.Float64frombits(u))
		e0 += e
	}
	return newWide(s0, e0).add(newWide(s1, e1)).add(newWide(s2, e2).add(newWide(s3, e3)))
}

// extent is the least and the greatest of doubles, none of them NaN, as ordered has them.
func extent(raw []uint64) (lo, hi int64) {
	lo, hi = math.MaxInt64, math.MinInt64
	lo1, hi1 := lo, hi
	for len(raw) >= 2 {
		a, b := ordered(raw[0]), ordered(raw[1])
		lo, hi = min(lo, a), max(hi, a)
		lo1, hi1 = min(lo1, b), max(hi1, b)
		raw = raw[2:]
	}
	for _, u := range raw {
		lo, hi = min(lo, ordered(u)), max(hi, ordered(u))
	}
	return min(lo, lo1), max(hi, hi1)
}
