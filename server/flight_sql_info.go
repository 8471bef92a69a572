package server

import (
	"maps"
	"slices"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/flight/gen/flight"
)

// What newer releases of Flight SQL ask for and the generated code has no names of.
const (
	infoBulkIngestion      = 10
	infoIngestTransactions = 11
)

// infoOf is what the server says of itself by the numbers of Flight SQL, as string, bool, int64, int32 (an enumeration or bits),
// []string or map[int32][]int32. Clients ask for any of them at connect, and JDBC fails without those that its metadata reads.
func infoOf(version string) map[uint32]any {
	bits := func(n ...int32) (sum int32) {
		for _, b := range n {
			sum |= 1 << b
		}
		return sum
	}
	convert := map[int32][]int32{}
	for _, from := range []flight.SqlSupportsConvert{flight.SqlSupportsConvert_SQL_CONVERT_BIGINT, flight.SqlSupportsConvert_SQL_CONVERT_BIT, flight.SqlSupportsConvert_SQL_CONVERT_FLOAT, flight.SqlSupportsConvert_SQL_CONVERT_VARCHAR} {
		convert[int32(from)] = []int32{
			int32(flight.SqlSupportsConvert_SQL_CONVERT_BIGINT), int32(flight.SqlSupportsConvert_SQL_CONVERT_BIT),
			int32(flight.SqlSupportsConvert_SQL_CONVERT_FLOAT), int32(flight.SqlSupportsConvert_SQL_CONVERT_VARCHAR),
		}
	}
	convert[int32(flight.SqlSupportsConvert_SQL_CONVERT_TIMESTAMP)] = []int32{int32(flight.SqlSupportsConvert_SQL_CONVERT_VARCHAR), int32(flight.SqlSupportsConvert_SQL_CONVERT_DATE)}
	info := map[flight.SqlInfo]any{
		flight.SqlInfo_FLIGHT_SQL_SERVER_NAME:                "varve",
		flight.SqlInfo_FLIGHT_SQL_SERVER_VERSION:             version,
		flight.SqlInfo_FLIGHT_SQL_SERVER_ARROW_VERSION:       arrow.PkgVersion,
		flight.SqlInfo_FLIGHT_SQL_SERVER_READ_ONLY:           false, // samples come by bulk ingest
		flight.SqlInfo_FLIGHT_SQL_SERVER_SQL:                 true,
		flight.SqlInfo_FLIGHT_SQL_SERVER_SUBSTRAIT:           false,
		flight.SqlInfo_FLIGHT_SQL_SERVER_TRANSACTION:         int32(flight.SqlSupportedTransaction_SQL_SUPPORTED_TRANSACTION_NONE),
		flight.SqlInfo_FLIGHT_SQL_SERVER_CANCEL:              true,
		infoBulkIngestion:                                    true,
		infoIngestTransactions:                               false,
		flight.SqlInfo_FLIGHT_SQL_SERVER_STATEMENT_TIMEOUT:   int32(preparedIdle.Milliseconds()),
		flight.SqlInfo_FLIGHT_SQL_SERVER_TRANSACTION_TIMEOUT: int32(0),

		flight.SqlInfo_SQL_DDL_CATALOG:                                false,
		flight.SqlInfo_SQL_DDL_SCHEMA:                                 false,
		flight.SqlInfo_SQL_DDL_TABLE:                                  false,
		flight.SqlInfo_SQL_IDENTIFIER_CASE:                            int32(flight.SqlSupportedCaseSensitivity_SQL_CASE_SENSITIVITY_CASE_INSENSITIVE),
		flight.SqlInfo_SQL_IDENTIFIER_QUOTE_CHAR:                      `"`,
		flight.SqlInfo_SQL_QUOTED_IDENTIFIER_CASE:                     int32(flight.SqlSupportedCaseSensitivity_SQL_CASE_SENSITIVITY_CASE_INSENSITIVE),
		flight.SqlInfo_SQL_ALL_TABLES_ARE_SELECTABLE:                  true,
		flight.SqlInfo_SQL_NULL_ORDERING:                              int32(flight.SqlNullOrdering_SQL_NULLS_SORTED_AT_END),
		flight.SqlInfo_SQL_KEYWORDS:                                   []string{"ASOF", "QUALIFY", "PIVOT", "UNPIVOT", "EXCLUDE", "REPLACE", "SAMPLE", "SEMI", "ANTI", "POSITIONAL"},
		flight.SqlInfo_SQL_NUMERIC_FUNCTIONS:                          []string{"abs", "ceil", "exp", "floor", "ln", "log", "mod", "pi", "power", "round", "sign", "sqrt"},
		flight.SqlInfo_SQL_STRING_FUNCTIONS:                           []string{"concat", "length", "lower", "ltrim", "replace", "rtrim", "substring", "upper"},
		flight.SqlInfo_SQL_SYSTEM_FUNCTIONS:                           []string{"coalesce", "ifnull", "nullif"},
		flight.SqlInfo_SQL_DATETIME_FUNCTIONS:                         []string{"date_part", "date_trunc", "extract", "now", "time_bucket"},
		flight.SqlInfo_SQL_SEARCH_STRING_ESCAPE:                       `\`,
		flight.SqlInfo_SQL_EXTRA_NAME_CHARACTERS:                      "",
		flight.SqlInfo_SQL_SUPPORTS_COLUMN_ALIASING:                   true,
		flight.SqlInfo_SQL_NULL_PLUS_NULL_IS_NULL:                     true,
		flight.SqlInfo_SQL_SUPPORTS_CONVERT:                           convert,
		flight.SqlInfo_SQL_SUPPORTS_TABLE_CORRELATION_NAMES:           true,
		flight.SqlInfo_SQL_SUPPORTS_DIFFERENT_TABLE_CORRELATION_NAMES: false,
		flight.SqlInfo_SQL_SUPPORTS_EXPRESSIONS_IN_ORDER_BY:           true,
		flight.SqlInfo_SQL_SUPPORTS_ORDER_BY_UNRELATED:                true,
		flight.SqlInfo_SQL_SUPPORTED_GROUP_BY:                         bits(int32(flight.SqlSupportedGroupBy_SQL_GROUP_BY_UNRELATED), int32(flight.SqlSupportedGroupBy_SQL_GROUP_BY_BEYOND_SELECT)),
		flight.SqlInfo_SQL_SUPPORTS_LIKE_ESCAPE_CLAUSE:                true,
		flight.SqlInfo_SQL_SUPPORTS_NON_NULLABLE_COLUMNS:              true,
		flight.SqlInfo_SQL_SUPPORTED_GRAMMAR:                          bits(int32(flight.SupportedSqlGrammar_SQL_MINIMUM_GRAMMAR), int32(flight.SupportedSqlGrammar_SQL_CORE_GRAMMAR)),
		flight.SqlInfo_SQL_ANSI92_SUPPORTED_LEVEL:                     bits(int32(flight.SupportedAnsi92SqlGrammarLevel_ANSI92_ENTRY_SQL), int32(flight.SupportedAnsi92SqlGrammarLevel_ANSI92_INTERMEDIATE_SQL)),
		flight.SqlInfo_SQL_SUPPORTS_INTEGRITY_ENHANCEMENT_FACILITY:    false,
		flight.SqlInfo_SQL_OUTER_JOINS_SUPPORT_LEVEL:                  bits(int32(flight.SqlOuterJoinsSupportLevel_SQL_LIMITED_OUTER_JOINS), int32(flight.SqlOuterJoinsSupportLevel_SQL_FULL_OUTER_JOINS)),
		flight.SqlInfo_SQL_SCHEMA_TERM:                                "schema",
		flight.SqlInfo_SQL_PROCEDURE_TERM:                             "",
		flight.SqlInfo_SQL_CATALOG_TERM:                               "catalog",
		flight.SqlInfo_SQL_CATALOG_AT_START:                           true,
		flight.SqlInfo_SQL_SUPPORTED_SUBQUERIES: bits(int32(flight.SqlSupportedSubqueries_SQL_SUBQUERIES_IN_COMPARISONS), int32(flight.SqlSupportedSubqueries_SQL_SUBQUERIES_IN_EXISTS),
			int32(flight.SqlSupportedSubqueries_SQL_SUBQUERIES_IN_INS), int32(flight.SqlSupportedSubqueries_SQL_SUBQUERIES_IN_QUANTIFIEDS)),
		flight.SqlInfo_SQL_CORRELATED_SUBQUERIES_SUPPORTED:                           true,
		flight.SqlInfo_SQL_SUPPORTED_UNIONS:                                          bits(int32(flight.SqlSupportedUnions_SQL_UNION), int32(flight.SqlSupportedUnions_SQL_UNION_ALL)),
		flight.SqlInfo_SQL_SUPPORTED_TRANSACTIONS_ISOLATION_LEVELS:                   bits(int32(flight.SqlTransactionIsolationLevel_SQL_TRANSACTION_NONE)),
		flight.SqlInfo_SQL_SUPPORTED_RESULT_SET_TYPES:                                bits(int32(flight.SqlSupportedResultSetType_SQL_RESULT_SET_TYPE_FORWARD_ONLY)),
		flight.SqlInfo_SQL_MAX_STATEMENT_LENGTH:                                      int64(maxSQLCommand),
		flight.SqlInfo_SQL_DEFAULT_TRANSACTION_ISOLATION:                             int64(flight.SqlTransactionIsolationLevel_SQL_TRANSACTION_NONE),
		flight.SqlInfo_SQL_DATA_DEFINITION_CAUSES_TRANSACTION_COMMIT:                 false,
		flight.SqlInfo_SQL_DATA_DEFINITIONS_IN_TRANSACTIONS_IGNORED:                  false,
		flight.SqlInfo_SQL_SUPPORTED_POSITIONED_COMMANDS:                             int32(0),
		flight.SqlInfo_SQL_SCHEMAS_SUPPORTED_ACTIONS:                                 int32(0),
		flight.SqlInfo_SQL_CATALOGS_SUPPORTED_ACTIONS:                                int32(0),
		flight.SqlInfo_SQL_SUPPORTED_CONCURRENCIES_FOR_RESULT_SET_UNSPECIFIED:        int32(0),
		flight.SqlInfo_SQL_SUPPORTED_CONCURRENCIES_FOR_RESULT_SET_FORWARD_ONLY:       bits(int32(flight.SqlSupportedResultSetConcurrency_SQL_RESULT_SET_CONCURRENCY_READ_ONLY)),
		flight.SqlInfo_SQL_SUPPORTED_CONCURRENCIES_FOR_RESULT_SET_SCROLL_SENSITIVE:   int32(0),
		flight.SqlInfo_SQL_SUPPORTED_CONCURRENCIES_FOR_RESULT_SET_SCROLL_INSENSITIVE: int32(0),
	}
	out := make(map[uint32]any, len(info)+32)
	for id, v := range info {
		out[uint32(id)] = v
	}
	// What is left of those that JDBC reads: limits that nothing here sets, and what there is none of.
	for id := flight.SqlInfo_SQL_MAX_BINARY_LITERAL_LENGTH; id <= flight.SqlInfo_SQL_MAX_USERNAME_LENGTH; id++ {
		if _, ok := out[uint32(id)]; !ok {
			out[uint32(id)] = int64(0)
		}
	}
	out[uint32(flight.SqlInfo_SQL_MAX_ROW_SIZE_INCLUDES_BLOBS)] = true
	for _, id := range []flight.SqlInfo{
		flight.SqlInfo_SQL_SELECT_FOR_UPDATE_SUPPORTED, flight.SqlInfo_SQL_STORED_PROCEDURES_SUPPORTED, flight.SqlInfo_SQL_TRANSACTIONS_SUPPORTED, flight.SqlInfo_SQL_BATCH_UPDATES_SUPPORTED,
		flight.SqlInfo_SQL_SAVEPOINTS_SUPPORTED, flight.SqlInfo_SQL_NAMED_PARAMETERS_SUPPORTED, flight.SqlInfo_SQL_LOCATORS_UPDATE_COPY, flight.SqlInfo_SQL_STORED_FUNCTIONS_USING_CALL_SYNTAX_SUPPORTED,
	} {
		out[uint32(id)] = false
	}
	return out
}

// serverInfo appends a row for each number asked for, for all where none is. One that is not known has no row: a client of a newer
// release asks for what this one never heard of.
func serverInfo(b *array.RecordBuilder, asked []uint32, version string) {
	info := infoOf(version)
	if len(asked) == 0 {
		asked = slices.Sorted(maps.Keys(info))
	}
	for _, id := range asked {
		v, ok := info[id]
		if !ok {
			continue
		}
		b.Field(0).(*array.Uint32Builder).Append(id)
		appendInfo(b.Field(1).(*array.DenseUnionBuilder), v)
	}
}

// appendInfo appends a value to the union of kinds of values; the numbers are those of its members.
func appendInfo(u *array.DenseUnionBuilder, v any) {
	switch v := v.(type) {
	case string:
		u.Append(0)
		u.Child(0).(*array.StringBuilder).Append(v)
	case bool:
		u.Append(1)
		u.Child(1).(*array.BooleanBuilder).Append(v)
	case int64:
		u.Append(2)
		u.Child(2).(*array.Int64Builder).Append(v)
	case int32:
		u.Append(3)
		u.Child(3).(*array.Int32Builder).Append(v)
	case []string:
		u.Append(4)
		list := u.Child(4).(*array.ListBuilder)
		list.Append(true)
		list.ValueBuilder().(*array.StringBuilder).AppendValues(v, nil)
	case map[int32][]int32:
		u.Append(5)
		m := u.Child(5).(*array.MapBuilder)
		m.Append(true)
		for _, k := range slices.Sorted(maps.Keys(v)) {
			m.KeyBuilder().(*array.Int32Builder).Append(k)
			list := m.ItemBuilder().(*array.ListBuilder)
			list.Append(true)
			list.ValueBuilder().(*array.Int32Builder).AppendValues(v[k], nil)
		}
	}
}
