package part13

import (
	"bytes"
	"fmt"
	"math"
	"math/big"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/rollup"
)

// plain is an interval and the whole history of its tag, and answers from that what docs/reference/part-13.md says, with a loop for each
// sentence. It portions nothing with what it is held against but the names.
type plain struct {
	t          model.Type
	all        []rollup.Point // ascending by (time, seq), gaps behind the samples of their instant
	start, end int64
	reverse    bool
	short      bool
	stepped    bool
	resolution int64
	config     Configuration
	notes      int64
}

func (m *plain) usable(p *rollup.Point) bool {
	return !p.Gap && !p.Null && (p.Quality.IsGood() || p.Quality.IsUncertain() && !m.config.TreatUncertainAsBad)
}

func good(p *rollup.Point) bool { return !p.Gap && !p.Null && p.Quality.IsGood() }

func (m *plain) inside(t int64) bool {
	if m.reverse {
		return t > m.start && t <= m.end
	}
	return t >= m.start && t < m.end
}

// samples are those of the interval.
func (m *plain) samples() (in []rollup.Point) {
	for _, p := range m.all {
		if !p.Gap && m.inside(p.Time) {
			in = append(in, p)
		}
	}
	return in
}

// begins and ends are the edges in the direction of the answer.
func (m *plain) begins() int64 {
	if m.reverse {
		return m.end
	}
	return m.start
}

func (m *plain) ends() int64 {
	if m.reverse {
		return m.start
	}
	return m.end
}

// value is what an instant has: a point, or a value on a line.
type value struct {
	rollup.Point
	raw bool
}

func (m *plain) none() value {
	return value{Point: rollup.Point{Sample: model.Sample{Type: m.t, Null: true, Quality: model.BadNoData}}}
}

func (m *plain) simple(t int64) value {
	var before, at, behind *rollup.Point
	for i := range m.all {
		p := &m.all[i]
		switch {
		case p.Time < t:
			before = p
		case p.Time == t && (at == nil || m.reverse):
			at = p
		case p.Time > t && behind == nil:
			behind = p
		}
	}
	if at != nil {
		if at.Gap { // nothing was collected from this instant on
			return m.none()
		}
		v := value{*at, true}
		v.Null = v.Null || v.Quality.IsBad()
		return v
	}
	if before == nil || behind == nil || !m.usable(before) {
		return m.none()
	}
	held := !m.usable(behind)
	v := m.between(before, behind, t, m.stepped || held)
	if !good(before) || !m.stepped && !good(behind) {
		v.Quality = model.UncertainDataSubNormal
	}
	return v
}

func (m *plain) between(a, b *rollup.Point, t int64, held bool) value {
	v := value{Point: *a}
	v.Quality = model.Good
	if held {
		return v
	}
	share := new(big.Rat).SetFrac(new(big.Int).Sub(big.NewInt(t), big.NewInt(a.Time)), new(big.Int).Sub(big.NewInt(b.Time), big.NewInt(a.Time)))
	x, y := Number(&a.Sample), Number(&b.Sample)
	if finite(x) && finite(y) {
		rx, ry := exact(a), exact(b)
		r := new(big.Rat).Sub(ry, rx)
		r.Add(r.Mul(r, share), rx)
		v.Bits = bitsOf(m.t, r, ry.Cmp(rx) > 0)
		return v
	}
	f, _ := share.Float64()
	v.Bits = floatBits(m.t, x+(y-x)*f)
	return v
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

func exact(p *rollup.Point) *big.Rat {
	switch p.Type {
	case model.Float64, model.Float32:
		return new(big.Rat).SetFloat64(Number(&p.Sample))
	case model.Uint64:
		return new(big.Rat).SetInt(new(big.Int).SetUint64(p.Bits))
	}
	return new(big.Rat).SetInt64(int64(p.Bits))
}

// bitsOf is the nearest value of a type; of two integers the greater one, or else the lesser.
func bitsOf(t model.Type, r *big.Rat, up bool) uint64 {
	switch t {
	case model.Float64:
		f, _ := r.Float64()
		return math.Float64bits(f)
	case model.Float32:
		f, _ := r.Float32()
		return uint64(math.Float32bits(f))
	}
	twice := new(big.Int).Lsh(r.Num(), 1)
	if n := new(big.Int).Lsh(r.Denom(), 1); up { // halves up
		twice.Div(twice.Add(twice, r.Denom()), n)
	} else {
		twice.Neg(twice).Div(twice.Add(twice, r.Denom()), n).Neg(twice)
	}
	if twice.Sign() < 0 {
		return uint64(twice.Int64())
	}
	return twice.Uint64()
}

func floatBits(t model.Type, f float64) uint64 {
	if t == model.Float32 {
		return uint64(math.Float32bits(float32(f)))
	}
	return math.Float64bits(f)
}

func (m *plain) interpolated(t int64) value {
	var before, at, behind *rollup.Point
	passed, next := false, false // not usable, between the two; or only before the instant
	for i := range m.all {
		p := &m.all[i]
		carries := !p.Gap && !p.Null && !p.Quality.IsBad()
		switch {
		case p.Time == t && carries && (at == nil || m.reverse):
			at = p
		case p.Time <= t && !m.usable(p):
			passed = true
		case p.Time < t:
			before, passed = p, false
		case p.Time > t && behind == nil && m.usable(p):
			behind = p
		case p.Time > t && behind == nil:
			next = true
		}
	}
	if at != nil {
		return value{*at, true}
	}
	if before == nil {
		return m.none()
	}
	uncertain := passed || !good(before)
	if m.stepped {
		uncertain = uncertain || behind == nil && !next
	} else {
		uncertain = uncertain || next || behind == nil || !good(behind)
	}
	var v value
	if earlier := m.slope(before); behind == nil && earlier != nil && !m.stepped {
		x, y := Number(&earlier.Sample), Number(&before.Sample)
		v = value{Point: *before}
		v.Type, v.Bits = model.Float64, math.Float64bits(x+(y-x)*float64(t-earlier.Time)/float64(before.Time-earlier.Time))
	} else {
		v = m.between(before, behind, t, m.stepped || behind == nil)
	}
	v.Quality = model.Good
	if uncertain {
		v.Quality = model.UncertainDataSubNormal
	}
	return v
}

// earlier is the usable sample before the last usable one of all.
func (m *plain) earlier() *rollup.Point {
	found := 0
	for i := len(m.all) - 1; i >= 0; i-- {
		if m.usable(&m.all[i]) {
			if found++; found == 2 {
				return &m.all[i]
			}
		}
	}
	return nil
}

// slope is the same where a line can go on from there.
func (m *plain) slope(last *rollup.Point) *rollup.Point {
	if e := m.earlier(); m.config.SlopedExtrapolation && e != nil && e.Time < last.Time {
		return e
	}
	return nil
}

// stretch is part of the interval that no point divides.
type stretch struct {
	from, to int64
	a, b     *rollup.Point // the points it lies between, nil for none
	held     bool          // the unit of time behind the last point of all
}

func (m *plain) stretches() (out []stretch) {
	add := func(from, to int64, a, b *rollup.Point, held bool) {
		if from, to = max(from, m.start), min(to, m.end); from < to {
			out = append(out, stretch{from, to, a, b, held})
		}
	}
	n := len(m.all)
	add(math.MinInt64, m.all[0].Time, nil, &m.all[0], false)
	for i := range n - 1 {
		add(m.all[i].Time, m.all[i+1].Time, &m.all[i], &m.all[i+1], false)
	}
	last := &m.all[n-1]
	until := int64(math.MaxInt64)
	if last.Time < math.MaxInt64-m.resolution && !last.Gap { // a gap lasts
		until = last.Time + m.resolution
	}
	add(last.Time, until, last, nil, true) // what lies behind that counts for nothing
	return out
}

// portions are nanoseconds, or samples.
type portions struct{ good, uncertain, bad, all float64 }

func (m *plain) byTime(stepped bool) (s portions) {
	for _, x := range m.stretches() {
		dt := float64(uint64(x.to) - uint64(x.from))
		s.all += dt
		switch {
		case x.a == nil:
			s.bad += dt
		case good(x.a) && (stepped || x.b != nil && good(x.b)):
			s.good += dt
		case good(x.a) || !x.a.Gap && !x.a.Null && x.a.Quality.IsUncertain():
			s.uncertain += dt
		default:
			s.bad += dt
		}
	}
	return s
}

// begun is the value a stretch begins with.
func (m *plain) begun(x stretch) value {
	if x.from == m.start && (x.a == nil || x.a.Time < x.from) {
		return m.simple(x.from)
	}
	if x.a == nil {
		return m.none()
	}
	return value{*x.a, true}
}

func (m *plain) byStretch() (s portions) {
	for _, x := range m.stretches() {
		dt := float64(uint64(x.to) - uint64(x.from))
		s.all += dt
		v := m.begun(x)
		switch {
		case good(&v.Point):
			s.good += dt
		case !v.Gap && !v.Null && v.Quality.IsUncertain():
			s.uncertain += dt
		default:
			s.bad += dt
		}
	}
	return s
}

func (m *plain) bySamples() (s portions) {
	for _, p := range m.samples() {
		s.all++
		switch {
		case good(&p):
			s.good++
		case !p.Null && p.Quality.IsUncertain():
			s.uncertain++
		default:
			s.bad++
		}
	}
	return s
}

// status is what portions come to. Uncertain is good, or with neither it is none.
func (m *plain) status(s portions, neither bool) model.Quality {
	good, bad := s.good, s.bad
	switch {
	case m.config.TreatUncertainAsBad:
		bad += s.uncertain
	case !neither:
		good += s.uncertain
	}
	if bad == s.all {
		return model.Bad
	}
	pg, pb := float64(m.config.PercentDataGood), float64(m.config.PercentDataBad)
	if pg != 100-pb && 100*bad >= pb*s.all {
		return model.Bad
	}
	if 100*good >= pg*s.all {
		return model.Good
	}
	return model.UncertainDataSubNormal
}

// answer is what the page says of an aggregate. Numbers are big where more than one sample is in them.
type answer struct {
	time    int64
	quality model.Quality
	null    bool
	sample  *rollup.Point // where the value is one of a sample or a bound
	number  float64
	exactly bool
	scale   float64 // what the tolerance is a share of
}

func (m *plain) result(a Aggregate) answer {
	r := answer{time: m.begins()}
	if a == Interpolative {
		return m.bound(r, m.interpolated(m.begins()))
	}
	var before, in, behind bool
	for _, p := range m.all {
		switch {
		case m.inside(p.Time):
			in = true
		case p.Time <= m.start:
			before = true
		default:
			behind = true
		}
	}
	if !in && !(before && (behind || m.all[len(m.all)-1].Gap)) {
		return r.noData()
	}
	r = m.calculate(a, r)
	bare := r.quality.IsBad() && (a == Count || a == NumberOfTransitions)
	if partial := m.short || m.start < m.all[0].Time || m.end > m.all[len(m.all)-1].Time; partial && a != Average && !bare {
		r.quality |= model.InfoDataValue | model.InfoPartial
	}
	return r
}

// bound answers with a bound.
func (m *plain) bound(r answer, v value) answer {
	r.quality, r.null, r.sample = v.Quality, v.Null, &v.Point
	if !v.raw && !v.Null {
		r.quality |= model.InfoDataValue | model.InfoInterpolated
	}
	return r
}

const calculated = model.InfoDataValue | model.InfoCalculated

func (r answer) noData() answer {
	r.null, r.quality = true, model.BadNoData
	return r
}

// with answers with a status, and no value where that is Bad.
func (r answer) with(q model.Quality) answer {
	r.quality |= q | calculated
	r.null = q.IsBad()
	return r
}

func (m *plain) calculate(a Aggregate, r answer) answer {
	in := m.samples()
	var goods, points []rollup.Point
	for _, p := range m.all {
		if m.inside(p.Time) {
			points = append(points, p)
		}
	}
	for _, p := range in {
		if good(&p) {
			goods = append(goods, p)
		}
	}
	switch a {
	case Average, StandardDeviationSample, StandardDeviationPopulation, VarianceSample, VariancePopulation:
		if len(goods) == 0 {
			return r.noData()
		}
		r.number, r.scale = moments(a, goods)
		switch {
		case a == Average:
			return r.with(m.status(m.bySamples(), true))
		case len(goods) < len(in):
			return r.with(model.UncertainDataSubNormal)
		}
		return r.with(model.Good)
	case TimeAverage, Total:
		return m.bridged(a, r)
	case TimeAverage2, Total2:
		var sum, under float64
		for _, x := range m.stretches() {
			if x.a == nil || !m.usable(x.a) {
				continue
			}
			dt := float64(x.to - x.from)
			under += dt
			v := area(x.a, x.b, x.from, x.to, m.stepped || x.b == nil || !m.usable(x.b))
			sum += v
			r.scale += math.Abs(Number(&x.a.Sample)) * dt
			if !m.stepped && x.b != nil && m.usable(x.b) {
				r.scale += math.Abs(Number(&x.b.Sample)) * dt
			}
		}
		q := m.status(m.byTime(m.stepped), false)
		if under == 0 {
			return r.noData()
		}
		if a == TimeAverage2 {
			r.number, r.scale = sum/under, r.scale/under
		} else {
			r.number, r.scale = sum/1e9, r.scale/1e9
		}
		return r.with(q)
	case Minimum, Maximum, MinimumActualTime, MaximumActualTime, Range:
		return m.extremes(a, r, in, goods)
	case Minimum2, Maximum2, MinimumActualTime2, MaximumActualTime2, Range2:
		return m.extremes2(a, r, in)
	case AnnotationCount:
		r.number, r.exactly = float64(m.notes), true
		return r.with(model.Good)
	case Count:
		r.number, r.exactly = float64(len(goods)), true
		return r.counted(m, in)
	case DurationInStateZero, DurationInStateNonZero:
		for _, x := range m.stretches() {
			if v := m.begun(x); good(&v.Point) && (Number(&v.Sample) == 0) == (a == DurationInStateZero) {
				r.number += float64(x.to-x.from) / 1e6
			}
		}
		r.scale = r.number
		return r.with(m.status(m.byStretch(), false))
	case NumberOfTransitions:
		var last *rollup.Point
		for i := range m.all {
			p := &m.all[i]
			if !m.usable(p) {
				continue
			}
			if m.inside(p.Time) && (last == nil || !equalNumbers(last, p)) {
				r.number++
			}
			last = p
		}
		r.exactly = true
		return r.counted(m, in)
	case Start, End:
		if len(in) == 0 {
			return r.noData()
		}
		p := &in[0]
		if a == End {
			p = &in[len(in)-1]
		}
		r.sample, r.time, r.quality, r.null = p, p.Time, p.Quality, p.Null || p.Quality.IsBad()
		return r
	case Delta:
		if len(goods) == 0 {
			return r.noData()
		}
		x, y := &goods[0], &goods[len(goods)-1]
		r.number = apartBy(y, x)
		r.scale = math.Abs(r.number)
		q := model.Good
		if !good(&points[0]) || !good(&points[len(points)-1]) {
			q = model.UncertainDataSubNormal
		}
		return r.with(q)
	case StartBound:
		return m.bound(r, m.simple(m.begins()))
	case EndBound:
		v := m.simple(m.ends())
		if v.Null {
			return r.noData()
		}
		r.sample = &v.Point
		return r.with(v.Quality)
	case DeltaBounds:
		x, y := m.simple(m.begins()), m.simple(m.ends())
		if x.Null || y.Null {
			return r.noData()
		}
		q := model.Good
		if !x.Quality.IsGood() || !y.Quality.IsGood() {
			q = model.UncertainDataSubNormal
		}
		r.number = apartBy(&y.Point, &x.Point)
		r.scale = math.Abs(Number(&y.Sample)) + math.Abs(Number(&x.Sample))
		return r.with(q)
	case DurationGood, DurationBad, PercentGood, PercentBad:
		s := m.byStretch()
		if !m.config.TreatUncertainAsBad {
			s.uncertain = 0
		}
		r.number = s.good
		if a == DurationBad || a == PercentBad {
			r.number = s.bad + s.uncertain
		}
		if a == DurationGood || a == DurationBad {
			r.number /= 1e6
		} else {
			r.number *= 100 / s.all
		}
		r.scale = r.number
		return r.with(model.Good)
	case WorstQuality, WorstQuality2:
		var bounds []value
		if a == WorstQuality2 {
			bounds = m.boundsBeside()
		}
		worst, n := m.worst(bounds, in)
		if n == 0 {
			return r.noData()
		}
		r.number, r.exactly = float64(worst), true
		if n > 1 && !worst.IsGood() {
			r.quality |= model.InfoDataValue | model.InfoMultiValue
		}
		return r.with(model.Good)
	}
	panic(a)
}

// counted is the answer of a count, which has no info bits where it is Bad.
func (r answer) counted(m *plain, in []rollup.Point) answer {
	if len(in) == 0 {
		return r.with(model.Good)
	}
	if q := m.status(m.bySamples(), true); !q.IsBad() {
		return r.with(q)
	}
	r.null, r.quality = true, model.Bad
	return r
}

// boundsBeside are the simple bounds at the start and, unless a sample lies there, at the end. Stepped, what an Uncertain
// sample holds is Uncertain, also where that is taken for Bad.
func (m *plain) boundsBeside() (out []value) {
	if m.stepped && m.config.TreatUncertainAsBad {
		lenient := *m
		lenient.config.TreatUncertainAsBad = false
		return lenient.boundsBeside()
	}
	v := m.simple(m.begins())
	v.Time = m.begins()
	out = append(out, v)
	end := m.end
	if m.reverse {
		end = m.start
	}
	if v := m.simple(end); !v.raw {
		v.Time = end
		out = append(out, v)
	}
	return out
}

// worst is the worst quality, of the bound at the beginning before that of the oldest sample, and how many have that severity. Uncertain
// samples without a value count only where there are no others.
func (m *plain) worst(bounds []value, in []rollup.Point) (worst model.Quality, n int) {
	for _, v := range bounds {
		worst = max(worst>>30, v.Quality>>30) << 30
	}
	for _, p := range in {
		worst = max(worst>>30, p.Quality>>30) << 30
	}
	var all []model.Quality
	valued, without := 0, 0
	for _, p := range in {
		if p.Quality>>30 != worst>>30 {
			continue
		}
		all = append(all, p.Quality)
		if !p.Null || !worst.IsUncertain() {
			valued++
		} else {
			without = 1
		}
	}
	n = max(valued, without)
	for _, v := range bounds {
		if v.Quality>>30 != worst>>30 {
			continue
		}
		if !v.raw { // else it is among the samples
			n++
		}
		if v.Time == m.begins() {
			all = slices.Insert(all, 0, v.Quality)
		} else {
			all = append(all, v.Quality)
		}
	}
	if n == 0 {
		return 0, 0
	}
	return all[0], n
}

// bridged is the integral that lines from one usable sample to the next leave.
func (m *plain) bridged(a Aggregate, r answer) answer {
	stepped := m.stepped && a == Total
	var usable []rollup.Point
	for _, p := range m.all {
		if m.usable(&p) {
			usable = append(usable, p)
		}
	}
	if len(usable) == 0 || usable[0].Time >= m.end {
		return r.noData()
	}
	var sum, length float64
	add := func(from, to int64, a, b *rollup.Point, held bool) {
		if from, to = max(from, m.start), min(to, m.end); from >= to {
			return
		}
		dt := float64(to - from)
		length += dt
		sum += area(a, b, from, to, held)
		r.scale += math.Abs(Number(&a.Sample)) * dt
		if !held {
			r.scale += math.Abs(Number(&b.Sample)) * dt
			if b.Time <= from { // extrapolated
				r.scale *= 1 + float64(to-a.Time)/float64(b.Time-a.Time+1)
			}
		}
	}
	for i := range len(usable) - 1 {
		add(usable[i].Time, usable[i+1].Time, &usable[i], &usable[i+1], stepped)
	}
	last := &usable[len(usable)-1]
	if e := m.slope(last); e != nil && !m.stepped {
		add(last.Time, math.MaxInt64, e, last, false)
	} else {
		add(last.Time, math.MaxInt64, last, nil, true)
	}
	if a == TimeAverage {
		r.number, r.scale = sum/length, r.scale/length
	} else {
		r.number, r.scale = sum/1e9, r.scale/1e9
	}
	if m.byTime(stepped).good == float64(m.end-m.start) {
		return r.with(model.Good)
	}
	return r.with(model.UncertainDataSubNormal)
}

// area is the integral of the line from a to b, or of a held, units of the value times nanoseconds.
func area(a, b *rollup.Point, from, to int64, held bool) float64 {
	x := Number(&a.Sample)
	dt := new(big.Rat).SetInt64(to - from)
	if held {
		if !finite(x) {
			return x
		}
		f, _ := new(big.Rat).Mul(exact(a), dt).Float64()
		return f
	}
	y := Number(&b.Sample)
	if !finite(x) || !finite(y) {
		return x + y
	}
	at := func(t int64) *big.Rat {
		share := new(big.Rat).SetFrac64(t-a.Time, b.Time-a.Time)
		r := new(big.Rat).Sub(exact(b), exact(a))
		return r.Add(r.Mul(r, share), exact(a))
	}
	r := new(big.Rat).Add(at(from), at(to))
	r.Mul(r, dt)
	f, _ := r.Mul(r, big.NewRat(1, 2)).Float64()
	return f
}

// moments is a mean or a measure of spread.
func moments(a Aggregate, goods []rollup.Point) (x, scale float64) {
	sum, n := new(big.Rat), int64(len(goods))
	plain := 0.0
	for i := range goods {
		v := Number(&goods[i].Sample)
		plain += v
		if scale = max(scale, math.Abs(v)); finite(v) {
			sum.Add(sum, exact(&goods[i]))
		}
	}
	if !finite(plain) && !finite(scale) || math.IsNaN(plain) {
		if a == Average {
			return plain, 0
		}
		return math.NaN(), 0
	}
	mean := new(big.Rat).Mul(sum, big.NewRat(1, n))
	if a == Average {
		x, _ = mean.Float64()
		return x, scale
	}
	if n == 1 {
		return 0, 0
	}
	squares := new(big.Rat)
	for i := range goods {
		d := new(big.Rat).Sub(exact(&goods[i]), mean)
		squares.Add(squares, d.Mul(d, d))
	}
	if a == StandardDeviationSample || a == VarianceSample {
		n--
	}
	x, _ = squares.Mul(squares, big.NewRat(1, n)).Float64()
	if a == StandardDeviationSample || a == StandardDeviationPopulation {
		x = math.Sqrt(x)
	}
	return x, x
}

// beyond reports whether x is a better extreme than y.
func beyond(x, y *rollup.Point, most bool) bool {
	fx, fy := Number(&x.Sample), Number(&y.Sample)
	if math.IsNaN(fx) || math.IsNaN(fy) {
		return !math.IsNaN(fx) && math.IsNaN(fy)
	}
	c := exactOrder(x, y)
	return c > 0 && most || c < 0 && !most
}

func exactOrder(x, y *rollup.Point) int {
	fx, fy := Number(&x.Sample), Number(&y.Sample)
	if finite(fx) && finite(fy) {
		return exact(x).Cmp(exact(y))
	}
	switch {
	case fx < fy:
		return -1
	case fx > fy:
		return 1
	}
	return 0
}

// apartBy is the difference of two values, of integers exactly before it is rounded to a double.
func apartBy(y, x *rollup.Point) float64 {
	fx, fy := Number(&x.Sample), Number(&y.Sample)
	if !finite(fx) || !finite(fy) {
		return fy - fx
	}
	d, _ := new(big.Rat).Sub(exact(y), exact(x)).Float64()
	return d
}

func equalNumbers(x, y *rollup.Point) bool {
	return !beyond(x, y, true) && !beyond(y, x, true)
}

func (m *plain) extremes(a Aggregate, r answer, in, goods []rollup.Point) answer {
	if len(goods) == 0 {
		return r.noData()
	}
	find := func(most bool) (best rollup.Point, again bool, q model.Quality) {
		best = goods[0]
		for i := range goods[1:] {
			p := goods[i+1]
			switch {
			case beyond(&p, &best, most):
				best, again = p, false
			case equalNumbers(&p, &best):
				again = true
			}
		}
		for i := range in {
			p := &in[i]
			if !m.usable(p) {
				q = model.UncertainDataSubNormal
			}
		}
		return best, again, q
	}
	if a == Range {
		x, _, qx := find(true)
		y, _, qy := find(false)
		r.number = apartBy(&x, &y)
		r.scale = math.Abs(r.number)
		return r.with(max(qx, qy))
	}
	best, again, q := find(a == Maximum || a == MaximumActualTime)
	r.sample, r.quality = &best, q
	if a == MinimumActualTime || a == MaximumActualTime {
		r.time = best.Time
	} else if best.Time != r.time {
		r.quality |= calculated
	}
	if again {
		r.quality |= model.InfoDataValue | model.InfoMultiValue
	}
	return r
}

func (m *plain) extremes2(a Aggregate, r answer, in []rollup.Point) answer {
	type candidate struct {
		value
		bits model.Quality
		at   int64
	}
	var all []candidate
	edge := func(t int64, atEnd bool) {
		v := m.simple(t)
		if !m.usable(&v.Point) || m.inside(t) && v.raw || m.stepped && t == m.end {
			return
		}
		c := candidate{value: v, at: t, bits: model.InfoDataValue | model.InfoInterpolated}
		if v.raw && (a == Minimum2 || a == Maximum2) {
			c.bits = calculated
		}
		if atEnd {
			if c.at = max(t-m.resolution, m.start); m.reverse {
				c.at = min(t+m.resolution, m.end)
			}
		}
		all = append(all, c)
	}
	edge(m.start, m.reverse)
	for _, p := range in {
		if m.usable(&p) {
			all = append(all, candidate{value{p, true}, 0, p.Time})
		}
	}
	edge(m.end, !m.reverse)
	q := m.status(m.byTime(m.stepped), false)
	if len(all) == 0 {
		return r.noData()
	}
	find := func(most bool) (best candidate, again bool) {
		best = all[0]
		for _, c := range all[1:] {
			switch {
			case beyond(&c.Point, &best.Point, most):
				best, again = c, false
			case equalNumbers(&c.Point, &best.Point):
				again = true
			}
		}
		return best, again
	}
	if a == Range2 {
		x, _ := find(true)
		y, _ := find(false)
		r.number = apartBy(&x.Point, &y.Point)
		r.scale = math.Abs(Number(&x.Sample)) + math.Abs(Number(&y.Sample))
		return r.with(q)
	}
	if q.IsBad() {
		return r.with(q)
	}
	best, again := find(a == Maximum2 || a == MaximumActualTime2)
	r.sample, r.quality = &best.Point, q|best.bits
	if a == MinimumActualTime2 || a == MaximumActualTime2 {
		r.time = best.at
	} else if best.bits == 0 && best.at != r.time {
		r.quality |= calculated
	}
	if again {
		r.quality |= model.InfoDataValue | model.InfoMultiValue
	}
	return r
}

// differs says how an answer of the code is another than the page's.
func (m *plain) differs(a Aggregate, want answer, got model.Sample) string {
	var parts []string
	if got.Time != want.time {
		parts = append(parts, fmt.Sprintf("time %d not %d", got.Time, want.time))
	}
	if got.Quality != want.quality {
		parts = append(parts, fmt.Sprintf("quality %s not %s", got.Quality.Text(), want.quality.Text()))
	}
	if got.Null != want.null {
		parts = append(parts, fmt.Sprintf("null %v not %v", got.Null, want.null))
	}
	if got.Null || want.null {
		return fmt.Sprint(parts)
	}
	switch {
	case want.sample != nil && m.t.Blob():
		if !bytes.Equal(got.Blob, want.sample.Blob) {
			parts = append(parts, fmt.Sprintf("text %q not %q", got.Blob, want.sample.Blob))
		}
	case want.sample != nil:
		if x, y := Number(&got), Number(&want.sample.Sample); !near(x, y, math.Abs(y), m.t) {
			parts = append(parts, fmt.Sprintf("value %v not %v", x, y))
		}
	case a.IsStatus() || want.exactly:
		if x := Number(&got); x != want.number {
			parts = append(parts, fmt.Sprintf("value %v not %v", x, want.number))
		}
	default:
		if x := Number(&got); !near(x, want.number, want.scale, m.t) {
			parts = append(parts, fmt.Sprintf("value %v not %v", x, want.number))
		}
	}
	return fmt.Sprint(parts)
}

func near(x, y, scale float64, t model.Type) bool {
	if x == y {
		return true
	}
	if !finite(x) || !finite(y) {
		return math.IsNaN(x) && math.IsNaN(y) || !finite(scale) && !finite(x) && !finite(y)
	}
	tolerance := 1e-9
	if t == model.Float32 {
		tolerance = 1e-6
	}
	return math.Abs(x-y) <= tolerance*max(scale, 1e-12)
}

// interval is what the code is given of the same.
func (m *plain) interval() Interval {
	iv := Interval{
		Start: m.start, End: m.end, Reverse: m.reverse, Short: m.short, Stepped: m.stepped, Resolution: m.resolution, Annotations: m.notes,
		Before: new(rollup.Partial), In: new(rollup.Partial), After: new(rollup.Partial),
	}
	for i := range m.all {
		p := &m.all[i]
		into := iv.In
		if !m.inside(p.Time) {
			if into = iv.After; p.Time < m.end && (p.Time < m.start || m.reverse && p.Time <= m.start) {
				into = iv.Before
			}
		}
		if p.Gap {
			into.AddGap(m.t, p.Time, p.Quality)
			continue
		}
		one := model.Samples{Type: m.t}
		one.Append(p.Sample)
		into.Add(&one, 0, 1)
	}
	for i := range m.all {
		if p := &m.all[i]; m.inside(p.Time) && i+1 < len(m.all) && m.inside(m.all[i+1].Time) && good(p) {
			if dt := uint64(m.all[i+1].Time - p.Time); Number(&p.Sample) == 0 {
				iv.Zero += dt
			} else {
				iv.NonZero += dt
			}
		}
	}
	iv.Earlier = m.earlier()
	return iv
}

var modelQualities = []model.Quality{
	model.Good, model.Good, model.Good, model.GoodLocalOverride, model.Uncertain, model.UncertainLastUsableValue, model.Bad, model.BadSensorFailure,
}

// drawPlain is a history and an interval that meets it, or lies beside it.
func drawPlain(t *rapid.T) *plain {
	m := &plain{t: rapid.SampledFrom([]model.Type{model.Float64, model.Float64, model.Float32, model.Int64, model.Uint64, model.Bool, model.State, model.String}).Draw(t, "type")}
	m.stepped = m.t.AlwaysStepped() || rapid.Bool().Draw(t, "stepped")
	few := rapid.SampledFrom([]int{3, 8, 40}).Draw(t, "most")
	at, seq := int64(rapid.IntRange(0, 50).Draw(t, "first")), uint32(0)
	mostlyGood := rapid.Bool().Draw(t, "mostly Good")
	for i := range rapid.IntRange(1, few).Draw(t, "samples") {
		if step := int64(rapid.IntRange(0, 12).Draw(t, "dt")); i > 0 && step > 0 {
			at, seq = at+step, 0
		} else if i > 0 {
			seq++
		}
		if i > 0 && m.all[i-1].Gap && seq > 0 {
			at, seq = at+1, 0
		}
		p := rollup.Point{Sample: model.Sample{Time: at, Type: m.t, Seq: seq, Quality: rapid.SampledFrom(modelQualities).Draw(t, "quality")}}
		if mostlyGood && rapid.IntRange(0, 5).Draw(t, "plain") > 0 {
			p.Quality = model.Good
		}
		switch {
		case rapid.IntRange(0, 15).Draw(t, "gap") == 0 && seq == 0:
			p.Gap, p.Null, p.Quality = true, true, model.BadNoCommunication
		case rapid.IntRange(0, 15).Draw(t, "null") == 0:
			p.Null = true
		case m.t.Blob():
			p.Blob = []byte{'a' + byte(rapid.IntRange(0, 3).Draw(t, "text"))}
		default:
			p.Bits = drawBits(t, m.t)
		}
		m.all = append(m.all, p)
	}
	m.start = int64(rapid.IntRange(-5, int(at)+5).Draw(t, "start"))
	m.end = m.start + int64(rapid.IntRange(1, int(at)+10).Draw(t, "length"))
	m.reverse = rapid.Bool().Draw(t, "reverse")
	m.short = rapid.IntRange(0, 3).Draw(t, "short") == 0
	m.resolution = int64(rapid.IntRange(1, 6).Draw(t, "resolution"))
	m.notes = int64(rapid.IntRange(0, 3).Draw(t, "annotations"))
	m.config = Configuration{
		TreatUncertainAsBad: rapid.Bool().Draw(t, "uncertain as bad"), SlopedExtrapolation: rapid.Bool().Draw(t, "extrapolate"),
		PercentDataBad: uint8(rapid.SampledFrom([]int{0, 20, 50, 80, 100}).Draw(t, "percent bad")),
	}
	m.config.PercentDataGood = uint8(rapid.IntRange(100-int(m.config.PercentDataBad), 100).Draw(t, "percent good"))
	return m
}

func drawBits(t *rapid.T, typ model.Type) uint64 {
	small := rapid.IntRange(-3, 6).Draw(t, "value")
	strange := rapid.IntRange(0, 25).Draw(t, "strange")
	switch typ {
	case model.Float64, model.Float32:
		f := float64(small) / 2
		switch strange {
		case 0:
			f = math.NaN()
		case 1:
			f = math.Inf(1)
		case 2:
			f = math.Inf(-1)
		case 3:
			f = math.Copysign(0, -1)
		}
		return floatBits(typ, f)
	case model.Bool:
		return uint64(max(small, 0) & 1)
	case model.Uint64:
		if strange < 4 {
			return math.MaxUint64 - uint64(strange)
		}
		return uint64(max(small, 0))
	case model.Int64:
		switch {
		case strange == 0:
			return 1 << 63
		case strange < 4:
			return math.MaxInt64 - uint64(strange-1)
		}
	}
	return uint64(int64(small))
}

func (m *plain) String() string {
	var b bytes.Buffer
	for _, p := range m.all {
		fmt.Fprintf(&b, "  %d#%d", p.Time, p.Seq)
		switch {
		case p.Gap:
			b.WriteString(" gap")
		case p.Null:
			b.WriteString(" null")
		case m.t.Blob():
			fmt.Fprintf(&b, " %q", p.Blob)
		default:
			fmt.Fprintf(&b, " %v", Number(&p.Sample))
		}
		fmt.Fprintf(&b, " %s\n", p.Quality)
	}
	return fmt.Sprintf("%s, stepped %v, [%d, %d) reverse %v short %v resolution %d, %+v\n%s", m.t, m.stepped, m.start, m.end, m.reverse, m.short, m.resolution, m.config, b.String())
}

// TestPageAsLoops holds every aggregate against what its page says, of histories and intervals that nobody would think of.
func TestPageAsLoops(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawPlain(t)
		var c Calculation
		for a := Interpolative; a < end; a++ {
			if !a.Of(m.t) {
				continue
			}
			m2 := *m
			m2.all = slices.Clone(m.all)
			c.Reset(m.t, m.interval(), m.config)
			if d := m2.differs(a, m2.result(a), c.Result(a)); d != "[]" {
				t.Fatalf("%s: %s, of\n%s", a, d, m)
			}
		}
	})
}
