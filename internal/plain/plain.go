// Package plain is the model that the store is held against: a map from tag to key to list of versions, with the write
// modes spelt out and nothing made fast. Every property, crash and differential test shares it, so that there is one
// place that says what a write means.
package plain

import (
	"cmp"
	"maps"
	"slices"

	"github.com/varvedb/varve/model"
)

// Key is where a sample stands within its tag.
type Key struct {
	Time int64
	Seq  uint32
}

// Version is one state a key has been in. A removal has no value.
type Version struct {
	model.Sample
	Kind           model.VersionKind
	Author, Reason string
	Ingest         int64 // nanoseconds UTC
}

// Store is all tags: what happened at each time, ascending by seq.
type Store map[model.TagID]map[int64][]Slot

// Slot is the versions of one key, oldest first.
type Slot struct {
	Seq      uint32
	Versions []Version
	told     []told   // everything that happened, whether or not it changed anything
	undone   []uint64 // range deletes that were
}

// told is a sample put, a removal, or with del a range delete.
type told struct {
	Version
	del uint64
}

// DeleteRange removes the samples of tags in a range; id names it.
func (s Store) DeleteRange(id uint64, tags []model.TagID, in model.TimeRange, v Version) {
	v.Kind = model.Removed
	for _, tag := range tags {
		for _, t := range s.times(tag, in) {
			for i := range s[tag][t] {
				x := &s[tag][t][i]
				x.told = append(x.told, told{v, id})
				if was, ok := x.standing(); ok {
					v.Sample = model.Sample{Time: t, Type: was.Type, Seq: x.Seq, Null: true}
					x.Versions = append(x.Versions, v)
				}
			}
		}
	}
}

// Erase takes everything that tags have in a range, as if it had never been; no tags are all.
func (s Store) Erase(tags []model.TagID, in model.TimeRange) {
	for tag, times := range s {
		if tags == nil || slices.Contains(tags, tag) {
			maps.DeleteFunc(times, func(t int64, _ []Slot) bool { return in.Contains(t) })
		}
	}
}

// Undelete makes a range delete one that never was, from now on.
func (s Store) Undelete(id uint64, v Version) {
	v.Kind = model.Inserted
	for _, times := range s {
		for _, slots := range times {
			for i := range slots {
				x := &slots[i]
				x.undone = append(x.undone, id)
				if _, ok := x.standing(); ok {
					continue
				}
				stands := false
				for _, e := range x.told {
					switch {
					case e.del == 0 && e.Kind != model.Removed:
						v.Sample, stands = e.Sample, true
					case !slices.Contains(x.undone, e.del):
						stands = false
					}
				}
				if stands {
					x.Versions = append(x.Versions, v)
				}
			}
		}
	}
}

// standing is the sample that stands in the slot.
func (s *Slot) standing() (model.Sample, bool) {
	last := &s.Versions[len(s.Versions)-1]
	return last.Sample, last.Kind != model.Removed
}

// Write is one run of samples; a Remove run has times and perhaps seqs only.
type Write struct {
	Tag            model.TagID
	Mode           model.WriteMode
	All            bool
	Samples        model.Samples
	Author, Reason string
	Ingest         int64 // nanoseconds UTC; never decreases from write to write
}

// Apply does what a run says and returns the outcome of each of its samples.
func (s Store) Apply(w *Write) []model.Outcome {
	out := make([]model.Outcome, len(w.Samples.Times))
	for i := range out {
		out[i] = s.one(w, i)
	}
	return out
}

func (s Store) one(w *Write, i int) model.Outcome {
	t := w.Samples.Times[i]
	have := s.seqs(w.Tag, t)
	explicit := w.Samples.Seq != nil
	seq := w.Samples.SeqAt(i)
	switch w.Mode {
	case model.Insert:
		if len(have) > 0 {
			return model.Exists
		}
	case model.NoReplace:
		if len(have) > 0 {
			return model.Ignored
		}
	case model.Append:
		seq = 0
		if len(have) > 0 {
			if seq = have[len(have)-1] + 1; seq == 0 {
				return model.Exists
			}
		}
	case model.Remove:
		if w.All {
			for _, q := range have {
				s.set(w, Key{t, q}, Version{Kind: model.Removed})
			}
			if len(have) == 0 {
				return model.Absent
			}
			return model.Applied
		}
		fallthrough
	case model.Replace:
		switch {
		case explicit && !slices.Contains(have, seq), len(have) == 0:
			return model.Absent
		case !explicit && len(have) > 1:
			return model.Ambiguous
		case !explicit:
			seq = have[0]
		}
		if w.Mode == model.Remove {
			s.set(w, Key{t, seq}, Version{Kind: model.Removed})
			return model.Applied
		}
	case model.Update:
		if !explicit && len(have) > 1 {
			return model.Ambiguous
		}
		if !explicit && len(have) == 1 {
			seq = have[0]
		}
	}
	x := w.Samples.At(i)
	x.Seq = seq
	s.set(w, Key{t, seq}, Version{Sample: x})
	return model.Applied
}

// set adds a version to a key unless the value that stands there is the same.
func (s Store) set(w *Write, k Key, v Version) {
	if s[w.Tag] == nil {
		s[w.Tag] = map[int64][]Slot{}
	}
	slots := s[w.Tag][k.Time]
	i, found := slices.BinarySearchFunc(slots, k.Seq, func(x Slot, seq uint32) int { return cmp.Compare(x.Seq, seq) })
	if !found {
		slots = slices.Insert(slots, i, Slot{Seq: k.Seq})
		s[w.Tag][k.Time] = slots
	}
	slots[i].told = append(slots[i].told, told{Version: v})
	list := slots[i].Versions
	standing := len(list) > 0 && list[len(list)-1].Kind != model.Removed
	switch {
	case v.Kind == model.Removed:
		v.Sample = model.Sample{Time: k.Time, Type: w.Samples.Type, Seq: k.Seq, Null: true}
	case standing && list[len(list)-1].SameValue(v.Sample):
		return
	case standing:
		v.Kind = model.Replaced
	default:
		v.Kind = model.Inserted
	}
	v.Author, v.Reason, v.Ingest = w.Author, w.Reason, w.Ingest
	slots[i].Versions = append(list, v)
}

// seqs is the seqs of the samples that stand at a time, ascending.
func (s Store) seqs(tag model.TagID, t int64) []uint32 {
	var out []uint32
	for _, x := range s[tag][t] {
		if _, ok := x.standing(); ok {
			out = append(out, x.Seq)
		}
	}
	return out
}

// times is the times in a range at which anything happened, ascending.
func (s Store) times(tag model.TagID, in model.TimeRange) []int64 {
	var out []int64
	for t := range s[tag] {
		if in.Contains(t) {
			out = append(out, t)
		}
	}
	slices.Sort(out)
	return out
}

// Current is the samples of a tag in a range, in the order of the range.
func (s Store) Current(tag model.TagID, in model.TimeRange) []model.Sample {
	var out []model.Sample
	for _, t := range s.times(tag, in) {
		for _, x := range s[tag][t] {
			if v, ok := x.standing(); ok {
				out = append(out, v)
			}
		}
	}
	if in.Reverse {
		slices.Reverse(out)
	}
	return out
}

// Versions is every version of every key of a tag in a range: ascending by (time, seq), then oldest first.
func (s Store) Versions(tag model.TagID, in model.TimeRange) []Version {
	var out []Version
	for _, t := range s.times(tag, in) {
		for _, x := range s[tag][t] {
			out = append(out, x.Versions...)
		}
	}
	return out
}

// Modified is a value that no longer stands.
type Modified struct {
	model.Sample
	Ingest         int64
	Kind           model.VersionKind // Replaced or Removed
	Ended          int64             // ingest time of what ended it, and who and why
	Author, Reason string
}

// Modified is the values of a tag in a range that were replaced or removed, in the order of the range.
func (s Store) Modified(tag model.TagID, in model.TimeRange) []Modified {
	var out []Modified
	for _, t := range s.times(tag, in) {
		for _, x := range s[tag][t] {
			for i := 1; i < len(x.Versions); i++ {
				if v, end := &x.Versions[i-1], &x.Versions[i]; v.Kind != model.Removed {
					out = append(out, Modified{v.Sample, v.Ingest, end.Kind, end.Ingest, end.Author, end.Reason})
				}
			}
		}
	}
	if in.Reverse {
		slices.Reverse(out)
	}
	return out
}

// AsOf is the samples of a tag in a range, in the order of the range, as they stood at the end of the second of ingest
// time that an instant lies in.
func (s Store) AsOf(tag model.TagID, in model.TimeRange, asOf int64) []model.Sample {
	end := (asOf - ((asOf%1e9)+1e9)%1e9) + 1e9
	var out []model.Sample
	for _, t := range s.times(tag, in) {
		for _, x := range s[tag][t] {
			for _, v := range slices.Backward(x.Versions) {
				if v.Ingest >= end {
					continue
				}
				if v.Kind != model.Removed {
					out = append(out, v.Sample)
				}
				break
			}
		}
	}
	if in.Reverse {
		slices.Reverse(out)
	}
	return out
}

// Latest is the sample of highest (time, seq).
func (s Store) Latest(tag model.TagID) (model.Sample, bool) {
	all := s.Current(tag, model.All)
	if len(all) == 0 {
		return model.Sample{}, false
	}
	return all[len(all)-1], true
}
