package server

import (
	"context"
	"fmt"

	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/storage/catalog"
)

// Limits of catalogue calls; they stand in catalog.proto.
const (
	maxCreateTags   = 100_000
	maxGlobBytes    = 1024
	maxPageSize     = 10_000
	defaultPageSize = 1_000

	// pageBytes ends a page early: tags with many attributes would not fit the message limit clients come with.
	pageBytes = 2 << 20
)

// catalogService keeps tags and state sets.
type catalogService struct {
	varvev1.UnimplementedCatalogServiceServer
	*Server
}

func (s *catalogService) CreateTags(ctx context.Context, r *varvev1.CreateTagsRequest) (*varvev1.CreateTagsResponse, error) {
	if len(r.Tags) > maxCreateTags {
		return nil, fmt.Errorf("create %d tags, most is %d: %w", len(r.Tags), maxCreateTags, errTooMany)
	}
	out := &varvev1.CreateTagsResponse{Tags: make([]*varvev1.CreateTagResult, len(r.Tags))}
	var tags []model.Tag
	var at []int
	for i, t := range r.Tags {
		tag, err := tagFromWire(t)
		if err != nil {
			out.Tags[i] = &varvev1.CreateTagResult{Code: varvev1.RejectCode_REJECT_CODE_MALFORMED, Reason: err.Error()}
			continue
		}
		tags, at = append(tags, tag), append(at, i)
	}
	results, err := s.createTags(ctx, tags)
	if err != nil {
		return nil, err
	}
	for k, res := range results {
		out.Tags[at[k]] = createResult(res)
	}
	return out, nil
}

func createResult(r catalog.Result) *varvev1.CreateTagResult {
	out := &varvev1.CreateTagResult{Created: r.Created}
	if r.Tag != nil {
		out.Tag = tagToWire(r.Tag)
	}
	if r.Err != nil {
		out.Code, out.Reason = createCode(r.Err), r.Err.Error()
	}
	return out
}

func (s *catalogService) GetTag(_ context.Context, r *varvev1.GetTagRequest) (*varvev1.Tag, error) {
	if r.Uuid == "" {
		tag, err := s.findTag(r.Name, r.Id)
		if err != nil {
			return nil, err
		}
		return s.wholeTag(tag), nil
	}
	if r.Name != "" || r.Id != 0 {
		return nil, fmt.Errorf("tag is given in more than one way: %w", errBadField)
	}
	u, err := parseUUID(r.Uuid)
	if err != nil {
		return nil, err
	}
	tag, ok := s.db.Catalog().ByUUID(u)
	if !ok {
		return nil, fmt.Errorf("tag with UUID %s: %w", u, model.ErrTagNotFound)
	}
	return s.wholeTag(tag), nil
}

// wholeTag is a tag with what is measured of it.
func (s *catalogService) wholeTag(t *model.Tag) *varvev1.Tag {
	out := tagToWire(t)
	for _, id := range t.EpochIDs() {
		for _, f := range s.db.Filtered(id) {
			out.Filtered = append(out.Filtered, &varvev1.Filtered{
				Filter: filterToWire(f.Filter), FirstNs: f.First, LastNs: f.Last, Samples: f.Samples, LeftOut: f.LeftOut,
				MaxError: f.MaxError, ErrorAtNs: f.ErrorAt,
			})
		}
	}
	return out
}

// findTag is the tag of a name, current or former, or of an id; exactly one must be given.
func (s *Server) findTag(name string, id uint32) (*model.Tag, error) {
	switch {
	case (name == "") == (id == 0):
		return nil, fmt.Errorf("tag %.80q, id %d: exactly one must be given: %w", name, id, errBadField)
	case name != "":
		if tag, ok := s.db.Catalog().ByName(name); ok {
			return tag, nil
		}
		return nil, fmt.Errorf("tag %.200q: %w", name, model.ErrTagNotFound)
	}
	if tag, ok := s.tagOf(model.TagID(id)); ok {
		return tag, nil
	}
	return nil, fmt.Errorf("tag with id %d: %w", id, model.ErrTagNotFound)
}

// tagOf is the tag of an id, of an epoch's the tag it is of.
func (s *Server) tagOf(id model.TagID) (*model.Tag, bool) {
	tag, ok := s.db.Catalog().Tag(id)
	if ok && tag.Of != 0 {
		return s.db.Catalog().Tag(tag.Of)
	}
	return tag, ok
}

func (s *catalogService) ListTags(_ context.Context, r *varvev1.ListTagsRequest) (*varvev1.ListTagsResponse, error) {
	switch {
	case len(r.Filter) > maxGlobBytes:
		return nil, fmt.Errorf("filter has %d bytes, most is %d: %w", len(r.Filter), maxGlobBytes, errBadField)
	case r.PageSize > maxPageSize:
		return nil, fmt.Errorf("page_size is %d, most is %d: %w", r.PageSize, maxPageSize, errBadField)
	}
	limit := defaultPageSize
	if r.PageSize != 0 {
		limit = int(r.PageSize)
	}
	filter := catalog.Filter{Glob: r.Filter, Type: typeOf(r.Type), Unit: r.Unit, Attributes: r.Attributes}
	tags, next, total := s.db.Catalog().List(filter, r.PageToken, limit)
	out := &varvev1.ListTagsResponse{NextPageToken: next, Total: uint64(total), Tags: make([]*varvev1.Tag, 0, len(tags))}
	size := 0
	for i, t := range tags {
		out.Tags = append(out.Tags, tagToWire(t))
		if size += tagBytes(t); size >= pageBytes && i+1 < len(tags) {
			out.NextPageToken = t.Name // the token is the last name of the page
			break
		}
	}
	return out, nil
}

// tagBytes is about what a tag takes in a message.
func tagBytes(t *model.Tag) int {
	n := 200 + len(t.Name) + len(t.Description)
	for k, v := range t.Attributes {
		n += len(k) + len(v) + 8
	}
	for _, a := range t.Aliases {
		n += len(a.Name) + 24
	}
	return n + 100*len(t.Settings)
}

func (s *catalogService) UpdateTag(ctx context.Context, r *varvev1.UpdateTagRequest) (*varvev1.Tag, error) {
	tag, err := s.findTag(r.Name, r.Id)
	if err != nil {
		return nil, err
	}
	u := &catalog.Update{
		ID: tag.ID, Description: r.Description, SpanLow: r.SpanLow, SpanHigh: r.SpanHigh, Retention: r.Retention,
		SetAttributes: r.SetAttributes,
	}
	if r.Exception != nil {
		f := filterFromWire(r.Exception)
		u.Exception = &f
	}
	if r.Compression != nil {
		f := filterFromWire(r.Compression)
		u.Compression = &f
	}
	if r.Settings != nil {
		settings := settingsFromWire(r.Settings)
		u.Settings = &settings
	}
	return s.changeTag(ctx, catalog.Change{Update: u})
}

func (s *catalogService) RenameTag(ctx context.Context, r *varvev1.RenameTagRequest) (*varvev1.Tag, error) {
	tag, err := s.findTag(r.Name, r.Id)
	if err != nil {
		return nil, err
	}
	return s.changeTag(ctx, catalog.Change{Rename: &catalog.Rename{ID: tag.ID, NewName: r.NewName, From: r.FromNs}})
}

func (s *catalogService) changeTag(ctx context.Context, c catalog.Change) (*varvev1.Tag, error) {
	result, err := s.change(ctx, c)
	if err != nil {
		return nil, err
	}
	return tagToWire(result.Tag), nil
}

// change makes one change.
func (s *catalogService) change(ctx context.Context, c catalog.Change) (catalog.Result, error) {
	results, err := s.db.ChangeCatalog(ctx, []catalog.Change{c})
	if err != nil {
		return catalog.Result{}, fmt.Errorf("change the catalogue: %w", err)
	}
	return results[0], results[0].Err
}

func (s *catalogService) PutStateSet(ctx context.Context, r *varvev1.PutStateSetRequest) (*varvev1.StateSet, error) {
	if r.Set == nil {
		return nil, fmt.Errorf("no set is given: %w", errBadField)
	}
	result, err := s.change(ctx, catalog.Change{PutStateSet: &catalog.PutStateSet{Set: stateSetFromWire(r.Set)}})
	if err != nil {
		return nil, err
	}
	return stateSetToWire(result.StateSet), nil
}

func (s *catalogService) GetStateSet(_ context.Context, r *varvev1.GetStateSetRequest) (*varvev1.StateSet, error) {
	set, ok := s.db.Catalog().StateSet(r.Name, r.Version)
	if !ok {
		return nil, fmt.Errorf("digital-state set %.80q version %d: %w", r.Name, r.Version, errNotFound)
	}
	return stateSetToWire(set), nil
}

func (s *catalogService) ListStateSets(_ context.Context, r *varvev1.ListStateSetsRequest) (*varvev1.ListStateSetsResponse, error) {
	out := &varvev1.ListStateSetsResponse{}
	size := 0
	for _, set := range s.db.Catalog().StateSets() {
		if set.Name <= r.PageToken {
			continue
		}
		if size >= pageBytes {
			out.NextPageToken = out.Sets[len(out.Sets)-1].Name
			break
		}
		out.Sets = append(out.Sets, stateSetToWire(set))
		size += stateSetBytes(set)
	}
	return out, nil
}

// stateSetBytes is about what a set takes in a message.
func stateSetBytes(set *model.StateSet) int {
	n := 20 + len(set.Name)
	for _, d := range set.States {
		n += 8 + len(d.Text)
	}
	return n
}
