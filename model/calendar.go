package model

// Calendar is one version of a named calendar: how a plant counts its days, shifts and periods.
type Calendar struct {
	Name       string
	Version    uint32 // dense from 1; the newest is the one in use
	Stored     int64  // ingest time of the record that put it, nanoseconds UTC
	Definition string // JSON, as docs/reference/calendars.md has it
}
