package rollup

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"

	"github.com/varvedb/varve/model"
)

// MaxRow is the most partials in a row. Columns that say one value for all of them make a row of this many as large in
// memory as it gets from few bytes: below 2 MB, with all their states.
const MaxRow = 256

// The first byte of a row: kind in the high four bits, version in the low four.
const (
	kindRow     = 0x10
	version     = 1
	versionMask = 0x0F
	crcBytes    = 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// How a remembered point stands in a row.
const (
	refAbsent = 0
	refEdge   = 1 // it is the first point, or for the last of its kind the last point
	refExtra  = 2 // it stands in the columns of extra points
)

// Append writes a partial by itself: a row of one.
func (p *Partial) Append(dst []byte, keep Groups) []byte {
	return AppendRow(dst, []Partial{*p}, keep)
}

// AppendRow writes consecutive partials of one tag, 1 to MaxRow of them, behind dst. Some may be empty. Groups that are not
// in keep are left out, and those that one of the partials lacks; only states may be lacking here and there.
func AppendRow(dst []byte, ps []Partial, keep Groups) []byte {
	if len(ps) < 1 || len(ps) > MaxRow {
		panic(fmt.Sprintf("rollup: row of %d partials, most is %d", len(ps), MaxRow))
	}
	w := rowWriter{dst: dst, groups: keep, words: make([]uint64, 0, len(ps))}
	for i := range ps {
		p := &ps[i]
		if p.Empty() {
			continue
		}
		if w.typ == 0 {
			w.typ = p.typ
			w.groups &= groupsOf(p.typ)
		}
		if p.typ != w.typ {
			panic(fmt.Sprintf("rollup: row of %s and %s", w.typ, p.typ))
		}
		w.groups &= p.groups | HasStates
	}
	if w.typ == 0 {
		w.groups = 0
	}
	from := len(dst)
	w.dst = append(w.dst, kindRow|version, byte(w.typ), byte(w.groups))
	w.dst = binary.AppendUvarint(w.dst, uint64(len(ps)))
	w.partials(ps)
	w.extraPoints(ps)
	if w.groups&HasStates != 0 {
		w.states(ps)
	}
	w.texts(ps)
	return binary.LittleEndian.AppendUint32(w.dst, crc32.Checksum(w.dst[from:], castagnoli))
}

type rowWriter struct {
	dst    []byte
	typ    model.Type
	groups Groups
	words  []uint64
}

// column writes w.words as a column, or nothing where all are 0.
func (w *rowWriter) column(number int, kind fieldKind) {
	for _, u := range w.words {
		if u != 0 {
			w.dst = w.values(append(w.dst, byte(number)), kind)
			break
		}
	}
	w.words = w.words[:0]
}

func (w *rowWriter) values(dst []byte, kind fieldKind) []byte {
	if kind.doubles(w.typ) {
		return appendFloats(dst, w.words)
	}
	return appendInts(dst, w.words)
}

// wants reports whether a column belongs to a group that is written.
func wants(groups Groups, number int) bool {
	switch {
	case number >= colStats && number < colIntegrals:
		return groups&HasStats != 0
	case number >= colIntegrals && number < colTransitions:
		return groups&HasIntegrals != 0
	case number >= colTransitions && number < colExtra:
		return groups&HasTransitions != 0
	case number >= colStates:
		return groups&HasStates != 0
	}
	return true
}

func (w *rowWriter) partials(ps []Partial) {
	for i := range ps {
		w.words = append(w.words, presence(&ps[i]))
	}
	w.column(colPresent, intField)
	for number := colFirstTime; number < colExtra; number++ {
		if !wants(w.groups, number) {
			continue
		}
		if number >= colIntegrals && number < colTransitions {
			w.integral(ps, number-colIntegrals)
			continue
		}
		f := &fields[number]
		fill := uint64(0)
		for i := range ps {
			if f.zero {
				fill = 0
			}
			if p := &ps[i]; !p.Empty() && (f.has == nil || f.has(p)) {
				fill = f.get(p)
			}
			w.words = append(w.words, fill)
		}
		w.column(number, f.kind)
	}
}

func presence(p *Partial) uint64 {
	if p.Empty() {
		return 0
	}
	v := uint64(1)
	for i := firstSample; i < numPoints; i++ {
		v |= pointRef(p, i) << refShift(i)
	}
	return v
}

func refShift(i int) int { return 1 + 2*(i-firstSample) }

// edgeOf is the number of the first point for the first of a kind, of the last point for the last.
func edgeOf(i int) int { return i & 1 }

func pointRef(p *Partial, i int) uint64 {
	x, edge := &p.points[i], &p.points[edgeOf(i)]
	switch {
	case !x.present():
		return refAbsent
	case x.Time == edge.Time && x.Seq == edge.Seq && !edge.Gap:
		return refEdge
	}
	return refExtra
}

// integral writes one integral of all partials: as that of an earlier column, as what follows from the statistics, or as
// doubles and what those lack.
func (w *rowWriter) integral(ps []Partial, i int) {
	zero := true
	for k := range ps {
		zero = zero && ps[k].integrals[i] == wide{}
	}
	if zero {
		return
	}
	number := byte(colIntegrals + i)
	for earlier := range i {
		same := true
		for k := range ps {
			same = same && sameStored(ps[k].integrals[i], ps[k].integrals[earlier])
		}
		if same {
			w.dst = append(w.dst, number, formSame, byte(colIntegrals+earlier))
			return
		}
	}
	if (i == steppedGood || i == slopedStrict) && w.grid(ps, i) {
		return
	}
	fill := wide{}
	for k := range ps {
		if !ps[k].Empty() {
			fill = ps[k].integrals[i]
		}
		w.words = append(w.words, math.Float64bits(fill.hi))
	}
	w.dst = w.values(append(w.dst, number), floatField)
	for k := range ps {
		w.words[k] = uint64(storedLow(ps[k].integrals[i]))
	}
	w.dst = w.values(w.dst, intField)
	w.words = w.words[:0]
}

// sameStored reports whether a reader will have two sums alike, whatever they were before they were stored.
func sameStored(a, b wide) bool { return a.hi == b.hi && storedLow(a) == storedLow(b) }

// grid writes an integral as formGrid, unless most of the partials would be exceptions.
func (w *rowWriter) grid(ps []Partial, i int) bool {
	if w.groups&HasStats == 0 {
		return false
	}
	var exceptions []byte
	for k := range ps {
		if p := &ps[k]; !p.Empty() && !p.follows(i) {
			exceptions = append(exceptions, byte(k))
			exceptions = binary.LittleEndian.AppendUint64(exceptions, math.Float64bits(p.integrals[i].hi))
			exceptions = binary.LittleEndian.AppendUint32(exceptions, uint32(storedLow(p.integrals[i])))
		}
	}
	n := len(exceptions) / exceptionBytes
	if 2*n > len(ps) {
		return false
	}
	w.dst = append(w.dst, byte(colIntegrals+i), formGrid, byte(n))
	w.dst = append(w.dst, exceptions...)
	return true
}

// extras calls do with every point that stands in the columns of extra points.
func extras(ps []Partial, do func(p *Partial, x *Point)) {
	for k := range ps {
		p := &ps[k]
		for i := firstSample; i < numPoints; i++ {
			if pointRef(p, i) == refExtra {
				do(p, &p.points[i])
			}
		}
	}
}

func (w *rowWriter) extraPoints(ps []Partial) {
	extras(ps, func(p *Partial, x *Point) {
		w.words = append(w.words, uint64(x.Time)-uint64(p.points[firstPoint].Time))
	})
	w.column(colExtra, intField)
	for j, f := range pointFields {
		extras(ps, func(_ *Partial, x *Point) { w.words = append(w.words, f.get(x)) })
		w.column(colExtra+1+j, f.kind)
	}
}

func (w *rowWriter) states(ps []Partial) {
	for i := range ps {
		n := len(ps[i].states)
		if !ps[i].Empty() && ps[i].groups&HasStates == 0 {
			n = noStates
		}
		w.words = append(w.words, uint64(n))
	}
	w.column(colStates, intField)
	for j, f := range stateFields {
		for i := range ps {
			for k := range ps[i].states {
				w.words = append(w.words, f.get(&ps[i].states[k]))
			}
		}
		w.column(colStateFields+j, intField)
	}
}

// texts writes the bytes of all texts behind the last column.
func (w *rowWriter) texts(ps []Partial) {
	if !w.typ.Blob() {
		return
	}
	w.dst = append(w.dst, colTexts)
	for i := range ps {
		w.dst = append(w.dst, ps[i].points[firstPoint].Blob...)
		w.dst = append(w.dst, ps[i].points[lastPoint].Blob...)
	}
	extras(ps, func(_ *Partial, x *Point) { w.dst = append(w.dst, x.Blob...) })
}
