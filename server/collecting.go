package server

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math"
	"sync"
	"time"

	"github.com/varvedb/varve/compression/filter"
	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/query"
	"github.com/varvedb/varve/storage"
)

// collecting is what collectors said last of the tags that they read. It is not kept over a restart: a collector that runs says it again within
// seconds, and of one that does not nothing is known but what it sent.
type collecting struct {
	mu    sync.RWMutex
	lists map[listName]*collectedList
	byTag map[model.TagID]*collectedList
	calls uint64
}

// listName names a list of tags: a source may need several.
type listName struct {
	source string
	part   uint32
}

// collectedList is one statement about many tags. A newer list of its name takes its place, and what it says of tags that are not in that stays:
// it is what is known of them.
type collectedList struct {
	source  string
	number  uint64
	tags    []model.TagID // in the order they were named, 0 for a name that no tag has; never written to
	through int64
	call    uint64 // when it was said last, by number
}

// maxCollectedLists bounds the lists that are known by name. The one that was said longest ago goes first.
const maxCollectedLists = 4096

func newCollecting() *collecting {
	return &collecting{lists: map[listName]*collectedList{}, byTag: map[model.TagID]*collectedList{}}
}

// again takes a statement about a list that is known, and returns its tags; false where it is not.
func (c *collecting) again(name listName, number uint64, through int64) ([]model.TagID, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.lists[name]
	if l == nil || l.number != number {
		return nil, false
	}
	c.calls++
	l.through, l.call = through, c.calls
	return l.tags, true
}

// report takes a statement with its tags, which are its own from then on.
func (c *collecting) report(name listName, number uint64, tags []model.TagID, through int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.lists[name]; !ok && len(c.lists) >= maxCollectedLists {
		oldest := listName{}
		for n, l := range c.lists {
			if o := c.lists[oldest]; o == nil || l.call < o.call {
				oldest = n
			}
		}
		delete(c.lists, oldest)
	}
	c.calls++
	l := &collectedList{source: name.source, number: number, tags: tags, through: through, call: c.calls}
	c.lists[name] = l
	for _, t := range tags {
		if t != 0 {
			c.byTag[t] = l
		}
	}
}

// of is what was said last of a tag.
func (c *collecting) of(tag model.TagID) (query.Collecting, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	l, ok := c.byTag[tag]
	if !ok {
		return query.Collecting{}, false
	}
	return query.Collecting{Source: l.source, Through: l.through}, true
}

func (s *gapService) ReportCollecting(_ context.Context, r *varvev1.ReportCollectingRequest) (*varvev1.ReportCollectingResponse, error) {
	if err := checkText("source", r.Source, storage.MaxGapSource); err != nil {
		return nil, err
	}
	switch {
	case r.List == 0:
		return nil, fmt.Errorf("list is 0, must be the number of a list of tags: %w", errBadField)
	case len(r.Tags) > storage.MaxGapTags:
		return nil, fmt.Errorf("%d tags, most is %d; send them in parts: %w", len(r.Tags), storage.MaxGapTags, errBadField)
	case r.ThroughNs < model.MinTime || r.ThroughNs > model.MaxTime:
		return nil, fmt.Errorf("through %d, the first instant is %d, the last %d: %w", r.ThroughNs, int64(model.MinTime), int64(model.MaxTime), errBadField)
	}
	name := listName{r.Source, r.Part}
	out := &varvev1.ReportCollectingResponse{Known: true}
	var ids []model.TagID
	if len(r.Tags) == 0 {
		if ids, out.Known = s.collecting.again(name, r.List, r.ThroughNs); !out.Known {
			return out, nil
		}
	} else {
		catalog := s.db.Catalog()
		ids = make([]model.TagID, len(r.Tags))
		for i, n := range r.Tags {
			if tag, ok := catalog.ByName(n); ok {
				ids[i] = tag.ID
			} else {
				out.UnknownTags++
			}
		}
		s.collecting.report(name, r.List, ids, r.ThroughNs)
	}
	if r.Exceptions != nil {
		if out.Tags, out.Exceptions = s.exceptions(ids, time.Now().UnixNano()); out.Exceptions == *r.Exceptions {
			out.Tags = nil
		}
	}
	return out, nil
}

// exceptions is the exception filters of tags, as they are in force at an instant, and a number that names them: the same for the same filters, whatever the server.
func (s *Server) exceptions(ids []model.TagID, at int64) (out []*varvev1.TagException, number uint64) {
	catalog, h := s.db.Catalog(), fnv.New64a()
	for i, id := range ids {
		tag, ok := catalog.Tag(id)
		if !ok || tag.Exception.Deviation == 0 {
			continue
		}
		f := filter.Of(tag.Exception, tag.At(at))
		out = append(out, &varvev1.TagException{Tag: uint32(i), Exception: filterToWire(f.Filter), Stepped: f.Stepped})
		stepped := uint64(0)
		if f.Stepped {
			stepped = 1
		}
		var b [5 * 8]byte
		for k, x := range [5]uint64{uint64(i), math.Float64bits(f.Deviation), uint64(f.MinTime), uint64(f.MaxTime), stepped} {
			binary.LittleEndian.PutUint64(b[8*k:], x)
		}
		_, _ = h.Write(b[:]) // it has no error
	}
	return out, max(h.Sum64(), 1)
}
