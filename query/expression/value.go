package expression

import (
	"math"

	"github.com/varvedb/varve/model"
)

// Type is what a value is. The zero Type is none.
type Type uint8

const (
	Number Type = iota + 1
	Bool
	Text
	State // a digital state: its code, and its text where the state set has one
)

func (t Type) String() string {
	return [...]string{"nothing", "a number", "a bool", "a text", "a digital state"}[t]
}

// BadOutOfRange is the quality of what has no result: a division by zero, the logarithm of -1, what is beyond doubles.
const BadOutOfRange model.Quality = 0x803C0000

// Value is a value and its quality. Null goes with Bad severity: a program takes and gives no value that is Bad.
type Value struct {
	Type    Type
	Exact   bool    // a Number that is an integer, in Int
	Null    bool    // there is no value; all other fields but Quality mean nothing
	Bool    bool    // of a Bool
	Int     int64   // of an exact Number; the code of a State
	Float   float64 // of a Number that is not exact, never NaN or infinite
	Text    string  // of a Text; the text of a State, empty where its set has none
	Quality model.Quality
}

// FloatOf, IntOf, BoolOf and TextOf are Good values.
func FloatOf(f float64) Value { return Value{Type: Number, Float: f} }

func IntOf(i int64) Value { return Value{Type: Number, Exact: true, Int: i} }

func BoolOf(b bool) Value { return Value{Type: Bool, Bool: b} }

func TextOf(s string) Value { return Value{Type: Text, Text: s} }

// none is the lack of a value.
func none(t Type, q model.Quality) Value { return Value{Type: t, Null: true, Quality: q} }

// TypeOf is the type that the values of a tag have in an expression; false for bytes, which have none.
func TypeOf(t model.Type) (Type, bool) {
	switch t {
	case model.Float64, model.Float32, model.Int64, model.Uint64:
		return Number, true
	case model.Bool:
		return Bool, true
	case model.State:
		return State, true
	case model.String:
		return Text, true
	}
	return 0, false
}

// OfSample is a sample as a value: without the info bits of its quality, without a value where it is Bad, and where its value is NaN or an
// infinity. States are given the text of their code by set; nil for no text.
func OfSample(s model.Sample, set *model.StateSet) Value {
	v := Value{Quality: s.Quality &^ 0xFFFF}
	v.Type, _ = TypeOf(s.Type)
	if s.Null || v.Quality.IsBad() || v.Type == 0 {
		if !v.Quality.IsBad() {
			v.Quality = model.BadNoData
		}
		return none(v.Type, v.Quality)
	}
	switch s.Type {
	case model.Int64:
		v.Exact, v.Int = true, int64(s.Bits)
	case model.Uint64:
		if v.Exact = s.Bits <= math.MaxInt64; v.Exact {
			v.Int = int64(s.Bits)
		} else {
			v.Float = float64(s.Bits)
		}
	case model.Float64, model.Float32:
		v.Float, _ = s.Float64()
		if !model.Finite(v.Float) {
			return none(Number, BadOutOfRange)
		}
	case model.Bool:
		v.Bool = s.Bits != 0
	case model.State:
		v.Int = int64(s.Bits)
		if set != nil {
			v.Text, _ = set.Text(v.Int)
		}
	case model.String:
		v.Text = string(s.Blob)
	}
	return v
}

// number is the value of a Number as the nearest double.
func (v Value) number() float64 {
	if v.Exact {
		return float64(v.Int)
	}
	return v.Float
}

// worse is the quality of what two values were used for: the one of worse severity; of two alike the first that says more than its severity.
func worse(a, b model.Quality) model.Quality {
	switch x, y := severity(a), severity(b); {
	case y > x, y == x && a&0x3FFFFFFF == 0:
		return b
	}
	return a
}

func severity(q model.Quality) model.Quality { return min(q>>30, 2) }

// with is a value that another one was needed for.
func (v Value) with(q model.Quality) Value {
	if v.Quality = worse(q, v.Quality); v.Null {
		return none(v.Type, v.Quality)
	}
	return v
}
