package collector

import (
	"context"

	"github.com/varvedb/varve/model"
)

// Source reads one device, broker or file.
type Source interface {
	// Run reads and hands on until ctx ends, when it returns within seconds; what it has read by then it may still hand on. An error says why
	// it cannot go on: the collector opens the source anew and calls Run again after a pause that grows, and other sources go on meanwhile. Nil,
	// while ctx has not ended, says that there is nothing more to read, ever. One Run is under way at a time.
	Run(ctx context.Context, out Sink) error
}

// Pushed is a source that is sent what it reads. Whoever sends keeps some of it while the source is away, or waits for a full queue, and drops what is too much
// without a word. So no reading ends a gap of such a source, as long as it may still come from what was kept: the source calls Up, without addresses,
// when it has caught up. While a full queue keeps it waiting its tags have a gap.
type Pushed interface {
	Source
	// Pushed reports whether the source is one, by its settings.
	Pushed() bool
}

// Checker is a source that can be tried without collecting (varve collect --check).
type Checker interface {
	// Check connects and reports the first value of each address, or as many as come until ctx ends. It keeps nothing and stores no place.
	Check(ctx context.Context, report func(Reading)) error
}

// Browser is a source that can say what it offers (varve collect browse).
type Browser interface {
	// Browse calls each for what lies below at, everything where at is empty, until there is no more, ctx ends or each returns an error.
	Browse(ctx context.Context, at string, each func(Offer) error) error
}

// Offer is one address that a source could read.
type Offer struct {
	Address     string
	Name        string // for people; may be empty
	Type        model.Type
	Unit        string // UCUM code where the source says so, else empty
	Description string
	States      map[int64]string // texts of codes, where the value is one of a few states
}

// Sink takes what a source read. Its methods may be called from any goroutine; what one goroutine hands on keeps its order.
type Sink interface {
	// Put takes readings, best in batches (about every 100 ms, or 1,000 readings). It waits while the queue is full. The readings may be
	// reused when it returns. The error ends the source: nothing more can be stored.
	Put(ctx context.Context, readings []Reading) error
	// Flush waits until all that was put before is on disk, what an exception test held back included. A source that keeps a place, in a file
	// say, stores it only then.
	Flush(ctx context.Context) error
	// Down says that a device does not answer since the instant at: its tags get an open gap of kind DEVICE_DOWN. No addresses: all of the source.
	// The next reading of an address ends its gap.
	Down(ctx context.Context, addresses []string, at int64, reason string) error
	// Up says that it answers again from the instant at on, readings or not.
	Up(ctx context.Context, addresses []string, at int64) error
	// Lost says that readings of [from, to) are lost for good: their tags get a gap of kind LOST. No addresses: all of the source.
	Lost(ctx context.Context, addresses []string, from, to int64, reason string) error
	// Count adds to a counter of the source, which becomes one of its health tags.
	Count(c Counter, n int)
}

// Reading is one value of one address of a source.
type Reading struct {
	Address string // as the source names it: node id, topic and metric, register, column
	// Time is the source's own, nanoseconds UTC. Without HasTime the reading gets the time it was received, and is counted for it.
	Time    int64
	HasTime bool
	Value   Value
	Quality model.Quality
	// Historical says that it is late on purpose, from a device's own store: it is not exception-tested and does not replace what stands.
	Historical bool
}

// Counter is what a source may count. What the collector sees by itself, as readings and their times, it counts by itself.
type Counter uint8

const (
	Reconnects Counter = iota // connections made anew
	Rejected                  // values that a source could not read: malformed packets, lines, fields
	Received                  // bytes
	counters
)
