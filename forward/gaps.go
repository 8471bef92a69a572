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
	latest, p := int64(math.MinInt64), &varvev1.Parcel{}
	send := func() error {
		if len(p.Steps) == 0 {
			return nil
		}
		err := f.deliver(ctx, p)
		p = &varvev1.Parcel{}
		return err
	}
	err := f.eachGroup(ctx, func(w *varvev1.Tag, group []*varvev1.Gap) error {
		changed := false
		for _, g := range group {
			stamp := max(g.RecordedNs, g.ChangedNs)
			latest = max(latest, stamp)
			if key := (gapKey{g.Id, g.TagId}); stamp >= f.place.GapsTo && f.gaps.sent[key] != stamp {
				changed, f.gaps.sent[key] = true, stamp
			}
		}
		if !changed {
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
		return fmt.Errorf("gaps of the edge: %w", err)
	}
	if before := f.gaps.seen; before > f.place.GapsTo {
		f.place.GapsTo, f.changed = before, true
		maps.DeleteFunc(f.gaps.sent, func(_ gapKey, stamp int64) bool { return stamp < before })
	}
	f.gaps.seen = latest
	return nil
}

// eachGroup visits the gaps of all tags that are forwarded: those of one tag, kind, source and start together.
func (f *Forwarder) eachGroup(ctx context.Context, visit func(*varvev1.Tag, []*varvev1.Gap) error) error {
	f.tags.sets = nil // they may have changed
	for _, pattern := range f.c.Tags {
		tags := map[uint32]*varvev1.Tag{}
		for page := ""; ; {
			l, err := f.edge.Catalog.ListTags(ctx, &varvev1.ListTagsRequest{Filter: pattern, PageToken: page})
			if err != nil {
				return err
			}
			for _, t := range l.Tags {
				tags[t.Id] = t
			}
			page = l.NextPageToken
			if len(tags) > 0 && (page == "" || len(tags) >= gapTags-1000) {
				if err := f.groupsOf(ctx, tags, visit); err != nil {
					return err
				}
				clear(tags)
			}
			if page == "" {
				break
			}
		}
	}
	return nil
}

// groupsOf is eachGroup of some tags. Gaps are listed by tag and start, so that only those of one start are in memory.
func (f *Forwarder) groupsOf(ctx context.Context, tags map[uint32]*varvev1.Tag, visit func(*varvev1.Tag, []*varvev1.Gap) error) error {
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
		l, err := f.edge.Gaps.ListGaps(ctx, r)
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
