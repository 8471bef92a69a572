package query

import (
	"slices"
	"sync"
	"sync/atomic"
)

// Memory is what the fixed-width columns of one record batch lie in. It goes round: batches are filled in what others
// were sent from, because Go clears memory before it hands it out, and a short answer would spend more on that than on
// its rows.
type Memory struct {
	times   []int64
	indices []int32
	bits    []uint64
	codes   []uint32
	users   atomic.Int32

	// Of columns that an answer may have several of: each takes one and puts it back.
	longs [][]int64
	ends  [][]int32
	texts [][]byte
}

var memories = sync.Pool{New: func() any { return new(Memory) }}

func newMemory() *Memory {
	m := memories.Get().(*Memory)
	m.users.Store(1)
	return m
}

// Keep says that somebody more reads the memory; each Keep wants a Release.
func (m *Memory) Keep() { m.users.Add(1) }

// Release says that somebody reads the memory no longer. Behind the last one it is filled anew.
func (m *Memory) Release() {
	if m.users.Add(-1) == 0 {
		memories.Put(m)
	}
}

// Holds reports whether b is a column that lies in the memory, or in memory that never changes.
func (m *Memory) Holds(b []byte) bool {
	for _, column := range [...][]byte{bytesOf(m.times), bytesOf(m.bits), bytesOf(m.indices), bytesOf(m.codes), bytesOf(allGood[:])} {
		if len(b) > 0 && len(column) > 0 && &b[0] == &column[0] {
			return true
		}
	}
	return holds(m.longs, b) || holds(m.ends, b) || slices.ContainsFunc(m.texts, func(t []byte) bool { return len(t) > 0 && len(b) > 0 && &t[0] == &b[0] })
}

func holds[T int32 | int64](columns [][]T, b []byte) bool {
	return slices.ContainsFunc(columns, func(c []T) bool { return len(c) > 0 && len(b) > 0 && &bytesOf(c)[0] == &b[0] })
}

// take is one of several pieces of memory, empty; nil where there is none left.
func take[T any](from *[][]T) (column []T) {
	if last := len(*from) - 1; last >= 0 {
		column, *from = (*from)[last][:0], (*from)[:last]
	}
	return column
}

// Lender is a Sink that sends columns as they lie. Before a record batch is written it is lent the memory of its columns,
// and may read what Holds says for as long as it keeps it.
type Lender interface {
	Sink
	Lend(m *Memory)
}

// borrower is a column that works in memory of the batch.
type borrower interface {
	borrow(m *Memory)
	giveBack(m *Memory)
}

func (c *timeColumn) borrow(m *Memory)         { c.times = m.times[:0] }
func (c *timeColumn) giveBack(m *Memory)       { m.times, c.times = c.times, nil }
func (c *tagColumn) borrow(m *Memory)          { c.indices = m.indices[:0] }
func (c *tagColumn) giveBack(m *Memory)        { m.indices, c.indices = c.indices, nil }
func (c *bitsColumn) borrow(m *Memory)         { c.bits = m.bits[:0] }
func (c *bitsColumn) giveBack(m *Memory)       { m.bits, c.bits = c.bits, nil }
func (c *qualityColumn) borrow(m *Memory)      { c.codes = m.codes[:0] }
func (c *qualityColumn) giveBack(m *Memory)    { m.codes, c.codes = c.codes, nil }
func (c *mixedFloatColumn) borrow(m *Memory)   { c.bits = m.bits[:0] }
func (c *mixedFloatColumn) giveBack(m *Memory) { m.bits, c.bits = c.bits, nil }
func (c *nanosColumn) borrow(m *Memory)        { c.times = take(&m.longs) }
func (c *nanosColumn) giveBack(m *Memory)      { m.longs, c.times = append(m.longs, c.times), nil }
func (c *mixedIntColumn) borrow(m *Memory)     { c.ints = take(&m.longs) }
func (c *mixedIntColumn) giveBack(m *Memory)   { m.longs, c.ints = append(m.longs, c.ints), nil }

// What runs are written in one by one lies there from array on.
func (c *runsColumn[T]) borrow(m *Memory) {
	if _, text := any(c).(*runsColumn[string]); text {
		c.text.ends, c.text.data = take(&m.ends), take(&m.texts)
		return
	}
	c.wide = take(&m.longs)
}

func (c *runsColumn[T]) giveBack(m *Memory) {
	if _, text := any(c).(*runsColumn[string]); text {
		m.ends, m.texts = append(m.ends, c.text.ends), append(m.texts, c.text.data)
		c.text.ends, c.text.data = nil, nil
		return
	}
	m.longs, c.wide = append(m.longs, c.wide), nil
}

// borrow finds the columns memory for a batch. Each kind that takes the one there is, is there once: an answer has one column of each.
func (e *encoder) borrow() {
	e.memory = newMemory()
	for _, c := range e.columns {
		if b, ok := c.(borrower); ok {
			b.borrow(e.memory)
		}
	}
}

// giveBack takes the columns their memory, which has what they gathered.
func (e *encoder) giveBack() *Memory {
	for _, c := range e.columns {
		if b, ok := c.(borrower); ok {
			b.giveBack(e.memory)
		}
	}
	m := e.memory
	e.memory = nil
	return m
}
