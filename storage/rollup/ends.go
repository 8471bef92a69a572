package rollup

import "iter"

// Usable reports whether a calculation may use the value of p.
func (p *Point) Usable(uncertainAsBad bool) bool {
	return Rule{UncertainAsBad: uncertainAsBad}.usable(p)
}

// FirstPoint is the first sample or gap, nil of none. It belongs to p.
func (p *Partial) FirstPoint() *Point { return p.point(firstPoint) }

// LastPoint is the last sample or gap, nil of none. It belongs to p.
func (p *Partial) LastPoint() *Point { return p.point(lastPoint) }

// UsableEnds are the first and the last sample with a value whose quality a calculation may use, nil of none. They belong to p.
func (p *Partial) UsableEnds(uncertainAsBad bool) (first, last *Point) {
	return p.usable(Rule{UncertainAsBad: uncertainAsBad}.mode())
}

// TakeLast makes p, which is of samples that lie before those of q, know the last points of both, as an [Interval] behind
// asks them of Before. All else of p means nothing afterwards.
func (p *Partial) TakeLast(q *Partial) { p.take(q, lastPoint) }

// TakeFirst makes p, which is of samples that lie behind those of q, know the first points of both, as an [Interval] in
// front asks them of After. All else of p means nothing afterwards.
func (p *Partial) TakeFirst(q *Partial) { p.take(q, firstPoint) }

// take takes the points of q that are first or last ones.
func (p *Partial) take(q *Partial, side int) {
	if !q.Empty() {
		p.typ = q.typ
	}
	for i := side; i < numPoints; i += 2 {
		if q.points[i].present() {
			p.points[i] = q.points[i]
		}
	}
}

// Points are the samples and gaps that p remembers. They belong to p.
func (p *Partial) Points() iter.Seq[*Point] {
	return func(yield func(*Point) bool) {
		for i := range p.points {
			if p.points[i].present() && !yield(&p.points[i]) {
				return
			}
		}
	}
}
