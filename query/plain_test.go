package query

import (
	"fmt"
	"math"
	"math/big"
	"slices"

	"pgregory.net/rapid"

	"github.com/varvedb/varve/model"
)

// The plain model of reads: loops over all samples of a tag, ascending by (time, seq), written from docs/reference/raw-reads.md
// and docs/reference/at-time.md.

type plainRules struct {
	stepped                        *bool
	discrete, bridge, useUncertain bool
}

func (o plainRules) usable(x model.Sample) bool {
	return !x.Null && (x.Quality.IsGood() || o.useUncertain && x.Quality.IsUncertain())
}

// plainAt is the value of a tag at an instant.
func plainAt(tag *model.Tag, all []model.Sample, t int64, o plainRules) model.Sample {
	none := model.Sample{Time: t, Type: tag.Current().Type, Null: true, Quality: model.BadNoData}
	var left, right *model.Sample
	var skippedLeft, skippedRight, more bool
	for i := range all {
		x := &all[i]
		switch {
		case x.Time < t:
			if !o.bridge || o.usable(*x) {
				left, skippedLeft = x, false
			} else {
				skippedLeft = true
			}
		case x.Time > t:
			more = true
			if right == nil && (!o.bridge || o.usable(*x)) {
				right = x
			} else if right == nil {
				skippedRight = true
			}
		}
	}
	for _, x := range slices.Backward(all) {
		if x.Time == t {
			if !o.bridge || !x.Null && !x.Quality.IsBad() {
				return x
			}
			skippedLeft = true
		}
	}
	if o.discrete || left == nil || !o.usable(*left) {
		return none
	}
	s := tag.At(t)
	until := t
	if right != nil {
		until = right.Time
	}
	if s.MaxGap > 0 && until-left.Time > int64(s.MaxGap) {
		return none
	}
	stepped := s.Stepped
	if o.stepped != nil {
		stepped = *o.stepped
	}
	stepped = stepped || s.Type.AlwaysStepped()
	hold := *left
	hold.Time, hold.Seq, hold.Quality = t, 0, model.UncertainDataSubNormal|0x402
	switch good := left.Quality.IsGood() && !skippedLeft; {
	case !more:
		return hold
	case stepped:
		if good {
			hold.Quality = 0x402
		}
		return hold
	case right == nil || !o.usable(*right):
		return hold
	default:
		if good && right.Quality.IsGood() && !skippedRight {
			hold.Quality = 0x402
		}
		hold.Bits = plainLine(*left, *right, t)
		return hold
	}
}

// plainLine is the value at t on the line through two samples: of integers the nearest one, halves away from the first.
func plainLine(a, b model.Sample, t int64) uint64 {
	ratOf := func(x model.Sample) *big.Rat {
		switch x.Type {
		case model.Float64:
			return new(big.Rat).SetFloat64(math.Float64frombits(x.Bits))
		case model.Float32:
			return new(big.Rat).SetFloat64(float64(math.Float32frombits(uint32(x.Bits))))
		case model.Uint64:
			return new(big.Rat).SetInt(new(big.Int).SetUint64(x.Bits))
		}
		return new(big.Rat).SetInt64(int64(x.Bits))
	}
	rise := new(big.Rat).Sub(ratOf(b), ratOf(a))
	rise.Mul(rise, big.NewRat(t-a.Time, b.Time-a.Time))
	if a.Type.Float() {
		f, _ := rise.Add(rise, ratOf(a)).Float64()
		if a.Type == model.Float32 {
			return uint64(math.Float32bits(float32(f)))
		}
		return math.Float64bits(f)
	}
	up := rise.Sign() >= 0
	rise.Abs(rise).Add(rise, big.NewRat(1, 2))
	steps := new(big.Int).Quo(rise.Num(), rise.Denom()).Uint64()
	if up {
		return a.Bits + steps
	}
	return a.Bits - steps
}

// plainRange is what a range request answers of one tag, but for After.
func plainRange(s *plainStore, tag *model.Tag, r RangeRequest) (rows []model.Sample) {
	var all []model.Sample
	for _, id := range tag.EpochIDs() {
		b := s.samples[id]
		for i := range b.Len() {
			if r.AsOf == nil || b.Origins[i].Ingest*1e9 <= *r.AsOf {
				all = append(all, b.At(i))
			}
		}
	}
	from, to := r.Start, r.End
	open := r.OpenStart || r.OpenEnd
	if r.OpenStart {
		from, to = r.End, model.MinTime
	} else if r.OpenEnd {
		to = model.MaxTime
	}
	// Instants as the read meets them: those met later are larger.
	sign := int64(1)
	read := slices.Clone(all)
	if from > to {
		sign = -1
		slices.Reverse(read)
	}
	at := func(t int64) int64 { return sign * t }
	var lead, trail *model.Sample
	onEdge := false
	for i, x := range read {
		t := at(x.Time)
		onEdge = onEdge || x.Time == from
		switch {
		case t < at(from):
			lead = &read[i]
		case x.Time == from || t < at(to) || open || r.Bounds == Inside && x.Time == to:
			if plainPasses(s, tag, x, r) {
				rows = append(rows, x)
			}
		case trail == nil:
			trail = &read[i]
		}
	}
	missing := func(t int64) *model.Sample {
		return &model.Sample{Time: t, Type: tag.Current().Type, Null: true, Quality: model.BadBoundNotFound}
	}
	value := func(t int64) *model.Sample {
		x := plainAt(tag, all, t, plainRules{})
		return &x
	}
	switch r.Bounds {
	case Outside:
		if lead == nil {
			lead = missing(from)
		}
		if trail == nil || open {
			trail = missing(to)
		}
	case Interpolated:
		lead = value(from)
		if trail == nil || trail.Time != to {
			trail = value(to)
		}
		if from == to {
			trail = nil
		}
	default:
		lead, trail = nil, nil
	}
	if lead != nil && !onEdge {
		rows = append([]model.Sample{*lead}, rows...)
	}
	if trail != nil {
		rows = append(rows, *trail)
	}
	if r.Limit > 0 && uint64(len(rows)) > r.Limit {
		rows = rows[:r.Limit]
	}
	return rows
}

func plainPasses(s *plainStore, tag *model.Tag, x model.Sample, r RangeRequest) bool {
	severity := SeverityBad
	if x.Quality.IsGood() {
		severity = SeverityGood
	} else if x.Quality.IsUncertain() {
		severity = SeverityUncertain
	}
	if r.Severities != 0 && r.Severities&severity == 0 {
		return false
	}
	for _, c := range r.Where {
		if x.Null {
			return false
		}
		var equal, less, more bool
		if text, ok := c.Operand.(string); ok {
			have := string(x.Blob)
			if x.Type == model.State {
				set := setInForce(s.sets, x.Time)
				have, ok = set.Text(int64(x.Bits))
			}
			equal = ok && have == text
		} else {
			a, b := plainNumber(x), plainNumber(operandSample(c.Operand))
			if a != nil && b != nil {
				equal, less, more = a.Cmp(b) == 0, a.Cmp(b) < 0, a.Cmp(b) > 0
			}
		}
		if !map[Operator]bool{Equal: equal, NotEqual: !equal, Less: less, LessOrEqual: less || equal, Greater: more, GreaterOrEqual: more || equal}[c.Operator] {
			return false
		}
	}
	return true
}

func operandSample(o any) model.Sample {
	if f, ok := o.(float64); ok {
		return model.Sample{Type: model.Float64, Bits: math.Float64bits(f)}
	}
	return model.Sample{Type: model.Int64, Bits: uint64(o.(int64))}
}

// plainNumber is a value as a number of any size, nil for NaN.
func plainNumber(x model.Sample) *big.Float {
	f := new(big.Float).SetPrec(2000)
	switch x.Type {
	case model.Float64, model.Float32:
		v := math.Float64frombits(x.Bits)
		if x.Type == model.Float32 {
			v = float64(math.Float32frombits(uint32(x.Bits)))
		}
		if v != v {
			return nil
		}
		return f.SetFloat64(v)
	case model.Uint64:
		return f.SetUint64(x.Bits)
	}
	return f.SetInt64(int64(x.Bits))
}

// drawSeries makes a tag's samples: several at one time now and then, all severities, no value here and there.
func drawSeries(t *rapid.T, s *plainStore, id model.TagID) {
	at, seq := rapid.Int64Range(0, 30).Draw(t, "first"), uint32(0)
	for range rapid.IntRange(0, 25).Draw(t, "samples") {
		if step := rapid.Int64Range(0, 4).Draw(t, "step"); step == 0 {
			seq++
		} else {
			at, seq = at+step, rapid.Uint32Range(0, 1).Draw(t, "seq")
		}
		x := model.Sample{
			Time: at, Seq: seq, Null: rapid.IntRange(0, 6).Draw(t, "null") == 0,
			Quality: rapid.SampledFrom([]model.Quality{0, 0, 0, 0x80000000, 0x40000001}).Draw(t, "quality"),
		}
		switch v := rapid.Uint64Range(0, 40).Draw(t, "value"); s.samples[id].Type {
		case model.Float64:
			x.Bits = math.Float64bits(float64(v) / 4)
		case model.Float32:
			x.Bits = uint64(math.Float32bits(float32(v) / 4))
		case model.Bool, model.State:
			x.Bits = v % 2
		case model.String, model.Bytes:
			x.Blob = []byte(fmt.Sprint("v", v%3))
		default:
			x.Bits = v
		}
		if x.Null {
			x.Bits, x.Blob = 0, nil
		}
		s.add(id, uint32(at%3), x)
	}
	if b := s.samples[id]; rapid.Bool().Draw(t, "all Good") { // which has ways of its own
		b.Quality, b.Null = nil, nil
	}
}

// drawSettings gives a tag dated settings.
func drawSettings(t *rapid.T, tag *model.Tag) {
	first := tag.Settings[0]
	tag.Settings = nil
	for _, from := range []int64{model.MinTime, 20, 40} {
		if from == model.MinTime || rapid.Bool().Draw(t, "dated") {
			first.From, first.Stepped = from, rapid.Bool().Draw(t, "stepped")
			first.MaxGap = 0
			if rapid.Bool().Draw(t, "gap") {
				first.MaxGap = 3
			}
			tag.Settings = append(tag.Settings, first)
		}
	}
}

// everyType has doubles more often, which have ways of their own.
var everyType = []model.Type{model.Float64, model.Float64, model.Float64, model.Float64, model.Float32, model.Int64, model.Uint64, model.Bool, model.State, model.String, model.Bytes}
