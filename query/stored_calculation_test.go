package query

import (
	"context"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/query/expression"
	"github.com/varvedb/varve/storage/catalog"
)

// TestVersionsOfStoredCalculationsAnswerAsStoredTags: every question about a calculation of two versions is answered, to the byte, as that about
// a tag which has the samples of the first expression before the date of the second, and those of the second from then on.
func TestVersionsOfStoredCalculationsAnswerAsStoredTags(t *testing.T) {
	require.EqualValues(t, expression.MaxBytes, catalog.MaxCalculationBytes)
	rapid.Check(t, func(t *rapid.T) {
		s := drawStore(t)
		if s.tags[0].Current().Type != model.Float64 {
			t.Skip("not a number")
		}
		names := strings.NewReplacer("A", expression.Quote(s.tags[0].Name), "B", expression.Quote(s.tags[len(s.tags)-1].Name))
		first, second := names.Replace(rapid.SampledFrom([]string{"A + 1", "else(A, B)"}).Draw(t, "first")),
			names.Replace(rapid.SampledFrom([]string{"B * 2", "A - B", "if(is_bad(B), 0, A)"}).Draw(t, "second"))
		from := rapid.Int64Range(0, 60).Draw(t, "from")
		s.stored = map[string][]*model.Calculation{"X": {
			{Name: "X", Version: 1, From: model.MinTime, Expression: first}, {Name: "X", Version: 2, From: from, Expression: second},
		}}
		before, after := twin(t, s, first), twin(t, s, second)
		other := newPlainStore(model.Float64)
		other.block = s.block
		*other.tags[0] = *before.tags[0]
		other.tags[0].Settings[0].Stepped = before.tags[0].Current().Stepped && after.tags[0].Current().Stepped
		for i, x := range []*model.Samples{&before.samples[1].Samples, &after.samples[1].Samples} {
			for k := range x.Len() {
				if y := x.At(k); (y.Time >= from) == (i == 1) {
					other.add(1, 0, y)
				}
			}
		}
		requireAsStored(t, s, Tags{Names: []string{"X"}}, other)
	})
}

func TestStoredCalculationsThatAreRefused(t *testing.T) {
	s := newPlainStore(model.Float64)
	a := expression.Quote(s.tags[0].Name)
	version := func(from int64, text string) *model.Calculation {
		return &model.Calculation{Name: "x", From: from, Expression: text}
	}
	require.NoError(t, CheckCalculation(s, []*model.Calculation{version(model.MinTime, a), version(5, a+" + 1")}))
	for says, versions := range map[string][]*model.Calculation{
		"names no tag":           {version(model.MinTime, "1")},
		`tag "gone"`:             {version(model.MinTime, "gone + 1")},
		"a value is missing":     {version(model.MinTime, "1 +")},
		"of another type before": {version(model.MinTime, a+" > 1"), version(5, a)},
		"from then on":           {version(model.MinTime, a), version(5, "in_unit("+a+", 'bar')"), version(7, a)},
	} {
		require.ErrorContains(t, CheckCalculation(s, versions), says)
	}
	s.stored = map[string][]*model.Calculation{"x": {version(model.MinTime, a)}}
	e, err := New(s, Options{})
	require.NoError(t, err)
	_, err = e.ReadRange(context.Background(), RangeRequest{Tags: Tags{Names: []string{"x"}}, End: 1, WithSource: true}, &bytesSink{})
	require.ErrorContains(t, err, "no samples that are stored")
	_, err = e.ReadRange(context.Background(), RangeRequest{Tags: Tags{Expressions: []string{"x + 1"}}, End: 1}, &bytesSink{})
	require.ErrorIs(t, err, model.ErrTagNotFound, "no calculation in a calculation")
}

// TestStoredCalculationsFollowATagThatChanges: an expression of its own for each type that a tag has makes one calculation over all of them.
func TestStoredCalculationsFollowATagThatChanges(t *testing.T) {
	s := drawnKinds()
	s.stored = map[string][]*model.Calculation{"c": {
		{Name: "c", From: model.MinTime, Expression: "if(x = 'x', 1, 0)"}, {Name: "c", From: 100, Expression: "x + 1"},
	}}
	require.ErrorContains(t, CheckCalculation(s, s.stored["c"]), "takes a number here, not a bool", "of what x is in the end")
	e, err := New(s, Options{})
	require.NoError(t, err)
	read := func(start, end int64, bounds Bounds) ([]row, error) {
		var sink bytesSink
		if _, err := e.ReadRange(context.Background(), RangeRequest{Tags: Tags{Names: []string{"c"}}, Start: start, End: end, Bounds: bounds}, &sink); err != nil {
			return nil, err
		}
		_, rows, _ := sink.read(t)
		return rows, nil
	}
	rows, err := read(0, 300, NoBounds)
	require.NoError(t, err)
	require.Len(t, rows, 30)
	for i, x := range rows {
		want := 1.0
		if i >= 10 {
			y, _ := s.samples[5].At(i - 10).Float64()
			want = y + 1
		}
		require.Equal(t, math.Float64bits(want), x.value["value"], "at %d", x.time)
	}
	rows, err = read(120, 130, Outside)
	require.NoError(t, err)
	require.Equal(t, int64(120), rows[0].time)
	_, err = read(0, 301, NoBounds)
	require.ErrorContains(t, err, "is float64 before 1970-01-01T00:00:00.0000003Z and bool from then on")
	rows, err = read(10, 40, Outside)
	require.NoError(t, err)
	require.Len(t, rows, 4)
	s.stored["c"] = s.stored["c"][:1]
	_, err = read(50, 150, NoBounds)
	require.ErrorContains(t, err, "is string before 1970-01-01T00:00:00.0000001Z and int64 from then on")
	rows, err = read(50, 100, Outside)
	require.NoError(t, err)
	require.Equal(t, uint32(model.BadBoundNotFound), rows[len(rows)-1].quality, "behind the change nothing is known")
}
