package query

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/apache/arrow/go/v15/arrow"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage"
)

// MaxInstants is how many instants one request may ask for; it stands in query.proto.
const MaxInstants = 1 << 20

// AtTimesRequest asks for the values of tags at instants: those of Times, in any order, and behind them Start, Start+Every and on
// while before End, or where Start is later, Start, Start-Every and on while behind End; equal ones mean that one instant.
type AtTimesRequest struct {
	Tags
	Times             []int64 // nanoseconds UTC
	Start, End, Every int64   // Every is 0 where only Times are asked for
	Consistency       storage.Consistency
	BatchRows         int    // rows per record batch, 1 to MaxBatchRows; 0 for DefaultBatchRows
	Stepped           *bool  // in place of what the settings of a tag say; nil for those
	Discrete          bool   // no value but at the time of a sample
	BridgeBad         bool   // look past samples that are not usable
	UseUncertain      bool   // takes Uncertain samples for usable, see AggregatesRequest
	AsOf              *int64 // as of RangeRequest
	Unit              string // UCUM code of the unit of the values, which are doubles then; empty: as they are stored
}

func (r *AtTimesRequest) check() error {
	if err := r.Tags.check(MaxRangeTags); err != nil {
		return err
	}
	if r.BatchRows < 0 || r.BatchRows > MaxBatchRows {
		return fmt.Errorf("batches of %d rows, least is 1, most is %d: %w", r.BatchRows, MaxBatchRows, ErrBadRequest)
	}
	if r.Discrete && (r.BridgeBad || r.Stepped != nil) {
		return fmt.Errorf("discrete values, which no rule is made of, beside stepped or bridge_bad: %w", ErrBadRequest)
	}
	return nil
}

// instants are all instants asked for, in the order of the answer. They belong to the request where they are only its Times.
func (r *AtTimesRequest) instants() ([]int64, error) {
	switch {
	case r.Every < 0:
		return nil, fmt.Errorf("every %d ns, must be positive: %w", r.Every, ErrBadRange)
	case r.Every == 0 && (r.Start != 0 || r.End != 0):
		return nil, fmt.Errorf("start or end without every: %w", ErrBadRange)
	}
	n := uint64(0)
	if r.Every > 0 {
		length := uint64(r.End) - uint64(r.Start)
		if r.Start > r.End {
			length = -length
		}
		n = 1
		if length > 0 {
			n = (length-1)/uint64(r.Every) + 1
		}
	}
	if n > MaxInstants || len(r.Times)+int(n) > MaxInstants || len(r.Times)+int(n) == 0 {
		return nil, fmt.Errorf("%d instants, least is 1, most is %d: %w", n+uint64(len(r.Times)), MaxInstants, ErrBadRange)
	}
	out := r.Times
	if n > 0 {
		out = slices.Concat(r.Times, make([]int64, n))
		for i := range n {
			at := uint64(r.Start) + i*uint64(r.Every)
			if r.Start > r.End {
				at = uint64(r.Start) - i*uint64(r.Every)
			}
			out[uint64(len(r.Times))+i] = int64(at)
		}
	}
	for _, t := range out {
		if t < model.MinTime || t > model.MaxTime {
			return nil, fmt.Errorf("instant %d, the first is %d, the last %d: %w", t, int64(model.MinTime), int64(model.MaxTime), ErrBadRange)
		}
	}
	return out, nil
}

// maxWindow is how many instants in ascending order are answered before their rows are written. In any other order all of them
// are.
const maxWindow = 1 << 16

// keptBlobBytes is how much text the rows of a window may hold. It ends a window; where that must be all instants, the query.
const keptBlobBytes = 4 << 20

// atTimes is one checked request.
type atTimes struct {
	question
	rules
	times     []int64 // in the order of the answer
	ascending []int64 // the same in ascending order
	order     []int32 // where in the answer each of ascending stands; nil where both are the same
	asOf      *int64
}

func (e *Engine) atTimes(r AtTimesRequest) (*atTimes, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	instants, err := r.instants()
	if err != nil {
		return nil, err
	}
	catalog := e.store.Catalog()
	in := model.TimeRange{Start: slices.Min(instants), End: behindInstant(slices.Max(instants))}
	tags, err := resolve(catalog, r.Tags, in, namesAt(catalog, slices.Max(instants)))
	if err != nil {
		return nil, err
	}
	if err := tags.within(in); err != nil {
		return nil, err
	}
	if r.Discrete { // samples as they are stored
		err = tags.convertTo(r.Unit)
	} else {
		err = tags.workedOut(r.Unit, in)
	}
	if err != nil {
		return nil, err
	}
	rows := RangeRequest{BatchRows: r.BatchRows}
	x := &atTimes{
		question: question{tags: tags, consistency: r.Consistency, layout: layout{types: tags.types(), unit: r.Unit}, batchRows: rows.batchRows()},
		times:    instants, ascending: instants, asOf: r.AsOf,
		rules: rules{values: interpolation{stepped: r.Stepped, strict: !r.UseUncertain}, discrete: r.Discrete, bridge: r.BridgeBad},
	}
	x.sort()
	x.extra = x.bytesBeside()
	return x, nil
}

// sort puts the instants in ascending order unless they are.
func (x *atTimes) sort() {
	if slices.IsSorted(x.times) {
		return
	}
	x.order = make([]int32, len(x.times))
	for i := range x.order {
		x.order[i] = int32(i)
	}
	slices.SortFunc(x.order, func(a, b int32) int { return cmp.Or(cmp.Compare(x.times[a], x.times[b]), cmp.Compare(a, b)) })
	x.ascending = make([]int64, len(x.times))
	for i, k := range x.order {
		x.ascending[i] = x.times[k]
	}
}

// window is how many rows are held at once.
func (x *atTimes) window() int {
	if x.order == nil {
		return min(maxWindow, len(x.times))
	}
	return len(x.times)
}

// bytesBeside is what answering holds beside what every question does: the instants, and the rows of a window.
func (x *atTimes) bytesBeside() int64 {
	perRow := int64(8 + 4 + 1 + 1)
	blobs := int64(0)
	if x.layout.types.has(model.String) || x.layout.types.has(model.Bytes) {
		perRow += 24
		blobs = keptBlobBytes + model.MaxBlobBytes
	}
	return 8*int64(len(x.times)) + 12*int64(len(x.order)) + perRow*int64(x.window()) + blobs
}

// AtTimesSchema is the schema ReadAtTimes will answer r with, but for metadata that the answer's moment decides.
func (e *Engine) AtTimesSchema(r AtTimesRequest) (*arrow.Schema, error) {
	x, err := e.atTimes(r)
	if err != nil {
		return nil, err
	}
	return schemaOf(x.layout.columns(x.tags, nil, nil), nil), nil
}

// ReadAtTimes writes what r asks for to sink, a row per tag and instant, and returns how many rows it wrote, also beside an
// error.
func (e *Engine) ReadAtTimes(ctx context.Context, r AtTimesRequest, sink Sink) (uint64, error) {
	x, err := e.atTimes(r)
	if err != nil {
		return 0, err
	}
	return e.answer(ctx, x.question, sink, func(view View, out *encoder) error {
		w := &walk{rules: x.rules, order: x.order, cursor: emptyShape(view, x.tags.asked[0], x.asOf)}
		defer w.cursor.Close()
		for _, a := range x.tags.asked {
			if err := x.tag(ctx, w, a.read(w.cursor), out); err != nil {
				return fmt.Errorf("values of tag %s at %d instants: %w", a.describe(), len(x.times), err)
			}
		}
		return nil
	})
}

// tag answers all instants of one tag, window by window.
func (x *atTimes) tag(ctx context.Context, w *walk, a asked, out *encoder) error {
	w.begin(a)
	for done := 0; done < len(x.ascending); done += w.next {
		err := w.window(ctx, x.ascending[done:min(done+x.window(), len(x.ascending))])
		answered := w.instants[:w.next]
		if x.order != nil {
			if err == nil && w.next < len(w.instants) {
				err = fmt.Errorf("instants in no ascending order with more than %d bytes of text at them: ask in ascending order, or for fewer: %w", keptBlobBytes, ErrTooLarge)
			}
			if err != nil {
				return err
			}
			answered = x.times
		}
		// What was answered before a fault is right.
		if err := errors.Join(err, w.rows.add(ctx, a, answered, a.tag.Current().Type, out)); err != nil {
			return err
		}
	}
	return nil
}
