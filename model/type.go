package model

import "fmt"

// Type is the type of a tag's values. The numbers reach disk and wire and are never renumbered; zero has no meaning.
type Type uint8

const (
	Float64 Type = 1 // IEEE 754 double, every bit pattern kept, NaN payloads and -0 included
	Float32 Type = 2 // IEEE 754 single, every bit pattern kept
	Int64   Type = 3
	Uint64  Type = 4
	Bool    Type = 5
	State   Type = 6 // digital state: a code in the tag's named, versioned state set
	String  Type = 7 // UTF-8 text
	Bytes   Type = 8
)

var typeNames = [...]string{Float64: "float64", Float32: "float32", Int64: "int64", Uint64: "uint64", Bool: "bool", State: "state", String: "string", Bytes: "bytes"}

// Valid reports whether t is one of the eight types.
func (t Type) Valid() bool { return t >= Float64 && t <= Bytes }

// Blob reports whether values of t have no fixed width and live in [Samples.Blobs].
func (t Type) Blob() bool { return t == String || t == Bytes }

// Float reports whether t is a floating-point type.
func (t Type) Float() bool { return t == Float64 || t == Float32 }

// AlwaysStepped reports whether values of t can never be sloped between: states, booleans, text and bytes.
func (t Type) AlwaysStepped() bool { return t >= Bool && t.Valid() }

func (t Type) String() string {
	if t.Valid() {
		return typeNames[t]
	}
	return fmt.Sprintf("type(%d)", uint8(t))
}

// ParseType reads a type's name as String prints it.
func ParseType(s string) (Type, error) {
	for t := Float64; t <= Bytes; t++ {
		if typeNames[t] == s {
			return t, nil
		}
	}
	return 0, fmt.Errorf("type %q: must be one of float64, float32, int64, uint64, bool, state, string, bytes", s)
}
