package rollup

import (
	"math"

	"github.com/varvedb/varve/model"
)

// maxBlob is how many bytes of a text a partial keeps of its first and last samples. A longer one is left to the samples.
const maxBlob = 64

// Point is a sample at the edge of a partial, or the start of a gap.
type Point struct {
	model.Sample
	Cut bool // the value is a text too long to be kept here; Blob is empty
	Gap bool // no sample: from here on nothing was collected. Null, and its quality is Bad
}

// class sorts points by what calculations make of them.
type class uint8

const (
	classGood      class = iota // has a value, severity Good
	classUncertain              // has a value, severity Uncertain
	classBad                    // severity Bad, whether it has a value or not
	classNull                   // not Bad, but without a value
	classGap
)

func (c class) usable() bool { return c <= classUncertain }

func classOf(q model.Quality, null bool) class {
	switch {
	case q.IsBad():
		return classBad
	case null:
		return classNull
	case q.IsUncertain():
		return classUncertain
	}
	return classGood
}

func (p *Point) class() class {
	if p.Gap {
		return classGap
	}
	return classOf(p.Quality, p.Null)
}

// present reports whether p stands for anything; the zero Point does not.
func (p *Point) present() bool { return p.Type != 0 }

// before orders points of one tag.
func (p *Point) before(q *Point) bool {
	return p.Time < q.Time || p.Time == q.Time && p.Seq < q.Seq
}

// wideValue is the value of a numeric sample, exactly.
func wideValue(t model.Type, b uint64) wide {
	switch t {
	case model.Float64:
		return wide{math.Float64frombits(b), 0}
	case model.Float32:
		return wide{model.WidenFloat32(uint32(b)), 0}
	case model.Uint64:
		return wideUint(b)
	}
	return wideInt(int64(b))
}

func numeric(t model.Type) bool { return t >= model.Float64 && t <= model.Uint64 }
func states(t model.Type) bool  { return t == model.Bool || t == model.State }

// sameValue compares as people do: 0 is -0, and one NaN is like another.
func sameValue(t model.Type, a, b uint64) bool {
	if a == b || !t.Float() {
		return a == b
	}
	x, y := wideValue(t, a).hi, wideValue(t, b).hi
	return x == y || x != x && y != y
}

// less compares values that are not NaN.
func less(t model.Type, a, b uint64) bool {
	switch t {
	case model.Float64, model.Float32:
		return wideValue(t, a).hi < wideValue(t, b).hi
	case model.Uint64:
		return a < b
	}
	return int64(a) < int64(b)
}

func isNaN(t model.Type, b uint64) bool {
	v := wideValue(t, b).hi
	return t.Float() && v != v
}
