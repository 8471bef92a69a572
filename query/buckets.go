package query

import (
	"bytes"
	"fmt"
	"math"
	"slices"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/query/calendar"
)

// Buckets are consecutive stretches of time, given in one of three ways.
//
// By Start, End and Step: [Start, Start+Step) and on to End, the last one cut there. By Start, End and Every: the buckets of a
// calendar that hold any of [Start, End), the first and the last one cut there. Or by their Edges.
//
// With Start later than End, or Edges that descend, a bucket is (later edge excluded its earlier one): (a-Step, a] from Start down,
// each stamped with its later edge. Those of a calendar hold the same instants as forward, and are stamped with their last one.
type Buckets struct {
	Start, End int64 // nanoseconds UTC; not used where there are Edges
	Step       int64 // nanoseconds; 0 for one bucket
	Edges      []int64
	Every      string // as package calendar reads it: 1d, 8h of day, 2w, shift
	Zone       string // IANA name of the zone that Every counts in; empty for UTC, or for that of Calendar
	Calendar   []byte // definition of shifts and periods, see docs/reference/calendars.md, or the name of a stored one
}

// bucketing is the buckets of one question.
type bucketing struct {
	edges  []int64  // in the order of the answer
	labels []string // of each bucket, what people call it; nil where no calendar is asked
	cut    [2]bool  // the first and the last bucket are parts of longer ones
}

func (b *bucketing) count() int { return len(b.edges) - 1 }

func (b *bucketing) reverse() bool { return b.edges[0] > b.edges[1] }

// span is the instants of all buckets.
func (b *bucketing) span() model.TimeRange { return model.Between(b.edges[0], b.edges[b.count()]) }

// isCut reports whether a bucket is part of a longer one.
func (b *bucketing) isCut(i int) bool { return i == 0 && b.cut[0] || i == b.count()-1 && b.cut[1] }

// bytes is what the buckets take in memory.
func (b *bucketing) bytes() (n int64) {
	for _, l := range b.labels {
		n += 16 + int64(len(l))
	}
	return n + 8*int64(len(b.edges))
}

// buckets is the buckets of a request, whose calendar may be the name of one in the catalogue.
func (e *Engine) buckets(b Buckets) (*bucketing, error) {
	if name := bytes.TrimLeft(b.Calendar, " \t\r\n"); len(name) > 0 && name[0] != '{' {
		c, ok := e.store.Catalog().Calendar(string(b.Calendar), 0)
		if !ok {
			return nil, fmt.Errorf("calendar %.200q, which begins with no brace and so is the name of a stored one: %w", b.Calendar, ErrNoCalendar)
		}
		b.Calendar = []byte(c.Definition)
	}
	return b.buckets()
}

func (b *Buckets) buckets() (*bucketing, error) {
	if b.Every == "" && (b.Zone != "" || len(b.Calendar) > 0) {
		return nil, fmt.Errorf("a zone or calendar without every: of what length? %w", ErrBadRequest)
	}
	var out *bucketing
	var err error
	switch {
	case len(b.Edges) > 0:
		out, err = b.explicit()
	case b.Start == b.End:
		return nil, fmt.Errorf("buckets from %s to the same instant: %w", model.FormatTime(b.Start), ErrBadRange)
	case b.Every != "":
		out, err = b.divided()
	default:
		out, err = b.steps()
	}
	if err != nil {
		return nil, err
	}
	return out, checkEdges([]int64{out.edges[0], out.edges[out.count()]})
}

func (b *Buckets) steps() (*bucketing, error) {
	if b.Step < 0 {
		return nil, fmt.Errorf("step is %d ns, must be positive: %w", b.Step, ErrBadRange)
	}
	length := distance(b.Start, b.End)
	step := uint64(b.Step)
	if step == 0 || step > length {
		step = length
	}
	n := (length-1)/step + 1
	if n > MaxBuckets {
		return nil, fmt.Errorf("%d buckets, most is %d: %w", n, MaxBuckets, ErrBadRange)
	}
	edges := make([]int64, 0, n+1)
	for i := range n {
		at := uint64(b.Start) + i*step
		if b.Start > b.End {
			at = uint64(b.Start) - i*step
		}
		edges = append(edges, int64(at))
	}
	return &bucketing{edges: append(edges, b.End), cut: [2]bool{1: n > 1 && length%step != 0}}, nil
}

func (b *Buckets) explicit() (*bucketing, error) {
	if n := len(b.Edges) - 1; n < 1 || n > MaxBuckets {
		return nil, fmt.Errorf("%d edges, must be from 2 to %d: %w", n+1, MaxBuckets+1, ErrBadRange)
	}
	if b.Step != 0 || b.Start != 0 || b.End != 0 || b.Every != "" {
		return nil, fmt.Errorf("edges beside start, end, step or every: %w", ErrBadRange)
	}
	down := b.Edges[0] > b.Edges[1]
	for i := 1; i < len(b.Edges); i++ {
		if x, y := b.Edges[i-1], b.Edges[i]; x == y || (x > y) != down {
			return nil, fmt.Errorf("edge %s behind %s: must all ascend or all descend: %w", model.FormatTime(y), model.FormatTime(x), ErrBadRange)
		}
	}
	return &bucketing{edges: b.Edges}, nil
}

// divided is the buckets of a calendar.
func (b *Buckets) divided() (*bucketing, error) {
	if b.Step != 0 {
		return nil, fmt.Errorf("step beside every: %w", ErrBadRange)
	}
	in := model.Between(b.Start, b.End)
	if err := checkEdges([]int64{b.Start, b.End}); err != nil {
		return nil, err
	}
	d, err := b.division()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, ErrBadRequest)
	}
	n, err := d.Count(model.TimeRange{Start: in.Start, End: in.End}, MaxBuckets)
	if err != nil {
		return nil, fmt.Errorf("every %s: %w: %w", b.Every, err, ErrBadRange)
	}
	out := &bucketing{edges: make([]int64, 0, n+1), labels: make([]string, 0, n)}
	for x := range d.Buckets(model.TimeRange{Start: in.Start, End: in.End}) {
		part := x.Clip(in)
		if len(out.edges) == 0 {
			out.edges, out.cut[0] = append(out.edges, part.Start), !x.Within(in)
		}
		out.edges = append(out.edges, part.End)
		out.labels = append(out.labels, d.Label(x))
		out.cut[1] = !x.Within(in)
	}
	if b.Start > b.End { // the samples of (a-1, b-1] are those of [a, b)
		for i := range out.edges {
			out.edges[i]--
		}
		slices.Reverse(out.edges)
		slices.Reverse(out.labels)
		slices.Reverse(out.cut[:])
	}
	return out, nil
}

func (b *Buckets) division() (*calendar.Division, error) {
	if len(b.Calendar) == 0 {
		c, err := calendar.In(b.Zone)
		if err != nil {
			return nil, err
		}
		return c.Every(b.Every)
	}
	if b.Zone != "" {
		return nil, fmt.Errorf("a zone beside a calendar, which has its own: %w", ErrBadRequest)
	}
	c, err := calendar.Parse(b.Calendar)
	if err != nil {
		return nil, err
	}
	return c.Every(b.Every)
}

func distance(a, b int64) uint64 {
	if a > b {
		return uint64(a) - uint64(b)
	}
	return uint64(b) - uint64(a)
}

// checkEdges refuses instants that are none.
func checkEdges(edges []int64) error {
	for _, e := range edges {
		if e == math.MinInt64 || e == math.MaxInt64 {
			return fmt.Errorf("edge %d, the first instant is %d, the last %d: %w", e, int64(model.MinTime), int64(model.MaxTime), ErrBadRange)
		}
	}
	return nil
}

// Starts is the edges that the buckets begin with, in the order of the answer.
func (b Buckets) Starts() ([]int64, error) {
	x, err := b.buckets()
	if err != nil {
		return nil, err
	}
	return x.edges[:x.count()], nil
}
