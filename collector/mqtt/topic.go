package mqtt

import (
	"fmt"
	"regexp"
	"strings"
)

// filter is a topic filter in which levels may have names: plant/{area}/+/{rest#} subscribes to plant/+/+/#, and gives area and rest.
type filter struct {
	text   string
	levels []level
}

type level struct {
	literal string
	one     bool   // {name} or +
	rest    bool   // {name#} or #
	name    string // empty: it is not kept
}

var namedLevel = regexp.MustCompile(`^\{([A-Za-z_][A-Za-z0-9_]*)(#?)\}$`)

func parseFilter(s string) (*filter, error) {
	f := &filter{text: s}
	seen := map[string]bool{}
	parts := strings.Split(s, "/")
	for i, part := range parts {
		l := level{literal: part}
		m := namedLevel.FindStringSubmatch(part)
		switch {
		case m != nil:
			l = level{one: m[2] == "", rest: m[2] != "", name: m[1]}
			if seen[l.name] || l.name == "topic" || l.name == "key" {
				return nil, fmt.Errorf("filter %q: the name %s is taken", s, l.name)
			}
			seen[l.name] = true
		case part == "+":
			l = level{one: true}
		case part == "#":
			l = level{rest: true}
		case strings.ContainsAny(part, "+#{}"):
			return nil, fmt.Errorf("filter %q: level %q: a level is +, #, {name}, {name#} or a text without these signs", s, part)
		}
		if l.rest && i != len(parts)-1 {
			return nil, fmt.Errorf("filter %q: %q stands for all that is left and must be last", s, part)
		}
		f.levels = append(f.levels, l)
	}
	if s == "" || strings.ContainsRune(s, 0) {
		return nil, fmt.Errorf("filter %q: must not be empty", s)
	}
	if parts[0] == "$share" {
		return nil, fmt.Errorf("filter %q: name the group of a shared subscription with share", s)
	}
	return f, nil
}

// String is the filter as a broker takes it.
func (f *filter) String() string {
	var b strings.Builder
	for i, l := range f.levels {
		if i > 0 {
			b.WriteByte('/')
		}
		switch {
		case l.one:
			b.WriteByte('+')
		case l.rest:
			b.WriteByte('#')
		default:
			b.WriteString(l.literal)
		}
	}
	return b.String()
}

// match reports whether a topic is one of the filter's, and what its names stand for.
func (f *filter) match(topic string) (names map[string]string, ok bool) {
	if strings.HasPrefix(topic, "$") && (f.levels[0].one || f.levels[0].rest) {
		return nil, false
	}
	keep := func(name, value string) {
		if name != "" {
			if names == nil {
				names = map[string]string{}
			}
			names[name] = value
		}
	}
	left, more := topic, true
	for _, l := range f.levels {
		if l.rest { // a filter that ends in /# has its parent too
			keep(l.name, left)
			return names, true
		}
		if !more {
			return nil, false
		}
		var part string
		part, left, more = strings.Cut(left, "/")
		switch {
		case l.one:
			keep(l.name, part)
		case part != l.literal:
			return nil, false
		}
	}
	return names, !more
}

// overlaps reports whether a topic could be one of both. A broker may deliver it once for each then.
func (f *filter) overlaps(g *filter) bool {
	for i := 0; ; i++ {
		switch {
		case i < len(f.levels) && f.levels[i].rest, i < len(g.levels) && g.levels[i].rest:
			return true
		case i >= len(f.levels) || i >= len(g.levels):
			return len(f.levels) == len(g.levels)
		}
		a, b := f.levels[i], g.levels[i]
		if !a.one && !b.one && a.literal != b.literal {
			return false
		}
	}
}
