package query

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"math"
	"math/big"
	"strconv"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/model/unit"
	"github.com/varvedb/varve/query/part13"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/rollup"
)

// MaxExplainedVersions is how many replaced and removed values an explanation looks at. With more it says so.
const MaxExplainedVersions = 100_000

// ExplainRequest asks how one aggregate of one interval of one tag came about.
type ExplainRequest struct {
	Tags                // one
	Start, End    int64 // nanoseconds UTC, as the edges of a bucket: later than End for a reverse one
	Aggregate     string
	Configuration part13.Configuration // of the aggregates of Part 13; the others look at TreatUncertainAsBad
	Stepped       *bool                // likewise; in place of what the tag's settings say
	Resolution    int64                // likewise, nanoseconds; 0 for DefaultTimeResolution
	Consistency   storage.Consistency
	Unit          string // UCUM code of the unit of all values, which are doubles then; empty: as they are stored
}

// Explanation is an aggregate with all that it came from.
type Explanation struct {
	Tag        *model.Tag
	Aggregate  string
	Unit       string // that was asked for
	Formula    string // in one sentence
	Start, End int64  // the edges, in the order asked
	Time       int64  // what the value is stamped with
	Value      ExplainedValue
	Quality    model.Quality
	Reasons    []string // why the answer is not Good or is Partial, in sentences; none where it is whole

	Part13        bool // Configuration and Resolution were in force
	Configuration part13.Configuration
	Resolution    int64
	Stepped       bool
	SteppedBy     string // what says so: request, type, settings

	SettingsFrom int64 // since when the tag's settings at the earlier edge hold; model.MinTime for always
	Bounds       []ExplainedBound
	Samples      rollup.Counts
	Durations    ExplainedDurations
	Share        *part13.Share // what the status was decided by, nil where it was not by shares
	Reading      ExplainedReading
	Versions     ExplainedVersions
	Gaps         []model.Gap // that end the shape in the interval, or on the way to the sample before or behind it
	Lost         []storage.OffsetRange
}

// ExplainedValue is a value as text that says all of it, and as a double where it is a number. No text and no number is null.
type ExplainedValue struct {
	Text   string
	Number *float64
	Null   bool
}

// ExplainedSample is a sample that a bound was made of.
type ExplainedSample struct {
	Time    int64
	Seq     uint32
	Value   ExplainedValue
	Quality model.Quality
}

// ExplainedBound is a bounding value that the aggregate took part of.
type ExplainedBound struct {
	Edge    int64
	Rule    part13.Rule
	Value   ExplainedValue
	Quality model.Quality
	Raw     bool // a sample lies there
	From    []ExplainedSample
}

// ExplainedDurations are the nanoseconds of the interval by what holds: the sample each stretch begins with.
type ExplainedDurations struct {
	Good, Uncertain, Bad uint64
	NotCovered           uint64 // before the first sample, or behind what the last one stands
}

// ExplainedReading is how samples were found.
type ExplainedReading struct {
	storage.Reading
	Besides int64 // samples read one by one, because rollups do not tell what was asked or because values next to the edges are not usable
}

// ExplainedVersions is what no longer stands of the samples of the interval.
type ExplainedVersions struct {
	Replaced, Removed int64
	More              bool         // there are more than MaxExplainedVersions
	Edit              *storage.End // the newest by a person, nil if there is none
}

// Explain answers r.
func (e *Engine) Explain(ctx context.Context, r ExplainRequest) (*Explanation, error) {
	if r.Tags.count() != 1 {
		return nil, fmt.Errorf("explain is of one tag, not of %d: %w", r.Tags.count(), ErrBadRequest)
	}
	x := explaining{Explanation: Explanation{Start: r.Start, End: r.End, Aggregate: r.Aggregate, Unit: r.Unit, Configuration: r.Configuration, Resolution: r.Resolution}}
	p, err := e.processing(ProcessedRequest{
		Tags: r.Tags, Buckets: Buckets{Start: r.Start, End: r.End}, Functions: []Function{Standard(part13.WorstQuality)}, Configuration: r.Configuration,
		Stepped: r.Stepped, Resolution: r.Resolution, Consistency: r.Consistency, Unit: r.Unit,
	})
	if err != nil {
		return nil, err
	}
	function, ok := part13.Parse(r.Aggregate)
	var own *aggregation
	if x.Part13 = ok; ok {
		p.request.Functions[0] = Standard(function)
		p.effects = append(effectsOn(p.request.Functions, effectOnFunction), asValue|ofBounds) // of its bounds
		x.Formula, x.Resolution = function.Formula(), p.request.Resolution
		if typ := p.tags.asked[0].tag.Current().Type; !function.Of(typ) {
			return nil, fmt.Errorf("%s of tag %s, which is of type %s: %w", function, p.tags.asked[0].describe(), typ, ErrBadRequest)
		}
	} else {
		a, err := ParseAggregate(r.Aggregate)
		if err != nil {
			return nil, err
		}
		x.Formula, p.request.Stepped, p.request.Resolution = a.Formula(), nil, 1
		p.effects[0] = asValue | ofBounds // of what is beside the value
		if own, err = e.aggregation(AggregatesRequest{
			Tags: r.Tags, Buckets: Buckets{Start: r.Start, End: r.End}, Aggregates: []Aggregate{a}, UseUncertain: !r.Configuration.TreatUncertainAsBad,
			Unit: r.Unit,
		}); err != nil {
			return nil, err
		}
	}
	need := p.bytes(p.workers) + cursorBytes
	if err := e.budget.reserve(need); err != nil {
		return nil, err
	}
	defer e.budget.release(need)
	if x.view, err = e.store.View(ctx, r.Consistency); err != nil {
		return nil, fmt.Errorf("take view: %w", err)
	}
	defer x.view.Close()
	x.Tag, x.Lost, x.texts = p.tags.asked[0].tag, x.view.Lost(), newStateTexts(e.store.Catalog())
	if err := x.processed(ctx, p); err != nil {
		return nil, fmt.Errorf("explain %s of tag %s: %w", r.Aggregate, p.tags.asked[0].describe(), err)
	}
	if own != nil {
		if err := x.aggregate(ctx, own); err != nil {
			return nil, fmt.Errorf("explain %s of tag %s: %w", r.Aggregate, p.tags.asked[0].describe(), err)
		}
	}
	if err := x.gaps(ctx); err != nil {
		return nil, fmt.Errorf("explain %s of tag %s: %w", r.Aggregate, p.tags.asked[0].describe(), err)
	}
	if err := x.versions(ctx); err != nil {
		return nil, fmt.Errorf("explain %s of tag %s: %w", r.Aggregate, p.tags.asked[0].describe(), err)
	}
	x.reasons(function)
	return &x.Explanation, nil
}

// explaining is an explanation in the making.
type explaining struct {
	Explanation
	view    View
	texts   *stateTexts
	convert *unit.Conversion // of what was calculated of stored values; nil: nothing, or they were converted before
	reach   part13.Reach
	near    model.TimeRange // from the sample before the interval to the one behind it
}

// processed fills in what follows from the interval as Part 13 sees it; for Varve's own aggregates that is all but value and quality.
func (x *explaining) processed(ctx context.Context, p *processing) error {
	reader := newProcessedReader(p, x.view)
	w := processedWindow{asked: p.tags.asked[0], from: 0, to: 1}
	if err := reader.read(ctx, &w); err != nil {
		return err
	}
	row, iv, calc := &w.rows[0], reader.interval, &reader.calc
	function := row.function.standard
	x.Time, x.Quality, x.Value = row.Time, row.Quality, x.value(&row.Sample)
	if function.IsStatus() && !row.Null {
		x.Value.Text = model.Quality(row.Bits).Text()
	}
	x.reach = calc.Reach()
	x.near = model.All
	if last, ok := iv.Before.LastTime(); ok {
		x.near.Start = last
	}
	if first, ok := iv.After.First(); ok {
		x.near.End = first.Time
	}
	settings := x.Tag.At(iv.Start)
	x.Stepped, x.SettingsFrom, x.SteppedBy = iv.Stepped, settings.From, "settings"
	switch {
	case settings.Type.AlwaysStepped():
		x.SteppedBy = "type"
	case p.request.Stepped != nil:
		x.SteppedBy = "request"
	}
	x.Samples = iv.In.Counts()
	whole := rollup.Interval{Start: iv.Start, End: iv.End, Before: iv.Before, In: iv.In, After: iv.After, Hold: x.reach.Until}
	if x.reach.Outside {
		whole.Hold = iv.Start
	}
	d := whole.Durations()
	x.Durations = ExplainedDurations{Good: d.Good(), Uncertain: d.Uncertain, Bad: d.NoValue(), NotCovered: d.NotCovered}
	x.Reading = ExplainedReading{Reading: reader.partials.Reading, Besides: reader.besides}
	if x.convert = reader.convert; x.Unit != "" && x.convert == nil {
		x.Reading.Besides += x.Samples.All()
	}
	rule, earlier, later := calc.Bounds(function)
	if !x.Part13 {
		rule, earlier, later = ownBounds(x.Aggregate)
	} else if s, ok := calc.Share(function); ok {
		x.Share = &s
	}
	for _, edge := range []struct {
		used bool
		at   int64
	}{{earlier, iv.Start}, {later, iv.End}} {
		if edge.used {
			x.Bounds = append(x.Bounds, x.bound(calc.Bound(function, rule, edge.at), rule, edge.at))
		}
	}
	return nil
}

// ownBounds is what bounds an aggregate of Varve's own takes: the shape of a tag is that between simple bounds.
func ownBounds(name string) (rule part13.Rule, earlier, later bool) {
	if name == TimeWeightedAverage.String() {
		return part13.Simple, true, true
	}
	return part13.NoBounds, false, false
}

func (x *explaining) bound(b part13.Bound, rule part13.Rule, edge int64) ExplainedBound {
	out := ExplainedBound{Edge: edge, Rule: rule, Value: x.inUnit(&b.Sample), Quality: b.Quality, Raw: b.Raw}
	for _, p := range b.From {
		out.From = append(out.From, ExplainedSample{Time: p.Time, Seq: p.Seq, Value: x.inUnit(&p.Sample), Quality: p.Quality})
	}
	return out
}

// inUnit is value of a sample, in the unit asked for.
func (x *explaining) inUnit(s *model.Sample) ExplainedValue {
	if x.convert == nil || s.Null {
		return x.value(s)
	}
	converted := asValue.sample(*x.convert, *s)
	return x.value(&converted)
}

// value is the value of a sample, or of what was calculated.
func (x *explaining) value(s *model.Sample) ExplainedValue {
	if s.Null {
		return ExplainedValue{Null: true}
	}
	switch s.Type {
	case model.String:
		return ExplainedValue{Text: string(s.Blob)}
	case model.Bytes:
		return ExplainedValue{Text: base64.StdEncoding.EncodeToString(s.Blob)}
	}
	number := part13.Number(s)
	v := ExplainedValue{Number: &number}
	switch s.Type {
	case model.Float64:
		v.Text = strconv.FormatFloat(number, 'g', -1, 64)
	case model.Float32:
		v.Text = strconv.FormatFloat(number, 'g', -1, 32)
	case model.Uint64:
		v.Text = strconv.FormatUint(s.Bits, 10)
	case model.Bool:
		v.Text = strconv.FormatBool(s.Bits != 0)
	default:
		v.Text = strconv.FormatInt(int64(s.Bits), 10)
		if s.Type == model.State {
			if text, ok := x.texts.text(x.Tag, s.Time, int64(s.Bits)); ok {
				v.Text = text
			}
		}
	}
	return v
}

// aggregate puts the value and quality of one of Varve's own aggregates in place.
func (x *explaining) aggregate(ctx context.Context, a *aggregation) error {
	a.detail = storage.Full
	k, w := &worker{}, &window{asked: a.tags.asked[0], from: 0, to: 1}
	columns := newAggregateEncoder(a, nil, nil).columns
	view, tag, after := w.view(x.view, a.effects)
	w.asked = tag
	k.open(w.tag, a.edges)
	if err := a.partials(ctx, view, columns, k, w); err != nil {
		return err
	}
	if after != nil {
		convertCells(w.cells, a.effects, *after)
	}
	row, c, typ := &w.rows[0], w.cells[0], w.tag.Current().Type
	x.Time, x.Quality = row.time, row.quality
	x.Reading = ExplainedReading{Reading: k.partials.Reading, Besides: k.besides}
	if x.Unit != "" && after == nil {
		x.Reading.Besides += x.Samples.All()
	}
	d := &k.calc.durations
	x.Durations = ExplainedDurations{Good: d.Good(), Uncertain: d.Uncertain, Bad: d.NoValue(), NotCovered: d.NotCovered}
	s := model.Sample{Time: row.time, Type: model.Float64, Bits: c.bits, Blob: c.blob, Null: !c.valid}
	f := a.request.Aggregates[0]
	switch f {
	case Count, DurationGood:
		s.Type = model.Int64
	case Minimum, Maximum, First, Last:
		if x.Unit == "" {
			s.Type = typ
		}
	case PercentGood:
		s.Bits, s.Null = math.Float64bits(row.good), false
	}
	x.Value = x.value(&s)
	if s.Null {
		return nil
	}
	switch {
	case f == MinimumTime || f == MaximumTime:
		x.Value = ExplainedValue{Text: model.FormatTime(int64(c.bits))}
	case f == WorstQuality:
		x.Value = ExplainedValue{Text: model.Quality(c.bits).Text()}
	case f == Sum && !typ.Float() && x.Unit == "":
		sum := new(big.Int).Lsh(big.NewInt(c.high), 64)
		number, _ := new(big.Float).SetInt(sum.Add(sum, new(big.Int).SetUint64(c.bits))).Float64()
		x.Value = ExplainedValue{Text: sum.String(), Number: &number}
	}
	return nil
}

// gaps finds those that took part.
func (x *explaining) gaps(ctx context.Context) (err error) {
	if breaks := x.view.Breaks(x.Tag.ID, nil); breaks != nil {
		x.Gaps, err = breaks.Gaps(ctx, x.near)
	}
	return err
}

// versions counts what no longer stands.
func (x *explaining) versions(ctx context.Context) error {
	c := x.view.Modified(x.Tag.ID, model.Between(x.Start, x.End))
	defer c.Close()
	v := &x.Versions
	for {
		b, err := c.Next(ctx)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		for i := range b.Ends {
			if v.Replaced+v.Removed == MaxExplainedVersions {
				v.More = true
				return nil
			}
			end := b.Ends[i]
			if end.Kind == model.Removed {
				v.Removed++
			} else {
				v.Replaced++
			}
			if end.Author != "" && (v.Edit == nil || end.Time > v.Edit.Time) {
				v.Edit = &end
			}
		}
	}
}

// reasons says why an answer is Partial, or not Good.
func (x *explaining) reasons(function part13.Aggregate) {
	add := func(format string, args ...any) { x.Reasons = append(x.Reasons, fmt.Sprintf(format, args...)) }
	for _, l := range x.Lost {
		add("samples of the log records %d to %d are missing: they are damaged", l.First, l.End-1)
	}
	for _, g := range x.Gaps {
		to := "on"
		if g.To != model.OpenGap {
			to = "to " + model.FormatTime(g.To)
		}
		add("samples from %s %s are missing: %s (gap %d); it is Bad from there, or from behind the last sample in it, to the next sample", model.FormatTime(g.From), to, g.Kind, g.ID)
	}
	switch {
	case x.reach.Outside && x.Samples.All() == 0:
		add("the interval lies wholly before the first or behind the last sample")
	case x.Samples.All() == 0:
		add("the interval has no samples")
	}
	if !x.reach.Outside && x.reach.Before {
		add("the interval begins before the first sample there is")
	}
	if !x.reach.Outside && x.reach.Behind {
		add("the interval ends behind the last sample there is")
	}
	if s := x.Share; s != nil && !x.Quality.IsGood() {
		as := "Good"
		switch {
		case x.Configuration.TreatUncertainAsBad:
			as = "Bad"
		case s.Of == "samples":
			as = "neither"
		}
		add("of its %s %s%% are Good, %s%% Bad, and %s%% Uncertain, which count as %s", s.Of,
			percent(s.Good), percent(s.Bad), percent(s.Uncertain), as)
	}
	for _, b := range x.Bounds {
		if x.Share == nil && !x.Quality.IsGood() && !b.Quality.IsGood() {
			add("the bound at %s is %s", model.FormatTime(b.Edge), b.Quality)
		}
	}
	if x.Part13 && x.Share == nil && !x.Quality.IsGood() {
		switch function {
		case part13.Minimum, part13.Maximum, part13.MinimumActualTime, part13.MaximumActualTime, part13.Range, part13.StandardDeviationSample,
			part13.StandardDeviationPopulation, part13.VarianceSample, part13.VariancePopulation:
			add("not all samples of the interval are Good")
		case part13.Delta:
			add("the first or the last sample of the interval is not Good")
		case part13.Start, part13.End:
			add("the sample is of that quality")
		case part13.TimeAverage, part13.Total:
			add("not all of the interval leads from one Good sample to the next")
		}
	}
	if !x.Part13 && !x.Quality.IsGood() {
		good := x.Durations.Good
		if !x.Configuration.TreatUncertainAsBad {
			good += x.Durations.Uncertain
		}
		add("%d of %d ns are under values that can be used", good, distance(x.Start, x.End))
	}
}

func percent(v float64) string { return strconv.FormatFloat(v, 'g', 6, 64) }
