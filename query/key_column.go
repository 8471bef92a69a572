package query

import (
	"unsafe"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"

	"github.com/varvedb/varve/model"
)

// timeColumn is the instant of each row.
type timeColumn struct{ times []int64 }

func (c *timeColumn) field() arrow.Field { return arrow.Field{Name: "time", Type: timeType} }

func (c *timeColumn) append(r rows) error {
	c.times = append(c.times, r.Times[r.from:r.to]...)
	return nil
}

func (c *timeColumn) array() arrow.ArrayData {
	return fixedData(timeType, len(c.times), nil, bytesOf(c.times))
}
func (c *timeColumn) reset()         { c.times = c.times[:0] }
func (c *timeColumn) blobBytes() int { return 0 }

// tagColumn is the tag's name of each row, as its index in the one dictionary of the stream.
type tagColumn struct {
	indices    []int32
	dictionary arrow.Array
}

func (c *tagColumn) field() arrow.Field { return arrow.Field{Name: "tag", Type: nameType} }

func (c *tagColumn) append(r rows) error {
	c.indices = appendRepeated(c.indices, r.index, r.count())
	return nil
}

func (c *tagColumn) array() arrow.ArrayData {
	return dictionaryData(c.indices, nil, c.dictionary)
}
func (c *tagColumn) reset()         { c.indices = c.indices[:0] }
func (c *tagColumn) blobBytes() int { return 0 }

// qualityColumn is the status code of each row, all 32 bits.
type qualityColumn struct{ codes []uint32 }

func (c *qualityColumn) field() arrow.Field {
	return arrow.Field{Name: "quality", Type: arrow.PrimitiveTypes.Uint32}
}

func (c *qualityColumn) append(r rows) error {
	if r.Quality == nil {
		c.codes = appendRepeated(c.codes, uint32(model.Good), r.count())
		return nil
	}
	q := r.Quality[r.from:r.to]
	c.codes = append(c.codes, unsafe.Slice((*uint32)(unsafe.Pointer(unsafe.SliceData(q))), len(q))...)
	return nil
}

func (c *qualityColumn) array() arrow.ArrayData {
	return fixedData(arrow.PrimitiveTypes.Uint32, len(c.codes), nil, bytesOf(c.codes))
}
func (c *qualityColumn) reset()         { c.codes = c.codes[:0] }
func (c *qualityColumn) blobBytes() int { return 0 }

// seqColumn tells apart the samples of one tag at one time.
type seqColumn struct{ seqs []uint32 }

func (c *seqColumn) field() arrow.Field {
	return arrow.Field{Name: "seq", Type: arrow.PrimitiveTypes.Uint32}
}

func (c *seqColumn) append(r rows) error {
	if r.Seq == nil {
		c.seqs = appendRepeated(c.seqs, 0, r.count())
		return nil
	}
	c.seqs = append(c.seqs, r.Seq[r.from:r.to]...)
	return nil
}

func (c *seqColumn) array() arrow.ArrayData {
	return fixedData(arrow.PrimitiveTypes.Uint32, len(c.seqs), nil, bytesOf(c.seqs))
}
func (c *seqColumn) reset()         { c.seqs = c.seqs[:0] }
func (c *seqColumn) blobBytes() int { return 0 }

// appendRepeated adds n copies of x.
func appendRepeated[T int32 | int64 | uint32](s []T, x T, n int) []T {
	from := len(s)
	if cap(s)-from < n {
		s = append(s, make([]T, n)...)
	} else {
		s = s[:from+n]
	}
	tail := s[from:]
	for i := range tail {
		tail[i] = x
	}
	return s
}

// dictionaryData is names by index.
func dictionaryData(indices []int32, v *validity, dictionary arrow.Array) arrow.ArrayData {
	var valid *memory.Buffer
	nulls := 0
	if v != nil {
		valid, nulls = v.buffer(), v.nulls
	}
	return array.NewDataWithDictionary(nameType, len(indices), []*memory.Buffer{valid, memory.NewBufferBytes(bytesOf(indices))},
		nulls, 0, dictionary.Data().(*array.Data))
}
