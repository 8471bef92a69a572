package session

import (
	"math"
	"slices"

	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// RunBuilder collects samples of one tag and makes a Run of them, with the times in the shortest of the ways a Run has.
// The zero value of its fields but Type is ready for use.
type RunBuilder struct {
	ID   model.TagID // or
	Name string
	Type model.Type
	Mode varvev1.WriteMode

	times   []int64
	bits    []uint64
	text    []string
	quality []model.Quality // nil: all Good
	null    []uint32
}

// Len is the number of samples.
func (r *RunBuilder) Len() int { return len(r.times) }

// Add adds a sample with a value that is no text: its bits as in model.Samples.
func (r *RunBuilder) Add(t int64, bits uint64, q model.Quality) {
	r.add(t, q)
	r.bits = append(r.bits, bits)
}

// AddText adds a sample of type string or bytes.
func (r *RunBuilder) AddText(t int64, text string, q model.Quality) {
	r.add(t, q)
	r.text = append(r.text, text)
}

// AddNull adds a sample without a value.
func (r *RunBuilder) AddNull(t int64, q model.Quality) {
	r.null = append(r.null, uint32(len(r.times)))
	if r.Type.Blob() {
		r.AddText(t, "", q)
	} else {
		r.Add(t, 0, q)
	}
}

func (r *RunBuilder) add(t int64, q model.Quality) {
	r.times = append(r.times, t)
	if q != model.Good && r.quality == nil {
		r.quality = make([]model.Quality, len(r.times)-1, cap(r.times))
	}
	if r.quality != nil {
		r.quality = append(r.quality, q)
	}
}

// Reset empties the builder and keeps its memory. Runs made before stay whole.
func (r *RunBuilder) Reset() {
	r.times, r.bits, r.text, r.null, r.quality = r.times[:0], r.bits[:0], r.text[:0], r.null[:0], nil
}

// sampleBytes is about what a number and its time take in a message.
const sampleBytes = 12

// Cut is where the run that begins at sample from must end to have at most maxSamples and, unless it is one sample,
// maxBytes of about so many bytes.
func (r *RunBuilder) Cut(from, maxSamples, maxBytes int) (to, bytes int) {
	bytes = len(r.Name) + sampleBytes
	for to = from; to < r.Len() && to-from < maxSamples; to++ {
		size := sampleBytes
		if r.Type.Blob() {
			size += len(r.text[to])
		}
		if to > from && bytes+size > maxBytes {
			break
		}
		bytes += size
	}
	return to, bytes
}

// Run is the samples [from, to) as a run that shares no memory with the builder.
func (r *RunBuilder) Run(from, to int) *varvev1.Run {
	out := &varvev1.Run{}
	r.Fill(out, from, to)
	return out
}

// Fill makes an empty run what Run returns.
func (r *RunBuilder) Fill(out *varvev1.Run, from, to int) {
	out.TagId, out.Tag, out.Mode = uint32(r.ID), r.Name, r.Mode
	SetTimes(out, r.times[from:to])
	r.setValues(out, from, to)
	if r.quality != nil {
		setQuality(out, r.quality[from:to])
	}
	for _, i := range r.null {
		if int(i) >= from && int(i) < to {
			out.NullAt = append(out.NullAt, i-uint32(from))
		}
	}
}

func (r *RunBuilder) setValues(out *varvev1.Run, from, to int) {
	n := to - from
	switch r.Type {
	case model.Float64:
		out.Float64 = make([]float64, n)
		for i, b := range r.bits[from:to] {
			out.Float64[i] = math.Float64frombits(b)
		}
	case model.Float32:
		out.Float32 = make([]float32, n)
		for i, b := range r.bits[from:to] {
			out.Float32[i] = math.Float32frombits(uint32(b))
		}
	case model.Int64, model.State:
		v := make([]int64, n)
		for i, b := range r.bits[from:to] {
			v[i] = int64(b)
		}
		if r.Type == model.State {
			out.State = v
		} else {
			out.Int64 = v
		}
	case model.Uint64:
		out.Uint64 = append([]uint64(nil), r.bits[from:to]...)
	case model.Bool:
		out.Bool = make([]bool, n)
		for i, b := range r.bits[from:to] {
			out.Bool[i] = b != 0
		}
	case model.String:
		out.Text = append([]string(nil), r.text[from:to]...)
	case model.Bytes:
		out.Blob = make([][]byte, n)
		for i, s := range r.text[from:to] {
			out.Blob[i] = []byte(s)
		}
	}
}

// SetTimes gives a run its times: as start and step where they are regular, else as differences in the largest unit that
// loses nothing, else, where a difference does not fit, each as it is.
func SetTimes(out *varvev1.Run, times []int64) {
	if len(times) == 0 {
		return
	}
	if step, ok := regular(times); ok {
		out.FirstTimeNs, out.StepNs, out.Count = times[0], step, uint32(len(times))
		return
	}
	unit, ok := timeUnit(times)
	if !ok {
		out.TimesNs = append([]int64(nil), times...)
		return
	}
	out.FirstTimeNs, out.TimeUnitNs = times[0], uint64(unit)
	out.TimeDeltas = make([]int64, len(times)-1)
	for i := range out.TimeDeltas {
		out.TimeDeltas[i] = (times[i+1] - times[i]) / unit
	}
}

// maxStepRun is the most samples the protocol allows a run of regular times.
const maxStepRun = 1_000_000

func regular(times []int64) (step int64, ok bool) {
	if len(times) > maxStepRun {
		return 0, false
	}
	if len(times) == 1 {
		return 0, true
	}
	step, ok = difference(times[1], times[0])
	for i := 2; ok && i < len(times); i++ {
		d, fits := difference(times[i], times[i-1])
		ok = fits && d == step
	}
	return step, ok
}

// timeUnit is the largest of second, millisecond, microsecond and nanosecond that divides every difference. It reports
// false where a difference overflows.
func timeUnit(times []int64) (int64, bool) {
	unit := int64(1_000_000_000)
	for i := 1; i < len(times); i++ {
		d, ok := difference(times[i], times[i-1])
		if !ok {
			return 0, false
		}
		for d%unit != 0 {
			unit /= 1000
		}
	}
	return unit, true
}

func difference(a, b int64) (int64, bool) {
	d := a - b
	return d, (a >= b) == (d >= 0)
}

func setQuality(out *varvev1.Run, q []model.Quality) {
	for i := 0; i < len(q); {
		j := i + 1
		for j < len(q) && q[j] == q[i] {
			j++
		}
		out.QualityCode = append(out.QualityCode, uint32(q[i]))
		out.QualityCount = append(out.QualityCount, uint32(j-i))
		i = j
	}
	if len(out.QualityCode) == 1 && out.QualityCode[0] == uint32(model.Good) {
		out.QualityCode, out.QualityCount = nil, nil
	}
}

// RunLen is the number of samples of a run as its times say.
func RunLen(r *varvev1.Run) int {
	switch {
	case len(r.TimesNs) > 0:
		return len(r.TimesNs)
	case r.Count > 0:
		return int(r.Count)
	case len(r.TimeDeltas) > 0:
		return len(r.TimeDeltas) + 1
	}
	return 0
}

// Times is the earliest and the latest time of some samples of a run. It reports false where it has none of them.
func Times(r *varvev1.Run, first, count int) (from, to int64, ok bool) {
	n := RunLen(r)
	if first < 0 || count <= 0 || first >= n {
		return 0, 0, false
	}
	end := min(first+count, n)
	switch {
	case len(r.TimesNs) > 0:
		return slices.Min(r.TimesNs[first:end]), slices.Max(r.TimesNs[first:end]), true
	case r.Count > 0:
		a, b := r.FirstTimeNs+int64(first)*r.StepNs, r.FirstTimeNs+int64(end-1)*r.StepNs
		return min(a, b), max(a, b), true
	}
	at, unit := r.FirstTimeNs, int64(max(r.TimeUnitNs, 1))
	from, to = math.MaxInt64, math.MinInt64
	for i := range end {
		if i > 0 {
			at += r.TimeDeltas[i-1] * unit
		}
		if i >= first {
			from, to = min(from, at), max(to, at)
		}
	}
	return from, to, true
}
