package query

import (
	"unsafe"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/bitutil"
	"github.com/apache/arrow/go/v15/arrow/memory"

	"github.com/varvedb/varve/model"
)

// timeColumn is the instant of each row.
type timeColumn struct{ times []int64 }

func (c *timeColumn) field() arrow.Field { return arrow.Field{Name: "time", Type: timeType} }

func (c *timeColumn) append(r rows) error {
	c.times = appendBlock(c.times, r.Times[r.from:r.to])
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

// qualityColumn is the status code of each row, all 32 bits. While all are Good they are counted and not written: then the
// column is allGood.
type qualityColumn struct {
	codes []uint32
	good  int // rows before codes is begun
}

// allGood is the codes of rows that are all Good. It is never written, so that it takes no memory either.
var allGood [MaxBatchRows]uint32

func (c *qualityColumn) field() arrow.Field {
	return arrow.Field{Name: "quality", Type: arrow.PrimitiveTypes.Uint32}
}

func (c *qualityColumn) append(r rows) error {
	if r.Quality == nil {
		if len(c.codes) == 0 {
			c.good += r.count()
		} else {
			c.codes = appendRepeated(c.codes, uint32(model.Good), r.count())
		}
		return nil
	}
	if len(c.codes) == 0 {
		c.codes, c.good = appendRepeated(c.codes, uint32(model.Good), c.good), 0
	}
	q := r.Quality[r.from:r.to]
	c.codes = append(c.codes, unsafe.Slice((*uint32)(unsafe.Pointer(unsafe.SliceData(q))), len(q))...)
	return nil
}

func (c *qualityColumn) array() arrow.ArrayData {
	codes := c.codes
	if len(codes) == 0 {
		codes = allGood[:c.good]
	}
	return fixedData(arrow.PrimitiveTypes.Uint32, len(codes), nil, bytesOf(codes))
}
func (c *qualityColumn) reset()         { c.codes, c.good = c.codes[:0], 0 }
func (c *qualityColumn) blobBytes() int { return 0 }

// boundColumn says which rows stand at an edge of the range or outside of it: not between first and last. It goes by the column
// of times, which took the rows before: those of a block decoded there may have been moved on the way.
type boundColumn struct {
	first, last int64
	times       *timeColumn
	bits        []byte
	rows        int
}

func (c *boundColumn) field() arrow.Field {
	return arrow.Field{Name: "bound", Type: arrow.FixedWidthTypes.Boolean}
}

func (c *boundColumn) append(r rows) error {
	for need := int(bitutil.BytesForBits(int64(c.rows + r.count()))); len(c.bits) < need; {
		c.bits = append(c.bits, 0)
	}
	taken := c.times.times
	for _, t := range taken[len(taken)-r.count():] {
		if t <= c.first || t >= c.last {
			bitutil.SetBit(c.bits, c.rows)
		}
		c.rows++
	}
	return nil
}

func (c *boundColumn) array() arrow.ArrayData {
	return fixedData(arrow.FixedWidthTypes.Boolean, c.rows, nil, c.bits)
}
func (c *boundColumn) reset()         { c.bits, c.rows = c.bits[:0], 0 }
func (c *boundColumn) blobBytes() int { return 0 }

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
func appendRepeated[T int32 | int64 | uint32 | uint64](s []T, x T, n int) []T {
	from := len(s)
	if cap(s)-from < n {
		s = append(s, make([]T, n)...)
	} else {
		s = s[:from+n]
	}
	if n == 0 {
		return s
	}
	tail := s[from:]
	tail[0] = x
	for done := 1; done < n; done *= 2 {
		copy(tail[done:], tail[:done])
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
