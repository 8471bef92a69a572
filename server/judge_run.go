package server

import (
	"fmt"
	"math"

	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/storage"
)

// Limits of one run; they stand in samples.proto.
const (
	maxGridCount = 1_000_000
	maxTimeUnit  = 86_400_000_000_000
)

// takeRun judges one run and appends what is good of it to the batch. An error ends the batch.
func (j *judge) takeRun(at int, r *wireRun) error {
	n, f := r.samples()
	ref := tagRef{r.tagID, r.tag}
	if f.code == 0 {
		if err := j.claim(n); err != nil {
			return err
		}
	}
	id, typ, mode := model.TagID(0), model.Type(0), model.WriteMode(0)
	if f.code == 0 {
		id, typ, f = j.find(ref)
	}
	if f.code == 0 {
		mode, f = j.mode(r.mode)
	}
	epochs := j.epochs(id)
	if f.code == 0 && epochs != nil && r.values.typ != 0 {
		typ = r.values.typ // what is of another epoch is judged sample by sample
	}
	texts := typ == model.State && r.values.typ == model.String // of states, in place of their codes
	if f.code == 0 {
		want := typ
		if texts {
			want = model.String
		}
		f = r.check(mode, want, n)
	}
	run := &j.next
	if f.code == 0 {
		*run = storage.Run{Tag: id, Mode: mode, All: r.all}
		f = j.decodeRun(r, typ, mode, n, &run.Samples)
	}
	if f.code != 0 {
		j.rejections.add(at, 0, n, f.code, ref.label(), f.reason)
		return nil
	}
	if texts && mode != model.Remove {
		j.judgeSamples(id, &run.Samples, mode, r.values.blobs)
	} else {
		j.judgeSamples(id, &run.Samples, mode, nil)
	}
	j.judgeEpochs(epochs, &run.Samples, mode)
	j.keep(run, runOrigin{wire: uint32(at), stride: 1}, ref)
	return nil
}

// samples is how many samples the run claims to have, by whichever way it gives times.
func (r *wireRun) samples() (int, fault) {
	switch {
	case r.times.n > 0 && (r.deltas.n > 0 || r.count > 0), r.deltas.n > 0 && r.count > 0:
		return max(r.times.n, r.deltas.n+1), malformed("times are given in more than one way")
	case r.times.n > 0:
		return r.times.n, fault{}
	case r.count > maxGridCount:
		return r.values.count(), malformed("count is %d, most is %d", r.count, maxGridCount)
	case r.count > 0:
		return int(r.count), fault{}
	case r.unit > maxTimeUnit:
		return r.deltas.n + 1, malformed("time unit is %d ns, most is %d", r.unit, int64(maxTimeUnit))
	}
	return r.deltas.n + 1, fault{}
}

// check holds the columns of a run against each other.
func (r *wireRun) check(mode model.WriteMode, typ model.Type, n int) fault {
	switch {
	case mode == model.Remove && (r.values.typ != 0 || r.quality.counts.n > 0 || r.quality.codes.n > 0 || r.quality.nullAt.n > 0):
		return malformed("a run that removes has values")
	case r.all && mode != model.Remove:
		return malformed("all is set and the run does not remove")
	case r.all && r.seq.n > 0:
		return malformed("all and seq are both given")
	case r.seq.n != 0 && r.seq.n != n:
		return malformed("%d samples and %d seqs", n, r.seq.n)
	case r.seq.n != 0 && mode != model.Update && mode != model.Replace && mode != model.Remove:
		return malformed("seq is given and the write mode is %s", mode)
	case mode == model.Remove:
		return fault{}
	}
	return r.values.check(typ, n)
}

// check holds value columns against the tag's type and the number of samples.
func (v *wireValues) check(typ model.Type, n int) fault {
	switch {
	case v.several:
		return malformed("values are given in more than one column")
	case v.typ != 0 && v.typ != typ:
		return fault{varvev1.RejectCode_REJECT_CODE_TYPE_MISMATCH, func() string {
			return fmt.Sprintf("values are %s, the tag is %s", v.typ, typ)
		}}
	case v.count() != n:
		return malformed("%d samples and %d values", n, v.count())
	}
	return fault{}
}

// decodeRun decodes the columns of a run that check found to fit into s, which is empty.
func (j *judge) decodeRun(r *wireRun, typ model.Type, mode model.WriteMode, n int, s *model.Samples) (f fault) {
	s.Type = typ
	if s.Times, f = j.decodeTimes(r, n); f.code != 0 {
		return f
	}
	if r.seq.n > 0 {
		s.Seq = j.decodeSeq(r.seq)
	}
	if mode == model.Remove {
		return fault{}
	}
	if typ.Blob() {
		s.Blobs = j.blobs.take(n)
		copy(s.Blobs, r.values.blobs)
	} else if r.values.typ == model.String { // of states: which codes they are is found where samples are judged
		s.Bits = j.bits.take(n)
		clear(s.Bits)
	} else {
		s.Bits = j.decodeBits(r.values.numbers, typ)
	}
	return j.decodeQuality(&r.quality, s)
}

// decodeTimes is the n times of a run, by whichever way it gives them.
func (j *judge) decodeTimes(r *wireRun, n int) ([]int64, fault) {
	times := j.times.take(n)
	switch {
	case r.times.n > 0:
		decodeFixedTimes(times, r.times)
		return times, fault{}
	case r.count > 0:
		return times, gridTimes(times, r.first, r.step)
	}
	return times, deltaTimes(times, r.first, r.deltas.b, int64(max(r.unit, 1)))
}

func decodeFixedTimes(dst []int64, l numbers) {
	for i := range dst {
		dst[i] = int64(leUint64(l.b[8*i:]))
	}
}

func gridTimes(dst []int64, first, step int64) fault {
	if last := int64(len(dst) - 1); last > 0 {
		span := last * step
		if span/last != step || addOverflows(first, span) {
			return malformed("time of sample %d is %d steps of %d ns behind %d, which no time can be", last, last, step, first)
		}
	}
	for i := range dst {
		dst[i] = first + int64(i)*step
	}
	return fault{}
}

func deltaTimes(dst []int64, first int64, deltas []byte, unit int64) fault {
	dst[0] = first
	most := math.MaxInt64 / unit
	t := first
	for i := range dst[1:] {
		// Most deltas of a scanned tag take two bytes; they are read here, since a call costs as much as the rest.
		var v uint64
		if len(deltas) >= 2 && deltas[0] >= 0x80 && deltas[1] < 0x80 {
			v, deltas = uint64(deltas[0]&0x7F)|uint64(deltas[1])<<7, deltas[2:]
		} else {
			v, deltas = varint(deltas)
		}
		d := zigzag(v)
		if d > most || d < -most || addOverflows(t, d*unit) {
			return malformed("time delta at position %d, %d units of %d ns, leads past all times", i, d, unit)
		}
		t += d * unit
		dst[i+1] = t
	}
	return fault{}
}

func addOverflows(a, b int64) bool {
	sum := a + b
	return (a^sum)&(b^sum) < 0
}

func (j *judge) decodeSeq(l numbers) []uint32 {
	seq := j.seq.take(l.n)
	b := l.b
	for i := range seq {
		var v uint64
		v, b = varint(b)
		seq[i] = uint32(v)
	}
	return seq
}

// decodeBits is a value column as model.Samples keeps it.
func (j *judge) decodeBits(l numbers, typ model.Type) []uint64 {
	bits, b := j.bits.take(l.n), l.b
	switch typ {
	case model.Float64:
		rest := bits
		for len(rest) >= 4 { // a check of the bounds for each takes as long as reading it
			d, c := rest[:4], b[:32]
			d[0], d[1], d[2], d[3] = leUint64(c), leUint64(c[8:]), leUint64(c[16:]), leUint64(c[24:])
			rest, b = rest[4:], b[32:]
		}
		for i := range rest {
			rest[i] = leUint64(b[8*i:])
		}
	case model.Float32:
		for i := range bits {
			bits[i] = uint64(leUint32(b[4*i:]))
		}
	case model.Int64, model.State:
		for i := range bits {
			var v uint64
			v, b = varint(b)
			bits[i] = uint64(zigzag(v))
		}
	case model.Bool:
		for i := range bits {
			var v uint64
			v, b = varint(b)
			bits[i] = min(v, 1)
		}
	default:
		for i := range bits {
			bits[i], b = varint(b)
		}
	}
	return bits
}

// decodeQuality expands what is not Good and what has no value. Columns where nothing is stay nil.
func (j *judge) decodeQuality(q *wireQuality, s *model.Samples) fault {
	n := s.Len()
	if q.counts.n != q.codes.n {
		return malformed("%d quality counts and %d quality codes", q.counts.n, q.codes.n)
	}
	if q.counts.n > 0 {
		if f := j.expandQuality(q, s); f.code != 0 {
			return f
		}
	}
	if q.nullAt.n == 0 {
		return fault{}
	}
	s.Null = j.null.take(n)
	clear(s.Null)
	b, last := q.nullAt.b, -1
	for range q.nullAt.n {
		var v uint64
		v, b = varint(b)
		at := int64(uint32(v))
		if at <= int64(last) || at >= int64(n) {
			return malformed("null position %d: positions must ascend and be below %d, the number of samples", at, n)
		}
		last = int(at)
		s.Null[last] = true
		if s.Bits != nil {
			s.Bits[last] = 0
		} else {
			s.Blobs[last] = nil
		}
	}
	return fault{}
}

func (j *judge) expandQuality(q *wireQuality, s *model.Samples) fault {
	codes := j.quality.take(s.Len())
	b, filled, allGood := q.counts.b, 0, true
	for i := range q.counts.n {
		var v uint64
		v, b = varint(b)
		code, count := model.Quality(leUint32(q.codes.b[4*i:])), int64(uint32(v))
		if count > int64(len(codes)-filled) {
			return malformed("quality counts add up to more than %d samples", len(codes))
		}
		allGood = allGood && (code == model.Good || count == 0)
		for end := filled + int(count); filled < end; filled++ {
			codes[filled] = code
		}
	}
	if filled != len(codes) {
		return malformed("quality counts add up to %d of %d samples", filled, len(codes))
	}
	if !allGood {
		s.Quality = codes
	}
	return fault{}
}
