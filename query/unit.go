package query

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/apache/arrow/go/v15/arrow"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/model/unit"
	"github.com/varvedb/varve/query/counter"
	"github.com/varvedb/varve/query/part13"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/rollup"
)

// A question with a unit is answered as if every sample had been stored in that unit, as a double: values are converted first,
// each from the unit of its tag in force at its time, and then compared, interpolated and calculated with. Aggregates of tags
// whose unit never changed are calculated of what is stored and converted then, where that comes to the same; so rollups
// answer them as ever. docs/reference/units.md has the rules.

// MetaUnit is the key of a field's metadata that has the UCUM code of the unit asked for.
const MetaUnit = "varve.unit"

// unitMetadata is the metadata of a field in a unit; none for no unit.
func unitMetadata(code string) (m arrow.Metadata) {
	if code != "" {
		m = arrow.NewMetadata([]string{MetaUnit}, []string{code})
	}
	return m
}

// toUnit is how values of a tag become those of the unit asked for.
type toUnit struct {
	periods []unitPeriod // ascending by from; never empty
}

// unitPeriod is a time during which a tag has one unit.
type unitPeriod struct {
	from int64
	unit.Conversion
	err error // why there is no conversion
}

func (p *unitPeriod) same(q *unitPeriod) bool {
	return p.Conversion == q.Conversion && p.err == nil && q.err == nil
}

// only is the conversion of all times; false where there are several.
func (u *toUnit) only() (unit.Conversion, bool) { return u.periods[0].Conversion, len(u.periods) == 1 }

// at is the conversion in force at an instant.
func (u *toUnit) at(t int64) *unitPeriod {
	i := len(u.periods) - 1
	for i > 0 && u.periods[i].from > t {
		i--
	}
	return &u.periods[i]
}

// workedOut makes the tags of a list those of a question about what is worked out of samples of a range, in a unit or without one.
func (l *tagList) workedOut(code string, in model.TimeRange) error {
	if code == "" {
		return l.inOneUnit(in)
	}
	return l.convertTo(code)
}

// aggregated is workedOut for aggregates: those that are the same in any unit are of samples in several.
func (l *tagList) aggregated(code string, in model.TimeRange, effects []effect) error {
	if code == "" && !slices.ContainsFunc(effects, func(e effect) bool { return e != stays }) {
		return nil
	}
	return l.workedOut(code, in)
}

// convertTo makes the tags of a list those of a question in a unit; the empty code changes nothing.
func (l *tagList) convertTo(code string) error {
	if code == "" {
		return nil
	}
	to, err := unit.Parse(code)
	if err != nil {
		return fmt.Errorf("unit asked for: %w: %w", err, ErrBadRequest)
	}
	l.unit = code
	found := map[string]*toUnit{} // of tags whose settings never changed, by their unit
	for i := range l.asked {
		a := &l.asked[i]
		if t := a.tag.Current().Type; t > model.Uint64 {
			return fmt.Errorf("tag %s in %s: it is of type %s and no number: %w", a.describe(), code, t, ErrBadRequest)
		}
		from, single := a.tag.Settings[0].Unit, len(a.tag.Settings) == 1
		if a.unit = found[from]; single && a.unit != nil {
			continue
		}
		a.unit = conversionsOf(a.tag, to)
		if !slices.ContainsFunc(a.unit.periods, func(p unitPeriod) bool { return p.err == nil }) {
			return a.noUnit(&a.unit.periods[len(a.unit.periods)-1])
		}
		if single {
			found[from] = a.unit
		}
	}
	return nil
}

func (a asked) noUnit(p *unitPeriod) error {
	return fmt.Errorf("tag %s: %w: %w", a.describe(), p.err, ErrBadRequest)
}

func conversionsOf(tag *model.Tag, to unit.Unit) *toUnit {
	var u toUnit
	for i := range tag.Settings {
		s := &tag.Settings[i]
		p := unitPeriod{from: s.From}
		from, err := unit.Parse(s.Unit)
		switch {
		case s.Unit == "":
			err = fmt.Errorf("it has no unit, and no value in %s", to)
		case err == nil:
			p.Conversion, err = unit.Convert(from, to)
		default:
			err = fmt.Errorf("its unit is %w", err)
		}
		if p.err = err; i > 0 && err != nil {
			p.err = fmt.Errorf("from %s on: %w", model.FormatTime(s.From), err)
		}
		if n := len(u.periods); n == 0 || !u.periods[n-1].same(&p) {
			u.periods = append(u.periods, p)
		}
	}
	return &u
}

// inDoubles is the tag as its converted samples are: of doubles.
func (a asked) inDoubles() asked {
	tag := *a.tag
	tag.Settings = slices.Clone(tag.Settings)
	for i := range tag.Settings {
		tag.Settings[i].Type = model.Float64
	}
	a.tag = &tag
	return a
}

// inUnit converts what c delivers.
func (a asked) inUnit(c Cursor) Cursor {
	if a.unit == nil {
		return c
	}
	return &unitCursor{Cursor: c, asked: a}
}

// read is the tag as c will deliver it. c was made by emptyCursor, or emptyShape.
func (a asked) read(c Cursor) asked {
	if a.unit == nil {
		return a
	}
	c.(*unitCursor).asked = a
	return a.inDoubles()
}

// unitCursor converts what a cursor delivers of one tag.
type unitCursor struct {
	Cursor
	asked
	block storage.Block
	bits  []uint64
}

// converted is the bits of samples in the unit asked for, as doubles, in the memory of into. Samples without a value have none.
func (a asked) converted(s *model.Samples, into []uint64) ([]uint64, error) {
	into = slices.Grow(into[:0], s.Len())[:s.Len()]
	for i, t := range s.Times {
		if into[i] = 0; s.IsNull(i) {
			continue
		}
		p := a.unit.at(t)
		if p.err != nil {
			return into, a.noUnit(p)
		}
		x := model.Sample{Type: s.Type, Bits: s.Bits[i]}
		into[i] = math.Float64bits(p.Value(part13.Number(&x)))
	}
	return into, nil
}

// DecodeInto does nothing: blocks are converted into memory of the cursor.
func (c *unitCursor) DecodeInto(func(int) ([]int64, []uint64)) {}

func (c *unitCursor) Next(ctx context.Context) (*storage.Block, error) {
	b, err := c.Cursor.Next(ctx)
	if err != nil || b.Type > model.Uint64 { // of another type than the tag: refused where types are looked at
		return b, err
	}
	if c.bits, err = c.converted(&b.Samples, c.bits); err != nil {
		return nil, err
	}
	c.block = *b
	c.block.Type, c.block.Bits = model.Float64, c.bits
	return &c.block, nil
}

// unitView sees one tag as if its samples were stored in the unit asked for.
type unitView struct {
	View
	asked
}

func (v unitView) Samples(tag model.TagID, in model.TimeRange) Cursor {
	return &unitCursor{Cursor: v.View.Samples(tag, in), asked: v.asked}
}

// Goods leaves the samples to Partials.
func (v unitView) Goods(context.Context, model.TagID, []int64, rollup.Asked, *storage.Goods) (bool, error) {
	return false, nil
}

// Partials are made of samples, every time: rollups are of what is stored. Where they are all that is left of samples, it is an error.
func (v unitView) Partials(ctx context.Context, tag model.TagID, edges []int64, _ storage.Detail, into *storage.Partials) error {
	if err := v.View.Partials(ctx, tag, edges, storage.Plain, into); err != nil {
		return err
	}
	known := known{before: endOf(&into.Before), after: endOf(&into.After), counts: make([]int64, len(into.Buckets))}
	for i := range into.Buckets {
		known.counts[i] = into.Buckets[i].Counts().All()
	}
	if err := v.ofSamples(ctx, tag, edges, into); err != nil {
		return err
	}
	if endOf(&into.Before) != known.before || endOf(&into.After) != known.after {
		return v.erased(edges[0], edges[len(edges)-1])
	}
	for i := range into.Buckets {
		if into.Buckets[i].Counts().All() != known.counts[i] {
			return v.erased(edges[i], edges[i+1])
		}
	}
	return nil
}

// Offer offers samples only, as Partials is made of them.
func (v unitView) Offer(ctx context.Context, tag model.TagID, edges []int64, taker storage.Taker) error {
	t := &unitTaker{Taker: taker, asked: v.asked}
	return errors.Join(v.View.Offer(ctx, tag, edges, t), t.err)
}

// unitTaker converts what a taker is offered.
type unitTaker struct {
	storage.Taker
	asked
	bits []uint64
	err  error // why samples are not offered any more
}

func (t *unitTaker) Takes(*rollup.Partial, bool) bool { return false }

func (t *unitTaker) Samples(s *model.Samples) {
	if t.err != nil {
		return
	}
	x := *s
	if s.Type <= model.Uint64 {
		if t.bits, t.err = t.converted(s, t.bits); t.err != nil {
			return
		}
		x.Type, x.Bits = model.Float64, t.bits
	}
	t.Taker.Samples(&x)
}

// known is what storage knows of samples, whether they are still there or not: the times of those next to the buckets, and how many.
type known struct {
	before, after end
	counts        []int64
}

// end is the time of a sample next to buckets, if there is one.
type end struct {
	time int64
	is   bool
}

func endOf(p *rollup.Partial) (e end) {
	e.time, e.is = p.LastTime()
	return e
}

func (v unitView) erased(from, to int64) error {
	return fmt.Errorf("samples from %s to %s or next to that, whose values in another unit rollups do not tell: ask for values as they are stored: %w",
		model.FormatTime(from), model.FormatTime(to), storage.ErrErased)
}

// ofSamples is Partials of samples alone.
func (v unitView) ofSamples(ctx context.Context, tag model.TagID, edges []int64, into *storage.Partials) error {
	n := len(edges) - 1
	into.Before, into.After, into.Reading = rollup.Partial{}, rollup.Partial{}, storage.Reading{}
	into.Buckets = slices.Grow(into.Buckets[:0], n)[:n]
	clear(into.Buckets)
	cursor := v.inUnit(shapeOf(v.View, tag, model.TimeRange{Start: model.MinTime, End: edges[0], Reverse: true}))
	defer cursor.Close()
	var broken *rollup.Point // the nearest break in front of the buckets, behind the sample
	for into.Before.Empty() {
		b, err := cursor.Next(ctx)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if !b.Gap {
			into.Before.Add(&b.Samples, 0, 1)
		} else if broken == nil {
			broken = keep(pointOf(b, 0))
		}
	}
	if broken != nil {
		into.Before.AddGap(broken.Type, broken.Time, broken.Quality)
	}
	cursor.Reset(tag, model.TimeRange{Start: edges[0], End: math.MaxInt64})
	for bucket := 0; ; {
		b, err := cursor.Next(ctx)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		for i := 0; i < b.Len(); {
			for bucket < n && b.Times[i] >= edges[bucket+1] {
				bucket++
			}
			p := &into.After
			if bucket < n {
				p = &into.Buckets[bucket]
			}
			switch {
			case b.Gap:
				p.AddGap(b.Type, b.Times[i], b.QualityAt(i))
				i++
				continue
			case bucket == n:
				p.Add(&b.Samples, i, i+1)
				return nil
			}
			end, _ := slices.BinarySearch(b.Times[i:], edges[bucket+1])
			into.Buckets[bucket].Add(&b.Samples, i, i+end)
			i += end
		}
	}
}

// effect is what becomes of an aggregate when the samples it is of are converted.
type effect uint8

const (
	// anew is whatever needs the samples. It is the effect of every aggregate that nothing else is said of.
	anew         effect = iota
	stays               // a count, a time, a duration, a share, a quality
	asValue             // it is a value of the tag
	asDifference        // of two values, which has no offset
	asSquare            // of a difference
	asTotal             // a sum, an integral, a count from zero or within a part of a value: as a difference, but anew where there is an offset
	asZero              // it stays, but anew where there is an offset: the zero it compares with is another one

	// ofBounds is beside another: values between samples have part in it, and those of integers are rounded.
	ofBounds effect = 1 << 7
)

// effectOn is the effect of converting samples on an aggregate.
func effectOn(a Aggregate) effect {
	switch a {
	case Count, MinimumTime, MaximumTime, DurationGood, PercentGood, WorstQuality:
		return stays
	case Minimum, Maximum, First, Last, EventWeightedAverage, TimeWeightedAverage:
		return asValue
	case Range, StandardDeviation:
		return asDifference
	case Sum:
		return asTotal
	}
	return anew
}

// effectOnFunction is effectOn for the functions of processed reads.
func effectOnFunction(f Function) effect {
	switch {
	case f.standard != 0:
		return effectOnProcessed(f.standard)
	case f.own != 0:
		return effectOn(f.own)
	}
	switch f.kind {
	case kindTransitions, kindFirstTime, kindLastTime:
		return stays
	case kindDelta:
		return asDifference
	case kindTotal, kindPercentile, kindTimeWeightedPercentile, kindIncrease, kindRate:
		return asTotal
	}
	return anew
}

// effectOnProcessed is effectOn for the aggregates of Part 13.
func effectOnProcessed(f part13.Aggregate) effect {
	switch f {
	case part13.AnnotationCount, part13.Count, part13.NumberOfTransitions, part13.DurationGood, part13.DurationBad,
		part13.PercentGood, part13.PercentBad, part13.WorstQuality, part13.WorstQuality2:
		return stays
	case part13.Average, part13.Minimum, part13.Maximum, part13.MinimumActualTime, part13.MaximumActualTime, part13.Start, part13.End:
		return asValue
	case part13.Interpolative, part13.TimeAverage, part13.TimeAverage2, part13.Minimum2, part13.Maximum2,
		part13.MinimumActualTime2, part13.MaximumActualTime2, part13.StartBound, part13.EndBound:
		return asValue | ofBounds
	case part13.Range, part13.Delta, part13.StandardDeviationSample, part13.StandardDeviationPopulation:
		return asDifference
	case part13.Range2, part13.DeltaBounds:
		return asDifference | ofBounds
	case part13.VarianceSample, part13.VariancePopulation:
		return asSquare
	case part13.Total, part13.Total2:
		return asTotal | ofBounds
	case part13.DurationInStateZero, part13.DurationInStateNonZero:
		return asZero
	}
	return anew
}

// anewFor reports whether the aggregate has to be calculated of the samples of a tag.
func (e effect) anewFor(t model.Type, c unit.Conversion) bool {
	switch e &^ ofBounds {
	case anew:
		return true
	case asTotal, asZero:
		if c.Add != 0 {
			return true
		}
	}
	return e&ofBounds != 0 && !t.Float()
}

// effectsOn are the effects on each of some aggregates.
func effectsOn[A any](aggregates []A, on func(A) effect) []effect {
	out := make([]effect, len(aggregates))
	for i, a := range aggregates {
		out[i] = on(a)
	}
	return out
}

// convert is what a number becomes.
func (e effect) convert(c unit.Conversion, x float64) float64 {
	switch e &^ ofBounds {
	case asValue:
		return c.Value(x)
	case asDifference, asTotal:
		return c.Difference(x)
	case asSquare:
		return c.Difference(c.Difference(x))
	}
	return x
}

// conversion is that of the results of aggregates of the tag, or says that its samples have to be converted before.
func (a asked) conversion(effects []effect) (c unit.Conversion, anew bool) {
	c, one := a.unit.only()
	return c, !one || slices.ContainsFunc(effects, func(e effect) bool { return e.anewFor(a.tag.Current().Type, c) })
}

// view is what to calculate aggregates of the tag from, and the tag as it is there. Whoever gets an after calculates of what is
// stored, and converts the results with it.
func (a asked) view(v View, effects []effect) (_ View, _ asked, after *unit.Conversion) {
	if a.unit == nil {
		return v, a, nil
	}
	c, anew := a.conversion(effects)
	if anew {
		return unitView{v, a}, a.inDoubles(), nil
	}
	return v, a, &c
}

// convertCells converts the results of a window.
func convertCells(cells []cell, effects []effect, c unit.Conversion) {
	for i := range cells {
		if e := effects[i%len(effects)]; e != stays && cells[i].valid {
			cells[i].bits = math.Float64bits(e.convert(c, math.Float64frombits(cells[i].bits)))
		}
	}
}

// sample converts a result, which becomes a double.
func (e effect) sample(c unit.Conversion, s model.Sample) model.Sample {
	if e == stays || e == asZero {
		return s
	}
	if !s.Null {
		s.Bits = math.Float64bits(e.convert(c, part13.Number(&s)))
	}
	s.Type = model.Float64
	return s
}

// checkCounters refuses limits of counters where samples are converted before they are counted: the limits are of values as stored.
func (p *processing) checkCounters() error {
	counts := func(f Function) bool { return f.kind == kindIncrease || f.kind == kindRate }
	if p.tags.unit == "" || p.request.Counter == (counter.Limits{}) || !slices.ContainsFunc(p.request.Functions, counts) {
		return nil
	}
	for _, a := range p.tags.asked {
		if _, anew := a.conversion(p.effects); anew {
			return fmt.Errorf("tag %s in %s: the limits of a counter are of its values as they are stored, and its samples would be converted first, "+
				"because its unit changed or has an offset, or for another of the aggregates: ask for increase and rate by themselves, or without limits: %w",
				a.describe(), p.tags.unit, ErrBadRequest)
		}
	}
	return nil
}
