//go:build cgo

package engine

/*
#include <stdint.h>
#include <stdlib.h>

void varve_scan_bind(void *);
void varve_scan_init(void *);
void varve_scan_next(void *, void *);
void varve_scan_delete(void *);
*/
import "C"

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/cgo"
	"sync"
	"unsafe"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/duckdb/duckdb-go/mapping"

	"github.com/varvedb/varve/cmd/varve-sql/rewrite"
	"github.com/varvedb/varve/server/hint"
)

// register tells the engine of the table function that every scan is.
func register(conn mapping.Connection) error {
	f := mapping.CreateTableFunction()
	defer mapping.DestroyTableFunction(&f)
	mapping.TableFunctionSetName(f, rewrite.Function)
	number := mapping.CreateLogicalType(mapping.TypeInteger)
	defer mapping.DestroyLogicalType(&number)
	mapping.TableFunctionAddParameter(f, number)
	mapping.TableFunctionSupportsProjectionPushdown(f, true)
	mapping.TableFunctionSetBind(f, C.varve_scan_bind)
	mapping.TableFunctionSetInit(f, C.varve_scan_init)
	mapping.TableFunctionSetFunction(f, C.varve_scan_next)
	if mapping.RegisterTableFunction(conn, f) != mapping.StateSuccess {
		return errors.New("register scans: refused")
	}
	return nil
}

// The engine keeps a pointer for us with what it binds and begins: memory of C that holds a handle.

func handle(x any) unsafe.Pointer {
	p := C.malloc(C.size_t(unsafe.Sizeof(cgo.Handle(0))))
	*(*cgo.Handle)(p) = cgo.NewHandle(x)
	return p
}

func value[T any](p unsafe.Pointer) T { return (*(*cgo.Handle)(p)).Value().(T) }

//export varve_scan_delete
func varve_scan_delete(p unsafe.Pointer) {
	defer func() { _ = recover() }()
	h := *(*cgo.Handle)(p)
	if s, ok := h.Value().(*scan); ok {
		s.end()
	}
	h.Delete()
	C.free(p)
}

// guard keeps a panic from the engine, whose frames it must not unwind.
func guard(what string, fail func(string), f func() error) {
	defer func() {
		if p := recover(); p != nil {
			fail(fmt.Sprintf("%s: %v", what, p))
		}
	}()
	if err := f(); err != nil {
		fail(err.Error())
	}
}

//export varve_scan_bind
func varve_scan_bind(p unsafe.Pointer) {
	info := mapping.BindInfo{Ptr: p}
	guard("bind scan", func(m string) { mapping.BindSetError(info, m) }, func() error { return bind(info) })
}

// bound is a scan as a prepared statement has it, which outlives the statement that it was prepared for.
type bound struct {
	session uint64
	at      int
}

// find is the statement that runs in a session, which has a scan.
func find(session uint64, at int) (*Statement, error) {
	st := databases.session(session)
	if st == nil || at < 0 || at >= len(st.scans) {
		return nil, fmt.Errorf("scan %d is none of this statement", at)
	}
	return st, nil
}

func bind(info mapping.BindInfo) error {
	var c mapping.ClientContext
	mapping.TableFunctionGetClientContext(info, &c)
	number := uint64(mapping.ClientContextGetConnectionId(c))
	mapping.DestroyClientContext(&c)
	v := mapping.BindGetParameter(info, 0)
	at := int(mapping.GetInt32(v))
	mapping.DestroyValue(&v)

	st, err := find(number, at)
	if err != nil {
		return err
	}
	t := st.table(at)
	for i, name := range t.Columns {
		typ := mapping.CreateLogicalType(t.Types[i].engine())
		mapping.BindAddResultColumn(info, name, typ)
		mapping.DestroyLogicalType(&typ)
	}
	mapping.BindSetCardinality(info, mapping.IdxT(t.guess()), false)
	mapping.BindSetBindData(info, handle(&bound{number, at}), C.varve_scan_delete)
	return nil
}

// guess is about how many rows a table has. All that matters is which are many: of two tables the engine holds the smaller one, and it looks
// at every row for every other where it takes both to be small.
func (t *Table) guess() int {
	switch {
	case t.Small:
		return 10_000
	case t.Arguments != nil:
		return 1_000_000
	}
	return 100_000_000
}

//export varve_scan_init
func varve_scan_init(p unsafe.Pointer) {
	info := mapping.InitInfo{Ptr: p}
	guard("begin scan", func(m string) { mapping.InitSetError(info, m) }, func() error { return begin(info) })
}

// scan reads one table for one use of it.
type scan struct {
	statement *Statement
	columns   []int // place in the stream of each column the engine asked for; -1: whatever stands there is not looked at
	types     []Type
	cancel    context.CancelFunc

	mu     sync.Mutex
	stream ipc.MessageReader
	reader *ipc.Reader
	batch  *batch
	from   int // rows of the batch taken
	ended  bool
}

func begin(info mapping.InitInfo) error {
	b := value[*bound](mapping.InitGetBindData(info))
	st, err := find(b.session, b.at)
	if err != nil {
		return err
	}
	t := st.table(b.at)
	s := &scan{statement: st}
	var wanted []int
	for i := range int(mapping.InitGetColumnCount(info)) {
		c := mapping.InitGetColumnIndex(info, mapping.IdxT(i))
		if c >= mapping.IdxT(len(t.Columns)) { // the number of the row, which rows are counted by
			s.columns, s.types = append(s.columns, -1), append(s.types, 0)
			continue
		}
		s.columns, s.types = append(s.columns, len(wanted)), append(s.types, t.Types[c])
		wanted = append(wanted, int(c))
	}
	ctx, cancel := context.WithCancel(st.ctx)
	s.cancel = cancel
	if s.stream, err = st.open(ctx, b.at, wanted); err != nil {
		cancel()
		return st.fault(err)
	}
	mapping.InitSetInitData(info, handle(s), C.varve_scan_delete)
	mapping.InitSetMaxThreads(info, 1)
	return nil
}

func (s *scan) end() { s.cancel() }

//export varve_scan_next
func varve_scan_next(p, q unsafe.Pointer) {
	info, out := mapping.FunctionInfo{Ptr: p}, mapping.DataChunk{Ptr: q}
	guard("scan", func(m string) { mapping.FunctionSetError(info, m) }, func() error {
		return value[*scan](mapping.FunctionGetInitData(info)).next(out)
	})
}

// vectorRows is the most rows of a chunk.
var vectorRows = int(mapping.VectorSize())

// next fills a chunk with the next rows, or with none at the end.
func (s *scan) next(out mapping.DataChunk) error {
	b, from, n, err := s.take()
	if err != nil {
		return s.statement.fault(err)
	}
	for i, c := range s.columns {
		if c >= 0 && n > 0 {
			if err := b.columns[c].fill(mapping.DataChunkGetVector(out, mapping.IdxT(i)), from, n); err != nil {
				return s.statement.fault(err)
			}
		}
	}
	mapping.DataChunkSetSize(out, mapping.IdxT(n))
	return nil
}

// take is the next rows of the stream.
func (s *scan) take() (b *batch, from, n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.ended && (s.batch == nil || s.from == s.batch.rows) {
		if err := s.read(); err != nil {
			return nil, 0, 0, err
		}
	}
	if s.ended {
		return nil, 0, 0, nil
	}
	from = s.from
	n = s.batch.until(from, min(from+vectorRows, s.batch.rows)) - from
	s.from += n
	return s.batch, from, n, nil
}

// read reads the next batch.
func (s *scan) read() error {
	if s.reader == nil {
		r, err := ipc.NewReaderFromMessageReader(s.stream, ipc.WithAllocator(&recycler{}))
		if err != nil {
			return fmt.Errorf("read scan: %w", err)
		}
		s.reader = r
	}
	if !s.reader.Next() {
		if err := s.reader.Err(); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		s.ended = true
		return nil
	}
	b, err := newBatch(s.reader.Record())
	s.batch, s.from = b, 0
	return err
}

// batch is a record batch of a scan, until the next one is read.
type batch struct {
	rows    int
	columns []*source
}

func newBatch(r arrow.Record) (*batch, error) {
	b := &batch{rows: int(r.NumRows())}
	for _, a := range r.Columns() {
		c, err := newSource(a)
		if err != nil {
			return nil, err
		}
		b.columns = append(b.columns, c)
	}
	return b, nil
}

// leastRun is how many rows a chunk must have to be cut short for the sake of a text that all of them share.
const leastRun = 512

// until is where a chunk of rows from on ends, at to at the latest: where a text changes, if that is worth it.
func (b *batch) until(from, to int) int {
	for _, c := range b.columns {
		if c.ends != nil && c.texts != nil {
			if end := c.runEnd(from); end < to && end-from >= leastRun {
				to = end
			}
		}
	}
	return to
}

// source is a column of a batch.
type source struct {
	array arrow.Array
	texts interface{ Value(int) string }
	blobs *array.Binary
	ints  []int64
	ends  []int32 // of runs; nil for one value a row
	run   int     // where the last look for a run ended
}

func newSource(a arrow.Array) (*source, error) {
	s := &source{array: a}
	values := a
	if r, ok := a.(*array.RunEndEncoded); ok {
		ends, ok := r.RunEndsArr().(*array.Int32)
		if !ok || r.Offset() != 0 {
			return nil, fmt.Errorf("scan: runs of %s", r.DataType())
		}
		s.ends, values = ends.Int32Values(), r.Values()
	}
	switch v := values.(type) {
	case *array.String:
		s.texts = v
	case *array.Binary:
		s.blobs = v
	case *array.Int64:
		s.ints = v.Int64Values()
	case *array.Timestamp:
		t := v.TimestampValues()
		s.ints = unsafe.Slice((*int64)(unsafe.Pointer(unsafe.SliceData(t))), len(t))
	case *array.Float64, *array.Boolean:
	default:
		return nil, fmt.Errorf("scan: a column of %s", a.DataType())
	}
	return s, nil
}

// runAt is the run that a row lies in. Rows are asked for in order, nearly.
func (s *source) runAt(row int) int {
	i := s.run
	if i >= len(s.ends) || i > 0 && row < int(s.ends[i-1]) {
		i = 0
	}
	for int(s.ends[i]) <= row {
		i++
	}
	s.run = i
	return i
}

func (s *source) runEnd(row int) int { return int(s.ends[s.runAt(row)]) }

// fill writes rows [from, from+n) into a vector.
func (s *source) fill(v mapping.Vector, from, n int) error {
	if s.ends != nil {
		return s.fillRuns(v, from, n)
	}
	data := mapping.VectorGetData(v)
	switch a := s.array.(type) {
	case *array.Float64:
		copy(unsafe.Slice((*float64)(data), n), a.Float64Values()[from:from+n])
	case *array.Int64:
		copy(unsafe.Slice((*int64)(data), n), s.ints[from:from+n])
	case *array.Timestamp:
		out := unsafe.Slice((*int64)(data), n)
		for i, t := range s.ints[from : from+n] {
			out[i] = hint.Micros(t)
		}
	case *array.Boolean:
		out := unsafe.Slice((*bool)(data), n)
		for i := range out {
			out[i] = a.Value(from + i)
		}
	case *array.String:
		for i := range n {
			if !a.IsNull(from + i) {
				mapping.VectorAssignStringElementLen(v, mapping.IdxT(i), unsafe.Slice(unsafe.StringData(a.Value(from+i)), len(a.Value(from+i))))
			}
		}
	case *array.Binary:
		for i := range n {
			if !a.IsNull(from + i) {
				mapping.VectorAssignStringElementLen(v, mapping.IdxT(i), a.Value(from+i))
			}
		}
	}
	if s.array.NullN() == 0 {
		return nil
	}
	mapping.VectorEnsureValidityWritable(v)
	bits := unsafe.Slice((*uint64)(mapping.VectorGetValidity(v)), (n+63)/64)
	for i := range n {
		if s.array.IsNull(from + i) {
			bits[i/64] &^= 1 << (i % 64)
		}
	}
	return nil
}

// fillRuns is fill of a column that comes in runs: one value for the whole vector if it may be.
func (s *source) fillRuns(v mapping.Vector, from, n int) error {
	run := s.runAt(from)
	if s.texts != nil {
		if int(s.ends[run]) >= from+n {
			x := s.texts.Value(run)
			c := mapping.CreateVarcharLength(x, mapping.IdxT(len(x)))
			mapping.VectorReferenceValue(v, c)
			mapping.DestroyValue(&c)
			return nil
		}
		// A text in a vector is its length and its bytes or, beyond 12 of them, where they lie: in memory of the vector, which the rows of a run share.
		out := unsafe.Slice((*mapping.StringT)(mapping.VectorGetData(v)), n)
		for i := 0; i < n; run++ {
			x := s.texts.Value(run)
			first, end := i, min(n, int(s.ends[run])-from)
			mapping.VectorAssignStringElementLen(v, mapping.IdxT(first), unsafe.Slice(unsafe.StringData(x), len(x)))
			for i++; i < end; i++ {
				out[i] = out[first]
			}
		}
		return nil
	}
	out := unsafe.Slice((*int64)(mapping.VectorGetData(v)), n)
	for i := 0; i < n; run++ {
		end := min(n, int(s.ends[run])-from)
		for x := s.ints[run]; i < end; i++ {
			out[i] = x
		}
	}
	return nil
}
