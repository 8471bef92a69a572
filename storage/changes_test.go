package storage

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/internal/plain"
	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/keys"
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
	for seed := range uint64(max(seeds("VARVE_CRASH_SEEDS", 400)/20, fewer(8))) {
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

// readToEnd is what there is to read from a position, a word for each change.
func readToEnd(t testing.TB, db *DB, from Position) (words []string) {
	c := db.Changes(from)
	defer c.Close()
	for c.Ready() {
		x, err := c.Next(context.Background())
		require.NoError(t, err)
		switch x.Kind {
		case ChangeLost:
			words = append(words, fmt.Sprintf("lost %d-%d", x.Lost.First, x.Lost.End))
		case ChangeRange:
			words = append(words, x.Effect.String())
		case ChangeSamples:
			for {
				r, err := c.Run()
				require.NoError(t, err)
				if r == nil {
					break
				}
				for i := range r.Samples.Len() {
					e := model.EffectNew
					if r.Effects != nil {
						e = r.Effects[i]
					}
					words = append(words, fmt.Sprintf("%s %d", e, r.Samples.Times[i]))
				}
			}
		}
	}
	return words
}

// putAt writes one sample of tag 1, in a record of its own.
func (h *history) putAt(mode model.WriteMode, at int64, value uint64) (offset uint64) {
	w := plain.Write{Tag: 1, Mode: mode}
	w.Samples.Reset(model.Float64)
	w.Samples.Append(model.Sample{Time: at, Type: model.Float64, Bits: value})
	if mode == model.Remove {
		w.Samples.Bits = nil
	}
	p, err := h.db.Submit(context.Background(), h.batch([]plain.Write{w}))
	require.NoError(h.t, err)
	_, err = p.Applied(context.Background())
	require.NoError(h.t, err)
	return p.Offset()
}

// What is trimmed is told, and the log is kept as long as it was asked for.
func TestChangesThatAreTrimmed(t *testing.T) {
	for _, keep := range []int64{0, 200 << 10} {
		h := newHistory(t, 1, vfs.NewMem())
		require.NoError(t, h.db.Close())
		o := testOptions(vfs.NewMem())
		o.KeepLogBytes = keep
		db, err := Open("store", o)
		require.NoError(t, err)
		h.db = db
		h.createTags()
		first := db.Now()
		for i := range int64(3000) { // some 80 bytes each
			h.putAt(model.Update, i, uint64(i))
		}
		_, err = db.Flush(context.Background())
		require.NoError(t, err)
		db.trimLog()
		low := db.Oldest()
		if keep > 0 {
			require.LessOrEqual(t, db.log.Bytes(), uint64(keep))
			require.Greater(t, db.log.Bytes(), uint64(keep)-2*uint64(o.SegmentBytes))
		} else {
			require.Less(t, db.log.Bytes(), 2*uint64(o.SegmentBytes))
		}
		require.Greater(t, low.Offset, first.Offset)
		words := readToEnd(t, db, Position{Offset: first.Offset + 10, Index: 1})
		require.Equal(t, fmt.Sprintf("lost %d-%d", first.Offset+10, low.Offset), words[0])
		require.NotContains(t, words[1:], "lost")
		require.Equal(t, readToEnd(t, db, low), words[1:])

		h.putAt(model.Update, 5000, 1)
		_, err = db.Flush(context.Background()) // takes away the rows of what was trimmed before
		require.NoError(t, err)
		rows := 0
		require.NoError(t, db.scan(keys.Effects, func(key, _ []byte) error {
			rows++
			through, err := keys.DecodeOffset(append([]byte{byte(keys.Effects)}, key...))
			require.GreaterOrEqual(t, through, low.Offset)
			return err
		}))
		require.NotZero(t, rows)
		require.NoError(t, db.Close())
	}
}

// Without the row of a generation its records are told as lost, not as something that they were not.
func TestChangesWithoutEffectsAreLost(t *testing.T) {
	h := newHistory(t, 1, vfs.NewMem())
	require.NoError(t, h.db.Close())
	o := testOptions(vfs.NewMem())
	o.KeepLogBytes = 1 << 30
	var err error
	h.db, err = Open("store", o)
	require.NoError(t, err)
	defer func() { require.NoError(t, h.db.Close()) }()
	h.createTags()
	flush := func() uint64 {
		offset, err := h.db.Flush(context.Background())
		require.NoError(t, err)
		return offset
	}
	from := h.db.Now()
	h.putAt(model.Update, 2, 1)
	a := flush()
	h.putAt(model.Update, 1, 1)
	h.putAt(model.Update, 2, 1)
	b := flush()
	h.putAt(model.NoReplace, 1, 1)
	h.putAt(model.Replace, 1, 2)
	c := flush()
	require.Equal(t, []string{"new 2", "updated 1", "replaced 1"}, readToEnd(t, h.db, from))
	gone := func(through uint64, with []byte) {
		k := keys.AppendOffset(nil, keys.Effects, through)
		if with == nil {
			require.NoError(t, h.db.engine.Delete(k, pebble.NoSync))
			return
		}
		require.NoError(t, h.db.engine.Set(k, with, pebble.NoSync))
	}
	gone(b, nil)
	require.Equal(t, []string{"new 2", fmt.Sprintf("lost %d-%d", a+1, b+1), "replaced 1"}, readToEnd(t, h.db, from))
	gone(c, []byte("nothing of this kind"))
	require.Equal(t, []string{"new 2", fmt.Sprintf("lost %d-%d", a+1, c+1)}, readToEnd(t, h.db, from))
	require.Equal(t, "store_damaged", h.db.alarms.list()[0].Name)
	gone(c, nil)
	require.Equal(t, []string{"new 2", fmt.Sprintf("lost %d-%d", a+1, c+1)}, readToEnd(t, h.db, from))
	h.putAt(model.Update, 3, 1)
	require.Equal(t, []string{fmt.Sprintf("lost %d-%d", c, c+1), "new 3"}, readToEnd(t, h.db, Position{Offset: c}))
}

// A batch that came again and one that was refused change nothing, and neither do edits that are refused.
func TestChangesThatAreNone(t *testing.T) {
	h := newHistory(t, 1, vfs.NewMem())
	defer func() { require.NoError(t, h.db.Close()) }()
	from := h.db.Now()
	h.putAt(model.Insert, 5, 1)
	h.putAt(model.Insert, 5, 2)
	h.putAt(model.NoReplace, 5, 2)
	h.putAt(model.Replace, 6, 2)
	h.putAt(model.Remove, 6, 0)
	h.putAt(model.Update, 5, 1)
	h.seq-- // the batch before once more, past the door
	w := plain.Write{Tag: 1, Mode: model.Update}
	w.Samples.Reset(model.Float64)
	w.Samples.Append(model.Sample{Time: 5, Type: model.Float64, Bits: 3})
	p, err := h.db.submit(context.Background(), h.db.encode(nil, h.batch([]plain.Write{w})))
	require.NoError(t, err)
	require.NoError(t, p.waitOutcome(context.Background()))
	require.Equal(t, []string{"new 5"}, readToEnd(t, h.db, from))
}

// A token is of the log that gave it.
func TestTokens(t *testing.T) {
	h := newHistory(t, 1, vfs.NewMem())
	defer func() { require.NoError(t, h.db.Close()) }()
	at := Position{Offset: h.putAt(model.Update, 1, 1), Index: 7}
	token := h.db.Token(at)
	back, err := h.db.ParseToken(token)
	require.NoError(t, err)
	require.Equal(t, at, back)
	for i := range len(token) {
		for _, c := range []byte{'A', 'b', '!', '0'} {
			if other := token[:i] + string(c) + token[i+1:]; other != token {
				_, err := h.db.ParseToken(other)
				require.ErrorIs(t, err, ErrBadToken, other)
			}
		}
	}
	_, err = h.db.ParseToken(token[:len(token)-1])
	require.ErrorIs(t, err, ErrBadToken)
	_, err = h.db.ParseToken(h.db.Token(Position{Offset: at.Offset + 2}))
	require.ErrorIs(t, err, ErrForeignToken)
	other := newHistory(t, 1, vfs.NewMem())
	other.putAt(model.Update, 1, 1)
	defer func() { require.NoError(t, other.db.Close()) }()
	_, err = other.db.ParseToken(token)
	require.ErrorIs(t, err, ErrForeignToken)
	_, err = h.db.Checkpoint(context.Background(), "copy")
	require.NoError(t, err)
	o := testOptions(h.db.o.FS)
	restored, err := Open("copy", o)
	require.NoError(t, err)
	defer func() { require.NoError(t, restored.Close()) }()
	_, err = restored.ParseToken(token)
	require.ErrorIs(t, err, ErrForeignToken)
}

// Since finds the first record ingested at an instant or later, and says when it cannot know.
func TestChangesSince(t *testing.T) {
	clock := newClock()
	o := clocked(testOptions(vfs.NewMem()), clock)
	o.KeepLogBytes, o.GenerationAge, o.GenerationSamples, o.GenerationBytes = 100<<10, 1<<62, 1<<20, 1<<30
	db, err := Open("store", o)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	h := &history{t: t, db: db}
	h.createTags()
	begin := clock.Load()
	offsets := map[int64]uint64{}
	for i := range int64(3000) {
		if i%3 == 0 {
			clock.Add(1e9)
		}
		if offset := h.putAt(model.Update, i, uint64(i)); offsets[clock.Load()] == 0 {
			offsets[clock.Load()] = offset
		}
	}
	since := func(ingest int64) uint64 {
		p, err := db.Since(context.Background(), ingest)
		require.NoError(t, err)
		return p.Offset
	}
	require.Equal(t, uint64(1), since(begin-5e9))
	for at, offset := range offsets {
		require.Equal(t, offset, since(at))
		require.Equal(t, offset, since(at-1))
	}
	require.Equal(t, db.Now().Offset, since(clock.Load()+1))
	_, err = db.Flush(context.Background())
	require.NoError(t, err)
	db.trimLog()
	low := db.Oldest().Offset
	require.Greater(t, low, uint64(100))
	require.Equal(t, uint64(1), since(begin+1e9), "what was trimmed is told as lost")
	require.Equal(t, offsets[clock.Load()], since(clock.Load()))
}
