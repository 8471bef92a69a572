package query

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/query/part13"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/rollup"
)

// goodsStore is a store whose views have partials of Good doubles or not, and count how often those did.
type goodsStore struct {
	Store
	has  bool
	took atomic.Int64
}

func (s *goodsStore) View(ctx context.Context, c storage.Consistency) (View, error) {
	v, err := s.Store.View(ctx, c)
	return goodsView{v, s}, err
}

type goodsView struct {
	View
	store *goodsStore
}

func (v goodsView) Goods(ctx context.Context, tag model.TagID, edges []int64, asked rollup.Asked, into *storage.Goods) (bool, error) {
	if !v.store.has {
		return false, nil
	}
	ok, err := v.View.Goods(ctx, tag, edges, asked, into)
	if ok {
		v.store.took.Add(1)
	}
	return ok, err
}

// TestGoodDoublesAnswerAsPartialsDo holds answers from partials of Good doubles to the byte against those from partials that know
// everything: of all kinds of values and times, intervals, configurations, settings and sizes of batches. Where values of both signs
// cancel out, what is left of sums of 106 bits is rounding, and may differ by that.
func TestGoodDoublesAnswerAsPartialsDo(t *testing.T) {
	took, asked := int64(0), int64(0)
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 41))
		s, bothSigns := goodDoublesOf(rng)
		const day = int64(86_400e9)
		settings := []model.Settings{{From: model.MinTime, Type: model.Float64, Stepped: rng.IntN(2) == 0}}
		if rng.IntN(3) == 0 {
			settings = append(settings, model.Settings{From: day + rng.Int64N(day/20), Type: model.Float64, Stepped: !settings[0].Stepped})
		}
		db := FromDB(databaseOf(t, settings, s, rng.IntN(3) > 0))
		fast, slow := &goodsStore{Store: db, has: true}, &goodsStore{Store: db}
		a, err := New(fast, Options{})
		require.NoError(t, err)
		b, err := New(slow, Options{})
		require.NoError(t, err)
		for range 8 {
			r := goodRequest(rng, &s)
			var with, without bytesSink
			n, err := a.ReadProcessed(context.Background(), r, &with)
			require.NoError(t, err)
			m, err := b.ReadProcessed(context.Background(), r, &without)
			require.NoError(t, err)
			where := fmt.Sprintf("seed %d, %+v", seed, r)
			require.Equal(t, m, n, where)
			if !bytes.Equal(without.Bytes(), with.Bytes()) {
				requireSameRows(t, readProcessed(t, b, r), readProcessed(t, a, r), bothSigns, where)
				require.True(t, bothSigns, "%s: the same rows in other batches", where)
			}
			require.Zero(t, a.MemoryTaken())
			asked++
		}
		took += fast.took.Load()
	}
	require.Greater(t, took, asked/4)
}

// goodRequest asks for aggregates that partials of Good doubles know, sometimes for one that they do not, near samples.
func goodRequest(rng *rand.Rand, s *model.Samples) ProcessedRequest {
	r := ProcessedRequest{
		Tags: Tags{Names: []string{"a"}}, Resolution: 1 + rng.Int64N(5e9), BatchRows: []int{0, 1, 7, 64, 1000}[rng.IntN(5)],
		Configuration: part13.Configuration{
			TreatUncertainAsBad: rng.IntN(2) == 0, PercentDataBad: 50 + uint8(rng.IntN(51)), PercentDataGood: 50 + uint8(rng.IntN(51)),
			SlopedExtrapolation: rng.IntN(4) == 0,
		},
	}
	if rng.IntN(3) == 0 {
		stepped := rng.IntN(2) == 0
		r.Stepped = &stepped
	}
	odd := rng.IntN(8) == 0
	for _, k := range rng.Perm(len(part13.Names())) {
		if f := part13.Aggregate(k + 1); f.Of(model.Float64) && rng.IntN(2) == 0 && (odd || f.OfGood(false)) {
			r.Functions = append(r.Functions, Standard(f))
		}
	}
	if len(r.Functions) == 0 {
		r.Functions = []Function{Standard(part13.Average)}
	}
	r.Step = []int64{1e9, 10e9, 60e9, 61e9 + 7, 600e9}[rng.IntN(5)]
	near := s.Times[rng.IntN(s.Len())]
	r.Start = near - rng.Int64N(int64(60)*r.Step)
	if rng.IntN(2) == 0 {
		r.Start -= r.Start % r.Step
	}
	r.End = r.Start + 1 + rng.Int64N(int64(200)*r.Step)
	if rng.IntN(8) == 0 {
		r.Start, r.End = r.End, r.Start
	}
	return r
}

// goodDoublesOf is Good samples of about a day: on a grid, with jitter, at any times, several at one; decimals of one octave and of
// several, with and without sign, zeros of both signs, values that stay, and all bits.
func goodDoublesOf(rng *rand.Rand) (s model.Samples, bothSigns bool) {
	s.Type = model.Float64
	times, values, n := rng.IntN(4), rng.IntN(6), 1+rng.IntN(2500)
	const day = int64(86_400e9)
	value := 0.0
	for i, at := 0, day+rng.Int64N(3600e9)/1e9*1e9; i < n; i++ {
		x := model.Sample{Time: at, Type: model.Float64}
		switch times {
		case 0:
			at += 1e9
		case 1:
			x.Time += rng.Int64N(41) * 1e6
			at += 1e9
		case 2:
			at += 1 + rng.Int64N(20e9)
		case 3:
			if at += rng.Int64N(2) * 1e9; at == x.Time {
				x.Seq = 0
			}
			if k := s.Len(); k > 0 && s.Times[k-1] == x.Time {
				x.Seq = s.SeqAt(k-1) + 1
			}
			if rng.IntN(200) == 0 {
				at += 1000e9
			}
		}
		switch values {
		case 0:
			value = math.Round(1000*(70+rng.Float64())) / 1000
		case 1:
			value = math.Round(100*(-3+6*rng.Float64())) / 100
		case 2:
			value = math.Copysign(float64(rng.IntN(2)), rng.Float64()-0.5)
		case 3:
			if rng.IntN(100) == 0 {
				value = float64(rng.IntN(100)) / 10
			}
		case 4:
			value = -40 - rng.Float64()
		case 5:
			value = rng.NormFloat64() * math.Pow(10, float64(rng.IntN(20)-10))
		}
		x.Bits = math.Float64bits(value)
		s.Append(x)
	}
	if rng.IntN(6) == 0 {
		s.Quality = make([]model.Quality, s.Len())
		s.Quality[rng.IntN(s.Len())] = model.Uncertain
	}
	return s, values == 1 || values == 2 || values == 5
}

func requireSameRows(t *testing.T, want, have arrow.Record, rounded bool, where string) {
	t.Helper()
	for k := range int(want.NumCols()) {
		for i := range int(want.NumRows()) {
			if x, ok := want.Column(k).(*array.Float64); ok && rounded {
				y := have.Column(k).(*array.Float64)
				require.Equal(t, x.IsNull(i), y.IsNull(i), where)
				require.InDelta(t, x.Value(i), y.Value(i), 1e-15, "%s: row %d, %s", where, i, want.ColumnName(k))
				continue
			}
			require.Equal(t, want.Column(k).ValueStr(i), have.Column(k).ValueStr(i), "%s: row %d, %s", where, i, want.ColumnName(k))
		}
	}
}
