// Package answer reads the Arrow streams of QueryService and writes them as people and programs want them: a table, CSV,
// JSON lines, an Arrow file, Parquet.
//
// # The path of an answer
//
//	stream of ArrowData → Reader (record batches) → Rows (one sample at a time) → CSV, JSON, Table
//	                                              ↘ (columns as they are)      → ArrowFile, Parquet
//
// Nothing is collected: memory holds a record batch, whatever the length of the answer. Numbers are written as the
// shortest decimals that read back to the same bits, times as RFC 3339 in UTC with as many of nine decimals as they need.
package answer

import (
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"

	"github.com/varvedb/varve/internal/release"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// Stream is what a call of QueryService gives.
type Stream interface {
	Recv() (*varvev1.ArrowData, error)
}

// Reader reads the record batches of an answer.
type Reader struct {
	arrow *ipc.Reader
	bytes *streamBytes
}

// ReadMessage is the reader of an answer of one message.
func ReadMessage(ipc []byte) (*Reader, error) { return NewReader(&oneMessage{ipc}) }

// oneMessage is an answer of one message.
type oneMessage struct{ ipc []byte }

func (s *oneMessage) Recv() (*varvev1.ArrowData, error) {
	if s.ipc == nil {
		return nil, io.EOF
	}
	m := &varvev1.ArrowData{Ipc: s.ipc}
	s.ipc = nil
	return m, nil
}

// NewReader reads the schema of an answer. An error of the call is returned as it is, with its gRPC status.
func NewReader(s Stream) (r *Reader, err error) {
	in := &streamBytes{s: s}
	defer func() {
		if p := recover(); p != nil {
			r, err = nil, fmt.Errorf("read the schema of the answer: %v", p)
		}
	}()
	a, err := ipc.NewReader(in, ipc.WithAllocator(boundedAllocator{memory.DefaultAllocator}))
	if err != nil { // an end here is none of the rows', so it must not look like one
		return nil, in.cause(fmt.Errorf("read the schema of the answer: %v: %w", err, io.ErrUnexpectedEOF))
	}
	return &Reader{arrow: a, bytes: in}, nil
}

// Schema is the answer's schema.
func (r *Reader) Schema() *arrow.Schema { return r.arrow.Schema() }

// Incomplete names the log offsets whose samples are missing from the answer, empty for a complete one.
func (r *Reader) Incomplete() string {
	m := r.Schema().Metadata()
	if i := m.FindKey("varve.incomplete"); i >= 0 {
		return m.Values()[i]
	}
	return ""
}

// Next is the next record batch, which holds until the call after, or io.EOF.
func (r *Reader) Next() (rec arrow.Record, err error) {
	defer func() {
		if p := recover(); p != nil { // the Arrow library panics on bytes that do not fit together
			rec, err = nil, fmt.Errorf("read the answer: %v", p)
		}
	}()
	rec, err = r.arrow.Read()
	if errors.Is(err, io.EOF) {
		return nil, r.bytes.cause(io.EOF)
	}
	if err != nil {
		return nil, r.bytes.cause(fmt.Errorf("read the answer: %w", err))
	}
	return rec, nil
}

// Close lets go of the memory.
func (r *Reader) Close() { release.Reader(r.arrow) }

// streamBytes is the bytes of a stream one behind the other.
type streamBytes struct {
	s    Stream
	rest []byte
	err  error // what ended the stream, io.EOF for its regular end
}

func (b *streamBytes) Read(p []byte) (int, error) {
	for len(b.rest) == 0 {
		if b.err != nil {
			return 0, b.err
		}
		m, err := b.s.Recv()
		if err != nil {
			b.err = err
			continue
		}
		b.rest = m.Ipc
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

// cause is the error that ended the call, where there was one, in place of what the decoder made of it.
func (b *streamBytes) cause(err error) error {
	if b.err == nil && errors.Is(err, io.EOF) {
		for b.err == nil { // the stream of Arrow ended: see how the call does
			if m, e := b.s.Recv(); e != nil {
				b.err = e
			} else if len(m.Ipc) > 0 {
				return errors.New("read the answer: bytes behind its end")
			}
		}
	}
	if b.err != nil && !errors.Is(b.err, io.EOF) {
		return b.err
	}
	return err
}
