package server

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// AgentTemplate says what the tags of some agents are called, as docs/reference/agents.md has it.
type AgentTemplate struct {
	Door     string   `yaml:"door"`      // lines, prometheus or opentelemetry
	User     string   `yaml:"user"`      // the name of the token or the certificate; empty for anybody
	Database string   `yaml:"database"`  // db or bucket, of lines; empty for any
	Tag      string   `yaml:"tag"`       // text, and {places} for measurement and field, or metric, and for keys of labels
	LeaveOut []string `yaml:"leave_out"` // keys of labels that tell no series from another

	parts []templatePart
}

// templatePart is text, or a place.
type templatePart struct {
	text    string
	place   templatePlace
	key     string            // of a label
	escapes *strings.Replacer // of what stands in the place
}

type templatePlace uint8

const (
	noPlace    templatePlace = iota
	namePlace                // the measurement or the metric
	fieldPlace               // of lines
	labelPlace
)

// maxTemplates bounds the templates of a server: each has a memory of series of its own.
const maxTemplates = 100

// Doors for agents, as templates name them.
const (
	doorLines         = "lines"
	doorPrometheus    = "prometheus"
	doorOpenTelemetry = "opentelemetry"
)

// defaultTemplates are for what no template is for.
var defaultTemplates = []AgentTemplate{
	{Door: doorLines, Tag: "{measurement}.{field}"}, {Door: doorPrometheus, Tag: "{metric}"}, {Door: doorOpenTelemetry, Tag: "{metric}"},
}

// ReadAgentTemplates reads a file of templates. An error begins with the file and the line.
func ReadAgentTemplates(file string) ([]AgentTemplate, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return parseAgentTemplates(file, string(b))
}

func parseAgentTemplates(file, text string) ([]AgentTemplate, error) {
	var c struct {
		Templates []linedTemplate `yaml:"templates"`
	}
	d := yaml.NewDecoder(strings.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&c); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if err := d.Decode(&struct{}{}); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: more than one document", file)
	}
	if n := len(c.Templates); n == 0 || n > maxTemplates {
		return nil, fmt.Errorf("%s: %d templates, must be from 1 to %d, under the key templates", file, n, maxTemplates)
	}
	out := make([]AgentTemplate, len(c.Templates))
	for i, t := range c.Templates {
		if err := t.compile(); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, t.line, err)
		}
		out[i] = t.AgentTemplate
	}
	return out, nil
}

// linedTemplate is a template with the line it begins on.
type linedTemplate struct {
	AgentTemplate
	line int
}

// UnmarshalYAML is part of yaml.Unmarshaler. What it decodes from a node is not held to known keys by itself.
func (t *linedTemplate) UnmarshalYAML(n *yaml.Node) error {
	keys := []string{"door", "user", "database", "tag", "leave_out"}
	for i := 0; n.Kind == yaml.MappingNode && i < len(n.Content); i += 2 {
		if key := n.Content[i]; !slices.Contains(keys, key.Value) {
			return fmt.Errorf("line %d: unknown key %.60q: must be one of %s", key.Line, key.Value, strings.Join(keys, ", "))
		}
	}
	t.line = n.Line
	return n.Decode(&t.AgentTemplate)
}

// compile takes the template apart and says what is wrong with it.
func (t *AgentTemplate) compile() error {
	wanted := []string{"metric"}
	switch t.Door {
	case doorLines:
		wanted = []string{"measurement", "field"}
	case doorPrometheus, doorOpenTelemetry:
		if t.Database != "" {
			return fmt.Errorf("database %.60q: only lines come with one", t.Database)
		}
	default:
		return fmt.Errorf("door %.60q: must be %s, %s or %s", t.Door, doorLines, doorPrometheus, doorOpenTelemetry)
	}
	t.parts = nil
	var seen []string
	for rest := t.Tag; rest != ""; {
		text, behind, place := strings.Cut(rest, "{")
		if strings.ContainsAny(text, `}\`) {
			return fmt.Errorf("tag %.80q: its text may not have } or \\", t.Tag)
		}
		if text != "" {
			t.parts = append(t.parts, templatePart{text: text})
		} else if len(seen) > 0 && place {
			return fmt.Errorf("tag %.80q: between two places there must be text, or nobody knows where the first one ends", t.Tag)
		}
		if !place {
			break
		}
		key, after, ok := strings.Cut(behind, "}")
		if !ok || key == "" || strings.ContainsRune(key, '{') {
			return fmt.Errorf("tag %.80q: a place is {key}", t.Tag)
		}
		if slices.Contains(seen, key) || slices.Contains(t.LeaveOut, key) {
			return fmt.Errorf("tag %.80q: {%s} stands twice, or under leave_out", t.Tag, key)
		}
		p := templatePart{place: labelPlace, key: key}
		if slices.Contains(wanted, key) {
			p.place = namePlace
			if key == "field" {
				p.place = fieldPlace
			}
		}
		t.parts = append(t.parts, p)
		seen, rest = append(seen, key), after
	}
	for _, key := range wanted {
		if !slices.Contains(seen, key) {
			return fmt.Errorf("tag %.80q: it must have {%s}, or several series would have one name", t.Tag, strings.Join(wanted, "} and {"))
		}
	}
	for i := range t.parts {
		if p := &t.parts[i]; p.place != noPlace {
			p.escapes = escapesBefore(t.parts[i+1:], t.Door == doorOpenTelemetry && p.place == namePlace)
		}
	}
	return nil
}

// escapesBefore puts a backslash before what could be taken for what stands behind a place: the text there, or the brace of the labels that have no place,
// and where it is a part of a metric the colon.
func escapesBefore(behind []templatePart, colon bool) *strings.Replacer {
	end := "{"
	if len(behind) > 0 {
		_, n := utf8.DecodeRuneInString(behind[0].text)
		end = behind[0].text[:n]
	}
	pairs := []string{`\`, `\\`, end, `\` + end}
	if colon {
		pairs = append(pairs, ":", `\:`)
	}
	return strings.NewReplacer(pairs...)
}

// seriesName is what the tags of a series are called: before, the field, after.
type seriesName struct {
	template      *AgentTemplate
	before, after string
	bare          bool // it ends without labels in braces
}

// name names a series by its measurement or metric, and labels in order. part is of a metric, and is not escaped. It is not ok where the series lacks a
// label that has a place.
//
// What stands in a place ends before the text behind it, because that does not stand in the place without a backslash, and before the brace if there is
// none; so that from a name its parts can be read again.
func (t *AgentTemplate) name(name, part string, labels []label) (n seriesName, ok bool) {
	var b strings.Builder
	cut := -1
	for i := range t.parts {
		p := &t.parts[i]
		switch p.place {
		case noPlace:
			b.WriteString(p.text)
		case namePlace:
			_, _ = p.escapes.WriteString(&b, name) // a builder takes everything
			b.WriteString(part)
			if t.Door != doorLines {
				cut = b.Len()
			}
		case fieldPlace:
			cut = b.Len()
		case labelPlace:
			i := slices.IndexFunc(labels, func(l label) bool { return l.key == p.key })
			if i < 0 {
				return n, false
			}
			_, _ = p.escapes.WriteString(&b, labels[i].value)
		}
	}
	rest := labels
	if len(t.LeaveOut) > 0 || len(t.parts) > 1 {
		rest = slices.DeleteFunc(slices.Clone(labels), func(l label) bool { return slices.Contains(t.LeaveOut, l.key) || t.places(l.key) })
	}
	b.WriteString(labelsName(rest))
	s := b.String()
	return seriesName{template: t, before: s[:cut], after: s[cut:], bare: len(rest) == 0}, true
}

// places reports whether a label has a place.
func (t *AgentTemplate) places(key string) bool {
	return slices.ContainsFunc(t.parts, func(p templatePart) bool { return p.place == labelPlace && p.key == key })
}

// field is the key of a field as it stands in names.
func (t *AgentTemplate) field(key string) string {
	for i := range t.parts {
		if p := &t.parts[i]; p.place == fieldPlace {
			return p.escapes.Replace(key)
		}
	}
	return key
}
