package log

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Reader reads records in the order of their offsets. It is for one goroutine, and it may run while records are written
// and segments are trimmed.
type Reader struct {
	table *table
	fs    vfs.FS
	dir   string
	nonce [4]byte
	want  uint64 // offset to be read next
	upTo  uint64 // offsets below are taken for durable; only the writer reads what is not

	closed  bool
	file    vfs.File // nil if none is open
	segment segment
	limit   uint64 // offsets below are in the open segment, if anywhere
	scanner scanner
}

// Next waits for the record after the last one and returns it. The payload holds until the next call.
//
// Where records are damaged it returns a [LostError] once, and goes on behind them when called again. After any other
// error the same call can be repeated; [ErrTrimmed] and [ErrClosed] will not change.
func (r *Reader) Next(ctx context.Context) (uint64, []byte, error) {
	if r.closed {
		return 0, nil, ErrClosed
	}
	if r.want >= r.limit {
		if err := r.table.wait(ctx, r.want); err != nil {
			return 0, nil, err
		}
	}
	return r.read()
}

// Close lets go of the open file.
func (r *Reader) Close() error {
	r.closed = true
	return r.closeFile()
}

func (r *Reader) closeFile() error {
	if r.file == nil {
		return nil
	}
	err := r.file.Close()
	r.file = nil
	return err
}

// read returns the record at want, which is durable.
func (r *Reader) read() (uint64, []byte, error) {
	if r.want >= r.limit {
		if err := r.locate(); err != nil {
			return 0, nil, err
		}
	}
	if r.file == nil {
		return 0, nil, r.lose(r.limit, 0, fmt.Errorf("no segment holds them: %w", ErrCorrupt))
	}
	next, err := r.scanner.next(r.want)
	if err != nil && err != io.EOF {
		return 0, nil, fmt.Errorf("read record %d of log segment %s: %w", r.want, r.segment.name, err)
	}
	at := next.at - next.skipped
	switch {
	case err == io.EOF || next.offset >= r.limit:
		// What is behind the limit is superseded, or was not durable when the limit was set and will be read later.
		r.scanner.pos = next.at
		return 0, nil, r.lose(r.limit, at, fmt.Errorf("no frame where it should be: %w", ErrCorrupt))
	case next.bad:
		return 0, nil, r.lose(next.offset+1, at, fmt.Errorf("payload does not match its checksum: %w", ErrCorrupt))
	case next.offset > r.want:
		r.scanner.pos = next.at
		return 0, nil, r.lose(next.offset, at, fmt.Errorf("no frame where it should be: %w", ErrCorrupt))
	}
	r.want++
	return next.offset, next.payload, nil
}

func (r *Reader) lose(end uint64, at int64, cause error) error {
	l := Lost{First: r.want, End: end, File: r.segment.name, At: at, Cause: cause}
	r.want = end
	return &LostError{Lost: l}
}

// locate opens the segment that holds want, or learns how much more of the open one can be read.
func (r *Reader) locate() error {
	p, err := r.table.find(r.want, r.upTo)
	if err != nil {
		return err
	}
	if r.file != nil && p.name == r.segment.name {
		r.segment, r.limit, r.scanner.size = p.segment, p.limit, p.bytes
		return nil
	}
	r.closeFile()
	r.segment, r.limit = p.segment, r.want
	if p.name == "" {
		r.limit = p.limit
		return nil
	}
	f, err := r.fs.Open(r.fs.PathJoin(r.dir, p.name))
	if errors.Is(err, os.ErrNotExist) { // trimmed since it was looked up?
		if _, err := r.table.find(r.want, r.upTo); err != nil {
			return err
		}
	}
	if err != nil {
		return fmt.Errorf("open log segment %s: %w", p.name, err)
	}
	r.file, r.limit = f, p.limit
	r.scanner = scanner{file: f, nonce: r.nonce, pos: headerBytes, size: p.bytes, buf: r.scanner.buf[:0]}
	return nil
}
