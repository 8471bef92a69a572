package query

import (
	"fmt"
	"math"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/bitutil"

	"github.com/varvedb/varve/model"
)

// requireType holds a column of one type to blocks of that type.
func requireType(r rows, want model.Type) error {
	if r.Type == want {
		return nil
	}
	return fmt.Errorf("tag %s at %s: samples of %s, the answer's column is %s: %w",
		r.describe(), model.FormatTime(r.Times[r.from]), r.Type, want, ErrWrongType)
}

// bitsColumn is values of the 8-byte types, bit for bit: float64, int64, uint64 and state codes.
type bitsColumn struct {
	typ   model.Type
	unit  string // that values were converted to; empty for none
	bits  []uint64
	valid validity
}

func (c *bitsColumn) dataType() arrow.DataType {
	switch c.typ {
	case model.Float64:
		return arrow.PrimitiveTypes.Float64
	case model.Uint64:
		return arrow.PrimitiveTypes.Uint64
	}
	return arrow.PrimitiveTypes.Int64
}

func (c *bitsColumn) field() arrow.Field {
	return arrow.Field{Name: "value", Type: c.dataType(), Nullable: true, Metadata: unitMetadata(c.unit)}
}

func (c *bitsColumn) append(r rows) error {
	if err := requireType(r, c.typ); err != nil {
		return err
	}
	c.bits = appendBlock(c.bits, r.Bits[r.from:r.to])
	c.valid.appendFlags(r.nulls(), r.count())
	return nil
}

// lend makes the rows the whole column as they lie, in place of copying them.
func (c *bitsColumn) lend(r rows) {
	c.bits = r.Bits[r.from:r.to:r.to]
	c.valid.reset()
	c.valid.appendFlags(r.nulls(), r.count())
}

func (c *bitsColumn) array() arrow.ArrayData {
	return fixedData(c.dataType(), len(c.bits), &c.valid, bytesOf(c.bits))
}

func (c *bitsColumn) reset() {
	c.bits = c.bits[:0]
	c.valid.reset()
}
func (c *bitsColumn) blobBytes() int { return 0 }

// float32Column is float32 values, bit for bit.
type float32Column struct {
	bits  []uint32
	valid validity
}

func (c *float32Column) field() arrow.Field {
	return arrow.Field{Name: "value", Type: arrow.PrimitiveTypes.Float32, Nullable: true}
}

func (c *float32Column) append(r rows) error {
	if err := requireType(r, model.Float32); err != nil {
		return err
	}
	for _, b := range r.Bits[r.from:r.to] {
		c.bits = append(c.bits, uint32(b))
	}
	c.valid.appendFlags(r.nulls(), r.count())
	return nil
}

func (c *float32Column) array() arrow.ArrayData {
	return fixedData(arrow.PrimitiveTypes.Float32, len(c.bits), &c.valid, bytesOf(c.bits))
}

func (c *float32Column) reset() {
	c.bits = c.bits[:0]
	c.valid.reset()
}
func (c *float32Column) blobBytes() int { return 0 }

// boolColumn is boolean values, a bit each.
type boolColumn struct {
	bits  []byte
	rows  int
	valid validity
}

func (c *boolColumn) field() arrow.Field {
	return arrow.Field{Name: "value", Type: arrow.FixedWidthTypes.Boolean, Nullable: true}
}

func (c *boolColumn) append(r rows) error {
	if err := requireType(r, model.Bool); err != nil {
		return err
	}
	for need := int(bitutil.BytesForBits(int64(c.rows + r.count()))); len(c.bits) < need; {
		c.bits = append(c.bits, 0)
	}
	for i, b := range r.Bits[r.from:r.to] {
		if b != 0 {
			bitutil.SetBit(c.bits, c.rows+i)
		}
	}
	c.rows += r.count()
	c.valid.appendFlags(r.nulls(), r.count())
	return nil
}

func (c *boolColumn) array() arrow.ArrayData {
	return fixedData(arrow.FixedWidthTypes.Boolean, c.rows, &c.valid, c.bits)
}

func (c *boolColumn) reset() {
	c.bits, c.rows = c.bits[:0], 0
	c.valid.reset()
}
func (c *boolColumn) blobBytes() int { return 0 }

// mixedFloatColumn is the column value of an answer of mixed types: every float and integer as a double.
type mixedFloatColumn struct {
	unit  string // that values were converted to; empty for none
	bits  []uint64
	valid validity
}

func (c *mixedFloatColumn) field() arrow.Field {
	return arrow.Field{Name: "value", Type: arrow.PrimitiveTypes.Float64, Nullable: true, Metadata: unitMetadata(c.unit)}
}

func (c *mixedFloatColumn) append(r rows) error {
	n := r.count()
	switch r.Type {
	case model.Float64:
		c.bits = append(c.bits, r.Bits[r.from:r.to]...)
	case model.Float32:
		for _, b := range r.Bits[r.from:r.to] {
			c.bits = append(c.bits, math.Float64bits(model.WidenFloat32(uint32(b))))
		}
	case model.Int64:
		for _, b := range r.Bits[r.from:r.to] {
			c.bits = append(c.bits, math.Float64bits(float64(int64(b))))
		}
	case model.Uint64:
		for _, b := range r.Bits[r.from:r.to] {
			c.bits = append(c.bits, math.Float64bits(float64(b)))
		}
	default:
		c.bits = append(c.bits, make([]uint64, n)...)
		c.valid.appendAll(n, false)
		return nil
	}
	c.valid.appendFlags(r.nulls(), n)
	return nil
}

func (c *mixedFloatColumn) array() arrow.ArrayData {
	return fixedData(arrow.PrimitiveTypes.Float64, len(c.bits), &c.valid, bytesOf(c.bits))
}

func (c *mixedFloatColumn) reset() {
	c.bits = c.bits[:0]
	c.valid.reset()
}
func (c *mixedFloatColumn) blobBytes() int { return 0 }

// mixedIntColumn is the column value_int of an answer of mixed types: integers up to 2^63-1, booleans as 0 and 1, state
// codes.
type mixedIntColumn struct {
	ints  []int64
	valid validity
}

func (c *mixedIntColumn) field() arrow.Field {
	return arrow.Field{Name: "value_int", Type: arrow.PrimitiveTypes.Int64, Nullable: true}
}

func (c *mixedIntColumn) append(r rows) error {
	n := r.count()
	switch r.Type {
	case model.Int64, model.Bool, model.State:
		for _, b := range r.Bits[r.from:r.to] {
			c.ints = append(c.ints, int64(b))
		}
		c.valid.appendFlags(r.nulls(), n)
	case model.Uint64:
		for i := r.from; i < r.to; i++ {
			fits := r.Bits[i] <= math.MaxInt64
			c.valid.appendAll(1, fits && !r.IsNull(i))
			if !fits {
				c.ints = append(c.ints, 0)
				continue
			}
			c.ints = append(c.ints, int64(r.Bits[i]))
		}
	default:
		c.ints = append(c.ints, make([]int64, n)...)
		c.valid.appendAll(n, false)
	}
	return nil
}

func (c *mixedIntColumn) array() arrow.ArrayData {
	return fixedData(arrow.PrimitiveTypes.Int64, len(c.ints), &c.valid, bytesOf(c.ints))
}

func (c *mixedIntColumn) reset() {
	c.ints = c.ints[:0]
	c.valid.reset()
}
func (c *mixedIntColumn) blobBytes() int { return 0 }
