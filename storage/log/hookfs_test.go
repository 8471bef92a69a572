package log

import (
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// call is one thing the log asks of the file system.
type call struct {
	op   string // create, rename, remove, write, sync, read, open
	path string
	data bool // a sync of data only
}

// class names the sync that a call is, by what would be lost without it.
func (c call) class() string {
	switch {
	case c.op != "sync":
		return ""
	case c.data:
		return "records"
	case strings.HasSuffix(c.path, makingSuffix):
		return "new segment"
	case strings.HasSuffix(c.path, markName):
		return "mark"
	}
	return "names in " + c.path
}

// hookFS shows every call to a hook before it is done. The hook may make it fail, or skip it as if it had been done.
type hookFS struct {
	vfs.FS
	hook func(call) (skip bool, err error)
}

type hookFile struct {
	vfs.File
	fs   *hookFS
	path string
}

func (h *hookFS) file(f vfs.File, path string, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &hookFile{f, h, path}, nil
}

func (h *hookFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if _, err := h.hook(call{op: "create", path: name}); err != nil {
		return nil, err
	}
	f, err := h.FS.Create(name, c)
	return h.file(f, name, err)
}

func (h *hookFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	if _, err := h.hook(call{op: "open", path: name}); err != nil {
		return nil, err
	}
	f, err := h.FS.Open(name, opts...)
	return h.file(f, name, err)
}

func (h *hookFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	if _, err := h.hook(call{op: "open", path: name}); err != nil {
		return nil, err
	}
	f, err := h.FS.OpenReadWrite(name, c, opts...)
	return h.file(f, name, err)
}

func (h *hookFS) OpenDir(name string) (vfs.File, error) {
	f, err := h.FS.OpenDir(name)
	return h.file(f, name, err)
}

func (h *hookFS) Rename(from, to string) error {
	if skip, err := h.hook(call{op: "rename", path: from}); skip || err != nil {
		return err
	}
	return h.FS.Rename(from, to)
}

func (h *hookFS) Remove(name string) error {
	if skip, err := h.hook(call{op: "remove", path: name}); skip || err != nil {
		return err
	}
	return h.FS.Remove(name)
}

func (f *hookFile) Write(p []byte) (int, error) {
	if skip, err := f.fs.hook(call{op: "write", path: f.path}); skip || err != nil {
		return len(p), err
	}
	return f.File.Write(p)
}

func (f *hookFile) WriteAt(p []byte, at int64) (int, error) {
	if skip, err := f.fs.hook(call{op: "write", path: f.path}); skip || err != nil {
		return len(p), err
	}
	return f.File.WriteAt(p, at)
}

func (f *hookFile) ReadAt(p []byte, at int64) (int, error) {
	if _, err := f.fs.hook(call{op: "read", path: f.path}); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, at)
}

func (f *hookFile) Sync() error {
	if skip, err := f.fs.hook(call{op: "sync", path: f.path}); skip || err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *hookFile) SyncData() error {
	if skip, err := f.fs.hook(call{op: "sync", path: f.path, data: true}); skip || err != nil {
		return err
	}
	return f.File.SyncData()
}
