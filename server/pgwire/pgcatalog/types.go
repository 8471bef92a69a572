package pgcatalog

import (
	"strings"

	"github.com/varvedb/varve/query/table"
)

// Type is a type of PostgreSQL.
type Type struct {
	OID, Array int // of it, and of lists of it
	Name       string
	SQL        string // how SQL calls it
	Bytes      int    // a value's, -1 for as many as it has
	Category   string // as pg_type has it: B bool, N number, S text, D time, T interval, U others
}

// types is those that a client may meet in a list of types, because it sends them or makes a list of what it knows.
var types = []Type{
	{16, 1000, "bool", "boolean", 1, "B"},
	{17, 1001, "bytea", "bytea", -1, "U"},
	{18, 1002, "char", `"char"`, 1, "Z"},
	{19, 1003, "name", "name", 64, "S"},
	{20, 1016, "int8", "bigint", 8, "N"},
	{21, 1005, "int2", "smallint", 2, "N"},
	{22, 1006, "int2vector", "int2vector", -1, "A"},
	{23, 1007, "int4", "integer", 4, "N"},
	{24, 1008, "regproc", "regproc", 4, "N"},
	{25, 1009, "text", "text", -1, "S"},
	{26, 1028, "oid", "oid", 4, "N"},
	{30, 1013, "oidvector", "oidvector", -1, "A"},
	{700, 1021, "float4", "real", 4, "N"},
	{701, 1022, "float8", "double precision", 8, "N"},
	{705, 0, "unknown", "unknown", -2, "X"},
	{1042, 1014, "bpchar", "character", -1, "S"},
	{1043, 1015, "varchar", "character varying", -1, "S"},
	{1082, 1182, "date", "date", 4, "D"},
	{1083, 1183, "time", "time without time zone", 8, "D"},
	{1114, 1115, "timestamp", "timestamp without time zone", 8, "D"},
	{1184, 1185, "timestamptz", "timestamp with time zone", 8, "D"},
	{1186, 1187, "interval", "interval", 16, "T"},
	{1700, 1231, "numeric", "numeric", -1, "N"},
	{2205, 2210, "regclass", "regclass", 4, "N"},
	{2206, 2211, "regtype", "regtype", 4, "N"},
	{2278, 0, "void", "void", 4, "P"},
	{2950, 2951, "uuid", "uuid", 16, "U"},
}

// typeOf is the type of a column.
func typeOf(t table.Type) Type {
	oids := map[table.Type]int{table.Bool: 16, table.Int64: 20, table.Float64: 701, table.Text: 25, table.Bytes: 17, table.Time: 1184}
	for _, one := range types {
		if one.OID == oids[t] {
			return one
		}
	}
	return types[0]
}

// Element is the type of the elements of arrays of a type, by their numbers; 0 where it is none of arrays.
func Element(array int) int {
	for _, t := range types {
		if t.Array == array && array != 0 {
			return t.OID
		}
	}
	return 0
}

// ArrayOf is the number of the type of arrays of what a column has.
func ArrayOf(t table.Type) int { return typeOf(t).Array }

// FormatType is an expression for the name that SQL has for the type whose number the expression oid is.
func FormatType(oid string) string {
	var b strings.Builder
	b.WriteString("(CASE (" + oid + ")")
	for _, t := range types {
		b.WriteString(" WHEN " + itoa(t.OID) + " THEN " + Quote(t.SQL))
		if t.Array != 0 {
			b.WriteString(" WHEN " + itoa(t.Array) + " THEN " + Quote(t.SQL+"[]"))
		}
	}
	b.WriteString(" ELSE '???' END)")
	return b.String()
}

// ProcName is an expression for the name of the function whose number the expression oid is, of those that read values of types.
func ProcName(oid string) string {
	var b strings.Builder
	b.WriteString("(CASE (" + oid + ") WHEN " + itoa(procArrayIn) + " THEN 'array_in' WHEN " + itoa(procArrayRecv) + " THEN 'array_recv'")
	for i, t := range types {
		b.WriteString(" WHEN " + itoa(firstProc+2*i) + " THEN " + Quote(reads(t.Name, "in")) + " WHEN " + itoa(firstProc+2*i+1) + " THEN " + Quote(reads(t.Name, "recv")))
	}
	b.WriteString(" END)")
	return b.String()
}

// reads is the name of the function that reads the text, in, or the binary form, recv, of values of a type.
func reads(name, form string) string {
	switch name {
	case "date", "time", "timestamp", "timestamptz", "interval", "numeric", "uuid":
		return name + "_" + form
	}
	return name + form
}

// TypeOID is an expression for the number of the type that the expression name calls, NULL for none.
func TypeOID(name string) string {
	var b strings.Builder
	b.WriteString("(CASE lower(" + name + ")")
	for _, t := range types {
		for _, n := range named(t.Name, t.SQL) {
			b.WriteString(" WHEN " + Quote(n) + " THEN " + itoa(t.OID))
		}
		if t.Array != 0 {
			b.WriteString(" WHEN " + Quote("_"+t.Name) + " THEN " + itoa(t.Array) + " WHEN " + Quote(t.SQL+"[]") + " THEN " + itoa(t.Array))
		}
	}
	b.WriteString(" END)")
	return b.String()
}

func named(a, b string) []string {
	if a == b {
		return []string{a}
	}
	return []string{a, b}
}
