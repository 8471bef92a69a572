// Package rollup keeps of consecutive samples of one tag what is needed to answer any aggregate of OPC UA Part 13, under any
// of its settings, without the samples.
//
// # The path
//
//	samples → Partial.Add → Partial (→ Merge with its neighbours) → AppendRow → bytes in the store → DecodeRow, OpenRow → Interval → answers
//
// # What a partial is of
//
// Between a sample and the next lies a segment. The partial of samples s0 … sk has those samples and the segments between
// them; what lies before s0 and behind sk belongs to neither side until Merge of two partials adds the segment from the last
// sample of one to the first of the other. So partials of an hour add up to those of a day, and an [Interval] cuts the
// segments that lead in and out at its edges. A gap is a point in the order of samples from which on nothing was collected.
//
// Samples fall into classes: Good and Uncertain with a value, Bad with or without one, null (not Bad, no value). Good ones
// are usable always, Uncertain ones unless the reader treats Uncertain as Bad; "strict" below is that setting, "lenient"
// the other. A segment belongs to the class of the sample it starts from. Then, with v the values, t the times:
//
//   - Stepped: over segments that start usable, v(start)·Δt.
//   - Sloped, simple bounds: over segments that start usable, (v(start)+v(end))/2·Δt where the end is usable, v(start)·Δt
//     where it is not (5.4.3.2.1 in version 1.05: a line never leads to a value that is not there).
//   - Bridged ("interpolated bounds"), sloped or stepped: the same over the pairs of one usable sample and the next usable
//     one, whatever lies between them.
//
// Of several samples at one time all count; the segments between them are empty, so a line ends on the one of lowest seq
// and starts from the one of highest. NaN and infinities are values: sums and integrals become what IEEE arithmetic makes of
// them, variance becomes NaN, minimum and maximum pass over NaN while there is anything else. 0 and -0 are one value.
//
// # What to rely on
//
// Merge is associative and the zero Partial changes nothing. Counts, durations, extremes with their times, transitions, times
// in states, exact sums of integers, worst quality, first and last samples do not depend on how samples were split and
// merged. Of N samples, where nothing overflows or underflows:
//
//   - sums are within (2^-88 + N·2^-104)·Σ|v| of the exact sum,
//   - integrals within the same factor of Σ(|v(start)|+|v(end)|)·Δt over their segments,
//   - sums of squares about the mean within 2^-40 of themselves, for magnitudes up to 1e140, and exactly 0 for equal values.
//
// What is stored is rounded once more: sums to 2^-76 of themselves, integrals to 2^-70, sums of squares to a double, 2^-53. So
// a sum or an integral from merged rollups and one from the samples are the same double but where the exact result lies
// within such a distance of the middle between two doubles.
//
// # The parts
//
// partial.go and build.go make partials of points, run.go of long runs of one class at once; stats.go, states.go and wide.go
// are what they are made of; interval.go answers. row.go, column.go and grid.go are the bytes, which docs/format/rollup.md
// describes.
package rollup

import "errors"

var (
	// ErrCorrupt is returned for bytes that are not what any release wrote.
	ErrCorrupt = errors.New("rollup is damaged")
	// ErrVersion is returned for bytes that a newer release wrote.
	ErrVersion = errors.New("rollup was written by a newer release")
)
