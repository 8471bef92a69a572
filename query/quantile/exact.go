package quantile

import (
	"cmp"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"sort"

	"github.com/varvedb/varve/model"
)

// ErrTooHeavy is returned where weights would add up to more than 64 bits can hold.
var ErrTooHeavy = errors.New("weights add up to more than 2^64-1; use a coarser unit")

// Sorted is values in ascending order, none of them NaN.
type Sorted []float64

// Sort puts values in order, in place, and leaves out those that are NaN.
func Sort(values []float64) Sorted {
	numbers := values[:0]
	for _, v := range values {
		if v == v {
			numbers = append(numbers, v)
		}
	}
	slices.Sort(numbers)
	return numbers
}

// Interpolated is the value at place q·(n-1), counted from 0, on straight lines from value to value. (Hyndman and Fan 1996,
// definition 7; PERCENTILE_CONT of SQL.)
func (s Sorted) Interpolated(q float64) float64 {
	if answer, is := refused(q, len(s) == 0); is {
		return answer
	}
	place := float64(q * float64(len(s)-1))
	low := int(place)
	part := place - float64(low)
	if part == 0 {
		return s[low]
	}
	a, b := s[low], s[low+1]
	if d := b - a; model.Finite(d) {
		return min(a+float64(part*d), b)
	}
	return float64(a*(1-part)) + float64(b*part)
}

// NearestRank is the least value that a share q of all does not exceed, always one that a sample has. (Definition 1;
// PERCENTILE_DISC of SQL.)
func (s Sorted) NearestRank(q float64) float64 {
	if answer, is := refused(q, len(s) == 0); is {
		return answer
	}
	return s[rank(q, uint64(len(s)))-1]
}

// Held is a value and its weight: for a time-weighted quantile the nanoseconds it stood.
type Held struct {
	Value  float64
	Weight uint64
}

// Weighted is values in ascending order, each with what it and all below it weigh.
type Weighted []Held

// Weigh puts values in order, in place, and leaves out those that are NaN or weigh nothing.
func Weigh(held []Held) (Weighted, error) {
	held = slices.DeleteFunc(held, func(h Held) bool { return h.Value != h.Value || h.Weight == 0 })
	slices.SortFunc(held, func(a, b Held) int { return cmp.Compare(a.Value, b.Value) })
	var total, carry uint64
	for i := range held {
		if total, carry = bits.Add64(total, held[i].Weight, 0); carry != 0 {
			return nil, fmt.Errorf("weigh %d values: %w", len(held), ErrTooHeavy)
		}
		held[i].Weight = total
	}
	return held, nil
}

// NearestRank is the least value that a share q of the weight does not exceed.
func (w Weighted) NearestRank(q float64) float64 {
	if answer, is := refused(q, len(w) == 0); is {
		return answer
	}
	r := rank(q, w[len(w)-1].Weight)
	return w[sort.Search(len(w), func(i int) bool { return w[i].Weight >= r })].Value
}
