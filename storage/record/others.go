package record

import (
	"encoding/binary"
	"fmt"

	"github.com/varvedb/varve/model"
)

// DeleteRange is the body of a Delete record: every sample of the tags in [From, To) is removed.
type DeleteRange struct {
	Tags           []model.TagID
	From, To       int64
	Author, Reason string
}

// AppendDelete writes a Delete body.
func AppendDelete(dst []byte, d *DeleteRange) []byte {
	dst = appendTags(dst, d.Tags)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(d.From))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(d.To))
	dst = appendBytes(dst, d.Author)
	return appendBytes(dst, d.Reason)
}

// DecodeDelete reads a Delete body.
func DecodeDelete(b []byte) (DeleteRange, error) {
	r := reader{b: b}
	d := DeleteRange{Tags: r.tags(), From: int64(r.fixed64("from")), To: int64(r.fixed64("to"))}
	d.Author, d.Reason = string(r.bytes("author")), string(r.bytes("reason"))
	return d, r.end()
}

// UndeleteRange is the body of an Undelete record: what the Delete record at Offset took away stands again.
type UndeleteRange struct {
	Offset         uint64
	Author, Reason string
}

// AppendUndelete writes an Undelete body.
func AppendUndelete(dst []byte, u *UndeleteRange) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, u.Offset)
	dst = appendBytes(dst, u.Author)
	return appendBytes(dst, u.Reason)
}

// DecodeUndelete reads an Undelete body.
func DecodeUndelete(b []byte) (UndeleteRange, error) {
	r := reader{b: b}
	u := UndeleteRange{Offset: r.fixed64("offset")}
	u.Author, u.Reason = string(r.bytes("author")), string(r.bytes("reason"))
	return u, r.end()
}

// What an Erase record takes for good. The numbers reach disk and are never renumbered.
type What uint8

const (
	OldVersions       What = 1 // values that ended before To, by ingest time; those that stand stay
	OldSamples        What = 2 // samples of [From, To) and their history; rollups stay and answer for them
	SamplesAndRollups What = 3 // everything in [From, To)
)

// Cause is why an Erase record was written. The numbers reach disk and are never renumbered.
type Cause uint8

const (
	ByRetention Cause = 1 // a rule of a class
	ByPurge     Cause = 2 // a person
	ByBudget    Cause = 3 // the disk budget
)

// Erasure is the body of an Erase record: what tags have in [From, To) goes for good, and nothing brings it back.
type Erasure struct {
	What           What
	Cause          Cause
	Class          string // of the rule, else empty
	Tags           []byte // a roaring bitmap of ids; empty: all tags
	From, To       int64  // sample times; of OldVersions ingest times
	Author, Reason string
}

// AppendErasure writes an Erase body.
func AppendErasure(dst []byte, e *Erasure) []byte {
	dst = append(dst, byte(e.What), byte(e.Cause))
	dst = appendBytes(dst, e.Class)
	dst = appendBytes(dst, string(e.Tags))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(e.From))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(e.To))
	dst = appendBytes(dst, e.Author)
	return appendBytes(dst, e.Reason)
}

// DecodeErasure reads an Erase body. The bitmap is not looked at; it is part of b.
func DecodeErasure(b []byte) (Erasure, error) {
	r := reader{b: b}
	e := Erasure{What: What(r.byte("what")), Cause: Cause(r.byte("cause")), Class: string(r.bytes("class")), Tags: r.bytes("tags")}
	e.From, e.To = int64(r.fixed64("from")), int64(r.fixed64("to"))
	e.Author, e.Reason = string(r.bytes("author")), string(r.bytes("reason"))
	if r.err == nil && (e.What < OldVersions || e.What > SamplesAndRollups || e.Cause < ByRetention || e.Cause > ByBudget) {
		r.fail(fmt.Sprintf("erase %d for cause %d", e.What, e.Cause))
	}
	return e, r.end()
}

// Hold is the body of a Hold record: no Erase record takes what tags have in [From, To) until it is released.
type Hold struct {
	Release        uint64 // offset of the Hold record that this one ends; 0: a new hold
	Tags           []byte // as in Erasure
	From, To       int64  // sample times
	Author, Reason string
}

// AppendHold writes a Hold body.
func AppendHold(dst []byte, h *Hold) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, h.Release)
	dst = appendBytes(dst, string(h.Tags))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(h.From))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(h.To))
	dst = appendBytes(dst, h.Author)
	return appendBytes(dst, h.Reason)
}

// DecodeHold reads a Hold body. The bitmap is not looked at; it is part of b.
func DecodeHold(b []byte) (Hold, error) {
	r := reader{b: b}
	h := Hold{Release: r.fixed64("release"), Tags: r.bytes("tags"), From: int64(r.fixed64("from")), To: int64(r.fixed64("to"))}
	h.Author, h.Reason = string(r.bytes("author")), string(r.bytes("reason"))
	return h, r.end()
}

// Rule is the body of a RetentionRule record: for how long the tags of a class keep what. A later rule of the class takes its
// place.
type Rule struct {
	Class                      string // empty: tags without a class
	Versions, Samples, Rollups int64  // nanoseconds; 0: for good
	Author, Reason             string
}

// AppendRule writes a RetentionRule body.
func AppendRule(dst []byte, u *Rule) []byte {
	dst = appendBytes(dst, u.Class)
	for _, d := range []int64{u.Versions, u.Samples, u.Rollups} {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(d))
	}
	dst = appendBytes(dst, u.Author)
	return appendBytes(dst, u.Reason)
}

// DecodeRule reads a RetentionRule body.
func DecodeRule(b []byte) (Rule, error) {
	r := reader{b: b}
	u := Rule{Class: string(r.bytes("class"))}
	u.Versions, u.Samples, u.Rollups = int64(r.fixed64("versions")), int64(r.fixed64("samples")), int64(r.fixed64("rollups"))
	u.Author, u.Reason = string(r.bytes("author")), string(r.bytes("reason"))
	if r.err == nil && (u.Versions < 0 || u.Samples < 0 || u.Rollups < 0) {
		r.fail("a time to keep below 0")
	}
	return u, r.end()
}

// Collector says what a CollectorState record reports. The numbers reach disk and are never renumbered.
type Collector uint8

const (
	Alive     Collector = 1 // the source reads its device; open gaps of the tags end at From: its own, or all where no source is named
	Unchanged Collector = 2 // nothing changed up to To
	Missing   Collector = 3 // samples of [From, To) are missing, for the reason in Gap
	Withdrawn Collector = 4 // the gaps that the record at Of reported are none, of the tags or, where there are none, all of them
)

// State is the body of a CollectorState record.
type State struct {
	Source         string
	State          Collector
	Gap            model.GapKind // for Missing
	Tags           []model.TagID
	From, To       int64
	Of             uint64 // for Withdrawn: offset of a record that says Missing
	Author, Reason string
}

// AppendState writes a CollectorState body.
func AppendState(dst []byte, s *State) []byte {
	dst = appendBytes(dst, s.Source)
	dst = append(dst, byte(s.State), byte(s.Gap))
	dst = appendTags(dst, s.Tags)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(s.From))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(s.To))
	dst = binary.LittleEndian.AppendUint64(dst, s.Of)
	dst = appendBytes(dst, s.Author)
	return appendBytes(dst, s.Reason)
}

// DecodeState reads a CollectorState body.
func DecodeState(b []byte) (State, error) {
	r := reader{b: b}
	s := State{Source: string(r.bytes("source")), State: Collector(r.byte("state")), Gap: model.GapKind(r.byte("gap kind"))}
	s.Tags, s.From, s.To = r.tags(), int64(r.fixed64("from")), int64(r.fixed64("to"))
	s.Of, s.Author, s.Reason = r.fixed64("of"), string(r.bytes("author")), string(r.bytes("reason"))
	if r.err == nil && (s.State < Alive || s.State > Withdrawn || s.State == Missing && (s.Gap < model.NotCollected || s.Gap > model.Thinned)) {
		r.fail(fmt.Sprintf("collector state %d, gap kind %d", s.State, s.Gap))
	}
	return s, r.end()
}

// Note is the body of an Annotation record: a text on a tag in [From, To), or without tags and times a change of the annotation of
// that ID.
type Note struct {
	ID       model.UUID
	Tags     []model.TagID
	From, To int64
	Text     string // of a change empty: the annotation is removed
	Author   string
}

// AppendNote writes an Annotation body.
func AppendNote(dst []byte, n *Note) []byte {
	dst = append(dst, n.ID[:]...)
	dst = appendTags(dst, n.Tags)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(n.From))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(n.To))
	dst = appendBytes(dst, n.Text)
	return appendBytes(dst, n.Author)
}

// DecodeNote reads an Annotation body.
func DecodeNote(b []byte) (Note, error) {
	r := reader{b: b}
	var n Note
	if len(b) < len(n.ID) {
		r.fail("annotation id")
	} else {
		r.at = copy(n.ID[:], b)
	}
	n.Tags, n.From, n.To = r.tags(), int64(r.fixed64("from")), int64(r.fixed64("to"))
	n.Text, n.Author = string(r.bytes("text")), string(r.bytes("author"))
	return n, r.end()
}

// Forecast is the body of a ForecastRun record: a whole run, what was forecast of a tag at Issued. A record of the same tag, issue
// and model takes the place of an earlier one.
type Forecast struct {
	Tag     model.TagID
	Issued  int64
	Model   string // empty: it has no name
	Author  string
	Samples []byte // a chunk, as package chunk encodes it
}

// AppendForecast writes a ForecastRun body.
func AppendForecast(dst []byte, f *Forecast) []byte {
	dst = binary.AppendUvarint(dst, uint64(f.Tag))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(f.Issued))
	dst = appendBytes(dst, f.Model)
	dst = appendBytes(dst, f.Author)
	return appendBytes(dst, string(f.Samples))
}

// DecodeForecast reads a ForecastRun body. The samples are not looked at; they are part of b.
func DecodeForecast(b []byte) (Forecast, error) {
	r := reader{b: b}
	f := Forecast{Tag: model.TagID(r.uvarint32("tag")), Issued: int64(r.fixed64("issued")), Model: string(r.bytes("model")), Author: string(r.bytes("author"))}
	f.Samples = r.bytes("samples")
	return f, r.end()
}

// Loss is the body of an AcceptLoss record: apply may go on behind the lost offsets [First, End).
type Loss struct {
	First, End     uint64
	Author, Reason string
}

// AppendLoss writes an AcceptLoss body.
func AppendLoss(dst []byte, l *Loss) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, l.First)
	dst = binary.LittleEndian.AppendUint64(dst, l.End)
	dst = appendBytes(dst, l.Author)
	return appendBytes(dst, l.Reason)
}

// DecodeLoss reads an AcceptLoss body.
func DecodeLoss(b []byte) (Loss, error) {
	r := reader{b: b}
	l := Loss{First: r.fixed64("first"), End: r.fixed64("end")}
	l.Author, l.Reason = string(r.bytes("author")), string(r.bytes("reason"))
	return l, r.end()
}

func appendTags(dst []byte, tags []model.TagID) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(tags)))
	for _, t := range tags {
		dst = binary.AppendUvarint(dst, uint64(t))
	}
	return dst
}

func (r *reader) tags() []model.TagID {
	n := r.uvarint("tag count")
	if n > uint64(r.left()) {
		r.fail(fmt.Sprintf("%d tags in %d bytes", n, r.left()))
		return nil
	}
	if n == 0 {
		return nil
	}
	tags := make([]model.TagID, n)
	for i := range tags {
		tags[i] = model.TagID(r.uvarint32("tag"))
	}
	return tags
}

func (r *reader) end() error {
	if r.err == nil && r.left() != 0 {
		r.fail(fmt.Sprintf("%d bytes too many", r.left()))
	}
	return r.err
}
