package calendar

import (
	"math"
	"time"

	"github.com/varvedb/varve/model"
)

// elapsed divides into one length of elapsed time, whatever clocks do.
type elapsed struct {
	zone   *time.Location // labels are in
	length int64          // nanoseconds
	origin int64          // where one of the buckets begins
}

func (e *elapsed) at(t int64) Bucket {
	// How far t is into its bucket. Both remainders are below the length, so that nothing overflows.
	into := floorMod(t, e.length) - floorMod(e.origin, e.length)
	if into < 0 {
		into += e.length
	}
	b := Bucket{Start: model.MinTime, End: math.MaxInt64}
	if t >= model.MinTime+into {
		b.Start = t - into
	}
	if rest := e.length - into; t <= math.MaxInt64-rest {
		b.End = t + rest
	}
	return b
}

func (e *elapsed) label(t int64) string {
	return time.Unix(0, e.at(t).Start).In(e.zone).Format(time.RFC3339Nano)
}
