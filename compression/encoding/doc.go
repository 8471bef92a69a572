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
// # Promises
//
//   - Every bit pattern comes back: NaN payloads, -0, integers beyond 2^53, times whose differences overflow int64.
//   - A decoder never panics and never allocates for values that the bytes cannot hold. Columns that store one value for
//     many (constant, run-length, grid) allocate what the caller's count asks for; the caller bounds that count.
//   - Damaged bytes give [ErrCorrupt] or other values, never a crash; whoever stores a column adds the checksum that turns
//     the second case into the first. A codec of a newer release gives [ErrVersion].
//   - Nothing is kept between calls, so functions may run at once on different memory. AppendX may use the capacity of dst
//     behind what it returns as scratch.
//
// # The parts
//
// AppendX may use the capacity of dst behind what it returns as scratch. times.go has grid, jitter and delta-of-delta; floats.go Gorilla XOR; ints.go the integer codecs, which also carry
// booleans, states, quality and seq; blobs.go text and bytes; bits.go the bit buffers below them. docs/format/encodings.md
// describes every byte.
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
