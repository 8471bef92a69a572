package collector

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// ErrConfig is returned for a configuration that makes no sense. The error's text has a line for each fault: FILE:LINE: what and what to do.
var ErrConfig = errors.New("the configuration makes no sense")

// faults collects what is wrong with a configuration file.
type faults struct {
	file string
	root *yaml.Node
	list []fault
}

type fault struct {
	line int
	text string
}

// at adds a fault of what stands at path, keys and positions from the root.
func (f *faults) at(path []any, format string, args ...any) {
	f.list = append(f.list, fault{lineOf(f.root, path), fmt.Sprintf(format, args...)})
}

// err adds an error, which may say by itself where below path it is.
func (f *faults) err(path []any, err error) {
	var p *placed
	if errors.As(err, &p) {
		path = append(slices.Clone(path), p.path...)
	}
	f.at(path, "%s", err)
}

var lineOfYAML = regexp.MustCompile(`^(?:yaml: )?line (\d+): (.*)$`)

// yaml adds what the package of that name found.
func (f *faults) yaml(err error) {
	texts := []string{err.Error()}
	if typed := (*yaml.TypeError)(nil); errors.As(err, &typed) {
		texts = typed.Errors
	}
	for _, t := range texts {
		line := 0
		if m := lineOfYAML.FindStringSubmatch(t); m != nil {
			line, _ = strconv.Atoi(m[1]) // digits; one too large is no line
			t = m[2]
		}
		f.list = append(f.list, fault{line, plainYAML(t)})
	}
}

var cannotUnmarshal = regexp.MustCompile("^cannot unmarshal !!(\\w+)(?: `(.*)`)? into (.*)$")

// plainYAML says in words of people what the package says in words of Go.
func plainYAML(t string) string {
	m := cannotUnmarshal.FindStringSubmatch(t)
	if m == nil {
		return t
	}
	what := map[string]string{
		"time.Duration": "a time with its unit, such as 500ms, 10s or 5m", "bool": "true or false", "string": "text",
		"float64": "a number", "int": "a whole number", "int64": "a whole number", "uint64": "a whole number from 0", "uint16": "a whole number from 0 to 65535",
		"uint8": "a whole number from 0 to 255", "uint32": "a whole number from 0",
	}[strings.TrimPrefix(m[3], "*")]
	switch {
	case what != "":
	case strings.HasPrefix(m[3], "[]"):
		what = "a list: lines that begin with -"
	default:
		what = "keys with values"
	}
	got := strconv.Quote(m[2])
	switch {
	case m[1] == "map":
		got = "keys"
	case m[1] == "seq":
		got = "a list"
	}
	return fmt.Sprintf("%s stands where %s should", got, what)
}

// unknownKeys finds keys that the type has no field for. It is asked before decoding, so that each has its own line.
func (f *faults) unknownKeys(n *yaml.Node, t reflect.Type) {
	type visit struct {
		n *yaml.Node
		t reflect.Type
	}
	seen := map[visit]bool{} // an anchor may be used often
	var walk func(n *yaml.Node, t reflect.Type)
	walk = func(n *yaml.Node, t reflect.Type) {
		for n.Kind == yaml.AliasNode {
			n = n.Alias
		}
		for t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		if v := (visit{n, t}); seen[v] || decodesItself(t) {
			return
		} else {
			seen[v] = true
		}
		switch {
		case n.Kind == yaml.SequenceNode && t.Kind() == reflect.Slice:
			for _, e := range n.Content {
				walk(e, t.Elem())
			}
		case n.Kind == yaml.MappingNode && t.Kind() == reflect.Map:
			for i := 1; i < len(n.Content); i += 2 {
				walk(n.Content[i], t.Elem())
			}
		case n.Kind == yaml.MappingNode && t.Kind() == reflect.Struct:
			fields := fieldsOf(t)
			for i := 0; i+1 < len(n.Content); i += 2 {
				key, value := n.Content[i], n.Content[i+1]
				if key.Tag == "!!merge" {
					if value.Kind == yaml.SequenceNode {
						for _, e := range value.Content {
							walk(e, t)
						}
					} else {
						walk(value, t)
					}
					continue
				}
				field, ok := fields[key.Value]
				if !ok {
					f.list = append(f.list, fault{key.Line, fmt.Sprintf("unknown key %.60q: must be one of %s", key.Value, strings.Join(keysOf(t), ", "))})
					continue
				}
				walk(value, field)
			}
		}
	}
	walk(n, t)
}

var unmarshaler = reflect.TypeFor[yaml.Unmarshaler]()

func decodesItself(t reflect.Type) bool {
	return t == reflect.TypeFor[yaml.Node]() || reflect.PointerTo(t).Implements(unmarshaler)
}

// fieldsOf is the types of a struct's fields by key, those of embedded structs included.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	out := map[string]reflect.Type{}
	for i := range t.NumField() {
		name, inline := keyOf(t.Field(i))
		if inline {
			for k, v := range fieldsOf(t.Field(i).Type) {
				out[k] = v
			}
		} else if name != "" {
			out[name] = t.Field(i).Type
		}
	}
	return out
}

func keysOf(t reflect.Type) (out []string) {
	for i := range t.NumField() {
		name, inline := keyOf(t.Field(i))
		if inline {
			out = append(out, keysOf(t.Field(i).Type)...)
		} else if name != "" {
			out = append(out, name)
		}
	}
	return out
}

func keyOf(f reflect.StructField) (name string, inline bool) {
	name, rest, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	switch {
	case name == "-" || !f.IsExported():
		return "", false
	case rest == "inline":
		return "", true
	case name == "":
		return strings.ToLower(f.Name), false
	}
	return name, false
}

// lineOf is the line of what stands at path, or of the nearest thing around it that stands there.
func lineOf(n *yaml.Node, path []any) int {
	if n == nil {
		return 0
	}
	line := n.Line
	for _, p := range path {
		for n.Kind == yaml.AliasNode {
			n = n.Alias
		}
		var next *yaml.Node
		switch p := p.(type) {
		case string:
			for i := 0; i+1 < len(n.Content) && n.Kind == yaml.MappingNode; i += 2 {
				if n.Content[i].Value == p {
					next, line = n.Content[i+1], n.Content[i].Line
				}
			}
		case int:
			if n.Kind == yaml.SequenceNode && p < len(n.Content) {
				next, line = n.Content[p], n.Content[p].Line
			}
		}
		if next == nil {
			return line
		}
		n = next
	}
	return line
}

// result is all faults as one error, in the order of lines; nil for none.
func (f *faults) result() error {
	if len(f.list) == 0 {
		return nil
	}
	slices.SortStableFunc(f.list, func(a, b fault) int { return cmp.Compare(a.line, b.line) })
	f.list = slices.Compact(f.list)
	const most = 20
	var out []string
	for _, x := range f.list[:min(len(f.list), most)] {
		out = append(out, fmt.Sprintf("%s:%d: %s", f.file, max(x.line, 1), x.text))
	}
	if n := len(f.list) - most; n > 0 {
		out = append(out, fmt.Sprintf("%s: %d more", f.file, n))
	}
	return fmt.Errorf("%w:\n%s", ErrConfig, strings.Join(out, "\n"))
}
