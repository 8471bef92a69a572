package query

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"unsafe"

	"github.com/apache/arrow/go/v15/arrow"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/query/part13"
	"github.com/varvedb/varve/storage"
)

// wideColumn is the cells of one tag, those of a window, and the columns of a record batch that they go to.
type wideColumn struct {
	asked
	name    string
	typ     model.Type // of the cells: Float64, Int64, Bool, String or Bytes
	cells   atRows     // memory of the window, in the order of the answer once they are read
	block   storage.Block
	values  column
	quality *qualityColumn // nil where nobody asks
	fills   wideFiller     // of aggregates
	holes   []bool         // of the cells where they are omitted
	err     error
}

// wideType is the type of cells for values of a type: doubles, integers, booleans and text.
func wideType(t model.Type) model.Type {
	switch t {
	case model.Float32:
		return model.Float64
	case model.Uint64:
		return model.Int64
	case model.State:
		return model.String
	}
	return t
}

// wideType is the type of an aggregate of values of a type.
func (a Aggregate) wideType(t model.Type) model.Type {
	switch a {
	case Count, DurationGood, MinimumTime, MaximumTime, WorstQuality:
		return model.Int64
	case Minimum, Maximum, First, Last:
		return t
	case Sum:
		if !t.Float() {
			return model.Int64
		}
	}
	return model.Float64
}

func wideValues(t model.Type) column {
	switch t {
	case model.Bool:
		return &boolColumn{}
	case model.String, model.Bytes:
		return &blobColumn{typ: t}
	}
	return &bitsColumn{typ: t}
}

// reset makes room for n cells, none of which has a value.
func (c *wideColumn) reset(n int) {
	c.cells.reset(n, c.typ)
	c.holes = c.holes[:0]
	for i := range n {
		c.cells.null[i] = true
	}
}

// choose leaves some of the cells of a window, ascending.
func (c *wideColumn) choose(rows []int) {
	for to, from := range rows {
		if c.typ.Blob() {
			c.cells.blobs[to] = c.cells.blobs[from]
		} else {
			c.cells.bits[to] = c.cells.bits[from]
		}
		c.cells.null[to], c.cells.quality[to] = c.cells.null[from], c.cells.quality[from]
	}
}

// settle makes the cells what the encoder reads, at the instants of their rows.
func (c *wideColumn) settle(times []int64) {
	n := len(times)
	s := model.Samples{Type: c.typ, Times: times}
	if c.typ.Blob() {
		s.Blobs = c.cells.blobs[:n]
	} else {
		s.Bits = c.cells.bits[:n]
	}
	for _, null := range c.cells.null[:n] {
		if null {
			s.Null = c.cells.null[:n]
			break
		}
	}
	if c.quality != nil {
		s.Quality = c.cells.quality[:n]
	}
	c.block.Samples = s
}

// put is cell i: a value as a double, an integer, a boolean or text, whichever the column is of.
func (c *wideColumn) put(i int, s *model.Sample, states *stateTexts) error {
	x := *s
	if !x.Null {
		switch {
		case c.typ == model.Float64:
			x.Bits = math.Float64bits(part13.Number(s))
		case c.typ == model.Int64 && s.Type == model.Uint64 && s.Bits > math.MaxInt64:
			return tooLarge(s.Time, strconv.FormatUint(s.Bits, 10))
		case s.Type == model.State:
			x.Blob = states.name(c.tag, s.Time, int64(s.Bits))
		}
	}
	x.Type = c.typ
	c.cells.put(i, &x)
	return nil
}

func tooLarge(at int64, digits string) error {
	return fmt.Errorf("value %s at %s, the most an integer column holds is %d: %w", digits, model.FormatTime(at), int64(math.MaxInt64), ErrNoFit)
}

// name is the text of a code, or its digits where it has none. It may be memory of the catalogue, and is not written to.
func (s *stateTexts) name(tag *model.Tag, at int64, code int64) []byte {
	if text, ok := s.text(tag, at, code); ok {
		return unsafe.Slice(unsafe.StringData(text), len(text))
	}
	return strconv.AppendInt(nil, code, 10)
}

// wideEncoder writes windows as record batches.
type wideEncoder struct {
	recordWriter
	maxRows int
	times   timeColumn
}

func newWideEncoder(x *wide, lost []storage.OffsetRange, sink Sink) *wideEncoder {
	return &wideEncoder{recordWriter: newRecordWriter(x.schema(lost), sink), maxRows: x.batchRows}
}

// add writes the rows of a window.
func (e *wideEncoder) add(ctx context.Context, columns []wideColumn, times []int64) error {
	for from, to := 0, 0; from < len(times); from = to {
		to = fitTexts(columns, from, min(from+e.maxRows, len(times)))
		if err := e.addBatch(ctx, columns, times, from, to); err != nil {
			return err
		}
	}
	return nil
}

// fitTexts is how far rows may go before their text overfills a batch, one row at least.
func fitTexts(columns []wideColumn, from, to int) int {
	var texts []*wideColumn
	for i := range columns {
		if columns[i].typ.Blob() {
			texts = append(texts, &columns[i])
		}
	}
	if len(texts) == 0 {
		return to
	}
	size := 0
	for row := from; row < to; row++ {
		for _, c := range texts {
			size += len(c.block.Blobs[row])
		}
		if size > batchBlobBytes && row > from {
			return row
		}
	}
	return to
}

// addBatch writes rows [from, to) of a window.
func (e *wideEncoder) addBatch(ctx context.Context, columns []wideColumn, times []int64, from, to int) error {
	data := make([]arrow.ArrayData, 0, len(e.schema.Fields()))
	add := func(c column, r rows) error {
		if b, ok := c.(*bitsColumn); ok { // most are
			b.lend(r)
		} else {
			c.reset()
			if err := c.append(r); err != nil {
				return err
			}
		}
		data = append(data, c.array())
		return nil
	}
	if err := add(&e.times, rows{Block: &storage.Block{Samples: model.Samples{Times: times}}, from: from, to: to}); err != nil {
		return err
	}
	for i := range columns {
		c := &columns[i]
		r := rows{asked: c.asked, Block: &c.block, from: from, to: to}
		if err := add(c.values, r); err != nil {
			return err
		}
		if c.quality == nil {
			continue
		}
		if err := add(c.quality, r); err != nil {
			return err
		}
	}
	return e.writeColumns(ctx, to-from, data)
}
