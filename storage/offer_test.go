package storage

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/internal/plain"
	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/rollup"
)

// choosy takes some rollups, and puts what it gets into buckets.
type choosy struct {
	t     testing.TB
	rng   *rand.Rand
	typ   model.Type
	edges []int64
	out   []rollup.Partial // the first is of what lies before, the last of what lies behind
	until int64            // nothing may come before
}

// bucket is where an instant belongs in out.
func (c *choosy) bucket(at int64) int {
	require.GreaterOrEqual(c.t, at, c.until, "out of order")
	i, found := slices.BinarySearch(c.edges, at)
	if found {
		i++
	}
	return i
}

func (c *choosy) Takes(*rollup.Partial, bool) bool { return c.rng.IntN(4) > 0 }

func (c *choosy) Rollup(p *rollup.Partial) {
	if p.Empty() {
		return
	}
	i, last := c.bucket(p.FirstPoint().Time), p.LastPoint().Time
	require.Equal(c.t, i, c.bucket(last), "a rollup lies across an edge")
	c.out[i].Merge(p)
	c.until = last
}

func (c *choosy) Samples(s *model.Samples) {
	for i, at := range s.Times {
		c.out[c.bucket(at)].Add(s, i, i+1)
		c.until = at
	}
}

func (c *choosy) Gap(b Break) {
	i := c.bucket(b.Time)
	require.Equal(c.t, c.typ, b.Type)
	b.addTo(&c.out[i])
	c.until = b.Time
}

// requireOffered holds what a tag's samples are offered as, whatever is refused, against the model.
func requireOffered(t testing.TB, v *View, m plain.Store, tag model.TagID, edges []int64) {
	requireOfferedWithGaps(t, v, m, nil, tag, edges)
}

// requireOfferedWithGaps is requireOffered with the breaks that gaps of the tag make.
func requireOfferedWithGaps(t testing.TB, v *View, m plain.Store, gaps []model.Gap, tag model.TagID, edges []int64) {
	n := len(edges)
	breaks := plain.Breaks(gaps, m.Current(tag, model.All))
	c := &choosy{t: t, typ: testTypes[tag-1], rng: rand.New(rand.NewPCG(uint64(tag), uint64(edges[0]))), edges: edges, out: make([]rollup.Partial, n+1), until: model.MinTime}
	require.NoError(t, v.Offer(context.Background(), tag, edges, c))
	for i := range n - 1 {
		in := model.TimeRange{Start: edges[i], End: edges[i+1]}
		want := brokenPartialOf(testTypes[tag-1], m.Current(tag, in), breaks, in)
		requireSamePartial(t, &want, &c.out[i+1], in, Full, "offered of tag %d %s", tag, in)
	}
	before := m.Current(tag, model.TimeRange{Start: model.MinTime, End: edges[0]})
	after := m.Current(tag, model.TimeRange{Start: edges[n-1], End: model.All.End})
	between := model.TimeRange{Start: model.MinTime, End: edges[0]}
	if len(before) > 0 {
		between.Start = before[len(before)-1].Time
	}
	want := brokenPartialOf(testTypes[tag-1], before[max(len(before)-1, 0):], breaks, between)
	requireSamePoint(t, want.Last, c.out[0].Last, "before")
	require.Equal(t, pointOr(want.LastPoint()), pointOr(c.out[0].LastPoint()), "before")
	between = model.TimeRange{Start: edges[n-1], End: model.All.End}
	if len(after) > 0 {
		between.End = after[0].Time
	}
	want = brokenPartialOf(testTypes[tag-1], after[:min(len(after), 1)], breaks, between)
	requireSamePoint(t, want.First, c.out[n].First, "behind")
	require.Equal(t, pointOr(want.FirstPoint()), pointOr(c.out[n].FirstPoint()), "behind")
}

// pointOr is the time of a point and whether it is a gap.
func pointOr(p *rollup.Point) any {
	if p == nil {
		return nil
	}
	return []any{p.Time, p.Gap, p.Quality}
}
