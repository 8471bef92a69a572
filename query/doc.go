// Package query says what a question about stored samples means, and writes its answer as Arrow record batches.
//
//	Request → check → resolve tags → reserve memory → view → cursor per tag → columns → record batch → sink
//
// Every door asks here: gRPC and Flight hand over the same [Request] and a sink of their own, so they answer with the
// same bits. The package knows no transport.
//
// # What an answer promises
//
// Samples come tag by tag in the order asked, each tag in the order of its range, current values only. Values keep
// every bit where all tags share a type; where types are mixed, columns value, value_int, value_text and value_bytes
// hold what their type can hold. A sample without a value is null in every value column and keeps its quality. One
// dictionary of tag names serves the whole stream.
//
// An answer that cannot be whole says so: records lost from the log are named in the schema's metadata under
// [MetaIncomplete], and damage met on the way ends the stream with an error that names tag and range, behind the
// samples read before it.
//
// # Memory
//
// A query reserves what it can need before it reads: its names, the record batch it fills and the one on its way. A query
// over its own share fails with [ErrTooLarge], one that finds the shares of others taken with [ErrBusy]; ingest has no
// part in it.
//
// # Parts
//
//	engine.go   Engine, its options, what all questions share
//	request.go  what may be asked of samples
//	bounds.go   samples of a range and what stands at its edges; filter.go lets some of them through
//	at_times.go values at instants; at_walk.go finds them, interpolation.go makes those that no sample holds
//	aggregates.go  aggregates of buckets; pieces.go cuts those where settings change and reads what each piece holds
//	rollup_buckets.go  what buckets hold, all of it at once
//	condition.go   the time in which a condition over tags holds
//	fill.go     what buckets get in which nothing is known
//	wide.go     a column per tag: wide_rows.go says where rows stand, wide_reader.go fills columns, wide_column.go sends them
//	plot_read.go what a chart shows, by pixels or by LTTB
//	days.go     in which days there is anything, and its hashes, for who keeps a copy
//	calculated_view.go  expressions as tags like others: calculated_tag.go what they are, calculated_cursor.go their samples
//	resolve.go  names and ids to tags, and the dictionary
//	schema.go   which columns an answer has
//	stream.go   memory, view and record batches of every answer
//	encoder.go  rows of samples to record batches
//	memory.go   what columns lie in, and who may still read it
//	*_column.go one column each: how stored blocks become Arrow memory
//	budget.go   shares of memory
//	store.go    what the package asks of storage
package query
