package forward

import (
	"bytes"
	"context"
	"crypto/sha1"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"github.com/varvedb/varve/internal/answer"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// Edge is the server whose archive is forwarded.
type Edge struct {
	Subscriptions varvev1.SubscriptionServiceClient
	Query         varvev1.QueryServiceClient
	Catalog       varvev1.CatalogServiceClient
	Gaps          varvev1.GapServiceClient
	Ingest        varvev1.IngestServiceClient // for health tags; nil: none are written
}

// edgeTag is a tag of the edge, and what it is to be at the site. It is never changed.
type edgeTag struct {
	id    uint32
	edge  string // name at the edge
	name  string // the same, or one that it had
	first string // the name that it had first
	made  int64  // ingest time of the record that made it
	types answer.Types
	site  *varvev1.Tag
	sets  []*varvev1.StateSet // that it names, every version, under the names they have at the site
}

// edgeTags is the tags of the edge as far as somebody asked for them, at a revision of its catalogue.
type edgeTags struct {
	edge     *Edge
	c        *Config
	log      *slog.Logger
	revision uint64
	byName   map[string]*edgeTag
	sets     map[string][]*varvev1.StateSet // by name at the edge
}

// at forgets what is known if the catalogue changed.
func (t *edgeTags) at(revision uint64) {
	if revision != t.revision || t.byName == nil {
		t.revision, t.byName, t.sets = revision, map[string]*edgeTag{}, map[string][]*varvev1.StateSet{}
	}
}

// get is the tag of a name.
func (t *edgeTags) get(ctx context.Context, name string) (*edgeTag, error) {
	if tag := t.byName[name]; tag != nil {
		return tag, nil
	}
	w, err := t.edge.Catalog.GetTag(ctx, &varvev1.GetTagRequest{Name: name})
	if err != nil {
		return nil, fmt.Errorf("tag %q of the edge: %w", name, err)
	}
	tag, err := t.made(ctx, w)
	if err != nil {
		return nil, err
	}
	t.byName[name] = tag
	return tag, nil
}

// fresh is a tag as the edge says it is now, and forgets which state sets there were.
func (t *edgeTags) fresh(ctx context.Context, r *varvev1.GetTagRequest) (*edgeTag, error) {
	w, err := t.edge.Catalog.GetTag(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("tag %q, id %d, of the edge: %w", r.Name, r.Id, err)
	}
	t.sets = nil
	return t.made(ctx, w)
}

// made is a tag as the edge says it is.
func (t *edgeTags) made(ctx context.Context, w *varvev1.Tag) (*edgeTag, error) {
	tag := &edgeTag{id: w.Id, edge: w.Name, name: w.Name, first: firstName(w), made: w.CreatedNs, types: answer.TypesOf(w)}
	name := t.c.Names.of(w.Name)
	id := w.Uuid
	if name != w.Name { // it is another tag than one of the edge's name would be
		u, err := uuid.Parse(w.Uuid)
		if err != nil {
			return nil, fmt.Errorf("tag %s of the edge has the UUID %q: %w", w.Name, w.Uuid, err)
		}
		id = uuid.NewHash(sha1.New(), u, []byte(t.c.Source), 5).String()
	}
	tag.site = &varvev1.Tag{
		Uuid: id, Name: name, Description: w.Description, SpanLow: w.SpanLow, SpanHigh: w.SpanHigh, Attributes: w.Attributes,
	}
	if n := len(w.Aliases); n > 1 { // from when on it has its name
		tag.site.Aliases = w.Aliases[n-1:]
	}
	for _, s := range w.Settings {
		s = proto.Clone(s).(*varvev1.Settings)
		if s.StateSet != "" {
			sets, err := t.set(ctx, s.StateSet)
			if err != nil {
				return nil, err
			}
			for _, set := range sets {
				if !hasSet(tag.sets, set) {
					tag.sets = append(tag.sets, set)
				}
			}
			s.StateSet = t.c.Names.of(s.StateSet)
		}
		tag.site.Settings = append(tag.site.Settings, s)
	}
	return tag, nil
}

// firstName is the name that a tag had first: a rename does not change how it goes.
func firstName(w *varvev1.Tag) string {
	if len(w.Aliases) > 0 {
		return w.Aliases[0].Name
	}
	return w.Name
}

// set is every version of a state set, the first one first.
func (t *edgeTags) set(ctx context.Context, name string) ([]*varvev1.StateSet, error) {
	if sets := t.sets[name]; sets != nil {
		return sets, nil
	}
	newest, err := t.edge.Catalog.GetStateSet(ctx, &varvev1.GetStateSetRequest{Name: name})
	if err != nil {
		return nil, fmt.Errorf("state set %q of the edge: %w", name, err)
	}
	var sets []*varvev1.StateSet
	for v := uint32(1); v < newest.Version; v++ {
		s, err := t.edge.Catalog.GetStateSet(ctx, &varvev1.GetStateSetRequest{Name: name, Version: v})
		if err != nil {
			return nil, fmt.Errorf("state set %q of the edge, version %d: %w", name, v, err)
		}
		sets = append(sets, s)
	}
	sets = append(sets, newest)
	for _, s := range sets {
		s.Name = t.c.Names.of(s.Name)
	}
	if t.sets == nil {
		t.sets = map[string][]*varvev1.StateSet{}
	}
	t.sets[name] = sets
	return sets, nil
}

// namesIn is the tags that a message of changes is about.
func namesIn(ipc []byte) (names []string, err error) {
	r, err := answer.ReadMessage(ipc)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	seen := map[string]bool{}
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return names, nil
		}
		if err != nil {
			return nil, err
		}
		for i, f := range rec.Schema().Fields() {
			if f.Name != "tag" {
				continue
			}
			d, ok := rec.Column(i).(*array.Dictionary)
			if !ok {
				return nil, fmt.Errorf("changes of the edge: tags are %s", f.Type)
			}
			all, ok := d.Dictionary().(*array.String)
			if !ok {
				return nil, fmt.Errorf("changes of the edge: tags are %s", f.Type)
			}
			for k := range all.Len() {
				if name := all.Value(k); !seen[name] {
					seen[name] = true
					names = append(names, string(bytes.Clone([]byte(name)))) // it outlives the record
				}
			}
		}
	}
}

// rows visits the changes of a message, with their tags as they are now.
func (t *edgeTags) rows(ctx context.Context, m *varvev1.SubscribeResponse, visit func(*edgeTag, *answer.Row) error) error {
	t.at(m.CatalogRevision)
	names, err := namesIn(m.GetChanges())
	if err != nil {
		return err
	}
	tags, types := make(map[string]*edgeTag, len(names)), make(map[string]answer.Types, len(names))
	for _, name := range names {
		if tags[name], err = t.get(ctx, name); err != nil {
			return err
		}
		types[name] = tags[name].types
	}
	r, err := answer.ReadMessage(m.GetChanges())
	if err != nil {
		return err
	}
	defer r.Close()
	rows := answer.NewRows(r, types)
	for {
		row, err := rows.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := visit(tags[row.Tag], &row); err != nil {
			return err
		}
	}
}
