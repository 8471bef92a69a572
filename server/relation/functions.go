package relation

import (
	"context"
	"encoding/binary"
	"io"
	"iter"
	"math"
	"strings"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"

	"github.com/varvedb/varve/internal/release"
	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/query"
	"github.com/varvedb/varve/query/part13"
	"github.com/varvedb/varve/server/hint"
)

// Functions are tables with arguments: what package query answers to a question, with columns of the types that tables have.

// answerRow is a row of an answer of package query.
type answerRow struct {
	columns map[string]arrow.Array
	i       int
	ids     map[string]model.TagID
	states  bool // whole numbers are codes of states
	keepBad bool // Bad samples keep their values
}

func (r *answerRow) text(name string) (string, bool) {
	switch c := r.columns[name].(type) {
	case *array.String:
		return c.Value(r.i), c.IsValid(r.i)
	case *array.Dictionary:
		if c.IsNull(r.i) {
			return "", false
		}
		return c.Dictionary().(*array.String).Value(c.GetValueIndex(r.i)), true
	}
	return "", false
}

// int is a whole number, or an instant in nanoseconds.
func (r *answerRow) int(name string) (int64, bool) {
	switch c := r.columns[name].(type) {
	case *array.Int64:
		return c.Value(r.i), c.IsValid(r.i)
	case *array.Uint32:
		return int64(c.Value(r.i)), c.IsValid(r.i)
	case *array.Timestamp:
		t := int64(c.Value(r.i))
		if c.DataType().(*arrow.TimestampType).Unit == arrow.Second {
			t *= 1e9
		}
		return t, c.IsValid(r.i)
	}
	return 0, false
}

func (r *answerRow) float(name string) (float64, bool) {
	if c, ok := r.columns[name].(*array.Float64); ok {
		return c.Value(r.i), c.IsValid(r.i)
	}
	return 0, false
}

func (r *answerRow) bool(name string) (bool, bool) {
	if c, ok := r.columns[name].(*array.Boolean); ok {
		return c.Value(r.i), c.IsValid(r.i)
	}
	return false, false
}

func (r *answerRow) quality() model.Quality {
	q, _ := r.int("quality")
	return model.Quality(q)
}

func (r *answerRow) usable() bool { return r.keepBad || !r.quality().IsBad() }

// value is the number of a row whatever the type of its tags.
func (r *answerRow) value() (float64, bool) {
	c := r.columns["value"]
	if c == nil || c.IsNull(r.i) || !r.usable() {
		return 0, false
	}
	switch c := c.(type) {
	case *array.Float64:
		return c.Value(r.i), true
	case *array.Float32:
		return model.WidenFloat32(math.Float32bits(c.Value(r.i))), true
	case *array.Int64:
		return float64(c.Value(r.i)), !r.states
	case *array.Uint64:
		return float64(c.Value(r.i)), true
	}
	return 0, false
}

func (r *answerRow) valueInt() (int64, bool) {
	if _, mixed := r.columns["value_int"]; mixed {
		v, ok := r.int("value_int")
		return v, ok && r.usable()
	}
	c := r.columns["value"]
	if c == nil || c.IsNull(r.i) || !r.usable() {
		return 0, false
	}
	switch c := c.(type) {
	case *array.Int64:
		return c.Value(r.i), true
	case *array.Uint64:
		return int64(c.Value(r.i)), c.Value(r.i) <= math.MaxInt64
	case *array.Boolean:
		if c.Value(r.i) {
			return 1, true
		}
		return 0, true
	}
	return 0, false
}

func (r *answerRow) valueText() (string, bool) {
	if !r.usable() {
		return "", false
	}
	if _, ok := r.columns["value_text"]; ok {
		return r.text("value_text")
	}
	switch c := r.columns["value"].(type) {
	case *array.String:
		return c.Value(r.i), c.IsValid(r.i)
	case *array.Uint64:
		return c.ValueStr(r.i), c.IsValid(r.i) && c.Value(r.i) > math.MaxInt64
	}
	return "", false
}

func (r *answerRow) valueBytes() ([]byte, bool) {
	for _, name := range []string{"value_bytes", "value"} {
		if c, ok := r.columns[name].(*array.Binary); ok {
			return c.Value(r.i), c.IsValid(r.i) && r.usable()
		}
	}
	return nil, false
}

func textOf(name string) field[answerRow] {
	return maybeText(name, hint.NoRole, func(r *answerRow) (string, bool) { return r.text(name) })
}

func intOf(name string) field[answerRow] {
	return intField(name, hint.NoRole, func(r *answerRow) (int64, bool) { return r.int(name) })
}

func floatOf(name string) field[answerRow] {
	return floatField(name, func(r *answerRow) (float64, bool) { return r.float(name) })
}

func timeOf(name string) field[answerRow] {
	return timeField(name, hint.NoRole, func(r *answerRow) (int64, bool) { return r.int(name) })
}

func boolOf(name string) field[answerRow] {
	return field[answerRow]{Column{name, boolean, hint.NoRole}, func(b array.Builder, r *answerRow) {
		if v, ok := r.bool(name); ok {
			b.(*array.BooleanBuilder).Append(v)
			return
		}
		b.AppendNull()
	}}
}

// answerFields are the columns that several functions have.
var answerFields = func() map[string]field[answerRow] {
	out := map[string]field[answerRow]{}
	for _, f := range []field[answerRow]{
		timeOf("time"), textOf("tag"), timeOf("bucket"), timeOf("bucket_end"), textOf("function"),
		intField("time_ns", hint.NoRole, func(r *answerRow) (int64, bool) { return r.int("time") }),
		intField("tag_id", hint.NoRole, func(r *answerRow) (int64, bool) { n, _ := r.text("tag"); return int64(r.ids[n]), true }),
		floatField("value", func(r *answerRow) (float64, bool) { return r.value() }),
		intField("value_int", hint.NoRole, func(r *answerRow) (int64, bool) { return r.valueInt() }),
		maybeText("value_text", hint.NoRole, func(r *answerRow) (string, bool) { return r.valueText() }),
		intField("quality", hint.NoRole, func(r *answerRow) (int64, bool) { return int64(r.quality()), true }),
		maybeText("status", hint.NoRole, func(r *answerRow) (string, bool) { return r.quality().String(), true }),
		maybeText("severity", hint.NoRole, func(r *answerRow) (string, bool) { return r.quality().Severity(), true }),
		maybeText("info", hint.NoRole, func(r *answerRow) (string, bool) {
			if names := r.quality().Info(); names != nil {
				return strings.Join(names, "+"), true
			}
			return "Raw", true
		}),
	} {
		out[f.Name] = f
	}
	return out
}()

// function is a table that is an answer.
type function struct {
	name      string
	fields    []field[answerRow]
	arguments []Argument
	// ask is the question that the arguments make.
	ask func(a *arguments, ids []model.TagID) func(ctx context.Context, e *query.Engine, out query.Sink) (uint64, error)
}

// common are the arguments that every function has.
var common = []Argument{{"tags", asItIs}, {"start", aTime}, {"stop", aTime}}

func (f *function) table() *Table {
	rows := &rowTable[answerRow]{name: f.name, fields: f.fields, rows: func(ctx context.Context, at Moment, s *Scan) iter.Seq2[*answerRow, error] {
		a := &arguments{function: f.name, given: s.Arguments}
		ids, none := a.tags(at, s)
		ask := f.ask(a, ids)
		return func(yield func(*answerRow, error) bool) {
			if a.err != nil {
				yield(nil, a.err)
				return
			}
			if none || s.Nothing {
				return
			}
			r := answerRow{ids: namesOf(at, ids), states: areStates(at, ids), keepBad: a.bool("bad_values")}
			for rec, err := range answerOf(ctx, at, ask) {
				if err != nil {
					yield(nil, err)
					return
				}
				r.columns = map[string]arrow.Array{}
				for i, x := range rec.Schema().Fields() {
					r.columns[x.Name] = rec.Column(i)
				}
				for r.i = range int(rec.NumRows()) {
					if !yield(&r, nil) {
						return
					}
				}
			}
		}
	}}
	t := rows.table()
	t.Arguments = append(append([]Argument{}, common...), f.arguments...)
	return t
}

func namesOf(at Moment, ids []model.TagID) map[string]model.TagID {
	out := make(map[string]model.TagID, len(ids))
	for _, id := range ids {
		if t, ok := at.Catalog.Tag(id); ok {
			out[t.Name] = id
		}
	}
	return out
}

// areStates reports whether tags are all of states, so that a column of whole numbers is their codes.
func areStates(at Moment, ids []model.TagID) bool {
	for _, id := range ids {
		if t, ok := at.Catalog.Tag(id); !ok || t.Current().Type != model.State {
			return false
		}
	}
	return true
}

// answerOf is the record batches of an answer.
func answerOf(ctx context.Context, at Moment, ask func(context.Context, *query.Engine, query.Sink) (uint64, error)) iter.Seq2[arrow.Record, error] {
	return func(yield func(arrow.Record, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		r, w := io.Pipe()
		done := make(chan struct{})
		var failed error
		go func() {
			defer close(done)
			_, failed = ask(ctx, at.Engine.At(at.View).Engine(), &pipeSink{w})
			_ = w.CloseWithError(failed) // io.EOF for nil
		}()
		defer func() {
			cancel()
			_ = r.Close()
			<-done
		}()
		// why is the error that the question ended with, which the reader has in words of its own.
		why := func(err error) error {
			_ = r.Close()
			if <-done; failed != nil {
				return failed
			}
			return err
		}
		reader, err := ipc.NewReader(r)
		if err != nil {
			yield(nil, why(err))
			return
		}
		defer release.Reader(reader)
		for reader.Next() {
			if !yield(reader.Record(), nil) {
				return
			}
		}
		if err := reader.Err(); err != nil {
			yield(nil, why(err))
		}
	}
}

// pipeSink writes an Arrow stream to who reads it in the same process.
type pipeSink struct{ w *io.PipeWriter }

func (s *pipeSink) Start() error { return nil }

func (s *pipeSink) WritePayload(p ipc.Payload) error {
	meta := p.Meta()
	defer meta.Release()
	padded := (meta.Len() + 7) / 8 * 8
	b := binary.LittleEndian.AppendUint32(nil, 0xFFFFFFFF)
	b = binary.LittleEndian.AppendUint32(b, uint32(padded))
	b = append(b, meta.Bytes()...)
	if _, err := s.w.Write(append(b, make([]byte, padded-meta.Len())...)); err != nil {
		return err
	}
	return p.SerializeBody(s.w)
}

func (s *pipeSink) Close() error {
	_, err := s.w.Write([]byte{0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0})
	return err
}

var rawFunction = &function{
	name: "raw",
	fields: append(pick(answerFields, "time", "tag", "value", "quality", "status", "severity", "value_int", "value_text", "time_ns", "tag_id"),
		intField("seq", hint.NoRole, func(r *answerRow) (int64, bool) {
			if c, ok := r.columns["seq"].(*array.Uint32); ok {
				return int64(c.Value(r.i)), c.IsValid(r.i)
			}
			return 0, false
		}),
		boolOf("bound"),
		field[answerRow]{Column{"value_bytes", arrow.BinaryTypes.Binary, hint.NoRole}, func(b array.Builder, r *answerRow) {
			if v, ok := r.valueBytes(); ok {
				b.(*array.BinaryBuilder).Append(v)
				return
			}
			b.AppendNull()
		}},
		timeField("ingested_at", hint.NoRole, func(r *answerRow) (int64, bool) { return r.int("ingest_time") }),
		textOf("source"), textOf("gap"), timeOf("gap_end"),
	),
	arguments: []Argument{{"bounds", aText}, {"reverse", aBool}, {"max", anInt}, {"bad_values", aBool}, {"gaps", aBool}, {"as_of", aTime}},
	ask: func(a *arguments, ids []model.TagID) func(context.Context, *query.Engine, query.Sink) (uint64, error) {
		r := query.RangeRequest{Tags: query.Tags{IDs: ids}, WithSource: true, WithSeq: true, WithGaps: a.bool("gaps"), AsOf: a.maybeTime("as_of")}
		start, okStart := a.time("start")
		stop, okStop := a.time("stop")
		if !okStart {
			start = model.MinTime
		}
		if !okStop {
			stop = endless
		}
		switch bounds := a.text("bounds"); bounds {
		case "", "none":
		case "inside":
			r.Bounds = query.Inside
		case "outside":
			r.Bounds = query.Outside
		case "interpolated":
			r.Bounds = query.Interpolated
		default:
			a.fail("bounds", "%.80q, must be none, inside, outside or interpolated", bounds)
		}
		if r.Bounds > query.Inside && !(okStart && okStop) {
			a.fail("bounds", "of a range without start or stop")
		}
		if max, ok := a.int("max", 1, math.MaxInt64); ok {
			r.Limit = uint64(max)
		}
		r.Start, r.End = start, stop
		if a.bool("reverse") {
			switch {
			case !okStart || !okStop:
				a.fail("reverse", "of a range without start or stop")
			case r.Bounds == query.NoBounds: // the same samples, [start, stop), the other way round
				r.Start, r.End = stop-1, start-1
			default:
				r.Start, r.End = stop, start
			}
		}
		if okStart && okStop && start == stop && r.Bounds == query.NoBounds {
			a.fail("stop", "at start: the range has no instant")
		}
		return func(ctx context.Context, e *query.Engine, out query.Sink) (uint64, error) {
			return e.ReadRange(ctx, r, out)
		}
	},
}

var instantFields = pick(answerFields, "tag", "tag_id", "time", "time_ns", "value", "value_int", "value_text", "quality", "status", "severity", "info")

var atTimes = &function{
	name: "at_times", fields: instantFields, arguments: []Argument{{"times", asItIs}, {"stepped", aBool}, {"as_of", aTime}},
	ask: func(a *arguments, ids []model.TagID) func(context.Context, *query.Engine, query.Sink) (uint64, error) {
		r := query.AtTimesRequest{Tags: query.Tags{IDs: ids}, Times: a.times("times"), Stepped: a.maybeBool("stepped"), AsOf: a.maybeTime("as_of")}
		if len(r.Times) == 0 {
			a.fail("times", "missing: a list of instants")
		}
		return func(ctx context.Context, e *query.Engine, out query.Sink) (uint64, error) {
			return e.ReadAtTimes(ctx, r, out)
		}
	},
}

var interpolated = &function{
	name: "interpolated", fields: instantFields, arguments: []Argument{{"every", aText}, {"zone", aText}, {"stepped", aBool}, {"as_of", aTime}},
	ask: func(a *arguments, ids []model.TagID) func(context.Context, *query.Engine, query.Sink) (uint64, error) {
		r := query.AtTimesRequest{Tags: query.Tags{IDs: ids}, Stepped: a.maybeBool("stepped"), AsOf: a.maybeTime("as_of")}
		b := a.buckets()
		switch {
		case b.Step > 0:
			r.Start, r.End, r.Every = b.Start, b.End, b.Step
		case b.Every == "":
			a.fail("every", "missing, such as '1h' or '1 day'")
		case a.err == nil:
			var err error
			if r.Times, err = b.Starts(); err != nil && a.err == nil {
				a.err = err
			}
		}
		return func(ctx context.Context, e *query.Engine, out query.Sink) (uint64, error) {
			return e.ReadAtTimes(ctx, r, out)
		}
	},
}

var aggregate = &function{
	name: "aggregate",
	fields: append(pick(answerFields, "tag", "tag_id", "bucket", "bucket_end", "function", "time", "time_ns", "value", "value_int", "value_text", "quality", "status", "severity", "info"),
		floatOf("percent_good"), floatOf("percent_uncertain"), intOf("covered_ns"), intOf("raw_count"), boolOf("partial")),
	arguments: []Argument{
		{"functions", asItIs}, {"every", aText}, {"zone", aText}, {"calendar", aText}, {"time_resolution", aText}, {"treat_uncertain_as_bad", aBool},
		{"percent_good", anInt}, {"percent_bad", anInt}, {"sloped_extrapolation", aBool}, {"stepped", aBool}, {"fill", aText}, {"fill_limit", anInt}, {"while", aText},
	},
	ask: func(a *arguments, ids []model.TagID) func(context.Context, *query.Engine, query.Sink) (uint64, error) {
		r := query.ProcessedRequest{Tags: query.Tags{IDs: ids}, Buckets: a.buckets(), Configuration: part13.Defaults, Stepped: a.maybeBool("stepped"), While: a.text("while")}
		for _, name := range a.texts("functions") {
			f, err := query.ParseFunction(name)
			if err != nil && a.err == nil {
				a.err = err
			}
			r.Functions = append(r.Functions, f)
		}
		if len(r.Functions) == 0 {
			a.fail("functions", "missing: a list of names, such as ['Average', 'Maximum']")
		}
		if bad := a.maybeBool("treat_uncertain_as_bad"); bad != nil {
			r.Configuration.TreatUncertainAsBad = *bad
		}
		a.percent("percent_good", &r.Configuration.PercentDataGood)
		a.percent("percent_bad", &r.Configuration.PercentDataBad)
		r.Configuration.SlopedExtrapolation = a.bool("sloped_extrapolation")
		if text := a.text("time_resolution"); text != "" {
			d, err := time.ParseDuration(text)
			if err != nil || d <= 0 {
				a.fail("time_resolution", "%.80q, must be a length of time, such as '1s'", text)
			}
			r.Resolution = d.Nanoseconds()
		}
		limit, _ := a.int("fill_limit", 0, math.MaxUint32)
		var err error
		if r.Fill, err = query.ParseFill(a.text("fill"), uint32(limit)); err != nil && a.err == nil {
			a.err = err
		}
		return func(ctx context.Context, e *query.Engine, out query.Sink) (uint64, error) {
			return e.ReadProcessed(ctx, r, out)
		}
	},
}

var plotFunction = &function{
	name: "plot",
	fields: append(pick(answerFields, "tag", "tag_id", "bucket"), textOf("kind"), answerFields["time"], answerFields["time_ns"],
		floatOf("value"), intOf("worst_quality"), boolOf("gap")),
	arguments: []Argument{{"pixels", anInt}, {"as_of", aTime}},
	ask: func(a *arguments, ids []model.TagID) func(context.Context, *query.Engine, query.Sink) (uint64, error) {
		r := query.PlotRequest{Tags: query.Tags{IDs: ids}, AsOf: a.maybeTime("as_of")}
		r.Start, r.End = a.edges()
		pixels, ok := a.int("pixels", 1, query.MaxPlotWidth)
		if !ok {
			a.fail("pixels", "missing: how many columns of pixels the chart has")
		}
		r.Width = int(pixels)
		return func(ctx context.Context, e *query.Engine, out query.Sink) (uint64, error) {
			return e.ReadPlot(ctx, r, out)
		}
	},
}

var timeInState = &function{
	name: "time_in_state",
	fields: append(pick(answerFields, "tag", "tag_id", "bucket"), intOf("code"), textOf("state"), floatOf("seconds"), intOf("entries"), boolOf("still_open"),
		floatOf("percent_good")),
	arguments: []Argument{{"every", aText}, {"zone", aText}, {"calendar", aText}, {"treat_uncertain_as_bad", aBool}},
	ask: func(a *arguments, ids []model.TagID) func(context.Context, *query.Engine, query.Sink) (uint64, error) {
		r := query.StatesRequest{Tags: query.Tags{IDs: ids}, Buckets: a.buckets()}
		if bad := a.maybeBool("treat_uncertain_as_bad"); bad != nil {
			r.UseUncertain = !*bad
		}
		return func(ctx context.Context, e *query.Engine, out query.Sink) (uint64, error) {
			return e.ReadTimeInState(ctx, r, out)
		}
	},
}

var completenessFunction = &function{
	name: "completeness",
	fields: append(pick(answerFields, "tag", "tag_id"), textOf("source"), answerFields["bucket"], answerFields["bucket_end"], floatOf("complete"), floatOf("collected"),
		floatOf("unchanged"), floatOf("not_collected"), floatOf("device_down"), floatOf("quarantined"), floatOf("lost"), floatOf("buffered"), floatOf("unknown"),
		intOf("samples"), floatOf("late_s")),
	arguments: []Argument{{"every", aText}, {"zone", aText}, {"calendar", aText}, {"interval", aText}},
	ask: func(a *arguments, ids []model.TagID) func(context.Context, *query.Engine, query.Sink) (uint64, error) {
		r := query.CompletenessRequest{Tags: query.Tags{IDs: ids}, Buckets: a.buckets()}
		if text := a.text("interval"); text != "" {
			d, err := time.ParseDuration(text)
			if err != nil || d <= 0 {
				a.fail("interval", "%.80q, must be a length of time, such as '1m'", text)
			}
			r.Interval = d.Nanoseconds()
		}
		return func(ctx context.Context, e *query.Engine, out query.Sink) (uint64, error) {
			return e.ReadCompleteness(ctx, r, out)
		}
	},
}
