package query

import "sync"

// scratch is the memory of the fixed-width columns of one answer, kept from answer to answer: a short one would spend
// more on growing its columns than on filling them.
type scratch struct {
	times   []int64
	indices []int32
	bits    []uint64
	codes   []uint32
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// lender is a column that can work in memory lent to it.
type lender interface {
	borrow(s *scratch)
	giveBack(s *scratch)
}

func (c *timeColumn) borrow(s *scratch)      { c.times = s.times[:0] }
func (c *timeColumn) giveBack(s *scratch)    { s.times, c.times = c.times, nil }
func (c *tagColumn) borrow(s *scratch)       { c.indices = s.indices[:0] }
func (c *tagColumn) giveBack(s *scratch)     { s.indices, c.indices = c.indices, nil }
func (c *bitsColumn) borrow(s *scratch)      { c.bits = s.bits[:0] }
func (c *bitsColumn) giveBack(s *scratch)    { s.bits, c.bits = c.bits, nil }
func (c *qualityColumn) borrow(s *scratch)   { c.codes = s.codes[:0] }
func (c *qualityColumn) giveBack(s *scratch) { s.codes, c.codes = c.codes, nil }

// borrow lends the columns memory. Each kind is lent once: an answer has one column of each.
func (e *encoder) borrow() {
	e.scratch = scratches.Get().(*scratch)
	for _, c := range e.columns {
		if l, ok := c.(lender); ok {
			l.borrow(e.scratch)
		}
	}
}

// giveBack takes the memory back once nothing of the answer is needed any more.
func (e *encoder) giveBack() {
	for _, c := range e.columns {
		if l, ok := c.(lender); ok {
			l.giveBack(e.scratch)
		}
	}
	scratches.Put(e.scratch)
	e.scratch = nil
}
