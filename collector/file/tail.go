package file

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/varvedb/varve/collector"
	"github.com/varvedb/varve/internal/disk"
)

// tail follows the files of one source. Its steps are taken by one goroutine; nothing in it waits.
type tail struct {
	s       Settings
	live    string
	rotated []string
	log     *slog.Logger

	files map[string]*file // by id
	first bool             // no place was ever stored
	began bool             // a step was taken: what is new from now on came while we looked

	batch   []collector.Reading
	changed bool // a place is not stored as it is

	// copied are files that are copies of others as these are, by id, as they were then.
	copied map[string]candidate

	told  time.Time // when a fault was logged last
	quiet int       // faults since then that were not
}

// file is one that is followed.
type file struct {
	place
	f      *os.File // nil while it need not be open
	rows   rows
	size   int64 // as it was when it was last read to its end
	mod    time.Time
	gone   int  // steps since its name was seen last
	told   bool // that its last line has no newline
	resume bool // the place comes from before this process
}

// rows makes readings of lines.
type rows interface {
	// read calls each for what a line says, and returns how many rows it was, 0 or 1. errNewHeader asks for other rows; a *lineError is about the
	// line; other errors are about the file.
	read(line []byte, each func(collector.Reading), fault func(error)) (rows int, err error)
	last() int64
}

const (
	chunkBytes  = 1 << 20
	putReadings = 1000
	goneSteps   = 3           // how often a file without a name is looked at once more
	idleAfter   = time.Minute // without growth, after which a file is not kept open
)

func newTail(s Settings, places []place, known bool, log *slog.Logger) *tail {
	t := &tail{s: s, log: log, files: map[string]*file{}, copied: map[string]candidate{}, first: !known}
	t.live, t.rotated = s.patterns()
	for _, p := range places {
		t.files[p.ID] = &file{place: p, size: -1, resume: true}
	}
	return t
}

func (t *tail) close() {
	for _, f := range t.files {
		f.close()
	}
}

func (f *file) close() {
	if f.f != nil {
		_ = f.f.Close() // it was only read
		f.f = nil
	}
}

// candidate is a file that is there now.
type candidate struct {
	path string
	id   string
	size int64
	mod  time.Time
	live bool
}

// packed are names of files that are no text any more.
var packed = []string{".gz", ".zst", ".bz2", ".xz", ".zip"}

// look lists the files that are there, the one written longest ago first.
func (t *tail) look() (out []candidate, err error) {
	seen := map[string]bool{}
	for i, pattern := range append([]string{t.live}, t.rotated...) {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			return nil, err
		}
		if i == 0 && len(paths) == 0 { // it may be a name with the letters of a pattern
			paths = []string{pattern}
		}
		for _, path := range paths {
			if slices.Contains(packed, strings.ToLower(filepath.Ext(path))) {
				continue
			}
			st, err := os.Stat(path)
			if errors.Is(err, fs.ErrNotExist) || err == nil && !st.Mode().IsRegular() {
				continue
			}
			if err != nil {
				return nil, err
			}
			c := candidate{path, idOf(path, st), st.Size(), st.ModTime(), i == 0}
			if !seen[c.id] {
				seen[c.id] = true
				out = append(out, c)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b candidate) int {
		if a.live != b.live { // what was rotated away comes before what took its name
			if a.live {
				return 1
			}
			return -1
		}
		return cmp.Or(a.mod.Compare(b.mod), strings.Compare(a.path, b.path))
	})
	return out, nil
}

// step looks at all files once and reads what is new. It reports whether it read anything.
func (t *tail) step(ctx context.Context, out collector.Sink) (bool, error) {
	all, err := t.look()
	if err != nil {
		return false, err
	}
	progress := false
	if t.first && !t.began && t.s.From == fromEnd {
		for _, c := range all {
			if err := t.skipToEnd(c); err != nil {
				return false, err
			}
		}
	}
	here := map[string]bool{}
	for _, c := range all {
		here[c.id] = true
	}
	for _, f := range t.unseen(here) {
		read, err := t.readUnseen(ctx, out, f)
		if progress = progress || read; err != nil {
			return progress, err
		}
	}
	if err := t.replaced(all); err != nil {
		return progress, err
	}
	for i, c := range all {
		read, err := t.follow(ctx, out, c, i == len(all)-1)
		if progress = progress || read; err != nil {
			return progress, err
		}
	}
	t.began = true
	return progress, t.put(ctx, out)
}

// unseen is the known files that are not among those that are there, in the order of their last rows.
func (t *tail) unseen(here map[string]bool) (out []*file) {
	for id, f := range t.files {
		if f.gone++; here[id] {
			f.gone = 0
			continue
		}
		out = append(out, f)
	}
	slices.SortFunc(out, func(a, b *file) int { return cmp.Or(cmp.Compare(a.LastTime, b.LastTime), strings.Compare(a.ID, b.ID)) })
	return out
}

// readUnseen reads what is left of a file that has no name any more, and forgets it when that is all. One that went while the collector was off may
// have had more.
func (t *tail) readUnseen(ctx context.Context, out collector.Sink, f *file) (bool, error) {
	if f.f == nil {
		if f.resume && !f.Ended && f.LastTime > math.MinInt64 && f.Rows > 0 && f.gone > goneSteps { // a copy may still turn up
			t.log.Error("a file went away while the collector was off; what was written behind its place is lost", "path", f.Path, "offset", f.Offset)
			if err := out.Lost(ctx, nil, f.LastTime+1, t.next(f), "the file "+f.Path+" went away before it was read"); err != nil {
				return false, err
			}
		}
		if f.gone > goneSteps {
			t.forget(f)
		}
		return false, nil
	}
	st, err := f.f.Stat()
	if err != nil {
		return false, err
	}
	read, err := t.read(ctx, out, f, st.Size())
	if err == nil && !read && f.gone > goneSteps {
		t.tellPartial(f, st.Size())
		t.forget(f)
	}
	return read, err
}

// next is when the rows begin that come behind a lost file: the earliest that other files had last, or now.
func (t *tail) next(lost *file) int64 {
	at := time.Now().UnixNano()
	for _, f := range t.files {
		if f != lost && f.LastTime > lost.LastTime {
			at = min(at, f.LastTime)
		}
	}
	return at
}

func (t *tail) forget(f *file) {
	f.close()
	delete(t.files, f.ID)
	clear(t.copied)
	t.changed = true
}

// open opens a file if it still is the one that was seen; nil where it is not.
func (c candidate) open() (*os.File, error) {
	f, err := disk.Open(c.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err != nil || idOf(c.path, st) != c.id {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// skipToEnd makes the end of a file its place.
func (t *tail) skipToEnd(c candidate) error {
	f, err := c.open()
	if f == nil {
		return err
	}
	defer f.Close()
	x := &file{place: place{ID: c.id, Path: c.path}, size: -1}
	t.files[c.id] = x
	t.changed = true
	var b [64 << 10]byte
	end := c.size
	for end > 0 { // behind the last newline
		n := min(end, int64(len(b)))
		if _, err := f.ReadAt(b[:n], end-n); err != nil {
			return err
		}
		if i := bytes.LastIndexByte(b[:n], '\n'); i >= 0 {
			end += int64(i) + 1 - n
			break
		}
		end -= n
	}
	if t.s.Format == csvFormat && t.s.CSV.Header == "" && end > 0 {
		line, err := firstLine(f, int64(t.s.MaxLine))
		if err != nil {
			return fmt.Errorf("read the header of %s: %w", c.path, err)
		}
		x.Header = line
	}
	x.Offset, x.Rows = end, 1
	_, err = x.look(f)
	return err
}

func firstLine(f io.ReaderAt, most int64) (string, error) {
	b := make([]byte, most)
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	i := bytes.IndexByte(b[:n], '\n')
	if i < 0 {
		return "", fmt.Errorf("the first line has more than %d bytes", most)
	}
	return string(b[:i]), nil
}

// replaced finds files whose content is not what was read: they were cut off, or another file got the number of one that is gone. They are not known
// any more; where a file that is not known has what was read, it is a copy of what stood there, and goes on from there.
func (t *tail) replaced(all []candidate) error {
	var before []*file
	for _, c := range all {
		x, known := t.files[c.id]
		if !known || x.size == c.size && x.mod.Equal(c.mod) {
			continue
		}
		if x.Offset <= int64(len(x.Header))+2 { // only its number is known, which may be another file's by now, and a header that many have
			t.forget(x)
			continue
		}
		f, err := c.open()
		if err != nil {
			return err
		}
		if f == nil {
			continue
		}
		fits, err := x.fits(f)
		_ = f.Close() // it was only read
		if err != nil {
			return fmt.Errorf("look at %s: %w", c.path, err)
		}
		if !fits {
			t.log.Info("a file was cut off or replaced; it is read from its beginning", "path", c.path, "offset", x.Offset)
			t.forget(x)
			before = append(before, x)
		}
	}
	for _, x := range before {
		if err := t.adopt(all, x); err != nil {
			return err
		}
	}
	return nil
}

// adopt looks for a copy of what stood in a file.
func (t *tail) adopt(all []candidate, old *file) error {
	for _, c := range all {
		if _, known := t.files[c.id]; known {
			continue
		}
		match, err := t.copies(c, old)
		if err != nil {
			return err
		}
		if !match {
			continue
		}
		y := &file{place: old.place, size: -1}
		y.ID, y.Path = c.id, c.path
		if y.Offset > c.size { // the copy was made before the last rows were written
			y.Offset, y.Skipping = c.size, false
			f, err := c.open()
			if f == nil {
				return err
			}
			_, err = y.look(f)
			if err = errors.Join(err, f.Close()); err != nil {
				return err
			}
		}
		t.log.Info("the copy of a file goes on where it was", "path", c.path, "was", old.Path, "offset", y.Offset)
		t.files[c.id] = y
		return nil
	}
	return nil
}

// copies reports whether a file has what was read of another, or the beginning of it.
func (t *tail) copies(c candidate, of *file) (bool, error) {
	if of.Rows == 0 || c.size < of.HeadBytes { // too little to tell by
		return false, nil
	}
	f, err := c.open()
	if f == nil {
		return false, err
	}
	defer f.Close()
	if c.size >= of.Offset {
		return of.fits(f)
	}
	return of.begins(f)
}

// follow reads what was added to a file that is there. The newest is the one that is being written.
func (t *tail) follow(ctx context.Context, out collector.Sink, c candidate, newest bool) (bool, error) {
	x, known := t.files[c.id]
	if !known {
		copied, err := t.isCopy(c)
		if err != nil || copied {
			return false, err
		}
		if x, known = t.files[c.id]; !known {
			x = &file{place: place{ID: c.id, LastTime: t.newest()}, size: -1}
			t.files[c.id] = x
		}
	}
	if x.Path != c.path {
		x.Path, t.changed = c.path, true
	}
	if x.size == c.size && x.mod.Equal(c.mod) {
		if ended := !newest; x.Ended != ended {
			x.Ended, t.changed = ended, true
		}
		if x.Offset < x.size && !c.live {
			t.tellPartial(x, x.size)
		}
		if !c.live || !renamesOpen || time.Since(c.mod) > idleAfter {
			x.close()
		}
		return false, nil
	}
	if x.f == nil {
		f, err := c.open()
		if f == nil { // renamed since: the next step sees it
			return false, err
		}
		x.f = f
	}
	read, err := t.read(ctx, out, x, c.size)
	if err == nil && !read {
		x.size, x.mod, x.told = c.size, c.mod, false
	}
	return read, err
}

// isCopy reports whether a file that is not known is a copy of one that is as it was, which it is read from. Where that one is not there any more the
// copy takes its place.
func (t *tail) isCopy(c candidate) (bool, error) {
	if was, ok := t.copied[c.id]; ok && was == c {
		return true, nil
	}
	for _, other := range t.files {
		copied, err := t.copies(c, other)
		if err != nil {
			return false, err
		}
		if !copied {
			continue
		}
		if other.gone == 0 || other.f != nil {
			t.copied[c.id] = c
			return true, nil
		}
		t.log.Info("a file goes on under another number", "path", c.path, "was", other.Path)
		delete(t.files, other.ID)
		other.ID, other.size, other.gone = c.id, -1, 0
		t.files[c.id], t.changed = other, true
		return false, nil
	}
	return false, nil
}

// newest is the last time that any file had: what local times that come twice are told apart by in a file that follows.
func (t *tail) newest() int64 {
	at := int64(math.MinInt64)
	for _, f := range t.files {
		if f.Rows > 0 {
			at = max(at, f.LastTime)
		}
	}
	if at == math.MinInt64 {
		return 0
	}
	return at
}

// tellPartial tells once of a last line that will not be finished. It may be half a number, so it is not read.
func (t *tail) tellPartial(f *file, size int64) {
	if f.told || size <= f.Offset {
		return
	}
	f.told = true
	t.log.Warn("the last line of a file that was rotated away has no newline; it is left out", "path", f.Path, "bytes", size-f.Offset)
}

// read reads whole lines behind the place of a file, a chunk of them. It reports whether there were any.
func (t *tail) read(ctx context.Context, out collector.Sink, x *file, size int64) (bool, error) {
	if size <= x.Offset {
		return false, nil
	}
	b := make([]byte, min(size-x.Offset, max(chunkBytes, int64(t.s.MaxLine)+1)))
	n, err := x.f.ReadAt(b, x.Offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return false, fmt.Errorf("read %s: %w", x.Path, err)
	}
	b = b[:n]
	// The file may have been cut off, and written again, since it was looked at: then this is not what comes behind the place.
	if fits, err := x.fits(x.f); err != nil || !fits {
		return false, err
	}
	end := bytes.LastIndexByte(b, '\n') + 1
	if end == 0 {
		if int64(len(b)) <= int64(t.s.MaxLine) {
			return false, nil
		}
		if !x.Skipping {
			t.fault(out, x, fmt.Errorf("a line has more than %d bytes", t.s.MaxLine))
		}
		x.Skipping = true
		return true, t.advance(x, int64(len(b)))
	}
	for from := 0; from < end; {
		n := bytes.IndexByte(b[from:end], '\n') + 1
		line := bytes.TrimSuffix(b[from:from+n-1], []byte("\r"))
		switch {
		case x.Skipping:
			x.Skipping = false
		case int64(len(line)) > int64(t.s.MaxLine):
			t.fault(out, x, fmt.Errorf("a line has %d bytes, most is %d", len(line), t.s.MaxLine))
		default:
			if err := t.line(out, x, line); err != nil {
				return true, err
			}
		}
		from += n
		if len(t.batch) >= putReadings {
			if err := t.put(ctx, out); err != nil {
				return true, err
			}
		}
	}
	if err := t.put(ctx, out); err != nil { // the place may be stored from now on
		return true, err
	}
	out.Count(collector.Received, end)
	return true, t.advance(x, int64(end))
}

// advance moves the place of a file.
func (t *tail) advance(x *file, n int64) error {
	x.Offset += n
	t.changed = true
	if x.rows != nil {
		x.LastTime = x.rows.last()
	}
	ok, err := x.look(x.f)
	if err == nil && !ok {
		err = fmt.Errorf("%s was cut off while it was read", x.Path)
	}
	return err
}

// line makes readings of a line. An error is about the file: its header, or how it is to be read.
func (t *tail) line(out collector.Sink, x *file, line []byte) error {
	if x.rows == nil {
		header, err := t.begin(x, line)
		if err != nil {
			return fmt.Errorf("%s: %w", x.Path, err)
		}
		if header {
			return nil
		}
	}
	each := func(r collector.Reading) { t.batch = append(t.batch, r) }
	n, err := x.rows.read(line, each, func(err error) { t.fault(out, x, err) })
	x.Rows += int64(n)
	bad := (*lineError)(nil)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &bad):
		t.fault(out, x, bad)
		return nil
	case errors.Is(err, errNewHeader):
		last := x.rows.last()
		if x.rows, err = t.csvRows(x.Path, string(line), last); err == nil {
			x.Header = string(line)
			return nil
		}
	}
	return fmt.Errorf("%s: %w", x.Path, err)
}

// begin makes the rows of a file. It reports whether the line was its header.
func (t *tail) begin(x *file, line []byte) (header bool, err error) {
	switch t.s.Format {
	case jsonLines:
		x.rows, err = newJSONRows(&t.s, x.Path, x.LastTime)
		return false, err
	case lineProto:
		x.rows = newLineRows(&t.s, x.Path, x.LastTime)
		return false, nil
	}
	text := x.Header
	if text == "" {
		text = t.s.CSV.Header
	}
	if header = text == ""; header {
		if len(bytes.TrimSpace(line)) == 0 {
			return true, nil
		}
		text = string(line)
	}
	if x.rows, err = t.csvRows(x.Path, text, x.LastTime); err == nil && t.s.CSV.Header == "" {
		x.Header = text
	}
	return header, err
}

// fault counts what could not be read, and logs one of them a second.
func (t *tail) fault(out collector.Sink, x *file, err error) {
	out.Count(collector.Rejected, 1)
	if t.quiet++; time.Since(t.told) < time.Second {
		return
	}
	t.log.Warn("a line, or a field of it, makes no sample", "path", x.Path, "error", err, "since_last", t.quiet)
	t.told, t.quiet = time.Now(), 0
}

// put hands on the readings that were made.
func (t *tail) put(ctx context.Context, out collector.Sink) error {
	if len(t.batch) == 0 {
		return nil
	}
	err := out.Put(ctx, t.batch)
	t.batch = t.batch[:0]
	return err
}

// places are those to store.
func (t *tail) places() []place {
	out := make([]place, 0, len(t.files))
	for _, f := range t.files {
		out = append(out, f.place)
	}
	slices.SortFunc(out, func(a, b place) int { return strings.Compare(a.ID, b.ID) })
	return out
}
