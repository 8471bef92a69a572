package plain

import (
	"cmp"
	"slices"

	"github.com/varvedb/varve/model"
)

// Gaps is the gaps of tags, those withdrawn too.
type Gaps map[model.TagID][]*Gap

// Gap is a gap and what became of it, oldest first.
type Gap struct {
	model.Gap // as it was reported
	Versions  []GapVersion
}

// GapVersion is what a gap was until the next one.
type GapVersion struct {
	To             int64
	Withdrawn      bool
	Author, Reason string
	Ingest         int64 // nanoseconds UTC
}

func (g *Gap) newest() *GapVersion { return &g.Versions[len(g.Versions)-1] }

// Report adds a gap to tags, but to those of which the same one stands.
func (s Gaps) Report(tags []model.TagID, g model.Gap, v GapVersion) {
	for _, tag := range tags {
		same := func(x *Gap) bool {
			n := x.newest()
			return !n.Withdrawn && x.From == g.From && n.To == g.To && x.Kind == g.Kind && x.Source == g.Source
		}
		if !slices.ContainsFunc(s[tag], same) {
			v.To = g.To
			s[tag] = append(s[tag], &Gap{g, []GapVersion{v}})
		}
	}
}

// End ends the open gaps of tags, of a source or, where it is empty, of all, that began before an instant.
func (s Gaps) End(tags []model.TagID, at int64, source string, v GapVersion) {
	for _, tag := range tags {
		for _, g := range s[tag] {
			if n := g.newest(); !n.Withdrawn && n.To == model.OpenGap && g.From < at && (source == "" || source == g.Source) {
				v.To = at
				g.Versions = append(g.Versions, v)
			}
		}
	}
}

// Withdraw ends the gaps of an id, of tags, nil for all; false where none stands.
func (s Gaps) Withdraw(id uint64, tags []model.TagID, v GapVersion) (any bool) {
	for tag, list := range s {
		for _, g := range list {
			if n := g.newest(); g.ID == id && !n.Withdrawn && (tags == nil || slices.Contains(tags, tag)) {
				v.To, v.Withdrawn = n.To, true
				g.Versions = append(g.Versions, v)
				any = true
			}
		}
	}
	return any
}

// Erase forgets the gaps of tags, nil for all, that end by the end of a range and, where whole is set, begin in it too.
func (s Gaps) Erase(tags []model.TagID, in model.TimeRange, whole bool) {
	for tag := range s {
		s[tag] = slices.DeleteFunc(s[tag], func(g *Gap) bool {
			return (tags == nil || slices.Contains(tags, tag)) && g.newest().To <= in.End && (!whole || g.From >= in.Start)
		})
	}
}

// Of is the gaps of a tag that have any instant of a range, those withdrawn too, by start and id.
func (s Gaps) Of(tag model.TagID, in model.TimeRange) (out []*Gap) {
	for _, g := range s[tag] {
		if g.From < in.End && in.Start < g.newest().To {
			out = append(out, g)
		}
	}
	slices.SortFunc(out, func(a, b *Gap) int { return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.ID, b.ID)) })
	return out
}

// AsOf is the gaps of a tag that stood at the end of the second of ingest time that an instant lies in, by start and id.
func (s Gaps) AsOf(tag model.TagID, asOf int64) (out []model.Gap) {
	end := (asOf - ((asOf%1e9)+1e9)%1e9) + 1e9
	for _, g := range s.Of(tag, model.All) {
		var now *GapVersion
		for i := range g.Versions {
			if g.Versions[i].Ingest < end {
				now = &g.Versions[i]
			}
		}
		if now != nil && !now.Withdrawn {
			x := g.Gap
			x.To = now.To
			out = append(out, x)
		}
	}
	return out
}

// Break is an instant from which on nothing is known of a tag up to its next sample.
type Break struct {
	Time    int64
	Quality model.Quality
}

// Breaks is where gaps end the shape of samples, which ascend: at the start of each, and behind the last sample in it.
func Breaks(gaps []model.Gap, samples []model.Sample) (out []Break) {
	at := map[int64]model.Quality{}
	for _, g := range gaps {
		places := []int64{g.From}
		for _, x := range samples {
			if g.From <= x.Time && x.Time < g.To {
				places = append(places[:1], x.Time+1)
			}
		}
		for _, t := range places {
			if !slices.ContainsFunc(samples, func(x model.Sample) bool { return x.Time == t }) {
				at[t] = max(at[t], g.Kind.Quality())
			}
		}
	}
	for t, q := range at {
		out = append(out, Break{t, q})
	}
	slices.SortFunc(out, func(a, b Break) int { return cmp.Compare(a.Time, b.Time) })
	return out
}
