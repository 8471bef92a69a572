package queue

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/varvedb/varve/collector/session"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/storage/log"
)

// Gap says that samples of tags are missing in [Start, End), ns UTC. Ends says instead that open gaps of these tags end at End.
type Gap struct {
	Tags       []string
	Kind       varvev1.GapKind
	Start, End int64 // End at or below Start: it is open
	Ends       bool
	Reason     string

	typ varvev1.Type // of the tags' values, where they may be known from these samples alone
}

// maxGapTags is the most tags of one call, maxReason the most bytes of a reason.
const (
	maxGapTags = 10_000
	maxReason  = 1024
)

// PutGap tells every destination of a gap, in the order put. It is on disk when PutGap returns nil.
func (q *Queue) PutGap(ctx context.Context, g Gap) error {
	if !g.Ends {
		return q.putGap(ctx, "", g)
	}
	for _, s := range q.senders { // the gaps of what was refused end too: they are told before
		s.mu.Lock()
		err := s.tellRefusedLocked()
		s.mu.Unlock()
		if err != nil {
			return err
		}
	}
	if err := q.putGap(ctx, "", g); err != nil {
		return err
	}
	for _, s := range q.senders {
		s.mu.Lock()
		s.refusals.ended(g.Tags, g.End)
		s.dirty = s.dirty || s.refusals.dirty
		s.mu.Unlock()
	}
	return nil
}

// putGap is PutGap for one destination, or all without its name.
func (q *Queue) putGap(ctx context.Context, destination string, g Gap) error {
	if len(g.Reason) > maxReason {
		g.Reason = g.Reason[:maxReason-3] + "..."
	}
	g.Reason = strings.ToValidUTF8(g.Reason, "?") // it may be what a device said
	for len(g.Tags) > 0 {
		part := g
		n := min(len(g.Tags), maxGapTags)
		part.Tags, g.Tags = g.Tags[:n], g.Tags[n:]
		record, err := q.reportOf(part).encode(destination)
		if err != nil {
			return fmt.Errorf("write gap to the queue: %w", err)
		}
		if _, err := q.gaps.Append(ctx, record); err != nil {
			return fmt.Errorf("write gap to the queue: %w", err)
		}
	}
	return nil
}

// report is what a destination is told of some tags: a gap, or that gaps end.
type report struct {
	typ     varvev1.Type  // of the tags' values, where only this report knows it
	message proto.Message // RecordGapsRequest or EndGapsRequest
}

func (q *Queue) reportOf(g Gap) report {
	if g.Ends {
		return report{message: &varvev1.EndGapsRequest{Tags: g.Tags, EndNs: g.End, Source: q.o.Source, Author: q.o.Source, Reason: g.Reason}}
	}
	m := &varvev1.RecordGapsRequest{Tags: g.Tags, Kind: g.Kind, StartNs: g.Start, Source: q.o.Source, Author: q.o.Source, Reason: g.Reason}
	if g.End > g.Start {
		m.EndNs = &g.End
	}
	return report{typ: g.typ, message: m}
}

func (r report) tags() []string {
	switch m := r.message.(type) {
	case *varvev1.RecordGapsRequest:
		return m.Tags
	case *varvev1.EndGapsRequest:
		return m.Tags
	}
	return nil
}

// about is the same said of other tags.
func (r report) about(tags []string) report {
	switch m := r.message.(type) {
	case *varvev1.RecordGapsRequest:
		r.message = &varvev1.RecordGapsRequest{
			Tags: tags, Kind: m.Kind, StartNs: m.StartNs, EndNs: m.EndNs, Source: m.Source, Author: m.Author, Reason: m.Reason,
		}
	case *varvev1.EndGapsRequest:
		r.message = &varvev1.EndGapsRequest{Tags: tags, EndNs: m.EndNs, Source: m.Source, Author: m.Author, Reason: m.Reason}
	}
	return r
}

// A record of a gap: 1 for one that ends, else the type of the tags' values times two, which is 0 where it is not told; the destination by
// its length and name, no name for all; the request.
func (r report) encode(destination string) ([]byte, error) {
	b := []byte{byte(r.typ) << 1}
	if _, ends := r.message.(*varvev1.EndGapsRequest); ends {
		b[0] = 1
	}
	b = binary.AppendUvarint(b, uint64(len(destination)))
	b = append(b, destination...)
	return proto.MarshalOptions{Deterministic: true}.MarshalAppend(b, r.message)
}

var errGapRecord = errors.New("a record of a gap is damaged")

func decodeGap(b []byte) (destination string, r report, err error) {
	if len(b) < 2 || b[0] != 1 && (b[0]&1 != 0 || b[0]>>1 > byte(varvev1.Type_TYPE_BYTES)) {
		return "", r, errGapRecord
	}
	n, k := binary.Uvarint(b[1:])
	if k <= 0 || n > uint64(len(b)-1-k) {
		return "", r, errGapRecord
	}
	r = report{typ: varvev1.Type(b[0] >> 1), message: &varvev1.RecordGapsRequest{}}
	if b[0] == 1 {
		r = report{message: &varvev1.EndGapsRequest{}}
	}
	rest := b[1+k:]
	return string(rest[:n]), r, proto.Unmarshal(rest[n:], r.message)
}

// gapPause is how long a destination that does not take gaps is left alone. Samples go on meanwhile.
const gapPause = 5 * time.Second

// askPatience is how long a destination is asked for tags. A session that lost its server waits until it is there again, and the log of gaps is not folded
// while it does.
const askPatience = 10 * time.Second

// waitingPause is how often tags are asked for of which gaps wait, where no lane made tags meanwhile.
const waitingPause = time.Minute

// sendGaps tells the destination of gaps, one after another. It ends with ctx alone.
func (s *sender) sendGaps(ctx context.Context, _ uint64) error {
	if s.d.Gaps == nil {
		return s.wait(ctx, func() bool { return false })
	}
	if err := s.wait(ctx, func() bool { return s.session != nil }); err != nil {
		return err
	}
	s.mu.Lock()
	t := &teller{s: s, session: s.session, there: known{}, offset: s.place.gap}
	s.mu.Unlock()
	defer t.close()
	for ctx.Err() == nil {
		if err := t.tell(ctx); err != nil && ctx.Err() == nil {
			s.q.o.Logger.Warn("a destination is not told of gaps", "destination", s.d.Name, "error", err, "retry_in", gapPause)
			sleep(ctx, gapPause)
		}
	}
	return context.Cause(ctx)
}

// teller follows the log of gaps for a destination, for as long as a session lasts.
type teller struct {
	s       *sender
	session *session.Session
	there   known // tags that the destination has
	reader  *log.Reader
	offset  uint64 // of the record to come

	asked time.Time // when it was asked last for tags of which gaps wait
	made  uint64    // s.made then
}

func (t *teller) close() {
	if t.reader != nil {
		_ = t.reader.Close() // it was only read
		t.reader = nil
	}
}

// tell tells of the next gap, when there is one, and before it of what waits.
func (t *teller) tell(ctx context.Context) error {
	t.s.telling.Lock()
	err := t.tellWaiting(ctx)
	t.s.telling.Unlock()
	if err != nil {
		return err
	}
	t.goOn()
	destination, r, err := t.next(ctx)
	if err != nil || r.message == nil {
		return err
	}
	t.s.telling.Lock()
	defer t.s.telling.Unlock()
	if t.goOn() {
		return nil // it waits meanwhile
	}
	var left []string
	if destination == "" || destination == t.s.d.Name {
		now, later := t.s.splitWaiting(r.tags())
		if left, err = t.tellOf(ctx, r, now); err != nil {
			t.close() // so that it is read again
			return err
		}
		left = append(left, later...)
	}
	t.offset++
	t.s.told(t.offset, r, left)
	return nil
}

// goOn reports whether the log was folded beyond the record to come, and goes on behind that.
func (t *teller) goOn() bool {
	t.s.mu.Lock()
	gap := t.s.place.gap
	t.s.mu.Unlock()
	if gap <= t.offset {
		return false
	}
	t.close()
	t.offset = gap
	return true
}

// tellOf tells what a report says of some tags of which nothing waits, and returns those that the destination does not have.
func (t *teller) tellOf(ctx context.Context, r report, tags []string) (left []string, err error) {
	wanted := make(map[string]varvev1.Type, len(tags))
	for _, tag := range tags {
		wanted[tag] = r.typ
	}
	absent, err := t.missing(ctx, wanted)
	if err != nil {
		return nil, err
	}
	left, err = t.send(ctx, r, tags, absent)
	if _, ends := r.message.(*varvev1.EndGapsRequest); ends {
		left = nil // a tag that is not there has no gaps that could end
	}
	return left, err
}

// next is the record to come. It gives none where it is time to ask for tags again, or the record cannot be read, which is behind then.
func (t *teller) next(ctx context.Context) (destination string, r report, err error) {
	if t.reader == nil {
		if t.reader, err = t.s.q.gaps.NewReader(t.offset); err != nil {
			return "", r, err
		}
	}
	waitFor, cancel := ctx, context.CancelFunc(func() {})
	if t.s.waitingGaps() > 0 {
		waitFor, cancel = context.WithTimeout(ctx, gapPause)
	}
	defer cancel()
	offset, record, err := t.reader.Next(waitFor)
	var lost *log.LostError
	switch {
	case errors.As(err, &lost):
		t.s.q.o.Logger.Error("records of gaps are damaged; a destination is not told of them", "destination", t.s.d.Name, "error", err)
		t.offset = lost.Lost.End
	case err != nil && ctx.Err() == nil && waitFor.Err() != nil:
		return "", r, nil
	case err != nil:
		return "", r, err
	default:
		t.offset = offset
		if destination, r, err = decodeGap(record); err == nil {
			return destination, r, nil
		}
		t.s.q.o.Logger.Error("a gap cannot be read; a destination is not told of it", "destination", t.s.d.Name, "error", err)
		t.offset++
	}
	t.s.told(t.offset, report{}, nil)
	return "", report{}, nil
}

// tellWaiting tells of gaps that waited for tags which are there now. It asks when a lane made tags, and once in a while.
func (t *teller) tellWaiting(ctx context.Context) error {
	made, tags := t.s.waitingTags(t.made, t.s.q.o.Now().Sub(t.asked) >= waitingPause)
	if len(tags) == 0 {
		return nil
	}
	t.made, t.asked = made, t.s.q.o.Now()
	absent, err := t.missing(ctx, tags)
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		r, ok := t.s.waitingGap(i)
		if !ok {
			break
		}
		left, err := t.send(ctx, r, r.tags(), absent)
		if err != nil {
			t.asked = time.Time{}
			return err
		}
		t.s.keepWaiting(i, left)
	}
	t.s.compactWaiting()
	return nil
}

// send tells what a report says of some tags, but for those that are absent, which it returns. It notes more of these where it finds some.
func (t *teller) send(ctx context.Context, r report, tags []string, absent map[string]struct{}) (left []string, err error) {
	var have []string
	for _, tag := range tags {
		if _, ok := absent[tag]; ok {
			left = append(left, tag)
		} else {
			have = append(have, tag)
		}
	}
	if len(have) == 0 {
		return left, nil
	}
	err = t.call(ctx, r.about(have))
	if status.Code(err) != codes.NotFound {
		return left, err
	}
	for _, tag := range have { // one of them went away meanwhile
		err := t.call(ctx, r.about([]string{tag}))
		if status.Code(err) == codes.NotFound {
			delete(t.there, tag)
			absent[tag] = struct{}{}
			left = append(left, tag)
		} else if err != nil {
			return nil, err
		}
	}
	return left, nil
}

// missing is which of some tags the destination does not have. Those that it does not have and whose type is known are made.
func (t *teller) missing(ctx context.Context, tags map[string]varvev1.Type) (absent map[string]struct{}, err error) {
	var ask []*varvev1.NewTag
	for tag, typ := range tags {
		if _, ok := t.there[tag]; !ok {
			ask = append(ask, t.s.newTag(tag, typ))
		}
	}
	absent = map[string]struct{}{}
	if len(ask) == 0 {
		return absent, nil
	}
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	answers, err := t.session.Resolve(ctx, ask)
	if err != nil {
		return nil, fmt.Errorf("ask for tags: %w", err)
	}
	for i, a := range answers {
		if a.Id == 0 {
			absent[ask[i].Name] = struct{}{}
		} else {
			t.there[ask[i].Name] = struct{}{}
		}
	}
	return absent, nil
}

// call tells of gaps. What the destination refuses for good is left out.
func (t *teller) call(ctx context.Context, r report) (err error) {
	switch m := r.message.(type) {
	case *varvev1.RecordGapsRequest:
		_, err = t.s.d.Gaps.RecordGaps(ctx, m)
	case *varvev1.EndGapsRequest:
		_, err = t.s.d.Gaps.EndGaps(ctx, m)
	}
	switch status.Code(err) {
	case codes.InvalidArgument, codes.FailedPrecondition, codes.OutOfRange:
		t.s.q.o.Logger.Error("a destination refuses a gap", "destination", t.s.d.Name, "error", err)
		return nil
	}
	return err
}

// told notes that all of the log of gaps below an offset is told, but for what a report says of some tags, which waits.
func (s *sender) told(offset uint64, r report, left []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(left) > 0 {
		s.givenUpLocked(s.waiting.add(r, left))
		s.waitingDirty = true
	}
	s.place.gap, s.dirty = max(s.place.gap, offset), true
}

// gapsRoom is how many bytes the log of gaps may have until it is folded.
func (q *Queue) gapsRoom() uint64 { return uint64(min(max(q.o.MaxBytes/64, 256<<10), 16<<20)) }

// foldGaps keeps the log of gaps short where destinations are not told of it: what they were not told is merged, tag by tag, and waits beside their places.
func (q *Queue) foldGaps() {
	if q.gaps.Bytes() <= q.gapsRoom() {
		return
	}
	for _, s := range q.senders {
		if err := s.fold(); err != nil {
			q.o.Logger.Error("the log of gaps cannot be folded", "destination", s.d.Name, "error", err)
		}
	}
}

// fold lets wait what the log of gaps has that the destination was not told, unless it is being told just now.
func (s *sender) fold() error {
	if !s.telling.TryLock() {
		return nil
	}
	defer s.telling.Unlock()
	s.mu.Lock()
	from, waits := s.place.gap, slices.Clone(s.waiting.gaps) // which are others' only while telling is held
	s.mu.Unlock()
	end := s.q.gaps.HighWatermark() + 1
	reports, err := s.untold(from, end)
	if err != nil || from >= end {
		return err
	}
	merged := mergeReports(append(waits, reports...), maxWaiting/2)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting.replace(merged)
	s.givenUpLocked(s.waiting.giveUp())
	s.place.gap = end
	s.made++ // so that they are told where the tags are there
	s.untoldHere, s.waitingDirty, s.dirty = len(reports) > 0 || s.untoldHere, true, true
	return nil
}

// untold is what records [from, end) of the log of gaps say to the destination. What cannot be read is left out.
func (s *sender) untold(from, end uint64) (out []report, err error) {
	if from >= end || s.d.Gaps == nil {
		return nil, nil
	}
	r, err := s.q.gaps.NewReader(from)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }() // it was only read
	for from < end {
		offset, record, err := r.Next(context.Background())
		var lost *log.LostError
		switch {
		case errors.As(err, &lost):
			s.q.o.Logger.Error("records of gaps are damaged; a destination is not told of them", "destination", s.d.Name, "error", err)
			from = lost.Lost.End
			continue
		case err != nil:
			return nil, err
		case offset >= end:
			return out, nil
		}
		destination, report, err := decodeGap(record)
		if err != nil {
			s.q.o.Logger.Error("a gap cannot be read; a destination is not told of it", "destination", s.d.Name, "error", err)
		} else if destination == "" || destination == s.d.Name {
			out = append(out, report)
		}
		from = offset + 1
	}
	return out, nil
}

func (s *sender) givenUpLocked(n int) {
	if n > 0 {
		s.st.GapsDropped += uint64(n)
		s.q.o.Logger.Error("gaps that a destination was not told of are given up: too many wait", "destination", s.d.Name, "gaps", n, "most", mostWaiting)
	}
}

func (s *sender) splitWaiting(tags []string) (now, later []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waiting.split(tags)
}

func (s *sender) waitingGaps() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waiting.size
}

// waitingTags is the tags for which gaps wait, if it is due or lanes made tags since they had done so a number of times, and that number now.
func (s *sender) waitingTags(before uint64, due bool) (made uint64, tags map[string]varvev1.Type) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting.size > 0 && (due || s.made != before) {
		tags = s.waiting.tags()
	}
	return s.made, tags
}

func (s *sender) waitingGap(i int) (r report, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i >= len(s.waiting.gaps) {
		return r, false
	}
	return s.waiting.gaps[i], true
}

// keepWaiting leaves what waiting gap i says of some of its tags.
func (s *sender) keepWaiting(i int, tags []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(tags) != len(s.waiting.gaps[i].tags()) {
		s.waiting.keep(i, tags)
		s.waitingDirty, s.dirty = true, true
	}
}

func (s *sender) compactWaiting() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting.compact()
	s.untoldHere = false
}
