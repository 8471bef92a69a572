package query

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/query/expression"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/rollup"
)

// A block is short after a Reset, because often only the sample next to an instant is wanted, and up to maxCalculated samples later.
const (
	leastCalculated    = 32
	maxCalculated      = 4096
	rowBytesCalculated = 8 + 8 + 24 + 4 + 1 + 4
)

// calculatedCursor evaluates an expression at each time at which an input has a sample. It goes through its inputs side by side, each
// with the sample it passed and the one it comes to: between the two its value lies.
type calculatedCursor struct {
	*calculatedTag
	catalog Catalog
	inputs  []calculatedInput
	states  *stateTexts
	values  []model.Sample // of the inputs
	row     []expression.Value
	in      model.TimeRange
	placed  bool // inputs stand at the beginning of the range
	size    int  // of the block to come
	block   storage.Block
}

// calculatedInput is one of the tags that a calculation is made of.
type calculatedInput struct {
	tag    *model.Tag
	units  settled
	cursor *epochsCursor
	block  *storage.Block
	at     int          // of the block, the sample to come
	end    bool         // there is none
	passed rollup.Point // the last sample behind the cursor; of type 0 for none
}

func newCalculatedCursor(c *calculatedTag, open opener, catalog Catalog) *calculatedCursor {
	out := &calculatedCursor{calculatedTag: c, catalog: catalog, states: newStateTexts(catalog), values: make([]model.Sample, len(c.inputs))}
	for _, x := range c.inputs {
		cursor := &epochsCursor{Cursor: open(x.tag.ID, model.TimeRange{}), asked: asked{tag: x.tag}, span: x.span}
		out.inputs = append(out.inputs, calculatedInput{tag: x.tag, units: settled{tag: x.tag}, cursor: cursor})
	}
	return out
}

func (c *calculatedCursor) Close() {
	for i := range c.inputs {
		c.inputs[i].cursor.Close()
	}
}

func (c *calculatedCursor) reset(in model.TimeRange) {
	in.Start, in.End = max(in.Start, c.span.Start), min(in.End, c.span.End)
	c.in, c.placed, c.size = in, false, leastCalculated
}

// Next is the next block, as of Cursor.
func (c *calculatedCursor) Next(ctx context.Context) (*storage.Block, error) {
	if c.in.Empty() {
		return nil, io.EOF
	}
	if !c.placed {
		for i := range c.inputs {
			if err := c.inputs[i].place(ctx, c.in); err != nil {
				return nil, c.located(i, err)
			}
		}
		c.placed = true
	}
	c.block.Reset(c.tag.Current().Type)
	for blobs := 0; c.block.Len() < c.size && blobs < keptBlobBytes; {
		instant, ok, err := c.instant(ctx)
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		s, ok, err := c.evaluate(ctx, instant)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		blobs += len(s.Blob)
		c.block.Append(s)
	}
	c.size = min(4*c.size, maxCalculated)
	if c.block.Len() == 0 {
		return nil, io.EOF
	}
	return &c.block, nil
}

func (c *calculatedCursor) located(i int, err error) error {
	return fmt.Errorf("read %s for %s: %w", asked{tag: c.inputs[i].tag}.describe(), c.tag.Name, err)
}

// instant is the next time at which an input has a sample; false behind the range.
func (c *calculatedCursor) instant(ctx context.Context) (next int64, ok bool, err error) {
	for i := range c.inputs {
		x := &c.inputs[i]
		if err := x.load(ctx); err != nil {
			return 0, false, c.located(i, err)
		}
		if x.end {
			continue
		}
		if t := x.block.Times[x.at]; !ok || t < next != c.in.Reverse && t != next {
			next, ok = t, true
		}
	}
	return next, ok && next >= c.in.Start && next < c.in.End, nil
}

// evaluate is the value at an instant, which is the next one; false where only tags have samples that the expression in force does not name.
func (c *calculatedCursor) evaluate(ctx context.Context, instant int64) (model.Sample, bool, error) {
	d := c.calculatedTag.at(instant)
	named := slices.ContainsFunc(d.inputs, func(i int) bool { return c.inputs[i].sampled(instant) })
	if named && d.err != nil {
		return model.Sample{}, false, fmt.Errorf("%s: with the units that its tags had at %s: %w", c.tag.Name, model.FormatTime(instant), d.err)
	}
	for i := range c.inputs {
		s, err := c.inputs[i].value(ctx, instant, c.in.Reverse)
		if err != nil {
			return model.Sample{}, false, c.located(i, err)
		}
		c.values[i] = s
	}
	if !named {
		return model.Sample{}, false, nil
	}
	row := c.row[:0]
	for _, i := range d.inputs {
		s := c.values[i]
		v := expression.OfSample(s, nil)
		if s.Type == model.State && !v.Null {
			v.Text, _ = c.states.text(c.inputs[i].tag, instant, int64(s.Bits))
		}
		row = append(row, v)
	}
	c.row = row
	return c.sample(instant, d.program.Eval(row)), true, nil
}

// sampled reports whether the sample to come is at an instant.
func (x *calculatedInput) sampled(instant int64) bool {
	return !x.end && x.block.Times[x.at] == instant
}

// place puts the cursor to the beginning of a range, behind the sample next to it outside.
func (x *calculatedInput) place(ctx context.Context, in model.TimeRange) error {
	outside := model.TimeRange{Start: model.MinTime, End: in.Start, Reverse: true}
	inside := model.TimeRange{Start: in.Start, End: model.All.End}
	if in.Reverse {
		outside = model.TimeRange{Start: in.End, End: model.All.End}
		inside = model.TimeRange{Start: model.MinTime, End: in.End, Reverse: true}
	}
	x.passed = rollup.Point{}
	x.cursor.reset(outside)
	x.block, x.at, x.end = nil, 0, false
	if err := x.load(ctx); err != nil {
		return err
	}
	if !x.end {
		x.passed = *keep(pointOf(x.block, x.at))
	}
	x.cursor.reset(inside)
	x.block, x.at, x.end = nil, 0, false
	return nil
}

// load makes sure that the sample to come is there, if there is one.
func (x *calculatedInput) load(ctx context.Context) error {
	for !x.end && (x.block == nil || x.at == x.block.Len()) {
		b, err := x.cursor.Next(ctx)
		if err == io.EOF {
			x.end = true
			return nil
		}
		if err != nil {
			return err
		}
		x.block, x.at = b, 0
	}
	return nil
}

// value is that of the input at an instant, behind which the cursor stands afterwards: of several samples there the one of highest seq.
func (x *calculatedInput) value(ctx context.Context, instant int64, reverse bool) (model.Sample, error) {
	if !x.sampled(instant) {
		return x.between(instant, reverse), nil
	}
	var first rollup.Point
	for !x.end && x.block.Times[x.at] == instant {
		if x.passed = pointOf(x.block, x.at); x.passed.Blob != nil {
			x.passed.Blob = slices.Clone(x.passed.Blob)
		}
		if first.Type == 0 {
			first = x.passed
		}
		x.at++
		if err := x.load(ctx); err != nil {
			return model.Sample{}, err
		}
	}
	if reverse {
		return first.Sample, nil
	}
	return x.passed.Sample, nil
}

// between is the value at an instant without a sample, as ReadAtTimes has it with Uncertain samples usable.
func (x *calculatedInput) between(instant int64, reverse bool) model.Sample {
	var before, after *rollup.Point
	if x.passed.Type != 0 {
		before = &x.passed
	}
	if !x.end {
		next := pointOf(x.block, x.at)
		after = &next
	}
	if reverse {
		before, after = after, before
	}
	tag := x.units.alike(&before, &after, instant)
	var rules interpolation
	return rules.simple(tag, before, after, instant)
}
