package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"golang.org/x/term"

	"github.com/varvedb/varve/internal/chart"
)

// The most that \plot keeps: points, and charts.
const (
	maxPlotPoints = 2_000_000
	maxPlotSeries = 20
	plotHeight    = 10
)

// plotSeries is one line of a chart.
type plotSeries struct {
	title  string
	times  []int64
	values []float64 // NaN for none
}

// plot runs a statement and draws what it answers.
func (s *sqlShell) plot(ctx context.Context, sql string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r, err := s.statementReader(ctx, sql)
	if err != nil {
		return err
	}
	defer r.Close()
	p, err := newPlotting(r.Schema())
	if err != nil {
		return err
	}
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return s.c.explainSQL(err)
		}
		if err := p.add(rec); err != nil {
			return err
		}
	}
	s.last = sql
	width := chartWidthDefault
	if f, ok := s.out.(*os.File); ok {
		if columns, _, err := term.GetSize(int(f.Fd())); err == nil {
			width = columns - chartMargin
		}
	}
	return p.draw(s, min(max(width, 10), chartWidthMax))
}

// plotting gathers series by the name of their tag and the column.
type plotting struct {
	time    int
	name    int   // column of names, -1 for none
	numbers []int // columns of values
	fields  []arrow.Field

	series []*plotSeries
	byName map[string]*plotSeries
	points int
}

func newPlotting(schema *arrow.Schema) (*plotting, error) {
	p := &plotting{time: -1, name: -1, fields: schema.Fields(), byName: map[string]*plotSeries{}}
	for i, f := range p.fields {
		switch f.Type.ID() {
		case arrow.TIMESTAMP:
			if p.time < 0 {
				p.time = i
			}
		case arrow.STRING:
			if p.name < 0 || f.Name == "tag" {
				p.name = i
			}
		case arrow.FLOAT64, arrow.DECIMAL128:
			p.numbers = append(p.numbers, i)
		case arrow.INT64:
			if !slices.Contains([]string{"tag_id", "quality", "seq", "time_ns", "value_int"}, f.Name) {
				p.numbers = append(p.numbers, i)
			}
		}
	}
	if p.time < 0 || len(p.numbers) == 0 {
		return nil, errors.New("the answer has no column of times, or none of numbers, to draw")
	}
	return p, nil
}

func (p *plotting) add(rec arrow.Record) error {
	times, ok := rec.Column(p.time).(*array.Timestamp)
	if !ok {
		return fmt.Errorf("the times are %s", rec.Column(p.time).DataType())
	}
	unit := int64(times.DataType().(*arrow.TimestampType).Unit.Multiplier())
	for i := range int(rec.NumRows()) {
		if times.IsNull(i) {
			continue
		}
		name := ""
		if p.name >= 0 && !rec.Column(p.name).IsNull(i) {
			name = rec.Column(p.name).ValueStr(i)
		}
		for _, k := range p.numbers {
			x, err := p.find(name, p.fields[k].Name)
			if err != nil {
				return err
			}
			x.times = append(x.times, int64(times.Value(i))*unit)
			x.values = append(x.values, numberAt(rec.Column(k), i))
			if p.points++; p.points > maxPlotPoints {
				return fmt.Errorf("more than %d points; let the statement aggregate them, with time_bucket say", maxPlotPoints)
			}
		}
	}
	return nil
}

func (p *plotting) find(name, column string) (*plotSeries, error) {
	title := column
	if name != "" {
		title = name
		if len(p.numbers) > 1 {
			title += " " + column
		}
	}
	if x := p.byName[title]; x != nil {
		return x, nil
	}
	if len(p.series) == maxPlotSeries {
		return nil, fmt.Errorf("more than %d lines to draw; let the statement choose some", maxPlotSeries)
	}
	x := &plotSeries{title: title}
	p.series, p.byName[title] = append(p.series, x), x
	return x, nil
}

func numberAt(c arrow.Array, i int) float64 {
	if c.IsNull(i) {
		return math.NaN()
	}
	switch c := c.(type) {
	case *array.Float64:
		return c.Value(i)
	case *array.Int64:
		return float64(c.Value(i))
	case *array.Decimal128:
		return c.Value(i).ToFloat64(c.DataType().(*arrow.Decimal128Type).Scale)
	}
	return math.NaN()
}

// draw draws a chart for each line, all over the same times.
func (p *plotting) draw(s *sqlShell, width int) error {
	start, end := int64(math.MaxInt64), int64(math.MinInt64)
	for _, x := range p.series {
		start, end = min(start, slices.Min(x.times)), max(end, slices.Max(x.times))
	}
	if len(p.series) == 0 {
		return errors.New("the answer has no rows to draw")
	}
	if end < math.MaxInt64 {
		end++ // the last point is within
	}
	for _, x := range p.series {
		order := make([]int, len(x.times))
		for i := range order {
			order[i] = i
		}
		slices.SortStableFunc(order, func(a, b int) int {
			switch {
			case x.times[a] < x.times[b]:
				return -1
			case x.times[a] > x.times[b]:
				return 1
			}
			return 0
		})
		drawing := chart.New(x.title, start, end, width, plotHeight, false)
		for _, i := range order {
			drawing.Add(x.times[i], x.values[i])
		}
		if err := drawing.Draw(s.out, s.zone); err != nil {
			return err
		}
	}
	return nil
}
