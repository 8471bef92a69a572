package pgwire

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/decimal128"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/require"
)

var allTypes = arrow.NewSchema([]arrow.Field{
	{Name: "b", Type: arrow.FixedWidthTypes.Boolean, Nullable: true}, {Name: "i", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
	{Name: "f", Type: arrow.PrimitiveTypes.Float64, Nullable: true}, {Name: "s", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "y", Type: arrow.BinaryTypes.Binary, Nullable: true}, {Name: "t", Type: utc, Nullable: true},
}, nil)

// randomFloat is a double of any bits, or one that people write.
func randomFloat(rng *rand.Rand) float64 {
	switch rng.IntN(4) {
	case 0:
		return math.Float64frombits(rng.Uint64())
	case 1:
		return float64(rng.IntN(2000)-1000) / 8
	case 2:
		return []float64{0, math.Copysign(0, -1), math.Inf(1), math.Inf(-1), math.NaN(), 1e15, 1e-4, 123456789012345680, math.MaxFloat64, math.SmallestNonzeroFloat64}[rng.IntN(10)]
	}
	return rng.NormFloat64() * math.Pow(10, float64(rng.IntN(40)-20))
}

func randomTime(rng *rand.Rand) arrow.Timestamp {
	switch rng.IntN(3) {
	case 0:
		return arrow.Timestamp(rng.Int64() - rng.Int64())
	case 1:
		return arrow.Timestamp(rng.IntN(4000) - 2000)
	}
	return arrow.Timestamp(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano() + rng.Int64N(1e15))
}

func randomRecord(rng *rand.Rand, rows int) arrow.Record {
	b := array.NewRecordBuilder(memory.DefaultAllocator, allTypes)
	for range rows {
		for i := range allTypes.Fields() {
			if rng.IntN(5) == 0 {
				b.Field(i).AppendNull()
				continue
			}
			switch f := b.Field(i).(type) {
			case *array.BooleanBuilder:
				f.Append(rng.IntN(2) == 0)
			case *array.Int64Builder:
				f.Append(int64(rng.Uint64()) >> rng.IntN(64))
			case *array.Float64Builder:
				f.Append(randomFloat(rng))
			case *array.StringBuilder:
				f.Append(strings.Repeat("é\n'\"", rng.IntN(4)) + strconv.Itoa(rng.IntN(1000)))
			case *array.BinaryBuilder:
				raw := make([]byte, rng.IntN(20))
				for k := range raw {
					raw[k] = byte(rng.Uint32())
				}
				f.Append(raw)
			case *array.TimestampBuilder:
				f.Append(randomTime(rng))
			}
		}
	}
	return b.NewRecord()
}

// TestValuesArriveAsTheyAre: a driver reads what was in the record, in either format, to the bit; times to the microsecond.
func TestValuesArriveAsTheyAre(t *testing.T) {
	ctx := context.Background()
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 2))
		want := randomRecord(rng, 50)
		r := start(t, map[string]*fake{"select": {schema: allTypes, records: []arrow.Record{want}}}, nil)
		conn, err := pgx.Connect(ctx, "postgres://me@"+r.addr+"/varve?sslmode=disable")
		require.NoError(t, err)
		for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeCacheStatement} {
			rows, err := conn.Query(ctx, "select", mode)
			require.NoError(t, err)
			n := 0
			for ; rows.Next(); n++ {
				var b *bool
				var i *int64
				var f *float64
				var s *string
				var y []byte
				var at *time.Time
				require.NoError(t, rows.Scan(&b, &i, &f, &s, &y, &at))
				for k, got := range []any{b, i, f, s, y, at} {
					requireValue(t, want.Column(k), n, got, mode == pgx.QueryExecModeSimpleProtocol, fmt.Sprintf("seed %d row %d column %d mode %s", seed, n, k, mode))
				}
			}
			require.NoError(t, rows.Err())
			require.EqualValues(t, want.NumRows(), n)
		}
		require.NoError(t, conn.Close(ctx))
	}
}

func requireValue(t *testing.T, want arrow.Array, row int, got any, inText bool, where string) {
	t.Helper()
	if want.IsNull(row) {
		require.Nil(t, got, where)
		return
	}
	switch want := want.(type) {
	case *array.Boolean:
		require.Equal(t, want.Value(row), *got.(*bool), where)
	case *array.Int64:
		require.Equal(t, want.Value(row), *got.(*int64), where)
	case *array.Float64:
		v, w := *got.(*float64), want.Value(row)
		if inText && math.IsNaN(w) { // text has no payloads
			require.True(t, math.IsNaN(v), where)
			return
		}
		require.Equal(t, math.Float64bits(w), math.Float64bits(v), where)
	case *array.String:
		require.Equal(t, want.Value(row), *got.(*string), where)
	case *array.Binary:
		require.True(t, bytes.Equal(want.Value(row), got.([]byte)), where)
	case *array.Timestamp:
		floor := new(big.Int).Div(big.NewInt(int64(want.Value(row))), big.NewInt(1000)) // Euclid's, which is the floor here
		require.Equal(t, floor.Int64(), got.(*time.Time).UnixMicro(), where)
	}
}

// TestParametersArriveAsTheyAre: whatever a client binds, in either format, is what the statement gets.
func TestParametersArriveAsTheyAre(t *testing.T) {
	types := pgtype.NewMap()
	oids := []uint32{oidBool, oidInt8, oidFloat8, oidText, oidBytea, oidTimestamptz}
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 3))
		want := randomRecord(rng, 1)
		raw, formats := make([][]byte, 6), make([]int16, 6)
		said := make([]uint32, rng.IntN(7))
		for i := range said {
			said[i] = []uint32{0, oidUnknown, oids[i]}[rng.IntN(3)]
		}
		for i := range raw {
			formats[i] = int16(rng.IntN(2))
			if want.Column(i).IsNull(0) {
				continue
			}
			var v any
			switch c := want.Column(i).(type) {
			case *array.Boolean:
				v = c.Value(0)
			case *array.Int64:
				v = c.Value(0)
			case *array.Float64:
				v = c.Value(0)
			case *array.String:
				v = c.Value(0)
			case *array.Binary:
				v = append([]byte{}, c.Value(0)...)
			case *array.Timestamp:
				v = c.Value(0).ToTime(arrow.Nanosecond).UTC()
			}
			var err error
			raw[i], err = types.Encode(oids[i], formats[i], v, []byte{})
			require.NoError(t, err)
		}
		got, err := bindParameters(allTypes, said, formats, raw)
		require.NoError(t, err, "seed %d", seed)
		for i := range raw {
			where := fmt.Sprintf("seed %d parameter %d", seed, i+1)
			require.Equal(t, want.Column(i).IsNull(0), got.Column(i).IsNull(0), where)
			if want.Column(i).IsNull(0) {
				continue
			}
			switch w := want.Column(i).(type) {
			case *array.Float64:
				g := got.Column(i).(*array.Float64).Value(0)
				if formats[i] == 0 && math.IsNaN(g) {
					require.True(t, math.IsNaN(w.Value(0)), where)
					continue
				}
				require.Equal(t, math.Float64bits(w.Value(0)), math.Float64bits(g), where)
			case *array.Timestamp: // the driver cuts it to microseconds
				require.Equal(t, micros(int64(w.Value(0)), arrow.Nanosecond), micros(int64(got.Column(i).(*array.Timestamp).Value(0)), arrow.Nanosecond), where)
			default:
				require.True(t, array.Equal(w, got.Column(i)), where)
			}
		}
	}
}

func TestParametersOfOtherTypes(t *testing.T) {
	field := func(d arrow.DataType) *arrow.Schema { return arrow.NewSchema([]arrow.Field{{Name: "1", Type: d}}, nil) }
	be := func(n uint64, size int) []byte { return binary.BigEndian.AppendUint64(nil, n)[8-size:] }
	at := func(s string) string { return "[" + s + "]" }
	for _, c := range []struct {
		to     arrow.DataType
		oid    uint32
		format int16
		raw    []byte
		want   string // of the column, or of the error
	}{
		{arrow.PrimitiveTypes.Int64, oidInt2, 1, be(0xfffe, 2), "[-2]"},
		{arrow.PrimitiveTypes.Int64, oidInt4, 1, be(0xfffffffe, 4), "[-2]"},
		{arrow.PrimitiveTypes.Int64, oidOid, 1, be(0xfffffffe, 4), "[4294967294]"},
		{arrow.PrimitiveTypes.Int64, oidInt4, 1, be(1, 8), "8 bytes for a value of type int4"},
		{arrow.PrimitiveTypes.Float64, oidInt4, 0, []byte(" 7 "), "[7]"},
		{arrow.PrimitiveTypes.Int64, oidFloat8, 0, []byte("7"), "[7]"},
		{arrow.PrimitiveTypes.Int64, oidFloat8, 0, []byte("7.5"), "is of another type than the statement takes, int64"},
		{arrow.PrimitiveTypes.Int64, oidInt8, 0, []byte("9223372036854775808"), "is not a value of type int8"},
		{arrow.PrimitiveTypes.Float64, oidFloat4, 1, be(uint64(math.Float32bits(0.5)), 4), "[0.5]"},
		{arrow.PrimitiveTypes.Float64, oidNumeric, 0, []byte("1e400"), "out of range of type float8"},
		{arrow.PrimitiveTypes.Float64, oidNumeric, 1, []byte{0, 2, 0, 0, 0x40, 0, 0, 2, 0, 1, 0x13, 0x88}, "[-1.5]"},
		{arrow.PrimitiveTypes.Float64, oidNumeric, 1, []byte{0, 0, 0, 0, 0xC0, 0, 0, 0}, "[NaN]"},
		{arrow.PrimitiveTypes.Float64, oidNumeric, 1, []byte{0xff, 0xff, 0, 0, 0, 0, 0, 0}, "are not a value of type numeric"},
		{arrow.FixedWidthTypes.Boolean, oidBool, 0, []byte("YES"), "[true]"},
		{arrow.FixedWidthTypes.Boolean, oidBool, 0, []byte("maybe"), "is not a value of type bool"},
		{arrow.BinaryTypes.String, oidBool, 0, []byte("t"), `["true"]`},
		{arrow.BinaryTypes.String, oidInt8, 0, []byte("7"), `["7"]`},
		{arrow.BinaryTypes.String, 0, 0, []byte{0xff}, "text is not UTF-8"},
		{arrow.BinaryTypes.String, 0, 1, []byte{0xff}, "text is not UTF-8"},
		{arrow.BinaryTypes.Binary, 0, 0, []byte(`\x00ff`), fmt.Sprint([]string{"AP8="})},
		{arrow.BinaryTypes.Binary, 0, 0, []byte(`\x0`), "is not a value of type bytea"},
		{arrow.BinaryTypes.Binary, 0, 0, []byte(`a\000`), "escape format"},
		{arrow.FixedWidthTypes.Boolean, oidTimestamptz, 0, []byte("2026-01-01"), "is of another type"},
		{utc, 0, 0, []byte("2026-11-26 08:00:00.25+01"), at("2026-11-26 07:00:00.25")},
		{utc, 0, 0, []byte("2026-11-26T08:00:00.123456789Z"), at("2026-11-26 08:00:00.123456789")},
		{utc, 0, 0, []byte("2026-11-26 08:00:00-05:30"), at("2026-11-26 13:30:00")},
		{utc, oidTimestamp, 0, []byte("2026-11-26 08:00"), at("2026-11-26 08:00:00")},
		{utc, oidDate, 0, []byte("2026-11-26"), at("2026-11-26 00:00:00")},
		{utc, oidDate, 0, []byte("2026-11-26 23:30:00-05"), at("2026-11-26 00:00:00")},
		{utc, oidDate, 1, be(9826, 4), at("2026-11-26 00:00:00")},
		{utc, 0, 1, be(uint64(1<<64-1), 8), at("1999-12-31 23:59:59.999999")},
		{utc, 0, 1, be(1<<63-1, 8), "is out of range"},
		{utc, 0, 1, be(1<<63, 8), "is out of range"},
		{utc, 0, 0, []byte("infinity"), "is out of range"},
		{utc, 0, 0, []byte("9999-12-31"), "is out of range"},
		{utc, 0, 0, []byte("12345-12-31"), "is out of range"},
		{utc, 0, 0, []byte("0044-03-15 BC"), "is out of range"},
		{utc, 0, 0, []byte("yesterday"), "is not a time"},
	} {
		got, err := bindParameters(field(c.to), []uint32{c.oid}, []int16{c.format}, [][]byte{c.raw})
		if err != nil {
			require.ErrorContains(t, err, c.want, "%+v", c)
			require.ErrorContains(t, err, "parameter $1", "%+v", c)
			continue
		}
		text := fmt.Sprint(got.Column(0))
		switch col := got.Column(0).(type) {
		case *array.Timestamp:
			text = at(strings.TrimSuffix(col.Value(0).ToTime(arrow.Nanosecond).UTC().String(), " +0000 UTC"))
		case *array.Binary:
			text = "[" + col.ValueStr(0) + "]"
		}
		require.Equal(t, c.want, text, "%+v", c)
	}
}

func TestNumbersAndTimesInText(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 1: "1", -2.5: "-2.5", 1e14: "100000000000000", 1e15: "1e+15", 0.0001: "0.0001", 0.00001: "1e-05", 123456789012345680: "1.2345678901234568e+17",
		math.Inf(-1): "-Infinity",
	} {
		require.Equal(t, want, string(appendFloat(nil, v)))
	}
	require.Equal(t, "-0", string(appendFloat(nil, math.Copysign(0, -1))))
	for us, want := range map[int64]string{
		0: "1970-01-01 00:00:00+00", -1: "1969-12-31 23:59:59.999999+00", 1_500_000: "1970-01-01 00:00:01.5+00",
		-62_135_596_800_000_000: "0001-01-01 00:00:00+00", -62_135_596_800_000_001: "0001-12-31 23:59:59.999999+00 BC", 253_402_300_800_000_000: "10000-01-01 00:00:00+00",
	} {
		require.Equal(t, want, string(appendTime(nil, us, "2006-01-02 15:04:05.999999", "+00")))
	}
	require.Equal(t, int64(-1), micros(-1, arrow.Nanosecond))
	require.Equal(t, int64(-1), micros(-1000, arrow.Nanosecond))
	require.Equal(t, int64(2_000_000), micros(2, arrow.Second))
}

// TestValuesOfExpressions: types that no column of a table has, as a driver reads them in either format.
func TestValuesOfExpressions(t *testing.T) {
	decimals := &arrow.Decimal128Type{Precision: 38, Scale: 3}
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "n", Type: decimals, Nullable: true}, {Name: "d", Type: arrow.FixedWidthTypes.Date32, Nullable: true}, {Name: "t", Type: arrow.FixedWidthTypes.Time64us, Nullable: true},
		{Name: "ts", Type: &arrow.TimestampType{Unit: arrow.Nanosecond}, Nullable: true}, {Name: "i", Type: arrow.FixedWidthTypes.MonthDayNanoInterval, Nullable: true},
		{Name: "l", Type: arrow.ListOf(arrow.BinaryTypes.String), Nullable: true}, {Name: "li", Type: arrow.ListOf(arrow.PrimitiveTypes.Int64), Nullable: true},
	}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	numbers := []string{"0.000", "-0.001", "1.500", "10000.000", "-99999999.999", "123456789012345678901234567890.123", "0.100", "-10000.010"}
	lists := [][]string{{}, {"a"}, {"", "NULL", "x y"}, {`a"b\c`, "{}", ","}, nil, {"é"}, {"a", "b", "c"}, {" "}}
	for row, n := range numbers {
		v, err := decimal128.FromString(n, 38, 3)
		require.NoError(t, err)
		b.Field(0).(*array.Decimal128Builder).Append(v)
		b.Field(1).(*array.Date32Builder).Append(arrow.Date32(row*5000 - 3000))
		b.Field(2).(*array.Time64Builder).Append(arrow.Time64(int64(row) * 10_000_000_001))
		b.Field(3).(*array.TimestampBuilder).Append(arrow.Timestamp(row-3) * 1_000_000_000_000_000_000)
		b.Field(4).(*array.MonthDayNanoIntervalBuilder).Append(arrow.MonthDayNanoInterval{Months: int32(row*7 - 20), Days: int32(row - 1), Nanoseconds: int64(row-2) * 1_234_567_000})
		list := b.Field(5).(*array.ListBuilder)
		list.Append(true)
		for _, s := range lists[row] {
			list.ValueBuilder().(*array.StringBuilder).Append(s)
		}
		list = b.Field(6).(*array.ListBuilder)
		if row == 4 {
			list.AppendNull()
			continue
		}
		list.Append(true)
		for i := range row {
			list.ValueBuilder().(*array.Int64Builder).Append(int64(i - 2))
		}
	}
	want := b.NewRecord()
	r := start(t, map[string]*fake{"select": {schema: schema, records: []arrow.Record{want}}}, nil)
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, "postgres://me@"+r.addr+"/varve?sslmode=disable")
	require.NoError(t, err)
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeCacheStatement} {
		rows, err := conn.Query(ctx, "select", mode)
		require.NoError(t, err)
		row := 0
		for ; rows.Next(); row++ {
			var n pgtype.Numeric
			var d, ts time.Time
			var at pgtype.Time
			var i pgtype.Interval
			var l []string
			var li []int64
			require.NoError(t, rows.Scan(&n, &d, &at, &ts, &i, &l, &li))
			exact, _ := new(big.Rat).SetString(numbers[row])
			got := new(big.Rat).SetInt(n.Int)
			for e := n.Exp; e < 0; e++ {
				got.Quo(got, big.NewRat(10, 1))
			}
			for e := n.Exp; e > 0; e-- {
				got.Mul(got, big.NewRat(10, 1))
			}
			require.Zero(t, exact.Cmp(got), "%s is %v in %s", numbers[row], n, mode)
			require.Equal(t, int64(row*5000-3000), d.Unix()/86400)
			require.Equal(t, int64(row)*10_000_000_001, at.Microseconds)
			require.Equal(t, int64(row-3)*1_000_000_000, ts.Unix())
			require.Equal(t, pgtype.Interval{Microseconds: int64(row-2) * 1_234_567, Days: int32(row - 1), Months: int32(row*7 - 20), Valid: true}, i)
			require.Equal(t, append([]string{}, lists[row]...), append([]string{}, l...))
			require.Equal(t, row == 4, li == nil)
			if row != 4 {
				require.Len(t, li, row)
			}
		}
		require.NoError(t, rows.Err())
		require.Equal(t, len(numbers), row)
	}
	require.NoError(t, conn.Close(ctx))
}

func TestColumnsThatCannotBeSent(t *testing.T) {
	list := arrow.NewSchema([]arrow.Field{{Name: "l", Type: arrow.ListOf(arrow.ListOf(arrow.PrimitiveTypes.Int64))}}, nil)
	_, err := describeColumns(list, nil)
	require.ErrorContains(t, err, `column 1, "l", is of a type that cannot be sent`)
	many := make([]arrow.Field, maxColumns+1)
	for i := range many {
		many[i] = arrow.Field{Name: "n", Type: arrow.PrimitiveTypes.Int64}
	}
	_, err = describeColumns(arrow.NewSchema(many, nil), nil)
	require.ErrorContains(t, err, "most is 32767")
}
