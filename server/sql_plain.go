package server

import (
	"bytes"
	"context"
	"fmt"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/ipc"

	sqlchildv1 "github.com/varvedb/varve/proto/varve/sqlchild/v1"
	"github.com/varvedb/varve/query"
	"github.com/varvedb/varve/server/relation"
	"github.com/varvedb/varve/storage"
)

// A statement that selects columns of one table, under conditions that its scan is narrowed by to the row, is plain: the SQL process works
// out what it wants, and the server reads that straight into the answer.

// answerTo is where the answer of a statement goes: whole messages of one Arrow IPC stream, the schema first.
type answerTo struct {
	put  func(ipc []byte) error // of what the SQL process answers; it holds until put returns
	scan query.Sink             // of what the server reads itself; nil: put gets that, too
}

func (a answerTo) sink() query.Sink {
	if a.scan != nil {
		return a.scan
	}
	return &putSink{put: a.put}
}

// putSink hands over the messages of an Arrow stream as bytes.
type putSink struct {
	put    func(ipc []byte) error
	buffer []byte
}

// Start is part of query.Sink.
func (s *putSink) Start() error { return nil }

// WritePayload hands over one Arrow message.
func (s *putSink) WritePayload(p ipc.Payload) error {
	meta := p.Meta()
	defer meta.Release()
	b := bytes.NewBuffer(appendIPCHeader(s.buffer[:0], meta.Bytes()))
	if err := p.SerializeBody(b); err != nil {
		return err
	}
	s.buffer = b.Bytes()
	return s.put(s.buffer)
}

// Close hands over the end of the stream.
func (s *putSink) Close() error { return s.put([]byte{0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0}) }

// namedSink writes a schema in place of that which comes.
type namedSink struct {
	query.Sink
	schema *arrow.Schema // nil once it is written
}

// WritePayload writes one Arrow message.
func (s *namedSink) WritePayload(p ipc.Payload) error {
	if s.schema == nil {
		return s.Sink.WritePayload(p)
	}
	schema := s.schema
	s.schema = nil
	return ipc.NewWriterWithPayloadWriter(openSink{s.Sink}, ipc.WithSchema(schema)).Close()
}

// Lend is part of query.Lender.
func (s *namedSink) Lend(m *query.Memory) {
	if l, ok := s.Sink.(query.Lender); ok {
		l.Lend(m)
	}
}

// openSink is a sink that neither begins nor ends here.
type openSink struct{ query.Sink }

// Start is part of query.Sink.
func (openSink) Start() error { return nil }

// Close is part of query.Sink.
func (openSink) Close() error { return nil }

// discard is a sink of what nobody reads.
type discard struct{}

func (discard) Start() error                   { return nil }
func (discard) WritePayload(ipc.Payload) error { return nil }
func (discard) Close() error                   { return nil }

// runOpen runs a statement that is open. What is plain of it is read when it has no turn at the SQL process any more: a client that is slow to
// read it keeps no other statement from running.
func (s *Server) runOpen(ctx context.Context, x *openStatement, r *sqlchildv1.StatementRequest, to answerTo) error {
	plain, err := s.sql.Execute(ctx, callerOf(ctx).name, r, to.put)
	if err != nil || plain == nil {
		return err
	}
	return s.readPlain(ctx, x, plain, to.sink())
}

// readPlain reads the answer of a plain statement. The SQL process is believed no more than whoever wrote the statement: the scan is for that
// one, whatever it names, and has its rights.
func (s *Server) readPlain(ctx context.Context, x *openStatement, p *sqlchildv1.Plain, out query.Sink) error {
	if p.Scan == nil {
		return fmt.Errorf("a plain answer without a scan: %w", relation.ErrBadScan)
	}
	p.Scan.Statement = x.number
	table, at, done, err := (&tableService{Server: s}).moment(p.Scan)
	if err != nil {
		return err
	}
	defer done()
	read := scanRead{table: table, scan: scanOf(p.Scan), plain: true}
	read.scan.Runs, read.scan.Limit, read.scan.FirstID, read.scan.EndID = false, p.Limit, p.FirstId, p.EndId
	schema, err := plainSchema(table, read.scan.Columns, p.Names)
	if err != nil {
		return err
	}
	at.Read = func(r storage.Reading) { read.Reading = r }
	read.rows, err = table.Read(ctx, at, read.scan, &namedSink{out, schema})
	x.note(read)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// plainSchema is the schema of a plain answer: as the SQL process has it, which knows of every column that it may be null and nothing else.
func plainSchema(table *relation.Table, columns []int, names []string) (*arrow.Schema, error) {
	if !table.Exact || len(columns) != len(names) || len(columns) == 0 {
		return nil, fmt.Errorf("a plain answer of %d columns of table %s with %d names: %w", len(columns), table.Name, len(names), relation.ErrBadScan)
	}
	fields := make([]arrow.Field, len(columns))
	seen := map[int]bool{}
	for i, c := range columns {
		if c < 0 || c >= len(table.Columns) || seen[c] {
			return nil, fmt.Errorf("column %d of table %s in a plain answer: %w", c, table.Name, relation.ErrBadScan)
		}
		seen[c] = true
		fields[i] = arrow.Field{Name: names[i], Type: table.Columns[c].Type, Nullable: true}
	}
	return arrow.NewSchema(fields, nil), nil
}
