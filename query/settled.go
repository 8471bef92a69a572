package query

import (
	"math"
	"slices"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/model/unit"
	"github.com/varvedb/varve/query/part13"
	"github.com/varvedb/varve/storage/rollup"
)

// settled makes samples of a tag, each of the type and in the unit that the tag had at its time, those of one instant.
type settled struct {
	tag         *model.Tag
	conversions map[[2]string]*unit.Conversion // from a unit to another, nil for none
	typed       map[model.Type]*model.Tag
}

// alike makes the samples next to an instant such that there may be a value between them, and says which tag they are of. Numbers of several
// types, or in several units, become doubles in the unit of the instant; what has no value in that is none.
func (s *settled) alike(before, after **rollup.Point, instant int64) *model.Tag {
	if len(s.tag.Settings) == 1 {
		return s.tag
	}
	now := s.tag.At(instant)
	stays := func(p *rollup.Point) bool {
		if p == nil || now.Type > model.Uint64 {
			return true
		}
		then := s.tag.At(p.Time)
		return then.Type == now.Type && then.Unit == now.Unit
	}
	if stays(*before) && stays(*after) {
		return s.of(now.Type)
	}
	*before, *after = s.converted(*before, now.Unit), s.converted(*after, now.Unit)
	return s.of(model.Float64)
}

// of is the tag as one whose samples are all of a type.
func (s *settled) of(t model.Type) *model.Tag {
	if !s.tag.Retyped() && s.tag.Current().Type == t {
		return s.tag
	}
	if s.typed[t] == nil {
		tag := *s.tag
		tag.Settings = slices.Clone(tag.Settings)
		for i := range tag.Settings {
			tag.Settings[i].Type = t
		}
		if s.typed == nil {
			s.typed = map[model.Type]*model.Tag{}
		}
		s.typed[t] = &tag
	}
	return s.typed[t]
}

// converted is a number as a double in a unit; nil where there is none, or no way from its unit to that. A unit that is not known is taken to
// be the other one, as everywhere in expressions.
func (s *settled) converted(p *rollup.Point, code string) *rollup.Point {
	if p == nil {
		return nil
	}
	out := *p
	if out.Type = model.Float64; out.Null {
		return &out
	}
	c := s.conversion(s.tag.At(p.Time).Unit, code)
	if c == nil {
		return nil
	}
	out.Bits = math.Float64bits(c.Value(part13.Number(&p.Sample)))
	return &out
}

func (s *settled) conversion(from, to string) *unit.Conversion {
	key := [2]string{from, to}
	c, ok := s.conversions[key]
	if ok {
		return c
	}
	x := unit.Identity
	f, errFrom := unit.Parse(from)
	t, errTo := unit.Parse(to)
	if c = &x; errFrom == nil && errTo == nil {
		var err error
		if x, err = unit.Convert(f, t); err != nil {
			c = nil
		}
	}
	if s.conversions == nil {
		s.conversions = map[[2]string]*unit.Conversion{}
	}
	s.conversions[key] = c
	return c
}
