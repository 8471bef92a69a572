package export

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// fileVersion is that of what stands in files. It grows when a release writes them otherwise, so that all are written anew.
const fileVersion = 1

// fingerprint is a hash of all that decides what stands in the file of some tags, in this order, and a day.
func fingerprint(s *Settings, in model.TimeRange, tags []tag, hashes map[uint32]*varvev1.DayHash) (string, error) {
	text, err := tagsText(tags, in)
	if err != nil {
		return "", err
	}
	b := fmt.Appendf(nil, "varve export file %d\n%s %s %d %d\n%s\n", fileVersion, s.Format, s.TimeUnit, in.Start, in.End, text)
	for _, t := range tags {
		b = fmt.Appendf(b, "%016x %s\n", hashes[t.Id].Hash, t.states)
	}
	return shortHash(b), nil
}

// plan finds the days that have to be looked at.
type plan struct {
	*folder
	tags   []tag
	in     model.TimeRange // what is to be exported
	stored *storedDays
	days   map[int32]bool
}

// mark marks every day of which the server and the folder cannot show that its files are as they have to be. reread has tags whose days
// have to be looked at whatever changed in them, by day.
func (p *plan) mark(all bool, reread *storedDays) {
	m := p.manifest
	known := m != nil && !all && m.Log == p.stored.log && m.Offset <= p.stored.offset
	for day, changed := range p.stored.changed {
		was := model.TimeRange{}
		if m != nil {
			was = clip(day, model.TimeRange{Start: m.StartNs, End: m.StopNs})
		}
		if is := clip(day, p.in); !known || changed > m.Offset || is != was && (is.Start < is.End || was.Start < was.End) {
			p.days[day] = true
		}
	}
	for day := range reread.changed {
		p.days[day] = true
	}
	changed := p.changedIDs()
	for _, x := range p.files {
		day, err := x.day()
		if _, listed := p.stored.changed[day]; err != nil || !listed || !p.intact(&x) || changed.anyOf(x.TagIDs) {
			p.days[day] = true
		}
	}
}

// idSet is ids of tags, ascending.
type idSet []uint32

// anyOf reports whether one of the ids of a file is in the set.
func (s idSet) anyOf(text string) bool {
	ranges, err := parseIDs(text)
	return err != nil || slices.ContainsFunc(ranges, func(r idRange) bool {
		i, _ := slices.BinarySearch(s, r.first)
		return i < len(s) && s[i] <= r.last
	})
}

// changedIDs is the tags that are new, gone, or not as the manifest has them. None where there is no manifest: every day is looked at then.
func (p *plan) changedIDs() (set idSet) {
	if p.manifest == nil {
		return nil
	}
	was := make(map[uint32]string, len(p.manifest.Tags))
	for _, t := range p.manifest.Tags {
		was[t.ID] = t.Settings
	}
	for _, t := range p.tags {
		if was[t.Id] != t.settings {
			set = append(set, t.Id)
		}
		delete(was, t.Id)
	}
	for id := range was {
		set = append(set, id)
	}
	slices.Sort(set)
	return set
}

// newTags is the tags of the export that are not in the manifest as they are now.
func (p *plan) newTags() []tag {
	changed := p.changedIDs()
	return slices.DeleteFunc(slices.Clone(p.tags), func(t tag) bool {
		_, found := slices.BinarySearch(changed, t.Id)
		return !found
	})
}

// intact reports whether a file is there, and as long as it was.
func (f *folder) intact(x *File) bool {
	info, err := os.Stat(f.path(x.Path))
	return err == nil && info.Mode().IsRegular() && info.Size() == x.Bytes
}

// day is the day of a file.
func (x *File) day() (int32, error) {
	_, text, _ := strings.Cut(x.Path, "/day=")
	text, _, _ = strings.Cut(text, "/")
	return parseDay(text)
}
