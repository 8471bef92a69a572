package query

import (
	"math"
	"slices"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/chunk"
)

// seen is what a walk knows of a sample.
type seen struct {
	time   int64
	source uint32
}

// bucketTimesBytes is about what a bucketTimes takes.
const bucketTimesBytes = 8*int64(timeClasses) + 32

// bucketTimes is the time of a bucket by class, and its samples.
type bucketTimes struct {
	ns [timeClasses]uint64
	arrivals
}

// arrivals is what is known of samples and when they were taken in.
type arrivals struct {
	samples int64
	late    float64 // seconds that one was taken in behind its time, at least; the most of all
}

func (a *arrivals) add(x arrivals) { a.samples, a.late = a.samples+x.samples, max(a.late, x.late) }

// bucketSums adds stretches of time, which ascend, to the buckets that they lie in.
type bucketSums struct {
	edges []int64
	times []bucketTimes
	at    int
}

// seek goes on to the bucket of an instant.
func (s *bucketSums) seek(t int64) {
	for t >= s.edges[s.at+1] {
		s.at++
	}
}

func (s *bucketSums) add(c timeClass, from, to int64) {
	for from < to {
		s.seek(from)
		part := min(to, s.edges[s.at+1])
		s.times[s.at].ns[c] += uint64(part) - uint64(from)
		from = part
	}
}

// sample adds a sample that was taken in within a second.
func (s *bucketSums) sample(t, ingest int64) {
	s.seek(t)
	second := chunk.Second(t)
	late := float64(ingest) - float64(second) - float64(t-second*1e9)/1e9
	s.times[s.at].arrivals.add(arrivals{1, max(late, 0)})
}

// timeWalk goes through the samples of a tag, and the breaks of its gaps, in the order of time, and says of each stretch between two of them what it is.
// docs/reference/completeness.md has the rules.
type timeWalk struct {
	reader   *completenessReader
	sums     bucketSums
	interval int64

	said    bool  // a collector said that it reads the tag
	through int64 // until when everything has arrived; the end of time where nobody said
	known   int64 // behind the newest sample and the present, whichever is later, nothing is known
	next    *seen // the first sample behind the range
	ends    bool  // a gap begins behind the range, in the past and in front of any sample

	at      int64 // up to where time has its class
	last    *seen // sample at or before at; nil for none
	held    seen  // what last points to within the range
	missing bool  // a gap broke the shape behind it
	gaps    gapSweep
}

// sample takes the next sample.
func (w *timeWalk) sample(x seen, ingest int64) {
	w.stretch(x.time, true)
	w.sums.sample(x.time, ingest)
	w.held = x
	w.last, w.missing = &w.held, false
}

// broken takes a break: from there on samples are missing.
func (w *timeWalk) broken(at int64) {
	w.stretch(at, at < w.known)
	w.missing = true
}

// end takes the end of the range.
func (w *timeWalk) end(at int64) { w.stretch(at, w.next != nil || w.ends) }

// stretch gives the time up to an instant its class. ended says that the stretch is known to end, with a sample or a gap, and is not just the newest.
func (w *timeWalk) stretch(to int64, ended bool) {
	from := w.at
	if from >= to {
		return
	}
	if w.at = to; w.missing {
		w.inGap(from, to)
		return
	}
	w.upTo(&from, min(to, w.known), ended)
	w.sums.add(timeUnknown, from, to)
}

// upTo gives the time of a stretch up to an instant its class, all in front of which something can be known.
func (w *timeWalk) upTo(from *int64, to int64, ended bool) {
	add := func(c timeClass, until int64) {
		if until = min(until, to); *from < until {
			w.sums.add(c, *from, until)
			*from = until
		}
	}
	if w.last != nil && w.interval > 0 {
		add(timeCollected, satAdd(w.last.time, w.interval))
	}
	c := timeUnknown
	switch {
	case w.last == nil:
	case ended && w.interval == 0:
		c = timeCollected
	case w.said || ended && w.reader.tellsOfGaps(w.last.source):
		c = timeUnchanged
	}
	add(c, w.through)
	if w.said {
		add(timeBuffered, to)
	}
}

// inGap gives time in which samples are missing its class. Of what has not arrived only gaps count of which the end is known.
func (w *timeWalk) inGap(from, to int64) {
	for from < to {
		g := w.gaps.seek(from)
		until, c := min(to, g.until), classOf(g.kind)
		for _, edge := range []int64{w.known, w.through} {
			if from < edge {
				until = min(until, edge)
			}
		}
		if from >= w.through || from >= w.known {
			switch {
			case g.closed != 0:
				c = classOf(g.closed)
			case from < w.known:
				c = timeBuffered
			default:
				c = timeUnknown
			}
		}
		w.sums.add(c, from, until)
		from = until
	}
}

// gapSweep goes through the gaps of a tag in the order of time.
type gapSweep struct {
	to     []model.Gap // those to come, by their starts
	now    []model.Gap // those that last
	passed model.Gap   // the one that ended last
}

// gapAt is which gap counts from an instant on.
type gapAt struct {
	kind   model.GapKind
	closed model.GapKind // of those that last and whose end is known; 0 for none
	until  int64         // as long as they do
}

// severity orders kinds of gaps that say the same of the same time.
func severity(k model.GapKind) int {
	return slices.Index([]model.GapKind{model.NotCollected, model.DeviceDown, model.Quarantined, model.Lost}, k)
}

// over reports whether a gap counts before another one: what began later says more.
func over(a, b *model.Gap) bool {
	return b.Kind == 0 || a.From > b.From || a.From == b.From && severity(a.Kind) > severity(b.Kind)
}

// seek goes on to an instant: the gap that began last, of those that last there, counts, or else the one that ended last.
func (s *gapSweep) seek(t int64) gapAt {
	for len(s.to) > 0 && s.to[0].From <= t {
		s.now = append(s.now, s.to[0])
		s.to = s.to[1:]
	}
	s.now = slices.DeleteFunc(s.now, func(g model.Gap) bool {
		if g.To > t {
			return false
		}
		if g.To > s.passed.To || s.passed.Kind == 0 || g.To == s.passed.To && over(&g, &s.passed) {
			s.passed = g
		}
		return true
	})
	out := gapAt{until: math.MaxInt64}
	if len(s.to) > 0 {
		out.until = s.to[0].From
	}
	var newest, closed model.Gap
	for i := range s.now {
		g := &s.now[i]
		out.until = min(out.until, g.To)
		if over(g, &newest) {
			newest = *g
		}
		if g.To != model.OpenGap && over(g, &closed) {
			closed = *g
		}
	}
	if out.kind, out.closed = newest.Kind, closed.Kind; out.kind == 0 {
		out.kind = s.passed.Kind
	}
	return out
}
