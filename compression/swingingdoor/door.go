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
	below, above := deviation, deviation
	if form == Strict {
		below = opening(v, rise, rise-deviation, deviation)
		above = opening(v, rise, rise+deviation, deviation)
	}
	d.low = max(d.low, (rise-below)/after)
	d.high = min(d.high, (rise+above)/after)
}

// Units in which rounding is bounded: half the distance of doubles just above one, and what quotients too small for a
// double to have all their digits can lose over the longest time there is. It is well below the distances of values
// measured in any plant, and not so small that the processor takes its slow path.
const (
	unit = 0x1p-53
	lost = 0x1p-1009
)

// opening is how far an edge may be from a sample left out, such that the bound holds for what a reader computes. It is
// the deviation D and the tolerance of the bound, less what rounding can add.
//
// Let r be the rise from the hinge to the sample, e = r + D or r - D that to the edge, u = 2^-53. The edge is rounded twice,
// the slope tested against it once, the reader rounds a quotient and a product, and all start from the same rounded times
// and from the same rounded rise of the line. Each takes at most u of e. With the rounding of r, what the reader adds to the
// value at the hinge is at most u·(5·|e| + |r|) beyond the edge; terms of u² left out, and for quotients too small for all
// their digits 2^-1009 more. Its sum, and the subtraction of whoever checks, are rounded by at most 1.5 ulp of the greater
// L of the two values, which leaves 2.5 of the 4 ulp that are promised. An ulp is above u·L, and where the bound is in
// danger L is at least the value itself, and half of D.
//
// So an edge gives way only where it rises or falls by about half of L, and then by a few units in the last place. Of all
// others decimals exactly the deviation off are inside, though as doubles they may be farther: 20.1 is within 0.1 of 20.
func opening(v, rise, edge, deviation float64) float64 {
	errors := float64(5.1*unit*math.Abs(edge)) + float64(1.1*unit*math.Abs(rise)) + lost
	room := float64(2.4*unit*max(math.Abs(v), deviation/2)) - errors
	own := float64(unit * deviation) // what the last sum here can be rounded by
	if 0 <= room && room <= own {
		return deviation
	}
	return deviation + (room - own)
}
