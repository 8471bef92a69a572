package encoding

import (
	"math"
	"math/bits"
	"slices"
)

// The choice of a codec looks at no more than sampleMost values, cut from the column in sampleRuns stretches, since a
// predictor needs neighbours.
const (
	sampleMost = 1024
	sampleRuns = 4
	sampleZone = 256 // values, apart from each other, that tell where residuals lie
)

// sampled is the stretches of v that the choice looks at, joined in room, and how long each is.
func sampled(room *[sampleMost]uint64, v []uint64) (s []uint64, run int) {
	if len(v) <= sampleMost {
		return room[:copy(room[:], v)], len(v)
	}
	run = sampleMost / sampleRuns
	s = room[:0]
	for k := range sampleRuns {
		at := (len(v) - run) * k / (sampleRuns - 1)
		s = append(s, v[at:at+run]...)
	}
	return s, run
}

// binCounts counts symbols.
type binCounts [256]uint32

func (h *binCounts) clear() { *h = binCounts{} }

// cost is how many symbols occur, and about how many bytes n of them take under a Huffman code.
func (h *binCounts) cost(n int) (used int, size float64) {
	bits := 0.0
	whole := math.Log2(float64(n))
	for _, c := range h {
		if c > 0 {
			used++
			bits += float64(float64(c) * max(whole-math.Log2(float64(c)), 1))
		}
	}
	if used < 2 {
		return used, 1
	}
	return used, bits * 1.005 / 8
}

// countLog is c × log2(c) for the counts a sample can have.
var countLog = func() (t [sampleMost + 1]float32) {
	for c := 2; c <= sampleMost; c++ {
		t[c] = float32(float64(c) * math.Log2(float64(c)))
	}
	return t
}()

// residualBits is about how many bits a number of r takes in the best of the stream coders: the entropy of numbers close to
// the middle one by one, and of those farther away by their size, with the bits that size leaves open.
func residualBits(r []uint64) float64 {
	mid := middle(r)
	var h [320]uint16
	open := 0
	for _, x := range r {
		z := zigzag(int64(x - mid))
		if z < 64 {
			h[z]++
			continue
		}
		n := uint(bits.Len64(z)) // 7 or more; two bits below the top tell bins apart
		h[36+4*n+uint(z>>(n-3))&3]++
		open += int(n) - 3
	}
	sum, bins := float32(0), 0
	for _, c := range h {
		if c > 0 {
			sum += countLog[c]
			bins++
		}
	}
	n := float32(len(r))
	entropy := (countLog[len(r)] - sum + float32(float32(bins-1)*0.72)) / n // a small sample shows less of it than there is
	return float64(entropy + float32(open)/n)
}

// middle is near the median of r.
func middle(r []uint64) uint64 {
	var s [15]uint64
	k := min(len(r), len(s))
	for i := range k {
		s[i] = r[i*len(r)/k] ^ 1<<63
	}
	slices.Sort(s[:k])
	return s[k/2] ^ 1<<63
}
