package swingingdoor

import (
	"encoding/binary"
	"math"

	"github.com/varvedb/varve/compression/filter"
	"github.com/varvedb/varve/model"
)

// Form is how closely the bound is kept. The numbers reach stored states and are never renumbered.
type Form uint8

const (
	// Strict keeps the bound as doubles have it, and every change of a stepped tag. A minimum time gives way to it, so that it
	// changes nothing.
	Strict Form = 0
	// Textbook compares slopes as they are rounded, numbers of a stepped tag with the one kept last by the deviation, and leaves out
	// whatever comes sooner after the last sample kept than the minimum time. It is there to repeat what other historians kept; without a minimum time it exceeds the deviation by
	// rounding only.
	Textbook Form = 1
)

// Filter is the compression-deviation filter of one tag: 208 bytes, and 384 at most for the outline of what was left out. It
// serves one goroutine at a time.
type Filter struct {
	settings filter.Settings
	newest   filter.Newest
	form     Form

	// What newest is compared with: the last sample kept. For words it equals newest, so its value is not kept twice.
	kind filter.Kind // 0: nothing was kept that could be compared
	door door

	// What was left out since then: how many, for a stepped tag how far the farthest, for others where they lie.
	dropped int
	worst   float64
	left    outline
}

// New is a filter that has seen nothing.
func New(s filter.Settings, form Form) (*Filter, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	return &Filter{settings: s, form: form}, nil
}

// Newest is the snapshot value, and whether it is archived already. While it is not it is provisional: it may be left out.
// ok is false if there is none.
func (f *Filter) Newest() (x model.Sample, archived, ok bool) {
	return f.newest.Sample, !f.newest.Pending, f.newest.Known
}

// Add takes the tag's next sample and appends what is to be archived to dst: none, the newest sample so far, x, or both. It
// allocates nothing per sample where dst has room for two and x is no new text. A text handed on may share memory with x.
func (f *Filter) Add(dst []filter.Kept, x model.Sample) []filter.Kept {
	order := f.newest.Order(x)
	if f.settings.Off() {
		if order != filter.Older {
			f.newest.Set(x, false)
		}
		return append(dst, filter.Kept{Sample: x})
	}
	switch order {
	case filter.Resend:
		return dst
	case filter.Older:
		return f.Flush(append(dst, filter.Kept{Sample: x}))
	case filter.Beside:
		return f.keep(f.Flush(dst), x)
	}
	v, kind := f.read(x)
	if kind == filter.Alone || kind != f.kind || !f.newest.Alike(x) {
		return f.keep(f.Flush(dst), x)
	}
	if f.newest.Pending && f.settings.Past(f.door.time, x.Time) {
		dst = f.Flush(dst)
	}
	switch {
	case f.settings.Stepped || kind == filter.Word:
		if kind == filter.Word && !f.newest.SameValue(x) || kind == filter.Number && f.changed(x.Time, v) {
			f.drop()
			return f.keep(dst, x)
		}
	case f.newest.Pending && !f.door.passes(x.Time, v) && !f.tooSoon(f.newest.Time):
		dst = f.Flush(dst)
	}
	f.drop()
	f.newest.Set(x, true)
	if kind == filter.Number && !f.settings.Stepped {
		d := f.settings.Deviation
		if f.form == Strict {
			d = f.settings.Line(x.Type)
		}
		f.door.close(x.Time, v, d, f.form)
	}
	return dst
}

// read is how x can be compared. No change of a stepped tag is too small to keep but in the textbook form: a setpoint or a position
// was set to what it is, and there is no line that it lies near.
func (f *Filter) read(x model.Sample) (float64, filter.Kind) {
	v, kind := f.settings.Read(x)
	if kind == filter.Number && f.settings.Stepped && f.form == Strict {
		return 0, filter.Word
	}
	return v, kind
}

// Flush appends the newest sample to dst unless it is archived: at the end of the samples, before settings change, or where
// what is shown has to be on disk. The filter goes on from it.
func (f *Filter) Flush(dst []filter.Kept) []filter.Kept {
	if !f.newest.Pending {
		return dst
	}
	return f.keep(dst, f.newest.Sample)
}

func (f *Filter) changed(t int64, v float64) bool {
	return !f.settings.Within(f.door.value, v) && !f.tooSoon(t)
}

func (f *Filter) tooSoon(t int64) bool {
	return f.form == Textbook && filter.Elapsed(f.door.time, t) < f.settings.MinTime
}

func (f *Filter) keep(dst []filter.Kept, x model.Sample) []filter.Kept {
	v, kind := f.read(x)
	k := filter.Kept{Dropped: f.dropped}
	if f.dropped > 0 && f.kind == filter.Number {
		k.MaxError = f.measured(x.Time, v)
	}
	f.newest.Set(x, false)
	k.Sample = f.newest.Sample
	f.kind, f.door = kind, hang(x.Time, v)
	f.dropped, f.worst = 0, 0
	f.left.reset()
	return append(dst, k)
}

// drop gives up the newest sample if it is not archived.
func (f *Filter) drop() {
	if !f.newest.Pending {
		return
	}
	f.newest.Pending = false
	f.dropped++
	if f.kind != filter.Number {
		return
	}
	if v, _ := f.read(f.newest.Sample); f.settings.Stepped {
		f.worst = max(f.worst, math.Abs(v-f.door.value))
	} else {
		f.left.add(f.newest.Time, v)
	}
}

// measured is how far the samples left out are from what stands for them now that the one at (t, v) is kept.
func (f *Filter) measured(t int64, v float64) float64 {
	if f.settings.Stepped {
		return f.worst
	}
	at, most := f.left.line(f.door.time, f.door.value, t, v)
	if f.form == Strict {
		most = min(most, max(at, f.settings.Deviation))
	}
	return most
}

const stateVersion = 1 // reaches stored states

// AppendState appends all that Restore needs to go on after a restart: docs/reference/filters.md, "State".
func (f *Filter) AppendState(b []byte) []byte {
	b = filter.AppendSettings(append(b, stateVersion), f.settings)
	b = filter.AppendNewest(append(b, byte(f.form)), &f.newest)
	b = binary.LittleEndian.AppendUint64(append(b, byte(f.kind)), uint64(f.door.time))
	b = filter.AppendFloat(b, f.door.value)
	b = filter.AppendFloat(filter.AppendFloat(b, f.door.low), f.door.high)
	b = filter.AppendFloat(binary.LittleEndian.AppendUint64(b, uint64(f.dropped)), f.worst)
	return f.left.appendState(b)
}

// Restore is the filter whose AppendState gave state. Where the settings or the form are others than it had then, it keeps
// the newest sample and the next one, and hangs a new door there: other settings never change what is archived. The error
// wraps [filter.ErrSettings], [filter.ErrCorrupt] or [filter.ErrVersion].
func Restore(s filter.Settings, form Form, state []byte) (*Filter, error) {
	f, err := New(s, form)
	if err != nil {
		return nil, err
	}
	r := filter.State{Rest: state}
	r.Version(stateVersion)
	before, formBefore := r.Settings(), Form(r.Byte())
	f.newest = r.Newest()
	f.kind = filter.Kind(r.Byte())
	f.door.time, f.door.value = r.Int64(), r.Finite()
	f.door.low, f.door.high = r.Float(), r.Float()
	f.dropped, f.worst = int(r.Int64()), r.Float()
	if formBefore > Textbook || f.kind > filter.Number || f.dropped < 0 || f.kind != 0 && f.door.time > f.newest.Time {
		r.Fail("form %d, kind %d, kept at %d, %d dropped", formBefore, f.kind, f.door.time, f.dropped)
	}
	f.left.restore(&r, f.door.time, f.newest.Time)
	if err := r.End(); err != nil {
		return nil, err
	}
	if before != s || formBefore != form {
		f.kind = 0
	}
	return f, nil
}
