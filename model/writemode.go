package model

import "fmt"

// WriteMode says what a run of samples does where a sample of the same key (tag, time, seq) stands already. The
// numbers reach disk and wire and are never renumbered; zero has no meaning. (OPC UA Part 11, 6.9, PerformUpdateType.)
type WriteMode uint8

const (
	// Update inserts or replaces and never reads before it writes; the newest by (log offset, index) wins. A resend
	// equal to the current value in bits and quality changes nothing. The mode of live collectors.
	Update WriteMode = 1
	// Insert fails for a key that is present.
	Insert WriteMode = 2
	// Replace fails for a key that is absent.
	Replace WriteMode = 3
	// NoReplace is ignored for a key that is present. The mode of imports and backfills.
	NoReplace WriteMode = 4
	// Append adds an item at that time, behind those that stand there, in arrival order.
	Append WriteMode = 5
	// Remove takes the sample away; its value stays readable as a version.
	Remove WriteMode = 6
)

var modeNames = [...]string{Update: "update", Insert: "insert", Replace: "replace", NoReplace: "no_replace", Append: "append", Remove: "remove"}

// Valid reports whether m is one of the six modes.
func (m WriteMode) Valid() bool { return m >= Update && m <= Remove }

func (m WriteMode) String() string {
	if m.Valid() {
		return modeNames[m]
	}
	return fmt.Sprintf("mode(%d)", uint8(m))
}

// ParseWriteMode reads a mode's name as String prints it.
func ParseWriteMode(s string) (WriteMode, error) {
	for m := Update; m <= Remove; m++ {
		if modeNames[m] == s {
			return m, nil
		}
	}
	return 0, fmt.Errorf("write mode %q: must be one of update, insert, replace, no_replace, append, remove", s)
}

// Outcome is what became of one sample of a run. The numbers reach the wire; zero has no meaning.
type Outcome uint8

const (
	Applied   Outcome = 1 // stored, or equal to what was stored
	Ignored   Outcome = 2 // NoReplace found the key present
	Exists    Outcome = 3 // Insert found the key present
	Absent    Outcome = 4 // Replace or Remove found no such key
	Ambiguous Outcome = 5 // several samples stand at that time and no seq says which
	Closed    Outcome = 6 // samples of that time were erased and their rollups kept: nothing can be written there
)

var outcomeNames = [...]string{Applied: "applied", Ignored: "ignored", Exists: "exists", Absent: "absent", Ambiguous: "ambiguous", Closed: "closed"}

func (o Outcome) String() string {
	if o >= Applied && o <= Closed {
		return outcomeNames[o]
	}
	return fmt.Sprintf("outcome(%d)", uint8(o))
}
