package filter_test

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/compression/filter"
	"github.com/varvedb/varve/model"
)

func TestStateComesBack(t *testing.T) {
	settings := filter.Settings{Filter: model.Filter{Deviation: 0.5, MinTime: time.Second, MaxTime: time.Hour}, Stepped: true}
	newest := []filter.Newest{
		{},
		{Known: true, Pending: true, Sample: model.Sample{Time: math.MinInt64, Type: model.Float64, Bits: 0x7FF8000000000001, Quality: 0x80FF00FF, Seq: 7}},
		{Known: true, Sample: model.Sample{Time: 1, Type: model.Int64, Null: true}},
		{Known: true, Sample: model.Sample{Time: 1, Type: model.String, Blob: []byte("run")}},
		{Known: true, Sample: model.Sample{Time: 1, Type: model.Bytes, Blob: []byte{}}},
	}
	for _, n := range newest {
		b := filter.AppendFloat(filter.AppendNewest(filter.AppendSettings([]byte{1}, settings), &n), math.Inf(-1))
		r := filter.State{Rest: b}
		r.Version(1)
		require.Equal(t, settings, r.Settings())
		require.Equal(t, n, r.Newest())
		require.Equal(t, math.Inf(-1), r.Float())
		require.NoError(t, r.End())
	}
}

func TestStatesThatAreRefused(t *testing.T) {
	nan := filter.AppendFloat(nil, math.NaN())
	for name, read := range map[string]func(*filter.State){
		"version 0":         func(r *filter.State) { r.Rest = []byte{0}; r.Version(1) },
		"nothing":           func(r *filter.State) { r.Byte() },
		"behind the end":    func(r *filter.State) { r.Rest = []byte{0} },
		"not a number":      func(r *filter.State) { r.Rest = nan; r.Float() },
		"infinite":          func(r *filter.State) { r.Rest = filter.AppendFloat(nil, math.Inf(1)); r.Finite() },
		"flags":             func(r *filter.State) { r.Rest = []byte{8}; r.Newest() },
		"unknown, but null": func(r *filter.State) { r.Rest = []byte{4}; r.Newest() },
		"no type":           func(r *filter.State) { r.Rest = make([]byte, 40); r.Rest[0] = 1; r.Newest() },
		"no such text": func(r *filter.State) {
			r.Rest = filter.AppendNewest(nil, &filter.Newest{Known: true, Sample: model.Sample{Type: model.String}})
			r.Rest[len(r.Rest)-1] = 0xFF
			r.Newest()
		},
		"no such settings": func(r *filter.State) {
			r.Rest = filter.AppendSettings(nil, filter.Settings{Filter: model.Filter{Deviation: -1}})
			r.Settings()
		},
	} {
		var r filter.State
		read(&r)
		require.ErrorIs(t, r.End(), filter.ErrCorrupt, name)
	}
	r := filter.State{Rest: []byte{2}}
	r.Version(1)
	require.ErrorIs(t, r.End(), filter.ErrVersion)
}

func TestElapsedDoesNotOverflow(t *testing.T) {
	require.Equal(t, time.Duration(math.MaxInt64), filter.Elapsed(math.MinInt64, math.MaxInt64))
	require.Equal(t, 5*time.Nanosecond, filter.Elapsed(-2, 3))
}

func TestOfATag(t *testing.T) {
	asked := model.Filter{Deviation: 1, MinTime: time.Minute, MaxTime: time.Hour}
	require.Equal(t, filter.Settings{Filter: asked}, filter.Of(asked, model.Settings{Type: model.Float64}))
	require.Equal(t, filter.Settings{Filter: asked, Stepped: true}, filter.Of(asked, model.Settings{Type: model.State}))
	require.Equal(t, filter.Settings{Filter: model.Filter{Deviation: 1, MinTime: time.Second, MaxTime: time.Second}},
		filter.Of(asked, model.Settings{Type: model.Float64, MaxGap: time.Second}), "a filter makes no gap that readers would see")
}
