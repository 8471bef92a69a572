package query

// formulas say in one sentence what docs/reference/aggregates.md has in full.
var formulas = [...]string{
	Count:                "how many samples are usable",
	Sum:                  "the sum of the usable samples",
	Minimum:              "the least of the usable samples",
	Maximum:              "the greatest of the usable samples",
	MinimumTime:          "the time of the first sample that has the least value",
	MaximumTime:          "the time of the first sample that has the greatest value",
	First:                "the first usable sample",
	Last:                 "the last usable sample",
	Range:                "the greatest less the least of the usable samples",
	StandardDeviation:    "the square root of the squares of the usable samples about their mean by their number less 1",
	EventWeightedAverage: "the sum of the usable samples by their number",
	TimeWeightedAverage:  "the integral of the tag's shape over the time under usable values, by that time",
	DurationGood:         "nanoseconds under usable values",
	PercentGood:          "percent of the bucket under usable values",
	WorstQuality:         "the first quality of the worst severity among the samples",
}

// Formula says in one sentence what the aggregate is.
func (a Aggregate) Formula() string {
	if int(a) >= len(formulas) {
		return ""
	}
	return formulas[a]
}
