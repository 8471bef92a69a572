package table

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// Plan is what the first pass over a file finds: how its rows become samples of which tags.
type Plan struct {
	File       string
	Shape      Shape
	TimeColumn string
	TimeFormat string
	Rows       int // rows of data whose time can be read
	BadRows    int // rows that are no CSV, have the wrong number of fields or a time that cannot be read
	Tags       []*Tag
	Content    [sha256.Size]byte // of the text, unpacked

	rules  *rules
	format *TimeFormat
	layout layout
	tags   *tagTable // made by the first pass, and used by the second, so that both number tags alike

	timeless  int    // rows before the first whose time explains itself
	firstTime string // the first time among them that is not empty, quoted, and where it stands
	firstLine int
}

// Tag is one tag of a file.
type Tag struct {
	Name        string
	Type        model.Type
	Unit        string
	Description string
	Stepped     bool
	StateSet    string
	Values      int // fields that become samples

	declared bool   // the mapping says which type
	refused  string // why it can be no tag
	found    inference
	settings []*varvev1.Settings // of the tag on the server, ascending; none before it is looked up
}

// layout is which column is what, by position.
type layout struct {
	header  []string
	shape   Shape
	time    int
	clock   int    // column of the time of day where time holds the date alone, else -1
	joined  []byte // both, of the row at hand
	keys    []int
	values  []int // wide: the columns that are tags. Long: those that are text tags of their own
	tag     int   // long only, as value and detail; detail -1 where there is none
	value   int
	detail  int
	quality int      // as detail
	columns []Column // what the mapping says, by position
}

// Scan reads a file once, to its end, and finds its plan. progress may be nil.
func Scan(ctx context.Context, path string, m Mapping, progress func(read, size int64)) (*Plan, error) {
	r, err := m.compile(path)
	if err != nil {
		return nil, err
	}
	f, err := openFile(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	p := &Plan{File: path, rules: r}
	if err := p.scan(ctx, f, progress); err != nil {
		return nil, fmt.Errorf("scan %s: %w", path, err)
	}
	return p, nil
}

func (p *Plan) scan(ctx context.Context, f *file, progress func(read, size int64)) error {
	sum := sha256.New()
	rows := newRowReader(io.TeeReader(f, sum), p.rules.comma)
	if p.rules.Delimiter == "" {
		if err := rows.findComma(); err != nil {
			return err
		}
		p.rules.comma = rows.comma
	}
	header, err := rows.next()
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("the file is empty: %w", ErrHeader)
	}
	if err != nil {
		return fmt.Errorf("read the header: %w: %w", err, ErrHeader)
	}
	names := make([]string, len(header))
	for i, h := range header {
		names[i] = strings.TrimSpace(string(h))
		if names[i] == "" {
			names[i] = fmt.Sprintf("column_%d", i+1)
		}
	}
	if err := p.rules.checkHeader(names); err != nil {
		return err
	}
	var tags *tagTable
	var c clock
	for {
		fields, err := rows.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if bad := (*RowError)(nil); errors.As(err, &bad) {
			p.BadRows++
			continue // the second pass reports it
		}
		if err != nil {
			return err
		}
		if tags == nil {
			if p.layout, err = p.rules.layOut(names, fields); err != nil {
				return err
			}
			tags = newTagTable(p.rules, &p.layout)
		}
		if len(fields) != len(names) {
			p.BadRows++
			continue
		}
		if p.format == nil {
			p.findFormat(fields, rows.line)
			c = clock{format: p.format, zone: p.rules.zone}
		}
		// A row without a time gives no sample, so its fields, such as a line of units, have no say in the types.
		if p.format == nil {
			p.BadRows++
			continue
		}
		if _, err := c.read(p.layout.timeOf(fields)); err != nil {
			p.BadRows++
			continue
		}
		if p.Rows++; p.Rows%4096 == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
			if progress != nil {
				progress(f.read.Load(), f.size)
			}
		}
		if err := tags.split(fields, tags.observe); err != nil && !errors.As(err, new(*RowError)) {
			return err
		}
	}
	if p.timeless > 0 && p.format == nil {
		return p.explainTimes()
	}
	sum.Sum(p.Content[:0])
	if tags != nil {
		p.finish(tags)
	}
	return nil
}

func (p *Plan) findFormat(fields [][]byte, line int) {
	field := bytes.TrimSpace(p.layout.timeOf(fields))
	if p.format = p.rules.format; p.format == nil && p.timeless < maxFormatRows {
		p.format = detectTime(field)
	}
	if p.format != nil {
		return
	}
	if p.timeless++; p.firstTime == "" && len(field) > 0 {
		p.firstTime, p.firstLine = fmt.Sprintf("%.40q", field), line
	}
}

// maxFormatRows is how many rows may have an unreadable time before the first readable one.
const maxFormatRows = 1000

func (p *Plan) explainTimes() error {
	column := p.layout.timeName()
	if p.firstTime == "" {
		return fmt.Errorf("column %s is empty in the first rows; name the column of the times with --time-column: %w", column, ErrTimes)
	}
	if unit := unixUnit(strings.Trim(p.firstTime, `"`)); unit != "" {
		return fmt.Errorf("column %s of line %d holds %s; if that counts from 1970, give --time-format %s: %w", column, p.firstLine, p.firstTime, unit, ErrTimes)
	}
	return fmt.Errorf("column %s of line %d holds %s, which is no time that explains itself; give --time-format, such as 02/01/2006 15:04:05 or %%d/%%m/%%Y: %w",
		column, p.firstLine, p.firstTime, ErrTimes)
}

func (p *Plan) finish(t *tagTable) {
	p.Shape, p.TimeColumn = p.layout.shape, p.layout.timeName()
	if p.format != nil {
		p.TimeFormat = p.format.String()
	}
	p.Tags, p.tags = t.list, t
	for i, tag := range p.Tags {
		tag.Values = tag.found.values + tag.found.bad + tag.found.empty
		if tag.Type != 0 {
			continue
		}
		if tag.Type = tag.found.result(); t.textOnly[i] {
			tag.Type = model.String
		}
	}
}

// SuggestMissing is a word that looks as if it stood for no value: one word is all that keeps a column from being
// numbers. Empty for none.
func (p *Plan) SuggestMissing() string {
	count := map[string]int{}
	for _, t := range p.Tags {
		if f := &t.found; t.Type == model.String && f.numbers > 0 && f.texts > f.commas && f.textWord != "" {
			count[f.textWord]++
		}
	}
	best := ""
	for w, n := range count {
		if best == "" || n > count[best] || n == count[best] && w < best {
			best = w
		}
	}
	return best
}

// SuggestDecimal is a column that would be of numbers with a decimal comma. Empty for none.
func (p *Plan) SuggestDecimal() string {
	for _, t := range p.Tags {
		if f := &t.found; f.commas > 0 && f.commas == f.texts && t.Type == model.String && p.rules.Decimal == "" {
			return t.Name
		}
	}
	return ""
}

// timeNames are the columns taken for the times where none is named.
var timeNames = []string{"time", "timestamp", "date", "datetime", "date_time", "ts"}

// checkHeader refuses a first line that names no columns: its data would be lost without a word.
func (r *rules) checkHeader(names []string) error {
	timeNamed := r.TimeColumn != ""
	for _, n := range names {
		if strings.IndexByte(n, 0) >= 0 {
			return fmt.Errorf("the header has zero bytes; save the file as UTF-8: %w", ErrHeader)
		}
		if i := strings.IndexByte(n, '\r'); i >= 0 && (i+1 == len(n) || n[i+1] != '\n') {
			return fmt.Errorf("the lines end in carriage returns without newlines; convert the file first, for instance with tr '\\r' '\\n': %w", ErrHeader)
		}
		timeNamed = timeNamed || slices.Contains(timeNames, strings.ToLower(n))
	}
	for i, n := range names {
		if !timeNamed && detectTime([]byte(n)) != nil {
			return fmt.Errorf("column %d of the first line is the time %s where its name should stand; put a line with the names of the columns before it: %w", i+1, n, ErrHeader)
		}
	}
	return nil
}

func (r *rules) layOut(header []string, first [][]byte) (layout, error) {
	l := layout{header: header, shape: r.Shape, tag: -1, value: -1, detail: -1, quality: -1, clock: -1}
	if len(header) > MaxColumns {
		return l, fmt.Errorf("%d columns, most is %d: %w", len(header), MaxColumns, ErrTooLarge)
	}
	seen := make(map[string]int, len(header))
	for i, h := range header {
		if j, twice := seen[h]; twice {
			return l, fmt.Errorf("columns %d and %d are both named %q; rename one of them: %w", j+1, i+1, h, ErrHeader)
		}
		seen[h] = i
		l.columns = append(l.columns, r.column(h))
	}
	var err error
	if l.time, err = r.findTime(header, first); err != nil {
		return l, err
	}
	used := map[int]bool{l.time: true}
	if l.clock = r.findClock(header, first, l.time); l.clock >= 0 {
		used[l.clock] = true
	}
	for _, k := range r.KeyColumns {
		i, ok := seen[k]
		if !ok || used[i] {
			return l, fmt.Errorf("key column %q is not among the columns %s: %w", k, listed(header), ErrHeader)
		}
		used[i] = true
		l.keys = append(l.keys, i)
	}
	tagNames := []string{r.TagColumn}
	if r.TagColumn == "tag" {
		tagNames = append(tagNames, "tag_name", "tagname")
	}
	tag, hasTag := columnOf(header, tagNames...)
	value, hasValue := columnOf(header, r.ValueColumn)
	if l.shape == "" {
		l.shape = Wide
		if hasTag && hasValue && !used[tag] && !used[value] {
			l.shape = Long
		}
	}
	if l.shape == Long {
		if !hasTag || !hasValue || used[tag] || used[value] {
			return l, fmt.Errorf("a long table needs the columns %s and %s, and has %s: %w", r.TagColumn, r.ValueColumn, listed(header), ErrHeader)
		}
		l.tag, l.value = tag, value
		used[tag], used[value] = true, true
		if d, ok := columnOf(header, r.DetailColumn); ok && !used[d] {
			l.detail = d
			used[d] = true
		}
		if q, ok := columnOf(header, orElse(r.QualityColumn, "quality")); ok && !used[q] {
			l.quality = q
			used[q] = true
		} else if r.QualityColumn != "" {
			return l, fmt.Errorf("quality column %q is not among the columns %s: %w", r.QualityColumn, listed(header), ErrHeader)
		}
	}
	for i := range header {
		if !used[i] && !l.columns[i].Skip {
			l.values = append(l.values, i)
		}
	}
	if l.shape == Wide && len(l.values) == 0 {
		return l, fmt.Errorf("the header %s has no column besides time and keys; is %q the delimiter? %w", listed(header), r.comma, ErrHeader)
	}
	return l, nil
}

// columnOf finds the column of one of names, the first of them that is there; in another case if none is as given.
func columnOf(header []string, names ...string) (int, bool) {
	for _, same := range []func(a, b string) bool{func(a, b string) bool { return a == b }, strings.EqualFold} {
		for _, name := range names {
			if i := slices.IndexFunc(header, func(h string) bool { return same(h, name) }); i >= 0 {
				return i, true
			}
		}
	}
	return -1, false
}

func (r *rules) findTime(header []string, first [][]byte) (int, error) {
	if r.TimeColumn != "" {
		if i := slices.Index(header, r.TimeColumn); i >= 0 {
			return i, nil
		}
		date, clock, _ := strings.Cut(r.TimeColumn, "+")
		if i := slices.Index(header, date); i >= 0 && slices.Contains(header, clock) && clock != date {
			return i, nil
		}
		return 0, fmt.Errorf("time column %q is not among the columns %s: %w", r.TimeColumn, listed(header), ErrHeader)
	}
	for i, h := range header {
		if !slices.Contains(timeNames, strings.ToLower(h)) {
			continue
		}
		if d, ok := columnOf(header, "date"); ok && strings.EqualFold(h, "time") && r.findClock(header, first, i) == i {
			return d, nil
		}
		return i, nil
	}
	for i, f := range first {
		if i < len(header) && detectTime(bytes.TrimSpace(f)) != nil {
			return i, nil
		}
	}
	if other := strings.IndexAny(strings.Join(header, ""), ";\t|"); other >= 0 && r.Delimiter == "" {
		return 0, fmt.Errorf("none of the columns %s holds times; if %q is the delimiter, say so with --delimiter: %w",
			listed(header), strings.Join(header, "")[other], ErrHeader)
	}
	return 0, fmt.Errorf("none of the columns %s holds times; name one with --time-column: %w", listed(header), ErrHeader)
}

// findClock is the column of the time of day if the time column holds the date alone: the one behind the + of TimeColumn,
// else time beside date. Taken for a column of values it would leave one sample of each day.
func (r *rules) findClock(header []string, first [][]byte, date int) int {
	if _, clock, ok := strings.Cut(r.TimeColumn, "+"); ok && header[date] != r.TimeColumn {
		return slices.Index(header, clock)
	}
	if r.TimeColumn != "" || !strings.EqualFold(header[date], "date") && !strings.EqualFold(header[date], "time") {
		return -1
	}
	i, ok := columnOf(header, "time")
	if d, hasDate := columnOf(header, "date"); !ok || !hasDate || i == d || i >= len(first) || !isClock(first[i]) || isClock(first[d]) {
		return -1
	}
	return i
}

// isClock reports whether a field begins like a time of day: 8:15, 08:15:00, 18.00.00.
func isClock(field []byte) bool {
	b := bytes.TrimSpace(field)
	i := bytes.IndexAny(b, ":.")
	if i < 1 || i > 2 || len(b) < i+3 || len(b) > 20 {
		return false
	}
	_, hour := digits(b[:i])
	_, minute := digits(b[i+1 : i+3])
	return hour && minute && (len(b) == i+3 || b[i+3]-'0' > 9)
}

// timeOf is the time of a row, in memory that holds until the next call.
func (l *layout) timeOf(fields [][]byte) []byte {
	if l.clock < 0 {
		return fields[l.time]
	}
	l.joined = append(append(append(l.joined[:0], bytes.TrimSpace(fields[l.time])...), ' '), bytes.TrimSpace(fields[l.clock])...)
	return l.joined
}

func (l *layout) timeName() string {
	if l.clock < 0 {
		return l.header[l.time]
	}
	return l.header[l.time] + "+" + l.header[l.clock]
}

// listedMost is how many names an error lists.
const listedMost = 12

func listed(names []string) string {
	var out []string
	for _, n := range names[:min(len(names), listedMost)] {
		if quoted := strconv.Quote(n); len(quoted) != len(n)+2 || len(n) > 60 {
			n = fmt.Sprintf("%.60q", n)
		}
		out = append(out, n)
	}
	if len(names) > listedMost {
		out = append(out, fmt.Sprintf("… (%d)", len(names)))
	}
	return strings.Join(out, ",")
}

// SuggestKey is a column that looks like a key: text or few whole numbers, before the values, in a wide table without
// keys. Empty for none.
func (p *Plan) SuggestKey() string {
	l := &p.layout
	if l.shape == Wide && len(l.keys) == 0 && len(l.values) > 1 {
		if i := l.values[0]; i == l.time+1 {
			return l.header[i]
		}
	}
	return ""
}
