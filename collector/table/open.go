package table

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"github.com/klauspost/compress/zstd"
)

// file is an open table: its text, unpacked as it is read.
type file struct {
	io.Reader
	f      *os.File
	unpack io.Closer
	size   int64        // on disk
	read   atomic.Int64 // bytes taken from disk
}

// zstdWindowMax bounds the memory a zstd stream may ask for.
const zstdWindowMax = 128 << 20

// openFile tells gzip and zstd by their first bytes, not by the name.
func openFile(path string) (*file, error) {
	f, err := os.Open(path)
	if path == "-" && errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%q is no file: %s", path, noStream)
	}
	if err != nil {
		return nil, err
	}
	out := &file{f: f}
	if err := out.open(); err != nil {
		f.Close()
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return out, nil
}

// noStream is why standard input is no table.
const noStream = "a table is read twice, so save a stream as a file first"

func (t *file) open() error {
	info, err := t.f.Stat()
	if err != nil {
		return err
	}
	if info.IsDir() {
		return errors.New("a directory; name the files in it")
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("not a regular file; %s", noStream)
	}
	t.size = info.Size()
	src := bufio.NewReaderSize(&counted{t.f, &t.read}, 256<<10)
	magic, err := src.Peek(4)
	if err != nil && err != io.EOF {
		return err
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(src)
		if err != nil {
			return fmt.Errorf("read gzip: %w", err)
		}
		t.Reader, t.unpack = z, z
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(src, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(zstdWindowMax))
		if err != nil {
			return fmt.Errorf("read zstd: %w", err)
		}
		t.Reader, t.unpack = z, z.IOReadCloser()
	case bytes.HasPrefix(magic, []byte("PK\x03\x04")):
		return errors.New("a zip archive or a workbook; unpack it, or save the sheet as CSV")
	default:
		t.Reader = src
	}
	if t.unpack != nil {
		t.Reader = packed{t.Reader}
	}
	return nil
}

// packed says of a stream that ends too early that it was compressed, since the text in it did not end there.
type packed struct{ io.Reader }

func (p packed) Read(b []byte) (int, error) {
	n, err := p.Reader.Read(b)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("the compressed file is cut off: %w; copy it again", err)
	}
	return n, err
}

func (t *file) Close() error {
	if t.unpack != nil {
		t.unpack.Close()
	}
	return t.f.Close()
}

type counted struct {
	r io.Reader
	n *atomic.Int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}
