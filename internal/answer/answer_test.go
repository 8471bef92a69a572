package answer

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"io"
	"math"
	"os"
	"path/filepath"
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
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"pgregory.net/rapid"

	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// stream is an answer in pieces, and how the call ends.
type stream struct {
	pieces [][]byte
	end    error
}

func (s *stream) Recv() (*varvev1.ArrowData, error) {
	if len(s.pieces) == 0 {
		return nil, s.end
	}
	p := s.pieces[0]
	s.pieces = s.pieces[1:]
	return &varvev1.ArrowData{Ipc: p}, nil
}

// inPieces cuts bytes where a transport might.
func inPieces(b []byte, size int) *stream {
	s := &stream{end: io.EOF}
	for len(b) > size {
		s.pieces, b = append(s.pieces, b[:size]), b[size:]
	}
	s.pieces = append(s.pieces, b)
	return s
}

var (
	timeField    = arrow.Field{Name: "time", Type: &arrow.TimestampType{Unit: arrow.Nanosecond, TimeZone: "UTC"}}
	tagField     = arrow.Field{Name: "tag", Type: &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.BinaryTypes.String}}
	qualityField = arrow.Field{Name: "quality", Type: arrow.PrimitiveTypes.Uint32}
)

func valueField(name string, t arrow.DataType) arrow.Field {
	return arrow.Field{Name: name, Type: t, Nullable: true}
}

// encode writes rows, given as JSON by column, as the server's stream.
func encode(t testing.TB, meta *arrow.Metadata, fields []arrow.Field, batches ...string) []byte {
	var out bytes.Buffer
	schema := arrow.NewSchema(fields, meta)
	w := ipc.NewWriter(&out, ipc.WithSchema(schema), ipc.WithDictionaryDeltas(true))
	for _, b := range batches {
		rec, _, err := array.RecordFromJSON(memory.DefaultAllocator, schema, strings.NewReader(b))
		require.NoError(t, err)
		require.NoError(t, w.Write(rec))
		rec.Release()
	}
	require.NoError(t, w.Close())
	return out.Bytes()
}

func open(t testing.TB, b []byte) *Reader {
	r, err := NewReader(inPieces(b, 100))
	require.NoError(t, err)
	t.Cleanup(r.Close)
	return r
}

func csvOf(t testing.TB, b []byte, types map[string]Types) string {
	var out strings.Builder
	_, err := WriteCSV(&out, NewRows(open(t, b), types), Extra{})
	require.NoError(t, err)
	return out.String()
}

func jsonOf(t testing.TB, b []byte, types map[string]Types) string {
	var out strings.Builder
	_, err := WriteJSON(&out, NewRows(open(t, b), types), Extra{})
	require.NoError(t, err)
	return out.String()
}

func TestOneType(t *testing.T) {
	b := encode(t, nil, []arrow.Field{timeField, tagField, valueField("value", arrow.PrimitiveTypes.Float64), qualityField},
		`[{"time":"2001-01-01 00:00:00.000000001","tag":"a, b","value":0.1,"quality":0},{"time":"2001-01-01 00:00:01","tag":"a, b","value":null,"quality":2157903872}]`,
		`[{"time":"1969-12-31 23:59:59.5","tag":"c","value":1e21,"quality":2158691329}]`)
	require.Equal(t, `time,tag,value,quality
2001-01-01T00:00:00.000000001Z,"a, b",0.1,Good
2001-01-01T00:00:01Z,"a, b",,BadEntryExists
1969-12-31T23:59:59.5Z,c,1e+21,BadInvalidArgument+Calculated
`, csvOf(t, b, nil))
	require.Equal(t, `{"time":"1969-12-31T23:59:59.5Z","tag":"c","value":1e+21,"quality":"BadInvalidArgument+Calculated"}`, strings.Split(jsonOf(t, b, nil), "\n")[2])
}

// Python reads -0 as the integer 0, and -0.0 as what it is.
func TestJSONKeepsTheSignOfZero(t *testing.T) {
	for typ, bits := range map[model.Type]uint64{model.Float64: 1 << 63, model.Float32: 1 << 31} {
		require.Equal(t, "-0.0", string(appendJSONValue(nil, Value{Type: typ, Bits: bits})))
		require.Equal(t, "0", string(appendJSONValue(nil, Value{Type: typ})))
	}
}

func TestStatesAndText(t *testing.T) {
	states := encode(t, nil, []arrow.Field{timeField, tagField, valueField("value", arrow.PrimitiveTypes.Int64), valueField("value_text", arrow.BinaryTypes.String), qualityField},
		`[{"time":"2001-01-01 00:00:00","tag":"s","value":1,"value_text":"running","quality":0},{"time":"2001-01-01 00:00:01","tag":"s","value":7,"value_text":null,"quality":0}]`)
	require.Equal(t, "time,tag,value,quality\n2001-01-01T00:00:00Z,s,running,Good\n2001-01-01T00:00:01Z,s,7,Good\n", csvOf(t, states, nil))
	require.Equal(t, `{"time":"2001-01-01T00:00:00Z","tag":"s","value":"running","code":1,"quality":"Good"}
{"time":"2001-01-01T00:00:01Z","tag":"s","value":"7","code":7,"quality":"Good"}
`, jsonOf(t, states, nil))

	text := encode(t, nil, []arrow.Field{timeField, tagField, valueField("value", arrow.BinaryTypes.String), qualityField},
		`[{"time":"2001-01-01 00:00:00","tag":"s","value":"","quality":0},{"time":"2001-01-01 00:00:01","tag":"s","value":null,"quality":0},
		{"time":"2001-01-01 00:00:02","tag":"s","value":" say \"no\",\n<b>","quality":0}]`)
	require.Equal(t, "time,tag,value,quality\n2001-01-01T00:00:00Z,s,\"\",Good\n2001-01-01T00:00:01Z,s,,Good\n2001-01-01T00:00:02Z,s,\" say \"\"no\"\",\n<b>\",Good\n", csvOf(t, text, nil))
	require.Equal(t, `{"time":"2001-01-01T00:00:02Z","tag":"s","value":" say \"no\",\n<b>","quality":"Good"}`, strings.Split(jsonOf(t, text, nil), "\n")[2])
}

var mixedFields = []arrow.Field{
	timeField, tagField, valueField("value", arrow.PrimitiveTypes.Float64), valueField("value_int", arrow.PrimitiveTypes.Int64),
	valueField("value_text", arrow.BinaryTypes.String), valueField("value_bytes", arrow.BinaryTypes.Binary), qualityField,
}

const mixedRows = `[
{"time":"2001-01-01 00:00:00","tag":"f64","value":0.1,"quality":0},
{"time":"2001-01-01 00:00:00","tag":"f32","value":0.10000000149011612,"quality":0},
{"time":"2001-01-01 00:00:00","tag":"i64","value":-9223372036854775808,"value_int":-9223372036854775808,"quality":0},
{"time":"2001-01-01 00:00:00","tag":"u64","value":18446744073709551615,"value_text":"18446744073709551615","quality":0},
{"time":"2001-01-01 00:00:00","tag":"bool","value_int":1,"quality":0},
{"time":"2001-01-01 00:00:00","tag":"state","value_int":3,"value_text":"on","quality":0},
{"time":"2001-01-01 00:00:00","tag":"text","value_text":"on","quality":0},
{"time":"2001-01-01 00:00:00","tag":"bytes","value_bytes":"AP8=","quality":0},
{"time":"2001-01-01 00:00:00","tag":"null","quality":2147483648}]`

func TestMixedTypes(t *testing.T) {
	types := map[string]Types{}
	for name, t := range map[string]model.Type{"f64": model.Float64, "f32": model.Float32, "i64": model.Int64, "u64": model.Uint64, "bool": model.Bool, "state": model.State, "text": model.String, "bytes": model.Bytes} {
		types[name] = OfType(t)
	}
	b := encode(t, nil, mixedFields, mixedRows)
	require.Equal(t, []string{"0.1", "0.1", "-9223372036854775808", "18446744073709551615", "true", "on", "on", "AP8=", ""}, column(t, csvOf(t, b, types), 2))
	var values []string
	for _, l := range strings.Split(strings.TrimSpace(jsonOf(t, b, types)), "\n") {
		var row struct{ Value json.RawMessage }
		require.NoError(t, json.Unmarshal([]byte(l), &row))
		values = append(values, string(row.Value))
	}
	require.Equal(t, []string{"0.1", "0.1", `"-9223372036854775808"`, `"18446744073709551615"`, "true", `"on"`, `"on"`, `"AP8="`, "null"}, values)
}

func column(t testing.TB, text string, i int) (out []string) {
	rows, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	require.NoError(t, err)
	for _, r := range rows[1:] {
		out = append(out, r[i])
	}
	return out
}

// Numbers as written read back to the same bits and no shorter decimal does.
func TestNumbersReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bits := rapid.Uint64().Draw(t, "bits")
		s := Value{Type: model.Float64, Bits: bits}.String()
		x, err := strconv.ParseFloat(s, 64)
		require.NoError(t, err)
		if math.IsNaN(math.Float64frombits(bits)) {
			require.Equal(t, "NaN", s)
		} else {
			require.Equal(t, bits, math.Float64bits(x))
			require.True(t, json.Valid([]byte(s)) || math.IsInf(x, 0))
		}
		s = Value{Type: model.Float32, Bits: bits & 0xFFFFFFFF}.String()
		y, err := strconv.ParseFloat(s, 32)
		require.NoError(t, err)
		if f := math.Float32frombits(uint32(bits)); f == f {
			require.Equal(t, f, float32(y))
		}
	})
	for _, c := range []struct {
		v    Value
		want string
	}{
		{Value{Type: model.Float64, Bits: math.Float64bits(math.Copysign(0, -1))}, "-0"},
		{Value{Type: model.Float64, Bits: math.Float64bits(1e6)}, "1000000"},
		{Value{Type: model.Float64, Bits: math.Float64bits(1e-7)}, "1e-07"},
		{Value{Type: model.Float64, Bits: math.Float64bits(math.Inf(1))}, "+Inf"},
		{Value{Type: model.Float64, Bits: math.Float64bits(math.Inf(-1))}, "-Inf"},
		{Value{Type: model.Int64, Bits: 1 << 63}, "-9223372036854775808"},
		{Value{Type: model.Uint64, Bits: math.MaxUint64}, "18446744073709551615"},
		{Value{Type: model.Bool}, "false"},
		{Value{Type: model.Float64, Null: true}, ""},
	} {
		require.Equal(t, c.want, c.v.String())
	}
}

func TestQualitiesReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := model.Quality(rapid.Uint32().Draw(t, "code"))
		if rapid.Bool().Draw(t, "known") {
			q = rapid.SampledFrom([]model.Quality{model.Good, model.Bad, model.BadNoData, model.UncertainSubNormal, model.GoodLocalOverride}).Draw(t, "name")
		}
		got, err := model.ParseQuality(q.Text())
		require.NoError(t, err)
		require.Equal(t, q, got)
	})
	require.Equal(t, "BadNoData", model.BadNoData.Text())
	require.Equal(t, "0x809B0400", (model.BadNoData | 0x400).Text()) // info bits would be lost in the name
}

func TestTable(t *testing.T) {
	b := encode(t, nil, []arrow.Field{timeField, tagField, valueField("value", arrow.BinaryTypes.String), qualityField},
		`[{"time":"2001-01-01 00:00:00","tag":"a","value":"x\u001b[31m","quality":0},{"time":"2001-07-01 00:00:00.5","tag":"long name","value":"y","quality":2147483648}]`)
	zone, err := time.LoadLocation("Europe/Berlin")
	require.NoError(t, err)
	var out strings.Builder
	n, err := WriteTable(&out, NewRows(open(t, b), nil), zone, Extra{})
	require.NoError(t, err)
	require.EqualValues(t, 2, n)
	require.Equal(t, `TIME                         TAG         VALUE  QUALITY
2001-01-01T01:00:00+01:00    a          x·[31m  Good
2001-07-01T02:00:00.5+02:00  long name       y  Bad
`, out.String())
}

func TestColumnarFilesHoldTheSameRows(t *testing.T) {
	b := encode(t, nil, mixedFields, mixedRows, mixedRows)
	var want []arrow.Record
	for r := open(t, b); ; {
		rec, err := r.Next()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		rec.Retain()
		want = append(want, rec)
	}

	var arrowFile bytes.Buffer
	n, err := WriteArrow(&arrowFile, open(t, b))
	require.NoError(t, err)
	require.EqualValues(t, 18, n)
	f, err := ipc.NewFileReader(bytes.NewReader(arrowFile.Bytes()))
	require.NoError(t, err)
	require.Equal(t, 2, f.NumRecords())
	for i := range 2 {
		rec, err := f.Record(i)
		require.NoError(t, err)
		requireSameColumns(t, want[i], rec)
	}

	var parquetFile bytes.Buffer
	n, err = WriteParquet(&parquetFile, open(t, b), ForFiles)
	require.NoError(t, err)
	require.EqualValues(t, 18, n)
	p, err := file.NewParquetReader(bytes.NewReader(parquetFile.Bytes()))
	require.NoError(t, err)
	pq, err := pqarrow.NewFileReader(p, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	require.NoError(t, err)
	all, err := pq.ReadTable(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 18, all.NumRows())
	rows := array.NewTableReader(all, 9)
	for i := 0; rows.Next(); i++ {
		requireSameColumns(t, want[i], rows.Record())
	}
}

func requireSameColumns(t *testing.T, want, got arrow.Record) {
	require.Equal(t, want.NumCols(), got.NumCols())
	for i := range int(want.NumCols()) {
		require.Equal(t, want.ColumnName(i), got.ColumnName(i))
		require.Equal(t, want.NumRows(), got.NumRows())
		for row := range int(want.NumRows()) {
			require.Equal(t, want.Column(i).ValueStr(row), got.Column(i).ValueStr(row), want.ColumnName(i))
		}
	}
}

func TestErrorsOfTheCallComeFirst(t *testing.T) {
	b := encode(t, nil, mixedFields, mixedRows)
	lost := status.Error(codes.DataLoss, "chunk is damaged")
	for _, cut := range []int{0, 10, len(b) / 2, len(b)} {
		s := inPieces(b[:cut], 64)
		s.end = lost
		r, err := NewReader(s)
		for err == nil {
			_, err = r.Next()
		}
		require.Equal(t, codes.DataLoss, status.Code(err), "cut at %d", cut)
	}
	for _, cut := range []int{0, 10, len(b) / 2} { // the call ends well and the bytes do not
		r, err := NewReader(inPieces(b[:cut], 64))
		for err == nil {
			_, err = r.Next()
		}
		require.NotErrorIs(t, err, io.EOF, "cut at %d", cut)
	}
}

func TestIncompleteAnswersSaySo(t *testing.T) {
	meta := arrow.NewMetadata([]string{"varve.incomplete"}, []string{"7-9"})
	require.Equal(t, "7-9", open(t, encode(t, &meta, mixedFields)).Incomplete())
	require.Empty(t, open(t, encode(t, nil, mixedFields)).Incomplete())
}

// A pipe that closes early ends the writing with an error.
func TestWritersReportTheirOutput(t *testing.T) {
	f, err := os.Open(filepath.Join(t.TempDir(), "..")) // cannot be written to
	require.NoError(t, err)
	defer f.Close()
	b := encode(t, nil, mixedFields, mixedRows)
	for name, write := range map[string]func() error{
		"csv":     func() error { _, err := WriteCSV(f, NewRows(open(t, b), nil), Extra{}); return err },
		"json":    func() error { _, err := WriteJSON(f, NewRows(open(t, b), nil), Extra{}); return err },
		"table":   func() error { _, err := WriteTable(f, NewRows(open(t, b), nil), time.UTC, Extra{}); return err },
		"arrow":   func() error { _, err := WriteArrow(f, open(t, b)); return err },
		"parquet": func() error { _, err := WriteParquet(f, open(t, b), ForFiles); return err },
	} {
		require.Error(t, write(), name)
	}
}

// FuzzRows feeds damaged streams to the reader: an error or rows, never a panic.
func FuzzRows(f *testing.F) {
	b := encode(f, nil, mixedFields, mixedRows)
	f.Add(uint16(40), byte(1))
	f.Add(uint16(len(b)/2), byte(255))
	f.Fuzz(func(t *testing.T, at uint16, change byte) {
		damaged := bytes.Clone(b)
		// Past the messages' headers: their lengths are the transport's to check, and the server is the only sender.
		body := len(damaged) / 2
		damaged[body+int(at)%(len(damaged)-body)] ^= change
		r, err := NewReader(inPieces(damaged, 64))
		if err != nil {
			return
		}
		rows := NewRows(r, map[string]Types{"f32": OfType(model.Float32)})
		for err == nil {
			_, err = rows.Next()
		}
	})
}
