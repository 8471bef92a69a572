package relation

import (
	"context"
	"iter"
	"slices"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/server/hint"
	"github.com/varvedb/varve/storage"
)

// ofTags makes rows of the tags that a scan wants.
func ofTags[R any](of func(ctx context.Context, at Moment, s *Scan, t *model.Tag, yield func(*R) bool) (bool, error)) func(context.Context, Moment, *Scan) iter.Seq2[*R, error] {
	return func(ctx context.Context, at Moment, s *Scan) iter.Seq2[*R, error] {
		return func(yield func(*R, error) bool) {
			all, err := at.tagsOf(s)
			if err != nil {
				yield(nil, err)
				return
			}
			for t := range all {
				more, err := of(ctx, at, s, t, func(r *R) bool { return yield(r, nil) })
				if err != nil {
					yield(nil, err)
					return
				}
				if !more {
					return
				}
			}
		}
	}
}

// tagRow is a tag and what is known of its samples, if that is asked for.
type tagRow struct {
	*model.Tag
	settings    model.Settings
	samples     int64
	first, last int64
}

// extentFields is where the columns begin that samples are looked at for.
const extentFields = 12

var tags = &rowTable[tagRow]{
	name: "tags", small: true,
	fields: []field[tagRow]{
		intField("tag_id", hint.TagID, func(r *tagRow) (int64, bool) { return some(int64(r.ID)) }),
		textField("name", hint.Tag, func(r *tagRow) string { return r.Name }),
		textField("description", hint.NoRole, func(r *tagRow) string { return r.Description }),
		textField("type", hint.NoRole, func(r *tagRow) string { return r.settings.Type.String() }),
		textField("unit", hint.NoRole, func(r *tagRow) string { return r.settings.Unit }),
		boolField("stepped", func(r *tagRow) bool { return r.settings.Stepped || r.settings.Type.AlwaysStepped() }),
		intField("max_gap_ns", hint.NoRole, func(r *tagRow) (int64, bool) { return notZero(int64(r.settings.MaxGap)) }),
		floatField("span_low", func(r *tagRow) (float64, bool) { return r.SpanLow, r.SpanLow != 0 || r.SpanHigh != 0 }),
		floatField("span_high", func(r *tagRow) (float64, bool) { return r.SpanHigh, r.SpanLow != 0 || r.SpanHigh != 0 }),
		textField("state_set", hint.NoRole, func(r *tagRow) string { return r.settings.StateSet }),
		textField("retention", hint.NoRole, func(r *tagRow) string { return r.Retention }),
		floatField("compression_deviation", func(r *tagRow) (float64, bool) { return r.Compression.Deviation, r.Compression.Deviation != 0 }),
		timeField("first_time", hint.NoRole, func(r *tagRow) (int64, bool) { return r.first, r.samples > 0 }),
		timeField("last_time", hint.NoRole, func(r *tagRow) (int64, bool) { return r.last, r.samples > 0 }),
		intField("samples", hint.NoRole, func(r *tagRow) (int64, bool) { return some(r.samples) }),
	},
}

// Its rows need its columns, so they are set apart.
func init() {
	tags.rows = ofTags(func(ctx context.Context, at Moment, s *Scan, t *model.Tag, yield func(*tagRow) bool) (bool, error) {
		r := tagRow{Tag: t, settings: t.Current()}
		if slices.ContainsFunc(s.Columns, func(c int) bool { return c >= extentFields }) {
			if err := r.extent(ctx, at.View); err != nil {
				return false, err
			}
		}
		return yield(&r), nil
	})
}

// extent looks at all samples of a tag, most of them in rollups.
func (r *tagRow) extent(ctx context.Context, view *storage.View) error {
	for _, id := range r.EpochIDs() {
		var p storage.Partials
		if err := view.Partials(ctx, id, []int64{model.MinTime, model.MaxTime + 1}, storage.Full, &p); err != nil {
			return err
		}
		in := &p.Buckets[0]
		first, ok := in.First()
		if !ok {
			continue
		}
		last, _ := in.Last()
		if r.samples == 0 {
			r.first = first.Time
		}
		r.last = last.Time
		r.samples += in.Counts().All()
	}
	return nil
}

type nameRow struct {
	tag *model.Tag
	model.Alias
}

var tagNames = &rowTable[nameRow]{
	name: "tag_names", small: true,
	fields: []field[nameRow]{
		intField("tag_id", hint.TagID, func(r *nameRow) (int64, bool) { return some(int64(r.tag.ID)) }),
		textField("name", hint.NoRole, func(r *nameRow) string { return r.Name }),
		timeField("valid_from", hint.NoRole, func(r *nameRow) (int64, bool) { return some(r.From) }),
		timeField("valid_to", hint.NoRole, func(r *nameRow) (int64, bool) { return some(r.To) }),
	},
	rows: ofTags(func(_ context.Context, _ Moment, _ *Scan, t *model.Tag, yield func(*nameRow) bool) (bool, error) {
		for _, a := range t.Aliases {
			if !yield(&nameRow{t, a}) {
				return false, nil
			}
		}
		return true, nil
	}),
}

type attributeRow struct {
	tag         *model.Tag
	name, value string
}

var tagAttributes = &rowTable[attributeRow]{
	name: "tag_attributes", small: true,
	fields: []field[attributeRow]{
		intField("tag_id", hint.TagID, func(r *attributeRow) (int64, bool) { return some(int64(r.tag.ID)) }),
		textField("name", hint.NoRole, func(r *attributeRow) string { return r.name }),
		maybeText("value", hint.NoRole, func(r *attributeRow) (string, bool) { return r.value, true }),
	},
	rows: ofTags(func(_ context.Context, _ Moment, _ *Scan, t *model.Tag, yield func(*attributeRow) bool) (bool, error) {
		for name, value := range t.Attributes {
			if !yield(&attributeRow{t, name, value}) {
				return false, nil
			}
		}
		return true, nil
	}),
}

type stateRow struct {
	set *model.StateSet
	to  int64
	model.DigitalState
}

var stateSets = &rowTable[stateRow]{
	name: "state_sets", small: true,
	fields: []field[stateRow]{
		textField("state_set", hint.NoRole, func(r *stateRow) string { return r.set.Name }),
		intField("version", hint.NoRole, func(r *stateRow) (int64, bool) { return some(int64(r.set.Version)) }),
		timeField("valid_from", hint.NoRole, func(r *stateRow) (int64, bool) { return some(r.set.From) }),
		timeField("valid_to", hint.NoRole, func(r *stateRow) (int64, bool) { return some(r.to) }),
		intField("code", hint.NoRole, func(r *stateRow) (int64, bool) { return some(r.Code) }),
		maybeText("state", hint.NoRole, func(r *stateRow) (string, bool) { return r.Text, true }),
	},
	rows: func(_ context.Context, at Moment, s *Scan) iter.Seq2[*stateRow, error] {
		return func(yield func(*stateRow, error) bool) {
			if s.Nothing {
				return
			}
			for _, newest := range at.Catalog.StateSets() {
				for v := uint32(1); v <= newest.Version; v++ {
					set, ok := at.Catalog.StateSet(newest.Name, v)
					if !ok {
						continue
					}
					to := int64(never)
					if next, ok := at.Catalog.StateSet(newest.Name, v+1); ok {
						to = next.From
					}
					for _, d := range set.States {
						if !yield(&stateRow{set, to, d}, nil) {
							return
						}
					}
				}
			}
		}
	},
}
