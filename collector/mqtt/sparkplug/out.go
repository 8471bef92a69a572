package sparkplug

import "github.com/varvedb/varve/model"

// Out takes what a Host makes of a message, in the order in which it is true. Slices and byte slices are the receiver's to read until the call
// returns, and not longer: they share the memory of the message.
type Out interface {
	Reading(Reading)
	// Define tells of an address before its first reading, and again when a birth tells of it otherwise.
	Define(Definition)
	// Down opens a gap at addresses, Up ends it. Times are nanoseconds since 1970 UTC.
	Down(addresses []string, at int64, reason string)
	Up(addresses []string, at int64)
	// Lost says that messages with values of any of these addresses are missing.
	Lost(addresses []string, from, to int64, reason string)
	Publish(topic string, payload []byte, qos byte, retain bool)
	Count(c Counter, n int)
	// Problem is for the log: what was wrong with a message of a topic.
	Problem(topic string, err error)
}

// Reading is one value of one address.
type Reading struct {
	Address    string
	Sample     model.Sample // Time is valid if HasTime; Blob shares the memory of the message
	HasTime    bool         // false: neither the metric nor the payload has a time
	Historical bool
}

// Definition is what births say of an address.
type Definition struct {
	Address     string
	Datatype    Datatype
	Type        model.Type
	Unit        string // as the node writes it, no UCUM code
	Description string
	Low, High   *float64 // of engineering units; nil where the node does not say
	Attributes  map[string]string
}

// Counter is what a Host counts.
type Counter uint8

const (
	Duplicates     Counter = iota // messages that came twice
	BeforeBirth                   // messages of a node or device whose birth was not seen; not taken
	UnknownMetrics                // metrics that no birth names, and aliases whose birth is not known; not taken
	Missing                       // messages that never came, by their numbers
	LateMessages                  // messages that came after they had been given up; taken
	Rejected                      // messages and metrics that cannot be read; not taken
	Transient                     // values of metrics that say they are not for a historian; not taken
	StaleMessages                 // births and deaths of a session that is over, and retained messages; not taken
	Rebirths                      // requests sent
	BadTimes                      // times of 0 or beyond the year 2262; the next best time is taken
	Refused                       // messages of more nodes, metrics beyond the most there may be; not taken
	Counters
)

var counterNames = [Counters]string{"duplicates", "before_birth", "unknown_metrics", "missing", "late", "rejected", "transient", "stale", "rebirths", "bad_times",
	"refused"}

func (c Counter) String() string { return counterNames[c] }
