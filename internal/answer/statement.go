package answer

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/mattn/go-runewidth"

	"github.com/varvedb/varve/internal/release"
)

// WriteStatement writes the rows of an SQL statement as csv, json, a table for people, or a record: a line for each value. Columns may be of any type that statements have:
// numbers of JSON are exact, also those that a double does not hold.
func WriteStatement(w io.Writer, r *Reader, output string, zone *time.Location) (rows uint64, err error) {
	out := bufio.NewWriterSize(w, 64<<10)
	fields := r.Schema().Fields()
	names, header := make([]string, len(fields)), make([]bucketCell, len(fields))
	for i, f := range fields {
		names[i], header[i] = f.Name, bucketCell{text: f.Name}
	}
	t := table{out: out}
	switch output {
	case "csv":
		writeCSVCells(out, header)
	case "table":
		line := make([]string, len(names))
		for i, n := range names {
			line[i] = Printable(strings.ToUpper(n))
		}
		t.add(line)
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
			for k, f := range fields {
				if cells[k], err = statementCell(rec.Column(k), f.Name, i); err != nil {
					return rows, errors.Join(err, out.Flush())
				}
			}
			switch output {
			case "csv":
				writeCSVCells(out, cells)
			case "json":
				writeJSONCells(out, names, cells)
			case "record":
				writeRecord(out, rows+1, names, tableCells(cells, zone))
			default:
				t.add(tableCells(cells, zone))
			}
			rows++
		}
	}
}

// writeRecord writes a row with a line for each value, under its number.
func writeRecord(out *bufio.Writer, n uint64, names, cells []string) {
	widest := 0
	for _, name := range names {
		widest = max(widest, runewidth.StringWidth(Printable(name)))
	}
	fmt.Fprintf(out, "-- %d\n", n)
	for i, name := range names {
		name = Printable(name)
		fmt.Fprintf(out, "%s%s | %s\n", name, strings.Repeat(" ", widest-runewidth.StringWidth(name)), cells[i])
	}
}

// ReadSchema reads a schema that came as an Arrow stream of its own.
func ReadSchema(b []byte) (s *arrow.Schema, err error) {
	defer catch("schema", &err)
	r, err := ipc.NewReader(bytes.NewReader(b), ipc.WithAllocator(boundedAllocator{memory.DefaultAllocator}))
	if err != nil {
		return nil, fmt.Errorf("read a schema: %w", err)
	}
	defer release.Reader(r)
	return r.Schema(), nil
}

// statementCell is one value of a statement's answer.
func statementCell(c arrow.Array, name string, i int) (bucketCell, error) {
	if c.IsNull(i) {
		return bucketCell{null: true}, nil
	}
	switch c := c.(type) {
	case *array.Int64:
		return bucketCell{text: c.ValueStr(i), number: true}, nil
	case *array.Decimal128:
		return bucketCell{text: c.Value(i).ToString(c.DataType().(*arrow.Decimal128Type).Scale), number: true}, nil
	case *array.Timestamp:
		if c.DataType().(*arrow.TimestampType).TimeZone == "" { // of a calendar that hangs nowhere
			return bucketCell{text: strings.TrimSuffix(string(appendTime(nil, int64(c.Value(i)))), "Z")}, nil
		}
	case *array.Date32:
		return bucketCell{text: c.Value(i).FormattedString()}, nil
	case *array.Time64:
		return bucketCell{text: c.Value(i).FormattedString(c.DataType().(*arrow.Time64Type).Unit)}, nil
	case *array.MonthDayNanoInterval:
		v := c.Value(i)
		return bucketCell{text: fmt.Sprintf("%d months %d days %s", v.Months, v.Days, time.Duration(v.Nanoseconds))}, nil
	case *array.List:
		b := []byte{'['}
		from, to := c.ValueOffsets(i)
		for k := from; k < to; k++ {
			if k > from {
				b = append(b, ',')
			}
			x, err := statementCell(c.ListValues(), name, int(k))
			if err != nil {
				return x, err
			}
			b = appendJSONCell(b, x)
		}
		return bucketCell{text: string(append(b, ']')), number: true}, nil
	case *array.Struct:
		var names []string
		var cells []bucketCell
		for k, f := range c.DataType().(*arrow.StructType).Fields() {
			x, err := statementCell(c.Field(k), f.Name, i)
			if err != nil {
				return x, err
			}
			names, cells = append(names, f.Name), append(cells, x)
		}
		return bucketCell{text: string(appendJSONCells(nil, names, cells)), number: true}, nil
	}
	return cellOf(c, name, i)
}
