package query

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"slices"
	"sort"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/varvedb/varve/internal/plain"
	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/chunk"
	"github.com/varvedb/varve/storage/rollup"
)

// plainStore is a store that is only maps and slices.
type plainStore struct {
	tags    []*model.Tag
	sets    []*model.StateSet
	named   map[string]*model.Calendar
	stored  map[string][]*model.Calculation
	samples map[model.TagID]*storage.Block
	lost    []storage.OffsetRange
	block   int                   // samples per block
	damage  map[model.TagID]error // met behind the first block
	notes   []int64               // when annotations of every tag begin
	gaps    map[model.TagID][]model.Gap
	erased  bool         // what Offer has of rollups is all that is left
	single  bool         // Offer has no rollups, whose sums are rounded otherwise
	open    atomic.Int64 // views and cursors not closed
}

var errDamage = errors.New("chunk is damaged")

func (s *plainStore) Catalog() Catalog { return s }

func (s *plainStore) Tag(id model.TagID) (*model.Tag, bool) {
	i := slices.IndexFunc(s.tags, func(t *model.Tag) bool { return t.ID == id })
	if i < 0 {
		return nil, false
	}
	return s.tags[i], true
}

func (s *plainStore) ByName(name string) (*model.Tag, bool) {
	i := slices.IndexFunc(s.tags, func(t *model.Tag) bool { return t.Name == name })
	if i < 0 {
		i = slices.IndexFunc(s.tags, func(t *model.Tag) bool { return t.Aliases[0].Name == name })
	}
	if i < 0 {
		return nil, false
	}
	return s.tags[i], true
}

func (s *plainStore) ByNameAt(name string, at int64) (*model.Tag, bool) {
	for _, t := range s.tags {
		for _, a := range t.Aliases {
			if a.Name == name && a.From <= at && at < a.To {
				return t, true
			}
		}
	}
	return nil, false
}

func (s *plainStore) StateSet(_ string, version uint32) (*model.StateSet, bool) {
	if version == 0 {
		version = uint32(len(s.sets))
	}
	if version == 0 || int(version) > len(s.sets) {
		return nil, false
	}
	return s.sets[version-1], true
}

func (s *plainStore) Calendar(name string, _ uint32) (*model.Calendar, bool) {
	c, ok := s.named[name]
	return c, ok
}

func (s *plainStore) CalculationInForce(name string) []*model.Calculation { return s.stored[name] }

func (s *plainStore) View(context.Context, storage.Consistency) (View, error) {
	s.open.Add(1)
	return s, nil
}

func (s *plainStore) Close()                      { s.open.Add(-1) }
func (s *plainStore) Lost() []storage.OffsetRange { return s.lost }
func (s *plainStore) SourceName(id uint32) string { return fmt.Sprintf("source-%d", id) }

func (s *plainStore) AnnotationCount(_ model.TagID, in model.TimeRange) (n int) {
	for _, t := range s.notes {
		if in.Contains(t) {
			n++
		}
	}
	return n
}

// plainBreaks is the breaks of a tag.
type plainBreaks struct {
	gaps    []model.Gap
	samples []model.Sample
	typ     model.Type
}

func (b plainBreaks) In(_ context.Context, in model.TimeRange) (out []storage.Break, err error) {
	for _, x := range plain.Breaks(b.gaps, b.samples) {
		if in.Contains(x.Time) {
			out = append(out, storage.Break{Time: x.Time, Quality: x.Quality, Type: b.typ})
		}
	}
	return out, nil
}

func (b plainBreaks) Gaps(ctx context.Context, in model.TimeRange) (out []model.Gap, err error) {
	for _, g := range b.gaps {
		if found, _ := (plainBreaks{[]model.Gap{g}, b.samples, b.typ}).In(ctx, in); len(found) > 0 {
			out = append(out, g)
		}
	}
	return out, nil
}

func (s *plainStore) GapsAsOf(tag model.TagID, asOf *int64) []model.Gap {
	return slices.DeleteFunc(slices.Clone(s.gaps[tag]), func(g model.Gap) bool { return asOf != nil && g.Recorded > *asOf })
}

func (s *plainStore) Breaks(tag model.TagID, asOf *int64) Breaks {
	gaps := s.GapsAsOf(tag, asOf)
	if len(gaps) == 0 {
		return nil
	}
	x := plainBreaks{gaps: gaps, typ: s.samples[tag].Type}
	b := pick(s.samples[tag], model.All, asOf)
	for i := range b.Len() {
		x.samples = append(x.samples, b.At(i))
	}
	return x
}

// points is the samples of a tag and the breaks between them.
func (s *plainStore) points(tag model.TagID) (out []rollup.Point) {
	b := s.samples[tag]
	for i := range b.Len() {
		out = append(out, rollup.Point{Sample: b.At(i)})
	}
	if breaks := s.Breaks(tag, nil); breaks != nil {
		found, _ := breaks.In(context.Background(), model.All)
		for _, x := range found {
			out = append(out, rollup.Point{Gap: true, Sample: model.Sample{Type: x.Type, Time: x.Time, Null: true, Quality: x.Quality}})
		}
	}
	slices.SortStableFunc(out, func(x, y rollup.Point) int { return cmp.Compare(x.Time, y.Time) })
	return out
}

// Forecasts has none: those of TestForecastsAreThoseOfAPlainModel are in a store.
func (s *plainStore) Forecasts(context.Context, storage.ForecastQuery) iter.Seq2[*storage.ForecastRun, error] {
	return func(func(*storage.ForecastRun, error) bool) {}
}

func (s *plainStore) Partials(_ context.Context, tag model.TagID, edges []int64, _ storage.Detail, into *storage.Partials) error {
	n := len(edges) - 1
	*into = storage.Partials{Buckets: make([]rollup.Partial, n)}
	if s.samples[tag] == nil {
		return nil
	}
	for _, x := range s.points(tag) {
		var p *rollup.Partial
		switch k, found := slices.BinarySearch(edges, x.Time); {
		case found && k < n:
			p = &into.Buckets[k]
		case k == 0:
			if p = &into.Before; !x.Gap {
				*p = rollup.Partial{}
			}
		case k <= n && !found:
			p = &into.Buckets[k-1]
		default:
			if p = &into.After; p.Counts().All() > 0 {
				continue
			}
		}
		if x.Gap {
			p.AddGap(x.Type, x.Time, x.Quality)
			continue
		}
		one := model.Samples{Type: x.Type}
		one.Append(x.Sample)
		p.Add(&one, 0, 1)
	}
	return nil
}

// Goods is of the same samples as Partials.
func (s *plainStore) Goods(_ context.Context, tag model.TagID, edges []int64, asked rollup.Asked, into *storage.Goods) (bool, error) {
	n := len(edges) - 1
	*into = storage.Goods{Buckets: make([]rollup.Good, n)}
	b := s.samples[tag]
	if b == nil {
		return true, nil
	}
	if b.Type != model.Float64 || b.Quality != nil || b.Null != nil || len(s.gaps[tag]) > 0 {
		return false, nil
	}
	for i, t := range b.Times {
		to := &into.After
		switch k, found := slices.BinarySearch(edges, t); {
		case found && k < n:
			to = &into.Buckets[k]
		case k == 0:
			into.Before = rollup.Good{}
			to = &into.Before
		case k <= n && !found:
			to = &into.Buckets[k-1]
		}
		to.Add(b.Times[i:i+1], b.Bits[i:i+1], asked)
	}
	return true, nil
}

// Offer offers every third two neighbours between two edges as a rollup.
func (s *plainStore) Offer(_ context.Context, tag model.TagID, edges []int64, taker storage.Taker) error {
	b := s.samples[tag]
	if b == nil {
		return nil
	}
	column := func(t int64) int { return sort.Search(len(edges), func(i int) bool { return edges[i] > t }) }
	from, _ := slices.BinarySearch(b.Times, edges[0])
	to, _ := slices.BinarySearch(b.Times, edges[len(edges)-1])
	reach := model.All
	if from > 0 {
		reach.Start = b.Times[from-1]
	}
	if to < b.Len() {
		reach.End = b.Times[to]
	}
	var breaks []storage.Break
	if x := s.Breaks(tag, nil); x != nil {
		breaks, _ = x.In(context.Background(), reach)
	}
	broken := func(until int64) {
		for ; len(breaks) > 0 && breaks[0].Time < until; breaks = breaks[1:] {
			taker.Gap(breaks[0])
		}
	}
	defer broken(math.MaxInt64)
	for i := max(from-1, 0); i < min(to+1, b.Len()); i++ {
		broken(b.Times[i])
		if !s.single && i%3 == 0 && i >= from && i+1 < to && column(b.Times[i]) == column(b.Times[i+1]) && (len(breaks) == 0 || breaks[0].Time > b.Times[i+1]) {
			var p rollup.Partial
			if p.Add(&b.Samples, i, i+2); taker.Takes(&p, s.erased) {
				taker.Rollup(&p)
				i++
				continue
			}
		}
		one := b.Slice(i, i+1)
		taker.Samples(&one)
	}
	return nil
}

func (s *plainStore) Latest(tag model.TagID) (model.Sample, bool) {
	b := s.samples[tag]
	if b == nil || b.Len() == 0 {
		return model.Sample{}, false
	}
	return b.At(b.Len() - 1), true
}

func (s *plainStore) Samples(tag model.TagID, in model.TimeRange) Cursor {
	s.open.Add(1)
	c := &plainCursor{store: s}
	c.Reset(tag, in)
	return c
}

// SamplesAsOf knows one version of each sample.
func (s *plainStore) SamplesAsOf(tag model.TagID, in model.TimeRange, asOf int64) Cursor {
	c := s.Samples(tag, in).(*plainCursor)
	c.asOf = &asOf
	c.Reset(tag, in)
	return c
}

// Modified says of every sample that mara removed it a second after its time.
func (s *plainStore) Modified(tag model.TagID, in model.TimeRange) ModifiedCursor {
	return plainModified{s.Samples(tag, in).(*plainCursor)}
}

type plainModified struct{ *plainCursor }

func (c plainModified) Next(ctx context.Context) (*storage.ModifiedBlock, error) {
	b, err := c.plainCursor.Next(ctx)
	if err != nil {
		return nil, err
	}
	out := &storage.ModifiedBlock{Block: *b}
	for i, t := range b.Times {
		e := storage.End{Kind: model.Removed, Time: t + 1e9, Author: "mara", Reason: strings.Repeat("r", i%3)}
		if i%2 == 0 {
			e.Offset = uint64(i + 1)
		}
		out.Ends = append(out.Ends, e)
	}
	return out, nil
}

// pick is the samples of b in a range, in its order, with their origins one by one; those that stood at asOf unless that is nil.
func pick(b *storage.Block, in model.TimeRange, asOf *int64) *storage.Block {
	out := &storage.Block{}
	out.Reset(b.Type)
	for i := range b.Len() {
		if in.Reverse {
			i = b.Len() - 1 - i
		}
		if in.Contains(b.Times[i]) && (asOf == nil || b.Origins[i].Ingest*1e9 <= *asOf) {
			out.Append(b.At(i))
			out.Origins = append(out.Origins, b.Origins[i])
		}
	}
	return out
}

type plainCursor struct {
	store  *plainStore
	tag    model.TagID
	rest   *storage.Block
	blocks int
	asOf   *int64
	room   func(int) ([]int64, []uint64)
}

func (c *plainCursor) DecodeInto(room func(int) ([]int64, []uint64)) { c.room = room }

func (c *plainCursor) Reset(tag model.TagID, in model.TimeRange) {
	*c = plainCursor{store: c.store, tag: tag, asOf: c.asOf, room: c.room}
	if b := c.store.samples[tag]; b != nil {
		c.rest = pick(b, in, c.asOf)
	}
}

func (c *plainCursor) Next(context.Context) (*storage.Block, error) {
	if c.blocks++; c.blocks == 2 && c.store.damage[c.tag] != nil {
		return nil, c.store.damage[c.tag]
	}
	if c.rest == nil || c.rest.Len() == 0 {
		return nil, io.EOF
	}
	n := min(c.store.block, c.rest.Len())
	out := &storage.Block{Samples: c.rest.Slice(0, n), Origins: c.rest.Origins[:n]}
	c.rest = &storage.Block{Samples: c.rest.Slice(n, c.rest.Len()), Origins: c.rest.Origins[n:]}
	// Every other block lies, as a chunk decoded there does, in the room offered, perhaps not at its beginning.
	if c.room == nil {
		return out, nil
	}
	if times, bits := c.room(n + 1); times != nil && c.blocks%2 == 0 {
		at := c.blocks / 2 % 2
		out.Times = times[:n+1][at:][:copy(times[:n+1][at:], out.Times)]
		out.Bits = bits[:n+1][at:][:copy(bits[:n+1][at:], out.Bits)]
	}
	return out, nil
}

func (c *plainCursor) Close() { c.store.open.Add(-1) }

// newPlainStore has one tag of each type given, ids from 1, named for type and id.
func newPlainStore(types ...model.Type) *plainStore {
	s := &plainStore{samples: map[model.TagID]*storage.Block{}, block: 7, damage: map[model.TagID]error{}}
	for i, typ := range types {
		name := fmt.Sprintf("%s-%d", typ, i+1)
		s.tags = append(s.tags, &model.Tag{
			ID: model.TagID(i + 1), Name: name, Settings: []model.Settings{{From: model.MinTime, Type: typ, StateSet: map[bool]string{true: "set"}[typ == model.State]}},
			Aliases: []model.Alias{{Name: name, From: model.MinTime, To: math.MaxInt64}},
		})
		b := &storage.Block{}
		b.Reset(typ)
		s.samples[model.TagID(i+1)] = b
	}
	return s
}

func (s *plainStore) add(tag model.TagID, source uint32, x model.Sample) {
	b := s.samples[tag]
	x.Type = b.Type
	b.Append(x)
	b.Origins = append(b.Origins, chunk.Origin{Samples: 1, Source: source, Ingest: x.Time / 7})
}

// row is one row of an answer, its values in words.
type row struct {
	time    int64
	tag     string
	quality uint32
	value   map[string]any // by column, null left out
}

// TestAnAnswerThatCannotBeSentIsGivenUp: rows that a sink did not take are not sent again with what was read before the fault.
func TestAnAnswerThatCannotBeSentIsGivenUp(t *testing.T) {
	b := &storage.Block{Samples: model.Samples{Type: model.Float64}}
	for i := range 10 {
		b.Append(model.Sample{Time: int64(i), Type: model.Float64})
		b.Origins = append(b.Origins, chunk.Origin{Samples: 1})
	}
	tag := &model.Tag{ID: 1, Name: "a", Settings: []model.Settings{{From: model.MinTime, Type: model.Float64}}}
	e, err := New(&plainStore{tags: []*model.Tag{tag}, samples: map[model.TagID]*storage.Block{1: b}, block: 10}, Options{})
	require.NoError(t, err)
	full := errors.New("pipe is full")
	rows, err := e.ReadRange(context.Background(), RangeRequest{Tags: Tags{IDs: []model.TagID{1}}, End: 10, BatchRows: 4}, &bytesSink{fail: full})
	require.ErrorIs(t, err, full)
	require.Zero(t, rows)
	require.Zero(t, e.MemoryTaken())
}

// bytesSink writes payloads as an IPC stream.
type bytesSink struct {
	bytes.Buffer
	fail error
}

func (s *bytesSink) Start() error { return nil }
func (s *bytesSink) Close() error {
	s.Write([]byte{0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0})
	return nil
}
func (s *bytesSink) WritePayload(p ipc.Payload) error {
	meta := p.Meta()
	defer meta.Release()
	padded := (meta.Len() + 7) / 8 * 8
	s.Write([]byte{0xFF, 0xFF, 0xFF, 0xFF, byte(padded), byte(padded >> 8), byte(padded >> 16), byte(padded >> 24)})
	s.Write(meta.Bytes())
	s.Write(make([]byte, padded-meta.Len()))
	if s.fail != nil {
		return s.fail
	}
	return p.SerializeBody(s)
}

// read decodes an answer; the sizes are those of its record batches.
func (s *bytesSink) read(t require.TestingT) (schema *arrow.Schema, rows []row, sizes []int64) {
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	reader, err := ipc.NewReader(bytes.NewReader(s.Bytes()), ipc.WithAllocator(mem))
	require.NoError(t, err)
	defer reader.Release()
	for reader.Next() {
		r := reader.Record()
		sizes = append(sizes, r.NumRows())
		for i := range int(r.NumRows()) {
			x := row{value: map[string]any{}}
			for c, f := range r.Schema().Fields() {
				v := valueAt(r.Column(c), i)
				switch f.Name {
				case "time":
					x.time = v.(int64)
				case "tag":
					x.tag = v.(string)
				case "quality":
					x.quality = v.(uint32)
				default:
					if v != nil {
						x.value[f.Name] = v
					}
				}
			}
			rows = append(rows, x)
		}
	}
	if err := reader.Err(); err != nil {
		require.ErrorIs(t, err, io.EOF, "an answer cut short ends between messages")
	}
	return reader.Schema(), rows, sizes
}

func valueAt(a arrow.Array, i int) any {
	if a.IsNull(i) {
		return nil
	}
	switch a := a.(type) {
	case *array.Timestamp:
		return int64(a.Value(i))
	case *array.Dictionary:
		return a.Dictionary().(*array.String).Value(a.GetValueIndex(i))
	case *array.Float64:
		return math.Float64bits(a.Value(i))
	case *array.Float32:
		return math.Float32bits(a.Value(i))
	case *array.Int64:
		return a.Value(i)
	case *array.Uint64:
		return a.Value(i)
	case *array.Uint32:
		return a.Value(i)
	case *array.Boolean:
		return a.Value(i)
	case *array.String:
		return a.Value(i)
	case *array.Binary:
		return string(a.Value(i))
	case *array.Decimal128:
		return a.Value(i).BigInt().Int64()
	}
	panic(fmt.Sprintf("column of %s", a.DataType()))
}

// plainValue is what the columns of an answer say of a sample, from the comments of query.proto.
func plainValue(s *plainStore, tag *model.Tag, x model.Sample, mixed bool) map[string]any {
	out := map[string]any{}
	if x.Null {
		return out
	}
	stateText := func() {
		if set := setInForce(s.sets, x.Time); set != nil {
			if text, ok := set.Text(int64(x.Bits)); ok {
				out["value_text"] = text
			}
		}
	}
	if !mixed {
		switch x.Type {
		case model.Float64, model.Uint64:
			out["value"] = x.Bits
		case model.Float32:
			out["value"] = uint32(x.Bits)
		case model.Int64:
			out["value"] = int64(x.Bits)
		case model.Bool:
			out["value"] = x.Bits != 0
		case model.State:
			out["value"] = int64(x.Bits)
			stateText()
		default:
			out["value"] = string(x.Blob)
		}
		return out
	}
	if f, ok := x.Float64(); ok {
		out["value"] = math.Float64bits(f)
	}
	switch x.Type {
	case model.Int64, model.Bool, model.State:
		out["value_int"] = int64(x.Bits)
	case model.Uint64:
		if x.Bits <= math.MaxInt64 {
			out["value_int"] = int64(x.Bits)
		} else {
			out["value_text"] = fmt.Sprint(x.Bits)
		}
	case model.String:
		out["value_text"] = string(x.Blob)
	case model.Bytes:
		out["value_bytes"] = string(x.Blob)
	}
	if x.Type == model.State {
		stateText()
	}
	return out
}

func setInForce(sets []*model.StateSet, at int64) (found *model.StateSet) {
	for _, s := range sets {
		if found == nil || s.From <= at {
			found = s
		}
	}
	return found
}

// TestAnswersHoldEverySample asks random questions about random samples of any types and holds the answers to a plain
// reading of the same samples.
func TestAnswersHoldEverySample(t *testing.T) {
	all := []model.Type{model.Float64, model.Float32, model.Int64, model.Uint64, model.Bool, model.State, model.String, model.Bytes}
	rapid.Check(t, func(t *rapid.T) {
		types := rapid.SliceOfN(rapid.SampledFrom(all), 1, 4).Draw(t, "types")
		if rapid.Bool().Draw(t, "one type") {
			for i := range types {
				types[i] = types[0]
			}
		}
		s := newPlainStore(types...)
		s.block = rapid.IntRange(1, 9).Draw(t, "block")
		s.sets = []*model.StateSet{
			{Name: "set", Version: 1, From: model.MinTime, States: []model.DigitalState{{Code: 0, Text: "off"}, {Code: 1, Text: "on"}}},
			{Name: "set", Version: 2, From: 20, States: []model.DigitalState{{Code: 0, Text: "stopped"}}},
		}
		for id := range s.samples {
			at := int64(0)
			for range rapid.IntRange(0, 25).Draw(t, "samples") {
				at += rapid.Int64Range(0, 3).Draw(t, "step")
				s.add(id, rapid.Uint32Range(0, 3).Draw(t, "source"), drawSample(t, s.samples[id].Type, at))
			}
		}
		r := RangeRequest{
			Start: rapid.Int64Range(-1, 60).Draw(t, "start"), End: rapid.Int64Range(-1, 60).Draw(t, "end"),
			Limit: rapid.SampledFrom([]uint64{0, 0, 1, 5}).Draw(t, "limit"), BatchRows: rapid.IntRange(0, 11).Draw(t, "rows"),
			WithSource: rapid.Bool().Draw(t, "source"), WithSeq: rapid.Bool().Draw(t, "seq"),
		}
		for _, tag := range s.tags {
			if rapid.Bool().Draw(t, "by name") {
				r.Names = append(r.Names, tag.Name)
			} else {
				r.IDs = append(r.IDs, tag.ID)
			}
		}
		e, err := New(s, Options{})
		require.NoError(t, err)
		var sink bytesSink
		n, err := e.ReadRange(context.Background(), r, &sink)
		require.NoError(t, err)
		_, got, sizes := sink.read(t)
		want := plainAnswer(s, r)
		require.Equal(t, want, got)
		require.Equal(t, uint64(len(got)), n)
		for i, size := range sizes {
			require.True(t, size == int64(r.batchRows()) || i == len(sizes)-1 && size > 0, "batches %v", sizes)
		}
		require.Zero(t, s.open.Load(), "views or cursors stayed open")
		require.Zero(t, e.MemoryTaken())
	})
}

func drawSample(t *rapid.T, typ model.Type, at int64) model.Sample {
	x := model.Sample{
		Time: at, Type: typ, Null: rapid.Bool().Draw(t, "null"), Seq: rapid.Uint32Range(0, 2).Draw(t, "seq"),
		Quality: model.Quality(rapid.SampledFrom([]uint32{0, 0x80000000, 0x40000001}).Draw(t, "quality")),
	}
	switch {
	case x.Null && typ.Blob():
		x.Blob = []byte{}
	case x.Null:
	case typ.Blob():
		x.Blob = []byte(rapid.StringN(0, 5, 20).Draw(t, "text"))
	case typ == model.Bool || typ == model.State:
		x.Bits = rapid.Uint64Range(0, 1).Draw(t, "code")
	case typ == model.Float32:
		x.Bits = uint64(rapid.SampledFrom([]uint32{0x7FA00001, 0x80000000, 0x3DCCCCCD}).Draw(t, "bits"))
	default:
		x.Bits = rapid.SampledFrom([]uint64{0, 1 << 63, math.MaxUint64, 0x7FF0000000000001, 1<<53 + 1}).Draw(t, "bits")
	}
	return x
}

func plainAnswer(s *plainStore, r RangeRequest) (rows []row) {
	types := map[model.Type]bool{}
	var tags []*model.Tag
	for _, name := range r.Names {
		tag, _ := s.ByName(name)
		tags = append(tags, tag)
	}
	for _, id := range r.IDs {
		tag, _ := s.Tag(id)
		tags = append(tags, tag)
	}
	for _, tag := range tags {
		types[tag.Current().Type] = true
	}
	for _, tag := range tags {
		b := pick(s.samples[tag.ID], model.Between(r.Start, r.End), r.AsOf)
		for i := range b.Len() {
			if r.Limit > 0 && uint64(i) == r.Limit {
				break
			}
			x := b.At(i)
			v := plainValue(s, tag, x, len(types) > 1)
			if r.WithSource {
				v["ingest_time"] = b.Origins[i].Ingest
				if b.Origins[i].Source != 0 {
					v["source"] = s.SourceName(b.Origins[i].Source)
				}
			}
			if r.WithSeq {
				v["seq"] = x.Seq
			}
			rows = append(rows, row{time: x.Time, tag: tag.Name, quality: uint32(x.Quality), value: v})
		}
	}
	return rows
}

// P-7 was called P-1 until 100, when P-1 became the name of another pump: a question about the past means the first.
func TestNamesMeanWhatTheyMeantThen(t *testing.T) {
	s := newPlainStore(model.Float64, model.Float64)
	s.tags[0].Name, s.tags[0].Aliases = "P-7", []model.Alias{{Name: "P-1", From: model.MinTime, To: 100}, {Name: "P-7", From: 100, To: math.MaxInt64}}
	s.tags[1].Name, s.tags[1].Aliases = "P-1", []model.Alias{{Name: "P-1", From: 100, To: math.MaxInt64}}
	s.add(1, 0, model.Sample{Time: 50, Bits: 1})
	s.add(2, 0, model.Sample{Time: 150, Bits: 2})
	e, err := New(s, Options{})
	require.NoError(t, err)
	ask := func(name string, start, end int64) []row {
		var sink bytesSink
		_, err := e.ReadRange(context.Background(), RangeRequest{Tags: Tags{Names: []string{name}}, Start: start, End: end}, &sink)
		require.NoError(t, err)
		_, rows, _ := sink.read(t)
		return rows
	}
	require.Equal(t, uint64(1), ask("P-1", 0, 100)[0].value["value"])
	require.Equal(t, uint64(2), ask("P-1", 100, 200)[0].value["value"])
	past := ask("P-7", 0, 100)
	require.Equal(t, uint64(1), past[0].value["value"], "the present name finds the time before it")
	require.Equal(t, "P-7", past[0].tag)
}

func TestLatestIsInTheOrderAsked(t *testing.T) {
	s := newPlainStore(model.Float64, model.Int64, model.Bool)
	s.add(1, 0, model.Sample{Time: 1, Bits: 7})
	s.add(1, 0, model.Sample{Time: 2, Bits: math.Float64bits(8)})
	s.add(3, 0, model.Sample{Time: 3, Bits: 1})
	e, err := New(s, Options{})
	require.NoError(t, err)
	var sink bytesSink
	n, err := e.Latest(context.Background(), LatestRequest{Tags: Tags{Names: []string{"bool-3", "int64-2"}, IDs: []model.TagID{1}}}, &sink)
	require.NoError(t, err)
	require.Equal(t, uint64(2), n)
	_, rows, _ := sink.read(t)
	require.Equal(t, []row{
		{time: 3, tag: "bool-3", value: map[string]any{"value_int": int64(1)}},
		{time: 2, tag: "float64-1", value: map[string]any{"value": math.Float64bits(8)}},
	}, rows)
}

func TestDamageEndsTheStreamBehindWhatIsRight(t *testing.T) {
	s := newPlainStore(model.Float64, model.Float64)
	for i := range 20 {
		s.add(1, 0, model.Sample{Time: int64(i)})
		s.add(2, 0, model.Sample{Time: int64(i)})
	}
	s.damage[2] = errDamage
	e, err := New(s, Options{})
	require.NoError(t, err)
	var sink bytesSink
	n, err := e.ReadRange(context.Background(), RangeRequest{Tags: Tags{IDs: []model.TagID{1, 2}}, End: 100}, &sink)
	require.ErrorIs(t, err, errDamage)
	require.ErrorContains(t, err, "float64-2 (id 2) over [1970-01-01T00:00:00Z")
	require.Equal(t, uint64(20+s.block), n)
	_, rows, _ := sink.read(t)
	require.Len(t, rows, 20+s.block)
	require.Zero(t, s.open.Load())
	require.Zero(t, e.MemoryTaken())
}

func TestLostRecordsAreNamedInTheSchema(t *testing.T) {
	s := newPlainStore(model.Float64)
	s.lost = []storage.OffsetRange{{First: 5, End: 9}, {First: 20, End: 21}}
	e, err := New(s, Options{})
	require.NoError(t, err)
	var sink bytesSink
	_, err = e.ReadRange(context.Background(), RangeRequest{Tags: Tags{IDs: []model.TagID{1}}, End: 100}, &sink)
	require.NoError(t, err)
	schema, rows, _ := sink.read(t)
	require.Empty(t, rows)
	meta := schema.Metadata()
	require.Equal(t, "5-9,20-21", meta.Values()[meta.FindKey(MetaIncomplete)])
}

func TestLongValuesEndABatchEarly(t *testing.T) {
	s := newPlainStore(model.Bytes)
	for i := range 30 {
		s.add(1, 0, model.Sample{Time: int64(i), Blob: make([]byte, 300<<10)})
	}
	s.block = 30
	e, err := New(s, Options{})
	require.NoError(t, err)
	var sink bytesSink
	n, err := e.ReadRange(context.Background(), RangeRequest{Tags: Tags{IDs: []model.TagID{1}}, End: 100}, &sink)
	require.NoError(t, err)
	require.Equal(t, uint64(30), n)
	_, _, sizes := sink.read(t)
	require.Equal(t, []int64{7, 7, 7, 7, 2}, sizes)
}

func TestSharesOfMemory(t *testing.T) {
	s := newPlainStore(model.Float64)
	e, err := New(s, Options{MemoryBytes: 20 << 20})
	require.NoError(t, err)
	ask := func(rows int) error {
		_, err := e.ReadRange(context.Background(), RangeRequest{Tags: Tags{IDs: []model.TagID{1}}, End: 100, BatchRows: rows}, &bytesSink{})
		return err
	}
	require.NoError(t, ask(1000))
	require.ErrorIs(t, ask(1<<20), ErrTooLarge)
	require.ErrorContains(t, ask(1<<20), "its share is 12582912")
	small, err := New(s, Options{MemoryBytes: 10 << 20, QueryBytes: 5 << 20})
	require.NoError(t, err)
	_, err = small.ReadRange(context.Background(), RangeRequest{Tags: Tags{IDs: []model.TagID{1}}, End: 100}, &bytesSink{})
	require.NoError(t, err, "batches are as large as there is room for where nobody says how large")
	e, err = New(s, Options{MemoryBytes: 16 << 20}) // of a server with 32 MiB
	require.NoError(t, err)
	require.NoError(t, e.HashDay(context.Background(), DayRequest{IDs: []model.TagID{1}}, func(storage.Content) error { return nil }))
	e, err = New(s, Options{MemoryBytes: 20 << 20})
	require.NoError(t, err)
	require.NoError(t, e.budget.reserve(10<<20))
	require.NoError(t, e.budget.reserve(9<<20))
	require.ErrorIs(t, ask(1000), ErrBusy)
	e.budget.release(19 << 20)
	require.NoError(t, ask(1000))
	_, err = New(s, Options{MemoryBytes: 1, QueryBytes: 2})
	require.ErrorContains(t, err, "QueryBytes")
}

func TestAFailedSinkEndsTheQuery(t *testing.T) {
	s := newPlainStore(model.Float64)
	s.add(1, 0, model.Sample{Time: 1})
	e, err := New(s, Options{})
	require.NoError(t, err)
	fail := errors.New("client is gone")
	_, err = e.ReadRange(context.Background(), RangeRequest{Tags: Tags{IDs: []model.TagID{1}}, End: 100}, &bytesSink{fail: fail})
	require.ErrorIs(t, err, fail)
	require.Zero(t, s.open.Load())
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(fail)
	_, err = e.ReadRange(ctx, RangeRequest{Tags: Tags{IDs: []model.TagID{1}}, End: 100}, &bytesSink{})
	require.ErrorIs(t, err, fail)
}

func TestSamplesOfAnotherTypeAreAnError(t *testing.T) {
	s := newPlainStore(model.Float64)
	s.add(1, 0, model.Sample{Time: 1})
	s.tags[0].Settings[0].Type = model.Int64
	e, err := New(s, Options{})
	require.NoError(t, err)
	_, err = e.ReadRange(context.Background(), RangeRequest{Tags: Tags{IDs: []model.TagID{1}}, End: 100}, &bytesSink{})
	require.ErrorIs(t, err, ErrWrongType)
}

// TestModifiedValuesComeWithWhatEndedThem reads values of two types in small batches and in one.
func TestModifiedValuesComeWithWhatEndedThem(t *testing.T) {
	s := newPlainStore(model.Float64, model.String)
	s.block = 3
	for i := range 7 {
		s.add(1, 2, model.Sample{Time: int64(i) * 1e9, Bits: uint64(i)})
		s.add(2, 0, model.Sample{Time: int64(i) * 1e9, Blob: []byte{'a' + byte(i)}})
	}
	e, err := New(s, Options{})
	require.NoError(t, err)
	for _, batch := range []int{1, 4, 0} {
		var sink bytesSink
		n, err := e.ReadModified(context.Background(), ModifiedRequest{Tags: Tags{IDs: []model.TagID{1, 2}}, Start: 7e9, End: 0, Limit: 5, BatchRows: batch}, &sink)
		require.NoError(t, err)
		require.EqualValues(t, 10, n)
		_, rows, _ := sink.read(t)
		require.Len(t, rows, 10)
		for i, r := range rows {
			at := i % 5 % 3 // in its block
			require.Equal(t, int64(6-i%5)*1e9, r.time)
			require.Equal(t, r.time+1e9, r.value["edit_time"])
			require.Equal(t, "removed", r.value["kind"])
			require.Equal(t, "mara", r.value["author"])
			if at == 0 {
				require.NotContains(t, r.value, "reason")
			} else {
				require.Equal(t, strings.Repeat("r", at), r.value["reason"])
			}
			if at%2 == 0 {
				require.Equal(t, uint64(at+1), r.value["edit_offset"])
			} else {
				require.NotContains(t, r.value, "edit_offset")
			}
		}
	}
	require.Zero(t, s.open.Load())
}
