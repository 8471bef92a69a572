package forward

import (
	"cmp"
	"context"
	"fmt"
	"hash/maphash"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// createAtOnce is the most tags of one call: the answer repeats them.
const createAtOnce = 1000

// ensure makes the tags and state sets of a parcel what they are to be. What the site refuses for good is logged: samples of such a tag are
// refused by themselves.
func (s *site) ensure(ctx context.Context, p *varvev1.Parcel) error {
	for _, set := range p.StateSets {
		if err := s.once(fmt.Sprintf("set %d %s", set.Version, set.Name), set, func() error { return s.ensureSet(ctx, set) }); err != nil {
			return err
		}
	}
	var missing []*varvev1.Tag
	for _, t := range p.Tags {
		if s.known["tag "+t.Uuid] != s.hash(t) {
			missing = append(missing, t)
		}
	}
	for part := range slices.Chunk(missing, createAtOnce) {
		if err := s.ensureTags(ctx, part); err != nil {
			return err
		}
	}
	return nil
}

func (s *site) hash(m proto.Message) uint64 {
	b, err := deterministic.Marshal(m)
	if err != nil { // a name that is no UTF-8: the server will say so
		return 0
	}
	return max(maphash.Bytes(s.seed, b), 1)
}

// once does what makes a thing as it is to be, unless it is.
func (s *site) once(key string, m proto.Message, do func() error) error {
	h := s.hash(m)
	if s.known[key] == h {
		return nil
	}
	if err := do(); err != nil {
		return err
	}
	s.known[key] = h
	return nil
}

// ensureSet puts a version of a state set that the site does not have.
func (s *site) ensureSet(ctx context.Context, set *varvev1.StateSet) error {
	newest, err := s.Catalog.GetStateSet(ctx, &varvev1.GetStateSetRequest{Name: set.Name})
	if status.Code(err) == codes.NotFound {
		newest, err = &varvev1.StateSet{}, nil
	}
	if err != nil {
		return err
	}
	if newest.Version >= set.Version {
		old, err := s.Catalog.GetStateSet(ctx, &varvev1.GetStateSetRequest{Name: set.Name, Version: set.Version})
		if err != nil {
			return err
		}
		same := slices.EqualFunc(old.States, set.States, func(a, b *varvev1.DigitalState) bool { return a.Code == b.Code && a.Text == b.Text })
		if !same {
			s.log.Error("the site has another state set of the name; it is left as it is", "set", set.Name, "version", set.Version)
		}
		return nil
	}
	_, err = s.Catalog.PutStateSet(ctx, &varvev1.PutStateSetRequest{Set: set})
	return s.refusedForGood(err, "a state set", set.Name)
}

// refusedForGood logs an error that no second attempt mends, and is nil for it.
func (s *site) refusedForGood(err error, what, name string) error {
	switch status.Code(err) {
	case codes.InvalidArgument, codes.FailedPrecondition, codes.AlreadyExists, codes.NotFound, codes.OutOfRange:
		s.log.Error("the site refuses "+what, "name", name, "error", err)
		return nil
	}
	return err
}

func (s *site) ensureTags(ctx context.Context, tags []*varvev1.Tag) error {
	r := &varvev1.CreateTagsRequest{Tags: make([]*varvev1.Tag, len(tags))}
	for i, t := range tags {
		t = proto.Clone(t).(*varvev1.Tag)
		t.Aliases, t.Settings = nil, t.Settings[:1] // types that it changed to come behind
		r.Tags[i] = t
	}
	made, err := s.Catalog.CreateTags(ctx, r)
	if err != nil {
		return err
	}
	if len(made.Tags) != len(tags) {
		return fmt.Errorf("the site made %d tags of %d", len(made.Tags), len(tags))
	}
	for i, m := range made.Tags {
		has := m.Tag
		if has == nil { // it may be there under another name, or with another type since
			if has, err = s.byUUID(ctx, tags[i]); err != nil {
				return err
			}
		}
		switch {
		case has != nil:
			if err := s.update(ctx, has, tags[i]); err != nil {
				return err
			}
		case m.Code == varvev1.RejectCode_REJECT_CODE_TAG_QUOTA || m.Code == varvev1.RejectCode_REJECT_CODE_NOT_ALLOWED:
			return fmt.Errorf("%w: tag %s: %s", errMendable, tags[i].Name, m.Reason)
		default:
			s.log.Error("the site refuses a tag", "tag", tags[i].Name, "reason", m.Reason)
		}
		s.known["tag "+tags[i].Uuid] = s.hash(tags[i])
	}
	return nil
}

// byUUID is the tag of a UUID, which gets its new name if that changed; nil where there is none.
func (s *site) byUUID(ctx context.Context, want *varvev1.Tag) (*varvev1.Tag, error) {
	has, err := s.Catalog.GetTag(ctx, &varvev1.GetTagRequest{Uuid: want.Uuid})
	switch status.Code(err) {
	case codes.OK:
	case codes.NotFound, codes.InvalidArgument:
		return nil, nil
	default:
		return nil, err
	}
	if has.Name == want.Name {
		return has, nil
	}
	r := &varvev1.RenameTagRequest{Id: has.Id, NewName: want.Name}
	if len(want.Aliases) > 0 {
		r.FromNs = want.Aliases[0].FromNs
	}
	renamed, err := s.Catalog.RenameTag(ctx, r)
	if status.Code(err) == codes.InvalidArgument && r.FromNs != 0 {
		r.FromNs = 0
		renamed, err = s.Catalog.RenameTag(ctx, r)
	}
	if err != nil {
		return nil, s.refusedForGood(err, "the new name of a tag", want.Name)
	}
	return renamed, nil
}

// update makes the settings of a tag what they are to be.
func (s *site) update(ctx context.Context, has, want *varvev1.Tag) error {
	u := &varvev1.UpdateTagRequest{Id: has.Id}
	changed := false
	if has.Description != want.Description {
		u.Description, changed = &want.Description, true
	}
	if has.SpanLow != want.SpanLow || has.SpanHigh != want.SpanHigh {
		u.SpanLow, u.SpanHigh, changed = &want.SpanLow, &want.SpanHigh, true
	}
	for k, v := range want.Attributes {
		if has.Attributes[k] != v {
			if u.SetAttributes == nil {
				u.SetAttributes = map[string]string{}
			}
			u.SetAttributes[k], changed = v, true
		}
	}
	if changed {
		if _, err := s.Catalog.UpdateTag(ctx, u); err != nil {
			if err := s.refusedForGood(err, "settings of a tag", want.Name); err != nil {
				return err
			}
		}
	}
	for i, x := range want.Settings {
		if i < len(has.Settings) && sameSettings(has.Settings[i], x, i == 0) {
			continue
		}
		x = proto.Clone(x).(*varvev1.Settings)
		if i == 0 {
			x.FromNs = model.MinTime
		}
		t, err := s.Catalog.UpdateTag(ctx, &varvev1.UpdateTagRequest{Id: has.Id, Settings: x})
		if err != nil {
			return s.refusedForGood(err, "settings of a tag", want.Name)
		}
		has = t
	}
	return nil
}

// sameSettings compares settings; those that a tag has first hold from the beginning.
func sameSettings(a, b *varvev1.Settings, first bool) bool {
	return a.Type == b.Type && a.Stepped == b.Stepped && a.Unit == b.Unit && a.MaxGapNs == b.MaxGapNs && a.StateSet == b.StateSet &&
		(first || cmp.Compare(a.FromNs, b.FromNs) == 0)
}
