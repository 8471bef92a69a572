package server

import (
	"fmt"

	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/storage"
)

// takeFrame judges one frame and appends what is good of it to the batch, a run per tag. An error ends the batch.
func (j *judge) takeFrame(at int, r *wireFrame) error {
	tags, f := j.frameTags(r)
	n, mode := 0, model.WriteMode(0)
	if f.code == 0 {
		mode, f = j.mode(r.mode)
	}
	if f.code == 0 && mode == model.Remove {
		f = malformed("a frame cannot remove; use runs")
	}
	if f.code == 0 {
		n, f = r.samples(len(tags))
	}
	if f.code == 0 {
		if err := j.claim(n); err != nil {
			return err
		}
		if len(tags) > j.maxRuns-len(j.batch.Runs) {
			return fmt.Errorf("batch of more than %d runs: %w", j.maxRuns, errTooMany)
		}
	}
	if f.code == 0 && r.values.typ == 0 {
		f = malformed("%d samples and no values", n)
	}
	if f.code == 0 {
		f = r.values.check(r.values.typ, n)
	}
	var all model.Samples
	if f.code == 0 {
		all, f = j.decodeFrame(r, n)
	}
	if f.code != 0 {
		j.rejections.add(at, 0, max(n, r.values.count()), f.code, "", f.reason)
		return nil
	}
	times := j.times.take(r.times.n)
	decodeFixedTimes(times, r.times)
	for k, ref := range tags {
		j.takeFrameTag(at, k, len(tags), ref, mode, times, &all)
	}
	return nil
}

// samples is how many samples a frame about so many tags has.
func (r *wireFrame) samples(tags int) (int, fault) {
	values := r.values.count()
	switch {
	case r.times.n == 0:
		return values, malformed("a frame without times")
	case tags == 0:
		return values, malformed("a frame without tags")
	case values/tags != r.times.n || values%tags != 0: // not a product, which could overflow
		return values, malformed("%d times, %d tags and %d values", r.times.n, tags, values)
	}
	return values, fault{}
}

// frameTags is the tags of a frame in order.
func (j *judge) frameTags(r *wireFrame) ([]tagRef, fault) {
	if r.tagIDs.n > 0 && len(r.tags) > 0 {
		return nil, malformed("tags are given by id and by name")
	}
	n := r.tagIDs.n + len(r.tags)
	if n > j.maxRuns {
		return nil, malformed("%d tags, most is %d", n, j.maxRuns)
	}
	refs := make([]tagRef, 0, n)
	b := r.tagIDs.b
	for range r.tagIDs.n {
		var v uint64
		v, b = varint(b)
		refs = append(refs, tagRef{id: uint32(v)})
	}
	for _, name := range r.tags {
		refs = append(refs, tagRef{name: name})
	}
	return refs, repeats(refs)
}

// repeats finds a tag that a frame names twice.
func repeats(refs []tagRef) fault {
	ascending := true
	for i := 1; i < len(refs) && ascending; i++ {
		ascending = refs[i-1].id < refs[i].id
	}
	if ascending {
		return fault{}
	}
	ids, names := make(map[uint32]bool, len(refs)), make(map[string]bool)
	for _, r := range refs {
		if r.id != 0 && ids[r.id] || names[string(r.name)] {
			return malformed("tag %s stands twice in one frame", r.label())
		}
		if ids[r.id] = true; len(r.name) > 0 {
			names[string(r.name)] = true
		}
	}
	return fault{}
}

// decodeFrame decodes all values of a frame as they stand, tag after tag within each time. The result has no times.
func (j *judge) decodeFrame(r *wireFrame, n int) (s model.Samples, f fault) {
	s.Type = r.values.typ
	s.Times = j.times.take(n)
	if s.Type.Blob() {
		s.Blobs = j.blobs.take(n)
		copy(s.Blobs, r.values.blobs)
	} else {
		s.Bits = j.decodeBits(r.values.numbers, s.Type)
	}
	return s, j.decodeQuality(&r.quality, &s)
}

// takeFrameTag makes a run of the values of tag k of a frame. A null value of quality Good is no sample.
func (j *judge) takeFrameTag(at, k, tags int, ref tagRef, mode model.WriteMode, times []int64, all *model.Samples) {
	id, typ, f := j.find(ref)
	epochs := j.epochs(id)
	if f.code == 0 && typ != all.Type && epochs == nil {
		f = fault{varvev1.RejectCode_REJECT_CODE_TYPE_MISMATCH, func() string {
			return fmt.Sprintf("values are %s, the tag is %s", all.Type, typ)
		}}
	}
	s, kept := j.gather(k, tags, times, all)
	origin := runOrigin{wire: uint32(at), base: uint32(k), stride: uint32(tags), kept: kept}
	if f.code != 0 {
		for i := range s.Times {
			j.rejections.add(at, origin.position(i), 1, f.code, ref.label(), f.reason)
		}
		return
	}
	run := storage.Run{Tag: id, Mode: mode, Samples: s}
	j.judgeSamples(id, &run.Samples, mode, nil)
	j.judgeEpochs(epochs, &run.Samples, mode)
	j.keep(&run, origin, ref)
}

// gather copies every value of tag k that is a sample, and says which those are; nil for all.
func (j *judge) gather(k, tags int, times []int64, all *model.Samples) (model.Samples, []uint32) {
	s := model.Samples{Type: all.Type, Times: j.times.take(len(times))}
	if all.Bits != nil {
		s.Bits = j.bits.take(len(times))
	} else {
		s.Blobs = j.blobs.take(len(times))
	}
	if all.Quality != nil {
		s.Quality = j.quality.take(len(times))
	}
	if all.Null != nil {
		s.Null = j.null.take(len(times))
	}
	n := 0
	var kept []uint32
	for i, t := range times {
		from := i*tags + k
		if all.IsNull(from) && all.QualityAt(from) == model.Good {
			if kept == nil {
				kept = make([]uint32, n, len(times))
				for x := range kept {
					kept[x] = uint32(x)
				}
			}
			continue
		}
		copySample(&s, n, t, all, from)
		if n++; kept != nil {
			kept = append(kept, uint32(i))
		}
	}
	return s.Slice(0, n), kept
}

// copySample makes sample n of dst the sample from of src, at time t.
func copySample(dst *model.Samples, n int, t int64, src *model.Samples, from int) {
	dst.Times[n] = t
	if src.Bits != nil {
		dst.Bits[n] = src.Bits[from]
	} else {
		dst.Blobs[n] = src.Blobs[from]
	}
	if src.Quality != nil {
		dst.Quality[n] = src.Quality[from]
	}
	if src.Null != nil {
		dst.Null[n] = src.Null[from]
	}
}
