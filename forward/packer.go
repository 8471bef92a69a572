package forward

import (
	"cmp"

	"google.golang.org/protobuf/proto"

	"github.com/varvedb/varve/collector/session"
	"github.com/varvedb/varve/internal/answer"
	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// Bounds of a parcel: what a server takes in one batch, and some memory.
const (
	parcelRows  = 1 << 16
	parcelBytes = 4 << 20
	rowBytes    = 24 // about, beside text
)

// packer gathers rows into a parcel in which no key stands twice, so that it may be sent again, in any order, without another outcome.
type packer struct {
	keys   map[rowKey]struct{}
	groups []*group
	index  map[groupKey]*group
	seqs   map[*edgeTag]bool // tags whose runs must say which of several samples at one time is meant
	tags   []*edgeTag
	rows   int
	bytes  int
}

type rowKey struct {
	tag  *edgeTag
	time int64
	seq  uint32
}

// groupKey is what becomes one run.
type groupKey struct {
	tag            *edgeTag
	typ            model.Type
	remove         bool
	author, reason string
}

type group struct {
	groupKey
	samples session.RunBuilder
	seqs    []uint32
}

func newPacker() *packer {
	return &packer{keys: map[rowKey]struct{}{}, index: map[groupKey]*group{}, seqs: map[*edgeTag]bool{}}
}

// add takes a row, of a type that fits says; false where it must begin another parcel.
func (p *packer) add(tag *edgeTag, typ model.Type, r *answer.Row, source string) bool {
	key := rowKey{tag, r.Time, r.Seq}
	if _, twice := p.keys[key]; twice {
		return false
	}
	size := rowBytes + len(r.Value.Text)
	if p.rows > 0 && (p.rows >= parcelRows || p.bytes+size > parcelBytes) {
		return false
	}
	k := groupKey{tag: tag, typ: typ, remove: r.End.Kind == kindRemoved}
	if r.End.Author != "" || r.End.Reason != "" {
		k.author, k.reason = cmp.Or(r.End.Author, source), cmp.Or(r.End.Reason, "edited")
	}
	g := p.index[k]
	if g == nil {
		g = &group{groupKey: k, samples: session.RunBuilder{Name: tag.site.Name, Type: typ, Mode: varvev1.WriteMode_WRITE_MODE_UPDATE}}
		p.index[k] = g
		p.groups = append(p.groups, g)
	}
	switch {
	case r.Value.Null || k.remove:
		g.samples.AddNull(r.Time, r.Quality)
	case typ.Blob():
		g.samples.AddText(r.Time, r.Value.Text, r.Quality)
	default:
		g.samples.Add(r.Time, r.Value.Bits, r.Quality)
	}
	g.seqs = append(g.seqs, r.Seq)
	if _, known := p.seqs[tag]; !known {
		p.tags = append(p.tags, tag)
		p.seqs[tag] = false
	}
	if r.Seq != 0 || r.End.Kind != kindNew {
		p.seqs[tag] = true
	}
	p.keys[key] = struct{}{}
	p.rows++
	p.bytes += size
	return true
}

// fits is the type that a row's tag has at its time; false where the row's value is of another one, so that the tag is not the one the row is of.
func (t *edgeTag) fits(r *answer.Row) (model.Type, bool) {
	typ := t.types.At(r.Time)
	switch {
	case typ == 0:
		return 0, false
	case r.Value.Null:
		return typ, true
	case typ == model.Uint64 && r.Value.Type == model.Int64: // of one column in answers about several types
		return typ, int64(r.Value.Bits) >= 0
	}
	return typ, r.Value.Type == typ
}

// Kinds of changes, as SubscribeResponse has them.
const (
	kindNew     = "new"
	kindRemoved = "removed"
)

// take is the parcel of what was added, and begins anew; nil where that is nothing.
func (p *packer) take() *varvev1.Parcel {
	if p.rows == 0 {
		return nil
	}
	out := &varvev1.Parcel{}
	for _, t := range p.tags {
		t.into(out)
	}
	type edit struct{ author, reason string }
	steps := map[edit]*varvev1.StepSamples{}
	for _, g := range p.groups {
		e := edit{g.author, g.reason}
		s := steps[e]
		if s == nil {
			s = &varvev1.StepSamples{Author: g.author, Reason: g.reason}
			steps[e] = s
			out.Steps = append(out.Steps, &varvev1.Step{What: &varvev1.Step_Samples{Samples: s}})
		}
		run := g.samples.Run(0, g.samples.Len())
		if p.seqs[g.tag] {
			run.Seq = g.seqs
		}
		if g.remove {
			run = &varvev1.Run{
				Tag: run.Tag, Mode: varvev1.WriteMode_WRITE_MODE_REMOVE, Seq: run.Seq,
				TimesNs: run.TimesNs, FirstTimeNs: run.FirstTimeNs, TimeDeltas: run.TimeDeltas, TimeUnitNs: run.TimeUnitNs, StepNs: run.StepNs, Count: run.Count,
			}
		}
		s.Runs = append(s.Runs, run)
	}
	*p = *newPacker()
	return out
}

// into adds the tag and its state sets to a parcel.
func (t *edgeTag) into(p *varvev1.Parcel) {
	for _, set := range t.sets {
		if !hasSet(p.StateSets, set) {
			p.StateSets = append(p.StateSets, set)
		}
	}
	p.Tags = append(p.Tags, t.site)
}

func hasSet(sets []*varvev1.StateSet, x *varvev1.StateSet) bool {
	for _, s := range sets {
		if s == x || s.Name == x.Name && s.Version == x.Version {
			return true
		}
	}
	return false
}

// samplesIn is how many samples a parcel has.
func samplesIn(p *varvev1.Parcel) (n int) {
	for _, s := range p.Steps {
		for _, r := range s.GetSamples().GetRuns() {
			n += session.RunLen(r)
		}
	}
	return n
}

var deterministic = proto.MarshalOptions{Deterministic: true}
