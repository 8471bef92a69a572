package export

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"

	"github.com/varvedb/varve/model"
)

// Keys of a file's metadata.
const (
	metaFormat = "varve.format" // fileVersion
	metaTags   = "varve.tags"   // JSON: the tags that may have rows, in the order of the file, see tagMetadata
)

// Columns of a file, in this order. A value stands in value, value_int, value_text or value_bytes by its type, of a Bad sample in the column
// of the same name with bad_ before it (value: bad_value), so that who never looks at the quality does not calculate with it.
const (
	columnTime = iota
	columnTag
	columnValue
	columnQuality
	columnStatus
	columnSeverity
	columnInt
	columnText
	columnTimeNs
	columnTagID
	columnSeq
	columnBytes
	columnBad
	columnBadInt
	columnBadText
	columnBadBytes
	columns
)

var fields = [columns]arrow.Field{
	columnTime:     {Name: "time"},
	columnTag:      {Name: "tag"},
	columnValue:    {Name: "value", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
	columnQuality:  {Name: "quality", Type: arrow.PrimitiveTypes.Int64},
	columnStatus:   {Name: "status", Type: arrow.BinaryTypes.String},
	columnSeverity: {Name: "severity", Type: arrow.BinaryTypes.String},
	columnInt:      {Name: "value_int", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
	columnText:     {Name: "value_text", Type: arrow.BinaryTypes.String, Nullable: true},
	columnTimeNs:   {Name: "time_ns", Type: arrow.PrimitiveTypes.Int64},
	columnTagID:    {Name: "tag_id", Type: arrow.PrimitiveTypes.Int64},
	columnSeq:      {Name: "seq", Type: arrow.PrimitiveTypes.Int64},
	columnBytes:    {Name: "value_bytes", Type: arrow.BinaryTypes.Binary, Nullable: true},
	columnBad:      {Name: "bad_value", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
	columnBadInt:   {Name: "bad_value_int", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
	columnBadText:  {Name: "bad_value_text", Type: arrow.BinaryTypes.String, Nullable: true},
	columnBadBytes: {Name: "bad_value_bytes", Type: arrow.BinaryTypes.Binary, Nullable: true},
}

// schemaOf is the schema of a file about tags in a range.
func schemaOf(s *Settings, tags []tag, in model.TimeRange) (*arrow.Schema, error) {
	text, err := tagsText(tags, in)
	if err != nil {
		return nil, err
	}
	f := fields
	f[columnTime].Type = &arrow.TimestampType{Unit: arrow.Nanosecond, TimeZone: "UTC"}
	if s.TimeUnit == "us" {
		f[columnTime].Type = &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}
	}
	f[columnTag].Type = arrow.BinaryTypes.String
	if s.Format == "arrow" {
		f[columnTag].Type = &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.BinaryTypes.String}
	}
	meta := arrow.NewMetadata([]string{metaFormat, metaTags}, []string{strconv.Itoa(fileVersion), text})
	return arrow.NewSchema(f[:], &meta), nil
}

// fileWriter writes the record batches of a file, each a row group.
type fileWriter interface {
	Write(arrow.Record) error
	Close() error
}

// rows gathers rows into record batches: one ends behind a tag once it is half full, so that most tags lie in one or two and what a reader
// knows of a batch, its least and greatest tag and time, lets it skip most of a file.
type rows struct {
	out     fileWriter
	tags    []tag
	most    int // rows of a batch
	micros  bool
	schema  *arrow.Schema
	names   *array.String // of the tags, where the column has them as a dictionary; nil where it has them as text
	builder *array.RecordBuilder
	at      struct { // of builder, by what is put in
		time, timeNs                    int64Appender
		tag                             func(index int)
		value, bad                      *array.Float64Builder
		quality, integer, badInt        *array.Int64Builder
		tagID, seq                      *array.Int64Builder
		status, severity, text, badText *array.StringBuilder
		bytes, badBytes                 *array.BinaryBuilder
	}
	gathered int // rows in builder
	blobs    int // bytes of text and binary in it
	tag      int // index of that of the last row
	quality  model.Quality
	status   string // of the quality
	severity string
	rows     uint64
	first    int64 // times of all rows
	last     int64
	ids      []uint32
}

type int64Appender interface{ Append(int64) }

// timestamps lets a column of times take integers.
type timestamps struct{ *array.TimestampBuilder }

func (t timestamps) Append(v int64) { t.TimestampBuilder.Append(arrow.Timestamp(v)) }

// maxBatchBlobs is how many bytes of text and binary end a batch.
const maxBatchBlobs = 16 << 20

func newRows(o *Options, tags []tag, in model.TimeRange, x *File, out io.Writer) (*rows, error) {
	schema, err := schemaOf(&o.Settings, tags, in)
	if err != nil {
		return nil, err
	}
	r := &rows{tags: tags, most: o.GroupRows, micros: o.Settings.TimeUnit == "us", schema: schema, tag: -1, first: math.MaxInt64, last: math.MinInt64}
	if o.Settings.Format == "arrow" {
		r.out, err = newArrowWriter(out, schema)
	} else {
		r.out, err = newParquetWriter(out, schema)
	}
	if err != nil {
		return nil, fmt.Errorf("begin %s: %w", x.Path, err)
	}
	gathered := schema
	if o.Settings.Format == "arrow" {
		names := array.NewStringBuilder(memory.DefaultAllocator)
		defer names.Release()
		for _, t := range tags {
			names.Append(t.Name)
		}
		r.names = names.NewStringArray()
		f := slices.Clone(schema.Fields())
		f[columnTag].Type = arrow.PrimitiveTypes.Int32
		gathered = arrow.NewSchema(f, nil)
	}
	r.bind(array.NewRecordBuilder(memory.DefaultAllocator, gathered))
	return r, nil
}

// bind finds the builders of the columns.
func (r *rows) bind(b *array.RecordBuilder) {
	r.builder = b
	ints := func(i int) *array.Int64Builder { return b.Field(i).(*array.Int64Builder) }
	texts := func(i int) *array.StringBuilder { return b.Field(i).(*array.StringBuilder) }
	switch tags := b.Field(columnTag).(type) {
	case *array.StringBuilder:
		r.at.tag = func(i int) { tags.Append(r.tags[i].Name) }
	case *array.Int32Builder:
		r.at.tag = func(i int) { tags.Append(int32(i)) }
	}
	r.at.time = timestamps{b.Field(columnTime).(*array.TimestampBuilder)}
	r.at.timeNs, r.at.quality, r.at.tagID, r.at.seq = ints(columnTimeNs), ints(columnQuality), ints(columnTagID), ints(columnSeq)
	r.at.integer, r.at.badInt = ints(columnInt), ints(columnBadInt)
	r.at.value, r.at.bad = b.Field(columnValue).(*array.Float64Builder), b.Field(columnBad).(*array.Float64Builder)
	r.at.status, r.at.severity, r.at.text, r.at.badText = texts(columnStatus), texts(columnSeverity), texts(columnText), texts(columnBadText)
	r.at.bytes, r.at.badBytes = b.Field(columnBytes).(*array.BinaryBuilder), b.Field(columnBadBytes).(*array.BinaryBuilder)
}

func (r *rows) release() {
	r.builder.Release()
	if r.names != nil {
		r.names.Release()
	}
}

// add puts the rows of an answer in. Its dictionary has the tags asked for in their order, of which the first is tags[index] and there are
// count. Names are taken from there alone: one that changes meanwhile is seen by the next run.
func (r *rows) add(rec arrow.Record, index, count int) (err error) {
	defer func() {
		if p := recover(); p != nil { // an offset or index that points outside its column
			err = fmt.Errorf("read the answer: %v", p)
		}
	}()
	a, err := answerOf(rec)
	if err != nil {
		return err
	}
	for i := range int(rec.NumRows()) {
		at := a.tag.GetValueIndex(i)
		if at < 0 || at >= count {
			return fmt.Errorf("read the answer: a row is of tag %d of %d", at, count)
		}
		if err := r.row(a, i, index+at); err != nil {
			return err
		}
	}
	return nil
}

func (r *rows) row(a *answerColumns, i, tag int) error {
	if tag != r.tag {
		if r.gathered >= r.most/2 {
			if err := r.flush(); err != nil {
				return err
			}
		}
		r.tag = tag
		r.ids = append(r.ids, r.tags[tag].Id)
	}
	t, quality := int64(a.time.Value(i)), model.Quality(a.quality.Value(i))
	r.first, r.last = min(r.first, t), max(r.last, t)
	if r.at.timeNs.Append(t); r.micros {
		t = floorMicros(t)
	}
	r.at.time.Append(t)
	r.at.tag(tag)
	r.at.quality.Append(int64(quality))
	if quality != r.quality || r.status == "" {
		r.quality, r.status, r.severity = quality, quality.String(), quality.Severity()
	}
	r.at.status.Append(r.status)
	r.at.severity.Append(r.severity)
	r.at.tagID.Append(int64(r.tags[tag].Id))
	r.at.seq.Append(int64(a.seq.Value(i)))
	v := a.value(i)
	if quality.IsBad() {
		r.put(v, r.at.bad, r.at.badInt, r.at.badText, r.at.badBytes)
	} else {
		r.put(v, r.at.value, r.at.integer, r.at.text, r.at.bytes)
	}
	r.blobs += len(v.text) + len(v.bytes)
	if r.gathered++; r.gathered >= r.most || r.blobs >= maxBatchBlobs {
		return r.flush()
	}
	return nil
}

// put puts a value into those of its columns that hold it. Their rows before that have none, and those behind the last one, are filled up then.
func (r *rows) put(v value, f *array.Float64Builder, n *array.Int64Builder, s *array.StringBuilder, b *array.BinaryBuilder) {
	if v.has&hasFloat != 0 {
		fill(f, r.gathered)
		f.Append(v.float)
	}
	if v.has&hasInt != 0 {
		fill(n, r.gathered)
		n.Append(v.integer)
	}
	if v.has&hasText != 0 {
		fill(s, r.gathered)
		s.Append(v.text)
	}
	if v.has&hasBytes != 0 {
		fill(b, r.gathered)
		b.Append(v.bytes)
	}
}

// fill gives a column nulls up to a number of rows.
func fill(b array.Builder, rows int) {
	if n := rows - b.Len(); n > 0 {
		b.AppendNulls(n)
	}
}

func (r *rows) flush() error {
	if r.gathered == 0 {
		return nil
	}
	rec := r.record()
	defer rec.Release()
	r.rows += uint64(r.gathered)
	r.gathered, r.blobs = 0, 0
	if err := r.out.Write(rec); err != nil {
		return fmt.Errorf("write %d rows: %w", rec.NumRows(), err)
	}
	return nil
}

// record is the rows gathered. All batches have one dictionary of names: an Arrow file cannot change it from batch to batch.
func (r *rows) record() arrow.Record {
	for i, f := range fields {
		if f.Nullable {
			fill(r.builder.Field(i), r.gathered)
		}
	}
	rec := r.builder.NewRecord()
	if r.names == nil {
		return rec
	}
	defer rec.Release()
	tags := array.NewDictionaryArray(r.schema.Field(columnTag).Type, rec.Column(columnTag), r.names)
	defer tags.Release()
	cols := slices.Clone(rec.Columns())
	cols[columnTag] = tags
	return array.NewRecord(r.schema, cols, rec.NumRows())
}

func (r *rows) close() error {
	if err := r.flush(); err != nil {
		return err
	}
	if err := r.out.Close(); err != nil {
		return fmt.Errorf("end the file: %w", err)
	}
	return nil
}

// floorMicros is the microsecond an instant lies in, also before 1970.
func floorMicros(ns int64) int64 {
	us := ns / 1000
	if ns%1000 < 0 {
		us--
	}
	return us
}

// value is a value by the columns it stands in; none of them: no value.
type value struct {
	has     uint8
	float   float64
	integer int64
	text    string
	bytes   []byte
}

const (
	hasFloat = 1 << iota
	hasInt
	hasText
	hasBytes
)

// answerColumns are the columns of a record batch of ReadRange.
type answerColumns struct {
	time    *array.Timestamp
	tag     *array.Dictionary
	quality *array.Uint32
	seq     *array.Uint32
	value   func(i int) value
}

func answerOf(rec arrow.Record) (*answerColumns, error) {
	var a answerColumns
	by := map[string]arrow.Array{}
	for i, f := range rec.Schema().Fields() {
		by[f.Name] = rec.Column(i)
	}
	var ok [4]bool
	a.time, ok[0] = by["time"].(*array.Timestamp)
	a.tag, ok[1] = by["tag"].(*array.Dictionary)
	a.quality, ok[2] = by["quality"].(*array.Uint32)
	a.seq, ok[3] = by["seq"].(*array.Uint32)
	integers, mixed := by["value_int"].(*array.Int64)
	texts, withText := by["value_text"].(*array.String)
	blobs, withBytes := by["value_bytes"].(*array.Binary)
	switch doubles, isDouble := by["value"].(*array.Float64); {
	case mixed && isDouble && withText && withBytes:
		a.value = mixedValues(doubles, integers, texts, blobs)
	case !mixed:
		a.value = valuesOf(by["value"], texts)
	}
	if ok != [4]bool{true, true, true, true} || a.value == nil {
		return nil, fmt.Errorf("read the answer: its columns are %s", rec.Schema())
	}
	return &a, nil
}

// mixedValues reads an answer about tags of several types: its columns are those of the file.
func mixedValues(doubles *array.Float64, integers *array.Int64, texts *array.String, blobs *array.Binary) func(int) value {
	return func(i int) (v value) {
		if !doubles.IsNull(i) {
			v.has, v.float = v.has|hasFloat, doubles.Value(i)
		}
		if !integers.IsNull(i) {
			v.has, v.integer = v.has|hasInt, integers.Value(i)
		}
		if !texts.IsNull(i) {
			v.has, v.text = v.has|hasText, texts.Value(i)
		}
		if !blobs.IsNull(i) {
			v.has, v.bytes = v.has|hasBytes, blobs.Value(i)
		}
		return v
	}
}

// valuesOf reads an answer about tags of one type, as ReadRange puts values of that type into an answer about several; nil for a column
// that is of none.
func valuesOf(col arrow.Array, texts *array.String) func(int) value {
	var read func(int) value
	switch c := col.(type) {
	case *array.Float64:
		read = func(i int) value { return value{has: hasFloat, float: c.Value(i)} }
	case *array.Float32:
		read = func(i int) value {
			return value{has: hasFloat, float: model.WidenFloat32(math.Float32bits(c.Value(i)))}
		}
	case *array.Uint64:
		read = func(i int) value {
			v := value{has: hasFloat, float: float64(c.Value(i))}
			if u := c.Value(i); u <= math.MaxInt64 {
				v.has, v.integer = v.has|hasInt, int64(u)
			} else {
				v.has, v.text = v.has|hasText, strconv.FormatUint(u, 10)
			}
			return v
		}
	case *array.Int64:
		if texts == nil {
			read = func(i int) value {
				return value{has: hasFloat | hasInt, float: float64(c.Value(i)), integer: c.Value(i)}
			}
			break
		}
		read = func(i int) value {
			v := value{has: hasInt, integer: c.Value(i)}
			if !texts.IsNull(i) {
				v.has, v.text = v.has|hasText, texts.Value(i)
			}
			return v
		}
	case *array.Boolean:
		read = func(i int) value {
			v := value{has: hasInt}
			if c.Value(i) {
				v.integer = 1
			}
			return v
		}
	case *array.String:
		read = func(i int) value { return value{has: hasText, text: c.Value(i)} }
	case *array.Binary:
		read = func(i int) value { return value{has: hasBytes, bytes: c.Value(i)} }
	default:
		return nil
	}
	return func(i int) value {
		if col.IsNull(i) {
			return value{}
		}
		return read(i)
	}
}
