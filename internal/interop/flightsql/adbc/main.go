// Adbc uses a Varve server through ADBC's driver for Flight SQL in Go: adbc HOST:PORT. It reads what the Python client of the same run wrote.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/apache/arrow-adbc/go/adbc"
	"github.com/apache/arrow-adbc/go/adbc/driver/flightsql"
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

func main() {
	sql, err := run(context.Background(), os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "ADBC (Go):", err)
		os.Exit(1)
	}
	if sql {
		fmt.Println("ADBC (Go): metadata, bulk ingest, statements, parameters")
	} else {
		fmt.Println("ADBC (Go): metadata, bulk ingest, and no statements, since the server has no SQL")
	}
}

func run(ctx context.Context, address string) (sql bool, err error) {
	db, err := flightsql.NewDriver(memory.DefaultAllocator).NewDatabase(map[string]string{adbc.OptionKeyURI: "grpc://" + address})
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	c, err := db.Open(ctx)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if err := metadata(ctx, c); err != nil {
		return false, fmt.Errorf("metadata: %w", err)
	}
	if err := ingest(ctx, c); err != nil {
		return false, fmt.Errorf("ingest: %w", err)
	}
	return statements(ctx, c)
}

func metadata(ctx context.Context, c adbc.Connection) error {
	schema, err := c.GetTableSchema(ctx, nil, nil, "samples")
	if err != nil {
		return err
	}
	if len(schema.Fields()) != 11 || schema.Field(0).Name != "time" {
		return fmt.Errorf("samples has %s", schema)
	}
	types, err := c.GetTableTypes(ctx)
	if err != nil {
		return err
	}
	defer types.Release()
	rows := int64(0)
	for types.Next() {
		rows += types.RecordBatch().NumRows()
	}
	if rows != 2 {
		return fmt.Errorf("%d types of tables, not 2", rows)
	}
	return types.Err()
}

var day = time.Date(2002, 1, 1, 0, 0, 0, 0, time.UTC)

// ingest writes three samples, which are there already where this ran before.
func ingest(ctx context.Context, c adbc.Connection) (err error) {
	st, err := c.NewStatement()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	if err := errors.Join(st.SetOption(adbc.OptionKeyIngestTargetTable, "samples"), st.SetOption(adbc.OptionKeyIngestMode, adbc.OptionValueIngestModeAppend)); err != nil {
		return err
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema([]arrow.Field{
		{Name: "tag", Type: arrow.BinaryTypes.String}, {Name: "time_ns", Type: arrow.PrimitiveTypes.Int64}, {Name: "value", Type: arrow.PrimitiveTypes.Float64},
	}, nil))
	defer b.Release()
	for i := range 3 {
		b.Field(0).(*array.StringBuilder).Append("TEP.XMEAS_03")
		b.Field(1).(*array.Int64Builder).Append(day.UnixNano() + int64(i))
		b.Field(2).(*array.Float64Builder).Append(float64(i))
	}
	record := b.NewRecordBatch()
	defer record.Release()
	if err := st.Bind(ctx, record); err != nil {
		return err
	}
	n, err := st.ExecuteUpdate(ctx)
	if err == nil && n != 3 {
		err = fmt.Errorf("%d rows were taken, not 3", n)
	}
	return err
}

// statements reads them by a prepared statement, twice; false where the server has no SQL.
func statements(ctx context.Context, c adbc.Connection) (sql bool, err error) {
	st, err := c.NewStatement()
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	if err := st.SetSqlQuery("select time_ns, value from samples where tag = ? and time_ns >= ? order by time_ns"); err != nil {
		return false, err
	}
	if err := st.Prepare(ctx); err != nil {
		if strings.Contains(err.Error(), "SQL is not built") {
			return false, nil
		}
		return false, err
	}
	for first := range int64(3) {
		b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema([]arrow.Field{{Name: "1", Type: arrow.BinaryTypes.String}, {Name: "2", Type: arrow.PrimitiveTypes.Int64}}, nil))
		b.Field(0).(*array.StringBuilder).Append("TEP.XMEAS_03")
		b.Field(1).(*array.Int64Builder).Append(day.UnixNano() + first)
		if err := st.Bind(ctx, b.NewRecordBatch()); err != nil {
			return true, err
		}
		r, _, err := st.ExecuteQuery(ctx)
		if err != nil {
			return true, err
		}
		next := first
		for r.Next() {
			times, values := r.RecordBatch().Column(0).(*array.Int64), r.RecordBatch().Column(1).(*array.Float64)
			for i := range int(r.RecordBatch().NumRows()) {
				if times.Value(i) != day.UnixNano()+next || values.Value(i) != float64(next) {
					return true, fmt.Errorf("row %d of those from %d is %d, %g", i, first, times.Value(i), values.Value(i))
				}
				next++
			}
		}
		if r.Err() != nil || next != 3 {
			return true, errors.Join(r.Err(), fmt.Errorf("rows end at %d, not 3", next))
		}
		r.Release()
	}
	return true, nil
}
