package arrowin

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"

	"github.com/varvedb/varve/internal/release"
)

// Limits bound one stream.
type Limits struct {
	Rows    int64 // of one batch
	Bytes   int64 // that Arrow holds at a time, of the batch at hand and of all dictionaries
	Columns int   // the default is 1,024
	Nested  bool  // lists and structs are taken
}

// Reader reads the record batches of one stream. It is for one goroutine.
type Reader struct {
	arrow   *ipc.Reader
	source  *source
	memory  *capped
	current arrow.Record
}

// Split takes the first message off an IPC stream, in which each has its length before it and none is cut. At the stream's end there is none:
// no header and nothing left.
func Split(b []byte) (header, body, rest []byte, err error) {
	if len(b) < 8 || binary.LittleEndian.Uint32(b) != 0xFFFFFFFF {
		return nil, nil, nil, malformed("%d bytes begin no message", len(b))
	}
	n := uint64(binary.LittleEndian.Uint32(b[4:]))
	if b = b[8:]; n == 0 {
		return nil, nil, nil, nil
	}
	if n > uint64(len(b)) {
		return nil, nil, nil, malformed("header of %d bytes, %d are there", n, len(b))
	}
	header, b = b[:n], b[n:]
	root, err := rootTable(header)
	if err != nil {
		return nil, nil, nil, err
	}
	length, err := root.number(3, 8, 0)
	if err != nil {
		return nil, nil, nil, err
	}
	if length > uint64(len(b)) {
		return nil, nil, nil, malformed("body of %d bytes, %d are there", length, len(b))
	}
	return header, b[:length], b[length:], nil
}

// Rows is how many rows a message adds to an answer: those of a record batch, none of any other.
func Rows(header []byte) uint64 {
	root, err := rootTable(header)
	if err != nil {
		return 0
	}
	kind, err := root.number(1, 1, 0)
	if err != nil || kind != messageBatch {
		return 0
	}
	batch, ok, err := root.table(2)
	if err != nil || !ok {
		return 0
	}
	n, _ := batch.number(0, 8, 0)
	return n
}

// NewReader reads the schema of a stream whose messages next gives, header and body, and then io.EOF. Reader keeps neither.
func NewReader(next func() (header, body []byte, err error), l Limits) (*Reader, error) {
	if l.Columns == 0 {
		l.Columns = maxColumns
	}
	r := &Reader{source: &source{next: next, checker: checker{maxRows: l.Rows, maxColumns: l.Columns, nested: l.Nested}}, memory: &capped{most: l.Bytes}}
	err := Guard(func() (err error) {
		r.arrow, err = ipc.NewReaderFromMessageReader(r.source, ipc.WithAllocator(r.memory))
		return err
	})
	if r.source.err != nil {
		err = r.source.err
	}
	if err == nil && r.arrow == nil {
		err = malformed("no schema")
	}
	if err != nil {
		return nil, r.explain(err)
	}
	return r, nil
}

// Schema is the schema of the stream.
func (r *Reader) Schema() *arrow.Schema { return r.arrow.Schema() }

// Next is the next record batch, which is the reader's and holds until the next call; io.EOF behind the last.
func (r *Reader) Next() (arrow.Record, error) {
	r.current = nil
	err := Guard(func() error {
		if !r.arrow.Next() {
			return r.arrow.Err()
		}
		r.current = r.arrow.Record()
		return nil
	})
	switch {
	case r.source.err != nil:
		return nil, r.explain(r.source.err)
	case err != nil:
		return nil, r.explain(err)
	case r.current == nil:
		return nil, io.EOF
	}
	return r.current, nil
}

// Release gives back what the reader holds.
func (r *Reader) Release() {
	_ = Guard(func() error {
		release.Reader(r.arrow)
		return nil
	})
}

// explain keeps the error of whoever sent the messages, and calls whatever else Arrow says malformed.
func (r *Reader) explain(err error) error {
	if r.memory.over {
		return fmt.Errorf("more than %d bytes: %w", r.memory.most, ErrTooLarge)
	}
	for _, own := range []error{r.source.foreign, ErrMalformed, ErrUnsupported, ErrTooLarge} {
		if own != nil && errors.Is(err, own) {
			return err
		}
	}
	return fmt.Errorf("%w: %w", err, ErrMalformed)
}

// Guard runs f, which reads values of a record batch that came from outside, and makes errors of its panics.
func Guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = malformed("%v", p)
		}
	}()
	return f()
}

// source gives Arrow's reader messages that were checked. It is an ipc.MessageReader.
type source struct {
	checker
	next    func() (header, body []byte, err error)
	err     error // why there are no more messages, nil for their end
	foreign error // err where next said it
}

// Message is part of ipc.MessageReader.
func (s *source) Message() (*ipc.Message, error) {
	if s.err != nil {
		return nil, s.err
	}
	for {
		header, body, err := s.next()
		switch {
		case err == io.EOF:
			return nil, io.EOF
		case err != nil:
			s.err, s.foreign = err, err
			return nil, err
		case len(header) == 0 && len(body) == 0:
			continue // Flight sends metadata of applications that way
		}
		if s.err = s.check(header, body); s.err != nil {
			return nil, s.err
		}
		return ipc.NewMessage(memory.NewBufferBytes(header), memory.NewBufferBytes(body)), nil
	}
}

// Retain and Release are part of ipc.MessageReader.
func (s *source) Retain() {}

// Release is part of ipc.MessageReader.
func (s *source) Release() {}

// capped is an allocator that panics where more is asked of it than a limit, because Arrow has no way to be told no.
type capped struct {
	memory.GoAllocator
	taken, most int64
	over        bool // more was asked for
}

func (c *capped) take(n int) {
	if int64(n) > c.most-c.taken {
		c.over = true
		panic("out of the memory of a stream")
	}
	c.taken += int64(n)
}

// Allocate is part of memory.Allocator.
func (c *capped) Allocate(n int) []byte {
	c.take(n)
	return c.GoAllocator.Allocate(n)
}

// Reallocate is part of memory.Allocator.
func (c *capped) Reallocate(n int, b []byte) []byte {
	c.take(n - len(b))
	return c.GoAllocator.Reallocate(n, b)
}

// Free is part of memory.Allocator.
func (c *capped) Free(b []byte) {
	c.taken -= int64(len(b))
	c.GoAllocator.Free(b)
}
