package table

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// createTagsMost is how many tags are asked for at once, so that the message stays small.
const createTagsMost = 2000

// createTags makes the tags of the plan that do not exist, and takes the types of those that do: a file must fit the
// catalogue, never the other way round.
func (im *importer) createTags(ctx context.Context) error {
	tags := im.plan.Tags
	im.ids = make([]model.TagID, len(tags))
	for from := 0; from < len(tags); from += createTagsMost {
		to := min(from+createTagsMost, len(tags))
		if err := im.createSome(ctx, from, to); err != nil {
			return fmt.Errorf("create tags %d to %d of %d: %w", from+1, to, len(tags), err)
		}
	}
	return nil
}

func (im *importer) createSome(ctx context.Context, from, to int) error {
	var ask varvev1.CreateTagsRequest
	var asked []int
	for i := from; i < to; i++ {
		t := im.plan.Tags[i]
		if t.refused != "" || t.Type == 0 { // no name, or nothing to store
			continue
		}
		asked = append(asked, i)
		ask.Tags = append(ask.Tags, &varvev1.Tag{Name: t.Name, Description: t.Description, Settings: []*varvev1.Settings{{
			Type: varvev1.Type(t.Type), Unit: t.Unit, Stepped: t.Stepped, StateSet: t.StateSet,
		}}})
	}
	if len(asked) == 0 {
		return nil
	}
	answer, err := im.server.Catalog.CreateTags(ctx, &ask)
	if err != nil {
		return err
	}
	if len(answer.Tags) != len(asked) {
		return fmt.Errorf("the server answered %d tags with %d", len(asked), len(answer.Tags))
	}
	for k, i := range asked {
		r, err := im.foundStates(ctx, im.plan.Tags[i], answer.Tags[k])
		if err != nil {
			return err
		}
		im.takeTag(i, r)
		for _, s := range im.plan.Tags[i].settings {
			if err := im.fetchStates(ctx, s.StateSet); err != nil {
				return err
			}
		}
	}
	return nil
}

func (im *importer) takeTag(i int, r *varvev1.CreateTagResult) {
	t := im.plan.Tags[i]
	if r.Code != varvev1.RejectCode_REJECT_CODE_UNSPECIFIED || r.Tag == nil || len(r.Tag.Settings) == 0 {
		t.refused = orElse(r.Reason, "the server refused the tag")
		return
	}
	if r.Created {
		im.report.TagsCreated++
	}
	now := r.Tag.Settings[len(r.Tag.Settings)-1]
	im.ids[i] = model.TagID(r.Tag.Id)
	t.Type, t.StateSet, t.settings = model.Type(now.Type), now.StateSet, r.Tag.Settings
	if !t.Type.Valid() {
		t.refused = fmt.Sprintf("the tag has type %s, which this program does not know", now.Type)
	}
}

// foundStates is the tag that there is, if one was refused only because its values look like text, or like integers, and the tag of that
// name holds states: then they are texts, or codes, of its set. Anything else stays refused.
func (im *importer) foundStates(ctx context.Context, t *Tag, r *varvev1.CreateTagResult) (*varvev1.CreateTagResult, error) {
	if r.Code != varvev1.RejectCode_REJECT_CODE_TYPE_MISMATCH || t.declared || t.Type != model.String && t.Type != model.Int64 {
		return r, nil
	}
	found, err := im.server.Catalog.GetTag(ctx, &varvev1.GetTagRequest{Name: t.Name})
	if err != nil {
		return nil, fmt.Errorf("look up tag %s: %w", t.Name, err)
	}
	if n := len(found.Settings); n == 0 || found.Settings[n-1].Type != varvev1.Type_TYPE_STATE {
		return r, nil
	}
	return &varvev1.CreateTagResult{Tag: found}, nil
}

// putStateSets stores the state sets of the mapping that the server does not have as they are, and fetches the codes of
// all that tags of the plan need.
func (im *importer) putStateSets(ctx context.Context) error {
	im.states = StateCodes{}
	sets := im.plan.rules.StateSets
	for _, name := range slices.Sorted(maps.Keys(sets)) {
		want := &varvev1.StateSet{Name: name}
		for _, code := range slices.Sorted(maps.Keys(sets[name])) {
			want.States = append(want.States, &varvev1.DigitalState{Code: code, Text: sets[name][code]})
		}
		has, err := im.server.Catalog.GetStateSet(ctx, &varvev1.GetStateSetRequest{Name: name})
		if err != nil && status.Code(err) != codes.NotFound {
			return fmt.Errorf("look up state set %s: %w", name, err)
		}
		if err == nil && sameStates(has.States, want.States) {
			continue
		}
		if _, err := im.server.Catalog.PutStateSet(ctx, &varvev1.PutStateSetRequest{Set: want}); err != nil {
			return fmt.Errorf("store state set %s: %w", name, err)
		}
	}
	for _, t := range im.plan.Tags {
		if err := im.fetchStates(ctx, t.StateSet); err != nil {
			return err
		}
	}
	return nil
}

func sameStates(a, b []*varvev1.DigitalState) bool {
	return slices.EqualFunc(a, b, func(x, y *varvev1.DigitalState) bool { return x.Code == y.Code && x.Text == y.Text })
}
