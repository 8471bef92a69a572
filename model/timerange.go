package model

import (
	"fmt"
	"math"
	"time"
)

// The first and last instant a sample may carry. The two values outside them stay free as "before all" and "after all".
const (
	MinTime = math.MinInt64 + 1
	MaxTime = math.MaxInt64 - 1
)

// TimeRange is the half-open range [Start, End) of integer nanoseconds since 1970 UTC. A reverse read covers
// (end, start], which in integers is the range [end+1, start+1) with Reverse set; see [Between].
type TimeRange struct {
	Start, End int64
	Reverse    bool // deliver newest first; membership is unchanged
}

// Between is the range a reader means by the instants from and to: forward it covers [from, to), reversed (from later
// than to) it covers (to, from]. Equal instants mean that one instant.
func Between(from, to int64) TimeRange {
	switch {
	case from == to:
		return TimeRange{Start: from, End: satAdd(from, 1)}
	case from < to:
		return TimeRange{Start: from, End: to}
	}
	return TimeRange{Start: satAdd(to, 1), End: satAdd(from, 1), Reverse: true}
}

// All covers every instant a sample may carry.
var All = TimeRange{Start: MinTime, End: math.MaxInt64}

// Contains reports whether t lies in the range.
func (r TimeRange) Contains(t int64) bool { return t >= r.Start && t < r.End }

// Empty reports whether no instant lies in the range.
func (r TimeRange) Empty() bool { return r.Start >= r.End }

// Overlaps reports whether any instant of [first, last], both included, lies in the range.
func (r TimeRange) Overlaps(first, last int64) bool { return first < r.End && last >= r.Start }

func (r TimeRange) String() string {
	return fmt.Sprintf("[%s, %s)", FormatTime(r.Start), FormatTime(r.End))
}

// FormatTime is t as RFC 3339 in UTC with as many of nine decimals as it needs.
func FormatTime(t int64) string { return time.Unix(0, t).UTC().Format(time.RFC3339Nano) }

func satAdd(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}
