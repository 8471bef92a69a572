package query

import (
	"math"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/bitutil"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/rollup"
)

// cell is an aggregate of one bucket: its bits by the type of its column, or nothing.
type cell struct {
	bits  uint64
	high  int64 // of a sum of integers
	blob  []byte
	valid bool
}

func floatCell(f float64) cell { return cell{bits: math.Float64bits(f), valid: true} }

// cellKind is how cells of a column become Arrow.
type cellKind uint8

const (
	cell64 cellKind = iota
	cell32
	cell128
	cellBool
	cellBlob
)

// aggregateColumn is the cells of one aggregate.
type aggregateColumn struct {
	name  string
	unit  string // that values were converted to; empty for none
	typ   arrow.DataType
	kind  cellKind
	of    model.Type // of values that keep their type; 0 for doubles
	bits  []uint64
	small []uint32
	flags []byte
	rows  int
	valid validity
	blobs varBytes
}

var sumType = &arrow.Decimal128Type{Precision: 38}

// newAggregateColumn is the column of an aggregate in an answer about tags of some types. Values keep the type of the tags
// where they share one, and are doubles otherwise.
func newAggregateColumn(a Aggregate, types typeSet) *aggregateColumn {
	c := &aggregateColumn{name: a.String(), typ: arrow.PrimitiveTypes.Float64}
	single, one := types.single()
	switch a {
	case Count, DurationGood:
		c.typ = arrow.PrimitiveTypes.Int64
	case MinimumTime, MaximumTime:
		c.typ = timeType
	case WorstQuality:
		c.typ, c.kind = arrow.PrimitiveTypes.Uint32, cell32
	case Sum:
		if types&^(1<<model.Int64|1<<model.Uint64) == 0 {
			c.typ, c.kind, c.of = sumType, cell128, model.Int64
		}
	case Minimum, Maximum, First, Last:
		if !one {
			break
		}
		switch c.of = single; single {
		case model.Float32:
			c.typ, c.kind = arrow.PrimitiveTypes.Float32, cell32
		case model.Int64, model.State:
			c.typ = arrow.PrimitiveTypes.Int64
		case model.Uint64:
			c.typ = arrow.PrimitiveTypes.Uint64
		case model.Bool:
			c.typ, c.kind = arrow.FixedWidthTypes.Boolean, cellBool
		case model.String:
			c.typ, c.kind = arrow.BinaryTypes.String, cellBlob
		case model.Bytes:
			c.typ, c.kind = arrow.BinaryTypes.Binary, cellBlob
		}
	}
	return c
}

// inUnit makes it the column of an aggregate of values that are converted, or will be: of doubles, whatever the tags hold.
func (c *aggregateColumn) inUnit(code string, e effect) {
	if e != stays {
		c.unit, c.of = code, 0
	}
}

func (c *aggregateColumn) field() arrow.Field {
	return arrow.Field{Name: c.name, Type: c.typ, Nullable: c.name != Count.String() && c.name != DurationGood.String(), Metadata: unitMetadata(c.unit)}
}

// value is a cell of a sample's value.
func (c *aggregateColumn) value(t model.Type, bits uint64, blob []byte) cell {
	if c.of != 0 {
		return cell{bits: bits, blob: blob, valid: true}
	}
	switch t {
	case model.Float64:
		return cell{bits: bits, valid: true}
	case model.Float32:
		return floatCell(model.WidenFloat32(uint32(bits)))
	case model.Uint64:
		return floatCell(float64(bits))
	}
	return floatCell(float64(int64(bits)))
}

// sum is a cell of a sum: exact where the column is.
func (c *aggregateColumn) sum(s *rollup.Stats) cell {
	if c.of == 0 {
		return floatCell(s.Sum())
	}
	i := s.SumInt()
	return cell{bits: i.Lo, high: i.Hi, valid: true}
}

func (c *aggregateColumn) append(x cell) {
	switch c.kind {
	case cell32:
		c.small = append(c.small, uint32(x.bits))
	case cell128:
		c.bits = append(c.bits, x.bits, uint64(x.high))
	case cellBool:
		for len(c.flags) <= c.rows/8 {
			c.flags = append(c.flags, 0)
		}
		bitutil.SetBitTo(c.flags, c.rows, x.bits != 0)
	case cellBlob:
		c.blobs.append(x.blob, x.valid)
	default:
		c.bits = append(c.bits, x.bits)
	}
	c.rows++
	c.valid.appendAll(1, x.valid)
}

func (c *aggregateColumn) array() arrow.ArrayData {
	switch c.kind {
	case cell32:
		return fixedData(c.typ, c.rows, &c.valid, bytesOf(c.small))
	case cellBool:
		return fixedData(c.typ, c.rows, &c.valid, c.flags)
	case cellBlob:
		return c.blobs.array(c.typ)
	}
	return fixedData(c.typ, c.rows, &c.valid, bytesOf(c.bits))
}

func (c *aggregateColumn) reset() {
	c.bits, c.small, c.flags, c.rows = c.bits[:0], c.small[:0], c.flags[:0], 0
	c.valid.reset()
	c.blobs.reset()
}
