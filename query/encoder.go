package query

import (
	"context"
	"slices"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/ipc"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage"
)

// batchBlobBytes ends a record batch early when its text and bytes reach it, so that a batch of long values still fits
// the message limit clients come with.
const batchBlobBytes = 2 << 20

// stateStep is how many states are turned to text between looks at batchBlobBytes.
// Reasons of edits are texts too.
const stateStep = 1024

// Sink takes the messages of one Arrow stream: the schema, dictionaries and record batches. It must be done with a
// payload when WritePayload returns, because the memory under it is filled anew; see Lender.
type Sink = ipc.PayloadWriter

// encoder gathers rows of any tags into record batches and writes each as soon as it is full.
type encoder struct {
	recordWriter
	columns []column
	maxRows int
	rows    int
	lend    func(*Memory) // nil for a sink that copies
	memory  *Memory       // of the batch being gathered, lent to columns
	times   *timeColumn   // columns that blocks are decoded into, see room
	bits    *bitsColumn
}

func newEncoder(cols []column, lost []storage.OffsetRange, maxRows int, sink Sink) *encoder {
	e := &encoder{recordWriter: newRecordWriter(schemaOf(cols, lost), sink), columns: cols, maxRows: maxRows}
	if l, ok := sink.(Lender); ok {
		e.lend = l.Lend
	}
	for _, c := range cols {
		switch c := c.(type) {
		case *timeColumn:
			e.times = c
		case *bitsColumn:
			e.bits = c
		}
	}
	e.borrow()
	return e
}

// room is memory behind the rows gathered so far, for the samples of a block that will all be added to this batch; nil
// where they would not fit. Adding a block decoded there copies nothing. A block with text may end the batch half way,
// and is not decoded there.
func (e *encoder) room(n int) (times []int64, bits []uint64) {
	if e.bits == nil || e.bits.typ == model.State || e.rows+n > e.maxRows {
		return nil, nil
	}
	return behind(&e.times.times, n), behind(&e.bits.bits, n)
}

// behind makes room for n elements behind a column, and is that room.
func behind[T any](column *[]T, n int) []T {
	*column = slices.Grow(*column, n)
	return (*column)[len(*column):]
}

// appendBlock appends to a column what may lie right behind it already.
func appendBlock[T any](column, block []T) []T {
	n, m := len(column), len(block)
	if m > 0 && cap(column)-n >= m && &column[:n+1][n] == &block[0] {
		return column[:n+m]
	}
	return append(column, block...)
}

// add takes the samples of a block.
func (e *encoder) add(ctx context.Context, a asked, b *storage.Block) error {
	return e.addEnded(ctx, a, b, nil)
}

// addEnded takes the values of a block and what ended each of them.
func (e *encoder) addEnded(ctx context.Context, a asked, b *storage.Block, ends []storage.End) error {
	return e.addRows(ctx, rows{asked: a, Block: b, ends: ends})
}

// addRows takes all rows of a block.
func (e *encoder) addRows(ctx context.Context, r rows) error {
	for ; r.from < r.Len(); r.from = r.to {
		r.to = r.from + min(r.Len()-r.from, e.maxRows-e.rows)
		r.to = e.fit(r)
		for _, c := range e.columns {
			if err := c.append(r); err != nil {
				return err
			}
		}
		e.rows += r.count()
		if e.rows >= e.maxRows || e.blobBytes() >= batchBlobBytes {
			if err := e.flush(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// fit is how far the rows may go before their text or bytes would overfill the batch; always one row at least.
func (e *encoder) fit(r rows) int {
	if r.ends != nil {
		r.to = min(r.to, r.from+stateStep)
	}
	switch {
	case r.Type == model.State:
		return min(r.to, r.from+stateStep)
	case !r.Type.Blob():
		return r.to
	}
	size := e.blobBytes()
	for i := r.from; i < r.to; i++ {
		if size += len(r.Blobs[i]); size >= batchBlobBytes {
			return i + 1
		}
	}
	return r.to
}

func (e *encoder) blobBytes() int {
	n := 0
	for _, c := range e.columns {
		n += c.blobBytes()
	}
	return n
}

// flush writes the rows gathered so far as a record batch. Also those that could not be written are gone: who flushes what was read
// before a fault must find nothing of them.
func (e *encoder) flush(ctx context.Context) error {
	if e.rows == 0 {
		return nil
	}
	columns := make([]arrow.ArrayData, len(e.columns))
	for i, c := range e.columns {
		columns[i] = c.array()
	}
	memory := e.giveBack()
	if e.lend != nil {
		e.lend(memory)
	}
	err := e.writeColumns(ctx, e.rows, columns)
	memory.Release()
	for _, c := range e.columns {
		c.reset()
	}
	e.borrow()
	e.rows = 0
	return err
}
