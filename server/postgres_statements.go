package server

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"

	"github.com/varvedb/varve/server/pgwire"
)

// postgresStatements is Statements as package pgwire asks for them: the types that clients say of parameters count, and what a statement
// answers is known before it runs.
type postgresStatements struct{ of Statements }

// Prepare is part of pgwire.Statements. The engine knows what a statement answers only if it knows of which types its parameters are, so they
// are cast to what the client says of them, or else to what the engine makes of the place they stand in.
func (s postgresStatements) Prepare(ctx context.Context, text string, types []arrow.DataType) (pgwire.Statement, error) {
	known := func(n int) string {
		if n > len(types) || types[n-1] == nil {
			return ""
		}
		return sqlType(types[n-1])
	}
	st, err := s.prepare(ctx, types, replaceParameters(text, "$%d", known))
	if err != nil {
		return nil, err
	}
	if st.parameters.NumFields() == 0 {
		return st, nil
	}
	found := st.parameters
	all := func(n int) string {
		if t := known(n); t != "" || n > found.NumFields() {
			return t
		}
		return sqlType(found.Field(n - 1).Type)
	}
	if again := replaceParameters(text, "$%d", all); again != st.text {
		st.Close()
		if st, err = s.prepare(ctx, types, again); err != nil {
			return nil, err
		}
	}
	if !isUnknown(st.schema) {
		return st, nil
	}
	// Some functions look at the values of their arguments to know their type. What they make of NULL is what they make of a value.
	like, err := s.prepare(ctx, types, replaceParameters(text, "NULL /* $%d */", all))
	if err != nil {
		st.Close()
		return nil, err
	}
	st.schema = like.schema
	like.Close()
	return st, nil
}

// unknownColumn is the one column of which the engine says that a statement has it whose columns it does not know yet.
const unknownColumn = "unknown"

func isUnknown(columns *arrow.Schema) bool {
	return columns.NumFields() == 1 && columns.Field(0).Name == unknownColumn
}

// replaceParameters writes a statement anew with value, of their number, as their type in place of the parameters whose type is known. Lists are cast from
// their text, JSON.
func replaceParameters(text, value string, typeOf func(n int) string) string {
	return pgwire.ReplaceParameters(text, func(n int) string {
		t, v := typeOf(n), fmt.Sprintf(value, n)
		if strings.HasSuffix(t, "[]") {
			v = "CAST(" + v + " AS JSON)"
		}
		if t == "" {
			return fmt.Sprintf("$%d", n)
		}
		return "CAST(" + v + " AS " + t + ")"
	})
}

// sqlType is the type of SQL by which a value of a type of parameters is bound: one of the few that all doors have.
func sqlType(t arrow.DataType) string {
	switch t.ID() {
	case arrow.BOOL:
		return "BOOLEAN"
	case arrow.INT64:
		return "BIGINT"
	case arrow.FLOAT64, arrow.DECIMAL128:
		return "DOUBLE"
	case arrow.BINARY:
		return "BLOB"
	case arrow.TIMESTAMP, arrow.DATE32:
		return "TIMESTAMPTZ"
	case arrow.LIST:
		return sqlType(t.(*arrow.ListType).Elem()) + "[]"
	}
	return "VARCHAR"
}

// postgresStatement is a statement, with its parameters in the order of their numbers.
type postgresStatement struct {
	Statement
	text               string
	schema, parameters *arrow.Schema
}

func (s *postgresStatement) Schema() *arrow.Schema     { return s.schema }
func (s *postgresStatement) Parameters() *arrow.Schema { return s.parameters }

// Execute is part of Statement.
func (s *postgresStatement) Execute(ctx context.Context, args arrow.Record) (array.RecordReader, error) {
	r, err := s.Statement.Execute(ctx, args)
	if err != nil {
		return nil, err
	}
	if !sameTypes(s.schema, r.Schema()) {
		defer r.Release()
		return nil, fmt.Errorf("the statement answers %s, and was said to answer %s: %w", r.Schema(), s.schema, errBadField)
	}
	return r, nil
}

func (s postgresStatements) prepare(ctx context.Context, types []arrow.DataType, text string) (*postgresStatement, error) {
	of, err := s.of.Prepare(ctx, text, types)
	if err != nil {
		return nil, err
	}
	st := &postgresStatement{Statement: of, text: text, schema: of.Schema()}
	told := of.Parameters()
	if told == nil {
		told = arrow.NewSchema(nil, nil)
	}
	// The engine may tell them in the order in which they stand in the statement.
	fields := make([]arrow.Field, told.NumFields())
	for _, f := range told.Fields() {
		n, err := strconv.Atoi(f.Name)
		if err != nil || n < 1 || n > len(fields) || fields[n-1].Name != "" {
			of.Close()
			return nil, fmt.Errorf("parameter %.40q: parameters are $1, $2 and so on, each of which stands in the statement: %w", f.Name, errBadField)
		}
		fields[n-1] = f
	}
	st.parameters = arrow.NewSchema(fields, nil)
	return st, nil
}

// sameTypes reports whether two answers have columns of the same types.
func sameTypes(a, b *arrow.Schema) bool {
	if a.NumFields() != b.NumFields() {
		return false
	}
	for i := range a.Fields() {
		if !arrow.TypeEqual(a.Field(i).Type, b.Field(i).Type) {
			return false
		}
	}
	return true
}
