// Package durable makes directories and small files that a power cut does not take away.
package durable

import (
	"errors"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// MakeDir makes a directory that a power cut does not take away: the one right above it is synced too.
func MakeDir(fs vfs.FS, dir string) error {
	if err := fs.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return SyncDir(fs, fs.PathDir(dir))
}

// SyncDir makes the names in a directory durable.
func SyncDir(fs vfs.FS, dir string) error {
	if dir == "" {
		dir = "."
	}
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// WriteFile puts a small file in place so that after a power cut either the old one or the whole new one is there.
func WriteFile(fs vfs.FS, dir, name string, b []byte) error {
	temp := fs.PathJoin(dir, name+".new")
	f, err := fs.Create(temp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := fs.Rename(temp, fs.PathJoin(dir, name)); err != nil {
		return err
	}
	return SyncDir(fs, dir)
}
