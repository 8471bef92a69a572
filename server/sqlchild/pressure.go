package sqlchild

import "time"

// lookEvery is how often a process is looked at.
const lookEvery = 100 * time.Millisecond

// Samples a second from which on writers have a processor that statements keep off, and below which they have not any more.
const (
	muchWritten = 100_000
	fewWritten  = 50_000
)

// pressure is how much writers bring, looked at every lookEvery.
type pressure struct {
	before uint64  // samples written when it was looked at last
	rate   float64 // samples a second, of the last second for the most part
	high   bool
}

// look takes the samples written so far and reports whether it is much.
func (p *pressure) look(written uint64) bool {
	looks := time.Second.Seconds() / lookEvery.Seconds()
	p.rate += float64(written-p.before) - p.rate/looks
	p.before = written
	if p.rate >= muchWritten {
		p.high = true
	} else if p.rate < fewWritten {
		p.high = false
	}
	return p.high
}
