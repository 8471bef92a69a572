// Package tuning replays recorded samples through the filters, and says what their settings would have cost: how many
// samples stay, how far readers would be from what was measured, and which crossings of a limit would be seen at another
// time or not at all.
package tuning

import (
	"cmp"
	"math"
	"slices"

	"github.com/varvedb/varve/compression/filter"
	"github.com/varvedb/varve/compression/swingingdoor"
	"github.com/varvedb/varve/model"
)

// Settings are those of both filters, one behind the other. Stepped must be the same in both.
type Settings struct {
	Exception   filter.Settings
	Compression filter.Settings
	Form        swingingdoor.Form
}

// Report is what settings do to a series.
type Report struct {
	Samples int // replayed
	Sent    int // left by the exception filter
	Kept    int // left by both

	// Errors of the Good numbers of the series against what a reader finds at their times in what is kept. The number of a
	// sample that was kept has none.
	Numbers    int
	WorstError float64
	WorstTime  int64 // of the first sample with the worst error
	RMSError   float64
	Lost       int // Good samples for whose time nothing kept has a value, or another state or text: a late sample came between

	Passed    int        // crossings of the series, and those invented
	Moved     int        // of them: in what is kept at another time
	Missed    int        // of them: lost
	Invented  int        // of them
	Crossings []Crossing // by limit, then time; at most MaxCrossings of them, the first to pass
}

// MaxCrossings is how many crossings a report lists. More are counted.
const MaxCrossings = 10_000

// KeptRatio is the part of the samples that is kept, which is about the part of the bytes; 1 for no samples.
func (r *Report) KeptRatio() float64 {
	if r.Samples == 0 {
		return 1
	}
	return float64(r.Kept) / float64(r.Samples)
}

// Crossing is a value passing a limit: from at most the limit to above it, or back. On a sloped tag that is where the line
// meets the limit, to the nearest nanosecond; on a stepped one when the sample behind comes.
type Crossing struct {
	Limit  float64
	Rising bool
	// Measured and Filtered are its times in the series and in what the filters keep of it. Lost: the second does not have
	// it. Invented: the first does not, which only late samples can bring about.
	Measured, Filtered int64
	Lost, Invented     bool
}

// Replay runs the samples, in the order in which they came, through both filters, and returns what is kept ascending by
// (time, seq). Limits are in the tag's unit.
func Replay(samples *model.Samples, set Settings, limits ...float64) (Report, model.Samples, error) {
	kept := model.Samples{Type: samples.Type}
	r, err := New(set, kept.Append, limits...)
	if err != nil {
		return Report{}, kept, err
	}
	if err := r.Add(samples); err != nil {
		return Report{}, kept, err
	}
	return r.End(), kept, nil
}

// ordered is the samples as they stand in an archive: by (time, seq), of several at one place the one that came last.
func ordered(s []model.Sample) []model.Sample {
	slices.SortStableFunc(s, place)
	n := 0
	for i, x := range s {
		if i > 0 && place(s[n-1], x) == 0 {
			n--
		}
		s[n] = x
		n++
	}
	return s[:n]
}

func place(a, b model.Sample) int {
	return cmp.Or(cmp.Compare(a.Time, b.Time), cmp.Compare(a.Seq, b.Seq))
}

// comparison reads samples as the filters did.
type comparison struct {
	read    func(model.Sample) (float64, filter.Kind)
	stepped bool
}

// errors adds those of the samples of all to a report, and returns the sum of their squares.
func (c comparison) errors(r *Report, all, kept []model.Sample) (squares float64) {
	behind := 0 // first kept sample behind x
	for _, x := range all {
		for behind < len(kept) && place(kept[behind], x) <= 0 {
			behind++
		}
		v, kind := c.read(x)
		if kind == filter.Alone {
			continue
		}
		if behind == 0 {
			r.Lost++
			continue
		}
		before := kept[behind-1]
		if kind == filter.Word {
			if !before.SameValue(x) {
				r.Lost++
			}
			continue
		}
		got, ok := c.value(before, kept[behind:], x.Time)
		if !ok {
			r.Lost++
			continue
		}
		e := math.Abs(got - v)
		if e > r.WorstError || r.Numbers == 0 {
			r.WorstError, r.WorstTime = e, x.Time
		}
		squares += float64(e * e)
		r.Numbers++
	}
	return squares
}

// value is what a reader finds at t, which is before's time or lies between it and the first of after.
func (c comparison) value(before model.Sample, after []model.Sample, t int64) (float64, bool) {
	v0, kind := c.read(before)
	if kind != filter.Number {
		return 0, false
	}
	if t == before.Time || c.stepped || len(after) == 0 {
		return v0, true
	}
	v1, kind := c.read(after[0])
	if kind != filter.Number {
		return v0, true
	}
	v := model.OnLine(before.Time, v0, after[0].Time, v1, t)
	if !before.Type.Float() {
		v = math.Round(v)
	}
	return v, true
}

// crossing is one of a series; it lies between a sample and the next one, which has the time next.
type crossing struct {
	rising   bool
	at, next int64
}

// of is the crossings of a series. Where a sample has no number, nobody knows when the limit was passed.
func (c comparison) of(s []model.Sample, limit float64) (found []crossing) {
	for i := 1; i < len(s); i++ {
		v0, kind0 := c.read(s[i-1])
		v1, kind1 := c.read(s[i])
		if kind0 != filter.Number || kind1 != filter.Number || (v0 > limit) == (v1 > limit) {
			continue
		}
		x := crossing{rising: v1 > limit, at: s[i].Time, next: s[i].Time}
		if !c.stepped {
			// Halves, so that the distance of the farthest doubles does not overflow.
			share := (float64(limit/2) - float64(v0/2)) / (float64(v1/2) - float64(v0/2))
			x.at = between(s[i-1].Time, s[i].Time, share)
		}
		found = append(found, x)
	}
	return found
}

// between is the instant at a share of the way from t0 to t1.
func between(t0, t1 int64, share float64) int64 {
	whole := uint64(t1) - uint64(t0)
	part := math.Round(share * float64(whole))
	if part >= float64(whole) {
		return t1
	}
	return t0 + int64(uint64(part))
}

// crossings sets those of the series and those of what is kept side by side. Every kept sample is one of the series, so
// between two of them the series crosses at least as often as the line, and as often modulo two: the line's one crossing
// is the nearest of the series' in the same direction, and the others are lost.
func (c comparison) crossings(all, kept []model.Sample, limit float64) (out []Crossing) {
	measured, filtered := c.of(all, limit), c.of(kept, limit)
	for _, end := range kept {
		n := 0
		for n < len(measured) && measured[n].next <= end.Time {
			n++
		}
		var here []Crossing
		for _, m := range measured[:n] {
			here = append(here, Crossing{Limit: limit, Rising: m.rising, Measured: m.at, Lost: true})
		}
		measured = measured[n:]
		for len(filtered) > 0 && filtered[0].next <= end.Time {
			f := filtered[0]
			filtered = filtered[1:]
			nearest := -1
			for i, m := range here {
				if m.Lost && m.Rising == f.rising && (nearest < 0 || distance(m.Measured, f.at) < distance(here[nearest].Measured, f.at)) {
					nearest = i
				}
			}
			if nearest < 0 {
				here = append(here, Crossing{Limit: limit, Rising: f.rising, Filtered: f.at, Invented: true})
				continue
			}
			here[nearest].Filtered, here[nearest].Lost = f.at, false
		}
		out = append(out, here...)
	}
	return out
}

func distance(a, b int64) uint64 { return uint64(max(a, b)) - uint64(min(a, b)) }
