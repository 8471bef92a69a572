package server

import (
	"context"
	"fmt"
	"io"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/catalog"
)

// createAtOnce is how many tags go into one log record when a source makes many.
const createAtOnce = 5000

// newUUID is a random (version 4) UUID.
func newUUID(rand io.Reader) (u model.UUID, err error) {
	if _, err := io.ReadFull(rand, u[:]); err != nil {
		return u, fmt.Errorf("make UUID: %w", err)
	}
	u[6], u[8] = u[6]&0x0F|0x40, u[8]&0x3F|0x80
	return u, nil
}

// createTags makes tags that have no UUID yet. Results are parallel to tags.
func (s *Server) createTags(ctx context.Context, tags []model.Tag) ([]catalog.Result, error) {
	results := make([]catalog.Result, 0, len(tags))
	for len(tags) > 0 {
		n := min(len(tags), createAtOnce)
		changes := make([]catalog.Change, n)
		for i, tag := range tags[:n] {
			if tag.UUID == (model.UUID{}) {
				var err error
				if tag.UUID, err = newUUID(s.options.Rand); err != nil {
					return nil, err
				}
			}
			changes[i] = catalog.Change{Create: &catalog.Create{Tag: tag}}
		}
		made, err := s.db.ChangeCatalog(ctx, changes)
		if err != nil {
			return nil, fmt.Errorf("create %d tags: %w", n, err)
		}
		results, tags = append(results, made...), tags[n:]
	}
	return results, nil
}

// createUnknown makes the tags that the batch begun in j names and the catalogue does not have, with the type of their
// values. What could not be made is left to j to reject.
func (s *Server) createUnknown(ctx context.Context, j *judge) error {
	tags, err := j.unknown()
	if err != nil || len(tags) == 0 {
		return err
	}
	results, err := s.createTags(ctx, tags)
	if err != nil {
		return err
	}
	for i, r := range results {
		if r.Err == nil {
			continue
		}
		if j.refused == nil {
			j.refused = map[string]error{}
		}
		j.refused[tags[i].Name] = r.Err
	}
	return nil
}

// unknown is the tags a batch names that are not there, as they would be made.
func (j *judge) unknown() ([]model.Tag, error) {
	var tags []model.Tag
	seen := map[string]bool{}
	add := func(name []byte, typ model.Type) {
		if len(name) == 0 || typ == 0 || j.names[string(name)] != 0 || seen[string(name)] {
			return
		}
		if _, f := j.findName(name); f.code == 0 || model.CheckName(string(name)) != nil {
			return
		}
		seen[string(name)] = true
		tags = append(tags, model.Tag{Name: string(name), Settings: []model.Settings{{From: model.MinTime, Type: typ, Stepped: typ.AlwaysStepped()}}})
	}
	for i, b := range j.wire.runs {
		if len(b) > 0 && b[0] == runTagID {
			continue // named by id: nothing to make, and the usual case is not parsed twice
		}
		if err := j.run.parse(b); err != nil {
			return nil, wireError(fmt.Sprintf("run %d", i), err)
		}
		if j.run.tagID == 0 && !j.run.values.several {
			add(j.run.tag, j.run.values.typ)
		}
	}
	for i, b := range j.wire.frames {
		if err := j.frame.parse(b); err != nil {
			return nil, wireError(fmt.Sprintf("frame %d", i), err)
		}
		for _, name := range j.frame.tags {
			if !j.frame.values.several {
				add(name, j.frame.values.typ)
			}
		}
	}
	return tags, nil
}

// runTagID is the first byte of a run that begins with its tag_id: field 1 as a varint.
const runTagID = 1 << 3
