package answer

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
)

// tuneColumns are those a table has of an answer of Tune.
var tuneColumns = []struct{ name, head string }{
	{"tag", "TAG"}, {"deviation", "DEVIATION"}, {"samples", "SAMPLES"}, {"sent", "SENT"}, {"kept", "KEPT"}, {"kept_ratio", "RATIO"},
	{"bytes", "BYTES"}, {"bytes_saved", "SAVED"}, {"worst_error", "WORST ERROR"}, {"worst_time", "AT"}, {"rms_error", "RMS ERROR"},
}

// tuneCrossings are columns that a table has if limits were asked for.
var tuneCrossings = []struct{ name, head string }{
	{"crossings", "CROSSINGS"}, {"crossings_moved", "MOVED"}, {"crossings_lost", "LOST"},
}

// WriteTuneTable writes an answer of Tune for people: a line for each setting, and where limits were asked for, behind all of them a
// line for each crossing that another time, or none, would be seen of. It returns how many settings there were.
func WriteTuneTable(w io.Writer, r *Reader, limits bool, zone *time.Location) (rows uint64, err error) {
	out := bufio.NewWriterSize(w, 64<<10)
	columns := tuneColumns
	if limits {
		columns = append(columns[:len(columns):len(columns)], tuneCrossings...)
	}
	var behind bytes.Buffer
	settings, crossings := table{out: out}, table{out: bufio.NewWriter(&behind)}
	var head []string
	for _, c := range columns {
		head = append(head, c.head)
	}
	settings.add(head)
	crossings.add([]string{"TAG", "DEVIATION", "LIMIT", "DIRECTION", "MEASURED", "FILTERED"})
	moved := 0
	for {
		var rec arrow.Record
		if rec, err = r.Next(); err != nil {
			break
		}
		for i := range int(rec.NumRows()) {
			var cells []bucketCell
			for _, c := range columns {
				at := rec.Schema().FieldIndices(c.name)
				if len(at) != 1 {
					return rows, fmt.Errorf("read the answer: no column %s", c.name)
				}
				x, err := cellOf(rec.Column(at[0]), c.name, i)
				if err != nil {
					return rows, err
				}
				cells = append(cells, x)
			}
			for k := range cells {
				cells[k].text = shorter(columns[k].name, cells[k].text)
			}
			line := tableCells(cells, zone)
			settings.add(line)
			rows++
			n, err := addCrossings(&crossings, rec, i, line[:2], zone)
			if err != nil {
				return rows, err
			}
			moved += n
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	settings.flush()
	if moved > 0 {
		out.WriteByte('\n')
		crossings.flush()
		err = errors.Join(err, crossings.out.Flush())
		out.Write(behind.Bytes())
	}
	return rows, errors.Join(err, out.Flush())
}

// shorter is a figure with as many digits as one reads: a ratio in percent, errors with four.
func shorter(column, text string) string {
	x, err := strconv.ParseFloat(text, 64)
	switch {
	case err != nil:
		return text
	case column == "kept_ratio":
		return fmt.Sprintf("%.2f %%", 100*x)
	case column == "worst_error" || column == "rms_error":
		return fmt.Sprintf("%.4g", x)
	}
	return text
}

// addCrossings adds a line for every crossing of a row that moved, is lost or was invented.
func addCrossings(t *table, rec arrow.Record, i int, setting []string, zone *time.Location) (added int, err error) {
	at := rec.Schema().FieldIndices("crossing_list")
	if len(at) != 1 {
		return 0, errors.New("read the answer: no column crossing_list")
	}
	list, ok := rec.Column(at[0]).(*array.List)
	if !ok {
		return 0, errors.New("read the answer: crossing_list is no list")
	}
	x, ok := list.ListValues().(*array.Struct)
	if !ok || x.NumField() != 4 {
		return 0, errors.New("read the answer: crossing_list is of another shape")
	}
	from, to := list.ValueOffsets(i)
	for k := int(from); k < int(to); k++ {
		var cells [4]bucketCell
		for f := range cells {
			if cells[f], err = cellOf(x.Field(f), "", k); err != nil {
				return added, err
			}
		}
		measured, filtered := cells[2], cells[3]
		if measured == filtered {
			continue
		}
		direction := "falling"
		if cells[1].text == "true" {
			direction = "rising"
		}
		times := tableCells(cells[2:], zone)
		switch {
		case filtered.null:
			times[1] = "lost"
		case measured.null:
			times[0] = "invented"
		}
		t.add([]string{setting[0], setting[1], cells[0].text, direction, times[0], times[1]})
		added++
	}
	return added, nil
}
