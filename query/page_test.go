package query

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/internal/golden"
	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/query/counter"
	"github.com/varvedb/varve/query/part13"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/chunk"
)

const aggregatesPage = "../docs/reference/aggregates.md"

func pageTime(t testing.TB, clock string) int64 {
	at, err := time.Parse(time.DateTime, "2026-11-25 "+clock)
	require.NoError(t, err)
	return at.UnixNano()
}

// pageStore is the samples of a table of the page, as tag 1.
func pageStore(t testing.TB, table string, typ model.Type) *plainStore {
	b := &storage.Block{Samples: model.Samples{Type: typ}}
	for _, row := range golden.Table(t, aggregatesPage, table) {
		x := model.Sample{Time: pageTime(t, row[0]), Type: typ, Null: row[1] == "-"}
		v, err := strconv.ParseFloat(strings.Replace(row[1], "-", "0", 1), 64)
		require.NoError(t, err)
		if x.Bits = uint64(v); typ == model.Float64 {
			x.Bits = math.Float64bits(v)
		}
		x.Quality, err = model.ParseQuality(row[2])
		require.NoError(t, err)
		b.Append(x)
		b.Origins = append(b.Origins, chunk.Origin{Samples: 1})
	}
	tag := &model.Tag{ID: 1, Name: "a", Settings: []model.Settings{{From: model.MinTime, Type: typ, Stepped: typ.AlwaysStepped()}}}
	return &plainStore{tags: []*model.Tag{tag}, samples: map[model.TagID]*storage.Block{1: b}, block: 10}
}

// TestWorkedExampleOfOwnFunctions holds the page and the answers against each other.
func TestWorkedExampleOfOwnFunctions(t *testing.T) {
	e, err := New(pageStore(t, "own-samples", model.Float64), Options{})
	require.NoError(t, err)
	want := golden.Table(t, aggregatesPage, "own")
	r := ProcessedRequest{
		Tags: Tags{IDs: []model.TagID{1}}, Configuration: part13.Defaults, Counter: counter.Limits{Highest: 15},
		Buckets: Buckets{Start: pageTime(t, "12:00:00"), End: pageTime(t, "12:02:00"), Step: 60e9},
	}
	for _, row := range want[1:] {
		r.Functions = append(r.Functions, functions(t, row[0])...)
	}
	for _, f := range ownFunctions {
		named := func(have Function) bool { return strings.HasPrefix(have.name, f.name) }
		require.True(t, containsFunction(r.Functions, named), f.name)
	}
	rec := readProcessed(t, e, r)
	defer rec.Release()
	n := len(r.Functions)
	have := [][]string{want[0]}
	for k, f := range r.Functions {
		line := []string{f.name}
		for bucket := range 2 {
			i := bucket*n + k
			line = append(line, pageValue(rec.Column(5).(*array.Float64), rec.Column(7).(*array.String), i), model.Quality(rec.Column(8).(*array.Uint32).Value(i)).Text())
		}
		have = append(have, line)
	}
	require.Equal(t, lines(want), lines(have))
}

func containsFunction(all []Function, is func(Function) bool) bool {
	for _, f := range all {
		if is(f) {
			return true
		}
	}
	return false
}

func pageValue(numbers *array.Float64, text *array.String, i int) string {
	switch {
	case text.IsValid(i):
		return text.Value(i)[len("2026-11-25T") : len("2026-11-25T")+8]
	case numbers.IsNull(i):
		return "-"
	}
	return strconv.FormatFloat(numbers.Value(i), 'g', 6, 64)
}

func lines(rows [][]string) string {
	var b strings.Builder
	for _, r := range rows {
		b.WriteString(strings.Join(r, "  ") + "\n")
	}
	return b.String()
}

func TestWorkedExampleOfStates(t *testing.T) {
	s, valve := pageStore(t, "state-samples", model.Bool), pageStore(t, "states-valve", model.Bool)
	valve.tags[0].ID, valve.tags[0].Name = 2, "VALVE"
	valve.tags[0].Aliases = []model.Alias{{Name: "VALVE", From: model.MinTime, To: math.MaxInt64}}
	s.tags, s.samples[2] = append(s.tags, valve.tags[0]), valve.samples[1]
	e, err := New(s, Options{Now: func() time.Time { return time.Unix(0, pageTime(t, "12:01:45")) }})
	require.NoError(t, err)
	for table, while := range map[string]string{"states": "", "states-while": "VALVE"} {
		want := golden.Table(t, aggregatesPage, table)
		have := [][]string{want[0]}
		for _, r := range readStates(t, e, StatesRequest{
			Tags: Tags{IDs: []model.TagID{1}}, Buckets: Buckets{Start: pageTime(t, "12:00:00"), End: pageTime(t, "12:02:00"), Step: 60e9}, While: while,
		}) {
			line := []string{
				time.Unix(0, r.start).UTC().Format(time.TimeOnly), fmt.Sprint(r.code), fmt.Sprint(time.Duration(r.duration).Seconds()), fmt.Sprint(r.entries), fmt.Sprint(r.open),
				strconv.FormatFloat(r.good, 'g', 4, 64),
			}
			if while != "" {
				line = append(line, fmt.Sprint(r.held))
			}
			have = append(have, line)
		}
		require.Equal(t, lines(want), lines(have))
	}
}
