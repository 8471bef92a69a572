// Package calendar divides time into the buckets that people count in: an hour, a day of 23, 24 or 25 hours in some zone, an
// ISO week, a quarter, a shift of a crew, a production day, a period of 4-4-5 weeks.
//
//	In(zone) or Parse(definition) → Calendar → Every("1d") → Division → At, Count, Buckets → Bucket
//
// A [Calendar] is how a place counts: its zone and, where it has them, its shifts, production days and periods. A
// [Division] divides all of time into a [Bucket] behind the other, and knows the one that holds an instant. Whatever goes through
// a range, for samples or to fill where there are none, goes from one bucket to the next by that one question.
//
// # What a division promises
//
// Every instant that a sample may carry lies in exactly one bucket [Start, End): there is no gap, no overlap, no empty
// bucket, and none that starts behind its first sample. Where nobody works there is a bucket too, which says so. Forward and in
// reverse the buckets are the same.
//
// # How clocks are followed
//
// Days and all that is made of them, shifts too, begin at readings of the clock. A reading comes at the first instant at which
// the clock shows it or a later one. So what begins at a reading that is left out begins where the clock is set forward,
// what begins at one that comes twice begins at the first, and a day that did not exist has no bucket. As the readings of a
// division ascend, so do the instants, whatever a zone does to its clocks.
//
// docs/reference/calendars.md has the text that is read here, with worked examples.
//
// # Parts
//
//	calendar.go    a zone, and what is counted in it
//	definition.go  a calendar from JSON
//	interval.go    the text of a division
//	division.go    the buckets of a range
//	clock.go       instants to readings of a clock, and back
//	elapsed.go     equal lengths of time
//	marks.go       between marks on the clock
//	readings.go    between readings of the clock, of which there are several kinds:
//	dates.go, shifts.go, periods.go
package calendar
