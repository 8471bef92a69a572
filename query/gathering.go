package query

import (
	"context"
	"io"
	"math"
	"slices"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/query/circular"
	"github.com/varvedb/varve/query/counter"
	"github.com/varvedb/varve/query/part13"
	"github.com/varvedb/varve/query/quantile"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/rollup"
)

// exactSamples is how many usable samples of an interval a percentile is calculated of exactly. Of more a sketch answers.
const exactSamples = 1 << 16

// gatheringBytes is what a gathering may hold: values of both kinds, their order, and two sketches.
const gatheringBytes = exactSamples*(8+16+16) + 2*2*12*quantile.MaxBins

// gathering is what the samples of one interval come to, where partials do not tell enough. They are added in order, one after the
// other: memory does not grow with their number.
type gathering struct {
	strict    bool // Uncertain is taken for Bad
	functions []Function
	asked     [kindCircularDeviation + 1]bool // of each kind

	piece  *piece
	until  int64        // where the last piece ended
	held   rollup.Point // the last sample, whatever its quality: its value holds up to the next one
	all    int64        // samples
	events distribution // usable values, each counted once
	stood  distribution // usable values, each for the nanoseconds it held
	count  tally
	arrows []*circular.Sum // of each function, nil for those that are not of directions
}

// newGathering is nil where no function needs one.
func newGathering(functions []Function, strict bool, limits counter.Limits) *gathering {
	if !slices.ContainsFunc(functions, Function.needsSamples) {
		return nil
	}
	g := &gathering{strict: strict, functions: functions, count: tally{limits: limits}, arrows: make([]*circular.Sum, len(functions))}
	for _, f := range functions {
		g.asked[f.kind] = true
	}
	return g
}

// begin starts an interval, behind all of before.
func (g *gathering) begin(start int64, before *rollup.Partial) {
	g.all, g.held, g.until = 0, rollup.Point{}, start
	if last := before.LastPoint(); last != nil {
		g.held = *last
	}
	g.events.reset()
	g.stood.reset()
	g.count.reset()
	if _, last := before.UsableEnds(g.strict); last != nil {
		g.count.add(&last.Sample)
		g.count.own = 0
	}
	for i, f := range g.functions {
		if f.kind == kindCircularMean || f.kind == kindCircularDeviation {
			g.arrows[i], _ = circular.New(f.argument) // which ParseFunction has checked
		}
	}
}

func (g *gathering) add(x *rollup.Point) error {
	if !x.Gap {
		g.all++
	}
	if err := g.hold(x.Time); err != nil {
		return err
	}
	g.held = *x
	if !g.held.Usable(g.strict) {
		return nil
	}
	if g.asked[kindIncrease] || g.asked[kindRate] {
		g.count.add(&x.Sample)
	}
	v := part13.Number(&x.Sample)
	for _, a := range g.arrows {
		if a != nil {
			a.Add(v, 1)
		}
	}
	if !g.asked[kindPercentile] {
		return nil
	}
	return g.events.add(quantile.Held{Value: v, Weight: 1})
}

// enter starts a piece of the interval.
func (g *gathering) enter(x *piece) {
	passed := x.Start > g.until // time that does not count
	if g.piece, g.until = x, x.End; !passed {
		return
	}
	g.held = rollup.Point{}
	if last := x.Before.LastPoint(); last != nil {
		g.held = *last
	}
	if _, last := x.Before.UsableEnds(g.strict); last != nil {
		g.count.resume(&last.Sample)
	}
}

// leave is called behind the last sample of a piece.
func (g *gathering) leave() error {
	if next := g.piece.After.FirstPoint(); next != nil {
		return g.hold(next.Time)
	}
	return g.hold(g.held.Time + 1)
}

// hold counts the time of the last sample in the piece, with the next sample at an instant.
func (g *gathering) hold(next int64) error {
	if !g.asked[kindTimeWeightedPercentile] || g.held.Type == 0 || !g.held.Usable(g.strict) {
		return nil
	}
	if reach := g.piece.Reach; reach > 0 && uint64(next)-uint64(g.held.Time) > reach {
		next = g.held.Time + 1
	}
	from, until := max(g.held.Time, g.piece.Start), min(next, g.piece.End)
	if from >= until {
		return nil
	}
	return g.stood.add(quantile.Held{Value: part13.Number(&g.held.Sample), Weight: uint64(until) - uint64(from)})
}

// end is called behind the last piece.
func (g *gathering) end() error {
	g.events.order()
	return g.stood.weigh()
}

// distribution is values and what they weigh: each of them, or a sketch where they are many.
type distribution struct {
	held     []quantile.Held
	sketch   *quantile.Sketch // nil while held has all
	values   []float64
	ordered  quantile.Sorted
	weighted quantile.Weighted
}

func (d *distribution) reset() { d.held, d.sketch = d.held[:0], nil }

func (d *distribution) add(h quantile.Held) error {
	if d.sketch == nil && len(d.held) < exactSamples {
		d.held = append(d.held, h)
		return nil
	}
	if d.sketch == nil {
		var err error
		if d.sketch, err = quantile.New(quantile.DefaultAccuracy); err != nil {
			return err
		}
		for _, x := range d.held {
			if err := d.sketch.Add(x.Value, x.Weight); err != nil {
				return err
			}
		}
		d.held = d.held[:0]
	}
	return d.sketch.Add(h.Value, h.Weight)
}

// order makes a distribution of values that count alike ready for questions.
func (d *distribution) order() {
	d.values = d.values[:0]
	for _, h := range d.held {
		d.values = append(d.values, h.Value)
	}
	d.ordered = quantile.Sort(d.values)
}

// weigh makes a distribution of values by time ready for questions.
func (d *distribution) weigh() (err error) {
	d.weighted, err = quantile.Weigh(d.held)
	return err
}

// interpolated is a percentile of values that count alike, and whether it is exact; NaN of none.
func (d *distribution) interpolated(percent float64) (v float64, exact bool) {
	if d.sketch != nil {
		return d.sketch.NearestRank(percent / 100), false
	}
	return d.ordered.Interpolated(percent / 100), true
}

// nearestRank is a percentile of values by the time they held; NaN of none.
func (d *distribution) nearestRank(percent float64) (v float64, exact bool) {
	if d.sketch != nil {
		return d.sketch.NearestRank(percent / 100), false
	}
	return d.weighted.NearestRank(percent / 100), true
}

// tally is what a counter counted. Between samples that hold whole numbers not below zero it is that of package counter, exactly.
// Between others it is the difference where the value grew, and what it grew to from zero where it fell. A value that is not finite
// breaks the count: it goes on from the next one.
type tally struct {
	limits counter.Limits
	own    int // usable samples of the interval itself
	steps  int // from one sample to the next

	last    model.Sample
	has     bool // last is a sample to count from
	first   int64
	elapsed float64 // seconds before first that count too

	chain  counter.Partial // samples that hold whole numbers, up to last
	rest   float64         // counted before chain
	broken bool            // rest is not all that package counter counted of one chain
	resets int64           // before chain
}

func (c *tally) reset() { *c = tally{limits: c.limits} }

func (c *tally) add(x *model.Sample) {
	c.own++
	v := part13.Number(x)
	if !model.Finite(v) {
		c.finishChain()
		c.has = false
		return
	}
	if c.has {
		c.steps++
	} else if c.steps == 0 {
		c.first = x.Time
	}
	whole, isWhole := wholeNumber(x)
	if c.has && (!isWhole || c.chain.Samples == 0) {
		c.plainStep(part13.Number(&c.last), v)
	}
	if isWhole {
		c.chain.Add(x.Time, whole, c.limits)
	} else {
		c.finishChain()
	}
	c.last, c.has = *x, true
}

func (c *tally) plainStep(from, to float64) {
	c.broken = true
	if to >= from {
		c.rest += to - from
		return
	}
	c.rest += max(to, 0)
	c.resets++
}

// finishChain adds what whole numbers counted to the rest.
func (c *tally) finishChain() {
	if c.chain.Samples > 1 {
		c.broken = true
	}
	i := c.chain.Increase()
	c.rest += i.Float64()
	c.resets += c.chain.Resets
	c.chain = counter.Partial{}
}

// resume goes on from a sample that does not count itself, nor does what was counted up to it.
func (c *tally) resume(x *model.Sample) {
	c.elapsed = c.seconds()
	c.finishChain()
	if whole, ok := wholeNumber(x); ok {
		c.chain.Add(x.Time, whole, c.limits)
	}
	v := part13.Number(x)
	c.last, c.has, c.first = *x, model.Finite(v), x.Time
}

// seconds are those from the samples counted from to the last ones.
func (c *tally) seconds() float64 {
	if !c.has && c.steps == 0 {
		return c.elapsed
	}
	return c.elapsed + float64(uint64(c.last.Time)-uint64(c.first))/1e9
}

// value is what was counted, and false where nothing was counted to a sample of the interval.
func (c *tally) value() (float64, bool) {
	i := c.chain.Increase()
	return c.rest + i.Float64(), c.own > 0 && c.steps > 0
}

// wasReset reports whether a part of the count is not known.
func (c *tally) wasReset() bool { return c.resets+c.chain.Resets > 0 }

// increase is the value as a sample: of integers a whole number.
func (c *tally) increase(t model.Type) model.Sample {
	v, ok := c.value()
	switch {
	case !ok:
		return noNumber
	case t.Float() || c.broken:
		return numberSample(v)
	}
	return wholeSample(c.chain.Increase())
}

// rate is the increase per second from the sample it is counted from to the last one.
func (c *tally) rate() model.Sample {
	v, ok := c.value()
	if seconds := c.seconds(); ok && seconds != 0 {
		return numberSample(v / seconds)
	}
	return noNumber
}

// wholeNumber is the value of a sample as a counter has it, if it is one exactly.
func wholeNumber(x *model.Sample) (uint64, bool) {
	switch x.Type {
	case model.Uint64:
		return x.Bits, true
	case model.Int64:
		return x.Bits, int64(x.Bits) >= 0
	}
	v := part13.Number(x)
	return uint64(max(v, 0)), v >= 0 && v <= 1<<53 && v == math.Trunc(v)
}

// feed hands out the samples of a range, and the breaks that gaps make, one after the other.
type feed struct {
	cursor Cursor
	block  *storage.Block
	at     int
	ended  bool
}

// until hands out those before an instant.
func (f *feed) until(ctx context.Context, t int64, do func(*rollup.Point) error) error {
	for !f.ended {
		for f.block == nil || f.at == f.block.Len() {
			b, err := f.cursor.Next(ctx)
			if err == io.EOF {
				f.ended = true
				return nil
			}
			if err != nil {
				return err
			}
			f.block, f.at = b, 0
		}
		if f.block.Times[f.at] >= t {
			return nil
		}
		x := pointOf(f.block, f.at)
		f.at++
		if err := do(&x); err != nil {
			return err
		}
	}
	return nil
}
