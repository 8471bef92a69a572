package collector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/varvedb/varve/collector/queue"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// Service is a collector with its queue, as varve collect runs it.
type Service struct {
	File  string // the configuration
	Kinds []Kind
	// Dial makes the clients of a destination, and what closes them. It does not wait for the server.
	Dial   func(Destination) (varvev1.IngestServiceClient, varvev1.GapServiceClient, func(), error)
	Logger *slog.Logger
	// Reload asks for the configuration to be read anew; nil for never. A change of the file does by itself.
	Reload <-chan os.Signal
	// OnFatal is called when the disk did not take what it was given, and what is on it is not known: the process must end.
	OnFatal func(error)
	// Started is called once everything runs.
	Started func(*Config)
}

// watchEvery is how often the configuration is looked at for changes.
const watchEvery = 2 * time.Second

// The folder of the queue itself, in that of the configuration.
const queueFolder = "queue"

// Run collects until ctx ends. What sources read by then is in the queue when it returns.
func (s *Service) Run(ctx context.Context) (err error) {
	c, err := ReadConfig(s.File, s.Kinds)
	if err != nil {
		return err
	}
	var k *Collector
	o := queue.Options{
		Source: c.Collector, MaxBytes: int64(c.Queue.MaxBytes), Logger: s.Logger, OnFatal: s.OnFatal,
		Tags: func(name string) *varvev1.NewTag { return k.NewTag(name) },
		Collecting: func() (out []queue.Collecting) {
			for _, r := range k.Collecting() {
				out = append(out, queue.Collecting(r))
			}
			return out
		},
		OnRejected: func(destination string, r *varvev1.BatchResult) {
			for _, x := range r.Rejections[:min(len(r.Rejections), 3)] {
				s.Logger.Warn("a server refused samples", "destination", destination, "tag", x.Tag, "samples", x.Count, "reason", x.Reason)
			}
		},
	}
	switch c.Queue.Full {
	case "drop-oldest":
		o.Full = queue.DropOldest
	case "thin":
		o.Full = queue.Thin
	}
	for i, d := range c.Destinations {
		ingest, gaps, hangUp, err := s.Dial(d)
		if err != nil {
			return fmt.Errorf("destination %s: %w", d.Name, err)
		}
		defer hangUp()
		to := queue.Destination{Name: d.Name, Ingest: ingest, Gaps: gaps}
		if d.Ack == "archived" {
			to.Until = varvev1.Mark_MARK_ARCHIVED
		}
		if i == 0 { // all destinations get the same samples, so one of them decides
			to.Exceptions = func(tags []string, of map[string]*varvev1.TagException) { k.TakeExceptions(tags, of) }
		}
		o.Destinations = append(o.Destinations, to)
	}
	q, recovery, err := queue.Open(filepath.Join(c.Queue.Dir, queueFolder), o)
	if err != nil {
		if strings.Contains(err.Error(), "lock log directory") {
			err = fmt.Errorf("%w; does another collector run with the dir %s?", err, c.Queue.Dir)
		}
		return err
	}
	defer func() { err = errors.Join(err, q.Close()) }()
	for _, lost := range recovery.Places {
		s.Logger.Error("the queue's note of how far a destination is cannot be read; all that is there is sent again", "error", lost)
	}
	if k, err = New(c, Options{Outlet: queued{q}, Logger: s.Logger}); err != nil {
		return err
	}
	return s.run(ctx, c, k, q)
}

// run ends the sources first, so that what they hand on is in the queue, and sending then.
func (s *Service) run(ctx context.Context, c *Config, k *Collector, q *queue.Queue) error {
	sending, stopSending := context.WithCancel(context.WithoutCancel(ctx))
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := q.Run(sending); sending.Err() == nil {
			return err
		}
		return nil
	})
	group.Go(func() error {
		defer stopSending()
		if s.Started != nil {
			s.Started(c)
		}
		return k.Run(ctx)
	})
	group.Go(func() error {
		k.Watch(ctx, s.Kinds, s.Reload, watchEvery)
		return nil
	})
	return group.Wait()
}

// queued is a queue as an Outlet.
type queued struct{ q *queue.Queue }

func (o queued) Submit(ctx context.Context, runs []*varvev1.Run) (func(context.Context) error, error) {
	c, err := o.q.Submit(ctx, runs)
	if err != nil || c == nil {
		return nil, err
	}
	return c.Wait, nil
}

func (o queued) PutGap(ctx context.Context, g Gap) error {
	return o.q.PutGap(ctx, queue.Gap{Tags: g.Tags, Kind: g.Kind, Start: g.Start, End: g.End, Ends: g.Ends, Reason: g.Reason})
}

func (o queued) Status() OutletStatus {
	st := o.q.Status()
	out := OutletStatus{Bytes: st.Bytes}
	for _, d := range st.Destinations {
		out.Destinations = append(out.Destinations, DestinationStatus{
			Name: d.Name, Connected: d.Connected, Waiting: d.Waiting, OldestAge: d.OldestAge, Sent: d.Sent, Reconnects: d.Reconnects,
			Rejected: d.Rejected, Dropped: d.Dropped, Thinned: d.Thinned,
			GapsWaiting: d.GapsWaiting, GapsDropped: d.GapsDropped,
		})
	}
	return out
}
