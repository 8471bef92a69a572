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
	template *AgentTemplate // and for series that lack a label with a place in it
	plain    *AgentTemplate // the door's default
	most     int64          // bytes of a part, about
	seed     maphash.Seed
	shards   [64]agentShard
}

// maxSeriesBytes is how long a series may be as it comes, and a field: no name of a tag can be made of more.
const maxSeriesBytes = 4 << 10

// agentShardBytes is about what a part may take; all of them 64 MiB. Where there are templates, which have a memory each, it is divided among those.
const agentShardBytes = 1 << 20

type agentShard struct {
	bytes atomic.Int64

	mu     sync.RWMutex
	series map[string]*agentSeries
}

// agentSeries is what samples of one agent have in common: a measurement and its tags, or a metric and its labels.
type agentSeries struct {
	shard *agentShard
	key   string // as it came
	seriesName

	// next is the series that came behind this one when it was last looked at, nil where that is not known or this one is forgotten. It is written
	// with the shard's lock.
	next      atomic.Pointer[agentSeries]
	forgotten atomic.Bool

	first atomic.Pointer[agentTag] // of its fields, each of which leads to the next, in the order in which they were first seen

	mu     sync.Mutex // guards what is below, and adding fields
	newest *agentTag
	fields int
	byKey  map[string]*agentTag // once there are many
}

// agentTag is a field of a series: one tag.
type agentTag struct {
	key    []byte // as it came
	name   []byte
	next   atomic.Pointer[agentTag]
	target atomic.Pointer[agentTarget] // nil until it was looked up
}

// agentTarget is the tag of that name at a revision of the catalogue.
type agentTarget struct {
	revision uint64
	id       model.TagID
	typ      model.Type
	epochs   []model.Epoch // nil where the type never changed
}

func newAgentNames(template, plain *AgentTemplate, most int64) *agentNames {
	n := &agentNames{template: template, plain: plain, most: most, seed: maphash.MakeSeed()}
	for i := range n.shards {
		n.shards[i].series = map[string]*agentSeries{}
	}
	return n
}

// name names a series, see AgentTemplate.name.
func (n *agentNames) name(name, part string, labels []label) seriesName {
	x, ok := n.template.name(name, part, labels)
	if !ok {
		x, _ = n.plain.name(name, part, labels) // which has places for no labels
	}
	return x
}

func (n *agentNames) shardOf(key []byte) *agentShard {
	return &n.shards[maphash.Bytes(n.seed, key)%uint64(len(n.shards))]
}

// find is the series that came in these bytes, nil for one that is new. last is the one that came before it in the same body, nil for the first: agents
// send the same series in the same order, so that mostly it is known which one comes, without a lock or a hash.
func (n *agentNames) find(key []byte, last *agentSeries) *agentSeries {
	if last != nil {
		if next := last.next.Load(); next != nil && next.key == string(key) && !next.forgotten.Load() {
			return next
		}
		if last.key == string(key) {
			return last
		}
	}
	shard := n.shardOf(key)
	shard.mu.RLock()
	s := shard.series[string(key)]
	shard.mu.RUnlock()
	if s != nil && last != nil {
		last.follow(s)
	}
	return s
}

// follow notes which series came behind s. One that is forgotten notes none, so that it keeps no others.
func (s *agentSeries) follow(next *agentSeries) {
	s.shard.mu.Lock()
	defer s.shard.mu.Unlock()
	if !s.forgotten.Load() {
		s.next.Store(next)
	}
}

// add remembers a series, behind last.
func (n *agentNames) add(key []byte, last *agentSeries, name seriesName) *agentSeries {
	s := n.shardOf(key).add(key, name, n.most)
	if last != nil {
		last.follow(s)
	}
	return s
}

func (shard *agentShard) add(key []byte, name seriesName, most int64) *agentSeries {
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if s := shard.series[string(key)]; s != nil {
		return s
	}
	if shard.bytes.Load() > most {
		for _, s := range shard.series { // whoever uses one of them now goes on doing so
			s.forgotten.Store(true)
			s.next.Store(nil)
		}
		clear(shard.series)
		shard.bytes.Store(0)
	}
	s := &agentSeries{shard: shard, key: string(key), seriesName: name}
	shard.series[s.key] = s
	shard.bytes.Add(int64(len(key)+len(name.before)+len(name.after)) + 250)
	return s
}

// manyFields is from how many fields on a series has a map of them.
const manyFields = 16

// tag is the tag of a field, nil for one that is new. last is that of the field before it in the line, nil for the first: agents send fields in one order.
func (s *agentSeries) tag(key []byte, last *agentTag) *agentTag {
	next := &s.first
	if last != nil {
		next = &last.next
	}
	if t := next.Load(); t != nil && bytes.Equal(t.key, key) {
		return t
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tagLocked(key)
}

func (s *agentSeries) tagLocked(key []byte) *agentTag {
	if s.byKey != nil {
		return s.byKey[string(key)]
	}
	for t := s.first.Load(); t != nil; t = t.next.Load() {
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
	t := &agentTag{key: bytes.Clone(key), name: []byte(s.before + s.template.field(field) + s.after)}
	if s.newest == nil {
		s.first.Store(t)
	} else {
		s.newest.next.Store(t)
	}
	s.newest = t
	if s.fields++; s.fields == manyFields {
		s.byKey = map[string]*agentTag{}
		for t := s.first.Load(); t != nil; t = t.next.Load() {
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

// Labels without a place of their own are {key=value,…} at the end of a name, in order. A character that could be taken for the end of its part has a
// backslash before it, so that two series never have one name.
var (
	escapeKey   = strings.NewReplacer(`\`, `\\`, `=`, `\=`)
	escapeValue = strings.NewReplacer(`\`, `\\`, `,`, `\,`, `}`, `\}`)
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
