package storage

import (
	"errors"
	"fmt"
	"syscall"
	"time"
)

// readPause is how long a read that apply cannot do without rests before it is tried again.
const readPause = 100 * time.Millisecond

// persist reads what apply cannot go on without, again and again while the file system fails it: a disk may come back,
// and descriptors are given back. Damage and the end of the store are no such failures and are returned.
func (db *DB) persist(what string, read func() error) error {
	for waiting := false; ; waiting = true {
		err := read()
		if !passing(err) {
			if waiting {
				db.alarms.clear("reads_failing")
			}
			return err
		}
		db.alarms.raise("reads_failing", fmt.Sprintf("%s: %v: tried again, apply waits meanwhile", what, err))
		select {
		case <-db.stopping:
			return err
		case <-time.After(readPause):
		}
	}
}

// passing reports whether an error came from the file system and may go away by itself. A missing file does not come
// back.
func passing(err error) bool {
	var e syscall.Errno
	return errors.As(err, &e) && e != syscall.ENOENT
}
