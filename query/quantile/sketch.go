package quantile

import (
	"fmt"
	"math"
	"math/bits"
	"slices"
)

const (
	// DefaultAccuracy is how far a quantile of a sketch may lie from the exact one, as a share of that.
	DefaultAccuracy = 0.01
	// MaxBins is the most bins a sketch keeps. At the default accuracy that is 19 powers of ten between the least and the
	// greatest magnitude, of both signs together. It reaches disk: a smaller one could not read what was written.
	MaxBins = 4096

	finest = 12 // mantissa bits: 1.2e-4
)

// Sketch keeps how much weight lies in each of many bins, whose width grows with the magnitude of the values, so that every
// quantile is within Accuracy of the exact nearest rank. (DDSketch: Masson, Rim, Lee 2019.)
//
// A bin is all values that share sign, exponent and the first bits of the mantissa: where a value belongs follows from its bits
// without a logarithm, and is the same on every machine. Values nearer to zero than the least normal double, 2.2e-308, count
// as zero. With more than MaxBins bins, every two neighbours become one until they are few enough: accuracy is lost alike for all
// quantiles, and Accuracy says how much. At the worst it is 1/3.
//
// The sketch of two series together, of their parts in any grouping and order, or of sketches merged, is the same to the
// last bit, if all began with one accuracy. Weights are whole numbers: 1 for a sample, or the nanoseconds a value stood.
type Sketch struct {
	mantissa int     // bits of the mantissa that tell bins apart, 0 to finest
	keys     []int32 // ascending, which is the order of their values
	weights  []uint64
	hit      int // the bin of the value before: that of the next one, more often than not
	total    uint64
	min, max float64 // exactly
}

// New is an empty sketch whose quantiles are within accuracy, as a share of the value, 0.00013 to below 1.
func New(accuracy float64) (*Sketch, error) {
	if !(accuracy < 1) {
		return nil, fmt.Errorf("accuracy of a sketch is %v, most is below 1", accuracy)
	}
	for m := range finest + 1 {
		if accuracyOf(m) <= accuracy {
			return &Sketch{mantissa: m}, nil
		}
	}
	return nil, fmt.Errorf("accuracy of a sketch is %v, least is %.5f", accuracy, accuracyOf(finest))
}

// accuracyOf is the share of itself by which a value can lie from the middle of its bin. The bin from a to b is answered with
// 2ab/(a+b), as far from a as from b in proportion: (b-a)/(b+a), most for the first bin of an octave.
func accuracyOf(mantissa int) float64 { return 1 / float64(int(2)<<mantissa+1) }

// Accuracy is how far a quantile may lie from the exact nearest rank, as a share of that: at first what was asked for or
// better, and more once bins had to be merged.
func (s *Sketch) Accuracy() float64 { return accuracyOf(s.mantissa) }

// Weight is the sum of all weights.
func (s *Sketch) Weight() uint64 { return s.total }

// Min is the least value, exactly; NaN of none.
func (s *Sketch) Min() float64 {
	if s.total == 0 {
		return math.NaN()
	}
	return s.min
}

// Max is the greatest value, exactly; NaN of none.
func (s *Sketch) Max() float64 {
	if s.total == 0 {
		return math.NaN()
	}
	return s.max
}

// key is the bin of a value: its bits but for sign and the rest of the mantissa, negative for negative values; 0 for zero.
func (s *Sketch) key(v float64) int32 {
	b := math.Float64bits(v) &^ (1 << 63)
	if b < 1<<52 {
		return 0
	}
	key := int32(b >> (52 - s.mantissa))
	if v < 0 {
		return -key
	}
	return key
}

// lastKey is the bin of +Inf, the highest there is.
func (s *Sketch) lastKey() int32 { return 0x7FF << s.mantissa }

// value is what a bin is answered with.
func (s *Sketch) value(key int32) float64 {
	if key == 0 {
		return 0
	}
	low := uint64(max(key, -key)) << (52 - s.mantissa)
	// Ends of the bin as if its exponent were 0: those of the highest bin would overflow.
	a := math.Float64frombits(low&(1<<52-1) | 0x3FF<<52)
	b := math.Float64frombits(low&(1<<52-1) | 0x3FF<<52 + 1<<(52-s.mantissa))
	return math.Copysign(math.Float64frombits(low)*(2*b/(a+b)), float64(key))
}

// Add adds a value. One that is NaN or weighs nothing changes nothing. If weights would add up to more than 64 bits hold, the
// sketch stays as it was and the error is ErrTooHeavy.
func (s *Sketch) Add(v float64, weight uint64) error {
	if v != v || weight == 0 {
		return nil
	}
	total, carry := bits.Add64(s.total, weight, 0)
	if carry != 0 {
		return fmt.Errorf("add weight %d to a sketch of %d: %w", weight, s.total, ErrTooHeavy)
	}
	v += 0 // -0 becomes 0
	if s.total == 0 || v < s.min {
		s.min = v
	}
	if s.total == 0 || v > s.max {
		s.max = v
	}
	s.total = total
	key := s.key(v)
	if s.hit < len(s.keys) && s.keys[s.hit] == key {
		s.weights[s.hit] += weight
		return nil
	}
	i, found := slices.BinarySearch(s.keys, key)
	s.hit = i
	if found {
		s.weights[i] += weight
		return nil
	}
	s.keys, s.weights = slices.Insert(s.keys, i, key), slices.Insert(s.weights, i, weight)
	s.shrink()
	return nil
}

// Merge adds all of o, which stays as it is. Of two accuracies the worse one is that of both. If weights would add up to more
// than 64 bits hold, s stays as it was and the error is ErrTooHeavy.
func (s *Sketch) Merge(o *Sketch) error {
	total, carry := bits.Add64(s.total, o.total, 0)
	if carry != 0 {
		return fmt.Errorf("merge sketches of weights %d and %d: %w", s.total, o.total, ErrTooHeavy)
	}
	if o.total > 0 {
		if s.total == 0 || o.min < s.min {
			s.min = o.min
		}
		if s.total == 0 || o.max > s.max {
			s.max = o.max
		}
	}
	s.total = total
	for s.mantissa > o.mantissa {
		s.halve()
	}
	keys := make([]int32, 0, len(s.keys)+len(o.keys))
	weights := make([]uint64, 0, cap(keys))
	put := func(key int32, weight uint64) {
		if n := len(keys) - 1; n >= 0 && keys[n] == key {
			weights[n] += weight
			return
		}
		keys, weights = append(keys, key), append(weights, weight)
	}
	i := 0
	for k, key := range o.keys {
		key /= 1 << (o.mantissa - s.mantissa)
		for ; i < len(s.keys) && s.keys[i] <= key; i++ {
			put(s.keys[i], s.weights[i])
		}
		put(key, o.weights[k])
	}
	for ; i < len(s.keys); i++ {
		put(s.keys[i], s.weights[i])
	}
	s.keys, s.weights = keys, weights
	s.shrink()
	return nil
}

// shrink halves until there are few enough bins. There are at the latest when a bin is an octave: 2,047 of each sign, with
// infinity, and zero.
func (s *Sketch) shrink() {
	for len(s.keys) > MaxBins {
		s.halve()
	}
}

// halve makes one bin of every two that differ in the last bit of the mantissa only. Zero and infinity stay by themselves.
func (s *Sketch) halve() {
	s.mantissa--
	n := 0
	for i, key := range s.keys {
		key /= 2
		if n > 0 && s.keys[n-1] == key {
			s.weights[n-1] += s.weights[i]
			continue
		}
		s.keys[n], s.weights[n] = key, s.weights[i]
		n++
	}
	s.keys, s.weights = s.keys[:n], s.weights[:n]
}

// NearestRank is within Accuracy of the least value that a share q of the weight does not exceed; the least and the greatest
// value are exact.
func (s *Sketch) NearestRank(q float64) float64 {
	if answer, is := refused(q, s.total == 0); is {
		return answer
	}
	r := rank(q, s.total)
	switch r {
	case 1:
		return s.min
	case s.total:
		return s.max
	}
	var below uint64
	for i, w := range s.weights {
		if below += w; below >= r {
			return min(max(s.value(s.keys[i]), s.min), s.max)
		}
	}
	panic("quantile: bins weigh less than the sketch")
}
