package arrowin

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/float16"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/stretchr/testify/require"
)

// message is one message of a stream as Flight carries it.
type message struct{ header, body []byte }

// gathered is a writer's messages.
type gathered struct{ messages []message }

func (g *gathered) Start() error { return nil }
func (g *gathered) Close() error { return nil }

func (g *gathered) WritePayload(p ipc.Payload) error {
	meta := p.Meta()
	defer meta.Release()
	var body bytes.Buffer
	if err := p.SerializeBody(&body); err != nil {
		return err
	}
	g.messages = append(g.messages, message{bytes.Clone(meta.Bytes()), body.Bytes()})
	return nil
}

func written(t testing.TB, records []arrow.Record, o ...ipc.Option) []message {
	t.Helper()
	var g gathered
	w := ipc.NewWriterWithPayloadWriter(&g, append(o, ipc.WithSchema(records[0].Schema()), ipc.WithDictionaryDeltas(true))...)
	for _, r := range records {
		require.NoError(t, w.Write(r))
	}
	require.NoError(t, w.Close())
	return g.messages
}

// next gives messages one by one.
func next(messages []message) func() (header, body []byte, err error) {
	return func() ([]byte, []byte, error) {
		if len(messages) == 0 {
			return nil, nil, io.EOF
		}
		m := messages[0]
		messages = messages[1:]
		return m.header, m.body, nil
	}
}

var limits = Limits{Rows: 1000, Bytes: 1 << 20}

// everything is two batches with a column of every type that is taken, one row null.
func everything(t testing.TB) []arrow.Record {
	t.Helper()
	f := arrow.FixedWidthTypes
	p := arrow.PrimitiveTypes
	dictionary := &arrow.DictionaryType{IndexType: p.Int16, ValueType: arrow.BinaryTypes.String}
	var fields []arrow.Field
	for _, d := range []arrow.DataType{
		f.Boolean, p.Int8, p.Int16, p.Int32, p.Int64, p.Uint8, p.Uint16, p.Uint32, p.Uint64, f.Float16, p.Float32, p.Float64,
		arrow.BinaryTypes.String, arrow.BinaryTypes.LargeString, arrow.BinaryTypes.Binary, arrow.BinaryTypes.LargeBinary,
		&arrow.Decimal128Type{Precision: 20, Scale: 1}, &arrow.Decimal256Type{Precision: 50}, f.MonthDayNanoInterval,
		p.Date32, p.Date64, f.Time32s, f.Time64ns, f.Timestamp_s, f.Timestamp_ms, f.Timestamp_us, f.Timestamp_ns, f.Duration_ms, arrow.Null, dictionary,
	} {
		fields = append(fields, arrow.Field{Name: d.String(), Type: d, Nullable: true, Metadata: arrow.MetadataFrom(map[string]string{"unit": "bar"})})
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema(fields, nil))
	defer b.Release()
	var out []arrow.Record
	for batch := range 2 {
		for row := range 3 {
			for _, column := range b.Fields() {
				if row == 1 {
					column.AppendNull()
					continue
				}
				appendNumber(t, column, batch*3+row)
			}
		}
		out = append(out, b.NewRecord())
	}
	return out
}

func appendNumber(t testing.TB, column array.Builder, n int) {
	switch b := column.(type) {
	case *array.BooleanBuilder:
		b.Append(n%2 == 0)
	case *array.Float16Builder:
		b.Append(float16.New(float32(n)))
	case *array.BinaryBuilder:
		b.Append([]byte{byte('0' + n)})
	case *array.NullBuilder:
		b.AppendNull()
	case *array.MonthDayNanoIntervalBuilder:
		b.Append(arrow.MonthDayNanoInterval{Days: int32(n)})
	case *array.Date32Builder:
		b.Append(arrow.Date32(n))
	case *array.Date64Builder:
		b.Append(arrow.Date64(n))
	case *array.Time32Builder:
		b.Append(arrow.Time32(n))
	case *array.Time64Builder:
		b.Append(arrow.Time64(n))
	case *array.TimestampBuilder:
		b.Append(arrow.Timestamp(n))
	case *array.DurationBuilder:
		b.Append(arrow.Duration(n))
	default:
		require.NoError(t, column.AppendValueFromString(string(rune('0'+n))))
	}
}

// drain reads everything of a stream.
func drain(messages []message, l Limits) (rows int64, cells []Cell, err error) {
	r, err := NewReader(next(messages), l)
	if err != nil {
		return 0, nil, err
	}
	defer r.Release()
	for {
		rec, err := r.Next()
		if err == io.EOF {
			return rows, cells, nil
		}
		if err != nil {
			return rows, cells, err
		}
		rows += rec.NumRows()
		if err := Guard(func() error {
			for _, c := range rec.Columns() {
				for i := range c.Len() {
					_ = c.ValueStr(i)
					cell := At(c, i)
					cell.Text = string(bytes.Clone([]byte(cell.Text)))
					cells = append(cells, cell)
				}
			}
			return nil
		}); err != nil {
			return rows, cells, err
		}
	}
}

func TestEveryTypeThatIsTakenComesThrough(t *testing.T) {
	records := everything(t)
	rows, cells, err := drain(written(t, records), limits)
	require.NoError(t, err)
	require.Equal(t, int64(6), rows)
	var want []Cell
	for _, r := range records {
		for _, c := range r.Columns() {
			for i := range c.Len() {
				want = append(want, At(c, i))
			}
		}
	}
	require.Equal(t, want, cells)
	day := int64(86_400_000_000_000)
	require.Contains(t, cells, Cell{Kind: Time, Int: 5 * day})
	require.Contains(t, cells, Cell{Kind: Text, Text: "5"})
	require.Contains(t, cells, Cell{Kind: Bytes, Text: "5"})
	require.Contains(t, cells, Cell{Kind: Uint, Uint: 5})
	require.Contains(t, cells, Cell{Kind: Bool, Int: 1})
}

// nest is two batches of lists and structs within each other.
func nest(t testing.TB) (records []arrow.Record) {
	t.Helper()
	inner := arrow.StructOf(arrow.Field{Name: "a", Type: arrow.PrimitiveTypes.Int64, Nullable: true}, arrow.Field{Name: "b", Type: arrow.ListOf(arrow.BinaryTypes.String), Nullable: true})
	schema := arrow.NewSchema([]arrow.Field{{Name: "l", Type: arrow.ListOf(inner), Nullable: true}, {Name: "s", Type: inner, Nullable: true}, {Name: "n", Type: arrow.PrimitiveTypes.Float64}}, nil)
	for _, text := range []string{
		`[{"l": [{"a": 1, "b": ["x", null, "yy"]}, {"a": null, "b": null}], "s": {"a": 7, "b": []}, "n": 1}, {"l": null, "s": null, "n": 2}, {"l": [], "s": {"a": 8, "b": ["z"]}, "n": 3}]`,
		`[{"l": [], "s": null, "n": 4}]`,
	} {
		r, _, err := array.RecordFromJSON(memory.DefaultAllocator, schema, strings.NewReader(text))
		require.NoError(t, err)
		records = append(records, r)
	}
	return records
}

func TestListsAndStructsComeThroughWhereTheyAreAskedFor(t *testing.T) {
	records := nest(t)
	l := limits
	l.Nested = true
	r, err := NewReader(next(written(t, records)), l)
	require.NoError(t, err)
	defer r.Release()
	for _, want := range records {
		got, err := r.Next()
		require.NoError(t, err)
		require.True(t, array.RecordEqual(want, got), got)
	}
	_, err = NewReader(next(written(t, records)), limits)
	require.ErrorIs(t, err, ErrUnsupported)

	deep := arrow.DataType(arrow.PrimitiveTypes.Int64)
	for range maxDepth {
		deep = arrow.ListOf(deep)
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema([]arrow.Field{{Name: "deep", Type: deep}}, nil))
	_, err = NewReader(next(written(t, []arrow.Record{b.NewRecord()})), l)
	require.ErrorIs(t, err, ErrTooLarge)
}

func TestStreamsThatAreNotTakenSayWhy(t *testing.T) {
	record := func(d arrow.DataType, text string) arrow.Record {
		b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema([]arrow.Field{{Name: "a", Type: d}}, nil))
		defer b.Release()
		require.NoError(t, b.Field(0).AppendValueFromString(text))
		return b.NewRecord()
	}
	for _, c := range []struct {
		messages []message
		limits   Limits
		want     error
		text     string
	}{
		{nil, limits, ErrMalformed, ""},
		{[]message{{[]byte("junk"), nil}}, limits, ErrMalformed, "offset"},
		{written(t, everything(t))[1:], limits, ErrMalformed, "before the schema"},
		{append(written(t, everything(t)), written(t, everything(t))...), limits, ErrMalformed, "middle of a stream"},
		{written(t, []arrow.Record{record(arrow.ListOf(arrow.PrimitiveTypes.Int64), "[1]")}), limits, ErrUnsupported, "column 0: columns inside a column"},
		{written(t, []arrow.Record{record(&arrow.FixedSizeBinaryType{ByteWidth: 1}, "AA==")}), limits, ErrUnsupported, "type number 15"},
		{written(t, everything(t), ipc.WithZstd()), limits, ErrUnsupported, "compressed"},
		{written(t, everything(t)), Limits{Rows: 2, Bytes: 1 << 20}, ErrTooLarge, "3 rows, most is 2"},
		{written(t, everything(t)), Limits{Rows: 3, Bytes: 1 << 10}, ErrTooLarge, "more than 1024 bytes"},
	} {
		_, _, err := drain(c.messages, c.limits)
		require.ErrorIs(t, err, c.want, c.text)
		require.ErrorContains(t, err, c.text)
	}
	gone := errors.New("the line was cut")
	_, err := NewReader(func() ([]byte, []byte, error) { return nil, nil, gone }, limits)
	require.ErrorIs(t, err, gone)
	require.NotErrorIs(t, err, ErrMalformed)
}

// TestMemoryOfBatchesIsGivenBack: a limit is of what is held at a time, not of all that comes.
func TestMemoryOfBatchesIsGivenBack(t *testing.T) {
	record := everything(t)[0]
	records := make([]arrow.Record, 200)
	for i := range records {
		records[i] = record
	}
	rows, _, err := drain(written(t, records), Limits{Rows: 3, Bytes: 16 << 10})
	require.NoError(t, err)
	require.Equal(t, int64(600), rows)
}

// TestSplitTakesAStreamApart holds it to what Arrow's own writer made of the same messages, whole and cut anywhere.
func TestSplitTakesAStreamApart(t *testing.T) {
	var stream bytes.Buffer
	w := ipc.NewWriter(&stream, ipc.WithSchema(everything(t)[0].Schema()), ipc.WithDictionaryDeltas(true))
	for _, r := range everything(t) {
		require.NoError(t, w.Write(r))
	}
	require.NoError(t, w.Close())
	var got []message
	for rest := stream.Bytes(); len(rest) > 0; {
		header, body, more, err := Split(rest)
		require.NoError(t, err)
		if len(header) > 0 {
			got = append(got, message{header, body})
		}
		rest = more
	}
	want := written(t, everything(t))
	require.Len(t, got, len(want))
	for i := range want {
		require.Equal(t, want[i].header, got[i].header[:len(want[i].header)])
		require.True(t, bytes.Equal(want[i].body, got[i].body))
	}
	first := 8 + len(got[0].header)
	for n := range first {
		_, _, _, err := Split(stream.Bytes()[:n])
		require.ErrorIs(t, err, ErrMalformed, "%d bytes", n)
	}
	_, err := NewReader(next(got), Limits{Rows: 3, Bytes: 1 << 20, Columns: 5})
	require.ErrorIs(t, err, ErrTooLarge)
}

func TestNumbersChangeTypeOnlyWhereNothingIsLost(t *testing.T) {
	for _, c := range []struct {
		cell  Cell
		i     int64
		isInt bool
		f     float64
		isF   bool
	}{
		{Cell{Kind: Int, Int: -7}, -7, true, -7, true},
		{Cell{Kind: Int, Int: 1<<53 + 1}, 1<<53 + 1, true, 1 << 53, false},
		{Cell{Kind: Uint, Uint: math.MaxUint64}, -1, false, math.MaxUint64, false},
		{Cell{Kind: Uint, Uint: 9}, 9, true, 9, true},
		{Cell{Kind: Float, Float: 2.5}, 2, false, 2.5, true},
		{Cell{Kind: Float, Float: -3}, -3, true, -3, true},
		{Cell{Kind: Float, Float: 1 << 60}, 1 << 60, false, 1 << 60, true},
		{Cell{Kind: Float, Float: math.Inf(1)}, 0, false, math.Inf(1), true},
		{Cell{Kind: Bool, Int: 1}, 1, true, 0, false},
		{Cell{Kind: Text, Text: "1"}, 0, false, 0, false},
	} {
		i, ok := c.cell.AsInt()
		require.Equal(t, c.isInt, ok, "%+v", c.cell)
		if ok {
			require.Equal(t, c.i, i)
		}
		f, ok := c.cell.AsFloat()
		require.Equal(t, c.isF, ok, "%+v", c.cell)
		if ok {
			require.Equal(t, c.f, f)
		}
	}
	require.Equal(t, OutOfRange, timeCell(math.MaxInt64, 1000).Kind)
}

// pack and unpack are messages as one piece of bytes, for the fuzzer.
func pack(messages []message) []byte {
	var out []byte
	for _, m := range messages {
		out = binary.LittleEndian.AppendUint16(out, uint16(len(m.header)))
		out = binary.LittleEndian.AppendUint16(out, uint16(len(m.body)))
		out = append(append(out, m.header...), m.body...)
	}
	return out
}

func unpack(b []byte) (messages []message) {
	for len(b) >= 4 {
		h, n := int(binary.LittleEndian.Uint16(b)), int(binary.LittleEndian.Uint16(b[2:]))
		b = b[4:]
		h = min(h, len(b))
		n = min(n, len(b)-h)
		messages = append(messages, message{b[:h], b[h : h+n]})
		b = b[h+n:]
	}
	return messages
}

// requireNoDeath reads a stream that may be anything: it ends with its rows or with an error of this package.
func requireNoDeath(t testing.TB, messages []message) {
	l := limits
	l.Nested = true
	_, _, err := drain(messages, l)
	if err == nil {
		return
	}
	require.True(t, errors.Is(err, ErrMalformed) || errors.Is(err, ErrUnsupported) || errors.Is(err, ErrTooLarge), err)
}

func TestDamagedStreamsEndWithAnError(t *testing.T) {
	streams := [][]message{written(t, everything(t)), written(t, nest(t))}
	rng := rand.New(rand.NewPCG(1, 2))
	n := 20000
	if testing.Short() {
		n = 2000
	}
	for k := range n {
		whole := streams[k%2]
		damaged := make([]message, len(whole))
		for i, m := range whole {
			damaged[i] = message{bytes.Clone(m.header), bytes.Clone(m.body)}
		}
		for range 1 + rng.IntN(3) {
			m := &damaged[rng.IntN(len(damaged))]
			b := m.header
			if len(m.body) > 0 && rng.IntN(3) == 0 {
				b = m.body
			}
			at := rng.IntN(len(b))
			if rng.IntN(2) == 0 {
				b[at] ^= 1 << rng.IntN(8)
			} else {
				b[at] = byte(rng.Uint32())
			}
		}
		if rng.IntN(8) == 0 {
			m := &damaged[rng.IntN(len(damaged))]
			m.header = m.header[:rng.IntN(len(m.header))]
		}
		requireNoDeath(t, damaged)
	}
}

func FuzzStream(f *testing.F) {
	f.Add(pack(written(f, everything(f))))
	f.Add(pack(written(f, everything(f)[:1])))
	f.Add(pack(written(f, nest(f))))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) { requireNoDeath(t, unpack(b)) })
}
