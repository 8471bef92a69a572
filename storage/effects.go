package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
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

// An entry is 1 where nothing of the record was applied, else 2 and of every run that did something else than to put all its samples
// behind the others: the distance to the run before, the length of what follows, and stretches. A stretch is a byte with the
// effect and flags, how many samples of the run, one behind the other, it is about, and the seq they got if it differs from the run's.
// One about the sample before once more has no count.
const (
	entryNone = 1
	entryRuns = 2

	stretchSeq   = 1 << 4
	stretchAgain = 1 << 5
	stretchKind  = stretchSeq - 1
)

// effectNotes gathers the entry of the record being applied.
type effectNotes struct {
	entry []byte
	runs  int // up to which run the entry goes, exclusive

	run     []byte // stretches of the run at hand, without the one being gathered
	samples int    // of the run that were noted, the stretch being gathered included
	kind    byte
	seq     uint32
	count   int
}

func (n *effectNotes) reset() { n.entry, n.runs = n.entry[:0], 0 }

// none says that nothing of the record was applied.
func (n *effectNotes) none() { n.entry = append(n.entry[:0], entryNone) }

// add notes the effect on sample i of a run. Samples come in order; those left out had none.
func (n *effectNotes) add(i int, e model.Effect) { n.note(i, byte(e), 0) }

// addSeq is add for a sample that got, or was found at, another seq than the run says. Several may be about one sample.
func (n *effectNotes) addSeq(i int, e model.Effect, seq uint32) { n.note(i, byte(e)|stretchSeq, seq) }

func (n *effectNotes) note(i int, kind byte, seq uint32) {
	if i < n.samples {
		n.endStretch()
		n.kind, n.seq, n.count = kind|stretchAgain, seq, 1
		return
	}
	n.skip(i)
	n.extend(kind, seq, 1)
}

// skip notes that the samples before i had no effect.
func (n *effectNotes) skip(i int) {
	if i > n.samples {
		n.extend(byte(model.EffectNone), 0, i-n.samples)
	}
}

func (n *effectNotes) extend(kind byte, seq uint32, count int) {
	if n.count > 0 && (n.kind != kind || n.seq != seq) {
		n.endStretch()
	}
	n.kind, n.seq = kind, seq
	n.count += count
	n.samples += count
}

func (n *effectNotes) endStretch() {
	if n.count == 0 {
		return
	}
	n.run = append(n.run, n.kind)
	if n.kind&stretchAgain == 0 {
		n.run = binary.AppendUvarint(n.run, uint64(n.count))
	}
	if n.kind&stretchSeq != 0 {
		n.run = binary.AppendUvarint(n.run, uint64(n.seq))
	}
	n.count = 0
}

// endRun ends the notes on a run of the record, which has a number and a length.
func (n *effectNotes) endRun(number, length int) {
	n.skip(length)
	n.endStretch()
	if len(n.entry) == 0 {
		n.entry = append(n.entry, entryRuns)
	}
	n.entry = binary.AppendUvarint(n.entry, uint64(number-n.runs))
	n.entry = binary.AppendUvarint(n.entry, uint64(len(n.run)))
	n.entry = append(n.entry, n.run...)
	n.runs = number + 1
	n.run, n.samples = n.run[:0], 0
}

// noteUnseen notes what a run does that is put without a look at what is stored. DB.mu is held, and nothing of the run is
// applied yet.
func (a *applier) noteUnseen(n int) {
	s := &a.run.Samples
	row := a.db.latest.row(a.run.Tag)
	newest, have := a.db.latest.sample(a.run.Tag)
	for i, t := range s.Times {
		seq := s.SeqAt(i)
		switch {
		case row.flags&newestUnknown != 0:
			a.notes.add(i, model.EffectUpdated)
		case !have || t > newest.Time || t == newest.Time && seq > newest.Seq:
			a.notes.add(i, model.EffectNew)
			newest, have = s.At(i), true
		case t < newest.Time || seq < newest.Seq:
			a.notes.add(i, model.EffectUpdated)
		case newest.SameValue(s.At(i)):
			a.notes.add(i, model.EffectNone)
		default:
			a.notes.add(i, model.EffectReplaced)
			newest = s.At(i)
		}
	}
	a.notes.endRun(n, s.Len())
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
	if x.Seq == a.run.Samples.SeqAt(i) {
		a.notes.add(i, e)
		return
	}
	a.notes.addSeq(i, e, x.Seq)
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

// entryReader reads the entry of a record run by run.
type entryReader struct {
	b    []byte
	next int // the next run that the entry has something of; -1 for none
	size int // of its stretches, in front of b
	all  bool
	err  error
}

var errEntry = fmt.Errorf("effects of a record do not fit it: %w", ErrCorrupt)

func (r *entryReader) open(entry []byte) {
	*r = entryReader{next: -1}
	switch {
	case len(entry) == 0:
	case len(entry) == 1 && entry[0] == entryNone:
		r.all = true
	case entry[0] == entryRuns:
		r.b = entry[1:]
		r.find(0)
	default:
		r.err = errEntry
	}
}

// find reads where the stretches of the next run are, which is not before run from.
func (r *entryReader) find(from int) {
	r.next = -1
	if len(r.b) == 0 {
		return
	}
	step, n := binary.Uvarint(r.b)
	size, m := binary.Uvarint(r.b[max(n, 0):])
	if n <= 0 || m <= 0 || step > 1<<31 || size > uint64(len(r.b)-n-m) {
		r.err = errEntry
		return
	}
	r.b, r.next, r.size = r.b[n+m:], from+int(step), int(size)
}

// run is the stretches of a run, and whether it has any; runs are asked for in order.
func (r *entryReader) run(number int) (stretches []byte, has bool) {
	if r.next != number || r.err != nil {
		return nil, false
	}
	stretches, r.b = r.b[:r.size:r.size], r.b[r.size:]
	r.find(number + 1)
	return stretches, true
}

// eachEffect calls yield for every effect of a run of a length, samples in order, and for EffectNone too.
func eachEffect(stretches []byte, s *model.Samples, yield func(i int, e model.Effect, seq uint32)) error {
	at, length := 0, s.Len()
	for len(stretches) > 0 {
		kind := stretches[0]
		stretches = stretches[1:]
		count := uint64(1)
		var err error
		if kind&stretchAgain == 0 {
			if count, stretches, err = takeUvarint(stretches); err != nil || count > uint64(length-at) {
				return errEntry
			}
		} else if at--; at < 0 {
			return errEntry
		}
		seq := uint64(0)
		if kind&stretchSeq != 0 {
			if seq, stretches, err = takeUvarint(stretches); err != nil || seq > 1<<32-1 {
				return errEntry
			}
		}
		for range count {
			if kind&stretchSeq == 0 {
				seq = uint64(s.SeqAt(at))
			}
			yield(at, model.Effect(kind&stretchKind), uint32(seq))
			at++
		}
	}
	if at != length {
		return errEntry
	}
	return nil
}

var errNoUvarint = errors.New("no number")

func takeUvarint(b []byte) (uint64, []byte, error) {
	v, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, nil, errNoUvarint
	}
	return v, b[n:], nil
}
