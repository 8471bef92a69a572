// Package plot reduces a series to what a chart of so many pixels can show of it, and loses nothing that the chart would.
//
//	samples, breaks → Reducer → Interval per pixel → at most six rows each
//	rollups         ↗
//
// Time is cut into one interval per column of pixels. Of each are kept the first, the least, the greatest and the last
// value, with their times, the worst quality, and whether the line breaks. (Jugel and others call it M4, 2014; plant
// historians know it as plot values.)
//
// # What to rely on
//
// A line drawn through the rows covers the same stretch of every column of pixels, from its lowest to its highest point, as one
// through all samples, whether the line slopes from sample to sample or holds each value until the next: within a column
// because its extremes are there, between columns because the samples are there on which lines leave and arrive. Lines do not
// lead over a break that lies before, behind or between the samples of different columns. A break between the samples of one
// column is narrower than a pixel; the rows tell of it, and the stroke goes through.
//
// This holds for any number of pixels that divides the one asked for, and any scale of values.
package plot

import (
	"fmt"
	"math"
	"math/bits"

	"github.com/varvedb/varve/model"
)

// Grid cuts [Start, End) into Width columns of as equal length as whole nanoseconds allow.
type Grid struct {
	Start, End int64
	Width      int
}

// Check reports why g cannot be drawn on.
func (g Grid) Check() error {
	if g.Width < 1 || g.Start >= g.End {
		return fmt.Errorf("plot of %d columns from %s to %s: needs a column at least, and an end behind the start",
			g.Width, model.FormatTime(g.Start), model.FormatTime(g.End))
	}
	return nil
}

func (g Grid) length() uint64 { return uint64(g.End) - uint64(g.Start) }

// Column is the column that an instant lies in: -1 before the start, Width from the end on.
func (g Grid) Column(t int64) int {
	switch {
	case t < g.Start:
		return -1
	case t >= g.End:
		return g.Width
	}
	hi, lo := bits.Mul64(uint64(t)-uint64(g.Start), uint64(g.Width))
	column, _ := bits.Div64(hi, lo, g.length())
	return int(column)
}

// Edge is the first instant of a column, 0 to Width; that of Width is the end.
func (g Grid) Edge(column int) int64 {
	hi, lo := bits.Mul64(g.length(), uint64(column))
	q, r := bits.Div64(hi, lo, uint64(g.Width))
	if r > 0 {
		q++
	}
	return int64(uint64(g.Start) + q)
}

// Point is one sample that can be drawn.
type Point struct {
	Time  int64
	Value float64
}

// Break is an instant at which the line ends: a sample that cannot be drawn, or the begin of a gap.
type Break struct {
	Is   bool
	Time int64
}

// Interval is what is kept of the samples and breaks of one stretch of time. The zero value is of none. All fields may be
// filled from elsewhere, such as a rollup.
type Interval struct {
	First, Min, Max, Last Point // of the samples that can be drawn; Min and Max are the first of their value
	Drawn                 bool  // there are such samples

	Lead  Break // the first break before them, or the first one where there are none
	Inner bool  // there is one between them
	Trail Break // the first one behind them

	Worst model.Quality // the first quality of the worst severity, of samples and breaks
}

// Empty reports whether there was neither sample nor break.
func (c *Interval) Empty() bool { return !c.Drawn && !c.Lead.Is }

// Add adds a sample behind all others. One whose value is not finite is a break.
func (c *Interval) Add(t int64, v float64, q model.Quality) {
	if !model.Finite(v) {
		c.Break(t, q)
		return
	}
	c.worse(q)
	p := Point{t, v}
	if !c.Drawn {
		c.First, c.Min, c.Max, c.Drawn = p, p, p, true
	} else if v < c.Min.Value {
		c.Min = p
	} else if v > c.Max.Value {
		c.Max = p
	}
	c.Last = p
	if c.Trail.Is {
		c.Inner, c.Trail = true, Break{}
	}
}

// Break adds a break behind all samples: a sample without a value that counts, with its quality, or the place where a gap
// begins, with the quality that stands for it.
func (c *Interval) Break(t int64, q model.Quality) {
	c.worse(q)
	c.broken(Break{true, t})
}

func (c *Interval) broken(b Break) {
	place := &c.Lead
	if c.Drawn {
		place = &c.Trail
	}
	if !place.Is {
		*place = b
	}
}

// worse must see a quality before its sample or break is added.
func (c *Interval) worse(q model.Quality) {
	if c.Empty() || q>>30 > c.Worst>>30 {
		c.Worst = q
	}
}

// Merge adds what lies behind all of c. It is associative, and merging with nothing changes nothing.
func (c *Interval) Merge(next *Interval) {
	if next.Empty() {
		return
	}
	c.worse(next.Worst)
	switch {
	case c.Empty():
		*c = *next
	case !next.Drawn:
		c.broken(next.Lead)
	case !c.Drawn:
		lead, worst := c.Lead, c.Worst
		*c = *next
		c.Lead, c.Worst = lead, worst
	default:
		if next.Min.Value < c.Min.Value {
			c.Min = next.Min
		}
		if next.Max.Value > c.Max.Value {
			c.Max = next.Max
		}
		c.Last = next.Last
		c.Inner = c.Inner || next.Inner || c.Trail.Is || next.Lead.Is
		c.Trail = next.Trail
	}
}

// start is the time of whatever comes first.
func (c *Interval) start() int64 {
	if c.Lead.Is {
		return c.Lead.Time
	}
	return c.First.Time
}

// Kind says what a row is. A point that is several things at once has one row, with the bits of all.
type Kind uint8

const (
	First Kind = 1 << iota
	Min
	Max
	Last
	Gap // the line ends here: Value is NaN
)

// Row is one point of the reduced series, or one break.
type Row struct {
	Column int // -1 and Width: the neighbours before the start and from the end on
	Kind   Kind
	Time   int64
	Value  float64
	Worst  model.Quality // of all samples and breaks of the column
	Inner  bool          // a break lies between the samples of the column
}

// appendRows adds the rows of a column, in time order: a break before, the points, a break behind.
func (c *Interval) appendRows(rows []Row, column int) []Row {
	row := Row{Column: column, Worst: c.Worst, Inner: c.Inner}
	add := func(k Kind, t int64, v float64) {
		row.Kind, row.Time, row.Value = k, t, v
		rows = append(rows, row)
	}
	if c.Lead.Is {
		add(Gap, c.Lead.Time, math.NaN())
	}
	if c.Drawn {
		// The line begins at First and ends at Last; at one time the least and the greatest may change places.
		points := [4]Point{c.First, c.Min, c.Max, c.Last}
		kinds := [4]Kind{First, Min, Max, Last}
		if c.Max.Time < c.Min.Time || c.Max.Time == c.Min.Time && (c.Max == c.First || c.Min == c.Last) {
			points[1], points[2] = c.Max, c.Min
			kinds[1], kinds[2] = Max, Min
		}
		for i := 0; i < 4; {
			k := kinds[i]
			j := i + 1
			for ; j < 4 && points[j] == points[i]; j++ {
				k |= kinds[j]
			}
			add(k, points[i].Time, points[i].Value)
			i = j
		}
	}
	if c.Trail.Is {
		add(Gap, c.Trail.Time, math.NaN())
	}
	return rows
}

// Reducer makes rows of samples, breaks and intervals that come in time order, several at one time in the order of seq.
// Of what lies before the start it keeps the last sample, and of what lies from the end on the first sample or break, so that
// lines can enter and leave the picture. It holds the rows so far, six for a column at most.
type Reducer struct {
	grid    Grid
	column  int
	until   int64 // end of the column
	current Interval
	rows    []Row
}

// NewReducer makes a reducer onto a grid, or reports why it cannot be drawn on.
func NewReducer(g Grid) (*Reducer, error) {
	if err := g.Check(); err != nil {
		return nil, err
	}
	return &Reducer{grid: g, column: -1, until: g.Start}, nil
}

// Add adds a sample that can be drawn, or is not finite. Whether Uncertain ones are drawn is the caller's to say; for those
// that are not, and for Bad ones and ones without a value, there is Break.
func (r *Reducer) Add(t int64, v float64, q model.Quality) {
	r.moveTo(t)
	r.current.Add(t, v, q)
}

// AddRun adds samples of one quality that follow on the one added last, in its column and finite, and is how many of these those are:
// the next one is for Add. Values are the bits of doubles.
func (r *Reducer) AddRun(times []int64, values []uint64, q model.Quality) int {
	c := &r.current
	if !c.Drawn || c.Trail.Is {
		return 0
	}
	least, most := c.Min, c.Max
	n := 0
	for ; n < len(times) && times[n] < r.until; n++ {
		v := math.Float64frombits(values[n])
		if !model.Finite(v) {
			break
		}
		if v < least.Value {
			least = Point{times[n], v}
		} else if v > most.Value {
			most = Point{times[n], v}
		}
	}
	if n > 0 {
		c.worse(q)
		c.Min, c.Max, c.Last = least, most, Point{times[n-1], math.Float64frombits(values[n-1])}
	}
	return n
}

// Break adds an instant at which the line ends. Where neighbours are too far apart to draw a line between them, any instant
// between the two will do.
func (r *Reducer) Break(t int64, q model.Quality) {
	r.moveTo(t)
	r.current.Break(t, q)
}

// Merge adds an interval that lies in one column.
func (r *Reducer) Merge(c *Interval) {
	if !c.Empty() {
		r.moveTo(c.start())
		r.current.Merge(c)
	}
}

func (r *Reducer) moveTo(t int64) {
	if t < r.until {
		return
	}
	r.flush()
	r.column = r.grid.Column(t)
	r.until = math.MaxInt64
	if r.column < r.grid.Width {
		r.until = r.grid.Edge(r.column + 1)
	}
}

func (r *Reducer) flush() {
	c := &r.current
	switch {
	case c.Empty():
		return
	case r.column < 0 && (c.Trail.Is || !c.Drawn):
		// No line enters.
	case r.column < 0:
		r.rows = append(r.rows, Row{Column: -1, Kind: Last, Time: c.Last.Time, Value: c.Last.Value, Worst: c.Worst})
	case r.column == r.grid.Width && c.Lead.Is:
		r.rows = append(r.rows, Row{Column: r.column, Kind: Gap, Time: c.Lead.Time, Value: math.NaN(), Worst: c.Worst})
	case r.column == r.grid.Width:
		r.rows = append(r.rows, Row{Column: r.column, Kind: First, Time: c.First.Time, Value: c.First.Value, Worst: c.Worst})
	default:
		r.rows = c.appendRows(r.rows, r.column)
	}
	*c = Interval{}
}

// Rows is the reduced series of all that was added. Nothing can be added afterwards.
func (r *Reducer) Rows() []Row {
	r.flush()
	return r.rows
}
