package part13

// formulas say in one sentence what docs/reference/part-13.md has in full.
var formulas = [...]string{
	Interpolative:               "the interpolated bound where the interval begins",
	Average:                     "the sum of the Good samples by their number",
	TimeAverage:                 "the integral of lines between usable samples over the interval, from the first usable one on, by that length; always sloped",
	TimeAverage2:                "the integral between simple bounds over the time under usable values, by that time",
	Total:                       "the integral over the interval of lines, or where the tag is stepped steps, between usable samples; units of the value times seconds",
	Total2:                      "the integral between simple bounds over the time under usable values; units of the value times seconds",
	Minimum:                     "the least of the Good samples",
	Maximum:                     "the greatest of the Good samples",
	MinimumActualTime:           "the least of the Good samples, with the time of the oldest that has it",
	MaximumActualTime:           "the greatest of the Good samples, with the time of the oldest that has it",
	Range:                       "the greatest less the least of the Good samples",
	Minimum2:                    "the least of the usable samples and both simple bounds",
	Maximum2:                    "the greatest of the usable samples and both simple bounds",
	MinimumActualTime2:          "the least of the usable samples and both simple bounds, with its time",
	MaximumActualTime2:          "the greatest of the usable samples and both simple bounds, with its time",
	Range2:                      "the greatest less the least of the usable samples and both simple bounds",
	AnnotationCount:             "how many annotations the samples have",
	Count:                       "how many samples are Good",
	DurationInStateZero:         "milliseconds under Good values that are 0, the simple bound at the earlier edge being the first",
	DurationInStateNonZero:      "milliseconds under Good values that are not 0, the simple bound at the earlier edge being the first",
	NumberOfTransitions:         "how often the value changes from one usable sample to the next, the last one before the interval included",
	Start:                       "the first sample in the direction of the interval, as it is",
	End:                         "the last sample in the direction of the interval, as it is",
	Delta:                       "the last less the first Good sample",
	StartBound:                  "the simple bound where the interval begins",
	EndBound:                    "the simple bound where the interval ends",
	DeltaBounds:                 "the simple bound where the interval ends less that where it begins",
	DurationGood:                "milliseconds of stretches that begin with a Good value",
	DurationBad:                 "milliseconds of stretches that begin with a value that is Bad or taken for it",
	PercentGood:                 "percent of the interval in stretches that begin with a Good value",
	PercentBad:                  "percent of the interval in stretches that begin with a value that is Bad or taken for it",
	WorstQuality:                "the oldest status code of the worst severity among the samples",
	WorstQuality2:               "the status code of the worst severity among the samples and the simple bounds",
	StandardDeviationSample:     "the square root of the squares of the Good samples about their mean by their number less 1",
	StandardDeviationPopulation: "the square root of the squares of the Good samples about their mean by their number",
	VarianceSample:              "the squares of the Good samples about their mean by their number less 1",
	VariancePopulation:          "the squares of the Good samples about their mean by their number",
}

// Formula says in one sentence what the aggregate is.
func (a Aggregate) Formula() string {
	if int(a) >= len(formulas) {
		return ""
	}
	return formulas[a]
}
