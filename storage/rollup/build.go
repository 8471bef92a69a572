package rollup

import (
	"fmt"
	"slices"

	"github.com/varvedb/varve/model"
)

// minRun is how many samples of one class make [Partial.addRun] worth its start.
const minRun = 32

// Add adds the samples [from, to) of s, which ascend by (time, seq) and come behind all that p has; anything else is a
// mistake of the caller, and panics. Nothing of s is kept.
func (p *Partial) Add(s *model.Samples, from, to int) {
	if from >= to {
		return
	}
	p.start(s.Type)
	if last := &p.points[lastPoint]; last.present() && s.Times[from] < last.Time {
		panic(fmt.Sprintf("rollup: sample at %s behind one at %s", model.FormatTime(s.Times[from]), model.FormatTime(last.Time)))
	}
	p.states = slices.Clone(p.states)
	for i := from; i < to; {
		c := classOf(s.QualityAt(i), s.IsNull(i))
		end := p.runEnd(s, i+1, to, c)
		p.addPoint(pointOf(s, i))
		i++
		if end-i >= minRun {
			if numeric(s.Type) {
				p.addRun(s, i, end, c)
			} else {
				p.addStateRun(s, i, end, c)
			}
			i = end
		}
		for ; i < end; i++ {
			p.addPoint(pointOf(s, i))
		}
	}
	p.keepBlobs()
	p.dropAbsent()
}

// AddGap adds that nothing was collected from an instant on, at or behind all that p has. The gap lasts to the next point.
// Until then the tag is treated as Bad, with quality q. It counts as no sample.
func (p *Partial) AddGap(t model.Type, from int64, q model.Quality) {
	p.start(t)
	if last := &p.points[lastPoint]; last.present() && from < last.Time {
		panic(fmt.Sprintf("rollup: gap at %s behind a sample at %s", model.FormatTime(from), model.FormatTime(last.Time)))
	}
	p.states = slices.Clone(p.states)
	p.addPoint(Point{Sample: model.Sample{Time: from, Type: t, Quality: q, Null: true}, Gap: true})
}

func pointOf(s *model.Samples, i int) Point {
	x := Point{Sample: s.At(i)}
	if len(x.Blob) > maxBlob {
		x.Blob, x.Cut = nil, true
	}
	if x.Null {
		x.Bits, x.Blob, x.Cut = 0, nil, false // they mean nothing
	}
	return x
}

// runEnd is where samples from i on stop being of class c, or i if runs of c are not worth looking for.
func (p *Partial) runEnd(s *model.Samples, i, to int, c class) int {
	if s.Type.Blob() || !c.usable() {
		return i
	}
	if s.Quality == nil && s.Null == nil {
		return to
	}
	for i < to && classOf(s.QualityAt(i), s.IsNull(i)) == c {
		i++
	}
	return i
}

// addPoint adds one point by itself.
func (p *Partial) addPoint(x Point) {
	c := x.class()
	var good, usable *Point
	if c == classGood {
		good = &x
	}
	if c.usable() {
		usable = &x
	}
	if !p.Empty() {
		p.connect(&x, good, usable)
	}
	if c != classGap {
		p.counts[c]++
		p.addWorst(x.Quality, true)
		p.remember(firstSample, &x)
	}
	p.remember(firstPoint, &x)
	if !c.usable() {
		return
	}
	p.remember(firstGood+2*int(c), &x)
	if p.groups&HasStats != 0 {
		v := one(p.typ, x.Bits, x.Time)
		p.stats[c].merge(&v)
	}
	if p.groups&HasStates != 0 {
		p.state(&x).addSamples(c, 1)
		if len(p.states) > MaxStates {
			p.dropAbsent()
		}
	}
}

// remember makes x the last point of a kind, and the first if there is none; first is the number of the first.
func (p *Partial) remember(first int, x *Point) {
	if !p.points[first].present() {
		p.points[first] = *x
	}
	p.points[first+1] = *x
}

// keepBlobs copies the texts of the remembered points, which so far are the caller's.
func (p *Partial) keepBlobs() {
	if !p.typ.Blob() {
		return
	}
	for i := range p.points {
		p.points[i].Blob = slices.Clone(p.points[i].Blob)
	}
}
