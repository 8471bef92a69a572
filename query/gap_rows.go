package query

import (
	"context"
	"slices"

	"github.com/apache/arrow/go/v15/arrow"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage"
)

// gapRows are the gaps of a tag that a read shows as rows, in its direction.
type gapRows struct {
	gaps    []model.Gap
	reverse bool
}

// gapRowsOf is the gaps of which any instant lies in a range.
func gapRowsOf(view View, a asked, in model.TimeRange, asOf *int64) gapRows {
	gaps := slices.DeleteFunc(view.GapsAsOf(a.tag.ID, asOf), func(g model.Gap) bool { return g.From >= in.End || g.To <= in.Start })
	if in.Reverse {
		slices.Reverse(gaps)
	}
	return gapRows{gaps, in.Reverse}
}

// add adds a block of samples with the gaps that come in front of each: a gap has its start for its place, in front of the samples there,
// in reverse behind them. A nil block adds those that are left.
func (g *gapRows) add(ctx context.Context, a asked, b *storage.Block, out *encoder) error {
	from := 0
	for len(g.gaps) > 0 {
		first, to := g.gaps[0].From, from
		if b != nil {
			for to < b.Len() && (b.Times[to] < first && !g.reverse || b.Times[to] >= first && g.reverse) {
				to++
			}
			if from < to {
				if err := out.add(ctx, a, cutBlock(b, from, to)); err != nil {
					return err
				}
			}
			if from = to; to == b.Len() {
				return nil
			}
		}
		row := gapBlock(a.tag.Current().Type, first, g.gaps[0].Kind.Quality())
		if err := out.addRows(ctx, rows{asked: a, Block: &row, gap: &g.gaps[0]}); err != nil {
			return err
		}
		g.gaps = g.gaps[1:]
	}
	if b == nil || from == b.Len() {
		return nil
	}
	return out.add(ctx, a, cutBlock(b, from, b.Len()))
}

// gapKindColumn is the kind of the gap that a row is; null of a sample.
type gapKindColumn struct{ values varBytes }

func (c *gapKindColumn) field() arrow.Field {
	return arrow.Field{Name: "gap", Type: arrow.BinaryTypes.String, Nullable: true}
}

func (c *gapKindColumn) append(r rows) error {
	if r.gap == nil {
		c.values.appendNulls(r.count())
	} else {
		c.values.append([]byte(r.gap.Kind.String()), true)
	}
	return nil
}

func (c *gapKindColumn) array() arrow.ArrayData { return c.values.array(arrow.BinaryTypes.String) }
func (c *gapKindColumn) reset()                 { c.values.reset() }
func (c *gapKindColumn) blobBytes() int         { return 0 }

// gapEndColumn is where the gap that a row is ends; null of an open one, and of a sample.
type gapEndColumn struct {
	times []int64
	valid validity
}

func (c *gapEndColumn) field() arrow.Field {
	return arrow.Field{Name: "gap_end", Type: timeType, Nullable: true}
}

func (c *gapEndColumn) append(r rows) error {
	end, ends := int64(0), r.gap != nil && r.gap.To != model.OpenGap
	if ends {
		end = r.gap.To
	}
	c.times = appendRepeated(c.times, end, r.count())
	c.valid.appendAll(r.count(), ends)
	return nil
}

func (c *gapEndColumn) array() arrow.ArrayData {
	return fixedData(timeType, len(c.times), &c.valid, bytesOf(c.times))
}

func (c *gapEndColumn) reset() {
	c.times = c.times[:0]
	c.valid.reset()
}
func (c *gapEndColumn) blobBytes() int { return 0 }
