package rollup

import (
	"fmt"
	"slices"

	"github.com/varvedb/varve/model"
)

// lists reads what stands behind the columns of one number per partial.
type lists struct {
	typ   model.Type
	b     []byte
	words []uint64
}

// column reads a column of n numbers, all 0 where it is absent, into l.words.
func (l *lists) column(number, n int, kind fieldKind) error {
	l.words = slices.Grow(l.words[:0], n)[:n]
	clear(l.words)
	if n == 0 || len(l.b) == 0 || l.b[0] != byte(number) {
		return nil
	}
	c, rest, err := parseColumn(l.b[1:], n)
	if err != nil {
		return fmt.Errorf("column %d: %w", number, err)
	}
	l.b = rest
	if err := c.read(l.words, kind.doubles(l.typ)); err != nil {
		return fmt.Errorf("column %d: %w", number, err)
	}
	return nil
}

func (l *lists) extraPoints(ps []Partial, present []uint64) error {
	var at []*Point
	var of []*Partial
	for k := range ps {
		for i := firstSample; i < numPoints; i++ {
			p := &ps[k]
			switch present[k] >> refShift(i) & 3 {
			case refAbsent:
			case refEdge:
				p.points[i] = p.points[edgeOf(i)]
			case refExtra:
				p.points[i].Type = l.typ
				at, of = append(at, &p.points[i]), append(of, p)
			default:
				return fmt.Errorf("partial %d: presence %#x: %w", k, present[k], ErrCorrupt)
			}
		}
	}
	if err := l.column(colExtra, len(at), intField); err != nil {
		return err
	}
	for i, x := range at {
		first := of[i].points[firstPoint].Time
		x.Time = first + int64(l.words[i])
		if x.Time < first || x.Time > of[i].points[lastPoint].Time {
			return fmt.Errorf("extra point %d outside its partial: %w", i, ErrCorrupt)
		}
	}
	for j, f := range pointFields {
		if err := l.column(colExtra+1+j, len(at), f.kind); err != nil {
			return err
		}
		for i, x := range at {
			f.set(x, l.words[i])
		}
	}
	return nil
}

func (l *lists) states(ps []Partial) error {
	if err := l.column(colStates, len(ps), intField); err != nil {
		return err
	}
	counts := slices.Clone(l.words)
	total := 0
	for k, n := range counts {
		switch p := &ps[k]; {
		case n == noStates && !p.Empty():
			p.groups &^= HasStates
			counts[k] = 0
		case n > MaxStates || n > 0 && p.Empty():
			return fmt.Errorf("partial %d: %d states, most is %d: %w", k, n, MaxStates, ErrCorrupt)
		default:
			total += int(n)
		}
	}
	var all []State
	for j, f := range stateFields {
		if err := l.column(colStateFields+j, total, intField); err != nil {
			return err
		}
		if j == 0 {
			if err := checkCodes(l.words, counts); err != nil {
				return err
			}
			all = make([]State, total)
		}
		for i := range all {
			f.set(&all[i], l.words[i])
		}
	}
	for k, n := range counts {
		if n > 0 {
			ps[k].states, all = all[:n:n], all[n:]
		}
	}
	return nil
}

// checkCodes reports codes that do not ascend within a partial: searches rely on it.
func checkCodes(codes []uint64, counts []uint64) error {
	for k, n := range counts {
		for i := 1; i < int(n); i++ {
			if int64(codes[i]) <= int64(codes[i-1]) {
				return fmt.Errorf("partial %d: state %d behind %d: %w", k, int64(codes[i]), int64(codes[i-1]), ErrCorrupt)
			}
		}
		codes = codes[n:]
	}
	return nil
}

// texts reads the texts of all points.
func (l *lists) texts(ps []Partial) error {
	if !l.typ.Blob() {
		return nil
	}
	if len(l.b) == 0 || l.b[0] != colTexts {
		return fmt.Errorf("no texts: %w", ErrCorrupt)
	}
	l.b = l.b[1:]
	take := func(x *Point) error {
		n := x.Bits
		x.Bits = 0
		if n > maxBlob || n > uint64(len(l.b)) {
			return fmt.Errorf("text of %d bytes in %d: %w", n, len(l.b), ErrCorrupt)
		}
		if n > 0 {
			x.Blob, l.b = slices.Clone(l.b[:n]), l.b[n:]
		}
		return nil
	}
	return l.eachText(ps, take)
}

// eachText calls take for first and last points, then for extra ones, and gives those that are the same the same text.
func (l *lists) eachText(ps []Partial, take func(*Point) error) error {
	for k := range ps {
		for _, i := range []int{firstPoint, lastPoint} {
			if err := take(&ps[k].points[i]); err != nil {
				return err
			}
		}
	}
	for k := range ps {
		for i := firstSample; i < numPoints; i++ {
			x, edge := &ps[k].points[i], &ps[k].points[edgeOf(i)]
			switch pointRef(&ps[k], i) {
			case refEdge:
				*x = *edge
			case refExtra:
				if err := take(x); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
