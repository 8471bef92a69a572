package query

import (
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"github.com/apache/arrow/go/v15/arrow"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage"
)

// Options tune an Engine. The zero value of a field means its default.
type Options struct {
	// MemoryBytes is what all queries together may hold. The default is 96 MiB.
	MemoryBytes int64
	// QueryBytes is what one query may hold. A small share keeps one question from refusing all others. The default is
	// half of MemoryBytes, which is also the most that makes sense, or the 12 MiB that some questions need.
	QueryBytes int64
	// Now is the clock by which a state that is still open has lasted. The default is time.Now.
	Now func() time.Time
	// Collecting is what a collector said last of a tag; false where none reads it. The default is that none reads any.
	Collecting func(model.TagID) (Collecting, bool)
}

// Engine answers questions. It is safe for concurrent use.
type Engine struct {
	store  Store
	budget *budget
	now    func() time.Time

	collecting func(model.TagID) (Collecting, bool)
	present    *Engine // of an engine over a moment: the one that it was made of; else nil
}

// New makes an engine over a store.
func New(store Store, o Options) (*Engine, error) {
	if o.MemoryBytes == 0 {
		o.MemoryBytes = 96 << 20
	}
	if o.QueryBytes == 0 {
		o.QueryBytes = max(o.MemoryBytes/2, min(leastShare, o.MemoryBytes))
	}
	if o.MemoryBytes < 0 || o.QueryBytes < 0 || o.QueryBytes > o.MemoryBytes {
		return nil, fmt.Errorf("QueryBytes %d and MemoryBytes %d: must be positive, the first not above the second", o.QueryBytes, o.MemoryBytes)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Collecting == nil {
		o.Collecting = func(model.TagID) (Collecting, bool) { return Collecting{}, false }
	}
	return &Engine{store: store, now: o.Now, collecting: o.Collecting, budget: &budget{total: o.MemoryBytes, share: o.QueryBytes}}, nil
}

// MemoryTaken is what running queries hold.
func (e *Engine) MemoryTaken() int64 { return e.budget.taken.Load() }

// Reserve takes bytes of the memory for queries, for what a door holds of a question and its answer beside the engine. release gives
// them back, once.
func (e *Engine) Reserve(bytes int64) (release func(), err error) {
	if err := e.budget.reserve(bytes); err != nil {
		return nil, err
	}
	return func() { e.budget.release(bytes) }, nil
}

// question is what both requests share once they are checked.
type question struct {
	tags        *tagList
	layout      layout
	batchRows   int
	consistency storage.Consistency
	extra       int64 // bytes that only this kind of question holds
}

// cursorBytes is what a cursor may hold decoded.
const cursorBytes = 4 << 20

// leastShare has room for the questions that read two cursors, such as what a day holds, of some thousand tags.
const leastShare = 3 * cursorBytes

// bytes is what answering may hold at once: the names three times (list, dictionary, message), the columns being filled
// and those on their way.
func (q question) bytes() int64 {
	perTag := int64(96) // list entry, index entry, dictionary offset
	names := 3*q.tags.nameBytes + perTag*int64(len(q.tags.asked))
	blobs := int64(0)
	if q.layout.types.has(model.String) || q.layout.types.has(model.Bytes) || q.layout.types.has(model.State) {
		blobs = 2 * (batchBlobBytes + model.MaxBlobBytes)
	}
	if q.layout.modified {
		blobs += 2 * batchBlobBytes
	}
	return names + 2*int64(q.batchRows)*q.layout.rowBytes() + blobs + cursorBytes + q.extra
}

func (e *Engine) rangeQuestion(r RangeRequest) (question, error) {
	if err := r.check(); err != nil {
		return question{}, err
	}
	catalog := e.store.Catalog()
	from, to := r.edges()
	last := max(model.Between(from, to).End, model.MinTime) - 1
	tags, err := resolve(catalog, r.Tags, model.Between(from, to), namesAt(catalog, last))
	if err != nil {
		return question{}, err
	}
	if r.WithSource {
		if err := tags.onlyStored(); err != nil {
			return question{}, err
		}
	}
	if r.Bounds == Interpolated || len(r.Where) > 0 || r.Unit != "" {
		if err := tags.within(model.Between(from, to)); err != nil {
			return question{}, err
		}
	}
	if r.Bounds == Interpolated {
		err = tags.workedOut(r.Unit, model.Between(from, to))
	} else {
		err = tags.convertTo(r.Unit)
	}
	if err != nil {
		return question{}, err
	}
	if err := (&filter{where: r.Where}).checkTypes(tags); err != nil {
		return question{}, err
	}
	q := question{
		tags: tags, batchRows: r.batchRows(), consistency: r.Consistency,
		layout: layout{types: tags.typesIn(r.epochs()), unit: r.Unit, withSource: r.WithSource, withSeq: r.WithSeq, withGaps: r.WithGaps},
	}
	if r.Bounds == Interpolated {
		q.extra = cursorBytes
	}
	if r.Bounds != NoBounds {
		q.layout.edges = &boundColumn{first: min(from, to), last: max(from, to)}
	}
	for r.BatchRows == 0 && q.batchRows > leastBatchRows && q.bytes() > e.budget.share {
		q.batchRows /= 2
	}
	return q, nil
}

// schema is the schema of the answer, but for metadata that the answer's moment decides.
func (q question) schema() *arrow.Schema { return schemaOf(q.layout.columns(q.tags, nil, nil), nil) }

// RangeSchema is the schema ReadRange will answer r with, but for metadata that the answer's moment decides.
func (e *Engine) RangeSchema(r RangeRequest) (*arrow.Schema, error) {
	q, err := e.rangeQuestion(r)
	if err != nil {
		return nil, err
	}
	return q.schema(), nil
}

// ReadRange writes the samples that r asks for to sink and returns how many rows it wrote, also beside an error.
func (e *Engine) ReadRange(ctx context.Context, r RangeRequest, sink Sink) (uint64, error) {
	q, err := e.rangeQuestion(r)
	if err != nil {
		return 0, err
	}
	read := newRangeRead(&r, e.store.Catalog())
	return e.answer(ctx, q, sink, func(view View, out *encoder) error {
		read.out, read.cursor = out, emptyCursor(view, q.tags.asked[0], r.AsOf)
		defer read.cursor.Close()
		if read.near = read.cursor; r.Bounds == Interpolated {
			read.near = emptyShape(view, q.tags.asked[0], r.AsOf)
			defer read.near.Close()
		}
		// What stood then is put together from several chunks; of what a filter sees only some is added; gaps come in between.
		if r.AsOf == nil && read.filter.all() && !r.WithGaps {
			read.cursor.DecodeInto(out.room)
		}
		for _, a := range q.tags.asked {
			if r.WithGaps {
				read.gaps = gapRowsOf(view, a, read.in, r.AsOf)
			}
			if read.near != read.cursor {
				a.read(read.near)
			}
			if err := read.tag(ctx, a.read(read.cursor)); err != nil {
				return err
			}
		}
		return nil
	})
}

func (e *Engine) latestQuestion(r LatestRequest) (question, error) {
	if err := r.Tags.check(MaxLatestTags); err != nil {
		return question{}, err
	}
	catalog := e.store.Catalog()
	now := e.now().UnixNano()
	tags, err := resolve(catalog, r.Tags, model.Between(now, now), catalog.ByName)
	if err != nil {
		return question{}, err
	}
	if err := tags.convertTo(r.Unit); err != nil {
		return question{}, err
	}
	return question{
		tags: tags, consistency: r.Consistency, layout: layout{types: tags.types(), unit: r.Unit},
		batchRows: min(DefaultBatchRows, len(tags.asked)),
	}, nil
}

// LatestSchema is RangeSchema of Latest.
func (e *Engine) LatestSchema(r LatestRequest) (*arrow.Schema, error) {
	q, err := e.latestQuestion(r)
	if err != nil {
		return nil, err
	}
	return q.schema(), nil
}

// Latest writes the newest sample of every tag that has one.
func (e *Engine) Latest(ctx context.Context, r LatestRequest, sink Sink) (uint64, error) {
	q, err := e.latestQuestion(r)
	if err != nil {
		return 0, err
	}
	return e.answer(ctx, q, sink, func(view View, out *encoder) error {
		var one storage.Block
		for _, a := range q.tags.asked {
			s, ok, err := q.tags.latest(ctx, view, a)
			if err != nil {
				return err
			}
			if !ok {
				continue
			}
			one.Reset(s.Type)
			one.Append(s)
			if a.unit != nil && s.Type > model.Uint64 { // of an epoch before the present one
				return fmt.Errorf("tag %s in %s: its newest sample is of type %s and no number: %w", a.describe(), q.tags.unit, s.Type, ErrBadRequest)
			}
			if a.unit != nil {
				bits, err := a.converted(&one.Samples, nil)
				if err != nil {
					return err
				}
				one.Type, one.Bits = model.Float64, bits
			}
			if err := out.add(ctx, a, &one); err != nil {
				return err
			}
		}
		return nil
	})
}

// answer streams what read puts into an encoder.
func (e *Engine) answer(ctx context.Context, q question, sink Sink, read func(View, *encoder) error) (uint64, error) {
	states := newStateTexts(e.store.Catalog())
	out := (*encoder)(nil)
	defer func() {
		if out != nil {
			out.giveBack().Release()
		}
	}()
	return e.stream(ctx, q.tags, q.bytes(), q.consistency, func(view View) (batches, error) {
		out = newEncoder(q.layout.columns(q.tags, states, view.SourceName), view.Lost(), q.batchRows, sink)
		return out, read(view, out)
	})
}

func (e *Engine) modifiedQuestion(r ModifiedRequest) (question, error) {
	if err := r.onlyStored(); err != nil {
		return question{}, err
	}
	q, err := e.rangeQuestion(r.asRange())
	if err != nil {
		return q, err
	}
	if err := q.tags.onlyStored(); err != nil {
		return question{}, err
	}
	q.layout.modified, q.layout.types = true, q.tags.types()
	return q, nil
}

// ModifiedSchema is RangeSchema of ReadModified.
func (e *Engine) ModifiedSchema(r ModifiedRequest) (*arrow.Schema, error) {
	q, err := e.modifiedQuestion(r)
	if err != nil {
		return nil, err
	}
	return q.schema(), nil
}

// ReadModified writes the values that r asks for to sink and returns how many rows it wrote, also beside an error.
func (e *Engine) ReadModified(ctx context.Context, r ModifiedRequest, sink Sink) (uint64, error) {
	q, err := e.modifiedQuestion(r)
	if err != nil {
		return 0, err
	}
	in := model.Between(r.Start, r.End)
	return e.answer(ctx, q, sink, func(view View, out *encoder) error {
		for _, a := range q.tags.asked {
			left := r.Limit
			if left == 0 {
				left = math.MaxUint64
			}
			// Of every epoch: a value that was removed may have stood where another one is now.
			ids := a.tag.EpochIDs()
			if in.Reverse {
				slices.Reverse(ids)
			}
			for _, id := range ids {
				n, err := readModified(ctx, view, a, id, in, left, out)
				if err != nil {
					return err
				}
				if left -= n; left == 0 {
					break
				}
			}
		}
		return nil
	})
}

// readModified copies what no longer stands of one epoch of a tag into the encoder, at most limit values, and returns how many.
func readModified(ctx context.Context, view View, a asked, epoch model.TagID, in model.TimeRange, limit uint64, out *encoder) (taken uint64, err error) {
	if in.Empty() {
		return 0, nil
	}
	cursor := view.Modified(epoch, in)
	defer cursor.Close()
	for taken < limit {
		block, err := cursor.Next(ctx)
		if err == io.EOF {
			return taken, nil
		}
		if err != nil {
			return taken, fmt.Errorf("read modified values of tag %s over %s: %w", a.describe(), in, err)
		}
		values := &block.Block
		if left := limit - taken; uint64(values.Len()) > left {
			values = &storage.Block{Samples: values.Slice(0, int(left)), Origins: values.Origins}
		}
		if a.unit != nil {
			bits, err := a.converted(&values.Samples, nil)
			if err != nil {
				return taken, err
			}
			inUnit := *values
			inUnit.Type, inUnit.Bits, values = model.Float64, bits, &inUnit
		}
		if err := out.addEnded(ctx, a, values, block.Ends); err != nil {
			return taken, err
		}
		taken += uint64(values.Len())
	}
	return taken, nil
}

// emptyCursor reads what stands of tags, or what stood at an earlier time, once it is reset to a tag and a range.
func emptyCursor(view View, a asked, asOf *int64) Cursor {
	return a.inUnit(storedCursor(view, a.tag.ID, asOf))
}

// storedCursor is emptyCursor in the units of the tags.
func storedCursor(view View, tag model.TagID, asOf *int64) Cursor {
	if asOf != nil {
		return view.SamplesAsOf(tag, model.TimeRange{}, *asOf)
	}
	return view.Samples(tag, model.TimeRange{})
}
