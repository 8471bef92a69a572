//go:build cgo

package engine

import (
	"fmt"
	"unsafe"

	"github.com/duckdb/duckdb-go/mapping"
)

// session is one connection of the engine. Only one goroutine uses it at a time; scans of its statement run in threads of the engine.
type session struct {
	database *Database
	conn     mapping.Connection
	number   uint64

	serialize, deserialize mapping.PreparedStatement
	plans                  plans
}

func (s *session) close() {
	s.plans.close()
	for _, p := range []*mapping.PreparedStatement{&s.serialize, &s.deserialize} {
		if p.Ptr != nil {
			mapping.DestroyPrepare(p)
		}
	}
	mapping.Disconnect(&s.conn)
}

// run runs a statement of ours without rows.
func (s *session) run(sql string) error {
	var r mapping.Result
	defer mapping.DestroyResult(&r)
	if mapping.Query(s.conn, sql, &r) != mapping.StateSuccess {
		return fmt.Errorf("%w: %s", ErrStatement, mapping.ResultError(&r))
	}
	return nil
}

// text runs a statement of ours with one text.
func (s *session) text(sql string) (string, error) {
	p, err := s.prepare(sql)
	if err != nil {
		return "", err
	}
	defer mapping.DestroyPrepare(&p)
	return s.textOf(p)
}

// textOf runs a prepared statement with one text, empty for none.
func (s *session) textOf(p mapping.PreparedStatement) (string, error) {
	var r mapping.Result
	defer mapping.DestroyResult(&r)
	if mapping.ExecutePrepared(p, &r) != mapping.StateSuccess {
		return "", fmt.Errorf("%w: %s", ErrStatement, mapping.ResultError(&r))
	}
	c := mapping.FetchChunk(r)
	if c.Ptr == nil {
		return "", nil
	}
	defer mapping.DestroyDataChunk(&c)
	v := vectorOf(c, 0)
	if mapping.DataChunkGetSize(c) == 0 || !v.valid(0) {
		return "", nil
	}
	return string(v.bytes(0)), nil
}

func (s *session) prepare(sql string) (mapping.PreparedStatement, error) {
	var p mapping.PreparedStatement
	if mapping.Prepare(s.conn, sql, &p) != mapping.StateSuccess {
		err := fmt.Errorf("%w: %s", ErrStatement, mapping.PrepareError(p))
		mapping.DestroyPrepare(&p)
		return p, err
	}
	return p, nil
}

// tree is the serialized form of a statement.
func (s *session) tree(sql string) (string, error) {
	if s.serialize.Ptr == nil {
		p, err := s.prepare("SELECT json_serialize_sql($1::VARCHAR)::VARCHAR")
		if err != nil {
			return "", err
		}
		s.serialize = p
	}
	return s.textFrom(s.serialize, sql)
}

// sql is the text of a serialized statement.
func (s *session) sql(tree []byte) (string, error) {
	if s.deserialize.Ptr == nil {
		p, err := s.prepare("SELECT json_deserialize_sql($1::VARCHAR::JSON)")
		if err != nil {
			return "", err
		}
		s.deserialize = p
	}
	return s.textFrom(s.deserialize, string(tree))
}

// textFrom runs a prepared statement that makes one text of another. A text that the engine does not take must end here: the statement still has the
// one before, and would answer that.
func (s *session) textFrom(p mapping.PreparedStatement, text string) (string, error) {
	if mapping.BindVarcharLength(p, 1, text, mapping.IdxT(len(text))) != mapping.StateSuccess {
		return "", fmt.Errorf("%w: its text is not UTF-8", ErrStatement)
	}
	return s.textOf(p)
}

// vector is a column of a chunk, flat.
type vector struct {
	mapping.Vector
	data     unsafe.Pointer
	validity unsafe.Pointer // bit set; nil: all valid
}

func vectorOf(c mapping.DataChunk, i int) vector {
	return flat(mapping.DataChunkGetVector(c, mapping.IdxT(i)))
}

func flat(v mapping.Vector) vector {
	return vector{v, mapping.VectorGetData(v), mapping.VectorGetValidity(v)}
}

func (v vector) valid(i int) bool {
	return v.validity == nil || *(*uint64)(unsafe.Add(v.validity, i/64*8))>>(i%64)&1 == 1
}

// bytes is a text or blob, in memory of the chunk. The engine keeps up to 12 bytes in place and longer ones behind a pointer.
func (v vector) bytes(i int) []byte {
	at := unsafe.Add(v.data, i*16)
	n := *(*uint32)(at)
	if n <= 12 {
		return unsafe.Slice((*byte)(unsafe.Add(at, 4)), n)
	}
	return unsafe.Slice(*(**byte)(unsafe.Add(at, 8)), n)
}

// element is element i of a vector of fixed width.
func element[T any](v vector, i int) T {
	return *(*T)(unsafe.Add(v.data, uintptr(i)*unsafe.Sizeof(*new(T))))
}

// slice is the first n elements of a vector of fixed width, in memory of the chunk.
func slice[T any](v vector, n int) []T { return unsafe.Slice((*T)(v.data), n) }
