package query

import "errors"

// Errors to test with errors.Is. An unknown tag is model.ErrTagNotFound.
var (
	ErrBadRequest = errors.New("query makes no sense")
	ErrBadRange   = errors.New("bad time range")
	ErrTooLarge   = errors.New("query needs more memory than its share")
	ErrBusy       = errors.New("other queries hold the memory for queries")
	ErrNoFit      = errors.New("value does not fit its column")
	ErrNoCalendar = errors.New("no such calendar is stored")
	// ErrWrongType is met where stored samples are of another type than the catalogue says: one of the two is damaged.
	ErrWrongType = errors.New("stored samples are of another type than their tag")
)
