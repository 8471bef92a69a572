package query

import (
	"context"
	"fmt"
	"io"

	"github.com/varvedb/varve/model"
)

// wideSource says at which instants rows stand, in the order of the answer.
type wideSource interface {
	// next is the instants of the next rows, most of them at most; none behind the last. They hold until the next call.
	next(ctx context.Context, most int) ([]int64, error)
	close()
}

func (x *wide) source(view View) wideSource {
	if x.grid != nil {
		return &gridSource{times: x.times}
	}
	s := &sampleSource{asked: x.on, cursor: emptyCursor(view, x.on, x.request.AsOf)}
	s.cursor.Reset(x.on.tag.ID, model.Between(x.request.Start, x.request.End))
	return s
}

// gridSource is instants that are known.
type gridSource struct{ times []int64 }

func (s *gridSource) next(_ context.Context, most int) ([]int64, error) {
	n := min(most, len(s.times))
	out := s.times[:n]
	s.times = s.times[n:]
	return out, nil
}

func (s *gridSource) close() {}

// sampleSource is the instants at which a tag has samples, each once.
type sampleSource struct {
	asked
	cursor Cursor
	rest   []int64 // of the block being read
	out    []int64
	last   int64 // the newest instant given
	any    bool  // last is one
}

func (s *sampleSource) next(ctx context.Context, most int) ([]int64, error) {
	s.out = s.out[:0]
	for len(s.out) < most {
		if len(s.rest) == 0 {
			b, err := s.cursor.Next(ctx)
			if err == io.EOF {
				break
			}
			if err != nil {
				return nil, fmt.Errorf("rows on the samples of tag %s: %w", s.describe(), err)
			}
			s.rest = b.Times
		}
		t := s.rest[0]
		s.rest = s.rest[1:]
		if !s.any || t != s.last {
			s.out = append(s.out, t)
		}
		s.last, s.any = t, true
	}
	return s.out, nil
}

func (s *sampleSource) close() { s.cursor.Close() }
