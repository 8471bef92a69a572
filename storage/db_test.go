package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/internal/plain"
	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/catalog"
	"github.com/varvedb/varve/storage/chunk"
	"github.com/varvedb/varve/storage/keys"
	"github.com/varvedb/varve/storage/record"
)

var testTypes = []model.Type{model.Float64, model.Float32, model.Int64, model.Uint64, model.Bool, model.State, model.String, model.Bytes}

// history drives a store and the plain model with the same random writes.
type history struct {
	t          testing.TB
	rng        *rand.Rand
	db         *DB
	model      plain.Store
	notes      plain.Notes
	runs       plain.Runs
	runRNG     *rand.Rand // draws forecast runs, as noteRNG does; nil for none
	noteRNG    *rand.Rand // draws annotations; nil for none, so that what rng draws does not depend on them
	gaps       plain.Gaps
	gapRNG     *rand.Rand // draws gaps; nil for none
	tags       int
	seq        uint64
	undone     []uint64
	clock      *atomic.Int64 // nil: the time of the machine
	tierDir    string        // of the tier; empty for none
	diskBudget int64         // 0 for none
	tidy       bool          // all values Good, finite numbers
}

// tick lets some time pass: often none, so that several writes fall into one second, and most often less than one.
func (h *history) tick() {
	if h.clock == nil {
		return
	}
	h.clock.Add([]int64{0, 1, 1e8, 4e8, 1e9, 25e8}[h.rng.IntN(6)])
}

// startOfTestClock is inside a second.
const startOfTestClock = 20*1e9 - 3

func newClock() *atomic.Int64 {
	c := new(atomic.Int64)
	c.Store(startOfTestClock)
	return c
}

// clocked is options whose time is the clock's.
func clocked(o Options, clock *atomic.Int64) Options {
	if clock == nil {
		return o
	}
	o.Now = func() time.Time { return time.Unix(0, clock.Load()) }
	return o
}

// stamp notes when writes just submitted were ingested.
func (h *history) stamp(writes []plain.Write) {
	h.db.submitMu.Lock()
	defer h.db.submitMu.Unlock()
	for i := range writes {
		writes[i].Ingest = h.db.lastIngest
	}
}

func (h *history) open(fs vfs.FS) {
	o := clocked(testOptions(fs), h.clock)
	o.TierDir, o.TierAfter, o.DiskBudget = h.tierDir, -1, h.diskBudget
	db, err := Open("store", o)
	require.NoError(h.t, err)
	h.db = db
}

func testOptions(fs vfs.FS) Options {
	return Options{
		FS: fs, MemoryBytes: 64 << 20, SegmentBytes: 16 << 10, GenerationSamples: 300, GenerationBytes: 64 << 10,
		MinFreeBytes: -1, BallastBytes: -1, BlockBytes: 1 << 10, SealAfter: -1, SealedSamples: 256, ScrubRate: -1,
	}
}

func newHistory(t testing.TB, seed uint64, fs vfs.FS) *history {
	h := &history{t: t, rng: rand.New(rand.NewPCG(seed, 1)), model: plain.Store{}, notes: plain.Notes{}, gaps: plain.Gaps{}, noteRNG: rand.New(rand.NewPCG(seed, 3)), runRNG: rand.New(rand.NewPCG(seed, 6)), tags: len(testTypes), clock: newClock()}
	h.open(fs)
	h.createTags()
	return h
}

func (h *history) createTags() {
	var changes []catalog.Change
	for i, ty := range testTypes {
		changes = append(changes, catalog.Change{Create: &catalog.Create{Tag: model.Tag{
			Name: fmt.Sprintf("T%d", i+1), UUID: model.UUID{byte(i + 1)}, Settings: []model.Settings{{From: model.MinTime, Type: ty}},
		}}})
	}
	changes[5].Create.Tag.Settings[0].StateSet = ""
	res, err := h.db.ChangeCatalog(context.Background(), changes)
	require.NoError(h.t, err)
	for i, r := range res {
		require.NoError(h.t, r.Err)
		require.Equal(h.t, model.TagID(i+1), r.Tag.ID)
	}
}

// randomWrite draws a run: times from a small range over several days so that keys collide, every mode, odd values.
func (h *history) randomWrite() plain.Write {
	r := h.rng
	tag := model.TagID(1 + r.IntN(h.tags))
	w := plain.Write{Tag: tag, Mode: model.WriteMode(1 + r.IntN(6))}
	if r.IntN(3) == 0 {
		w.Mode = model.Update
	}
	s := &w.Samples
	s.Reset(testTypes[tag-1])
	n := 1 + r.IntN(40)
	at := int64(r.IntN(4*86400/60)-86400/60) * 60e9
	for i := range n {
		if r.IntN(6) == 0 {
			at = int64(r.IntN(4*86400/60)-86400/60) * 60e9
		}
		x := model.Sample{Time: at, Type: s.Type}
		at += int64(r.IntN(3)) * 60e9
		h.randomValue(&x)
		_ = i
		s.Append(x)
	}
	if w.Mode == model.Remove {
		s.Bits, s.Blobs, s.Quality, s.Null = nil, nil, nil, nil
		w.All = r.IntN(3) == 0
	}
	if (w.Mode == model.Update || w.Mode == model.Replace || w.Mode == model.Remove) && !w.All && r.IntN(4) == 0 {
		s.Seq = make([]uint32, n)
		for i := range s.Seq {
			s.Seq[i] = uint32(r.IntN(3))
		}
	}
	if r.IntN(5) == 0 {
		w.Author, w.Reason = "mara", fmt.Sprintf("reason %d", r.IntN(3))
	}
	return w
}

func (h *history) randomValue(x *model.Sample) {
	r := h.rng
	if h.tidy {
		x.Bits = math.Float64bits(float64(r.IntN(1000)) / 8)
		if x.Type == model.Float32 {
			x.Bits = uint64(math.Float32bits(float32(r.IntN(1000)) / 8))
		}
		return
	}
	if r.IntN(8) == 0 {
		x.Quality = []model.Quality{model.Uncertain, model.BadNoData, 0x80000001}[r.IntN(3)]
	}
	if r.IntN(12) == 0 {
		x.Null = true
		return
	}
	small := uint64(r.IntN(4))
	switch x.Type {
	case model.Float64:
		x.Bits = []uint64{math.Float64bits(float64(small)), math.Float64bits(math.NaN()) | small, 1 << 63, math.Float64bits(math.Inf(1))}[r.IntN(4)]
	case model.Float32:
		x.Bits = uint64(math.Float32bits(float32(small)))
	case model.Int64, model.State:
		x.Bits = uint64(int64(small) - 2)
	case model.Uint64:
		x.Bits = math.MaxUint64 - small
	case model.Bool:
		x.Bits = small & 1
	default:
		x.Blob = []byte(fmt.Sprintf("v%d", small))[:r.IntN(3)]
	}
}

func (h *history) batch(writes []plain.Write) *Batch {
	h.seq++
	b := &Batch{Source: "test", Epoch: 1, Sequence: h.seq, ContentHash: h.seq, Author: writes[0].Author, Reason: writes[0].Reason}
	for _, w := range writes {
		b.Runs = append(b.Runs, Run{Tag: w.Tag, Mode: w.Mode, All: w.All, Samples: w.Samples})
	}
	return b
}

// testOp is a range delete, or the undoing of one, or what is erased for good.
type testOp struct {
	id, undo       uint64
	erase          record.Cause // 0: nothing
	tags           []model.TagID
	in             model.TimeRange
	author, reason string
	ingest         int64
	note           *record.Note  // all there is
	gap            *record.State // all there is
	run            *plain.Run    // all there is
}

func (o *testOp) apply(m plain.Store) {
	if o.note != nil || o.gap != nil || o.run != nil {
		return
	}
	if o.erase != 0 {
		m.Erase(o.tags, o.in)
		return
	}
	v := plain.Version{Author: o.author, Reason: o.reason, Ingest: o.ingest}
	if o.undo != 0 {
		m.Undelete(o.undo, v)
		return
	}
	m.DeleteRange(o.id, o.tags, o.in, v)
}

// randomOp draws a range delete, short or over days, or undoes one.
func (h *history) randomOp() *testOp {
	r := h.rng
	o := &testOp{author: "ann", reason: fmt.Sprintf("delete %d", r.IntN(3))}
	var open []uint64
	for _, d := range h.db.Deletes() {
		if d.Undone == nil && !slices.Contains(h.undone, d.Offset) {
			open = append(open, d.Offset)
		}
	}
	if r.IntN(3) == 0 {
		o.erase = record.Cause(1 + r.IntN(3))
	} else if len(open) > 0 && r.IntN(2) == 0 {
		o.undo = open[r.IntN(len(open))]
		h.undone = append(h.undone, o.undo)
		return o
	}
	for tag := range model.TagID(h.tags) {
		if r.IntN(4) == 0 {
			o.tags = append(o.tags, tag+1)
		}
	}
	if len(o.tags) == 0 && (o.erase == 0 || r.IntN(3) > 0) {
		o.tags = []model.TagID{1}
	}
	from := int64(r.IntN(5*1440)-2*1440) * 60e9
	o.in = model.TimeRange{Start: from, End: from + []int64{1, 3600e9, 86400e9, 3 * 86400e9}[r.IntN(4)]}
	if o.erase != 0 && r.IntN(2) == 0 { // whole days
		o.in = model.TimeRange{Start: keys.DayOf(o.in.Start).Range().Start, End: keys.DayOf(o.in.End - 1).Range().End}
	}
	if r.IntN(12) == 0 {
		o.in = model.All
	}
	return o
}

// submitOp sends it without waiting.
func (h *history) submitOp(o *testOp) (*pending, error) {
	payload := record.AppendHeader(nil, record.Header{Kind: record.Undelete})
	switch {
	case o.gap != nil:
		payload = record.AppendState(record.AppendHeader(nil, record.Header{Kind: record.CollectorState}), o.gap)
	case o.note != nil:
		payload = record.AppendNote(record.AppendHeader(nil, record.Header{Kind: record.Annotation}), o.note)
	case o.run != nil:
		payload = runPayload(o.run)
	case o.undo != 0:
		payload = record.AppendUndelete(payload, &record.UndeleteRange{Offset: o.undo, Author: o.author, Reason: o.reason})
	case o.erase != 0:
		x := record.Erasure{What: record.SamplesAndRollups, Cause: o.erase, Class: "fast", From: o.in.Start, To: o.in.End}
		if o.tags != nil {
			b, err := encodeTags(tagSet(o.tags))
			require.NoError(h.t, err)
			x.Tags = b
		}
		payload = record.AppendErasure(record.AppendHeader(nil, record.Header{Kind: record.Erase}), &x)
	default:
		payload = record.AppendHeader(nil, record.Header{Kind: record.Delete})
		payload = record.AppendDelete(payload, &record.DeleteRange{Tags: o.tags, From: o.in.Start, To: o.in.End, Author: o.author, Reason: o.reason})
	}
	p, err := h.db.submit(context.Background(), payload)
	if err == nil {
		o.id = p.offset
		h.db.submitMu.Lock()
		o.ingest = h.db.lastIngest
		h.db.submitMu.Unlock()
	}
	return p, err
}

// step writes one batch to store and model, and holds the outcomes against each other.
func (h *history) step() {
	h.tick()
	if h.drawsNote(5) {
		h.stepNote()
	}
	if h.gapRNG != nil && h.gapRNG.IntN(4) == 0 {
		h.stepGap()
	}
	if h.drawsRun(5) {
		h.stepRun()
	}
	if h.rng.IntN(10) == 0 {
		op := h.randomOp()
		p, err := h.submitOp(op)
		require.NoError(h.t, err)
		require.NoError(h.t, p.waitOutcome(context.Background()))
		op.apply(h.model)
		op.applyNote(h.notes)
		op.applyGap(h.gaps)
		op.applyRun(&h.runs)
		return
	}
	writes := []plain.Write{h.randomWrite()}
	for h.rng.IntN(2) == 0 {
		w := h.randomWrite()
		w.Author, w.Reason = writes[0].Author, writes[0].Reason
		writes = append(writes, w)
	}
	p, err := h.db.Submit(context.Background(), h.batch(writes))
	require.NoError(h.t, err)
	h.stamp(writes)
	res, err := p.Applied(context.Background())
	require.NoError(h.t, err)
	var want Result
	for n := range writes {
		for i, o := range h.model.Apply(&writes[n]) {
			switch o {
			case model.Applied:
				want.Applied++
			case model.Ignored:
				want.Ignored++
			default:
				want.fail(n, i, 1, o)
			}
		}
	}
	require.Equal(h.t, want, *res)
}

func readAll(t testing.TB, v *View, tag model.TagID, in model.TimeRange) []model.Sample {
	return collect(t, v.Samples(tag, in))
}

// collect reads a cursor to its end.
func collect(t testing.TB, c *Cursor) []model.Sample {
	defer c.Close()
	tag, in := c.tag, c.in
	out := readOut(t, c, func(*Block) {})
	if c.past != nil { // put together from several chunks, and decoded nowhere else
		return out
	}

	// Once more, into columns as a query lends them. What lies there stays: it is on its way to somebody already.
	var lent []int64
	var kept, copies []model.Samples
	calls := 0
	c.DecodeInto(func(n int) ([]int64, []uint64) {
		if calls++; calls%3 == 0 {
			return nil, nil
		}
		lent = make([]int64, n)
		return lent[:0], make([]uint64, 0, n)
	})
	c.Reset(tag, in)
	again := readOut(t, c, func(b *Block) {
		if at := len(lent) - b.Len(); at >= 0 && (&lent[0] == &b.Times[0] || &lent[at] == &b.Times[0]) {
			kept = append(kept, b.Samples)
			copies = append(copies, model.Samples{Times: slices.Clone(b.Times), Bits: slices.Clone(b.Bits)})
		}
	})
	require.Equal(t, len(out), len(again))
	for i := range out {
		require.True(t, sameSample(out[i], again[i]), "tag %d %v: own memory %+v, lent %+v", tag, in, out[i], again[i])
	}
	for i := range kept {
		require.Equal(t, copies[i].Times, kept[i].Times)
		require.Equal(t, copies[i].Bits, kept[i].Bits)
	}
	return out
}

func readOut(t testing.TB, c *Cursor, see func(*Block)) []model.Sample {
	var out []model.Sample
	for {
		b, err := c.Next(context.Background())
		if errors.Is(err, io.EOF) {
			return out
		}
		require.NoError(t, err)
		require.NotZero(t, b.Len())
		n := 0
		for _, o := range b.Origins {
			n += o.Samples
		}
		require.Equal(t, b.Len(), n, "origins cover all samples")
		see(b)
		for i := range b.Len() {
			x := b.At(i)
			x.Blob = slices.Clone(x.Blob)
			out = append(out, x)
		}
	}
}

// requireSame holds what a view has of every tag against the model.
func requireSame(t testing.TB, db *DB, m plain.Store, rng *rand.Rand) {
	v, err := db.View(context.Background(), Accepted)
	require.NoError(t, err)
	defer v.Close()
	for tag := model.TagID(1); int(tag) <= len(testTypes); tag++ {
		from, to := int64(rng.IntN(5*1440)-2*1440)*60e9, int64(rng.IntN(5*1440)-2*1440)*60e9
		for _, in := range []model.TimeRange{model.All, model.Between(from, to)} {
			want := m.Current(tag, in)
			have := readAll(t, v, tag, in)
			require.Equal(t, len(want), len(have), "tag %d %v", tag, in)
			for i := range want {
				require.True(t, sameSample(want[i], have[i]), "tag %d %v: want %+v, have %+v", tag, in, want[i], have[i])
			}
		}
		requireCounts(t, v, m, tag)
		asOf := startOfTestClock - 1e9 + rng.Int64N(150e9)
		for _, in := range []model.TimeRange{model.All, model.Between(from, to)} {
			past := v.SamplesAsOf(tag, in, asOf)
			if errors.Is(past.err, ErrErased) {
				require.True(t, slices.ContainsFunc(v.src.erasedOf(tag), func(x erased) bool {
					return chunk.Second(x.ingest) > chunk.Second(asOf) && x.in.Start < in.End && in.Start < x.in.End
				}))
				past.Close()
				continue
			}
			want, have := m.AsOf(tag, in, asOf), collect(t, past)
			require.Equal(t, len(want), len(have), "tag %d %v as of %d", tag, in, asOf)
			for i := range want {
				require.True(t, sameSample(want[i], have[i]), "tag %d %v as of %d: want %+v, have %+v", tag, in, asOf, want[i], have[i])
			}
			requireModified(t, v, m, tag, in)
		}
		wantV := m.Versions(tag, model.All)
		haveV, err := v.Versions(context.Background(), tag, model.All)
		require.NoError(t, err)
		require.Equal(t, len(wantV), len(haveV), "versions of tag %d", tag)
		for i := range wantV {
			w, h := wantV[i], haveV[i]
			require.Equal(t, chunk.Second(w.Ingest), chunk.Second(h.Ingest), "tag %d version %d", tag, i)
			require.True(t, sameSample(w.Sample, h.Sample) && w.Kind == h.Kind && w.Author == h.Author && w.Reason == h.Reason,
				"tag %d version %d: want %+v, have %+v", tag, i, w, h)
		}
		wantL, ok := m.Latest(tag)
		haveL, ok2 := v.Latest(tag)
		require.Equal(t, ok, ok2, "latest of tag %d", tag)
		if ok {
			require.True(t, sameSample(wantL, haveL), "latest of tag %d: want %+v, have %+v", tag, wantL, haveL)
		}
	}
}

// requireCounts holds the number of samples of every six hours, which rollups may tell, against the model's.
func requireCounts(t testing.TB, v *View, m plain.Store, tag model.TagID) {
	var edges []int64
	for h := int64(-24); h <= 5*24; h += 6 {
		edges = append(edges, h*3600e9)
	}
	want := make([]int64, len(edges)-1)
	for _, x := range m.Current(tag, model.TimeRange{Start: edges[0], End: edges[len(edges)-1]}) {
		want[(x.Time-edges[0])/(6*3600e9)]++
	}
	var have Partials
	require.NoError(t, v.Partials(context.Background(), tag, edges, Full, &have))
	for i := range want {
		require.Equal(t, want[i], have.Buckets[i].Counts().All(), "tag %d, samples of bucket %d", tag, i)
	}
}

// requireModified holds the values that no longer stand against the model's.
func requireModified(t testing.TB, v *View, m plain.Store, tag model.TagID, in model.TimeRange) {
	want := m.Modified(tag, in)
	c := v.Modified(tag, in)
	defer c.Close()
	n := 0
	for {
		b, err := c.Next(context.Background())
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		require.NotZero(t, b.Len())
		require.Len(t, b.Ends, b.Len())
		at, left := -1, 0
		for i := range b.Len() {
			for ; left == 0; left = b.Origins[at].Samples {
				at++
			}
			left--
			require.Less(t, n, len(want), "tag %d %v", tag, in)
			w, h, end := &want[n], b.At(i), b.Ends[i]
			require.True(t, sameSample(w.Sample, h), "tag %d %v value %d: want %+v, have %+v", tag, in, n, w, h)
			require.Equal(t, chunk.Second(w.Ingest), b.Origins[at].Ingest, "tag %d value %d: want %+v, have %+v %+v", tag, n, w, h, end)
			require.Equal(t, w.Kind, end.Kind)
			require.Equal(t, chunk.Second(w.Ended), chunk.Second(end.Time), "tag %d value %d: want %+v, have %+v %+v", tag, n, w, h, end)
			require.Equal(t, []string{w.Author, w.Reason}, []string{end.Author, end.Reason})
			n++
		}
	}
	require.Equal(t, len(want), n, "tag %d %v", tag, in)
}

func sameSample(a, b model.Sample) bool {
	return a.Time == b.Time && a.Seq == b.Seq && a.SameValue(b)
}

func TestStoreAnswersLikeThePlainModel(t *testing.T) {
	for seed := range uint64(seeds("VARVE_MODEL_SEEDS", fewer(20))) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			fs := vfs.NewMem()
			h := newHistory(t, seed, fs)
			for i := range 120 {
				h.step()
				switch h.rng.IntN(25) {
				case 0:
					_, err := h.db.Flush(context.Background())
					require.NoError(t, err)
				case 1:
					require.NoError(t, h.db.Close())
					h.open(fs)
				case 2:
					seal(t, h.db)
				}
				if i%20 == 19 {
					requireSame(t, h.db, h.model, h.rng)
				}
			}
			requireSame(t, h.db, h.model, h.rng)
			seal(t, h.db)
			requireSame(t, h.db, h.model, h.rng)
			requireNoAlarms(t, h.db)
			require.NoError(t, h.db.Close())
		})
	}
}

func seal(t testing.TB, db *DB) {
	_, err := db.Seal(context.Background())
	require.NoError(t, err)
}
