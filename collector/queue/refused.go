package queue

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"time"

	"github.com/varvedb/varve/collector/session"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// refusals is what a destination refuses now. Of a tag whose samples it refuses it is told an open gap of kind lost, when that begins; when nothing
// was refused of it for a while, the gap ends behind the sample that was refused last. So a tag of the wrong type has one gap, however long that lasts.
type refusals struct {
	of    map[tagKey]*refusal
	fresh []refusedGap // told when the place is written next
	dirty bool         // of is not on disk as it is
}

// tagKey keeps what is late apart: it has times of its own.
type tagKey struct {
	tag  string
	late bool
}

type refusal struct {
	from, last int64 // the gap begins at from; the newest sample refused
	at         int64 // when one was refused last, ns UTC
	told       bool  // its gap was put
}

// refusedGap is a gap to be told; open where it has no end.
type refusedGap struct {
	tagKey
	span   span // to is the last instant
	open   bool
	reason string
}

// refusedQuiet is how long nothing of a tag is refused until its gap ends.
const refusedQuiet = time.Minute

// add notes samples that were refused, one behind the other.
func (f *refusals) add(k tagKey, x span, reason string, now int64) {
	if f.of == nil {
		f.of = map[tagKey]*refusal{}
	}
	r := f.of[k]
	switch {
	case r == nil:
		r = &refusal{from: x.from, last: x.to}
		f.of[k] = r
		f.fresh = append(f.fresh, refusedGap{k, x, true, reason})
	case x.from < r.from: // in front of the gap that is open
		x.to = min(x.to, r.from-1)
		f.fresh = append(f.fresh, refusedGap{k, x, false, reason})
	}
	r.last, r.at, f.dirty = max(r.last, x.to), now, true
}

// quiet takes out the tags of which nothing was refused for a while, and returns where their gaps end.
func (f *refusals) quiet(now int64) (ends map[int64][]string) {
	for k, r := range f.of {
		if now-r.at < int64(refusedQuiet) && now >= r.at {
			continue
		}
		if ends == nil {
			ends = map[int64][]string{}
		}
		ends[behind(r.last)] = append(ends[behind(r.last)], k.tag)
		delete(f.of, k)
		f.dirty = true
	}
	return ends
}

// ended takes out tags whose open gaps are said to end; what was refused behind the end has a gap of its own.
func (f *refusals) ended(tags []string, end int64) {
	for _, t := range tags {
		for _, late := range []bool{false, true} {
			k := tagKey{t, late}
			r := f.of[k]
			if r == nil || r.from >= end || !r.told { // one that was not told begins behind the end
				continue
			}
			if f.dirty = true; r.last < end {
				delete(f.of, k)
				continue
			}
			r.from, r.told = end, false
			f.fresh = append(f.fresh, refusedGap{k, span{from: end, to: r.last}, true, refusedAgain})
		}
	}
}

// again lets everything be told once more, as after a crash: what is told already is not told twice.
func (f *refusals) again() {
	for k, r := range f.of {
		f.fresh = append(f.fresh, refusedGap{k, span{from: r.from, to: r.last}, true, refusedAgain})
	}
	slices.SortFunc(f.fresh, func(a, b refusedGap) int { return cmp.Compare(a.tag, b.tag) })
}

// refusedAgain is the reason of gaps whose refusals were not seen in this run.
const refusedAgain = "the server refuses the samples"

// refusedFor says why, in few ways, so that gaps of many tags are told together.
func refusedFor(code varvev1.RejectCode) string {
	why, ok := map[varvev1.RejectCode]string{
		varvev1.RejectCode_REJECT_CODE_UNKNOWN_TAG:        "it has no such tag and makes none",
		varvev1.RejectCode_REJECT_CODE_TYPE_MISMATCH:      "the tag has another type",
		varvev1.RejectCode_REJECT_CODE_TIME_OUT_OF_WINDOW: "their times are not ones it takes",
		varvev1.RejectCode_REJECT_CODE_TAG_QUOTA:          "it has as many tags as it may",
		varvev1.RejectCode_REJECT_CODE_BAD_NAME:           "the name is none that a tag can have",
		varvev1.RejectCode_REJECT_CODE_VALUE_REFUSED:      "the values are none that it takes",
		varvev1.RejectCode_REJECT_CODE_UNKNOWN_STATE:      "the states are not in the tag's set",
		varvev1.RejectCode_REJECT_CODE_NOT_ALLOWED:        "the collector may not write the tag",
	}[code]
	if !ok {
		return refusedAgain
	}
	return refusedAgain + ": " + why
}

// refused notes which samples of a batch a destination refused.
func (s *sender) refused(l lane, sent *varvev1.Batch, r *varvev1.BatchResult) {
	b, err := decoded(sent)
	if err != nil { // it was read when it was sent
		s.q.o.Logger.Error("what a destination refused is not known; it has no gap", "destination", s.d.Name, "samples", r.Rejected, "error", err)
		return
	}
	now := s.q.o.Now().UnixNano()
	s.mu.Lock()
	defer s.mu.Unlock()
	refuse := func(run *varvev1.Run, first, count int, reason string) {
		if from, to, ok := session.Times(run, first, count); ok {
			late := l == backlog || run.Mode == varvev1.WriteMode_WRITE_MODE_NO_REPLACE
			s.refusals.add(tagKey{run.Tag, late}, span{from, to, typeOf(run)}, reason, now)
			s.dirty = true
		}
	}
	rest, last, behind := r.Rejected, 0, 0 // samples not listed, and where the list ends
	for _, x := range r.Rejections {
		if int(x.Run) < len(b.Runs) {
			refuse(b.Runs[x.Run], int(x.First), int(x.Count), refusedFor(x.Code))
			rest, last, behind = rest-min(rest, uint64(x.Count)), int(x.Run), int(x.First)+int(x.Count)
		}
	}
	if rest == 0 {
		return
	}
	absent := uint64(0)
	for _, run := range b.Runs[last+1:] {
		if s.absent[run.Tag] {
			absent += uint64(session.RunLen(run))
		}
	}
	for i, run := range b.Runs[last:] {
		switch {
		case absent == rest && (i == 0 || !s.absent[run.Tag]): // nothing of it was refused
		case i == 0:
			refuse(run, behind, session.RunLen(run), refusedMaybe)
		case absent == rest:
			refuse(run, 0, session.RunLen(run), refusedFor(varvev1.RejectCode_REJECT_CODE_UNKNOWN_TAG))
		default:
			refuse(run, 0, session.RunLen(run), refusedMaybe)
		}
	}
}

// refusedMaybe is the reason of gaps where more was refused than the server lists: some of the samples, and maybe not of each tag.
const refusedMaybe = "the server refuses samples of this tag or of others beside it, more than it lists"

// tellRefusedLocked puts the gaps of what was refused, on disk before the place is that is behind it.
func (s *sender) tellRefusedLocked() error {
	if s.refusals.dirty {
		if err := s.q.writeRefused(s.d.Name, &s.refusals); err != nil {
			return err
		}
		s.refusals.dirty = false
	}
	fresh := s.refusals.fresh
	s.refusals.fresh = nil
	type alike struct {
		span   span
		open   bool
		reason string
	}
	var order []alike
	of := map[alike][]string{}
	for _, g := range fresh {
		k := alike{g.span, g.open, g.reason}
		if g.open {
			k.span.to = k.span.from
		}
		if len(of[k]) == 0 {
			order = append(order, k)
		}
		of[k] = append(of[k], g.tag)
	}
	for _, k := range order {
		g := Gap{Tags: of[k], Kind: varvev1.GapKind_GAP_KIND_LOST, Start: k.span.from, End: k.span.from, Reason: k.reason, typ: k.span.typ}
		if !k.open {
			g.End = behind(k.span.to)
		}
		if err := s.q.putGap(context.Background(), s.d.Name, g); err != nil {
			s.refusals.fresh = fresh // some are told twice then, which is once
			return err
		}
	}
	for _, g := range fresh {
		if r := s.refusals.of[g.tagKey]; r != nil {
			r.told = true
		}
	}
	return nil
}

// endRefusedLocked ends the gaps of tags of which nothing was refused for a while.
func (s *sender) endRefusedLocked() error {
	if len(s.refusals.of) == 0 {
		return nil
	}
	if err := s.tellRefusedLocked(); err != nil {
		return err
	}
	for end, tags := range s.refusals.quiet(s.q.o.Now().UnixNano()) {
		slices.Sort(tags)
		if err := s.q.putGap(context.Background(), s.d.Name, Gap{Tags: tags, End: end, Ends: true}); err != nil {
			return err
		}
		s.refusals.ended(tags, end) // it ended the others of these tags too
		s.dirty = true
	}
	return nil
}

// The file of what is refused: version, the number of tags as uvarint, of each its name by its length, whether it is late, from, last and at as
// varints, then a checksum of all before it.
const refusedVersion = 1

var errRefused = errors.New("the file of what a destination refuses is damaged")

func (f *refusals) encode() []byte {
	keys := make([]tagKey, 0, len(f.of))
	for k := range f.of {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b tagKey) int {
		if a.late != b.late {
			return map[bool]int{false: -1, true: 1}[a.late]
		}
		return cmp.Compare(a.tag, b.tag)
	})
	b := binary.AppendUvarint([]byte{refusedVersion}, uint64(len(keys)))
	for _, k := range keys {
		r := f.of[k]
		b = binary.AppendUvarint(b, uint64(len(k.tag)))
		b = append(b, k.tag...)
		b = append(b, map[bool]byte{true: 1}[k.late])
		for _, v := range []int64{r.from, r.last, r.at} {
			b = binary.AppendVarint(b, v)
		}
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func decodeRefused(b []byte) (f refusals, err error) {
	body, err := checkedBody(b, "the file of what a destination refuses", refusedVersion, errRefused)
	if err != nil {
		return f, err
	}
	f.of = map[tagKey]*refusal{}
	short := fmt.Errorf("%w: it ends too soon", errRefused)
	n, k := binary.Uvarint(body)
	if k <= 0 {
		return f, short
	}
	body = body[k:]
	for ; n > 0; n-- {
		size, k := binary.Uvarint(body)
		if k <= 0 || uint64(len(body)-k) <= size {
			return refusals{}, short
		}
		key := tagKey{string(body[k : k+int(size)]), body[k+int(size)] != 0}
		body = body[k+int(size)+1:]
		var v [3]int64
		for i := range v {
			if v[i], k = binary.Varint(body); k <= 0 {
				return refusals{}, short
			}
			body = body[k:]
		}
		f.of[key] = &refusal{from: v[0], last: v[1], at: v[2]}
	}
	if len(body) > 0 {
		return refusals{}, fmt.Errorf("%w: %d bytes are left over", errRefused, len(body))
	}
	return f, nil
}
