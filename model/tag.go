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
