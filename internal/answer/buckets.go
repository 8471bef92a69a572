package answer

import (
	"bufio"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"

	"github.com/varvedb/varve/model"
)

// WriteBuckets writes an answer about aggregates as csv, json or a table for people: its columns as they come, times and
// qualities as with samples.
func WriteBuckets(w io.Writer, r *Reader, output string, zone *time.Location) (rows uint64, err error) {
	out := bufio.NewWriterSize(w, 64<<10)
	fields := r.Schema().Fields()
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.Name
	}
	t := table{out: out}
	switch output {
	case "csv":
		out.WriteString(strings.Join(names, ",") + "\n")
	case "table":
		header := make([]string, len(names))
		for i, n := range names {
			header[i] = strings.ToUpper(n)
		}
		t.add(header)
	}
	for {
		rec, err := r.Next()
		if err != nil {
			t.flush()
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return rows, errors.Join(err, out.Flush())
		}
		for i := range int(rec.NumRows()) {
			cells := make([]bucketCell, len(fields))
			for k := range fields {
				if cells[k], err = cellOf(rec.Column(k), names[k], i); err != nil {
					return rows, errors.Join(err, out.Flush())
				}
			}
			switch output {
			case "csv":
				writeCSVCells(out, cells)
			case "json":
				writeJSONCells(out, names, cells)
			default:
				t.add(tableCells(cells, zone))
			}
			rows++
		}
	}
}

// bucketCell is one value of an answer as text.
type bucketCell struct {
	text   string
	null   bool
	number bool // json may have it as it is
	time   bool
	at     int64
}

func cellOf(c arrow.Array, name string, i int) (x bucketCell, err error) {
	if c.IsNull(i) {
		return bucketCell{null: true}, nil
	}
	switch c := c.(type) {
	case *array.Timestamp:
		return bucketCell{text: string(appendTime(nil, int64(c.Value(i)))), time: true, at: int64(c.Value(i))}, nil
	case *array.Dictionary:
		names, ok := c.Dictionary().(*array.String)
		if k := c.GetValueIndex(i); ok && k >= 0 && k < names.Len() {
			return bucketCell{text: names.Value(k)}, nil
		}
	case *array.Float64:
		return floatCell(c.Value(i), 64), nil
	case *array.Float32:
		return floatCell(float64(c.Value(i)), 32), nil
	case *array.Uint32: // the only ones are status codes
		return bucketCell{text: model.Quality(c.Value(i)).Text()}, nil
	case *array.Int64, *array.Uint64:
		return bucketCell{text: c.ValueStr(i), number: name == "count"}, nil
	case *array.Decimal128:
		return bucketCell{text: c.Value(i).BigInt().String()}, nil
	case *array.Boolean:
		return bucketCell{text: c.ValueStr(i), number: true}, nil
	case *array.String:
		return bucketCell{text: c.Value(i)}, nil
	case *array.Binary:
		return bucketCell{text: base64.StdEncoding.EncodeToString(c.Value(i))}, nil
	}
	return x, fmt.Errorf("read the answer: column %s is %s", name, c.DataType())
}

func floatCell(f float64, bits int) bucketCell {
	return bucketCell{text: string(appendFloat(nil, f, bits)), number: f-f == 0}
}

func writeCSVCells(out *bufio.Writer, cells []bucketCell) {
	var b []byte
	for i, x := range cells {
		if i > 0 {
			b = append(b, ',')
		}
		switch {
		case x.null:
		case x.text == "":
			b = append(b, `""`...)
		default:
			b = appendField(b, x.text)
		}
	}
	out.Write(append(b, '\n'))
}

func writeJSONCells(out *bufio.Writer, names []string, cells []bucketCell) {
	b := []byte{'{'}
	for i, x := range cells {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendJSONString(b, names[i]), ':')
		switch {
		case x.null:
			b = append(b, "null"...)
		case x.number:
			b = append(b, x.text...)
		default:
			b = appendJSONString(b, x.text)
		}
	}
	out.Write(append(b, '}', '\n'))
}

func tableCells(cells []bucketCell, zone *time.Location) []string {
	line := make([]string, len(cells))
	for i, x := range cells {
		switch line[i] = printable(x.text); {
		case x.null:
			line[i] = "-"
		case x.time:
			line[i] = time.Unix(0, x.at).In(zone).Format("2006-01-02T15:04:05.999999999Z07:00")
		}
	}
	return line
}
