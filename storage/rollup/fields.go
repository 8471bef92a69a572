package rollup

import (
	"math"

	"github.com/varvedb/varve/model"
)

// field is one column of a row: a number of every partial, or of every extra point or state of all partials.
type field struct {
	kind fieldKind
	get  func(p *Partial) uint64
	set  func(p *Partial, v uint64)
	has  func(p *Partial) bool // nil: every partial that is not empty
	zero bool                  // what stands for a number that is not there: 0, or the number before, which costs least
}

// fieldKind says how the numbers of a column are written. It follows from the column and the type, and is not stored.
type fieldKind uint8

const (
	intField   fieldKind = iota
	floatField           // doubles, by their bits
	valueField           // doubles where the tag's values are
	sumField             // doubles where the tag's values are float64 or float32
)

func (k fieldKind) doubles(t model.Type) bool {
	return k == floatField || k == valueField && t == model.Float64 || k == sumField && t.Float()
}

// The numbers of the columns. They reach disk and are never renumbered; 0 is none.
const (
	colPresent      = 1 // bit 0: the partial is not empty; then two bits for each point from firstSample on, see pointRef
	colFirstTime    = 2
	colSpan         = 3
	colCounts       = 4 // to 7: Good, Uncertain, Bad, null
	colWorst        = 8
	colDurations    = 9  // to 14, from goodToUncertain on; goodToGood is what they leave of the span
	colFirstPoint   = 15 // to 18: value, quality, seq, flags
	colLastPoint    = 19 // to 22
	colStats        = 23 // to 30, of Good; to 38, of Uncertain: see statFields
	colIntegrals    = 39 // to 46
	colTransitions  = 47 // and 48
	colExtra        = 49 // to 53: time less the first time, value, quality, seq, flags
	colStates       = 54 // how many
	colStateFields  = 55 // to 61
	numColumns      = 62
	colTexts        = 62 // no column: the bytes of all texts, first and last points, then extra ones
	fieldsPerPoint  = 4
	fieldsPerStats  = 8
	noStates        = MaxStates + 1 // of a partial that has no states though its row does
	pointFlagNull   = 1
	pointFlagCut    = 2
	pointFlagGap    = 4
	pointFlagsKnown = pointFlagNull | pointFlagCut | pointFlagGap
)

// fields are the columns of one number per partial, by column. The others are written by functions of their own.
var fields = func() (f [numColumns]field) {
	f[colFirstTime] = field{
		get: func(p *Partial) uint64 { return uint64(p.points[firstPoint].Time) },
		set: func(p *Partial, v uint64) { p.points[firstPoint].Time = int64(v) },
	}
	f[colSpan] = field{
		get: (*Partial).span,
		set: func(p *Partial, v uint64) { p.points[lastPoint].Time = p.points[firstPoint].Time + int64(v) },
	}
	for c := range classGap {
		f[colCounts+int(c)] = field{
			get:  func(p *Partial) uint64 { return uint64(p.counts[c]) },
			set:  func(p *Partial, v uint64) { p.counts[c] = int64(v) },
			zero: true, // summaries look at no other column to know that there is nothing
		}
	}
	f[colWorst] = field{
		get: func(p *Partial) uint64 { return uint64(p.worst) },
		set: func(p *Partial, v uint64) { p.worst = model.Quality(v) },
	}
	for d := range numSegments - 1 {
		f[colDurations+d] = field{
			get: func(p *Partial) uint64 { return p.durations[d+1] },
			set: func(p *Partial, v uint64) { p.durations[d+1] = v },
		}
	}
	for i, col := range []int{colFirstPoint, colLastPoint} {
		for j, g := range pointFields {
			f[col+j] = field{
				kind: g.kind,
				get:  func(p *Partial) uint64 { return g.get(&p.points[i]) },
				set:  func(p *Partial, v uint64) { g.set(&p.points[i], v) },
			}
		}
	}
	for i := range 2 {
		for j, g := range statFields {
			f[colStats+fieldsPerStats*i+j] = field{
				kind: g.kind,
				get:  func(p *Partial) uint64 { return g.get(p, &p.stats[i]) },
				set:  func(p *Partial, v uint64) { g.set(p, &p.stats[i], v) },
				has:  func(p *Partial) bool { return p.stats[i].n > 0 },
			}
		}
		f[colTransitions+i] = field{
			get: func(p *Partial) uint64 { return uint64(p.transitions[i]) },
			set: func(p *Partial, v uint64) { p.transitions[i] = int64(v) },
		}
	}
	return f
}()

var pointFields = [fieldsPerPoint]struct {
	kind fieldKind
	get  func(x *Point) uint64
	set  func(x *Point, v uint64)
}{
	{valueField, pointValue, func(x *Point, v uint64) { x.Bits = v }},
	{intField, func(x *Point) uint64 { return uint64(x.Quality) }, func(x *Point, v uint64) { x.Quality = model.Quality(v) }},
	{intField, func(x *Point) uint64 { return uint64(x.Seq) }, func(x *Point, v uint64) { x.Seq = uint32(v) }},
	{intField, pointFlags, setPointFlags},
}

// pointValue is the value, or how many bytes it takes among the texts of the row.
func pointValue(x *Point) uint64 {
	if x.Type.Blob() {
		return uint64(len(x.Blob))
	}
	return x.Bits
}

func pointFlags(x *Point) (v uint64) {
	for i, b := range []bool{x.Null, x.Cut, x.Gap} {
		if b {
			v |= 1 << i
		}
	}
	return v
}

func setPointFlags(x *Point, v uint64) {
	x.Null, x.Cut, x.Gap = v&pointFlagNull != 0, v&pointFlagCut != 0, v&pointFlagGap != 0
}

// The sum of floats is two columns, the double and what it lacks; that of integers the low and the high half.
var statFields = [fieldsPerStats]struct {
	kind fieldKind
	get  func(p *Partial, s *Stats) uint64
	set  func(p *Partial, s *Stats, v uint64)
}{
	{valueField, func(_ *Partial, s *Stats) uint64 { return s.min.Bits }, func(_ *Partial, s *Stats, v uint64) { s.min.Bits = v }},
	{intField, func(p *Partial, s *Stats) uint64 { return sinceFirst(p, &s.min) },
		func(p *Partial, s *Stats, v uint64) { s.min.Time = p.points[firstPoint].Time + int64(v) }},
	{valueField, func(_ *Partial, s *Stats) uint64 { return s.max.Bits }, func(_ *Partial, s *Stats, v uint64) { s.max.Bits = v }},
	{intField, func(p *Partial, s *Stats) uint64 { return sinceFirst(p, &s.max) },
		func(p *Partial, s *Stats, v uint64) { s.max.Time = p.points[firstPoint].Time + int64(v) }},
	{intField, func(_ *Partial, s *Stats) (v uint64) {
		if s.min.Again {
			v |= 1
		}
		if s.max.Again {
			v |= 2
		}
		return v
	}, func(_ *Partial, s *Stats, v uint64) { s.min.Again, s.max.Again = v&1 != 0, v&2 != 0 }},
	{sumField, func(_ *Partial, s *Stats) uint64 {
		if s.typ.Float() {
			return math.Float64bits(s.sum.hi)
		}
		return s.all.Lo
	}, func(_ *Partial, s *Stats, v uint64) {
		if s.typ.Float() {
			s.sum = wide{math.Float64frombits(v), 0}
		} else {
			s.all.Lo = v
		}
	}},
	{intField, func(_ *Partial, s *Stats) uint64 {
		if s.typ.Float() {
			return uint64(storedLow(s.sum))
		}
		return uint64(s.all.Hi)
	}, func(_ *Partial, s *Stats, v uint64) {
		if s.typ.Float() {
			s.sum = fromStored(s.sum.hi, int64(v))
		} else {
			s.all.Hi = int64(v)
		}
	}},
	{floatField, func(_ *Partial, s *Stats) uint64 { return math.Float64bits(s.m2.hi) },
		func(_ *Partial, s *Stats, v uint64) { s.m2 = wide{math.Float64frombits(v), 0} }},
}

func sinceFirst(p *Partial, x *Extreme) uint64 {
	return uint64(x.Time) - uint64(p.points[firstPoint].Time)
}

// stateFields are the columns of every state of all partials.
var stateFields = [numColumns - colStateFields]struct {
	get func(s *State) uint64
	set func(s *State, v uint64)
}{
	{func(s *State) uint64 { return uint64(s.Code) }, func(s *State, v uint64) { s.Code = int64(v) }},
	{func(s *State) uint64 { return uint64(s.Good) }, func(s *State, v uint64) { s.Good = int64(v) }},
	{func(s *State) uint64 { return uint64(s.Uncertain) }, func(s *State, v uint64) { s.Uncertain = int64(v) }},
	{func(s *State) uint64 { return s.GoodTime }, func(s *State, v uint64) { s.GoodTime = v }},
	{func(s *State) uint64 { return s.UncertainTime }, func(s *State, v uint64) { s.UncertainTime = v }},
	{func(s *State) uint64 { return uint64(s.GoodEntries) }, func(s *State, v uint64) { s.GoodEntries = int64(v) }},
	{func(s *State) uint64 { return uint64(s.UsableEntries) }, func(s *State, v uint64) { s.UsableEntries = int64(v) }},
}
