package forward

import (
	"context"
	"crypto/sha1"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/varvedb/varve/internal/answer"
	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// Aggregate is a rule: an aggregate of tags in buckets of one length, into tags of their own at the site.
type Aggregate struct {
	Tags     []string      `yaml:"tags"`     // names and patterns; the default is all
	Function string        `yaml:"function"` // as ReadProcessed knows it
	Every    time.Duration `yaml:"every"`    // 1s to 24h, and a divisor of 24h; buckets begin at multiples of it
	Suffix   string        `yaml:"suffix"`   // behind the name that the tag has at the site
	Settle   time.Duration `yaml:"settle"`   // how long after its end a bucket is sent first. The default is 10s
}

// functionUnit says of the functions that may be forwarded whether their values have the unit of the tag.
var functionUnit = map[string]bool{
	"count": false, "sum": true, "minimum": true, "maximum": true, "range": true, "standard_deviation": true,
	"event_weighted_average": true, "time_weighted_average": true,
}

// aggregator forwards one rule: buckets are asked of the edge.
type aggregator struct {
	*lane
	rule Aggregate
}

func newAggregator(f *Forwarder, index int) (a *aggregator, err error) {
	rule := f.c.Aggregates[index]
	a = &aggregator{rule: rule}
	a.lane, err = newLane(f, a, rule.key(), rule.Function, rule.Tags, rule.Every, rule.Settle, &f.health.aggregates[index])
	return a, err
}

func (r *Aggregate) key() string { return fmt.Sprint(r.Tags, r.Function, r.Every, r.Suffix) }

func (a *aggregator) takes(string) bool { return true }

// begin lets samples go first, which are wanted first.
func (a *aggregator) begin(int64) (bool, error) {
	if !a.f.c.raw() {
		return true, nil
	}
	st := a.f.health.samples()
	return !st.Reading && st.Lag <= time.Minute, nil
}

// gapChanged marks all of a gap, and what it was until it changed.
func (a *aggregator) gapChanged(tag uint32, g *varvev1.Gap, at int64) {
	end := max(at, g.StartNs+1)
	if g.EndNs != nil {
		end = max(end, *g.EndNs)
	}
	a.markRange(tag, g.StartNs, end, at, false)
}

// askAtOnce is the most buckets of one question.
const askAtOnce = 50_000

// compute sends the buckets that a change in [from, to) may have changed: those, and what lies between them and the samples next to them, since a value between two samples
// is of both.
func (a *aggregator) compute(ctx context.Context, p *packer, tag *edgeTag, s span, over int64, gone bool) error {
	from, to, every := s.from, s.to, int64(a.rule.Every)
	first, last := from, to // buckets of which something is known
	before, err := a.neighbour(ctx, tag, startAt(from, every)-1, true)
	if err != nil {
		return err
	}
	if before != nil {
		first = a.bucket(*before)
	} else if inside, err := a.neighbour(ctx, tag, startAt(from, every), false); err != nil {
		return err
	} else if inside == nil || a.bucket(*inside) >= to {
		first = to
	} else {
		first = a.bucket(*inside)
	}
	behind, err := a.neighbour(ctx, tag, startAt(to, every), false)
	if err != nil {
		return err
	}
	if behind != nil {
		last = a.bucket(*behind) + 1
	} else if inside, err := a.neighbour(ctx, tag, startAt(to, every)-1, true); err != nil {
		return err
	} else if inside == nil {
		last = first
	} else {
		last = a.bucket(*inside) + 1
	}
	derived := a.derived(tag)
	last = min(last, over)
	for _, rest := range []span{{from, min(to, first)}, {max(from, last), to}} {
		if gone && rest.from < rest.to { // else it is what the edge forgot
			if err := a.nothing(ctx, p, derived, rest); err != nil {
				return err
			}
		}
	}
	for at := first; at < last; at += askAtOnce {
		if err := a.ask(ctx, p, tag, derived, at, min(at+askAtOnce, last)); err != nil {
			return err
		}
	}
	return nil
}

// neighbour is the time of the sample at an instant, or the nearest one before or behind it; nil for none.
func (a *aggregator) neighbour(ctx context.Context, tag *edgeTag, at int64, before bool) (*int64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := &varvev1.ReadRangeRequest{TagIds: []uint32{tag.id}, StartNs: &at, Limit: 1}
	end := int64(math.MaxInt64)
	if before {
		end = -math.MaxInt64
	}
	r.EndNs = &end
	stream, err := a.f.edge.Query.ReadRange(ctx, r)
	if err != nil {
		return nil, err
	}
	x, err := answer.NewReader(stream)
	if err != nil {
		return nil, err
	}
	defer x.Close()
	row, err := answer.NewRows(x, nil).Next()
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	return &row.Time, err
}

// derived is the tag at the site that an aggregate of a tag becomes.
func (a *aggregator) derived(tag *edgeTag) *edgeTag {
	id, err := uuid.Parse(tag.site.Uuid)
	if err != nil {
		id = uuid.NewHash(sha1.New(), uuid.Nil, []byte(tag.site.Uuid), 5)
	}
	s := &varvev1.Tag{
		Uuid: uuid.NewHash(sha1.New(), id, []byte(a.f.c.Source+" "+a.rule.Suffix), 5).String(), Name: tag.site.Name + a.rule.Suffix,
		Description: fmt.Sprintf("%s of %s every %s", a.rule.Function, tag.site.Name, a.rule.Every),
	}
	unit := ""
	for i, x := range tag.site.Settings {
		u := ""
		if functionUnit[a.rule.Function] {
			u = x.Unit
		}
		if i > 0 && u == unit {
			continue
		}
		unit = u
		s.Settings = append(s.Settings, &varvev1.Settings{FromNs: x.FromNs, Type: varvev1.Type_TYPE_FLOAT64, Unit: u})
	}
	return &edgeTag{edge: s.Name, name: s.Name, types: answer.OfType(model.Float64), site: s}
}

// nothing removes what stands in buckets at the site.
func (a *aggregator) nothing(ctx context.Context, p *packer, derived *edgeTag, s span) error {
	if err := a.flush(ctx, p); err != nil {
		return err
	}
	parcel := &varvev1.Parcel{}
	derived.into(parcel)
	every := int64(a.rule.Every)
	parcel.Steps = []*varvev1.Step{{What: &varvev1.Step_Deleted{Deleted: &varvev1.StepRange{
		Tags: []string{derived.site.Name}, Ranges: []*varvev1.TimeSpan{{StartNs: startAt(s.from, every), EndNs: startAt(s.to, every)}},
		Author: a.f.c.Source, Reason: "nothing is known of it any more",
	}}}}
	return a.f.deliver(ctx, parcel)
}

// ask asks the edge for buckets [from, to) and gathers their values.
func (a *aggregator) ask(ctx context.Context, p *packer, tag, derived *edgeTag, from, to int64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	every := int64(a.rule.Every)
	stream, err := a.f.edge.Query.ReadProcessed(ctx, &varvev1.ReadProcessedRequest{
		TagIds: []uint32{tag.id}, StartNs: from * every, EndNs: to * every, StepNs: every, Aggregates: []string{a.rule.Function},
	})
	if err != nil {
		return err
	}
	r, err := answer.NewReader(stream)
	if status.Code(err) == codes.InvalidArgument { // text, or a change of unit within: there is no such aggregate
		a.f.o.Logger.Warn("a tag has no such aggregate", "tag", tag.edge, "function", a.rule.Function, "error", err)
		return nil
	}
	if err != nil {
		return err
	}
	defer r.Close()
	var empty []span
	for rows := answer.NewRows(r, nil); ; {
		row, err := rows.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		v, number := row.Value.Number()
		if b := a.bucket(row.Time); !number {
			if n := len(empty); n > 0 && empty[n-1].to == b {
				empty[n-1].to++
			} else {
				empty = append(empty, span{b, b + 1})
			}
			continue
		}
		out := answer.Row{Time: row.Time, Quality: row.Quality, Value: answer.Value{Type: model.Float64, Bits: math.Float64bits(v)}, End: answer.End{Kind: kindNew}}
		if err := a.add(ctx, p, derived, model.Float64, &out); err != nil {
			return err
		}
	}
	for _, s := range empty {
		if err := a.nothing(ctx, p, derived, s); err != nil {
			return err
		}
	}
	return nil
}
