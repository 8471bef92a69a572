package storage

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/internal/plain"
	"github.com/varvedb/varve/model"
)

// mirror is what somebody holds who was told every change and nothing else.
type mirror map[model.TagID]map[plain.Key]model.Sample

// state is what a store holds, as a mirror.
func state(m plain.Store, tags int) mirror {
	out := mirror{}
	for tag := model.TagID(1); int(tag) <= tags; tag++ {
		for _, x := range m.Current(tag, model.All) {
			out.put(tag, x)
		}
	}
	return out
}

func (m mirror) put(tag model.TagID, x model.Sample) {
	if m[tag] == nil {
		m[tag] = map[plain.Key]model.Sample{}
	}
	x.Blob = bytes.Clone(x.Blob)
	m[tag][plain.Key{Time: x.Time, Seq: x.Seq}] = x
}

// newest is the highest key of a tag.
func (m mirror) newest(tag model.TagID) (top plain.Key, any bool) {
	for k := range m[tag] {
		if !any || k.Time > top.Time || k.Time == top.Time && k.Seq > top.Seq {
			top, any = k, true
		}
	}
	return top, any
}

// take does what the reader was told of a sample, and holds the effect against what stood.
func (m mirror) take(t testing.TB, tag model.TagID, x model.Sample, e model.Effect) {
	k := plain.Key{Time: x.Time, Seq: x.Seq}
	_, stood := m[tag][k]
	top, any := m.newest(tag)
	behind := !any || k.Time > top.Time || k.Time == top.Time && k.Seq > top.Seq
	where := fmt.Sprintf("tag %d, %+v, %s", tag, x, e)
	switch e {
	case model.EffectNew:
		require.True(t, behind, where)
	case model.EffectLate:
		require.False(t, stood || behind, where)
	case model.EffectUpdated:
		require.False(t, behind, where)
	case model.EffectReplaced, model.EffectRemoved:
		require.True(t, stood, where)
	default:
		require.Fail(t, where)
	}
	if e == model.EffectRemoved {
		delete(m[tag], k)
		return
	}
	m.put(tag, x)
}

func (m mirror) clear(tag model.TagID, in []model.TimeRange) {
	maps.DeleteFunc(m[tag], func(k plain.Key, _ model.Sample) bool {
		return slices.ContainsFunc(in, func(r model.TimeRange) bool { return r.Contains(k.Time) })
	})
}

func requireMirror(t testing.TB, want, have mirror, offset uint64) {
	for tag := range have {
		require.Equal(t, len(want[tag]), len(have[tag]), "tag %d behind record %d", tag, offset)
	}
	for tag, samples := range want {
		for k, x := range samples {
			have, ok := have[tag][k]
			require.True(t, ok && sameSample(x, have), "tag %d behind record %d: want %+v, have %+v", tag, offset, x, have)
		}
	}
}

// subscriber reads changes into a mirror, and begins anew with its token now and then.
type subscriber struct {
	t       testing.TB
	rng     *rand.Rand
	changes *Changes
	token   string
	mirror  mirror
	last    Position // of the sample told last
	states  map[uint64]mirror
	lost    []OffsetRange
	kinds   map[model.Effect]int
}

func (s *subscriber) open(db *DB) {
	at, err := db.ParseToken(s.token)
	require.NoError(s.t, err)
	s.changes = db.Changes(at)
}

// read reads some of what is there, and stops at any place.
func (s *subscriber) read(db *DB, most int) {
	for range most {
		if !s.changes.Ready() {
			return
		}
		x, err := s.changes.Next(context.Background())
		require.NoError(s.t, err)
		switch x.Kind {
		case ChangeLost:
			s.lost = append(s.lost, x.Lost)
		case ChangeRange:
			s.takeRange(x)
		case ChangeSamples:
			if !s.takeSamples(x, db) {
				return
			}
		}
		s.token = db.Token(s.changes.Position())
		if want, ok := s.states[x.Offset]; ok && s.lost == nil {
			requireMirror(s.t, want, s.mirror, x.Offset)
		}
	}
}

// takeSamples reports false where it stopped inside of the record.
func (s *subscriber) takeSamples(x Change, db *DB) bool {
	stop := s.rng.IntN(6) == 0
	told := false // of this record
	for {
		r, err := s.changes.Run()
		require.NoError(s.t, err)
		if r == nil {
			return true
		}
		for i := range r.Samples.Len() {
			at := Position{x.Offset, r.IndexAt(i)}
			if stop && told && at != s.last && s.rng.IntN(8) == 0 {
				s.token = db.Token(at)
				s.changes.Close()
				s.open(db)
				return false
			}
			require.True(s.t, at.Offset > s.last.Offset || at.Index >= s.last.Index, "%v behind %v", at, s.last)
			if !told || at != s.last { // a removal of all at a time is several changes of one sample
				require.NotEqual(s.t, s.last, at, "told twice")
			}
			s.last, told = at, true
			e := model.EffectNew
			if r.Effects != nil {
				e = r.Effects[i]
			}
			s.kinds[e]++
			sample := model.Sample{Time: r.Samples.Times[i], Type: r.Samples.Type, Seq: r.Samples.SeqAt(i)}
			if e != model.EffectRemoved {
				sample = r.Samples.At(i)
			}
			s.mirror.take(s.t, r.Tag, sample, e)
		}
	}
}

func (s *subscriber) takeRange(x Change) {
	for tag, in := range s.changes.Ranges() {
		s.kinds[x.Effect]++
		if x.Effect != model.EffectRestored {
			s.mirror.clear(tag, in)
			continue
		}
		// What stands again is to be read: only that may differ.
		s.mirror.clear(tag, in)
		for k, v := range s.states[x.Offset][tag] {
			if in[0].Contains(k.Time) {
				s.mirror.put(tag, v)
			}
		}
	}
}

// Random writes, edits, removals, range deletes, undos and erasures, with the store closed, killed and sealed in between, and the
// subscriber gone and back at any place: the changes it is told make what the model holds, behind every record, and none is told
// twice.
func TestChangesMakeWhatIsStored(t *testing.T) {
	kinds := map[model.Effect]int{}
	for seed := range uint64(max(seeds("VARVE_CRASH_SEEDS", 400)/10, 8)) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { testChanges(t, seed, kinds) })
	}
	for e := model.EffectNew; e <= model.EffectErased; e++ {
		require.NotZero(t, kinds[e], "no change was %s", e)
	}
}

func testChanges(t *testing.T, seed uint64, kinds map[model.Effect]int) {
	fs := vfs.NewCrashableMem()
	h := newHistory(t, seed, fs)
	defer func() { require.NoError(t, h.db.Close()) }()
	restart := func(kill bool) {
		if kill {
			clone := fs.CrashClone(vfs.CrashCloneCfg{})
			require.NoError(t, h.db.Close())
			fs = clone
		} else {
			require.NoError(t, h.db.Close())
		}
		o := clocked(testOptions(fs), h.clock)
		o.KeepLogBytes = 1 << 30
		db, err := Open("store", o)
		require.NoError(t, err)
		h.db = db
	}
	restart(false)
	s := &subscriber{
		t: t, rng: rand.New(rand.NewPCG(seed, 2)), token: h.db.Token(h.db.Oldest()), mirror: mirror{}, states: map[uint64]mirror{}, kinds: kinds,
	}
	s.open(h.db)
	for range 120 {
		h.step()
		s.states[h.db.applied.value()] = state(h.model, h.tags)
		switch h.rng.IntN(12) {
		case 0:
			_, err := h.db.Flush(context.Background())
			require.NoError(t, err)
		case 1:
			_, err := h.db.Seal(context.Background())
			require.NoError(t, err)
		case 2:
			s.changes.Close()
			restart(h.rng.IntN(2) == 0)
			s.open(h.db)
		}
		if h.rng.IntN(3) == 0 {
			s.read(h.db, h.rng.IntN(20))
		}
	}
	for s.changes.Ready() {
		s.read(h.db, 1000)
	}
	s.changes.Close()
	require.Empty(t, s.lost)
	requireMirror(t, state(h.model, h.tags), s.mirror, h.db.applied.value())
}
