package query

import (
	"slices"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"

	"github.com/varvedb/varve/model"
)

// microColumn is timeColumn cut to whole microseconds, downward also before 1970.
type microColumn struct{ timeColumn }

func (c *microColumn) append(r rows) error {
	from := len(c.times)
	c.times = append(c.times, r.Times[r.from:r.to]...)
	for i, t := range c.times[from:] {
		c.times[from+i] = FloorMicros(t)
	}
	return nil
}

// FloorMicros is the microsecond that an instant lies in, in nanoseconds. The first there is stands for those before it.
func FloorMicros(t int64) int64 {
	rest := t % 1000
	if rest < 0 {
		rest += 1000
	}
	if t < model.MinTime+rest {
		return t
	}
	return t - rest
}

// nanosColumn is the instant of each row as a number.
type nanosColumn struct{ times []int64 }

func (c *nanosColumn) field() arrow.Field {
	return arrow.Field{Name: "time_ns", Type: arrow.PrimitiveTypes.Int64}
}

func (c *nanosColumn) append(r rows) error {
	c.times = append(c.times, r.Times[r.from:r.to]...)
	return nil
}

func (c *nanosColumn) array() arrow.ArrayData {
	return fixedData(arrow.PrimitiveTypes.Int64, len(c.times), nil, bytesOf(c.times))
}
func (c *nanosColumn) reset()         { c.times = c.times[:0] }
func (c *nanosColumn) blobBytes() int { return 0 }

// runsColumn is a column whose value seldom changes from row to row. It is gathered as runs of equal values and written as those, or one
// by one.
type runsColumn[T int64 | string] struct {
	name    string
	encoded bool // write runs

	of        func(rows) (T, bool)  // the value of all rows, if they have one; nil for none
	ofRow     func(rows, int) T     // the value of a row where they have not
	ofQuality func(model.Quality) T // in place of the two

	ends   []int32 // of each run, in rows
	values []T
	wide   []int64 // of values one by one
	text   varBytes
}

func (c *runsColumn[T]) valueType() arrow.DataType {
	if _, text := any(c).(*runsColumn[string]); text {
		return arrow.BinaryTypes.String
	}
	return arrow.PrimitiveTypes.Int64
}

func (c *runsColumn[T]) dataType() arrow.DataType {
	if c.encoded {
		return arrow.RunEndEncodedOf(arrow.PrimitiveTypes.Int32, c.valueType())
	}
	return c.valueType()
}

func (c *runsColumn[T]) field() arrow.Field { return arrow.Field{Name: c.name, Type: c.dataType()} }

func (c *runsColumn[T]) append(r rows) error {
	if c.ofQuality != nil {
		c.appendQuality(r)
		return nil
	}
	if v, ok := c.of(r); ok {
		c.add(v, r.count())
		return nil
	}
	for i := r.from; i < r.to; i++ {
		c.add(c.ofRow(r, i), 1)
	}
	return nil
}

func (c *runsColumn[T]) appendQuality(r rows) {
	if r.Quality == nil {
		c.add(c.ofQuality(model.Good), r.count())
		return
	}
	for i := r.from; i < r.to; {
		q, j := r.Quality[i], i+1
		for j < r.to && r.Quality[j] == q {
			j++
		}
		c.add(c.ofQuality(q), j-i)
		i = j
	}
}

// add adds n rows of a value.
func (c *runsColumn[T]) add(v T, n int) {
	last := len(c.values) - 1
	if last >= 0 && c.values[last] == v {
		c.ends[last] += int32(n)
		return
	}
	c.ends, c.values = append(c.ends, int32(c.rows()+n)), append(c.values, v)
}

func (c *runsColumn[T]) rows() int {
	if len(c.ends) == 0 {
		return 0
	}
	return int(c.ends[len(c.ends)-1])
}

func (c *runsColumn[T]) array() arrow.ArrayData {
	if !c.encoded {
		return c.data(true)
	}
	values := c.data(false)
	defer values.Release()
	ends := fixedData(arrow.PrimitiveTypes.Int32, len(c.ends), nil, bytesOf(c.ends))
	defer ends.Release()
	return array.NewData(c.dataType(), c.rows(), []*memory.Buffer{nil}, []arrow.ArrayData{ends, values}, 0, 0)
}

// data is the values, each as often as its run has rows, or once.
func (c *runsColumn[T]) data(repeated bool) arrow.ArrayData {
	c.wide = c.wide[:0]
	c.text.reset()
	from := int32(0)
	for i, v := range c.values {
		n := 1
		if repeated {
			n = int(c.ends[i] - from)
		}
		switch v := any(v).(type) {
		case int64:
			c.wide = appendRepeated(c.wide, v, n)
		case string:
			c.text.appendRepeated(v, n)
		}
		from = c.ends[i]
	}
	if _, text := any(c).(*runsColumn[string]); text {
		return c.text.array(arrow.BinaryTypes.String)
	}
	return fixedData(arrow.PrimitiveTypes.Int64, len(c.wide), nil, bytesOf(c.wide))
}

func (c *runsColumn[T]) reset()         { c.ends, c.values = c.ends[:0], c.values[:0] }
func (c *runsColumn[T]) blobBytes() int { return 0 }

// appendRepeated adds a text n times: what is there is copied to twice as much, until it is enough.
func (v *varBytes) appendRepeated(text string, n int) {
	if len(v.ends) == 0 {
		v.ends = append(v.ends, 0)
	}
	from, all := len(v.data), n*len(text)
	v.data = append(slices.Grow(v.data, all), text...)[:from+all]
	for done := len(text); done < all; done *= 2 {
		copy(v.data[from+done:], v.data[from:from+done])
	}
	v.ends = slices.Grow(v.ends, n)[:len(v.ends)+n]
	for i, end := len(v.ends)-n, from; i < len(v.ends); i++ {
		end += len(text)
		v.ends[i] = int32(end)
	}
	v.valid.appendAll(n, true)
}
