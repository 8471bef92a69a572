//go:build cgo

package engine

import (
	"bytes"
	"fmt"
	"math"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/bitutil"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/duckdb/duckdb-go/mapping"
)

// column collects the values of a column of the answer, batch by batch.
type column interface {
	append(v vector, from, n int) error
	// take ends a batch. Its memory may be that of the next one, which begins with append.
	take() arrow.Array
	// textBytes is how many bytes of text the batch has so far.
	textBytes() int
}

func newColumn(id mapping.Type, a appender, memory memory.Allocator) column {
	if id == mapping.TypeVarchar {
		return &texts{}
	}
	return &built{a, array.NewBuilder(memory, a.typ)}
}

// built is a column that a builder of Arrow makes.
type built struct {
	appender appender
	builder  array.Builder
}

func (b *built) append(v vector, from, n int) error {
	b.builder.Reserve(n)
	return b.appender.append(b.builder, v, from, n)
}

func (b *built) take() arrow.Array { return b.builder.NewArray() }

func (b *built) textBytes() int {
	if x, ok := b.builder.(interface{ DataLen() int }); ok {
		return x.DataLen()
	}
	return 0
}

// texts is a column of texts. Most answers name their tags, so it has a loop of its own.
type texts struct {
	data  []byte
	ends  []int32 // behind a zero
	nulls []int   // rows without a value
}

func (t *texts) append(v vector, from, n int) error {
	if len(t.ends) == 0 {
		t.ends = append(t.ends, 0)
	}
	for i := from; i < from+n; i++ {
		if v.valid(i) {
			t.data = append(t.data, v.bytes(i)...)
		} else {
			t.nulls = append(t.nulls, len(t.ends)-1)
		}
		t.ends = append(t.ends, int32(len(t.data)))
	}
	if len(t.data) > math.MaxInt32 {
		return fmt.Errorf("%w: %d rows have more than 2 GiB of text", ErrTooLarge, len(t.ends)-1)
	}
	return nil
}

func (t *texts) take() arrow.Array {
	rows := max(len(t.ends)-1, 0)
	var valid *memory.Buffer
	if len(t.nulls) > 0 {
		bits := bytes.Repeat([]byte{0xff}, int(bitutil.BytesForBits(int64(rows))))
		for _, i := range t.nulls {
			bitutil.ClearBit(bits, i)
		}
		valid = memory.NewBufferBytes(bits)
	}
	data := array.NewData(arrow.BinaryTypes.String, rows, []*memory.Buffer{
		valid, memory.NewBufferBytes(arrow.Int32Traits.CastToBytes(t.ends)), memory.NewBufferBytes(t.data),
	}, nil, len(t.nulls), 0)
	defer data.Release()
	t.data, t.ends, t.nulls = t.data[:0], t.ends[:0], t.nulls[:0]
	return array.NewStringData(data)
}

func (t *texts) textBytes() int { return len(t.data) }

// recycler is an allocator of one goroutine that hands out again what was freed: a batch needs much what the one before needed.
type recycler struct{ free [][]byte }

const mostFree = 64

// Allocate is part of memory.Allocator.
func (r *recycler) Allocate(size int) []byte {
	best := -1
	for i, b := range r.free {
		if cap(b) >= size && cap(b)/4 <= size && (best < 0 || cap(b) < cap(r.free[best])) {
			best = i
		}
	}
	if best < 0 {
		return memory.DefaultAllocator.Allocate(size)
	}
	b := r.free[best][:size]
	last := len(r.free) - 1
	r.free[best] = r.free[last]
	r.free = r.free[:last]
	clear(b)
	return b
}

// Reallocate is part of memory.Allocator.
func (r *recycler) Reallocate(size int, b []byte) []byte {
	if size <= cap(b) {
		return b[:size]
	}
	grown := r.Allocate(size)
	copy(grown, b)
	r.Free(b)
	return grown
}

// Free is part of memory.Allocator.
func (r *recycler) Free(b []byte) {
	if cap(b) > 0 && len(r.free) < mostFree {
		r.free = append(r.free, b[:0])
	}
}
