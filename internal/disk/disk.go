// Package disk is the file system of this machine. Files that it opens can be renamed and removed while they are open, whatever the system.
package disk

import (
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// FS is the file system.
func FS() vfs.FS { return system }

// Open opens a file of somebody else to read it, who goes on renaming and removing it.
func Open(name string) (*os.File, error) { return open(name) }

// SyncDir makes the names in a directory durable.
func SyncDir(dir string) error {
	d, err := system.OpenDir(dir) // not os.Open: Windows syncs no directories
	if err != nil {
		return err
	}
	if err := d.Sync(); err != nil {
		_ = d.Close() // nothing was written to it
		return err
	}
	return d.Close()
}
