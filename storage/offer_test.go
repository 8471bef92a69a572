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

func (c *choosy) Takes(*rollup.Partial) bool { return c.rng.IntN(4) > 0 }

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

// requireOffered holds what a tag's samples are offered as, whatever is refused, against the model.
func requireOffered(t testing.TB, v *View, m plain.Store, tag model.TagID, edges []int64) {
	n := len(edges)
	c := &choosy{t: t, rng: rand.New(rand.NewPCG(uint64(tag), uint64(edges[0]))), edges: edges, out: make([]rollup.Partial, n+1), until: model.MinTime}
	require.NoError(t, v.Offer(context.Background(), tag, edges, c))
	for i := range n - 1 {
		in := model.TimeRange{Start: edges[i], End: edges[i+1]}
		want := partialOf(m.Current(tag, in))
		requireSamePartial(t, &want, &c.out[i+1], in, Full, "offered of tag %d %s", tag, in)
	}
	before := m.Current(tag, model.TimeRange{Start: model.MinTime, End: edges[0]})
	after := m.Current(tag, model.TimeRange{Start: edges[n-1], End: model.All.End})
	want := partialOf(before[max(len(before)-1, 0):])
	requireSamePoint(t, want.Last, c.out[0].Last, "before")
	want = partialOf(after[:min(len(after), 1)])
	requireSamePoint(t, want.First, c.out[n].First, "behind")
}
