package chunk

import (
	"encoding/binary"
	"fmt"
)

// Deletion says that samples of a tag are gone as of a log offset: one key, all samples at one time, or with From and To
// all samples of a time range.
type Deletion struct {
	Time     int64
	Seq      uint32
	All      bool   // every seq at Time
	Offset   uint64 // of the log record that deletes
	From, To int64  // where To is not 0 or From is not: every sample in [From, To); Time, Seq and All are zero then
}

// Range reports whether the deletion is of a time range.
func (d *Deletion) Range() bool { return d.From != 0 || d.To != 0 }

// The first byte of a deletion. The numbers reach disk and are never renumbered; zero has no meaning.
const (
	deleteKey   = 1 // time, seq
	deleteAll   = 2 // time
	deleteRange = 3 // from, to less from
)

// leastDeletion is the fewest bytes a deletion takes: its kind, a time and an offset.
const leastDeletion = 3

// AppendDeletions encodes deletions behind dst, in the order they have, any number of them.
func AppendDeletions(dst []byte, deletions []Deletion) []byte {
	from := len(dst)
	dst = binary.AppendUvarint(append(dst, kindDeletions|version), uint64(len(deletions)))
	var time int64
	var offset uint64
	for _, d := range deletions {
		switch {
		case d.Range():
			dst = binary.AppendVarint(append(dst, deleteRange), d.From-time)
			dst = binary.AppendVarint(dst, d.To-d.From)
			time = d.From
		case d.All:
			dst = binary.AppendVarint(append(dst, deleteAll), d.Time-time)
			time = d.Time
		default:
			dst = binary.AppendVarint(append(dst, deleteKey), d.Time-time)
			dst = binary.AppendUvarint(dst, uint64(d.Seq))
			time = d.Time
		}
		dst = binary.AppendVarint(dst, int64(d.Offset-offset))
		offset = d.Offset
	}
	return seal(dst, from)
}

// DecodeDeletions reads what AppendDeletions wrote.
func DecodeDeletions(b []byte) ([]Deletion, error) {
	body, err := open(b, kindDeletions)
	if err != nil {
		return nil, fmt.Errorf("decode deletions: %w", err)
	}
	r := reader{b: body}
	n := r.uvarint()
	if r.bad || n > uint64(len(r.b)/leastDeletion) {
		return nil, fmt.Errorf("decode deletions: %d of them in %d bytes: %w", n, len(b), ErrCorrupt)
	}
	out := make([]Deletion, n)
	var time int64
	var offset uint64
	for i := range out {
		d := &out[i]
		kind := r.byte()
		time += r.varint()
		switch kind {
		case deleteKey:
			d.Time, d.Seq = time, r.uint32()
		case deleteAll:
			d.Time, d.All = time, true
		case deleteRange:
			d.From, d.To = time, time+r.varint()
			r.bad = r.bad || !d.Range()
		default:
			r.bad = true
		}
		offset += uint64(r.varint())
		d.Offset = offset
		if r.bad {
			return nil, fmt.Errorf("decode deletions: %d of %d, %d bytes before the end: %w", i+1, n, len(r.b), ErrCorrupt)
		}
	}
	if len(r.b) > 0 {
		return nil, fmt.Errorf("decode deletions: %d bytes behind the last: %w", len(r.b), ErrCorrupt)
	}
	return out, nil
}
