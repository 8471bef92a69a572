package calendar

import (
	"fmt"
	"iter"
	"math"
	"time"

	"github.com/varvedb/varve/model"
)

// Bucket is the time [Start, End), nanoseconds since 1970 UTC, as whole as its calendar has it: no range cuts it. Only the time
// that samples may carry does, from model.MinTime to math.MaxInt64.
type Bucket struct {
	Start, End int64
	// Name is that of the shift, of the period, or of the exception that the bucket is; empty for others.
	Name string
	Crew string // that works the shift; empty where the definition says none
	// Off says that nobody works, or that no period counts: between shifts, on a day on which none begins, between periods.
	Off bool
}

// Clip is the part of b that lies in r; empty where none does.
func (b Bucket) Clip(r model.TimeRange) Bucket {
	b.Start = max(b.Start, r.Start)
	b.End = max(b.Start, min(b.End, r.End))
	return b
}

// Within reports whether all of b lies in r. Where it does not, an answer about r has only a part of the bucket.
func (b Bucket) Within(r model.TimeRange) bool { return b.Start >= r.Start && b.End <= r.End }

// Division divides all of time into buckets. It never changes, so any number of readers may share one.
type Division struct {
	calendar *Calendar
	interval string // the text without its origin
	from     string // its origin as text; empty for the usual one
	by       divider
}

// divider is one kind of division.
type divider interface {
	// at is the bucket that holds an instant, which a sample may carry.
	at(t int64) Bucket
	// label is what people call the bucket that holds an instant.
	label(t int64) string
}

// String is the text of the division, as Every reads it.
func (d *Division) String() string {
	if d.from == "" {
		return d.interval
	}
	return d.interval + " from " + d.from
}

// From is the division into the same lengths counted from t, nanoseconds UTC, such as the start of a range. Where days or
// longer units are counted, t is a reading of the clock, and must be on a whole second. ErrInterval where the division counts from
// nowhere: shifts, periods, parts of days.
func (d *Division) From(t int64) (*Division, error) {
	from := model.FormatTime(t)
	if _, elapsed := d.by.(*elapsed); !elapsed {
		if floorMod(t, int64(time.Second)) != 0 {
			return nil, fmt.Errorf("%s counted from %s, which is not on a whole second: %w", d.interval, from, ErrInterval)
		}
		from = time.Unix(0, t).In(d.calendar.Zone()).Format(readingLayout)
	}
	return d.calendar.every(d.interval, from)
}

// At is the bucket that holds t; of an instant that no sample may carry, the bucket nearest to it.
func (d *Division) At(t int64) Bucket { return d.by.at(max(model.MinTime, min(t, model.MaxTime))) }

// Label is what people call a bucket of d: the date of a day, 2024-W44, 2024-Q4, the date, shift and crew; else the time it begins.
func (d *Division) Label(b Bucket) string { return d.by.label(b.Start) }

// Buckets goes through the buckets that hold any of r, whole ones: the first and the last may reach out of r. With r.Reverse
// they come latest first, and are the same.
func (d *Division) Buckets(r model.TimeRange) iter.Seq[Bucket] {
	first, last := max(r.Start, model.MinTime), min(r.End, math.MaxInt64)-1
	return func(yield func(Bucket) bool) {
		if r.Empty() || first > last {
			return
		}
		if r.Reverse {
			for b := d.At(last); yield(b) && b.Start > first; {
				b = d.At(b.Start - 1)
			}
			return
		}
		for b := d.At(first); yield(b) && b.End <= last; {
			b = d.At(b.End)
		}
	}
}

// Count is how many buckets hold any of r. It stops behind most of them with ErrTooMany, so that a question can be
// refused before anything is kept of it.
func (d *Division) Count(r model.TimeRange, most int) (int, error) {
	n := 0
	for range d.Buckets(r) {
		if n == most {
			return 0, fmt.Errorf("%s divides %s into more than %d buckets: %w", d, r, most, ErrTooMany)
		}
		n++
	}
	return n, nil
}
