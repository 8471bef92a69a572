package server

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/query"
	"github.com/varvedb/varve/storage"
)

// heartbeat is how long a subscriber hears nothing before it is told how far its token has moved on.
const heartbeat = 5 * time.Second

// defaultLinger is how long rows wait for more, where the subscriber does not say.
const defaultLinger = 100 * time.Millisecond

// subscriptionService tells of changes as they are applied.
type subscriptionService struct {
	varvev1.UnimplementedSubscriptionServiceServer
	*Server
}

// subscriptions counts those being served.
type subscriptions struct{ open atomic.Int64 }

func (s *subscriptionService) Subscribe(r *varvev1.SubscribeRequest, stream grpc.ServerStreamingServer[varvev1.SubscribeResponse]) error {
	defer s.subscriptions.open.Add(-1)
	if n := s.subscriptions.open.Add(1); n > int64(s.options.MaxSubscriptions) {
		return fmt.Errorf("%d subscriptions are served, which is the most (--max-subscriptions): %w", n-1, errSubscriptions)
	}
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	defer context.AfterFunc(s.drain, func() { cancel(context.Cause(s.drain)) })()
	from, err := s.position(ctx, r)
	if err != nil {
		return err
	}
	q := query.Subscription{
		Tags: query.Tags{Names: r.Tags, IDs: tagIDs(r.TagIds)}, Globs: r.Globs, BatchRows: int(min(r.BatchRows, query.MaxSubscriptionRows+1)),
		Linger: defaultLinger, Heartbeat: heartbeat, Unit: r.Unit,
		Tell: r.From == nil, // a subscriber that has no token yet could not go on
	}
	if r.LingerMs != nil {
		q.Linger = time.Duration(*r.LingerMs) * time.Millisecond
	}
	changes := s.db.Changes(from)
	defer changes.Close()
	start := time.Now()
	rows, err := s.engine.Subscribe(ctx, changes, q, func(d *query.Delivery) error {
		m := &varvev1.SubscribeResponse{Token: s.db.Token(d.Position), Offset: d.Position.Offset - 1, CatalogRevision: s.db.Catalog().Revision()}
		switch {
		case d.Changes != nil:
			m.What, m.Rows = &varvev1.SubscribeResponse_Changes{Changes: d.Changes}, uint32(d.Rows)
		case d.Range != nil:
			m.What = &varvev1.SubscribeResponse_Range{Range: rangeChange(d.Range)}
		case d.Lost != nil:
			m.What = &varvev1.SubscribeResponse_Lost{Lost: &varvev1.LostRecords{First: d.Lost.First, End: d.Lost.End}}
		}
		return stream.Send(m)
	})
	s.metrics.answered("subscribe", rows, time.Since(start))
	return err
}

// position is where a subscription begins.
func (s *subscriptionService) position(ctx context.Context, r *varvev1.SubscribeRequest) (storage.Position, error) {
	switch from := r.From.(type) {
	case *varvev1.SubscribeRequest_Token:
		return s.db.ParseToken(from.Token)
	case *varvev1.SubscribeRequest_SinceNs:
		return s.db.Since(ctx, from.SinceNs)
	case *varvev1.SubscribeRequest_Oldest:
		if !from.Oldest {
			return storage.Position{}, fmt.Errorf("from: oldest is false; leave it out to begin with what is applied next: %w", query.ErrBadRequest)
		}
		return s.db.Oldest(), nil
	}
	return s.db.Now(), nil
}

var rangeEffectOf = map[model.Effect]varvev1.RangeEffect{
	model.EffectDeleted:  varvev1.RangeEffect_RANGE_EFFECT_DELETED,
	model.EffectRestored: varvev1.RangeEffect_RANGE_EFFECT_RESTORED,
	model.EffectErased:   varvev1.RangeEffect_RANGE_EFFECT_ERASED,
}

func rangeChange(r *query.RangeDelivery) *varvev1.RangeChange {
	out := &varvev1.RangeChange{Effect: rangeEffectOf[r.Effect], IngestNs: r.Ingest, Author: r.Author, Reason: r.Reason}
	for _, tag := range r.Tags {
		if id := uint32(tag.Owner()); !slices.Contains(out.TagIds, id) { // a tag whose type changed is there once
			out.Tags, out.TagIds = append(out.Tags, tag.Name), append(out.TagIds, id)
		}
	}
	for _, in := range r.Ranges {
		out.Ranges = append(out.Ranges, &varvev1.TimeSpan{StartNs: in.Start, EndNs: in.End})
	}
	return out
}
