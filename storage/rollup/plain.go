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
	n     int
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
func (p *Plain) Read(r *Row) (bool, error) {
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
	p.typ, p.n = r.typ, r.n
	for i, number := range plainFields {
		kind := fields[number].kind
		if err := r.read(number, kind, p.words[i][:r.n]); err != nil {
			return false, fmt.Errorf("read rollup: %w", err)
		}
	}
	return true, nil
}

// Partial is the partials [from, to) as one, of which only what Plain reads is known: the other groups are lacking, and
// of the statistics only N, Sum, Min and Max without their times mean anything. Its first and last samples have a time and a
// quality, but no value.
func (p *Plain) Partial(from, to int) (out Partial) {
	var st Stats
	first := -1
	last := 0
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

// further reports whether a is less than b, or greater; NaN is neither unless b is NaN.
func (p *Plain) further(a, b uint64, greatest bool) bool {
	if isNaN(p.typ, b) {
		return true
	}
	return !isNaN(p.typ, a) && (greatest && less(p.typ, b, a) || !greatest && less(p.typ, a, b))
}
