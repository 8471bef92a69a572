package filter

import (
	"bytes"

	"github.com/varvedb/varve/model"
)

// Kept is a sample that a filter hands on, and what it left out before it.
type Kept struct {
	model.Sample
	Dropped  int     // samples left out since the one kept before
	MaxError float64 // the farthest of them from what stands for it now, in the tag's unit; each filter says how it measures
}

// Newest is a tag's newest sample: its snapshot value. The bytes of a text are its own.
type Newest struct {
	model.Sample
	Known   bool // there is one
	Pending bool // it has not been kept yet, and may never be
}

// Order is where a sample stands beside the newest.
type Order uint8

const (
	Later  Order = 1 // or the first
	Resend Order = 2 // the same sample again
	Beside Order = 3 // another one at the same time
	Older  Order = 4
)

// Order is where x stands.
func (n *Newest) Order(x model.Sample) Order {
	switch {
	case !n.Known || x.Time > n.Time:
		return Later
	case x.Time < n.Time:
		return Older
	case x.Seq == n.Seq && n.SameValue(x):
		return Resend
	}
	return Beside
}

// Set makes x the newest. What was handed out before keeps its bytes.
func (n *Newest) Set(x model.Sample, pending bool) {
	if x.Blob != nil {
		if n.Blob != nil && bytes.Equal(n.Blob, x.Blob) {
			x.Blob = n.Blob
		} else {
			x.Blob = bytes.Clone(x.Blob)
		}
	}
	n.Sample, n.Known, n.Pending = x, true, pending
}

// Alike reports that x has the type and the quality of the newest.
func (n *Newest) Alike(x model.Sample) bool { return n.Type == x.Type && n.Quality == x.Quality }
