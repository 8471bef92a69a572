package storage

import (
	"strings"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// tablePause is how long the LSM waits before it makes another table once a flush or compaction failed. Left alone it
// tries again at once, and a full disk would cost a core.
const tablePause = 200 * time.Millisecond

// pausingFS makes the LSM wait after a failure where it holds no lock: as it is about to make the next table.
type pausingFS struct {
	vfs.FS
	failed atomic.Bool
}

// Create makes a file, a table after a pause if the one before failed.
func (p *pausingFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if strings.HasSuffix(name, ".sst") && p.failed.Swap(false) {
		time.Sleep(tablePause)
	}
	return p.FS.Create(name, c)
}

// Unwrap is the file system below.
func (p *pausingFS) Unwrap() vfs.FS { return p.FS }
