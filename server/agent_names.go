package server

import (
	"bytes"
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/varvedb/varve/model"
)

// agentNames remembers which tags the series of agents are, by the bytes in which they came: agents send the same ones over and over, and to take
// one apart, sort it and write its name costs as much as all else that is done with a sample. It is bounded, and forgets a part of all when a part is full.
type agentNames struct {
	seed   maphash.Seed
	shards [64]agentShard
}

// maxSeriesBytes is how long a series may be as it comes, and a field: no name of a tag can be made of more.
const maxSeriesBytes = 4 << 10

// agentShardBytes is about what a part may take; all of them 64 MiB.
const agentShardBytes = 1 << 20

type agentShard struct {
	bytes atomic.Int64

	mu     sync.RWMutex
	series map[string]*agentSeries
}

// agentSeries is what samples of one agent have in common: a measurement and its tags, or a metric and its labels.
type agentSeries struct {
	shard         *agentShard
	before, after string // the name of a field's tag is before, the field, after

	mu    sync.RWMutex
	tags  []*agentTag          // in the order in which fields were first seen
	byKey map[string]*agentTag // once there are many
}

// agentTag is a field of a series: one tag.
type agentTag struct {
	key    []byte // as it came
	name   []byte
	target atomic.Pointer[agentTarget] // nil until it was looked up
}

// agentTarget is the tag of that name at a revision of the catalogue.
type agentTarget struct {
	revision uint64
	id       model.TagID
	typ      model.Type
	epochs   []model.Epoch // nil where the type never changed
}

func newAgentNames() *agentNames {
	n := &agentNames{seed: maphash.MakeSeed()}
	for i := range n.shards {
		n.shards[i].series = map[string]*agentSeries{}
	}
	return n
}

func (n *agentNames) shardOf(key []byte) *agentShard {
	return &n.shards[maphash.Bytes(n.seed, key)%uint64(len(n.shards))]
}

// find is the series that came in these bytes, nil for one that is new.
func (n *agentNames) find(key []byte) *agentSeries {
	shard := n.shardOf(key)
	shard.mu.RLock()
	defer shard.mu.RUnlock()
	return shard.series[string(key)]
}

// add remembers a series.
func (n *agentNames) add(key []byte, before, after string) *agentSeries {
	shard := n.shardOf(key)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if s := shard.series[string(key)]; s != nil {
		return s
	}
	if shard.bytes.Load() > agentShardBytes {
		clear(shard.series) // whoever uses one of them now goes on doing so
		shard.bytes.Store(0)
	}
	s := &agentSeries{shard: shard, before: before, after: after}
	shard.series[string(key)] = s
	shard.bytes.Add(int64(len(key)+len(before)+len(after)) + 200)
	return s
}

// manyFields is from how many fields on a series has a map of them.
const manyFields = 16

// tag is the tag of a field, nil for one that is new. Agents send fields in one order, so that the one at position i is tried first.
func (s *agentSeries) tag(key []byte, i int) *agentTag {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if i < len(s.tags) && bytes.Equal(s.tags[i].key, key) {
		return s.tags[i]
	}
	return s.tagLocked(key)
}

func (s *agentSeries) tagLocked(key []byte) *agentTag {
	if s.byKey != nil {
		return s.byKey[string(key)]
	}
	for _, t := range s.tags {
		if bytes.Equal(t.key, key) {
			return t
		}
	}
	return nil
}

// addTag remembers a field, whose key without escapes is field.
func (s *agentSeries) addTag(key []byte, field string) *agentTag {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.tagLocked(key); t != nil {
		return t
	}
	t := &agentTag{key: bytes.Clone(key), name: []byte(s.before + field + s.after)}
	if s.tags = append(s.tags, t); len(s.tags) == manyFields {
		s.byKey = map[string]*agentTag{}
		for _, t := range s.tags {
			s.byKey[string(t.key)] = t
		}
	} else if s.byKey != nil {
		s.byKey[string(key)] = t
	}
	s.shard.bytes.Add(int64(2*len(t.key)+len(t.name)) + 200)
	return t
}

// label is a tag of a measurement, a label of a metric or an attribute.
type label struct{ key, value string }

// The default name of an agent's tag is measurement.field{key=value,…} with the keys in order, or metric{key=value,…}. A character that could be taken
// for the end of its part has a backslash before it, so that two series never have one name.
var (
	escapeMeasurement = strings.NewReplacer(`\`, `\\`, `.`, `\.`)
	escapeField       = strings.NewReplacer(`\`, `\\`, `{`, `\{`)
	escapeKey         = strings.NewReplacer(`\`, `\\`, `=`, `\=`)
	escapeValue       = strings.NewReplacer(`\`, `\\`, `,`, `\,`, `}`, `\}`)
)

// labelsName is {key=value,…} of labels that are in order, nothing where there are none.
func labelsName(labels []label) string {
	if len(labels) == 0 {
		return ""
	}
	var b strings.Builder
	for i, l := range labels {
		b.WriteByte("{,"[min(i, 1)])
		_, _ = escapeKey.WriteString(&b, l.key) // a builder takes everything
		b.WriteByte('=')
		_, _ = escapeValue.WriteString(&b, l.value)
	}
	b.WriteByte('}')
	return b.String()
}
