package answer

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
)

// missingClasses are the columns of an answer of ReadCompleteness whose time has no values.
var missingClasses = []string{"not_collected", "device_down", "quarantined", "lost", "buffered", "unknown"}

// WriteCompletenessTable writes an answer of ReadCompleteness for people: percentages with two digits, and what is missing in words. It returns how
// many rows there were.
func WriteCompletenessTable(w io.Writer, r *Reader, zone *time.Location) (rows uint64, err error) {
	out := bufio.NewWriterSize(w, 64<<10)
	t := table{out: out}
	lead := []string{"tag", "source", "bucket"}
	if len(r.Schema().FieldIndices("tags")) > 0 {
		lead = []string{"source", "tags", "bucket"}
	}
	if len(r.Schema().FieldIndices("label")) > 0 {
		lead = append(lead, "label")
	}
	var head []string
	for _, name := range lead {
		head = append(head, strings.ToUpper(name))
	}
	t.add(append(head, "COMPLETE", "COLLECTED", "UNCHANGED", "SAMPLES", "LATE S", "MISSING"))
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
			line, err := completenessLine(rec, i, lead, zone)
			if err != nil {
				return rows, errors.Join(err, out.Flush())
			}
			t.add(line)
			rows++
		}
	}
}

func completenessLine(rec arrow.Record, i int, lead []string, zone *time.Location) ([]string, error) {
	var cells []bucketCell
	for _, name := range append(lead[:len(lead):len(lead)], "complete", "collected", "unchanged", "samples", "late_s") {
		x, err := namedCell(rec, name, i)
		if err != nil {
			return nil, err
		}
		cells = append(cells, x)
	}
	line := tableCells(cells, zone)
	for k := range 3 {
		at := len(lead) + k
		line[at] = percentText(line[at])
	}
	var missing []string
	for _, name := range missingClasses {
		x, err := namedCell(rec, name, i)
		if err != nil {
			return nil, err
		}
		if x.text != "0" {
			missing = append(missing, name+" "+percentText(x.text))
		}
	}
	if missing == nil {
		missing = []string{"-"}
	}
	return append(line, strings.Join(missing, ", ")), nil
}

func namedCell(rec arrow.Record, name string, i int) (bucketCell, error) {
	at := rec.Schema().FieldIndices(name)
	if len(at) != 1 {
		return bucketCell{}, fmt.Errorf("read the answer: no column %s", name)
	}
	return cellOf(rec.Column(at[0]), name, i)
}

// percentText is a percentage with two digits. What is not all, or not nothing, is not shown as that.
func percentText(text string) string {
	x, err := strconv.ParseFloat(text, 64)
	switch {
	case err != nil:
		return text
	case x > 0 && x < 0.01:
		return "<0.01"
	case x < 100 && x > 99.99:
		return ">99.99"
	}
	return strconv.FormatFloat(x, 'f', 2, 64)
}
