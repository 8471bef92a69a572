// Package hint works out what narrows the scan of a table, of what a statement compares its columns with. The SQL process does for the scans of
// all statements, and the server for those of plain statements that it was told the shape of.
package hint

import (
	"math"
	"slices"
	"strings"
)

// Role is what a column can narrow a scan by. The numbers are those of the wire.
type Role uint8

const (
	NoRole   Role = iota
	Tag           // current name of the tag
	TagID         //
	Time          // whole microseconds
	TimeNS        //
	Severity      // Good, Uncertain or Bad
	Quality       //
	Level         // of rollups, in nanoseconds
)

// Op is how a column is compared with a value. The numbers are those of the wire.
type Op uint8

const (
	Equal Op = iota + 1 // to one of the values
	Less
	LessOrEqual
	Greater
	GreaterOrEqual
)

// Bound is a condition on a column.
type Bound struct {
	Role    Role
	Op      Op
	Literal bool // its values are constants or parameters, whose text is cast to the type of the column
}

// Value is what a column is compared with.
type Value struct {
	Type   string // the engine's name of the type it had
	Null   bool
	Text   string
	Number int64 // microseconds of an instant
}

// Null is no value.
func Null() Value { return Value{Type: "NULL", Null: true} }

// Text is a text.
func Text(s string) Value { return Value{Type: "VARCHAR", Text: s} }

// Integer is a whole number.
func Integer(n int64) Value { return Value{Type: "BIGINT", Number: n} }

// Instant is an instant of the engine: of ns it has the whole microseconds.
func Instant(ns int64) Value {
	return Value{Type: "TIMESTAMP WITH TIME ZONE", Number: Micros(ns)}
}

// Micros is the microsecond that a nanosecond is in.
func Micros(ns int64) int64 {
	us := ns / 1000
	if ns%1000 < 0 {
		us--
	}
	return us
}

// Is reports whether a value is of the type of a column, so that it is compared as it is.
func (v Value) Is(r Role) bool {
	switch v.Type {
	case "NULL":
		return true
	case "VARCHAR":
		return r == Tag || r == Severity
	case "TIMESTAMP WITH TIME ZONE":
		return r == Time
	case "BIGINT":
		return r == TagID || r == TimeNS || r == Quality
	}
	return false
}

// Hints narrow a scan. The zero value does not.
type Hints struct {
	Names, IDs *Set // only of these tags; nil for all
	Start, End *int64
	Levels     []int64 // of rollups; nil for all
	Severities uint8   // bits 1 Good, 2 Uncertain, 4 Bad; 0 for all
	Nothing    bool    // no row can be of use
}

// Set is names or ids.
type Set struct {
	Names []string
	IDs   []uint32
}

// Take narrows a scan by a bound whose values are known. It reports whether just the rows that meet it are left.
func (h *Hints) Take(b Bound, values []Value) (exact bool) {
	present := values[:0:0]
	for _, v := range values {
		if !fits(b, v) {
			return false
		}
		if !v.Null { // nothing is equal to null, nor less
			present = append(present, v)
		}
	}
	if len(present) == 0 {
		h.Nothing = true
		return true
	}
	exact = b.Op == Equal
	switch b.Role {
	case Tag:
		if b.Op == Equal {
			var names []string
			for _, v := range present {
				names = append(names, v.Text)
			}
			h.KeepNames(names)
		}
	case TagID:
		if b.Op == Equal {
			var ids []uint32
			for _, v := range present {
				if v.Number > 0 && v.Number <= math.MaxUint32 {
					ids = append(ids, uint32(v.Number))
				}
			}
			h.KeepIDs(ids)
		}
	case Time, TimeNS:
		exact = len(present) == 1
		h.takeTime(b, present)
	case Severity:
		if b.Op != Equal {
			return false
		}
		var set uint8
		for _, v := range present {
			if i := slices.Index([]string{"Good", "Uncertain", "Bad"}, v.Text); i >= 0 {
				set |= 1 << i
			}
		}
		h.severities(set)
	case Level:
		if b.Op != Equal {
			return false
		}
		var levels []int64
		for _, v := range present {
			if h.Levels == nil || slices.Contains(h.Levels, v.Number) {
				levels = append(levels, v.Number)
			}
		}
		h.Levels, h.Nothing = levels, h.Nothing || levels == nil
	case Quality:
		var set uint8
		exact = true
		for _, v := range present {
			for i, in := range [][2]int64{{0, 1<<30 - 1}, {1 << 30, 1<<31 - 1}, {1 << 31, 1<<32 - 1}} {
				low, high := span(b.Op, v.Number)
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
func span(op Op, x int64) (low, high int64) {
	low, high = math.MinInt64, math.MaxInt64
	switch op {
	case Equal:
		return x, x
	case LessOrEqual:
		high = x
	case GreaterOrEqual:
		low = x
	case Less:
		if x == math.MinInt64 {
			return 1, 0
		}
		high = x - 1
	case Greater:
		if x == math.MaxInt64 {
			return 1, 0
		}
		low = x + 1
	}
	return low, high
}

// takeTime narrows the times of a scan: whole microseconds of the column time are as many nanoseconds each.
func (h *Hints) takeTime(b Bound, present []Value) {
	unit := int64(1)
	if b.Role == Time {
		unit = 1000
	}
	var start, end int64 = math.MaxInt64, math.MinInt64
	for _, v := range present {
		low, high := span(b.Op, v.Number)
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

// KeepNames leaves only tags of these names.
func (h *Hints) KeepNames(names []string) {
	slices.Sort(names)
	names = slices.Compact(names)
	if h.Names != nil {
		names = slices.DeleteFunc(names, func(n string) bool { _, ok := slices.BinarySearch(h.Names.Names, n); return !ok })
	}
	h.Names = &Set{Names: names}
}

// KeepIDs leaves only tags of these ids.
func (h *Hints) KeepIDs(ids []uint32) {
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
func fits(b Bound, v Value) bool {
	typ := strings.ToUpper(v.Type)
	if typ == "\"NULL\"" || typ == "NULL" {
		return true
	}
	switch b.Role {
	case Tag, Severity:
		return typ == "VARCHAR"
	case Time:
		return typ == "TIMESTAMP WITH TIME ZONE" || typ == "TIMESTAMP" || typ == "DATE" || typ == "VARCHAR" && b.Literal
	}
	switch typ {
	case "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER":
		return true
	}
	return false
}
