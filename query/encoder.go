package query

import (
	"context"
	"fmt"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
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
// payload when WritePayload returns, because the memory under it is filled anew.
type Sink = ipc.PayloadWriter

// encoder gathers rows of any tags into record batches and writes each as soon as it is full.
type encoder struct {
	schema  *arrow.Schema
	columns []column
	maxRows int
	rows    int
	written uint64
	writer  *ipc.Writer
	scratch *scratch // lent to columns
}

func newEncoder(cols []column, lost []storage.OffsetRange, maxRows int, sink Sink) *encoder {
	schema := schemaOf(cols, lost)
	return &encoder{
		schema: schema, columns: cols, maxRows: maxRows,
		writer: ipc.NewWriterWithPayloadWriter(sink, ipc.WithSchema(schema), ipc.WithDictionaryDeltas(true)),
	}
}

// add takes the samples of a block.
func (e *encoder) add(ctx context.Context, a asked, b *storage.Block) error {
	return e.addEnded(ctx, a, b, nil)
}

// addEnded takes the values of a block and what ended each of them.
func (e *encoder) addEnded(ctx context.Context, a asked, b *storage.Block, ends []storage.End) error {
	for r := (rows{asked: a, Block: b, ends: ends}); r.from < b.Len(); r.from = r.to {
		r.to = r.from + min(b.Len()-r.from, e.maxRows-e.rows)
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

// flush writes the rows gathered so far as a record batch.
func (e *encoder) flush(ctx context.Context) error {
	if e.rows == 0 {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	arrays := make([]arrow.Array, len(e.columns))
	for i, c := range e.columns {
		data := c.array()
		arrays[i] = array.MakeFromData(data)
		data.Release()
	}
	record := array.NewRecord(e.schema, arrays, int64(e.rows))
	err := e.writer.Write(record)
	record.Release()
	for i, c := range e.columns {
		arrays[i].Release()
		c.reset()
	}
	if err != nil {
		return fmt.Errorf("write record batch of %d rows: %w", e.rows, err)
	}
	e.written += uint64(e.rows)
	e.rows = 0
	return nil
}

// close writes what is left and the end of the stream. An answer without rows is a schema.
func (e *encoder) close(ctx context.Context) error {
	if err := e.flush(ctx); err != nil {
		return err
	}
	if err := e.writer.Close(); err != nil {
		return fmt.Errorf("end stream: %w", err)
	}
	return nil
}
