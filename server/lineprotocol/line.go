package lineprotocol

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"
)

// Line is one line of a body. What it points to holds until the next one is read.
type Line struct {
	Number  int     // of the line in its body, from 1; of its first where a text goes over several
	Series  []byte  // measurement and tags as they were written; see Split
	Fields  []Field // at least one
	Time    int64   // nanoseconds since 1970 UTC
	HasTime bool
}

// Field is one field of a line.
type Field struct {
	Key  []byte // as it was written; see Unescape
	Kind Kind
	Bits uint64 // IEEE bits of a Float, two's complement of an Int, a Uint as it is, 0 or 1 of a Bool
	Text []byte // of a Text, in UTF-8 and without escapes
}

// Kind is what a value was written as.
type Kind uint8

// Kinds of values. The zero value is none of them.
const (
	Float Kind = iota + 1
	Int        // 1i
	Uint       // 1u
	Bool
	Text
)

// Error says what is wrong with one line.
type Error struct {
	Line   int // as Line.Number
	Column int // in bytes, from 1, of the line that it is in; 0 where that says nothing
	Reason string
}

func (e *Error) Error() string {
	if e.Column == 0 {
		return fmt.Sprintf("line %d: %s", e.Line, e.Reason)
	}
	return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Reason)
}

// MaxFields is the most fields of one line.
const MaxFields = 16384

// Series is a measurement and its tags, taken apart.
type Series struct {
	Measurement string
	Tags        []Tag // by key, each once
}

// Tag is a key and what it has in one series.
type Tag struct{ Key, Value string }

var (
	errNoMeasurement = errors.New("there is no measurement")
	errNotUTF8       = errors.New("measurement and tags are not UTF-8")
)

// Split takes a series apart.
func Split(series []byte) (s Series, err error) {
	if !utf8.Valid(series) {
		return s, errNotUTF8
	}
	i := 0
	for i < len(series) && series[i] != ',' && class[series[i]]&endsSeries == 0 {
		i += escaped(series, i, endsMeasurement)
	}
	if i == 0 {
		return s, errNoMeasurement
	}
	s.Measurement = unescape(series[:i], endsMeasurement)
	for i < len(series) {
		if series[i] != ',' {
			return s, fmt.Errorf("%q in measurement and tags", series[i])
		}
		from := i + 1
		i = endOfKey(series, from)
		key := series[from:i]
		switch {
		case len(key) == 0:
			return s, errors.New("a comma and no tag behind it")
		case i == len(series) || series[i] != '=':
			return s, fmt.Errorf("tag %.40q has no value: = must follow", key)
		}
		from = i + 1
		i = endOfKey(series, from)
		if i == from {
			return s, fmt.Errorf("tag %.40q has no value: leave the tag out", key)
		}
		s.Tags = append(s.Tags, Tag{unescape(key, endsKey), unescape(series[from:i], endsKey)})
	}
	slices.SortFunc(s.Tags, func(a, b Tag) int { return cmp.Compare(a.Key, b.Key) })
	for k := 1; k < len(s.Tags); k++ {
		if s.Tags[k].Key == s.Tags[k-1].Key {
			return s, fmt.Errorf("tag %.40q stands twice", s.Tags[k].Key)
		}
	}
	return s, nil
}

// Unescape is the key of a field without escapes.
func Unescape(key []byte) (string, error) {
	if !utf8.Valid(key) {
		return "", fmt.Errorf("field %.40q is not UTF-8", key)
	}
	return unescape(key, endsKey), nil
}

// What a byte ends where no backslash stands before it.
const (
	endsMeasurement = 1 << iota // comma and space
	endsKey                     // of a tag or a field, or the value of a tag: comma, equals sign, space and whatever nobody prints
	endsSeries                  // space and whatever nobody prints
	endsValue                   // of a field, text apart: comma, space and the end of a line
)

var class = func() (c [256]uint8) {
	for b := range 0x20 {
		c[b] = endsKey | endsSeries
	}
	c[0x7F] = endsKey | endsSeries
	c[' '] = endsMeasurement | endsKey | endsSeries | endsValue
	c[','] = endsMeasurement | endsKey | endsValue
	c['='] = endsKey
	c['\n'] |= endsValue
	c['\r'] |= endsValue
	return c
}()

// escaped is how many bytes the character at i takes: two if it is a backslash before what it takes the meaning from. Any other backslash
// stands for itself.
func escaped(b []byte, i int, set uint8) int {
	if b[i] == '\\' && i+1 < len(b) && escapable(b[i+1], set) {
		return 2
	}
	return 1
}

// escapable reports whether a backslash takes its meaning from c, which no control character allows.
func escapable(c byte, set uint8) bool { return class[c]&set != 0 && c >= ' ' && c != 0x7F }

// endOfKey is where a key, or the value of a tag, ends.
func endOfKey(b []byte, i int) int {
	for i < len(b) && class[b[i]]&endsKey == 0 {
		i += escaped(b, i, endsKey)
	}
	return i
}

func unescape(b []byte, set uint8) string {
	if bytes.IndexByte(b, '\\') < 0 {
		return string(b)
	}
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		if escaped(b, i, set) == 2 {
			i++
		}
		out = append(out, b[i])
	}
	return string(out)
}
