package part13

import (
	"math"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/rollup"
)

// Interval is one processing interval of a tag, and what is known of it.
type Interval struct {
	Start, End int64 // the earlier and the later edge, nanoseconds UTC
	// Reverse says that the samples of the interval are those in (Start, End], not [Start, End), and that it begins at End.
	Reverse bool
	// Short says that the interval was cut off: it is shorter than those before it.
	Short   bool
	Stepped bool
	// Resolution is the unit of time, nanoseconds: how long the last sample there is stands, and how far before the end of an
	// interval its end bound is stamped (Part 13, 5.4.2.4).
	Resolution int64
	// In has all samples and gaps of the interval; Before the nearest point and the nearest usable samples in front of it, After
	// those behind, of a tag without any an empty partial.
	Before, In, After *rollup.Partial
	// Earlier is the usable sample before the last usable one where no usable sample lies behind the interval, nil if there is none. Only
	// sloped extrapolation looks at it.
	Earlier *rollup.Point
	// Zero and NonZero are the nanoseconds of In, from its first point to its last, that start at a Good sample whose value is
	// zero, and at another. Only DurationInStateZero and DurationInStateNonZero look at them.
	Zero, NonZero uint64
	// Annotations is how many annotations begin in the interval.
	Annotations int64
}

// start is the edge at which the interval begins in its direction.
func (iv *Interval) start() int64 {
	if iv.Reverse {
		return iv.End
	}
	return iv.Start
}

func (iv *Interval) end() int64 {
	if iv.Reverse {
		return iv.Start
	}
	return iv.End
}

// Calculation is what the aggregates of one interval share. Its memory can be used again for the next.
type Calculation struct {
	config Configuration
	iv     Interval
	typ    model.Type

	outside bool // wholly before the first or behind the last sample, and not in a gap that nothing ended
	partial model.Quality
	// until is where the interval ends for durations: one unit of resolution behind the last sample where it ends inside.
	until     int64
	durations rollup.Durations
	missing   uint64 // nanoseconds before the first sample
	tail      uint64 // nanoseconds behind the last sample, under a Good value
}

// Reset begins with another interval of a tag of type t.
func (c *Calculation) Reset(t model.Type, iv Interval, config Configuration) {
	*c = Calculation{config: config, iv: iv, typ: t, until: iv.End}
	before, first, last, after := iv.Before.LastPoint(), iv.In.FirstPoint(), iv.In.LastPoint(), iv.After.FirstPoint()
	c.outside = first == nil && (before == nil || after == nil && !before.Gap)
	if c.outside {
		return
	}
	if last == nil {
		last = before
	}
	if after == nil && !last.Gap { // a gap lasts until there is a sample
		if last.Time < iv.End && uint64(iv.End)-uint64(last.Time) > uint64(iv.Resolution) {
			c.until = last.Time + iv.Resolution
		}
	}
	if before == nil && first.Time > iv.Start {
		c.missing = uint64(first.Time) - uint64(iv.Start)
	}
	if iv.Short || c.missing > 0 || after == nil && last.Time < iv.End {
		c.partial = model.InfoDataValue | model.InfoPartial
	}
	whole := c.interval(c.until)
	c.durations = whole.Durations()
	if after == nil && last.Usable(true) {
		c.tail = uint64(c.until) - uint64(last.Time)
	}
}

// interval is the interval as package rollup takes it, the last point held until an instant.
func (c *Calculation) interval(hold int64) rollup.Interval {
	return rollup.Interval{Start: c.iv.Start, End: c.iv.End, Before: c.iv.Before, In: c.iv.In, After: c.iv.After, Hold: hold}
}

// Result is an aggregate of the interval: the time it is stamped with, its value and its status code with info bits. Durations are
// milliseconds, totals units of the value times seconds. The value of WorstQuality and WorstQuality2 is a status code, of type
// Uint64.
func (c *Calculation) Result(a Aggregate) model.Sample {
	if c.outside && a != Interpolative {
		return c.noData(0)
	}
	switch a {
	case Interpolative:
		return c.interpolative()
	case Average, StandardDeviationSample, StandardDeviationPopulation, VarianceSample, VariancePopulation:
		return c.statistic(a)
	case TimeAverage, Total:
		return c.bridged(a)
	case TimeAverage2, Total2:
		return c.simple(a)
	case Minimum, Maximum, MinimumActualTime, MaximumActualTime:
		return c.extreme(a)
	case Range:
		return c.valueRange()
	case Minimum2, Maximum2, MinimumActualTime2, MaximumActualTime2:
		return c.extreme2(a)
	case Range2:
		return c.range2()
	case AnnotationCount:
		return c.integer(c.iv.Annotations, model.Good)
	case Count, NumberOfTransitions:
		return c.count(a)
	case DurationInStateZero, DurationInStateNonZero:
		return c.durationInState(a)
	case Start, End:
		return c.sample(a)
	case Delta:
		return c.delta()
	case StartBound:
		return c.startBound()
	case EndBound:
		return c.endBound()
	case DeltaBounds:
		return c.deltaBounds()
	case DurationGood, DurationBad, PercentGood, PercentBad:
		return c.share(a)
	case WorstQuality, WorstQuality2:
		return c.worst(a)
	}
	return c.noData(0)
}

func (c *Calculation) null(q, bits model.Quality) model.Sample {
	if bits != 0 {
		q |= model.InfoDataValue | bits
	}
	return model.Sample{Time: c.iv.start(), Type: c.typ, Null: true, Quality: q}
}

func (c *Calculation) noData(bits model.Quality) model.Sample { return c.null(model.BadNoData, bits) }

// float is a calculated double. A Bad one has no value.
func (c *Calculation) float(v float64, q model.Quality) model.Sample {
	if q.IsBad() {
		return c.null(q, model.InfoCalculated|c.partial)
	}
	return model.Sample{Time: c.iv.start(), Type: model.Float64, Bits: math.Float64bits(v), Quality: q | model.InfoDataValue | model.InfoCalculated | c.partial}
}

func (c *Calculation) integer(n int64, q model.Quality) model.Sample {
	return model.Sample{Time: c.iv.start(), Type: model.Int64, Bits: uint64(n), Quality: q | model.InfoDataValue | model.InfoCalculated | c.partial}
}

// samples is how many samples of the interval are of which quality. Uncertain ones are Bad if they are taken for that.
func (c *Calculation) samples() shares {
	n := c.iv.In.Counts()
	s := shares{uint64(n.Good), uint64(n.Uncertain), uint64(n.Bad + n.Null)}
	return s.taken(c.config.TreatUncertainAsBad, false)
}

// taken makes uncertain of shares bad, or else good where that is what it counts as.
func (s shares) taken(uncertainAsBad, uncertainIsGood bool) shares {
	switch {
	case uncertainAsBad:
		return shares{good: s.good, bad: s.bad + s.uncertain}
	case uncertainIsGood:
		return shares{good: s.good + s.uncertain, bad: s.bad}
	}
	return s
}

// regions is how long the interval is of which quality where the line to the next sample counts: of a sloped tag what leads to
// one that is not Good, and what lies behind the last, is Uncertain.
func (c *Calculation) regions() shares {
	d := &c.durations
	s := shares{good: d.GoodToGood, uncertain: d.Uncertain, bad: d.NoValue() + c.missing}
	if leads := d.GoodToUncertain + d.GoodToNone; c.iv.Stepped {
		s.good += leads
	} else {
		s.good -= c.tail
		s.uncertain += leads + c.tail
	}
	return s
}

// stretches is how long the interval is of which quality where only the value that each stretch begins with counts: a sample, or the
// bound at the start of the interval.
func (c *Calculation) stretches() shares {
	d := &c.durations
	s := shares{good: d.Good(), uncertain: d.Uncertain, bad: d.NoValue() + c.missing}
	if lead := c.lead(); lead > 0 && !c.leadIsGood() {
		s.good -= lead
		s.uncertain += lead
	}
	return s
}

// lead is the nanoseconds from the start of the interval to its first point, under a Good value before it.
func (c *Calculation) lead() uint64 {
	before, first := c.iv.Before.LastPoint(), c.iv.In.FirstPoint()
	if before == nil || !before.Usable(true) {
		return 0
	}
	to := c.until
	if first != nil {
		to = min(to, first.Time)
	}
	return uint64(to) - uint64(c.iv.Start)
}

// leadIsGood reports whether the bound at the start of the interval is Good, where a Good sample lies before.
func (c *Calculation) leadIsGood() bool {
	if c.iv.Stepped || c.iv.Before.LastPoint().Time == c.iv.Start {
		return true
	}
	next := c.iv.In.FirstPoint()
	if next == nil {
		next = c.iv.After.FirstPoint()
	}
	return next != nil && next.Usable(true)
}
