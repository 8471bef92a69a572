// Package exception chooses which samples a collector sends: the exception filter, also called dead band.
//
// A sample is sent when its value is farther than the deviation from the last one sent, and the sample before it is sent
// with it, at its own time, so that a step stays a step. A stepped tag has no need of that one, because readers hold its
// values. What package filter promises of both filters holds.
//
// # The bound
//
// Without a minimum time, no sample left out is farther than the deviation from the value sent before it, which is what a
// reader of a stepped tag gets: at most the deviation plus half a unit in the last place. A reader that draws lines between
// the samples sent is at most twice the deviation away, because both ends of a line across something left out lie within
// the deviation of the first. [filter.Kept.MaxError] is measured against the value sent before.
//
// With a minimum time an excursion that is over before it has passed is left out whatever its size; MaxError tells.
package exception

import (
	"encoding/binary"
	"math"

	"github.com/varvedb/varve/compression/filter"
	"github.com/varvedb/varve/model"
)

// Filter is the exception filter of one tag. It serves one goroutine at a time.
type Filter struct {
	settings filter.Settings
	newest   filter.Newest

	// What newest is compared with: the last sample sent. For words it equals newest, so its value is not kept twice.
	kind  filter.Kind // 0: nothing was sent that could be compared
	sent  int64
	value float64

	dropped int // since then
	worst   float64
}

// New is a filter that has seen nothing.
func New(s filter.Settings) (*Filter, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	return &Filter{settings: s}, nil
}

// Newest is the newest sample seen, and whether it was sent; ok is false if there is none.
func (f *Filter) Newest() (x model.Sample, sent, ok bool) {
	return f.newest.Sample, !f.newest.Pending, f.newest.Known
}

// Add takes the tag's next sample and appends what is to be sent to dst: none, x, or the sample before it and x. It
// allocates nothing where dst has room for two and x is no new text. The bytes of a text stay the caller's.
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
		return f.send(f.Flush(dst), x)
	}
	v, kind := f.settings.Read(x)
	if kind == filter.Alone || kind != f.kind || !f.newest.Alike(x) {
		return f.send(f.Flush(dst), x)
	}
	if f.newest.Pending && f.settings.Past(f.sent, x.Time) {
		dst = f.Flush(dst)
	}
	passed := filter.Elapsed(f.sent, x.Time)
	switch {
	case kind == filter.Word && !f.newest.SameValue(x):
		f.drop()
		return f.send(dst, x)
	case kind == filter.Number && !f.settings.Within(f.value, v) && passed >= f.settings.MinTime:
		if !f.settings.Stepped && filter.Elapsed(f.sent, f.newest.Time) >= f.settings.MinTime {
			dst = f.Flush(dst)
		}
		f.drop()
		return f.send(dst, x)
	}
	f.drop()
	if f.settings.MaxTime > 0 && passed >= f.settings.MaxTime {
		return f.send(dst, x)
	}
	f.newest.Set(x, true)
	return dst
}

// Flush appends the newest sample to dst unless it was sent: before a collector stops, or where the server must see
// that a value still stands. The filter goes on from it.
func (f *Filter) Flush(dst []filter.Kept) []filter.Kept {
	if !f.newest.Pending {
		return dst
	}
	return f.send(dst, f.newest.Sample)
}

func (f *Filter) send(dst []filter.Kept, x model.Sample) []filter.Kept {
	f.newest.Set(x, false)
	dst = append(dst, filter.Kept{Sample: f.newest.Sample, Dropped: f.dropped, MaxError: f.worst})
	f.value, f.kind = f.settings.Read(x)
	f.sent, f.dropped, f.worst = x.Time, 0, 0
	return dst
}

// drop gives up the newest sample if it was not sent.
func (f *Filter) drop() {
	if !f.newest.Pending {
		return
	}
	f.newest.Pending = false
	f.dropped++
	if f.kind == filter.Number {
		v, _ := f.settings.Read(f.newest.Sample)
		f.worst = max(f.worst, math.Abs(v-f.value))
	}
}

const stateVersion = 1 // reaches stored states

// AppendState appends all that Restore needs to go on after a restart: docs/reference/filters.md, "State".
func (f *Filter) AppendState(b []byte) []byte {
	b = filter.AppendSettings(append(b, stateVersion), f.settings)
	b = filter.AppendNewest(b, &f.newest)
	b = binary.LittleEndian.AppendUint64(append(b, byte(f.kind)), uint64(f.sent))
	b = filter.AppendFloat(b, f.value)
	b = binary.LittleEndian.AppendUint64(b, uint64(f.dropped))
	return filter.AppendFloat(b, f.worst)
}

// Restore is the filter whose AppendState gave state. Where the settings are others than it had then, it sends the newest
// sample and the next one, and begins anew with them. The error wraps [filter.ErrSettings], [filter.ErrCorrupt] or
// [filter.ErrVersion].
func Restore(s filter.Settings, state []byte) (*Filter, error) {
	f, err := New(s)
	if err != nil {
		return nil, err
	}
	r := filter.State{Rest: state}
	r.Version(stateVersion)
	before := r.Settings()
	f.newest = r.Newest()
	f.kind = filter.Kind(r.Byte())
	f.sent, f.value = r.Int64(), r.Finite()
	f.dropped, f.worst = int(r.Int64()), r.Float()
	if f.kind > filter.Number || f.dropped < 0 || f.kind != 0 && f.sent > f.newest.Time {
		r.Fail("kind %d, sent at %d, %d dropped", f.kind, f.sent, f.dropped)
	}
	if err := r.End(); err != nil {
		return nil, err
	}
	if before != s {
		f.kind = 0
	}
	return f, nil
}
