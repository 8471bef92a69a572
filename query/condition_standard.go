package query

import (
	"fmt"

	"github.com/varvedb/varve/query/part13"
)

// insteadOf is what to ask for under a condition in place of the aggregates of Part 13, which docs/reference/aggregates.md says why there are none of.
var insteadOf = [...]string{
	part13.Interpolative:               "ReadAtTimes, of the instants themselves",
	part13.Average:                     "event_weighted_average",
	part13.TimeAverage:                 "time_weighted_average",
	part13.TimeAverage2:                "time_weighted_average",
	part13.Total:                       "integral",
	part13.Total2:                      "integral",
	part13.Minimum:                     "minimum",
	part13.Maximum:                     "maximum",
	part13.MinimumActualTime:           "minimum_time",
	part13.MaximumActualTime:           "maximum_time",
	part13.Range:                       "range",
	part13.Minimum2:                    "minimum",
	part13.Maximum2:                    "maximum",
	part13.MinimumActualTime2:          "minimum_time",
	part13.MaximumActualTime2:          "maximum_time",
	part13.Range2:                      "range",
	part13.AnnotationCount:             "ListAnnotations",
	part13.Count:                       "count",
	part13.DurationInStateZero:         "duration_good, with … and TAG = 0 as the condition",
	part13.DurationInStateNonZero:      "duration_good, with … and TAG != 0 as the condition",
	part13.NumberOfTransitions:         "transitions",
	part13.Start:                       "first",
	part13.End:                         "last",
	part13.Delta:                       "delta",
	part13.StartBound:                  "ReadAtTimes, of the instants themselves",
	part13.EndBound:                    "ReadAtTimes, of the instants themselves",
	part13.DeltaBounds:                 "delta",
	part13.DurationGood:                "duration_good",
	part13.DurationBad:                 "duration_good, to be taken from while_ns",
	part13.PercentGood:                 "percent_good",
	part13.PercentBad:                  "duration_good, to be taken from while_ns",
	part13.WorstQuality:                "worst_quality",
	part13.WorstQuality2:               "worst_quality",
	part13.StandardDeviationSample:     "standard_deviation",
	part13.StandardDeviationPopulation: "standard_deviation, and count",
	part13.VarianceSample:              "standard_deviation, whose square it is",
	part13.VariancePopulation:          "standard_deviation, and count",
}

// refuseWhile is the error of a condition on an aggregate of Part 13.
func refuseWhile(a part13.Aggregate) error {
	return fmt.Errorf("while with %s: Part 13 defines it, and its status, of whole intervals; ask for %s: %w", a, insteadOf[a], ErrBadRequest)
}
