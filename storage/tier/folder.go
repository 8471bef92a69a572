package tier

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/varvedb/varve/storage/durable"
)

// Folder keeps every object as a file of its name. A file is written as NAME.new and renamed once it is durable.
type Folder struct {
	fs  vfs.FS
	dir string
}

var _ Store = (*Folder)(nil)

const unfinished = ".new"

// NewFolder is the objects in a directory, which need not be there.
func NewFolder(fs vfs.FS, dir string) *Folder { return &Folder{fs, dir} }

func (f *Folder) path(name string) string { return f.fs.PathJoin(f.dir, name) }

func isNotExist(err error) bool { return oserror.IsNotExist(err) || errors.Is(err, fs.ErrNotExist) }

// Create begins a file.
func (f *Folder) Create(name string) (Writer, error) {
	file, err := f.fs.Create(f.path(name+unfinished), vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, err
	}
	return &folderWriter{File: file, folder: f, name: name}, nil
}

type folderWriter struct {
	vfs.File
	folder *Folder
	name   string
}

func (w *folderWriter) Finish() error {
	if err := errors.Join(w.Sync(), w.Close()); err != nil {
		return errors.Join(err, w.remove())
	}
	f := w.folder
	if err := f.fs.Rename(f.path(w.name+unfinished), f.path(w.name)); err != nil {
		return errors.Join(err, w.remove())
	}
	return durable.SyncDir(f.fs, f.dir)
}

func (w *folderWriter) Abort() {
	_ = w.Close() // of a file that nobody wants
	_ = w.remove()
}

func (w *folderWriter) remove() error { return w.folder.fs.Remove(w.folder.path(w.name + unfinished)) }

// Open opens a file. Where the directory is gone as well nothing is known of the file: its disk may not be mounted.
func (f *Folder) Open(name string) (Object, error) {
	file, err := f.fs.Open(f.path(name), vfs.RandomReadsOption)
	if err != nil {
		return nil, f.judge(err)
	}
	info, err := file.Stat()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &folderObject{file, info.Size()}, nil
}

// judge tells a file that is missing from a directory that is.
func (f *Folder) judge(err error) error {
	if !isNotExist(err) {
		return err
	}
	if _, dirErr := f.fs.Stat(f.dir); dirErr != nil {
		return fmt.Errorf("open folder %s: %v", f.dir, dirErr) // as text: nothing below is to be taken for a missing file
	}
	return fmt.Errorf("%w: %w", ErrNotFound, err)
}

type folderObject struct {
	vfs.File
	size int64
}

func (o *folderObject) Size() int64 { return o.size }

// Remove removes a file for good.
func (f *Folder) Remove(name string) error {
	if err := f.fs.Remove(f.path(name)); err != nil {
		return f.judge(err)
	}
	return durable.SyncDir(f.fs, f.dir)
}

// List is the files that are finished. It removes those that a crash left half written, so that it is for who writes here.
func (f *Folder) List() ([]string, error) {
	all, err := f.fs.List(f.dir)
	if err != nil {
		return nil, err
	}
	names := all[:0]
	for _, n := range all {
		if !strings.HasSuffix(n, unfinished) {
			names = append(names, n)
		} else if err := f.fs.Remove(f.path(n)); err != nil {
			return nil, err
		}
	}
	return names, nil
}
