package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/flight/gen/flight"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"

	"github.com/varvedb/varve/internal/release"
	"github.com/varvedb/varve/query"
	"github.com/varvedb/varve/server/arrowin"
)

const (
	// preparedIdle is how long a prepared statement lives that nobody uses.
	preparedIdle = time.Hour
	// maxPrepared is the most prepared statements of one caller, and maxPreparedAll that of all of them.
	maxPrepared    = 1000
	maxPreparedAll = 10_000

	maxBoundRows  = 1000
	maxBoundBytes = 256 << 10 // of parameters, encoded; they travel in tickets
)

var errNoHandle = errors.New("no such prepared statement; it was closed, lay idle for an hour, or is of another caller")

// prepared is a statement that a client prepared.
type prepared struct {
	owner     string
	statement Statement
	schema    []byte // its columns, as clients are told of them
	timer     *time.Timer

	// Guarded by the list it is in.
	bound  binding
	users  int  // executions at work
	closed bool // it is in no list any more, and the last user closes it
}

// binding is the parameters that were bound last.
type binding struct {
	args  []byte // as encodeArgs makes them, nil for none
	other bool   // they are of other types than the statement told, so that its columns may be others, too
}

// preparedStatements is those of all callers.
type preparedStatements struct {
	mu struct {
		sync.Mutex
		open map[handle]*prepared
		of   map[string]int // how many a caller has
	}
}

// add keeps a statement, which is the list's to close from then on, also where it fails.
func (l *preparedStatements) add(rand io.Reader, owner string, st Statement, schema []byte) (handle, error) {
	var h handle
	if _, err := io.ReadFull(rand, h[:]); err != nil {
		st.Close()
		return h, fmt.Errorf("make the handle of a prepared statement: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.of[owner] >= maxPrepared || len(l.mu.open) >= maxPreparedAll {
		st.Close()
		return h, fmt.Errorf("%d prepared statements are open, %d of this caller, most are %d and %d; close some: %w",
			len(l.mu.open), l.mu.of[owner], maxPreparedAll, maxPrepared, errTooMany)
	}
	if l.mu.open == nil {
		l.mu.open, l.mu.of = map[handle]*prepared{}, map[string]int{}
	}
	p := &prepared{owner: owner, statement: st, schema: schema}
	p.timer = time.AfterFunc(preparedIdle, func() { l.expire(h) })
	l.mu.open[h] = p
	l.mu.of[owner]++
	return h, nil
}

// expire closes a statement that nobody used for long.
func (l *preparedStatements) expire(h handle) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p := l.mu.open[h]; p != nil && p.users == 0 {
		l.dropLocked(h, p)
	}
}

func (l *preparedStatements) dropLocked(h handle, p *prepared) {
	p.timer.Stop()
	delete(l.mu.open, h)
	if l.mu.of[p.owner]--; l.mu.of[p.owner] == 0 {
		delete(l.mu.of, p.owner)
	}
	if p.closed = true; p.users == 0 {
		p.statement.Close()
	}
}

func (l *preparedStatements) findLocked(owner string, b []byte) (handle, *prepared, error) {
	var h handle
	if copy(h[:], b); len(b) == len(h) {
		if p := l.mu.open[h]; p != nil && p.owner == owner {
			return h, p, nil
		}
	}
	return h, nil, errNoHandle
}

// take is the statement of a handle, which lives at least until release is called.
func (l *preparedStatements) take(owner string, b []byte) (p *prepared, release func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, p, err = l.findLocked(owner, b)
	if err != nil {
		return nil, nil, err
	}
	p.users++
	p.timer.Stop()
	return p, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		p.users--
		switch {
		case p.users > 0:
		case p.closed:
			p.statement.Close()
		default:
			p.timer.Reset(preparedIdle)
		}
	}, nil
}

// bind keeps the parameters of the executions to come, and bound is those that were kept.
func (l *preparedStatements) bind(p *prepared, b binding) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p.bound = b
}

func (l *preparedStatements) bound(p *prepared) binding {
	l.mu.Lock()
	defer l.mu.Unlock()
	return p.bound
}

// close closes the statement of a handle; executions at work go on.
func (l *preparedStatements) close(owner string, b []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	h, p, err := l.findLocked(owner, b)
	if err != nil {
		return err
	}
	l.dropLocked(h, p)
	return nil
}

// closeAll closes what is left when the server stops.
func (l *preparedStatements) closeAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for h, p := range l.mu.open {
		l.dropLocked(h, p)
	}
}

// create is the action by which clients prepare. Both schemas are always told: JDBC knows a query by them.
func (s *flightSQL) create(ctx context.Context, r *flight.ActionCreatePreparedStatementRequest) (*flight.ActionCreatePreparedStatementResult, error) {
	st, err := s.prepare(ctx, r.GetQuery(), r.GetTransactionId())
	if err != nil {
		return nil, err
	}
	dataset, err := schemaBytes(st.Schema())
	if err != nil {
		st.Close()
		return nil, err
	}
	parameters, err := schemaBytes(toldParameters(st.Parameters()))
	if err != nil {
		st.Close()
		return nil, err
	}
	h, err := s.prepared.add(s.options.Rand, callerOf(ctx).name, st, dataset)
	if err != nil {
		return nil, err
	}
	return &flight.ActionCreatePreparedStatementResult{PreparedStatementHandle: h[:], DatasetSchema: dataset, ParameterSchema: parameters}, nil
}

// toldParameters is the parameters of a statement as clients are told of them. Instants are said to be of milliseconds: JDBC's driver
// writes milliseconds whatever the unit it is told. One that binds another unit is understood all the same, to the nanosecond.
func toldParameters(schema *arrow.Schema) *arrow.Schema {
	fields := slices.Clone(schema.Fields())
	for i, f := range fields {
		if t, ok := f.Type.(*arrow.TimestampType); ok {
			fields[i].Type = &arrow.TimestampType{Unit: arrow.Millisecond, TimeZone: t.TimeZone}
		}
	}
	return arrow.NewSchema(fields, nil)
}

// offerPrepared makes info say what a prepared statement answers. The ticket holds the parameters that are bound now, so that
// binding others changes nothing of it.
func (s *flightSQL) offerPrepared(ctx context.Context, c *flight.CommandPreparedStatementQuery, info *flight.FlightInfo) error {
	p, release, err := s.prepared.take(callerOf(ctx).name, c.GetPreparedStatementHandle())
	if err != nil {
		return err
	}
	defer release()
	bound := s.prepared.bound(p)
	if n := p.statement.Parameters().NumFields(); n > 0 && bound.args == nil {
		return fmt.Errorf("statement has %d parameters and none are bound: %w", n, query.ErrBadRequest)
	}
	x := execution{args: bound.args}
	copy(x.handle[:], c.GetPreparedStatementHandle())
	info.Schema = p.schema
	if bound.other || isUnknown(p.statement.Schema()) {
		schema, err := executedSchema(ctx, p.statement, bound.args)
		if err != nil {
			return err
		}
		if info.Schema, err = schemaBytes(schema); err != nil {
			return err
		}
	}
	return s.offer(ctx, x, func() (statement, error) { return boundStatement(p.statement, bound.args) }, info)
}

// boundStatement is a statement of the SQL process with the one row of parameters that is bound; the zero one of others.
func boundStatement(st Statement, args []byte) (out statement, err error) {
	p, ok := st.(*processStatement)
	rows, err := decodeArgs(args)
	if err != nil || !ok || len(rows) != 1 {
		return statement{}, err
	}
	out.sql = p.text
	out.values, err = sqlValues(rows[0])
	return out, err
}

// executedSchema is the columns that a statement answers for parameters, by beginning to execute it.
func executedSchema(ctx context.Context, st Statement, args []byte) (*arrow.Schema, error) {
	rows, err := decodeArgs(args)
	if err != nil {
		return nil, err
	}
	r, err := st.Execute(ctx, rows[0])
	if err != nil {
		return nil, err
	}
	defer r.Release()
	return r.Schema(), nil
}

// bind takes the parameters of a prepared statement from a stream of DoPut.
func (s *flightSQL) bind(c *flight.CommandPreparedStatementQuery, in *putStream) error {
	p, release, err := s.prepared.take(callerOf(in.Context()).name, c.GetPreparedStatementHandle())
	if err != nil {
		return err
	}
	defer release()
	r, err := arrowin.NewReader(in.next, arrowin.Limits{Rows: maxBoundRows, Bytes: 2 * int64(s.options.MaxMessageBytes)})
	if err != nil {
		return fmt.Errorf("parameters: %w", err)
	}
	defer r.Release()
	want := p.statement.Parameters()
	if have := r.Schema().NumFields(); have != want.NumFields() {
		return fmt.Errorf("%d parameters are bound, the statement has %d: %w", have, want.NumFields(), query.ErrBadRequest)
	}
	kept := argSchema(want, r.Schema())
	b := array.NewRecordBuilder(memory.DefaultAllocator, kept)
	defer b.Release()
	rows := int64(0)
	for {
		record, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("parameters: %w", err)
		}
		if rows += record.NumRows(); rows > maxBoundRows {
			return fmt.Errorf("%d rows of parameters, most is %d: %w", rows, maxBoundRows, errTooMany)
		}
		if err := arrowin.Guard(func() error { return appendArgs(b, record) }); err != nil {
			return fmt.Errorf("parameters: %w", err)
		}
	}
	if rows == 0 {
		return fmt.Errorf("no row of parameters: %w", query.ErrBadRequest)
	}
	bound := b.NewRecord()
	defer bound.Release()
	args, err := encodeArgs(bound)
	if err != nil {
		return err
	}
	s.prepared.bind(p, binding{args, !kept.Equal(want)})
	return nil
}

// argSchema is the types that parameters are kept in, of those a statement wants and those a client binds. Numbers, instants and booleans
// become what the statement wants, where nothing is lost by it. Texts stay texts, for the statement to read, and so does everything for a
// parameter of another type: one of which the statement says nothing is told to be a text, and means what is bound to it.
func argSchema(want, bound *arrow.Schema) *arrow.Schema {
	fields := slices.Clone(want.Fields())
	for i, f := range fields {
		typ := bound.Field(i).Type
		if d, ok := typ.(*arrow.DictionaryType); ok {
			typ = d.ValueType
		}
		switch wants, has := plainType(f.Type), plainType(typ); {
		case has != nil && (has.ID() == arrow.STRING || wants == nil || wants.ID() == arrow.STRING):
			fields[i].Type = has
		case wants != nil:
			fields[i].Type = wants
		default:
			fields[i].Type = arrow.BinaryTypes.String // nulls, or what is refused
		}
	}
	return arrow.NewSchema(fields, nil)
}

// plainType is the type that holds every value of a type that parameters are bound of: bool, int64, float64, utf8, binary or timestamp[ns, UTC].
// It is nil for others.
func plainType(d arrow.DataType) arrow.DataType {
	switch id := d.ID(); {
	case id == arrow.BOOL:
		return arrow.FixedWidthTypes.Boolean
	case arrow.IsInteger(id):
		return arrow.PrimitiveTypes.Int64
	case arrow.IsFloating(id):
		return arrow.PrimitiveTypes.Float64
	case id == arrow.STRING || id == arrow.LARGE_STRING:
		return arrow.BinaryTypes.String
	case id == arrow.BINARY || id == arrow.LARGE_BINARY:
		return arrow.BinaryTypes.Binary
	case id == arrow.TIMESTAMP || id == arrow.DATE32 || id == arrow.DATE64:
		return arrow.FixedWidthTypes.Timestamp_ns
	}
	return nil
}

// appendArgs appends parameters of the types they are kept in.
func appendArgs(b *array.RecordBuilder, record arrow.Record) error {
	for i, column := range record.Columns() {
		for row := range column.Len() {
			c := arrowin.At(column, row)
			if !appendArg(b.Field(i), c) {
				return fmt.Errorf("parameter %d is %s (%s), the statement takes %s: %w", i+1, c.Kind, column.DataType(), b.Schema().Field(i).Type, query.ErrBadRequest)
			}
		}
	}
	return nil
}

// appendArg appends one parameter; false where the column does not take it.
func appendArg(b array.Builder, c arrowin.Cell) bool {
	if c.Kind == arrowin.Null {
		b.AppendNull()
		return true
	}
	ok := false
	switch b := b.(type) {
	case *array.BooleanBuilder:
		if ok = c.Kind == arrowin.Bool; ok {
			b.Append(c.Int == 1)
		}
	case *array.Int64Builder:
		var n int64
		if n, ok = c.AsInt(); ok {
			b.Append(n)
		}
	case *array.Float64Builder:
		var f float64
		if f, ok = c.AsFloat(); ok {
			b.Append(f)
		}
	case *array.StringBuilder:
		if ok = c.Kind == arrowin.Text; ok {
			b.Append(c.Text)
		}
	case *array.BinaryBuilder:
		if ok = c.Kind == arrowin.Bytes || c.Kind == arrowin.Text; ok {
			b.AppendString(c.Text)
		}
	case *array.TimestampBuilder:
		if ok = c.Kind == arrowin.Time; ok {
			b.Append(arrow.Timestamp(c.Int))
		}
	}
	return ok
}

// encodeArgs is parameters as they travel in a ticket: an IPC stream.
func encodeArgs(record arrow.Record) ([]byte, error) {
	var out bytes.Buffer
	w := ipc.NewWriter(&out, ipc.WithSchema(record.Schema()))
	if err := errors.Join(w.Write(record), w.Close()); err != nil {
		return nil, fmt.Errorf("encode parameters: %w", err)
	}
	if out.Len() > maxBoundBytes {
		return nil, fmt.Errorf("parameters of %d bytes, most is %d: %w", out.Len(), maxBoundBytes, errTooMany)
	}
	return out.Bytes(), nil
}

// decodeArgs is the rows of parameters that encodeArgs made and a ticket's code vouches for, each by itself; one nil for none.
func decodeArgs(b []byte) ([]arrow.Record, error) {
	if len(b) == 0 {
		return []arrow.Record{nil}, nil
	}
	r, err := ipc.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("decode parameters: %w", err)
	}
	defer release.Reader(r)
	var rows []arrow.Record
	for r.Next() {
		for i := range r.Record().NumRows() {
			rows = append(rows, r.Record().NewSlice(i, i+1))
		}
	}
	return rows, r.Err()
}
