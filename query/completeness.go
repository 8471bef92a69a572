package query

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/apache/arrow/go/v15/arrow"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/chunk"
)

// CompletenessRequest asks how much of the time of tags was collected, and what became of the rest.
type CompletenessRequest struct {
	Tags
	Buckets // forward
	// Interval is how long a sample stands for the tag's being collected, nanoseconds: behind that the tag is taken for unchanged where whoever
	// reads it would have told of a gap. 0: up to the next sample, however far away it is.
	Interval      int64
	BySource      bool // rows are sources, of all their tags together
	WithDurations bool // nanoseconds of each class too; not with BySource
	BatchRows     int
}

// Collecting is what a collector said last of a tag that it reads.
type Collecting struct {
	Source string // collector and source, such as plant-a.line1
	// Through is until when the tag was read and all that was read, samples and gaps, has arrived: nanoseconds UTC.
	Through int64
}

// timeClass is what an instant of a tag is, as far as completeness goes. Each is exactly one.
type timeClass uint8

// The classes, in the order of the columns of an answer.
const (
	timeCollected timeClass = iota
	timeUnchanged
	timeNotCollected
	timeDeviceDown
	timeQuarantined
	timeLost
	timeBuffered
	timeUnknown
	timeClasses
)

var timeClassNames = [timeClasses]string{"collected", "unchanged", "not_collected", "device_down", "quarantined", "lost", "buffered", "unknown"}

// classOf is the class of time in a gap. A kind that a later release made is one of which nothing is known.
func classOf(k model.GapKind) timeClass {
	switch k {
	case model.NotCollected:
		return timeNotCollected
	case model.DeviceDown:
		return timeDeviceDown
	case model.Quarantined:
		return timeQuarantined
	case model.Lost:
		return timeLost
	}
	return timeUnknown
}

// completenessRead is one checked request.
type completenessRead struct {
	request CompletenessRequest
	tags    *tagList
	ids     []model.TagID // of the tags asked, as collectors know them
	*bucketing
	now     int64
	collect func(model.TagID) (Collecting, bool)
	catalog Catalog
}

func (e *Engine) completeness(r CompletenessRequest) (*completenessRead, error) {
	if err := r.Tags.check(MaxRangeTags); err != nil {
		return nil, err
	}
	switch {
	case r.BatchRows < 0 || r.BatchRows > MaxBatchRows:
		return nil, fmt.Errorf("batches of %d rows, least is 1, most is %d: %w", r.BatchRows, MaxBatchRows, ErrBadRequest)
	case r.Interval < 0:
		return nil, fmt.Errorf("interval of %d ns, must not be negative: %w", r.Interval, ErrBadRequest)
	case r.BySource && r.WithDurations:
		return nil, fmt.Errorf("durations by source: they are of tags, a source has shares of the time of all its tags: %w", ErrBadRequest)
	}
	buckets, err := e.buckets(r.Buckets)
	if err != nil {
		return nil, err
	}
	if buckets.reverse() {
		return nil, fmt.Errorf("completeness from %s back to %s: the start must be before the end: %w",
			model.FormatTime(buckets.edges[0]), model.FormatTime(buckets.edges[buckets.count()]), ErrBadRange)
	}
	catalog := e.store.Catalog()
	tags, err := resolve(catalog, r.Tags, buckets.span(), namesAt(catalog, buckets.span().End-1))
	if err != nil {
		return nil, err
	}
	if err := tags.onlyStored(); err != nil {
		return nil, err
	}
	c := &completenessRead{request: r, tags: tags, bucketing: buckets, now: e.now().UnixNano(), collect: e.collecting, catalog: catalog}
	for _, a := range tags.asked {
		c.ids = append(c.ids, a.tag.ID)
	}
	return c, tags.within(buckets.span())
}

// maxSourceRows bounds what BySource holds until every tag was read.
const maxSourceRows = 1 << 18

func (c *completenessRead) batchRows() int { return cmp.Or(c.request.BatchRows, defaultStateRows) }

// bytes is what answering may hold at once.
func (c *completenessRead) bytes() int64 {
	names := 3*c.tags.nameBytes + (96+24)*int64(len(c.tags.asked))
	held := int64(c.count())
	if c.request.BySource {
		held += min(held*int64(len(c.tags.asked)), max(held, maxSourceRows))
	}
	return names + 2*int64(c.batchRows())*completenessRowBytes + cursorBytes + held*bucketTimesBytes + c.bucketing.bytes()
}

// CompletenessSchema is the schema ReadCompleteness will answer r with, but for metadata that the answer's moment decides.
func (e *Engine) CompletenessSchema(r CompletenessRequest) (*arrow.Schema, error) {
	c, err := e.completeness(r)
	if err != nil {
		return nil, err
	}
	return newCompletenessEncoder(c, nil, nil).schema, nil
}

// ReadCompleteness writes what r asks for to sink: a row per tag and bucket, in that order, or by source, then bucket. It returns how
// many rows it wrote, also beside an error.
func (e *Engine) ReadCompleteness(ctx context.Context, r CompletenessRequest, sink Sink) (uint64, error) {
	e = cmp.Or(e.present, e)
	c, err := e.completeness(r)
	if err != nil {
		return 0, err
	}
	// What collectors said is asked before the view is taken: what they said has arrived is in it.
	said := make([]*Collecting, len(c.ids))
	for i, id := range c.ids {
		if x, ok := c.collect(id); ok {
			x.Through = min(x.Through, c.now)
			said[i] = &x
		}
	}
	return e.stream(ctx, c.tags, c.bytes(), storage.Accepted, func(view View) (batches, error) {
		out := newCompletenessEncoder(c, view.Lost(), sink)
		read := &completenessReader{completenessRead: c, view: view, out: out, tells: map[uint32]bool{}}
		return out, read.run(ctx, said)
	})
}

// completenessReader classifies the time of tag after tag.
type completenessReader struct {
	*completenessRead
	view    View
	out     *completenessEncoder
	tells   map[uint32]bool // sources of samples: those that tell of gaps
	times   []bucketTimes
	sources map[string]*sourceTimes
}

// sourceTimes is what is known of all tags of a source.
type sourceTimes struct {
	tags    int64
	buckets []sourceBucket
}

// sourceBucket is the time of a bucket by class, of all tags together: centuries of many tags are more nanoseconds than an integer holds.
type sourceBucket struct {
	ns [timeClasses]float64
	arrivals
}

func (r *completenessReader) run(ctx context.Context, said []*Collecting) error {
	r.times = make([]bucketTimes, r.count())
	for i, a := range r.tags.asked {
		source, err := r.tag(ctx, a, said[i])
		if err != nil {
			return fmt.Errorf("completeness of tag %s: %w", a.describe(), err)
		}
		if r.request.BySource {
			err = r.gather(source)
		} else {
			err = r.writeTag(ctx, a, source)
		}
		if err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.sources)) {
		if err := r.writeSource(ctx, name, r.sources[name]); err != nil {
			return err
		}
	}
	return nil
}

// gather adds the tag that was read to its source.
func (r *completenessReader) gather(source string) error {
	x := r.sources[source]
	if x == nil {
		if len(r.sources) > 0 && (len(r.sources)+1)*r.count() > maxSourceRows {
			return fmt.Errorf("more than %d sources of %d buckets each: ask for fewer tags or longer buckets: %w", len(r.sources), r.count(), ErrTooLarge)
		}
		if r.sources == nil {
			r.sources = map[string]*sourceTimes{}
		}
		x = &sourceTimes{buckets: make([]sourceBucket, r.count())}
		r.sources[source] = x
	}
	x.tags++
	for i := range r.times {
		for c, ns := range r.times[i].ns {
			x.buckets[i].ns[c] += float64(ns)
		}
		x.buckets[i].arrivals.add(r.times[i].arrivals)
	}
	return nil
}

// rowOf is the row of a bucket, without its times.
func (r *completenessReader) rowOf(i int, source string, x arrivals) completenessRow {
	return completenessRow{bucket: i, start: r.edges[i], end: r.edges[i+1], source: source, arrivals: x}
}

func (r *completenessReader) writeTag(ctx context.Context, a asked, source string) error {
	for i := range r.times {
		row := r.rowOf(i, source, r.times[i].arrivals)
		row.index, row.ns = a.index, r.times[i].ns
		for c, ns := range row.ns {
			row.percent[c] = 100 * float64(ns) / float64(uint64(row.end)-uint64(row.start))
		}
		if err := r.out.add(ctx, &row); err != nil {
			return err
		}
	}
	return nil
}

func (r *completenessReader) writeSource(ctx context.Context, name string, x *sourceTimes) error {
	for i := range x.buckets {
		row := r.rowOf(i, name, x.buckets[i].arrivals)
		row.tags = x.tags
		for c, ns := range x.buckets[i].ns {
			row.percent[c] = 100 * ns / (float64(uint64(row.end)-uint64(row.start)) * float64(x.tags))
		}
		if err := r.out.add(ctx, &row); err != nil {
			return err
		}
	}
	return nil
}

// backlogSuffix is what collectors have behind their name where they send what waited.
const backlogSuffix = " (backlog)"

// collectorOf is the collector, or another program, that a sample came from; empty where nobody knows.
func (r *completenessReader) collectorOf(source uint32) string {
	if source == 0 {
		return ""
	}
	return strings.TrimSuffix(r.view.SourceName(source), backlogSuffix)
}

// collectorTag is the health tag, behind the name of a collector, that shows a source of samples to be one. docs/reference/collect.md has it.
const collectorTag = ".queue_age_s"

// tellsOfGaps reports whether a source of samples is a collector, which tells of what it does not read.
func (r *completenessReader) tellsOfGaps(source uint32) bool {
	tells, ok := r.tells[source]
	if !ok {
		if name := r.collectorOf(source); name != "" {
			_, tells = r.catalog.ByName(name + collectorTag)
		}
		r.tells[source] = tells
	}
	return tells
}

// tag fills times with the time of one tag, and is its source, empty where that is not known.
func (r *completenessReader) tag(ctx context.Context, a asked, said *Collecting) (source string, err error) {
	for i := range r.times {
		r.times[i] = bucketTimes{}
	}
	in := r.span()
	w := timeWalk{
		reader: r, at: in.Start, interval: r.request.Interval, through: math.MaxInt64, said: said != nil,
		sums: bucketSums{edges: r.edges, times: r.times},
	}
	if said != nil {
		w.through = said.Through
	}
	cursor := r.view.Samples(a.tag.ID, model.TimeRange{})
	defer cursor.Close()
	before, _, err := nearest(ctx, cursor, a.tag.ID, in.Start-1, true)
	if err != nil {
		return "", err
	}
	after, _, err := nearest(ctx, cursor, a.tag.ID, in.End, false)
	if err != nil {
		return "", err
	}
	newest, any, err := nearest(ctx, cursor, a.tag.ID, model.MaxTime, true)
	if err != nil {
		return "", err
	}
	if w.known = r.now; any {
		w.known = max(r.now, newest.time)
	}
	w.last, w.next = before, after
	breaks, err := r.breaks(ctx, a.tag.ID, &w, in)
	if err != nil {
		return "", err
	}
	if err := r.walk(ctx, cursor, a.tag.ID, in, breaks, &w); err != nil {
		return "", err
	}
	switch {
	case said != nil:
		return said.Source, nil
	case w.last != nil:
		return r.collectorOf(w.last.source), nil
	case after != nil:
		return r.collectorOf(after.source), nil
	}
	return "", nil
}

// breaks is where gaps break the shape of a tag in a range and in front of it, behind the last sample there. It notes what the walk needs of gaps.
func (r *completenessReader) breaks(ctx context.Context, tag model.TagID, w *timeWalk, in model.TimeRange) ([]storage.Break, error) {
	breaks := r.view.Breaks(tag, nil)
	if breaks == nil {
		return nil, nil
	}
	w.gaps.to = r.view.GapsAsOf(tag, nil)
	from := int64(model.MinTime)
	if w.last != nil {
		from = w.last.time
	}
	found, err := breaks.In(ctx, model.TimeRange{Start: from, End: in.End})
	if err != nil {
		return nil, err
	}
	for len(found) > 0 && found[0].Time < in.Start {
		w.missing, found = true, found[1:]
	}
	if w.next == nil && w.known > in.End {
		behind, err := breaks.In(ctx, model.TimeRange{Start: in.End, End: w.known})
		if err != nil {
			return nil, err
		}
		w.ends = len(behind) > 0
	}
	return found, nil
}

// walk hands the walk every sample and break of a range, and its end.
func (r *completenessReader) walk(ctx context.Context, cursor Cursor, tag model.TagID, in model.TimeRange, breaks []storage.Break, w *timeWalk) error {
	cursor.Reset(tag, in)
	for {
		b, err := cursor.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		times := b.Times
		eachOrigin(rows{Block: b, to: b.Len()}, func(o *chunk.Origin, n int) {
			if o == nil {
				o = &chunk.Origin{Ingest: math.MinInt64}
			}
			for _, t := range times[:n] {
				for len(breaks) > 0 && breaks[0].Time < t {
					w.broken(breaks[0].Time)
					breaks = breaks[1:]
				}
				w.sample(seen{t, o.Source}, o.Ingest)
			}
			times = times[n:]
		})
	}
	for _, x := range breaks {
		w.broken(x.Time)
	}
	w.end(in.End)
	return nil
}

// nearest is the sample at an instant or nearest to it on one side, nil for none.
func nearest(ctx context.Context, cursor Cursor, tag model.TagID, instant int64, before bool) (*seen, bool, error) {
	for _, in := range nearAndAll(instant, before) {
		cursor.Reset(tag, in)
		b, err := cursor.Next(ctx)
		if err == nil {
			x := &seen{time: b.Times[0]}
			if len(b.Origins) > 0 {
				x.source = b.Origins[0].Source
			}
			return x, true, nil
		}
		if !errors.Is(err, io.EOF) {
			return nil, false, fmt.Errorf("find the sample next to %s: %w", model.FormatTime(instant), err)
		}
	}
	return nil, false, nil
}
