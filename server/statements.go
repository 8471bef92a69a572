package server

import (
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"

	sqlchildv1 "github.com/varvedb/varve/proto/varve/sqlchild/v1"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/query"
	"github.com/varvedb/varve/server/arrowin"
)

// Statements prepares SQL for a caller, who is in the context as for every other call. Every door that takes SQL asks here.
type Statements interface {
	// Prepare says of which columns the answer is and which parameters there are. types are what a client says of its parameters,
	// nil where it does not.
	Prepare(ctx context.Context, text string, types []arrow.DataType) (Statement, error)
}

// Statement is prepared once and executed any number of times, also at the same time.
type Statement interface {
	// Schema is of the answer. Columns of tables are bool, int64, float64, utf8, binary and timestamp[ns, UTC]; expressions may also be
	// decimals, dates, times, intervals, instants without a zone, lists and structs.
	Schema() *arrow.Schema
	Parameters() *arrow.Schema // in their order; names "1", "2", …
	// Execute answers for args, one row, nil for none. The reader ends when ctx does.
	Execute(ctx context.Context, args arrow.Record) (array.RecordReader, error)
	Close()
}

// processStatements asks the SQL process.
type processStatements struct{ *Server }

// Prepare is part of Statements.
func (s *processStatements) Prepare(ctx context.Context, text string, _ []arrow.DataType) (Statement, error) {
	p, err := s.prepareStatement(ctx, statement{sql: text})
	if err != nil {
		return nil, err
	}
	st, d := &processStatement{server: s.Server, text: text, shape: p.Plain}, p.Description
	if st.schema, err = toldSchema(d.GetColumns()); err != nil {
		return nil, fmt.Errorf("columns of a statement: %w", err)
	}
	if st.parameters, err = toldSchema(d.GetParameters()); err != nil {
		return nil, fmt.Errorf("parameters of a statement: %w", err)
	}
	return st, nil
}

// The limits of what the SQL process answers: it runs what callers write, and is believed no more than they are.
var answerLimits = arrowin.Limits{Rows: 1 << 24, Bytes: 256 << 20, Columns: 8192, Nested: true}

// toldSchema is the schema of an IPC stream of nothing else.
func toldSchema(b []byte) (*arrow.Schema, error) {
	r, err := arrowin.NewReader(func() (header, body []byte, err error) {
		if len(b) == 0 {
			return nil, nil, io.EOF
		}
		header, body, b, err = arrowin.Split(b)
		return header, body, err
	}, answerLimits)
	if err != nil {
		return nil, err
	}
	defer r.Release()
	return r.Schema(), nil
}

// processStatement is a statement of the SQL process, which may forget it. One that is plain is answered without the process.
type processStatement struct {
	server             *Server
	text               string
	shape              *sqlchildv1.Shape // of a plain one; nil of others
	schema, parameters *arrow.Schema
}

func (s *processStatement) Schema() *arrow.Schema     { return s.schema }
func (s *processStatement) Parameters() *arrow.Schema { return s.parameters }

// Close is part of Statement.
func (s *processStatement) Close() {}

// Execute is part of Statement.
func (s *processStatement) Execute(ctx context.Context, args arrow.Record) (array.RecordReader, error) {
	st := statement{sql: s.text, shape: s.shape}
	var err error
	if st.values, err = sqlValues(args); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	r := &processReader{ctx: ctx, cancel: cancel, pieces: make(chan []byte), taken: make(chan struct{}), ended: make(chan struct{})}
	s.server.background.Add(1)
	go func() {
		defer s.server.background.Done()
		defer close(r.ended)
		r.failed = s.server.guard("statement", func() error { return s.server.runStatement(ctx, st, answerTo{put: r.put}) })
	}()
	if r.arrow, err = arrowin.NewReader(r.next, answerLimits); err != nil {
		r.Release()
		return nil, err
	}
	return r, nil
}

// stream executes the statement and gives each message of the answer as it comes, the schema first. They hold until each returns, and are
// not checked: whoever takes them hands them on unread. What the server reads itself goes to scan.
func (s *processStatement) stream(ctx context.Context, args arrow.Record, each func(header, body []byte) error, scan query.Sink) error {
	st := statement{sql: s.text, shape: s.shape}
	var err error
	if st.values, err = sqlValues(args); err != nil {
		return err
	}
	return s.server.runStatement(ctx, st, answerTo{func(piece []byte) error {
		for len(piece) > 0 {
			header, body, rest, err := arrowin.Split(piece)
			if err != nil {
				return err
			}
			if len(header) > 0 {
				if err := each(header, body); err != nil {
					return err
				}
			}
			piece = rest
		}
		return nil
	}, scan})
}

// sqlValues is a row of parameters as the SQL process takes them.
func sqlValues(args arrow.Record) ([]*varvev1.SqlValue, error) {
	if args == nil {
		return nil, nil
	}
	if args.NumRows() != 1 {
		return nil, fmt.Errorf("%d rows of parameters for one execution: %w", args.NumRows(), query.ErrBadRequest)
	}
	values := make([]*varvev1.SqlValue, args.NumCols())
	for i, column := range args.Columns() {
		v := &varvev1.SqlValue{}
		switch c := arrowin.At(column, 0); c.Kind {
		case arrowin.Null:
			v.Value = &varvev1.SqlValue_Null{Null: true}
		case arrowin.Bool:
			v.Value = &varvev1.SqlValue_Boolean{Boolean: c.Int == 1}
		case arrowin.Int:
			v.Value = &varvev1.SqlValue_Integer{Integer: c.Int}
		case arrowin.Float:
			v.Value = &varvev1.SqlValue_Number{Number: c.Float}
		case arrowin.Text:
			v.Value = &varvev1.SqlValue_Text{Text: c.Text}
		case arrowin.Bytes:
			v.Value = &varvev1.SqlValue_Binary{Binary: []byte(c.Text)}
		case arrowin.Time:
			v.Value = &varvev1.SqlValue_TimeNs{TimeNs: c.Int}
		default:
			return nil, fmt.Errorf("parameter %d is %s: %w", i+1, column.DataType(), query.ErrBadRequest)
		}
		values[i] = v
	}
	return values, nil
}

// processReader reads the answer of the SQL process as it comes. Two goroutines take turns: one receives a piece of the stream and waits
// until the other has read it, so that no more is received than is asked for.
type processReader struct {
	ctx    context.Context
	cancel context.CancelFunc
	pieces chan []byte
	taken  chan struct{} // the piece was read
	ended  chan struct{} // closed when there are no more
	failed error         // why there are no more; set before ended is closed

	arrow   *arrowin.Reader
	holds   bool   // a piece that is not given back
	rest    []byte // of the piece at hand
	current arrow.Record
	err     error
	release sync.Once
}

// put hands over a piece, which is the sender's again when it returns.
func (r *processReader) put(piece []byte) error {
	select {
	case r.pieces <- piece:
	case <-r.ctx.Done():
		return context.Cause(r.ctx)
	}
	select {
	case <-r.taken:
		return nil
	case <-r.ctx.Done():
		return context.Cause(r.ctx)
	}
}

// next is the next message, as arrowin takes them. Whatever was made of the one before was copied out of its piece.
func (r *processReader) next() (header, body []byte, err error) {
	for len(r.rest) == 0 {
		if r.holds {
			r.holds = false
			select {
			case r.taken <- struct{}{}:
			case <-r.ended:
			}
		}
		select {
		case r.rest = <-r.pieces:
			r.holds = true
		case <-r.ended:
			if r.failed != nil {
				return nil, nil, r.failed
			}
			return nil, nil, io.EOF
		}
	}
	header, body, r.rest, err = arrowin.Split(r.rest)
	return header, body, err
}

// Schema is part of array.RecordReader.
func (r *processReader) Schema() *arrow.Schema { return r.arrow.Schema() }

// Next is part of array.RecordReader.
func (r *processReader) Next() bool {
	if r.err != nil {
		return false
	}
	r.current, r.err = r.arrow.Next()
	return r.err == nil
}

// Record is part of array.RecordReader.
func (r *processReader) Record() arrow.Record { return r.current }

// Err is part of array.RecordReader.
func (r *processReader) Err() error {
	if r.err == io.EOF {
		return nil
	}
	return r.err
}

// Retain is part of array.RecordReader. A reader has one owner.
func (r *processReader) Retain() {}

// Release ends the statement, whether or not it was read to its end.
func (r *processReader) Release() {
	r.release.Do(func() {
		r.cancel()
		<-r.ended
		if r.arrow != nil {
			r.arrow.Release()
		}
	})
}
