package server

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/varvedb/varve/model"
	sqlchildv1 "github.com/varvedb/varve/proto/varve/sqlchild/v1"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/query"
	"github.com/varvedb/varve/server/hint"
	"github.com/varvedb/varve/server/relation"
	"github.com/varvedb/varve/server/sqlchild"
	"github.com/varvedb/varve/storage"
)

// maxStatementBytes is the longest statement taken; maxStatementValues the most values of parameters.
const (
	maxStatementBytes  = 1 << 20
	maxStatementValues = 10_000
)

// statement is an SQL statement, whichever door it came through.
type statement struct {
	sql     string
	values  []*varvev1.SqlValue
	timeout time.Duration // at most that of the server, which 0 stands for

	shape *sqlchildv1.Shape // of one that is prepared and plain; nil of others
}

func statementOf(r *varvev1.SqlRequest) statement {
	return statement{sql: r.Sql, values: r.Parameters, timeout: time.Duration(r.TimeoutMs) * time.Millisecond}
}

func (st *statement) check() error {
	switch {
	case len(st.sql) > maxStatementBytes:
		return fmt.Errorf("the statement has %d bytes, most is %d: %w", len(st.sql), maxStatementBytes, query.ErrBadRequest)
	case len(st.values) > maxStatementValues:
		return fmt.Errorf("%d parameters, most is %d: %w", len(st.values), maxStatementValues, query.ErrBadRequest)
	}
	return nil
}

// answerStatement runs a statement on behalf of the caller of ctx and hands its answer over as it comes. It is where every door comes in.
func (s *Server) answerStatement(ctx context.Context, door string, st statement, to answerTo) error {
	start := time.Now()
	err := s.runStatement(ctx, st, to)
	s.metrics.answered(door, 0, time.Since(start))
	return err
}

// runStatement is answerStatement for doors that count for themselves.
func (s *Server) runStatement(ctx context.Context, st statement, to answerTo) error {
	if plain, ok := hint.Plain(st.shape, st.values); ok {
		return s.withStatement(ctx, st, func(ctx context.Context, x *openStatement, _ *sqlchildv1.StatementRequest) error {
			return s.readPlain(ctx, x, plain, to.sink())
		})
	}
	inner, explain := explained(st.sql)
	if st.sql = inner; explain {
		return s.explainStatement(ctx, st, to.put)
	}
	if answer, err := commandOf(ctx, st); answer != nil || err != nil {
		if err != nil {
			return err
		}
		return sendCommand(answer, to.put)
	}
	return s.withStatement(ctx, st, func(ctx context.Context, x *openStatement, r *sqlchildv1.StatementRequest) error {
		return s.runOpen(ctx, x, r, to)
	})
}

// describeStatement says which columns and parameters a statement has.
func (s *Server) describeStatement(ctx context.Context, st statement) (*varvev1.SqlDescription, error) {
	p, err := s.prepareStatement(ctx, st)
	return p.GetDescription(), err
}

// prepareStatement says what there is to know of a statement before it has values.
func (s *Server) prepareStatement(ctx context.Context, st statement) (out *sqlchildv1.Prepared, err error) {
	inner, explain := explained(st.sql)
	st.sql = inner
	if !explain {
		if answer, err := commandOf(ctx, st); answer != nil || err != nil {
			d, err := describeCommand(answer, err)
			return &sqlchildv1.Prepared{Description: d}, err
		}
	}
	err = s.withStatement(ctx, st, func(ctx context.Context, _ *openStatement, r *sqlchildv1.StatementRequest) error {
		r.Parameters = nil
		out, err = s.sql.Prepare(ctx, callerOf(ctx).name, r)
		return err
	})
	if err == nil && explain {
		out.Plain = nil
		out.Description.Columns, err = schemaBytes(explainSchema)
	}
	return out, err
}

// withStatement lets the SQL process ask for tables while ask runs.
func (s *Server) withStatement(ctx context.Context, st statement, ask func(context.Context, *openStatement, *sqlchildv1.StatementRequest) error) error {
	if err := st.check(); err != nil {
		return err
	}
	timeout := s.sql.Timeout()
	if st.timeout > 0 {
		timeout = min(timeout, st.timeout)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("%w: %s", sqlchild.ErrTimeout, timeout))
	defer cancel()
	x := s.statements.begin(ctx)
	defer s.endStatement(x)
	return ask(ctx, x, &sqlchildv1.StatementRequest{Statement: x.number, Sql: st.sql, Parameters: st.values})
}

// statements are those that run, by the number that scans name.
type statements struct {
	last atomic.Uint64
	mu   sync.Mutex
	open map[uint64]*openStatement
}

// openStatement is a statement that runs: whose it is, and the one moment that all its scans see.
type openStatement struct {
	number uint64
	ctx    context.Context // of the call, with its caller
	cancel context.CancelFunc

	scans sync.WaitGroup
	mu    sync.Mutex
	ended bool
	view  *storage.View // nil before the first scan
	reads []scanRead    // that ended
}

// begin notes a statement.
func (s *statements) begin(ctx context.Context) *openStatement {
	x := &openStatement{number: s.last.Add(1)}
	x.ctx, x.cancel = context.WithCancel(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open[x.number] = x
	return x
}

// scanPatience is how long the scans of a statement may go on that is over. The process does not read one that does, nor lets it go.
const scanPatience = 10 * time.Second

// endStatement ends a statement and lets go of its moment, once no scan reads there any more.
func (s *Server) endStatement(x *openStatement) {
	x.cancel()
	s.statements.mu.Lock()
	delete(s.statements.open, x.number)
	s.statements.mu.Unlock()
	timer := time.AfterFunc(scanPatience, func() { s.sql.Kill("it did not end the scans of a statement that is over") })
	defer timer.Stop()
	x.end()
	if x.view != nil {
		x.view.Close()
	}
}

// end lets no scan begin any more and waits for those that have.
func (x *openStatement) end() {
	x.mu.Lock()
	x.ended = true
	x.mu.Unlock()
	x.scans.Wait()
}

func (s *statements) find(number uint64) (*openStatement, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x, ok := s.open[number]
	if !ok {
		return nil, status.Errorf(codes.Aborted, "statement %d is over", number)
	}
	return x, nil
}

// scan is the moment of a statement, for one scan, which ends with done.
func (x *openStatement) scan(db *storage.DB) (view *storage.View, done func(), err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ended {
		return nil, nil, status.Errorf(codes.Aborted, "statement %d is over", x.number)
	}
	if x.view == nil {
		if x.view, err = db.View(x.ctx, storage.Accepted); err != nil {
			return nil, nil, fmt.Errorf("take view: %w", err)
		}
	}
	x.scans.Add(1)
	return x.view, x.scans.Done, nil
}

// tableService is what the SQL process asks. It has no rights of its own: a scan names the statement that it is for, and has the rights of
// whoever sent that.
type tableService struct {
	sqlchildv1.UnimplementedTableServiceServer
	*Server
}

// sqlTypes are the types of columns on the wire, by their Arrow type.
var sqlTypes = map[string]sqlchildv1.Type{
	"bool": sqlchildv1.Type_TYPE_BOOLEAN, "int64": sqlchildv1.Type_TYPE_BIGINT, "float64": sqlchildv1.Type_TYPE_DOUBLE, "utf8": sqlchildv1.Type_TYPE_VARCHAR,
	"timestamp": sqlchildv1.Type_TYPE_TIMESTAMPTZ, "binary": sqlchildv1.Type_TYPE_BLOB,
}

func (s *tableService) Tables(context.Context, *sqlchildv1.TablesRequest) (*sqlchildv1.TablesResponse, error) {
	out := &sqlchildv1.TablesResponse{}
	for _, t := range relation.Tables {
		out.Tables = append(out.Tables, tableToWire(t, t.Columns))
	}
	for _, t := range relation.Internal {
		x := tableToWire(t, t.Columns)
		x.Internal = true
		out.Tables = append(out.Tables, x)
	}
	return out, nil
}

func tableToWire(t *relation.Table, columns []relation.Column) *sqlchildv1.Table {
	x := &sqlchildv1.Table{Name: t.Name, Small: t.Small, Exact: t.Exact, Function: t.Arguments != nil, Dynamic: t.Dynamic()}
	for _, c := range columns {
		x.Columns = append(x.Columns, &sqlchildv1.Column{Name: c.Name, Type: sqlTypes[c.Type.Name()], Role: sqlchildv1.Role(c.Role)})
	}
	for _, a := range t.Arguments {
		x.Arguments = append(x.Arguments, &sqlchildv1.Argument{Name: a.Name, Type: a.Type})
	}
	return x
}

func (s *tableService) Columns(ctx context.Context, r *sqlchildv1.ScanRequest) (out *sqlchildv1.Table, err error) {
	err = s.guard("columns for SQL", func() error {
		table, at, done, err := s.moment(r)
		if err != nil {
			return err
		}
		defer done()
		columns, err := table.ColumnsWith(at, scanOf(r))
		out = tableToWire(table, columns)
		return err
	})
	return out, toStatus(err)
}

func (s *tableService) Scan(r *sqlchildv1.ScanRequest, stream grpc.ServerStreamingServer[varvev1.ArrowData]) error {
	return toStatus(s.guard("scan for SQL", func() error { return s.scan(r, stream) }))
}

func (s *tableService) scan(r *sqlchildv1.ScanRequest, stream grpc.ServerStreamingServer[varvev1.ArrowData]) error {
	table, at, done, err := s.moment(r)
	if err != nil {
		return err
	}
	defer done()
	x, err := s.statements.find(r.Statement)
	if err != nil {
		return err
	}
	// A scan ends with its statement as well as with its call.
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer context.AfterFunc(x.ctx, func() { cancel(context.Cause(x.ctx)) })()
	defer cancel(nil)
	read := scanRead{table: table, scan: scanOf(r)}
	at.Read = func(r storage.Reading) { read.Reading = r }
	turn := scanTurn{stream, s.scanTurns}
	turn.take()
	defer turn.give()
	read.rows, err = table.Read(ctx, at, read.scan, newArrowSender(turn, &s.buffers))
	x.note(read)
	return err
}

// scanTurn is the stream of a scan for the SQL process, which has a turn while it makes rows and none while it sends them. There are fewer turns than
// processors: the scheduler of Go leaves one to what calculates for 10 ms at a time, and for so long a batch of samples that comes in would wait.
type scanTurn struct {
	grpc.ServerStream
	turns chan struct{}
}

func newScanTurns() chan struct{} { return make(chan struct{}, max(1, runtime.GOMAXPROCS(0)-2)) }

func (t scanTurn) take() { t.turns <- struct{}{} }
func (t scanTurn) give() { <-t.turns }

// SendMsg is part of grpc.ServerStream.
func (t scanTurn) SendMsg(m any) error {
	t.give()
	defer t.take()
	return t.ServerStream.SendMsg(m)
}

// moment is the table that a scan is of and where it is read, with the rights of the statement that it is for. done ends the scan.
func (s *tableService) moment(r *sqlchildv1.ScanRequest) (table *relation.Table, at relation.Moment, done func(), err error) {
	x, err := s.statements.find(r.Statement)
	if err != nil {
		return nil, at, nil, err
	}
	if callerOf(x.ctx).scope&Read == 0 {
		return nil, at, nil, fmt.Errorf("table %.80q needs scope %s: %w", r.Table, Read, errForbidden)
	}
	table, ok := relation.Find(r.Table)
	if !ok {
		return nil, at, nil, fmt.Errorf("table %.80q: %w", r.Table, relation.ErrBadScan)
	}
	view, done, err := x.scan(s.db)
	if err != nil {
		return nil, at, nil, err
	}
	return table, relation.Moment{Catalog: s.db.Catalog(), View: view, Engine: s.engine, Now: s.options.Now(), Rejects: s.rejects.rows(callerOf(x.ctx).name)}, done, nil
}

func scanOf(r *sqlchildv1.ScanRequest) *relation.Scan {
	scan := &relation.Scan{In: model.All, Severities: query.Severities(r.Severities & 7), Nothing: r.Nothing, Runs: true, PerTag: r.PerTag, Newest: r.Newest, Valued: r.Valued, Arguments: r.Arguments}
	if len(r.Levels) > 0 {
		scan.Levels = slices.Clone(r.Levels)
	}
	for _, c := range r.Columns {
		scan.Columns = append(scan.Columns, int(c))
	}
	if r.Names != nil {
		scan.Names = append([]string{}, r.Names.Values...)
	}
	if r.Ids != nil {
		scan.IDs = append([]uint32{}, r.Ids.Values...)
	}
	if r.StartNs != nil {
		scan.In.Start = max(scan.In.Start, *r.StartNs)
	}
	if r.EndNs != nil {
		scan.In.End = *r.EndNs
	}
	return scan
}

// sqlService answers statements over gRPC.
type sqlService struct {
	varvev1.UnimplementedSqlServiceServer
	*Server
}

func (s *sqlService) Query(r *varvev1.SqlRequest, stream grpc.ServerStreamingServer[varvev1.ArrowData]) error {
	scan := newArrowSender(stream, &s.buffers)
	err := s.answerStatement(stream.Context(), "sql", statementOf(r), answerTo{func(ipc []byte) error { return stream.Send(&varvev1.ArrowData{Ipc: ipc}) }, scan})
	return scan.end(err)
}

func (s *sqlService) Describe(ctx context.Context, r *varvev1.SqlRequest) (*varvev1.SqlDescription, error) {
	return s.describeStatement(ctx, statementOf(r))
}
