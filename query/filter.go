package query

import (
	"cmp"
	"fmt"
	"math"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage"
)

// Severities is a set of severities; the empty one stands for all.
type Severities uint8

const (
	SeverityGood Severities = 1 << iota
	SeverityUncertain
	SeverityBad
)

func (s Severities) has(q model.Quality) bool {
	switch {
	case q.IsGood():
		return s&SeverityGood != 0
	case q.IsUncertain():
		return s&SeverityUncertain != 0
	}
	return s&SeverityBad != 0
}

// Operator says how a value is compared.
type Operator uint8

const (
	Equal Operator = iota + 1
	NotEqual
	Less
	LessOrEqual
	Greater
	GreaterOrEqual
)

// MaxComparisons is how many comparisons a request may have; it stands in query.proto.
const MaxComparisons = 16

// Comparison is a condition on a value. A sample without one meets none.
type Comparison struct {
	Operator Operator
	Operand  any // a float64 or an int64 for numbers, bools and states; a string for text and the text of states
}

func (c *Comparison) check() error {
	if c.Operator < Equal || c.Operator > GreaterOrEqual {
		return fmt.Errorf("comparison with operator %d, which is none: %w", c.Operator, ErrBadRequest)
	}
	switch c.Operand.(type) {
	case float64, int64:
		return nil
	case string:
		if c.Operator > NotEqual {
			return fmt.Errorf("comparison with the text %.40q: text is only equal or not: %w", c.Operand, ErrBadRequest)
		}
		return nil
	}
	return fmt.Errorf("comparison without a number, an integer or a text to compare with: %w", ErrBadRequest)
}

// of reports whether values of a type can be compared so.
func (c *Comparison) of(t model.Type) bool {
	_, text := c.Operand.(string)
	switch t {
	case model.String:
		return text
	case model.Bytes:
		return false
	case model.State:
		return true
	}
	return !text
}

// filter lets samples through by severity and value.
type filter struct {
	severities Severities
	where      []Comparison
	states     *stateTexts
	kept       storage.Block
}

func (f *filter) all() bool { return f.severities == 0 && len(f.where) == 0 }

// checkTypes refuses comparisons with what the tags do not hold.
func (f *filter) checkTypes(tags *tagList) error {
	for i := range f.where {
		for _, a := range tags.asked {
			if t := a.tag.Current().Type; !f.where[i].of(t) {
				return fmt.Errorf("tag %s is of type %s and cannot be compared with %#v: %w", a.describe(), t, f.where[i].Operand, ErrBadRequest)
			}
		}
	}
	return nil
}

// pass is the samples of a block that pass, in memory of the filter or of the block.
func (f *filter) pass(tag *model.Tag, b *storage.Block) *storage.Block {
	if f.all() {
		return b
	}
	f.kept.Reset(b.Type)
	f.kept.Origins = f.kept.Origins[:0]
	at, origin := 0, 0 // the first sample behind the origin
	for i := range b.Len() {
		for origin < len(b.Origins) && i >= at+b.Origins[origin].Samples {
			at += b.Origins[origin].Samples
			origin++
		}
		if !f.lets(tag, b, i) {
			continue
		}
		f.kept.Append(b.At(i))
		if origin < len(b.Origins) {
			o := b.Origins[origin]
			o.Samples = 1
			f.kept.Origins = append(f.kept.Origins, o)
		}
	}
	return &f.kept
}

func (f *filter) lets(tag *model.Tag, b *storage.Block, i int) bool {
	if f.severities != 0 && !f.severities.has(b.QualityAt(i)) {
		return false
	}
	for k := range f.where {
		if b.IsNull(i) || !f.meets(&f.where[k], tag, b, i) {
			return false
		}
	}
	return true
}

func (f *filter) meets(c *Comparison, tag *model.Tag, b *storage.Block, i int) bool {
	if want, ok := c.Operand.(string); ok {
		have := ""
		if b.Type == model.State {
			have, ok = f.states.text(tag, b.Times[i], int64(b.Bits[i]))
		} else {
			have = string(b.Blobs[i])
		}
		return (ok && have == want) == (c.Operator == Equal)
	}
	order, ok := compare(b.Type, b.Bits[i], c.Operand)
	if !ok { // NaN is not equal to anything, and that is all there is to say of it
		return c.Operator == NotEqual
	}
	switch c.Operator {
	case Equal:
		return order == 0
	case NotEqual:
		return order != 0
	case Less:
		return order < 0
	case LessOrEqual:
		return order <= 0
	case Greater:
		return order > 0
	}
	return order >= 0
}

// compare is the order of a value and an operand as numbers, exactly; false where one of them is NaN.
func compare(t model.Type, bits uint64, operand any) (order int, ok bool) {
	a := exactly(t, bits)
	b := exact{}
	switch want := operand.(type) {
	case float64:
		b = exact{near: want}
	case int64:
		b = exactly(model.Int64, uint64(want))
	}
	switch {
	case a.near < b.near:
		return -1, true
	case a.near > b.near:
		return 1, true
	}
	return cmp.Compare(a.rest, b.rest), a.near == b.near
}

// exact is a number as the double nearest to it and what that lacks. Of two numbers whose nearest doubles differ these say
// which is larger.
type exact struct {
	near float64
	rest int64
}

// exactly is a value as a number: of bools 0 and 1, of states their code.
func exactly(t model.Type, bits uint64) exact {
	switch t {
	case model.Float64:
		return exact{near: math.Float64frombits(bits)}
	case model.Float32:
		return exact{near: model.WidenFloat32(uint32(bits))}
	}
	near := float64(int64(bits))
	if t == model.Uint64 {
		near = float64(bits)
	}
	back := uint64(int64(near)) // modulo 2^64, in which the rest is taken
	if near >= 1<<63 {
		back = uint64(int64(near-1<<63)) + 1<<63
		if near == 1<<64 {
			back = 0
		}
	}
	return exact{near: near, rest: int64(bits - back)}
}
