package log

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Recovery is what Open found.
type Recovery struct {
	First, Next uint64 // offsets [First, Next) are on disk, but for Lost
	Lost        []Lost // ascending
	Torn        []Torn
	Damaged     []Damaged
}

// Lost is damaged records. Their bytes stay in the segment until it is trimmed.
type Lost struct {
	First, End uint64 // offsets [First, End)
	File       string // where they should be; empty if no file is left
	At         int64
	Cause      error // matches ErrCorrupt
}

func (l Lost) String() string {
	return fmt.Sprintf("log records [%d, %d) are lost at %d of %q: %v", l.First, l.End, l.At, l.File, l.Cause)
}

// Torn is the end of a segment that no fsync completed: written when the process or the power went, and acknowledged to
// nobody. It is cut off: the bytes stay, but the next segment begins with an offset that supersedes them.
type Torn struct {
	File  string
	At    int64
	Bytes int64
}

// Damaged is a place that cost no record: a segment header, a mark, or a segment of another log.
type Damaged struct {
	File  string
	Cause error
}

// recovery collects what the files hold, and judges when it has seen all of them, because only then the highest claim is
// known.
type recovery struct {
	fs     vfs.FS
	dir    string
	result Recovery

	applied  uint64 // what the store holds durably
	id       logID
	haveID   bool
	segments []segment
	retired  []string // files in front of the last jump, oldest first
	serial   uint64   // highest in any name
	marked   uint64   // highest offset that the mark states as fsynced
	claim    uint64   // highest offset that anything states as fsynced
	low      uint64   // of a jump; 0 for none
	want     uint64   // one above the highest offset seen
	missing  []Lost   // ascending; an empty Cause stands for what no file can hold
	badAt    int64    // where the newest segment's first bytes are that are no frame; -1 for nowhere
	badFile  string
}

// recoverLog reads everything in dir. With an applied offset it is known that offsets up to it were once durable.
func recoverLog(fs vfs.FS, dir string, applied uint64) (*recovery, error) {
	r := &recovery{fs: fs, dir: dir, applied: applied, claim: applied, badAt: -1}
	if err := r.readMark(); err != nil {
		return nil, err
	}
	headers, err := r.readHeaders()
	if err != nil {
		return nil, err
	}
	r.chooseSegments(headers)
	for i, s := range r.segments {
		end := uint64(maxOffset)
		if i+1 < len(r.segments) {
			end = r.segments[i+1].first
		}
		if i == 0 {
			r.want = s.first
		}
		if err := r.scan(s, end); err != nil {
			return nil, err
		}
	}
	r.judge()
	return r, nil
}

func (r *recovery) readMark() error {
	f, err := r.fs.Open(r.fs.PathJoin(r.dir, markName))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open the log's mark: %w", err)
	}
	defer f.Close()
	m, err := readMark(f)
	if err != nil {
		return err
	}
	if m.spoilt {
		r.result.Damaged = append(r.result.Damaged, Damaged{markName, fmt.Errorf("a slot does not check: %w", ErrCorrupt)})
	}
	r.id, r.haveID, r.marked = m.id, m.ok, m.synced
	return nil
}

// segmentFile is what a segment's name and its header say.
type segmentFile struct {
	segment
	header header
	err    error // of the header
}

func (r *recovery) readHeaders() ([]segmentFile, error) {
	names, err := r.fs.List(r.dir)
	if err != nil {
		return nil, fmt.Errorf("list log directory %s: %w", r.dir, err)
	}
	var files []segmentFile
	for _, name := range names {
		if strings.HasSuffix(name, makingSuffix) {
			// It got its name of a segment only when complete, so nothing in it is needed.
			if err := r.fs.Remove(r.fs.PathJoin(r.dir, name)); err != nil {
				return nil, fmt.Errorf("remove unfinished log segment %s: %w", name, err)
			}
			continue
		}
		first, serial, ok := parseSegmentName(name)
		if !ok {
			continue
		}
		r.serial = max(r.serial, serial)
		s := segmentFile{segment: segment{name: name, first: first, serial: serial}}
		if err := r.readHeader(&s); err != nil {
			return nil, err
		}
		files = append(files, s)
	}
	sort.Slice(files, func(i, j int) bool {
		a, b := files[i], files[j]
		return a.first < b.first || a.first == b.first && a.serial < b.serial
	})
	return files, nil
}

// readHeader fills in size and header. A damaged header is no error; one of a newer release is.
func (r *recovery) readHeader(s *segmentFile) error {
	f, err := r.fs.Open(r.fs.PathJoin(r.dir, s.name))
	if err != nil {
		return fmt.Errorf("open log segment %s: %w", s.name, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("size of log segment %s: %w", s.name, err)
	}
	s.bytes = info.Size()
	b := make([]byte, headerBytes)
	n, err := f.ReadAt(b, 0)
	if err != nil && err != io.EOF {
		return fmt.Errorf("read header of log segment %s: %w", s.name, err)
	}
	s.header, s.err = parseHeader(b[:n])
	if s.err == nil && (s.header.first != s.first || s.header.serial != s.serial) {
		s.err = fmt.Errorf("header states first %d and serial %d: %w", s.header.first, s.header.serial, ErrCorrupt)
	}
	if isVersion(s.err) {
		return fmt.Errorf("log segment %s: %w", s.name, s.err)
	}
	return nil
}

// chooseSegments tells this log's segments from others' and leaves out what is in front of the last jump.
func (r *recovery) chooseSegments(files []segmentFile) {
	newest := -1
	known := false
	for i, s := range files {
		if s.err == nil {
			known = known || r.haveID && s.header.id == r.id
			if newest < 0 || s.serial > files[newest].serial {
				newest = i
			}
		}
	}
	if !known && newest >= 0 {
		// What the mark claims is about another log's records then.
		r.id, r.haveID, r.marked = files[newest].header.id, true, 0
	}
	r.claim = max(r.claim, r.marked)
	for _, s := range files {
		switch {
		case s.err == nil && s.header.id != r.id:
			err := fmt.Errorf("it belongs to log %s, this is %s: %w", s.header.id, r.id, ErrCorrupt)
			r.result.Damaged = append(r.result.Damaged, Damaged{s.name, err})
			continue
		case s.err != nil:
			r.result.Damaged = append(r.result.Damaged, Damaged{s.name, s.err})
			r.adoptID(s)
		case s.header.jumps():
			for _, old := range r.segments {
				r.retired = append(r.retired, old.name)
			}
			r.segments, r.low = nil, s.first
		default:
			r.claim = max(r.claim, s.header.synced)
		}
		// Whatever is below the first offset of a segment was durable before the segment was made.
		r.claim = max(r.claim, s.first-1)
		r.segments = append(r.segments, s.segment)
	}
}

// adoptID learns the start of the log's id from the first frame that checks in a segment whose header is damaged, if
// neither the mark nor another segment knows it. A read error leaves it to scan to report that.
func (r *recovery) adoptID(s segmentFile) {
	if r.haveID {
		return
	}
	f, err := r.fs.Open(r.fs.PathJoin(r.dir, s.name))
	if err != nil {
		return
	}
	defer f.Close()
	b := make([]byte, min(readBytes, s.bytes))
	n, _ := f.ReadAt(b, 0)
	for b = b[:n]; len(b) >= frameBytes && !r.haveID; b = b[1:] {
		if _, ok := parseFrame(b, [4]byte(b)); ok {
			copy(r.id[:], b[:4])
			r.haveID = r.id.nonce() != [4]byte{}
		}
	}
}

// scan reads one segment, whose offsets end below end.
func (r *recovery) scan(s segment, end uint64) error {
	f, err := r.fs.Open(r.fs.PathJoin(r.dir, s.name))
	if err != nil {
		return fmt.Errorf("open log segment %s: %w", s.name, err)
	}
	defer f.Close()
	r.want = max(r.want, s.first)
	r.badAt, r.badFile = -1, s.name
	sc := scanner{file: f, nonce: r.id.nonce(), pos: headerBytes, size: s.bytes}
	var at int64
	superseded := false
	for {
		next, err := sc.next(r.want)
		at = next.at - next.skipped
		if next.skipped > 0 || next.bad {
			r.spoiled(at)
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("recover log segment %s: %w", s.name, err)
		}
		// Offsets ascend, so nothing behind a superseded record counts either, but for its claims.
		superseded = superseded || next.offset >= end
		switch {
		case superseded:
			continue
		case next.bad:
			r.miss(next.offset+1, s.name)
		case next.offset > r.want:
			r.spoiled(at)
			r.miss(next.offset, s.name)
		}
		r.want = next.offset + 1
		r.badAt = -1
	}
	r.claim = max(r.claim, sc.claim)
	if end < maxOffset && r.want < end {
		r.spoiled(at)
		r.miss(end, s.name)
		r.want = end
	}
	return nil
}

func (r *recovery) spoiled(at int64) {
	if r.badAt < 0 {
		r.badAt = at
	}
}

// miss notes that [want, end) is not there.
func (r *recovery) miss(end uint64, file string) {
	if n := len(r.missing); n > 0 && r.missing[n-1].End == r.want && r.missing[n-1].File == file {
		r.missing[n-1].End = end
		return
	}
	r.missing = append(r.missing, Lost{First: r.want, End: end, File: file, At: max(r.badAt, 0),
		Cause: fmt.Errorf("no frame that checks: %w", ErrCorrupt)})
}

// judge decides what is lost and what is torn.
func (r *recovery) judge() {
	if len(r.segments) == 0 {
		r.want = r.applied + 1 // how far back the log went is unknown; these the store does not need
	}
	first := r.want
	if len(r.segments) > 0 {
		first = max(r.segments[0].first, r.low)
	}
	switch {
	case r.claim >= r.want:
		r.miss(r.claim+1, r.badFile)
		r.want = r.claim + 1
	case r.badAt >= 0:
		r.torn(r.badFile, r.badAt)
	}
	res := &r.result
	res.First, res.Next = first, r.want
	for _, m := range r.missing {
		if m.First > r.claim {
			res.Next = m.First
			r.torn(m.File, m.At)
			break
		}
		if m.End > r.claim+1 {
			m.End = r.claim + 1
			res.Lost = append(res.Lost, m)
			res.Next = m.End
			r.torn(m.File, m.At)
			break
		}
		res.Lost = append(res.Lost, m)
	}
}

// torn notes that a file is cut off at a place, unless it was cut off in front of it.
func (r *recovery) torn(file string, at int64) {
	for _, s := range r.segments {
		if s.name == file && s.bytes > at {
			r.result.Torn = []Torn{{File: file, At: at, Bytes: s.bytes - at}}
		}
	}
}

func isVersion(err error) bool { return errors.Is(err, ErrVersion) }
