package storage

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

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
)

// latestTable is guarded by DB.mu.
type latestTable struct {
	rows  []newest
	blobs map[model.TagID][]byte // values of string and bytes tags
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

// Latest rows are version 1: type, flags, time, bits, quality, seq, blob, CRC-32C of all before it. A tag without
// samples that once had some has type 0.
const latestVersion = 1

func appendLatest(dst []byte, r *newest, blob []byte) []byte {
	n := len(dst)
	dst = append(dst, latestVersion, byte(r.typ), r.flags&^newestDay)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(r.time))
	dst = binary.LittleEndian.AppendUint64(dst, r.bits)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(r.quality))
	dst = binary.LittleEndian.AppendUint32(dst, r.seq)
	dst = append(dst, blob...)
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[n:], castagnoli))
}

const latestFixed = 3 + 8 + 8 + 4 + 4

// load takes a stored row.
func (l *latestTable) load(tag model.TagID, b []byte) error {
	if err := checkRow(b, latestVersion, 0); err != nil {
		return fmt.Errorf("read newest sample of tag %d: %w", tag, err)
	}
	b = b[:len(b)-4]
	if len(b) < latestFixed {
		return fmt.Errorf("read newest sample of tag %d: %d bytes, need %d: %w", tag, len(b), latestFixed, ErrCorrupt)
	}
	if t := model.Type(b[1]); t != 0 && !t.Valid() || !t.Blob() && len(b) > latestFixed {
		return fmt.Errorf("read newest sample of tag %d: %d bytes of %s: %w", tag, len(b), t, ErrCorrupt)
	}
	*l.row(tag) = newest{
		typ: model.Type(b[1]), flags: b[2],
		time: int64(binary.LittleEndian.Uint64(b[3:])), bits: binary.LittleEndian.Uint64(b[11:]),
		quality: model.Quality(binary.LittleEndian.Uint32(b[19:])), seq: binary.LittleEndian.Uint32(b[23:]),
	}
	if model.Type(b[1]).Blob() {
		if l.blobs == nil {
			l.blobs = map[model.TagID][]byte{}
		}
		l.blobs[tag] = append([]byte{}, b[latestFixed:]...)
	}
	return nil
}
