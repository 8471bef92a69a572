package part13

import (
	"math"
	"math/bits"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/rollup"
)

// bound is the value of a tag at an edge of an interval.
type bound struct {
	model.Sample
	raw bool // a sample lies there
}

// usable reports whether a calculation may take the value.
func (b *bound) usable(uncertainAsBad bool) bool {
	return !b.Null && (b.Quality.IsGood() || b.Quality.IsUncertain() && !uncertainAsBad)
}

func noBound(at int64, t model.Type) bound {
	return bound{Sample: model.Sample{Time: at, Type: t, Null: true, Quality: model.BadNoData}}
}

// rawBound is a sample that lies at the edge, as it is; the value of a Bad one is null.
func rawBound(p *rollup.Point) bound {
	b := bound{Sample: p.Sample, raw: !p.Gap}
	if p.Quality.IsBad() {
		b.Sample = model.Sample{Time: p.Time, Type: p.Type, Null: true, Quality: p.Quality, Seq: p.Seq}
	}
	return b
}

// around is what lies next to an instant: at it, before it and behind it, nil for nothing. Of usable samples only: good for
// interpolated bounds. Of all points: for simple bounds.
type around struct{ before, at, after *rollup.Point }

// place sorts points that ascend into before, at and after. Of several at the instant the one counts that comes first in the
// direction of the answer.
func (iv *Interval) place(instant int64, points ...*rollup.Point) (a around) {
	for _, p := range points {
		switch {
		case p == nil:
		case p.Time < instant:
			a.before = p
		case p.Time == instant && (a.at == nil || iv.Reverse):
			a.at = p
		case p.Time == instant:
		case a.after == nil:
			a.after = p
		}
	}
	return a
}

// simpleBound is the simple bounding value (Part 13, 3.1.9): of the samples next to the instant, whatever their quality.
func (c *Calculation) simpleBound(instant int64) bound {
	iv := &c.iv
	a := iv.place(instant, iv.Before.LastPoint(), iv.In.FirstPoint(), iv.In.LastPoint(), iv.After.FirstPoint())
	if a.at != nil && !a.at.Gap {
		return rawBound(a.at)
	}
	from := a.before
	if a.at != nil {
		from = a.at
	}
	if s, ok := SimpleBound(from, a.after, instant, iv.Stepped, c.config.TreatUncertainAsBad); ok {
		return bound{Sample: s}
	}
	return noBound(instant, c.typ)
}

// SimpleBound is the simple bounding value (Part 13, 3.1.9) at an instant at which no sample lies, of the points next to it,
// whatever their quality; nil for none. It reports false where there is no value: behind a point that is not usable, before
// the first, and behind the last.
func SimpleBound(before, after *rollup.Point, instant int64, stepped, uncertainAsBad bool) (model.Sample, bool) {
	if before == nil || !before.Usable(uncertainAsBad) || after == nil {
		return model.Sample{}, false
	}
	q := model.UncertainDataSubNormal
	if before.Quality.IsGood() && (stepped || after.Usable(true)) {
		q = model.Good
	}
	if stepped || !after.Usable(uncertainAsBad) {
		return held(before, instant, q), true
	}
	return interpolate(&before.Sample, &after.Sample, instant, q), true
}

// interpolatedBound is the interpolated bounding value (Part 13, 3.1.8): of the nearest samples that are usable. A sample that lies
// at the instant and is not Bad is the value, also if it is Uncertain and that is taken for Bad.
func (c *Calculation) interpolatedBound(instant int64) bound {
	iv := &c.iv
	if a := c.usableAround(instant, false); a.at != nil {
		return rawBound(a.at)
	}
	near := iv.place(instant, iv.Before.LastPoint(), iv.In.FirstPoint(), iv.In.LastPoint(), iv.After.FirstPoint())
	a := c.usableAround(instant, c.config.TreatUncertainAsBad)
	u := UsableEnds{
		Before: a.before, After: a.after, Last: near.after == nil,
		SkippedBefore: near.at != nil || !samePoint(near.before, a.before), SkippedAfter: !samePoint(near.after, a.after),
	}
	if c.config.SlopedExtrapolation {
		u.Earlier = iv.Earlier
	}
	if s, ok := u.InterpolatedBound(instant, iv.Stepped); ok {
		return bound{Sample: s}
	}
	return noBound(instant, c.typ)
}

// UsableEnds is what an interpolated bounding value is made of: the usable samples nearest to an instant, nil for none.
type UsableEnds struct {
	Before, After *rollup.Point
	// SkippedBefore and SkippedAfter say that points that are not usable lie at the instant or on the way to Before, and on
	// the way to After.
	SkippedBefore, SkippedAfter bool
	Last                        bool          // there is no point of any kind behind the instant
	Earlier                     *rollup.Point // the usable sample before Before, to slope on where there is none behind; nil to hold
}

// InterpolatedBound is the interpolated bounding value (Part 13, 3.1.8) at an instant at which no usable sample lies. It reports
// false where there is no value: before the first usable sample.
func (u *UsableEnds) InterpolatedBound(instant int64, stepped bool) (model.Sample, bool) {
	if u.Before == nil {
		return model.Sample{}, false
	}
	q := model.UncertainDataSubNormal
	switch {
	case stepped:
		if u.Before.Quality.IsGood() && !u.SkippedBefore && !u.Last {
			q = model.Good
		}
		return held(u.Before, instant, q), true
	case u.After == nil && u.Earlier != nil && u.Earlier.Time < u.Before.Time:
		return interpolate(&u.Earlier.Sample, &u.Before.Sample, instant, q), true
	case u.After == nil:
		return held(u.Before, instant, q), true
	}
	if u.Before.Quality.IsGood() && u.After.Quality.IsGood() && !u.SkippedBefore && !u.SkippedAfter {
		q = model.Good
	}
	return interpolate(&u.Before.Sample, &u.After.Sample, instant, q), true
}

// usableAround are the usable samples next to an instant.
func (c *Calculation) usableAround(instant int64, uncertainAsBad bool) around {
	_, before := c.iv.Before.UsableEnds(uncertainAsBad)
	first, last := c.iv.In.UsableEnds(uncertainAsBad)
	after, _ := c.iv.After.UsableEnds(uncertainAsBad)
	return c.iv.place(instant, before, first, last, after)
}

// extrapolates reports whether what lies behind the last usable sample is on the line of the last two.
func (c *Calculation) extrapolates(last *rollup.Point) bool {
	return c.config.SlopedExtrapolation && !c.iv.Stepped && c.iv.Earlier != nil && c.iv.Earlier.Time < last.Time
}

func samePoint(a, b *rollup.Point) bool {
	return a != nil && b != nil && a.Time == b.Time && a.Seq == b.Seq && a.Gap == b.Gap
}

func held(p *rollup.Point, instant int64, q model.Quality) model.Sample {
	s := p.Sample
	s.Time, s.Quality, s.Seq = instant, q, 0
	return s
}

// interpolate is the value at an instant on the straight line through two samples, which lie at different times: a double, or the
// nearest integer where both are of one integer type and the instant lies between them.
func interpolate(a, b *model.Sample, instant int64, q model.Quality) model.Sample {
	if wholes(a, b) && a.Time < instant && instant < b.Time {
		return model.Sample{Time: instant, Type: a.Type, Bits: between(a, b, instant), Quality: q}
	}
	v := model.OnLine(a.Time, Number(a), b.Time, Number(b), instant)
	return model.Sample{Time: instant, Type: model.Float64, Bits: math.Float64bits(v), Quality: q}
}

// between is the integer nearest to the line from a to b, halves away from a.
func between(a, b *model.Sample, instant int64) uint64 {
	distance, up := apart(a, b)
	whole := uint64(b.Time) - uint64(a.Time)
	hi, lo := bits.Mul64(distance, uint64(instant)-uint64(a.Time))
	step, rest := bits.Div64(hi, lo, whole)
	if rest >= whole-rest {
		step++
	}
	if up {
		return a.Bits + step
	}
	return a.Bits - step
}

// apart is how far two integers of one type are from each other, and whether b is not the lesser one.
func apart(a, b *model.Sample) (distance uint64, up bool) {
	if !lower(b, a) {
		return b.Bits - a.Bits, true
	}
	return a.Bits - b.Bits, false
}

// less is a less b, of integers rounded only once.
func less(a, b *model.Sample) float64 {
	if !wholes(a, b) {
		return Number(a) - Number(b)
	}
	distance, up := apart(b, a)
	if up {
		return float64(distance)
	}
	return -float64(distance)
}

// lower reports whether a is the lesser value. NaN is lower than nothing.
func lower(a, b *model.Sample) bool {
	switch {
	case !wholes(a, b):
		return Number(a) < Number(b)
	case a.Type == model.Uint64:
		return a.Bits < b.Bits
	}
	return int64(a.Bits) < int64(b.Bits)
}

func isNaN(s *model.Sample) bool { return math.IsNaN(Number(s)) }

// wholes reports whether two values are integers of one type.
func wholes(a, b *model.Sample) bool {
	return a.Type == b.Type && (a.Type == model.Int64 || a.Type == model.Uint64)
}

// Number is a value as a double. Bools and states are their codes.
func Number(s *model.Sample) float64 {
	switch s.Type {
	case model.Float64:
		return math.Float64frombits(s.Bits)
	case model.Float32:
		return model.WidenFloat32(uint32(s.Bits))
	case model.Uint64:
		return float64(s.Bits)
	}
	return float64(int64(s.Bits))
}
