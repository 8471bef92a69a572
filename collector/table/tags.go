package table

import (
	"bytes"
	"fmt"

	"github.com/varvedb/varve/model"
)

// role is what a field is in its row.
type role int

const (
	cell   role = iota // of a wide table: empty is no sample
	event              // value of a long table: empty is a sample all the same
	detail             // text beside an event: empty is no sample
	beside             // another column of a long table: empty is no sample, nor is a repeat at one time
)

// tagTable finds the tag of each field of a row, making those it has not seen.
type tagTable struct {
	rules    *rules
	layout   *layout
	list     []*Tag
	textOnly map[int]bool   // tags that are text whatever they hold
	byName   map[string]int // positions in list

	noKey  []int            // wide without keys: by column
	byKey  map[string][]int // by key, then by position in layout.values
	events map[string]eventTags
	buf    []byte
}

// eventTags are the tags of a tag's name in a long table; detail is -1 until one comes.
type eventTags struct{ value, detail int }

const skipped = -2

func newTagTable(r *rules, l *layout) *tagTable {
	return &tagTable{rules: r, layout: l, textOnly: map[int]bool{}, byName: map[string]int{}, byKey: map[string][]int{}, events: map[string]eventTags{}}
}

type visitor func(tag int, r role, field []byte) error

// split calls visit for every field of a row that belongs to a tag. An error that is a *[RowError] (its line is for the
// caller to fill in) is about this row only.
func (t *tagTable) split(fields [][]byte, visit visitor) error {
	key, err := t.key(fields)
	if err != nil {
		return err
	}
	columns, err := t.columnTags(key, fields)
	if err != nil {
		return err
	}
	if t.layout.shape == Wide {
		for i, c := range t.layout.values {
			if err := visit(columns[i], cell, fields[c]); err != nil {
				return err
			}
		}
		return nil
	}
	for i, c := range t.layout.values {
		if err := visit(columns[i], beside, fields[c]); err != nil {
			return err
		}
	}
	return t.splitEvent(key, fields, visit)
}

func (t *tagTable) splitEvent(key []byte, fields [][]byte, visit visitor) error {
	name := fields[t.layout.tag]
	if len(name) == 0 {
		return &RowError{Column: t.layout.header[t.layout.tag], Reason: "the name of the tag is empty"}
	}
	t.buf = append(append(t.buf[:len(key)], 0), name...)
	tags, ok := t.events[string(t.buf)]
	if !ok {
		at, err := t.make(key, string(name), t.rules.column(string(name)))
		if err != nil {
			return err
		}
		tags = eventTags{at, -1}
		t.events[string(t.buf)] = tags
	}
	if tags.value == skipped {
		return nil
	}
	if err := visit(tags.value, event, fields[t.layout.value]); err != nil {
		return err
	}
	if t.layout.detail < 0 || len(fields[t.layout.detail]) == 0 {
		return nil
	}
	if tags.detail < 0 {
		c := t.rules.column(string(name))
		at, err := t.make(key, orElse(c.Tag, string(name))+".detail", Column{})
		if err != nil {
			return err
		}
		t.textOnly[at] = true
		tags.detail = at
		t.buf = append(append(t.buf[:len(key)], 0), name...)
		t.events[string(t.buf)] = tags
	}
	return visit(tags.detail, detail, fields[t.layout.detail])
}

// key is the joined fields of the key columns, in t.buf.
func (t *tagTable) key(fields [][]byte) ([]byte, error) {
	t.buf = t.buf[:0]
	for i, k := range t.layout.keys {
		part := bytes.TrimSpace(fields[k])
		if len(part) == 0 {
			return nil, &RowError{Column: t.layout.header[k], Reason: "the key is empty"}
		}
		if i > 0 {
			t.buf = append(t.buf, '.')
		}
		t.buf = append(t.buf, part...)
	}
	return t.buf, nil
}

// columnTags are the tags of layout.values under a key.
func (t *tagTable) columnTags(key []byte, fields [][]byte) ([]int, error) {
	if t.noKey != nil {
		return t.noKey, nil
	}
	if known, ok := t.byKey[string(key)]; ok {
		return known, nil
	}
	out := make([]int, len(t.layout.values))
	for i, c := range t.layout.values {
		at, err := t.make(key, t.layout.header[c], t.layout.columns[c])
		if err != nil {
			return nil, err
		}
		if out[i] = at; t.layout.shape == Long {
			t.textOnly[at] = true
		}
	}
	if len(t.layout.keys) == 0 {
		t.noKey = out
		return out, nil
	}
	t.byKey[string(key)] = out
	return out, nil
}

// make adds a tag, or finds the one of the same name.
func (t *tagTable) make(key []byte, name string, c Column) (int, error) {
	if c.Skip {
		return skipped, nil
	}
	full := t.rules.Prefix + string(key)
	if len(key) > 0 {
		full += "."
	}
	full += orElse(c.Tag, name)
	if at, ok := t.byName[full]; ok {
		if t.layout.shape == Wide && len(key) == 0 {
			return 0, fmt.Errorf("two columns become the tag %s: %w", full, ErrMapping)
		}
		return at, nil
	}
	if len(t.list) >= MaxTags {
		return 0, fmt.Errorf("more than %d tags; is a column of values taken for a key? %w", MaxTags, ErrTooLarge)
	}
	tag := &Tag{Name: full, Unit: c.Unit, Description: c.Description, Stepped: c.Stepped, StateSet: c.StateSet}
	if c.Type != "" {
		tag.Type, _ = model.ParseType(c.Type) // compile has checked it
		tag.declared = true
	}
	if err := model.CheckName(full); err != nil {
		tag.refused = err.Error()
	}
	t.list = append(t.list, tag)
	t.byName[full] = len(t.list) - 1
	return len(t.list) - 1, nil
}

// observe is the visitor of the first pass.
func (t *tagTable) observe(tag int, r role, field []byte) error {
	f := &t.list[tag].found
	switch sense, _ := t.rules.sense(field); sense {
	case valueField:
		f.observe(t.rules.decimalPoint(field))
	case badField:
		f.observeBad(field)
	case emptyField:
		if r == event {
			f.empty++
		}
	case missingField:
	}
	return nil
}
