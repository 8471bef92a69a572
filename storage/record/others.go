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

// Retention is the body of a RetentionDrop or RetentionHold record: it concerns a class's data before To (drop) or in
// [From, To) (hold; Release lifts it).
type Retention struct {
	Class          string
	From, To       int64
	Release        bool
	Author, Reason string
}

// AppendRetention writes a RetentionDrop or RetentionHold body.
func AppendRetention(dst []byte, t *Retention) []byte {
	dst = appendBytes(dst, t.Class)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(t.From))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(t.To))
	release := byte(0)
	if t.Release {
		release = 1
	}
	dst = append(dst, release)
	dst = appendBytes(dst, t.Author)
	return appendBytes(dst, t.Reason)
}

// DecodeRetention reads a RetentionDrop or RetentionHold body.
func DecodeRetention(b []byte) (Retention, error) {
	r := reader{b: b}
	t := Retention{Class: string(r.bytes("class")), From: int64(r.fixed64("from")), To: int64(r.fixed64("to"))}
	t.Release = r.byte("release") != 0
	t.Author, t.Reason = string(r.bytes("author")), string(r.bytes("reason"))
	return t, r.end()
}

// Collector says what a CollectorState record reports. The numbers reach disk and are never renumbered.
type Collector uint8

const (
	Alive     Collector = 1 // the source reads its device; an open gap of it ends at From
	Unchanged Collector = 2 // nothing changed up to To
	Missing   Collector = 3 // samples of [From, To) are missing, for the reason in Gap
)

// State is the body of a CollectorState record.
type State struct {
	Source   string
	State    Collector
	Gap      model.GapKind // for Missing
	Tags     []model.TagID // empty: all of the source
	From, To int64
}

// AppendState writes a CollectorState body.
func AppendState(dst []byte, s *State) []byte {
	dst = appendBytes(dst, s.Source)
	dst = append(dst, byte(s.State), byte(s.Gap))
	dst = appendTags(dst, s.Tags)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(s.From))
	return binary.LittleEndian.AppendUint64(dst, uint64(s.To))
}

// DecodeState reads a CollectorState body.
func DecodeState(b []byte) (State, error) {
	r := reader{b: b}
	s := State{Source: string(r.bytes("source")), State: Collector(r.byte("state")), Gap: model.GapKind(r.byte("gap kind"))}
	s.Tags, s.From, s.To = r.tags(), int64(r.fixed64("from")), int64(r.fixed64("to"))
	if r.err == nil && (s.State < Alive || s.State > Missing || s.State == Missing && (s.Gap < model.NotCollected || s.Gap > model.Quarantined)) {
		r.fail(fmt.Sprintf("collector state %d, gap kind %d", s.State, s.Gap))
	}
	return s, r.end()
}

// Note is the body of an Annotation record: text on tags for [From, To).
type Note struct {
	ID       model.UUID
	Tags     []model.TagID
	From, To int64
	Text     string // empty: the annotation of this ID is withdrawn
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

// Forecast is the body of a ForecastRun record: it opens stream Stream of the tags, issued at Issued; samples of the run
// follow in Samples records that name the stream.
type Forecast struct {
	Stream uint32
	Issued int64
	Model  string
	Tags   []model.TagID
}

// AppendForecast writes a ForecastRun body.
func AppendForecast(dst []byte, f *Forecast) []byte {
	dst = binary.AppendUvarint(dst, uint64(f.Stream))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(f.Issued))
	dst = appendBytes(dst, f.Model)
	return appendTags(dst, f.Tags)
}

// DecodeForecast reads a ForecastRun body.
func DecodeForecast(b []byte) (Forecast, error) {
	r := reader{b: b}
	f := Forecast{Stream: r.uvarint32("stream"), Issued: int64(r.fixed64("issued")), Model: string(r.bytes("model"))}
	f.Tags = r.tags()
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
