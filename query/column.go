package query

import (
	"unsafe"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/bitutil"
	"github.com/apache/arrow/go/v15/arrow/memory"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage"
)

// rows is some consecutive samples of one tag on their way into the columns: [from, to) of a block.
type rows struct {
	asked
	*storage.Block
	from, to int
	ends     []storage.End        // of the block's values; nil where they stand
	gap      *model.Gap           // that the one row is; nil of samples
	run      *storage.ForecastRun // that the block is of; nil for samples of the tag itself
}

func (r rows) count() int { return r.to - r.from }

// nulls is the null flags of the rows, or nil where every row has a value.
func (r rows) nulls() []bool {
	if r.Null == nil {
		return nil
	}
	return r.Null[r.from:r.to]
}

// column is one column of a record batch. Its memory is filled by append, lent to Arrow by array and used again after
// reset: the arrays of a batch are dead once the batch is written.
type column interface {
	field() arrow.Field
	append(r rows) error
	array() arrow.ArrayData
	reset()
	// blobBytes is the bytes of text and binary gathered so far.
	blobBytes() int
}

// validity is a column's null bitmap. It stays unmade while every row has a value.
type validity struct {
	bits  []byte
	rows  int
	nulls int
}

func (v *validity) reset() { v.bits, v.rows, v.nulls = v.bits[:0], 0, 0 }

// appendAll adds n rows, all with a value or all without.
func (v *validity) appendAll(n int, valid bool) {
	if valid && v.nulls == 0 {
		v.rows += n
		return
	}
	v.grow(n)
	bitutil.SetBitsTo(v.bits, int64(v.rows), int64(n), valid)
	v.rows += n
	if !valid {
		v.nulls += n
	}
}

// appendFlags adds n rows that are null where the flag is set. Nil flags mean that none is.
func (v *validity) appendFlags(null []bool, n int) {
	if null == nil {
		v.appendAll(n, true)
		return
	}
	for i := 0; i < n; {
		j := i + 1
		for j < n && null[j] == null[i] {
			j++
		}
		v.appendAll(j-i, !null[i])
		i = j
	}
}

// grow makes room for n more rows; the first time it also writes the rows so far, which all have a value.
func (v *validity) grow(n int) {
	need := int(bitutil.BytesForBits(int64(v.rows + n)))
	fresh := len(v.bits) == 0
	for len(v.bits) < need {
		v.bits = append(v.bits, 0)
	}
	if fresh {
		bitutil.SetBitsTo(v.bits, 0, int64(v.rows), true)
	}
}

// buffer is the bitmap as Arrow wants it: nil where no row is null.
func (v *validity) buffer() *memory.Buffer {
	if v.nulls == 0 {
		return nil
	}
	return memory.NewBufferBytes(v.bits)
}

// bytesOf is a slice of fixed-width numbers as bytes, sharing memory. Arrow is little-endian like every platform Varve
// builds for.
func bytesOf[T int32 | int64 | uint32 | uint64](s []T) []byte {
	if len(s) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&s[0])), len(s)*int(unsafe.Sizeof(s[0])))
}

func fixedData(t arrow.DataType, n int, v *validity, values []byte) arrow.ArrayData {
	var valid *memory.Buffer
	nulls := 0
	if v != nil {
		valid, nulls = v.buffer(), v.nulls
	}
	return array.NewData(t, n, []*memory.Buffer{valid, memory.NewBufferBytes(values)}, nil, nulls, 0)
}
