package encoding

import (
	"math/bits"
)

// radixOf is how many digits of a base go into a word of how many bits, so that a digit takes the fewest; no digits where
// bits of their own would do.
func radixOf(base uint64) (digits int, word uint) {
	if base < 3 || base > 1<<16 {
		return 0, 0
	}
	bestDigits, bestWord := 1, uint(bits.Len64(base-1))
	power, d := uint64(1), 0
	for {
		hi, lo := bits.Mul64(power, base)
		if hi != 0 {
			break
		}
		power, d = lo, d+1
		if w := uint(bits.Len64(power - 1)); w*uint(bestDigits) < bestWord*uint(d) {
			bestDigits, bestWord = d, w
		}
	}
	if bestDigits == 1 {
		return 0, 0
	}
	return bestDigits, bestWord
}

// radixBytes is what the words of n digits take. A block begins with a word and a byte of its own.
func radixBytes(n, digits int, word uint) int {
	block := packedBytes((SealedBlock+digits-1)/digits, word)
	return n/SealedBlock*block + packedBytes((n%SealedBlock+digits-1)/digits, word)
}

// appendRadix writes each word as the fraction of the greatest that its digits make, rounded up: the decoder then takes
// digit by digit off the top with one multiplication each, and no division.
func (e *SealedEncoder) appendRadix(dst []byte, r []uint64, lo, base uint64) []byte {
	digits, word := radixOf(base)
	power := uint64(1)
	for range digits {
		power *= base
	}
	for len(r) > 0 {
		block := r[:min(SealedBlock, len(r))]
		r = r[len(block):]
		words := e.packed[:0]
		for len(block) > 0 {
			value := uint64(0)
			for i := range digits {
				value *= base
				if i < len(block) {
					value += block[i] - lo
				}
			}
			block = block[min(digits, len(block)):]
			// value × 2^word / power, rounded up
			q, rest := bits.Div64(value>>((64-word)&63), value<<word, power)
			if rest != 0 {
				q++
			}
			words = append(words, q)
		}
		dst = appendLow(dst, words, 0, word)
		e.packed = words
	}
	return dst
}

// readRadix takes the digits of a block off the top of each word, and puts them, times factor, on at, which step moves on.
func readRadix[T int64 | uint64](s *streamReader, dst []T, block int, at, step, factor T) {
	words := s.words[:(len(dst)+s.digits-1)/s.digits]
	unpackLow(words, s.bits[radixBytes(block*SealedBlock, s.digits, s.word):], 0, s.word)
	base, up := s.base, (64-s.word)&63
	for _, f := range words {
		f <<= up
		digits := dst[:min(s.digits, len(dst))]
		for k := range digits {
			hi, rest := bits.Mul64(f, base)
			digits[k], f = at+T(hi)*factor, rest
			at += step
		}
		dst = dst[len(digits):]
	}
}
