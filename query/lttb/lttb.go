// Package lttb thins a series for the eye, by largest triangle three buckets: what is kept between the two ends are the
// samples that stand out most, one of each of equally many.
//
// The rule is that of Sveinn Steinarsson, "Downsampling Time Series for Visual Representation" (2013). It gives a picture of few
// points and nothing else: what is kept says nothing about minima or averages, and two answers of different lengths have
// different points. Package plot is for charts that must be right to the pixel.
package lttb

import (
	"math"
	"time"

	"github.com/varvedb/varve/model"
)

// Select is the indices of the samples kept of a series, ascending. Times are nanoseconds and ascend, equal ones allowed;
// n is how many samples to keep, and below 2 is taken for 2. If the series has no more than n, all are kept.
//
// The line is broken where neighbours are more than maxGap apart, if maxGap is above 0, and by values that are not finite, which
// no chart can draw. The unbroken sections are thinned each by itself, so that no triangle spans a break. Their ends
// are always kept, and of neighbouring values that are not finite the first, to show the break. So more than n samples are kept
// of a series with more than n such places. What is left of n goes to the sections in proportion to the samples between their ends.
func Select(times []int64, values []float64, n int, maxGap time.Duration) []int {
	if n >= len(times) {
		kept := make([]int, len(times))
		for i := range kept {
			kept[i] = i
		}
		return kept
	}
	s := series{times, values, maxGap}
	ends, inner := 0, 0
	for from, to := 0, 0; from < len(times); from = to {
		to = s.sectionEnd(from)
		e, i := s.split(from, to)
		ends, inner = ends+e, inner+i
	}
	spare := min(max(n-ends, 0), inner)
	kept := make([]int, 0, ends+spare)
	before := 0 // inner samples of the sections before this one
	for from, to := 0, 0; from < len(times); from = to {
		to = s.sectionEnd(from)
		e, i := s.split(from, to)
		kept = s.thin(kept, from, from+e+i, share(spare, before+i, inner)-share(spare, before, inner))
		before += i
	}
	return kept
}

// share is i of n parts of whole, rounded down; 0 where there are no parts.
func share(whole, i, n int) int {
	if n == 0 {
		return 0
	}
	return int(int64(whole) * int64(i) / int64(n))
}

type series struct {
	times  []int64
	values []float64
	maxGap time.Duration
}

// sectionEnd is behind the last sample of the section that begins at from: one without a break, or one of values that are
// not finite.
func (s *series) sectionEnd(from int) int {
	drawn := model.Finite(s.values[from])
	for i := from + 1; i < len(s.times); i++ {
		if model.Finite(s.values[i]) != drawn || drawn && s.maxGap > 0 && s.since(i-1, i) > uint64(s.maxGap) {
			return i
		}
	}
	return len(s.times)
}

// split is how many samples of a section are kept always, and between how many of them there is a choice.
func (s *series) split(from, to int) (ends, inner int) {
	if !model.Finite(s.values[from]) {
		return 1, 0
	}
	ends = min(to-from, 2)
	return ends, to - from - ends
}

// since is the nanoseconds from sample a to a later one. They fit in 64 bits without a sign, however far the two are apart.
func (s *series) since(a, b int) uint64 { return uint64(s.times[b]) - uint64(s.times[a]) }

// thin adds the ends of section [from, to), and k of what lies between.
func (s *series) thin(kept []int, from, to, k int) []int {
	kept = append(kept, from)
	if to-from == 1 {
		return kept
	}
	// Differences of values must not overflow, nor their sums. A power of two changes no comparison.
	scale := 1.0
	for _, v := range s.values[from:to] {
		if math.Abs(v) > 0x1p900 {
			scale = 0x1p-200
			break
		}
	}
	inner := to - from - 2
	edge := func(bucket int) int { return from + 1 + share(inner, bucket, k) }
	for a, bucket := from, 0; bucket < k; bucket++ {
		high, next := edge(bucket+1), to
		if bucket+1 < k {
			next = edge(bucket + 2)
		}
		a = s.farthest(a, edge(bucket), high, next, scale)
		kept = append(kept, a)
	}
	return append(kept, to-1)
}

// farthest is the sample of [low, high) that makes the largest triangle with sample a and the average of [high, next); of
// equally large ones the first. Times are counted from a, so that those of one second are told apart also after a century.
func (s *series) farthest(a, low, high, next int, scale float64) int {
	var x, y float64
	for i := high; i < next; i++ {
		x += float64(s.since(a, i))
		y += float64(s.values[i] * scale)
	}
	n := float64(next - high)
	origin := float64(s.values[a] * scale)
	x, y = x/n, y/n-origin
	best, largest := low, -1.0
	for i := low; i < high; i++ {
		// Products rounded by themselves: fused, they would differ from machine to machine.
		if area := math.Abs(float64(x*(float64(s.values[i]*scale)-origin)) - float64(float64(s.since(a, i))*y)); area > largest {
			best, largest = i, area
		}
	}
	return best
}
