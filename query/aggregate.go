package query

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage"
)

// Limits on what one aggregate request may ask; they stand in query.proto.
const (
	MaxBuckets    = 1 << 20
	MaxAggregates = 32
)

// Aggregate is what is calculated of a bucket. docs/reference/aggregates.md has the formulas.
type Aggregate uint8

const (
	Count Aggregate = iota + 1
	Sum
	Minimum
	Maximum
	MinimumTime
	MaximumTime
	First
	Last
	Range
	StandardDeviation
	EventWeightedAverage
	TimeWeightedAverage
	DurationGood
	PercentGood
	WorstQuality
)

var aggregateNames = [...]string{
	Count: "count", Sum: "sum", Minimum: "minimum", Maximum: "maximum", MinimumTime: "minimum_time", MaximumTime: "maximum_time",
	First: "first", Last: "last", Range: "range", StandardDeviation: "standard_deviation",
	EventWeightedAverage: "event_weighted_average", TimeWeightedAverage: "time_weighted_average",
	DurationGood: "duration_good", PercentGood: "percent_good", WorstQuality: "worst_quality",
}

func (a Aggregate) String() string {
	if a == 0 || int(a) >= len(aggregateNames) {
		return fmt.Sprintf("aggregate %d", uint8(a))
	}
	return aggregateNames[a]
}

// AggregateNames is the names of all aggregates there are.
func AggregateNames() []string { return slices.Clone(aggregateNames[1:]) }

// ParseAggregate reads the name of an aggregate. A bare average is refused: there are two, and they differ wherever samples
// do not come at even distances.
func ParseAggregate(name string) (Aggregate, error) {
	for i, n := range aggregateNames {
		if i > 0 && n == name {
			return Aggregate(i), nil
		}
	}
	switch strings.ToLower(name) {
	case "avg", "average", "mean":
		return 0, fmt.Errorf("aggregate %q: say which, time_weighted_average or event_weighted_average: %w", name, ErrBadRequest)
	}
	return 0, fmt.Errorf("aggregate %.80q: must be one of %s: %w", name, strings.Join(aggregateNames[1:], ", "), ErrBadRequest)
}

// numeric reports whether the aggregate is of numbers only.
func (a Aggregate) numeric() bool {
	switch a {
	case Count, First, Last, DurationGood, PercentGood, WorstQuality:
		return false
	}
	return true
}

// plain reports whether storage.Plain has what the aggregate needs.
func (a Aggregate) plain() bool {
	switch a {
	case MinimumTime, MaximumTime, First, Last, StandardDeviation, TimeWeightedAverage:
		return false
	}
	return true
}

// AggregatesRequest asks for aggregates of consecutive buckets of tags. The buckets are [Start, Start+Step) and on to End,
// the last one cut there; or those between Edges. With Start later than End, or Edges that descend, a bucket is (later
// edge excluded its earlier one): (a-Step, a] from Start down, each stamped with its later edge.
type AggregatesRequest struct {
	Tags
	Start, End  int64 // nanoseconds UTC; not used where there are Edges
	Step        int64 // nanoseconds; 0 for one bucket
	Edges       []int64
	Aggregates  []Aggregate
	Consistency storage.Consistency
	BatchRows   int
	// UseUncertain takes Uncertain samples for usable. Otherwise they are taken for Bad, as Part 13 has it by default.
	UseUncertain bool
}

// buckets is the edges in the order of the answer.
func (r *AggregatesRequest) buckets() ([]int64, error) {
	if len(r.Edges) > 0 {
		return r.explicit()
	}
	switch {
	case r.Start == r.End:
		return nil, fmt.Errorf("buckets from %s to the same instant: %w", model.FormatTime(r.Start), ErrBadRange)
	case r.Step < 0:
		return nil, fmt.Errorf("step is %d ns, must be positive: %w", r.Step, ErrBadRange)
	}
	length := uint64(r.End) - uint64(r.Start)
	if r.Start > r.End {
		length = -length
	}
	step := uint64(r.Step)
	if step == 0 || step > length {
		step = length
	}
	n := (length-1)/step + 1
	if n > MaxBuckets {
		return nil, fmt.Errorf("%d buckets, most is %d: %w", n, MaxBuckets, ErrBadRange)
	}
	edges := make([]int64, 0, n+1)
	for i := range n {
		at := uint64(r.Start) + i*step
		if r.Start > r.End {
			at = uint64(r.Start) - i*step
		}
		edges = append(edges, int64(at))
	}
	return append(edges, r.End), nil
}

func (r *AggregatesRequest) explicit() ([]int64, error) {
	if n := len(r.Edges) - 1; n < 1 || n > MaxBuckets {
		return nil, fmt.Errorf("%d edges, must be from 2 to %d: %w", n+1, MaxBuckets+1, ErrBadRange)
	}
	if r.Step != 0 || r.Start != 0 || r.End != 0 {
		return nil, fmt.Errorf("edges beside start, end or step: %w", ErrBadRange)
	}
	down := r.Edges[0] > r.Edges[1]
	for i := 1; i < len(r.Edges); i++ {
		if a, b := r.Edges[i-1], r.Edges[i]; a == b || (a > b) != down {
			return nil, fmt.Errorf("edge %s behind %s: must all ascend or all descend: %w", model.FormatTime(b), model.FormatTime(a), ErrBadRange)
		}
	}
	return r.Edges, nil
}

func (r *AggregatesRequest) check() error {
	if err := r.Tags.check(MaxRangeTags); err != nil {
		return err
	}
	if r.BatchRows < 0 || r.BatchRows > MaxBatchRows {
		return fmt.Errorf("batches of %d rows, least is 1, most is %d: %w", r.BatchRows, MaxBatchRows, ErrBadRequest)
	}
	if n := len(r.Aggregates); n < 1 || n > MaxAggregates {
		return fmt.Errorf("%d aggregates, must be from 1 to %d: %w", n, MaxAggregates, ErrBadRequest)
	}
	for i, a := range r.Aggregates {
		if a == 0 || int(a) >= len(aggregateNames) {
			return fmt.Errorf("%s: %w", a, ErrBadRequest)
		}
		if slices.Contains(r.Aggregates[:i], a) {
			return fmt.Errorf("aggregate %s is asked for twice: %w", a, ErrBadRequest)
		}
	}
	return nil
}

// checkEdges refuses instants that are none.
func checkEdges(edges []int64) error {
	for _, e := range edges {
		if e == math.MinInt64 || e == math.MaxInt64 {
			return fmt.Errorf("edge %d, the first instant is %d, the last %d: %w", e, int64(model.MinTime), int64(math.MaxInt64)-1, ErrBadRange)
		}
	}
	return nil
}

// checkTypes refuses calculations with what is no number.
func (r *AggregatesRequest) checkTypes(tags *tagList) error {
	types := tags.types()
	_, single := types.single()
	for _, a := range r.Aggregates {
		if (a == First || a == Last) && !single && (types.has(model.String) || types.has(model.Bytes)) {
			return fmt.Errorf("%s of text or bytes together with other types: ask for those apart: %w", a, ErrBadRequest)
		}
		if !a.numeric() {
			continue
		}
		for _, t := range tags.asked {
			if typ := t.tag.Current().Type; typ > model.Uint64 {
				return fmt.Errorf("%s of tag %s, which is of type %s and no number: %w", a, t.describe(), typ, ErrBadRequest)
			}
		}
	}
	return nil
}
