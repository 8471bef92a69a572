package query

import (
	"math"
	"slices"
	"time"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/query/part13"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/rollup"
)

// interpolation is how values between samples are made. docs/reference/at-time.md has the rules. The zero value takes
// Uncertain samples for usable.
type interpolation struct {
	stepped *bool // nil: as the settings of the tag say
	strict  bool  // Uncertain samples are taken for Bad
}

// calculated are the info bits of a value that no sample holds.
const calculated = model.InfoDataValue | model.InfoInterpolated

// simple is the value of a tag at an instant at which no sample stands, of the samples next to it, whatever their quality; nil
// for none.
func (o *interpolation) simple(tag *model.Tag, before, after *rollup.Point, instant int64) model.Sample {
	if before != nil && before.Gap {
		return gapValue(before, instant)
	}
	if after == nil { // behind the last sample
		if before != nil && !before.Usable(o.strict) {
			before = nil
		}
		return o.bridged(tag, part13.UsableEnds{Before: before, Last: true}, instant)
	}
	settings := tag.At(instant)
	if tooFar(settings.MaxGap, before, after, instant) {
		return noValue(tag, instant)
	}
	s, ok := part13.SimpleBound(before, after, instant, o.isStepped(&settings), o.strict)
	return finish(tag, s, ok, instant)
}

// bridged is the value of a tag at an instant at which no usable sample stands, of the nearest usable ones.
func (o *interpolation) bridged(tag *model.Tag, ends part13.UsableEnds, instant int64) model.Sample {
	settings := tag.At(instant)
	if tooFar(settings.MaxGap, ends.Before, ends.After, instant) {
		return noValue(tag, instant)
	}
	s, ok := ends.InterpolatedBound(instant, o.isStepped(&settings))
	return finish(tag, s, ok, instant)
}

func (o *interpolation) isStepped(s *model.Settings) bool {
	if o.stepped != nil {
		return *o.stepped || s.Type.AlwaysStepped()
	}
	return s.Stepped || s.Type.AlwaysStepped()
}

// tooFar reports whether the samples next to an instant are too far apart for a value between them. Behind the last sample the
// gap is as long as it is known to be.
func tooFar(most time.Duration, before, after *rollup.Point, instant int64) bool {
	if most <= 0 || before == nil {
		return false
	}
	end := instant
	if after != nil {
		end = after.Time
	}
	return uint64(end)-uint64(before.Time) > uint64(most)
}

func noValue(tag *model.Tag, instant int64) model.Sample {
	return model.Sample{Time: instant, Type: tag.Current().Type, Null: true, Quality: model.BadNoData}
}

// gapValue is what a tag has at an instant behind the break that a gap made, where no sample is nearer.
func gapValue(at *rollup.Point, instant int64) model.Sample {
	return model.Sample{Time: instant, Type: at.Type, Null: true, Quality: at.Quality}
}

// finish gives a calculated value the type of its tag and its info bits.
func finish(tag *model.Tag, s model.Sample, ok bool, instant int64) model.Sample {
	if !ok {
		return noValue(tag, instant)
	}
	if s.Type == model.Float64 && tag.Current().Type == model.Float32 { // what a line between floats is calculated as
		s.Type, s.Bits = model.Float32, uint64(model.NarrowFloat32(math.Float64frombits(s.Bits)))
	}
	s.Quality |= calculated
	return s
}

// pointOf is sample i of a block, or the break it is. Its text is the block's.
func pointOf(b *storage.Block, i int) rollup.Point { return rollup.Point{Sample: b.At(i), Gap: b.Gap} }

// keep is a point that outlasts its block.
func keep(p rollup.Point) *rollup.Point {
	p.Blob = slices.Clone(p.Blob)
	return &p
}
