package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/query"
	"github.com/varvedb/varve/query/table"
	"github.com/varvedb/varve/server/pgwire"
	"github.com/varvedb/varve/server/relation"
)

// Statements that read nothing of the store: the server answers them by itself.
var (
	sessionWord   = regexp.MustCompile(`(?i)^\s*(set|reset|show)\b`)
	showTables    = regexp.MustCompile(`(?i)^\s*show\s+(all\s+)?tables\s*;?\s*$`)
	describeWord  = regexp.MustCompile(`(?i)^\s*desc(ribe)?\b`)
	describeTable = regexp.MustCompile(`(?i)^\s*desc(?:ribe)?\s+(?:(?:varve\s*\.\s*)?main\s*\.\s*)?("?)(\w+)("?)\s*;?\s*$`)
)

// commandOf is the answer to SHOW TABLES, DESCRIBE of a table, SET, RESET and SHOW; nil for every other statement. A door has no session
// here, so that of SET only what holds anyway is taken: the list is that of package pgwire.
func commandOf(ctx context.Context, st statement) (arrow.Record, error) {
	if err := st.check(); err != nil {
		return nil, err
	}
	switch {
	case showTables.MatchString(st.sql):
		return tablesRecord(), nil
	case describeWord.MatchString(st.sql):
		m := describeTable.FindStringSubmatch(st.sql)
		if m == nil || m[1] != m[3] {
			return nil, fmt.Errorf("DESCRIBE is answered of a table or a function by its name; the columns of a statement are those it is described with: %w", query.ErrBadRequest)
		}
		return describeRecord(m[2])
	case sessionWord.MatchString(st.sql):
		return sessionRecord(ctx, st.sql)
	}
	return nil, nil
}

// textsRecord is rows of texts, which are NULL where they are empty and their column is nullable.
func textsRecord(columns []string, rows [][]string) arrow.Record {
	fields := make([]arrow.Field, len(columns))
	for i, name := range columns {
		fields[i] = arrow.Field{Name: name, Type: arrow.BinaryTypes.String, Nullable: true}
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema(fields, nil))
	defer b.Release()
	for _, row := range rows {
		for i, text := range row {
			if column := b.Field(i).(*array.StringBuilder); text == "" {
				column.AppendNull()
			} else {
				column.Append(text)
			}
		}
	}
	return b.NewRecord()
}

// tablesRecord is the answer to SHOW TABLES.
func tablesRecord() arrow.Record {
	var rows [][]string
	for _, t := range table.All() {
		rows = append(rows, []string{t.Name, strings.ToLower(tableType(t)), t.Remarks})
	}
	for _, t := range relation.Tables {
		if t.Arguments != nil {
			rows = append(rows, []string{t.Name, "function", ""})
		}
	}
	return textsRecord([]string{"name", "kind", "remarks"}, rows)
}

// describeRecord is the answer to DESCRIBE: a row for each column, and behind them one for each argument of a function.
func describeRecord(name string) (arrow.Record, error) {
	t, ok := relation.Find(strings.ToLower(name))
	if !ok {
		return nil, fmt.Errorf("there is no table %.80s; SHOW TABLES has those there are: %w", name, query.ErrBadRequest)
	}
	told, _ := table.Named(t.Name)
	var rows [][]string
	for _, c := range t.Columns {
		row := []string{c.Name, typeName(c.Type), "column", "YES", ""}
		if x, ok := told.Column(c.Name); ok {
			row[4] = x.Remarks
			if x.NotNull {
				row[3] = "NO"
			}
		}
		rows = append(rows, row)
	}
	for _, a := range t.Arguments {
		rows = append(rows, []string{a.Name, a.Type, "argument", "YES", ""})
	}
	if t.Arguments != nil { // package rewrite has it of every function
		rows = append(rows, []string{"tags_where", table.Bool.String(), "argument", "YES", "condition on the columns of tags, in place of tags"})
	}
	return textsRecord([]string{"column_name", "column_type", "kind", "null", "remarks"}, rows), nil
}

// typeName is a type of columns as SQL calls it.
func typeName(t arrow.DataType) string {
	if of, ok := table.TypeOf(t); ok {
		return of.String()
	}
	return t.String()
}

// sessionRecord is the answer to SET, RESET and SHOW.
func sessionRecord(ctx context.Context, sql string) (arrow.Record, error) {
	rows, is, err := pgwire.Command(sql)
	var told *pgwire.Error
	switch {
	case errors.As(err, &told) && told.Hint != "":
		return nil, fmt.Errorf("%s; %s: %w", told.Message, told.Hint, query.ErrBadRequest)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", err, query.ErrBadRequest)
	case !is:
		return nil, nil
	case rows == nil:
		b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema([]arrow.Field{{Name: "Success", Type: arrow.FixedWidthTypes.Boolean}}, nil))
		defer b.Release()
		return b.NewRecord(), nil
	}
	reader, err := rows.Execute(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer reader.Release()
	if !reader.Next() {
		return nil, reader.Err()
	}
	record := reader.Record()
	record.Retain()
	return record, nil
}

// sendCommand hands an answer of the server's own to put, as one Arrow IPC stream.
func sendCommand(record arrow.Record, put func(ipc []byte) error) error {
	defer record.Release()
	var out bytes.Buffer
	w := ipc.NewWriter(&out, ipc.WithSchema(record.Schema()))
	if err := w.Write(record); err != nil {
		return fmt.Errorf("encode the answer to a command: %w", err)
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("encode the answer to a command: %w", err)
	}
	return put(out.Bytes())
}

// describeCommand is what describeStatement says of an answer of the server's own.
func describeCommand(record arrow.Record, err error) (*varvev1.SqlDescription, error) {
	if err != nil {
		return nil, err
	}
	defer record.Release()
	columns, err := schemaBytes(record.Schema())
	if err != nil {
		return nil, err
	}
	parameters, err := schemaBytes(arrow.NewSchema(nil, nil))
	return &varvev1.SqlDescription{Columns: columns, Parameters: parameters}, err
}
