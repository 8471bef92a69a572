// Package filter is what the exception and the compression-deviation filter share.
//
//	collector → exception → snapshot → swinging door → archive
//
// Both look at the samples of one tag, one after another, and choose which to keep. Neither changes a sample. [Settings]
// say what may be left out, [Kept] is what a filter hands on, [Newest] the one sample it still holds back, and [AppendNewest]
// with [State] the bytes in which that survives a restart. docs/reference/filters.md defines both filters.
//
// # Promises of both
//
//   - A zero deviation filters nothing.
//   - Only a Good sample can be left out, and only between two of the same type and quality. Whatever else there is, Bad,
//     Uncertain, null, infinite, not a number, is kept, and so is the sample before it: no line ever leads to a sample that
//     came after a change of quality, or away from one before it.
//   - States, booleans, text and bytes are compared for equality, however small the difference and however soon it comes.
//   - A sample older than the newest passes untested, and the filter begins anew with the newest. A second one at the same
//     time does too; an equal one changes nothing.
package filter
