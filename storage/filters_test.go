package storage

import (
	"context"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/compression/filter"
	"github.com/varvedb/varve/compression/swingingdoor"
	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/catalog"
	"github.com/varvedb/varve/storage/keys"
	"github.com/varvedb/varve/storage/record"
)

// filteredSamples is where the generations of these tests end.
const filteredSamples = 60

// filteredEvent is one record of a history of tags that are filtered.
type filteredEvent struct {
	offset func() uint64
	tag    model.TagID

	samples      []model.Sample // a run
	mode         model.WriteMode
	edit, backup bool // by a person; from a file

	change *model.Filter // of the tag's compression

	cut  bool
	del  model.TimeRange // where it is not empty
	undo uint64          // the range delete at this offset

	note    model.UUID // an annotation in the range, or with an empty one its removal
	in      model.TimeRange
	missing bool // a collector says that samples are
}

// plainFiltered is the plain model: what stands of each tag, the generation being filled in the order in which it came, and what
// follows at its end.
type plainFiltered struct {
	t       testing.TB
	tags    map[model.TagID]*plainTag
	samples int // of the generation
}

type plainTag struct {
	stands      map[int64]model.Sample
	journal     []model.Sample // of the generation
	whole       bool           // the generation keeps all of it
	compression model.Filter
	settings    model.Settings
	deleted     map[uint64]map[int64]model.Sample // by range delete
	until       int64                             // the latest end of one
	notes       map[model.UUID]model.TimeRange
	figures     []Filtered
}

func newPlainFiltered(t testing.TB, settings []model.Settings) *plainFiltered {
	m := &plainFiltered{t: t, tags: map[model.TagID]*plainTag{}}
	for i, s := range settings {
		m.tags[model.TagID(i+1)] = &plainTag{
			stands: map[int64]model.Sample{}, deleted: map[uint64]map[int64]model.Sample{}, until: math.MinInt64, settings: s,
			notes: map[model.UUID]model.TimeRange{},
		}
	}
	return m
}

func (t *plainTag) newest() (at int64, ok bool) {
	at = math.MinInt64
	for x := range t.stands {
		at, ok = max(at, x), true
	}
	return at, ok
}

func (m *plainFiltered) apply(e *filteredEvent) {
	t := m.tags[e.tag]
	switch {
	case e.samples != nil:
		m.put(t, e)
		if m.samples >= filteredSamples {
			m.end(true)
		}
	case e.change != nil:
		t.compression = *e.change
		t.whole = t.whole || len(t.journal) > 0
	case e.cut:
		m.end(true)
	case e.missing:
		t.whole = t.whole || len(t.journal) > 0
	case e.note != model.UUID{}:
		if t.notes[e.note] = e.in; e.in.Empty() {
			delete(t.notes, e.note)
		}
	case e.undo != 0:
		for at, x := range t.deleted[e.undo] {
			if _, there := t.stands[at]; !there {
				t.stands[at] = x
			}
		}
		m.end(false)
	default:
		gone := map[int64]model.Sample{}
		for at, x := range t.stands {
			if e.del.Contains(at) {
				gone[at] = x
				delete(t.stands, at)
			}
		}
		t.deleted[e.offset()] = gone
		t.until = max(t.until, e.del.End)
		m.end(false)
	}
}

func (m *plainFiltered) put(t *plainTag, e *filteredEvent) {
	newest, any := t.newest()
	if any && e.samples[0].Time <= newest || e.samples[0].Time < t.until || e.mode != model.Update || e.edit || e.backup {
		t.whole = true
	}
	for i, x := range e.samples {
		if _, there := t.stands[x.Time]; there && e.mode == model.NoReplace {
			continue
		}
		t.stands[x.Time] = x
		t.journal = append(t.journal, x)
		t.whole = t.whole || i > 0 && x.Time <= e.samples[i-1].Time
		m.samples++
	}
	if len(t.journal) == 0 {
		t.whole = false // nothing came of it, so there is nothing to keep
	}
}

// end ends a generation: of tags whose samples all came as they were measured, those are left out that the filter leaves out.
func (m *plainFiltered) end(thin bool) {
	for _, t := range m.tags {
		if thin && !t.whole && t.compression.Deviation > 0 && len(t.journal) > 2 {
			m.thin(t)
		}
		t.journal, t.whole = nil, false
	}
	m.samples = 0
}

func (m *plainFiltered) thin(t *plainTag) {
	f, err := swingingdoor.New(filter.Of(t.compression, t.settings), swingingdoor.Strict)
	require.NoError(m.t, err)
	var kept []filter.Kept
	for i, x := range t.journal {
		first := i == 0 || keys.DayOf(x.Time) != keys.DayOf(t.journal[i-1].Time)
		if first {
			kept = f.Flush(kept)
		}
		if kept = f.Add(kept, x); first || t.annotated(x.Time) {
			kept = f.Flush(kept)
		}
	}
	kept = f.Flush(kept)
	worst := m.requireBound(t, kept)
	now := Filtered{Filter: t.compression, First: t.journal[0].Time, Last: kept[len(kept)-1].Time, Samples: uint64(len(t.journal)), MaxError: worst}
	now.LeftOut = now.Samples - uint64(len(kept))
	if n := len(t.figures); n > 0 && t.figures[n-1].Filter == now.Filter {
		t.figures[n-1].add(&now)
	} else {
		t.figures = append(t.figures, now)
	}
	for _, x := range t.journal {
		if !slices.ContainsFunc(kept, func(k filter.Kept) bool { return k.Time == x.Time }) {
			delete(t.stands, x.Time)
		}
	}
}

func (t *plainTag) annotated(at int64) bool {
	for _, in := range t.notes {
		if in.Contains(at) {
			return true
		}
	}
	return false
}

// requireBound holds what was kept against the rule itself, without asking a filter, and returns how far the farthest left out is off:
// what is left out is Good, has no annotation, lies between two kept of its day, and what a reader finds in its place is it, or on a
// line within the deviation of it.
func (m *plainFiltered) requireBound(t *plainTag, kept []filter.Kept) (worst float64) {
	next := 0
	for i, x := range t.journal {
		if next < len(kept) && kept[next].Time == x.Time {
			require.True(m.t, kept[next].SameValue(x))
			next++
			continue
		}
		require.True(m.t, x.Quality == model.Good && !x.Null && !t.annotated(x.Time), "left out: %v", x)
		require.True(m.t, 0 < next && next < len(kept), "left out at an end: %v", x)
		a, b := kept[next-1], kept[next]
		require.Equal(m.t, keys.DayOf(a.Time), keys.DayOf(b.Time))
		require.True(m.t, i > 0 && t.journal[i-1].Quality == x.Quality && t.journal[i+1].Quality == x.Quality, "an end of a quality: %v", x)
		if t.settings.Stepped || x.Type.AlwaysStepped() {
			require.True(m.t, x.SameValue(a.Sample), "a change was left out: %v", x)
			continue
		}
		v0, _ := a.Float64()
		v1, _ := b.Float64()
		v, _ := x.Float64()
		got := model.OnLine(a.Time, v0, b.Time, v1, x.Time)
		if !x.Type.Float() {
			got = math.Round(got)
		}
		ulp := math.Nextafter(max(math.Abs(v), math.Abs(got)), math.Inf(1)) - max(math.Abs(v), math.Abs(got))
		require.LessOrEqual(m.t, math.Abs(got-v), t.compression.Deviation+4*ulp, "%v on the line from %v to %v", x, a, b)
		if limit := int64(t.settings.MaxGap); limit > 0 {
			require.LessOrEqual(m.t, t.journal[i+1].Time-a.Time, limit, "a gap was made")
		}
		worst = max(worst, math.Abs(model.OnLine(a.Time, v0, b.Time, v1, x.Time)-v))
	}
	require.Equal(m.t, len(kept), next)
	return worst
}

// filteredHistory drives a store.
type filteredHistory struct {
	t      testing.TB
	rng    *rand.Rand
	db     *DB
	tags   []model.Settings
	clock  []int64 // of each tag, in plant time
	walk   []float64
	events []*filteredEvent
	seq    uint64
	acked  int
	ops    map[model.TagID][]uint64 // range deletes that are not undone
	notes  int                      // annotations made
}

func filteredOptions(fs vfs.FS) Options {
	o := clocked(testOptions(fs), newClock())
	o.GenerationSamples, o.GenerationBytes, o.SegmentBytes = filteredSamples, 1<<20, 4<<10
	return o
}

func (h *filteredHistory) createTags() {
	for i, s := range h.tags {
		e := &filteredEvent{tag: model.TagID(i + 1), change: &model.Filter{}}
		if i < len(h.tags)-2 {
			e.change = &model.Filter{Deviation: 1.5}
		}
		res, err := h.db.ChangeCatalog(context.Background(), []catalog.Change{{Create: &catalog.Create{Tag: model.Tag{
			Name: fmt.Sprintf("T%d", i+1), UUID: model.UUID{byte(i + 1)}, Compression: *e.change, Settings: []model.Settings{s},
		}}}})
		require.NoError(h.t, err)
		require.NoError(h.t, res[0].Err)
		h.applied(e)
	}
	h.acked = len(h.events)
}

// applied notes an event that is the newest record applied.
func (h *filteredHistory) applied(e *filteredEvent) {
	offset := h.db.applied.value()
	e.offset = func() uint64 { return offset }
	h.events = append(h.events, e)
}

func (h *filteredHistory) step() {
	ctx, r := context.Background(), h.rng
	tag := model.TagID(1 + r.IntN(len(h.tags)))
	catchUp := func() { require.NoError(h.t, h.db.catchUp(ctx)) }
	switch r.IntN(50) {
	case 0:
		catchUp()
		_, err := h.db.Flush(ctx)
		require.NoError(h.t, err)
		h.applied(&filteredEvent{tag: tag, cut: true})
		h.acked = len(h.events)
	case 1:
		catchUp()
		f := model.Filter{Deviation: float64(r.IntN(3))}
		res, err := h.db.ChangeCatalog(ctx, []catalog.Change{{Update: &catalog.Update{ID: tag, Compression: &f}}})
		require.NoError(h.t, err)
		require.NoError(h.t, res[0].Err)
		h.applied(&filteredEvent{tag: tag, change: &f})
	case 2:
		catchUp()
		end := h.clock[tag-1] + int64(r.IntN(20))
		in := model.TimeRange{Start: end - int64(1+r.IntN(60)), End: end}
		offset, err := h.db.DeleteRange(ctx, []model.TagID{tag}, in, "ann", "test")
		require.NoError(h.t, err)
		h.ops[tag] = append(h.ops[tag], offset)
		h.applied(&filteredEvent{tag: tag, del: in})
	case 3:
		if n := len(h.ops[tag]); n == 1 { // of one only it is plain what comes back
			catchUp()
			_, err := h.db.Undelete(ctx, h.ops[tag][0], "ann", "test")
			require.NoError(h.t, err)
			h.applied(&filteredEvent{tag: tag, undo: h.ops[tag][0]})
			h.ops[tag] = nil
		}
	case 4, 5:
		catchUp()
		h.notes++
		start := h.clock[tag-1] + int64(r.IntN(60)) - 30
		e := &filteredEvent{tag: tag, note: model.UUID{byte(h.notes), byte(h.notes >> 8), 15: 1}, in: model.TimeRange{Start: start, End: start + int64(1+r.IntN(10)*r.IntN(3))}}
		require.NoError(h.t, h.db.Annotate(ctx, e.note, tag, e.in, "ann", "test"))
		h.applied(e)
	case 6:
		for i := len(h.events) - 1; i >= 0; i-- {
			if e := h.events[i]; e.note != (model.UUID{}) {
				if !e.in.Empty() { // else the newest is removed already
					catchUp()
					require.NoError(h.t, h.db.RemoveAnnotation(ctx, e.note, "ann"))
					h.applied(&filteredEvent{tag: e.tag, note: e.note})
				}
				break
			}
		}
	case 7:
		catchUp()
		state := record.State{Source: "test", State: record.Missing, Gap: model.Lost, Tags: []model.TagID{tag}, From: h.clock[tag-1], To: h.clock[tag-1] + 5}
		payload := record.AppendHeader(nil, record.Header{Kind: record.CollectorState})
		_, err := h.db.submitOp(ctx, record.AppendState(payload, &state))
		require.NoError(h.t, err)
		h.applied(&filteredEvent{tag: tag, missing: true})
	default:
		h.write(tag)
	}
}

// write sends a run: mostly what a plant sends, now and then late, backfilled, imported or edited.
func (h *filteredHistory) write(tag model.TagID) {
	r, i := h.rng, int(tag)-1
	e := &filteredEvent{tag: tag, mode: model.Update}
	b := &Batch{Source: "test", Epoch: 1}
	if r.IntN(20) == 0 {
		switch r.IntN(4) {
		case 0:
			e.mode = model.NoReplace
		case 1:
			e.backup, b.Source, b.Import = true, "file", true
		case 2:
			e.edit, b.Author, b.Reason = true, "ann", "test"
		}
	}
	at := h.clock[i]
	if r.IntN(15) == 0 {
		at -= int64(r.IntN(50))
	}
	s := model.Samples{Type: h.tags[i].Type}
	for range 1 + r.IntN(12) {
		at += int64(1 + r.IntN(3))
		h.walk[i] += float64(r.IntN(5) - 2)
		x := model.Sample{Time: at, Type: s.Type}
		switch s.Type {
		case model.Float64:
			x.Bits = math.Float64bits(h.walk[i] * 0.3)
		case model.Float32:
			x.Bits = uint64(math.Float32bits(float32(h.walk[i]) / 2))
		case model.String:
			x.Blob = []byte(fmt.Sprint(r.IntN(2)))
		default:
			x.Bits = uint64(int64(math.Abs(h.walk[i])))
		}
		if r.IntN(20) == 0 {
			x.Quality = model.Uncertain
		}
		if r.IntN(25) == 0 {
			x.Quality, x.Null, x.Bits, x.Blob = model.Bad, true, 0, nil
		}
		s.Append(x)
		e.samples = append(e.samples, x)
	}
	h.clock[i] = max(h.clock[i], at)
	h.seq++
	b.Sequence, b.ContentHash, b.Epoch = 1, h.seq, h.seq
	b.Runs = []Run{{Tag: tag, Mode: e.mode, Samples: s}}
	p, err := h.db.Submit(context.Background(), b)
	require.NoError(h.t, err)
	e.offset = p.Offset
	h.events = append(h.events, e)
	if r.IntN(3) == 0 {
		require.NoError(h.t, p.Accepted(context.Background()))
		h.acked = len(h.events)
	}
}

// check holds the store against the model of the records that it has applied.
func (h *filteredHistory) check() {
	applied := h.db.applied.value()
	m := newPlainFiltered(h.t, h.tags)
	for _, e := range h.events {
		if e.offset() <= applied {
			m.apply(e)
		}
	}
	require.Eventually(h.t, func() bool { // until a generation is ended and written all samples are seen
		h.db.mu.RLock()
		defer h.db.mu.RUnlock()
		return h.db.head.Samples == m.samples && len(h.db.frozen) == 0
	}, patience, 100*time.Microsecond)
	v, err := h.db.View(context.Background(), Accepted)
	require.NoError(h.t, err)
	defer v.Close()
	for id, t := range m.tags {
		var want []model.Sample
		for _, at := range slices.Sorted(maps.Keys(t.stands)) {
			want = append(want, t.stands[at])
		}
		got := readAll(h.t, v, id, model.All)
		require.Equal(h.t, times(want), times(got), "tag %d", id)
		for i := range want {
			require.True(h.t, want[i].SameValue(got[i]), "tag %d at %d: %v, want %v", id, want[i].Time, got[i], want[i])
		}
		last, ok := v.Latest(id)
		require.Equal(h.t, len(want) > 0, ok, "tag %d", id)
		if ok {
			require.True(h.t, want[len(want)-1].SameValue(last) && last.Time == want[len(want)-1].Time, "tag %d: latest %v, want %v", id, last, want[len(want)-1])
		}
		h.checkFigures(h.db.Filtered(id), t.figures)
	}
}

// checkFigures holds what the store says of what was left out against what was.
func (h *filteredHistory) checkFigures(have, want []Filtered) {
	require.Len(h.t, have, len(want))
	for i, x := range have {
		require.LessOrEqual(h.t, x.MaxError, x.Filter.Deviation*(1+1e-12), "%+v", x)
		require.GreaterOrEqual(h.t, x.MaxError, want[i].MaxError*(1-1e-12), "%+v", x)
		require.Equal(h.t, x.LeftOut == 0, x.ErrorAt == 0, "%+v", x)
		x.MaxError, x.ErrorAt = want[i].MaxError, want[i].ErrorAt
		require.Equal(h.t, want[i], x)
	}
}

func times(s []model.Sample) (out []int64) {
	for _, x := range s {
		out = append(out, x.Time)
	}
	return out
}

// TestFilteredPowerCut writes tags that are filtered, cuts the power, and holds what comes back against the plain model of exactly the
// records accepted: nothing acknowledged is missing that the filter does not leave out, and a replay leaves out the same.
func TestFilteredPowerCut(t *testing.T) {
	eachSeed(t, (seeds("VARVE_CRASH_SEEDS", 1000)+3)/4, func(t *testing.T, seed uint64) {
		rng := rand.New(rand.NewPCG(seed, 77))
		fs := vfs.NewCrashableMem()
		h := &filteredHistory{t: t, rng: rng, ops: map[model.TagID][]uint64{}, tags: []model.Settings{
			{Type: model.Float64}, {Type: model.Int64}, {Type: model.State}, {Type: model.Float32, MaxGap: 9}, {Type: model.Float64, Stepped: true},
			{Type: model.Float64}, {Type: model.String},
		}}
		midnight := keys.DayOf(1 << 60).Range().End
		for range h.tags {
			h.clock, h.walk = append(h.clock, midnight-int64(rng.IntN(300))), append(h.walk, 0)
		}
		db, err := Open("store", filteredOptions(fs))
		require.NoError(t, err)
		h.db = db
		h.createTags()
		for range 1 + rng.IntN(3) {
			for range 10 + rng.IntN(60) {
				h.step()
				if rng.IntN(30) == 0 {
					require.NoError(t, h.db.catchUp(context.Background()))
					h.check()
				}
				if rng.IntN(30) == 0 {
					require.NoError(t, h.db.catchUp(context.Background()))
					seal(t, h.db)
					h.applied(&filteredEvent{tag: 1, cut: true})
				}
			}
			for high := h.db.log.HighWatermark(); h.acked < len(h.events) && h.events[h.acked].offset() <= high; {
				h.acked++
			}
			clone := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
			require.NoError(t, h.db.Close())
			fs = clone
			h.db, err = Open("store", filteredOptions(fs))
			require.NoError(t, err)
			requireNoAlarms(t, h.db)
			applied := h.db.applied.value()
			k := 0
			for k < len(h.events) && h.events[k].offset() <= applied {
				k++
			}
			require.GreaterOrEqual(t, k, h.acked, "acknowledged records came back")
			h.events, h.acked = h.events[:k], k
			h.ops = map[model.TagID][]uint64{}
			for _, e := range h.events {
				switch {
				case e.undo != 0:
					h.ops[e.tag] = nil
				case !e.del.Empty():
					h.ops[e.tag] = append(h.ops[e.tag], e.offset())
				}
			}
			h.check()
		}
		_, err = h.db.Flush(context.Background())
		require.NoError(t, err)
		h.applied(&filteredEvent{tag: 1, cut: true})
		h.check()
		seal(t, h.db)
		h.check()
		require.NoError(t, h.db.Close())
		_, err = Verify(context.Background(), "store", filteredOptions(fs), func(d Damage) { require.Fail(t, "damage", d.String()) }, nil)
		require.NoError(t, err)
	})
}

// TestWhoLooksWaitsForTheFilter: whether a sample that is left out stands is the same however far the writer of its generation is.
func TestWhoLooksWaitsForTheFilter(t *testing.T) {
	ctx := context.Background()
	db, err := Open("store", filteredOptions(vfs.NewMem()))
	require.NoError(t, err)
	defer db.Close()
	res, err := db.ChangeCatalog(ctx, []catalog.Change{{Create: &catalog.Create{Tag: model.Tag{
		Name: "a", UUID: model.UUID{1}, Compression: model.Filter{Deviation: 1}, Settings: []model.Settings{{From: model.MinTime, Type: model.Float64}},
	}}}})
	require.NoError(t, err)
	tag := res[0].Tag.ID
	for round := range int64(fewer(200)) {
		s := model.Samples{Type: model.Float64}
		for i := range int64(filteredSamples) {
			s.Append(model.Sample{Time: round*1000 + i, Type: model.Float64})
		}
		_, err := db.Submit(ctx, &Batch{Runs: []Run{{Tag: tag, Mode: model.Update, Samples: s}}})
		require.NoError(t, err)
		again := s.Slice(1, 2)
		p, err := db.Submit(ctx, &Batch{Runs: []Run{{Tag: tag, Mode: model.NoReplace, Samples: again}}})
		require.NoError(t, err)
		r, err := p.Applied(ctx)
		require.NoError(t, err)
		require.Equal(t, 1, r.Applied, "the sample was left out, so there is none to ignore it for")
		_, err = db.Flush(ctx) // or the next generation would have history in it, and keep all
		require.NoError(t, err)
	}
	v, err := db.View(ctx, Accepted)
	require.NoError(t, err)
	defer v.Close()
	require.Len(t, readAll(t, v, tag, model.All), 3*fewer(200))
}

// TestFilterFollowsDatedSettings: of samples between which the tag became stepped all stay.
func TestFilterFollowsDatedSettings(t *testing.T) {
	ctx := context.Background()
	db, err := Open("store", filteredOptions(vfs.NewMem()))
	require.NoError(t, err)
	defer db.Close()
	make1 := func(name string, settings ...model.Settings) model.TagID {
		res, err := db.ChangeCatalog(ctx, []catalog.Change{{Create: &catalog.Create{Tag: model.Tag{
			Name: name, UUID: model.UUID{name[0]}, Compression: model.Filter{Deviation: 1, MaxTime: time.Hour}, Settings: settings[:1],
		}}}})
		require.NoError(t, err)
		for _, s := range settings[1:] {
			_, err := db.ChangeCatalog(ctx, []catalog.Change{{Update: &catalog.Update{ID: res[0].Tag.ID, Settings: &s}}})
			require.NoError(t, err)
		}
		return res[0].Tag.ID
	}
	sloped := make1("a", model.Settings{From: model.MinTime, Type: model.Float64})
	gap := make1("b", model.Settings{From: model.MinTime, Type: model.Float64, MaxGap: 4})
	dated := make1("c", model.Settings{From: model.MinTime, Type: model.Float64}, model.Settings{From: 5, Type: model.Float64, Stepped: true})
	for tag, want := range map[model.TagID][]int64{sloped: {0, 9}, gap: {0, 4, 8, 9}, dated: {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}} {
		s := model.Samples{Type: model.Float64}
		for i := range int64(10) {
			s.Append(model.Sample{Time: i, Type: model.Float64})
		}
		p, err := db.Submit(ctx, &Batch{Runs: []Run{{Tag: tag, Mode: model.Update, Samples: s}}})
		require.NoError(t, err)
		_, err = p.Applied(ctx)
		require.NoError(t, err)
		read := func() []int64 {
			v, err := db.View(ctx, Accepted)
			require.NoError(t, err)
			defer v.Close()
			return times(readAll(t, v, tag, model.All))
		}
		require.Len(t, read(), 10, "all are seen until the generation ends")
		_, err = db.Flush(ctx)
		require.NoError(t, err)
		require.Equal(t, want, read())
	}
}

// TestFiguresOfAGenerationThatIsThereAlready: written once more, it is not counted twice.
func TestFiguresOfAGenerationThatIsThereAlready(t *testing.T) {
	ctx := context.Background()
	db, err := Open("store", filteredOptions(vfs.NewMem()))
	require.NoError(t, err)
	defer db.Close()
	res, err := db.ChangeCatalog(ctx, []catalog.Change{{Create: &catalog.Create{Tag: model.Tag{
		Name: "a", UUID: model.UUID{1}, Compression: model.Filter{Deviation: 1}, Settings: []model.Settings{{From: model.MinTime, Type: model.Float64}},
	}}}})
	require.NoError(t, err)
	tag := res[0].Tag.ID
	write := func(from int64) {
		s := model.Samples{Type: model.Float64}
		for i := range int64(10) {
			s.Append(model.Sample{Time: from + i, Type: model.Float64})
		}
		_, err := db.Submit(ctx, &Batch{Runs: []Run{{Tag: tag, Mode: model.Update, Samples: s}}})
		require.NoError(t, err)
		_, err = db.Flush(ctx)
		require.NoError(t, err)
	}
	write(0)
	want := []Filtered{{Filter: model.Filter{Deviation: 1}, Last: 9, Samples: 10, LeftOut: 8, ErrorAt: 9}}
	require.Equal(t, want, db.Filtered(tag))
	db.mu.Lock()
	db.filtered[tag] = filteredTag{db.log.HighWatermark() + 2, db.filtered[tag].figures} // the batch and the cut that come
	db.mu.Unlock()
	write(100)
	require.Equal(t, want, db.Filtered(tag))
	write(200)
	want[0].Last, want[0].Samples, want[0].LeftOut, want[0].ErrorAt = 209, 20, 16, 9
	require.Equal(t, want, db.Filtered(tag))
}

// TestFiguresOfManySettings: a tag has at most so many figures, and the oldest are made one with nothing lost but which was which.
func TestFiguresOfManySettings(t *testing.T) {
	ctx := context.Background()
	fs := vfs.NewMem()
	db, err := Open("store", filteredOptions(fs))
	require.NoError(t, err)
	res, err := db.ChangeCatalog(ctx, []catalog.Change{{Create: &catalog.Create{Tag: model.Tag{
		Name: "a", UUID: model.UUID{1}, Settings: []model.Settings{{From: model.MinTime, Type: model.Float64}},
	}}}})
	require.NoError(t, err)
	tag := res[0].Tag.ID
	rounds := maxFiltered + 10
	for round := range rounds {
		f := model.Filter{Deviation: float64(1 + round)}
		_, err := db.ChangeCatalog(ctx, []catalog.Change{{Update: &catalog.Update{ID: tag, Compression: &f}}})
		require.NoError(t, err)
		s := model.Samples{Type: model.Float64}
		for i := range int64(5) {
			s.Append(model.Sample{Time: int64(round)*100 + i, Type: model.Float64})
		}
		_, err = db.Submit(ctx, &Batch{Runs: []Run{{Tag: tag, Mode: model.Update, Samples: s}}})
		require.NoError(t, err)
		_, err = db.Flush(ctx)
		require.NoError(t, err)
	}
	figures := db.Filtered(tag)
	require.Len(t, figures, maxFiltered)
	require.Equal(t, Filtered{Filter: model.Filter{Deviation: 11}, Last: 1004, Samples: 55, LeftOut: 33, ErrorAt: 4}, figures[0])
	require.NoError(t, db.Close())
	db, err = Open("store", filteredOptions(fs))
	require.NoError(t, err)
	defer db.Close()
	require.Equal(t, figures, db.Filtered(tag), "they outlast a restart")
}
