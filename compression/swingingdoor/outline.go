package swingingdoor

import (
	"encoding/binary"
	"math"

	"github.com/varvedb/varve/compression/filter"
	"github.com/varvedb/varve/model"
)

// outline is what is remembered of the samples left out since the last one kept, so that their greatest distance from a
// line can be told when the line is known: the corners of their convex hull, for the farthest sample is one of them. Lower
// has the values negated, so that both sides are upper ones.
type outline struct{ upper, lower side }

// side is the corners in order of time. Noise has few; a smooth curve makes each sample one, so that beyond cornersMax the
// flattest goes, and the edge over it remembers by how much it went.
type side []corner

type corner struct {
	time  int64
	value float64
	over  float64 // how far above the edge that ends here samples may lie
}

const cornersMax = 8

func (o *outline) reset() { o.upper, o.lower = o.upper[:0], o.lower[:0] }

func (o *outline) add(t int64, v float64) {
	o.upper = o.upper.add(t, v)
	o.lower = o.lower.add(t, -v)
}

func (s side) add(t int64, v float64) side {
	c := corner{time: t, value: v}
	for len(s) > 1 && s[len(s)-1].above(s[len(s)-2], c) <= 0 {
		c.over = max(c.over, s[len(s)-1].over)
		s = s[:len(s)-1]
	}
	s = append(s, c)
	if len(s) <= cornersMax {
		return s
	}
	flattest, least := 0, math.Inf(1)
	for i := 1; i < len(s)-1; i++ {
		if height := s[i].above(s[i-1], s[i+1]); height < least {
			flattest, least = i, height
		}
	}
	next := &s[flattest+1]
	next.over = 2*least + max(next.over, s[flattest].over)
	return append(s[:flattest], s[flattest+1:]...)
}

// above is half of how far c lies above the line from a to b: all of it could overflow.
func (c corner) above(a, b corner) float64 {
	return float64(c.value/2) - model.OnLine(a.time, a.value/2, b.time, b.value/2, c.time)
}

// line is the greatest distance of a corner from the line from (t0, v0) to (t1, v1), and a bound on that of any sample.
func (o *outline) line(t0 int64, v0 float64, t1 int64, v1 float64) (at, most float64) {
	at1, most1 := o.upper.line(t0, v0, t1, v1)
	at2, most2 := o.lower.line(t0, -v0, t1, -v1)
	return max(at1, at2), max(most1, most2)
}

func (s side) line(t0 int64, v0 float64, t1 int64, v1 float64) (at, most float64) {
	var before float64
	for i, c := range s {
		height := c.value - model.OnLine(t0, v0, t1, v1, c.time)
		at = max(at, height)
		if i > 0 {
			most = max(most, max(before, height)+c.over)
		}
		before = height
	}
	return at, max(at, most)
}

func (o *outline) appendState(b []byte) []byte {
	for _, s := range []side{o.upper, o.lower} {
		b = append(b, byte(len(s)))
		for _, c := range s {
			b = binary.LittleEndian.AppendUint64(b, uint64(c.time))
			b = filter.AppendFloat(filter.AppendFloat(b, c.value), c.over)
		}
	}
	return b
}

// restore reads what appendState wrote; corners lie between from and to.
func (o *outline) restore(r *filter.State, from, to int64) {
	for _, s := range []*side{&o.upper, &o.lower} {
		n := int(r.Byte())
		if n > cornersMax {
			r.Fail("%d corners, most are %d", n, cornersMax)
		}
		last := from
		for range n {
			if r.Err != nil {
				return
			}
			c := corner{r.Int64(), r.Finite(), r.Float()}
			if c.time <= last || c.time > to || !(c.over >= 0) {
				r.Fail("corner at %d between %d and %d", c.time, last, to)
			}
			*s, last = append(*s, c), c.time
		}
	}
}
