package pgwire

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/varvedb/varve/query/table"
	"github.com/varvedb/varve/server/pgwire/pgcatalog"
)

const (
	textFormat   int16 = 0
	binaryFormat int16 = 1

	// epoch is 2000-01-01T00:00:00Z, from which PostgreSQL counts, in microseconds since 1970.
	epoch     = 946_684_800_000_000
	epochDays = 10_957
	dayMicros = 86_400_000_000

	// maxColumns is the most columns a message of the protocol can have.
	maxColumns = math.MaxInt16
)

// describeColumns is what a client is told of the columns of an answer; formats are those it asked for.
func describeColumns(schema *arrow.Schema, formats []int16) (*pgproto3.RowDescription, error) {
	if schema.NumFields() > maxColumns {
		return nil, errorf(codeLimit, "answer has %d columns, most is %d", schema.NumFields(), maxColumns)
	}
	out := &pgproto3.RowDescription{Fields: make([]pgproto3.FieldDescription, schema.NumFields())}
	for i, f := range schema.Fields() {
		t, ok := columnTypeOf(f.Type)
		if !ok {
			return nil, errorf(codeNotSupported, "column %d, %.60q, is of a type that cannot be sent: %s", i+1, f.Name, f.Type).
				hint("cast it to varchar, or take it apart")
		}
		if f.Name == "attrtypoids" && t.oid == uint32(pgcatalog.ArrayOf(table.Int64)) {
			// asyncpg asks what types are by a statement with this column, of composite types, which no answer has. Of another type than oid[] it
			// would ask for that first, and so for ever.
			t.oid = typeNamed("oid[]")
		}
		out.Fields[i] = pgproto3.FieldDescription{
			Name: []byte(toText(f.Name)), DataTypeOID: t.oid, DataTypeSize: t.size, TypeModifier: -1, Format: formatOf(formats, i),
		}
	}
	return out, nil
}

// formatOf is the format of the i-th of several: one format is for all, none is text.
func formatOf(formats []int16, i int) int16 {
	switch {
	case len(formats) == 0:
		return textFormat
	case len(formats) == 1:
		return formats[0]
	}
	return formats[i]
}

// checkFormats judges the formats a client asks for n columns or parameters.
func checkFormats(what string, formats []int16, n int) error {
	if len(formats) > 1 && len(formats) != n {
		return errorf(codeProtocol, "%d formats for %d %s", len(formats), n, what)
	}
	for _, f := range formats {
		if f != textFormat && f != binaryFormat {
			return errorf(codeProtocol, "format %d of %s: must be 0, text, or 1, binary", f, what)
		}
	}
	return nil
}

// column appends the value of a row.
type column func(dst []byte, row int) []byte

// columns is how the columns of rec are sent in these formats.
func columns(rec arrow.Record, formats []int16) ([]column, error) {
	out := make([]column, rec.NumCols())
	for i, a := range rec.Columns() {
		value, err := values(a, formatOf(formats, i) == binaryFormat)
		if err != nil {
			return nil, fmt.Errorf("column %d: %w", i+1, err)
		}
		out[i] = sized(a, value)
	}
	return out, nil
}

// sized is a column with the length of each value before it, which tells nulls.
func sized(a arrow.Array, value column) column {
	return func(dst []byte, row int) []byte {
		if a.IsNull(row) {
			return append(dst, 0xff, 0xff, 0xff, 0xff)
		}
		at := len(dst)
		dst = value(append(dst, 0, 0, 0, 0), row)
		binary.BigEndian.PutUint32(dst[at:], uint32(len(dst)-at-4))
		return dst
	}
}

// values is how the values of a are sent that are not null.
func values(a arrow.Array, inBinary bool) (column, error) {
	switch a := a.(type) {
	case *array.Boolean:
		no, yes := byte('f'), byte('t')
		if inBinary {
			no, yes = 0, 1
		}
		return func(dst []byte, row int) []byte {
			if a.Value(row) {
				return append(dst, yes)
			}
			return append(dst, no)
		}, nil
	case *array.Int64:
		if inBinary {
			return func(dst []byte, row int) []byte { return binary.BigEndian.AppendUint64(dst, uint64(a.Value(row))) }, nil
		}
		return func(dst []byte, row int) []byte { return strconv.AppendInt(dst, a.Value(row), 10) }, nil
	case *array.Float64:
		if inBinary {
			return func(dst []byte, row int) []byte {
				return binary.BigEndian.AppendUint64(dst, math.Float64bits(a.Value(row)))
			}, nil
		}
		return func(dst []byte, row int) []byte { return appendFloat(dst, a.Value(row)) }, nil
	case *array.String:
		return func(dst []byte, row int) []byte { return append(dst, toText(a.Value(row))...) }, nil
	case *array.Binary:
		if inBinary {
			return func(dst []byte, row int) []byte { return append(dst, a.Value(row)...) }, nil
		}
		return func(dst []byte, row int) []byte { return hex.AppendEncode(append(dst, '\\', 'x'), a.Value(row)) }, nil
	case *array.Timestamp:
		typ := a.DataType().(*arrow.TimestampType)
		us := func(row int) int64 { return micros(int64(a.Value(row)), typ.Unit) }
		if inBinary {
			return func(dst []byte, row int) []byte { return binary.BigEndian.AppendUint64(dst, uint64(us(row)-epoch)) }, nil
		}
		zone := "+00"
		if typ.TimeZone == "" {
			zone = ""
		}
		return func(dst []byte, row int) []byte { return appendTime(dst, us(row), "2006-01-02 15:04:05.999999", zone) }, nil
	}
	return otherValues(a, inBinary)
}

// otherValues is values of types that columns of tables do not have, and expressions may.
func otherValues(a arrow.Array, inBinary bool) (column, error) {
	switch a := a.(type) {
	case *array.Date32:
		if inBinary {
			return func(dst []byte, row int) []byte {
				return binary.BigEndian.AppendUint32(dst, uint32(int32(a.Value(row))-epochDays))
			}, nil
		}
		return func(dst []byte, row int) []byte {
			return appendTime(dst, int64(a.Value(row))*dayMicros, "2006-01-02", "")
		}, nil
	case *array.Time64:
		us := func(row int) int64 { return int64(a.Value(row)) } // the only unit there is
		if inBinary {
			return func(dst []byte, row int) []byte { return binary.BigEndian.AppendUint64(dst, uint64(us(row))) }, nil
		}
		return func(dst []byte, row int) []byte { return appendDuration(dst, us(row)) }, nil
	case *array.MonthDayNanoInterval:
		if inBinary {
			return func(dst []byte, row int) []byte {
				v := a.Value(row)
				dst = binary.BigEndian.AppendUint64(dst, uint64(v.Nanoseconds/1000))
				return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(dst, uint32(v.Days)), uint32(v.Months))
			}, nil
		}
		return func(dst []byte, row int) []byte { return appendInterval(dst, a.Value(row)) }, nil
	case *array.Decimal128:
		scale := a.DataType().(*arrow.Decimal128Type).Scale
		if inBinary {
			return func(dst []byte, row int) []byte { return appendNumeric(dst, a.Value(row).ToString(scale)) }, nil
		}
		return func(dst []byte, row int) []byte { return append(dst, a.Value(row).ToString(scale)...) }, nil
	case *array.List:
		return listValues(a, inBinary)
	}
	return nil, errorf(codeNotSupported, "values of type %s cannot be sent", a.DataType())
}

// listValues is how lists are sent: as arrays of one dimension that begin at 1.
func listValues(a *array.List, inBinary bool) (column, error) {
	inner := a.ListValues()
	element, ok := columnTypeOf(inner.DataType())
	if !ok {
		return nil, errorf(codeNotSupported, "values of type %s cannot be sent", a.DataType())
	}
	value, err := values(inner, inBinary)
	if err != nil {
		return nil, err
	}
	if inBinary {
		each := sized(inner, value)
		return func(dst []byte, row int) []byte {
			from, to := a.ValueOffsets(row)
			if from == to {
				return binary.BigEndian.AppendUint32(append(dst, 0, 0, 0, 0, 0, 0, 0, 0), element.oid) // no dimension
			}
			dst = append(dst, 0, 0, 0, 1, 0, 0, 0, 1) // one dimension; there may be nulls
			dst = binary.BigEndian.AppendUint32(dst, element.oid)
			dst = binary.BigEndian.AppendUint32(dst, uint32(to-from))
			dst = append(dst, 0, 0, 0, 1)
			for i := from; i < to; i++ {
				dst = each(dst, int(i))
			}
			return dst
		}, nil
	}
	return func(dst []byte, row int) []byte {
		from, to := a.ValueOffsets(row)
		dst = append(dst, '{')
		for i := from; i < to; i++ {
			if i > from {
				dst = append(dst, ',')
			}
			if inner.IsNull(int(i)) {
				dst = append(dst, "NULL"...)
				continue
			}
			dst = appendElement(dst, value(nil, int(i)))
		}
		return append(dst, '}')
	}, nil
}

// appendElement writes a value inside the text of an array, in quotes where it could be taken for something else.
func appendElement(dst, v []byte) []byte {
	if len(v) > 0 && !strings.EqualFold(string(v), "NULL") && !strings.ContainsAny(string(v), "{},\"\\ \t\n\r\v\f") {
		return append(dst, v...)
	}
	dst = append(dst, '"')
	for _, c := range v {
		if c == '"' || c == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, c)
	}
	return append(dst, '"')
}

// micros is a time in microseconds since 1970, those before it included: the last one that is not later.
func micros(t int64, unit arrow.TimeUnit) int64 {
	switch unit {
	case arrow.Nanosecond:
		us := t / 1000
		if t%1000 < 0 {
			us--
		}
		return us
	case arrow.Millisecond:
		return t * 1000
	case arrow.Second:
		return t * 1_000_000
	}
	return t
}

// appendFloat writes the shortest digits that are read back as the same number.
func appendFloat(dst []byte, v float64) []byte {
	switch {
	case math.IsNaN(v):
		return append(dst, "NaN"...)
	case math.IsInf(v, 1):
		return append(dst, "Infinity"...)
	case math.IsInf(v, -1):
		return append(dst, "-Infinity"...)
	}
	format := byte('f')
	if abs := math.Abs(v); abs != 0 && (abs < 1e-4 || abs >= 1e15) {
		format = 'e'
	}
	return strconv.AppendFloat(dst, v, format, -1, 64)
}

// appendTime writes a time as PostgreSQL does in ISO style, by a layout of package time that begins with the year, in UTC:
// 2026-11-26 08:00:00.25+00.
func appendTime(dst []byte, us int64, layout, zone string) []byte {
	t := time.UnixMicro(us).UTC()
	year, after := t.Year(), ""
	if year <= 0 { // year 0 is 1 BC
		year, after = 1-year, " BC"
	}
	for n := year; n < 1000; n *= 10 {
		dst = append(dst, '0')
	}
	dst = strconv.AppendInt(dst, int64(year), 10)
	dst = t.AppendFormat(dst, strings.TrimPrefix(layout, "2006"))
	return append(append(dst, zone...), after...)
}

// appendDuration writes a time of day, or a length of time: 08:00:00.25.
func appendDuration(dst []byte, us int64) []byte {
	if us < 0 {
		dst, us = append(dst, '-'), -us
	}
	s := us / 1_000_000
	dst = fmt.Appendf(dst, "%02d:%02d:%02d", s/3600, s/60%60, s%60)
	if us %= 1_000_000; us != 0 {
		dst = append(dst, strings.TrimRight(fmt.Sprintf(".%06d", us), "0")...)
	}
	return dst
}

// appendInterval writes a length of time in PostgreSQL's own style: 1 year 2 mons 3 days 04:05:06.
func appendInterval(dst []byte, v arrow.MonthDayNanoInterval) []byte {
	at := len(dst)
	for _, part := range []struct {
		n        int32
		one, all string
	}{{v.Months / 12, "year", "years"}, {v.Months % 12, "mon", "mons"}, {v.Days, "day", "days"}} {
		if part.n == 0 {
			continue
		}
		if len(dst) > at {
			dst = append(dst, ' ')
		}
		name := part.all
		if part.n == 1 {
			name = part.one
		}
		dst = fmt.Appendf(dst, "%d %s", part.n, name)
	}
	us := v.Nanoseconds / 1000
	if us == 0 && len(dst) > at {
		return dst
	}
	if len(dst) > at {
		dst = append(dst, ' ')
	}
	return appendDuration(dst, us)
}

// appendNumeric writes a decimal number in digits to the base of 10,000.
func appendNumeric(dst []byte, text string) []byte {
	whole, negative := strings.CutPrefix(text, "-")
	whole, fraction, _ := strings.Cut(whole, ".")
	scale := len(fraction)
	whole = strings.Repeat("0", (4-len(whole)%4)%4) + whole
	fraction += strings.Repeat("0", (4-len(fraction)%4)%4)
	weight := len(whole)/4 - 1
	var groups []uint16
	for digits := whole + fraction; digits != ""; digits = digits[4:] {
		n, _ := strconv.ParseUint(digits[:4], 10, 16) // digits are all there is
		groups = append(groups, uint16(n))
	}
	for len(groups) > 0 && groups[0] == 0 {
		groups, weight = groups[1:], weight-1
	}
	for len(groups) > 0 && groups[len(groups)-1] == 0 {
		groups = groups[:len(groups)-1]
	}
	sign := uint16(0)
	if len(groups) == 0 {
		weight = 0
	} else if negative {
		sign = 0x4000
	}
	for _, n := range append([]uint16{uint16(len(groups)), uint16(weight), sign, uint16(scale)}, groups...) {
		dst = binary.BigEndian.AppendUint16(dst, n)
	}
	return dst
}

// appendRow is a DataRow message of one row.
func appendRow(dst []byte, cols []column, row int) []byte {
	at := len(dst)
	dst = appendFields(append(dst, 'D', 0, 0, 0, 0), cols, row)
	binary.BigEndian.PutUint32(dst[at+1:], uint32(len(dst)-at-1))
	return dst
}

// appendFields is the fields of a row, behind how many they are.
func appendFields(dst []byte, cols []column, row int) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(cols)))
	for _, c := range cols {
		dst = c(dst, row)
	}
	return dst
}
