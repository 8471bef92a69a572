package storage

import "github.com/cockroachdb/pebble/v2/vfs"

// tableBuffer is how much of a table is handed to the file system at once. Block by block, 8 KiB each, half of the time that a
// flush takes is spent in the kernel.
const tableBuffer = 256 << 10

// tableFile collects the writes of a table being made. Whatever asks for the file to be durable writes what is collected
// first.
type tableFile struct {
	vfs.File
	buf []byte
}

func newTableFile(f vfs.File) *tableFile {
	return &tableFile{File: f, buf: make([]byte, 0, tableBuffer)}
}

func (f *tableFile) Write(p []byte) (int, error) {
	if len(f.buf)+len(p) > cap(f.buf) {
		if err := f.flush(); err != nil {
			return 0, err
		}
		if len(p) >= cap(f.buf) {
			return f.File.Write(p)
		}
	}
	f.buf = append(f.buf, p...)
	return len(p), nil
}

// flush writes what is collected. What failed to be written is not tried again: the table is given up.
func (f *tableFile) flush() error {
	if len(f.buf) == 0 {
		return nil
	}
	b := f.buf
	f.buf = f.buf[:0]
	_, err := f.File.Write(b)
	return err
}

func (f *tableFile) Sync() error {
	if err := f.flush(); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *tableFile) SyncData() error {
	if err := f.flush(); err != nil {
		return err
	}
	return f.File.SyncData()
}

func (f *tableFile) SyncTo(length int64) (fullSync bool, err error) {
	if err := f.flush(); err != nil {
		return false, err
	}
	return f.File.SyncTo(length)
}

func (f *tableFile) Stat() (vfs.FileInfo, error) {
	if err := f.flush(); err != nil {
		return nil, err
	}
	return f.File.Stat()
}

func (f *tableFile) Close() error {
	err := f.flush()
	if closeErr := f.File.Close(); err == nil {
		err = closeErr
	}
	return err
}
