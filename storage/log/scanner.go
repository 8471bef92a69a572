package log

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// readBytes is how much is read from a segment at once.
const readBytes = 1 << 20

// scanner finds frames in a segment. Bytes that are no frame are passed over by searching for the next header that
// checks. It reads nothing at or behind size and never allocates more than the file can fill.
type scanner struct {
	file  io.ReaderAt
	nonce [4]byte
	pos   int64 // what is looked at next
	size  int64
	claim uint64 // highest offset that any frame so far states as synced

	buf []byte // holds the file from at on
	at  int64
}

// found is a frame and what stood in front of it.
type found struct {
	frame
	payload []byte // of the scanner's buffer, until the next call
	at      int64  // position of the frame
	skipped int64  // bytes right in front of it that are no frame
	bad     bool   // the payload does not match its checksum, or is cut short
}

// next is the next frame of an offset of at least from, or io.EOF with the number of bytes passed over at the end. Frames
// of lower offsets are passed over without a look at their payload. After any other error the same call can be repeated.
func (s *scanner) next(from uint64) (found, error) {
	start := s.pos // of the bytes in a row that are no frame
	for {
		b, err := s.window(s.pos, frameBytes)
		if err != nil {
			return found{}, err
		}
		if len(b) < frameBytes {
			end := found{at: s.size, skipped: max(s.size-start, 0)}
			s.pos = max(s.pos, s.size)
			return end, io.EOF
		}
		f, ok := parseFrame(b, s.nonce)
		if ok {
			s.claim = max(s.claim, f.synced)
		}
		switch {
		case !ok:
			if err := s.seek(); err != nil {
				return found{}, err
			}
		case f.offset < from && s.pos == start:
			s.pos += f.size()
			start = s.pos
		case f.offset < from:
			// Found by searching: it may as well be part of some payload, so its length is not trusted.
			if err := s.seek(); err != nil {
				return found{}, err
			}
		default:
			return s.record(f, start)
		}
	}
}

// record completes the frame at pos with its payload.
func (s *scanner) record(f frame, start int64) (found, error) {
	r := found{frame: f, at: s.pos, skipped: s.pos - start}
	if s.pos+f.size() > s.size {
		// The file ends inside the record, so no other frame can follow what the header, which checks, describes.
		r.bad, s.pos = true, s.size
		return r, nil
	}
	b, err := s.window(s.pos, int(f.size()))
	if err != nil {
		return found{}, err
	}
	if int64(len(b)) < f.size() {
		r.bad, s.pos = true, s.size
		return r, nil
	}
	r.payload = b[frameBytes:]
	r.bad = crc32.Checksum(r.payload, castagnoli) != f.sum
	s.pos += f.size()
	return r, nil
}

// seek moves pos behind the byte it is at, to the next place that may begin a frame.
func (s *scanner) seek() error {
	s.pos++
	for s.pos < s.size {
		b, err := s.window(s.pos, min(readBytes/4, int(s.size-s.pos)))
		if err != nil {
			return err
		}
		if len(b) < len(s.nonce) {
			break
		}
		if i := bytes.Index(b, s.nonce[:]); i >= 0 {
			s.pos += int64(i)
			return nil
		}
		s.pos += int64(len(b) - len(s.nonce) + 1)
	}
	s.pos = s.size
	return nil
}

// window is n bytes at pos, fewer only at the end of what may be read.
func (s *scanner) window(pos int64, n int) ([]byte, error) {
	n = int(min(int64(n), max(s.size-pos, 0)))
	if n == 0 { // also of a file shorter than a header
		return nil, nil
	}
	if pos >= s.at && pos+int64(n) <= s.at+int64(len(s.buf)) {
		return s.buf[pos-s.at:][:n], nil
	}
	var kept int
	if pos >= s.at && pos < s.at+int64(len(s.buf)) {
		kept = copy(s.buf, s.buf[pos-s.at:])
	}
	if want := max(n, int(min(readBytes, s.size-pos))); cap(s.buf) < want {
		grown := make([]byte, kept, want)
		copy(grown, s.buf[:kept])
		s.buf = grown
	}
	s.at = pos
	s.buf = s.buf[:min(int64(cap(s.buf)), s.size-pos)]
	m, err := s.file.ReadAt(s.buf[kept:], pos+int64(kept))
	s.buf = s.buf[:kept+m]
	if errors.Is(err, io.EOF) {
		err = nil
		if kept+m < n {
			s.size = pos + int64(kept+m) // the file is shorter than it was
		}
	}
	if err != nil {
		s.buf = s.buf[:kept]
		return nil, fmt.Errorf("read %d bytes at %d: %w", n, pos, err)
	}
	return s.buf[:min(n, len(s.buf))], nil
}
