package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sync/atomic"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// spaceGuard stops ingest while the disk is nearly full, before the LSM has to stall, and lets it go on by itself when
// space returns. The ballast is space set aside: an operator may delete the file, and queries, flushes and trims go on
// meanwhile.
type spaceGuard struct {
	low atomic.Bool
}

const ballastName = "BALLAST"

// check looks at the free space of the store's file system. A file system that cannot tell counts as having enough.
func (g *spaceGuard) check(db *DB) {
	if db.o.MinFreeBytes < 0 {
		return
	}
	u, err := db.o.FS.GetDiskUsage(db.dir)
	if err != nil {
		return
	}
	// Ingest resumes with a little more room than it stopped at, so that it does not flap.
	limit := uint64(db.o.MinFreeBytes)
	if g.low.Load() {
		limit += limit / 16
	}
	switch low := u.AvailBytes < limit; {
	case low && !g.low.Swap(true):
		db.alarms.raise("low_disk_space", fmt.Sprintf("%d bytes free in %s, need %d: ingest is stopped; free space, or delete %s to gain %d bytes",
			u.AvailBytes, db.dir, limit, path.Join(db.dir, ballastName), max(db.o.BallastBytes, 0)))
		db.trimLog()
	case !low && g.low.Swap(false):
		db.alarms.clear("low_disk_space")
	}
	if !g.low.Load() && db.o.BallastBytes > 0 && u.AvailBytes > limit+2*uint64(db.o.BallastBytes) {
		if err := makeBallast(db.o.FS, path.Join(db.dir, ballastName), db.o.BallastBytes); err != nil {
			db.o.Logger.Warn("set ballast aside", "error", err)
		}
	}
}

// makeBallast makes the ballast file unless it is there.
func makeBallast(fsys vfs.FS, name string, size int64) error {
	if _, err := fsys.Stat(name); err == nil || !oserror.IsNotExist(err) && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := fsys.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Preallocate(0, size), f.Close()); err != nil {
		return errors.Join(err, fsys.Remove(name)) // or it would be taken for the whole next time
	}
	return nil
}
