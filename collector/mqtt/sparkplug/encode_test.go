package sparkplug

import (
	"encoding/binary"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// The edge node's side, for tests: it writes what Decode reads.

func appendBytes(b []byte, num protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, num, protowire.BytesType), v)
}

func appendVarint(b []byte, num protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), v)
}

func appendBool(b []byte, num protowire.Number, v bool) []byte {
	if v {
		return appendVarint(b, num, 1)
	}
	return b
}

// appendScalar writes a value in the fields from int_value, numbered first, on.
func appendScalar(b []byte, first protowire.Number, v Value) []byte {
	switch v.Kind {
	case Int, Long, Boolean:
		return appendVarint(b, first+map[Kind]protowire.Number{Int: 0, Long: 1, Boolean: 4}[v.Kind], v.Bits)
	case Float:
		return protowire.AppendFixed32(protowire.AppendTag(b, first+2, protowire.Fixed32Type), uint32(v.Bits))
	case Double:
		return protowire.AppendFixed64(protowire.AppendTag(b, first+3, protowire.Fixed64Type), v.Bits)
	case String:
		return appendBytes(b, first+5, v.Bytes)
	case Bytes, Extension:
		return appendBytes(b, first+6, v.Bytes)
	}
	return b
}

func encodeProperties(set []Property) []byte {
	var b []byte
	for i := range set {
		b = appendBytes(b, 1, []byte(set[i].Key))
	}
	for i := range set {
		p := &set[i]
		var v []byte
		v = appendVarint(v, 1, uint64(p.Datatype))
		v = appendBool(v, 2, p.Null)
		switch p.Value.Kind {
		case Properties:
			v = appendBytes(v, 9, encodeProperties(p.Value.Sets[0]))
		case PropertyLists:
			var list []byte
			for _, set := range p.Value.Sets {
				list = appendBytes(list, 1, encodeProperties(set))
			}
			v = appendBytes(v, 10, list)
		default:
			v = appendScalar(v, 3, p.Value)
		}
		b = appendBytes(b, 2, v)
	}
	return b
}

func encodeMetric(m *Metric) []byte {
	var b []byte
	if m.HasName {
		b = appendBytes(b, 1, m.Name)
	}
	if m.HasAlias {
		b = appendVarint(b, 2, m.Alias)
	}
	if m.HasTimestamp {
		b = appendVarint(b, 3, m.Timestamp)
	}
	if m.HasDatatype {
		b = appendVarint(b, 4, uint64(m.Datatype))
	}
	b = appendBool(b, 5, m.Historical)
	b = appendBool(b, 6, m.Transient)
	b = appendBool(b, 7, m.Null)
	if m.Metadata != nil {
		x := m.Metadata
		var v []byte
		v = appendBool(v, 1, x.MultiPart)
		for i, s := range map[protowire.Number]string{2: x.ContentType, 5: x.FileName, 6: x.FileType, 7: x.MD5, 8: x.Description} {
			if s != "" {
				v = appendBytes(v, i, []byte(s))
			}
		}
		b = appendBytes(b, 8, v)
	}
	if m.Properties != nil {
		b = appendBytes(b, 9, encodeProperties(m.Properties))
	}
	switch m.Value.Kind {
	case Set:
		s := m.Value.DataSet
		v := appendVarint(nil, 1, uint64(len(s.Columns)))
		for i := range s.Columns {
			v = appendBytes(v, 2, []byte(s.Columns[i]))
		}
		for i := range s.Types {
			v = appendVarint(v, 3, uint64(s.Types[i]))
		}
		for _, row := range s.Rows {
			var r []byte
			for _, cell := range row {
				r = appendBytes(r, 1, appendScalar(nil, 1, cell))
			}
			v = appendBytes(v, 4, r)
		}
		return appendBytes(b, 17, v)
	case Instance:
		t := m.Value.Template
		var v []byte
		for i := range t.Metrics {
			v = appendBytes(v, 2, encodeMetric(&t.Metrics[i]))
		}
		for i := range t.Parameters {
			p := appendBytes(nil, 1, []byte(t.Parameters[i].Name))
			p = appendVarint(p, 2, uint64(t.Parameters[i].Datatype))
			v = appendBytes(v, 3, appendScalar(p, 3, t.Parameters[i].Value))
		}
		if t.Version != "" {
			v = appendBytes(v, 1, []byte(t.Version))
		}
		if t.Ref != "" {
			v = appendBytes(v, 4, []byte(t.Ref))
		}
		return appendBytes(b, 18, appendBool(v, 5, t.Definition))
	}
	return appendScalar(b, 10, m.Value)
}

func encode(p *Payload) []byte {
	var b []byte
	if p.HasTimestamp {
		b = appendVarint(b, 1, p.Timestamp)
	}
	for i := range p.Metrics {
		b = appendBytes(b, 2, encodeMetric(&p.Metrics[i]))
	}
	if p.HasSeq {
		b = appendVarint(b, 3, p.Seq)
	}
	if p.UUID != nil {
		b = appendBytes(b, 4, p.UUID)
	}
	if p.Body != nil {
		b = appendBytes(b, 5, p.Body)
	}
	return b
}

// named is a metric by name, type and value; times are in milliseconds.
func named(name string, t Datatype, v Value, at uint64) Metric {
	return Metric{Name: []byte(name), HasName: true, Datatype: t, HasDatatype: true, Value: v, Timestamp: at, HasTimestamp: at != 0}
}

func (m Metric) alias(a uint64) Metric { m.Alias, m.HasAlias = a, true; return m }

// short is a metric as data names it that was given an alias.
func (m Metric) short() Metric {
	m.Name, m.HasName, m.Datatype, m.HasDatatype = nil, false, 0, false
	return m
}

func double(f float64) Value { return Value{Kind: Double, Bits: math.Float64bits(f)} }
func float(f float32) Value  { return Value{Kind: Float, Bits: uint64(math.Float32bits(f))} }
func intOf(i int32) Value    { return Value{Kind: Int, Bits: uint64(uint32(i))} }
func long(i int64) Value     { return Value{Kind: Long, Bits: uint64(i)} }
func str(s string) Value     { return Value{Kind: String, Bytes: []byte(s)} }
func boolean(b bool) Value {
	v := Value{Kind: Boolean}
	if b {
		v.Bits = 1
	}
	return v
}

func quality(code int32) []Property {
	return []Property{{Key: "Quality", Datatype: Int32, Value: intOf(code)}}
}

func packed32(values ...float32) []byte {
	var b []byte
	for _, v := range values {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	return b
}
