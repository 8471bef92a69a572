package collector

import (
	"context"
	"time"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// Outlet is where samples and gaps go: a queue on disk.
type Outlet interface {
	// Submit takes runs that name their tags. It waits while the queue is full, and keeps none of them: they are the
	// caller's again when it returns. What it returns waits until they are on disk.
	Submit(ctx context.Context, runs []*varvev1.Run) (durable func(context.Context) error, err error)
	// PutGap takes a gap, which is on disk when it returns.
	PutGap(ctx context.Context, g Gap) error
	// Status is how the queue stands.
	Status() OutletStatus
}

// Gap says that samples of tags are missing in [Start, End), ns UTC. Ends says instead that open gaps of these tags end at End.
type Gap struct {
	Tags       []string
	Kind       varvev1.GapKind
	Start, End int64 // End at or below Start: it is open
	Ends       bool
	Reason     string
}

// Collecting is what is read: the tags of a source, and until when.
type Collecting struct {
	Source string   // {collector}.{source}
	List   uint64   // names the tags: another number where one came or went
	Tags   []string // in the order of their names
	Until  int64    // ns UTC
}

// OutletStatus is how a queue stands, for the health tags.
type OutletStatus struct {
	Bytes        int64 // on disk
	Destinations []DestinationStatus
}

// DestinationStatus is how a destination of a queue stands. Numbers count since the collector began.
type DestinationStatus struct {
	Name       string
	Connected  bool
	Waiting    uint64        // records that it may not have
	OldestAge  time.Duration // since the oldest of them was put
	Sent       uint64        // records that it has
	Reconnects uint64
	Rejected   uint64 // samples that it refused for good
	Dropped    uint64 // records lost, or thinned out, before it had them
	Thinned    uint64 // samples left out of those

	GapsWaiting int    // gaps that wait for their tags, or because they were many
	GapsDropped uint64 // given up: too many waited
}
