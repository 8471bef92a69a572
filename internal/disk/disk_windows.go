package disk

import (
	"errors"
	"io/fs"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/windows"
)

var system vfs.FS = sharingFS{vfs.Default}

func open(name string) (*os.File, error) {
	return shared(name, windows.GENERIC_READ, windows.OPEN_EXISTING)
}

// sharingFS opens files in such a way that they can be renamed and removed while they are open, as everywhere else: a segment of the log gets its name
// when it is durable and is written on, and is removed while somebody may still be reading it. What Go opens by itself cannot be.
type sharingFS struct{ vfs.FS }

func shared(name string, access, how uint32) (*os.File, error) {
	path, err := windows.UTF16PtrFromString(name)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	const share = windows.FILE_SHARE_READ | windows.FILE_SHARE_WRITE | windows.FILE_SHARE_DELETE
	h, err := windows.CreateFile(path, access, share, nil, how, windows.FILE_ATTRIBUTE_NORMAL, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(h), name), nil
}

func (sharingFS) open(name string, access, how uint32, opts ...vfs.OpenOption) (vfs.File, error) {
	file, err := shared(name, access, how)
	if err != nil {
		return nil, err
	}
	f := sharedFile{file}
	for _, o := range opts {
		o.Apply(f)
	}
	return f, nil
}

// Create makes a new file, in place of one that may stand there.
func (s sharingFS) Create(name string, _ vfs.DiskWriteCategory) (vfs.File, error) {
	for {
		f, err := s.open(name, windows.GENERIC_READ|windows.GENERIC_WRITE, windows.CREATE_NEW)
		if !errors.Is(err, fs.ErrExist) {
			return f, err
		}
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
}

func (s sharingFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	return s.open(name, windows.GENERIC_READ, windows.OPEN_EXISTING, opts...)
}

func (s sharingFS) OpenReadWrite(name string, _ vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return s.open(name, windows.GENERIC_READ|windows.GENERIC_WRITE, windows.OPEN_ALWAYS, opts...)
}

func (s sharingFS) ReuseForWrite(old, name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := s.Rename(old, name); err != nil {
		return nil, err
	}
	return s.OpenReadWrite(name, category)
}

// Unwrap is part of vfs.FS.
func (s sharingFS) Unwrap() vfs.FS { return s.FS }

type sharedFile struct{ *os.File }

func (sharedFile) Prefetch(int64, int64) error    { return nil }
func (sharedFile) Preallocate(int64, int64) error { return nil }
func (f sharedFile) SyncData() error              { return f.Sync() }

func (f sharedFile) SyncTo(int64) (whole bool, err error) {
	err = f.Sync()
	return err == nil, err
}

func (f sharedFile) Stat() (vfs.FileInfo, error) {
	info, err := f.File.Stat()
	return fileInfo{info}, err
}

// fileInfo lacks the device, as everywhere on Windows.
type fileInfo struct{ os.FileInfo }

func (fileInfo) DeviceID() vfs.DeviceID { return vfs.DeviceID{} }
