package server

import (
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/storage"
)

// judgeSamples fills j.faults with what is wrong with single samples of s; it stays empty where nothing is. States that came as
// texts become codes.
func (j *judge) judgeSamples(id model.TagID, s *model.Samples, mode model.WriteMode, states [][]byte) {
	j.faults = j.faults[:0]
	j.judgeTimes(s)
	j.judgeAge(id, s)
	if mode == model.Remove {
		return
	}
	switch s.Type {
	case model.Float64:
		if j.refuseNonFinite {
			j.judgeFinite(s, 0x7FF0_0000_0000_0000)
		}
	case model.Float32:
		if j.refuseNonFinite {
			j.judgeFinite(s, 0x7F80_0000)
		}
	case model.State:
		if states != nil {
			j.findStates(id, s, states)
		} else {
			j.judgeStates(id, s)
		}
	case model.String, model.Bytes:
		j.judgeBlobs(s)
	}
}

// blame notes a fault of sample i; the first one counts.
func (j *judge) blame(s *model.Samples, i int, f fault) {
	if len(j.faults) == 0 {
		j.faults = slices.Grow(j.faults, s.Len())[:s.Len()]
		clear(j.faults)
	}
	if j.faults[i].code == 0 {
		j.faults[i] = f
	}
}

func (j *judge) judgeTimes(s *model.Samples) {
	earliest, latest := max(j.minTime, model.MinTime), j.latest
	for i, t := range s.Times {
		if t >= earliest && t <= latest {
			continue
		}
		j.blame(s, i, fault{varvev1.RejectCode_REJECT_CODE_TIME_OUT_OF_WINDOW, func() string {
			return fmt.Sprintf("time %s (%d) is not from %s to %s, the window of this server now", model.FormatTime(t), t, model.FormatTime(earliest), model.FormatTime(latest))
		}})
	}
}

// judgeAge refuses what is older than the tag's class keeps.
func (j *judge) judgeAge(id model.TagID, s *model.Samples) {
	if j.kept == nil {
		return
	}
	since := j.kept(id)
	if since == model.MinTime {
		return
	}
	for i, t := range s.Times {
		if t >= since {
			continue
		}
		j.blame(s, i, fault{varvev1.RejectCode_REJECT_CODE_TIME_OUT_OF_WINDOW, func() string {
			return fmt.Sprintf("time %s (%d) is before %s: older samples are not kept of this tag", model.FormatTime(t), t, model.FormatTime(since))
		}})
	}
}

// judgeFinite refuses NaN and infinities: floats whose exponent bits are all set.
func (j *judge) judgeFinite(s *model.Samples, exponent uint64) {
	for i, b := range s.Bits {
		if b&exponent == exponent && !s.IsNull(i) {
			j.blame(s, i, fault{varvev1.RejectCode_REJECT_CODE_VALUE_REFUSED, func() string {
				return "value is not a finite number, and this server is set to refuse those"
			}})
		}
	}
}

func (j *judge) judgeBlobs(s *model.Samples) {
	for i, b := range s.Blobs {
		switch {
		case s.IsNull(i):
		case len(b) > model.MaxBlobBytes:
			j.blame(s, i, fault{varvev1.RejectCode_REJECT_CODE_VALUE_REFUSED, func() string {
				return fmt.Sprintf("value has %d bytes, most is %d", len(b), model.MaxBlobBytes)
			}})
		case s.Type == model.String && !utf8.Valid(b):
			j.blame(s, i, fault{varvev1.RejectCode_REJECT_CODE_VALUE_REFUSED, func() string { return "text is not UTF-8" }})
		}
	}
}

// judgeStates refuses codes that the set in force at a sample's time does not have. A tag without a set takes any code.
func (j *judge) judgeStates(id model.TagID, s *model.Samples) {
	tag, ok := j.catalog.Tag(id)
	if !ok {
		return
	}
	for i, t := range s.Times {
		name := tag.At(t).StateSet
		if name == "" || s.IsNull(i) {
			continue
		}
		set, ok := j.catalog.StateSetAt(name, t)
		if ok && hasState(set, int64(s.Bits[i])) {
			continue
		}
		code := int64(s.Bits[i])
		j.blame(s, i, fault{varvev1.RejectCode_REJECT_CODE_UNKNOWN_STATE, func() string {
			return fmt.Sprintf("code %d is not in the digital-state set %.80q in force at %s", code, name, model.FormatTime(t))
		}})
	}
}

// findStates makes codes of the texts of states: those that the set in force at a sample's time has for them.
func (j *judge) findStates(id model.TagID, s *model.Samples, texts [][]byte) {
	tag, ok := j.catalog.Tag(id)
	if !ok {
		return
	}
	var of *model.StateSet // that codes are of
	codes := map[string]int64{}
	for i, t := range s.Times {
		if s.IsNull(i) {
			continue
		}
		name := tag.At(t).StateSet
		set, ok := j.catalog.StateSetAt(name, t)
		if ok && set != of {
			clear(codes)
			for _, d := range set.States {
				codes[d.Text] = d.Code
			}
			of = set
		}
		if ok {
			code, has := codes[string(texts[i])]
			if s.Bits[i] = uint64(code); has {
				continue
			}
		}
		text := texts[i]
		j.blame(s, i, fault{varvev1.RejectCode_REJECT_CODE_UNKNOWN_STATE, func() string {
			if name == "" {
				return fmt.Sprintf("%.60q is a text, and the tag has no digital-state set: write codes", text)
			}
			return fmt.Sprintf("%.60q is not in the digital-state set %.80q in force at %s", text, name, model.FormatTime(t))
		}})
	}
}

func hasState(set *model.StateSet, code int64) bool {
	_, ok := slices.BinarySearchFunc(set.States, code, func(d model.DigitalState, code int64) int {
		switch {
		case d.Code < code:
			return -1
		case d.Code > code:
			return 1
		}
		return 0
	})
	return ok
}

// keep takes the faulty samples out of a run, lists them, and appends the rest to the batch. origin lacks the tag.
func (j *judge) keep(run *storage.Run, origin runOrigin, ref tagRef) {
	if len(j.faults) > 0 {
		j.list(&origin, ref)
		origin.kept = j.compact(&run.Samples, origin.kept)
	}
	if run.Samples.Len() == 0 {
		return
	}
	origin.tag, origin.named = run.Tag, len(ref.name) > 0
	j.taken += run.Samples.Len()
	if tag := j.catalog.Retyped(run.Tag); tag != nil {
		j.sortByEpoch(tag, run, origin)
		return
	}
	j.batch.Runs = append(j.batch.Runs, *run)
	j.origins = append(j.origins, origin)
}

// list makes rejections of j.faults, one for each stretch of equal faults.
func (j *judge) list(o *runOrigin, ref tagRef) {
	for i := 0; i < len(j.faults); {
		f, end := j.faults[i], i+1
		if f.code == 0 {
			i = end
			continue
		}
		for o.stride == 1 && o.kept == nil && end < len(j.faults) && j.faults[end].code == f.code {
			end++
		}
		j.rejections.add(int(o.wire), o.position(i), end-i, f.code, ref.label(), f.reason)
		i = end
	}
}

// compact takes the samples with a fault out of s, in place, and returns the positions of those that stay. kept is
// which samples s had.
func (j *judge) compact(s *model.Samples, kept []uint32) []uint32 {
	stay := make([]uint32, 0, s.Len())
	for i, f := range j.faults {
		if f.code != 0 {
			continue
		}
		n := len(stay)
		moveSample(s, n, i)
		if kept != nil {
			stay = append(stay, kept[i])
		} else {
			stay = append(stay, uint32(i))
		}
	}
	*s = s.Slice(0, len(stay))
	return stay
}

// moveSample copies sample i over sample n.
func moveSample(s *model.Samples, n, i int) {
	s.Times[n] = s.Times[i]
	if s.Bits != nil {
		s.Bits[n] = s.Bits[i]
	}
	if s.Blobs != nil {
		s.Blobs[n] = s.Blobs[i]
	}
	if s.Quality != nil {
		s.Quality[n] = s.Quality[i]
	}
	if s.Null != nil {
		s.Null[n] = s.Null[i]
	}
	if s.Seq != nil {
		s.Seq[n] = s.Seq[i]
	}
}
