package query

import (
	"fmt"
	"strings"

	"github.com/apache/arrow/go/v15/arrow"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage"
)

// MetaIncomplete is the key of the schema's metadata that names, as "first-end" pairs with commas between, the log
// offsets [first, end) whose samples are missing from the answer.
const MetaIncomplete = "varve.incomplete"

var (
	timeType   = &arrow.TimestampType{Unit: arrow.Nanosecond, TimeZone: "UTC"}
	secondType = &arrow.TimestampType{Unit: arrow.Second, TimeZone: "UTC"}
	nameType   = &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.BinaryTypes.String}
)

// layout is which columns an answer has.
type layout struct {
	types      typeSet
	unit       string // of the values; empty: as they are stored
	withSource bool
	withSeq    bool
	forecast   bool // which run each value is of
	modified   bool // what ended each value
	withGaps   bool
	edges      *boundColumn // which rows are bounds, an empty column to start from; nil for none
}

// columns makes the columns of an answer about tags, ready for rows.
func (l layout) columns(tags *tagList, states *stateTexts, sources func(uint32) string) []column {
	times := &timeColumn{}
	cols := []column{
		times,
		&tagColumn{dictionary: tags.dictionary()},
	}
	cols = append(cols, l.valueColumns(states)...)
	cols = append(cols, &qualityColumn{})
	if l.edges != nil {
		cols = append(cols, &boundColumn{first: l.edges.first, last: l.edges.last, times: times})
	}
	if l.withGaps {
		cols = append(cols, &gapKindColumn{}, &gapEndColumn{})
	}
	if l.forecast {
		cols = append(cols, &issuedColumn{}, &modelColumn{})
	}
	if l.modified {
		cols = append(cols, endColumns()...)
	}
	if l.withSource {
		cols = append(cols, &ingestColumn{nullable: l.edges != nil || l.withGaps}, newSourceColumn(sources))
	}
	if l.withSeq {
		cols = append(cols, &seqColumn{})
	}
	return cols
}

func (l layout) valueColumns(states *stateTexts) []column {
	t, ok := l.types.single()
	if !ok {
		return []column{&mixedFloatColumn{unit: l.unit}, &mixedIntColumn{}, &mixedTextColumn{states: states}, &blobColumn{name: "value_bytes", typ: model.Bytes, mixed: true}}
	}
	switch t {
	case model.Float32:
		return []column{&float32Column{}}
	case model.Bool:
		return []column{&boolColumn{}}
	case model.State:
		return []column{&bitsColumn{typ: model.State}, &mixedTextColumn{states: states}}
	case model.String, model.Bytes:
		return []column{&blobColumn{name: "value", typ: t}}
	}
	return []column{&bitsColumn{typ: t, unit: l.unit}}
}

func schemaOf(cols []column, lost []storage.OffsetRange) *arrow.Schema {
	fields := make([]arrow.Field, len(cols))
	for i, c := range cols {
		fields[i] = c.field()
	}
	return arrow.NewSchema(fields, lostMetadata(lost))
}

// lostMetadata names what an answer lacks; nil for nothing.
func lostMetadata(lost []storage.OffsetRange) *arrow.Metadata {
	if len(lost) == 0 {
		return nil
	}
	parts := make([]string, len(lost))
	for i, r := range lost {
		parts[i] = fmt.Sprintf("%d-%d", r.First, r.End)
	}
	meta := arrow.NewMetadata([]string{MetaIncomplete}, []string{strings.Join(parts, ",")})
	return &meta
}

// rowBytes is what a row takes in the columns, text and bytes apart.
func (l layout) rowBytes() int64 {
	n := int64(8 + 4 + 4 + 8)
	if _, ok := l.types.single(); !ok {
		n += 8 + 4 + 4 + 1
	}
	if l.withSource {
		n += 8 + 4
	}
	if l.edges != nil {
		n++
	}
	if l.withGaps {
		n += 4 + 8 + 1
	}
	if l.forecast {
		n += 8 + 4 + storage.MaxForecastModel
	}
	if l.modified {
		n += 3*4 + 8 + 8 + 1
	}
	if l.withSeq {
		n += 4
	}
	return n
}
