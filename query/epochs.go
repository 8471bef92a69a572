package query

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/query/expression"
	"github.com/varvedb/varve/storage"
)

// What a question means for tags whose type changed: storage keeps each epoch of one under an id of its own. Samples are read through all
// epochs; no value is worked out of samples of two, but where an expression says that they are numbers. docs/reference/type-epochs.md has the
// rules.

// within makes each tag the one that it is in its epoch of a range. ErrBadRequest where the range meets several.
func (l *tagList) within(in model.TimeRange) error {
	for i := range l.asked {
		if err := l.asked[i].within(in); err != nil {
			return err
		}
	}
	return nil
}

func (a *asked) within(in model.TimeRange) error {
	if !a.tag.Retyped() {
		return nil
	}
	epoch := a.tag.KeptBy(in.Start)
	now, holds := a.tag.In(epoch)
	if !in.Empty() && a.tag.KeptBy(in.End-1) != epoch {
		next, _ := a.tag.In(a.tag.KeptBy(holds.End))
		hint := ""
		if now.Current().Type <= model.Uint64 && next.Current().Type <= model.Uint64 {
			hint = fmt.Sprintf(", or of the expression %s, to which both are numbers", expression.Quote(a.tag.Name))
		}
		return fmt.Errorf("tag %s is %s before %s and %s from then on; what is worked out of samples is asked for on one side of that%s: %w",
			a.describe(), now.Current().Type, model.FormatTime(holds.End), next.Current().Type, hint, ErrBadRequest)
	}
	a.tag = now
	return nil
}

// alikeOver is the time around a range in which a tag's samples are of one type of expressions, to which all numbers are of one.
// ErrBadRequest where the range meets several.
func (a asked) alikeOver(in model.TimeRange) (model.TimeRange, error) {
	span := model.All
	epochs := a.tag.Epochs()
	if epochs == nil {
		return span, nil
	}
	var kind, last expression.Type
	for i, e := range epochs {
		if kind, _ = expression.TypeOf(e.Type); i > 0 && kind != last {
			if e.From > in.Start && e.From < in.End {
				return span, fmt.Errorf("tag %s is %s before %s and %s from then on; what an expression is over both is not defined, ask for one side of that: %w",
					a.describe(), epochs[i-1].Type, model.FormatTime(e.From), e.Type, ErrBadRequest)
			}
			if e.From > in.Start {
				span.End = e.From
				break
			}
			span.Start = e.From
		}
		last = kind
	}
	return span, nil
}

// epochsCursor delivers the samples of one tag through its epochs, each under the type it has in its.
type epochsCursor struct {
	Cursor
	asked
	span model.TimeRange // samples outside of it are none
	in   model.TimeRange
	ids  []model.TagID // of the epochs to come
	now  *model.Tag    // the tag in the epoch being read; nil between two
}

func (c *epochsCursor) reset(in model.TimeRange) {
	in.Start, in.End = max(in.Start, c.span.Start), min(in.End, c.span.End)
	if c.in, c.ids, c.now = in, c.ids[:0], nil; !in.Empty() {
		c.ids = c.epochs(c.ids, in)
	}
}

func (c *epochsCursor) Next(ctx context.Context) (*storage.Block, error) {
	for {
		if c.now == nil {
			if len(c.ids) == 0 {
				return nil, io.EOF
			}
			now, holds := c.tag.In(c.ids[0])
			c.now, c.ids = now, c.ids[1:]
			c.Cursor.Reset(now.ID, model.TimeRange{Start: max(c.in.Start, holds.Start), End: min(c.in.End, holds.End), Reverse: c.in.Reverse})
		}
		b, err := c.Cursor.Next(ctx)
		if err == io.EOF {
			c.now = nil
			continue
		}
		if err != nil {
			return nil, err
		}
		return b, requireType(rows{asked: c.asked, Block: b, to: b.Len()}, c.now.Current().Type)
	}
}

// epochs appends the ids that a tag's samples of a range are kept by, in its order.
func (a asked) epochs(dst []model.TagID, in model.TimeRange) []model.TagID {
	if !a.tag.Retyped() {
		return append(dst, a.tag.ID)
	}
	n := len(dst)
	for _, id := range a.tag.EpochIDs() {
		if _, holds := a.tag.In(id); holds.Start < in.End && in.Start < holds.End {
			dst = append(dst, id)
		}
	}
	if in.Reverse {
		slices.Reverse(dst[n:])
	}
	return dst
}

// typesIn is the set of types that samples of a range may have.
func (l *tagList) typesIn(in model.TimeRange) (s typeSet) {
	if l.unit != "" {
		return 1 << model.Float64
	}
	for _, a := range l.asked {
		if !a.tag.Retyped() {
			s.add(a.tag.Current().Type)
			continue
		}
		for _, id := range a.epochs(nil, in) {
			now, _ := a.tag.In(id)
			s.add(now.Current().Type)
		}
	}
	return s
}
