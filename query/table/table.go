// Package table says which tables SQL sees: their names, columns, types and keys, the same at every door and for whatever
// program answers a statement. It reads nothing; what stands in a table is for whoever answers.
//
// # Types
//
// Columns have one of six types, because clients of Arrow, JDBC and PostgreSQL know these alike: integers without a sign come
// out negative in one of them, dictionaries not at all in another. Times are instants to the microsecond; where nanoseconds
// count a column of integers beside them has them.
package table

import "slices"

// Catalog and Schema are where every table is.
const (
	Catalog = "varve"
	Schema  = "main"
)

// Type is the type of a column.
type Type uint8

const (
	Bool    Type = iota + 1
	Int64        // two's complement of 64 bits
	Float64      // IEEE 754 double, every bit pattern
	Text         // UTF-8
	Bytes
	Time // an instant, UTC
)

// names are the types as SQL calls them.
var names = [...]string{Bool: "BOOLEAN", Int64: "BIGINT", Float64: "DOUBLE", Text: "VARCHAR", Bytes: "BLOB", Time: "TIMESTAMP WITH TIME ZONE"}

// String is the type as SQL calls it.
func (t Type) String() string {
	if t < Bool || t > Time {
		return "unknown"
	}
	return names[t]
}

// Column is one column of a table.
type Column struct {
	Name    string
	Type    Type
	NotNull bool   // it never is NULL
	Of      string // the table whose one-column key it holds, empty for none
	Remarks string // what is in it, with units, for those who look at it in a tool
}

// Table is one table.
type Table struct {
	Name    string
	View    bool // it is a choice from other tables
	Columns []Column
	Key     []string // no two rows have the same values of these; empty where rows may repeat
	Remarks string
}

// Column is the column of a name.
func (t *Table) Column(name string) (Column, bool) {
	i := slices.IndexFunc(t.Columns, func(c Column) bool { return c.Name == name })
	if i < 0 {
		return Column{}, false
	}
	return t.Columns[i], true
}

// Named is the table of a name.
func Named(name string) (Table, bool) {
	for _, t := range All() {
		if t.Name == name {
			return t, true
		}
	}
	return Table{}, false
}
