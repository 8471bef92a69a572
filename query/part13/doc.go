// Package part13 calculates the 37 aggregates of OPC UA Part 13 (release 1.05), of one interval of one tag.
//
//	rollup.Partial before, in and behind an interval → Calculation → Result(aggregate) → value, status code, info bits
//
// The standard leaves some points open, and its example file, its text and those who implement it differ on others.
// docs/reference/aggregates.md says what holds here and why; the tests go through the example file and other public sources.
//
// The package reads nothing and knows no calendar: whoever asks brings partials of the interval and of what lies next to it.
package part13
