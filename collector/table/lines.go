package table

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/varvedb/varve/model"
)

// ErrNewHeader is returned by [Lines.Read] for a line that names columns, as a logger writes one when it begins anew in the same file.
var ErrNewHeader = errors.New("the line is a header")

// Lines reads the rows of a table that grows, one by one, under a mapping. What an import finds in two passes it cannot know: a type that the
// mapping does not say is that of each field, numbers being doubles where a double has them.
type Lines struct {
	rules  *rules
	layout layout
	names  []string
	tags   *tagTable
	clock  *Clock
	rows   rowReader
	ready  bool // the layout is made: it may need the first row
}

// Cell is one value of a row.
type Cell struct {
	Name    string // of its column, or tag in a long table, with prefix and key before it
	Time    int64
	Type    model.Type // of the value; 0 for none
	Bits    uint64     // as in model.Samples
	Text    string
	Quality model.Quality
}

// NewLines is a reader of the rows below a header line.
func NewLines(m Mapping, file string, header []byte) (*Lines, error) {
	r, err := m.compile(file)
	if err != nil {
		return nil, err
	}
	l := &Lines{rules: r, clock: NewClock(r.format, r.zone)}
	l.rows.comma = r.comma
	l.load(header, 1)
	if m.Delimiter == "" {
		if err := l.rows.findComma(); err != nil {
			return nil, err
		}
		r.comma = l.rows.comma
	}
	fields, err := l.rows.next()
	if err != nil {
		return nil, fmt.Errorf("read the header: %w: %w", err, ErrHeader)
	}
	l.names = make([]string, len(fields))
	for i, h := range fields {
		if l.names[i] = strings.TrimSpace(string(h)); l.names[i] == "" {
			l.names[i] = fmt.Sprintf("column_%d", i+1)
		}
	}
	return l, r.checkHeader(l.names)
}

// Clock is what reads its times.
func (l *Lines) Clock() *Clock { return l.clock }

// load makes the row reader's text one line, without its newline.
func (l *Lines) load(line []byte, number int) {
	r := &l.rows
	r.buf, r.start, r.end, r.eof, r.nextLine, r.unclosed = line, 0, len(line), true, number, 0
}

// Read calls each for the values of a line, which has no newline. The error is a *[RowError] for a line, or a field, that gives no sample, of
// which fault is told instead where it is about one field of a row whose others are good; [ErrNewHeader]; or one that no line will mend.
func (l *Lines) Read(line []byte, each func(Cell) error, fault func(*RowError)) error {
	l.load(line, 2)
	fields, err := l.rows.next()
	if err != nil {
		if len(bytes.TrimSpace(line)) == 0 {
			return nil
		}
		return err
	}
	if !l.ready {
		if l.layout, err = l.rules.layOut(l.names, fields); err != nil {
			return err
		}
		l.tags, l.ready = newTagTable(l.rules, &l.layout), true
	}
	if t := l.layout.time; t < len(fields) && string(bytes.TrimSpace(fields[t])) == l.names[t] {
		return ErrNewHeader
	}
	if len(fields) != len(l.names) {
		return &RowError{Reason: fmt.Sprintf("%d fields, the header has %d", len(fields), len(l.names))}
	}
	c := Cell{}
	if c.Time, err = l.clock.Read(l.layout.timeOf(fields)); err != nil {
		return &RowError{Column: l.layout.timeName(), Reason: err.Error()}
	}
	q := eventQuality{quoted: l.layout.quality >= 0 && l.rows.wasQuoted(l.layout.value)}
	if i := l.layout.quality; i >= 0 && len(fields[i]) > 0 {
		q.given = true
		if q.code, err = l.rules.parseQuality(fields[i]); err != nil {
			return &RowError{Column: l.names[i], Reason: err.Error()}
		}
	}
	return l.tags.split(fields, func(tag int, ro role, field []byte) error {
		t := l.tags.list[tag]
		x, ok, reason := l.cell(t, l.tags.textOnly[tag], ro, field, q)
		if reason != "" {
			fault(&RowError{Column: t.Name, Reason: reason})
			return nil
		}
		if !ok {
			return nil
		}
		x.Name, x.Time = t.Name, c.Time
		return each(x)
	})
}

// cell is what a field stands for; ok is false where it is no sample, and reason says why where it should be one.
func (l *Lines) cell(t *Tag, textOnly bool, ro role, field []byte, q eventQuality) (x Cell, ok bool, reason string) {
	sense, quality := l.rules.sense(field)
	if ro != event && (sense == emptyField || sense == missingField) {
		return x, false, ""
	}
	text := textOnly || t.Type.Blob()
	noData := model.BadNoData
	if x.Quality = quality; ro == event && q.given {
		x.Quality, noData = q.code, q.code
	}
	switch {
	case sense == missingField, sense == emptyField && !(text && (l.layout.quality < 0 || q.quoted)):
		x.Quality = noData
		return x, true, ""
	case sense == badField && !text:
		return x, true, ""
	case text:
		if x.Type = t.Type; !x.Type.Blob() {
			x.Type = model.String
		}
		x.Text = string(field)
		return x, true, checkText(x.Type, field)
	}
	x.Type, x.Bits, x.Text, reason = ParseField(bytes.TrimSpace(l.rules.decimalPoint(field)), field, t.Type)
	return x, true, reason
}

// ParseField is the value that number, or text where it is none, stands for, of type t; where t is 0, of the type that it looks like: bool, float64,
// int64 or uint64 where a double would be another number, or string. A reason is given where it is none of the type.
func ParseField(number, text []byte, t model.Type) (_ model.Type, bits uint64, s string, reason string) {
	if t == 0 {
		switch classify(number) {
		case isBool:
			t = model.Bool
		case isFraction:
			t = model.Float64
		case isInteger:
			t = model.Float64
			if digits := string(bytes.TrimPrefix(number, []byte("+"))); len(number) > 15 && !sameDigits(digits) {
				if t = model.Int64; digits[0] != '-' {
					if _, err := strconv.ParseInt(digits, 10, 64); err != nil {
						t = model.Uint64
					}
				}
			}
		default:
			t = model.String
		}
	}
	ok := true
	switch t {
	case model.Float64:
		var x float64
		x, ok = parseFloat(number, 64)
		bits = math.Float64bits(x)
	case model.Float32:
		var x float64
		x, ok = parseFloat(number, 32)
		bits = uint64(math.Float32bits(float32(x)))
	case model.Int64, model.State:
		i, err := strconv.ParseInt(string(number), 10, 64)
		if bits, ok = uint64(i), err == nil; t == model.State && !ok {
			return model.String, 0, string(text), checkText(model.String, text)
		}
		t = model.Int64
	case model.Uint64:
		var err error
		bits, err = strconv.ParseUint(string(bytes.TrimPrefix(number, []byte("+"))), 10, 64)
		ok = err == nil
	case model.Bool:
		bits, ok = parseBoolBits(number)
	default:
		return t, 0, string(text), checkText(t, text)
	}
	if !ok {
		return t, 0, "", fmt.Sprintf("%.60q is no %s", text, t)
	}
	return t, bits, "", ""
}

// Clock turns times of one file into instants, as TimeFormat and zone say. Where the format is nil it is that of the first time that explains
// itself.
type Clock struct {
	c clock
}

// NewClock is a clock of local times in zone.
func NewClock(format *TimeFormat, zone *time.Location) *Clock {
	return &Clock{clock{format: format, zone: zone, last: math.MinInt64}}
}

// Read is the instant of one time.
func (c *Clock) Read(b []byte) (int64, error) {
	if c.c.format == nil {
		trimmed := bytes.TrimSpace(b)
		if c.c.format = detectTime(trimmed); c.c.format == nil {
			if unit := unixUnit(string(trimmed)); unit != "" {
				return 0, fmt.Errorf("time %.40q: if that counts from 1970, give time_format %s", trimmed, unit)
			}
			return 0, fmt.Errorf("time %.40q does not explain itself; give time_format, such as 02/01/2006 15:04:05", trimmed)
		}
	}
	return c.c.read(b)
}

// Last is the instant read last: what a local time that comes twice is told apart by.
func (c *Clock) Last() int64 { return c.c.last }

// GoOn makes last the instant read last, of an earlier clock of the same times.
func (c *Clock) GoOn(last int64) { c.c.last = last }

// LocalTimes is how many times had no zone, how many of them came twice and how many never were.
func (c *Clock) LocalTimes() (all, ambiguous, nonexistent int) {
	return c.c.withoutZone, c.c.ambiguous, c.c.nonexistent
}
