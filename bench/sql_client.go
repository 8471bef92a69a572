package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/flight"
	"github.com/apache/arrow/go/v15/arrow/flight/flightsql"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"google.golang.org/protobuf/proto"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// sqlClient asks statements over Flight SQL, in the calls that ADBC's driver makes: prepare or describe, then fetch by ticket. It is for one
// goroutine.
type sqlClient struct {
	*flightsql.Client
	columns columnMemory
}

func dialSQL(server string) (*sqlClient, error) {
	c, err := flightsql.NewClient(server, nil, nil, dialOptions()...)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", server, err)
	}
	return &sqlClient{Client: c}, nil
}

// ask runs a statement that was not prepared.
func (c *sqlClient) ask(ctx context.Context, sql string, visit visitor) error {
	info, err := c.Execute(ctx, sql)
	if err != nil {
		return err
	}
	return c.fetch(ctx, info, visit)
}

// fetch shows what the tickets of a statement are for.
func (c *sqlClient) fetch(ctx context.Context, info *flight.FlightInfo, visit visitor) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, e := range info.Endpoint {
		stream, err := c.Client.Client.DoGet(ctx, e.Ticket)
		if err != nil {
			return err
		}
		if err := visitFlight(stream, &c.columns, visit); err != nil {
			return err
		}
	}
	return nil
}

// again runs a prepared statement with the parameters that are bound to it.
func (c *sqlClient) again(ctx context.Context, st *flightsql.PreparedStatement, visit visitor) error {
	info, err := st.Execute(ctx)
	if err != nil {
		return err
	}
	return c.fetch(ctx, info, visit)
}

// rangeSQL is the statement of most clients: a tag and a range of time, as parameters.
const rangeSQL = "select time, value, quality from samples where tag = $1 and time >= $2 and time < $3"

// rangeSchema is its parameters.
var rangeSchema = arrow.NewSchema([]arrow.Field{
	{Name: "1", Type: arrow.BinaryTypes.String},
	{Name: "2", Type: &arrow.TimestampType{Unit: arrow.Nanosecond, TimeZone: "UTC"}},
	{Name: "3", Type: &arrow.TimestampType{Unit: arrow.Nanosecond, TimeZone: "UTC"}},
}, nil)

// rangeParameters are the values of one. from and to are nanoseconds.
func rangeParameters(tag string, from, to int64) arrow.Record {
	b := array.NewRecordBuilder(memory.DefaultAllocator, rangeSchema)
	defer b.Release()
	b.Field(0).(*array.StringBuilder).Append(tag)
	b.Field(1).(*array.TimestampBuilder).Append(arrow.Timestamp(from))
	b.Field(2).(*array.TimestampBuilder).Append(arrow.Timestamp(to))
	return b.NewRecord()
}

// rangeRequest is the same for SqlService.
func rangeRequest(sql, tag string, from, to int64) proto.Message {
	return &varvev1.SqlRequest{Sql: sql, Parameters: []*varvev1.SqlValue{
		{Value: &varvev1.SqlValue_Text{Text: tag}}, {Value: &varvev1.SqlValue_TimeNs{TimeNs: from}}, {Value: &varvev1.SqlValue_TimeNs{TimeNs: to}},
	}}
}

// literal is an instant in SQL, of whole microseconds.
func literal(ns int64) string {
	return "timestamptz '" + time.Unix(0, ns).UTC().Format("2006-01-02 15:04:05.000000") + "+00'"
}

// textsOf is a column of texts, as they are or as a dictionary of them.
func textsOf(r arrow.Record, name string) (func(row int) string, error) {
	if c, err := column[*array.String](r, name); err == nil {
		return c.Value, nil
	}
	c, err := column[*array.Dictionary](r, name)
	if err != nil {
		return nil, err
	}
	words, ok := c.Dictionary().(*array.String)
	if !ok {
		return nil, fmt.Errorf("column %s is %s, want text", name, c.DataType())
	}
	return func(row int) string { return words.Value(c.GetValueIndex(row)) }, nil
}

// seriesOf appends the rows of an answer of time, value and quality to a series in milliseconds; all quality must be Good.
func seriesOf(into *series) visitor {
	return func(r arrow.Record) error {
		times, err := column[*array.Timestamp](r, "time")
		if err != nil {
			return err
		}
		values, err := column[*array.Float64](r, "value")
		if err != nil {
			return err
		}
		good, err := goodOf(r)
		if err != nil {
			return err
		}
		for row := range int(r.NumRows()) {
			if !good(row) || values.IsNull(row) || int64(times.Value(row))%millisecond != 0 {
				return fmt.Errorf("row at %d ns is %v with another quality than Good, or between milliseconds", int64(times.Value(row)), values.Value(row))
			}
			into.add(int64(times.Value(row))/millisecond, values.Value(row))
		}
		return nil
	}
}

// goodOf tells the rows of an answer of Good quality, which is a whole number of 64 bits in SQL and of 32 elsewhere.
func goodOf(r arrow.Record) (func(row int) bool, error) {
	if q, err := column[*array.Int64](r, "quality"); err == nil {
		return func(row int) bool { return q.Value(row) == 0 }, nil
	}
	q, err := column[*array.Uint32](r, "quality")
	return func(row int) bool { return q.Value(row) == 0 }, err
}

// scanned is what EXPLAIN says of the scans of a statement, added up.
type scanned struct {
	Rows   int64 `json:"rows"`
	Chunks int64 `json:"chunks_decoded"`
}

// explain runs a statement for what it reads.
func explain(ctx context.Context, ask door, q *varvev1.SqlRequest) (scanned, error) {
	var s scanned
	scans := 0
	err := ask(ctx, &varvev1.SqlRequest{Sql: "explain " + q.Sql, Parameters: q.Parameters}, func(r arrow.Record) error {
		rows, err := column[*array.Int64](r, "rows")
		chunks, err2 := column[*array.Int64](r, "chunks_decoded")
		if err := errors.Join(err, err2); err != nil {
			return err
		}
		for row := range int(r.NumRows()) {
			s.Rows += rows.Value(row)
			s.Chunks += chunks.Value(row)
			scans++
		}
		return nil
	})
	if err == nil && scans == 0 {
		err = errors.New("EXPLAIN names no scan")
	}
	return s, err
}
