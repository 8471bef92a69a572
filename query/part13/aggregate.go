package part13

import (
	"fmt"
	"slices"

	"github.com/varvedb/varve/model"
)

// Aggregate is one of the 37 aggregates of Part 13, 5.4.3.
type Aggregate uint8

const (
	Interpolative Aggregate = iota + 1
	Average
	TimeAverage
	TimeAverage2
	Total
	Total2
	Minimum
	Maximum
	MinimumActualTime
	MaximumActualTime
	Range
	Minimum2
	Maximum2
	MinimumActualTime2
	MaximumActualTime2
	Range2
	AnnotationCount
	Count
	DurationInStateZero
	DurationInStateNonZero
	NumberOfTransitions
	Start
	End
	Delta
	StartBound
	EndBound
	DeltaBounds
	DurationGood
	DurationBad
	PercentGood
	PercentBad
	WorstQuality
	WorstQuality2
	StandardDeviationSample
	StandardDeviationPopulation
	VarianceSample
	VariancePopulation
	end
)

var names = [...]string{
	Interpolative: "Interpolative", Average: "Average", TimeAverage: "TimeAverage", TimeAverage2: "TimeAverage2",
	Total: "Total", Total2: "Total2", Minimum: "Minimum", Maximum: "Maximum",
	MinimumActualTime: "MinimumActualTime", MaximumActualTime: "MaximumActualTime", Range: "Range",
	Minimum2: "Minimum2", Maximum2: "Maximum2", MinimumActualTime2: "MinimumActualTime2",
	MaximumActualTime2: "MaximumActualTime2", Range2: "Range2", AnnotationCount: "AnnotationCount", Count: "Count",
	DurationInStateZero: "DurationInStateZero", DurationInStateNonZero: "DurationInStateNonZero",
	NumberOfTransitions: "NumberOfTransitions", Start: "Start", End: "End", Delta: "Delta",
	StartBound: "StartBound", EndBound: "EndBound", DeltaBounds: "DeltaBounds",
	DurationGood: "DurationGood", DurationBad: "DurationBad", PercentGood: "PercentGood", PercentBad: "PercentBad",
	WorstQuality: "WorstQuality", WorstQuality2: "WorstQuality2",
	StandardDeviationSample: "StandardDeviationSample", StandardDeviationPopulation: "StandardDeviationPopulation",
	VarianceSample: "VarianceSample", VariancePopulation: "VariancePopulation",
}

// Names are the names of all aggregates, in the order of their numbers.
func Names() []string { return slices.Clone(names[1:]) }

// Parse is the aggregate of a name, written as in the standard; false for any other text.
func Parse(name string) (Aggregate, bool) {
	i := slices.Index(names[1:], name)
	return Aggregate(i + 1), i >= 0
}

func (a Aggregate) String() string {
	if a == 0 || a >= end {
		return fmt.Sprintf("aggregate %d of Part 13", uint8(a))
	}
	return names[a]
}

// Of reports whether the aggregate has a meaning for values of type t. Those that calculate need numbers, those that compare
// with zero a number, a bool or a state, and those that only pick a sample or look at quality take any.
func (a Aggregate) Of(t model.Type) bool {
	switch a {
	case Interpolative, AnnotationCount, Count, Start, End, StartBound, EndBound, DurationGood, DurationBad, PercentGood, PercentBad,
		WorstQuality, WorstQuality2:
		return true
	case DurationInStateZero, DurationInStateNonZero, NumberOfTransitions:
		return !t.Blob()
	}
	return t <= model.Uint64
}

// ComparesWithZero reports whether the aggregate needs Interval.Zero and NonZero.
func (a Aggregate) ComparesWithZero() bool {
	return a == DurationInStateZero || a == DurationInStateNonZero
}

// Extrapolates reports whether the aggregate needs Interval.Earlier where Configuration.SlopedExtrapolation is set.
func (a Aggregate) Extrapolates() bool { return a == Interpolative || a == TimeAverage || a == Total }

// IsStatus reports whether the value is a status code.
func (a Aggregate) IsStatus() bool { return a == WorstQuality || a == WorstQuality2 }

// Type is the type of the aggregate's values where the samples have type t.
func (a Aggregate) Type(t model.Type, c Configuration) model.Type {
	switch a {
	case Minimum, Maximum, MinimumActualTime, MaximumActualTime, Minimum2, Maximum2, MinimumActualTime2, MaximumActualTime2, Start, End, StartBound, EndBound:
		return t
	case Interpolative:
		if t <= model.Uint64 && c.SlopedExtrapolation { // behind the last sample a double
			return model.Float64
		}
		return t
	case Count, AnnotationCount, NumberOfTransitions, WorstQuality, WorstQuality2:
		return model.Int64
	}
	return model.Float64
}
