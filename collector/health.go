package collector

import (
	"math"
	"time"

	"github.com/varvedb/varve/collector/session"
	"github.com/varvedb/varve/internal/saturate"
	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// figure is one health tag: docs/reference/collect.md has them all.
type figure struct {
	name        string // behind {collector}.{source}., {collector}. or {collector}.to.{destination}.
	typ         model.Type
	unit        string
	description string
	bits        uint64
}

func whole(name, description string, v int64) figure {
	return figure{name, model.Int64, "", description, uint64(v)}
}

func bytesOf(name, description string, v int64) figure {
	return figure{name, model.Int64, "By", description, uint64(v)}
}

func seconds(name, description string, ns int64) figure {
	return figure{name, model.Float64, "s", description, math.Float64bits(time.Duration(ns).Seconds())}
}

func truth(name, description string, v bool) figure {
	return figure{name, model.Bool, "", description, Bool(v).Bits}
}

// health is the figures of a feed.
func (f *feed) health(running bool) []figure {
	now := f.now().UnixNano()
	n := &f.counts
	out := []figure{
		truth("running", "the source is read", running),
		whole("readings", "readings taken from the source", n.readings.Load()),
		whole("samples", "samples handed to the queue", n.samples.Load()),
		whole("unchanged", "readings left out by the exception test", n.unchanged.Load()),
		whole("untimed", "readings that got the time of receipt", n.untimed.Load()),
		whole("unmapped", "readings of addresses without a tag", n.unmapped.Load()),
		whole("rejected", "values that make no sample", n.rejected.Load()+n.of[Rejected].Load()),
		whole("quarantined", "readings set aside for their times", n.quarantined.Load()),
		whole("lost", "readings that were not stored", n.lost.Load()),
		whole("reconnects", "connections made anew", n.of[Reconnects].Load()),
		whole("restarts", "times the source failed and was started again", n.restarts.Load()),
		bytesOf("bytes", "bytes received", n.of[Received].Load()),
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	gaps := int64(0)
	for _, t := range f.mu.tags {
		if t.open != 0 {
			gaps++
		}
	}
	out = append(out, whole("tags", "tags of the source", int64(len(f.mu.tags))), whole("stale", "tags that have an open gap", gaps))
	if f.mu.newest != math.MinInt64 {
		out = append(out, seconds("lag_s", "time since the newest reading", saturate.Sub(now, f.mu.newest)))
	}
	if f.mu.skew != math.MinInt64 {
		out = append(out, seconds("clock_skew_s", "how far the source's clock is ahead, as far as its readings tell", f.mu.skew))
		f.mu.skew = math.MinInt64
	}
	return out
}

// health is the figures of the queue.
func (s OutletStatus) health() (out []figure) {
	oldest := time.Duration(0)
	for _, d := range s.Destinations {
		oldest = max(oldest, d.OldestAge)
	}
	return []figure{
		bytesOf("queue_bytes", "bytes of the queue on disk", s.Bytes),
		seconds("queue_age_s", "age of the oldest samples that a destination may not have", int64(oldest)),
	}
}

func (d DestinationStatus) health() []figure {
	return []figure{
		truth("connected", "the destination is connected", d.Connected),
		whole("waiting", "records of the queue that it may not have", int64(d.Waiting)),
		seconds("age_s", "age of the oldest of them", int64(d.OldestAge)),
		whole("sent", "records that it has", int64(d.Sent)),
		whole("reconnects", "connections made anew", int64(d.Reconnects)),
		whole("rejected", "samples that it refused", int64(d.Rejected)),
		whole("dropped", "records lost, or thinned out, before it had them", int64(d.Dropped)),
		whole("thinned", "samples left out of those", int64(d.Thinned)),
		whole("gaps_waiting", "gaps that wait for their tags, or because they were many", int64(d.GapsWaiting)),
		whole("gaps_dropped", "gaps given up because too many waited", int64(d.GapsDropped)),
	}
}

// toRuns makes samples of figures, of one time.
func toRuns(names *registry, prefix string, at int64, figures []figure) (runs []*varvev1.Run) {
	for _, f := range figures {
		name := prefix + "." + f.name
		names.own(&varvev1.NewTag{Name: name, Type: varvev1.Type(f.typ), Unit: f.unit, Description: f.description, Stepped: f.typ != model.Float64})
		b := session.RunBuilder{Name: name, Type: f.typ}
		b.Add(at, f.bits, model.Good)
		runs = append(runs, b.Run(0, 1))
	}
	return runs
}
