package query

import (
	"fmt"
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
	if isBareAverage(name) {
		return 0, refuseBareAverage(name)
	}
	return 0, fmt.Errorf("aggregate %.80q: must be one of %s: %w", name, strings.Join(aggregateNames[1:], ", "), ErrBadRequest)
}

func isBareAverage(name string) bool {
	return slices.Contains([]string{"avg", "average", "mean"}, strings.ToLower(name))
}

func refuseBareAverage(name string) error {
	return fmt.Errorf("aggregate %q: say which, time_weighted_average or event_weighted_average: %w", name, ErrBadRequest)
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

// AggregatesRequest asks for aggregates of consecutive buckets of tags.
type AggregatesRequest struct {
	Tags
	Buckets
	Aggregates  []Aggregate
	Consistency storage.Consistency
	BatchRows   int
	Unit        string // UCUM code of the unit of the values, which are doubles then; empty: as they are stored
	// UseUncertain takes Uncertain samples for usable. Otherwise they are taken for Bad, as Part 13 has it by default.
	UseUncertain bool
	Fill         Fill
	While        string // condition for time to count, as package query/expression reads it; empty for none
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

// checkTypes refuses calculations with what is no number.
func (r *AggregatesRequest) checkTypes(tags *tagList) error {
	types := tags.types()
	_, single := types.single()
	for _, a := range r.Aggregates {
		if (a == First || a == Last) && !single && (types.has(model.String) || types.has(model.Bytes)) {
			return fmt.Errorf("%s of text or bytes together with other types: ask for those apart: %w", a, ErrBadRequest)
		}
		if err := a.checkNumbers(tags); err != nil {
			return err
		}
		column := newAggregateColumn(a, types)
		if r.Unit != "" {
			column.inUnit(r.Unit, effectOn(a))
		}
		for _, t := range tags.asked {
			if err := r.Fill.check(Function{name: a.String(), own: a}, t.tag.Current().Type, column.filled()); err != nil {
				return fmt.Errorf("tag %s: %w", t.describe(), err)
			}
		}
	}
	return nil
}

// checkNumbers refuses tags whose values are no numbers where the aggregate is of numbers only.
func (a Aggregate) checkNumbers(tags *tagList) error {
	if !a.numeric() {
		return nil
	}
	for _, t := range tags.asked {
		if typ := t.tag.Current().Type; typ > model.Uint64 {
			return fmt.Errorf("%s of tag %s, which is of type %s and no number: %w", a, t.describe(), typ, ErrBadRequest)
		}
	}
	return nil
}
