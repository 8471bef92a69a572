package answer

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"

	"github.com/varvedb/varve/model"
)

// ErrNoSeries says that the rows of an answer are no lines of a chart.
var ErrNoSeries = errors.New("the answer is no series of numbers")

// point is a point of a line. Without a number the line breaks there.
type point struct {
	tag    string
	label  string // of which aggregate, empty for samples
	time   int64
	number []byte // as text, exact; empty where there is none. It holds until the next point.
	finite bool
}

// lines are the columns of an answer that lines are drawn from: one line for each tag.
type lines struct {
	time, tag, value, integer, text, blob, quality, function int // -1 for none
	label                                                    string
}

// notValues are columns of aggregates beside the aggregate itself.
var notValues = []string{"time", "tag", "quality", "percent_good", "label", "while_ns"}

// linesOf finds the columns. The answer must have a row for each tag and time, with one number in it.
func linesOf(s *arrow.Schema) (l lines, err error) {
	at := func(name string) int {
		if i := s.FieldIndices(name); len(i) == 1 {
			return i[0]
		}
		return -1
	}
	l = lines{
		time: at("time"), tag: at("tag"), value: at("value"), integer: at("value_int"), text: at("value_text"), blob: at("value_bytes"),
		quality: at("quality"), function: at("function"),
	}
	if l.time < 0 || l.tag < 0 || s.HasField("issued") || s.HasField("edit_time") {
		return l, fmt.Errorf("its rows are no points of lines: ask for a range, latest values, instants, a plot or one aggregate: %w", ErrNoSeries)
	}
	if l.value < 0 {
		for i, f := range s.Fields() {
			if slices.Contains(notValues, f.Name) {
				continue
			}
			if l.value >= 0 {
				return l, fmt.Errorf("columns %s and %s: ask for one aggregate: %w", l.label, f.Name, ErrNoSeries)
			}
			l.value, l.label = i, f.Name
		}
	}
	if l.value < 0 {
		return l, fmt.Errorf("it has no column of values: %w", ErrNoSeries)
	}
	if f := s.Field(l.value); f.Type.ID() == arrow.STRING || f.Type.ID() == arrow.BINARY || f.Type.ID() == arrow.TIMESTAMP {
		return l, fmt.Errorf("column %s is %s: %w", f.Name, f.Type, ErrNoSeries)
	}
	return l, nil
}

// each visits the points of an answer in its order.
func (l *lines) each(r *Reader, visit func(point) error) (points uint64, err error) {
	defer func() {
		if p := recover(); p != nil { // an offset or index that points outside its column
			err = fmt.Errorf("read the answer: %v", p)
		}
	}()
	var number []byte
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return points, nil
		}
		if err != nil {
			return points, err
		}
		times, ok1 := rec.Column(l.time).(*array.Timestamp)
		tags, ok2 := rec.Column(l.tag).(*array.Dictionary)
		if !ok1 || !ok2 {
			return points, fmt.Errorf("read the answer: its columns are %s", rec.Schema())
		}
		names, ok := tags.Dictionary().(*array.String)
		if !ok {
			return points, fmt.Errorf("read the answer: its tags are %s", tags.DataType())
		}
		for i := range int(rec.NumRows()) {
			p := point{tag: names.Value(tags.GetValueIndex(i)), label: l.label, time: int64(times.Value(i))}
			if l.function >= 0 {
				p.label = functionName(rec.Column(l.function), i)
			}
			if number, p.finite, err = l.number(number[:0], rec, i); err != nil {
				return points, fmt.Errorf("tag %s: %w", p.tag, err)
			}
			p.number = number
			if err := visit(p); err != nil {
				return points, err
			}
			points++
		}
	}
}

func functionName(c arrow.Array, i int) string {
	if d, ok := c.(*array.Dictionary); ok {
		return d.Dictionary().ValueStr(d.GetValueIndex(i))
	}
	return ""
}

// number is the number of a row as text, empty where there is none or it is Bad.
func (l *lines) number(b []byte, rec arrow.Record, i int) (out []byte, finite bool, err error) {
	if l.quality >= 0 {
		if q, ok := rec.Column(l.quality).(*array.Uint32); ok && model.Quality(q.Value(i)).IsBad() {
			return b, false, nil
		}
	}
	has := func(column int) bool { return column >= 0 && !rec.Column(column).IsNull(i) }
	if n, ok := rec.Column(max(l.integer, 0)).(*array.Int64); ok && has(l.integer) {
		return strconv.AppendInt(b, n.Value(i), 10), true, nil
	}
	c := rec.Column(l.value)
	if l.integer >= 0 && (has(l.text) || has(l.blob)) {
		if text, ok := rec.Column(max(l.text, 0)).(*array.String); ok && !c.IsNull(i) { // an integer beyond the others
			return append(b, text.Value(i)...), true, nil
		}
		return b, false, fmt.Errorf("has values that are no numbers, which no chart shows: %w", ErrNoSeries)
	}
	if c.IsNull(i) {
		return b, false, nil
	}
	switch c := c.(type) {
	case *array.Float64:
		return appendFloat(b, c.Value(i), 64), c.Value(i)-c.Value(i) == 0, nil
	case *array.Float32:
		x := float64(c.Value(i))
		return appendFloat(b, x, 32), model.Finite(x), nil
	case *array.Boolean:
		if c.Value(i) {
			return append(b, '1'), true, nil
		}
		return append(b, '0'), true, nil
	case *array.Int64, *array.Uint64, *array.Uint32:
		return append(b, c.ValueStr(i)...), true, nil
	case *array.Decimal128:
		return append(b, c.Value(i).BigInt().String()...), true, nil
	}
	return b, false, fmt.Errorf("values are %s: %w", c.DataType(), ErrNoSeries)
}

// WriteMatrix writes lines as the matrix of Prometheus: times in seconds since 1970, numbers as text, exact. A sample that is Bad or has no
// number is left out.
//
//	{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"tag":"FI-101"},"values":[[1772344800,"10"],[1772344810.5,"NaN"]]}]}}
func WriteMatrix(w io.Writer, r *Reader) (points uint64, err error) {
	l, err := linesOf(r.Schema())
	if err != nil {
		return 0, err
	}
	var labels []byte
	if unit, ok := r.Schema().Field(l.value).Metadata.GetValue("varve.unit"); ok {
		labels = appendJSONString(append(labels, `,"unit":`...), unit)
	}
	out := bufio.NewWriterSize(w, 64<<10)
	out.WriteString(`{"status":"success","data":{"resultType":"matrix","result":[`)
	s := seriesWriter{out: out, end: "]}", begin: func(b []byte, p point) []byte {
		b = appendJSONString(append(b, `{"metric":{"tag":`...), p.tag)
		if p.label != "" {
			b = appendJSONString(append(b, `,"aggregate":`...), p.label)
		}
		return append(append(b, labels...), `},"values":[`...)
	}}
	points, err = l.each(r, func(p point) error {
		if len(p.number) == 0 {
			return nil
		}
		b := appendSeconds(append(s.next(p), '['), p.time)
		b = append(append(append(b, `,"`...), p.number...), `"]`...)
		return s.put(b)
	})
	return points, s.close("]}}\n", err)
}

// WriteDatapoints writes lines as data sources of Grafana take them: times in milliseconds since 1970, rounded down, and null where a
// sample is Bad, or its number none or not finite.
//
//	[{"target":"FI-101","datapoints":[[10,1772344800000],[null,1772344810500]]}]
func WriteDatapoints(w io.Writer, r *Reader) (points uint64, err error) {
	l, err := linesOf(r.Schema())
	if err != nil {
		return 0, err
	}
	out := bufio.NewWriterSize(w, 64<<10)
	out.WriteByte('[')
	s := seriesWriter{out: out, end: "]}", begin: func(b []byte, p point) []byte {
		target := p.tag
		if p.label != "" {
			target += " " + p.label
		}
		return append(appendJSONString(append(b, `{"target":`...), target), `,"datapoints":[`...)
	}}
	points, err = l.each(r, func(p point) error {
		b := append(s.next(p), '[')
		if p.finite {
			b = append(b, p.number...)
		} else {
			b = append(b, "null"...)
		}
		b = strconv.AppendInt(append(b, ','), floorDiv(p.time, 1_000_000), 10)
		return s.put(append(b, ']'))
	})
	return points, s.close("]\n", err)
}

// seriesWriter writes points one behind the other, and begins a series wherever the tag changes.
type seriesWriter struct {
	out    *bufio.Writer
	begin  func(b []byte, p point) []byte
	end    string
	tag    string
	begun  bool
	buffer []byte
}

// next is what stands before the next point.
func (s *seriesWriter) next(p point) []byte {
	b := s.buffer[:0]
	switch {
	case s.begun && p.tag == s.tag:
		return append(b, ',')
	case s.begun:
		b = append(append(b, s.end...), ',')
	}
	s.begun, s.tag = true, p.tag
	return s.begin(append(b, '\n'), p)
}

func (s *seriesWriter) put(b []byte) error {
	s.buffer = b
	_, err := s.out.Write(b)
	return err
}

// close ends the document, unless it has no right end.
func (s *seriesWriter) close(end string, err error) error {
	if err == nil {
		if s.begun {
			s.out.WriteString(s.end)
		}
		s.out.WriteString(end)
	}
	return errors.Join(err, s.out.Flush())
}

// appendSeconds writes nanoseconds as seconds, exact.
func appendSeconds(b []byte, t int64) []byte {
	seconds := floorDiv(t, 1_000_000_000)
	nanos := t - seconds*1_000_000_000
	if seconds < 0 && nanos > 0 { // -0.5 is half a second before 1970, not -1 and a half
		seconds, nanos = seconds+1, 1_000_000_000-nanos
		if seconds == 0 {
			b = append(b, '-')
		}
	}
	b = strconv.AppendInt(b, seconds, 10)
	if nanos == 0 {
		return b
	}
	digits := strconv.AppendInt(nil, nanos+1_000_000_000, 10)[1:]
	for digits[len(digits)-1] == '0' {
		digits = digits[:len(digits)-1]
	}
	return append(append(b, '.'), digits...)
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
