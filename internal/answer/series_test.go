package answer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/big"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/apache/arrow/go/v15/parquet/file"
	"github.com/apache/arrow/go/v15/parquet/pqarrow"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/varvedb/varve/model"
)

func matrixOf(t testing.TB, b []byte) (string, error) {
	var out strings.Builder
	_, err := WriteMatrix(&out, open(t, b))
	return out.String(), err
}

func datapointsOf(t testing.TB, b []byte) (string, error) {
	var out strings.Builder
	_, err := WriteDatapoints(&out, open(t, b))
	return out.String(), err
}

var floatFields = []arrow.Field{timeField, tagField, valueField("value", arrow.PrimitiveTypes.Float64), qualityField}

func TestSeries(t *testing.T) {
	b := encode(t, nil, floatFields,
		`[{"time":"2001-01-01 00:00:00.000000001","tag":"a","value":0.1,"quality":0},{"time":"2001-01-01 00:00:01","tag":"a","value":7,"quality":2157903872},
		  {"time":"2001-01-01 00:00:02","tag":"a","value":null,"quality":0},{"time":"2001-01-01 00:00:02.5","tag":"a","value":2,"quality":1083179008}]`,
		`[{"time":"2001-01-01 00:00:03","tag":"a","value":3,"quality":0},{"time":"1969-12-31 23:59:59.5","tag":"b \"x\"","value":1e21,"quality":0}]`)
	matrix, err := matrixOf(t, b)
	require.NoError(t, err)
	require.Equal(t, `{"status":"success","data":{"resultType":"matrix","result":[
{"metric":{"tag":"a"},"values":[[978307200.000000001,"0.1"],[978307202.5,"2"],[978307203,"3"]]},
{"metric":{"tag":"b \"x\""},"values":[[-0.5,"1e+21"]]}]}}
`, matrix)
	points, err := datapointsOf(t, b)
	require.NoError(t, err)
	require.Equal(t, `[
{"target":"a","datapoints":[[0.1,978307200000],[null,978307201000],[null,978307202000],[2,978307202500],[3,978307203000]]},
{"target":"b \"x\"","datapoints":[[1e+21,-500]]}]
`, points)

	empty := encode(t, nil, floatFields)
	matrix, err = matrixOf(t, empty)
	require.NoError(t, err)
	require.Equal(t, `{"status":"success","data":{"resultType":"matrix","result":[]}}`+"\n", matrix)
	points, err = datapointsOf(t, empty)
	require.NoError(t, err)
	require.Equal(t, "[]\n", points)
}

func TestSeriesOfOtherAnswers(t *testing.T) {
	functionField := arrow.Field{Name: "function", Type: tagField.Type}
	for _, c := range []struct {
		fields []arrow.Field
		rows   string
		want   string // the datapoints, or what is wrong
	}{
		{mixedFields, `[{"time":"2001-01-01 00:00:00","tag":"f","value":0.5,"quality":0},{"time":"2001-01-01 00:00:00","tag":"i","value":9007199254740992,"value_int":"9007199254740993","quality":0},
			{"time":"2001-01-01 00:00:00","tag":"u","value":18446744073709551615,"value_text":"18446744073709551615","quality":0},
			{"time":"2001-01-01 00:00:00","tag":"b","value_int":1,"quality":0},{"time":"2001-01-01 00:00:00","tag":"s","value_int":3,"value_text":"on","quality":0}]`,
			`0.5, 9007199254740993, 18446744073709551615, 1, 3`},
		{mixedFields, `[{"time":"2001-01-01 00:00:00","tag":"t","value_text":"on","quality":0}]`, "tag t: has values that are no numbers"},
		{mixedFields, `[{"time":"2001-01-01 00:00:00","tag":"t","value_bytes":"AP8=","quality":0}]`, "tag t: has values that are no numbers"},
		{mixedFields, `[{"time":"2001-01-01 00:00:00","tag":"t","value_text":"on","quality":2157903872}]`, "null"},
		{[]arrow.Field{timeField, tagField, valueField("value", arrow.BinaryTypes.String), qualityField}, `[]`, "column value is utf8"},
		{[]arrow.Field{timeField, tagField, valueField("value", arrow.PrimitiveTypes.Int64), valueField("value_text", arrow.BinaryTypes.String), qualityField}, `[{"time":"2001-01-01 00:00:00","tag":"s","value":4,"value_text":"on","quality":0}]`, "4"},
		{[]arrow.Field{timeField, tagField, valueField("value", arrow.FixedWidthTypes.Boolean), qualityField}, `[{"time":"2001-01-01 00:00:00","tag":"s","value":true,"quality":0},{"time":"2001-01-01 00:00:01","tag":"s","value":false,"quality":0}]`, "1, 0"},
		{[]arrow.Field{timeField, tagField, valueField("value", arrow.PrimitiveTypes.Float32), qualityField}, `[{"time":"2001-01-01 00:00:00","tag":"s","value":0.1,"quality":0}]`, "0.1"},
		{[]arrow.Field{timeField, tagField, valueField("sum", &arrow.Decimal128Type{Precision: 38}), qualityField, valueField("percent_good", arrow.PrimitiveTypes.Float64)}, `[{"time":"2001-01-01 00:00:00","tag":"s","sum":"36893488147419103232","quality":0,"percent_good":100}]`, "36893488147419103232"},
		{[]arrow.Field{timeField, tagField, valueField("sum", arrow.PrimitiveTypes.Float64), valueField("count", arrow.PrimitiveTypes.Int64), qualityField}, `[]`, "columns sum and count: ask for one aggregate"},
		{[]arrow.Field{timeField, tagField, valueField("maximum_time", timeField.Type), qualityField}, `[]`, "column maximum_time is timestamp"},
		{[]arrow.Field{timeField, tagField, functionField, valueField("value", arrow.PrimitiveTypes.Float64), valueField("value_int", arrow.PrimitiveTypes.Int64), valueField("value_text", arrow.BinaryTypes.String), qualityField}, `[{"time":"2001-01-01 00:00:00","tag":"s","function":"Count","value_int":5,"quality":0}]`, "5"},
		{[]arrow.Field{timeField, valueField("FI-101", arrow.PrimitiveTypes.Float64)}, `[]`, "are no points of lines"},
		{[]arrow.Field{timeField, tagField, valueField("value", arrow.PrimitiveTypes.Float64), qualityField, {Name: "issued", Type: timeField.Type}}, `[]`, "are no points of lines"},
		{[]arrow.Field{timeField, tagField, qualityField}, `[]`, "no column of values"},
	} {
		b := encode(t, nil, c.fields, c.rows)
		points, err := datapointsOf(t, b)
		_, other := matrixOf(t, b)
		if err != nil {
			require.ErrorIs(t, err, ErrNoSeries)
			require.ErrorIs(t, other, ErrNoSeries)
			require.ErrorContains(t, err, c.want)
			require.False(t, json.Valid([]byte(points)), "a document that failed looks whole")
			continue
		}
		require.NoError(t, other)
		var values []string
		for _, p := range strings.Split(points, "[")[2:] {
			if value, _, ok := strings.Cut(p, ",97"); ok {
				values = append(values, value)
			}
		}
		require.Equal(t, c.want, strings.Join(values, ", "), points)
	}
	b := encode(t, nil, []arrow.Field{timeField, tagField, functionField, valueField("value", arrow.PrimitiveTypes.Float64), valueField("value_int", arrow.PrimitiveTypes.Int64), qualityField}, `[{"time":"2001-01-01 00:00:00","tag":"s","function":"Count","value_int":5,"quality":0}]`)
	points, err := datapointsOf(t, b)
	require.NoError(t, err)
	require.Contains(t, points, `"target":"s Count"`)
	matrix, err := matrixOf(t, b)
	require.NoError(t, err)
	require.Contains(t, matrix, `"metric":{"tag":"s","aggregate":"Count"}`)
}

// TestSeriesReadBack: of any rows the matrix has those with a number that are not Bad, exact, and the datapoints all of them.
func TestSeriesReadBack(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		type row struct {
			time    int64
			tag     int
			value   float64
			null    bool
			quality uint32
		}
		var rows []row
		text := "["
		tag := 0
		for i := range rapid.IntRange(0, 30).Draw(rt, "rows") {
			if rapid.IntRange(0, 4).Draw(rt, "next") == 0 {
				tag++
			}
			r := row{
				time: rapid.Int64Range(math.MinInt64+1, math.MaxInt64).Draw(rt, "time"), tag: tag,
				value: rapid.Float64().Draw(rt, "value"), null: rapid.IntRange(0, 5).Draw(rt, "null") == 0, quality: rapid.SampledFrom([]uint32{0, 0, 0x40000000, 0x80000000, 0xC0000000}).Draw(rt, "quality"),
			}
			rows = append(rows, r)
			if i > 0 {
				text += ","
			}
			value := strconv.FormatFloat(r.value, 'g', -1, 64)
			if r.null {
				value = "null"
			}
			at := time.Unix(0, r.time).UTC().Format("2006-01-02 15:04:05.999999999")
			text += fmt.Sprintf(`{"time":%q,"tag":"t%d","value":%s,"quality":%d}`, at, r.tag, value, r.quality)
		}
		b := encode(t, nil, floatFields, text+"]")
		var matrix struct {
			Status string
			Data   struct {
				Result []struct {
					Metric struct{ Tag string }
					Values [][2]json.RawMessage
				}
			}
		}
		out, err := matrixOf(t, b)
		require.NoError(rt, err)
		require.NoError(rt, json.Unmarshal([]byte(out), &matrix))
		var got, want []string
		for _, s := range matrix.Data.Result {
			for _, v := range s.Values {
				at, ok := new(big.Rat).SetString(string(v[0]))
				require.True(rt, ok)
				x, err := strconv.ParseFloat(strings.Trim(string(v[1]), `"`), 64)
				require.NoError(rt, err)
				got = append(got, fmt.Sprint(s.Metric.Tag, at.Mul(at, big.NewRat(1e9, 1)).Num(), math.Float64bits(x)))
			}
		}
		var lines []struct {
			Target     string
			Datapoints [][2]*float64
		}
		out, err = datapointsOf(t, b)
		require.NoError(rt, err)
		require.NoError(rt, json.Unmarshal([]byte(out), &lines))
		n := 0
		for _, l := range lines {
			for _, p := range l.Datapoints {
				r := rows[n]
				n++
				require.Equal(rt, fmt.Sprintf("t%d", r.tag), l.Target)
				require.Equal(rt, time.Unix(0, r.time).UnixMilli(), int64(*p[1]))
				if r.null || model.Quality(r.quality).IsBad() {
					require.Nil(rt, p[0])
					continue
				}
				require.Equal(rt, r.value, *p[0])
				want = append(want, fmt.Sprint(l.Target, r.time, math.Float64bits(r.value)))
			}
		}
		require.Len(rt, rows, n)
		require.Equal(rt, want, got)
	})
}

func TestNumbersThatAreNotFinite(t *testing.T) {
	for value, want := range map[float64]string{math.Inf(1): "+Inf", math.Inf(-1): "-Inf"} {
		text, finite, err := (&lines{value: 0, integer: -1, text: -1, blob: -1, quality: -1}).number(nil, floatRecord(t, value), 0)
		require.NoError(t, err)
		require.False(t, finite)
		require.Equal(t, want, string(text))
	}
	text, finite, err := (&lines{value: 0, integer: -1, text: -1, blob: -1, quality: -1}).number(nil, floatRecord(t, math.NaN()), 0)
	require.NoError(t, err)
	require.False(t, finite)
	require.Equal(t, "NaN", string(text))
}

func floatRecord(t testing.TB, value float64) arrow.Record {
	b := array.NewFloat64Builder(memory.DefaultAllocator)
	defer b.Release()
	b.Append(value)
	a := b.NewArray()
	defer a.Release()
	r := array.NewRecord(arrow.NewSchema([]arrow.Field{valueField("value", arrow.PrimitiveTypes.Float64)}, nil), []arrow.Array{a}, 1)
	t.Cleanup(r.Release)
	return r
}

// TestRowGroupsAreBounded: a group of any number of columns is held until it is whole, so its bytes count.
func TestRowGroupsAreBounded(t *testing.T) {
	rows := "[" + strings.Repeat(`{"time":"2001-01-01 00:00:00","tag":"a","value":1,"quality":0},`, 999) + `{"time":"2001-01-01 00:00:00","tag":"a","value":1,"quality":0}]`
	b := encode(t, nil, floatFields, rows, rows, rows, rows)
	var out bytes.Buffer
	n, err := WriteParquet(&out, open(t, b), ParquetLayout{groupBytes: 50_000}) // of a record 21,000 and the names
	require.NoError(t, err)
	require.EqualValues(t, 4000, n)
	f, err := file.NewParquetReader(bytes.NewReader(out.Bytes()))
	require.NoError(t, err)
	require.EqualValues(t, 4000, f.NumRows())
	require.Equal(t, 4, f.NumRowGroups(), "a record each, or two would be more than asked for")
	require.NoError(t, f.Close())
	out.Reset()
	_, err = WriteParquet(&out, open(t, b), ParquetLayout{groupBytes: 1}) // a record is never cut
	require.NoError(t, err)
	f, err = file.NewParquetReader(bytes.NewReader(out.Bytes()))
	require.NoError(t, err)
	require.Equal(t, 4, f.NumRowGroups())
	require.NoError(t, f.Close())
	_, err = WriteParquet(io.Discard, open(t, b), ParquetLayout{groupBytes: 1, chunks: 15})
	require.ErrorIs(t, err, ErrTooManyChunks)
	_, err = WriteParquet(io.Discard, open(t, b), ParquetLayout{groupBytes: 1, chunks: 16})
	require.NoError(t, err)
}

// TestParquetKeepsBits: dictionaries of the library know one NaN, whatever its payload.
func TestParquetKeepsBits(t *testing.T) {
	want := []uint64{math.Float64bits(math.NaN()), 0x7FF8_0000_0000_0123, 0xFFF8_0000_0000_0001, 0x7FF0_0000_0000_0001, 0, 1 << 63, math.Float64bits(1), 0x7FF8_0000_0000_0123}
	values := array.NewFloat64Builder(memory.DefaultAllocator)
	narrow := array.NewFloat32Builder(memory.DefaultAllocator)
	for _, bits := range want {
		values.Append(math.Float64frombits(bits))
		narrow.Append(math.Float32frombits(uint32(bits>>32) | uint32(bits)))
	}
	schema := arrow.NewSchema([]arrow.Field{valueField("value", arrow.PrimitiveTypes.Float64), valueField("narrow", arrow.PrimitiveTypes.Float32)}, nil)
	record := array.NewRecord(schema, []arrow.Array{values.NewArray(), narrow.NewArray()}, int64(len(want)))
	var stream bytes.Buffer
	w := ipc.NewWriter(&stream, ipc.WithSchema(schema))
	require.NoError(t, w.Write(record))
	require.NoError(t, w.Close())
	for _, layout := range []ParquetLayout{ForFiles, ForStreams} {
		var out bytes.Buffer
		_, err := WriteParquet(&out, open(t, stream.Bytes()), layout)
		require.NoError(t, err)
		table, err := pqarrow.ReadTable(t.Context(), bytes.NewReader(out.Bytes()), nil, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
		require.NoError(t, err)
		for i, bits := range want {
			require.Equal(t, bits, math.Float64bits(table.Column(0).Data().Chunk(0).(*array.Float64).Value(i)))
			require.Equal(t, uint32(bits>>32)|uint32(bits), math.Float32bits(table.Column(1).Data().Chunk(0).(*array.Float32).Value(i)))
		}
	}
}

// TestBucketsKeepTheSignOfZero: as TestJSONKeepsTheSignOfZero, of aggregates and wide answers; a text stays what it is.
func TestBucketsKeepTheSignOfZero(t *testing.T) {
	b := encode(t, nil, []arrow.Field{valueField("x", arrow.PrimitiveTypes.Float64), valueField("s", arrow.BinaryTypes.String)}, `[{"x":-0.0,"s":"-0"}]`)
	for output, want := range map[string]string{"json": `{"x":-0.0,"s":"-0"}` + "\n", "csv": "x,s\n-0,-0\n"} {
		var out strings.Builder
		_, err := WriteBuckets(&out, open(t, b), output, time.UTC)
		require.NoError(t, err)
		require.Equal(t, want, out.String())
	}
}

// TestDocumentsHoldTheLines: the rows of a document are the lines of JSON, wherever their writes are cut.
func TestDocumentsHoldTheLines(t *testing.T) {
	b := encode(t, nil, mixedFields, mixedRows, mixedRows)
	lines := jsonOf(t, b, nil)
	for _, piece := range []int{1, 3, 100, len(lines)} {
		var out strings.Builder
		_, err := WriteDocument(&out, open(t, b), AsSamples(open(t, b).Schema()), func(w io.Writer) (uint64, error) {
			for rest := lines; len(rest) > 0; rest = rest[min(piece, len(rest)):] {
				if _, err := io.WriteString(w, rest[:min(piece, len(rest))]); err != nil {
					return 0, err
				}
			}
			return 18, nil
		})
		require.NoError(t, err)
		var doc struct {
			Columns []struct{ Name, Type string }
			Rows    []json.RawMessage
		}
		require.NoError(t, json.Unmarshal([]byte(out.String()), &doc))
		require.Equal(t, 4, len(doc.Columns))
		require.Equal(t, "any", doc.Columns[2].Type)
		got := ""
		for _, r := range doc.Rows {
			got += string(r) + "\n"
		}
		require.Equal(t, lines, got)
	}
	meta := arrow.MetadataFrom(map[string]string{"varve.incomplete": "[7, 9)"})
	var out strings.Builder
	_, err := WriteDocument(&out, open(t, encode(t, &meta, floatFields)), true, func(io.Writer) (uint64, error) { return 0, io.ErrClosedPipe })
	require.ErrorIs(t, err, io.ErrClosedPipe)
	require.Contains(t, out.String(), `"incomplete":"[7, 9)"`)
	require.False(t, json.Valid([]byte(out.String())), "a document that failed looks whole")
}
