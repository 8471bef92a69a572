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
	n := s.digits
	words := s.words[:(len(dst)+n-1)/n]
	unpackLow(words, s.bits[radixBytes(block*SealedBlock, n, s.word):], 0, s.word)
	base, up, ahead := s.base, (64-s.word)&63, T(n)*step
	// Each digit waits for the one before it in its word: four words side by side wait a quarter as long.
	for len(words) >= 4 && len(dst) >= 4*n {
		d0, d1, d2, d3 := dst[:n], dst[n:2*n], dst[2*n:3*n], dst[3*n:4*n]
		f0, f1, f2, f3 := words[0]<<up, words[1]<<up, words[2]<<up, words[3]<<up
		for k := range d0 {
			var h0, h1, h2, h3 uint64
			h0, f0 = bits.Mul64(f0, base)
			h1, f1 = bits.Mul64(f1, base)
			h2, f2 = bits.Mul64(f2, base)
			h3, f3 = bits.Mul64(f3, base)
			d0[k] = at + T(h0)*factor
			d1[k] = at + T(h1)*factor + ahead
			d2[k] = at + T(h2)*factor + 2*ahead
			d3[k] = at + T(h3)*factor + 3*ahead
			at += step
		}
		at += 3 * ahead
		words, dst = words[4:], dst[4*n:]
	}
	for _, f := range words {
		f <<= up
		digits := dst[:min(n, len(dst))]
		for k := range digits {
			hi, rest := bits.Mul64(f, base)
			digits[k], f = at+T(hi)*factor, rest
			at += step
		}
		dst = dst[len(digits):]
	}
}
