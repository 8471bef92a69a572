package server

import (
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/flight/flightsql/schema_ref"
	"github.com/apache/arrow/go/v15/arrow/flight/gen/flight"

	"github.com/varvedb/varve/query/table"
)

// sqlMetadata is what a command about tables and the server itself answers. It needs nothing that is stored.
type sqlMetadata struct {
	schema *arrow.Schema
	fill   func(*array.RecordBuilder)
}

// metadataOf is what a command answers.
func metadataOf(command any, version string) (sqlMetadata, error) {
	switch c := command.(type) {
	case *flight.CommandGetCatalogs:
		return sqlMetadata{schema_ref.Catalogs, func(b *array.RecordBuilder) { texts(b, table.Catalog) }}, nil
	case *flight.CommandGetDbSchemas:
		return sqlMetadata{schema_ref.DBSchemas, func(b *array.RecordBuilder) {
			if named(c.Catalog, table.Catalog) && like(c.DbSchemaFilterPattern, table.Schema) {
				texts(b, table.Catalog, table.Schema)
			}
		}}, nil
	case *flight.CommandGetTables:
		return tablesMetadata(c), nil
	case *flight.CommandGetTableTypes:
		return sqlMetadata{schema_ref.TableTypes, func(b *array.RecordBuilder) {
			texts(b, tableType(table.Table{}))
			texts(b, tableType(table.Table{View: true}))
		}}, nil
	case *flight.CommandGetPrimaryKeys:
		return sqlMetadata{schema_ref.PrimaryKeys, func(b *array.RecordBuilder) { primaryKeys(b, c) }}, nil
	case *flight.CommandGetExportedKeys:
		return keysMetadata(schema_ref.ExportedKeys, tableRef{c.Catalog, c.DbSchema, c.GetTable()}, anyTable), nil
	case *flight.CommandGetImportedKeys:
		return keysMetadata(schema_ref.ImportedKeys, anyTable, tableRef{c.Catalog, c.DbSchema, c.GetTable()}), nil
	case *flight.CommandGetCrossReference:
		return keysMetadata(schema_ref.CrossReference, tableRef{c.PkCatalog, c.PkDbSchema, c.GetPkTable()}, tableRef{c.FkCatalog, c.FkDbSchema, c.GetFkTable()}), nil
	case *flight.CommandGetXdbcTypeInfo:
		return sqlMetadata{schema_ref.XdbcTypeInfo, func(b *array.RecordBuilder) { typeInfo(b, c) }}, nil
	case *flight.CommandGetSqlInfo:
		return sqlMetadata{schema_ref.SqlInfo, func(b *array.RecordBuilder) { serverInfo(b, c.GetInfo(), version) }}, nil
	}
	name := strings.TrimPrefix(fmt.Sprintf("%T", command), "*flight.")
	if strings.HasSuffix(name, "Update") {
		return sqlMetadata{}, fmt.Errorf("%s: statements only read here; samples are written by bulk ingest, into the table samples: %w", name, errNotOffered)
	}
	return sqlMetadata{}, fmt.Errorf("%s asks for nothing that a FlightInfo or a ticket could be of: %w", name, errNotOffered)
}

// texts appends a row of texts to the first columns.
func texts(b *array.RecordBuilder, values ...string) {
	for i, v := range values {
		b.Field(i).(*array.StringBuilder).Append(v)
	}
}

// named reports whether a name that a client may leave out is the one given.
func named(asked *string, name string) bool { return asked == nil || *asked == name }

// like reports whether a name matches a pattern that a client may leave out: % is any text, _ any one character, and \ takes what
// follows as it is.
func like(pattern *string, name string) bool {
	return pattern == nil || likeRunes([]rune(*pattern), []rune(name))
}

func likeRunes(p, name []rune) bool {
	// back is where the last % stands, and from how far it is taken to go.
	back, from := -1, 0
	i, k := 0, 0
	for k < len(name) {
		escaped := i+1 < len(p) && p[i] == '\\'
		switch {
		case i < len(p) && p[i] == '%':
			back, from = i, k
			i++
			continue
		case escaped && p[i+1] == name[k]:
			i, k = i+2, k+1
			continue
		case i < len(p) && !escaped && (p[i] == '_' || p[i] == name[k]):
			i, k = i+1, k+1
			continue
		case back < 0:
			return false
		}
		from++
		i, k = back+1, from
	}
	for i < len(p) && p[i] == '%' {
		i++
	}
	return i == len(p)
}

func tableType(t table.Table) string {
	if t.View {
		return "VIEW"
	}
	return "TABLE"
}

// ofType reports whether a table is of one of types, of any without them. How a client writes them does not matter: Grafana's data source asks for "table".
func ofType(types []string, t table.Table) bool {
	return len(types) == 0 || slices.ContainsFunc(types, func(name string) bool { return strings.EqualFold(name, tableType(t)) })
}

func tablesMetadata(c *flight.CommandGetTables) sqlMetadata {
	m := sqlMetadata{schema: schema_ref.Tables}
	if c.GetIncludeSchema() {
		m.schema = schema_ref.TablesWithIncludedSchema
	}
	m.fill = func(b *array.RecordBuilder) {
		if !named(c.Catalog, table.Catalog) || !like(c.DbSchemaFilterPattern, table.Schema) {
			return
		}
		for _, t := range table.All() {
			if !like(c.TableNameFilterPattern, t.Name) || !ofType(c.GetTableTypes(), t) {
				continue
			}
			texts(b, table.Catalog, table.Schema, t.Name, tableType(t))
			if c.GetIncludeSchema() {
				schema, err := schemaBytes(t.Arrow())
				if err != nil {
					panic(err) // of schemas of ours, which encode
				}
				b.Field(4).(*array.BinaryBuilder).Append(schema)
			}
		}
	}
	return m
}

// tableRef is a table as a client names it.
type tableRef struct {
	catalog, schema *string
	name            string
}

// anyTable is every table.
var anyTable = tableRef{}

func (r tableRef) is(name string) bool {
	return named(r.catalog, table.Catalog) && named(r.schema, table.Schema) && (r.name == "" || r.name == name)
}

func primaryKeys(b *array.RecordBuilder, c *flight.CommandGetPrimaryKeys) {
	asked := tableRef{c.Catalog, c.DbSchema, c.GetTable()}
	for _, t := range table.All() {
		if !asked.is(t.Name) {
			continue
		}
		for i, column := range t.Key {
			texts(b, table.Catalog, table.Schema, t.Name, column)
			b.Field(4).(*array.Int32Builder).Append(int32(i + 1))
			b.Field(5).(*array.StringBuilder).Append(t.Name + "_key")
		}
	}
}

// noAction is the rule for updates and deletes of what a key is of: nothing here is changed by SQL.
const noAction = uint8(flight.UpdateDeleteRules_NO_ACTION)

func keysMetadata(schema *arrow.Schema, of, in tableRef) sqlMetadata {
	return sqlMetadata{schema, func(b *array.RecordBuilder) {
		for _, t := range table.All() {
			for _, c := range t.Columns {
				if c.Of == "" || !of.is(c.Of) || !in.is(t.Name) {
					continue
				}
				texts(b, table.Catalog, table.Schema, c.Of, c.Name, table.Catalog, table.Schema, t.Name, c.Name)
				b.Field(8).(*array.Int32Builder).Append(1)
				b.Field(9).(*array.StringBuilder).Append(t.Name + "_" + c.Name)
				b.Field(10).(*array.StringBuilder).Append(c.Of + "_key")
				b.Field(11).(*array.Uint8Builder).Append(noAction)
				b.Field(12).(*array.Uint8Builder).Append(noAction)
			}
		}
	}}
}

// xdbcTypes is the types of columns as JDBC and ODBC number them, in the order of those numbers.
var xdbcTypes = []struct {
	of             table.Type
	code           flight.XdbcDataType
	subcode        flight.XdbcDatetimeSubcode // 0 for none
	prefix, suffix string                     // of a literal
	radix          int32                      // 0 for none
	scale          int32                      // most; -1 for none
}{
	{table.Bool, flight.XdbcDataType_XDBC_BIT, 0, "", "", 0, -1},
	{table.Int64, flight.XdbcDataType_XDBC_BIGINT, 0, "", "", 10, 0},
	{table.Bytes, flight.XdbcDataType_XDBC_VARBINARY, 0, "'", "'::BLOB", 0, -1},
	{table.Float64, flight.XdbcDataType_XDBC_DOUBLE, 0, "", "", 2, -1},
	{table.Text, flight.XdbcDataType_XDBC_VARCHAR, 0, "'", "'", 0, -1},
	{table.Time, flight.XdbcDataType_XDBC_TIMESTAMP, flight.XdbcDatetimeSubcode_XDBC_SUBCODE_TIMESTAMP_WITH_TIMEZONE, "TIMESTAMPTZ '", "'", 0, 9},
}

func typeInfo(b *array.RecordBuilder, c *flight.CommandGetXdbcTypeInfo) {
	for _, t := range xdbcTypes {
		if c.DataType != nil && c.GetDataType() != int32(t.code) {
			continue
		}
		texts(b, t.of.String())
		numbers := map[int]int32{1: int32(t.code), 2: int32(t.of.Precision()), 6: int32(flight.Nullable_NULLABILITY_NULLABLE), 8: int32(flight.Searchable_SEARCHABLE_FULL), 15: int32(t.code)}
		if t.radix > 0 {
			numbers[17] = t.radix
		}
		if t.scale >= 0 {
			numbers[13], numbers[14] = 0, t.scale
		}
		if t.subcode != 0 {
			numbers[15], numbers[16] = int32(flight.XdbcDataType_XDBC_DATETIME), int32(t.subcode)
		}
		if numbers[2] == 0 {
			delete(numbers, 2) // no limit
		}
		for i := 1; i < len(b.Fields()); i++ {
			switch f := b.Field(i).(type) {
			case *array.Int32Builder:
				if n, ok := numbers[i]; ok {
					f.Append(n)
				} else {
					f.AppendNull()
				}
			case *array.BooleanBuilder: // case matters to texts; no type is unsigned, of money, or counts by itself
				f.Append(i == 7 && t.of == table.Text)
			case *array.StringBuilder:
				literal := map[int]string{3: t.prefix, 4: t.suffix, 12: t.of.String()}[i]
				if literal == "" {
					f.AppendNull()
				} else {
					f.Append(literal)
				}
			default: // create_params
				f.AppendNull()
			}
		}
	}
}
