package answer

import (
	"bytes"
	"io"
	"strings"

	"github.com/apache/arrow/go/v15/arrow"
)

// AsSamples reports whether the rows of an answer are samples, which Rows walks. What else there may be is told by the columns.
func AsSamples(s *arrow.Schema) bool {
	for _, name := range []string{"time", "tag", "value", "quality"} {
		if !s.HasField(name) {
			return false
		}
	}
	return !s.HasField("function") && !s.HasField("issued")
}

// Mixed reports whether samples of an answer have several types, so that it takes the types of tags to read their values.
func Mixed(s *arrow.Schema) bool { return s.HasField("value_int") }

// ExtraOf is the columns that an answer about samples has beside time, tag, value and quality.
func ExtraOf(s *arrow.Schema) Extra {
	return Extra{Seq: s.HasField("seq"), Source: s.HasField("source"), Ends: s.HasField("edit_time"), Bound: s.HasField("bound"), Gaps: s.HasField("gap")}
}

// WriteDocument writes an answer as one JSON document: its columns, what is missing from it, and the rows, which write writes as
// [WriteJSON], [WriteBuckets] and [WriteStatement] do; samples says that they are those of [WriteJSON]. After an error the document is not closed, so that no reader takes it for whole.
//
//	{"columns":[{"name":"time","type":"time"},...],"incomplete":null,"rows":[
//	{"time":"2026-03-01T05:00:10Z",...},
//	{"time":"2026-03-01T05:01:40Z",...}
//	]}
func WriteDocument(w io.Writer, r *Reader, samples bool, write func(io.Writer) (rows uint64, err error)) (rows uint64, err error) {
	head := appendColumns([]byte(`{"columns":[`), r.Schema(), samples)
	head = append(head, `],"incomplete":`...)
	if lost := r.Incomplete(); lost == "" {
		head = append(head, "null"...)
	} else {
		head = appendJSONString(head, lost)
	}
	if _, err := w.Write(append(head, `,"rows":[`...)); err != nil {
		return 0, err
	}
	rows, err = write(&listWriter{w: w})
	if err != nil {
		return rows, err
	}
	_, err = io.WriteString(w, "\n]}\n")
	return rows, err
}

// listWriter makes of lines the elements of a JSON list. No line has a line break inside: JSON escapes it.
type listWriter struct {
	w      io.Writer
	begun  bool
	inLine bool
	buffer []byte
}

func (l *listWriter) Write(p []byte) (int, error) {
	b := l.buffer[:0]
	for rest := p; len(rest) > 0; {
		if !l.inLine {
			if l.begun {
				b = append(b, ',')
			}
			b = append(b, '\n')
			l.begun, l.inLine = true, true
		}
		i := bytes.IndexByte(rest, '\n')
		if i < 0 {
			b = append(b, rest...)
			break
		}
		b = append(b, rest[:i]...)
		l.inLine = false
		rest = rest[i+1:]
	}
	l.buffer = b
	if _, err := l.w.Write(b); err != nil {
		return 0, err
	}
	return len(p), nil
}

// appendColumns writes the members that rows have, and of which type they are.
func appendColumns(b []byte, s *arrow.Schema, samples bool) []byte {
	first := true
	for _, f := range s.Fields() {
		typ := columnType(f)
		if samples {
			switch f.Name {
			case "value_int", "value_text", "value_bytes": // whichever holds it, it is the value
				continue
			case "seq":
				typ = "uint32"
			case "value":
				if Mixed(s) {
					typ = "any"
				} else if s.HasField("value_text") {
					typ = "state"
				}
			}
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = appendJSONString(append(b, `{"name":`...), f.Name)
		b = append(append(b, `,"type":"`...), typ...)
		b = append(b, '"')
		if f.Metadata.Len() > 0 {
			b = append(b, `,"metadata":{`...)
			for i, key := range f.Metadata.Keys() {
				if i > 0 {
					b = append(b, ',')
				}
				b = appendJSONString(append(appendJSONString(b, key), ':'), f.Metadata.Values()[i])
			}
			b = append(b, '}')
		}
		b = append(b, '}')
	}
	return b
}

// columnType is what a reader of JSON or CSV is told of a column.
func columnType(f arrow.Field) string {
	switch f.Type.ID() {
	case arrow.TIMESTAMP:
		return "time"
	case arrow.DICTIONARY, arrow.STRING:
		return "text"
	case arrow.BINARY:
		return "bytes"
	case arrow.UINT32: // a status code, as far as no one says otherwise
		return "quality"
	case arrow.DECIMAL128:
		return "decimal"
	}
	name, _, _ := strings.Cut(f.Type.String(), "<") // of a list what is in it is in the rows
	return name
}
