package queue

import (
	"cmp"
	"maps"
	"slices"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// mergeReports says the same of each tag in fewer reports, of most tags in all if it can: an open gap that was said to end is one with an end, and gaps of a kind that
// touch are one. Where that is still too many, the nearest gaps of a kind of a tag become one, down to one: then what lies between is told as a gap
// too, in which the samples that stand count as ever. Nothing that was told to be missing is left out.
func mergeReports(in []report, most int) (out []report) {
	of := map[string]*tagReports{}
	for _, r := range in {
		for _, tag := range r.tags() {
			t := of[tag]
			if t == nil {
				t = &tagReports{}
				of[tag] = t
			}
			t.add(r)
		}
	}
	size := 0
	for _, t := range of {
		size += t.join(len(in))
	}
	for each := largest(of); size > most && each > 1; {
		each = (each + 1) / 2
		size = 0
		for _, t := range of {
			size += t.join(each)
		}
	}
	return regroup(of)
}

func largest(of map[string]*tagReports) (n int) {
	for _, t := range of {
		n = max(n, len(t.gaps))
	}
	return n
}

// tagReports is what is said of one tag: first that gaps end which were told before, then gaps.
type tagReports struct {
	ends []report // the first and the last
	gaps []tagGap
}

type tagGap struct {
	start, end int64
	open       bool
	report     report // that it is from
}

func (t *tagReports) add(r report) {
	switch m := r.message.(type) {
	case *varvev1.EndGapsRequest:
		for i := range t.gaps {
			of := t.gaps[i].report.message.(*varvev1.RecordGapsRequest).Source
			if g := &t.gaps[i]; g.open && g.start < m.EndNs && (m.Source == "" || m.Source == of) {
				g.open, g.end = false, m.EndNs
			}
		}
		switch last := len(t.ends) - 1; {
		case last < 1:
			t.ends = append(t.ends, r)
		case m.EndNs > t.ends[last].message.(*varvev1.EndGapsRequest).EndNs:
			t.ends[last] = r
		}
	case *varvev1.RecordGapsRequest:
		g := tagGap{start: m.StartNs, open: m.EndNs == nil, report: r}
		if !g.open {
			g.end = *m.EndNs
		}
		t.gaps = append(t.gaps, g)
	}
}

// kind is what gaps that become one have alike.
func (g tagGap) kind() varvev1.GapKind { return g.report.message.(*varvev1.RecordGapsRequest).Kind }

// join makes gaps one that touch, and then the nearest until there are at most so many, or no two that can be one. It returns how many reports are left.
func (t *tagReports) join(most int) int {
	slices.SortStableFunc(t.gaps, func(a, b tagGap) int {
		return cmp.Or(cmp.Compare(a.kind(), b.kind()), compareBool(a.open, b.open), cmp.Compare(a.start, b.start))
	})
	t.joinWithin(0)
	if n := len(t.gaps) - most; n > 0 {
		var distances []int64
		for i, g := range t.gaps[1:] {
			if d, ok := t.gaps[i].distance(g); ok {
				distances = append(distances, d)
			}
		}
		slices.Sort(distances)
		if n = min(n, len(distances)); n > 0 {
			t.joinWithin(distances[n-1])
		}
	}
	return len(t.ends) + len(t.gaps)
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// distance is how far b, which does not begin before a, lies behind it. It reports false where they cannot be one: an open gap ends by what is said later, and
// one with an end does not.
func (a tagGap) distance(b tagGap) (int64, bool) {
	if a.kind() != b.kind() || a.open != b.open {
		return 0, false
	}
	from := a.end
	if a.open {
		from = a.start
	}
	if b.start <= from {
		return 0, true
	}
	d := b.start - from
	return d, d > 0 // else it is farther than can be said
}

// joinWithin makes gaps one that lie at most so far apart.
func (t *tagReports) joinWithin(most int64) {
	var kept []tagGap
	for _, g := range t.gaps {
		if n := len(kept) - 1; n >= 0 {
			if d, ok := kept[n].distance(g); ok && d <= most {
				kept[n].end = max(kept[n].end, g.end)
				kept[n].report.typ = max(kept[n].report.typ, g.report.typ)
				continue
			}
		}
		kept = append(kept, g)
	}
	t.gaps = kept
}

// regroup makes reports of what is said of each tag; of what is said alike of several, one.
func regroup(of map[string]*tagReports) (out []report) {
	type alike struct {
		rank         int // ends, then gaps: the order of a tag
		kind         varvev1.GapKind
		start, end   int64
		open         bool
		reason, from string
		typ          varvev1.Type
	}
	type group struct {
		alike
		first report
		tags  []string
	}
	groups := map[alike]*group{}
	add := func(k alike, r report, tag string) {
		g := groups[k]
		if g == nil {
			g = &group{alike: k, first: r}
			groups[k] = g
		}
		g.tags = append(g.tags, tag)
	}
	for tag, t := range of {
		for i, r := range t.ends {
			m := r.message.(*varvev1.EndGapsRequest)
			add(alike{rank: i, end: m.EndNs, reason: m.Reason, from: m.Source}, r, tag)
		}
		for _, g := range t.gaps {
			m := g.report.message.(*varvev1.RecordGapsRequest)
			add(alike{2, m.Kind, g.start, g.end, g.open, m.Reason, m.Source, g.report.typ}, g.report, tag)
		}
	}
	order := slices.SortedFunc(maps.Values(groups), func(a, b *group) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.start, b.start), cmp.Compare(a.end, b.end), cmp.Compare(a.kind, b.kind),
			cmp.Compare(a.reason, b.reason), cmp.Compare(a.from, b.from), cmp.Compare(a.typ, b.typ), compareBool(a.open, b.open))
	})
	for _, g := range order {
		slices.Sort(g.tags)
		for tags := range slices.Chunk(g.tags, maxGapTags) {
			r := g.first.about(tags)
			if m, ok := r.message.(*varvev1.RecordGapsRequest); ok {
				m.StartNs, m.EndNs = g.start, nil
				if !g.open {
					m.EndNs = &g.end
				}
			}
			out = append(out, r)
		}
	}
	return out
}
