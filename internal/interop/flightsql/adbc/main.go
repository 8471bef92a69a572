// Adbc uses a Varve server through ADBC's driver for Flight SQL in Go: adbc HOST:PORT. It reads what the Python client of the same run wrote.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/apache/arrow-adbc/go/adbc"
	"github.com/apache/arrow-adbc/go/adbc/driver/flightsql"
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

func main() {
	if err := run(context.Background(), os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "ADBC (Go):", err)
		os.Exit(1)
	}
}

// ran reports a test that held.
func ran(test, what string) {
	version := "-"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == "github.com/apache/arrow-adbc/go/adbc" {
				version = strings.TrimPrefix(m.Version, "v")
			}
		}
	}
	fmt.Printf("ran | ADBC (Go) | %s | %s | %s\n", version, test, what)
}

func run(ctx context.Context, address string) (err error) {
	db, err := flightsql.NewDriver(memory.DefaultAllocator).NewDatabase(map[string]string{adbc.OptionKeyURI: "grpc://" + address})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	c, err := db.Open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if err := metadata(ctx, c); err != nil {
		return fmt.Errorf("metadata: %w", err)
	}
	ran("metadata", "columns and types of tables")
	if err := ingest(ctx, c); err != nil {
		return fmt.Errorf("ingest: %w", err)
	}
	ran("ingest", "three samples, which the statements read")
	sql, err := statements(ctx, c)
	if err != nil {
		return err
	}
	if !sql {
		fmt.Println("skipped | ADBC (Go) | statements: the server has no SQL, and says so")
		return nil
	}
	ran("prepare", "a statement, executed three times")
	ran("parameters", "a text and nanoseconds")
	ran("read", "times to the nanosecond, values exact")
	if err := cancel(ctx, c); err != nil {
		return fmt.Errorf("cancel: %w", err)
	}
	ran("cancel", "of an endless statement by its context; the next one answers")
	return nil
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

// cancel ends a statement that would go on for hours.
func cancel(ctx context.Context, c adbc.Connection) (err error) {
	st, err := c.NewStatement()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	if err := st.SetSqlQuery("select a.time_ns from samples a, samples b, samples c"); err != nil {
		return err
	}
	limited, stop := context.WithCancel(ctx)
	defer stop()
	r, _, err := st.ExecuteQuery(limited)
	if err != nil {
		return err
	}
	defer r.Release()
	if !r.Next() {
		return fmt.Errorf("it has no first row: %w", r.Err())
	}
	stop()
	for r.Next() {
	}
	if r.Err() == nil {
		return errors.New("it went on to its end")
	}
	sql, err := statements(ctx, c)
	if err == nil && !sql {
		err = errors.New("no statement answers any more")
	}
	return err
}
