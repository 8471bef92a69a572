package model

import (
	"errors"
	"fmt"
	"math"
	"time"
	"unicode"
	"unicode/utf8"
)

// Limits on what a catalogue accepts. They are part of the interface: a longer name is refused, never cut.
const (
	MaxNameBytes      = 1024
	MaxAttributes     = 64
	MaxAttributeBytes = 4096
	MaxBlobBytes      = 1 << 20 // one string or bytes value
)

// ErrTagNotFound is the answer to an id or name that no tag has.
var ErrTagNotFound = errors.New("tag not found")

// UUID is a tag's identity on every server, in RFC 9562 byte order.
type UUID [16]byte

func (u UUID) String() string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[0:4], u[4:6], u[6:8], u[8:10], u[10:16])
}

// Settings are the parts of a tag that change what its samples mean. They are dated: a read uses those in force at the
// sample's time.
type Settings struct {
	From     int64 // in force from this time on, nanoseconds UTC; MinTime for the first
	Type     Type
	Stepped  bool          // hold the last value instead of sloping; always true for states, bools, text and bytes
	Epoch    TagID         // which samples of that time are kept by, see Epoch; 0 before the type changed first. Whoever changes settings leaves it 0
	Unit     string        // UCUM code, empty for none
	MaxGap   time.Duration // longest distance to interpolate across; 0 for no limit
	StateSet string        // name of the digital-state set; only for Type State
}

// Filter is an exception or compression-deviation setting; the zero value filters nothing. docs/reference/filters.md has what
// each of the two does with it.
type Filter struct {
	Deviation float64       // in the tag's unit; 0 switches the filter off
	MinTime   time.Duration // no number is sent sooner than this after the last; the archive keeps its bound first
	MaxTime   time.Duration // something is sent or archived at least this often; 0 for no limit
}

// Alias is a name a tag had or has, in force for [From, To).
type Alias struct {
	Name     string
	From, To int64 // To is math.MaxInt64 for the current name
}

// Tag is one named measurement and its settings.
type Tag struct {
	ID          TagID
	UUID        UUID
	Of          TagID  // of a tag as it is in an epoch behind the first: the id of the tag; else 0
	Name        string // current name
	Description string
	SpanLow     float64 // expected range of values, in the tag's unit; both 0 for not stated
	SpanHigh    float64
	Exception   Filter // collector to snapshot
	Compression Filter // snapshot to archive
	Retention   string // retention class, empty for the default
	Attributes  map[string]string
	Settings    []Settings // ascending by From, never empty
	Aliases     []Alias    // ascending by From, the current name last
	Created     int64      // ingest time of the record that made it, nanoseconds UTC
}

// Epoch is a stretch of a tag's history in which its samples are of one type: up to where the next one begins. What a tag has in an
// epoch is kept under an id that only the epoch has, so that no stored thing is of two types.
type Epoch struct {
	From int64 // MinTime for the first
	ID   TagID // of the first the tag's own
	Type Type
}

// OfSpan is a percentage of the tag's span, in the tag's unit: how a deviation given in percent becomes one of [Filter].
func (t *Tag) OfSpan(percent float64) (float64, error) {
	span := t.SpanHigh - t.SpanLow
	if !(span > 0) || math.IsInf(span, 0) {
		return 0, fmt.Errorf("%g %% of the span of %s: its span [%g, %g] is none; set one, or give the deviation in the tag's unit", percent, t.Name, t.SpanLow, t.SpanHigh)
	}
	return percent / 100 * span, nil
}

// Current is the settings in force now: the last of them.
func (t *Tag) Current() Settings { return t.Settings[len(t.Settings)-1] }

// At is the settings in force at an instant.
func (t *Tag) At(instant int64) Settings {
	i := len(t.Settings) - 1
	for i > 0 && t.Settings[i].From > instant {
		i--
	}
	return t.Settings[i]
}

// Retyped reports whether the type of the tag ever changed, or will.
func (t *Tag) Retyped() bool { return t.Of == 0 && t.Settings[len(t.Settings)-1].Epoch != 0 }

// Epochs is the epochs of a tag, ascending; nil where its type never changed.
func (t *Tag) Epochs() []Epoch {
	if !t.Retyped() {
		return nil
	}
	out := []Epoch{{From: MinTime, ID: t.ID, Type: t.Settings[0].Type}}
	for i := range t.Settings {
		if s := &t.Settings[i]; i > 0 && s.Epoch != t.Settings[i-1].Epoch {
			out = append(out, Epoch{From: s.From, ID: s.Epoch, Type: s.Type})
		}
	}
	return out
}

// EpochIDs is the ids that samples of the tag are kept by, in the order of time.
func (t *Tag) EpochIDs() []TagID {
	ids := []TagID{t.ID}
	for i, e := range t.Epochs() {
		if i > 0 {
			ids = append(ids, e.ID)
		}
	}
	return ids
}

// In is the tag as it is in an epoch of it, and the instants of that: under the id that samples are kept by, with the settings of that
// time only. A tag whose type never changed is the only one of itself.
func (t *Tag) In(epoch TagID) (*Tag, TimeRange) {
	if !t.Retyped() {
		return t, All
	}
	e, in := *t, All
	first, last := 0, len(t.Settings)
	if e.ID = epoch; epoch != t.ID {
		e.Of = t.ID
		for first+1 < last && t.Settings[first].Epoch != epoch {
			first++
		}
		in.Start = t.Settings[first].From
	}
	if end := first + 1; end < last {
		for end < last && t.Settings[end].Epoch == t.Settings[first].Epoch {
			end++
		}
		if end < last {
			in.End = t.Settings[end].From
		}
		last = end
	}
	e.Settings = t.Settings[first:last:last]
	return &e, in
}

// KeptBy is the id that a sample of an instant is kept by.
func (t *Tag) KeptBy(instant int64) TagID {
	if !t.Retyped() {
		return t.ID
	}
	if epoch := t.At(instant).Epoch; epoch != 0 {
		return epoch
	}
	return t.ID
}

// Owner is the id that people know a tag by: that of the tag an epoch is of.
func (t *Tag) Owner() TagID {
	if t.Of != 0 {
		return t.Of
	}
	return t.ID
}

// StateSet is one version of a named set of digital states.
type StateSet struct {
	Name    string
	Version uint32         // dense from 1
	From    int64          // in force from this time on, nanoseconds UTC
	States  []DigitalState // ascending by Code
}

// DigitalState is one code of a set and the text it stands for.
type DigitalState struct {
	Code int64
	Text string
}

// Text is the text of a code, and whether the set has it.
func (s *StateSet) Text(code int64) (string, bool) {
	for _, d := range s.States {
		if d.Code == code {
			return d.Text, true
		}
	}
	return "", false
}

// CheckName reports why name cannot be a tag's or set's name: empty, too long, not UTF-8, control characters, or white
// space at either end.
func CheckName(name string) error {
	switch {
	case name == "":
		return errors.New("name is empty")
	case len(name) > MaxNameBytes:
		return fmt.Errorf("name %.40q… has %d bytes, most is %d", name, len(name), MaxNameBytes)
	case !utf8.ValidString(name):
		return fmt.Errorf("name %.40q is not UTF-8", name)
	}
	for _, r := range name {
		if unicode.IsControl(r) {
			return fmt.Errorf("name %.40q has the control character %U", name, r)
		}
	}
	first, _ := utf8.DecodeRuneInString(name)
	last, _ := utf8.DecodeLastRuneInString(name)
	if unicode.IsSpace(first) || unicode.IsSpace(last) {
		return fmt.Errorf("name %.40q begins or ends with white space", name)
	}
	return nil
}
