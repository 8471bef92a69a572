package table

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/varvedb/varve/model"
)

// Mapping says how the columns of a table become tags. The zero value finds everything from the data. It is also the
// content of a mapping file, in YAML.
type Mapping struct {
	// Shape is wide or long. By default a header with the tag and value columns is long, any other wide.
	Shape Shape `yaml:"shape"`
	// Delimiter stands between fields. The default is a comma; where the first line has none, the semicolon, tab or bar
	// that it has instead.
	Delimiter string `yaml:"delimiter"`
	// Decimal is the point or the comma of numbers. The default is a point.
	Decimal string `yaml:"decimal" json:",omitempty"`

	// TimeColumn holds the times. The default is the first column named time, timestamp, date, datetime, date_time or
	// ts, in any case, else the first column whose first field is a time. A date and a time of day apart are DATE+TIME, which
	// the default is where columns date and time are so; the format is then that of both with a blank between.
	TimeColumn string `yaml:"time_column"`
	// TimeFormat is what ParseTimeFormat reads. The default is found from the first rows.
	TimeFormat string `yaml:"time_format"`
	// TimeZone is the IANA name of the zone of times that carry none. The default is UTC.
	TimeZone string `yaml:"time_zone"`

	// KeyColumns hold what stands before the column's name in the name of a tag: key.column.
	KeyColumns []string `yaml:"key_columns"`
	// TagColumn, ValueColumn, DetailColumn and QualityColumn name the columns of a long table; by default tag (or tag_name,
	// tagname), value, detail and quality, in any case.
	TagColumn     string `yaml:"tag_column"`
	ValueColumn   string `yaml:"value_column"`
	DetailColumn  string `yaml:"detail_column"`
	QualityColumn string `yaml:"quality_column" json:",omitempty"` // omitted, so that imports of before keep their identity

	// Prefix stands before every tag's name. {file} in it is the file's name without folder and extensions.
	Prefix string `yaml:"prefix"`
	// Missing lists the fields that stand for no value, besides the empty one.
	Missing []string `yaml:"missing"`
	// Bad maps fields to the quality they stand for. A text tag keeps the text beside it, others have no value then.
	// The default is UNAVAILABLE and Unavailable, as MTConnect writes them: BadNoCommunication.
	Bad map[string]string `yaml:"bad"`
	// Qualities maps what stands in the quality column to the quality it stands for, besides the names of status codes
	// and their numbers with 0x. Other numbers are never guessed: 0 is Good as a status code, and Bad in OPC DA.
	Qualities map[string]string `yaml:"qualities" json:",omitempty"`

	// Columns describes columns, or tags of a long table, by name or pattern (* ? [a-z]). A name goes before a pattern, a
	// longer pattern before a shorter one.
	Columns map[string]Column `yaml:"columns"`
	// StateSets defines digital-state sets: code to text.
	StateSets map[string]map[int64]string `yaml:"state_sets"`
}

// Column describes one column, or one tag of a long table. Empty fields leave the default.
type Column struct {
	Tag         string `yaml:"tag"` // name to use in place of the column's, without prefix and key
	Type        string `yaml:"type"`
	Unit        string `yaml:"unit"` // UCUM code
	Description string `yaml:"description"`
	Stepped     bool   `yaml:"stepped"`
	StateSet    string `yaml:"state_set"`
	Skip        bool   `yaml:"skip"`
}

// What a server takes of a tag.
const (
	maxUnitBytes        = 64
	maxDescriptionBytes = 4096
)

// maxMappingBytes bounds a mapping file and a table of tags.
const maxMappingBytes = 64 << 20

// ReadMapping reads a mapping file.
func ReadMapping(file string) (Mapping, error) {
	var m Mapping
	f, err := os.Open(file)
	if err != nil {
		return m, err
	}
	defer f.Close()
	d := yaml.NewDecoder(io.LimitReader(f, maxMappingBytes))
	d.KnownFields(true)
	if err := d.Decode(&m); err != nil && !errors.Is(err, io.EOF) {
		return m, fmt.Errorf("read mapping %s: %w: %w", file, ErrMapping, explainYAML(err))
	}
	if err := m.Check(); err != nil {
		return m, fmt.Errorf("read mapping %s: %w", file, err)
	}
	return m, nil
}

// explainYAML says which keys there are, where the package speaks of Go's types.
func explainYAML(err error) error {
	var typed *yaml.TypeError
	if !errors.As(err, &typed) {
		return err
	}
	var out []string
	for _, e := range typed.Errors {
		for of, t := range map[string]reflect.Type{"table.Mapping": reflect.TypeFor[Mapping](), "table.Column": reflect.TypeFor[Column]()} {
			if at, ok := strings.CutSuffix(e, " not found in type "+of); ok {
				e = strings.Replace(at, "field ", "unknown key ", 1) + ": must be one of " + strings.Join(keysOf(t), ", ")
			}
		}
		out = append(out, e)
	}
	return errors.New(strings.Join(out, "; "))
}

func keysOf(t reflect.Type) (keys []string) {
	for i := range t.NumField() {
		keys = append(keys, t.Field(i).Tag.Get("yaml"))
	}
	return keys
}

// AddTags adds descriptions and units from a CSV file with the columns tag and any of description, unit or units, type.
// What the mapping says already stays. Types that are none of ours are left out, since such lists use their own.
func (m *Mapping) AddTags(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	rows := csv.NewReader(io.LimitReader(f, maxMappingBytes))
	header, err := rows.Read()
	if err != nil {
		return fmt.Errorf("read tags %s: %w", file, err)
	}
	header[0] = strings.TrimPrefix(header[0], "\uFEFF")
	at := func(names ...string) int {
		return slices.IndexFunc(header, func(h string) bool { return slices.Contains(names, strings.ToLower(h)) })
	}
	tag, description, unit, typ := at("tag", "name"), at("description"), at("unit", "units"), at("type")
	if tag < 0 {
		return fmt.Errorf("read tags %s: no column tag in %s: %w", file, strings.Join(header, ","), ErrMapping)
	}
	if m.Columns == nil {
		m.Columns = map[string]Column{}
	}
	for {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read tags %s: %w", file, err)
		}
		c := m.Columns[row[tag]]
		if description >= 0 && c.Description == "" {
			c.Description = row[description]
		}
		if unit >= 0 && c.Unit == "" {
			c.Unit = row[unit]
		}
		if typ >= 0 && c.Type == "" {
			if _, err := model.ParseType(row[typ]); err == nil && row[typ] != "state" {
				c.Type = row[typ]
			}
		}
		m.Columns[row[tag]] = c
	}
}

// rules is a Mapping made ready for one file.
type rules struct {
	Mapping
	comma    byte
	format   *TimeFormat // nil: to be found
	zone     *time.Location
	missing  map[string]bool
	bad      map[string]model.Quality
	quality  map[string]model.Quality // what stands in the quality column, as far as it is known
	number   []byte                   // of decimalPoint
	badStart [256]bool                // first bytes of the words in bad: most fields need no more than a look at it
	patterns []string                 // keys of Columns with pattern letters, longest first
	states   StateCodes
}

func (m Mapping) compile(file string) (*rules, error) {
	r := &rules{Mapping: m, comma: ',', zone: time.UTC, missing: map[string]bool{}, bad: map[string]model.Quality{}, quality: map[string]model.Quality{}}
	if m.Shape != "" && m.Shape != Wide && m.Shape != Long {
		return nil, fmt.Errorf("shape %q: must be wide or long: %w", m.Shape, ErrMapping)
	}
	switch m.Delimiter {
	case "", ",":
	case `\t`, "tab":
		r.comma = '\t'
	default:
		if len(m.Delimiter) != 1 || strings.ContainsAny(m.Delimiter, "\"\r\n") {
			return nil, fmt.Errorf("delimiter %q: must be one byte, or tab: %w", m.Delimiter, ErrMapping)
		}
		r.comma = m.Delimiter[0]
	}
	if m.Decimal != "" && m.Decimal != "." && m.Decimal != "," {
		return nil, fmt.Errorf("decimal %q: must be a point or a comma: %w", m.Decimal, ErrMapping)
	}
	var err error
	if r.format, err = ParseTimeFormat(m.TimeFormat); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMapping, err)
	}
	if m.TimeZone != "" {
		if r.zone, err = time.LoadLocation(m.TimeZone); err != nil {
			return nil, fmt.Errorf("time zone %q: must be a name such as UTC or Europe/Berlin: %w", m.TimeZone, ErrMapping)
		}
	}
	r.TagColumn, r.ValueColumn, r.DetailColumn = orElse(m.TagColumn, "tag"), orElse(m.ValueColumn, "value"), orElse(m.DetailColumn, "detail")
	for _, word := range m.Missing {
		r.missing[word] = true
	}
	bad := m.Bad
	if bad == nil {
		bad = map[string]string{"UNAVAILABLE": "BadNoCommunication", "Unavailable": "BadNoCommunication"}
	}
	for word, name := range bad {
		if r.bad[word], err = model.ParseQuality(name); err != nil {
			return nil, fmt.Errorf("bad word %q: %w: %w", word, ErrMapping, err)
		}
		if word == "" {
			return nil, fmt.Errorf("bad word: must not be empty: %w", ErrMapping)
		}
		r.badStart[word[0]] = true
	}
	for word, name := range m.Qualities {
		if r.quality[word], err = model.ParseQuality(name); err != nil {
			return nil, fmt.Errorf("quality word %q: %w: %w", word, ErrMapping, err)
		}
	}
	if err := r.compileColumns(); err != nil {
		return nil, err
	}
	base := path.Base(strings.ReplaceAll(file, `\`, "/"))
	base, _, _ = strings.Cut(base, ".")
	r.Prefix = strings.ReplaceAll(m.Prefix, "{file}", base)
	return r, nil
}

func (r *rules) compileColumns() error {
	r.states = StateCodes{}
	for name, states := range r.StateSets {
		codes := map[string]int64{}
		for code, text := range states {
			if other, twice := codes[text]; twice {
				return fmt.Errorf("state set %s: %q is the text of %d and of %d: %w", name, text, other, code, ErrMapping)
			}
			codes[text] = code
		}
		r.states[name] = []StateVersion{{Codes: codes}}
	}
	for name, c := range r.Columns {
		if strings.ContainsAny(name, "*?[") {
			if _, err := path.Match(name, ""); err != nil {
				return fmt.Errorf("column pattern %q: %w: %w", name, ErrMapping, err)
			}
			r.patterns = append(r.patterns, name)
		}
		if len(c.Unit) > maxUnitBytes || len(c.Description) > maxDescriptionBytes {
			return fmt.Errorf("column %s: unit of %d and description of %d bytes, most are %d and %d: %w",
				name, len(c.Unit), len(c.Description), maxUnitBytes, maxDescriptionBytes, ErrMapping)
		}
		if c.Type == "" {
			continue
		}
		t, err := model.ParseType(c.Type)
		if err != nil {
			return fmt.Errorf("column %s: %w: %w", name, ErrMapping, err)
		}
		if (t == model.State) != (c.StateSet != "") {
			return fmt.Errorf("column %s: type state and state_set go together: %w", name, ErrMapping)
		}
	}
	slices.SortFunc(r.patterns, func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(a, b)
	})
	return nil
}

// column is what the mapping says of a column or tag.
func (r *rules) column(name string) Column {
	c, ok := r.Columns[name]
	for i := 0; !ok && i < len(r.patterns); i++ {
		if match, _ := path.Match(r.patterns[i], name); match { // compile has checked the pattern
			c, ok = r.Columns[r.patterns[i]], true
			if c.Tag != "" {
				c.Tag = "" // one name cannot be that of many
			}
		}
	}
	if c.StateSet != "" {
		c.Type = model.State.String()
	}
	return c
}

// fieldSense is what a field stands for before its type is known.
type fieldSense int

const (
	valueField fieldSense = iota
	emptyField
	missingField
	badField
)

func (r *rules) sense(field []byte) (fieldSense, model.Quality) {
	if len(field) == 0 {
		return emptyField, 0
	}
	if len(r.missing) > 0 && r.missing[string(field)] {
		return missingField, 0
	}
	if r.badStart[field[0]] {
		if q, ok := r.bad[string(field)]; ok {
			return badField, q
		}
	}
	return valueField, 0
}

// decimalPoint is a field as a number with a decimal point, if it is one with the comma that the mapping says. The result
// holds until the next call.
func (r *rules) decimalPoint(field []byte) []byte {
	if r.Decimal != "," {
		return field
	}
	return pointed(&r.number, field)
}

// pointed puts a point for the only comma of a field that has nothing but what numbers are written with.
func pointed(buf *[]byte, field []byte) []byte {
	comma := bytes.IndexByte(field, ',')
	if comma < 0 || len(field) > 300 {
		return field
	}
	for i, c := range field {
		if i != comma && c-'0' > 9 && c != '+' && c != '-' && c|0x20 != 'e' && c != ' ' {
			return field
		}
	}
	*buf = append((*buf)[:0], field...)
	(*buf)[comma] = '.'
	return *buf
}

// maxQualityWords bounds what parseQuality remembers.
const maxQualityWords = 10_000

// parseQuality reads a field of the quality column.
func (r *rules) parseQuality(field []byte) (model.Quality, error) {
	if q, ok := r.quality[string(field)]; ok {
		return q, nil
	}
	word := string(bytes.TrimSpace(field))
	if _, err := strconv.ParseInt(word, 10, 64); err == nil {
		return 0, fmt.Errorf("quality %q may be an OPC DA quality or a status code; say what such numbers stand for, as in --qualities 192=Good --qualities 0=Bad, or write status codes as 0x80000000", word)
	}
	q, err := model.ParseQuality(word)
	if err != nil {
		return 0, fmt.Errorf("%w; or say what it stands for with --qualities WORD=QUALITY", err)
	}
	if len(r.quality) < maxQualityWords {
		r.quality[string(field)] = q
	}
	return q, nil
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// Check reports the first thing in m that makes no sense.
func (m Mapping) Check() error {
	_, err := m.compile("")
	return err
}
