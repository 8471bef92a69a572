package sparkplug

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// ErrPayload is the class of what is wrong with a payload: bytes that are no payload, or more of them than Limits allow.
var ErrPayload = errors.New("sparkplug payload")

// MaxElements is how many metrics, properties, parameters, members and cells one payload may hold, all together. A payload of a megabyte can
// name half a million of nothing; a birth of a large node has some tens of thousands.
const MaxElements = 200_000

// MaxDepth is how deep templates, data sets and property sets may stand inside each other.
const MaxDepth = 16

// Payload is one message as it travels. Byte slices share the memory of the message.
type Payload struct {
	Timestamp uint64 // milliseconds since 1970 UTC at which the message was published
	Seq       uint64
	Metrics   []Metric
	UUID      []byte
	Body      []byte

	HasTimestamp, HasSeq bool
}

// Metric is one value under a name, an alias, or both.
type Metric struct {
	Name       []byte
	Alias      uint64
	Timestamp  uint64 // milliseconds since 1970 UTC at which the value was captured
	Datatype   Datatype
	Value      Value
	Properties []Property
	Metadata   *Metadata

	HasName, HasAlias, HasTimestamp, HasDatatype bool
	Historical, Transient, Null                  bool
}

// Metadata describes bytes and files.
type Metadata struct {
	MultiPart   bool
	ContentType string
	Size, Seq   uint64
	FileName    string
	FileType    string
	MD5         string
	Description string
}

// Property is one key and value of a metric.
type Property struct {
	Key      string
	Datatype Datatype
	Null     bool
	Value    Value
}

// Kind is the field in which a value travelled. It says less than a datatype: Int holds signed and unsigned integers alike.
type Kind uint8

const (
	None Kind = iota
	Int       // int_value, a uint32
	Long      // long_value, a uint64
	Float
	Double
	Boolean
	String
	Bytes
	Set
	Instance
	Properties
	PropertyLists
	Extension // bytes of a vendor's own
)

var kindNames = [...]string{"no value", "int_value", "long_value", "float_value", "double_value", "boolean_value", "string_value", "bytes_value",
	"dataset_value", "template_value", "propertyset_value", "propertysets_value", "extension_value"}

func (k Kind) String() string { return kindNames[k] }

// Value is a value as it travelled, before its datatype says what it means (Value.Scalar).
type Value struct {
	Kind     Kind
	Bits     uint64 // of Int, Long, Float (in the low 32 bits), Double, Boolean
	Bytes    []byte // of String, Bytes, Extension
	DataSet  *DataSet
	Template *Template
	Sets     [][]Property // of Properties (one) and PropertyLists
}

// DataSet is a table.
type DataSet struct {
	Columns []string
	Types   []Datatype
	Rows    [][]Value // each of len(Columns)
}

// Template is a definition, or an instance of one: members and parameters.
type Template struct {
	Version    string
	Ref        string // the definition's name; empty in a definition
	Definition bool
	Metrics    []Metric
	Parameters []Parameter
}

// Parameter is what instances of one template differ in.
type Parameter struct {
	Name     string
	Datatype Datatype
	Value    Value
}

// Decode reads a payload into p, whose slices it uses again.
func Decode(b []byte, p *Payload) error {
	*p = Payload{Metrics: p.Metrics[:0]}
	d := decoder{left: MaxElements}
	return d.payload(b, p)
}

// decoder counts down what one payload may still hold.
type decoder struct{ left int }

// field is one field of a message: its number, and its content as the wire type has it.
type field struct {
	num  protowire.Number
	typ  protowire.Type
	bits uint64 // varint, fixed32, fixed64
	data []byte // length-delimited
}

// fields calls each for every field of b. Groups, which the schema does not have, are passed over.
func fields(b []byte, what string, each func(f field) error) error {
	for at := 0; at < len(b); {
		num, typ, n := protowire.ConsumeTag(b[at:])
		if n < 0 {
			return fmt.Errorf("%w: %s: byte %d of %d: %v", ErrPayload, what, at, len(b), protowire.ParseError(n))
		}
		at += n
		f := field{num: num, typ: typ}
		switch typ {
		case protowire.VarintType:
			f.bits, n = protowire.ConsumeVarint(b[at:])
		case protowire.Fixed32Type:
			var x uint32
			x, n = protowire.ConsumeFixed32(b[at:])
			f.bits = uint64(x)
		case protowire.Fixed64Type:
			f.bits, n = protowire.ConsumeFixed64(b[at:])
		case protowire.BytesType:
			f.data, n = protowire.ConsumeBytes(b[at:])
		default:
			n = protowire.ConsumeFieldValue(num, typ, b[at:])
		}
		if n < 0 {
			return fmt.Errorf("%w: %s: field %d at byte %d of %d: %v", ErrPayload, what, num, at, len(b), protowire.ParseError(n))
		}
		at += n
		if err := each(f); err != nil {
			return err
		}
	}
	return nil
}

// is reports whether a field has a number and travelled as its type does. A field of another type is passed over, as protobuf passes over
// what it does not know.
func (f *field) is(num protowire.Number, typ protowire.Type) bool {
	return f.num == num && f.typ == typ
}

// take counts one more element.
func (d *decoder) take(what string) error {
	if d.left--; d.left < 0 {
		return fmt.Errorf("%w: more than %d elements (at a %s)", ErrPayload, MaxElements, what)
	}
	return nil
}

func deeper(depth int, what string) (int, error) {
	if depth >= MaxDepth {
		return 0, fmt.Errorf("%w: a %s stands deeper than %d levels", ErrPayload, what, MaxDepth)
	}
	return depth + 1, nil
}

func (d *decoder) payload(b []byte, p *Payload) error {
	return fields(b, "payload", func(f field) error {
		switch {
		case f.is(1, protowire.VarintType):
			p.Timestamp, p.HasTimestamp = f.bits, true
		case f.is(2, protowire.BytesType):
			return d.appendMetric(f.data, &p.Metrics, 0)
		case f.is(3, protowire.VarintType):
			p.Seq, p.HasSeq = f.bits, true
		case f.is(4, protowire.BytesType):
			p.UUID = f.data
		case f.is(5, protowire.BytesType):
			p.Body = f.data
		}
		return nil
	})
}

func (d *decoder) appendMetric(b []byte, to *[]Metric, depth int) error {
	if err := d.take("metric"); err != nil {
		return err
	}
	*to = append(*to, Metric{})
	return d.metric(b, &(*to)[len(*to)-1], depth)
}

func (d *decoder) metric(b []byte, m *Metric, depth int) error {
	return fields(b, "metric", func(f field) (err error) {
		switch {
		case f.is(1, protowire.BytesType):
			m.Name, m.HasName = f.data, true
		case f.is(2, protowire.VarintType):
			m.Alias, m.HasAlias = f.bits, true
		case f.is(3, protowire.VarintType):
			m.Timestamp, m.HasTimestamp = f.bits, true
		case f.is(4, protowire.VarintType):
			m.Datatype, m.HasDatatype = datatypeOf(f.bits), true
		case f.is(5, protowire.VarintType):
			m.Historical = f.bits != 0
		case f.is(6, protowire.VarintType):
			m.Transient = f.bits != 0
		case f.is(7, protowire.VarintType):
			m.Null = f.bits != 0
		case f.is(8, protowire.BytesType):
			m.Metadata, err = metadata(f.data)
		case f.is(9, protowire.BytesType):
			m.Properties, err = d.propertySet(f.data, depth)
		case f.num >= 10 && f.num <= 16:
			f.num -= 9
			m.Value.scalar(&f)
		case f.is(17, protowire.BytesType):
			m.Value = Value{Kind: Set}
			m.Value.DataSet, err = d.dataSet(f.data)
		case f.is(18, protowire.BytesType):
			m.Value = Value{Kind: Instance}
			m.Value.Template, err = d.template(f.data, depth)
		}
		return err
	})
}

// scalar sets a value from a field numbered from int_value, 1, on.
func (v *Value) scalar(f *field) {
	switch {
	case f.is(1, protowire.VarintType):
		*v = Value{Kind: Int, Bits: uint64(uint32(f.bits))} // a negative one may have been written in ten bytes
	case f.is(2, protowire.VarintType):
		*v = Value{Kind: Long, Bits: f.bits}
	case f.is(3, protowire.Fixed32Type):
		*v = Value{Kind: Float, Bits: f.bits}
	case f.is(4, protowire.Fixed64Type):
		*v = Value{Kind: Double, Bits: f.bits}
	case f.is(5, protowire.VarintType):
		*v = Value{Kind: Boolean}
		if f.bits != 0 {
			v.Bits = 1
		}
	case f.is(6, protowire.BytesType):
		*v = Value{Kind: String, Bytes: f.data}
	case f.is(7, protowire.BytesType):
		*v = Value{Kind: Bytes, Bytes: f.data}
	}
}

func metadata(b []byte) (*Metadata, error) {
	m := &Metadata{}
	return m, fields(b, "metadata", func(f field) error {
		switch {
		case f.is(1, protowire.VarintType):
			m.MultiPart = f.bits != 0
		case f.is(2, protowire.BytesType):
			m.ContentType = string(f.data)
		case f.is(3, protowire.VarintType):
			m.Size = f.bits
		case f.is(4, protowire.VarintType):
			m.Seq = f.bits
		case f.is(5, protowire.BytesType):
			m.FileName = string(f.data)
		case f.is(6, protowire.BytesType):
			m.FileType = string(f.data)
		case f.is(7, protowire.BytesType):
			m.MD5 = string(f.data)
		case f.is(8, protowire.BytesType):
			m.Description = string(f.data)
		}
		return nil
	})
}

// propertySet reads keys and values, which travel as two lists of equal length.
func (d *decoder) propertySet(b []byte, depth int) ([]Property, error) {
	depth, err := deeper(depth, "property set")
	if err != nil {
		return nil, err
	}
	var set []Property
	keys, values := 0, 0
	at := func(i int) *Property {
		if i == len(set) {
			set = append(set, Property{})
		}
		return &set[i]
	}
	err = fields(b, "property set", func(f field) error {
		switch {
		case f.is(1, protowire.BytesType):
			if err := d.take("property"); err != nil {
				return err
			}
			at(keys).Key = string(f.data)
			keys++
		case f.is(2, protowire.BytesType):
			if err := d.take("property"); err != nil {
				return err
			}
			values++
			return d.property(f.data, at(values-1), depth)
		}
		return nil
	})
	if err == nil && keys != values {
		err = fmt.Errorf("%w: property set: %d keys and %d values", ErrPayload, keys, values)
	}
	return set, err
}

func (d *decoder) property(b []byte, p *Property, depth int) error {
	return fields(b, "property", func(f field) (err error) {
		switch {
		case f.is(1, protowire.VarintType):
			p.Datatype = datatypeOf(f.bits)
		case f.is(2, protowire.VarintType):
			p.Null = f.bits != 0
		case f.num >= 3 && f.num <= 8:
			f.num -= 2
			p.Value.scalar(&f)
		case f.is(9, protowire.BytesType):
			p.Value = Value{Kind: Properties, Sets: make([][]Property, 1)}
			p.Value.Sets[0], err = d.propertySet(f.data, depth)
		case f.is(10, protowire.BytesType):
			p.Value = Value{Kind: PropertyLists}
			err = fields(f.data, "property set list", func(f field) error {
				if !f.is(1, protowire.BytesType) {
					return nil
				}
				if err := d.take("property set"); err != nil {
					return err
				}
				set, err := d.propertySet(f.data, depth)
				p.Value.Sets = append(p.Value.Sets, set)
				return err
			})
		}
		return err
	})
}

func (d *decoder) dataSet(b []byte) (*DataSet, error) {
	s := &DataSet{}
	columns, counted := uint64(0), false
	addType := func(x uint64) error {
		s.Types = append(s.Types, datatypeOf(x))
		return d.take("column")
	}
	err := fields(b, "data set", func(f field) error {
		switch {
		case f.is(1, protowire.VarintType):
			columns, counted = f.bits, true
		case f.is(2, protowire.BytesType):
			s.Columns = append(s.Columns, string(f.data))
			return d.take("column")
		case f.is(3, protowire.VarintType):
			return addType(f.bits)
		case f.is(3, protowire.BytesType): // packed
			for len(f.data) > 0 {
				x, n := protowire.ConsumeVarint(f.data)
				if n < 0 {
					return fmt.Errorf("%w: data set: types: %v", ErrPayload, protowire.ParseError(n))
				}
				if f.data = f.data[n:]; n > 0 {
					if err := addType(x); err != nil {
						return err
					}
				}
			}
		case f.is(4, protowire.BytesType):
			row, err := d.row(f.data)
			s.Rows = append(s.Rows, row)
			return err
		}
		return nil
	})
	if err != nil {
		return s, err
	}
	if len(s.Columns) != len(s.Types) || counted && columns != uint64(len(s.Columns)) {
		return s, fmt.Errorf("%w: data set: %d columns, %d names and %d types", ErrPayload, columns, len(s.Columns), len(s.Types))
	}
	for i, row := range s.Rows {
		if len(row) != len(s.Columns) {
			return s, fmt.Errorf("%w: data set: row %d has %d cells, there are %d columns", ErrPayload, i, len(row), len(s.Columns))
		}
	}
	return s, nil
}

func (d *decoder) row(b []byte) ([]Value, error) {
	if err := d.take("row"); err != nil {
		return nil, err
	}
	var row []Value
	return row, fields(b, "row of a data set", func(f field) error {
		if !f.is(1, protowire.BytesType) {
			return nil
		}
		if err := d.take("cell"); err != nil {
			return err
		}
		row = append(row, Value{})
		v := &row[len(row)-1]
		return fields(f.data, "cell of a data set", func(f field) error {
			v.scalarOrExtension(&f)
			return nil
		})
	})
}

// scalarOrExtension reads the values of cells and parameters, which know no bytes but a vendor's extension.
func (v *Value) scalarOrExtension(f *field) {
	if f.num == 7 {
		if f.typ == protowire.BytesType {
			*v = Value{Kind: Extension, Bytes: f.data}
		}
		return
	}
	v.scalar(f)
}

func (d *decoder) template(b []byte, depth int) (*Template, error) {
	depth, err := deeper(depth, "template")
	if err != nil {
		return nil, err
	}
	t := &Template{}
	return t, fields(b, "template", func(f field) error {
		switch {
		case f.is(1, protowire.BytesType):
			t.Version = string(f.data)
		case f.is(2, protowire.BytesType):
			return d.appendMetric(f.data, &t.Metrics, depth)
		case f.is(3, protowire.BytesType):
			if err := d.take("parameter"); err != nil {
				return err
			}
			t.Parameters = append(t.Parameters, Parameter{})
			return parameter(f.data, &t.Parameters[len(t.Parameters)-1])
		case f.is(4, protowire.BytesType):
			t.Ref = string(f.data)
		case f.is(5, protowire.VarintType):
			t.Definition = f.bits != 0
		}
		return nil
	})
}

func parameter(b []byte, p *Parameter) error {
	return fields(b, "template parameter", func(f field) error {
		switch {
		case f.is(1, protowire.BytesType):
			p.Name = string(f.data)
		case f.is(2, protowire.VarintType):
			p.Datatype = datatypeOf(f.bits)
		case f.num >= 3 && f.num <= 9:
			f.num -= 2
			p.Value.scalarOrExtension(&f)
		}
		return nil
	})
}
