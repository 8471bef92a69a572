package collector

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/model/unit"
)

// draftRule is a rule as a draft has it.
type draftRule struct {
	TagRule
	states string // for people; empty where there are none
}

// WriteDraft writes the configuration with a rule for each offer of a source that no rule is for yet. What stands there stays as it is, comments and references to
// secrets included. Names are made of the offers' own. It returns how many rules it added.
func (c *Config) WriteDraft(w io.Writer, s *SourceEntry, offers []Offer) (added int, err error) {
	text, err := os.ReadFile(c.file)
	if err != nil {
		return 0, err
	}
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return 0, fmt.Errorf("read %s: %w", c.file, err)
	}
	var source *yaml.Node
	if len(document.Content) > 0 {
		root := document.Content[0]
		root.Style &^= yaml.FlowStyle
		if all := valueAt(root, "sources"); all != nil {
			all.Style &^= yaml.FlowStyle
			if i := slices.IndexFunc(c.Sources, func(x SourceEntry) bool { return x.Name == s.Name }); i >= 0 && i < len(all.Content) {
				source = aliased(all.Content[i])
			}
		}
	}
	if source == nil || source.Kind != yaml.MappingNode {
		return 0, fmt.Errorf("%s changed: it has no source %s any more", c.file, s.Name)
	}
	source.Style &^= yaml.FlowStyle
	rules := c.draft(s, offers)
	tags := valueAt(source, "tags")
	if tags == nil {
		tags = &yaml.Node{Kind: yaml.SequenceNode}
		source.Content = append(source.Content, textNode("tags"), tags)
	}
	tags.Style &^= yaml.FlowStyle
	for _, r := range rules {
		n := &yaml.Node{Kind: yaml.MappingNode, HeadComment: r.states}
		for _, x := range [][2]string{{"address", r.Address}, {"tag", r.Tag}, {"type", r.Type}, {"unit", r.Unit}, {"description", r.Description}} {
			if x[1] != "" {
				n.Content = append(n.Content, textNode(x[0]), textNode(x[1]))
			}
		}
		tags.Content = append(tags.Content, n)
	}
	if n := len(s.mapping.addresses) + len(rules); n > s.MaxTags {
		setValue(source, "max_tags", strconv.Itoa(n))
	}
	e := yaml.NewEncoder(w)
	e.SetIndent(2)
	if err := e.Encode(&document); err != nil {
		return 0, err
	}
	return len(rules), e.Close()
}

// draft is rules for those of the offers that no rule is for. A pattern of a source that reads only what is named is not for any.
func (c *Config) draft(s *SourceEntry, offers []Offer) (rules []draftRule) {
	used, done := map[string]bool{}, map[string]bool{}
	for i := range c.Sources {
		other := &c.Sources[i]
		for address, r := range other.mapping.exact {
			if !r.Skip {
				used[r.name(other.Name, address, nil)] = true
			}
		}
	}
	for _, o := range offers {
		r, _ := s.mapping.rule(o.Address)
		if o.Address == "" || !utf8.ValidString(o.Address) || done[o.Address] || r != nil && (r.Skip || r.pattern == nil || len(s.Tags) > 0 && (s.kind.ByPattern || !s.kind.ByAddress)) {
			continue
		}
		done[o.Address] = true
		rules = append(rules, newDraftRule(s.Name, o, used))
	}
	return rules
}

func newDraftRule(source string, o Offer, used map[string]bool) draftRule {
	name := o.Name
	if name == "" {
		name = o.Address
	}
	name = source + "." + plainTag(name)
	for base, n := name, 2; used[name]; n++ {
		name = base + "-" + strconv.Itoa(n)
	}
	used[name] = true
	r := draftRule{TagRule: TagRule{Address: o.Address, Tag: strings.NewReplacer("{", "{{", "}", "}}").Replace(name), Description: strings.ToValidUTF8(o.Description, "_")}}
	if _, err := unit.Parse(o.Unit); err == nil && len(o.Unit) <= maxUnitBytes {
		r.Unit = o.Unit
	}
	if len(r.Description) > maxDescriptionBytes {
		r.Description = strings.ToValidUTF8(r.Description[:maxDescriptionBytes], "")
	}
	if o.Type != 0 && o.Type != model.State {
		r.Type = o.Type.String()
	}
	if len(o.States) > 0 {
		var all []string
		for code, text := range o.States {
			all = append(all, fmt.Sprintf("%d %s", code, plainTag(text)))
		}
		slices.Sort(all)
		r.states = fmt.Sprintf("# its states are %s: make a set of them (varve tags states put), and name it as state_set in place of the type", strings.Join(all, ", "))
	}
	return r
}

// textNode is a text. The package writes some that are white space alone so that they are read as none, unless they are quoted.
func textNode(s string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s}
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa1 }) {
		n.Style = yaml.DoubleQuotedStyle
	}
	return n
}

func aliased(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// valueAt is what a key of a mapping has; nil for a key that is not there.
func valueAt(n *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(n.Content) && n.Kind == yaml.MappingNode; i += 2 {
		if n.Content[i].Value == key {
			return aliased(n.Content[i+1])
		}
	}
	return nil
}

func setValue(n *yaml.Node, key, value string) {
	if v := valueAt(n, key); v != nil {
		v.Kind, v.Tag, v.Value, v.Content = yaml.ScalarNode, "", value, nil
		return
	}
	n.Content = append(n.Content, textNode(key), &yaml.Node{Kind: yaml.ScalarNode, Value: value})
}

// plainTag is a text as the name of a tag may be: without control characters and white space at its ends, and not too long.
func plainTag(s string) string {
	s = strings.ToValidUTF8(s, "_")
	s = strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '_'
		}
		return r
	}, s))
	const most = 512 // leaves room for the source's name and a number
	for len(s) > most {
		s = s[:most]
		s = strings.ToValidUTF8(s, "")
	}
	if s == "" {
		return "_"
	}
	return s
}
