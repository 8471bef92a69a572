package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/flight"
	"github.com/apache/arrow/go/v15/arrow/flight/flightsql"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// flightSQL is a client of Flight SQL, and a function that runs a statement and returns its rows, values as text.
func flightSQL(t *testing.T, address string) (c *flightsql.Client, ask func(statement string, args ...any) [][]string) {
	t.Helper()
	c, err := flightsql.NewClient(address, nil, nil, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c, func(statement string, args ...any) [][]string {
		t.Helper()
		p, err := c.Prepare(t.Context(), statement)
		require.NoError(t, err, statement)
		defer func() { require.NoError(t, p.Close(t.Context())) }()
		if len(args) > 0 {
			p.SetParameters(rowOf(args))
		}
		info, err := p.Execute(t.Context())
		require.NoError(t, err, statement)
		rows, err := rowsOf(t.Context(), c, info)
		require.NoError(t, err, statement)
		return rows
	}
}

// rowOf is one row of parameters.
func rowOf(args []any) arrow.Record {
	fields, columns := make([]arrow.Field, len(args)), make([]arrow.Array, len(args))
	for i, v := range args {
		var b array.Builder
		switch v := v.(type) {
		case nil:
			b = array.NewStringBuilder(memory.DefaultAllocator)
			b.AppendNull()
		case string:
			b = array.NewStringBuilder(memory.DefaultAllocator)
			b.(*array.StringBuilder).Append(v)
		case int:
			b = array.NewInt32Builder(memory.DefaultAllocator)
			b.(*array.Int32Builder).Append(int32(v))
		case int64:
			b = array.NewInt64Builder(memory.DefaultAllocator)
			b.(*array.Int64Builder).Append(v)
		case float64:
			b = array.NewFloat64Builder(memory.DefaultAllocator)
			b.(*array.Float64Builder).Append(v)
		case time.Time:
			b = array.NewTimestampBuilder(memory.DefaultAllocator, &arrow.TimestampType{Unit: arrow.Nanosecond, TimeZone: "UTC"})
			b.(*array.TimestampBuilder).Append(arrow.Timestamp(v.UnixNano()))
		}
		columns[i] = b.NewArray()
		fields[i] = arrow.Field{Name: fmt.Sprint(i + 1), Type: columns[i].DataType(), Nullable: true}
	}
	return array.NewRecord(arrow.NewSchema(fields, nil), columns, 1)
}

func rowsOf(ctx context.Context, c *flightsql.Client, info *flight.FlightInfo) (rows [][]string, err error) {
	told, err := flight.DeserializeSchema(info.Schema, memory.DefaultAllocator)
	if err != nil {
		return nil, err
	}
	r, err := c.DoGet(ctx, info.Endpoint[0].Ticket)
	if err != nil {
		return nil, err
	}
	defer r.Release()
	if !told.Equal(r.Schema()) {
		return nil, fmt.Errorf("told of %s, got %s", told, r.Schema())
	}
	for r.Next() {
		for i := range int(r.Record().NumRows()) {
			row := make([]string, r.Record().NumCols())
			for k, column := range r.Record().Columns() {
				row[k] = column.ValueStr(i)
			}
			rows = append(rows, row)
		}
	}
	return rows, r.Err()
}

func TestStatementsOverFlightSQL(t *testing.T) {
	address, _ := serveSQL(t)
	fillSQL(t, address)
	c, ask := flightSQL(t, address)
	require.Equal(t, [][]string{{"2000"}}, ask("select count(*) from samples"))
	at := time.Date(2026, 3, 1, 0, 0, 1, 0, time.UTC)
	require.Equal(t, [][]string{{"2026-03-01 00:00:01.123456Z", "1772323201123456789", "1.5"}},
		ask("select time, time_ns, value from samples where tag = ? and time > ? and time < ?", "FI-101", at, at.Add(time.Second)))
	require.Equal(t, [][]string{{"3"}}, ask("select count(*) from samples where tag = ? and time_ns >= ? and value <= ? and quality = ?", "FI-101", at.UnixNano(), 3.5, 0))
	require.Equal(t, [][]string{{"TI-007", "49"}}, ask("select tag, value from latest where tag like 'TI%'"))
	require.Empty(t, ask("select * from samples where tag = 'nobody'"))
	require.Equal(t, [][]string{{"[1,null]", "1.5", "2026-03-01", "9223372036854775808"}}, ask("select [1, null], 1.5::decimal(3,1), date '2026-03-01', sum(x) from (values (9223372036854775807), (1)) t(x)"))
	// A parameter of which nothing says its type is what is bound.
	require.Equal(t, [][]string{{"x", "7", "2026-03-01"}}, ask("select ?, ? + 1, ?::date", "x", int64(6), time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)))
	// Columns of which the engine knows nothing before it has the values.
	require.Equal(t, [][]string{{"2026-03-01 00:00:01.123456Z", "1.5"}},
		ask("select time, value from samples where tag = $1 and time >= $2 and time < $2 + interval 1 second", "FI-101", at))
	// Several rows of parameters, of which not every one makes the statement plain.
	p, err := c.Prepare(t.Context(), "select time_ns, value from samples where tag = ? and time < ? limit ?")
	require.NoError(t, err)
	bound, _, err := array.RecordFromJSON(memory.DefaultAllocator, arrow.NewSchema([]arrow.Field{
		{Name: "1", Type: arrow.BinaryTypes.String, Nullable: true}, {Name: "2", Type: arrow.BinaryTypes.String}, {Name: "3", Type: arrow.PrimitiveTypes.Int64}}, nil),
		strings.NewReader(`[{"1": "FI-101", "2": "2026-03-01 00:00:02", "3": 5}, {"1": null, "2": "2026-03-01", "3": 1}, {"1": "TI-007", "2": "2026-03-01 00:00:01", "3": 0},
			{"1": "TI-007", "2": "2026-03-01 00:00:01", "3": 1}]`))
	require.NoError(t, err)
	p.SetParameters(bound)
	info, err := p.Execute(t.Context())
	require.NoError(t, err)
	rows, err := rowsOf(t.Context(), c, info)
	require.NoError(t, err)
	require.Equal(t, [][]string{{"1772323200123456789", "0.5"}, {"1772323201123456789", "1.5"}, {"1772323200123456789", "0"}}, rows)
	require.NoError(t, p.Close(t.Context()))

	for text, code := range map[string]codes.Code{
		"select nothing from samples": codes.InvalidArgument, "select 1; select 2": codes.InvalidArgument, "drop table samples": codes.InvalidArgument, "select * from read_csv('/etc/passwd')": codes.InvalidArgument,
		"set threads = 8": codes.InvalidArgument, "attach '/tmp/x.db'": codes.InvalidArgument, "copy samples to '/tmp/x'": codes.InvalidArgument,
	} {
		_, err := c.Execute(t.Context(), text)
		require.Equal(t, code, status.Code(err), "%s: %v", text, err)
		_, err = c.Prepare(t.Context(), text)
		require.Equal(t, code, status.Code(err), "%s: %v", text, err)
	}
	_, err = c.Execute(t.Context(), "select * from samples where tag = 'TI-7'")
	if err == nil { // a former name is found out when samples are asked for
		info, err := c.Execute(t.Context(), "select * from samples where tag = 'TI-7'")
		require.NoError(t, err)
		_, err = rowsOf(t.Context(), c, info)
		require.ErrorContains(t, err, `"TI-007"`)
	}
}

// TestFlightSQLOutlivesTheSQLProcess: prepared statements and tickets are not of the process that prepared them.
func TestFlightSQLOutlivesTheSQLProcess(t *testing.T) {
	address, _ := serveSQL(t)
	fillSQL(t, address)
	c, _ := flightSQL(t, address)
	p, err := c.Prepare(t.Context(), "select count(*) from samples where tag = ?")
	require.NoError(t, err)
	p.SetParameters(rowOf([]any{"FI-101"}))
	info, err := p.Execute(t.Context())
	require.NoError(t, err)
	for range 3 {
		for _, pid := range childrenOf(t, os.Getpid(), "varve-sql") {
			process, err := os.FindProcess(pid)
			require.NoError(t, err)
			require.NoError(t, process.Kill())
		}
		rows, err := rowsOf(t.Context(), c, info)
		require.NoError(t, err)
		require.Equal(t, [][]string{{"1000"}}, rows)
	}
}

// TestACancelledStatementEndsInTheSQLProcess: the process goes on to the next statement, though it was at one that has no end.
func TestACancelledStatementEndsInTheSQLProcess(t *testing.T) {
	address, _ := serveSQL(t)
	c, ask := flightSQL(t, address)
	for _, text := range []string{"select i from range(1000000000000) t(i)", "select sum(i % 7) from range(1000000000000) t(i)"} {
		info, err := c.Execute(t.Context(), text)
		require.NoError(t, err)
		ended := make(chan error, 1)
		go func() {
			r, err := c.DoGet(t.Context(), info.Endpoint[0].Ticket)
			if err == nil {
				for r.Next() {
				}
				err = r.Err()
				r.Release()
			}
			ended <- err
		}()
		time.Sleep(300 * time.Millisecond) // until it runs; sooner only makes the test easier
		_, err = c.CancelFlightInfo(t.Context(), &flight.CancelFlightInfoRequest{Info: info})
		require.NoError(t, err)
		err = <-ended
		require.Equal(t, codes.Canceled, status.Code(err), "%s: %v", text, err)
		require.Equal(t, [][]string{{"1"}}, ask("select 1"))
	}
	// A client that leaves ends its statement as well.
	ctx, leave := context.WithCancel(t.Context())
	info, err := c.Execute(ctx, "select i from range(1000000000000) t(i)")
	require.NoError(t, err)
	r, err := c.DoGet(ctx, info.Endpoint[0].Ticket)
	require.NoError(t, err)
	require.True(t, r.Next())
	leave()
	r.Release()
	require.Equal(t, [][]string{{"1"}}, ask("select 1"))
}

// TestSameBitsOverFlightSQL holds what statements read of samples to what ReadRange does, over random samples: every bit of a double, and NULL
// for what is Bad.
func TestSameBitsOverFlightSQL(t *testing.T) {
	address, _ := serveSQL(t)
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer conn.Close()
	rng := rand.New(rand.NewPCG(20261126, 9))
	varve(t, "tags", "states", "put", "--server", address, "pump", "0=stopped", "1=running", "2=tripped")
	varve(t, "tags", "create", "--server", address, "--type", "state", "--state-set", "pump", "pump")
	w, err := varvev1.NewIngestServiceClient(conn).Write(t.Context(), &varvev1.WriteRequest{CreateTags: true, Batch: &varvev1.Batch{Runs: doorRuns(rng)}})
	require.NoError(t, err)
	require.Zero(t, w.Result.Rejected, "%v", w.Result.Rejections)
	c, _ := flightSQL(t, address)
	rows := 0
	for tag, column := range map[string]string{"float": "value", "narrow": "value", "int": "value_int", "bool": "value_int", "pump": "value_int", "text": "value_text"} {
		stream, err := varvev1.NewQueryServiceClient(conn).ReadRange(t.Context(), &varvev1.ReadRangeRequest{Tags: []string{tag}, StartNs: proto.Int64(doorsBegin), EndNs: proto.Int64(doorsBegin + doorsHours*3600e9)})
		require.NoError(t, err)
		var b bytes.Buffer
		for {
			m, err := stream.Recv()
			if err == io.EOF {
				break
			}
			require.NoError(t, err)
			b.Write(m.Ipc)
		}
		r, err := ipc.NewReader(&b)
		require.NoError(t, err)
		var want []string
		for r.Next() {
			named := columnsByName(r.Record())
			for i := range int(r.Record().NumRows()) {
				quality := named["quality"].(*array.Uint32).Value(i)
				want = append(want, fmt.Sprint(int64(named["time"].(*array.Timestamp).Value(i)), valueBits(named["value"], i, quality), quality))
			}
		}
		r.Release()

		info, err := c.Execute(t.Context(), fmt.Sprintf("select time_ns, %s as value, quality from samples where tag = '%s' order by time_ns", column, tag))
		require.NoError(t, err)
		answer, err := c.DoGet(t.Context(), info.Endpoint[0].Ticket)
		require.NoError(t, err)
		var got []string
		for answer.Next() {
			named := columnsByName(answer.Record())
			for i := range int(answer.Record().NumRows()) {
				quality := named["quality"].(*array.Int64).Value(i)
				got = append(got, fmt.Sprint(named["time_ns"].(*array.Int64).Value(i), valueBits(named["value"], i, 0), quality))
			}
		}
		require.NoError(t, answer.Err())
		answer.Release()
		require.Equal(t, strings.Join(want, "\n"), strings.Join(got, "\n"), tag)
		rows += len(got)
	}
	require.Greater(t, rows, 240)
}

func columnsByName(r arrow.Record) map[string]arrow.Array {
	out := map[string]arrow.Array{}
	for i, f := range r.Schema().Fields() {
		out[f.Name] = r.Column(i)
	}
	return out
}

// valueBits is a value as SQL has it: a number as the bits of its double or as an integer, a text; nothing where there is none or it is Bad.
func valueBits(a arrow.Array, i int, quality uint32) string {
	if a.IsNull(i) || quality>>30 >= 2 {
		return " NULL "
	}
	switch a := a.(type) {
	case *array.Float64:
		return fmt.Sprintf(" %x ", math.Float64bits(a.Value(i)))
	case *array.Float32:
		return fmt.Sprintf(" %x ", math.Float64bits(float64(a.Value(i))))
	case *array.Boolean:
		if a.Value(i) {
			return " 1 "
		}
		return " 0 "
	}
	return " " + a.ValueStr(i) + " "
}
