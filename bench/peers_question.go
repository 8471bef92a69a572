package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sort"
	"time"
)

// kind is what a question asks for.
type kind int

const (
	rawSamples     kind = iota + 1 // every sample in the range
	minuteAverages                 // the mean of the samples of each whole minute that has any, at the minute's start
	latestSamples                  // the newest sample of every tag
	minuteShapes                   // average, least, greatest and percent Good of each whole minute, one behind the other
	minuteAreas                    // the same, with the time-weighted average of the line through the samples before percent Good
)

// several reports whether the question is for several aggregates at once, which only some databases are asked.
func (k kind) several() bool { return k == minuteShapes || k == minuteAreas }

// question is one that every database is asked in its own words. Times are milliseconds, as the peers keep them; the range
// is half open and begins with a whole minute.
type question struct {
	name     string
	kind     kind
	tags     []int
	from, to int64
	lookback time.Duration // latestSamples: how far behind to the newest sample of any tag lies
	// checked asks for all that can be compared; else a database may leave out what its users would.
	checked bool
}

// series are samples of one tag in time order, in milliseconds.
type series struct {
	times  []int64
	values []float64
}

func (s *series) add(time int64, value float64) {
	s.times, s.values = append(s.times, time), append(s.values, value)
}

// within are the samples of a half-open range.
func (s *series) within(from, to int64) series {
	a := sort.Search(len(s.times), func(i int) bool { return s.times[i] >= from })
	b := sort.Search(len(s.times), func(i int) bool { return s.times[i] >= to })
	return series{s.times[a:b], s.values[a:b]}
}

// averages are the means of the samples of each minute.
func (s *series) averages() series {
	var out series
	sum, count := 0.0, 0
	for i, t := range s.times {
		sum, count = sum+s.values[i], count+1
		if minute := t - mod(t, 60_000); i+1 == len(s.times) || s.times[i+1] >= minute+60_000 {
			out.add(minute, sum/float64(count))
			sum, count = 0, 0
		}
	}
	return out
}

// shapes are the aggregates of the minutes of [from, to), one behind the other. Every minute has samples, and there are some around.
func (s *series) shapes(from, to int64, areas bool) series {
	var out series
	for ; from < to; from += 60_000 {
		in := s.within(from, from+60_000)
		sum := 0.0
		for _, v := range in.values {
			sum += v
		}
		out.add(from, sum/float64(len(in.values)))
		out.add(from, slices.Min(in.values))
		out.add(from, slices.Max(in.values))
		if areas {
			out.add(from, s.mean(from, from+60_000))
		}
		out.add(from, 100)
	}
	return out
}

// mean is the average of the line through the samples between two instants, each with a sample at it or on both sides.
func (s *series) mean(from, to int64) float64 {
	area := 0.0
	first := max(1, sort.Search(len(s.times), func(i int) bool { return s.times[i] > from }))
	for i := first; i < len(s.times) && s.times[i-1] < to; i++ {
		a, b := max(from, s.times[i-1]), min(to, s.times[i])
		area += (s.at(i, a) + s.at(i, b)) / 2 * float64(b-a)
	}
	return area / float64(to-from)
}

// at is the line from sample i-1 to sample i at an instant.
func (s *series) at(i int, t int64) float64 {
	return s.values[i-1] + (s.values[i]-s.values[i-1])*float64(t-s.times[i-1])/float64(s.times[i]-s.times[i-1])
}

func mod(a, b int64) int64 { return (a%b + b) % b }

// answer is series by tag, decoded: where every client ends up, however the bytes came.
type answer map[int]*series

func (a answer) of(tag int) *series {
	s := a[tag]
	if s == nil {
		s = &series{}
		a[tag] = s
	}
	return s
}

func (a answer) rows() (n int) {
	for _, s := range a {
		n += len(s.values)
	}
	return n
}

// How far values may be from those sent. A database that keeps decimals with a common exponent per block loses the last
// digits of a value much smaller than its neighbours, and a sum depends on the order of its terms.
const (
	decimalTolerance = 1e-12 // of the largest value of the tag in the answer
	averageTolerance = 1e-9
)

// compareAnswer holds an answer against what was sent, tag by tag. rounded is how many values differ from it in their last
// digits, which only a database that does not keep doubles may show.
func compareAnswer(q *question, got answer, d *dataset, exact bool) (rounded int, err error) {
	for _, tag := range q.tags {
		want := d.sent(q, tag)
		n, err := compareSeries(want, *got.of(tag), q.kind, exact)
		if err != nil {
			return 0, fmt.Errorf("tag %s: %w", d.label(tag), err)
		}
		rounded += n
	}
	for tag, s := range got {
		if len(s.values) > 0 && !slices.Contains(q.tags, tag) {
			return 0, fmt.Errorf("%d samples of tag %s, which was not asked for", len(s.values), d.label(tag))
		}
	}
	return rounded, nil
}

func compareSeries(want, got series, k kind, exact bool) (rounded int, err error) {
	largest := 0.0
	for _, v := range want.values {
		largest = max(largest, math.Abs(v))
	}
	for i := range min(len(want.times), len(got.times)) {
		at := time.UnixMilli(want.times[i]).UTC().Format("2006-01-02T15:04:05.000Z")
		if want.times[i] != got.times[i] {
			return 0, fmt.Errorf("row %d is at %d ms, want %d ms (%s)", i, got.times[i], want.times[i], at)
		}
		w, g := want.values[i], got.values[i]
		if math.Float64bits(w) == math.Float64bits(g) {
			continue
		}
		near := math.Abs(w-g) <= decimalTolerance*largest
		if k == minuteAverages || k.several() {
			near = math.Abs(w-g) <= averageTolerance*largest
		} else if near && !exact {
			rounded++
		}
		if !near || exact && k != minuteAverages && !k.several() {
			return 0, fmt.Errorf("value at %s is %v, want %v", at, g, w)
		}
	}
	if len(want.times) != len(got.times) {
		next := want
		if len(got.times) > len(want.times) {
			next = got
		}
		at := next.times[min(len(want.times), len(got.times))]
		return 0, fmt.Errorf("%d rows, want %d; the first too few or too many is at %s", len(got.times), len(want.times), time.UnixMilli(at).UTC().Format("2006-01-02T15:04:05.000Z"))
	}
	return rounded, nil
}

// turns are the warm runs of one question to one database.
type turns struct {
	Rows   int     `json:"rows"`
	Runs   int     `json:"runs"`
	Median float64 `json:"median_ms"`
	Min    float64 `json:"min_ms"`
	Max    float64 `json:"max_ms"`
	CPU    float64 `json:"server_cpu_ms,omitempty"` // of a run, on average, where the question is for several aggregates
	// Rounded is how many of the rows differ from what was sent in their last digits.
	Rounded int `json:"rounded,omitempty"`
}

// askInTurn compares the answers of all that are asked, then times them one after another, repeat times over.
func askInTurn(ctx context.Context, everyone []contestant, d *dataset, q *question, repeat int, r *besideReport) error {
	var all []contestant
	var reports []*contestantReport
	for i, c := range everyone {
		if !q.kind.several() || c.describe().several {
			all, reports = append(all, c), append(reports, r.Contestants[i])
		}
	}
	took, asked := make([][]float64, len(all)), make([]*turns, len(all))
	for i, c := range all {
		checked := *q
		checked.checked = true
		got, err := c.ask(ctx, &checked)
		if err != nil {
			return fmt.Errorf("%s: %w", c.describe().Name, err)
		}
		rounded, err := compareAnswer(q, got, d, c.describe().exact)
		if err != nil {
			return fmt.Errorf("%s answers other than what was sent: %w", c.describe().Name, err)
		}
		asked[i] = &turns{Rows: got.rows(), Rounded: rounded}
		reports[i].Medians[q.name] = asked[i]
	}
	r.Questions = append(r.Questions, q.name)
	for range repeat {
		for i, c := range all {
			before, err := c.usage()
			if err != nil {
				return err
			}
			began := time.Now()
			got, err := c.ask(ctx, q)
			if err != nil {
				return fmt.Errorf("%s: %w", c.describe().Name, err)
			}
			took[i] = append(took[i], float64(time.Since(began).Nanoseconds())/1e6)
			if q.kind.several() {
				after, err := c.usage()
				if err != nil {
					return err
				}
				asked[i].CPU += (after.cpu - before.cpu) * 1000 / float64(repeat)
			}
			if got.rows() != asked[i].Rows {
				return fmt.Errorf("%s: %d rows, %d when it was asked before", c.describe().Name, got.rows(), asked[i].Rows)
			}
		}
	}
	for i, t := range asked {
		slices.Sort(took[i])
		t.Runs, t.Median, t.Min, t.Max = repeat, took[i][repeat/2], took[i][0], took[i][repeat-1]
	}
	return nil
}
