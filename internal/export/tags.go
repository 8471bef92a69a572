package export

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// Server is what an export asks.
type Server struct {
	Query   varvev1.QueryServiceClient
	Catalog varvev1.CatalogServiceClient
}

// tag is a tag to be exported.
type tag struct {
	*varvev1.Tag
	group    string
	states   string // hash of the state sets it has, or had; empty for none
	settings string // hash of all that decides what stands in files, apart from samples
}

// tags is the tags of an export by name, each once.
func (s *Server) tags(ctx context.Context, patterns []string, group grouping) ([]tag, error) {
	found := map[uint32]*varvev1.Tag{}
	for _, pattern := range patterns {
		if err := s.find(ctx, pattern, found); err != nil {
			return nil, err
		}
	}
	states := stateHashes{server: s, known: map[string]string{}}
	out := make([]tag, 0, len(found))
	for _, t := range found {
		x, err := tag{Tag: t, group: group(t)}, error(nil)
		if x.states, err = states.of(ctx, t); err != nil {
			return nil, err
		}
		b, err := json.Marshal(struct {
			Tag    tagMetadata
			Group  string
			States string
		}{metadataOf(t, model.All), x.group, x.states})
		if err != nil {
			return nil, fmt.Errorf("tag %s: %w", t.Name, err)
		}
		x.settings = shortHash(b)
		out = append(out, x)
	}
	slices.SortFunc(out, func(a, b tag) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

// find finds the tag of a name, or those of a pattern that no tag has for a name.
func (s *Server) find(ctx context.Context, pattern string, found map[uint32]*varvev1.Tag) error {
	glob := strings.ContainsAny(pattern, "*?")
	t, err := s.Catalog.GetTag(ctx, &varvev1.GetTagRequest{Name: pattern})
	switch {
	case err == nil:
		found[t.Id] = t
		return nil
	case status.Code(err) != codes.NotFound && !glob:
		return err
	case !glob:
		return fmt.Errorf("no tag %q; varve tags list shows the tags there are", pattern)
	}
	for r, n := (&varvev1.ListTagsRequest{Filter: pattern, PageSize: 10_000}), 0; ; {
		page, err := s.Catalog.ListTags(ctx, r)
		if err != nil {
			return err
		}
		for _, t := range page.Tags {
			found[t.Id] = t
			n++
		}
		if r.PageToken = page.NextPageToken; r.PageToken != "" {
			continue
		}
		if n == 0 { // not an export of nothing: that would take away what is there
			return fmt.Errorf("no tag matches %q; varve tags list shows the tags there are", pattern)
		}
		return nil
	}
}

// stateHashes knows hashes of all versions of state sets: a text that changes stands in files again.
type stateHashes struct {
	server *Server
	known  map[string]string
}

func (h *stateHashes) of(ctx context.Context, t *varvev1.Tag) (hashes string, err error) {
	for _, s := range t.Settings {
		if s.StateSet == "" {
			continue
		}
		hash, ok := h.known[s.StateSet]
		if !ok {
			if hash, err = h.server.hashStates(ctx, s.StateSet); err != nil {
				return "", err
			}
			h.known[s.StateSet] = hash
		}
		hashes += hash
	}
	return hashes, nil
}

func (s *Server) hashStates(ctx context.Context, name string) (string, error) {
	newest, err := s.Catalog.GetStateSet(ctx, &varvev1.GetStateSetRequest{Name: name})
	if err != nil {
		return "", err
	}
	var b []byte
	for version := range newest.Version {
		set := newest
		if version+1 < newest.Version {
			if set, err = s.Catalog.GetStateSet(ctx, &varvev1.GetStateSetRequest{Name: name, Version: version + 1}); err != nil {
				return "", err
			}
		}
		b = fmt.Appendf(b, "%d", set.FromNs)
		for _, x := range set.States {
			b = fmt.Appendf(b, " %d=%q", x.Code, x.Text)
		}
		b = append(b, '\n')
	}
	return shortHash(b), nil
}

func shortHash(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:16])
}

// tagMetadata is what a file says about a tag, beside its samples.
type tagMetadata struct {
	Tag         string            `json:"tag"`
	TagID       uint32            `json:"tag_id"`
	UUID        string            `json:"uuid"`
	Description string            `json:"description,omitempty"`
	Settings    []settingMetadata `json:"settings"` // in force in the day, ascending
}

type settingMetadata struct {
	FromNs   *int64 `json:"from_ns,omitempty"` // absent: from the beginning
	Type     string `json:"type"`
	Unit     string `json:"unit,omitempty"`
	Stepped  bool   `json:"stepped"`
	MaxGapNs int64  `json:"max_gap_ns,omitempty"`
	StateSet string `json:"state_set,omitempty"`
}

// metadataOf is a tag with the settings that are in force at any time of a range.
func metadataOf(t *varvev1.Tag, in model.TimeRange) tagMetadata {
	m := tagMetadata{Tag: t.Name, TagID: t.Id, UUID: t.Uuid, Description: t.Description}
	for i, s := range t.Settings {
		if i > 0 && s.FromNs >= in.End || i+1 < len(t.Settings) && t.Settings[i+1].FromNs <= in.Start {
			continue
		}
		typ := model.Type(s.Type)
		x := settingMetadata{Type: typ.String(), Unit: s.Unit, Stepped: s.Stepped || typ.AlwaysStepped(), MaxGapNs: s.MaxGapNs, StateSet: s.StateSet}
		if i > 0 {
			x.FromNs = &s.FromNs
		}
		m.Settings = append(m.Settings, x)
	}
	return m
}

// tagsText is what a file of a range says about its tags, in their order, as JSON.
func tagsText(tags []tag, in model.TimeRange) (string, error) {
	list := make([]tagMetadata, len(tags))
	for i, t := range tags {
		list[i] = metadataOf(t.Tag, in)
	}
	text, err := json.Marshal(list)
	if err != nil {
		return "", fmt.Errorf("metadata of %d tags: %w", len(tags), err)
	}
	return string(text), nil
}

// askTags is how many tags are asked about at once.
const askTags = 10_000

// storedDays is in which days tags have anything, by day, and the log and offset as of which that is.
type storedDays struct {
	log     string
	offset  uint64
	changed map[int32]uint64 // see ListDays
}

func (s *Server) days(ctx context.Context, tags []tag) (*storedDays, error) {
	out := &storedDays{changed: map[int32]uint64{}}
	for part := range slices.Chunk(tags, askTags) {
		days, err := s.Query.ListDays(ctx, &varvev1.ListDaysRequest{TagIds: idsOf(part)})
		if err != nil {
			return nil, err
		}
		if out.log == "" { // what comes in later is newer than this says
			out.log, out.offset = days.Log, days.Offset
		}
		if out.log != days.Log {
			return nil, errors.New("the server became another one while it was asked; run the same command again")
		}
		for _, d := range days.Days {
			out.changed[d.Day] = max(out.changed[d.Day], d.Changed)
		}
	}
	return out, nil
}

// hashes is what the server says tags hold in a day, of those that have samples there.
func (s *Server) hashes(ctx context.Context, tags []tag, day int32) (map[uint32]*varvev1.DayHash, error) {
	out := map[uint32]*varvev1.DayHash{}
	for part := range slices.Chunk(tags, askTags) {
		stream, err := s.Query.HashDay(ctx, &varvev1.HashDayRequest{TagIds: idsOf(part), Day: day})
		if err != nil {
			return nil, err
		}
		for {
			m, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return nil, err
			}
			for _, r := range m.Rows {
				if r.Samples > 0 {
					out[r.TagId] = r
				}
			}
		}
	}
	return out, nil
}

func idsOf(tags []tag) []uint32 {
	ids := make([]uint32, len(tags))
	for i, t := range tags {
		ids[i] = t.Id
	}
	return ids
}

// formatIDs writes ids as ranges: 1-3,7.
func formatIDs(ids []uint32) string {
	ids = slices.Sorted(slices.Values(ids))
	var b []byte
	for i := 0; i < len(ids); {
		j := i
		for j+1 < len(ids) && ids[j+1] == ids[j]+1 {
			j++
		}
		if len(b) > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, uint64(ids[i]), 10)
		if j > i {
			b = strconv.AppendUint(append(b, '-'), uint64(ids[j]), 10)
		}
		i = j + 1
	}
	return string(b)
}

// idRange is ids from First to Last, inside.
type idRange struct{ first, last uint32 }

// parseIDs reads what formatIDs wrote.
func parseIDs(text string) (out []idRange, err error) {
	for part := range strings.SplitSeq(text, ",") {
		from, to, two := strings.Cut(part, "-")
		if !two {
			to = from
		}
		first, err := strconv.ParseUint(from, 10, 32)
		if err != nil {
			return nil, err
		}
		last, err := strconv.ParseUint(to, 10, 32)
		if err != nil {
			return nil, err
		}
		if first < 1 || last < first || len(out) > 0 && uint64(out[len(out)-1].last) >= first {
			return nil, fmt.Errorf("%q: ids must ascend, from 1", part)
		}
		out = append(out, idRange{uint32(first), uint32(last)})
	}
	return out, nil
}
