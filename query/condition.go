package query

import (
	"context"
	"fmt"
	"io"
	"math"

	"github.com/apache/arrow/go/v15/arrow"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/query/expression"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/rollup"
)

// condition is what must hold for time, and the samples in it, to count.
type condition struct {
	program *expression.Program
	tags    []datedInput // its references
	units   []string     // that they have in the range; their values are in them
	strict  bool         // a result that is Uncertain is as unknown as one that is Bad
	now     int64        // until when newest samples hold
	catalog Catalog
}

// condition reads a condition over buckets; none for empty text.
func (e *Engine) condition(text string, b *bucketing, strict bool) (*condition, error) {
	if text == "" {
		return nil, nil
	}
	x, err := expression.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("while: %w: %w", err, ErrBadRequest)
	}
	c := &condition{strict: strict, now: e.now().UnixNano(), catalog: e.store.Catalog()}
	span := b.span()
	last := span.End - 1
	named := namesAt(c.catalog, last)
	var types []expression.Tag
	for _, name := range x.References() {
		tag, ok := named(name)
		if !ok {
			return nil, fmt.Errorf("while: tag %.200q: %w", name, model.ErrTagNotFound)
		}
		alike, err := asked{tag: tag}.alikeOver(span)
		if err != nil {
			return nil, fmt.Errorf("while: %w", err)
		}
		settings := tag.At(last)
		for i := range tag.Settings {
			s := &tag.Settings[i]
			next := int64(math.MaxInt64)
			if i+1 < len(tag.Settings) {
				next = tag.Settings[i+1].From
			}
			if !unitsAlike(s.Unit, settings.Unit) && next > span.Start && s.From <= last {
				return nil, fmt.Errorf("while: tag %.200q has the unit %.40q up to %s and %.40q behind: ask for each apart: %w", name, s.Unit, model.FormatTime(next), settings.Unit, ErrBadRequest)
			}
		}
		c.tags, c.units = append(c.tags, datedInput{tag, alike}), append(c.units, settings.Unit)
		types = append(types, expression.Tag{Type: settings.Type, Unit: settings.Unit})
	}
	if c.program, err = x.Check(types); err != nil {
		return nil, fmt.Errorf("while: %w: %w", err, ErrBadRequest)
	}
	if c.program.Type != expression.Bool {
		return nil, fmt.Errorf("while: %.200q is %s and no condition, such as PUMP = 'RUN': %w", text, c.program.Type, ErrBadRequest)
	}
	return c, nil
}

// bytes is what following the tags of the condition may hold at once.
func (c *condition) bytes() int64 {
	if c == nil {
		return 0
	}
	return cursorBytes * int64(len(c.tags))
}

// held finds the stretches of a range in which a condition holds, one after the other. Each of its tags is held from sample to sample, and
// is unknown where a gap breaks it.
type held struct {
	*condition
	texts *stateTexts
	tags  []followed
	row   []expression.Value // of the tags
	at    int64              // where the next stretch is looked for
	end   int64
}

// followed is a tag at an instant.
type followed struct {
	tag    *model.Tag
	unit   string // of value
	units  settled
	cursor *epochsCursor // behind last
	block  *storage.Block
	i      int
	ended  bool
	has    bool // there is a last sample
	last   int64
	value  expression.Value // of the last sample
}

// within is the stretches of [start, end). The answer is to be closed.
func (c *condition) within(ctx context.Context, view View, start, end int64) (*held, error) {
	h := &held{condition: c, texts: newStateTexts(c.catalog), row: make([]expression.Value, len(c.tags)), at: start, end: end}
	for i, x := range c.tags {
		f := followed{tag: x.tag, unit: c.units[i], units: settled{tag: x.tag}}
		f.cursor = &epochsCursor{Cursor: shapeOf(view, x.tag.ID, model.TimeRange{}), asked: asked{tag: x.tag}, span: x.span}
		f.cursor.reset(model.TimeRange{Start: model.MinTime, End: start + 1, Reverse: true})
		h.tags = append(h.tags, f)
	}
	for i := range h.tags {
		f := &h.tags[i]
		switch b, err := f.cursor.Next(ctx); {
		case err == nil:
			h.take(f, pointOf(b, 0))
		case err != io.EOF:
			h.close()
			return nil, err
		}
		f.cursor.reset(model.TimeRange{Start: start + 1, End: model.All.End})
	}
	return h, nil
}

func (h *held) close() {
	for i := range h.tags {
		h.tags[i].cursor.Close()
	}
}

// take makes a sample the last one of its tag.
func (h *held) take(f *followed, x rollup.Point) {
	f.has, f.last = true, x.Time
	if x.Type <= model.Uint64 && f.tag.At(x.Time).Unit != f.unit { // it was in another unit before the range
		c := f.units.converted(&x, f.unit)
		if c == nil {
			c = &rollup.Point{Sample: model.Sample{Type: x.Type, Null: true, Quality: model.BadNoData}}
		}
		x = *c
	}
	f.value = expression.OfSample(x.Sample, nil)
	if x.Type == model.State && !f.value.Null {
		f.value.Text, _ = h.texts.text(f.tag, x.Time, int64(x.Bits))
	}
}

// next is the time of the sample behind the last one; false if there is none.
func (f *followed) next(ctx context.Context) (int64, bool, error) {
	for !f.ended && (f.block == nil || f.i == f.block.Len()) {
		b, err := f.cursor.Next(ctx)
		if err == io.EOF {
			f.ended, f.block = true, nil
			break
		}
		if err != nil {
			return 0, false, err
		}
		f.block, f.i = b, 0
	}
	if f.ended {
		return 0, false, nil
	}
	return f.block.Times[f.i], true, nil
}

// follow brings a tag to an instant: what it is there, and until when at least it stays so.
func (h *held) follow(ctx context.Context, f *followed, t int64) (v expression.Value, until int64, err error) {
	next, more, err := f.next(ctx)
	for err == nil && more && next <= t {
		h.take(f, pointOf(f.block, f.i))
		f.i++
		next, more, err = f.next(ctx)
	}
	if err != nil {
		return v, 0, err
	}
	until = math.MaxInt64
	if more {
		until = next
	}
	for i := range f.tag.Settings {
		if from := f.tag.Settings[i].From; from > t {
			until = min(until, from)
		}
	}
	v = expression.OfSample(model.Sample{Type: f.tag.At(t).Type, Null: true, Quality: model.BadNoData}, nil)
	if !f.has {
		return v, until, nil
	}
	reach := reachOf(f.tag.At(t).MaxGap)
	stands := int64(math.MaxInt64) // up to when the last sample does
	switch {
	case !more:
		stands = max(h.now, f.last)
		if most := uint64(f.last) + reach + 1; reach > 0 && int64(most) > f.last {
			stands = min(stands, int64(most))
		}
	case reach > 0 && uint64(next)-uint64(f.last) > reach:
		stands = f.last + 1
	}
	if t >= stands {
		return v, until, nil
	}
	return f.value, min(until, stands), nil
}

// state is whether the condition holds at h.at, and until when at least that stays so.
func (h *held) state(ctx context.Context) (holds bool, until int64, err error) {
	until = h.end
	for i := range h.tags {
		v, to, err := h.follow(ctx, &h.tags[i], h.at)
		if err != nil {
			return false, 0, fmt.Errorf("condition of tag %.200q: %w", h.tags[i].tag.Name, err)
		}
		h.row[i], until = v, min(until, to)
	}
	v := h.program.Eval(h.row)
	return !v.Null && v.Bool && (v.Quality.IsGood() || !h.strict && v.Quality.IsUncertain()), until, nil
}

// next is the next stretch, as long as it gets; an empty one at the end.
func (h *held) next(ctx context.Context) (in model.TimeRange, err error) {
	for h.at < h.end {
		holds, until, err := h.state(ctx)
		switch {
		case err != nil:
			return in, err
		case holds && in.Empty():
			in = model.TimeRange{Start: h.at, End: until}
		case holds:
			in.End = until
		case !in.Empty():
			return in, nil
		}
		h.at = until
	}
	return in, nil
}

// whileField is the column that says for how many nanoseconds of a bucket the condition held.
var whileField = arrow.Field{Name: "while_ns", Type: arrow.PrimitiveTypes.Int64}

// longColumn is whole numbers, none of them null.
type longColumn []int64

func (c longColumn) array() arrow.ArrayData {
	return fixedData(arrow.PrimitiveTypes.Int64, len(c), nil, bytesOf(c))
}
