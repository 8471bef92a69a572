package server

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/flight/gen/flight"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"golang.org/x/sync/semaphore"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/varvedb/varve/query"
	"github.com/varvedb/varve/server/arrowin"
)

// flightSQL answers what of Flight is Flight SQL: commands, tickets and actions whose messages are packed in an Any.
//
//	statement → prepare → ticket, signed → execute → batches, one at a time
//
// Nothing is read ahead of a client: the next batch is asked for when the one before went to the transport.
type flightSQL struct {
	*Server
	tickets  tickets
	prepared preparedStatements
	running  executions
	ingests  *semaphore.Weighted // of streams that are ingested at once
}

func newFlightSQL(s *Server) (*flightSQL, error) {
	t, err := newTickets(s.options.Rand, s.options.Now)
	if err != nil {
		return nil, err
	}
	return &flightSQL{Server: s, tickets: t, ingests: semaphore.NewWeighted(maxIngests)}, nil
}

const (
	// maxSQLCommand bounds a command or ticket, and with it the text of a statement.
	maxSQLCommand = 1 << 20
	// anyOfSQL begins the type of every message of Flight SQL in an Any. No tag that is asked for by name begins so.
	anyOfSQL = "type.googleapis.com/arrow.flight.protocol.sql."
)

// isSQL reports whether b is a message of Flight SQL, and not one of Varve's own.
func isSQL(b []byte) bool {
	f := field{rest: b}
	return len(b) > 0 && f.next(b) == nil && f.num == 1 && f.typ == protowire.BytesType && strings.HasPrefix(string(f.data[:min(len(f.data), len(anyOfSQL))]), anyOfSQL)
}

// sqlMessages makes the messages that are taken, by name. The names on the wire reach no other registry.
var sqlMessages = map[string]func() proto.Message{
	"ActionClosePreparedStatementRequest":  func() proto.Message { return &flight.ActionClosePreparedStatementRequest{} },
	"ActionCreatePreparedStatementRequest": func() proto.Message { return &flight.ActionCreatePreparedStatementRequest{} },
	//lint:ignore SA1019 older clients send it
	"ActionCancelQueryRequest":       func() proto.Message { return &flight.ActionCancelQueryRequest{} },
	"CommandGetCatalogs":             func() proto.Message { return &flight.CommandGetCatalogs{} },
	"CommandGetCrossReference":       func() proto.Message { return &flight.CommandGetCrossReference{} },
	"CommandGetDbSchemas":            func() proto.Message { return &flight.CommandGetDbSchemas{} },
	"CommandGetExportedKeys":         func() proto.Message { return &flight.CommandGetExportedKeys{} },
	"CommandGetImportedKeys":         func() proto.Message { return &flight.CommandGetImportedKeys{} },
	"CommandGetPrimaryKeys":          func() proto.Message { return &flight.CommandGetPrimaryKeys{} },
	"CommandGetSqlInfo":              func() proto.Message { return &flight.CommandGetSqlInfo{} },
	"CommandGetTableTypes":           func() proto.Message { return &flight.CommandGetTableTypes{} },
	"CommandGetTables":               func() proto.Message { return &flight.CommandGetTables{} },
	"CommandGetXdbcTypeInfo":         func() proto.Message { return &flight.CommandGetXdbcTypeInfo{} },
	"CommandPreparedStatementQuery":  func() proto.Message { return &flight.CommandPreparedStatementQuery{} },
	"CommandPreparedStatementUpdate": func() proto.Message { return &flight.CommandPreparedStatementUpdate{} },
	"CommandStatementQuery":          func() proto.Message { return &flight.CommandStatementQuery{} },
	"CommandStatementUpdate":         func() proto.Message { return &flight.CommandStatementUpdate{} },
	"TicketStatementQuery":           func() proto.Message { return &flight.TicketStatementQuery{} },
}

// parseSQL is the message of Flight SQL that b packs: one of sqlMessages, or a *statementIngest.
func parseSQL(b []byte) (any, error) {
	if len(b) > maxSQLCommand {
		return nil, fmt.Errorf("command of %d bytes, most is %d: %w", len(b), maxSQLCommand, errTooMany)
	}
	var name string
	var value []byte
	for f := (field{rest: b}); len(f.rest) > 0; {
		if err := f.next(f.rest); err != nil {
			return nil, wireError("command", err)
		}
		switch {
		case f.num == 1 && f.typ == protowire.BytesType:
			name = strings.TrimPrefix(string(f.data), anyOfSQL)
		case f.num == 2 && f.typ == protowire.BytesType:
			value = f.data
		}
	}
	if name == "CommandStatementIngest" {
		return parseStatementIngest(value)
	}
	make, ok := sqlMessages[name]
	if !ok {
		return nil, fmt.Errorf("%.80q of Flight SQL: %w", name, errNotOffered)
	}
	m := make()
	if err := proto.Unmarshal(value, m); err != nil {
		return nil, fmt.Errorf("decode %s: %w: %w", name, err, errWire)
	}
	return m, nil
}

// packSQL packs a message of Flight SQL as parseSQL takes it.
func packSQL(m proto.Message) ([]byte, error) {
	value, err := proto.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", m.ProtoReflect().Descriptor().Name(), err)
	}
	b := protowire.AppendTag(nil, 1, protowire.BytesType)
	b = protowire.AppendString(b, anyOfSQL+string(m.ProtoReflect().Descriptor().Name()))
	b = protowire.AppendTag(b, 2, protowire.BytesType)
	return protowire.AppendBytes(b, value), nil
}

// info is GetFlightInfo.
func (s *flightSQL) info(ctx context.Context, d *flight.FlightDescriptor) (*flight.FlightInfo, error) {
	command, err := parseSQL(d.GetCmd())
	if err != nil {
		return nil, err
	}
	info := &flight.FlightInfo{FlightDescriptor: d, TotalRecords: -1, TotalBytes: -1, Ordered: true}
	switch c := command.(type) {
	case *flight.CommandStatementQuery:
		return info, s.offerStatement(ctx, c, info)
	case *flight.CommandPreparedStatementQuery:
		return info, s.offerPrepared(ctx, c, info)
	}
	m, err := metadataOf(command, s.options.Version)
	if err != nil {
		return nil, err
	}
	info.Endpoint = []*flight.FlightEndpoint{{Ticket: &flight.Ticket{Ticket: d.GetCmd()}}}
	info.Schema, err = schemaBytes(m.schema)
	return info, err
}

// schema is GetSchema.
func (s *flightSQL) schema(ctx context.Context, d *flight.FlightDescriptor) (*flight.SchemaResult, error) {
	info, err := s.info(ctx, d)
	if err != nil {
		return nil, err
	}
	return &flight.SchemaResult{Schema: info.Schema}, nil
}

// get is DoGet.
func (s *flightSQL) get(t *flight.Ticket, stream flight.FlightService_DoGetServer) error {
	command, err := parseSQL(t.GetTicket())
	if err != nil {
		return err
	}
	if t, ok := command.(*flight.TicketStatementQuery); ok {
		return s.execute(t.GetStatementHandle(), stream)
	}
	m, err := metadataOf(command, s.options.Version)
	if err != nil {
		return err
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, m.schema)
	defer b.Release()
	m.fill(b)
	record := b.NewRecord()
	defer record.Release()
	w := ipc.NewWriterWithPayloadWriter(newFlightSender(stream, &s.buffers), ipc.WithSchema(m.schema))
	if err := w.Write(record); err != nil {
		return fmt.Errorf("send metadata: %w", err)
	}
	return w.Close()
}

// prepare prepares the text of a statement.
func (s *flightSQL) prepare(ctx context.Context, text string, transaction []byte) (Statement, error) {
	if len(transaction) > 0 {
		return nil, fmt.Errorf("a statement in a transaction; there are none here, every statement reads one moment: %w", errNotOffered)
	}
	if strings.TrimSpace(text) == "" {
		return nil, fmt.Errorf("statement is empty: %w", query.ErrBadRequest)
	}
	return s.options.Statements.Prepare(ctx, text, nil)
}

// offerStatement makes info say what a statement answers, with a ticket for it.
func (s *flightSQL) offerStatement(ctx context.Context, c *flight.CommandStatementQuery, info *flight.FlightInfo) error {
	st, err := s.prepare(ctx, c.GetQuery(), c.GetTransactionId())
	if err != nil {
		return err
	}
	defer st.Close()
	if n := st.Parameters().NumFields(); n > 0 {
		return fmt.Errorf("statement has %d parameters; prepare it and bind them: %w", n, query.ErrBadRequest)
	}
	if info.Schema, err = schemaBytes(st.Schema()); err != nil {
		return err
	}
	return s.offer(ctx, execution{text: c.GetQuery()}, func() (statement, error) { return statement{sql: c.GetQuery()}, nil }, info)
}

// offer completes info with a ticket for the execution that gives an answer; or with several, where a client asks for that, of which each gives
// a part of what the statement answers. The zero one has no parts.
func (s *flightSQL) offer(ctx context.Context, x execution, of func() (statement, error), info *flight.FlightInfo) error {
	parts, err := s.parts(ctx, of)
	if err != nil {
		return err
	}
	if len(parts) < 2 {
		parts = []execution{x}
	}
	for _, x := range parts {
		ticket, expires, err := s.tickets.issue(callerOf(ctx).name, x)
		if err != nil {
			return err
		}
		packed, err := packSQL(&flight.TicketStatementQuery{StatementHandle: ticket})
		if err != nil {
			return err
		}
		if len(packed) > maxSQLCommand {
			return fmt.Errorf("statement and its parameters have %d bytes together, most is %d: %w", len(packed), maxSQLCommand, errTooMany)
		}
		info.Endpoint = append(info.Endpoint, &flight.FlightEndpoint{Ticket: &flight.Ticket{Ticket: packed}, ExpirationTime: expires})
	}
	info.Ordered = len(parts) == 1
	return nil
}

// execute answers the statement of a ticket.
func (s *flightSQL) execute(ticket []byte, stream flight.FlightService_DoGetServer) error {
	x, err := s.tickets.verify(callerOf(stream.Context()).name, ticket)
	if err != nil {
		return err
	}
	ctx, done, err := s.running.begin(stream.Context(), x)
	if err != nil {
		return err
	}
	defer done()
	begun, out, rows := time.Now(), newFlightSender(stream, &s.buffers), uint64(0)
	if x.isPart() {
		rows, err = s.sendPart(ctx, x.args, out)
	} else {
		rows, err = s.sendStatement(ctx, x, out)
	}
	s.metrics.answered("flight_sql", rows, time.Since(begun))
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// sendStatement sends what the statement of a ticket answers.
func (s *flightSQL) sendStatement(ctx context.Context, x execution, out *flightSender) (uint64, error) {
	st, release, err := s.statementOf(ctx, x)
	if err != nil {
		return 0, err
	}
	defer release()
	return s.send(ctx, st, x.args, out)
}

// statementOf is the statement of an execution; release lets go of it.
func (s *flightSQL) statementOf(ctx context.Context, x execution) (Statement, func(), error) {
	if x.handle != (handle{}) {
		p, release, err := s.prepared.take(callerOf(ctx).name, x.handle[:])
		if err != nil {
			return nil, nil, err
		}
		return p.statement, release, nil
	}
	if p, ok := s.options.Statements.(*processStatements); ok { // it was described for the ticket
		return &processStatement{server: p.Server, text: x.text}, func() {}, nil
	}
	st, err := s.prepare(ctx, x.text, nil)
	if err != nil {
		return nil, nil, err
	}
	return st, st.Close, nil
}

// send executes a statement for each row of its parameters, once without any, and sends what it answers.
func (s *flightSQL) send(ctx context.Context, st Statement, args []byte, sink *flightSender) (rows uint64, err error) {
	bound, err := decodeArgs(args)
	if err != nil {
		return 0, err
	}
	if p, ok := st.(*processStatement); ok {
		return forwardAnswers(ctx, p, bound, sink)
	}
	var w *ipc.Writer // made with the columns of the first execution
	for _, one := range bound {
		n, err := s.sendOne(ctx, st, one, sink, &w)
		rows += n
		if err != nil {
			return rows, err
		}
	}
	return rows, w.Close()
}

// forwardAnswers sends what a statement answers for each row of parameters, message by message, as one stream: the schema of the first is that
// of all.
func forwardAnswers(ctx context.Context, st *processStatement, bound []arrow.Record, out *flightSender) (rows uint64, err error) {
	a := &flightAnswers{flightSender: out}
	for _, args := range bound {
		a.begun = false
		if err := st.stream(ctx, args, a.forward, a); err != nil {
			return a.rows, err
		}
	}
	return a.rows, nil
}

// flightAnswers is answers on their way out as one. It takes messages as they came, and is the sink of a scan.
type flightAnswers struct {
	*flightSender
	schema []byte // of the first
	begun  bool   // the schema of the answer at hand is here
	rows   uint64
}

// goesOut counts a message, and reports whether it goes out.
func (a *flightAnswers) goesOut(header []byte) (bool, error) {
	begun := a.begun
	a.begun = true
	schema := bytes.TrimRight(header, "\x00") // the SQL process pads its own
	switch {
	case begun:
		a.rows += arrowin.Rows(header)
	case a.schema == nil:
		a.schema = bytes.Clone(schema)
	case !bytes.Equal(a.schema, schema):
		return false, fmt.Errorf("rows of parameters with answers of different columns; bind them one by one: %w", query.ErrBadRequest)
	default:
		return false, nil
	}
	return true, nil
}

func (a *flightAnswers) forward(header, body []byte) error {
	if ok, err := a.goesOut(header); !ok {
		return err
	}
	return a.flightSender.forward(header, body)
}

// WritePayload is part of query.Sink.
func (a *flightAnswers) WritePayload(p ipc.Payload) error {
	meta := p.Meta()
	defer meta.Release()
	if ok, err := a.goesOut(meta.Bytes()); !ok {
		return err
	}
	return a.flightSender.WritePayload(p)
}

// sendOne executes a statement for one row of parameters, nil for none. A batch is let go of as soon as it is sent.
func (s *flightSQL) sendOne(ctx context.Context, st Statement, args arrow.Record, sink query.Sink, w **ipc.Writer) (rows uint64, err error) {
	reader, err := st.Execute(ctx, args)
	if err != nil {
		return 0, err
	}
	defer reader.Release()
	if *w == nil {
		*w = ipc.NewWriterWithPayloadWriter(sink, ipc.WithSchema(reader.Schema()))
	}
	for reader.Next() {
		batch := reader.Record()
		if err := (*w).Write(batch); err != nil {
			return rows, fmt.Errorf("send %d rows: %w", batch.NumRows(), err)
		}
		rows += uint64(batch.NumRows())
		if ctx.Err() != nil {
			return rows, context.Cause(ctx)
		}
	}
	return rows, reader.Err()
}
