package forward

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/varvedb/varve/compression/exception"
	"github.com/varvedb/varve/compression/filter"
	"github.com/varvedb/varve/compression/swingingdoor"
	"github.com/varvedb/varve/internal/answer"
	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// Filtered is a rule: of these tags the site gets the samples that a filter keeps.
type Filtered struct {
	Tags []string `yaml:"tags"` // names and patterns, of names that tags had first; the default is all. The first rule that has a tag is its
	// The exception test, as docs/reference/filters.md has it; or
	ExcDev *float64      `yaml:"exc_dev"`
	ExcMin time.Duration `yaml:"exc_min"`
	ExcMax time.Duration `yaml:"exc_max"`
	// compression deviation. One of the two.
	CompDev *float64      `yaml:"comp_dev"`
	CompMax time.Duration `yaml:"comp_max"`

	Every  time.Duration `yaml:"every"`  // the filter begins anew at its multiples. 1s to 24h, and a divisor of 24h; the default is 1m
	Settle time.Duration `yaml:"settle"` // how long after its end a stretch is sent first. The default is 10s
}

// filter is what the rule asks for, of either kind.
func (r *Filtered) filter() model.Filter {
	if r.CompDev != nil {
		return filter.Asked(r.CompDev, 0, r.CompMax)
	}
	return filter.Asked(r.ExcDev, r.ExcMin, r.ExcMax)
}

func (r *Filtered) check() error {
	switch {
	case (r.ExcDev == nil) == (r.CompDev == nil):
		return fmt.Errorf("give one of exc_dev, the exception test, and comp_dev, a compression deviation")
	case r.ExcDev == nil && (r.ExcMin != 0 || r.ExcMax != 0):
		return fmt.Errorf("exc_min and exc_max need exc_dev")
	case r.CompDev == nil && r.CompMax != 0:
		return fmt.Errorf("comp_max needs comp_dev")
	}
	return filter.Settings{Filter: r.filter()}.Check()
}

// sampleFilter is a filter of package compression.
type sampleFilter interface {
	Add(dst []filter.Kept, x model.Sample) []filter.Kept
	Flush(dst []filter.Kept) []filter.Kept
}

func (r *Filtered) start(s *varvev1.Settings) (sampleFilter, error) {
	settings := filter.Of(r.filter(), model.Settings{Type: model.Type(s.Type), Stepped: s.Stepped, MaxGap: time.Duration(s.MaxGapNs)})
	if r.CompDev != nil {
		return swingingdoor.New(settings, swingingdoor.Strict)
	}
	return exception.New(settings)
}

// thinner forwards the tags of one rule. What the site has of a bucket is a function of what the edge has of it: the filter begins anew in each, and at its end what it
// holds back is sent. So nothing of a filter outlasts a pass, and late samples, edits, removals and gaps need no rules of their own: their bucket is filtered again, and
// what is not kept any more is removed.
type thinner struct {
	*lane
	rule  Filtered
	index int   // of the rule
	sent  int64 // nothing of this time or later was sent before this pass
}

func newThinner(f *Forwarder, index int) (t *thinner, err error) {
	rules := f.c.Filtered[:index+1]
	t = &thinner{rule: rules[index], index: index}
	key := "filtered"
	for _, r := range rules { // those before have the tags that they match
		key += fmt.Sprint(r.Tags)
	}
	key += fmt.Sprint(t.rule.CompDev != nil, t.rule.filter(), t.rule.Every)
	t.lane, err = newLane(f, t, key, "filtered samples", f.c.Tags, t.rule.Every, t.rule.Settle, &f.health.filtered[index])
	return t, err
}

func (t *thinner) takes(first string) bool { return t.f.c.filterOf(first) == t.index }

// begin notes on disk how far buckets are sent, before any is. Behind that the site has nothing that might have to be removed: so of live buckets only what is kept is sent.
func (t *thinner) begin(over int64) (bool, error) {
	t.sent = t.place.Sent
	if end := startAt(over, int64(t.every)); end > t.place.Sent {
		t.place.Sent = end
		return true, t.keep()
	}
	return true, nil
}

// gapChanged marks the buckets in which the filter begins anew, or did, because of a gap. As ranges, of which nothing is kept where they are not over: an end may lie far ahead,
// and would hold the place.
func (t *thinner) gapChanged(tag uint32, g *varvev1.Gap, at int64) {
	t.markRange(tag, g.StartNs, g.StartNs+1, at, false)
	if g.EndNs != nil {
		t.markRange(tag, *g.EndNs, *g.EndNs+1, at, false)
	}
}

// compute gathers what is kept of buckets, and removals of what is not.
func (t *thinner) compute(ctx context.Context, p *packer, tag *edgeTag, s span, over int64, _ bool) error {
	start, end := startAt(s.from, int64(t.every)), startAt(min(s.to, over), int64(t.every))
	cuts, err := t.cuts(ctx, tag, start, end)
	if err != nil {
		return err
	}
	err = t.tags.removals(ctx, tag, start, end, func(r *answer.Row) error { return t.remove(ctx, p, tag, r) })
	if err != nil {
		return err
	}
	x := thinning{tag: tag, rule: &t.rule, cuts: cuts, until: math.MinInt64}
	x.kept = func(r *answer.Row) error { return t.put(ctx, p, tag, r) }
	x.dropped = func(r *answer.Row) error {
		r.Value = answer.Value{Null: true}
		r.End = answer.End{Kind: kindRemoved, Author: t.f.c.Source, Reason: "left out by the filter"}
		return t.remove(ctx, p, tag, r)
	}
	if err := t.tags.samples(ctx, tag, start, end, x.add); err != nil {
		return err
	}
	return x.end()
}

// remove gathers a removal, where the site may have the sample.
func (t *thinner) remove(ctx context.Context, p *packer, tag *edgeTag, r *answer.Row) error {
	if r.Time >= t.sent {
		return nil
	}
	return t.put(ctx, p, tag, r)
}

func (t *thinner) put(ctx context.Context, p *packer, tag *edgeTag, r *answer.Row) error {
	typ, fits := tag.fits(r)
	if !fits {
		return fmt.Errorf("a value of type %s at %d, and no tag of that type", r.Value.Type, r.Time)
	}
	return t.add(ctx, p, tag, typ, r)
}

// cuts is where within a range the filter begins anew, beside buckets: readers draw no line across the ends of a gap, nor across a change of settings, so that
// what stands next to one may not be left out.
func (t *thinner) cuts(ctx context.Context, tag *edgeTag, start, end int64) (cuts []int64, err error) {
	for _, s := range tag.site.Settings {
		cuts = append(cuts, s.FromNs)
	}
	r := &varvev1.ListGapsRequest{TagIds: []uint32{tag.id}, StartNs: &start, EndNs: &end}
	for {
		l, err := t.f.edge.Gaps.ListGaps(ctx, r)
		if err != nil {
			return nil, fmt.Errorf("gaps of the edge: %w", err)
		}
		for _, g := range l.Gaps {
			cuts = append(cuts, g.StartNs)
			if g.EndNs != nil {
				cuts = append(cuts, *g.EndNs)
			}
		}
		if r.PageToken = l.NextPageToken; r.PageToken == "" {
			slices.Sort(cuts)
			return slices.Compact(cuts), nil
		}
	}
}

// thinning filters the samples of a tag in order of time.
type thinning struct {
	tag           *edgeTag
	rule          *Filtered
	cuts          []int64
	kept, dropped func(*answer.Row) error

	filter sampleFilter
	until  int64       // it begins anew there
	held   *answer.Row // the newest, while it is neither kept nor dropped
	out    []filter.Kept
}

// add takes the next sample.
func (x *thinning) add(r *answer.Row) error {
	if x.filter == nil || r.Time >= x.until {
		if err := x.begin(r.Time); err != nil {
			return err
		}
	}
	typ, fits := x.tag.fits(r)
	if !fits {
		return fmt.Errorf("a value of type %s at %d, and no tag of that type", r.Value.Type, r.Time)
	}
	s := model.Sample{Time: r.Time, Type: typ, Bits: r.Value.Bits, Quality: r.Quality, Null: r.Value.Null, Seq: r.Seq}
	if typ.Blob() {
		s.Bits, s.Blob = 0, []byte(r.Value.Text)
	}
	x.out = x.filter.Add(x.out[:0], s)
	if err := x.settle(); err != nil {
		return err
	}
	if hasSample(x.out, r) {
		return x.kept(r)
	}
	x.held = r
	return nil
}

// settle keeps or drops what was held back, as the filter said.
func (x *thinning) settle() error {
	r := x.held
	if x.held = nil; r == nil {
		return nil
	}
	if hasSample(x.out, r) {
		return x.kept(r)
	}
	return x.dropped(r)
}

func hasSample(kept []filter.Kept, r *answer.Row) bool {
	return slices.ContainsFunc(kept, func(k filter.Kept) bool { return k.Time == r.Time && k.Seq == r.Seq })
}

// end keeps the newest.
func (x *thinning) end() error {
	if x.filter == nil {
		return nil
	}
	x.out = x.filter.Flush(x.out[:0])
	return x.settle()
}

// begin starts a filter for what comes from a time on.
func (x *thinning) begin(at int64) error {
	if err := x.end(); err != nil {
		return err
	}
	settings := x.tag.site.Settings[0]
	for _, s := range x.tag.site.Settings[1:] {
		if s.FromNs <= at {
			settings = s
		}
	}
	bucket := bucketOf(at, int64(x.rule.Every))
	x.until = startAt(bucket+1, int64(x.rule.Every))
	i, _ := slices.BinarySearchFunc(x.cuts, at, func(cut, at int64) int { return cmp.Or(cmp.Compare(cut, at), -1) })
	if i < len(x.cuts) {
		x.until = min(x.until, x.cuts[i])
	}
	var err error
	x.filter, err = x.rule.start(settings)
	return err
}
