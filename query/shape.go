package query

import (
	"context"
	"io"
	"slices"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage"
)

// shapeCursor delivers the samples of a tag and the breaks that gaps make between them, each break in a block of its own of which Gap is
// set: one row without a value, Bad. Of a tag without gaps it is the cursor it was made of.
type shapeCursor struct {
	Cursor
	view   View
	asOf   *int64
	tag    model.TagID
	breaks Breaks // of tag; nil for none

	in     model.TimeRange
	edge   int64          // up to where breaks were asked for: all that lie behind it, in the direction of the range, are to come
	block  *storage.Block // its samples from at on are to come
	at     int
	ended  bool            // there are no more blocks
	marks  []storage.Break // to come, in the direction of the range, none behind the last sample of block
	broken storage.Block
}

// emptyShape is emptyCursor with breaks.
func emptyShape(view View, a asked, asOf *int64) Cursor {
	return a.inUnit(&shapeCursor{Cursor: storedCursor(view, a.tag.ID, asOf), view: view, asOf: asOf})
}

// shapeOf reads the shape of a tag in a range as a view has it.
func shapeOf(view View, tag model.TagID, in model.TimeRange) Cursor {
	c := &shapeCursor{Cursor: view.Samples(tag, model.TimeRange{}), view: view}
	c.Reset(tag, in)
	return c
}

func (c *shapeCursor) Reset(tag model.TagID, in model.TimeRange) {
	if tag != c.tag {
		c.tag, c.breaks = tag, c.view.Breaks(tag, c.asOf)
	}
	c.Cursor.Reset(tag, in)
	c.in, c.block, c.ended, c.marks = in, nil, in.Empty(), nil
	if c.edge = in.Start; in.Reverse {
		c.edge = in.End
	}
}

func (c *shapeCursor) Next(ctx context.Context) (*storage.Block, error) {
	if c.breaks == nil {
		return c.Cursor.Next(ctx)
	}
	if c.block == nil && !c.ended {
		b, err := c.Cursor.Next(ctx)
		if err != nil && err != io.EOF {
			return nil, err
		}
		if c.block, c.at, c.ended = b, 0, err == io.EOF; c.ended {
			c.block = nil
		}
		if err := c.mark(ctx); err != nil {
			return nil, err
		}
	}
	to := 0 // behind the samples in front of the next break
	if c.block != nil {
		to = c.block.Len()
	}
	if len(c.marks) > 0 {
		for i := c.at; i < to; i++ {
			if c.behind(c.block.Times[i], c.marks[0].Time) {
				to = i
				break
			}
		}
	}
	if c.block != nil && c.at < to {
		out := cutBlock(c.block, c.at, to)
		if c.at = to; to == c.block.Len() {
			c.block = nil
		}
		return out, nil
	}
	if len(c.marks) == 0 {
		return nil, io.EOF
	}
	c.broken = gapBlock(c.marks[0].Type, c.marks[0].Time, c.marks[0].Quality)
	c.marks = c.marks[1:]
	return &c.broken, nil
}

// gapBlock is one row that no sample is.
func gapBlock(typ model.Type, at int64, q model.Quality) storage.Block {
	b := storage.Block{Gap: true}
	b.Reset(typ)
	b.Append(model.Sample{Time: at, Type: typ, Null: true, Quality: q})
	return b
}

// cutBlock is the samples [from, to) of a block.
func cutBlock(b *storage.Block, from, to int) *storage.Block {
	if from == 0 && to == b.Len() {
		return b
	}
	out := &storage.Block{Samples: b.Slice(from, to)}
	for at, i := 0, 0; i < len(b.Origins) && at < to; i++ {
		o := b.Origins[i]
		first, end := max(at, from), min(at+o.Samples, to)
		at += o.Samples
		if o.Samples = end - first; o.Samples > 0 {
			out.Origins = append(out.Origins, o)
		}
	}
	return out
}

// behind reports whether a comes behind b in the direction of the range.
func (c *shapeCursor) behind(a, b int64) bool { return a > b != c.in.Reverse }

// mark finds the breaks up to the last sample of the block, or to the end of the range.
func (c *shapeCursor) mark(ctx context.Context) (err error) {
	in := model.TimeRange{Start: c.edge, End: c.in.End}
	if c.in.Reverse {
		in = model.TimeRange{Start: c.in.Start, End: c.edge}
	}
	if c.block != nil {
		last := c.block.Times[c.block.Len()-1]
		if c.edge = last; c.in.Reverse {
			in.Start = last
		} else {
			in.End = last
		}
	}
	c.marks, err = c.breaks.In(ctx, in)
	if c.in.Reverse {
		slices.Reverse(c.marks)
	}
	return err
}
