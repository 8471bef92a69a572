package catalog

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/varvedb/varve/internal/glob"
	"github.com/varvedb/varve/model"
)

// TestGlobAgreesWithPath compares with the standard library, which has no other meaning for these characters.
func TestGlobAgreesWithPath(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pattern := rapid.StringOfN(rapid.SampledFrom([]rune("ab*?ü")), 0, 12, -1).Draw(t, "pattern")
		s := rapid.StringOfN(rapid.SampledFrom([]rune("abüñ")), 0, 12, -1).Draw(t, "s")
		want, err := path.Match(pattern, s)
		require.NoError(t, err)
		require.Equal(t, want, glob.Match(pattern, s))
		prefix, rest := splitGlob(pattern)
		tail, has := strings.CutPrefix(s, prefix)
		require.Equal(t, want, has && glob.Match(rest, tail))
	})
}

// naiveList is List without an index.
func naiveList(c *Catalog, f Filter) (names []string) {
	for id := model.TagID(1); int(id) <= c.Len(); id++ {
		tag, _ := c.Tag(id)
		ok, _ := path.Match(f.Glob, tag.Name)
		if (f.Glob == "" || ok) && f.matches(tag) {
			names = append(names, tag.Name)
		}
	}
	slices.Sort(names)
	return names
}

// pages reads a whole list page by page.
func pages(t require.TestingT, c *Catalog, f Filter, limit int) (names []string) {
	after := ""
	for {
		tags, next, total := c.List(f, after, limit)
		require.LessOrEqual(t, len(tags), limit)
		for _, tag := range tags {
			names = append(names, tag.Name)
		}
		if next == "" {
			require.Equal(t, total, len(names))
			return names
		}
		after = next
	}
}

// TestListAgreesWithScan lists while tags are made and renamed.
func TestListAgreesWithScan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := New(Options{})
		name := rapid.StringOfN(rapid.SampledFrom([]rune("ab.ü")), 1, 4, -1)
		for step := range rapid.IntRange(1, 40).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0, 1:
				ch := create(name.Draw(t, "name"), step+1, rapid.SampledFrom([]model.Type{model.Float64, model.Bool}).Draw(t, "type"))
				ch.Create.Tag.Settings[0].Unit = rapid.SampledFrom([]string{"", "bar"}).Draw(t, "unit")
				ch.Create.Tag.Attributes = map[string]string{"area": rapid.SampledFrom([]string{"", "1", "2"}).Draw(t, "area")}
				c.Apply([]Change{ch}, int64(step))
			case 2:
				if c.Len() > 0 {
					id := rapid.IntRange(1, c.Len()).Draw(t, "id")
					c.Apply([]Change{rename(model.TagID(id), name.Draw(t, "new name"), 0)}, int64(step))
				}
			case 3:
				f := Filter{
					Glob: rapid.SampledFrom([]string{"", "*", "a*", "ü*", "?", "*b", "a", "a*b*", "*.*"}).Draw(t, "glob"),
					Type: rapid.SampledFrom([]model.Type{0, 0, model.Bool}).Draw(t, "type"),
					Unit: rapid.SampledFrom([]string{"", "bar"}).Draw(t, "unit"),
				}
				if rapid.Bool().Draw(t, "by attribute") {
					f.Attributes = map[string]string{"area": "1"}
				}
				require.Equal(t, naiveList(c, f), pages(t, c, f, rapid.IntRange(1, 5).Draw(t, "limit")))
			}
		}
	})
}

// TestListAfterVeryManyChanges makes more names than the list remembers one by one.
func TestListAfterVeryManyChanges(t *testing.T) {
	c := New(Options{})
	c.Apply([]Change{create("zero", 1<<30, model.Float64)}, 1)
	require.Equal(t, []string{"zero"}, pages(t, c, Filter{}, 10))
	c.Apply(plantTags(maxRenamed+10), 1)
	_, _, total := c.List(Filter{}, "", 1)
	require.Equal(t, maxRenamed+11, total)
	require.Equal(t, []string{"AREA09.UNIT000.T-000009.PV"}, pages(t, c, Filter{Glob: "*T-000009*"}, 10))
	c.Apply([]Change{rename(1, "one", 0)}, 2)
	require.Equal(t, []string{"one"}, pages(t, c, Filter{Glob: "*one"}, 10))
}

func TestListPageLimitZero(t *testing.T) {
	c := New(Options{})
	for i := range 3 {
		c.Apply([]Change{create(fmt.Sprint(i), i+1, model.Float64)}, 1)
	}
	tags, next, total := c.List(Filter{}, "", 0)
	require.Empty(t, tags)
	require.Empty(t, next)
	require.Equal(t, 3, total)
}
