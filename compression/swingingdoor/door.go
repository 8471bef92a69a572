package swingingdoor

import "math"

// door is the sample it hangs on and the slopes that are still open, in value per nanosecond.
type door struct {
	time      int64
	value     float64
	low, high float64
}

func hang(t int64, v float64) door {
	return door{time: t, value: v, low: math.Inf(-1), high: math.Inf(1)}
}

// behind is the time from the hinge to t, rounded as model.OnLine rounds it.
func (d *door) behind(t int64) float64 { return float64(uint64(t) - uint64(d.time)) }

// passes reports that the slope to (t, v) is open. Both edges of the door belong to it.
func (d *door) passes(t int64, v float64) bool {
	rise := v - d.value
	slope := rise / d.behind(t)
	return d.low <= slope && slope <= d.high && !math.IsInf(rise, 0)
}

// close takes away the slopes that miss (t, v) by more than the deviation.
func (d *door) close(t int64, v, deviation float64, form Form) {
	rise, after := v-d.value, d.behind(t)
	if math.IsInf(rise, 0) {
		d.low, d.high = math.Inf(1), math.Inf(-1) // no line can pass it
		return
	}
	most := deviation
	if form == Strict {
		most -= rounding(v, rise, deviation)
	}
	d.low = max(d.low, (rise-most)/after)
	d.high = min(d.high, (rise+most)/after)
}

// Units in which rounding is bounded: half the distance of doubles just above one, and what quotients too small for a
// double to have all their digits can lose over the longest time there is. It is well below the distances of values
// measured in any plant, and not so small that the processor takes its slow path.
const (
	unit = 0x1p-53
	lost = 0x1p-1009
)

// rounding is how much of the deviation arithmetic may take beyond the tolerance of the bound.
//
// Let r be the rise from the hinge to the sample left out, D the deviation, a = D - rounding the half opening, u = 2^-53.
// An edge (r + a)/time and the slope that is tested against it are rounded, the reader rounds a quotient and a product,
// all of them beginning from the same rounded times and the same rounded rise of the line. So what the reader adds to the
// value at the hinge is off from r by at most a + 6·u·(|r| + D), terms of u² left out, and for quotients too small for all
// their digits by 2^-1009 more. Its sum, and the subtraction of whoever checks, are rounded by at most 1.5 ulp of
// the greater of the two values L, which leaves 2.5 of the 4 ulp that are promised. An ulp is above u·L, and where the
// bound is in danger L is at least the value itself and half of D. Samples whose rise is less than about 0.4 of their
// magnitude, which are most, lose nothing: a value exactly D off, common where values are decimals, is inside.
func rounding(v, rise, deviation float64) float64 {
	errors := float64(6.1*unit*(math.Abs(rise)+deviation)) + lost
	allowed := float64(2.5 * unit * max(math.Abs(v), deviation/2))
	return max(0, errors-allowed)
}
