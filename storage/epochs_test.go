package storage

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/catalog"
)

// plainEpochs is the plain model of a tag whose type changes: what stands at which time, and from when on it is of which type.
type plainEpochs struct {
	stands map[int64]model.Sample
	epochs []model.Epoch
	hold   map[uint64]map[int64]model.Sample // what range deletes took away, by their offsets
	ends   map[uint64]int64                  // where they end
}

func (p *plainEpochs) at(t int64) model.Epoch {
	e := p.epochs[0]
	for _, x := range p.epochs[1:] {
		if x.From <= t {
			e = x
		}
	}
	return e
}

// mayRetype is the rule: behind all that stands or may stand again, and behind where the type changed last.
func (p *plainEpochs) mayRetype(from int64) bool {
	for t := range p.stands {
		if t >= from {
			return false
		}
	}
	for _, end := range p.ends {
		if end > from {
			return false
		}
	}
	return from > p.epochs[len(p.epochs)-1].From
}

// epochHistory drives a store with one tag.
type epochHistory struct {
	t     *testing.T
	rng   *rand.Rand
	db    *DB
	model *plainEpochs
	clock int64
}

const epochTag = model.TagID(1)

func (h *epochHistory) tag() *model.Tag {
	tag, ok := h.db.Catalog().Tag(epochTag)
	require.True(h.t, ok)
	return tag
}

func (h *epochHistory) submit(b *Batch) *Result {
	p, err := h.db.Submit(context.Background(), b)
	require.NoError(h.t, err)
	r, err := p.Applied(context.Background())
	require.NoError(h.t, err)
	return r
}

func (h *epochHistory) step() {
	ctx, r, m := context.Background(), h.rng, h.model
	switch r.IntN(12) {
	case 0: // a change of type that may be refused
		from := h.clock - 20 + int64(r.IntN(60))
		s := model.Settings{From: from, Type: model.Type(1 + r.IntN(8))}
		now := m.epochs[len(m.epochs)-1]
		if s.Type == now.Type {
			return
		}
		res, err := h.db.ChangeCatalog(ctx, []catalog.Change{{Update: &catalog.Update{ID: epochTag, Settings: &s}}})
		require.NoError(h.t, err)
		if !m.mayRetype(from) {
			require.ErrorIs(h.t, res[0].Err, catalog.ErrBadSettings)
			return
		}
		require.NoError(h.t, res[0].Err)
		m.epochs = append(m.epochs, model.Epoch{From: from, ID: res[0].Tag.KeptBy(model.MaxTime), Type: s.Type})
		require.Equal(h.t, m.epochs, res[0].Tag.Epochs())
	case 1:
		end := h.clock - 30 + int64(r.IntN(40))
		in := model.TimeRange{Start: end - int64(1+r.IntN(30)), End: end}
		offset, err := h.db.DeleteRange(ctx, h.tag().EpochIDs(), in, "ann", "test")
		require.NoError(h.t, err)
		gone := map[int64]model.Sample{}
		for t, x := range m.stands {
			if in.Contains(t) {
				gone[t] = x
				delete(m.stands, t)
			}
		}
		m.hold[offset], m.ends[offset] = gone, end
	case 2:
		if len(m.ends) != 1 { // of one only it is plain what comes back
			return
		}
		for offset, gone := range m.hold {
			_, err := h.db.Undelete(ctx, offset, "ann", "test")
			require.NoError(h.t, err)
			for t, x := range gone {
				if _, there := m.stands[t]; !there {
					m.stands[t] = x
				}
			}
		}
		clear(m.hold)
		clear(m.ends)
	case 3: // the newest sample is removed
		if len(m.stands) == 0 {
			return
		}
		t := slices.Max(slices.Collect(maps.Keys(m.stands)))
		e := m.at(t)
		res := h.submit(&Batch{Author: "ann", Reason: "test", Runs: []Run{{Tag: e.ID, Mode: model.Remove, Samples: model.Samples{Type: e.Type, Times: []int64{t}}}}})
		require.Equal(h.t, 1, res.Applied)
		delete(m.stands, t)
	case 4: // a run that was sorted before the type changed
		e := m.epochs[r.IntN(len(m.epochs))]
		t := h.clock - 40 + int64(r.IntN(60))
		if m.at(t).ID == e.ID {
			return
		}
		s := model.Samples{Type: e.Type}
		s.Append(epochSample(r, t, e.Type))
		res := h.submit(&Batch{Runs: []Run{{Tag: e.ID, Mode: model.Update, Samples: s}}})
		require.Equal(h.t, []int{0, 1}, []int{res.Applied, res.Rejected})
	default:
		h.write()
	}
}

// write sends samples at ascending times, mostly new ones, sorted by epoch as the door does it.
func (h *epochHistory) write() {
	r, m := h.rng, h.model
	at := h.clock
	if r.IntN(4) == 0 {
		at -= int64(r.IntN(60))
	}
	runs := map[model.TagID]*model.Samples{}
	for range 1 + r.IntN(6) {
		at += int64(1 + r.IntN(4))
		e := m.at(at)
		if runs[e.ID] == nil {
			runs[e.ID] = &model.Samples{Type: e.Type}
		}
		x := epochSample(r, at, e.Type)
		runs[e.ID].Append(x)
		m.stands[at] = x
	}
	h.clock = max(h.clock, at)
	b := &Batch{}
	for _, id := range slices.Sorted(maps.Keys(runs)) {
		b.Runs = append(b.Runs, Run{Tag: id, Mode: model.Update, Samples: *runs[id]})
	}
	require.Zero(h.t, h.submit(b).Rejected)
}

func epochSample(r *rand.Rand, t int64, typ model.Type) model.Sample {
	x := model.Sample{Time: t, Type: typ}
	switch {
	case typ.Blob():
		x.Blob = []byte(fmt.Sprint(r.IntN(100)))
	case typ == model.Bool:
		x.Bits = r.Uint64N(2)
	case typ == model.Float32:
		x.Bits = uint64(r.Uint32())
	default:
		x.Bits = r.Uint64() // a NaN or an integer beyond 2^53 as well
	}
	return x
}

func (h *epochHistory) check() {
	v, err := h.db.View(context.Background(), Accepted)
	require.NoError(h.t, err)
	defer v.Close()
	m := h.model
	if tag := h.tag(); len(m.epochs) == 1 {
		require.Nil(h.t, tag.Epochs())
	} else {
		require.Equal(h.t, m.epochs, tag.Epochs())
	}
	var have []model.Sample
	for _, e := range m.epochs {
		typ, ok := h.db.Catalog().Type(e.ID)
		require.True(h.t, ok)
		require.Equal(h.t, e.Type, typ)
		for _, x := range readAll(h.t, v, e.ID, model.All) {
			require.Equal(h.t, e.Type, x.Type)
			require.Equal(h.t, e.ID, m.at(x.Time).ID, "%d lies in another epoch", x.Time)
			have = append(have, x)
		}
	}
	want := append([]int64(nil), slices.Sorted(maps.Keys(m.stands))...)
	require.Equal(h.t, want, times(have))
	for _, x := range have {
		require.True(h.t, x.SameValue(m.stands[x.Time]), "%v, want %v", x, m.stands[x.Time])
	}
}

// TestTypeEpochsPowerCut changes the type of a tag again and again, among writes, late ones, removals, range deletes and seals, and holds
// the store against the plain model, also after power cuts: every sample keeps its type and every bit of its value.
func TestTypeEpochsPowerCut(t *testing.T) {
	eachSeed(t, (seeds("VARVE_CRASH_SEEDS", 1000)+7)/8, func(t *testing.T, seed uint64) {
		rng := rand.New(rand.NewPCG(seed, 78))
		fs := vfs.NewCrashableMem()
		db, err := Open("store", filteredOptions(fs))
		require.NoError(t, err)
		res, err := db.ChangeCatalog(context.Background(), []catalog.Change{{Create: &catalog.Create{Tag: model.Tag{
			Name: "a", UUID: model.UUID{1}, Settings: []model.Settings{{Type: model.Float64}},
		}}}})
		require.NoError(t, err)
		require.NoError(t, res[0].Err)
		h := &epochHistory{t: t, rng: rng, db: db, clock: 1 << 50, model: &plainEpochs{
			stands: map[int64]model.Sample{}, epochs: []model.Epoch{{From: model.MinTime, ID: epochTag, Type: model.Float64}},
			hold: map[uint64]map[int64]model.Sample{}, ends: map[uint64]int64{},
		}}
		for range 1 + rng.IntN(3) {
			for range 10 + rng.IntN(50) {
				h.step() // each is durable before the next
				switch rng.IntN(25) {
				case 0:
					_, err := h.db.Flush(context.Background())
					require.NoError(t, err)
				case 1:
					seal(t, h.db)
				case 2:
					h.check()
				}
			}
			require.NoError(t, h.db.catchUp(context.Background()))
			clone := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
			require.NoError(t, h.db.Close())
			fs = clone
			h.db, err = Open("store", filteredOptions(fs))
			require.NoError(t, err)
			h.check()
		}
		seal(t, h.db)
		h.check()
		require.NoError(t, h.db.Close())
		_, err = Verify(context.Background(), "store", filteredOptions(fs), func(d Damage) { require.Fail(t, "damage", d.String()) }, nil)
		require.NoError(t, err)
	})
}

// TestTypesChangeAmongWrites: a source that writes all the time, sorted as the catalogue had it a moment before, loses nothing that it was
// told is applied.
func TestTypesChangeAmongWrites(t *testing.T) {
	ctx := context.Background()
	db, err := Open("store", filteredOptions(vfs.NewMem()))
	require.NoError(t, err)
	defer db.Close()
	_, err = db.ChangeCatalog(ctx, []catalog.Change{{Create: &catalog.Create{Tag: model.Tag{
		Name: "a", UUID: model.UUID{1}, Settings: []model.Settings{{Type: model.Float64}},
	}}}})
	require.NoError(t, err)
	done, applied := make(chan struct{}), []model.Sample{}
	go func() {
		defer close(done)
		for at := range int64(fewer(2000)) {
			tag, _ := db.Catalog().Tag(epochTag)
			x := model.Sample{Time: at, Type: tag.At(at).Type, Bits: uint64(at)}
			s := model.Samples{Type: x.Type}
			s.Append(x)
			p, err := db.Submit(ctx, &Batch{Runs: []Run{{Tag: tag.KeptBy(at), Mode: model.Update, Samples: s}}})
			if err != nil {
				break
			}
			if r, err := p.Applied(ctx); err == nil && r.Applied == 1 {
				applied = append(applied, x)
			}
		}
	}()
	types, retyped := []model.Type{model.Float64, model.Int64}, 0
	for running := true; running && retyped < 60; {
		select {
		case <-done:
			running = false
		default:
		}
		newest := int64(0)
		v, err := db.View(ctx, Accepted)
		require.NoError(t, err)
		tag, _ := db.Catalog().Tag(epochTag)
		if x, ok := v.Latest(tag.KeptBy(model.MaxTime)); ok {
			newest = x.Time
		}
		v.Close()
		s := model.Settings{From: newest + 1, Type: types[(retyped+1)%2]}
		res, err := db.ChangeCatalog(ctx, []catalog.Change{{Update: &catalog.Update{ID: epochTag, Settings: &s}}})
		require.NoError(t, err)
		if res[0].Err == nil {
			retyped++
			continue
		}
		require.ErrorIs(t, res[0].Err, catalog.ErrBadSettings)
	}
	<-done
	require.NotZero(t, retyped)
	v, err := db.View(ctx, Accepted)
	require.NoError(t, err)
	defer v.Close()
	tag, _ := db.Catalog().Tag(epochTag)
	var have []model.Sample
	for _, id := range tag.EpochIDs() {
		have = append(have, readAll(t, v, id, model.All)...)
	}
	require.Equal(t, len(applied), len(have))
	for i, x := range applied {
		require.True(t, x.Time == have[i].Time && x.SameValue(have[i]), "%v, was told %v", have[i], x)
	}
}
