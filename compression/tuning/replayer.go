package tuning

import (
	"errors"
	"fmt"
	"math"
	"sort"

	"github.com/varvedb/varve/compression/exception"
	"github.com/varvedb/varve/compression/filter"
	"github.com/varvedb/varve/compression/swingingdoor"
	"github.com/varvedb/varve/model"
)

// ErrOrder is returned for samples that belong to what was compared already.
var ErrOrder = errors.New("samples of a replay go back in time")

// MaxHeld bounds what a Replayer holds: where that many samples, or heldBlobs bytes of text, came since the last one kept, the newest
// is kept.
const (
	MaxHeld   = 64 << 10
	heldBlobs = 8 << 20
)

// Replayer is Replay of a series that comes piece by piece, in memory that does not grow with it: once a sample is kept, what
// readers find before it is known, and all of that is compared and forgotten.
type Replayer struct {
	first   *exception.Filter
	second  *swingingdoor.Filter
	compare comparison
	limits  []float64
	keep    func(model.Sample)

	report  Report
	squares float64
	passed  [][]Crossing // by limit

	// What was not compared yet, in the order in which it came. anchored: the first of each is the last sample kept of what was
	// compared, from which the next line begins; it is counted already.
	all, kept []model.Sample
	anchored  bool
	blobs     int // bytes of text in all

	sent, archived []filter.Kept
}

// New is a Replayer of a new series. keep, where it is not nil, is called with every sample kept, ascending by (time, seq). The error
// wraps [filter.ErrSettings].
func New(set Settings, keep func(model.Sample), limits ...float64) (*Replayer, error) {
	if set.Exception.Stepped != set.Compression.Stepped {
		return nil, fmt.Errorf("stepped is %t for exception and %t for compression: %w", set.Exception.Stepped, set.Compression.Stepped, filter.ErrSettings)
	}
	first, err := exception.New(set.Exception)
	if err != nil {
		return nil, fmt.Errorf("exception: %w", err)
	}
	second, err := swingingdoor.New(set.Compression, set.Form)
	if err != nil {
		return nil, fmt.Errorf("compression: %w", err)
	}
	return &Replayer{
		first: first, second: second, compare: comparison{read: set.Compression.Read, stepped: set.Compression.Stepped},
		limits: limits, keep: keep, passed: make([][]Crossing, len(limits)),
	}, nil
}

// Add takes the next samples, in the order in which they came. All lie behind those of the Add before; among
// themselves they may come in any order. The bytes of texts stay the caller's.
func (r *Replayer) Add(samples *model.Samples) error {
	if err := samples.Check(); err != nil {
		return err
	}
	for i := range samples.Len() {
		x := samples.At(i)
		if r.anchored && place(x, r.all[0]) <= 0 {
			return fmt.Errorf("sample at %d ns, seq %d, after one at %d ns, seq %d: %w", x.Time, x.Seq, r.all[0].Time, r.all[0].Seq, ErrOrder)
		}
		if x.Blob != nil {
			x.Blob = append([]byte{}, x.Blob...)
			r.blobs += len(x.Blob)
		}
		r.all = append(r.all, x)
		r.report.Samples++
		r.sent = r.first.Add(r.sent[:0], x)
		r.archive()
	}
	if r.tooMuch() {
		r.settle()
	}
	if r.tooMuch() {
		r.flush()
		r.settle()
	}
	return nil
}

func (r *Replayer) tooMuch() bool { return len(r.all) >= MaxHeld || r.blobs >= heldBlobs }

// End keeps the newest sample and is the report of all.
func (r *Replayer) End() Report {
	r.flush()
	r.settle()
	for _, list := range r.passed {
		r.report.Crossings = append(r.report.Crossings, list...)
	}
	if r.report.Numbers > 0 {
		r.report.RMSError = math.Sqrt(r.squares / float64(r.report.Numbers))
	}
	return r.report
}

// archive hands what was sent to the second filter.
func (r *Replayer) archive() {
	r.report.Sent += len(r.sent)
	for _, k := range r.sent {
		r.archived = r.second.Add(r.archived[:0], k.Sample)
		r.take()
	}
}

func (r *Replayer) take() {
	for _, k := range r.archived {
		r.kept = append(r.kept, k.Sample)
	}
}

// flush keeps the newest sample.
func (r *Replayer) flush() {
	r.sent = r.first.Flush(r.sent[:0])
	r.archive()
	r.archived = r.second.Flush(r.archived[:0])
	r.take()
}

// settle compares the samples up to the last one kept, and forgets them.
func (r *Replayer) settle() {
	r.all, r.kept = ordered(r.all), ordered(r.kept)
	fresh := 0
	if r.anchored {
		fresh = 1
	}
	if len(r.kept) == fresh {
		return
	}
	last := r.kept[len(r.kept)-1]
	end := sort.Search(len(r.all), func(i int) bool { return place(r.all[i], last) > 0 })
	all := r.all[:end]
	r.squares += r.compare.errors(&r.report, all[fresh:], r.kept)
	for i, limit := range r.limits {
		r.crossed(i, r.compare.crossings(all, r.kept, limit))
	}
	for _, x := range r.kept[fresh:] {
		r.report.Kept++
		if r.keep != nil {
			r.keep(x)
		}
	}
	rest := append([]model.Sample{last}, r.all[end:]...)
	r.all, r.kept, r.anchored = append(r.all[:0], rest...), append(r.kept[:0], last), true
	r.blobs = 0
	for _, x := range r.all {
		r.blobs += len(x.Blob)
	}
}

// crossed counts crossings of one limit, and lists them while there is room.
func (r *Replayer) crossed(limit int, found []Crossing) {
	for _, x := range found {
		r.report.Passed++
		switch {
		case x.Lost:
			r.report.Missed++
		case x.Invented:
			r.report.Invented++
		case x.Measured != x.Filtered:
			r.report.Moved++
		}
		if r.report.Passed <= MaxCrossings {
			r.passed[limit] = append(r.passed[limit], x)
		}
	}
}
