// Package table reads tables of plant data, CSV files plain or compressed, and sends them to a server as samples.
//
// # The path of a file
//
//	open (gzip, zstd or plain) → rows → first pass: shape, times, tags and their types → Plan
//	→ tags made in the catalogue → second pass: samples in columns per tag → batches → session → Report
//
// # What it promises
//
// Every field that is a value becomes one sample with the double nearest to its decimals, the integer or the text that
// stands there; what cannot is counted with its line and a reason, never dropped silently. The same file read under the
// same plan gives the same batches with the same identity, so reading it again changes nothing and an interrupted run
// goes on where it stopped. Memory is bounded whatever the file holds: records, columns, tags and buffers have limits.
//
// # Shapes
//
// A wide table has a time column and a column per tag. With key columns, such as a turbine's number, the tag is
// key.column, and several rows may share a time. A long table has columns time, tag and value and a row per sample; text
// in a column detail becomes a sample of the tag TAG.detail, and every other column becomes a text tag of its own.
package table

import (
	"errors"
	"fmt"

	"github.com/varvedb/varve/model"
)

// Errors to test with errors.Is.
var (
	ErrTooLarge = errors.New("larger than a table may be")
	ErrHeader   = errors.New("the header does not name the columns of a table")
	ErrTimes    = errors.New("the times cannot be read")
	ErrMapping  = errors.New("the mapping does not fit")
)

// Limits on one file. They bound memory, and are part of the interface: what is larger is refused, never cut.
const (
	MaxRecordBytes = 16 << 20 // one row
	MaxFieldBytes  = model.MaxBlobBytes
	MaxColumns     = 131_072
	MaxTags        = 1_000_000
)

// Shape is how rows of a table turn into samples.
type Shape string

const (
	Wide Shape = "wide" // a column per tag
	Long Shape = "long" // a row per sample
)

// RowError says why one row, or one field of it, gives no sample. The rows behind it are read all the same.
type RowError struct {
	Line   int // of the file, from 1
	Column string
	Reason string
}

func (e *RowError) Error() string {
	if e.Column != "" {
		return fmt.Sprintf("line %d, column %s: %s", e.Line, e.Column, e.Reason)
	}
	return fmt.Sprintf("line %d: %s", e.Line, e.Reason)
}
