// Package encoding packs columns of samples and loses nothing.
//
// # The path
//
//	samples of one tag → one column each of times, values, quality … → AppendX → bytes inside a chunk → DecodeX → the same bits
//
// Every AppendX looks at the whole column, works out what each of its codecs would cost, and writes the smallest behind
// dst. Every DecodeX is told by its caller how many values to expect, reads exactly the bytes of its column, and returns
// what stands behind them, so columns need no lengths of their own.
//
// That is the path of chunks as they arrive. A sealed chunk, written once and read for years, goes another:
//
//	samples of one tag → columns → SealedEncoder → bytes, their length kept outside → SealedDecoder → any blocks of 1,024 of them
//
// # Promises
//
//   - Every bit pattern comes back: NaN payloads, -0, integers beyond 2^53, times whose differences overflow int64.
//   - A decoder never panics and never allocates for values that the bytes cannot hold. Columns that store one value for
//     many (constant, run-length, grid) allocate what the caller's count asks for; the caller bounds that count.
//   - Damaged bytes give [ErrCorrupt] or other values, never a crash; whoever stores a column adds the checksum that turns
//     the second case into the first. A codec of a newer release gives [ErrVersion].
//   - Functions keep nothing between calls, so they may run at once on different memory. A SealedEncoder and a
//     SealedDecoder keep scratch memory, and serve one goroutine each. AppendX may use the capacity of dst behind what it
//     returns as scratch.
//
// # The parts
//
// times.go has grid, jitter and delta-of-delta; floats.go Gorilla XOR; ints.go the integer codecs, which also carry booleans,
// states, quality and seq; blobs.go text and bytes; bits.go the bit buffers below them. docs/format/encodings.md describes
// every byte.
//
// Of sealed columns, described in docs/format/sealed.md, sealed_ints.go has the integer column that all others come down to:
// predictors, runs, dictionary. What a predictor leaves is planned in sealed_plan.go, from the samples of sealed_sample.go,
// and written in sealed_stream.go, with sealed_lane.go for Huffman symbols, sealed_radix.go for digits, sealed_exceptions.go
// for what does not fit, sealed_bits.go for packed numbers. sealed_times.go, sealed_floats.go with sealed_decimal.go, and
// sealed_blobs.go turn the other columns into integers; sealed_table.go finds distinct values.
package encoding

import "errors"

var (
	// ErrCorrupt is returned for bytes that no release can have written.
	ErrCorrupt = errors.New("encoded column is damaged")
	// ErrVersion is returned for a codec that this release does not know.
	ErrVersion = errors.New("encoded column was written by a newer release")
)

// sized is dst with n elements of any content, its memory reused where it is large enough.
func sized[T any](dst []T, n int) []T {
	if cap(dst) >= n {
		return dst[:n]
	}
	return make([]T, n)
}

// repeat is n times v.
func repeat[T any](dst []T, n int, v T) []T {
	dst = sized(dst, n)
	for i := range dst {
		dst[i] = v
	}
	return dst
}
