package query

import (
	"fmt"
	"slices"

	"github.com/varvedb/varve/model"
)

// What a question means for tags whose type changed: storage keeps each epoch of one under an id of its own. Samples are read through all
// epochs; no value is worked out of samples of two. docs/reference/type-epochs.md has the rules.

// within makes each tag the one that it is in its epoch of a range. ErrBadRequest where the range meets several.
func (l *tagList) within(in model.TimeRange) error {
	for i := range l.asked {
		if err := l.asked[i].within(in); err != nil {
			return err
		}
	}
	return nil
}

func (a *asked) within(in model.TimeRange) error {
	if !a.tag.Retyped() {
		return nil
	}
	epoch := a.tag.KeptBy(in.Start)
	now, holds := a.tag.In(epoch)
	if !in.Empty() && a.tag.KeptBy(in.End-1) != epoch {
		next, _ := a.tag.In(a.tag.KeptBy(holds.End))
		return fmt.Errorf("tag %s is %s before %s and %s from then on; what is worked out of samples is asked for on one side of that: %w",
			a.describe(), now.Current().Type, model.FormatTime(holds.End), next.Current().Type, ErrBadRequest)
	}
	a.tag = now
	return nil
}

// epochs appends the ids that a tag's samples of a range are kept by, in its order.
func (a asked) epochs(dst []model.TagID, in model.TimeRange) []model.TagID {
	if !a.tag.Retyped() {
		return append(dst, a.tag.ID)
	}
	n := len(dst)
	for _, id := range a.tag.EpochIDs() {
		if _, holds := a.tag.In(id); holds.Start < in.End && in.Start < holds.End {
			dst = append(dst, id)
		}
	}
	if in.Reverse {
		slices.Reverse(dst[n:])
	}
	return dst
}

// typesIn is the set of types that samples of a range may have.
func (l *tagList) typesIn(in model.TimeRange) (s typeSet) {
	if l.unit != "" {
		return 1 << model.Float64
	}
	for _, a := range l.asked {
		if !a.tag.Retyped() {
			s.add(a.tag.Current().Type)
			continue
		}
		for _, id := range a.epochs(nil, in) {
			now, _ := a.tag.In(id)
			s.add(now.Current().Type)
		}
	}
	return s
}
