package rollup

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"

	"github.com/varvedb/varve/model"
)

// Row reads columns of a row without making partials of it. It points into the bytes it was opened on.
type Row struct {
	typ     model.Type
	groups  Groups
	n       int
	columns [colExtra]column // form 0: all 0
	rest    []byte           // the columns from colExtra on
}

// OpenRow checks the checksum of a row and finds its columns.
func OpenRow(b []byte) (*Row, error) {
	r := new(Row)
	if err := r.Reset(b); err != nil {
		return nil, err
	}
	return r, nil
}

// Reset makes r that of b, as OpenRow does.
func (r *Row) Reset(b []byte) error {
	if err := r.open(b); err != nil {
		*r = Row{}
		return fmt.Errorf("open rollup: %w", err)
	}
	return nil
}

func (r *Row) open(b []byte) error {
	*r = Row{}
	if len(b) < 4+crcBytes {
		return fmt.Errorf("%d bytes: %w", len(b), ErrCorrupt)
	}
	body, sum := b[:len(b)-crcBytes], binary.LittleEndian.Uint32(b[len(b)-crcBytes:])
	if got := crc32.Checksum(body, castagnoli); got != sum {
		return fmt.Errorf("checksum of %d bytes is %08x, stored is %08x: %w", len(body), got, sum, ErrCorrupt)
	}
	switch v := body[0] & versionMask; {
	case body[0]&^versionMask != kindRow || v == 0:
		return fmt.Errorf("first byte %#02x: %w", body[0], ErrCorrupt)
	case v > version:
		return fmt.Errorf("version %d: %w", v, ErrVersion)
	}
	r.typ, r.groups = model.Type(body[1]), Groups(body[2])
	if r.typ != 0 && !r.typ.Valid() || r.groups&^groupsOf(r.typ) != 0 {
		return fmt.Errorf("type %d with groups %#02x: %w", body[1], body[2], ErrCorrupt)
	}
	n, size := binary.Uvarint(body[3:])
	if size <= 0 || n < 1 || n > MaxRow {
		return fmt.Errorf("count of partials, most is %d: %w", MaxRow, ErrCorrupt)
	}
	r.n = int(n)
	return r.index(body[3+size:])
}

// index finds the columns of one number per partial.
func (r *Row) index(b []byte) (err error) {
	before := byte(0)
	for len(b) > 0 && b[0] < colExtra && r.typ != 0 {
		number := b[0]
		if number <= before || !wants(r.groups, int(number)) {
			return fmt.Errorf("column %d behind %d: %w", number, before, ErrCorrupt)
		}
		before = number
		c, rest, err := parseColumn(b[1:], r.n)
		if err != nil {
			return fmt.Errorf("column %d: %w", number, err)
		}
		r.columns[number] = c
		if number >= colIntegrals && number < colTransitions && c.form&formMask != formSame && c.form&formMask != formGrid {
			if _, rest, err = parseColumn(rest, r.n); err != nil {
				return fmt.Errorf("column %d, second part: %w", number, err)
			}
		}
		b = rest
	}
	r.rest = b
	return nil
}

// Len is how many partials the row has.
func (r *Row) Len() int { return r.n }

// Type is the type of the tag; 0 if all partials are empty.
func (r *Row) Type() model.Type { return r.typ }

// Groups is which optional fields the row has.
func (r *Row) Groups() Groups { return r.groups }

// read fills dst with column number.
func (r *Row) read(number int, kind fieldKind, dst []uint64) error {
	c := &r.columns[number]
	if err := c.read(dst, kind.doubles(r.typ)); err != nil {
		return fmt.Errorf("column %d: %w", number, err)
	}
	return nil
}

// read fills dst with the numbers of c, or with 0 if there is no column.
func (c *column) read(dst []uint64, doubles bool) error {
	switch {
	case c.form == 0:
		clear(dst)
		return nil
	case doubles:
		return c.floats(dst)
	}
	return c.ints(dst)
}

// Summary is the columns that most questions about a long time ask for, of the samples of one severity. A partial without
// such samples has N 0, and its other numbers mean nothing.
type Summary struct {
	N             []int64
	Sum, Min, Max []float64
}

// Summary appends to into what the row says of Good samples, or of Uncertain ones; false if the row has no statistics.
func (r *Row) Summary(into *Summary, uncertain bool) (bool, error) {
	if r.typ != 0 && r.groups&HasStats == 0 {
		return false, nil
	}
	class, first := classGood, colStats
	if uncertain {
		class, first = classUncertain, colStats+fieldsPerStats
	}
	var buf, high [MaxRow]uint64
	words := buf[:r.n]
	if err := r.read(colCounts+int(class), intField, words); err != nil {
		return false, fmt.Errorf("read rollup: %w", err)
	}
	for _, u := range words {
		into.N = append(into.N, int64(u))
	}
	for _, c := range []struct {
		field int
		dst   *[]float64
	}{{0, &into.Min}, {2, &into.Max}, {5, &into.Sum}} {
		kind := statFields[c.field].kind
		if err := r.read(first+c.field, kind, words); err != nil {
			return false, fmt.Errorf("read rollup: %w", err)
		}
		switch {
		case kind.doubles(r.typ):
			for _, u := range words {
				*c.dst = append(*c.dst, math.Float64frombits(u))
			}
		case kind == sumField:
			if err := r.read(first+c.field+1, intField, high[:r.n]); err != nil {
				return false, fmt.Errorf("read rollup: %w", err)
			}
			for i, u := range words {
				*c.dst = append(*c.dst, Int128{int64(high[i]), u}.Float64())
			}
		default:
			for _, u := range words {
				*c.dst = append(*c.dst, wideValue(r.typ, u).hi)
			}
		}
	}
	return true, nil
}

// Decode reads what Append wrote.
func Decode(b []byte) (Partial, error) {
	ps, err := DecodeRow(b)
	if err == nil && len(ps) != 1 {
		err = fmt.Errorf("decode rollup: %d partials, want 1: %w", len(ps), ErrCorrupt)
	}
	if err != nil {
		return Partial{}, err
	}
	return ps[0], nil
}

// DecodeRow reads all partials of a row.
func DecodeRow(b []byte) ([]Partial, error) {
	var r Row
	if err := r.Reset(b); err != nil {
		return nil, err
	}
	ps, err := r.partials()
	if err != nil {
		return nil, fmt.Errorf("decode rollup: %w", err)
	}
	return ps, nil
}

func (r *Row) partials() ([]Partial, error) {
	ps := make([]Partial, r.n)
	words := make([]uint64, r.n)
	if err := r.read(colPresent, intField, words); err != nil {
		return nil, err
	}
	present := append([]uint64(nil), words...)
	for i := range ps {
		if err := ps[i].startAt(r, present[i]); err != nil {
			return nil, fmt.Errorf("partial %d: %w", i, err)
		}
	}
	for number := colFirstTime; number < colExtra; number++ {
		var err error
		switch {
		case number >= colIntegrals && number < colTransitions:
			err = r.integral(ps, number-colIntegrals, words)
		case wants(r.groups, number):
			err = r.set(ps, number, words)
		}
		if err != nil {
			return nil, fmt.Errorf("column %d: %w", number, err)
		}
	}
	rest := lists{typ: r.typ, b: r.rest}
	if err := rest.extraPoints(ps, present); err != nil {
		return nil, err
	}
	if r.groups&HasStates != 0 {
		if err := rest.states(ps); err != nil {
			return nil, err
		}
	}
	if err := rest.texts(ps); err != nil {
		return nil, err
	}
	if len(rest.b) > 0 {
		return nil, fmt.Errorf("%d bytes behind the last column: %w", len(rest.b), ErrCorrupt)
	}
	for i := range ps {
		if err := ps[i].finish(); err != nil {
			return nil, fmt.Errorf("partial %d: %w", i, err)
		}
	}
	return ps, nil
}

// startAt makes p what its presence says: empty, or of the type and groups of the row.
func (p *Partial) startAt(r *Row, present uint64) error {
	if present == 0 {
		return nil
	}
	if r.typ == 0 || present&1 == 0 || present>>refShift(numPoints) != 0 {
		return fmt.Errorf("presence %#x: %w", present, ErrCorrupt)
	}
	p.start(r.typ)
	p.groups = r.groups
	p.points[firstPoint].Type, p.points[lastPoint].Type = r.typ, r.typ
	return nil
}

// set gives the partials the numbers of a column.
func (r *Row) set(ps []Partial, number int, words []uint64) error {
	f := &fields[number]
	if err := r.read(number, f.kind, words); err != nil {
		return err
	}
	for i := range ps {
		if p := &ps[i]; !p.Empty() && (f.has == nil || f.has(p)) {
			f.set(p, words[i])
		}
	}
	if number == colCounts || number == colCounts+1 {
		for i := range ps {
			if p := &ps[i]; p.groups&HasStats != 0 {
				p.stats[number-colCounts].n = p.counts[number-colCounts]
			}
		}
	}
	return nil
}

func (r *Row) integral(ps []Partial, i int, words []uint64) error {
	c := &r.columns[colIntegrals+i]
	switch c.form & formMask {
	case 0:
		return nil
	case formSame:
		earlier := int(c.first) - colIntegrals
		if earlier < 0 || earlier >= i {
			return fmt.Errorf("same as column %d: %w", c.first, ErrCorrupt)
		}
		for k := range ps {
			ps[k].integrals[i] = ps[k].integrals[earlier]
		}
		return nil
	case formGrid:
		return setGrid(ps, i, c.body)
	}
	if err := c.floats(words); err != nil {
		return err
	}
	for k := range ps {
		ps[k].integrals[i].hi = math.Float64frombits(words[k])
	}
	low, _, err := parseColumn(c.behind, r.n)
	if err != nil {
		return err
	}
	if err := low.ints(words); err != nil {
		return err
	}
	for k := range ps {
		w := &ps[k].integrals[i]
		*w = fromStored(w.hi, int64(words[k]))
	}
	return nil
}

func setGrid(ps []Partial, i int, exceptions []byte) error {
	if i != steppedGood && i != slopedStrict {
		return fmt.Errorf("integral %d from the statistics: %w", i, ErrCorrupt)
	}
	for k := range ps {
		if p := &ps[k]; p.groups&HasStats != 0 {
			p.integrals[i], _ = p.guess(i)
		}
	}
	for e := exceptions; len(e) > 0; e = e[exceptionBytes:] {
		k := int(e[0])
		if k >= len(ps) {
			return fmt.Errorf("exception for partial %d of %d: %w", k, len(ps), ErrCorrupt)
		}
		hi := math.Float64frombits(binary.LittleEndian.Uint64(e[1:]))
		ps[k].integrals[i] = fromStored(hi, int64(int32(binary.LittleEndian.Uint32(e[9:]))))
	}
	return nil
}

// finish checks what reading relies on, and clears what an absent number may have left.
func (p *Partial) finish() error {
	if p.Empty() {
		*p = Partial{}
		return nil
	}
	good, ok := p.goodSpan()
	if !ok {
		return fmt.Errorf("durations exceed the %d ns of all: %w", p.span(), ErrCorrupt)
	}
	p.durations[goodToGood] = good
	if p.points[lastPoint].Time < p.points[firstPoint].Time {
		return fmt.Errorf("last point before the first: %w", ErrCorrupt)
	}
	for _, n := range p.counts {
		if n < 0 {
			return fmt.Errorf("count %d: %w", n, ErrCorrupt)
		}
	}
	return nil
}
