package answer

import (
	"bufio"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"

	"github.com/varvedb/varve/model"
)

// WriteBuckets writes an answer whose rows are no samples, such as aggregates, as csv, json or a table for people: its columns as they
// come, times and qualities as with samples, lists as JSON.
func WriteBuckets(w io.Writer, r *Reader, output string, zone *time.Location) (rows uint64, err error) {
	out := bufio.NewWriterSize(w, 64<<10)
	fields := r.Schema().Fields()
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.Name
	}
	t := table{out: out}
	shown := columnsShown(names)
	switch output {
	case "csv":
		out.WriteString(strings.Join(names, ",") + "\n")
	case "table":
		header := make([]string, len(shown))
		for i, k := range shown {
			header[i] = strings.ToUpper(names[k])
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
				t.add(longCells(cells, names, shown, zone))
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
		return bucketCell{text: c.ValueStr(i), number: counts[name]}, nil
	case *array.Decimal128:
		return bucketCell{text: c.Value(i).BigInt().String()}, nil
	case *array.Boolean:
		return bucketCell{text: c.ValueStr(i), number: true}, nil
	case *array.String:
		return bucketCell{text: c.Value(i)}, nil
	case *array.Binary:
		return bucketCell{text: base64.StdEncoding.EncodeToString(c.Value(i))}, nil
	case *array.List:
		return listCell(c, i)
	case *array.Struct:
		return structCell(c, i)
	}
	return x, fmt.Errorf("read the answer: column %s is %s", name, c.DataType())
}

// counts are the columns of integers that count something, which a double holds exactly: JSON has them as numbers.
var counts = map[string]bool{
	"count": true, "samples": true, "sent": true, "kept": true, "bytes": true, "bytes_kept": true, "bytes_saved": true, "lost": true,
	"crossings": true, "crossings_moved": true, "crossings_lost": true, "crossings_invented": true,
}

// listCell is a list as JSON.
func listCell(c *array.List, i int) (bucketCell, error) {
	b := []byte{'['}
	from, to := c.ValueOffsets(i)
	for k := from; k < to; k++ {
		if k > from {
			b = append(b, ',')
		}
		x, err := cellOf(c.ListValues(), "", int(k))
		if err != nil {
			return x, err
		}
		b = appendJSONCell(b, x)
	}
	return bucketCell{text: string(append(b, ']')), number: true}, nil
}

// structCell is an element of named values as JSON.
func structCell(c *array.Struct, i int) (bucketCell, error) {
	var names []string
	var cells []bucketCell
	for k, f := range c.DataType().(*arrow.StructType).Fields() {
		x, err := cellOf(c.Field(k), f.Name, i)
		if err != nil {
			return x, err
		}
		names, cells = append(names, f.Name), append(cells, x)
	}
	return bucketCell{text: string(appendJSONCells(nil, names, cells)), number: true}, nil
}

func floatCell(f float64, bits int) bucketCell {
	return bucketCell{text: string(appendFloat(nil, f, bits)), number: model.Finite(f)}
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
	out.Write(append(appendJSONCells(nil, names, cells), '\n'))
}

func appendJSONCells(b []byte, names []string, cells []bucketCell) []byte {
	b = append(b, '{')
	for i, x := range cells {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendJSONCell(append(appendJSONString(b, names[i]), ':'), x)
	}
	return append(b, '}')
}

func appendJSONCell(b []byte, x bucketCell) []byte {
	switch {
	case x.null:
		return append(b, "null"...)
	case x.number && x.text == "-0": // as of samples: readers that tell integers from numbers make 0 of -0
		return append(b, "-0.0"...)
	case x.number:
		return append(b, x.text...)
	}
	return appendJSONString(b, x.text)
}

// hidden are the columns of long rows that a table for people goes without: what else says, or a command for programs asks.
var hidden = []string{"bucket", "bucket_end", "value_int", "value_text", "percent_uncertain", "covered_ns", "partial"}

// columnsShown is the places of the columns that a table for people has.
func columnsShown(names []string) []int {
	long := slices.Contains(names, "function")
	var shown []int
	for i, n := range names {
		if !long || !slices.Contains(hidden, n) {
			shown = append(shown, i)
		}
	}
	return shown
}

// longCells is a row of a table. A value that is no number of its own stands as the text or the whole number it is.
func longCells(cells []bucketCell, names []string, shown []int, zone *time.Location) []string {
	picked := make([]bucketCell, len(shown))
	for i, k := range shown {
		picked[i] = cells[k]
		if names[k] == "value" && len(shown) < len(names) {
			picked[i] = longValue(cells, names)
		}
	}
	return tableCells(picked, zone)
}

func tableCells(cells []bucketCell, zone *time.Location) []string {
	line := make([]string, len(cells))
	for i, x := range cells {
		switch line[i] = Printable(x.text); {
		case x.null:
			line[i] = "-"
		case x.time:
			line[i] = time.Unix(0, x.at).In(zone).Format("2006-01-02T15:04:05.999999999Z07:00")
		}
	}
	return line
}

// longValue is the value of a long row: text if there is any, else the number.
func longValue(cells []bucketCell, names []string) (x bucketCell) {
	x.null = true
	for _, n := range []string{"value_int", "value", "value_text"} {
		if i := slices.Index(names, n); i >= 0 && !cells[i].null {
			x = cells[i]
		}
	}
	return x
}
