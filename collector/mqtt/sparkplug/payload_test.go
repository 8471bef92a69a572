package sparkplug

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/varvedb/varve/model"
)

// specification is testdata/specification.json.
type specification struct {
	Codes    [][2]any `json:"datatype_codes"`
	Examples []struct {
		Topic   string
		Line    int
		Payload struct {
			Timestamp uint64
			Seq       *uint64
			Metrics   []struct {
				Name      string
				Alias     *uint64
				Timestamp uint64
				DataType  string
				Value     json.RawMessage
			}
		}
	}
	IDs []string `json:"tck_ids"`
}

func readSpecification(t *testing.T) (s specification) {
	b, err := os.ReadFile("testdata/specification.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &s))
	return s
}

func TestDatatypeCodes(t *testing.T) {
	codes := readSpecification(t).Codes
	require.Len(t, codes, int(datatypes))
	for _, c := range codes {
		require.Equal(t, c[1], datatypeOf(uint64(c[0].(float64))).String())
	}
	require.Equal(t, "datatype 35", datatypeOf(35).String())
	require.Equal(t, "datatype 255", datatypeOf(1<<40).String())
}

// The examples of the specification: bytes made from the JSON by the field numbers, decoded, and compared with the JSON.
func TestExamplesOfTheSpecification(t *testing.T) {
	examples := readSpecification(t).Examples
	require.Len(t, examples, 9)
	for _, e := range examples {
		var b []byte
		b = appendVarint(b, 1, e.Payload.Timestamp)
		for _, m := range e.Payload.Metrics {
			code := slices.Index(datatypeNames[:], m.DataType)
			var x []byte
			x = appendBytes(x, 1, []byte(m.Name))
			if m.Alias != nil {
				x = appendVarint(x, 2, *m.Alias)
			}
			x = appendVarint(x, 3, m.Timestamp)
			x = appendVarint(x, 4, uint64(code))
			switch m.DataType {
			case "Int64", "UInt64":
				var v uint64
				require.NoError(t, json.Unmarshal(m.Value, &v))
				x = appendVarint(x, 11, v)
			case "Float":
				var v float32
				require.NoError(t, json.Unmarshal(m.Value, &v))
				x = protowire.AppendFixed32(protowire.AppendTag(x, 12, protowire.Fixed32Type), math.Float32bits(v))
			case "Boolean":
				x = appendVarint(x, 14, map[string]uint64{"false": 0, "true": 1}[string(m.Value)])
			case "String":
				var v string
				require.NoError(t, json.Unmarshal(m.Value, &v))
				x = appendBytes(x, 15, []byte(v))
			default:
				t.Fatalf("example with a %s", m.DataType)
			}
			b = appendBytes(b, 2, x)
		}
		if e.Payload.Seq != nil {
			b = appendVarint(b, 3, *e.Payload.Seq)
		}
		var p Payload
		require.NoError(t, Decode(b, &p))
		require.Equal(t, e.Payload.Timestamp, p.Timestamp)
		require.Equal(t, e.Payload.Seq != nil, p.HasSeq)
		if e.Payload.Seq != nil {
			require.Equal(t, *e.Payload.Seq, p.Seq)
		}
		require.Len(t, p.Metrics, len(e.Payload.Metrics))
		for i, want := range e.Payload.Metrics {
			got := &p.Metrics[i]
			require.Equal(t, want.Name, string(got.Name))
			require.Equal(t, want.Timestamp, got.Timestamp)
			require.Equal(t, want.DataType, got.Datatype.String())
			require.Equal(t, want.Alias != nil, got.HasAlias)
			s, err := got.Value.Scalar(got.Datatype)
			require.NoError(t, err)
			text, _ := json.Marshal(text(s))
			require.Equal(t, strings.Trim(string(want.Value), `"`), strings.Trim(string(text), `"`), want.Name)
		}
		if e.Topic != "" {
			_, err := ParseTopic(e.Topic)
			require.NoError(t, err)
		}
	}
}

func TestScalars(t *testing.T) {
	neg := func(i int64) uint64 { return uint64(i) }
	for _, c := range []struct {
		t    Datatype
		v    Value
		want uint64 // the bits; wrong: refused
		ok   bool
	}{
		{Int8, intOf(-1), neg(-1), true},                                  // the sign in all 32 bits
		{Int8, Value{Kind: Int, Bits: 0xFF}, neg(-1), true},               // the sign in 8
		{Int8, Value{Kind: Int, Bits: 0x80}, neg(-128), true},             //
		{Int8, intOf(127), 127, true},                                     //
		{Int8, intOf(300), 0, false},                                      // out of range
		{Int8, intOf(-129), 0, false},                                     //
		{Int16, intOf(-30000), neg(-30000), true},                         //
		{Int16, Value{Kind: Int, Bits: 0x8AD0}, neg(-30000), true},        //
		{Int16, intOf(65536), 0, false},                                   //
		{Int32, intOf(math.MinInt32), neg(math.MinInt32), true},           //
		{Int32, Value{Kind: Long, Bits: 0xFFFFFFFE}, neg(-2), true},       // 32 bits in the field of 64
		{Int32, long(-2), neg(-2), true},                                  //
		{Int32, long(math.MaxUint32 + 1), 0, false},                       //
		{Int64, long(math.MinInt64), neg(math.MinInt64), true},            //
		{Int64, intOf(5), 5, true},                                        //
		{Int64, intOf(-5), 0, false},                                      // nobody can tell
		{UInt8, intOf(255), 255, true},                                    //
		{UInt8, intOf(256), 0, false},                                     //
		{UInt16, intOf(52360), 52360, true},                               //
		{UInt32, Value{Kind: Int, Bits: math.MaxUint32}, 1<<32 - 1, true}, //
		{UInt32, long(1<<32 - 1), 1<<32 - 1, true},                        // as older senders write it
		{UInt32, long(1 << 32), 0, false},                                 //
		{UInt64, long(-1), math.MaxUint64, true},                          //
		{DateTime, long(1486144502122), 1486144502122, true},              //
		{DateTime, long(-1), 0, false},                                    //
		{FloatType, float(12.1), uint64(math.Float32bits(12.1)), true},    //
		{FloatType, double(12.1), 0, false},                               // would lose bits
		{DoubleType, double(math.Pi), math.Float64bits(math.Pi), true},    //
		{DoubleType, float(0.5), math.Float64bits(0.5), true},             //
		{DoubleType, Value{Kind: Double, Bits: 0x7FF0000000000001}, 0x7FF0000000000001, true},
		{BooleanType, boolean(true), 1, true},
		{BooleanType, intOf(1), 0, false},
		{Int32, str("1"), 0, false},
		{Int32, Value{}, 0, false},
		{Unknown, intOf(1), 0, false},
		{datatypeOf(99), intOf(1), 0, false},
		{TemplateType, intOf(1), 0, false},
	} {
		s, err := c.v.Scalar(c.t)
		if !c.ok {
			require.ErrorIs(t, err, ErrPayload, "%s of %s %#x", c.t, c.v.Kind, c.v.Bits)
			continue
		}
		require.NoError(t, err, "%s of %s %#x", c.t, c.v.Kind, c.v.Bits)
		require.Equal(t, c.want, s.Bits, "%s of %s %#x", c.t, c.v.Kind, c.v.Bits)
	}
	bad := str("\xff")
	_, err := bad.Scalar(StringType)
	require.ErrorIs(t, err, ErrPayload)
}

// The arrays of 6.4.16, where floats are printed in big endian beside the rule that says little; the rule holds.
func TestArrays(t *testing.T) {
	for _, c := range []struct {
		t    Datatype
		hex  string
		want []string
	}{
		{Int8Array, "ef7b", []string{"-17", "123"}}, // printed as -23, which is e9
		{Int16Array, "d08a3075", []string{"-30000", "30000"}},
		{Int32Array, "fffffffffaafcb12", []string{"-1", "315338746"}},
		{Int64Array, "ce0672ac189cbac4c4ba9c18ac7206ce", []string{"-4270929666821191986", "-3601064768563266876"}},
		{UInt8Array, "17fa", []string{"23", "250"}},
		{UInt16Array, "1e0088cc", []string{"30", "52360"}},
		{UInt32Array, "3400000049fb55c4", []string{"52", "3293969225"}},
		{UInt64Array, "3400000000000000d99e02d1b27637e4", []string{"52", "16444743074749521625"}},
		{FloatArray, "a4709d3f98aeb242", []string{"1.23", "89.341"}},
		{DoubleArray, "d7a205685bb528408e171c6f4cf78f40", []string{"12.354213", "1022.9123213"}},
		{BooleanArray, "0c00000034df", []string{"false", "false", "true", "true", "false", "true", "false", "false", "true", "true", "false", "true"}},
		{StringArray, "4142430068656c6c6f00", []string{"ABC", "hello"}},
		{DateTimeArray, "c7d0907524010000b8bab89781010000", []string{"1256102875335", "1656107875000"}},
		{Int32Array, "", nil},
		{BooleanArray, "00000000", nil},
		{Int16Array, "d08a30", []string{"refused"}},
		{BooleanArray, "0c00", []string{"refused"}},
		{BooleanArray, "ffffffff34", []string{"refused"}},
		{StringArray, "41", []string{"refused"}},
		{StringType, "41", []string{"refused"}},
	} {
		b, err := hex.DecodeString(c.hex)
		require.NoError(t, err)
		var got []string
		of, _ := c.t.element()
		err = Elements(c.t, b, func(i int, v Value) error {
			require.Len(t, got, i)
			s, err := v.Scalar(of)
			require.NoError(t, err)
			got = append(got, text(s))
			return nil
		})
		if slices.Equal(c.want, []string{"refused"}) {
			require.ErrorIs(t, err, ErrPayload, c.hex)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, c.want, got, c.t)
	}
}

// everything is a payload with one of each thing there is.
func everything() *Payload {
	member := named("Speed", DoubleType, double(1450), 0)
	return &Payload{Timestamp: 1, HasTimestamp: true, Seq: 7, HasSeq: true, UUID: []byte("u"), Body: []byte{1}, Metrics: []Metric{
		named("d", DoubleType, double(1), 2).alias(9),
		{Name: []byte("h"), HasName: true, Historical: true, Transient: true, Null: true, Metadata: &Metadata{Description: "about it", MultiPart: true}},
		{Name: []byte("p"), HasName: true, Value: intOf(1), Properties: []Property{
			{Key: "Quality", Datatype: Int32, Value: intOf(192)}, {Key: "gone", Datatype: StringType, Null: true},
			{Key: "set", Datatype: PropertySetType, Value: Value{Kind: Properties, Sets: [][]Property{{{Key: "a", Datatype: StringType, Value: str("b")}}}}},
			{Key: "sets", Datatype: PropertySetListType, Value: Value{Kind: PropertyLists, Sets: [][]Property{{{Key: "c", Datatype: BooleanType, Value: boolean(true)}}}}}}},
		{Name: []byte("set"), HasName: true, Datatype: DataSetType, HasDatatype: true, Value: Value{Kind: Set, DataSet: &DataSet{Columns: []string{"x", "y"},
			Types: []Datatype{Int32, StringType}, Rows: [][]Value{{intOf(-4), str("four")}, {intOf(5), str("five")}}}}},
		{Name: []byte("motor"), HasName: true, Datatype: TemplateType, HasDatatype: true, Value: Value{Kind: Instance, Template: &Template{Version: "2", Ref: "Motor",
			Metrics: []Metric{member}, Parameters: []Parameter{{Name: "maker", Datatype: StringType, Value: str("acme")}}}}},
	}}
}

func TestEverythingDecodes(t *testing.T) {
	want := everything()
	var got Payload
	require.NoError(t, Decode(encode(want), &got))
	require.Equal(t, encode(want), encode(&got))
	require.Equal(t, want, &got)
}

func TestHostilePayloads(t *testing.T) {
	whole := encode(everything())
	for cut := range whole { // a cut payload is refused or shorter, never a panic
		var p Payload
		if err := Decode(whole[:cut], &p); err == nil {
			require.LessOrEqual(t, len(p.Metrics), 5)
		} else {
			require.ErrorIs(t, err, ErrPayload)
		}
	}
	deep := named("x", Int32, intOf(1), 0)
	for range MaxDepth + 1 {
		deep = Metric{Name: []byte("x"), HasName: true, Value: Value{Kind: Instance, Template: &Template{Metrics: []Metric{deep}}}}
	}
	var sets []byte
	for range MaxDepth + 1 {
		sets = appendBytes(appendBytes(nil, 1, []byte("k")), 2, appendBytes(nil, 9, sets))
	}
	many := bytes.Repeat([]byte{2<<3 | 2, 0}, MaxElements+1)
	uneven := appendBytes(nil, 9, appendBytes(nil, 1, []byte("key")))
	row := appendBytes(appendVarint(appendBytes(appendVarint(nil, 1, 1), 2, []byte("c")), 3, 3), 4, nil)
	for name, b := range map[string][]byte{
		"levels":                          encode(&Payload{Metrics: []Metric{deep}}),
		"deeper than 16 levels":           appendBytes(nil, 2, appendBytes(nil, 9, sets)),
		"more than 200000 elements":       many,
		"1 keys and 0 values":             appendBytes(nil, 2, uneven),
		"row 0 has 0 cells":               appendBytes(nil, 2, appendBytes(nil, 17, row)),
		"3 columns, 0 names":              appendBytes(nil, 2, appendBytes(nil, 17, appendVarint(nil, 1, 3))),
		"types":                           appendBytes(nil, 2, appendBytes(nil, 17, appendBytes(nil, 3, []byte{0x80}))),
		"payload: byte 0":                 {0},
		"payload: field 2 at byte 1 of 3": {2<<3 | 2, 200, 1},
	} {
		var p Payload
		err := Decode(b, &p)
		require.ErrorIs(t, err, ErrPayload, name)
		require.ErrorContains(t, err, name)
	}
	var p Payload // what the schema does not have is passed over, and so is a field in another form
	require.NoError(t, Decode(appendVarint(appendBytes(appendBytes(nil, 3, []byte("five")), 77, []byte("new")), 1, 5), &p))
	require.Equal(t, Payload{Timestamp: 5, HasTimestamp: true}, p)
	require.False(t, errors.Is(nil, ErrPayload))
}

func TestModelTypes(t *testing.T) {
	for d := range datatypes {
		kind, ok := d.Model()
		require.Equal(t, ok, kind != 0)
		if d.Array() {
			of, _ := d.element()
			_, ok := of.Model()
			require.True(t, ok, d)
		}
	}
	require.Equal(t, model.Float32, func() model.Type { k, _ := FloatType.Model(); return k }())
}

func FuzzDecode(f *testing.F) {
	f.Add(encode(everything()))
	f.Add(rebirthRequest(5))
	f.Fuzz(func(t *testing.T, b []byte) {
		var p, again Payload
		if err := Decode(b, &p); err != nil {
			if !errors.Is(err, ErrPayload) {
				t.Fatal(err)
			}
			return
		}
		for i := range p.Metrics {
			m := &p.Metrics[i]
			m.Value.Scalar(m.Datatype)
			if m.Datatype.Array() {
				Elements(m.Datatype, m.Value.Bytes, func(int, Value) error { return nil })
			}
		}
		// What was read is read again from what is written of it.
		if err := Decode(encode(&p), &again); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(encode(&p), encode(&again)) {
			t.Fatal("a payload changes when it is written")
		}
	})
}
