package catalog

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/varvedb/varve/model"
)

// The payload of a catalogue record in the log; see docs/format/catalog.md. The numbers reach disk and are never
// renumbered; zero is never written.
const (
	recordVersion  = 1
	recordVersion2 = 2 // of a record that puts a calendar or calculation, and of no other

	changeCreate      = 1
	changeUpdate      = 2
	changeRename      = 3
	changePutStateSet = 4
	changePutCalendar = 5

	changePutCalculation = 6
)

// Which fields an update carries, one bit each.
const (
	updateDescription = 1 << iota
	updateSpanLow
	updateSpanHigh
	updateException
	updateCompression
	updateRetention
	updateSettings
	updateKnown = 1<<iota - 1
)

// AppendChanges appends the payload of a log record to dst. Every change must have passed [Catalog.Check]; one that
// sets no field, or several, panics, since no record can say it.
func AppendChanges(dst []byte, changes []Change) []byte {
	version := byte(recordVersion)
	if slices.ContainsFunc(changes, needsVersion2) {
		version = recordVersion2
	}
	dst = binary.AppendUvarint(append(dst, version), uint64(len(changes)))
	for i := range changes {
		dst = appendChange(dst, &changes[i])
	}
	return dst
}

func needsVersion2(ch Change) bool { return ch.PutCalendar != nil || ch.PutCalculation != nil }

func appendChange(b []byte, ch *Change) []byte {
	if err := ch.checkOne(); err != nil {
		panic(err)
	}
	switch {
	case ch.Create != nil:
		return appendTag(append(b, changeCreate), &ch.Create.Tag)
	case ch.Update != nil:
		return appendUpdate(append(b, changeUpdate), ch.Update)
	case ch.Rename != nil:
		b = binary.LittleEndian.AppendUint32(append(b, changeRename), uint32(ch.Rename.ID))
		return appendTime(appendText(b, ch.Rename.NewName), ch.Rename.From)
	case ch.PutCalendar != nil:
		x := &ch.PutCalendar.Calendar
		return appendText(appendText(append(b, changePutCalendar), x.Name), x.Definition)
	case ch.PutCalculation != nil:
		x := &ch.PutCalculation.Calculation
		return appendText(appendTime(appendText(append(b, changePutCalculation), x.Name), x.From), x.Expression)
	}
	s := &ch.PutStateSet.Set
	b = appendTime(appendText(append(b, changePutStateSet), s.Name), s.From)
	return appendStates(b, s.States)
}

func appendUpdate(b []byte, u *Update) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(u.ID))
	at := len(b)
	b = append(b, 0)
	if u.Description != nil {
		b[at] |= updateDescription
		b = appendText(b, *u.Description)
	}
	if u.SpanLow != nil {
		b[at] |= updateSpanLow
		b = appendFloat(b, *u.SpanLow)
	}
	if u.SpanHigh != nil {
		b[at] |= updateSpanHigh
		b = appendFloat(b, *u.SpanHigh)
	}
	if u.Exception != nil {
		b[at] |= updateException
		b = appendFilter(b, *u.Exception)
	}
	if u.Compression != nil {
		b[at] |= updateCompression
		b = appendFilter(b, *u.Compression)
	}
	if u.Retention != nil {
		b[at] |= updateRetention
		b = appendText(b, *u.Retention)
	}
	if u.Settings != nil {
		b[at] |= updateSettings
		b = appendSettings(b, u.Settings)
	}
	return appendAttributes(b, u.SetAttributes)
}

// DecodeChanges undoes AppendChanges. What it accepts, AppendChanges writes again byte for byte.
func DecodeChanges(b []byte) ([]Change, error) {
	if len(b) == 0 {
		return nil, fmt.Errorf("decode catalogue record: no bytes: %w", ErrCorrupt)
	}
	if b[0] == 0 || b[0] > recordVersion2 {
		return nil, fmt.Errorf("decode catalogue record: version %d, newest known is %d: %w", b[0], recordVersion2, ErrVersion)
	}
	r := &reader{b: b[1:]}
	n := r.count(leastChangeBytes, MaxChanges)
	changes := make([]Change, 0, min(n, 64))
	for i := 0; i < n && r.err == nil; i++ {
		changes = append(changes, r.change())
	}
	if r.err == nil && slices.ContainsFunc(changes, needsVersion2) != (b[0] == recordVersion2) {
		r.fail(fmt.Errorf("version %d of a record with other changes than it is for", b[0]))
	}
	if err := r.end(); err != nil {
		return nil, fmt.Errorf("decode catalogue record of %d bytes: change %d of %d: %w: %w", len(b), len(changes), n, err, ErrCorrupt)
	}
	return changes, nil
}

const leastChangeBytes = 5 // a calendar of one letter and one brace

func (r *reader) change() (ch Change) {
	switch kind := r.byte(); kind {
	case changeCreate:
		ch.Create = &Create{}
		r.tag(&ch.Create.Tag)
	case changeUpdate:
		ch.Update = r.update()
	case changeRename:
		ch.Rename = &Rename{ID: r.id(), NewName: r.text(), From: r.time()}
	case changePutStateSet:
		ch.PutStateSet = &PutStateSet{Set: model.StateSet{Name: r.text(), From: r.time(), States: r.states()}}
	case changePutCalendar:
		ch.PutCalendar = &PutCalendar{Calendar: model.Calendar{Name: r.text(), Definition: r.text()}}
	case changePutCalculation:
		ch.PutCalculation = &PutCalculation{Calculation: model.Calculation{Name: r.text(), From: r.time(), Expression: r.text()}}
	default:
		r.fail(fmt.Errorf("kind of change %d is unknown", kind))
	}
	return ch
}

func (r *reader) id() model.TagID {
	if v := r.bytes(4); v != nil {
		return model.TagID(binary.LittleEndian.Uint32(v))
	}
	return 0
}

func (r *reader) update() *Update {
	u := &Update{ID: r.id()}
	has := r.byte()
	if has&^byte(updateKnown) != 0 {
		r.fail(fmt.Errorf("update of unknown fields %02x", has))
	}
	u.Description = optional(has&updateDescription != 0, r.text)
	u.SpanLow = optional(has&updateSpanLow != 0, r.float)
	u.SpanHigh = optional(has&updateSpanHigh != 0, r.float)
	u.Exception = optional(has&updateException != 0, r.filter)
	u.Compression = optional(has&updateCompression != 0, r.filter)
	u.Retention = optional(has&updateRetention != 0, r.text)
	u.Settings = optional(has&updateSettings != 0, r.settings)
	u.SetAttributes = r.attributes(model.MaxAttributes)
	return u
}

func optional[T any](present bool, read func() T) *T {
	if !present {
		return nil
	}
	v := read()
	return &v
}
