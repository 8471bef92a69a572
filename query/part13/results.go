package part13

import (
	"math"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/rollup"
)

// seconds is how many nanoseconds a second has, millis a millisecond.
const (
	seconds = 1e9
	millis  = 1e6
)

// interpolative is 5.4.3.4: the interpolated bounding value at the start.
func (c *Calculation) interpolative() model.Sample {
	b := c.interpolatedBound(c.iv.start())
	if !b.raw && !b.Null {
		b.Quality |= model.InfoDataValue | model.InfoInterpolated
	}
	return b.Sample
}

// statistic is 5.4.3.5 and 5.4.3.37 on: of the Good samples, whatever TreatUncertainAsBad says; bounds have no part in it. Average is
// judged by the share of Good samples, the others are Uncertain as soon as one is not Good.
func (c *Calculation) statistic(a Aggregate) model.Sample {
	stats, _ := c.iv.In.Stats(true)
	if stats.N() == 0 {
		return c.noData(c.partialAside(a))
	}
	var v float64
	switch a {
	case Average:
		v = stats.Mean()
	case StandardDeviationSample:
		v = math.Sqrt(stats.SampleVariance())
	case StandardDeviationPopulation:
		v = math.Sqrt(stats.Variance())
	case VarianceSample:
		v = stats.SampleVariance()
	case VariancePopulation:
		v = stats.Variance()
	}
	if a == Average {
		out := c.float(v, c.config.severity(c.samples()))
		out.Quality &^= model.InfoPartial
		return out
	}
	q := model.Good
	if n := c.iv.In.Counts(); n.Good < n.All() {
		q = model.UncertainDataSubNormal
	}
	return c.float(v, q)
}

// partialAside is the model.InfoPartial bit of a result without a value; Average never has it.
func (c *Calculation) partialAside(a Aggregate) model.Quality {
	if a == Average {
		return 0
	}
	return c.partial
}

// bridged is 5.4.3.6 and 5.4.3.8: the integral between interpolated bounds, over the whole interval from the first sample on.
// TimeAverage is sloped whatever the tag is, Total only if the tag is. As soon as anything had to be bridged, extrapolated or is
// missing, the result is Uncertain.
func (c *Calculation) bridged(a Aggregate) model.Sample {
	stepped := a == Total && c.iv.Stepped
	whole := c.interval(c.iv.End)
	area, _ := whole.Integral(rollup.Rule{Stepped: stepped, UncertainAsBad: c.config.TreatUncertainAsBad, Bridged: true})
	if area.Covered == 0 {
		return c.noData(c.partial)
	}
	area.Value += c.extrapolated()
	length := uint64(c.iv.End) - uint64(c.iv.Start)
	good := c.durations.GoodToGood - c.tail
	if stepped {
		good = c.durations.Good()
	}
	q := model.UncertainDataSubNormal
	if good == length {
		q = model.Good
	}
	if a == Total {
		return c.float(area.Value/seconds, q)
	}
	return c.float(area.Mean(), q)
}

// extrapolated is what sloped extrapolation adds to the integral of the last value held to the end.
func (c *Calculation) extrapolated() float64 {
	a := c.usableAround(c.iv.End, c.config.TreatUncertainAsBad)
	if a.before == nil || a.at != nil || a.after != nil || !c.extrapolates(a.before) {
		return 0
	}
	last := a.before
	from := max(last.Time, c.iv.Start)
	x := interpolate(&c.iv.Earlier.Sample, &last.Sample, from, model.Good)
	y := interpolate(&c.iv.Earlier.Sample, &last.Sample, c.iv.End, model.Good)
	return (float64(Number(&x)/2) + float64(Number(&y)/2) - Number(&last.Sample)) * float64(uint64(c.iv.End)-uint64(from))
}

// simple is 5.4.3.7 and 5.4.3.9: the integral between simple bounds where the tag has a value, and of the average over that time.
func (c *Calculation) simple(a Aggregate) model.Sample {
	whole := c.interval(c.until)
	area, _ := whole.Integral(rollup.Rule{Stepped: c.iv.Stepped, UncertainAsBad: c.config.TreatUncertainAsBad})
	if area.Covered == 0 {
		return c.noData(c.partial)
	}
	q := c.config.severity(c.regions().taken(c.config.TreatUncertainAsBad, true))
	if a == Total2 {
		return c.float(area.Value/seconds, q)
	}
	return c.float(area.Mean(), q)
}

// extreme is 5.4.3.10 to 5.4.3.13: of the Good samples. The result is Uncertain if a sample was there that is not usable.
func (c *Calculation) extreme(a Aggregate) model.Sample {
	good, _ := c.iv.In.Stats(true)
	if good.N() == 0 {
		return c.noData(c.partial)
	}
	greatest := a == Maximum || a == MaximumActualTime
	x, q := c.extremeOf(&good, greatest)
	s := model.Sample{Time: c.iv.start(), Type: c.typ, Bits: x.Bits}
	info := c.partial
	if a == MinimumActualTime || a == MaximumActualTime {
		s.Time = x.Time
	} else if x.Time != c.iv.start() {
		info |= model.InfoDataValue | model.InfoCalculated
	}
	if x.Again {
		info |= model.InfoDataValue | model.InfoMultiValue
	}
	s.Quality = q | info
	return s
}

// extremeOf is the least or greatest Good value, with its quality.
func (c *Calculation) extremeOf(good *rollup.Stats, greatest bool) (rollup.Extreme, model.Quality) {
	n := c.iv.In.Counts()
	if n.Bad+n.Null > 0 || n.Uncertain > 0 && c.config.TreatUncertainAsBad {
		return pick(good, greatest), model.UncertainDataSubNormal
	}
	return pick(good, greatest), model.Good
}

func pick(s *rollup.Stats, greatest bool) rollup.Extreme {
	x, _ := s.Min()
	if greatest {
		x, _ = s.Max()
	}
	return x
}

// valueRange is 5.4.3.14.
func (c *Calculation) valueRange() model.Sample {
	good, _ := c.iv.In.Stats(true)
	if good.N() == 0 {
		return c.noData(c.partial)
	}
	_, low := c.extremeOf(&good, false)
	_, high := c.extremeOf(&good, true)
	return c.float(good.Range(), max(low, high))
}

// candidate is what may be the least or greatest value between simple bounds.
type candidate struct {
	model.Sample
	info  model.Quality // of Minimum2 and Maximum2
	exact model.Quality // of those with ActualTime
	again bool
}

// extreme2 is 5.4.3.15 to 5.4.3.18: of the samples and the simple bounds at both edges.
func (c *Calculation) extreme2(a Aggregate) model.Sample {
	x, ok := c.furthest(a == Maximum2 || a == MaximumActualTime2)
	if !ok {
		return c.noData(c.partial)
	}
	q := c.config.severity(c.regions().taken(c.config.TreatUncertainAsBad, true))
	if q.IsBad() {
		return c.null(q, model.InfoCalculated|c.partial)
	}
	s := model.Sample{Time: c.iv.start(), Type: x.Type, Bits: x.Bits}
	info := x.info
	if a == MinimumActualTime2 || a == MaximumActualTime2 {
		s.Time, info = x.Time, x.exact
	}
	if x.again {
		info |= model.InfoMultiValue
	}
	if info |= c.partial; info != 0 {
		info |= model.InfoDataValue
	}
	s.Quality = q | info
	return s
}

// furthest is the least or greatest value, the oldest of equal ones.
func (c *Calculation) furthest(greatest bool) (best candidate, ok bool) {
	for _, x := range c.candidates(greatest) {
		if x.Null {
			continue
		}
		low, high := &x.Sample, &best.Sample
		if greatest {
			low, high = high, low
		}
		switch {
		case !ok || lower(low, high) || isNaN(&best.Sample) && !isNaN(&x.Sample):
			best, ok = x, true
		case !lower(high, low) && isNaN(&x.Sample) == isNaN(&best.Sample):
			best.again = true
		}
	}
	return best, ok
}

// candidates are the bound at the earlier edge, the extreme of the samples and the bound at the later edge; null ones are none. Stepped,
// the bound at the later edge is none: nothing is reached on the way to it, in either direction.
func (c *Calculation) candidates(greatest bool) [3]candidate {
	iv, strict := &c.iv, c.config.TreatUncertainAsBad
	none := candidate{Sample: model.Sample{Null: true}}
	out := [3]candidate{none, none, none}
	for i, edge := range []int64{iv.Start, iv.End} {
		b := c.simpleBound(edge)
		if !b.usable(strict) || iv.Stepped && edge == iv.End {
			continue
		}
		x := candidate{Sample: b.Sample, info: model.InfoInterpolated, exact: model.InfoInterpolated}
		if edge == iv.start() {
			if b.raw { // one of the samples
				continue
			}
		} else {
			if b.raw {
				x.info = model.InfoCalculated
			}
			inside := int64(min(uint64(iv.Resolution), uint64(iv.End)-uint64(iv.Start)))
			x.Time = edge - inside
			if iv.Reverse {
				x.Time = edge + inside
			}
		}
		out[2*i] = x
	}
	if all, _ := iv.In.Stats(strict); all.N() > 0 {
		e := pick(&all, greatest)
		x := candidate{Sample: model.Sample{Time: e.Time, Type: c.typ, Bits: e.Bits}, info: model.InfoCalculated, again: e.Again}
		if e.Time == iv.start() {
			x.info = 0
		}
		out[1] = x
	}
	return out
}

// range2 is 5.4.3.19.
func (c *Calculation) range2() model.Sample {
	low, ok := c.furthest(false)
	high, _ := c.furthest(true)
	if !ok {
		return c.noData(c.partial)
	}
	q := c.config.severity(c.regions().taken(c.config.TreatUncertainAsBad, true))
	return c.float(less(&high.Sample, &low.Sample), q)
}

// count is 5.4.3.21 and 5.4.3.24. Samples that are not Good are not counted, but the quality is by their share; nothing at all is
// none.
func (c *Calculation) count(a Aggregate) model.Sample {
	q := model.Good
	if c.iv.In.Counts().All() > 0 {
		q = c.config.severity(c.samples())
	}
	if q.IsBad() {
		return c.null(q, 0)
	}
	if a == Count {
		return c.integer(c.iv.In.Counts().Good, q)
	}
	strict := c.config.TreatUncertainAsBad
	whole := c.interval(c.until)
	n, _ := whole.Transitions(strict)
	_, before := c.iv.Before.UsableEnds(strict)
	if first, _ := c.iv.In.UsableEnds(strict); before == nil && first != nil {
		n++ // the first value of all is a change
	}
	return c.integer(n, q)
}

// durationInState is 5.4.3.22 and 5.4.3.23: milliseconds under Good values that are zero, or are not.
func (c *Calculation) durationInState(a Aggregate) model.Sample {
	zero, other := c.iv.Zero, c.iv.NonZero
	add := func(length uint64, b *model.Sample) {
		if Number(b) == 0 {
			zero += length
		} else {
			other += length
		}
	}
	if lead := c.lead(); lead > 0 && c.leadIsGood() {
		b := c.simpleBound(c.iv.Start)
		add(lead, &b.Sample)
	}
	if last := c.iv.In.LastPoint(); last != nil && last.Usable(true) && last.Time < c.until {
		add(uint64(c.until)-uint64(last.Time), &last.Sample)
	}
	if a == DurationInStateNonZero {
		zero = other
	}
	q := c.config.severity(c.stretches().taken(c.config.TreatUncertainAsBad, true))
	return c.float(float64(zero)/millis, q)
}

// sample is 5.4.3.25 and 5.4.3.26: the earliest or the latest sample, in either direction, as it is.
func (c *Calculation) sample(a Aggregate) model.Sample {
	p, ok := c.iv.In.First()
	if a == End {
		p, ok = c.iv.In.Last()
	}
	if !ok {
		return c.noData(c.partial)
	}
	s := rawBound(&p).Sample
	s.Quality |= c.partial
	return s
}

// delta is 5.4.3.27: from the earliest Good sample to the latest, in either direction. It is Uncertain if others had to be passed over to find
// them.
func (c *Calculation) delta() model.Sample {
	first, last := c.iv.In.UsableEnds(true)
	if first == nil {
		return c.noData(c.partial)
	}
	q := model.Good
	if !samePoint(first, c.iv.In.FirstPoint()) || !samePoint(last, c.iv.In.LastPoint()) {
		q = model.UncertainDataSubNormal
	}
	return c.float(less(&last.Sample, &first.Sample), q)
}

// startBound is 5.4.3.28: the simple bounding value at the start.
func (c *Calculation) startBound() model.Sample {
	b := c.simpleBound(c.iv.start())
	if !b.raw && !b.Null {
		b.Quality |= model.InfoDataValue | model.InfoInterpolated
	}
	b.Quality |= c.partial
	return b.Sample
}

// endBound is 5.4.3.29: the simple bounding value at the end, always calculated.
func (c *Calculation) endBound() model.Sample {
	b := c.simpleBound(c.iv.end())
	b.Time = c.iv.start()
	if b.Null {
		return c.noData(c.partial)
	}
	b.Quality |= model.InfoDataValue | model.InfoCalculated | c.partial
	return b.Sample
}

// deltaBounds is 5.4.3.30: from the bound at the start to that at the end.
func (c *Calculation) deltaBounds() model.Sample {
	from, to := c.simpleBound(c.iv.start()), c.simpleBound(c.iv.end())
	if from.Null || to.Null {
		return c.noData(c.partial)
	}
	q := model.Good
	if !from.Quality.IsGood() || !to.Quality.IsGood() {
		q = model.UncertainDataSubNormal
	}
	return c.float(less(&to.Sample, &from.Sample), q)
}

// share is 5.4.3.31 to 5.4.3.34: how long the values are Good or Bad, in milliseconds or in percent of the interval.
func (c *Calculation) share(a Aggregate) model.Sample {
	s := c.stretches().taken(c.config.TreatUncertainAsBad, false)
	n := s.good
	if a == DurationBad || a == PercentBad {
		n = s.bad
	}
	if a == DurationGood || a == DurationBad {
		return c.float(float64(n)/millis, model.Good)
	}
	return c.float(100*float64(n)/float64(s.good+s.uncertain+s.bad), model.Good)
}

// worst is 5.4.3.35 and 5.4.3.36: the first status code of the worst severity, of the second also among the bounds.
func (c *Calculation) worst(a Aggregate) model.Sample {
	worst, n := c.worstSample()
	if a == WorstQuality2 {
		for _, b := range c.bounds() {
			own := int64(1)
			if b.raw {
				own = 0 // counted among the samples
			}
			switch s := severity(b.Quality); {
			case n == 0 || s > severity(worst):
				worst, n = b.Quality, 1
			case s == severity(worst):
				if b.Time == c.iv.start() {
					worst = b.Quality
				}
				n += own
			}
		}
	}
	if n == 0 {
		return c.noData(c.partial)
	}
	s := model.Sample{Time: c.iv.start(), Type: model.Uint64, Bits: uint64(worst), Quality: model.InfoDataValue | model.InfoCalculated | c.partial}
	if n > 1 && !worst.IsGood() {
		s.Quality |= model.InfoMultiValue
	}
	return s
}

// worstSample is the first status code of the worst severity among the samples, and how many have that severity: of Uncertain ones
// those that have a value, or one.
func (c *Calculation) worstSample() (model.Quality, int64) {
	n := c.iv.In.Counts()
	worst, ok := c.iv.In.WorstQuality()
	switch {
	case !ok:
		return model.Good, 0
	case worst.IsBad():
		return worst, n.Bad
	case worst.IsUncertain():
		return worst, max(n.Uncertain, 1)
	}
	return worst, n.Good + n.Null
}

// bounds are the simple bounds of which WorstQuality2 knows: that at the start, and that at the end unless a sample lies there, which
// belongs to the next interval. Stepped, what an Uncertain sample holds is Uncertain here, also where that is taken for Bad.
func (c *Calculation) bounds() []bound {
	lenient := *c
	if c.iv.Stepped {
		lenient.config.TreatUncertainAsBad = false
	}
	out := []bound{lenient.simpleBound(c.iv.start())}
	if b := lenient.simpleBound(c.iv.end()); !b.raw {
		out = append(out, b)
	}
	return out
}

func severity(q model.Quality) model.Quality { return min(q>>30, 2) }
