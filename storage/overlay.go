package storage

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"sync"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// overlay is a file system over another that it never changes: what is written stays in memory, what is removed is hidden.
// A store opened on it replays its log and may even write generations, and nothing of that reaches the disk. Renaming
// directories of the base is the one thing it does not do.
type overlay struct {
	vfs.FS // the base, for what only reads; every method that changes something is overridden
	top    *vfs.MemFS

	mu     sync.Mutex
	hidden map[string]bool // of the base, with all below
}

func newOverlay(base vfs.FS) *overlay {
	return &overlay{FS: base, top: vfs.NewMem(), hidden: map[string]bool{}}
}

// isHidden reports whether the base's file is not to be seen, because it or a directory above it was removed.
func (o *overlay) isHidden(name string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for name = path.Clean(name); ; name = path.Dir(name) {
		if o.hidden[name] {
			return true
		}
		if next := path.Dir(name); next == name {
			return false
		}
	}
}

func (o *overlay) hide(name string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.hidden[path.Clean(name)] = true
}

// inTop reports whether the name is in memory: a file, or a directory made there.
func (o *overlay) inTop(name string) bool {
	_, err := o.top.Stat(name)
	return err == nil
}

func notExist(op, name string) error {
	return &os.PathError{Op: op, Path: name, Err: os.ErrNotExist}
}

// lift makes the name a file in memory, with what the base has of it. It reports os.ErrNotExist where nothing is.
func (o *overlay) lift(name string) error {
	if o.inTop(name) {
		return nil
	}
	if o.isHidden(name) {
		return notExist("open", name)
	}
	in, err := o.FS.Open(name)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := o.top.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	out, err := o.top.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

func (o *overlay) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := o.top.MkdirAll(path.Dir(name), 0o755); err != nil {
		return nil, err
	}
	o.hide(name)
	return o.top.Create(name, c)
}

func (o *overlay) Link(from, to string) error {
	if _, err := o.Stat(to); err == nil {
		return &os.LinkError{Op: "link", Old: from, New: to, Err: os.ErrExist}
	}
	if err := o.lift(from); err != nil {
		return err
	}
	if err := o.top.MkdirAll(path.Dir(to), 0o755); err != nil {
		return err
	}
	return o.top.Link(from, to)
}

func (o *overlay) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	if o.inTop(name) {
		return o.top.Open(name, opts...)
	}
	if o.isHidden(name) {
		return nil, notExist("open", name)
	}
	return o.FS.Open(name, opts...)
}

func (o *overlay) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	if err := o.lift(name); err != nil && !isNotExist(err) {
		return nil, err
	}
	if err := o.top.MkdirAll(path.Dir(name), 0o755); err != nil {
		return nil, err
	}
	return o.top.OpenReadWrite(name, c, opts...)
}

// OpenDir opens a directory for syncing, which there is nothing to do for.
func (o *overlay) OpenDir(name string) (vfs.File, error) {
	if _, err := o.Stat(name); err != nil {
		return nil, err
	}
	if err := o.top.MkdirAll(name, 0o755); err != nil {
		return nil, err
	}
	return o.top.OpenDir(name)
}

func (o *overlay) Remove(name string) error {
	if _, err := o.Stat(name); err != nil {
		return err
	}
	o.hide(name)
	if o.inTop(name) {
		return o.top.Remove(name)
	}
	return nil
}

func (o *overlay) RemoveAll(name string) error {
	o.hide(name)
	return o.top.RemoveAll(name)
}

func (o *overlay) Rename(from, to string) error {
	if err := o.lift(from); err != nil {
		return err
	}
	if err := o.top.MkdirAll(path.Dir(to), 0o755); err != nil {
		return err
	}
	o.hide(from)
	o.hide(to)
	return o.top.Rename(from, to)
}

func (o *overlay) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := o.Rename(from, to); err != nil {
		return nil, err
	}
	return o.top.OpenReadWrite(to, c)
}

func (o *overlay) MkdirAll(dir string, perm os.FileMode) error { return o.top.MkdirAll(dir, perm) }

// Lock locks the base's file, so that who has the store open is not overlooked. One that cannot be written locks nobody out.
func (o *overlay) Lock(name string) (io.Closer, error) {
	if !o.isHidden(name) {
		if _, err := o.FS.Stat(name); err == nil {
			l, err := o.FS.Lock(name)
			if errors.Is(err, syscall.EROFS) {
				return io.NopCloser(nil), nil
			}
			if err != nil {
				return nil, fmt.Errorf("lock %s: %w: %w", name, ErrInUse, err)
			}
			return l, nil
		}
	}
	if err := o.top.MkdirAll(path.Dir(name), 0o755); err != nil {
		return nil, err
	}
	return o.top.Lock(name)
}

func (o *overlay) List(dir string) ([]string, error) {
	var names []string
	baseErr := notExist("list", dir)
	if !o.isHidden(dir) {
		names, baseErr = o.FS.List(dir)
		if baseErr != nil && !isNotExist(baseErr) {
			return nil, baseErr
		}
		names = slices.DeleteFunc(slices.Clone(names), func(n string) bool { return o.isHidden(path.Join(dir, n)) })
	}
	more, err := o.top.List(dir)
	if err != nil && baseErr != nil {
		return nil, baseErr
	}
	names = append(names, more...)
	slices.Sort(names)
	return slices.Compact(names), nil
}

func (o *overlay) Stat(name string) (vfs.FileInfo, error) {
	if o.inTop(name) {
		return o.top.Stat(name)
	}
	if o.isHidden(name) {
		return nil, notExist("stat", name)
	}
	return o.FS.Stat(name)
}

// Unwrap hides the base: who looks through to it would write there.
func (o *overlay) Unwrap() vfs.FS { return nil }
