package storage

import (
	"context"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/internal/plain"
	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/chunk"
)

// scripted drives a store and the plain model with given writes.
type scripted struct{ *history }

func newScripted(t *testing.T, o Options) *scripted {
	db, err := Open("store", o)
	require.NoError(t, err)
	s := &scripted{&history{t: t, db: db, model: plain.Store{}, tags: len(testTypes), clock: newClock()}}
	s.createTags()
	return s
}

// write applies a run to both, and holds the outcomes against each other.
func (s *scripted) write(w plain.Write) Result {
	p, err := s.db.Submit(context.Background(), s.batch([]plain.Write{w}))
	require.NoError(s.t, err)
	res, err := p.Applied(context.Background())
	require.NoError(s.t, err)
	var want Result
	for i, o := range s.model.Apply(&w) {
		switch o {
		case model.Applied:
			want.Applied++
		case model.Ignored:
			want.Ignored++
		default:
			want.fail(0, i, 1, o)
		}
	}
	require.Equal(s.t, want, *res)
	return want
}

// An append behind the highest seq must not come round to the lowest, which stands.
func TestAppendBehindTheHighestSeq(t *testing.T) {
	s := newScripted(t, testOptions(vfs.NewMem()))
	one := func(v uint64) model.Samples {
		return model.Samples{Type: model.Int64, Times: []int64{5}, Bits: []uint64{v}}
	}
	s.write(plain.Write{Tag: 3, Mode: model.Update, Samples: one(1)})
	last := one(2)
	last.Seq = []uint32{math.MaxUint32}
	s.write(plain.Write{Tag: 3, Mode: model.Update, Samples: last})
	res := s.write(plain.Write{Tag: 3, Mode: model.Append, Samples: one(3)})
	require.Equal(t, []Failure{{0, 0, 1, model.Exists}}, res.Failures)
	v, err := s.db.View(context.Background(), Accepted)
	require.NoError(t, err)
	require.Len(t, readAll(t, v, 3, model.All), 2)
	v.Close()
	require.NoError(t, s.db.Close())
}

// A tag with about as many samples in one generation and one partition as chunks hold: in whole chunks, with a rest that is
// packed, with a rest of its own, and with many samples at one time across the end of a chunk. All come back, also after
// some are replaced and removed by later generations.
func TestAboutAsManySamplesAsChunksHold(t *testing.T) {
	o := testOptions(vfs.NewMem())
	o.GenerationSamples, o.GenerationBytes, o.SegmentBytes, o.BlockBytes = 1<<30, 1<<30, 8<<20, 8<<10
	for _, n := range []int{chunk.MaxSamples - 1, chunk.MaxSamples, chunk.MaxSamples + 1, chunk.MaxSamples + ownChunk - 1,
		chunk.MaxSamples + ownChunk, 2*chunk.MaxSamples + 3} {
		if testing.Short() && n != chunk.MaxSamples+1 {
			continue
		}
		for _, atOneTime := range []bool{false, true} {
			o.FS = vfs.NewMem()
			s := newScripted(t, o)
			samples := model.Samples{Type: model.Int64}
			var at int64
			for i := range n {
				x := model.Sample{Time: at, Type: model.Int64, Bits: uint64(i) * 7}
				at += 1e6
				if atOneTime && i%chunk.MaxSamples >= chunk.MaxSamples-20 || atOneTime && i > 0 && i%chunk.MaxSamples < 10 {
					at -= 1e6
				}
				samples.Append(x)
			}
			mode := model.Update
			if atOneTime {
				mode = model.Append
			}
			s.write(plain.Write{Tag: 3, Mode: mode, Samples: samples})
			flush := func() {
				_, err := s.db.Flush(context.Background())
				require.NoError(t, err)
			}
			flush()
			s.requireAll(3)
			border := samples.Times[min(n-1, chunk.MaxSamples)]
			s.write(plain.Write{Tag: 3, Mode: model.Remove, Samples: model.Samples{Type: model.Int64, Times: []int64{border, 3e6}}, All: true})
			s.write(plain.Write{Tag: 3, Mode: model.Replace, Samples: model.Samples{Type: model.Int64, Times: []int64{7e6, samples.Times[n-1]}, Bits: []uint64{1, 2}}})
			s.requireAll(3)
			flush()
			s.requireAll(3)
			s.write(plain.Write{Tag: 3, Mode: model.Insert, Samples: model.Samples{Type: model.Int64, Times: []int64{border, 3e6}, Bits: []uint64{9, 9}}})
			s.write(plain.Write{Tag: 3, Mode: model.Remove, Samples: model.Samples{Type: model.Int64, Times: []int64{samples.Times[n-1]}}, All: true})
			flush()
			s.requireAll(3)
			require.NoError(t, s.db.Close())
		}
	}
}

// requireAll holds the current samples, the newest one, and a read backwards against the model.
func (s *scripted) requireAll(tag model.TagID) {
	v, err := s.db.View(context.Background(), Accepted)
	require.NoError(s.t, err)
	defer v.Close()
	want := s.model.Current(tag, model.All)
	for _, reverse := range []bool{false, true} {
		in := model.All
		in.Reverse = reverse
		have := readAll(s.t, v, tag, in)
		require.Equal(s.t, len(want), len(have))
		for i := range have {
			k := i
			if reverse {
				k = len(want) - 1 - i
			}
			if !sameSample(want[k], have[i]) {
				require.Equal(s.t, want[k], have[i], "sample %d, reverse %v", i, reverse)
			}
		}
	}
	latest, ok := v.Latest(tag)
	require.Equal(s.t, len(want) > 0, ok)
	require.True(s.t, !ok || sameSample(want[len(want)-1], latest), "latest is %+v", latest)
}

// Instants at both ends of time, around 1970, at ends of days and years: written in every mode, over several generations.
func TestEdgesOfTime(t *testing.T) {
	const day = int64(86400e9)
	var times []int64
	for _, t := range []int64{model.MinTime + 2, model.MinTime / day * day, -day, 0, day, 365 * day, -365 * day,
		model.MaxTime / day * day, model.MaxTime - 2} {
		times = append(times, t-2, t-1, t, t+1, t+2)
	}
	fs := vfs.NewMem()
	s := newScripted(t, testOptions(fs))
	rng := rand.New(rand.NewPCG(3, 9))
	for round := range 40 {
		w := plain.Write{Tag: 3, Mode: model.WriteMode(1 + rng.IntN(6))}
		w.Samples.Reset(model.Int64)
		for range 1 + rng.IntN(len(times)) {
			t := times[rng.IntN(len(times))]
			if t < model.MinTime || t > model.MaxTime {
				continue
			}
			w.Samples.Append(model.Sample{Time: t, Type: model.Int64, Bits: uint64(rng.IntN(3))})
		}
		if w.Samples.Len() == 0 {
			continue
		}
		if w.Mode == model.Remove {
			w.Samples.Bits, w.All = nil, true
		}
		s.write(w)
		switch round % 5 {
		case 2:
			_, err := s.db.Flush(context.Background())
			require.NoError(t, err)
		case 4:
			require.NoError(t, s.db.Close())
			db, err := Open("store", testOptions(fs))
			require.NoError(t, err)
			s.db = db
		}
		s.requireAll(3)
		v, err := s.db.View(context.Background(), Accepted)
		require.NoError(t, err)
		for range 10 {
			in := model.Between(times[rng.IntN(len(times))], times[rng.IntN(len(times))])
			want, have := s.model.Current(3, in), readAll(t, v, 3, in)
			require.Equal(t, len(want), len(have), "%+v", in)
			for i := range want {
				require.True(t, sameSample(want[i], have[i]))
			}
		}
		want := s.model.Versions(3, model.All)
		have, err := v.Versions(context.Background(), 3, model.All)
		require.NoError(t, err)
		require.Equal(t, len(want), len(have))
		v.Close()
	}
	require.NoError(t, s.db.Close())
}
