package storage

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"slices"

	"github.com/varvedb/varve/model"
)

// newest is the row of one tag in the table of newest samples: the sample of highest (time, seq). The table is a dense
// slice over tag ids so that a million slow tags cost 32 MB and a read of ten thousand touches nothing else.
type newest struct {
	time    int64
	bits    uint64
	quality model.Quality
	seq     uint32
	typ     model.Type // 0: the tag has no sample
	flags   uint8
	day     int32 // a partition known to be in the tag's set, see partitionSets
}

const (
	newestNull  = 1 << 0
	newestMulti = 1 << 1 // somewhere several samples stand at one time: every write must look
	newestDay   = 1 << 2 // day is set
	// newestUnknown: what the tag has could not be read back, so that nothing may be taken for new without looking.
	newestUnknown = 1 << 3

	newestStored = newestNull | newestMulti | newestUnknown // the flags that rows have
)

// latestTable is guarded by DB.mu.
type latestTable struct {
	rows  []newest
	blobs map[model.TagID][]byte // values of string and bytes tags
	// touched is tags whose rows changed since the last cut though the head has nothing of them.
	touched []model.TagID
}

func (l *latestTable) row(tag model.TagID) *newest {
	if int(tag) >= len(l.rows) {
		l.rows = append(l.rows, make([]newest, max(int(tag)+1-len(l.rows), len(l.rows)/2, 1024))...)
	}
	return &l.rows[tag]
}

func (l *latestTable) sample(tag model.TagID) (model.Sample, bool) {
	if int(tag) >= len(l.rows) || l.rows[tag].typ == 0 {
		return model.Sample{}, false
	}
	r := &l.rows[tag]
	return model.Sample{
		Time: r.time, Type: r.typ, Bits: r.bits, Blob: l.blobs[tag], Quality: r.quality, Null: r.flags&newestNull != 0, Seq: r.seq,
	}, true
}

// set makes x the newest sample of tag.
func (l *latestTable) set(tag model.TagID, x model.Sample) {
	r := l.row(tag)
	r.time, r.bits, r.quality, r.seq, r.typ = x.Time, x.Bits, x.Quality, x.Seq, x.Type
	r.flags &^= newestNull
	if x.Null {
		r.flags |= newestNull
	}
	if x.Type.Blob() {
		if l.blobs == nil {
			l.blobs = map[model.TagID][]byte{}
		}
		l.blobs[tag] = append([]byte{}, x.Blob...)
	}
}

// clear says that tag has no sample left.
func (l *latestTable) clear(tag model.TagID) {
	l.row(tag).typ = 0
	delete(l.blobs, tag)
}

// precedes reports whether samples are in order and all lie behind the newest of their tag.
func (l *latestTable) precedes(tag model.TagID, s *model.Samples) bool {
	r := l.row(tag)
	return r.flags&newestUnknown == 0 && (r.typ == 0 || s.Times[0] > r.time) && ascending(s.Times)
}

// offer takes samples just put: the highest (time, seq) of them wins over what stands there if it is not older.
func (l *latestTable) offer(tag model.TagID, s *model.Samples) {
	r := l.row(tag)
	if n := len(s.Times) - 1; !s.Type.Blob() && s.Seq == nil && s.Null == nil && (r.typ == 0 || s.Times[0] > r.time) && ascending(s.Times) {
		// The usual run, in order and behind everything: its last sample, without looking at the others.
		r.time, r.bits, r.quality, r.seq, r.typ = s.Times[n], s.Bits[n], s.QualityAt(n), 0, s.Type
		r.flags &^= newestNull
		return
	}
	best := -1
	t, seq := r.time, r.seq
	have := r.typ != 0
	for i, u := range s.Times {
		if !have || u > t || u == t && s.SeqAt(i) >= seq {
			best, t, seq, have = i, u, s.SeqAt(i), true
		}
	}
	if best >= 0 {
		l.set(tag, s.At(best))
	}
}

func ascending(times []int64) bool {
	for i := 1; i < len(times); i++ {
		if times[i] <= times[i-1] {
			return false
		}
	}
	return true
}

// latestPage is how many tags, neighbours by id, share a row of newest samples. A generation writes the row of every page it has
// a tag of: where it has all tags that is a sixteenth of the rows, and where it has one of sixteen some 300 bytes more.
const latestPage = 16

// pageOf is the first tag of the page of a tag.
func pageOf(tag model.TagID) model.TagID { return tag &^ (latestPage - 1) }

// touch notes that the row of a tag changed though the head has nothing of it.
func (l *latestTable) touch(tag model.TagID) { l.touched = append(l.touched, tag) }

// takePages is the pages of tags, ascending, and of those touched since the last call; first tags, ascending.
func (l *latestTable) takePages(tags []model.TagID) []model.TagID {
	var pages []model.TagID
	for _, tag := range tags {
		if p := pageOf(tag); len(pages) == 0 || pages[len(pages)-1] != p {
			pages = append(pages, p)
		}
	}
	if len(l.touched) > 0 {
		for _, tag := range l.touched {
			pages = append(pages, pageOf(tag))
		}
		l.touched = nil
		slices.Sort(pages)
		pages = slices.Compact(pages)
	}
	return pages
}

// Latest rows are version 1: a bit for every tag of the page, then of each whose bit is set type, flags, time, bits, quality,
// seq, and of text and bytes the value; CRC-32C of all before it. A tag without samples has type 0 and is left out, unless
// there are flags to keep.
const latestVersion = 1

// appendPage writes the row of the page that begins with tag first.
func (l *latestTable) appendPage(dst []byte, first model.TagID) []byte {
	n := len(dst)
	dst = append(dst, latestVersion, 0, 0)
	var has uint16
	for i := range min(latestPage, len(l.rows)-int(first)) {
		tag := first + model.TagID(i)
		r := &l.rows[tag]
		flags := r.flags & newestStored
		if r.typ == 0 && flags == 0 {
			continue
		}
		has |= 1 << i
		dst = append(dst, byte(r.typ), flags)
		dst = binary.LittleEndian.AppendUint64(dst, uint64(r.time))
		dst = binary.LittleEndian.AppendUint64(dst, r.bits)
		dst = binary.AppendUvarint(dst, uint64(r.quality))
		dst = binary.AppendUvarint(dst, uint64(r.seq))
		if r.typ.Blob() {
			dst = binary.AppendUvarint(dst, uint64(len(l.blobs[tag])))
			dst = append(dst, l.blobs[tag]...)
		}
	}
	binary.LittleEndian.PutUint16(dst[n+1:], has)
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[n:], castagnoli))
}

// load takes the stored row of the page that begins with tag first, of tags up to last.
func (l *latestTable) load(first, last model.TagID, b []byte) error {
	if err := l.loadPage(first, last, b); err != nil {
		return fmt.Errorf("read newest samples of tags from %d: %w", first, err)
	}
	return nil
}

func (l *latestTable) loadPage(first, last model.TagID, b []byte) error {
	if err := checkRow(b, latestVersion, 0); err != nil {
		return err
	}
	b = b[:len(b)-4]
	if len(b) < 3 || first != pageOf(first) {
		return fmt.Errorf("%d bytes: %w", len(b), ErrCorrupt)
	}
	has := binary.LittleEndian.Uint16(b[1:])
	b = b[3:]
	for i := range latestPage {
		if has>>i&1 == 0 {
			continue
		}
		tag := first + model.TagID(i)
		if tag == 0 || tag > last { // the table has a place for every tag below it
			return fmt.Errorf("tag %d, there are %d: %w", tag, last, ErrCorrupt)
		}
		var err error
		if b, err = l.loadEntry(tag, b); err != nil {
			return fmt.Errorf("tag %d: %w", tag, err)
		}
	}
	if len(b) > 0 {
		return fmt.Errorf("%d bytes behind the last tag: %w", len(b), ErrCorrupt)
	}
	return nil
}

// loadEntry takes what a row has of one tag, and returns what is behind it.
func (l *latestTable) loadEntry(tag model.TagID, b []byte) ([]byte, error) {
	const fixed = 2 + 8 + 8
	if len(b) < fixed {
		return nil, fmt.Errorf("%d bytes, need %d: %w", len(b), fixed, ErrCorrupt)
	}
	r := newest{
		typ: model.Type(b[0]), flags: b[1],
		time: int64(binary.LittleEndian.Uint64(b[2:])), bits: binary.LittleEndian.Uint64(b[10:]),
	}
	if r.typ != 0 && !r.typ.Valid() || b[1]&^newestStored != 0 {
		return nil, fmt.Errorf("%s, flags %x: %w", r.typ, b[1], ErrCorrupt)
	}
	b = b[fixed:]
	var more [3]uint64 // quality, seq, length
	n := 2
	if r.typ.Blob() {
		n = 3
	}
	for i := range n {
		v, size := binary.Uvarint(b)
		if size <= 0 || v > math.MaxUint32 {
			return nil, fmt.Errorf("%d bytes behind the value: %w", len(b), ErrCorrupt)
		}
		more[i], b = v, b[size:]
	}
	if more[2] > uint64(len(b)) {
		return nil, fmt.Errorf("value of %d bytes in %d: %w", more[2], len(b), ErrCorrupt)
	}
	r.quality, r.seq = model.Quality(more[0]), uint32(more[1])
	*l.row(tag) = r
	if r.typ.Blob() {
		if l.blobs == nil {
			l.blobs = map[model.TagID][]byte{}
		}
		l.blobs[tag] = append([]byte{}, b[:more[2]]...)
	}
	return b[more[2]:], nil
}
