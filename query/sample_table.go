package query

import (
	"context"
	"fmt"
	"io"
	"iter"
	"math"

	"github.com/apache/arrow/go/v15/arrow"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage"
)

// SampleColumn is a column of samples as SQL sees them: docs/reference/sql.md has the table. Its columns are of few types, and have the
// same one whatever the tags are.
type SampleColumn uint8

const (
	SampleTime      SampleColumn = iota // floor to microseconds, as nanoseconds
	SampleTag                           // current name
	SampleValue                         // numbers as the nearest double; null where Bad, as is all of a value
	SampleQuality                       // all 32 bits
	SampleStatus                        // symbolic name of the quality, without info bits
	SampleSeverity                      // Good, Uncertain or Bad
	SampleValueInt                      // integers up to 2^63-1, booleans as 0 and 1, codes of states
	SampleValueText                     // text, the text of states, and the digits of what is too large for value_int
	SampleTimeNS                        // nanoseconds since 1970 UTC
	SampleTagID                         // of the tag, whatever its epoch
	SampleSeq                           // order of arrival at one time
	afterSampleColumns
)

// SampleTable asks for samples as rows of SQL.
type SampleTable struct {
	Columns    []SampleColumn       // in this order; none: rows are only counted
	Tags       iter.Seq[*model.Tag] // of the catalogue, each once
	Range      model.TimeRange      // of the samples; backward with PerTag alone
	AsOf       *int64               // instant of ingest time at which the samples must have stood, ns UTC; nil for now
	Severities Severities           // empty for all
	Limit      uint64               // most rows; 0 for all
	Runs       bool                 // columns that repeat come run-end encoded in place of one by one

	// PerTag leaves out what lies behind so many first rows of a tag, in the direction of Range, and behind the microsecond that the last of them
	// is in: all rows that SQL takes to be of one time are there, or none. It may leave more: it counts by epochs of the tag. 0 for all.
	PerTag uint64
	Valued bool // PerTag counts rows with a value alone; others come along

	Read func(storage.Reading) // is told how the samples were found, also beside an error; nil for nobody
}

// batch sizes of a scan: the first rows come soon, and whoever wants few of them has little read for nothing.
const (
	firstTableRows = 2048
	maxTableRows   = DefaultBatchRows
	// Where each row has its texts batches are smaller: clients that are slow to read hold one each, and these have no turns to wait for.
	maxTextRows  = 16 << 10
	maxTextBytes = 1 << 20 // of one column in runs
)

// SampleSchema is the schema of columns of samples.
func SampleSchema(columns []SampleColumn, runs bool) *arrow.Schema {
	return schemaOf(sampleColumns(columns, runs, nil), nil)
}

func sampleColumns(columns []SampleColumn, runs bool, states *stateTexts) []column {
	cols := make([]column, len(columns))
	for i, c := range columns {
		switch c {
		case SampleTime:
			cols[i] = &microColumn{}
		case SampleTag:
			cols[i] = &runsColumn[string]{name: "tag", encoded: runs, of: func(r rows) (string, bool) { return r.tag.Name, true }}
		case SampleValue:
			cols[i] = &mixedFloatColumn{}
		case SampleQuality:
			cols[i] = &runsColumn[int64]{name: "quality", encoded: runs, ofQuality: func(q model.Quality) int64 { return int64(q) }}
		case SampleStatus:
			cols[i] = &runsColumn[string]{name: "status", encoded: runs, ofQuality: model.Quality.String}
		case SampleSeverity:
			cols[i] = &runsColumn[string]{name: "severity", encoded: runs, ofQuality: model.Quality.Severity}
		case SampleValueInt:
			cols[i] = &mixedIntColumn{}
		case SampleValueText:
			cols[i] = &mixedTextColumn{states: states}
		case SampleTimeNS:
			cols[i] = &nanosColumn{}
		case SampleTagID:
			cols[i] = &runsColumn[int64]{name: "tag_id", encoded: runs, of: func(r rows) (int64, bool) { return int64(r.tag.Owner()), true }}
		case SampleSeq:
			cols[i] = &runsColumn[int64]{name: "seq", encoded: runs, of: func(r rows) (int64, bool) { return 0, r.Seq == nil }, ofRow: func(r rows, i int) int64 { return int64(r.Seq[i]) }}
		}
	}
	return cols
}

// Moment is one moment of the store that several reads have in common. Its methods may be called from several goroutines.
type Moment struct {
	engine *Engine
	view   View
}

// At is the moment of a view, which stays the caller's to close.
func (e *Engine) At(v *storage.View) *Moment { return &Moment{e, dbView{v}} }

// Engine answers every question at the moment, out of the same memory for queries; but for completeness, which is of the present: what
// collectors said is of no view.
func (m *Moment) Engine() *Engine {
	return &Engine{store: momentStore{m.engine.store.Catalog(), m.view}, budget: m.engine.budget, now: m.engine.now, present: m.engine}
}

// momentStore is a store whose every view is one that someone else closes.
type momentStore struct {
	catalog Catalog
	view    View
}

func (h momentStore) Catalog() Catalog { return h.catalog }
func (h momentStore) View(context.Context, storage.Consistency) (View, error) {
	return lentView{h.view}, nil
}

type lentView struct{ View }

func (lentView) Close() {}

// room is how many rows a batch may have, fewer where the memory for a question is little, and what the scan holds at once: a batch being
// filled and one on its way, a chunk, and texts.
func (r *SampleTable) room(share int64) (rows int, bytes int64) {
	row, held := int64(0), int64(cursorBytes)
	for _, c := range r.Columns {
		switch c {
		case SampleTime, SampleTimeNS:
			row += 8
		case SampleValue, SampleValueInt:
			row += 9
		case SampleValueText:
			row += 5
			held += 2 * (batchBlobBytes + model.MaxBlobBytes)
		default: // in runs, of which each row may be one
			row += 20
			if !r.Runs && (c == SampleTag || c == SampleStatus || c == SampleSeverity) {
				held += 2 * maxTextBytes
			}
		}
	}
	rows = maxTableRows
	if !r.Runs {
		rows = maxTextRows
	}
	for rows > firstTableRows && held+2*int64(rows)*row > share/2 {
		rows /= 2
	}
	return rows, held + 2*int64(rows)*row
}

// ReadSamples writes the samples that r asks for to sink, tag by tag, and returns how many, also beside an error.
func (m *Moment) ReadSamples(ctx context.Context, r SampleTable, sink Sink) (uint64, error) {
	for _, c := range r.Columns {
		if c >= afterSampleColumns {
			return 0, fmt.Errorf("column %d of samples, which there is none of: %w", c, ErrBadRequest)
		}
	}
	most, need := r.room(m.engine.budget.share)
	if err := m.engine.budget.reserve(need); err != nil {
		return 0, err
	}
	defer m.engine.budget.release(need)
	states := newStateTexts(m.engine.store.Catalog())
	scan := sampleScan{
		filter: filter{severities: r.Severities}, in: r.Range, asOf: r.AsOf, most: most, runs: r.Runs, read: r.Read, left: r.Limit, each: firstRows{left: r.PerTag, valued: r.Valued},
		out: newEncoder(sampleColumns(r.Columns, r.Runs, states), m.view.Lost(), firstTableRows, sink),
	}
	if scan.left == 0 {
		scan.left = math.MaxUint64
	}
	defer func() { scan.out.giveBack().Release() }()
	err := scan.tags(ctx, m.view, r.Tags)
	if flushErr := scan.out.flush(ctx); err == nil {
		err = flushErr
	}
	if err == nil {
		err = scan.out.end()
	}
	return scan.out.rowsWritten(), err
}

// sampleScan reads tag by tag.
type sampleScan struct {
	filter filter
	in     model.TimeRange
	asOf   *int64
	most   int // rows of a batch behind the first
	runs   bool
	read   func(storage.Reading)
	left   uint64    // rows
	each   firstRows // of an epoch that is not begun
	cursor Cursor
	out    *encoder
	ids    []model.TagID
	null   []bool
	block  storage.Block
}

func (s *sampleScan) tags(ctx context.Context, view View, tags iter.Seq[*model.Tag]) error {
	if s.in.Empty() {
		return nil
	}
	for tag := range tags {
		a := asked{tag: tag}
		if s.cursor == nil {
			s.cursor = emptyCursor(view, a, s.asOf)
			defer s.close()
		}
		if err := s.fit(ctx, tag); err != nil {
			return err
		}
		in := s.in
		if s.asOf != nil { // of which epoch a sample is now says nothing of then
			in = model.All
		}
		s.ids = a.epochs(s.ids[:0], in)
		for _, id := range s.ids {
			if err := s.epoch(ctx, a, id); err != nil || s.left == 0 {
				return err
			}
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

// close lets go of the cursor, and tells what it read.
func (s *sampleScan) close() {
	if c, ok := s.cursor.(interface{ Reading() storage.Reading }); ok && s.read != nil {
		s.read(c.Reading())
	}
	s.cursor.Close()
}

// epoch adds the samples that are kept by one id.
func (s *sampleScan) epoch(ctx context.Context, a asked, id model.TagID) error {
	s.cursor.Reset(id, s.in)
	first := s.each
	for !first.over {
		block, err := s.cursor.Next(ctx)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read tag %s over %s: %w", a.describe(), s.in, err)
		}
		block = s.valued(s.filter.pass(a.tag, block))
		if s.each.left > 0 {
			block = first.of(block)
		}
		if uint64(block.Len()) > s.left {
			block = &storage.Block{Samples: block.Slice(0, int(s.left))}
		}
		s.left -= uint64(block.Len())
		if err := s.out.add(ctx, a, block); err != nil || s.left == 0 {
			return err
		}
		if err := s.fit(ctx, a.tag); err != nil {
			return err
		}
	}
	return nil
}

// hasNumber reports whether a sample has something in column value.
func hasNumber(b *storage.Block, i int) bool {
	switch b.Type {
	case model.Float64, model.Float32, model.Int64, model.Uint64:
		return !b.IsNull(i)
	}
	return false
}

// firstRows is the first rows of an epoch, as SampleTable.PerTag has it.
type firstRows struct {
	left   uint64 // rows to be counted
	valued bool   // counts rows with a value alone
	edge   int64  // microsecond of the last row that counts
	over   bool
}

// of is what belongs to them of the next block.
func (f *firstRows) of(b *storage.Block) *storage.Block {
	for i, t := range b.Times {
		if f.left == 0 && FloorMicros(t) != f.edge {
			f.over = true
			return &storage.Block{Samples: b.Slice(0, i)}
		}
		if f.left > 0 && (!f.valued || hasNumber(b, i)) {
			f.left--
			f.edge = FloorMicros(t)
		}
	}
	return b
}

// fit sets how many rows of a tag the batch may have: few in the first one, and fewer of a long name that each row has.
func (s *sampleScan) fit(ctx context.Context, tag *model.Tag) error {
	most := firstTableRows
	if s.out.rowsWritten() > 0 {
		most = s.most
	}
	if !s.runs {
		most = min(most, maxTextBytes/(len(tag.Name)+64))
	}
	if s.out.maxRows = most; s.out.rows >= most {
		return s.out.flush(ctx)
	}
	return nil
}

// valued is a block in which Bad samples have no value.
func (s *sampleScan) valued(b *storage.Block) *storage.Block {
	bad := false
	for _, q := range b.Quality {
		if bad = q.IsBad(); bad {
			break
		}
	}
	if !bad {
		return b
	}
	s.null = append(s.null[:0], make([]bool, b.Len())...)
	for i, q := range b.Quality {
		s.null[i] = q.IsBad() || b.IsNull(i)
	}
	s.block = *b
	s.block.Null = s.null
	return &s.block
}
