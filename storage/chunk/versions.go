package chunk

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/varvedb/varve/model"
)

// VersionRow is one version of a sample as it is stored: a model.Version whose source is still a number.
type VersionRow struct {
	model.Sample
	Kind    model.VersionKind
	Current bool // the version that stands, at the time the row was written
	Offset  uint64
	Index   uint32
	Ingest  int64 // nanoseconds UTC
	Source  uint32
	Author  string
	Reason  string
}

// The flags of a version row. They reach disk and are never renumbered.
const (
	rowCurrent = 1 << 0
	rowNull    = 1 << 1
	rowEdited  = 1 << 2 // author and reason follow
	rowFlags   = rowCurrent | rowNull | rowEdited
)

// leastVersionRow is the fewest bytes a row takes: type, kind, flags, and seven numbers.
const leastVersionRow = 10

// AppendVersions encodes rows behind dst, in the order they have, any number of them. A row without type or kind is a
// mistake of the caller, and panics: it could not be read again.
func AppendVersions(dst []byte, rows []VersionRow) []byte {
	from := len(dst)
	dst = binary.AppendUvarint(append(dst, kindVersions|version), uint64(len(rows)))
	var prev VersionRow
	for _, r := range rows {
		if !r.known() {
			panic(fmt.Sprintf("encode versions: row of %s, kind %d", r.Type, r.Kind))
		}
		dst = appendVersion(dst, &r, &prev)
		prev = r
	}
	return seal(dst, from)
}

func (r *VersionRow) known() bool {
	return r.Type.Valid() && r.Kind >= model.Inserted && r.Kind <= model.Removed
}

// appendVersion writes a row. Time, offset and ingest count from the row before: versions of one change stand together.
func appendVersion(dst []byte, r, prev *VersionRow) []byte {
	flags := byte(0)
	if r.Current {
		flags |= rowCurrent
	}
	if r.Null {
		flags |= rowNull
	}
	if r.Author != "" || r.Reason != "" {
		flags |= rowEdited
	}
	dst = append(dst, byte(r.Type), byte(r.Kind), flags)
	dst = binary.AppendVarint(dst, r.Time-prev.Time)
	dst = binary.AppendUvarint(dst, uint64(r.Seq))
	dst = binary.AppendUvarint(dst, uint64(r.Quality))
	dst = binary.AppendVarint(dst, int64(r.Offset-prev.Offset))
	dst = binary.AppendUvarint(dst, uint64(r.Index))
	dst = binary.AppendVarint(dst, r.Ingest-prev.Ingest)
	dst = binary.AppendUvarint(dst, uint64(r.Source))
	if !r.Null {
		dst = appendValue(dst, &r.Sample)
	}
	if flags&rowEdited != 0 {
		dst = appendText(appendText(dst, r.Author), r.Reason)
	}
	return dst
}

// appendValue writes floats whole and everything else in as many bytes as it needs.
func appendValue(dst []byte, s *model.Sample) []byte {
	switch {
	case s.Type.Blob():
		return appendText(dst, s.Blob)
	case s.Type == model.Float64:
		return binary.BigEndian.AppendUint64(dst, s.Bits)
	case s.Type == model.Float32:
		return binary.BigEndian.AppendUint32(dst, uint32(s.Bits))
	}
	return binary.AppendVarint(dst, int64(s.Bits))
}

func appendText[T string | []byte](dst []byte, text T) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(text))), text...)
}

// DecodeVersions reads what AppendVersions wrote. Nothing in the rows points into b.
func DecodeVersions(b []byte) ([]VersionRow, error) {
	body, err := open(b, kindVersions)
	if err != nil {
		return nil, fmt.Errorf("decode versions: %w", err)
	}
	r := reader{b: body}
	n := r.uvarint()
	if r.bad || n > uint64(len(r.b)/leastVersionRow) {
		return nil, fmt.Errorf("decode versions: %d rows in %d bytes: %w", n, len(b), ErrCorrupt)
	}
	rows := make([]VersionRow, n)
	var prev VersionRow
	for i := range rows {
		r.version(&rows[i], &prev)
		if r.bad {
			return nil, fmt.Errorf("decode versions: row %d of %d, %d bytes before the end: %w", i+1, n, len(r.b), ErrCorrupt)
		}
		prev = rows[i]
	}
	if len(r.b) > 0 {
		return nil, fmt.Errorf("decode versions: %d bytes behind the last row: %w", len(r.b), ErrCorrupt)
	}
	return rows, nil
}

// reader reads fields one after another. After the first that cannot be it is bad, and everything reads as zero.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n uint64) []byte {
	if r.bad || n > uint64(len(r.b)) {
		r.bad = true
		return nil
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.take(uint64(n))
	return v
}

func (r *reader) uint32() uint32 {
	v := r.uvarint()
	if v > 1<<32-1 {
		r.bad = true
	}
	return uint32(v)
}

func (r *reader) varint() int64 {
	v := r.uvarint()
	return int64(v>>1) ^ -int64(v&1)
}

func (r *reader) text() []byte { return r.take(r.uvarint()) }

func (r *reader) version(row, prev *VersionRow) {
	row.Type, row.Kind = model.Type(r.byte()), model.VersionKind(r.byte())
	flags := r.byte()
	row.Current, row.Null = flags&rowCurrent != 0, flags&rowNull != 0
	if !row.known() || flags&^rowFlags != 0 {
		r.bad = true
	}
	row.Time = prev.Time + r.varint()
	row.Seq = r.uint32()
	row.Quality = model.Quality(r.uint32())
	row.Offset = prev.Offset + uint64(r.varint())
	row.Index = r.uint32()
	row.Ingest = prev.Ingest + r.varint()
	row.Source = r.uint32()
	if !row.Null {
		r.value(&row.Sample)
	}
	if flags&rowEdited != 0 {
		row.Author, row.Reason = string(r.text()), string(r.text())
	}
}

func (r *reader) value(s *model.Sample) {
	switch {
	case s.Type.Blob():
		s.Blob = slices.Clone(r.text())
	case s.Type == model.Float64:
		if b := r.take(8); b != nil {
			s.Bits = binary.BigEndian.Uint64(b)
		}
	case s.Type == model.Float32:
		if b := r.take(4); b != nil {
			s.Bits = uint64(binary.BigEndian.Uint32(b))
		}
	default:
		s.Bits = uint64(r.varint())
	}
}
