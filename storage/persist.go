package storage

import (
	"errors"
	"fmt"
	"syscall"
	"time"
)

// readPause is how long a read that apply cannot do without rests before it is tried again; after readPatience tries
// nobody is kept waiting for apply any more.
const (
	readPause    = 100 * time.Millisecond
	readPatience = 5
)

// persist reads what apply cannot go on without, again and again while the file system fails it: a disk may come back,
// and descriptors are given back. Damage and the end of the store are no such failures and are returned. If it takes
// long, views say what they lack instead of waiting for it.
func (db *DB) persist(what string, read func() error) error {
	for try := 1; ; try++ {
		err := read()
		if !passing(err) {
			if try > 1 {
				db.alarms.clear("reads_failing")
				db.resumeApplied()
			}
			return err
		}
		db.alarms.raise("reads_failing", fmt.Sprintf("%s: %v: tried again, apply waits meanwhile", what, err))
		if try >= readPatience { // again and again: the other goroutine's success takes it back
			db.applied.fail(fmt.Errorf("%w: %s: %w", ErrApplyStopped, what, err))
		}
		select {
		case <-db.stopping:
			return err
		case <-time.After(readPause):
		}
	}
}

// resumeApplied lets the applied mark be waited for again, unless apply waits before a loss or came to its end.
func (db *DB) resumeApplied() {
	db.losses.mu.Lock()
	db.applied.resume()
	if len(db.losses.open) > 0 {
		db.applied.fail(ErrApplyStopped)
	}
	db.losses.mu.Unlock()
	if err := db.applyEnd.error(); err != nil {
		db.applied.fail(fmt.Errorf("%w: %w", ErrApplyStopped, err))
	}
}

// passing reports whether an error came from the file system and may go away by itself. A missing file does not come
// back.
func passing(err error) bool {
	var e syscall.Errno
	return !errors.Is(err, ErrUnreachable) && errors.As(err, &e) && e != syscall.ENOENT
}
