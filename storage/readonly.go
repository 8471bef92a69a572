package storage

import (
	"fmt"
	"math"
	"path"
	"time"

	"github.com/varvedb/varve/internal/disk"
)

// OpenReadOnly opens the store in dir without changing a byte in it: whatever replaying the log makes, and whatever is
// written to the DB, stays in memory and is forgotten with Close. Nothing is sealed or compacted. A store that is open
// elsewhere is refused, and so is a directory that holds none.
//
// Memory is taken for what lies in the log and in no generation yet, as when the store is opened to be served.
func OpenReadOnly(dir string, o Options) (*DB, error) {
	if o.FS == nil {
		o.FS = disk.FS()
	}
	if _, err := o.FS.Stat(path.Join(dir, formatName)); err != nil {
		return nil, fmt.Errorf("open store %s to read: %w", dir, err)
	}
	o.FS = newOverlay(o.FS)
	o.still = true
	o.SealAfter, o.MinFreeBytes, o.BallastBytes = -1, -1, -1
	o.GenerationAge = time.Duration(math.MaxInt64)
	return Open(dir, o)
}
