package queue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/storage/durable"
)

// waiting is gaps that a destination was not told of and that are not left in the log of gaps: those of tags that it does not have, and those for which the
// log would have grown too long. They are in the order they were put. Until they are told, whatever else is said of their tags waits behind them.
type waiting struct {
	through uint64 // all of the log of gaps up to this offset was told, or is here
	gaps    []report
	of      map[string]int // by tag, how many of them it has
	size    int            // the sum of that
	full    int            // size beyond which they are merged; 0 for maxWaiting
}

// maxWaiting is how many gaps wait, each counted once for each of its tags, until they are merged. Where they are so many tags that
// mostWaiting are left, the oldest are given up.
const (
	maxWaiting  = 100_000
	mostWaiting = 500_000
)

// split divides tags into those of which something waits and the others.
func (w *waiting) split(tags []string) (now, later []string) {
	for _, t := range tags {
		if w.of[t] > 0 {
			later = append(later, t)
		} else {
			now = append(now, t)
		}
	}
	return now, later
}

// add lets what is said of some tags wait, and returns of how many tags something was given up for it.
func (w *waiting) add(r report, tags []string) (givenUp int) {
	if len(tags) == 0 {
		return 0
	}
	if w.of == nil {
		w.of = map[string]int{}
	}
	w.gaps = append(w.gaps, r.about(tags))
	w.size += len(tags)
	for _, t := range tags {
		w.of[t]++
	}
	if w.size > max(w.full, maxWaiting) {
		w.merge()
	}
	return w.giveUp()
}

// giveUp takes out the oldest where too many wait, and returns how many.
func (w *waiting) giveUp() (n int) {
	for i := 0; w.size > mostWaiting; i++ {
		n += len(w.gaps[i].tags())
		w.keep(i, nil)
	}
	if n > 0 {
		w.compact()
	}
	return n
}

// merge says the same in fewer reports.
func (w *waiting) merge() { w.replace(mergeReports(w.gaps, maxWaiting/2)) }

func (w *waiting) replace(gaps []report) {
	w.gaps, w.of, w.size = gaps, map[string]int{}, 0
	for _, r := range gaps {
		for _, t := range r.tags() {
			w.of[t]++
			w.size++
		}
	}
	w.full = w.size + maxWaiting/2 // not again for each that comes
}

// keep leaves of gap i what is said of some tags of it. One that has none left stays, empty, until compact.
func (w *waiting) keep(i int, tags []string) {
	for _, t := range w.gaps[i].tags() {
		if w.of[t]--; w.of[t] == 0 {
			delete(w.of, t)
		}
		w.size--
	}
	for _, t := range tags {
		w.of[t]++
		w.size++
	}
	w.gaps[i] = w.gaps[i].about(tags)
}

// compact takes out what nothing is left of.
func (w *waiting) compact() {
	kept := w.gaps[:0]
	for _, g := range w.gaps {
		if len(g.tags()) > 0 {
			kept = append(kept, g)
		}
	}
	clear(w.gaps[len(kept):])
	w.gaps = kept
}

// tags are all of which something waits, with the types that are told.
func (w *waiting) tags() map[string]varvev1.Type {
	out := make(map[string]varvev1.Type, len(w.of))
	for _, g := range w.gaps {
		for _, t := range g.tags() {
			if out[t] == varvev1.Type_TYPE_UNSPECIFIED {
				out[t] = g.typ
			}
		}
	}
	return out
}

// The file of what waits: version, then through and the number of gaps as uvarints, each gap by its length as in the log of gaps, then a
// checksum of all before it.
const waitingVersion = 1

var errWaiting = errors.New("the file of gaps that wait for their tags is damaged")

func (w *waiting) encode() ([]byte, error) {
	b := []byte{waitingVersion}
	b = binary.AppendUvarint(b, w.through)
	b = binary.AppendUvarint(b, uint64(len(w.gaps)))
	for _, g := range w.gaps {
		record, err := g.encode("")
		if err != nil {
			return nil, err
		}
		b = binary.AppendUvarint(b, uint64(len(record)))
		b = append(b, record...)
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli)), nil
}

func decodeWaiting(b []byte) (w waiting, err error) {
	body, err := checkedBody(b, "the file of gaps that wait for their tags", waitingVersion, errWaiting)
	if err != nil {
		return w, err
	}
	number := func() uint64 {
		v, n := binary.Uvarint(body)
		if n <= 0 {
			err = fmt.Errorf("%w: it ends too soon", errWaiting)
			return 0
		}
		body = body[n:]
		return v
	}
	w.through = number()
	for n := number(); n > 0 && err == nil; n-- {
		size := number()
		if err != nil || size > uint64(len(body)) {
			return waiting{}, fmt.Errorf("%w: it ends too soon", errWaiting)
		}
		_, r, broken := decodeGap(body[:size])
		if broken != nil {
			return waiting{}, fmt.Errorf("%w: %w", errWaiting, broken)
		}
		w.add(r, r.tags())
		body = body[size:]
	}
	if err == nil && len(body) > 0 {
		err = fmt.Errorf("%w: %d bytes are left over", errWaiting, len(body))
	}
	if err != nil {
		return waiting{}, err
	}
	return w, nil
}

// checkedBody is what stands in a file between its version and the checksum of all before it.
func checkedBody(b []byte, what string, version byte, damaged error) ([]byte, error) {
	if len(b) < 6 {
		return nil, fmt.Errorf("%w: it has %d bytes", damaged, len(b))
	}
	body, sum := b[:len(b)-4], binary.LittleEndian.Uint32(b[len(b)-4:])
	if crc32.Checksum(body, castagnoli) != sum {
		return nil, fmt.Errorf("%w: its checksum does not fit", damaged)
	}
	if body[0] != version {
		return nil, fmt.Errorf("%s has version %d, this program knows %d", what, body[0], version)
	}
	return body[1:], nil
}

// readWaiting reads what waits for a destination; nothing where there is no file.
func (q *Queue) readWaiting(name string) (waiting, error) {
	b, err := q.readFile(waitingFolder, name)
	if err != nil || b == nil {
		return waiting{}, err
	}
	return decodeWaiting(b)
}

// readRefused reads what a destination refuses; nothing where there is no file.
func (q *Queue) readRefused(name string) (refusals, error) {
	b, err := q.readFile(refusedFolder, name)
	if err != nil || b == nil {
		return refusals{}, err
	}
	return decodeRefused(b)
}

// readFile reads a small file of a destination, nil where there is none.
func (q *Queue) readFile(folder, name string) ([]byte, error) {
	f, err := q.o.FS.Open(q.o.FS.PathJoin(q.dir, folder, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(f)
	return b, errors.Join(err, f.Close())
}

func (q *Queue) writeWaiting(name string, w *waiting) error {
	b, err := w.encode()
	if err == nil {
		err = durable.WriteFile(q.o.FS, q.o.FS.PathJoin(q.dir, waitingFolder), name, b)
	}
	if err != nil {
		return fmt.Errorf("write gaps that wait for the tags of destination %s: %w", name, err)
	}
	return nil
}

func (q *Queue) writeRefused(name string, f *refusals) error {
	if err := durable.WriteFile(q.o.FS, q.o.FS.PathJoin(q.dir, refusedFolder), name, f.encode()); err != nil {
		return fmt.Errorf("write what destination %s refuses: %w", name, err)
	}
	return nil
}
