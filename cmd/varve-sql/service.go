//go:build cgo && unix

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/varvedb/varve/cmd/varve-sql/engine"
	"github.com/varvedb/varve/cmd/varve-sql/rewrite"
	"github.com/varvedb/varve/internal/message"
	sqlchildv1 "github.com/varvedb/varve/proto/varve/sqlchild/v1"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/server/arrowin"
	"github.com/varvedb/varve/server/hint"
)

// service answers the server.
type service struct {
	sqlchildv1.UnimplementedEngineServiceServer
	db     *engine.Database
	tables sqlchildv1.TableServiceClient
}

func (s *service) Prepare(ctx context.Context, r *sqlchildv1.StatementRequest) (p *sqlchildv1.Prepared, err error) {
	defer watch(ctx, &err)()
	d, err := s.db.Describe(ctx, &scanner{s.tables, r.Statement}, r.Sql)
	if err != nil {
		return nil, toStatus(err)
	}
	columns, err := schemaBytes(d.Columns)
	if err != nil {
		return nil, err
	}
	parameters, err := schemaBytes(d.Parameters)
	return &sqlchildv1.Prepared{Description: &varvev1.SqlDescription{Columns: columns, Parameters: parameters}, Plain: d.Plain}, err
}

func schemaBytes(s *arrow.Schema) ([]byte, error) {
	var b bytes.Buffer
	err := ipc.NewWriter(&b, ipc.WithSchema(s)).Close()
	return b.Bytes(), err
}

func (s *service) Execute(r *sqlchildv1.StatementRequest, stream grpc.ServerStreamingServer[sqlchildv1.Answer]) (err error) {
	ctx := stream.Context()
	defer watch(ctx, &err)()
	values := make([]engine.Value, len(r.Parameters))
	for i, p := range r.Parameters {
		if values[i], err = valueOf(p); err != nil {
			return toStatus(err)
		}
	}
	out := &answers{stream: stream}
	w := engine.NewWriter(out, out.flush)
	w.OnlyPlain = r.OnlyPlain
	from := &scanner{s.tables, r.Statement}
	w.Plain = func(p engine.Plain) error {
		return stream.Send(&sqlchildv1.Answer{Plain: &sqlchildv1.Plain{Scan: from.request(p.Table, p.Columns, p.Hints), Names: p.Names, Limit: p.Limit}})
	}
	return toStatus(s.db.Execute(ctx, from, r.Sql, values, w))
}

// answers gathers the Arrow messages of an answer and sends them as Answer, in memory that is used again.
type answers struct {
	stream grpc.ServerStream
	buffer *[]byte // nil: nothing is gathered
	last   int     // bytes of the Answer before, as a guess for the next
}

// ipcTag begins the field that Answer.ipc is.
const ipcTag = 1<<3 | byte(protowire.BytesType)

// Write is part of io.Writer.
func (a *answers) Write(b []byte) (int, error) {
	if a.buffer == nil {
		a.buffer = pool.Get(a.last)
		*a.buffer = append(append((*a.buffer)[:0], ipcTag), make([]byte, message.LengthBytes)...)
	}
	*a.buffer = append(*a.buffer, b...)
	return len(b), nil
}

func (a *answers) flush() error {
	if a.buffer == nil {
		return nil
	}
	a.last = len(*a.buffer)
	message.PutLength((*a.buffer)[1:], a.last-1-message.LengthBytes)
	m := &message.Encoded{Buffers: mem.BufferSlice{mem.NewBuffer(a.buffer, pool)}}
	a.buffer = nil
	return a.stream.SendMsg(m)
}

func valueOf(p *varvev1.SqlValue) (engine.Value, error) {
	switch v := p.GetValue().(type) {
	case *varvev1.SqlValue_Null:
		return nil, nil
	case *varvev1.SqlValue_Boolean:
		return v.Boolean, nil
	case *varvev1.SqlValue_Integer:
		return v.Integer, nil
	case *varvev1.SqlValue_Number:
		return v.Number, nil
	case *varvev1.SqlValue_Text:
		return v.Text, nil
	case *varvev1.SqlValue_Binary:
		return v.Binary, nil
	case *varvev1.SqlValue_TimeNs:
		return engine.Instant(v.TimeNs), nil
	}
	return nil, fmt.Errorf("%w: a parameter has no value, not even null", engine.ErrStatement)
}

// patience is how long a statement may go on that is over. One that cannot be stopped takes the process with it: the server starts another.
const patience = 3 * time.Second

// watch looks after one call: what it returns is deferred. A panic ends the call, a call that does not end ends the process.
func watch(ctx context.Context, err *error) func() {
	done := make(chan struct{})
	go func() {
		select {
		case <-done:
			return
		case <-ctx.Done():
		}
		timer := time.NewTimer(patience)
		defer timer.Stop()
		select {
		case <-done:
		case <-timer.C:
			fmt.Fprintln(os.Stderr, "a statement does not end that is over")
			os.Exit(1)
		}
	}()
	return func() {
		close(done)
		if p := recover(); p != nil {
			fmt.Fprintf(os.Stderr, "panic: %v\n%s", p, debug.Stack())
			*err = status.Errorf(codes.Internal, "SQL: %v", p)
		}
	}
}

// toStatus says who is to blame. The server's own errors come back as they were.
func toStatus(err error) error {
	var s interface{ GRPCStatus() *status.Status }
	switch {
	case err == nil:
		return nil
	case errors.As(err, &s):
		return s.GRPCStatus().Err()
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return status.FromContextError(err).Err()
	case errors.Is(err, engine.ErrMemory), errors.Is(err, engine.ErrTooLarge):
		return status.Error(codes.ResourceExhausted, err.Error())
	case errors.Is(err, rewrite.ErrRefused), errors.Is(err, engine.ErrStatement):
		return status.Error(codes.InvalidArgument, err.Error())
	}
	return status.Error(codes.Internal, err.Error())
}

// scanner asks the server for tables on behalf of a statement.
type scanner struct {
	tables    sqlchildv1.TableServiceClient
	statement uint64
}

// codec takes pieces of scans as they came, and answers as they lie, in memory of pool.
var (
	pool  = &message.Pool{}
	codec = message.NewCodec(pool)
)

// Scan is part of engine.Scanner.
func (s *scanner) Scan(ctx context.Context, table string, columns []int, h engine.Hints) (ipc.MessageReader, error) {
	stream, err := s.tables.Scan(ctx, s.request(table, columns, h), grpc.ForceCodecV2(codec))
	if err != nil {
		return nil, err
	}
	return &messages{stream: stream}, nil
}

// Columns is part of engine.Scanner.
func (s *scanner) Columns(ctx context.Context, function string, h engine.Hints) (*engine.Table, error) {
	t, err := s.tables.Columns(ctx, s.request(function, nil, h))
	if err != nil {
		return nil, err
	}
	return tableOf(t), nil
}

func (s *scanner) request(table string, columns []int, h engine.Hints) *sqlchildv1.ScanRequest {
	wanted := make([]uint32, len(columns))
	for i, c := range columns {
		wanted[i] = uint32(c)
	}
	r := h.Request(table, wanted)
	r.Statement, r.Arguments, r.PerTag, r.Newest, r.Valued = s.statement, h.Arguments, h.Few.Rows, h.Few.Newest, h.Few.Valued
	return r
}

// messages is the Arrow messages of a scan, of which ArrowData has some each.
type messages struct {
	stream grpc.ClientStream
	data   message.Received
	rest   []byte // of data
}

// Message is part of ipc.MessageReader. The body of what it returns is there until the next call.
func (m *messages) Message() (*ipc.Message, error) {
	for len(m.rest) == 0 {
		m.data.Free()
		if err := m.stream.RecvMsg(&m.data); err != nil {
			return nil, err
		}
		var err error
		if m.rest, err = m.data.Bytes(1); err != nil {
			return nil, err
		}
	}
	header, body, rest, err := arrowin.Split(m.rest)
	if err != nil {
		return nil, err
	}
	if m.rest = rest; header == nil {
		return nil, io.EOF
	}
	return ipc.NewMessage(memory.NewBufferBytes(header), memory.NewBufferBytes(body)), nil
}

// Retain is part of ipc.MessageReader.
func (m *messages) Retain() {}

// Release is part of ipc.MessageReader.
func (m *messages) Release() {}

// listTables asks for the tables there are.
func listTables(ctx context.Context, client sqlchildv1.TableServiceClient) ([]*engine.Table, error) {
	r, err := client.Tables(ctx, &sqlchildv1.TablesRequest{}, grpc.WaitForReady(true))
	if err != nil {
		return nil, err
	}
	var out []*engine.Table
	for _, t := range r.Tables {
		out = append(out, tableOf(t))
	}
	return out, nil
}

func tableOf(t *sqlchildv1.Table) *engine.Table {
	x := &engine.Table{Table: rewrite.Table{Name: t.Name, Small: t.Small, Exact: t.Exact, Internal: t.Internal}, Dynamic: t.Dynamic}
	for _, c := range t.Columns {
		x.Columns = append(x.Columns, c.Name)
		x.Roles = append(x.Roles, hint.Role(c.Role)) // their numbers are those of the wire
		x.Types = append(x.Types, engine.Type(c.Type))
	}
	if t.Function {
		x.Arguments = map[string]string{}
		for _, a := range t.Arguments {
			x.Arguments[a.Name] = a.Type
		}
	}
	return x
}
