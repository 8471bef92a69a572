package query

import (
	"github.com/apache/arrow/go/v15/arrow"

	"github.com/varvedb/varve/storage"
)

// endColumns say what ended each value of an answer about modified values.
func endColumns() []column {
	return []column{
		&endTextColumn{name: "kind", text: func(e *storage.End) string { return e.Kind.String() }},
		&endTimeColumn{},
		&endTextColumn{name: "author", text: func(e *storage.End) string { return e.Author }, nullable: true},
		&endTextColumn{name: "reason", text: func(e *storage.End) string { return e.Reason }, nullable: true},
		&endOffsetColumn{},
	}
}

// endTextColumn is a text about what ended each value; null where there is none.
type endTextColumn struct {
	name     string
	text     func(*storage.End) string
	nullable bool
	values   varBytes
}

func (c *endTextColumn) field() arrow.Field {
	return arrow.Field{Name: c.name, Type: arrow.BinaryTypes.String, Nullable: c.nullable}
}

func (c *endTextColumn) append(r rows) error {
	for i := r.from; i < r.to; i++ {
		text := c.text(&r.ends[i])
		c.values.append([]byte(text), text != "")
	}
	return nil
}

func (c *endTextColumn) array() arrow.ArrayData { return c.values.array(arrow.BinaryTypes.String) }
func (c *endTextColumn) reset()                 { c.values.reset() }
func (c *endTextColumn) blobBytes() int         { return len(c.values.data) }

// endTimeColumn is when what ended each value was ingested.
type endTimeColumn struct{ times []int64 }

func (c *endTimeColumn) field() arrow.Field { return arrow.Field{Name: "edit_time", Type: timeType} }

func (c *endTimeColumn) append(r rows) error {
	for i := r.from; i < r.to; i++ {
		c.times = append(c.times, r.ends[i].Time)
	}
	return nil
}

func (c *endTimeColumn) array() arrow.ArrayData {
	return fixedData(timeType, len(c.times), nil, bytesOf(c.times))
}
func (c *endTimeColumn) reset()         { c.times = c.times[:0] }
func (c *endTimeColumn) blobBytes() int { return 0 }

// endOffsetColumn is the log record that ended each value; null where it is not known.
type endOffsetColumn struct {
	offsets []uint64
	valid   validity
}

func (c *endOffsetColumn) field() arrow.Field {
	return arrow.Field{Name: "edit_offset", Type: arrow.PrimitiveTypes.Uint64, Nullable: true}
}

func (c *endOffsetColumn) append(r rows) error {
	for i := r.from; i < r.to; i++ {
		c.offsets = append(c.offsets, r.ends[i].Offset)
		c.valid.appendAll(1, r.ends[i].Offset != 0)
	}
	return nil
}

func (c *endOffsetColumn) array() arrow.ArrayData {
	return fixedData(arrow.PrimitiveTypes.Uint64, len(c.offsets), &c.valid, bytesOf(c.offsets))
}

func (c *endOffsetColumn) reset() {
	c.offsets = c.offsets[:0]
	c.valid.reset()
}
func (c *endOffsetColumn) blobBytes() int { return 0 }
