package relation

import (
	"context"
	"fmt"
	"math"
	"strconv"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/server/hint"
	"github.com/varvedb/varve/storage"
)

// sampleRow is a sample by itself: what tables of few samples have of it is what samples have.
type sampleRow struct {
	tag    *model.Tag
	sample model.Sample
	state  string // text of a state in force at its time
	absent bool   // there is none
}

func rowOf(at Moment, t *model.Tag, x model.Sample) sampleRow {
	r := sampleRow{tag: t, sample: x}
	if x.Type == model.State && !x.Null {
		if set := t.At(x.Time).StateSet; set != "" {
			r.state = stateAt(at.Catalog, set, x.Time, int64(x.Bits))
		}
	}
	return r
}

// stateAt is the text of a code by the version of a set that holds at an instant: the highest that had begun by then, or else the first.
func stateAt(c Catalog, name string, instant, code int64) string {
	newest, ok := c.StateSet(name, 0)
	if !ok {
		return ""
	}
	for v := newest.Version; v >= 1; v-- {
		set, ok := c.StateSet(name, v)
		if ok && (set.From <= instant || v == 1) {
			text, _ := set.Text(code)
			return text
		}
	}
	return ""
}

// valued reports whether the sample has a value that may be used.
func (r *sampleRow) valued() bool { return !r.absent && !r.sample.Null && !r.sample.Quality.IsBad() }

func (r *sampleRow) value() (float64, bool) {
	x := &r.sample
	switch x.Type {
	case model.Float64:
		return math.Float64frombits(x.Bits), r.valued()
	case model.Float32:
		return model.WidenFloat32(uint32(x.Bits)), r.valued()
	case model.Int64:
		return float64(int64(x.Bits)), r.valued()
	case model.Uint64:
		return float64(x.Bits), r.valued()
	}
	return 0, false
}

func (r *sampleRow) valueInt() (int64, bool) {
	switch x := &r.sample; x.Type {
	case model.Int64, model.Bool, model.State:
		return int64(x.Bits), r.valued()
	case model.Uint64:
		return int64(x.Bits), r.valued() && x.Bits <= math.MaxInt64
	}
	return 0, false
}

func (r *sampleRow) valueText() (string, bool) {
	switch x := &r.sample; x.Type {
	case model.String:
		return string(x.Blob), r.valued()
	case model.State:
		return r.state, r.valued() && r.state != ""
	case model.Uint64:
		return strconv.FormatUint(x.Bits, 10), r.valued() && x.Bits > math.MaxInt64
	}
	return "", false
}

func (r *sampleRow) there(v int64) (int64, bool) { return v, !r.absent }

// sampleFields is the columns of a sample in the tables that have it.
func sampleFields[R any](of func(*R) *sampleRow, times hint.Role) map[string]field[R] {
	fields := []field[R]{
		timeField("time", times, func(x *R) (int64, bool) { r := of(x); return r.there(r.sample.Time) }),
		textField("tag", hint.Tag, func(x *R) string { return of(x).tag.Name }),
		floatField("value", func(x *R) (float64, bool) { return of(x).value() }),
		intField("quality", hint.NoRole, func(x *R) (int64, bool) { r := of(x); return r.there(int64(r.sample.Quality)) }),
		maybeText("status", hint.NoRole, func(x *R) (string, bool) { r := of(x); return r.sample.Quality.String(), !r.absent }),
		maybeText("severity", hint.NoRole, func(x *R) (string, bool) { r := of(x); return r.sample.Quality.Severity(), !r.absent }),
		intField("value_int", hint.NoRole, func(x *R) (int64, bool) { return of(x).valueInt() }),
		maybeText("value_text", hint.NoRole, func(x *R) (string, bool) { return of(x).valueText() }),
		intField("time_ns", map[hint.Role]hint.Role{hint.Time: hint.TimeNS}[times], func(x *R) (int64, bool) { r := of(x); return r.there(r.sample.Time) }),
		intField("tag_id", hint.TagID, func(x *R) (int64, bool) { return some(int64(of(x).tag.ID)) }),
		intField("seq", hint.NoRole, func(x *R) (int64, bool) { r := of(x); return r.there(int64(r.sample.Seq)) }),
	}
	out := map[string]field[R]{}
	for _, f := range fields {
		out[f.Name] = f
	}
	return out
}

func pick[R any](from map[string]field[R], names ...string) (out []field[R]) {
	for _, n := range names {
		f, ok := from[n]
		if !ok {
			panic("no column " + n)
		}
		out = append(out, f)
	}
	return out
}

type latestRow struct {
	sampleRow
	now            int64
	collectedUntil int64
}

var latest = &rowTable[latestRow]{
	name: "latest",
	fields: append(pick(sampleFields(func(r *latestRow) *sampleRow { return &r.sampleRow }, hint.NoRole),
		"time", "tag", "value", "quality", "status", "severity", "value_int", "value_text", "time_ns", "tag_id", "seq"),
		floatField("age_s", func(r *latestRow) (float64, bool) { return float64(r.now-r.sample.Time) / 1e9, !r.absent }),
		timeField("collected_until", hint.NoRole, func(r *latestRow) (int64, bool) { return some(r.collectedUntil) }),
	),
	rows: ofTags(func(_ context.Context, at Moment, _ *Scan, t *model.Tag, yield func(*latestRow) bool) (bool, error) {
		r := latestRow{sampleRow: sampleRow{tag: t, absent: true}, now: at.Now.UnixNano(), collectedUntil: never}
		ids := t.EpochIDs()
		for i := len(ids) - 1; i >= 0 && r.absent; i-- {
			if x, ok := at.View.Latest(ids[i]); ok {
				r.sampleRow = rowOf(at, t, x)
			}
		}
		for _, g := range at.View.GapsAsOf(t.ID, nil) {
			if g.To == model.OpenGap {
				r.collectedUntil = min(r.collectedUntil, g.From)
			}
		}
		return yield(&r), nil
	}),
}

type versionRow struct {
	sampleRow
	model.Version
}

var versions = &rowTable[versionRow]{
	name: "versions",
	fields: append(pick(sampleFields(func(r *versionRow) *sampleRow { return &r.sampleRow }, hint.Time),
		"tag_id", "tag", "time", "time_ns", "seq", "value", "value_int", "value_text", "quality", "status"),
		textField("kind", hint.NoRole, func(r *versionRow) string { return r.Kind.String() }),
		timeField("edit_time", hint.NoRole, func(r *versionRow) (int64, bool) { return some(r.Ingest) }),
		textField("author", hint.NoRole, func(r *versionRow) string { return r.Author }),
		textField("reason", hint.NoRole, func(r *versionRow) string { return r.Reason }),
	),
	rows: ofTags(func(ctx context.Context, at Moment, s *Scan, t *model.Tag, yield func(*versionRow) bool) (bool, error) {
		for _, id := range t.EpochIDs() {
			if more, err := versionsOf(ctx, at, s.In, t, id, yield); !more || err != nil {
				return false, err
			}
		}
		return true, nil
	}),
}

// The versions of a window are held at once, so windows are such that they are about so many.
const (
	fewVersions  = 1 << 10
	manyVersions = 1 << 16
	firstWindow  = int64(3600e9)
	leastWindow  = int64(1e9)
)

// versionsOf yields the versions of one epoch of a tag, window by window.
func versionsOf(ctx context.Context, at Moment, in model.TimeRange, t *model.Tag, id model.TagID, yield func(*versionRow) bool) (bool, error) {
	var p storage.Partials
	if err := at.View.Partials(ctx, id, []int64{model.MinTime, model.MaxTime + 1}, storage.Full, &p); err != nil {
		return false, err
	}
	// What was removed may lie where no sample is any more: outside of those that stand the windows grow to all there is.
	start, window := in.Start, firstWindow
	if first, ok := p.Buckets[0].First(); ok && first.Time-1 > start {
		if more, n, err := versionsIn(ctx, at, model.TimeRange{Start: start, End: min(first.Time, in.End)}, t, id, yield); !more || err != nil {
			return false, err
		} else if n > manyVersions {
			window = leastWindow
		}
		start = min(first.Time, in.End)
	}
	last := int64(model.MinTime)
	if x, ok := p.Buckets[0].Last(); ok {
		last = x.Time
	}
	for start < in.End {
		end := in.End
		if start <= last && in.End-window > start {
			end = start + window
		}
		more, n, err := versionsIn(ctx, at, model.TimeRange{Start: start, End: end}, t, id, yield)
		if !more || err != nil {
			return false, err
		}
		switch start = end; {
		case n < fewVersions:
			window = min(4*window, math.MaxInt64/8)
		case n > manyVersions:
			window = max(window/4, leastWindow)
		}
	}
	return true, nil
}

func versionsIn(ctx context.Context, at Moment, in model.TimeRange, t *model.Tag, id model.TagID, yield func(*versionRow) bool) (more bool, n int, err error) {
	all, err := at.View.Versions(ctx, id, in)
	if err != nil {
		return false, 0, fmt.Errorf("read versions of tag %s over %s: %w", t.Name, in, err)
	}
	for _, v := range all {
		if !yield(&versionRow{rowOf(at, t, v.Sample), v}) {
			return false, len(all), nil
		}
	}
	return true, len(all), nil
}

type gapRow struct {
	tag *model.Tag
	*storage.Gap
}

// A gap that was withdrawn is superseded then, by none.
var gaps = &rowTable[gapRow]{
	name: "gaps",
	fields: []field[gapRow]{
		intField("tag_id", hint.TagID, func(r *gapRow) (int64, bool) { return some(int64(r.tag.ID)) }),
		textField("tag", hint.Tag, func(r *gapRow) string { return r.tag.Name }),
		textField("source", hint.NoRole, func(r *gapRow) string { return r.Source }),
		timeField("start", hint.NoRole, func(r *gapRow) (int64, bool) { return some(r.From) }),
		timeField("stop", hint.NoRole, func(r *gapRow) (int64, bool) { return some(r.Newest().To) }),
		textField("kind", hint.NoRole, func(r *gapRow) string { return r.Kind.String() }),
		timeField("recorded_at", hint.NoRole, func(r *gapRow) (int64, bool) { return some(r.Versions[0].Ingest) }),
		timeField("superseded_at", hint.NoRole, func(r *gapRow) (int64, bool) { return r.Newest().Ingest, r.Newest().Withdrawn }),
	},
	rows: ofTags(func(_ context.Context, at Moment, _ *Scan, t *model.Tag, yield func(*gapRow) bool) (bool, error) {
		q := storage.GapQuery{Tag: t.ID, In: model.All, Withdrawn: true, Limit: 1024}
		for {
			page := at.View.Gaps(q)
			for i := range page {
				if !yield(&gapRow{t, &page[i]}) {
					return false, nil
				}
			}
			if len(page) < q.Limit {
				return true, nil
			}
			last := page[len(page)-1].Place()
			q.After = &last
		}
	}),
}

type annotationRow struct {
	tag *model.Tag
	*storage.Annotation
}

var annotations = &rowTable[annotationRow]{
	name: "annotations",
	fields: []field[annotationRow]{
		textField("id", hint.NoRole, func(r *annotationRow) string { return r.ID.String() }),
		intField("tag_id", hint.TagID, func(r *annotationRow) (int64, bool) { return some(int64(r.tag.ID)) }),
		textField("tag", hint.Tag, func(r *annotationRow) string { return r.tag.Name }),
		timeField("start", hint.NoRole, func(r *annotationRow) (int64, bool) { return some(r.In.Start) }),
		timeField("stop", hint.NoRole, func(r *annotationRow) (int64, bool) { return some(r.In.End) }),
		textField("text", hint.NoRole, func(r *annotationRow) string { return r.Newest().Text }),
		textField("author", hint.NoRole, func(r *annotationRow) string { return r.Newest().Author }),
		timeField("created_at", hint.NoRole, func(r *annotationRow) (int64, bool) { return some(r.Versions[0].Ingest) }),
	},
	rows: ofTags(func(_ context.Context, at Moment, _ *Scan, t *model.Tag, yield func(*annotationRow) bool) (bool, error) {
		q := storage.AnnotationQuery{Tag: t.ID, In: model.All, Limit: 1024}
		for {
			page := at.View.Annotations(q)
			for i := range page {
				if !yield(&annotationRow{t, &page[i]}) {
					return false, nil
				}
			}
			if len(page) < q.Limit {
				return true, nil
			}
			last := page[len(page)-1].Place()
			q.After = &last
		}
	}),
}
