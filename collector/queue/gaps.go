package queue

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

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
}

// maxGapTags is the most tags of one call.
const maxGapTags = 10_000

// PutGap tells every destination of a gap, in the order put. It is on disk when PutGap returns nil.
func (q *Queue) PutGap(ctx context.Context, g Gap) error { return q.putGap(ctx, "", g) }

// putGap is PutGap for one destination, or all without its name.
func (q *Queue) putGap(ctx context.Context, destination string, g Gap) error {
	for len(g.Tags) > 0 {
		part := g
		n := min(len(g.Tags), maxGapTags)
		part.Tags, g.Tags = g.Tags[:n], g.Tags[n:]
		if _, err := q.gaps.Append(ctx, q.encodeGap(destination, part)); err != nil {
			return fmt.Errorf("write gap to the queue: %w", err)
		}
	}
	return nil
}

// A record of a gap: 0 for one that begins, 1 for one that ends; the destination by its length and name; the request.
func (q *Queue) encodeGap(destination string, g Gap) []byte {
	var m proto.Message
	if g.Ends {
		m = &varvev1.EndGapsRequest{Tags: g.Tags, EndNs: g.End, Author: q.o.Source, Reason: g.Reason}
	} else {
		r := &varvev1.RecordGapsRequest{Tags: g.Tags, Kind: g.Kind, StartNs: g.Start, Source: q.o.Source, Author: q.o.Source, Reason: g.Reason}
		if g.End > g.Start {
			r.EndNs = &g.End
		}
		m = r
	}
	b := []byte{0}
	if g.Ends {
		b[0] = 1
	}
	b = binary.AppendUvarint(b, uint64(len(destination)))
	b = append(b, destination...)
	b, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend(b, m)
	if err != nil { // a name that is no UTF-8: its samples are refused for it too
		return []byte{0, 1, '-'}
	}
	return b
}

var errGapRecord = errors.New("a record of a gap is damaged")

func decodeGap(b []byte) (destination string, m proto.Message, err error) {
	if len(b) < 2 || b[0] > 1 {
		return "", nil, errGapRecord
	}
	n, k := binary.Uvarint(b[1:])
	if k <= 0 || n > uint64(len(b)-1-k) {
		return "", nil, errGapRecord
	}
	m = &varvev1.RecordGapsRequest{}
	if b[0] == 1 {
		m = &varvev1.EndGapsRequest{}
	}
	rest := b[1+k:]
	return string(rest[:n]), m, proto.Unmarshal(rest[n:], m)
}

// gapPause is how long a destination that does not take gaps is left alone. Samples go on meanwhile.
const gapPause = 5 * time.Second

// sendGaps tells the destination of gaps, one after another. It ends with ctx alone.
func (s *sender) sendGaps(ctx context.Context, _ uint64) error {
	if s.d.Gaps == nil {
		return s.wait(ctx, func() bool { return false })
	}
	for ctx.Err() == nil {
		s.mu.Lock()
		from := s.place.gap
		s.mu.Unlock()
		if err := s.sendGapsFrom(ctx, from); ctx.Err() == nil {
			s.q.o.Logger.Warn("a destination is not told of gaps", "destination", s.d.Name, "error", err, "retry_in", gapPause)
			sleep(ctx, gapPause)
		}
	}
	return context.Cause(ctx)
}

func (s *sender) sendGapsFrom(ctx context.Context, from uint64) error {
	r, err := s.q.gaps.NewReader(from)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }() // it was only read
	for {
		offset, record, err := r.Next(ctx)
		var lost *log.LostError
		switch {
		case errors.As(err, &lost):
			s.q.o.Logger.Error("records of gaps are damaged; a destination is not told of them", "destination", s.d.Name, "error", err)
			offset = lost.Lost.End - 1
		case err != nil:
			return err
		default:
			destination, m, err := decodeGap(record)
			if err != nil {
				s.q.o.Logger.Error("a gap cannot be read; a destination is not told of it", "destination", s.d.Name, "error", err)
			} else if destination == "" || destination == s.d.Name {
				if err := s.sendGap(ctx, m); err != nil {
					return err
				}
			}
		}
		s.mu.Lock()
		s.place.gap, s.dirty = offset+1, true
		s.mu.Unlock()
	}
}

// sendGap tells of one gap. What the destination refuses for good is left out: tags it does not have have no gaps.
func (s *sender) sendGap(ctx context.Context, m proto.Message) error {
	call := func(m proto.Message) (err error) {
		switch m := m.(type) {
		case *varvev1.RecordGapsRequest:
			_, err = s.d.Gaps.RecordGaps(ctx, m)
		case *varvev1.EndGapsRequest:
			_, err = s.d.Gaps.EndGaps(ctx, m)
		}
		return err
	}
	err := call(m)
	if status.Code(err) == codes.NotFound {
		err = s.sendGapByTag(m, call)
	}
	switch status.Code(err) {
	case codes.InvalidArgument, codes.FailedPrecondition, codes.OutOfRange, codes.NotFound:
		s.q.o.Logger.Error("a destination refuses a gap", "destination", s.d.Name, "error", err)
		return nil
	}
	return err
}

func (s *sender) sendGapByTag(m proto.Message, call func(proto.Message) error) error {
	var tags []string
	switch m := m.(type) {
	case *varvev1.RecordGapsRequest:
		tags = m.Tags
	case *varvev1.EndGapsRequest:
		tags = m.Tags
	}
	if len(tags) == 1 {
		return status.Error(codes.NotFound, "the tag is not known there")
	}
	for _, tag := range tags {
		one := proto.Clone(m)
		switch one := one.(type) {
		case *varvev1.RecordGapsRequest:
			one.Tags = []string{tag}
		case *varvev1.EndGapsRequest:
			one.Tags = []string{tag}
		}
		if err := call(one); err != nil && status.Code(err) != codes.NotFound {
			return err
		}
	}
	return nil
}
