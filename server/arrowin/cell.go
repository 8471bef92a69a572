package arrowin

import (
	"math"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
)

// Kind is what a cell holds.
type Kind uint8

const (
	Null Kind = iota
	Bool
	Int
	Uint // an integer of a type without a sign
	Float
	Text
	Bytes
	Time
	OutOfRange // an instant that nanoseconds in 64 bits cannot say
	Other      // of a type that no column here takes: a time of day, a duration
)

var kindNames = [...]string{"null", "bool", "integer", "integer without a sign", "float", "text", "bytes", "time", "a time no nanoseconds can say", "of a type that is not taken"}

func (k Kind) String() string { return kindNames[k] }

// Cell is one value of a column.
type Cell struct {
	Kind  Kind
	Int   int64   // of Bool 0 or 1, of Int, and of Time nanoseconds since 1970 UTC
	Uint  uint64  // of Uint
	Float float64 // of Float
	Text  string  // of Text and Bytes; it lies in the column's memory
}

// At is row i of a column. It may panic where the column came from outside: see Guard.
func At(a arrow.Array, i int) Cell {
	if a.IsNull(i) {
		return Cell{}
	}
	switch a := a.(type) {
	case *array.Float64:
		return Cell{Kind: Float, Float: a.Value(i)}
	case *array.Int64:
		return Cell{Kind: Int, Int: a.Value(i)}
	case *array.String:
		return Cell{Kind: Text, Text: a.Value(i)}
	case *array.Timestamp:
		return timeCell(int64(a.Value(i)), perUnit[a.DataType().(*arrow.TimestampType).Unit])
	case *array.Dictionary:
		return At(a.Dictionary(), a.GetValueIndex(i))
	case *array.LargeString:
		return Cell{Kind: Text, Text: a.Value(i)}
	case *array.Binary:
		return Cell{Kind: Bytes, Text: a.ValueString(i)}
	case *array.LargeBinary:
		return Cell{Kind: Bytes, Text: a.ValueString(i)}
	case *array.Boolean:
		if a.Value(i) {
			return Cell{Kind: Bool, Int: 1}
		}
		return Cell{Kind: Bool}
	case *array.Null:
		return Cell{}
	}
	return numberCell(a, i)
}

func numberCell(a arrow.Array, i int) Cell {
	switch a := a.(type) {
	case *array.Int32:
		return Cell{Kind: Int, Int: int64(a.Value(i))}
	case *array.Int16:
		return Cell{Kind: Int, Int: int64(a.Value(i))}
	case *array.Int8:
		return Cell{Kind: Int, Int: int64(a.Value(i))}
	case *array.Uint64:
		return Cell{Kind: Uint, Uint: a.Value(i)}
	case *array.Uint32:
		return Cell{Kind: Uint, Uint: uint64(a.Value(i))}
	case *array.Uint16:
		return Cell{Kind: Uint, Uint: uint64(a.Value(i))}
	case *array.Uint8:
		return Cell{Kind: Uint, Uint: uint64(a.Value(i))}
	case *array.Float32:
		return Cell{Kind: Float, Float: float64(a.Value(i))}
	case *array.Float16:
		return Cell{Kind: Float, Float: float64(a.Value(i).Float32())}
	case *array.Date32:
		return timeCell(int64(a.Value(i)), 86_400_000_000_000)
	case *array.Date64:
		return timeCell(int64(a.Value(i)), 1_000_000)
	}
	return Cell{Kind: Other}
}

// perUnit is the nanoseconds of a unit of timestamps.
var perUnit = [...]int64{arrow.Second: 1_000_000_000, arrow.Millisecond: 1_000_000, arrow.Microsecond: 1000, arrow.Nanosecond: 1}

func timeCell(n, unit int64) Cell {
	if n > math.MaxInt64/unit || n < math.MinInt64/unit {
		return Cell{Kind: OutOfRange}
	}
	return Cell{Kind: Time, Int: n * unit}
}

// AsInt is a cell as an integer of 64 bits with a sign, where that says all of it: a float with nothing behind its point that an
// integer of so many bits holds, too.
func (c Cell) AsInt() (int64, bool) {
	switch c.Kind {
	case Bool, Int:
		return c.Int, true
	case Uint:
		return int64(c.Uint), c.Uint <= math.MaxInt64
	case Float:
		n := int64(c.Float)
		return n, c.Float >= -1<<53 && c.Float <= 1<<53 && float64(n) == c.Float
	}
	return 0, false
}

// AsFloat is a cell as a double, where that says all of it.
func (c Cell) AsFloat() (float64, bool) {
	switch c.Kind {
	case Float:
		return c.Float, true
	case Int:
		return float64(c.Int), c.Int >= -1<<53 && c.Int <= 1<<53
	case Uint:
		return float64(c.Uint), c.Uint <= 1<<53
	}
	return 0, false
}
