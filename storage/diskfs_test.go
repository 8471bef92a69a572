package storage

import (
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// diskCall is one thing the store asks of the file system.
type diskCall struct {
	op   string // create, open, link, rename, remove, mkdir, write, preallocate, read, sync
	path string // as our code names it, such as store/log/mark
	data bool   // a sync of data only
	dir  bool   // a sync of a directory
}

// part is where the path lies: lsm, log, or what is beside them.
func (c diskCall) part() string {
	switch {
	case strings.Contains(c.path+"/", "/lsm/"):
		return "lsm"
	case strings.Contains(c.path+"/", "/log/"):
		return "log"
	}
	return "store"
}

// takesSpace reports whether a full disk refuses the call.
func (c diskCall) takesSpace() bool {
	switch c.op {
	case "create", "link", "rename", "mkdir", "write", "preallocate":
		return true
	}
	return false
}

// byLSM reports whether the call came from inside the LSM, as against from our own code.
func byLSM() bool { return calledFrom("cockroachdb/pebble/v2.") }

// calledFrom reports whether a function whose name contains part is on the stack.
func calledFrom(part string) bool {
	var pcs [64]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	for {
		f, more := frames.Next()
		if strings.Contains(f.Function, part) {
			return true
		}
		if !more {
			return false
		}
	}
}

// diskFS shows every call to a hook before it is done. The hook may make it fail, skip it as if it had been done, or
// take its time.
type diskFS struct {
	vfs.FS
	linking sync.Mutex // see crashClone
	hook    atomic.Pointer[func(diskCall) (skip bool, err error)]
	free    atomic.Uint64 // what GetDiskUsage answers; 0: the file system cannot tell
}

type diskFile struct {
	vfs.File
	fs   *diskFS
	path string
	dir  bool
}

func (d *diskFS) set(hook func(diskCall) (bool, error)) { d.hook.Store(&hook) }

func (d *diskFS) heal() { d.hook.Store(nil) }

// fail makes the calls that match fail with err.
func (d *diskFS) fail(err error, match func(diskCall) bool) {
	d.set(func(c diskCall) (bool, error) {
		if match(c) {
			return false, err
		}
		return false, nil
	})
}

func (d *diskFS) ask(c diskCall) (skip bool, err error) {
	if hook := d.hook.Load(); hook != nil {
		return (*hook)(c)
	}
	return false, nil
}

func (d *diskFS) file(f vfs.File, path string, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &diskFile{File: f, fs: d, path: path}, nil
}

func (d *diskFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if _, err := d.ask(diskCall{op: "create", path: name}); err != nil {
		return nil, err
	}
	f, err := d.FS.Create(name, c)
	return d.file(f, name, err)
}

func (d *diskFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	if _, err := d.ask(diskCall{op: "open", path: name}); err != nil {
		return nil, err
	}
	f, err := d.FS.Open(name, opts...)
	return d.file(f, name, err)
}

func (d *diskFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	if _, err := d.ask(diskCall{op: "open", path: name}); err != nil {
		return nil, err
	}
	f, err := d.FS.OpenReadWrite(name, c, opts...)
	return d.file(f, name, err)
}

func (d *diskFS) OpenDir(name string) (vfs.File, error) {
	f, err := d.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &diskFile{File: f, fs: d, path: name, dir: true}, nil
}

func (d *diskFS) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if _, err := d.ask(diskCall{op: "rename", path: to}); err != nil {
		return nil, err
	}
	f, err := d.FS.ReuseForWrite(from, to, c)
	return d.file(f, to, err)
}

func (d *diskFS) Link(from, to string) error {
	if skip, err := d.ask(diskCall{op: "link", path: to}); skip || err != nil {
		return err
	}
	d.linking.Lock()
	defer d.linking.Unlock()
	return d.FS.Link(from, to)
}

// crashClone is what a power cut leaves, for a hook to take. A link of that file system takes a lock twice, and taking a copy
// between the two would never end.
func (d *diskFS) crashClone(mem *vfs.MemFS, o vfs.CrashCloneCfg) *vfs.MemFS {
	d.linking.Lock()
	defer d.linking.Unlock()
	return mem.CrashClone(o)
}

func (d *diskFS) Rename(from, to string) error {
	if skip, err := d.ask(diskCall{op: "rename", path: to}); skip || err != nil {
		return err
	}
	return d.FS.Rename(from, to)
}

func (d *diskFS) Remove(name string) error {
	if skip, err := d.ask(diskCall{op: "remove", path: name}); skip || err != nil {
		return err
	}
	return d.FS.Remove(name)
}

func (d *diskFS) MkdirAll(name string, perm os.FileMode) error {
	if skip, err := d.ask(diskCall{op: "mkdir", path: name}); skip || err != nil {
		return err
	}
	return d.FS.MkdirAll(name, perm)
}

func (d *diskFS) GetDiskUsage(path string) (vfs.DiskUsage, error) {
	free := d.free.Load()
	if free == 0 {
		return d.FS.GetDiskUsage(path)
	}
	return vfs.DiskUsage{AvailBytes: free, TotalBytes: 1 << 40, UsedBytes: 1<<40 - free}, nil
}

func (f *diskFile) Write(p []byte) (int, error) {
	if _, err := f.fs.ask(diskCall{op: "write", path: f.path}); err != nil {
		return 0, err
	}
	return f.File.Write(p)
}

func (f *diskFile) WriteAt(p []byte, at int64) (int, error) {
	if _, err := f.fs.ask(diskCall{op: "write", path: f.path}); err != nil {
		return 0, err
	}
	return f.File.WriteAt(p, at)
}

func (f *diskFile) Preallocate(at, n int64) error {
	if skip, err := f.fs.ask(diskCall{op: "preallocate", path: f.path}); skip || err != nil {
		return err
	}
	return f.File.Preallocate(at, n)
}

func (f *diskFile) Read(p []byte) (int, error) {
	if _, err := f.fs.ask(diskCall{op: "read", path: f.path}); err != nil {
		return 0, err
	}
	return f.File.Read(p)
}

func (f *diskFile) ReadAt(p []byte, at int64) (int, error) {
	if _, err := f.fs.ask(diskCall{op: "read", path: f.path}); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, at)
}

func (f *diskFile) Sync() error {
	if skip, err := f.fs.ask(diskCall{op: "sync", path: f.path, dir: f.dir}); skip || err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *diskFile) SyncData() error {
	if skip, err := f.fs.ask(diskCall{op: "sync", path: f.path, dir: f.dir, data: true}); skip || err != nil {
		return err
	}
	return f.File.SyncData()
}

// SyncTo is what the LSM calls while a table is being written; the sync that counts comes at its end.
func (f *diskFile) SyncTo(n int64) (bool, error) {
	if skip, err := f.fs.ask(diskCall{op: "sync", path: f.path, data: true}); skip || err != nil {
		return false, err
	}
	return f.File.SyncTo(n)
}
