package model

import "math"

// VersionKind says how a version of a sample came to be. The numbers reach disk and are never renumbered.
type VersionKind uint8

const (
	Inserted VersionKind = 1 // nothing stood at its key
	Replaced VersionKind = 2 // it took the place of another value
	Removed  VersionKind = 3 // the key was emptied; the version carries no value
)

var versionKindNames = [...]string{Inserted: "inserted", Replaced: "replaced", Removed: "removed"}

func (k VersionKind) String() string {
	if k >= Inserted && k <= Removed {
		return versionKindNames[k]
	}
	return "unknown"
}

// Version is one state a key (tag, time, seq) has been in, current or past. Versions of a key are ordered by
// (Offset, Index); the last one is current.
type Version struct {
	Sample
	Kind   VersionKind
	Offset uint64 // of the log record that wrote it
	Index  uint32 // of the sample inside that record
	Ingest int64  // nanoseconds UTC; exact for edits, to the second for others
	Source string // the source that sent it
	Author string // of an edit, else empty
	Reason string // of an edit, else empty
}

// GapKind tells apart why samples are missing. The numbers reach disk and wire and are never renumbered.
type GapKind uint8

const (
	NotCollected GapKind = 1
	Lost         GapKind = 2
	DeviceDown   GapKind = 3
	Quarantined  GapKind = 4
	Thinned      GapKind = 5
)

var gapKindNames = [...]string{NotCollected: "not_collected", Lost: "lost", DeviceDown: "device_down", Quarantined: "quarantined", Thinned: "thinned"}

func (k GapKind) String() string {
	if k >= NotCollected && k <= Thinned {
		return gapKindNames[k]
	}
	return "unknown"
}

// Quality is what a tag has while a gap of the kind is open.
func (k GapKind) Quality() Quality {
	if k == Lost || k == Thinned {
		return BadDataLost
	}
	return BadNoCommunication
}

// Gap states that samples of a tag are missing for [From, To). It stands beside samples and is never one.
type Gap struct {
	ID       uint64 // offset of the log record that reported it
	Kind     GapKind
	From, To int64  // To is OpenGap while nobody knows the end
	Source   string // whose samples are missing, as who reported it has it
	Recorded int64  // when it was reported, nanoseconds UTC
}

// OpenGap is the end of a gap that has none yet.
const OpenGap = math.MaxInt64
