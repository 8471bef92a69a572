package plain

import (
	"slices"

	"github.com/varvedb/varve/model"
)

// Runs is the forecast runs there are, in the order in which they were written, those replaced too.
type Runs []Run

// Run is a forecast run.
type Run struct {
	Tag     model.TagID
	Issued  int64
	Model   string
	Samples []model.Sample // ascending
	Ingest  int64          // nanoseconds UTC
}

func (r *Run) sameRun(x *Run) bool {
	return r.Tag == x.Tag && r.Issued == x.Issued && r.Model == x.Model
}

// Put adds a run, unless the one that stands in its place is equal.
func (s *Runs) Put(r *Run) bool {
	for i := len(*s) - 1; i >= 0; i-- {
		x := &(*s)[i]
		if x.sameRun(r) {
			same := slices.EqualFunc(x.Samples, r.Samples, func(a, b model.Sample) bool { return a.Time == b.Time && a.SameValue(b) })
			if same {
				return false
			}
			break
		}
	}
	*s = append(*s, *r)
	return true
}

// Erase forgets the runs of tags, nil for all, whose samples all lie before the end of a range and, where whole is set, in it.
func (s *Runs) Erase(tags []model.TagID, in model.TimeRange, whole bool) {
	*s = slices.DeleteFunc(*s, func(r Run) bool {
		first, last := r.Samples[0].Time, r.Samples[len(r.Samples)-1].Time
		return (tags == nil || slices.Contains(tags, r.Tag)) && last < in.End && (!whole || first >= in.Start)
	})
}

// Of is the runs of a tag issued in a range as they stood at an ingest time: the latest issued first, of one issue the one written last
// first. With replaced those too that no longer stood then.
func (s Runs) Of(tag model.TagID, issued model.TimeRange, models []string, known int64, replaced bool) (out []Run) {
	for i := len(s) - 1; i >= 0; i-- {
		r := &s[i]
		if r.Tag != tag || !issued.Contains(r.Issued) || r.Ingest > known || len(models) > 0 && !slices.Contains(models, r.Model) {
			continue
		}
		if replaced || !slices.ContainsFunc(out, func(x Run) bool { return x.sameRun(r) }) {
			out = append(out, *r)
		}
	}
	slices.SortStableFunc(out, func(a, b Run) int {
		switch {
		case a.Issued > b.Issued:
			return -1
		case a.Issued < b.Issued:
			return 1
		}
		return 0
	})
	return out
}
