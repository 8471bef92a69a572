package table

import (
	"strconv"

	"github.com/apache/arrow/go/v15/arrow"
)

// arrowTypes are the types as Arrow carries them over Flight SQL.
var arrowTypes = [...]arrow.DataType{
	Bool: arrow.FixedWidthTypes.Boolean, Int64: arrow.PrimitiveTypes.Int64, Float64: arrow.PrimitiveTypes.Float64,
	Text: arrow.BinaryTypes.String, Bytes: arrow.BinaryTypes.Binary, Time: &arrow.TimestampType{Unit: arrow.Nanosecond, TimeZone: "UTC"},
}

// Arrow is the type as Arrow carries it: timestamps are of nanoseconds, UTC.
func (t Type) Arrow() arrow.DataType { return arrowTypes[t] }

// TypeOf is the type that Arrow carries as d; false where no column has it.
func TypeOf(d arrow.DataType) (Type, bool) {
	for t := Bool; t <= Time; t++ {
		if arrow.TypeEqual(d, arrowTypes[t]) {
			return t, true
		}
	}
	return 0, false
}

// Precision is how many digits, bits or characters a value of the type has at most, as JDBC counts them; 0 where there is no limit.
func (t Type) Precision() int {
	return [...]int{Bool: 1, Int64: 19, Float64: 15, Text: 0, Bytes: 0, Time: 29}[t]
}

// Keys of the metadata by which Flight SQL tells of columns.
const (
	metaCatalog    = "ARROW:FLIGHT:SQL:CATALOG_NAME"
	metaSchema     = "ARROW:FLIGHT:SQL:SCHEMA_NAME"
	metaTable      = "ARROW:FLIGHT:SQL:TABLE_NAME"
	metaType       = "ARROW:FLIGHT:SQL:TYPE_NAME"
	metaPrecision  = "ARROW:FLIGHT:SQL:PRECISION"
	metaIncrement  = "ARROW:FLIGHT:SQL:IS_AUTO_INCREMENT"
	metaCase       = "ARROW:FLIGHT:SQL:IS_CASE_SENSITIVE"
	metaReadOnly   = "ARROW:FLIGHT:SQL:IS_READ_ONLY"
	metaSearchable = "ARROW:FLIGHT:SQL:IS_SEARCHABLE"
	metaRemarks    = "ARROW:FLIGHT:SQL:REMARKS"
)

// Arrow is the schema of all columns, with what Flight SQL has to say of them.
func (t *Table) Arrow() *arrow.Schema {
	fields := make([]arrow.Field, len(t.Columns))
	for i, c := range t.Columns {
		meta := map[string]string{
			metaCatalog: Catalog, metaSchema: Schema, metaTable: t.Name, metaType: c.Type.String(), metaSearchable: "1",
			metaIncrement: "0", metaReadOnly: "1", metaCase: "0",
		}
		if c.Type == Text {
			meta[metaCase] = "1"
		}
		if n := c.Type.Precision(); n > 0 {
			meta[metaPrecision] = strconv.Itoa(n)
		}
		if c.Remarks != "" {
			meta[metaRemarks] = c.Remarks
		}
		fields[i] = arrow.Field{Name: c.Name, Type: c.Type.Arrow(), Nullable: !c.NotNull, Metadata: arrow.MetadataFrom(meta)}
	}
	return arrow.NewSchema(fields, nil)
}
