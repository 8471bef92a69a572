package server

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/flight"
	"github.com/apache/arrow/go/v15/arrow/flight/flightsql"
	pb "github.com/apache/arrow/go/v15/arrow/flight/gen/flight"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/varvedb/varve/query"
	"github.com/varvedb/varve/query/table"
)

// testStatements answers statements of a language of its own: "rows N" is N batches of a row each, "endless" goes on until its
// context ends, "fail" breaks behind its first batch, "echo" answers its three parameters, and "who" the caller.
type testStatements struct {
	open     atomic.Int64 // statements and readers that are not closed
	prepared atomic.Int64
}

// Prepare is part of Statements.
func (s *testStatements) Prepare(ctx context.Context, text string, _ []arrow.DataType) (Statement, error) {
	st := &testStatement{of: s, schema: arrow.NewSchema([]arrow.Field{{Name: "n", Type: arrow.PrimitiveTypes.Int64}}, nil), parameters: arrow.NewSchema(nil, nil)}
	word, count, _ := strings.Cut(text, " ")
	switch word {
	case "rows":
		st.batches, _ = strconv.Atoi(count)
	case "endless":
		st.batches = math.MaxInt
	case "fail":
		st.batches, st.broken = 1, true
	case "who":
		st.schema = arrow.NewSchema([]arrow.Field{{Name: "who", Type: arrow.BinaryTypes.String}}, nil)
	case "echo":
		st.schema = arrow.NewSchema([]arrow.Field{
			{Name: "1", Type: arrow.PrimitiveTypes.Int64, Nullable: true}, {Name: "2", Type: arrow.BinaryTypes.String, Nullable: true},
			{Name: "3", Type: &arrow.TimestampType{Unit: arrow.Nanosecond, TimeZone: "UTC"}, Nullable: true},
		}, nil)
		st.parameters = st.schema
	default:
		return nil, fmt.Errorf("near %.20q: %w", text, query.ErrBadRequest)
	}
	s.open.Add(1)
	s.prepared.Add(1)
	return st, nil
}

type testStatement struct {
	of                 *testStatements
	schema, parameters *arrow.Schema
	batches            int
	broken             bool
}

func (s *testStatement) Schema() *arrow.Schema     { return s.schema }
func (s *testStatement) Parameters() *arrow.Schema { return s.parameters }
func (s *testStatement) Close()                    { s.of.open.Add(-1) }

// Execute is part of Statement.
func (s *testStatement) Execute(ctx context.Context, args arrow.Record) (array.RecordReader, error) {
	s.of.open.Add(1)
	r := &testReader{statement: s, ctx: ctx}
	switch {
	case args != nil:
		args.Retain()
		r.fixed = args
	case s.schema.Field(0).Name == "who":
		b := array.NewRecordBuilder(memory.DefaultAllocator, s.schema)
		b.Field(0).(*array.StringBuilder).Append(callerOf(ctx).name)
		r.fixed = b.NewRecord()
	}
	return r, nil
}

type testReader struct {
	statement *testStatement
	ctx       context.Context
	fixed     arrow.Record // the one batch of the answer
	n         int
	err       error
	once      sync.Once
	current   arrow.Record
}

func (r *testReader) Schema() *arrow.Schema { return r.statement.schema }
func (r *testReader) Record() arrow.Record  { return r.current }
func (r *testReader) Err() error            { return r.err }
func (r *testReader) Retain()               {}
func (r *testReader) Release()              { r.once.Do(func() { r.statement.of.open.Add(-1) }) }

func (r *testReader) Next() bool {
	switch {
	case r.ctx.Err() != nil:
		r.err = r.ctx.Err()
		return false
	case r.fixed != nil:
		r.current, r.n = r.fixed, r.n+1
		return r.n == 1
	case r.n == r.statement.batches:
		if r.statement.broken {
			r.err = query.ErrTooLarge
		}
		return false
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, r.statement.schema)
	b.Field(0).(*array.Int64Builder).Append(int64(r.n))
	r.current = b.NewRecord()
	r.n++
	return true
}

// sqlClient is a client of Flight SQL.
func (s *running) sqlClient(t testing.TB, dial ...grpc.DialOption) *flightsql.Client {
	t.Helper()
	c, err := flightsql.NewClient(s.addr, nil, nil, append(dial, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// fetch is every row that the endpoints of info answer, its values as text.
func fetch(ctx context.Context, c *flightsql.Client, info *flight.FlightInfo) (rows [][]string, err error) {
	schema, err := flight.DeserializeSchema(info.Schema, memory.DefaultAllocator)
	if err != nil {
		return nil, err
	}
	for _, e := range info.Endpoint {
		r, err := c.DoGet(ctx, e.Ticket)
		if err != nil {
			return rows, err
		}
		defer r.Release()
		if !schema.Equal(r.Schema()) {
			return rows, fmt.Errorf("info has %s, the answer has %s", schema, r.Schema())
		}
		for r.Next() {
			record := r.Record()
			for i := range int(record.NumRows()) {
				row := make([]string, record.NumCols())
				for k, column := range record.Columns() {
					row[k] = column.ValueStr(i)
				}
				rows = append(rows, row)
			}
		}
		if r.Err() != nil {
			return rows, r.Err()
		}
	}
	return rows, nil
}

func TestStatementsStream(t *testing.T) {
	sql := &testStatements{}
	s := start(t, Options{Statements: sql})
	c, ctx := s.sqlClient(t), testContext(t)
	info, err := c.Execute(ctx, "rows 3")
	require.NoError(t, err)
	require.Len(t, info.Endpoint, 1)
	require.NotNil(t, info.Endpoint[0].ExpirationTime)
	for range 2 { // a ticket can be shown again
		rows, err := fetch(ctx, c, info)
		require.NoError(t, err)
		require.Equal(t, [][]string{{"0"}, {"1"}, {"2"}}, rows)
	}
	info, err = c.Execute(ctx, "rows 0")
	require.NoError(t, err)
	rows, err := fetch(ctx, c, info)
	require.NoError(t, err)
	require.Empty(t, rows)
	schema, err := c.GetExecuteSchema(ctx, "rows 1")
	require.NoError(t, err)
	require.Equal(t, info.Schema, schema.Schema)

	info, err = c.Execute(ctx, "fail")
	require.NoError(t, err)
	rows, err = fetch(ctx, c, info)
	requireCode(t, codes.ResourceExhausted, err, "")
	require.Len(t, rows, 1, "what came before a fault was sent")
	for text, code := range map[string]codes.Code{"nonsense": codes.InvalidArgument, "": codes.InvalidArgument, "echo": codes.InvalidArgument, strings.Repeat("x", maxSQLCommand): codes.ResourceExhausted} {
		_, err = c.Execute(ctx, text)
		requireCode(t, code, err, "")
	}
	_, err = c.ExecuteUpdate(ctx, "delete from samples")
	requireCode(t, codes.Unimplemented, err, "bulk ingest")
	_, err = c.BeginTransaction(ctx)
	requireCode(t, codes.Unimplemented, err, "")
	require.Zero(t, sql.open.Load(), "everything was closed")
}

// TestAnAnswerEndsWithItsClient: a client that goes away, or reads no more, leaves nothing behind that still works for it.
func TestAnAnswerEndsWithItsClient(t *testing.T) {
	sql := &testStatements{}
	s := start(t, Options{Statements: sql})
	c := s.sqlClient(t)
	ctx, leave := context.WithCancel(testContext(t))
	info, err := c.Execute(ctx, "endless")
	require.NoError(t, err)
	r, err := c.DoGet(ctx, info.Endpoint[0].Ticket)
	require.NoError(t, err)
	require.True(t, r.Next())
	leave()
	require.Eventually(t, func() bool { return sql.open.Load() == 0 }, 20*time.Second, time.Millisecond)
	r.Release()
}

func TestStatementsAreCancelled(t *testing.T) {
	sql := &testStatements{}
	s := start(t, Options{Statements: sql})
	c, ctx := s.sqlClient(t), testContext(t)
	cancels := map[string]func(*flight.FlightInfo) error{
		"CancelFlightInfo": func(info *flight.FlightInfo) error {
			got, err := c.CancelFlightInfo(ctx, &flight.CancelFlightInfoRequest{Info: info})
			if err == nil && got.Status != flight.CancelStatusCancelled {
				return fmt.Errorf("status is %s", got.Status)
			}
			return err
		},
		"CancelQuery": func(info *flight.FlightInfo) error {
			//lint:ignore SA1019 older clients send it
			got, err := c.CancelQuery(ctx, info)
			if err == nil && got != flightsql.CancelResultCancelled {
				return fmt.Errorf("result is %d", got)
			}
			return err
		},
	}
	for name, cancel := range cancels {
		info, err := c.Execute(ctx, "endless")
		require.NoError(t, err)
		r, err := c.DoGet(ctx, info.Endpoint[0].Ticket)
		require.NoError(t, err)
		require.True(t, r.Next())
		require.NoError(t, cancel(info), name)
		for r.Next() {
		}
		requireCode(t, codes.Canceled, r.Err(), "the statement was cancelled")
		r.Release()
		_, err = fetch(ctx, c, info)
		requireCode(t, codes.Canceled, err, "was cancelled") // the ticket is good for nothing any more
		require.Eventually(t, func() bool { return sql.open.Load() == 0 }, 20*time.Second, time.Millisecond)
	}
	_, err := c.CancelFlightInfo(ctx, &flight.CancelFlightInfoRequest{Info: &flight.FlightInfo{}})
	requireCode(t, codes.InvalidArgument, err, "no endpoint")
}

func TestPreparedStatements(t *testing.T) {
	sql := &testStatements{}
	s := start(t, Options{Statements: sql})
	c, ctx := s.sqlClient(t), testContext(t)
	p, err := c.Prepare(ctx, "echo")
	require.NoError(t, err)
	require.Len(t, p.DatasetSchema().Fields(), 3)
	require.Equal(t, arrow.PrimitiveTypes.Int64, p.ParameterSchema().Field(0).Type)
	require.True(t, arrow.TypeEqual(arrow.FixedWidthTypes.Timestamp_ms, p.ParameterSchema().Field(2).Type), "the one unit that JDBC writes")
	_, err = p.Execute(ctx)
	requireCode(t, codes.InvalidArgument, err, "3 parameters and none are bound")

	// What a client binds need not be of the type the parameter has, as long as that type says all of it.
	bound := argsOf(t, arrow.PrimitiveTypes.Int16, arrow.BinaryTypes.LargeString, arrow.FixedWidthTypes.Timestamp_ms, []string{"7", "a", "2026-03-01 12:00:00.123"}, []string{"8", "b", "1960-01-01 00:00:00.001"})
	p.SetParameters(bound)
	first, err := p.Execute(ctx)
	require.NoError(t, err)
	p.SetParameters(argsOf(t, arrow.PrimitiveTypes.Float64, arrow.BinaryTypes.String, arrow.PrimitiveTypes.Date32, []string{"9", "c", "2026-03-01"}))
	second, err := p.Execute(ctx)
	require.NoError(t, err)
	rows, err := fetch(ctx, c, first)
	require.NoError(t, err)
	require.Equal(t, [][]string{{"7", "a", "2026-03-01 12:00:00.123Z"}, {"8", "b", "1960-01-01 00:00:00.001Z"}}, rows, "a ticket keeps the parameters it was made with")
	rows, err = fetch(ctx, c, second)
	require.NoError(t, err)
	require.Equal(t, [][]string{{"9", "c", "2026-03-01 00:00:00Z"}}, rows)

	for text, args := range map[string]arrow.Record{
		"parameter 1 is float":   argsOf(t, arrow.PrimitiveTypes.Float64, arrow.BinaryTypes.String, arrow.PrimitiveTypes.Date32, []string{"1.5", "c", "2026-03-01"}),
		"parameter 3 is integer": argsOf(t, arrow.PrimitiveTypes.Int64, arrow.BinaryTypes.String, arrow.PrimitiveTypes.Int64, []string{"1", "2", "3"}),
		"parameter 3 is bytes":   argsOf(t, arrow.PrimitiveTypes.Int64, arrow.BinaryTypes.String, arrow.BinaryTypes.Binary, []string{"1", "2", "AAAA"}),
		"1 parameters are bound": oneArg(t),
	} {
		p.SetParameters(args)
		_, err = p.Execute(ctx)
		requireCode(t, codes.InvalidArgument, err, text)
	}
	require.Equal(t, int64(1), sql.prepared.Load(), "it was prepared once")
	require.NoError(t, p.Close(ctx))
	_, err = fetch(ctx, c, second)
	requireCode(t, codes.NotFound, err, "no such prepared statement")
	require.Zero(t, sql.open.Load())
}

// argsOf is a record of three columns, its rows as text.
func argsOf(t testing.TB, a, b, c arrow.DataType, rows ...[]string) arrow.Record {
	t.Helper()
	builder := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema([]arrow.Field{{Name: "1", Type: a}, {Name: "2", Type: b}, {Name: "3", Type: c}}, nil))
	for _, row := range rows {
		for i, text := range row {
			require.NoError(t, builder.Field(i).AppendValueFromString(text))
		}
	}
	return builder.NewRecord()
}

func TestParametersAreKeptInTypesThatHoldThem(t *testing.T) {
	field := func(d arrow.DataType) *arrow.Schema { return arrow.NewSchema([]arrow.Field{{Name: "1", Type: d}}, nil) }
	text, instant := arrow.BinaryTypes.String, arrow.FixedWidthTypes.Timestamp_ns
	for _, c := range [][3]arrow.DataType{ // wanted, bound, kept
		{int64Type, arrow.PrimitiveTypes.Uint8, int64Type}, {int64Type, doubleType, int64Type}, {doubleType, int64Type, doubleType}, {int64Type, text, text},
		{text, int64Type, int64Type}, {text, arrow.FixedWidthTypes.Date32, instant}, {text, arrow.BinaryTypes.LargeString, text}, {text, arrow.Null, text},
		{text, &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: text}, text}, {instant, arrow.FixedWidthTypes.Timestamp_ms, instant}, {instant, text, text},
		{arrow.FixedWidthTypes.Date32, arrow.FixedWidthTypes.Date32, instant}, {&arrow.Decimal128Type{Precision: 5}, doubleType, doubleType}, {&arrow.Decimal128Type{Precision: 5}, arrow.Null, text},
		{int64Type, arrow.Null, int64Type}, {arrow.FixedWidthTypes.MonthDayNanoInterval, text, text},
	} {
		kept := argSchema(field(c[0]), field(c[1])).Field(0).Type
		require.True(t, arrow.TypeEqual(c[2], kept), "%s for %s is kept as %s", c[1], c[0], kept)
	}
}

func oneArg(t testing.TB) arrow.Record {
	t.Helper()
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema([]arrow.Field{{Name: "1", Type: arrow.PrimitiveTypes.Int64}}, nil))
	b.Field(0).(*array.Int64Builder).Append(1)
	return b.NewRecord()
}

// TestPreparedStatementsEndWhenNobodyUsesThem runs an hour on a clock of its own.
func TestPreparedStatementsEndWhenNobodyUsesThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var list preparedStatements
		sql := &testStatements{}
		add := func(owner string) handle {
			st, err := sql.Prepare(t.Context(), "rows 1", nil)
			require.NoError(t, err)
			h, err := list.add(strings.NewReader(fmt.Sprintf("%016d", sql.prepared.Load())), owner, st, nil)
			require.NoError(t, err)
			return h
		}
		idle, used, working := add("ana"), add("ana"), add("ben")
		_, end, err := list.take("ben", working[:])
		require.NoError(t, err)
		time.Sleep(preparedIdle - time.Second)
		_, release, err := list.take("ana", used[:])
		require.NoError(t, err)
		release()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		_, _, err = list.take("ana", idle[:])
		require.ErrorIs(t, err, errNoHandle)
		_, release, err = list.take("ana", used[:])
		require.NoError(t, err)
		release()
		require.Equal(t, int64(2), sql.open.Load())
		time.Sleep(2 * preparedIdle)
		synctest.Wait()
		require.Equal(t, int64(1), sql.open.Load(), "one at work is not idle")
		_, _, err = list.take("ana", working[:])
		require.ErrorIs(t, err, errNoHandle, "it is of another caller")
		require.NoError(t, list.close("ben", working[:]))
		require.Equal(t, int64(1), sql.open.Load(), "an execution at work goes on")
		end()
		require.Zero(t, sql.open.Load())
		for range maxPrepared {
			add("ana")
		}
		st, err := sql.Prepare(t.Context(), "rows 1", nil)
		require.NoError(t, err)
		_, err = list.add(strings.NewReader("another handle.."), "ana", st, nil)
		require.ErrorIs(t, err, errTooMany)
		add("ben")
		list.closeAll()
		require.Zero(t, sql.open.Load())
	})
}

func TestTicketsAreOfOneCallerAndOfTenMinutes(t *testing.T) {
	now := testNow
	list, err := newTickets(strings.NewReader(strings.Repeat("k", 1000)), func() time.Time { return now })
	require.NoError(t, err)
	x := execution{text: "select 1", args: []byte("args"), handle: handle{1, 2}}
	ticket, expires, err := list.issue("ana", x)
	require.NoError(t, err)
	require.Equal(t, testNow.Add(ticketLife), expires.AsTime())
	got, err := list.verify("ana", ticket)
	require.NoError(t, err)
	require.Equal(t, x.text, got.text)
	require.Equal(t, x.handle, got.handle)
	require.Equal(t, x.args, got.args)
	for _, caller := range []string{"", "an", "anas", "ben"} {
		_, err = list.verify(caller, ticket)
		require.ErrorIs(t, err, errBadTicket, caller)
	}
	for i := range ticket {
		forged := bytes.Clone(ticket)
		forged[i] ^= 1
		_, err = list.verify("ana", forged)
		require.ErrorIs(t, err, errBadTicket, "byte %d", i)
		_, err = list.verify("ana", ticket[:i])
		require.ErrorIs(t, err, errBadTicket, "%d bytes", i)
	}
	now = testNow.Add(ticketLife - 1)
	_, err = list.verify("ana", ticket)
	require.NoError(t, err)
	now = testNow.Add(ticketLife)
	_, err = list.verify("ana", ticket)
	require.ErrorIs(t, err, errBadTicket)
	require.ErrorContains(t, err, "expired")
	other, err := newTickets(strings.NewReader(strings.Repeat("o", 1000)), func() time.Time { return testNow })
	require.NoError(t, err)
	_, err = other.verify("ana", ticket)
	require.ErrorIs(t, err, errBadTicket, "the key is that of one server")
}

func TestWithoutSQLStatementsAreRefusedByName(t *testing.T) {
	s := start(t, Options{})
	c, ctx := s.sqlClient(t), testContext(t)
	_, err := c.Execute(ctx, "select 1")
	requireCode(t, codes.Unimplemented, err, "SQL is not built")
	_, err = c.Prepare(ctx, "select 1")
	requireCode(t, codes.Unimplemented, err, "SQL is not built")
	info, err := c.GetTables(ctx, &flightsql.GetTablesOpts{})
	require.NoError(t, err)
	rows, err := fetch(ctx, c, info)
	require.NoError(t, err)
	require.Len(t, rows, len(table.All()))
}

// TestVarvesOwnTicketsStillWork: a tag may be named as a message of another program, as long as Flight SQL has no such type.
func TestVarvesOwnTicketsStillWork(t *testing.T) {
	require.False(t, isSQL(nil))
	require.False(t, isSQL([]byte("\x0a\x05PI_01")))
	require.False(t, isSQL([]byte("\x0a\x20type.googleapis.com/google.proto")))
	require.False(t, isSQL([]byte{0xff, 0xff, 0xff}))
	packed, err := packSQL(&pb.CommandGetCatalogs{})
	require.NoError(t, err)
	require.True(t, isSQL(packed))
	m, err := parseSQL(packed)
	require.NoError(t, err)
	require.True(t, proto.Equal(&pb.CommandGetCatalogs{}, m.(proto.Message)))
}

func FuzzFlightCommand(f *testing.F) {
	text := "select 1"
	for _, m := range []proto.Message{
		&pb.CommandStatementQuery{Query: text}, &pb.CommandGetTables{TableNameFilterPattern: &text, IncludeSchema: true, TableTypes: []string{"TABLE"}},
		&pb.CommandGetSqlInfo{Info: []uint32{0, 1, 500, 99999}}, &pb.CommandGetXdbcTypeInfo{}, &pb.CommandGetCrossReference{PkTable: "tags", FkTable: "samples"},
		&pb.TicketStatementQuery{StatementHandle: []byte("handle")}, &pb.ActionCreatePreparedStatementRequest{Query: text},
	} {
		b, err := packSQL(m)
		require.NoError(f, err)
		f.Add(b)
	}
	f.Add(ingestCommand(map[string]string{"atomic": "false"}))
	list, err := newTickets(strings.NewReader(strings.Repeat("k", 1000)), func() time.Time { return testNow })
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = list.verify("ana", b)
		_, _ = parseTicket(b)
		if !isSQL(b) {
			return
		}
		command, err := parseSQL(b)
		if err != nil {
			return
		}
		if c, ok := command.(*statementIngest); ok {
			_, _ = c.settings(context.Background())
			return
		}
		m, err := metadataOf(command, "test")
		if err != nil {
			return
		}
		builder := array.NewRecordBuilder(memory.DefaultAllocator, m.schema)
		m.fill(builder)
		record := builder.NewRecord()
		require.NoError(t, ipc.NewWriter(io.Discard, ipc.WithSchema(m.schema)).Write(record))
		record.Release()
	})
}

func TestCallersSeeOnlyWhatIsTheirs(t *testing.T) {
	sql := &testStatements{}
	s, as := startWithTokens(t, Options{Statements: sql}, map[string]Scope{"ana": Read, "ben": Read, "cem": Write})
	c := s.sqlClient(t)
	ctx := testContext(t)
	info, err := c.Execute(as(ctx, "ana"), "who")
	require.NoError(t, err)
	rows, err := fetch(as(ctx, "ana"), c, info)
	require.NoError(t, err)
	require.Equal(t, [][]string{{"ana"}}, rows)
	_, err = fetch(as(ctx, "ben"), c, info)
	requireCode(t, codes.InvalidArgument, err, "not for this caller")
	_, err = c.CancelFlightInfo(as(ctx, "ben"), &flight.CancelFlightInfoRequest{Info: info})
	requireCode(t, codes.InvalidArgument, err, "not for this caller")
	p, err := c.Prepare(as(ctx, "ana"), "who")
	require.NoError(t, err)
	_, err = p.Execute(as(ctx, "ben"))
	requireCode(t, codes.NotFound, err, "of another caller")
	require.NoError(t, p.Close(as(ctx, "ana")))
	_, err = c.Execute(as(ctx, "cem"), "who")
	requireCode(t, codes.PermissionDenied, err, "needs read")
	_, err = c.Execute(ctx, "who")
	requireCode(t, codes.Unauthenticated, err, "token")
}

// TestANameAndATokenAreTakenForABearerToken: ODBC, and JDBC with a user and a password, know no other way.
func TestANameAndATokenAreTakenForABearerToken(t *testing.T) {
	s, as := startWithTokens(t, Options{Statements: &testStatements{}}, map[string]Scope{"ana": Read, "ben": Read})
	c := s.sqlClient(t)
	md, _ := metadata.FromOutgoingContext(as(context.Background(), "ana"))
	token := strings.TrimPrefix(md.Get("authorization")[0], "Bearer ")
	for _, user := range []string{"ana", ""} {
		ctx, err := c.Client.AuthenticateBasicToken(testContext(t), user, token)
		require.NoError(t, err)
		info, err := c.Execute(ctx, "who")
		require.NoError(t, err)
		rows, err := fetch(ctx, c, info)
		require.NoError(t, err)
		require.Equal(t, [][]string{{"ana"}}, rows)
	}
	for _, pair := range [][2]string{{"ben", token}, {"ana", "wrong"}, {"ana", ""}} {
		_, err := c.Client.AuthenticateBasicToken(testContext(t), pair[0], pair[1])
		requireCode(t, codes.Unauthenticated, err, "")
	}
	basic := metadata.AppendToOutgoingContext(testContext(t), "authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("ana:"+token)))
	_, err := c.Execute(basic, "who")
	requireCode(t, codes.Unauthenticated, err, "one bearer token")
	open := start(t, Options{Statements: &testStatements{}}).sqlClient(t)
	ctx, err := open.Client.AuthenticateBasicToken(testContext(t), "anyone", "anything")
	require.NoError(t, err)
	_, err = open.Execute(ctx, "who")
	require.NoError(t, err)
}

// startWithTokens is a server that knows callers by tokens; as is a context of a call of one of them.
func startWithTokens(t *testing.T, o Options, scopes map[string]Scope) (*running, func(context.Context, string) context.Context) {
	t.Helper()
	tokens, lines := map[string]string{}, ""
	for name, scope := range scopes {
		token, line, err := NewToken(name, scope, nil)
		require.NoError(t, err)
		tokens[name], lines = token, lines+line+"\n"
	}
	o.Security.TokenFile = filepath.Join(t.TempDir(), "tokens")
	require.NoError(t, os.WriteFile(o.Security.TokenFile, []byte(lines), 0o600))
	s := start(t, o)
	return s, func(ctx context.Context, who string) context.Context {
		return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+tokens[who])
	}
}
