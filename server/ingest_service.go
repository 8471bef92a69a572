package server

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/varvedb/varve/internal/message"
	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/storage"
)

// ingestDesc is IngestService with handlers that get their messages as bytes; the generated ones would decode them.
func (s *Server) ingestDesc() *grpc.ServiceDesc {
	name := varvev1.IngestService_ServiceDesc.ServiceName
	return &grpc.ServiceDesc{
		ServiceName: name,
		HandlerType: (*any)(nil),
		Methods:     []grpc.MethodDesc{ofBytes(name, "Write", s.write), ofBytes(name, "Edit", s.edit)},
		Streams: []grpc.StreamDesc{{
			StreamName: "Ingest", ServerStreams: true, ClientStreams: true,
			Handler: func(_ any, stream grpc.ServerStream) error { return s.ingest(stream) },
		}},
		Metadata: varvev1.IngestService_ServiceDesc.Metadata,
	}
}

// ofBytes is a method that gets its message as bytes.
func ofBytes[T any](service, name string, call func(context.Context, []byte) (T, error)) grpc.MethodDesc {
	full := "/" + service + "/" + name
	return grpc.MethodDesc{MethodName: name, Handler: func(srv any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
		in := &message.Received{}
		if err := decode(in); err != nil {
			return nil, err
		}
		defer in.Free()
		handler := func(ctx context.Context, _ any) (any, error) { return call(ctx, in.Data()) }
		if interceptor == nil {
			return handler(ctx, in)
		}
		return interceptor(ctx, in, &grpc.UnaryServerInfo{Server: srv, FullMethod: full}, handler)
	}}
}

// judgeBatch makes j hold what is good of an encoded batch.
func (s *Server) judgeBatch(ctx context.Context, j *judge, encoded []byte, create bool) error {
	if err := j.begin(encoded); err != nil {
		return err
	}
	if create && !s.options.NoCreate {
		if err := s.createUnknown(ctx, j); err != nil {
			return err
		}
	}
	return j.judge()
}

// write is WriteRequest: one batch, answered once it is applied.
func (s *Server) write(ctx context.Context, b []byte) (*varvev1.WriteResponse, error) {
	_, batch, rest, err := splitField(b, 5)
	if err != nil {
		return nil, wireError("write", err)
	}
	var req varvev1.WriteRequest
	if err := proto.Unmarshal(rest, &req); err != nil {
		return nil, fmt.Errorf("decode write: %w: %w", err, errWire)
	}
	mode, err := checkKind(req.Kind)
	if err != nil {
		return nil, err
	}
	if req.Source == "" && req.Epoch != 0 {
		return nil, fmt.Errorf("epoch is %d and no source is given; without one a write has no identity: %w", req.Epoch, errBadField)
	}
	if req.Source != "" {
		if mode, err = checkSource(req.Source, req.Epoch, req.Kind); err != nil {
			return nil, err
		}
	}
	author, err := passedOn(ctx, req.Author, req.Reason)
	if err != nil {
		return nil, err
	}
	j := newJudge(s.door(), mode)
	if err := s.judgeBatch(ctx, j, batch, req.CreateTags); err != nil {
		return nil, err
	}
	j.batch.Author, j.batch.Reason = author, req.Reason
	if req.Source != "" && j.batch.Sequence == 0 {
		return nil, fmt.Errorf("sequence of a batch is 0: %w", errBadField)
	}
	j.batch.Source, j.batch.Epoch, j.batch.Import = req.Source, req.Epoch, req.Kind == varvev1.SourceKind_SOURCE_KIND_IMPORT
	return s.submitAndWait(ctx, j, len(batch))
}

// Limits of an edit; they stand in ingest.proto.
const (
	maxAuthorBytes = 256
	maxReasonBytes = 4096
)

// edit is EditRequest: a person's correction, answered once it is applied. Its runs have the number that runs have in a
// Batch, so they are judged as one.
func (s *Server) edit(ctx context.Context, b []byte) (*varvev1.WriteResponse, error) {
	runs, _, rest, err := splitField(b, 3)
	if err != nil {
		return nil, wireError("edit", err)
	}
	var req varvev1.EditRequest
	if err := proto.Unmarshal(rest, &req); err != nil {
		return nil, fmt.Errorf("decode edit: %w: %w", err, errWire)
	}
	author, err := whoAndWhy(ctx, req.Author, req.Reason)
	if err != nil {
		return nil, err
	}
	j := newJudge(s.door(), model.Replace)
	if err := s.judgeBatch(ctx, j, runs, false); err != nil {
		return nil, err
	}
	j.batch.Sequence = 0
	j.batch.Author, j.batch.Reason = author, req.Reason
	return s.submitAndWait(ctx, j, len(runs))
}

// passedOn is the author of an edit that was made on another server, empty where a write is none. Who passes it on is known, who made it is
// what they say.
func passedOn(ctx context.Context, author, reason string) (string, error) {
	if author == "" && reason == "" {
		return "", nil
	}
	if err := errors.Join(checkText("author", author, maxAuthorBytes), checkText("reason", reason, maxReasonBytes)); err != nil {
		return "", err
	}
	if who := callerOf(ctx); who.name != "" {
		author = who.name + " for " + author
		author = strings.ToValidUTF8(author[:min(len(author), maxAuthorBytes)], "")
	}
	return author, nil
}

func checkText(what, text string, most int) error {
	switch {
	case text == "":
		return fmt.Errorf("%s is empty: %w", what, errBadField)
	case len(text) > most:
		return fmt.Errorf("%s has %d bytes, most is %d: %w", what, len(text), most, errBadField)
	}
	return nil
}

// submitAndWait submits what j holds and answers once it is applied.
func (s *Server) submitAndWait(ctx context.Context, j *judge, size int) (*varvev1.WriteResponse, error) {
	s.metrics.took(j, size)
	if len(j.batch.Runs) == 0 && j.batch.Source == "" {
		return &varvev1.WriteResponse{Result: &varvev1.BatchResult{
			Sequence: j.batch.Sequence, Rejected: j.rejections.count, Rejections: j.rejections.list,
		}}, nil
	}
	pending, err := s.db.Submit(ctx, &j.batch)
	if err != nil {
		return nil, fmt.Errorf("submit: %w", err)
	}
	result, err := pending.Applied(ctx)
	if err != nil {
		return nil, fmt.Errorf("wait for apply: %w", err)
	}
	if result.Conflict != nil {
		return nil, fmt.Errorf("sequence %d of source %q, epoch %d: %w", j.batch.Sequence, j.batch.Source, j.batch.Epoch, result.Conflict)
	}
	s.metrics.applied(result)
	return &varvev1.WriteResponse{Result: s.writeResult(j, pending, result)}, nil
}

// writeResult joins what the door and apply found.
func (s *Server) writeResult(j *judge, pending *storage.Pending, r *storage.Result) *varvev1.BatchResult {
	out := s.appliedResult(&sent{sequence: j.batch.Sequence, pending: pending, origins: j.origins}, r)
	out.Rejected += j.rejections.count
	out.Rejections = append(j.rejections.list, out.Rejections...)
	out.Rejections = out.Rejections[:min(len(out.Rejections), maxRejections)]
	return out
}

// resolve finds tags for a source, making those it may.
func (s *Server) resolve(ctx context.Context, r *varvev1.Resolve, create bool) (*varvev1.Resolved, error) {
	out := &varvev1.Resolved{Tags: make([]*varvev1.ResolvedTag, len(r.Tags))}
	var missing []model.Tag
	var at []int
	for i, t := range r.Tags {
		tag, ok := s.db.Catalog().ByName(t.Name)
		switch {
		case ok:
			out.Tags[i] = &varvev1.ResolvedTag{Id: uint32(tag.ID), Type: varvev1.Type(tag.Current().Type)}
		case t.Type == 0:
			out.Tags[i] = rejectTag(t.Name, fmt.Errorf("%w; a type is needed to create it", model.ErrTagNotFound))
		case !create:
			out.Tags[i] = rejectTag(t.Name, fmt.Errorf("%w; the hello did not ask to create tags", model.ErrTagNotFound))
		case s.options.NoCreate:
			out.Tags[i] = rejectTag(t.Name, fmt.Errorf("%w; this server does not let sources create tags", model.ErrTagNotFound))
		default:
			missing, at = append(missing, newTag(t)), append(at, i)
		}
	}
	results, err := s.createTags(ctx, missing)
	if err != nil {
		return nil, err
	}
	for k, res := range results {
		if res.Err != nil {
			out.Tags[at[k]] = rejectTag(missing[k].Name, res.Err)
			continue
		}
		out.Tags[at[k]] = &varvev1.ResolvedTag{Id: uint32(res.Tag.ID), Type: varvev1.Type(res.Tag.Current().Type), Created: res.Created}
	}
	out.CatalogRevision = s.db.Catalog().Revision()
	return out, nil
}

func rejectTag(name string, err error) *varvev1.ResolvedTag {
	if nameErr := model.CheckName(name); nameErr != nil {
		return &varvev1.ResolvedTag{Code: varvev1.RejectCode_REJECT_CODE_BAD_NAME, Reason: nameErr.Error()}
	}
	return &varvev1.ResolvedTag{Code: createCode(err), Reason: err.Error()}
}

// newTag is a tag as a source asks for it.
func newTag(t *varvev1.NewTag) model.Tag {
	typ := typeOf(t.Type)
	return model.Tag{
		Name: t.Name, Description: t.Description,
		Settings: []model.Settings{{From: model.MinTime, Type: typ, Unit: t.Unit, Stepped: t.Stepped || typ.AlwaysStepped(), StateSet: t.StateSet}},
	}
}

// typeOf is a type of the wire. A number that is none becomes one that no check lets pass.
func typeOf(t varvev1.Type) model.Type {
	if t < 0 || t > varvev1.Type_TYPE_BYTES {
		return 255
	}
	return model.Type(t)
}
