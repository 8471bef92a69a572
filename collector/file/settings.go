package file

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/varvedb/varve/collector"
	"github.com/varvedb/varve/collector/table"
	"github.com/varvedb/varve/model"
)

// Settings say which files are read, and how.
type Settings struct {
	// Path is the file that grows, or a pattern (* ? [a-z]) for loggers that begin a new file each day.
	Path string `yaml:"path"`
	// Rotated is a pattern for the names that a rotated file gets, in the folder of Path unless it has one of its own. The default is
	// PATH.[0-9]* and PATH-[0-9]*, as logrotate names them.
	Rotated string `yaml:"rotated"`
	// From is where to begin the first time: start (the default), or end, behind what is there.
	From string `yaml:"from"`
	// Poll is how often files are looked at. The default is 500ms.
	Poll time.Duration `yaml:"poll"`
	// Format is csv, json (one object a line) or line (line protocol of InfluxDB). The default is csv.
	Format string `yaml:"format"`
	// Prefix stands before every address. {file} in it is the file's name without folder and extensions.
	Prefix string `yaml:"prefix"`
	// MaxLine bounds a line; what is longer is left out and counted. The default is 1MiB.
	MaxLine collector.Size `yaml:"max_line"`
	CSV     CSV            `yaml:"csv"`
	JSON    JSON           `yaml:"json"`
	Line    Line           `yaml:"line"`
}

// CSV is how the columns of a table are read: docs/reference/import.md has what each means.
type CSV struct {
	Shape         string            `yaml:"shape"`
	Delimiter     string            `yaml:"delimiter"`
	Decimal       string            `yaml:"decimal"`
	Header        string            `yaml:"header"` // names of the columns, as a first line would have them, of files that have none
	TimeColumn    string            `yaml:"time_column"`
	TimeFormat    string            `yaml:"time_format"`
	TimeZone      string            `yaml:"time_zone"`
	KeyColumns    []string          `yaml:"key_columns"`
	TagColumn     string            `yaml:"tag_column"`
	ValueColumn   string            `yaml:"value_column"`
	DetailColumn  string            `yaml:"detail_column"`
	QualityColumn string            `yaml:"quality_column"`
	Missing       []string          `yaml:"missing"`
	Bad           map[string]string `yaml:"bad"`
	Qualities     map[string]string `yaml:"qualities"`
	Columns       map[string]Column `yaml:"columns"` // by name or pattern
}

// Column describes a column, or a tag of a long table.
type Column struct {
	Type string `yaml:"type"` // of its fields; the default is what each looks like
	Skip bool   `yaml:"skip"`
}

// JSON is how objects are read. Every field that is not named here is a value; those of objects within have the outer name and a point before
// theirs.
type JSON struct {
	Time       string   `yaml:"time"` // field of the time. The default is time, timestamp or ts; an object without any gets the time of receipt
	TimeFormat string   `yaml:"time_format"`
	TimeZone   string   `yaml:"time_zone"`
	KeyFields  []string `yaml:"key_fields"` // stand before the address of each value
	// Name and Value are the fields of objects that are one value each: its address, and the value.
	Name    string `yaml:"name"`
	Value   string `yaml:"value"`
	Quality string `yaml:"quality"` // a field with the quality of all values of the object
}

const (
	fromStart = "start"
	fromEnd   = "end"
	csvFormat = "csv"
	jsonLines = "json"
	lineProto = "line"
)

func (s *Settings) Check() error {
	if s.Path == "" {
		return errors.New("give path: the file to follow")
	}
	for key, pattern := range map[string]string{"path": s.Path, "rotated": s.Rotated} {
		if _, err := filepath.Match(pattern, "x"); err != nil {
			return collector.At(fmt.Errorf("%s %q: %w", key, pattern, err), key)
		}
	}
	if s.From != "" && s.From != fromStart && s.From != fromEnd {
		return collector.At(fmt.Errorf("from %.40q: must be start or end", s.From), "from")
	}
	if s.Poll < 0 || s.Poll > 0 && s.Poll < 10*time.Millisecond {
		return collector.At(fmt.Errorf("poll %s: must be at least 10ms", s.Poll), "poll")
	}
	switch s.Format {
	case "", csvFormat, jsonLines, lineProto:
	default:
		return collector.At(fmt.Errorf("format %.40q: must be csv, json or line", s.Format), "format")
	}
	if s.MaxLine != 0 && (s.MaxLine < 1000 || s.MaxLine > table.MaxRecordBytes) {
		return collector.At(fmt.Errorf("max_line %d: must be 1kB to 16MiB", s.MaxLine), "max_line")
	}
	switch s.Format {
	case jsonLines:
		return s.JSON.check()
	case lineProto:
		if err := s.Line.check(); err != nil {
			return collector.At(err, "line", "unit")
		}
		return nil
	}
	if err := s.mapping().Check(); err != nil {
		return collector.At(err, "csv")
	}
	return nil
}

func (j JSON) check() error {
	if _, err := j.clock(); err != nil {
		return collector.At(err, "json")
	}
	if (j.Name == "") != (j.Value == "") {
		return collector.At(errors.New("name and value go together"), "json")
	}
	return nil
}

func (j JSON) clock() (*table.Clock, error) {
	format, err := table.ParseTimeFormat(j.TimeFormat)
	if err != nil {
		return nil, err
	}
	zone := time.UTC
	if j.TimeZone != "" {
		if zone, err = time.LoadLocation(j.TimeZone); err != nil {
			return nil, fmt.Errorf("time zone %q: must be a name such as UTC or Europe/Berlin", j.TimeZone)
		}
	}
	return table.NewClock(format, zone), nil
}

// mapping is the settings as an import has them.
func (s *Settings) mapping() table.Mapping {
	c := s.CSV
	m := table.Mapping{
		Shape: table.Shape(c.Shape), Delimiter: c.Delimiter, Decimal: c.Decimal, TimeColumn: c.TimeColumn, TimeFormat: c.TimeFormat, TimeZone: c.TimeZone,
		KeyColumns: c.KeyColumns, TagColumn: c.TagColumn, ValueColumn: c.ValueColumn, DetailColumn: c.DetailColumn, QualityColumn: c.QualityColumn,
		Prefix: s.Prefix, Missing: c.Missing, Bad: c.Bad, Qualities: c.Qualities, Columns: map[string]table.Column{},
	}
	for name, x := range c.Columns {
		column := table.Column{Type: x.Type, Skip: x.Skip}
		if x.Type == model.State.String() {
			column.StateSet = "-" // texts and codes: the tag's rule names the set
		}
		m.Columns[name] = column
	}
	return m
}

func (s Settings) withDefaults() Settings {
	if s.Poll == 0 {
		s.Poll = 500 * time.Millisecond
	}
	if s.From == "" {
		s.From = fromStart
	}
	if s.Format == "" {
		s.Format = csvFormat
	}
	if s.MaxLine == 0 {
		s.MaxLine = 1 << 20
	}
	return s
}

// patterns are those of the files themselves, and of their rotated names.
func (s *Settings) patterns() (live string, rotated []string) {
	switch {
	case s.Rotated != "" && strings.ContainsRune(s.Rotated, filepath.Separator):
		return s.Path, []string{s.Rotated}
	case s.Rotated != "":
		return s.Path, []string{filepath.Join(filepath.Dir(s.Path), s.Rotated)}
	}
	return s.Path, []string{s.Path + ".[0-9]*", s.Path + "-[0-9]*"}
}
