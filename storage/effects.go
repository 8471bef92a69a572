package storage

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/keys"
)

// A record says what was sent; what became of each of its samples depends on what stood there when it was applied, and
// cannot be found again later. So apply notes it, for those who read the log behind it (changes.go): nothing for a record
// that put every sample behind all that its tag had, which is nearly every one, and an entry for any other. The entries of
// a generation are a row in its batch, so that they are there exactly where replay does not come by again.

// effects is the entries of the records of one generation. DB.mu guards those of the generation being filled; an entry
// that was returned is never changed.
type effects struct {
	after   uint64 // the generation is the records behind this offset
	through uint64 // and up to this one; 0 while it is being filled
	offsets []uint64
	ends    []int // of each entry in data
	data    []byte
}

func (e *effects) add(offset uint64, entry []byte) {
	e.data = append(e.data, entry...)
	e.offsets, e.ends = append(e.offsets, offset), append(e.ends, len(e.data))
}

// of is the entry of a record, nil where every sample of it was put behind all that its tag had.
func (e *effects) of(offset uint64) []byte {
	i, found := slices.BinarySearch(e.offsets, offset)
	if !found {
		return nil
	}
	from := 0
	if i > 0 {
		from = e.ends[i-1]
	}
	return e.data[from:e.ends[i]:e.ends[i]]
}

// Rows of effects are version 1: the offset before the first record of the generation, then of each record that has an entry
// the distance to the one before, the length and the entry; CRC-32C of all before it.
const effectsVersion = 1

// row is the row of a generation that ends with the record at an offset.
func (e *effects) row(through uint64) row {
	v := binary.LittleEndian.AppendUint64([]byte{effectsVersion}, e.after)
	last, from := e.after, 0
	for i, offset := range e.offsets {
		v = binary.AppendUvarint(v, offset-last)
		v = binary.AppendUvarint(v, uint64(e.ends[i]-from))
		v = append(v, e.data[from:e.ends[i]]...)
		last, from = offset, e.ends[i]
	}
	return row{key: keys.AppendOffset(nil, keys.Effects, through), value: binary.LittleEndian.AppendUint32(v, crc32.Checksum(v, castagnoli))}
}

func decodeEffects(key, b []byte) (*effects, error) {
	if err := checkRow(b, effectsVersion, 0); err != nil {
		return nil, fmt.Errorf("read effects of records: %w", err)
	}
	through, err := keys.DecodeOffset(key)
	if err != nil || len(b) < 13 {
		return nil, fmt.Errorf("read effects of records: key of %d bytes, value of %d: %w", len(key), len(b), ErrCorrupt)
	}
	e := &effects{after: binary.LittleEndian.Uint64(b[1:]), through: through}
	last := e.after
	for b = b[9 : len(b)-4]; len(b) > 0; {
		step, n := binary.Uvarint(b)
		size, m := binary.Uvarint(b[max(n, 0):])
		if n <= 0 || m <= 0 || step == 0 || step > through-last || size > uint64(len(b)-n-m) {
			return nil, fmt.Errorf("read effects of records up to %d, behind record %d: %w", through, last, ErrCorrupt)
		}
		last += step
		e.add(last, b[n+m:n+m+int(size)])
		b = b[n+m+int(size):]
	}
	return e, nil
}

// dropEffects takes away the rows of generations of which the log has nothing any more.
func (w *generationWriter) dropEffects() error {
	low := w.db.log.LowWatermark()
	it, err := w.db.engine.NewIter(&pebble.IterOptions{
		LowerBound: keys.AppendOffset(nil, keys.Effects, 0), UpperBound: keys.AppendOffset(nil, keys.Effects, low),
	})
	if err != nil {
		return engineError("find effects of records", err)
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		if err := w.batch.Delete(it.Key(), nil); err != nil {
			return err
		}
	}
	if err := engineError("find effects of records", it.Error()); err != nil && !isDamage(err) {
		return err
	}
	return nil // a row too many is read by nobody
}

// An entry is 1 where nothing of the record was applied, else 2 and stretches over its samples, those of all runs one behind the
// other; samples behind the last stretch are new. A stretch is a byte with the effect and flags, how many samples it is about, and the seq they
// got if it differs from the run's. One about the sample before once more has no count.
const (
	entryNone     = 1
	entrySamples  = 2
	stretchSeq    = 1 << 4
	stretchAgain  = 1 << 5
	stretchEffect = stretchSeq - 1
)

// effectNotes gathers the entry of the record being applied. Samples are noted in order; those left out are new.
type effectNotes struct {
	entry []byte
	effectStretch
	samples int // noted, those of the stretch included
}

// effectStretch is some samples with the same note.
type effectStretch struct {
	kind  byte // effect and flags
	seq   uint32
	count int
}

func (n *effectNotes) reset() { *n = effectNotes{entry: n.entry[:0]} }

// none says that nothing of the record was applied.
func (n *effectNotes) none() { n.entry = append(n.entry[:0], entryNone) }

// add notes the effect on count samples of the record from one on.
func (n *effectNotes) add(index, count int, e model.Effect) { n.note(index, count, byte(e), 0) }

// addSeq is add for a sample that got, or was found at, another seq than the run says. Several may be about one sample.
func (n *effectNotes) addSeq(index int, e model.Effect, seq uint32) {
	kind := byte(e) | stretchSeq
	if index < n.samples {
		n.end()
		n.effectStretch = effectStretch{kind | stretchAgain, seq, 1}
		return
	}
	n.note(index, 1, kind, seq)
}

func (n *effectNotes) note(index, count int, kind byte, seq uint32) {
	if index > n.samples {
		n.extend(index-n.samples, byte(model.EffectNew), 0)
	}
	n.extend(count, kind, seq)
}

func (n *effectNotes) extend(count int, kind byte, seq uint32) {
	if n.count > 0 && (n.kind != kind || n.seq != seq) {
		n.end()
	}
	n.kind, n.seq = kind, seq
	n.count += count
	n.samples += count
}

// end writes the stretch gathered.
func (n *effectNotes) end() {
	if n.count == 0 {
		return
	}
	if len(n.entry) == 0 {
		n.entry = append(n.entry, entrySamples)
	}
	n.entry = append(n.entry, n.kind)
	if n.kind&stretchAgain == 0 {
		n.entry = binary.AppendUvarint(n.entry, uint64(n.count))
	}
	if n.kind&stretchSeq != 0 {
		n.entry = binary.AppendUvarint(n.entry, uint64(n.seq))
	}
	n.count = 0
}

// finish is the entry of the record, empty where none is needed.
func (n *effectNotes) finish() []byte {
	if n.kind != byte(model.EffectNew) {
		n.end()
	}
	return n.entry
}

// noteUnseen notes what a run does that is put without a look at what is stored. DB.mu is held, and nothing of the run is
// applied yet.
func (a *applier) noteUnseen(index int) {
	s := &a.run.Samples
	row := a.db.latest.row(a.run.Tag)
	newest, have := a.db.latest.sample(a.run.Tag)
	for i, t := range s.Times {
		seq := s.SeqAt(i)
		e := model.EffectUpdated
		switch {
		case row.flags&newestUnknown != 0:
		case !have || t > newest.Time || t == newest.Time && seq > newest.Seq:
			e = model.EffectNew
			newest, have = s.At(i), true
		case t < newest.Time || seq < newest.Seq:
		case newest.SameValue(s.At(i)):
			e = model.EffectNone
		default:
			e = model.EffectReplaced
			newest = s.At(i)
		}
		a.notes.add(index+i, 1, e)
	}
}

// noteLooked notes the effect of putting sample x of the run, where stood tells whether its key had one.
func (a *applier) noteLooked(i int, x *model.Sample, stood bool) {
	row := a.db.latest.row(a.run.Tag)
	e := model.EffectLate
	switch {
	case stood:
		e = model.EffectReplaced
	case row.flags&newestUnknown != 0:
	case (row.typ == 0 || x.Time > row.time || x.Time == row.time && x.Seq > row.seq) && a.newestPut.before(x):
		e = model.EffectNew
	}
	a.newestPut.raise(x)
	if index := int(a.puts.index) + i; x.Seq == a.run.Samples.SeqAt(i) {
		a.notes.add(index, 1, e)
	} else {
		a.notes.addSeq(index, e, x.Seq)
	}
}

// putKey is the highest key that a run has put so far.
type putKey struct {
	time int64
	seq  uint32
	any  bool
}

func (k *putKey) before(x *model.Sample) bool {
	return !k.any || x.Time > k.time || x.Time == k.time && x.Seq > k.seq
}

func (k *putKey) raise(x *model.Sample) {
	if k.before(x) {
		*k = putKey{x.Time, x.Seq, true}
	}
}

// entryReader reads the entry of a record along with its samples.
type entryReader struct {
	b []byte // what is behind the stretch
	effectStretch
	none bool // nothing of the record was applied
}

var errEntry = fmt.Errorf("effects of a record do not fit it: %w", ErrCorrupt)

func (r *entryReader) open(entry []byte) error {
	*r = entryReader{}
	switch {
	case len(entry) == 0:
	case len(entry) == 1 && entry[0] == entryNone:
		r.none = true
		return nil
	case entry[0] == entrySamples:
		r.b = entry[1:]
	default:
		return errEntry
	}
	return r.next()
}

// next reads the next stretch; behind the last one all samples are new.
func (r *entryReader) next() error {
	r.effectStretch = effectStretch{kind: byte(model.EffectNew), count: math.MaxInt}
	if len(r.b) == 0 {
		return nil
	}
	r.kind, r.b = r.b[0], r.b[1:]
	r.count = 1
	if r.kind&stretchAgain == 0 {
		count, n := binary.Uvarint(r.b)
		if n <= 0 || count == 0 || count > math.MaxInt32 {
			return errEntry
		}
		r.count, r.b = int(count), r.b[n:]
	}
	if r.kind&stretchSeq != 0 {
		seq, n := binary.Uvarint(r.b)
		if n <= 0 || seq > math.MaxUint32 {
			return errEntry
		}
		r.seq, r.b = uint32(seq), r.b[n:]
	}
	return nil
}

// allNew takes n samples if all of them are new.
func (r *entryReader) allNew(n int) (bool, error) {
	if r.kind != byte(model.EffectNew) || r.count < n {
		return false, nil
	}
	r.count -= n
	return true, r.turn()
}

// turn goes to the next stretch if this one is over.
func (r *entryReader) turn() error {
	if r.count > 0 {
		return nil
	}
	return r.next()
}

// each calls yield for the effects on the samples of the next run, in order, also for EffectNone.
func (r *entryReader) each(s *model.Samples, yield func(i int, e model.Effect, seq uint32)) error {
	for i := 0; i < s.Len() || r.kind&stretchAgain != 0; i++ {
		if r.kind&stretchAgain != 0 {
			i-- // about the sample before
		}
		if i < 0 {
			return errEntry
		}
		seq := s.SeqAt(i)
		if r.kind&stretchSeq != 0 {
			seq = r.seq
		}
		yield(i, model.Effect(r.kind&stretchEffect), seq)
		r.count--
		if err := r.turn(); err != nil {
			return err
		}
	}
	return nil
}
