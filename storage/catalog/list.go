package catalog

import (
	"slices"
	"strings"
	"sync"

	"github.com/varvedb/varve/internal/glob"
	"github.com/varvedb/varve/model"
)

// Filter chooses tags. The zero value of a field chooses all.
type Filter struct {
	Glob       string     // over current names: * is any text, ? one character
	Type       model.Type // of the current settings, as is Unit
	Unit       string
	Attributes map[string]string // all must be equal
}

// nameList is the current names in order, made by the first List and brought up to date by later ones, so that
// applying a record never sorts.
type nameList struct {
	mu    sync.Mutex
	names []named // replaced whole, so a List keeps the slice it took
}

type named struct {
	name string
	id   model.TagID
}

// List is up to limit tags that match, ascending by name, behind the name after; the name to go on behind, empty on
// the last page; and how many match over all pages. Filters other than a prefix look at every name of the prefix
// (about 0.1 s for a million). A tag renamed while List runs may be missing from it.
func (c *Catalog) List(f Filter, after string, limit int) (tags []*model.Tag, next string, total int) {
	prefix, rest := splitGlob(f.Glob)
	names := c.sortedNames()
	names = names[searchNames(names, prefix):]
	names = names[:prefixLen(names, prefix)]
	all := f.Type == 0 && f.Unit == "" && len(f.Attributes) == 0 && (f.Glob == "" || rest == "*")
	if all {
		total = len(names)
		if after != "" {
			names = names[searchAfter(names, after):]
		}
	}
	more := false
	for _, n := range names {
		if all && more {
			break
		}
		if f.Glob != "" && !glob.Match(rest, n.name[len(prefix):]) {
			continue
		}
		t, ok := c.Tag(n.id)
		if !ok || t.Name != n.name || !f.matches(t) {
			continue
		}
		if !all {
			total++
		}
		switch {
		case after != "" && n.name <= after:
		case len(tags) < limit:
			tags = append(tags, t)
		default:
			more = true
		}
	}
	if more && len(tags) > 0 {
		next = tags[len(tags)-1].Name
	}
	return tags, next, total
}

func (f *Filter) matches(t *model.Tag) bool {
	s := &t.Settings[len(t.Settings)-1]
	if f.Type != 0 && f.Type != s.Type || f.Unit != "" && f.Unit != s.Unit {
		return false
	}
	for k, v := range f.Attributes {
		if t.Attributes[k] != v {
			return false
		}
	}
	return true
}

// maxRenamed is how many names change until sorting all anew costs no more than remembering them.
const maxRenamed = 100_000

// noteNameLocked tells the list that a name belongs to id from now on, 0 for none. c.mu must be held.
func (c *Catalog) noteNameLocked(name string, id model.TagID) {
	switch {
	case c.mu.renamed == nil:
	case len(c.mu.renamed) >= maxRenamed:
		c.mu.renamed = nil
	default:
		c.mu.renamed[name] = id
	}
}

// sortedNames is the list as of now. A tag renamed while allNames looks at it may come out under either name, and a
// name under two tags; c.mu.renamed has them all by then, which is why every list is merged once more.
func (c *Catalog) sortedNames() []named {
	c.list.mu.Lock()
	defer c.list.mu.Unlock()
	for {
		renamed, ok := c.takeRenamed()
		if ok {
			if len(renamed) > 0 {
				c.list.names = mergeNames(c.list.names, renamed)
			}
			return c.list.names
		}
		c.list.names = c.allNames()
	}
}

// takeRenamed is what became of names since the last call, the caller's to keep, nil for nothing; from now on they are
// noted anew. False if they were not all noted.
func (c *Catalog) takeRenamed() (map[string]model.TagID, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	renamed := c.mu.renamed
	if renamed != nil && len(renamed) == 0 {
		return nil, true
	}
	c.mu.renamed = map[string]model.TagID{}
	return renamed, renamed != nil
}

// allNames is the current name of every tag, in order.
func (c *Catalog) allNames() []named {
	tags := *c.tags.Load()
	names := make([]named, 0, len(tags))
	for i := range tags {
		if t := tags[i].Load(); t.Of == 0 {
			names = append(names, named{t.Name, t.ID})
		}
	}
	slices.SortFunc(names, func(a, b named) int { return strings.Compare(a.name, b.name) })
	return names
}

// mergeNames is names without those in renamed, and those of renamed that have a tag.
func mergeNames(names []named, renamed map[string]model.TagID) []named {
	added := make([]named, 0, len(renamed))
	for name, id := range renamed {
		if id != 0 {
			added = append(added, named{name, id})
		}
	}
	slices.SortFunc(added, func(a, b named) int { return strings.Compare(a.name, b.name) })
	out := make([]named, 0, len(names)+len(added))
	for _, n := range names {
		for len(added) > 0 && added[0].name < n.name {
			out = append(out, added[0])
			added = added[1:]
		}
		if _, gone := renamed[n.name]; !gone {
			out = append(out, n)
		}
	}
	return append(out, added...)
}

func searchNames(names []named, name string) int {
	i, _ := slices.BinarySearchFunc(names, name, func(n named, s string) int { return strings.Compare(n.name, s) })
	return i
}

func searchAfter(names []named, name string) int {
	i, found := slices.BinarySearchFunc(names, name, func(n named, s string) int { return strings.Compare(n.name, s) })
	if found {
		i++
	}
	return i
}

// prefixLen is how many names at the front of names, none below prefix, begin with it.
func prefixLen(names []named, prefix string) int {
	i, _ := slices.BinarySearchFunc(names, prefix, func(n named, p string) int {
		if strings.HasPrefix(n.name, p) {
			return -1
		}
		return 1
	})
	return i
}

// splitGlob cuts a pattern before its first * or ?.
func splitGlob(glob string) (prefix, rest string) {
	if i := strings.IndexAny(glob, "*?"); i >= 0 {
		return glob[:i], glob[i:]
	}
	return glob, ""
}
