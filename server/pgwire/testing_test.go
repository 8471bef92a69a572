package pgwire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/require"
)

// fakes answers statements from a table of what they are.
type fakes struct {
	mu       sync.Mutex
	answers  map[string]*fake
	prepared []string // texts, as they came
	open     atomic.Int64
}

// fake is one statement. Its rows are those of records, or whatever next says.
type fake struct {
	schema, parameters *arrow.Schema
	records            []arrow.Record
	next               func(ctx context.Context, n int) (arrow.Record, error) // nil record: no more
	args               arrow.Record                                           // of the last execution
	all                *fakes
}

var errNoTable = &Error{Code: "42P01", Message: "there is no such table", Position: 15}

func (f *fakes) Prepare(ctx context.Context, text string, types []arrow.DataType) (Statement, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.prepared = append(f.prepared, text)
	switch {
	case strings.Contains(text, "panic"):
		panic("test")
	case strings.Contains(text, "plain error"):
		return nil, errors.New("something of ours")
	}
	one, ok := f.answers[text]
	if !ok {
		return nil, errNoTable
	}
	f.open.Add(1)
	one.all = f
	return one, nil
}

func (f *fake) Schema() *arrow.Schema     { return f.schema }
func (f *fake) Parameters() *arrow.Schema { return f.parameters }
func (f *fake) Close()                    { f.all.open.Add(-1) }

func (f *fake) Execute(ctx context.Context, args arrow.Record) (array.RecordReader, error) {
	f.all.mu.Lock()
	defer f.all.mu.Unlock()
	if f.args = args; args != nil {
		args.Retain()
	}
	if f.next == nil {
		return array.NewRecordReader(f.schema, f.records)
	}
	f.all.open.Add(1)
	return &fakeReader{fake: f, ctx: ctx}, nil
}

type fakeReader struct {
	fake *fake
	ctx  context.Context
	n    int
	rec  arrow.Record
	err  error
}

func (r *fakeReader) Retain()               {}
func (r *fakeReader) Release()              { r.fake.all.open.Add(-1) }
func (r *fakeReader) Schema() *arrow.Schema { return r.fake.schema }
func (r *fakeReader) Record() arrow.Record  { return r.rec }
func (r *fakeReader) Err() error            { return r.err }
func (r *fakeReader) Next() bool {
	r.rec, r.err = r.fake.next(r.ctx, r.n)
	r.n++
	return r.rec != nil && r.err == nil
}

// numbers is a statement of one column n, of the numbers below count, some in each record.
func numbers(count, each int) *fake {
	f := &fake{schema: arrow.NewSchema([]arrow.Field{{Name: "n", Type: arrow.PrimitiveTypes.Int64}}, nil)}
	for n := 0; n < count; n += each {
		f.records = append(f.records, numberRecord(f.schema, n, min(n+each, count)))
	}
	return f
}

func numberRecord(schema *arrow.Schema, from, to int) arrow.Record {
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	for n := from; n < to; n++ {
		b.Field(0).(*array.Int64Builder).Append(int64(n))
	}
	return b.NewRecord()
}

// blocked is a statement that answers nothing until its context ends.
func blocked(begun chan<- struct{}) *fake {
	f := numbers(0, 1)
	f.next = func(ctx context.Context, _ int) (arrow.Record, error) {
		begun <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return f
}

// endless is a statement that never ends.
func endless() *fake {
	f := numbers(0, 1)
	f.next = func(ctx context.Context, n int) (arrow.Record, error) {
		return numberRecord(f.schema, n*1000, (n+1)*1000), ctx.Err()
	}
	return f
}

// running is a server that runs until its test ends.
type running struct {
	*Server
	fakes  *fakes
	addr   string
	stop   context.CancelFunc
	ended  chan error
	panics atomic.Int64
}

func start(t testing.TB, answers map[string]*fake, change func(*Options)) *running {
	t.Helper()
	r := &running{fakes: &fakes{answers: answers}, ended: make(chan error, 1)}
	o := Options{Statements: r.fakes, Database: "varve", Version: "test", Panicked: func() { r.panics.Add(1) }}
	if change != nil {
		change(&o)
	}
	var err error
	r.Server, err = New(o)
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r.addr = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	go func() { r.ended <- r.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-r.ended:
			require.NoError(t, err)
		case <-time.After(30 * time.Second):
			t.Error("the server did not end")
		}
		require.Zero(t, r.fakes.open.Load(), "statements and answers were not closed")
	})
	return r
}

// client speaks the protocol message by message.
type client struct {
	*pgproto3.Frontend
	t    testing.TB
	conn net.Conn
	key  pgproto3.BackendKeyData
	told map[string]string // settings that were reported
}

// dial opens a connection and says nothing.
func (r *running) dial(t testing.TB) *client {
	t.Helper()
	conn, err := net.Dial("tcp", r.addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(30*time.Second)))
	return &client{Frontend: pgproto3.NewFrontend(conn, conn), t: t, conn: conn, told: map[string]string{}}
}

// login is a session.
func (r *running) login(t testing.TB, parameters ...string) *client {
	t.Helper()
	c := r.dial(t)
	p := map[string]string{"user": "me", "database": "varve"}
	for i := 0; i < len(parameters); i += 2 {
		p[parameters[i]] = parameters[i+1]
	}
	c.say(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: p})
	got := c.until("ReadyForQuery")
	require.Contains(t, got, "AuthenticationOk")
	return c
}

func (c *client) say(messages ...pgproto3.FrontendMessage) {
	c.t.Helper()
	for _, m := range messages {
		c.Send(m)
	}
	require.NoError(c.t, c.Flush())
}

// until reads messages up to one of a kind, and is all of them as text.
func (c *client) until(last string) (out []string) {
	c.t.Helper()
	for {
		m, err := c.Receive()
		require.NoError(c.t, err, "after %q", out)
		line := describeMessage(m)
		switch m := m.(type) {
		case *pgproto3.ParameterStatus:
			c.told[m.Name] = m.Value
			continue
		case *pgproto3.BackendKeyData:
			c.key = pgproto3.BackendKeyData{ProcessID: m.ProcessID, SecretKey: append([]byte(nil), m.SecretKey...)}
			continue
		}
		out = append(out, line)
		if strings.HasPrefix(line, last) {
			return out
		}
	}
}

// query is what a text of the simple protocol is answered with.
func (c *client) query(sql string) []string {
	c.t.Helper()
	c.say(&pgproto3.Query{String: sql})
	return c.until("ReadyForQuery")
}

func describeMessage(m pgproto3.BackendMessage) string {
	switch m := m.(type) {
	case *pgproto3.RowDescription:
		var names []string
		for _, f := range m.Fields {
			names = append(names, fmt.Sprintf("%s:%d:%d", f.Name, f.DataTypeOID, f.Format))
		}
		return "RowDescription " + strings.Join(names, ",")
	case *pgproto3.DataRow:
		var values []string
		for _, v := range m.Values {
			if v == nil {
				values = append(values, "NULL")
				continue
			}
			values = append(values, string(v))
		}
		return "DataRow " + strings.Join(values, ",")
	case *pgproto3.CommandComplete:
		return "CommandComplete " + string(m.CommandTag)
	case *pgproto3.ReadyForQuery:
		return "ReadyForQuery " + string(m.TxStatus)
	case *pgproto3.ErrorResponse:
		return fmt.Sprintf("%s %s at %d: %s", m.Severity, m.Code, m.Position, m.Message)
	case *pgproto3.NoticeResponse:
		return fmt.Sprintf("%s %s: %s", m.Severity, m.Code, m.Message)
	case *pgproto3.ParameterDescription:
		return fmt.Sprintf("ParameterDescription %v", m.ParameterOIDs)
	case *pgproto3.NegotiateProtocolVersion:
		return fmt.Sprintf("NegotiateProtocolVersion %d %v", m.NewestMinorProtocol, m.UnrecognizedOptions)
	}
	return strings.TrimPrefix(fmt.Sprintf("%T", m), "*pgproto3.")
}

// feed gives a new connection bytes, and demands that nothing panics and everything ends when the client leaves.
func feed(t *testing.T, b []byte) {
	all := &fakes{answers: map[string]*fake{"select n": numbers(5, 2), "select 1": numbers(1, 1)}}
	panicked := false
	s, err := New(Options{Statements: all, Database: "varve", MaxMessageBytes: 1 << 16, Panicked: func() { panicked = true }})
	require.NoError(t, err)
	here, there := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.guard("fuzz", func() { newConnection(s, there).serve(context.Background()) })
		_ = there.Close()
	}()
	go func() { _, _ = io.Copy(io.Discard, here) }()
	_ = here.SetWriteDeadline(time.Now().Add(5 * time.Second))
	_, _ = here.Write(b)
	_ = here.Close()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("the connection did not end")
	}
	require.False(t, panicked)
	require.Zero(t, all.open.Load())
}
