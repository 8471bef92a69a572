//go:build cgo

package engine

/*
#include <stddef.h>

extern int duckdb_pending_prepared_streaming(void *prepared, void **pending);
*/
import "C"

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/duckdb/duckdb-go/mapping"

	"github.com/varvedb/varve/cmd/varve-sql/rewrite"
	"github.com/varvedb/varve/server/hint"
)

// Scanner reads tables: an Arrow stream of some columns of one, by their places, narrowed by hints. The memory of a message need not last longer than
// until the next one is asked for.
type Scanner interface {
	Scan(ctx context.Context, table string, columns []int, hints Hints) (ipc.MessageReader, error)
	// Columns is a dynamic function as it is with its arguments.
	Columns(ctx context.Context, function string, hints Hints) (*Table, error)
}

// Value is the value of a parameter: nil, bool, int64, float64, string, []byte, or Instant.
type Value any

// Instant is nanoseconds since 1970 UTC.
type Instant int64

// Statement is a statement that runs.
type Statement struct {
	ctx     context.Context
	session *session
	scanner Scanner
	plan    *plan
	scans   []*rewrite.Scan
	hints   []Hints
	exact   []bool              // of each scan: it has just the rows that the conditions it knows of leave
	dynamic []*Table            // what is known of the columns of each scan now; nil of those that never change
	given   []rewrite.Parameter // parameters it has
	values  []Value

	said string // what a statement of ours failed for last

	mu  sync.Mutex
	err error // of a scan
}

// databases finds the statement of a connection: callbacks of the engine know nothing else.
var databases registry

type registry struct{ statements sync.Map }

func (r *registry) session(number uint64) *Statement {
	s, _ := r.statements.Load(number)
	st, _ := s.(*Statement)
	return st
}

func (s *Statement) table(at int) *Table {
	if t := s.dynamic[at]; t != nil {
		return t
	}
	return s.session.database.tables[s.scans[at].Table.Name]
}

// fault keeps the error that a scan ended with, whole.
func (s *Statement) fault(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
	}
	return err
}

// failed is the error of a statement that the engine ended with a message: that of the scan it came from, if it came from one.
func (s *Statement) failed(message string) error {
	if s.ctx.Err() != nil {
		return context.Cause(s.ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	message, _, _ = strings.Cut(message, "\n\nPossible solutions") // which are settings, and locked
	if strings.HasPrefix(message, "Out of Memory Error") {
		return fmt.Errorf("%w: %s", ErrMemory, message)
	}
	return fmt.Errorf("%w: %s", ErrStatement, strings.ReplaceAll(message, rewrite.Function, "scan"))
}

func (s *Statement) open(ctx context.Context, at int, columns []int) (ipc.MessageReader, error) {
	return s.scanner.Scan(ctx, s.scans[at].Table.Name, columns, s.hints[at])
}

// with finds or makes the plan of a statement in a session of its own and lets f work with it.
func (d *Database) with(ctx context.Context, scanner Scanner, sql string, values []Value, f func(*Statement) error) (err error) {
	if strings.ContainsRune(sql, 0) {
		return fmt.Errorf("%w: it has a zero byte", rewrite.ErrRefused)
	}
	session, err := d.acquire()
	if err != nil {
		return err
	}
	s := &Statement{ctx: ctx, session: session, scanner: scanner, values: values}
	databases.statements.Store(session.number, s)
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(interrupted)
		mapping.Interrupt(session.conn)
	})
	defer func() {
		over := !stop()
		if over {
			<-interrupted
		}
		databases.statements.Delete(session.number)
		// An interrupt may still be on its way to whatever the connection does next, or have met the end of its transaction.
		if err != nil || over {
			d.drop(session)
			return
		}
		d.release(session)
	}()
	p := session.plans.take(sql)
	defer func() {
		if p != nil && err == nil && !p.dynamic {
			session.plans.keep(p)
		} else if p != nil {
			p.close()
		}
	}()
	if p != nil {
		s.follow(p)
		return f(s)
	}
	p = &plan{text: sql, ours: map[string]mapping.PreparedStatement{}}
	if err := s.prepare(p); err != nil {
		return err
	}
	return f(s)
}

// bind gives the parameters that a prepared statement has their values.
func (s *Statement) bind(p mapping.PreparedStatement, all bool) error {
	if all && len(s.given) != len(s.values) {
		return fmt.Errorf("%w: it has %d parameters, %d values are given", ErrStatement, len(s.given), len(s.values))
	}
	for i, v := range s.values {
		if all && s.given[i].Name != strconv.Itoa(i+1) {
			return fmt.Errorf("%w: it has a parameter $%s and no $%d: parameters are $1, $2 and so on, or ?", ErrStatement, s.given[i].Name, i+1)
		}
		var at mapping.IdxT
		if mapping.BindParameterIndex(p, &at, strconv.Itoa(i+1)) != mapping.StateSuccess {
			continue // an argument of a function
		}
		state := mapping.State(mapping.StateError)
		switch v := v.(type) {
		case nil:
			state = mapping.BindNull(p, at)
		case bool:
			state = mapping.BindBoolean(p, at, v)
		case int64:
			state = mapping.BindInt64(p, at, v)
		case float64:
			state = mapping.BindDouble(p, at, v)
		case string:
			state = mapping.BindVarcharLength(p, at, v, mapping.IdxT(len(v)))
		case []byte:
			state = mapping.BindBlob(p, at, v)
		case Instant:
			state = mapping.BindTimestampTZ(p, at, mapping.NewTimestamp(hint.Micros(int64(v))))
		}
		if state != mapping.StateSuccess {
			return fmt.Errorf("%w: value %d cannot be bound: %s", ErrStatement, i+1, mapping.PrepareError(p))
		}
	}
	return nil
}

// Execute runs a statement and hands its rows to out as they come.
func (d *Database) Execute(ctx context.Context, scanner Scanner, sql string, values []Value, out *Writer) error {
	return d.with(ctx, scanner, sql, values, func(s *Statement) error {
		if err := s.bind(s.plan.prepared, true); err != nil {
			return err
		}
		defer mapping.ClearBindings(s.plan.prepared)
		if s.asks() {
			// One transaction, so that now() is the same in what narrows the scans.
			if err := s.session.run("BEGIN TRANSACTION"); err != nil {
				return err
			}
			defer func() { _ = s.session.run("ROLLBACK") }()
		}
		if err := s.resolve(); err != nil {
			return err
		}
		if p, ok := s.plain(); ok && out.Plain != nil {
			return out.Plain(p)
		}
		if out.OnlyPlain {
			return nil
		}
		return s.stream(s.plan.prepared, out)
	})
}

// stream runs a prepared statement.
func (s *Statement) stream(p mapping.PreparedStatement, out *Writer) error {
	var pending mapping.PendingResult
	state := C.duckdb_pending_prepared_streaming(p.Ptr, &pending.Ptr)
	defer mapping.DestroyPending(&pending)
	if state != 0 {
		return s.failed(mapping.PendingError(pending))
	}
	var result mapping.Result
	defer mapping.DestroyResult(&result)
	if mapping.ExecutePending(pending, &result) != mapping.StateSuccess {
		return s.failed(mapping.ResultError(&result))
	}
	if err := out.begin(&result); err != nil {
		return err
	}
	for {
		c := mapping.FetchChunk(result)
		if c.Ptr == nil {
			break
		}
		n := int(mapping.DataChunkGetSize(c))
		err := out.add(c, n)
		mapping.DestroyDataChunk(&c)
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		if s.ctx.Err() != nil {
			return context.Cause(s.ctx)
		}
	}
	if message := mapping.ResultError(&result); message != "" {
		return s.failed(message)
	}
	s.mu.Lock()
	err := s.err
	s.mu.Unlock()
	if s.ctx.Err() != nil {
		err = context.Cause(s.ctx)
	}
	if err != nil {
		return err
	}
	return out.end()
}

// maxSet is how many tags a scan is narrowed to at most.
const maxSet = 1 << 20

// resolve works out what narrows each scan. A scan that is read to narrow another one has a higher number. What fails narrows nothing; as
// the transaction fails with it and another one has another now(), all is worked out again without it.
func (s *Statement) resolve() error {
	failing := make([]bool, len(s.scans))
	for {
		at, err := s.try(failing)
		if err != nil || at < 0 {
			return err
		}
		failing[at] = true
		_ = s.session.run("ROLLBACK")
		if err := s.session.run("BEGIN TRANSACTION"); err != nil {
			return err
		}
	}
}

// try is resolve without some scans. It is the scan whose conditions could not be worked out, -1 for none.
func (s *Statement) try(without []bool) (int, error) {
	clear(s.hints)
	for at := len(s.scans) - 1; at >= 0; at-- {
		if s.exact[at] = !without[at]; without[at] && (s.scans[at].Exact || len(s.scans[at].Arguments) == 0) {
			continue
		}
		h := &s.hints[at]
		if err := s.arguments(at); err != nil {
			if s.scans[at].Exact && s.interrupted() == nil { // whatever fails there fails in the statement as well, if anything needs it
				err = nil
			}
			return at, err
		}
		if without[at] {
			continue
		}
		if ok, err := s.bounds(at, h); !ok || err != nil {
			return at, err
		}
		for _, set := range s.scans[at].Sets {
			if h.Nothing {
				break
			}
			ok, err := s.set(set, h)
			if !ok && err == nil && s.scans[at].Table.Arguments != nil {
				err = fmt.Errorf("%w: tags_where of %s: %s", ErrStatement, s.scans[at].Table.Name, s.said)
			}
			if !ok || err != nil {
				return at, err
			}
		}
		if s.exact[at] { // else the first rows of a tag may be none that the statement wants
			h.Few = s.scans[at].Few
		}
	}
	return -1, nil
}

// arguments works out the arguments of a scan.
func (s *Statement) arguments(at int) error {
	scan := s.scans[at]
	if len(scan.Arguments) == 0 {
		return nil
	}
	s.hints[at].Arguments = map[string]string{}
	ok, err := s.rows(s.plan.given[at], func(c mapping.DataChunk, n int) bool {
		for i, a := range scan.Arguments {
			if v := vectorOf(c, i); n > 0 && v.valid(0) {
				s.hints[at].Arguments[a.Name] = string(v.bytes(0))
			}
		}
		return true
	})
	if err == nil && !ok {
		err = fmt.Errorf("%w: the arguments of %s: %s", ErrStatement, scan.Table.Name, s.said)
	}
	return err
}

// columns asks for the columns of functions that have others with other arguments. Their arguments are worked out for that, before there is
// a transaction.
func (s *Statement) columns() error {
	for at := len(s.scans) - 1; at >= 0; at-- {
		if !s.table(at).Dynamic {
			continue
		}
		if err := s.session.run("BEGIN TRANSACTION"); err != nil {
			return err
		}
		err := s.resolve()
		if rollback := s.session.run("ROLLBACK"); err == nil {
			err = rollback
		}
		if err != nil {
			return fmt.Errorf("the columns of %s, which depend on its arguments: %w", s.scans[at].Table.Name, err)
		}
		for at := range s.scans {
			if t := s.table(at); t.Dynamic {
				if s.dynamic[at], err = s.scanner.Columns(s.ctx, t.Name, s.hints[at]); err != nil {
					return err
				}
			}
		}
		return nil
	}
	return nil
}

// rows runs a statement of ours over the tables and hands over its chunks. What it fails for the statement fails for as well, or it does
// not matter: false then.
func (s *Statement) rows(tree []byte, f func(c mapping.DataChunk, n int) bool) (bool, error) {
	p, err := s.plan.own(s.session, tree)
	if err != nil {
		return false, s.says(err)
	}
	if err := s.bind(p, false); err != nil {
		return false, s.says(err)
	}
	defer mapping.ClearBindings(p)
	var r mapping.Result
	defer mapping.DestroyResult(&r)
	if mapping.ExecutePrepared(p, &r) != mapping.StateSuccess {
		return false, s.says(errors.New(mapping.ResultError(&r)))
	}
	for {
		c := mapping.FetchChunk(r)
		if c.Ptr == nil {
			break
		}
		n := int(mapping.DataChunkGetSize(c))
		more := f(c, n)
		mapping.DestroyDataChunk(&c)
		if !more {
			return false, nil
		}
		if n == 0 {
			break
		}
	}
	return mapping.ResultError(&r) == "", s.interrupted()
}

// says keeps what a statement of ours failed for, and is interrupted.
func (s *Statement) says(err error) error {
	s.said, _, _ = strings.Cut(strings.TrimPrefix(err.Error(), ErrStatement.Error()+": "), "\n\nLINE ") // which shows our words
	return s.interrupted()
}

// interrupted is why a statement must not go on: it is over, or a scan failed. The transaction may be lost too, which the engine then says.
func (s *Statement) interrupted() error {
	if s.ctx.Err() != nil {
		return context.Cause(s.ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// set narrows a scan to the tags that a statement selects.
func (s *Statement) set(set rewrite.Set, h *Hints) (bool, error) {
	var found hint.Set
	ok, err := s.rows(set.Tree, func(c mapping.DataChunk, n int) bool {
		if n == 0 {
			return true
		}
		v := vectorOf(c, 0)
		typ := mapping.VectorGetColumnType(v.Vector)
		id := mapping.GetTypeId(typ)
		mapping.DestroyLogicalType(&typ)
		switch {
		case set.Names && id == mapping.TypeVarchar:
			for i := range n {
				if v.valid(i) {
					found.Names = append(found.Names, string(v.bytes(i)))
				}
			}
		case !set.Names && id == mapping.TypeBigInt:
			for i := range n {
				if x := element[int64](v, i); v.valid(i) && x > 0 && x <= 1<<32-1 {
					found.IDs = append(found.IDs, uint32(x))
				}
			}
		default:
			return false
		}
		return len(found.Names)+len(found.IDs) <= maxSet
	})
	if err != nil || !ok {
		return false, err
	}
	if set.Names {
		h.KeepNames(found.Names)
	} else {
		h.KeepIDs(found.IDs)
	}
	return true, nil
}

// Describe says which columns and parameters a statement has.
func (d *Database) Describe(ctx context.Context, scanner Scanner, sql string) (out Description, err error) {
	err = d.with(ctx, scanner, sql, nil, func(s *Statement) error {
		out = s.plan.described
		return s.plan.undescribed
	})
	return out, err
}

// argumentTypes is the Arrow types of arguments that are one value; others are given as text.
var argumentTypes = map[string]arrow.DataType{
	"TIMESTAMP WITH TIME ZONE": &arrow.TimestampType{Unit: arrow.Nanosecond, TimeZone: "UTC"}, "BIGINT": arrow.PrimitiveTypes.Int64,
	"BOOLEAN": arrow.FixedWidthTypes.Boolean, "DOUBLE": arrow.PrimitiveTypes.Float64,
}

// field describes a column or parameter; one of which the engine does not know the type before it has the values is a text.
func field(name string, typ mapping.LogicalType) (arrow.Field, error) {
	f := arrow.Field{Name: name, Type: arrow.BinaryTypes.String, Nullable: true}
	if typ.Ptr == nil {
		return f, nil
	}
	defer mapping.DestroyLogicalType(&typ)
	if id := mapping.GetTypeId(typ); id == mapping.TypeInvalid || id == mapping.TypeAny {
		return f, nil
	}
	a, err := newAppender(typ)
	if err != nil {
		return f, fmt.Errorf("column %q: %w", name, err)
	}
	f.Type = a.typ
	return f, nil
}
