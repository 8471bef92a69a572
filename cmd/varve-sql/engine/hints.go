package engine

import (
	"math"
	"slices"
	"strings"

	"github.com/varvedb/varve/cmd/varve-sql/rewrite"
)

// Hints narrow a scan. The zero value does not.
type Hints struct {
	Names, IDs *Set // only of these tags; nil for all
	Start, End *int64
	Levels     []int64 // of rollups; nil for all
	Severities uint8   // bits 1 Good, 2 Uncertain, 4 Bad; 0 for all
	Nothing    bool    // no row can be of use

	Few rewrite.Few // rows of each tag; no rows for all

	Arguments map[string]string // of a function, as JSON
}

// Set is names or ids.
type Set struct {
	Names []string
	IDs   []uint32
}

// cell is a value of a bound.
type cell struct {
	typ    string // the engine's name of the type it had
	null   bool
	text   string
	number int64 // microseconds of an instant
}

// take narrows a scan by a bound whose values are known. It reports whether just the rows that meet it are left.
func (h *Hints) take(b rewrite.Bound, cells []cell) (exact bool) {
	present := cells[:0:0]
	for _, c := range cells {
		if !fits(b, c) {
			return false
		}
		if !c.null { // nothing is equal to null, nor less
			present = append(present, c)
		}
	}
	if len(present) == 0 {
		h.Nothing = true
		return true
	}
	exact = b.Op == rewrite.Equal
	switch b.Role {
	case rewrite.Tag:
		if b.Op == rewrite.Equal {
			var names []string
			for _, c := range present {
				names = append(names, c.text)
			}
			h.names(names)
		}
	case rewrite.TagID:
		if b.Op == rewrite.Equal {
			var ids []uint32
			for _, c := range present {
				if c.number > 0 && c.number <= math.MaxUint32 {
					ids = append(ids, uint32(c.number))
				}
			}
			h.ids(ids)
		}
	case rewrite.Time, rewrite.TimeNS:
		exact = len(present) == 1
		h.takeTime(b, present)
	case rewrite.Severity:
		if b.Op != rewrite.Equal {
			return false
		}
		var set uint8
		for _, c := range present {
			if i := slices.Index([]string{"Good", "Uncertain", "Bad"}, c.text); i >= 0 {
				set |= 1 << i
			}
		}
		h.severities(set)
	case rewrite.Level:
		if b.Op != rewrite.Equal {
			return false
		}
		var levels []int64
		for _, c := range present {
			if h.Levels == nil || slices.Contains(h.Levels, c.number) {
				levels = append(levels, c.number)
			}
		}
		h.Levels, h.Nothing = levels, h.Nothing || levels == nil
	case rewrite.Quality:
		var set uint8
		exact = true
		for _, c := range present {
			for i, in := range [][2]int64{{0, 1<<30 - 1}, {1 << 30, 1<<31 - 1}, {1 << 31, 1<<32 - 1}} {
				low, high := span(b.Op, c.number)
				if low <= in[1] && high >= in[0] {
					set |= 1 << i
					exact = exact && low <= in[0] && high >= in[1]
				}
			}
		}
		h.severities(set)
	}
	return exact
}

func (h *Hints) severities(set uint8) {
	if h.Severities == 0 {
		h.Severities = 7
	}
	if h.Severities &= set; h.Severities == 0 {
		h.Nothing = true
	}
	if h.Severities == 7 {
		h.Severities = 0
	}
}

// span is the numbers that are op than x, both ends included.
func span(op rewrite.Op, x int64) (low, high int64) {
	low, high = math.MinInt64, math.MaxInt64
	switch op {
	case rewrite.Equal:
		return x, x
	case rewrite.LessOrEqual:
		high = x
	case rewrite.GreaterOrEqual:
		low = x
	case rewrite.Less:
		if x == math.MinInt64 {
			return 1, 0
		}
		high = x - 1
	case rewrite.Greater:
		if x == math.MaxInt64 {
			return 1, 0
		}
		low = x + 1
	}
	return low, high
}

// takeTime narrows the times of a scan: whole microseconds of the column time are as many nanoseconds each.
func (h *Hints) takeTime(b rewrite.Bound, present []cell) {
	unit := int64(1)
	if b.Role == rewrite.Time {
		unit = 1000
	}
	var start, end int64 = math.MaxInt64, math.MinInt64
	for _, c := range present {
		low, high := span(b.Op, c.number)
		start, end = min(start, times(low, unit)), max(end, timesEnd(high, unit))
	}
	if start > math.MinInt64 && (h.Start == nil || start > *h.Start) {
		h.Start = &start
	}
	if end < math.MaxInt64 && (h.End == nil || end < *h.End) {
		h.End = &end
	}
	if h.Start != nil && h.End != nil && *h.Start >= *h.End {
		h.Nothing = true
	}
}

// times is x units, as far as it goes.
func times(x, unit int64) int64 {
	switch {
	case x > math.MaxInt64/unit:
		return math.MaxInt64
	case x < math.MinInt64/unit:
		return math.MinInt64
	}
	return x * unit
}

// timesEnd is where x units end.
func timesEnd(x, unit int64) int64 {
	if x == math.MaxInt64 {
		return x
	}
	return times(x+1, unit)
}

func (h *Hints) names(names []string) {
	slices.Sort(names)
	names = slices.Compact(names)
	if h.Names != nil {
		names = slices.DeleteFunc(names, func(n string) bool { _, ok := slices.BinarySearch(h.Names.Names, n); return !ok })
	}
	h.Names = &Set{Names: names}
}

func (h *Hints) ids(ids []uint32) {
	slices.Sort(ids)
	ids = slices.Compact(ids)
	if h.IDs != nil {
		ids = slices.DeleteFunc(ids, func(n uint32) bool { _, ok := slices.BinarySearch(h.IDs.IDs, n); return !ok })
	}
	if h.IDs = (&Set{IDs: ids}); len(ids) == 0 {
		h.Nothing = true
	}
}

// fits reports whether the engine compares a value of such a type with the column as the cast of it to the column's type says.
func fits(b rewrite.Bound, c cell) bool {
	typ := strings.ToUpper(c.typ)
	if typ == "\"NULL\"" || typ == "NULL" {
		return true
	}
	switch b.Role {
	case rewrite.Tag, rewrite.Severity:
		return typ == "VARCHAR"
	case rewrite.Time:
		return typ == "TIMESTAMP WITH TIME ZONE" || typ == "TIMESTAMP" || typ == "DATE" || typ == "VARCHAR" && b.Literal
	}
	switch typ {
	case "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER":
		return true
	}
	return false
}
