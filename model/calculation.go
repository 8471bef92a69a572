package model

// Calculation is one version of a named calculation: an expression over tags that is read by its name as a tag is.
type Calculation struct {
	Name       string
	Version    uint32 // dense from 1; at an instant the highest that had begun by then is in force
	From       int64  // in force from this time on, nanoseconds UTC; MinTime for the first
	Stored     int64  // ingest time of the record that put it, nanoseconds UTC
	Expression string // as docs/reference/expressions.md has it
}
