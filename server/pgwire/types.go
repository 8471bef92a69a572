package pgwire

import (
	"strings"
	"unicode/utf8"

	"github.com/apache/arrow/go/v15/arrow"
)

// Numbers of types, as every PostgreSQL has them.
const (
	oidUnknown     = 705
	oidBool        = 16
	oidBytea       = 17
	oidName        = 19
	oidInt8        = 20
	oidInt2        = 21
	oidInt4        = 23
	oidText        = 25
	oidOid         = 26
	oidFloat4      = 700
	oidFloat8      = 701
	oidBpchar      = 1042
	oidVarchar     = 1043
	oidDate        = 1082
	oidTime        = 1083
	oidTimestamp   = 1114
	oidTimestamptz = 1184
	oidInterval    = 1186
	oidNumeric     = 1700
)

var utc = &arrow.TimestampType{Unit: arrow.Nanosecond, TimeZone: "UTC"}

// columnType is how a column of an answer is announced: its type and the bytes a value takes, -1 for as many as it has.
type columnType struct {
	oid   uint32
	size  int16
	array uint32 // of lists of it
}

// columnTypeOf is the type of PostgreSQL for one of Arrow.
func columnTypeOf(t arrow.DataType) (columnType, bool) {
	switch t.ID() {
	case arrow.BOOL:
		return columnType{oidBool, 1, 1000}, true
	case arrow.INT64:
		return columnType{oidInt8, 8, 1016}, true
	case arrow.FLOAT64:
		return columnType{oidFloat8, 8, 1022}, true
	case arrow.STRING:
		return columnType{oidText, -1, 1009}, true
	case arrow.BINARY:
		return columnType{oidBytea, -1, 1001}, true
	case arrow.TIMESTAMP:
		if t.(*arrow.TimestampType).TimeZone == "" {
			return columnType{oidTimestamp, 8, 1115}, true
		}
		return columnType{oidTimestamptz, 8, 1185}, true
	case arrow.DATE32:
		return columnType{oidDate, 4, 1182}, true
	case arrow.TIME64:
		return columnType{oidTime, 8, 1183}, true
	case arrow.INTERVAL_MONTH_DAY_NANO:
		return columnType{oidInterval, 16, 1187}, true
	case arrow.DECIMAL128:
		return columnType{oidNumeric, -1, 1231}, true
	case arrow.LIST:
		element, ok := columnTypeOf(t.(*arrow.ListType).Elem())
		return columnType{element.array, -1, 0}, ok && element.array != 0
	}
	return columnType{}, false
}

// parameterType is the type of Arrow for what a client says a parameter is; nil where it leaves that to the statement.
// Smaller numbers are taken as the ones there are, and a time without a zone as one in UTC.
func parameterType(oid uint32) (arrow.DataType, error) {
	switch oid {
	case 0, oidUnknown:
		return nil, nil
	case oidBool:
		return arrow.FixedWidthTypes.Boolean, nil
	case oidInt2, oidInt4, oidInt8, oidOid:
		return arrow.PrimitiveTypes.Int64, nil
	case oidFloat4, oidFloat8, oidNumeric:
		return arrow.PrimitiveTypes.Float64, nil
	case oidText, oidVarchar, oidBpchar, oidName:
		return arrow.BinaryTypes.String, nil
	case oidBytea:
		return arrow.BinaryTypes.Binary, nil
	case oidTimestamptz, oidTimestamp, oidDate:
		return utc, nil
	}
	if element := elementOf(oid); element != 0 && element != oidBytea {
		of, err := parameterType(element)
		if err != nil {
			return nil, err
		}
		return arrow.ListOf(of), nil
	}
	return nil, errorf(codeNotSupported, "parameters of type %d are not taken", oid).
		hint("use bool, int8, float8, text, bytea or timestamptz, or arrays of these but bytea, or leave the type to the statement")
}

// toText is s as a value of type text: valid UTF-8 without zero bytes, which PostgreSQL's text does not have.
func toText(s string) string {
	if utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "�"), "\x00", "�")
}
