package rollup

import (
	"math"

	"github.com/varvedb/varve/model"
)

// storedLow is lo in units of 2^-24 of the last place of hi; what is beyond that is not stored. It stays below half a place,
// so that hi is the double nearest to what is stored, too.
func storedLow(w wide) int64 {
	unit := lowUnit(w.hi)
	if unit == 0 {
		return 0
	}
	const most = 1<<23 - 1
	return int64(max(-most, min(most, math.RoundToEven(w.lo/unit))))
}

// fromStored undoes storedLow.
func fromStored(hi float64, low int64) wide {
	return newWide(hi, float64(low)*lowUnit(hi))
}

// lowUnit is 2^-24 of the last place of hi, a power of two; 0 where a double cannot be told from it.
func lowUnit(hi float64) float64 {
	exponent := int(math.Float64bits(hi)>>52) & 0x7FF
	if exponent == 0x7FF || exponent <= 52+24 {
		return 0
	}
	return math.Float64frombits(uint64(exponent-52-24) << 52)
}

// predicted is the integrals, stepped and sloped, of Good samples on a regular grid, from sum, first and last value: plant
// data is mostly that, and then neither needs to be stored. false where p cannot be such.
func (p *Partial) predicted() (held, sloped wide, ok bool) {
	n := p.counts[classGood]
	if n < 2 || p.groups&HasStats == 0 || p.points[firstPoint].class() != classGood || p.points[lastPoint].class() != classGood {
		return wide{}, wide{}, n < 2
	}
	span := p.span()
	if span%uint64(n-1) != 0 {
		return wide{}, wide{}, false // steps that are not whole nanoseconds are no grid
	}
	dt, sum := wideUint(span/uint64(n-1)), p.stats[0].total()
	if p.typ.Float() {
		sum = fromStored(sum.hi, storedLow(sum)) // what a reader will have: the last value may cancel most of it
	}
	first := wideValue(p.typ, p.points[firstPoint].Bits)
	last := wideValue(p.typ, p.points[lastPoint].Bits)
	return sum.sub(last).mul(dt), sum.sub(first.add(last).half()).mul(dt), true
}

// follows reports whether integral i of p need not be stored: what is predicted is as good. Whether there were other
// samples, gaps or a bent grid does not matter then.
func (p *Partial) follows(i int) bool {
	guess, ok := p.guess(i)
	w := p.integrals[i]
	return ok && model.Finite(w.hi) && math.Abs(w.sub(guess).hi) <= 0x1p-70*math.Abs(w.hi)
}

func (p *Partial) guess(i int) (wide, bool) {
	held, sloped, ok := p.predicted()
	if i == steppedGood {
		return held, ok
	}
	return sloped, ok
}
