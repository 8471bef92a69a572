package forward

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// gapPoll is what is known of the edge's gaps. A gap is sent when it changed since the place; the place moves to what the poll before saw,
// since what that did not see changed later.
type gapPoll struct {
	due  time.Time
	seen int64            // latest ingest time of a change that the poll before saw
	sent map[gapKey]int64 // gaps that are sent, as they were at that time, of those that changed since the place
}

type gapKey struct {
	id  uint64
	tag uint32
}

func newGapPoll() gapPoll { return gapPoll{seen: math.MinInt64, sent: map[gapKey]int64{}} }

const (
	gapTags   = 10_000 // of one question
	gapParcel = 500    // gaps of one parcel
)

// sendGaps sends the gaps that changed.
func (f *Forwarder) sendGaps(ctx context.Context) error {
	p := &varvev1.Parcel{}
	send := func() error {
		if len(p.Steps) == 0 {
			return nil
		}
		err := f.deliver(ctx, p)
		p = &varvev1.Parcel{}
		return err
	}
	f.tags.sets = nil // they may have changed
	to, err := f.gaps.poll(ctx, &f.edge, f.c.Tags, f.place.GapsTo, func(w *varvev1.Tag, group []*varvev1.Gap) error {
		if !f.c.raw() && f.c.filterOf(firstName(w)) < 0 {
			return nil
		}
		tag, err := f.tags.made(ctx, w)
		if err != nil {
			return err
		}
		for _, g := range group {
			g.Tag = tag.site.Name
		}
		tag.into(p)
		p.Steps = append(p.Steps, &varvev1.Step{What: &varvev1.Step_Gaps{Gaps: &varvev1.StepGaps{Gaps: group}}})
		if len(p.Steps) < gapParcel {
			return nil
		}
		return send()
	})
	if err == nil {
		err = send()
	}
	if err != nil {
		clear(f.gaps.sent)
		return err
	}
	if to > f.place.GapsTo {
		f.place.GapsTo, f.changed = to, true
	}
	return nil
}

// poll visits the gaps that changed since a time, with those of their tag, kind, source and start, and returns up to when that is all.
func (p *gapPoll) poll(ctx context.Context, edge *Edge, patterns []string, since int64, visit func(*varvev1.Tag, []*varvev1.Gap) error) (to int64, err error) {
	latest := int64(math.MinInt64)
	err = edge.eachGroup(ctx, patterns, func(t *varvev1.Tag, group []*varvev1.Gap) error {
		changed := false
		for _, g := range group {
			stamp := max(g.RecordedNs, g.ChangedNs)
			latest = max(latest, stamp)
			if key := (gapKey{g.Id, g.TagId}); stamp >= since && p.sent[key] != stamp {
				changed, p.sent[key] = true, stamp
			}
		}
		if !changed {
			return nil
		}
		return visit(t, group)
	})
	if err != nil {
		clear(p.sent)
		return since, fmt.Errorf("gaps of the edge: %w", err)
	}
	to = max(since, p.seen)
	maps.DeleteFunc(p.sent, func(_ gapKey, stamp int64) bool { return stamp < to })
	p.seen = latest
	return to, nil
}

// eachTag visits the tags of patterns.
func (e *Edge) eachTag(ctx context.Context, patterns []string, visit func(*varvev1.Tag) error) error {
	for _, pattern := range patterns {
		for page := ""; ; {
			l, err := e.Catalog.ListTags(ctx, &varvev1.ListTagsRequest{Filter: pattern, PageToken: page})
			if err != nil {
				return err
			}
			for _, t := range l.Tags {
				if err := visit(t); err != nil {
					return err
				}
			}
			if page = l.NextPageToken; page == "" {
				break
			}
		}
	}
	return nil
}

// eachGroup visits the gaps of all tags of patterns: those of one tag, kind, source and start together.
func (e *Edge) eachGroup(ctx context.Context, patterns []string, visit func(*varvev1.Tag, []*varvev1.Gap) error) error {
	tags := map[uint32]*varvev1.Tag{}
	err := e.eachTag(ctx, patterns, func(t *varvev1.Tag) error {
		if tags[t.Id] = t; len(tags) < gapTags {
			return nil
		}
		defer clear(tags)
		return e.groupsOf(ctx, tags, visit)
	})
	if err != nil || len(tags) == 0 {
		return err
	}
	return e.groupsOf(ctx, tags, visit)
}

// groupsOf is eachGroup of some tags. Gaps are listed by tag and start, so that only those of one start are in memory.
func (e *Edge) groupsOf(ctx context.Context, tags map[uint32]*varvev1.Tag, visit func(*varvev1.Tag, []*varvev1.Gap) error) error {
	r := &varvev1.ListGapsRequest{Withdrawn: true, TagIds: slices.Collect(maps.Keys(tags))}
	var together []*varvev1.Gap // of one tag and start
	end := func() error {
		for len(together) > 0 {
			g := together[0]
			same := func(x *varvev1.Gap) bool { return x.Kind == g.Kind && x.Source == g.Source }
			var group, rest []*varvev1.Gap
			for _, x := range together {
				if same(x) {
					group = append(group, x)
				} else {
					rest = append(rest, x)
				}
			}
			if t := tags[g.TagId]; t != nil {
				if err := visit(t, group); err != nil {
					return err
				}
			}
			together = rest
		}
		return nil
	}
	for {
		l, err := e.Gaps.ListGaps(ctx, r)
		if err != nil {
			return err
		}
		for _, g := range l.Gaps {
			if len(together) > 0 && (together[0].TagId != g.TagId || together[0].StartNs != g.StartNs) {
				if err := end(); err != nil {
					return err
				}
			}
			together = append(together, g)
		}
		if r.PageToken = l.NextPageToken; r.PageToken == "" {
			return end()
		}
	}
}
