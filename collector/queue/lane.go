package queue

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/varvedb/varve/collector/session"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/storage/log"
)

// reading follows a lane through the log, record by record.
type reading struct {
	s        *sender
	sequence uint64 // of the record to come
	reader   *log.Reader
	at       uint64 // offset that the reader gives next
}

// next is the record to come, of which offset says where it lies. It waits for it. The record holds until the next call.
func (r *reading) next(ctx context.Context, offset uint64) ([]byte, error) {
	if r.reader == nil || r.at != offset {
		r.close()
		reader, err := r.s.q.samples.NewReader(offset)
		if err != nil {
			return nil, err
		}
		r.reader = reader
	}
	at, record, err := r.reader.Next(ctx)
	if err == nil && at != offset {
		err = fmt.Errorf("the log has record %d where %d was asked for", at, offset)
	}
	r.at = at + 1
	return record, err
}

func (r *reading) close() {
	if r.reader != nil {
		_ = r.reader.Close() // it was only read
		r.reader = nil
	}
}

// failed is what a lane does about an error of reading: records that cannot be read are given up, and the destination is told what may have been in them.
func (s *sender) failed(ctx context.Context, err error) error {
	var lost *log.LostError
	if !errors.As(err, &lost) {
		return err
	}
	if err := s.q.tellDamaged(ctx, s, []offsets{{lost.Lost.First, lost.Lost.End}}); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.loseLocked(lost.Lost.First, lost.Lost.End, lost.Error()); err != nil {
		return err
	}
	return nil
}

// known is which tags a destination was asked for over a session.
type known map[string]struct{}

// resolve makes the tags of a batch that a destination does not have. What it refuses it refuses again with the samples, and counts there.
func (s *sender) resolve(ctx context.Context, x *session.Session, k known, b *varvev1.Batch) error {
	var ask []*varvev1.NewTag
	err := eachRun(encoded(b), func(run []byte) error {
		tag, err := tagOf(run)
		if _, ok := k[string(tag)]; ok || err != nil {
			return err
		}
		var r varvev1.Run
		if err := proto.Unmarshal(run, &r); err != nil {
			return err
		}
		k[r.Tag] = struct{}{}
		ask = append(ask, s.newTag(r.Tag, typeOf(&r)))
		return nil
	})
	if err != nil {
		return fmt.Errorf("record of the queue: %w", err)
	}
	if len(ask) == 0 {
		return nil
	}
	answers, err := x.Resolve(ctx, ask)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, a := range answers {
		if a.Id == 0 {
			s.absent[ask[i].Name] = true
		} else {
			delete(s.absent, ask[i].Name)
		}
	}
	s.made++
	return nil
}

// newTag is what a tag is made with where the destination does not have it; typ is the type of its values, where nothing else is known.
func (s *sender) newTag(name string, typ varvev1.Type) *varvev1.NewTag {
	if s.q.o.Tags != nil {
		if t := s.q.o.Tags(name); t != nil {
			return t
		}
	}
	return &varvev1.NewTag{Name: name, Type: typ}
}

// typeOf is the type of the values of a run.
func typeOf(r *varvev1.Run) varvev1.Type {
	switch {
	case len(r.Float64) > 0:
		return varvev1.Type_TYPE_FLOAT64
	case len(r.Float32) > 0:
		return varvev1.Type_TYPE_FLOAT32
	case len(r.Int64) > 0:
		return varvev1.Type_TYPE_INT64
	case len(r.Uint64) > 0:
		return varvev1.Type_TYPE_UINT64
	case len(r.Bool) > 0:
		return varvev1.Type_TYPE_BOOL
	case len(r.Text) > 0:
		return varvev1.Type_TYPE_STRING
	case len(r.Blob) > 0:
		return varvev1.Type_TYPE_BYTES
	}
	return varvev1.Type_TYPE_UNSPECIFIED // of a state: its set must be told
}

// hand hands the record at an offset to the server. One that is larger than the server takes is given up: it would stand there for ever.
func (s *sender) hand(ctx context.Context, x *session.Session, k known, b *varvev1.Batch, offset, sequence uint64) error {
	b.Sequence = sequence
	if err := s.resolve(ctx, x, k, b); err != nil {
		return err
	}
	err := x.Send(ctx, b)
	if !errors.Is(err, session.ErrTooLarge) {
		return err
	}
	if err := s.q.reportLost(ctx, s, offset, offset+1, "a batch is larger than the server takes"); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.loseLocked(offset, offset+1, err.Error())
}

// during lets f work for as long as the session lasts, and says why that ended.
func during(ctx context.Context, x *session.Session, f func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-x.Done():
			cancel()
		case <-ctx.Done():
		}
	}()
	err := f(ctx)
	if ended := x.Err(); ended != nil {
		err = ended
	}
	return errors.Join(err, x.Close())
}

// sendLive is the live lane: records as they come, and ahead to the newest where they are old.
func (s *sender) sendLive(ctx context.Context, epoch uint64) error {
	x, err := s.open(ctx, epoch, live)
	if err != nil {
		return err
	}
	return during(ctx, x, func(ctx context.Context) error {
		s.mu.Lock()
		r := reading{s: s, sequence: s.place.firstOf(live).sequence}
		s.session = x // for the gaps too
		s.changed.Broadcast()
		s.mu.Unlock()
		defer r.close()
		k, sure := known{}, x.Welcome().HighestSequence+1 // what has this sequence, or a later one, was never sent
		for {
			offset, high := s.liveAt(r.sequence)
			s.setIdle(offset > high)
			record, err := r.next(ctx, offset)
			s.setIdle(false)
			if err != nil {
				return s.failed(ctx, err)
			}
			at, b, err := batchOf(record, s.d.Name)
			if err != nil {
				return err
			}
			if r.sequence >= sure && s.q.o.Now().UnixNano()-at > int64(s.q.o.Behind) {
				ahead, err := s.ahead(offset)
				if err != nil {
					return err
				}
				if ahead {
					continue
				}
			}
			if err := s.hand(ctx, x, k, b, offset, r.sequence); err != nil {
				return err
			}
			r.sequence++
			s.mu.Lock()
			s.liveSent++
			s.changed.Broadcast()
			s.mu.Unlock()
		}
	})
}

// liveAt is where the record of a sequence of the live lane lies, and the newest record.
func (s *sender) liveAt(sequence uint64) (offset, high uint64) {
	high = s.q.samples.HighWatermark()
	s.mu.Lock()
	defer s.mu.Unlock()
	if x := s.place.find(live, sequence); x != nil {
		return x.offset(sequence), high
	}
	return s.place.now().first, high
}

// leastAhead is how many records must wait for the live lane to go ahead.
const leastAhead = 16

// ahead leaves what waits from offset on to the backlog, if that is worth it. The place is on disk before anything is sent by it.
func (s *sender) ahead(offset uint64) (bool, error) {
	end := s.q.samples.HighWatermark() + 1
	s.mu.Lock()
	defer s.mu.Unlock()
	if end < offset+leastAhead || offset < s.place.now().first || !s.place.cut(offset, end) {
		return false, nil
	}
	s.changed.Broadcast()
	return true, s.writeLocked()
}

func (s *sender) setIdle(idle bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.idle != idle {
		s.idle = idle
		s.changed.Broadcast()
	}
}

// liveTurns is how many records the live lane may send for each of the backlog while both have some.
const liveTurns = 3

// sendBacklog is the backlog lane, which has no session while it has nothing to send.
func (s *sender) sendBacklog(ctx context.Context, epoch uint64) error {
	if err := s.wait(ctx, func() bool { return s.place.firstOf(backlog) != nil }); err != nil {
		return err
	}
	x, err := s.open(ctx, epoch, backlog)
	if err != nil {
		return err
	}
	return during(ctx, x, func(ctx context.Context) error {
		s.mu.Lock()
		r := reading{s: s, sequence: s.place.next}
		if first := s.place.firstOf(backlog); first != nil {
			r.sequence = first.sequence
		}
		s.mu.Unlock()
		defer r.close()
		k := known{}
		var offset, turn uint64
		for {
			if err := s.wait(ctx, func() bool {
				found := s.place.find(backlog, r.sequence)
				if found == nil || !s.idle && s.liveSent < turn {
					return false
				}
				offset, turn = found.offset(r.sequence), s.liveSent+liveTurns
				return true
			}); err != nil {
				return err
			}
			record, err := r.next(ctx, offset)
			if err != nil {
				return s.failed(ctx, err)
			}
			_, b, err := batchOf(record, s.d.Name)
			if err != nil {
				return err
			}
			if err := s.hand(ctx, x, k, b, offset, r.sequence); err != nil {
				return err
			}
			r.sequence++
		}
	})
}
