package server

import (
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"math"
	"time"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/query"
	"github.com/varvedb/varve/server/sqlchild"
)

// Options tune a Server. The zero value of a field means its default.
type Options struct {
	// Logger gets what an operator should know; never a secret. The default discards.
	Logger *slog.Logger
	// Now is the clock by which the door judges how far ahead a sample is. The default is time.Now.
	Now func() time.Time
	// Rand makes UUIDs of tags. The default is crypto/rand.
	Rand io.Reader
	// Version is what Status reports. The default is "dev".
	Version string

	// Security says who may do what. The zero value lets anyone do anything, which New accepts on loopback only.
	Security Security

	// MaxMessageBytes is the largest message taken. A batch is decoded from one message, so it bounds what one stream
	// holds. The default is 16 MiB, the least 64 KiB.
	MaxMessageBytes int
	// MaxBatchSamples and MaxBatchRuns bound one batch decoded: a run takes two bytes on the wire and two hundred in
	// memory. The defaults are 1,000,000 and 200,000.
	MaxBatchSamples int
	MaxBatchRuns    int
	// MaxStreams is the most streams and calls of one connection at once. The default is 256.
	MaxStreams uint32
	// MaxConnections is the most open connections; one more waits to be accepted. The default is 1,024.
	MaxConnections int
	// MaxPostgres is the most sessions of clients of PostgreSQL, beside MaxConnections; one more is refused. The default is 100.
	MaxPostgres int
	// MaxSubscriptions is the most subscriptions served at once, over all connections. Each reads the whole of the log as it grows. The
	// default is 100.
	MaxSubscriptions int
	// StreamBytes is the most bytes of batches of one ingest stream that are read and not yet durable. Larger streams
	// keep a slow disk busier and hold more. The default is twice MaxMessageBytes.
	StreamBytes int64
	// Idle is how long a connection without calls stays open. The default is 30 minutes.
	Idle time.Duration
	// StallTimeout is how long one message of an answer may wait for its client to read. Longer lets clients on slow lines
	// finish, and lets one that stopped reading hold memory for queries. The default is 2 minutes.
	StallTimeout time.Duration
	// DrainTimeout is how long Serve waits for streams when it is told to stop. The default is 20 s.
	DrainTimeout time.Duration

	// MaxAhead is how far in the future a sample may lie. A wrong clock that gets samples in far ahead hides every later
	// newest value. The default is 15 minutes; negative for no limit.
	MaxAhead time.Duration
	// MinTime is the first instant taken, nanoseconds UTC. The default is the first there is.
	MinTime int64
	// RefuseNonFinite refuses NaN and infinities, which are stored bit for bit otherwise.
	RefuseNonFinite bool
	// NoCreate keeps sources from creating tags, whatever they ask for.
	NoCreate bool
	// AgentTemplates say what the tags of agents that write over HTTP are called: the first one that is for who writes. The default is none.
	AgentTemplates []AgentTemplate

	// CheckpointDir is the directory checkpoints may be made in. The default, empty, refuses them.
	CheckpointDir string
	// Query is the memory for queries.
	Query query.Options
	// SQL is the process for statements.
	SQL sqlchild.Options
	// Statements answers SQL. The default is the process that SQL tells of.
	Statements Statements
}

func (o Options) withDefaults() (Options, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.Version == "" {
		o.Version = "dev"
	}
	setDefault(&o.MaxMessageBytes, 16<<20)
	setDefault(&o.MaxBatchSamples, 1_000_000)
	setDefault(&o.MaxBatchRuns, 200_000)
	setDefault(&o.MaxStreams, 256)
	setDefault(&o.MaxConnections, 1024)
	setDefault(&o.MaxPostgres, 100)
	setDefault(&o.MaxSubscriptions, 100)
	setDefault(&o.StreamBytes, 2*int64(o.MaxMessageBytes))
	setDefault(&o.Idle, 30*time.Minute)
	setDefault(&o.StallTimeout, 2*time.Minute)
	setDefault(&o.DrainTimeout, 20*time.Second)
	setDefault(&o.MaxAhead, 15*time.Minute)
	setDefault(&o.MinTime, model.MinTime)
	switch {
	case o.MaxMessageBytes < 64<<10 || o.MaxMessageBytes > math.MaxInt32:
		return o, fmt.Errorf("MaxMessageBytes is %d, must be %d to %d", o.MaxMessageBytes, 64<<10, math.MaxInt32)
	case o.MaxBatchSamples < 1 || o.MaxBatchRuns < 1:
		return o, fmt.Errorf("MaxBatchSamples is %d and MaxBatchRuns %d, must be at least 1", o.MaxBatchSamples, o.MaxBatchRuns)
	case o.StreamBytes < 1:
		return o, fmt.Errorf("StreamBytes is %d, must be at least 1", o.StreamBytes)
	case o.MaxSubscriptions < 1:
		return o, fmt.Errorf("MaxSubscriptions is %d, must be at least 1", o.MaxSubscriptions)
	case o.MaxConnections < 1 || o.MaxPostgres < 1:
		return o, fmt.Errorf("MaxConnections is %d and MaxPostgres %d, must be at least 1", o.MaxConnections, o.MaxPostgres)
	case o.DrainTimeout < 0 || o.Idle < 0 || o.StallTimeout < 0:
		return o, fmt.Errorf("DrainTimeout is %s, Idle %s and StallTimeout %s, must not be negative", o.DrainTimeout, o.Idle, o.StallTimeout)
	}
	return o, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
