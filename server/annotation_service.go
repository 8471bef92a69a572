package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/storage"
)

// annotationService keeps what people write on tags.
type annotationService struct {
	varvev1.UnimplementedAnnotationServiceServer
	*Server
}

func (s *annotationService) Annotate(ctx context.Context, r *varvev1.AnnotateRequest) (*varvev1.Annotation, error) {
	author, err := whoSays(ctx, r.Author, r.Text)
	if err != nil {
		return nil, err
	}
	tag, err := s.findTag(r.Tag, r.TagId)
	if err != nil {
		return nil, err
	}
	in, err := annotatedRange(r.StartNs, r.StopNs)
	if err != nil {
		return nil, err
	}
	var id model.UUID
	if r.Id == "" {
		id, err = newUUID(s.options.Rand)
	} else {
		id, err = parseUUID(r.Id)
	}
	if err != nil {
		return nil, err
	}
	err = s.db.Annotate(ctx, id, tag.ID, in, author, r.Text)
	if errors.Is(err, storage.ErrAnnotated) {
		if a, e := s.db.Annotation(id); e == nil && a.Tag == tag.ID && a.In == in && a.Versions[0].Author == author && a.Versions[0].Text == r.Text {
			err = nil // this very call, sent again
		}
	}
	return s.annotation(id, err)
}

func (s *annotationService) EditAnnotation(ctx context.Context, r *varvev1.EditAnnotationRequest) (*varvev1.Annotation, error) {
	author, err := whoSays(ctx, r.Author, r.Text)
	if err != nil {
		return nil, err
	}
	id, err := parseUUID(r.Id)
	if err != nil {
		return nil, err
	}
	return s.annotation(id, s.db.EditAnnotation(ctx, id, author, r.Text))
}

func (s *annotationService) RemoveAnnotation(ctx context.Context, r *varvev1.RemoveAnnotationRequest) (*varvev1.Annotation, error) {
	author, err := authorOf(ctx, r.Author)
	if err != nil {
		return nil, err
	}
	id, err := parseUUID(r.Id)
	if err != nil {
		return nil, err
	}
	return s.annotation(id, s.db.RemoveAnnotation(ctx, id, author))
}

// whoSays is the author of a text, and checks both.
func whoSays(ctx context.Context, author, text string) (string, error) {
	author, err := authorOf(ctx, author)
	if err != nil {
		return "", err
	}
	return author, checkText("text", text, storage.MaxAnnotationText)
}

// annotatedRange is the instants that an annotation is of.
func annotatedRange(start, stop *int64) (in model.TimeRange, err error) {
	switch {
	case start == nil && stop == nil:
		return model.All, nil
	case start == nil || stop == nil:
		return in, fmt.Errorf("an annotation has a start and a stop, or neither: %w", errBadField)
	case *start < model.MinTime || *stop > model.MaxTime || *stop < *start:
		return in, fmt.Errorf("annotation from %d to %d: the stop must not be earlier: %w", *start, *stop, errBadField)
	}
	return model.Between(*start, *stop), nil
}

// annotation is the annotation of an id, as it is after a change that ended with err.
func (s *annotationService) annotation(id model.UUID, err error) (*varvev1.Annotation, error) {
	if err != nil {
		return nil, err
	}
	a, err := s.db.Annotation(id)
	if err != nil {
		return nil, err
	}
	return s.annotationToWire(&a, false), nil
}

func (s *Server) annotationToWire(a *storage.Annotation, history bool) *varvev1.Annotation {
	first, last := &a.Versions[0], a.Newest()
	out := &varvev1.Annotation{
		Id: a.ID.String(), TagId: uint32(a.Tag), Text: last.Text, Author: first.Author, CreatedNs: first.Ingest, Removed: a.Removed(),
	}
	if tag, ok := s.db.Catalog().Tag(a.Tag); ok {
		out.Tag = tag.Name
	}
	if a.In != model.All {
		start, stop := a.In.Start, a.In.End
		if a.In == model.Between(start, start) {
			stop = start
		}
		out.StartNs, out.StopNs = &start, &stop
	}
	if len(a.Versions) > 1 {
		out.Editor, out.EditedNs = last.Author, last.Ingest
	}
	if history {
		for i := range a.Versions {
			v := &a.Versions[i]
			out.History = append(out.History, &varvev1.AnnotationVersion{Text: v.Text, Author: v.Author, IngestNs: v.Ingest})
		}
	}
	return out
}

// listedRange is the range that a list is of; an edge that is not given is that of all time.
func listedRange(start, end *int64) (model.TimeRange, error) {
	in := model.All
	if start != nil {
		in.Start = *start
	}
	if end != nil {
		in.End = *end
	}
	if in.Start < model.MinTime || in.Empty() {
		return in, fmt.Errorf("range from %d to %d: the end must be later: %w", in.Start, in.End, errBadField)
	}
	return in, nil
}

func (s *annotationService) ListAnnotations(ctx context.Context, r *varvev1.ListAnnotationsRequest) (*varvev1.ListAnnotationsResponse, error) {
	if r.PageSize > maxPageSize {
		return nil, fmt.Errorf("page_size is %d, most is %d: %w", r.PageSize, maxPageSize, errBadField)
	}
	in, err := listedRange(r.StartNs, r.EndNs)
	if err != nil {
		return nil, err
	}
	tags, err := s.tagIDs(r.Tags, r.TagIds, 1)
	if err != nil {
		return nil, fmt.Errorf("annotations: %w", err)
	}
	slices.Sort(tags)
	last, err := parseAnnotationToken(r.PageToken)
	if err != nil {
		return nil, err
	}
	view, err := s.db.View(ctx, storage.Accepted)
	if err != nil {
		return nil, err
	}
	defer view.Close()
	limit, size := cmp.Or(int(r.PageSize), defaultPageSize), 0
	out := &varvev1.ListAnnotationsResponse{}
	for _, tag := range slices.Compact(tags) {
		q := storage.AnnotationQuery{Tag: tag, In: in, Removed: r.History, Limit: limit - len(out.Annotations) + 1}
		switch cmp.Compare(tag, last.tag) {
		case -1:
			continue
		case 0:
			q.After = &last.place
		}
		for _, a := range view.Annotations(q) {
			if len(out.Annotations) == limit || size >= pageBytes {
				out.NextPageToken = last.String()
				return out, nil
			}
			wire := s.annotationToWire(&a, r.History)
			out.Annotations = append(out.Annotations, wire)
			size += proto.Size(wire)
			last = annotationToken{tag, a.Place()}
		}
	}
	return out, nil
}

// annotationToken is the annotation that a page ends with, and zero in front of the first.
type annotationToken struct {
	tag   model.TagID
	place storage.AnnotationPlace
}

func (t annotationToken) String() string {
	return fmt.Sprintf("%d/%d/%d", t.tag, t.place.Start, t.place.Offset)
}

func parseAnnotationToken(text string) (t annotationToken, err error) {
	if text == "" {
		return t, nil
	}
	if _, err := fmt.Sscanf(text, "%d/%d/%d", &t.tag, &t.place.Start, &t.place.Offset); err != nil || t.String() != text {
		return t, fmt.Errorf("page_token %.80q: must be the next_page_token of the page before: %w", text, errBadField)
	}
	return t, nil
}
