package plain

import (
	"maps"
	"slices"

	"github.com/varvedb/varve/model"
)

// Notes is the annotations there are, those removed too.
type Notes map[model.UUID]*Note

// Note is an annotation and what it said, oldest first.
type Note struct {
	Tag      model.TagID
	In       model.TimeRange
	Versions []NoteVersion
}

// NoteVersion is what an annotation said; nothing once it is removed.
type NoteVersion struct {
	Author, Text string
	Ingest       int64 // nanoseconds UTC
}

func (n *Note) removed() bool { return n.Versions[len(n.Versions)-1].Text == "" }

// Make adds an annotation, unless there is, or was, one of that id.
func (s Notes) Make(id model.UUID, tag model.TagID, in model.TimeRange, v NoteVersion) bool {
	if s[id] != nil {
		return false
	}
	s[id] = &Note{tag, in, []NoteVersion{v}}
	return true
}

// Change has an annotation say something else, if it stands.
func (s Notes) Change(id model.UUID, v NoteVersion) bool {
	n := s[id]
	if n == nil || n.removed() {
		return false
	}
	n.Versions = append(n.Versions, v)
	return true
}

// Erase forgets the annotations of tags, nil for all, that end by the end of a range and, where whole is set, begin in it too.
func (s Notes) Erase(tags []model.TagID, in model.TimeRange, whole bool) {
	maps.DeleteFunc(s, func(_ model.UUID, n *Note) bool {
		return (tags == nil || slices.Contains(tags, n.Tag)) && n.In.End <= in.End && (!whole || n.In.Start >= in.Start)
	})
}

// Of is the annotations of a tag that have any instant of a range, those removed too.
func (s Notes) Of(tag model.TagID, in model.TimeRange) Notes {
	out := Notes{}
	for id, n := range s {
		if n.Tag == tag && n.In.Start < in.End && in.Start < n.In.End {
			out[id] = n
		}
	}
	return out
}

// Count is how many annotations of a tag that stand begin in a range.
func (s Notes) Count(tag model.TagID, in model.TimeRange) (n int) {
	for _, x := range s {
		if x.Tag == tag && x.In != model.All && in.Contains(x.In.Start) && !x.removed() {
			n++
		}
	}
	return n
}
