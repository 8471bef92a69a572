package pgwire

import (
	"encoding/binary"
	"encoding/hex"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"
)

// bindParameters is the values of a Bind as one row of schema. oids are what the client said of them at Parse.
func bindParameters(schema *arrow.Schema, oids []uint32, formats []int16, raw [][]byte) (arrow.Record, error) {
	n := 0
	if schema != nil {
		n = schema.NumFields()
	}
	if len(raw) != n {
		return nil, errorf(codeProtocol, "%d values for %d parameters", len(raw), n)
	}
	if err := checkFormats("parameters", formats, n); err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, nil
	}
	row := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer row.Release()
	for i, b := range raw {
		if b == nil {
			row.Field(i).AppendNull()
			continue
		}
		oid := parameterOid(schema, oids, i)
		v, err := parseParameter(oid, formatOf(formats, i) == binaryFormat, b)
		if err == nil {
			err = appendValue(row.Field(i), v)
		}
		if err != nil {
			return nil, ofParameter(i, err)
		}
	}
	return row.NewRecord(), nil
}

// ofParameter is an error, of type *Error, that says which parameter it is about.
func ofParameter(i int, err error) error {
	e := *err.(*Error)
	e.Message = "parameter $" + strconv.Itoa(i+1) + ": " + e.Message
	return &e
}

// parameterOid is the type in which the i-th parameter comes: what the client said, or else what it was told.
func parameterOid(schema *arrow.Schema, oids []uint32, i int) uint32 {
	if i < len(oids) && oids[i] != 0 && oids[i] != oidUnknown {
		return oids[i]
	}
	if t, ok := columnTypeOf(schema.Field(i).Type); ok {
		return t.oid
	}
	return oidText
}

// parseParameter reads a value: bool, int64, float64, string, []byte, time.Time, or []any of an array. Errors are of type *Error.
func parseParameter(oid uint32, inBinary bool, b []byte) (any, error) {
	if element := elementOf(oid); element != 0 {
		return parseArray(element, inBinary, b)
	}
	if inBinary {
		return parseBinary(oid, b)
	}
	s := string(b)
	if err := checkText(b); err != nil {
		return nil, err
	}
	bad := func() (any, error) {
		return nil, errorf(codeBadText, "%.60q is not a value of type %s", s, typeName(oid))
	}
	switch oid {
	case oidBool:
		return parseBool(s)
	case oidInt2, oidInt4, oidInt8, oidOid:
		v, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
		if err != nil {
			return bad()
		}
		return v, nil
	case oidFloat4, oidFloat8, oidNumeric:
		v, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
		if err != nil && math.IsInf(v, 0) {
			return nil, errorf(codeOutOfRange, "%.60q is out of range of type float8", s)
		}
		if err != nil {
			return bad()
		}
		return v, nil
	case oidBytea:
		if h, ok := strings.CutPrefix(s, `\x`); ok {
			v, err := hex.DecodeString(h)
			if err != nil {
				return bad()
			}
			return v, nil
		}
		if strings.Contains(s, `\`) {
			return nil, errorf(codeBadText, "bytea in the escape format is not taken").hint(`write it in hexadecimal digits: \x0102`)
		}
		return b, nil
	case oidTimestamptz, oidTimestamp:
		return parseTime(s)
	case oidDate: // as it is written, whatever time and zone stand behind
		v, err := parseTime(s)
		if t, ok := v.(time.Time); ok {
			v = time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)
		}
		return v, err
	}
	return s, nil
}

func typeName(oid uint32) string {
	names := map[uint32]string{
		oidBool: "bool", oidInt2: "int2", oidInt4: "int4", oidInt8: "int8", oidOid: "oid", oidFloat4: "float4", oidFloat8: "float8",
		oidNumeric: "numeric", oidBytea: "bytea", oidTimestamptz: "timestamptz", oidTimestamp: "timestamp", oidDate: "date",
	}
	if n, ok := names[oid]; ok {
		return n
	}
	return "text"
}

func checkText(b []byte) error {
	if !utf8.Valid(b) {
		return errorf(codeBadEncoding, "text is not UTF-8")
	}
	return nil
}

func parseBinary(oid uint32, b []byte) (any, error) {
	sizes := map[uint32]int{
		oidBool: 1, oidInt2: 2, oidInt4: 4, oidOid: 4, oidInt8: 8, oidFloat4: 4, oidFloat8: 8, oidTimestamptz: 8, oidTimestamp: 8, oidDate: 4,
	}
	if size, ok := sizes[oid]; ok && len(b) != size {
		return nil, errorf(codeBadBinary, "%d bytes for a value of type %s, which has %d", len(b), typeName(oid), size)
	}
	switch oid {
	case oidBool:
		return b[0] != 0, nil
	case oidInt2:
		return int64(int16(binary.BigEndian.Uint16(b))), nil
	case oidInt4:
		return int64(int32(binary.BigEndian.Uint32(b))), nil
	case oidOid:
		return int64(binary.BigEndian.Uint32(b)), nil
	case oidInt8:
		return int64(binary.BigEndian.Uint64(b)), nil
	case oidFloat4:
		return float64(math.Float32frombits(binary.BigEndian.Uint32(b))), nil
	case oidFloat8:
		return math.Float64frombits(binary.BigEndian.Uint64(b)), nil
	case oidTimestamptz, oidTimestamp:
		us := int64(binary.BigEndian.Uint64(b))
		if us > math.MaxInt64-epoch || us == math.MinInt64 {
			return nil, errTimeRange("infinity")
		}
		return time.UnixMicro(us + epoch), nil
	case oidDate:
		return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).Add(0).AddDate(0, 0, int(int32(binary.BigEndian.Uint32(b)))), nil
	case oidNumeric:
		return parseBinaryNumeric(b)
	case oidBytea:
		return b, nil
	}
	if err := checkText(b); err != nil {
		return nil, err
	}
	return string(b), nil
}

// parseBinaryNumeric reads digits to the base of 10,000 by way of their decimal text, so that the number is the nearest.
func parseBinaryNumeric(b []byte) (any, error) {
	bad := errorf(codeBadBinary, "%d bytes are not a value of type numeric", len(b))
	if len(b) < 8 {
		return nil, bad
	}
	digits, weight, sign := int(binary.BigEndian.Uint16(b)), int(int16(binary.BigEndian.Uint16(b[2:]))), binary.BigEndian.Uint16(b[4:])
	if len(b) != 8+2*digits {
		return nil, bad
	}
	var s []byte
	switch sign {
	case 0:
	case 0x4000:
		s = append(s, '-')
	case 0xC000:
		return math.NaN(), nil
	case 0xD000:
		return math.Inf(1), nil
	case 0xF000:
		return math.Inf(-1), nil
	default:
		return nil, bad
	}
	s = append(s, '0')
	for i := range digits {
		d := binary.BigEndian.Uint16(b[8+2*i:])
		if d > 9999 {
			return nil, bad
		}
		s = append(s, byte('0'+d/1000), byte('0'+d/100%10), byte('0'+d/10%10), byte('0'+d%10))
	}
	s = append(s, 'e')
	s = strconv.AppendInt(s, int64(4*(weight-digits+1)), 10)
	v, err := strconv.ParseFloat(string(s), 64)
	if err != nil {
		return nil, errorf(codeOutOfRange, "number is out of range of type float8")
	}
	return v, nil
}

func parseBool(s string) (any, error) {
	switch strings.ToLower(strings.TrimSpace(s)) {
	case "t", "tr", "tru", "true", "y", "ye", "yes", "on", "1":
		return true, nil
	case "f", "fa", "fal", "fals", "false", "n", "no", "of", "off", "0":
		return false, nil
	}
	return nil, errorf(codeBadText, "%.60q is not a value of type bool", s)
}

func errTimeRange(s string) *Error {
	return errorf(codeTimeRange, "time %.60q is out of range", s).hint("times lie between 1677-09-21 and 2262-04-11")
}

// parseTime reads a time as clients of PostgreSQL write it: 2026-11-26 08:00:00.25+01, with T or without, a zone of hours
// and minutes or Z; without a zone it is UTC, and without a time of day midnight. It has up to nine decimals.
func parseTime(s string) (any, error) {
	bad := errorf(codeBadTime, "%.60q is not a time", s).hint("write it as 2026-11-26 08:00:00.25+01; without a zone it is UTC")
	clean := strings.TrimSpace(s)
	switch strings.ToLower(clean) {
	case "infinity", "-infinity":
		return nil, errTimeRange(clean)
	}
	for _, layout := range []string{
		"2006-01-02 15:04:05.999999999Z07", "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02 15:04:05.999999999 Z07:00", "2006-01-02 15:04:05.999999999 Z07",
		"2006-01-02 15:04:05.999999999Z0700", "2006-01-02 15:04:05.999999999Z07:00:00", "2006-01-02 15:04:05.999999999", "2006-01-02 15:04Z07:00", "2006-01-02 15:04",
		"2006-01-02",
	} {
		if len(clean) > 10 && (clean[10] == 'T' || clean[10] == 't') {
			clean = clean[:10] + " " + clean[11:]
		}
		if t, err := time.Parse(layout, strings.TrimSuffix(clean, " UTC")); err == nil {
			return t, nil
		}
	}
	if n := strings.IndexByte(clean, '-'); n > 4 && strings.Trim(clean[:n], "0123456789") == "" || strings.HasSuffix(clean, " BC") {
		return nil, errTimeRange(clean)
	}
	return nil, bad
}

// appendValue puts v into a builder of the type the statement wants: an integer becomes the nearest double and a whole double an
// integer, and where text is wanted numbers and booleans become that.
func appendValue(to array.Builder, v any) error {
	mismatch := errorf(codeWrongType, "is of another type than the statement takes, %s", to.Type()).hint("cast it in the statement, such as $1::double")
	switch to := to.(type) {
	case *array.BooleanBuilder:
		if v, ok := v.(bool); ok {
			to.Append(v)
			return nil
		}
	case *array.Int64Builder:
		switch v := v.(type) {
		case int64:
			to.Append(v)
			return nil
		case float64:
			if v == math.Trunc(v) && math.Abs(v) <= 1<<53 {
				to.Append(int64(v))
				return nil
			}
		}
	case *array.Float64Builder:
		switch v := v.(type) {
		case float64:
			to.Append(v)
			return nil
		case int64:
			to.Append(float64(v))
			return nil
		}
	case *array.StringBuilder:
		if list, ok := v.([]any); ok { // the statement casts it
			text, err := listText(list)
			if err == nil {
				to.Append(text)
			}
			return err
		}
		if text, ok := textOf(v); ok {
			to.Append(text)
			return nil
		}
	case *array.BinaryBuilder:
		if v, ok := v.([]byte); ok {
			to.Append(v)
			return nil
		}
	case *array.TimestampBuilder:
		if v, ok := v.(time.Time); ok {
			return appendInstant(to, v)
		}
	}
	return mismatch
}

// textOf is a value as a text, where that is one.
func textOf(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case bool:
		return strconv.FormatBool(v), true
	case int64:
		return strconv.FormatInt(v, 10), true
	case float64:
		return string(appendFloat(nil, v)), true
	}
	return "", false
}

func appendInstant(to *array.TimestampBuilder, t time.Time) error {
	switch to.Type().(*arrow.TimestampType).Unit {
	case arrow.Nanosecond:
		if t.Before(time.Unix(0, math.MinInt64)) || t.After(time.Unix(0, math.MaxInt64)) {
			return errTimeRange(t.UTC().Format(time.RFC3339))
		}
		to.Append(arrow.Timestamp(t.UnixNano()))
	case arrow.Microsecond:
		to.Append(arrow.Timestamp(t.UnixMicro()))
	default:
		return errorf(codeWrongType, "is a time in a unit that is not taken, %s", to.Type())
	}
	return nil
}
