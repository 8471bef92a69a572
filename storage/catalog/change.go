package catalog

import (
	"cmp"
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/varvedb/varve/model"
)

// Limits beside those of package model. A longer text is refused, never cut.
const (
	MaxDescriptionBytes = 4096
	MaxUnitBytes        = 64
	MaxRetentionBytes   = 256
	MaxSettings         = 1024    // dated entries of one tag
	MaxAliases          = 1024    // names one tag had
	MaxEpochs           = 64      // types one tag had, one after the other
	MaxStates           = 65_536  // of one set
	MaxStateTextBytes   = 1024    // of one state
	MaxStateSetBytes    = 4 << 20 // of all texts of a set
	MaxChanges          = 100_000 // in one record
)

// Change is one change of the catalogue. Exactly one field is set.
type Change struct {
	Create      *Create
	Update      *Update
	Rename      *Rename
	PutStateSet *PutStateSet
	PutCalendar *PutCalendar

	PutCalculation *PutCalculation
}

// Create makes a tag, unless one of that name exists: then the result is the existing one. The caller sets Name, UUID
// (not zero) and Settings with a type, and what it likes of the rest; ID, Aliases and Created are set on apply, and the
// first Settings hold from the beginning of time. A Create without Settings, or without a type in them, only asks for
// an existing tag.
type Create struct{ Tag model.Tag }

// Update changes the fields it carries and leaves the others.
type Update struct {
	ID                     model.TagID
	Description            *string
	SpanLow, SpanHigh      *float64
	Exception, Compression *model.Filter
	Retention              *string
	SetAttributes          map[string]string // an empty value deletes the attribute
	Settings               *model.Settings   // replaces those in force from From on; type 0 keeps the tag's, another one begins an epoch
}

// Rename gives a tag another name from an instant on; From 0 is the ingest time of the record. The old name keeps
// resolving for the period it was in force.
type Rename struct {
	ID      model.TagID
	NewName string
	From    int64
}

// PutStateSet adds a version of a set. Version is set on apply. From 0 is the beginning of time for the first version
// and the ingest time of the record for later ones; with From 0 a set equal to the newest version changes nothing.
type PutStateSet struct{ Set model.StateSet }

// Result is what became of one change.
type Result struct {
	Tag         *model.Tag         // made, changed or found
	StateSet    *model.StateSet    // of a PutStateSet
	Calendar    *model.Calendar    // of a PutCalendar
	Calculation *model.Calculation // of a PutCalculation
	Created     bool               // the tag or the version of the set, calendar or calculation is new
	Err         error              // the change did nothing
}

// checkOne reports whether exactly one field is set.
func (ch *Change) checkOne() error {
	n := 0
	for _, set := range []bool{
		ch.Create != nil, ch.Update != nil, ch.Rename != nil, ch.PutStateSet != nil, ch.PutCalendar != nil, ch.PutCalculation != nil,
	} {
		if set {
			n++
		}
	}
	if n != 1 {
		return fmt.Errorf("change the catalogue: %d kinds of change in one: %w", n, ErrBadChange)
	}
	return nil
}

// checkCounts reports whether a tag holds more items than a record or row can.
func checkCounts(t *model.Tag) error {
	if len(t.Settings) > MaxSettings {
		return fmt.Errorf("create tag %.80q: %d settings, most is %d: %w", t.Name, len(t.Settings), MaxSettings, ErrBadSettings)
	}
	if len(t.Attributes) > model.MaxAttributes {
		return fmt.Errorf("create tag %.80q: %d attributes, most is %d: %w", t.Name, len(t.Attributes), model.MaxAttributes, ErrBadSettings)
	}
	return nil
}

// checkNewTag reports what is wrong with a tag to be made, apart from what the rest of the catalogue says.
func checkNewTag(t *model.Tag) error {
	for i := range t.Settings {
		if s := &t.Settings[i]; s.Type != t.Settings[0].Type && s.Type.Valid() {
			return fmt.Errorf("create tag %.80q: settings change the type from %s to %s; make it with the first, then update it: %w",
				t.Name, t.Settings[0].Type, s.Type, ErrTypeMismatch)
		}
	}
	return checkTag(t)
}

// checkTag is checkNewTag of a tag whose type may have changed.
func checkTag(t *model.Tag) error {
	if len(t.Settings) == 0 || t.Settings[0].Type == 0 {
		return fmt.Errorf("create tag %.80q: no type: %w", t.Name, ErrBadSettings)
	}
	for i := range t.Settings {
		s := &t.Settings[i]
		if err := checkSettings(s); err != nil {
			return fmt.Errorf("create tag %.80q: %w", t.Name, err)
		}
		if i > 0 && (s.From <= t.Settings[i-1].From || s.From <= model.MinTime) {
			return fmt.Errorf("create tag %.80q: settings from %d follow settings from %d: %w", t.Name, s.From, t.Settings[i-1].From, ErrBadSettings)
		}
	}
	return checkDescriptive(t)
}

// checkDescriptive reports what is wrong with the parts of a tag that are not dated.
func checkDescriptive(t *model.Tag) error {
	err := cmp.Or(
		checkText("description", t.Description, MaxDescriptionBytes),
		checkText("retention class", t.Retention, MaxRetentionBytes),
		checkFilter("exception", t.Exception),
		checkFilter("compression", t.Compression),
		checkSpan(t.SpanLow, t.SpanHigh),
		checkAttributes(t.Attributes),
	)
	if err != nil {
		return fmt.Errorf("tag %.80q: %w", t.Name, err)
	}
	return nil
}

func checkText(what, s string, most int) error {
	if len(s) > most {
		return fmt.Errorf("%s has %d bytes, most is %d: %w", what, len(s), most, ErrBadSettings)
	}
	if !utf8.ValidString(s) {
		return fmt.Errorf("%s %.40q is not UTF-8: %w", what, s, ErrBadSettings)
	}
	return nil
}

func checkFilter(what string, f model.Filter) error {
	if !(f.Deviation >= 0) || math.IsInf(f.Deviation, 0) || f.MinTime < 0 || f.MaxTime < 0 {
		return fmt.Errorf("%s filter (%g, %s, %s) must be finite and not negative: %w", what, f.Deviation, f.MinTime, f.MaxTime, ErrBadSettings)
	}
	return nil
}

func checkSpan(low, high float64) error {
	if !(low <= high) || math.IsInf(low, 0) || math.IsInf(high, 0) {
		return fmt.Errorf("span from %g to %g must be finite and ascending: %w", low, high, ErrBadSettings)
	}
	return nil
}

func checkAttributes(m map[string]string) error {
	if len(m) > model.MaxAttributes {
		return fmt.Errorf("%d attributes, most is %d: %w", len(m), model.MaxAttributes, ErrBadSettings)
	}
	for _, k := range sortedKeys(m) {
		if k == "" {
			return fmt.Errorf("attribute without a name: %w", ErrBadSettings)
		}
		if err := cmp.Or(checkText("attribute name", k, model.MaxAttributeBytes), checkText("attribute value", m[k], model.MaxAttributeBytes)); err != nil {
			return err
		}
	}
	return nil
}

// checkSettings reports what is wrong with settings by themselves.
func checkSettings(s *model.Settings) error {
	switch {
	case !s.Type.Valid():
		return fmt.Errorf("settings of %s: no such type: %w", s.Type, ErrBadSettings)
	case s.MaxGap < 0:
		return fmt.Errorf("interpolation gap %s is negative: %w", s.MaxGap, ErrBadSettings)
	case s.From > model.MaxTime:
		return fmt.Errorf("settings from %d lie behind all time: %w", s.From, ErrBadSettings)
	case s.StateSet != "" && s.Type != model.State:
		return fmt.Errorf("settings of type %s name the digital-state set %.80q: %w", s.Type, s.StateSet, ErrBadSettings)
	}
	return checkText("unit", s.Unit, MaxUnitBytes)
}

// checkStateSet reports what is wrong with a set by itself.
func checkStateSet(s *model.StateSet) error {
	if err := model.CheckName(s.Name); err != nil {
		return fmt.Errorf("digital-state set: %w: %w", err, ErrBadName)
	}
	if len(s.States) == 0 || len(s.States) > MaxStates {
		return fmt.Errorf("digital-state set %.80q: %d states, must be 1 to %d: %w", s.Name, len(s.States), MaxStates, ErrBadSettings)
	}
	if s.From > model.MaxTime {
		return fmt.Errorf("digital-state set %.80q: from %d lies behind all time: %w", s.Name, s.From, ErrBadSettings)
	}
	total := 0
	texts := make(map[string]int64, len(s.States))
	for i, d := range s.States {
		if i > 0 && d.Code <= s.States[i-1].Code {
			return fmt.Errorf("digital-state set %.80q: code %d follows %d: %w", s.Name, d.Code, s.States[i-1].Code, ErrBadSettings)
		}
		if err := checkText("text", d.Text, MaxStateTextBytes); err != nil {
			return fmt.Errorf("digital-state set %.80q: code %d: %w", s.Name, d.Code, err)
		}
		if other, taken := texts[d.Text]; taken {
			return fmt.Errorf("digital-state set %.80q: codes %d and %d are both %.80q: %w", s.Name, other, d.Code, d.Text, ErrBadSettings)
		}
		texts[d.Text] = d.Code
		if total += len(d.Text); total > MaxStateSetBytes {
			return fmt.Errorf("digital-state set %.80q: texts have more than %d bytes: %w", s.Name, MaxStateSetBytes, ErrBadSettings)
		}
	}
	return nil
}
