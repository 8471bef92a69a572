package answer

import (
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
)

// PlotRow is a row of an answer about a plot: a point that a line leads through, or where it breaks.
type PlotRow struct {
	Time  int64
	Value float64 // not where it breaks
	Break bool
}

// EachPlotRow visits the rows of an answer about a plot.
func EachPlotRow(r *Reader, visit func(PlotRow)) error {
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		times, ok1 := columnOf(rec, "time").(*array.Timestamp)
		values, ok2 := columnOf(rec, "value").(*array.Float64)
		if !ok1 || !ok2 {
			return fmt.Errorf("read the answer: a plot with the columns %s", rec.Schema())
		}
		for i := range int(rec.NumRows()) {
			visit(PlotRow{Time: int64(times.Value(i)), Value: values.Value(i), Break: values.IsNull(i)})
		}
	}
}

// columnOf is the column of a name; nil if there is none.
func columnOf(rec arrow.Record, name string) arrow.Array {
	if i := rec.Schema().FieldIndices(name); len(i) == 1 {
		return rec.Column(i[0])
	}
	return nil
}
