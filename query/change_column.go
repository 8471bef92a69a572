package query

import (
	"github.com/apache/arrow/go/v15/arrow"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage"
)

// told is the record and the run that rows of changes are of.
type told struct {
	storage.Change
	effects []model.Effect // of the run's samples; nil: all are EffectNew
}

// changeColumns is the columns of changes of samples.
func changeColumns(of *told, states *stateTexts, code string) []column {
	cols := []column{&timeColumn{}, &tagColumn{}}
	cols = append(cols, layout{unit: code}.valueColumns(states)...) // of any type
	return append(cols,
		&qualityColumn{}, &seqColumn{}, &effectColumn{of: of}, &recordTimeColumn{of: of}, &recordOffsetColumn{of: of},
		&recordTextColumn{name: "author", of: of, text: func(t *told) string { return t.Author }},
		&recordTextColumn{name: "reason", of: of, text: func(t *told) string { return t.Reason }})
}

// effectColumn is the kind of each change.
type effectColumn struct {
	of     *told
	values varBytes
}

func (c *effectColumn) field() arrow.Field {
	return arrow.Field{Name: "kind", Type: arrow.BinaryTypes.String}
}

func (c *effectColumn) append(r rows) error {
	for i := r.from; i < r.to; i++ {
		e := model.EffectNew
		if c.of.effects != nil {
			e = c.of.effects[i]
		}
		c.values.append([]byte(e.String()), true)
	}
	return nil
}

func (c *effectColumn) array() arrow.ArrayData { return c.values.array(arrow.BinaryTypes.String) }
func (c *effectColumn) reset()                 { c.values.reset() }
func (c *effectColumn) blobBytes() int         { return 0 }

// recordTimeColumn is when the record of each change was ingested.
type recordTimeColumn struct {
	of    *told
	times []int64
}

func (c *recordTimeColumn) field() arrow.Field {
	return arrow.Field{Name: "ingest_time", Type: timeType}
}

func (c *recordTimeColumn) append(r rows) error {
	c.times = appendRepeated(c.times, c.of.Ingest, r.count())
	return nil
}

func (c *recordTimeColumn) array() arrow.ArrayData {
	return fixedData(timeType, len(c.times), nil, bytesOf(c.times))
}
func (c *recordTimeColumn) reset()         { c.times = c.times[:0] }
func (c *recordTimeColumn) blobBytes() int { return 0 }

// recordOffsetColumn is the record of each change.
type recordOffsetColumn struct {
	of      *told
	offsets []uint64
}

func (c *recordOffsetColumn) field() arrow.Field {
	return arrow.Field{Name: "offset", Type: arrow.PrimitiveTypes.Uint64}
}

func (c *recordOffsetColumn) append(r rows) error {
	c.offsets = appendRepeated(c.offsets, c.of.Offset, r.count())
	return nil
}

func (c *recordOffsetColumn) array() arrow.ArrayData {
	return fixedData(arrow.PrimitiveTypes.Uint64, len(c.offsets), nil, bytesOf(c.offsets))
}
func (c *recordOffsetColumn) reset()         { c.offsets = c.offsets[:0] }
func (c *recordOffsetColumn) blobBytes() int { return 0 }

// recordTextColumn is what somebody said of the record of each change; null where nobody did.
type recordTextColumn struct {
	name   string
	of     *told
	text   func(*told) string
	values varBytes
}

func (c *recordTextColumn) field() arrow.Field {
	return arrow.Field{Name: c.name, Type: arrow.BinaryTypes.String, Nullable: true}
}

func (c *recordTextColumn) append(r rows) error {
	text := c.text(c.of)
	if text == "" {
		c.values.appendNulls(r.count())
		return nil
	}
	for range r.count() {
		c.values.append([]byte(text), true)
	}
	return nil
}

func (c *recordTextColumn) array() arrow.ArrayData { return c.values.array(arrow.BinaryTypes.String) }
func (c *recordTextColumn) reset()                 { c.values.reset() }
func (c *recordTextColumn) blobBytes() int         { return len(c.values.data) }
