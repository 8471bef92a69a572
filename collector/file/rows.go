package file

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/varvedb/varve/collector"
	"github.com/varvedb/varve/collector/table"
	"github.com/varvedb/varve/model"
)

var errNewHeader = table.ErrNewHeader

// csvRows reads lines of a table.
type csvRows struct{ lines *table.Lines }

func (t *tail) csvRows(path, header string, last int64) (rows, error) {
	lines, err := table.NewLines(t.s.mapping(), path, []byte(header))
	if err != nil {
		return nil, err
	}
	if last != 0 {
		lines.Clock().GoOn(last)
	}
	return &csvRows{lines}, nil
}

func (r *csvRows) last() int64 { return r.lines.Clock().Last() }

func (r *csvRows) read(line []byte, each func(collector.Reading), fault func(error)) (int, error) {
	n := 0
	err := r.lines.Read(line, func(c table.Cell) error {
		n = 1
		each(collector.Reading{
			Address: c.Name, Time: c.Time, HasTime: true, Quality: c.Quality, Value: collector.Value{Type: c.Type, Bits: c.Bits, Text: c.Text},
		})
		return nil
	}, func(e *table.RowError) { fault(ofRow(e)) })
	if bad := (*table.RowError)(nil); errors.As(err, &bad) {
		return n, ofRow(bad)
	}
	return n, err
}

// lineError is why a line makes no sample.
type lineError struct{ reason string }

func (e *lineError) Error() string { return e.reason }

// ofRow leaves out the number of the line, which nobody counts over restarts.
func ofRow(e *table.RowError) *lineError {
	if e.Column != "" {
		return &lineError{fmt.Sprintf("column %s: %s", e.Column, e.Reason)}
	}
	return &lineError{e.Reason}
}

// jsonRows reads objects, one a line.
type jsonRows struct {
	j      JSON
	clock  *table.Clock
	prefix string
}

func newJSONRows(s *Settings, file string, last int64) (*jsonRows, error) {
	c, err := s.JSON.clock()
	if err != nil {
		return nil, err
	}
	if last != 0 {
		c.GoOn(last)
	}
	base, _, _ := strings.Cut(path.Base(strings.ReplaceAll(file, `\`, "/")), ".")
	return &jsonRows{s.JSON, c, strings.ReplaceAll(s.Prefix, "{file}", base)}, nil
}

func (r *jsonRows) last() int64 { return r.clock.Last() }

// field is a value of an object, by the names that lead to it.
type field struct {
	name  string
	value any // string, json.Number, bool or nil
}

// maxJSONDepth bounds how deep objects lie in each other.
const maxJSONDepth = 32

func (r *jsonRows) read(line []byte, each func(collector.Reading), fault func(error)) (int, error) {
	n, err := r.readObject(line, each, fault)
	if err != nil {
		return n, &lineError{err.Error()}
	}
	return n, nil
}

func (r *jsonRows) readObject(line []byte, each func(collector.Reading), fault func(error)) (int, error) {
	if len(bytes.TrimSpace(line)) == 0 {
		return 0, nil
	}
	if !utf8.Valid(line) {
		return 0, errors.New("the line is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	var object map[string]any
	if err := d.Decode(&object); err != nil {
		return 0, fmt.Errorf("the line is no object of JSON: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return 0, errors.New("something stands behind the object of JSON")
	}
	fields, err := flatten(nil, "", object, 0)
	if err != nil {
		return 0, err
	}
	slices.SortFunc(fields, func(a, b field) int { return strings.Compare(a.name, b.name) })
	return r.object(fields, each, fault)
}

func flatten(out []field, name string, v any, depth int) ([]field, error) {
	if depth > maxJSONDepth {
		return nil, fmt.Errorf("objects lie in each other more than %d deep", maxJSONDepth)
	}
	below := func(key string, v any) (err error) {
		if name != "" {
			key = name + "." + key
		}
		out, err = flatten(out, key, v, depth+1)
		return err
	}
	switch v := v.(type) {
	case map[string]any:
		for key, x := range v {
			if err := below(key, x); err != nil {
				return nil, err
			}
		}
	case []any:
		for i, x := range v {
			if err := below(strconv.Itoa(i), x); err != nil {
				return nil, err
			}
		}
	default:
		out = append(out, field{name, v})
	}
	return out, nil
}

func (r *jsonRows) object(fields []field, each func(collector.Reading), fault func(error)) (int, error) {
	of := func(names ...string) (any, int) {
		for _, name := range names {
			if i := slices.IndexFunc(fields, func(f field) bool { return f.name == name }); name != "" && i >= 0 {
				return fields[i].value, i
			}
		}
		return nil, -1
	}
	used := map[int]bool{}
	x := collector.Reading{}
	names := []string{r.j.Time}
	if r.j.Time == "" {
		names = []string{"time", "timestamp", "ts"}
	}
	if v, i := of(names...); i >= 0 {
		used[i] = true
		t, err := r.clock.Read([]byte(textOf(v)))
		if err != nil {
			return 0, err
		}
		x.Time, x.HasTime = t, true
	} else if r.j.Time != "" {
		return 0, fmt.Errorf("the object has no field %s", r.j.Time)
	}
	if v, i := of(r.j.Quality); i >= 0 {
		used[i] = true
		q, err := model.ParseQuality(textOf(v))
		if err != nil {
			return 0, err
		}
		x.Quality = q
	}
	prefix := r.prefix
	for _, k := range r.j.KeyFields {
		v, i := of(k)
		if i < 0 || textOf(v) == "" {
			return 0, fmt.Errorf("the object has no key %s", k)
		}
		used[i] = true
		prefix += textOf(v) + "."
	}
	emit := func(address string, v any) {
		value, err := valueOf(v)
		if err != nil {
			fault(fmt.Errorf("%s: %w", address, err))
			return
		}
		y := x
		if y.Address, y.Value = prefix+address, value; value.IsNull() && y.Quality.IsGood() {
			y.Quality = model.BadNoData
		}
		each(y)
	}
	if r.j.Name != "" {
		name, i := of(r.j.Name)
		v, k := of(r.j.Value)
		if i < 0 || k < 0 || textOf(name) == "" {
			return 0, fmt.Errorf("the object has no fields %s and %s", r.j.Name, r.j.Value)
		}
		emit(textOf(name), v)
		return 1, nil
	}
	for i, f := range fields {
		if !used[i] {
			emit(f.name, f.value)
		}
	}
	return 1, nil
}

func textOf(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	case bool:
		return strconv.FormatBool(v)
	}
	return ""
}

func valueOf(v any) (collector.Value, error) {
	switch v := v.(type) {
	case bool:
		return collector.Bool(v), nil
	case string:
		return collector.String(v), nil
	case json.Number:
		b := []byte(v.String())
		t, bits, _, reason := table.ParseField(b, b, 0)
		if t == model.String || reason != "" {
			return collector.Value{}, fmt.Errorf("the number %.60s is none that a sample can have", v)
		}
		return collector.Value{Type: t, Bits: bits}, nil
	}
	return collector.Value{}, nil
}
