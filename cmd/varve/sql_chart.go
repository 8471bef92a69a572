package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"

	"github.com/varvedb/varve/internal/answer"
	"github.com/varvedb/varve/internal/chart"
	"github.com/varvedb/varve/server/pgwire"
)

const (
	maxPlotPoints  = 1 << 20 // of all charts together, which lie in memory
	maxPlotSeries  = 16      // charts that are drawn
	plotHeight     = 12      // lines of a chart
	plotTagColumn  = "tag"
	noMoreThanThis = "narrow it, or ask the table function plot, which answers what a chart shows"
)

// notPlotted are columns of numbers that measure nothing.
var notPlotted = map[string]bool{"time_ns": true, "tag_id": true, "seq": true, "quality": true}

// plotPoint is a point of a chart; NaN where the line ends.
type plotPoint struct {
	at    int64
	value float64
}

// plotSeries is the points of one chart.
type plotSeries struct {
	title  string
	points []plotPoint
}

// plot draws the numbers of a statement over its first column of instants: a chart for each column of numbers and each tag.
func (s *sqlSession) plot(ctx context.Context, sql string) error {
	if whole, rest := pgwire.Split(strings.TrimRight(sql, "; \t") + "\n;"); rest != "" || len(whole) > 1 {
		return errors.New(`\plot draws one statement`)
	} else if len(whole) == 1 {
		sql = whole[0]
	} else if sql = s.last; sql == "" {
		return errors.New(`\plot draws the last statement, or the one behind it; run one first`)
	}
	s.last = sql
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r, err := s.ask(ctx, sql)
	if err != nil {
		return s.client.explainSQL(err)
	}
	defer r.Close()
	series, err := plotted(r)
	if err != nil {
		return s.client.explainSQL(err)
	}
	width := s.width() - chartMargin
	if s.width() == 0 {
		width = chartWidthDefault
	}
	left := max(len(series)-maxPlotSeries, 0)
	if err := drawSeries(s.out, series[:len(series)-left], min(max(width, 10), chartWidthMax), s.zone); err != nil {
		return err
	}
	if left > 0 {
		fmt.Fprintf(s.out, "%d more series are not drawn\n", left)
	}
	return nil
}

// plotted reads the series of an answer, in the order in which they begin in it.
func plotted(r *answer.Reader) (out []*plotSeries, err error) {
	at, tag := -1, -1
	var numbers []int
	for i, f := range r.Schema().Fields() {
		switch {
		case f.Type.ID() == arrow.TIMESTAMP && at < 0:
			at = i
		case f.Name == plotTagColumn && f.Type.ID() == arrow.STRING && tag < 0:
			tag = i
		case plottable(f.Type) && !notPlotted[f.Name]:
			numbers = append(numbers, i)
		}
	}
	if at < 0 || len(numbers) == 0 {
		return nil, errors.New("a chart takes a column of instants and one of numbers, and the statement has not both")
	}
	type key struct {
		column int
		tag    string
	}
	of := map[key]*plotSeries{}
	points := 0
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		if points += int(rec.NumRows()) * len(numbers); points > maxPlotPoints {
			return nil, fmt.Errorf("the statement has more than %d points; %s", maxPlotPoints, noMoreThanThis)
		}
		times := rec.Column(at).(*array.Timestamp)
		for _, column := range numbers {
			for i := range int(rec.NumRows()) {
				if times.IsNull(i) {
					continue
				}
				k := key{column: column}
				title := rec.ColumnName(column)
				if tag >= 0 {
					if name := rec.Column(tag); name.IsValid(i) {
						k.tag = name.ValueStr(i)
					}
					title = k.tag + " " + title
				}
				x := of[k]
				if x == nil {
					x = &plotSeries{title: answer.Printable(title)}
					of[k], out = x, append(out, x)
				}
				x.points = append(x.points, plotPoint{int64(times.Value(i)), numberAt(rec.Column(column), i)})
			}
		}
	}
}

func plottable(t arrow.DataType) bool {
	switch t.ID() {
	case arrow.INT64, arrow.FLOAT64, arrow.DECIMAL128:
		return true
	}
	return false
}

// numberAt is a value of a column of numbers, NaN for NULL.
func numberAt(c arrow.Array, i int) float64 {
	if c.IsNull(i) {
		return math.NaN()
	}
	switch c := c.(type) {
	case *array.Int64:
		return float64(c.Value(i))
	case *array.Float64:
		return c.Value(i)
	case *array.Decimal128:
		return c.Value(i).ToFloat64(c.DataType().(*arrow.Decimal128Type).Scale)
	}
	return math.NaN()
}

// drawSeries draws charts of the same span of time.
func drawSeries(w io.Writer, all []*plotSeries, width int, zone *time.Location) error {
	if len(all) == 0 {
		_, err := fmt.Fprintln(w, "the statement has no rows to draw")
		return err
	}
	from, to := int64(math.MaxInt64), int64(math.MinInt64)
	for _, x := range all {
		slices.SortStableFunc(x.points, func(a, b plotPoint) int { return cmp.Compare(a.at, b.at) })
		from, to = min(from, x.points[0].at), max(to, x.points[len(x.points)-1].at)
	}
	if to < math.MaxInt64 {
		to++
	}
	for _, x := range all {
		c := chart.New(x.title, from, to, width, plotHeight, false)
		for _, p := range x.points {
			c.Add(p.at, p.value)
		}
		if err := c.Draw(w, zone); err != nil {
			return err
		}
	}
	return nil
}
