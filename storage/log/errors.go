package log

import (
	"errors"
	"fmt"
	"syscall"
)

// Errors to test with errors.Is.
var (
	ErrTrimmed     = errors.New("log records were trimmed")
	ErrCorrupt     = errors.New("log is damaged")
	ErrVersion     = errors.New("log was written by a newer release")
	ErrBacklogFull = errors.New("too much of the log is not applied yet")
	ErrClosed      = errors.New("log is closed")
	ErrNoSpace     = errors.New("no space for the log")
	ErrTooLarge    = errors.New("log record is too large")
)

// TrimmedError is the answer to a read below the low-water mark. It matches [ErrTrimmed].
type TrimmedError struct {
	First uint64 // lowest offset that can be read
}

func (e *TrimmedError) Error() string {
	return fmt.Sprintf("%v: the lowest offset left is %d", ErrTrimmed, e.First)
}

func (e *TrimmedError) Is(target error) bool { return target == ErrTrimmed }

// LostError is the answer to a read of damaged records. It matches [ErrCorrupt].
type LostError struct {
	Lost Lost
}

func (e *LostError) Error() string { return e.Lost.String() }

func (e *LostError) Is(target error) bool { return target == ErrCorrupt }

func (e *LostError) Unwrap() error { return e.Lost.Cause }

// fatalError is an fsync that failed. What the file holds is unknown from then on, whatever a later fsync says, so
// nothing but a restart may follow.
type fatalError struct{ err error }

func (e *fatalError) Error() string { return e.err.Error() }

func (e *fatalError) Unwrap() error { return e.err }

// diskError adds what was being done, and [ErrNoSpace] where the disk is full.
func diskError(what string, err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%s: %w: %w", what, ErrNoSpace, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

func isFatal(err error) bool {
	var f *fatalError
	return errors.As(err, &f)
}
