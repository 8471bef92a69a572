package query

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"

	"github.com/varvedb/varve/storage"
)

// batches is what gathers the rows of an answer into record batches.
type batches interface {
	flush(context.Context) error // writes the rows that are not written yet
	end() error
	rowsWritten() uint64
}

// stream reserves memory, takes a view, lets read write an answer of it and ends the answer. It returns how many rows it wrote,
// also beside an error.
func (e *Engine) stream(ctx context.Context, tags *tagList, need int64, c storage.Consistency, read func(View) (batches, error)) (uint64, error) {
	need += tags.calculatedBytes()
	if err := e.budget.reserve(need); err != nil {
		return 0, err
	}
	defer e.budget.release(need)
	view, err := e.store.View(ctx, c)
	if err != nil {
		return 0, fmt.Errorf("take view: %w", err)
	}
	defer view.Close()
	out, err := read(tags.over(view, e.store.Catalog()))
	// What was read before a fault is right and reaches the reader; the fault ends the stream.
	if err = errors.Join(err, out.flush(ctx)); err == nil {
		err = out.end()
	}
	return out.rowsWritten(), err
}

// recordWriter writes record batches of one schema to a sink.
type recordWriter struct {
	schema  *arrow.Schema
	writer  *ipc.Writer
	written uint64 // rows
}

// newRecordWriter makes a writer. Without a sink it has a schema and writes nothing.
func newRecordWriter(schema *arrow.Schema, sink Sink) recordWriter {
	w := recordWriter{schema: schema}
	if sink != nil {
		w.writer = ipc.NewWriterWithPayloadWriter(sink, ipc.WithSchema(schema), ipc.WithDictionaryDeltas(true))
	}
	return w
}

// writeColumns writes a record batch of columns that it releases.
func (w *recordWriter) writeColumns(ctx context.Context, rows int, columns []arrow.ArrayData) error {
	arrays := make([]arrow.Array, len(columns))
	for i, d := range columns {
		arrays[i] = array.MakeFromData(d)
		d.Release()
	}
	record := array.NewRecord(w.schema, arrays, int64(rows))
	defer record.Release()
	for _, a := range arrays {
		a.Release()
	}
	return w.write(ctx, record)
}

// write writes a record batch.
func (w *recordWriter) write(ctx context.Context, record arrow.Record) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := w.writer.Write(record); err != nil {
		return fmt.Errorf("write record batch of %d rows: %w", record.NumRows(), err)
	}
	w.written += uint64(record.NumRows())
	return nil
}

// flush has nothing to do where each row is written as it comes.
func (w *recordWriter) flush(context.Context) error { return nil }

// end writes the end of the stream. An answer without rows is a schema.
func (w *recordWriter) end() error {
	if err := w.writer.Close(); err != nil {
		return fmt.Errorf("end stream: %w", err)
	}
	return nil
}

func (w *recordWriter) rowsWritten() uint64 { return w.written }

// spread lets workers do pieces of work, each in memory of its own. A worker takes the next piece whenever it is done with one, so that
// none waits for a slow one.
func spread[W any](workers []W, pieces int, do func(w *W, piece int)) {
	var next atomic.Int64
	work := func(w *W) {
		for i := next.Add(1) - 1; i < int64(pieces); i = next.Add(1) - 1 {
			do(w, int(i))
		}
	}
	var group sync.WaitGroup
	for i := 1; i < min(len(workers), pieces); i++ {
		group.Go(func() { work(&workers[i]) })
	}
	work(&workers[0])
	group.Wait()
}
