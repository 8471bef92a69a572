// Package chart draws a measurement over time in a terminal, with braille dots: two columns and four rows of dots in
// every character.
//
// However many samples there are, each column of dots keeps only the first, last, lowest and highest of its span, so that
// spikes stay visible and memory depends on the width alone. A sample without a good number ends the line: gaps stay gaps.
package chart

import (
	"fmt"
	"io"
	"math"
	"math/bits"
	"strings"
	"time"
)

// Chart gathers the samples of one tag.
type Chart struct {
	title      string
	start, end int64 // [start, end)
	stepped    bool
	columns    []column
	height     int // rows of characters
	broken     bool
	any        bool // there are samples
	low, high  float64
}

// column is what one column of dots knows.
type column struct {
	first, last, low, high float64
	lastAt                 int64
	has                    bool
	broken                 bool // no line leads here from the column before
}

// New makes a chart of width by height characters for [start, end).
func New(title string, start, end int64, width, height int, stepped bool) *Chart {
	return &Chart{
		title: title, start: start, end: max(end, start+1), stepped: stepped, columns: make([]column, 2*max(width, 2)),
		height: max(height, 2), low: math.Inf(1), high: math.Inf(-1), broken: true,
	}
}

// Columns is how many columns of dots the chart has.
func (c *Chart) Columns() int { return len(c.columns) }

// Add adds a sample; times must not fall. A value that is not finite is a gap.
func (c *Chart) Add(t int64, value float64) {
	if math.IsNaN(value) || math.IsInf(value, 0) || t < c.start || t >= c.end {
		c.Gap()
		return
	}
	hi, lo := bits.Mul64(uint64(t)-uint64(c.start), uint64(len(c.columns)))
	i, _ := bits.Div64(hi, lo, uint64(c.end)-uint64(c.start))
	col := &c.columns[i]
	if !col.has {
		*col = column{first: value, low: value, high: value, has: true, broken: c.broken}
	}
	col.last, col.lastAt = value, t
	col.low, col.high = min(col.low, value), max(col.high, value)
	c.low, c.high = min(c.low, value), max(c.high, value)
	c.broken = false
	c.any = true
}

// Gap says that the line ends here.
func (c *Chart) Gap() { c.broken = true }

// Draw writes the chart, with its scale to the left and the times of its ends below, in zone.
func (c *Chart) Draw(w io.Writer, zone *time.Location) error {
	if !c.any {
		_, err := fmt.Fprintf(w, "%s: no good number from %s to %s\n", c.title, stamp(c.start, zone), stamp(c.end, zone))
		return err
	}
	dots := c.dots()
	high, low := label(c.high), label(c.low)
	margin := max(len(high), len(low))
	if low == high {
		low = ""
	}
	var out strings.Builder
	fmt.Fprintln(&out, c.title)
	for row := range c.height {
		mark := ""
		switch row {
		case 0:
			mark = high
		case c.height - 1:
			mark = low
		}
		fmt.Fprintf(&out, "%*s ┤%s\n", margin, mark, strings.TrimRight(string(dots[row]), "\u2800"))
	}
	width := len(c.columns) / 2
	from, to := stamp(c.start, zone), stamp(c.end, zone)
	fmt.Fprintf(&out, "%*s └%s\n", margin, "", strings.Repeat("─", width))
	fmt.Fprintf(&out, "%*s  %s%*s\n", margin, "", from, max(width-len(from), len(to)+1), to)
	_, err := io.WriteString(w, out.String())
	return err
}

// dots is the rows of characters.
func (c *Chart) dots() [][]rune {
	rows := make([][]rune, c.height)
	for i := range rows {
		rows[i] = []rune(strings.Repeat("\u2800", len(c.columns)/2))
	}
	// dot in column x%2 and row y%4 of a braille character
	dot := [2][4]rune{{0x01, 0x02, 0x04, 0x40}, {0x08, 0x10, 0x20, 0x80}}
	column := func(x int, a, b float64) {
		from, to := c.dotRow(max(a, b)), c.dotRow(min(a, b))
		for y := from; y <= to; y++ {
			rows[y/4][x/2] |= dot[x%2][y%4]
		}
	}
	before := -1
	for x := range c.columns {
		col := &c.columns[x]
		if !col.has {
			continue
		}
		column(x, col.low, col.high)
		if before >= 0 && !col.broken {
			c.connect(before, x, column)
		}
		before = x
	}
	return rows
}

// connect draws the line from column a to column b, between which no sample lies.
func (c *Chart) connect(a, b int, column func(x int, from, to float64)) {
	from, to := c.columns[a].last, c.columns[b].first
	last := from
	for x := a + 1; x <= b; x++ {
		now := from
		if !c.stepped {
			now = from + (to-from)*float64(x-a)/float64(b-a)
		} else if x == b {
			now = to
		}
		column(x, last, now)
		last = now
	}
}

// dotRow is the row of dots of a value, 0 at the top.
func (c *Chart) dotRow(v float64) int {
	rows := 4*c.height - 1
	if c.high == c.low {
		return rows / 2
	}
	share := (float64(v/2) - float64(c.low/2)) / (float64(c.high/2) - float64(c.low/2)) // halves, so that the whole range of doubles fits
	return min(max(rows-int(math.Round(share*float64(rows))), 0), rows)
}

func label(v float64) string { return fmt.Sprintf("%.6g", v) }

func stamp(t int64, zone *time.Location) string {
	return time.Unix(0, t).In(zone).Format("2006-01-02 15:04:05Z07:00")
}
