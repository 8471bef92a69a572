package collector

import (
	"fmt"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/varvedb/varve/compression/filter"
	"github.com/varvedb/varve/model"
)

// TagRule says which tag an address becomes, or all addresses of a pattern.
type TagRule struct {
	// Exactly one of these. Exact addresses go before patterns, and patterns in the order they stand.
	Address string `yaml:"address"` // as the source names it
	Match   string `yaml:"match"`   // a pattern: * is anything but a slash, ** anything, ? one character, [a-z] one of these
	Regexp  string `yaml:"regexp"`  // a regular expression (RE2) for the whole address

	// Tag is the tag's name. {source}, {collector} and {address} stand for themselves, {1} for what the first * or group
	// matched, {name} for a named group, {{ and }} for braces. The default is {source}.{address}.
	Tag  string `yaml:"tag"`
	Skip bool   `yaml:"skip"` // such addresses are not collected

	Type        string `yaml:"type"` // the default is that of the first value, or float64 where it is scaled
	Unit        string `yaml:"unit"` // UCUM code
	Description string `yaml:"description"`
	Stepped     bool   `yaml:"stepped"`
	StateSet    string `yaml:"state_set"` // makes the type state

	// Factor and Offset make value*factor + offset of a number.
	Factor *float64 `yaml:"factor"`
	Offset *float64 `yaml:"offset"`

	// The exception test, as docs/reference/filters.md has it. Without ExcDev everything is sent; with 0 what did not change is left out.
	ExcDev *float64      `yaml:"exc_dev"`
	ExcMin time.Duration `yaml:"exc_min"`
	ExcMax time.Duration `yaml:"exc_max"`

	// StaleAfter is how long the tag may go without a reading before it gets a gap. The default is for ever.
	StaleAfter time.Duration `yaml:"stale_after"`
}

// What a server takes of a tag.
const (
	maxUnitBytes        = 64
	maxDescriptionBytes = 4096
)

// rule is a TagRule made ready.
type rule struct {
	TagRule
	index    int // in the configuration; -1 for the default
	typ      model.Type
	pattern  *regexp.Regexp // nil: an exact address
	template []part
	scaled   bool
	factor   float64
	offset   float64
}

// mapping is the rules of one source.
type mapping struct {
	exact     map[string]*rule
	patterns  []*rule
	addresses []string // the exact ones that are not skipped, in order
}

func compileMapping(f *faults, path []any, collector string, s *SourceEntry) *mapping {
	m := &mapping{exact: map[string]*rule{}}
	rules := s.Tags
	if len(rules) == 0 {
		r, _ := compileRule(collector, -1, TagRule{Match: "**"}) // makes sense
		m.patterns = []*rule{r}
	}
	for i, t := range rules {
		r, err := compileRule(collector, i, t)
		if err != nil {
			f.err(append(slices.Clone(path), i), err)
			continue
		}
		if r.pattern != nil {
			m.patterns = append(m.patterns, r)
			continue
		}
		if first, twice := m.exact[t.Address]; twice {
			f.at(append(slices.Clone(path), i), "address %.60q stands on line %d already", t.Address, lineOf(f.root, append(slices.Clone(path), first.index)))
			continue
		}
		if err := model.CheckName(r.name(s.Name, t.Address, nil)); err != nil && !t.Skip {
			f.at(append(slices.Clone(path), i, "tag"), "%s", err)
		}
		m.exact[t.Address] = r
		if !t.Skip {
			m.addresses = append(m.addresses, t.Address)
		}
	}
	return m
}

func compileRule(collector string, index int, t TagRule) (*rule, error) {
	r := &rule{TagRule: t, index: index, factor: 1}
	var err error
	given := 0
	for _, s := range []string{t.Address, t.Match, t.Regexp} {
		if s != "" {
			given++
		}
	}
	if given != 1 {
		return nil, fmt.Errorf("give exactly one of address, match and regexp")
	}
	switch {
	case t.Match != "":
		expression, err := globExpression(t.Match)
		if err != nil {
			return nil, At(fmt.Errorf("match %.60q: %w", t.Match, err), "match")
		}
		r.pattern = regexp.MustCompile(expression) // globExpression has tried it
	case t.Regexp != "":
		if r.pattern, err = regexp.Compile(`^(?:` + t.Regexp + `)$`); err != nil {
			return nil, At(fmt.Errorf("regexp %.60q: %w", t.Regexp, err), "regexp")
		}
	}
	if r.Tag == "" {
		r.Tag = "{source}.{address}"
	}
	if r.template, err = parseTemplate(r.Tag, collector, r.pattern); err != nil {
		return nil, At(err, "tag")
	}
	if err := r.compileType(); err != nil {
		return nil, err
	}
	if len(t.Unit) > maxUnitBytes || len(t.Description) > maxDescriptionBytes {
		return nil, fmt.Errorf("unit of %d and description of %d bytes, most are %d and %d", len(t.Unit), len(t.Description), maxUnitBytes, maxDescriptionBytes)
	}
	if t.StaleAfter < 0 {
		return nil, At(fmt.Errorf("stale_after %s: must not be negative", t.StaleAfter), "stale_after")
	}
	if t.ExcDev == nil && (t.ExcMin != 0 || t.ExcMax != 0) {
		return nil, fmt.Errorf("exc_min and exc_max need exc_dev: 0 leaves out what did not change")
	}
	if err := r.filter(model.Float64).Check(); err != nil {
		return nil, At(err, "exc_dev")
	}
	return r, nil
}

func (r *rule) compileType() error {
	r.scaled = r.Factor != nil || r.Offset != nil
	for _, x := range []struct {
		key string
		in  *float64
		out *float64
	}{{"factor", r.Factor, &r.factor}, {"offset", r.Offset, &r.offset}} {
		if x.in == nil {
			continue
		}
		if math.IsNaN(*x.in) || math.IsInf(*x.in, 0) || x.key == "factor" && *x.in == 0 {
			return At(fmt.Errorf("%s %g: must be a finite number, and the factor not 0", x.key, *x.in), x.key)
		}
		*x.out = *x.in
	}
	switch {
	case r.Type != "":
		var err error
		if r.typ, err = model.ParseType(r.Type); err != nil {
			return At(err, "type")
		}
	case r.StateSet != "":
		r.typ = model.State
	case r.scaled:
		r.typ = model.Float64
	}
	if (r.typ == model.State) != (r.StateSet != "") {
		return At(fmt.Errorf("type state and state_set go together: name the set that the server has"), "type")
	}
	if r.scaled && !r.typ.Float() {
		return At(fmt.Errorf("factor and offset make numbers with a fraction: the type must be float64 or float32, not %s", r.typ), "type")
	}
	return nil
}

// filter is the settings of the exception test for values of a type.
func (r *rule) filter(t model.Type) filter.Settings {
	return filter.Settings{Filter: filter.Asked(r.ExcDev, r.ExcMin, r.ExcMax), Stepped: r.Stepped || t.AlwaysStepped()}
}

// rule finds the rule of an address and what its pattern matched; nil where there is none.
func (m *mapping) rule(address string) (*rule, []string) {
	if r, ok := m.exact[address]; ok {
		return r, nil
	}
	for _, r := range m.patterns {
		if groups := r.pattern.FindStringSubmatch(address); groups != nil {
			return r, groups
		}
	}
	return nil, nil
}

// A template is text and what is put in between.
type part struct {
	text  string
	kind  partKind
	group int
}

type partKind uint8

const (
	textPart partKind = iota
	sourcePart
	addressPart
	groupPart
)

func parseTemplate(s, collector string, pattern *regexp.Regexp) (out []part, err error) {
	text := ""
	flush := func() {
		if text != "" {
			out = append(out, part{text: text})
		}
		text = ""
	}
	for i := 0; i < len(s); i++ {
		switch {
		case strings.HasPrefix(s[i:], "{{"), strings.HasPrefix(s[i:], "}}"):
			text += s[i : i+1]
			i++
		case s[i] == '}':
			return nil, fmt.Errorf("tag %.80q has a } without its {; write }} for a brace", s)
		case s[i] == '{':
			end := strings.IndexByte(s[i:], '}')
			if end < 0 {
				return nil, fmt.Errorf("tag %.80q has a { without its }; write {{ for a brace", s)
			}
			name := s[i+1 : i+end]
			i += end
			if name == "collector" {
				text += collector
				continue
			}
			p, err := parsePart(name, pattern)
			if err != nil {
				return nil, fmt.Errorf("tag %.80q: %w", s, err)
			}
			flush()
			out = append(out, p)
		default:
			text += s[i : i+1]
		}
	}
	flush()
	return out, nil
}

func parsePart(name string, pattern *regexp.Regexp) (part, error) {
	switch name {
	case "source":
		return part{kind: sourcePart}, nil
	case "address":
		return part{kind: addressPart}, nil
	}
	groups := 0
	if pattern != nil {
		groups = pattern.NumSubexp()
		if i := pattern.SubexpIndex(name); i >= 0 {
			return part{kind: groupPart, group: i}, nil
		}
	}
	n, err := strconv.Atoi(name)
	if err != nil {
		return part{}, fmt.Errorf("{%.40s} is none of source, collector, address and the groups of its pattern", name)
	}
	if n < 1 || n > groups {
		return part{}, fmt.Errorf("{%d}: its pattern has %d groups", n, groups)
	}
	return part{kind: groupPart, group: n}, nil
}

// name is the tag's name for an address.
func (r *rule) name(source, address string, groups []string) string {
	var b strings.Builder
	for _, p := range r.template {
		switch p.kind {
		case textPart:
			b.WriteString(p.text)
		case sourcePart:
			b.WriteString(source)
		case addressPart:
			b.WriteString(address)
		case groupPart:
			b.WriteString(groups[p.group])
		}
	}
	return b.String()
}

// globExpression is a pattern with * ** ? and [a-z] as a regular expression, of which each * and ** is a group.
func globExpression(glob string) (string, error) {
	var b strings.Builder
	b.WriteString(`^(?s:`)
	for i := 0; i < len(glob); i++ {
		switch c := glob[i]; {
		case strings.HasPrefix(glob[i:], "**"):
			b.WriteString(`(.*)`)
			i++
		case c == '*':
			b.WriteString(`([^/]*)`)
		case c == '?':
			b.WriteString(`[^/]`)
		case c == '[':
			end := strings.IndexByte(glob[i+1:], ']')
			if end < 1 {
				return "", fmt.Errorf("it has a [ without its ]")
			}
			class := glob[i : i+end+2]
			if _, err := regexp.Compile(class); err != nil {
				return "", err
			}
			b.WriteString(class)
			i += end + 1
		default:
			j := i
			for j < len(glob) && !strings.ContainsRune("*?[", rune(glob[j])) {
				j++
			}
			b.WriteString(regexp.QuoteMeta(glob[i:j]))
			i = j - 1
		}
	}
	b.WriteString(`)$`)
	if _, err := regexp.Compile(b.String()); err != nil {
		return "", err
	}
	return b.String(), nil
}

// sameRule reports that a tag's history is not touched where b takes the place of a.
func sameRule(a, b *rule) bool { return reflect.DeepEqual(a.TagRule, b.TagRule) }
