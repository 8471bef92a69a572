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

// waiting is the gaps of tags that a destination does not have, in the order they were put. They are told when the tag is there, and until
// then whatever else is said of the tag waits behind them.
type waiting struct {
	through uint64 // all of the log of gaps up to this offset was told, or is here
	gaps    []report
	of      map[string]int // by tag, how many of them it has
	size    int            // the sum of that
}

// maxWaiting is the most gaps that wait, each counted once for each of its tags. Beyond it the oldest are given up.
const maxWaiting = 100_000

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
	for i := 0; w.size > maxWaiting; i++ {
		givenUp += len(w.gaps[i].tags())
		w.keep(i, nil)
	}
	if givenUp > 0 {
		w.compact()
	}
	return givenUp
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
	if len(b) < 7 {
		return w, fmt.Errorf("%w: it has %d bytes", errWaiting, len(b))
	}
	body, sum := b[:len(b)-4], binary.LittleEndian.Uint32(b[len(b)-4:])
	if crc32.Checksum(body, castagnoli) != sum {
		return w, fmt.Errorf("%w: its checksum does not fit", errWaiting)
	}
	if body[0] != waitingVersion {
		return w, fmt.Errorf("the file of gaps that wait for their tags has version %d, this program knows %d", body[0], waitingVersion)
	}
	body = body[1:]
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

// readWaiting reads what waits for a destination; nothing where there is no file.
func (q *Queue) readWaiting(name string) (waiting, error) {
	f, err := q.o.FS.Open(q.o.FS.PathJoin(q.dir, waitingFolder, name))
	if errors.Is(err, fs.ErrNotExist) {
		return waiting{}, nil
	}
	if err != nil {
		return waiting{}, err
	}
	b, err := io.ReadAll(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return waiting{}, err
	}
	return decodeWaiting(b)
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
