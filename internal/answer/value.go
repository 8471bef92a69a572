package answer

import (
	"encoding/base64"
	"fmt"
	"math"
	"strconv"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"

	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// Value is one value as it is printed.
type Value struct {
	Type model.Type
	Null bool
	Bits uint64 // as in model.Samples, of types but string and bytes
	Text string // of string, bytes and state
}

// Text is the value for people and CSV: numbers as their shortest decimals, NaN, +Inf and -Inf, states as their text,
// bytes in base64, null as nothing.
func (v Value) String() string { return string(v.appendText(nil)) }

func (v Value) appendText(b []byte) []byte {
	if v.Null {
		return b
	}
	switch v.Type {
	case model.Float64:
		return appendFloat(b, math.Float64frombits(v.Bits), 64)
	case model.Float32:
		return appendFloat(b, model.WidenFloat32(uint32(v.Bits)), 32)
	case model.Int64:
		return strconv.AppendInt(b, int64(v.Bits), 10)
	case model.Uint64:
		return strconv.AppendUint(b, v.Bits, 10)
	case model.Bool:
		return strconv.AppendBool(b, v.Bits != 0)
	case model.Bytes:
		return base64.StdEncoding.AppendEncode(b, []byte(v.Text))
	case model.State:
		if v.Text == "" {
			return strconv.AppendInt(b, int64(v.Bits), 10)
		}
	}
	return append(b, v.Text...)
}

// appendFloat writes the shortest decimal that reads back to x, with an exponent only far from 1, as JSON libraries do.
func appendFloat(b []byte, x float64, bits int) []byte {
	if math.IsNaN(x) {
		return append(b, "NaN"...)
	}
	if math.IsInf(x, 0) {
		return strconv.AppendFloat(b, x, 'g', -1, bits)
	}
	format := byte('f')
	if abs := math.Abs(x); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(b, x, format, -1, bits)
}

// Types is of which type a tag is from which time on, ascending; the first holds from the beginning.
type Types []struct {
	From int64
	Type model.Type
}

// OfType is a tag that is of one type for ever.
func OfType(t model.Type) Types { return Types{{model.MinTime, t}} }

// TypesOf is the types of a tag as its settings have them.
func TypesOf(t *varvev1.Tag) (out Types) {
	for _, s := range t.Settings {
		if typ := model.Type(s.Type); len(out) == 0 || out[len(out)-1].Type != typ {
			out = append(out, Types{{s.FromNs, typ}}...)
		}
	}
	return out
}

// At is the type at a time, 0 where none is known.
func (t Types) At(time int64) model.Type {
	i := len(t) - 1
	for i > 0 && t[i].From > time {
		i--
	}
	if i < 0 {
		return 0
	}
	return t[i].Type
}

// Rows walks the samples of an answer.
type Rows struct {
	r     *Reader
	types map[string]Types

	batch  columns
	at     int
	length int
}

// NewRows walks the samples of r. types says of which type each tag is; it decides how the values of answers about tags
// of several types are read. A tag that is not in it is read by its columns alone.
func NewRows(r *Reader, types map[string]Types) *Rows { return &Rows{r: r, types: types} }

// Row is one sample.
type Row struct {
	Time    int64
	Tag     string
	Value   Value
	Quality model.Quality
	Seq     uint32 // 0 unless asked for
	Source  string // empty unless asked for
	Ingest  int64  // seconds since 1970; 0 unless asked for
	End     End    // of a value that no longer stands
	Bound   bool   // the row stands at an edge of the range or outside; false unless asked for

	Gap         string // the kind of the gap that the row is; empty of a sample
	GapEnd      *int64 // where it ends, nil where that is open
	NotIngested bool   // the row is a bound or a gap that no sample is, and Ingest means nothing
}

// End says what ended a value, or of a change what it was.
type End struct {
	Kind           string // replaced, removed; of a change also new, late, updated
	Time           int64
	Author, Reason string
	Offset         uint64 // of the log record, 0 where it is not known
}

// Next is the next sample, or io.EOF.
func (w *Rows) Next() (row Row, err error) {
	defer func() {
		if p := recover(); p != nil { // an offset or index that points outside its column
			err = fmt.Errorf("read the answer: row %d of a batch: %v", w.at, p)
		}
	}()
	for w.at >= w.length {
		rec, err := w.r.Next()
		if err != nil {
			return Row{}, err
		}
		if w.batch, err = columnsOf(rec); err != nil {
			return Row{}, err
		}
		w.at, w.length = 0, int(rec.NumRows())
	}
	row = w.batch.row(w.at, w.types)
	w.at++
	return row, nil
}

// columns are the columns of one record batch; those an answer does not have are nil.
type columns struct {
	time    *array.Timestamp
	tag     *array.Dictionary
	names   *array.String
	quality *array.Uint32
	value   arrow.Array
	integer *array.Int64
	text    *array.String
	blob    *array.Binary
	seq     *array.Uint32
	bound   *array.Boolean
	gap     *array.String
	gapEnd  *array.Timestamp
	ingest  *array.Timestamp
	source  *array.Dictionary
	kind    *array.String
	ended   *array.Timestamp
	author  *array.String
	reason  *array.String
	offset  *array.Uint64
	mixed   bool
}

func columnsOf(rec arrow.Record) (columns, error) {
	var c columns
	for i, f := range rec.Schema().Fields() {
		ok := true
		switch col := rec.Column(i); f.Name {
		case "time":
			c.time, ok = col.(*array.Timestamp)
		case "tag":
			if c.tag, ok = col.(*array.Dictionary); ok {
				c.names, ok = c.tag.Dictionary().(*array.String)
			}
		case "quality":
			c.quality, ok = col.(*array.Uint32)
		case "value":
			c.value = col
		case "value_int":
			c.mixed = true
			c.integer, ok = col.(*array.Int64)
		case "value_text":
			c.text, ok = col.(*array.String)
		case "value_bytes":
			c.blob, ok = col.(*array.Binary)
		case "seq":
			c.seq, ok = col.(*array.Uint32)
		case "bound":
			c.bound, ok = col.(*array.Boolean)
		case "gap":
			c.gap, ok = col.(*array.String)
		case "gap_end":
			c.gapEnd, ok = col.(*array.Timestamp)
		case "ingest_time":
			if t, exact := f.Type.(*arrow.TimestampType); exact && t.Unit == arrow.Nanosecond { // of a change
				c.ended, ok = col.(*array.Timestamp)
				break
			}
			c.ingest, ok = col.(*array.Timestamp)
		case "source":
			c.source, ok = col.(*array.Dictionary)
		case "kind":
			c.kind, ok = col.(*array.String)
		case "edit_time":
			c.ended, ok = col.(*array.Timestamp)
		case "author":
			c.author, ok = col.(*array.String)
		case "reason":
			c.reason, ok = col.(*array.String)
		case "edit_offset", "offset":
			c.offset, ok = col.(*array.Uint64)
		}
		if !ok {
			return c, fmt.Errorf("read the answer: column %s has the type %s", f.Name, f.Type)
		}
	}
	if c.time == nil || c.tag == nil || c.quality == nil || c.value == nil {
		return c, fmt.Errorf("read the answer: its columns are %s", rec.Schema())
	}
	if c.kind != nil && (c.ended == nil || c.author == nil || c.reason == nil || c.offset == nil) {
		return c, fmt.Errorf("read the answer about versions: its columns are %s", rec.Schema())
	}
	return c, nil
}

func (c *columns) row(i int, types map[string]Types) Row {
	r := Row{Time: int64(c.time.Value(i)), Tag: c.names.Value(c.tag.GetValueIndex(i)), Quality: model.Quality(c.quality.Value(i))}
	if c.mixed {
		r.Value = c.mixedValue(i, types[r.Tag].At(r.Time))
	} else {
		r.Value = c.value1(i)
	}
	if c.seq != nil {
		r.Seq = c.seq.Value(i)
	}
	r.Bound = c.bound != nil && c.bound.Value(i)
	if c.gap != nil && !c.gap.IsNull(i) {
		r.Gap = c.gap.Value(i)
	}
	if c.gapEnd != nil && !c.gapEnd.IsNull(i) {
		end := int64(c.gapEnd.Value(i))
		r.GapEnd = &end
	}
	if c.ingest != nil {
		r.NotIngested = c.ingest.IsNull(i)
		r.Ingest = int64(c.ingest.Value(i))
	}
	if c.source != nil && !c.source.IsNull(i) {
		if names, ok := c.source.Dictionary().(*array.String); ok {
			r.Source = names.Value(c.source.GetValueIndex(i))
		}
	}
	if c.kind != nil {
		r.End = End{Kind: c.kind.Value(i), Time: int64(c.ended.Value(i)), Author: c.author.Value(i), Reason: c.reason.Value(i), Offset: c.offset.Value(i)}
	}
	return r
}

// value1 is the value of an answer about tags of one type.
func (c *columns) value1(i int) Value {
	if c.value.IsNull(i) {
		return Value{Null: true}
	}
	switch v := c.value.(type) {
	case *array.Float64:
		return Value{Type: model.Float64, Bits: math.Float64bits(v.Value(i))}
	case *array.Float32:
		return Value{Type: model.Float32, Bits: uint64(math.Float32bits(v.Value(i)))}
	case *array.Uint64:
		return Value{Type: model.Uint64, Bits: v.Value(i)}
	case *array.Boolean:
		return Value{Type: model.Bool, Bits: bit(v.Value(i))}
	case *array.String:
		return Value{Type: model.String, Text: v.Value(i)}
	case *array.Binary:
		return Value{Type: model.Bytes, Text: string(v.Value(i))}
	case *array.Int64:
		if c.text == nil {
			return Value{Type: model.Int64, Bits: uint64(v.Value(i))}
		}
		out := Value{Type: model.State, Bits: uint64(v.Value(i))}
		if !c.text.IsNull(i) {
			out.Text = c.text.Value(i)
		}
		return out
	}
	return Value{Null: true}
}

// mixedValue is the value of an answer about tags of several types, read from the column that holds it exactly.
func (c *columns) mixedValue(i int, t model.Type) Value {
	hasText, hasInt := c.text != nil && !c.text.IsNull(i), !c.integer.IsNull(i)
	float, _ := c.value.(*array.Float64)
	switch {
	case c.blob != nil && !c.blob.IsNull(i):
		return Value{Type: model.Bytes, Text: string(c.blob.Value(i))}
	case hasInt && (t == model.State || hasText):
		v := Value{Type: model.State, Bits: uint64(c.integer.Value(i))}
		if hasText {
			v.Text = c.text.Value(i)
		}
		return v
	case hasInt && t == model.Bool:
		return Value{Type: model.Bool, Bits: uint64(c.integer.Value(i))}
	case hasInt:
		return Value{Type: model.Int64, Bits: uint64(c.integer.Value(i))}
	case hasText && t == model.Uint64:
		u, _ := strconv.ParseUint(c.text.Value(i), 10, 64) // the server writes decimal digits here
		return Value{Type: model.Uint64, Bits: u}
	case hasText:
		return Value{Type: model.String, Text: c.text.Value(i)}
	case float != nil && !float.IsNull(i) && t == model.Float32:
		return Value{Type: model.Float32, Bits: uint64(model.NarrowFloat32(float.Value(i)))}
	case float != nil && !float.IsNull(i):
		return Value{Type: model.Float64, Bits: math.Float64bits(float.Value(i))}
	}
	return Value{Null: true}
}

func bit(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// Number is the value as a double, to nearest, a state's its code; false for null and for what has no number.
func (v Value) Number() (float64, bool) {
	if v.Null {
		return 0, false
	}
	switch v.Type {
	case model.Bool:
		return float64(v.Bits), true
	case model.State:
		return float64(int64(v.Bits)), true
	}
	return model.Sample{Type: v.Type, Bits: v.Bits}.Float64()
}
