package server

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/apache/arrow/go/v15/arrow"

	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/server/arrowin"
	"github.com/varvedb/varve/storage"
)

// rowBatch makes a batch of rows that have the columns of samples, and lets the door judge it as one that came over gRPC.
type rowBatch struct {
	judge     *judge
	mode      model.WriteMode
	columns   map[string]int // by name
	groups    map[rowGroupKey]*rowGroup
	order     []*rowGroup
	last      foundTag // of the row before: rows come tag after tag more often than not
	seen      uint64   // rows of the stream so far
	held      int      // rows in groups
	textBytes int
	judged    bool
}

// rowGroupKey is what rows have in common that become one run.
type rowGroupKey struct {
	tag   model.TagID
	typ   model.Type // at the time of the rows, which is another one before a change of type
	texts bool       // states by their texts
}

// rowGroup is rows that become one run.
type rowGroup struct {
	rowGroupKey
	samples model.Samples
	texts   [][]byte
	rows    []uint64 // of the stream
	ref     tagRef
}

// foundTag is a tag that rows name.
type foundTag struct {
	name   string // as rows name it, empty where they do by id
	ref    tagRef
	id     model.TagID
	typ    model.Type
	epochs []model.Epoch // nil where the type never changed
}

// rowColumns is the columns that rows may have, each with what it must hold.
var rowColumns = map[string]func(arrow.DataType) bool{
	"time":        isTime,
	"time_ns":     isInteger,
	"tag":         isText,
	"tag_id":      isInteger,
	"value":       func(d arrow.DataType) bool { return isInteger(d) || isFloat(d) || d.ID() == arrow.BOOL },
	"value_int":   func(d arrow.DataType) bool { return isInteger(d) || d.ID() == arrow.BOOL },
	"value_text":  isText,
	"value_bytes": func(d arrow.DataType) bool { return d.ID() == arrow.BINARY || d.ID() == arrow.LARGE_BINARY },
	"quality":     isInteger,
}

func isInteger(d arrow.DataType) bool { return arrow.IsInteger(d.ID()) }
func isFloat(d arrow.DataType) bool   { return arrow.IsFloating(d.ID()) }
func isTime(d arrow.DataType) bool {
	return d.ID() == arrow.TIMESTAMP || d.ID() == arrow.DATE32 || d.ID() == arrow.DATE64
}
func isText(d arrow.DataType) bool { return d.ID() == arrow.STRING || d.ID() == arrow.LARGE_STRING }

// newRowBatch finds the columns of rows.
func newRowBatch(d door, mode model.WriteMode, schema *arrow.Schema) (*rowBatch, error) {
	b := &rowBatch{judge: newJudge(d, mode), mode: mode, columns: map[string]int{}}
	for i, f := range schema.Fields() {
		takes, ok := rowColumns[f.Name]
		if !ok {
			return nil, fmt.Errorf("column %.80q: rows have the columns tag or tag_id, time or time_ns, quality, and value, value_int, value_text or value_bytes: %w", f.Name, errBadField)
		}
		typ := f.Type
		if dictionary, ok := typ.(*arrow.DictionaryType); ok {
			typ = dictionary.ValueType
		}
		if typ.ID() != arrow.NULL && !takes(typ) {
			return nil, fmt.Errorf("column %s is %s, which it cannot be: %w", f.Name, f.Type, errBadField)
		}
		if _, twice := b.columns[f.Name]; twice {
			return nil, fmt.Errorf("column %s stands twice: %w", f.Name, errBadField)
		}
		b.columns[f.Name] = i
	}
	has := func(names ...string) bool {
		return slices.ContainsFunc(names, func(n string) bool { _, ok := b.columns[n]; return ok })
	}
	switch {
	case !has("tag", "tag_id"):
		return nil, fmt.Errorf("rows have no column tag and none tag_id: %w", errBadField)
	case !has("time", "time_ns"):
		return nil, fmt.Errorf("rows have no column time and none time_ns: %w", errBadField)
	case !has("value", "value_int", "value_text", "value_bytes"):
		return nil, fmt.Errorf("rows have none of the columns value, value_int, value_text and value_bytes: %w", errBadField)
	}
	b.reset()
	return b, nil
}

// reset forgets the rows gathered.
func (b *rowBatch) reset() {
	_ = b.judge.begin(nil) // no bytes, which have no fault
	b.groups, b.order, b.last, b.held, b.textBytes, b.judged = map[rowGroupKey]*rowGroup{}, nil, foundTag{}, 0, 0, false
}

// row is the cells of one row.
type row struct {
	time, timeNS, tag, tagID, value, valueInt, valueText, valueBytes, quality arrowin.Cell
}

// add gathers the rows of a record batch that came from outside.
func (b *rowBatch) add(record arrow.Record, list *ingestRejected) error {
	cells := func(name string) func(int) arrowin.Cell {
		i, ok := b.columns[name]
		if !ok {
			return func(int) arrowin.Cell { return arrowin.Cell{} }
		}
		column := record.Column(i)
		return func(row int) arrowin.Cell { return arrowin.At(column, row) }
	}
	time, timeNS, tag, tagID := cells("time"), cells("time_ns"), cells("tag"), cells("tag_id")
	value, valueInt, valueText, valueBytes, quality := cells("value"), cells("value_int"), cells("value_text"), cells("value_bytes"), cells("quality")
	for i := range int(record.NumRows()) {
		r := row{time(i), timeNS(i), tag(i), tagID(i), value(i), valueInt(i), valueText(i), valueBytes(i), quality(i)}
		at, f := b.take(&r)
		if f.code != 0 {
			list.add(rejectedRow{row: b.seen, tag: strings.Clone(r.label()), time: at, code: f.code, reason: f.reason()})
		}
		b.seen++
		if b.textBytes > maxIngestBytes {
			return fmt.Errorf("texts of more than %d bytes in rows that are stored together; send fewer, or set the option atomic to false and send smaller batches: %w", maxIngestBytes, errTooMany)
		}
	}
	return nil
}

func (r *row) label() string {
	if r.tag.Kind == arrowin.Text {
		return fmt.Sprintf("%.200s", strings.ToValidUTF8(r.tag.Text, "\uFFFD"))
	}
	if id, ok := r.tagID.AsInt(); ok {
		return strconv.FormatInt(id, 10)
	}
	return ""
}

// take puts a row into its group, or says what is wrong with it.
func (b *rowBatch) take(r *row) (at int64, f fault) {
	at, f = r.when()
	if f.code != 0 {
		return 0, f
	}
	tag, f := b.find(r)
	if f.code != 0 {
		return at, f
	}
	typ := tag.typ
	if tag.epochs != nil {
		e, _ := epochAt(tag.epochs, at)
		typ = e.Type
	}
	s := model.Sample{Time: at, Type: typ}
	if s.Quality, f = r.status(); f.code != 0 {
		return at, f
	}
	text, f := r.fill(&s)
	if f.code != 0 {
		return at, f
	}
	key := rowGroupKey{tag.id, typ, text != nil}
	g := b.groups[key]
	if g == nil {
		if len(b.order) >= b.judge.maxRuns {
			return at, malformed("rows of more than %d tags are stored together", b.judge.maxRuns)
		}
		g = &rowGroup{rowGroupKey: key, samples: model.Samples{Type: typ}, ref: tag.ref}
		b.groups[key] = g
		b.order = append(b.order, g)
	}
	g.samples.Append(s)
	g.rows = append(g.rows, b.seen)
	if text != nil {
		g.texts = append(g.texts, text)
	}
	b.held++
	b.textBytes += len(s.Blob) + len(text)
	return at, fault{}
}

// find is the tag of a row.
func (b *rowBatch) find(r *row) (*foundTag, fault) {
	if r.tag.Kind == arrowin.Text && r.tag.Text != "" && r.tag.Text == b.last.name {
		return &b.last, fault{}
	}
	ref, f := r.which()
	if f.code != 0 {
		return nil, f
	}
	id, typ, f := b.judge.find(ref)
	if f.code != 0 {
		return nil, f
	}
	b.last = foundTag{name: string(ref.name), ref: ref, id: id, typ: typ, epochs: b.judge.epochs(id)}
	return &b.last, fault{}
}

// when is the time of a row. Where both columns have it the nanoseconds count, and the other must be the same microsecond.
func (r *row) when() (int64, fault) {
	switch {
	case r.timeNS.Kind != arrowin.Null:
		at, ok := r.timeNS.AsInt()
		if !ok {
			return 0, malformed("time_ns is beyond 64 bits")
		}
		if t := r.time; t.Kind == arrowin.Time && t.Int != at && t.Int != at-floorMod(at, 1000) {
			return 0, malformed("time is %s and time_ns is %s", model.FormatTime(t.Int), model.FormatTime(at))
		}
		return at, fault{}
	case r.time.Kind == arrowin.Time:
		return r.time.Int, fault{}
	case r.time.Kind == arrowin.OutOfRange:
		return 0, fault{varvev1.RejectCode_REJECT_CODE_TIME_OUT_OF_WINDOW, func() string { return "time is one that nanoseconds in 64 bits cannot say" }}
	}
	return 0, malformed("row has no time")
}

func floorMod(a, b int64) int64 { return ((a % b) + b) % b }

// which is the tag of a row. Where both columns have it the name counts, because it is what people see.
func (r *row) which() (tagRef, fault) {
	if r.tag.Kind == arrowin.Text {
		return tagRef{name: []byte(r.tag.Text)}, fault{}
	}
	if r.tagID.Kind == arrowin.Null {
		return tagRef{}, malformed("row has no tag")
	}
	id, ok := r.tagID.AsInt()
	if !ok || id < 1 || id > math.MaxUint32 {
		return tagRef{}, malformed("tag_id is %d, must be 1 to %d", id, uint32(math.MaxUint32))
	}
	return tagRef{id: uint32(id)}, fault{}
}

// status is the quality of a row, Good where it has none.
func (r *row) status() (model.Quality, fault) {
	if r.quality.Kind == arrowin.Null {
		return model.Good, fault{}
	}
	code, ok := r.quality.AsInt()
	if r.quality.Kind == arrowin.Int && code < 0 && code >= math.MinInt32 {
		code += 1 << 32 // a column of 32 bits with a sign
	}
	if !ok || code < 0 || code > math.MaxUint32 {
		return 0, malformed("quality is %d, must be 0 to %d", code, uint32(math.MaxUint32))
	}
	return model.Quality(code), fault{}
}

// fill sets the value of a sample whose type is known, from the columns that can hold that type, in their order. text is that of a
// state, for the door to find its code.
func (r *row) fill(s *model.Sample) (text []byte, f fault) {
	if r.value.Kind == arrowin.Null && r.valueInt.Kind == arrowin.Null && r.valueText.Kind == arrowin.Null && r.valueBytes.Kind == arrowin.Null {
		if s.Quality.IsGood() {
			return nil, malformed("row has no value and its quality is Good; a sample without a value has a quality that says why")
		}
		s.Null = true
		return nil, fault{}
	}
	if f := r.stray(s.Type); f.code != 0 {
		return nil, f
	}
	ok := false
	switch s.Type {
	case model.Float64, model.Float32:
		ok = r.fillFloat(s)
	case model.Int64, model.Bool:
		if r.valueInt.Kind != arrowin.Null {
			s.Bits, ok = bitsOf(r.valueInt)
		} else {
			s.Bits, ok = bitsOf(r.value)
		}
		if n := int64(s.Bits); s.Type == model.Bool && ok && n != 0 && n != 1 {
			return nil, fault{varvev1.RejectCode_REJECT_CODE_VALUE_REFUSED, func() string { return fmt.Sprintf("value is %d, the tag is bool: 0 or 1", n) }}
		}
	case model.Uint64:
		s.Bits, ok = r.uint64()
	case model.State:
		switch {
		case r.valueInt.Kind != arrowin.Null:
			s.Bits, ok = bitsOf(r.valueInt)
		case r.valueText.Kind == arrowin.Text:
			return append([]byte{}, r.valueText.Text...), fault{}
		default:
			s.Bits, ok = bitsOf(r.value)
		}
	case model.String:
		ok = r.valueText.Kind == arrowin.Text
		s.Blob = []byte(r.valueText.Text)
	case model.Bytes:
		ok = r.valueBytes.Kind == arrowin.Bytes
		s.Blob = []byte(r.valueBytes.Text)
	}
	if !ok {
		typ := s.Type
		return nil, fault{varvev1.RejectCode_REJECT_CODE_TYPE_MISMATCH, func() string {
			return fmt.Sprintf("the tag is %s, and the row has no value that is one exactly: it is taken from %s", typ, strings.Join(columnsFor[typ], ", then "))
		}}
	}
	return nil, fault{}
}

// columnsFor is the columns that values of a type are taken from: the first that is not NULL counts. The others must be NULL.
var columnsFor = map[model.Type][]string{
	model.Float64: {"value"}, model.Float32: {"value"}, model.Int64: {"value_int", "value"}, model.Bool: {"value_int", "value"},
	model.Uint64: {"value_int", "value_text", "value"}, model.State: {"value_int", "value_text", "value"}, model.String: {"value_text"}, model.Bytes: {"value_bytes"},
}

// stray is a column with a value that a type is not taken from.
func (r *row) stray(typ model.Type) fault {
	for i, c := range [...]*arrowin.Cell{&r.value, &r.valueInt, &r.valueText, &r.valueBytes} {
		name := [...]string{"value", "value_int", "value_text", "value_bytes"}[i]
		if c.Kind != arrowin.Null && !slices.Contains(columnsFor[typ], name) {
			return fault{varvev1.RejectCode_REJECT_CODE_TYPE_MISMATCH, func() string {
				return fmt.Sprintf("%s has a value, the tag is %s: it is taken from %s", name, typ, strings.Join(columnsFor[typ], ", then "))
			}}
		}
	}
	return fault{}
}

// fillFloat takes a double as it is, and of a float32 tag the nearest float32, as every door does that has doubles alone.
func (r *row) fillFloat(s *model.Sample) bool {
	v, ok := r.value.AsFloat()
	if !ok {
		return false
	}
	if s.Type == model.Float64 {
		s.Bits = math.Float64bits(v)
		return true
	}
	narrow := model.NarrowFloat32(v)
	s.Bits = uint64(narrow)
	return math.IsInf(v, 0) || !math.IsInf(float64(math.Float32frombits(narrow)), 0)
}

// bitsOf is a cell as an integer with a sign, as samples keep it.
func bitsOf(c arrowin.Cell) (uint64, bool) {
	n, ok := c.AsInt()
	return uint64(n), ok
}

func (r *row) uint64() (uint64, bool) {
	for _, c := range []arrowin.Cell{r.valueInt, r.valueText, r.value} {
		switch c.Kind {
		case arrowin.Null:
			continue
		case arrowin.Uint:
			return c.Uint, true
		case arrowin.Text:
			v, err := strconv.ParseUint(c.Text, 10, 64)
			return v, err == nil
		}
		n, ok := c.AsInt()
		return uint64(n), ok && n >= 0
	}
	return 0, false
}

// judgeAll makes the judge's batch of all rows gathered, but those that it rejects.
func (b *rowBatch) judgeAll(list *ingestRejected) {
	if b.judged {
		return
	}
	b.judged = true
	j := b.judge
	for i, g := range b.order {
		run := &j.next
		*run = storage.Run{Tag: g.tag, Mode: b.mode, Samples: g.samples}
		j.judgeSamples(g.tag, &run.Samples, b.mode, g.texts)
		j.judgeEpochs(j.epochs(g.tag), &run.Samples, b.mode)
		if len(j.faults) > 0 {
			g.samples.Times = slices.Clone(g.samples.Times) // the judge closes up what it leaves of a run
		}
		j.keep(run, runOrigin{wire: uint32(i), stride: 1}, g.ref)
	}
	b.refuse(j.rejections.list, j.rejections.count, list)
	j.rejections = rejections{} // they are in list, and are counted there
}

// refuse lists the rows of rejections of runs, which are groups here; count is of all, also of those that had no room.
func (b *rowBatch) refuse(rejections []*varvev1.Rejection, count uint64, list *ingestRejected) {
	for _, r := range rejections {
		g := b.order[r.GetRun()]
		for k := r.GetFirst(); k < r.GetFirst()+r.GetCount() && count > 0; k++ {
			list.add(rejectedRow{row: g.rows[k], tag: r.GetTag(), time: g.samples.Times[k], code: r.GetCode(), reason: r.GetReason()})
			count--
		}
	}
	list.count += count
}
