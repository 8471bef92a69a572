package query

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/query/expression"
	"github.com/varvedb/varve/storage/catalog"
)

// TestVersionsOfStoredCalculationsAnswerAsTheirExpressions: before the date of the second version the samples are those of the first expression,
// at its own times, and from then on those of the second.
func TestVersionsOfStoredCalculationsAnswerAsTheirExpressions(t *testing.T) {
	require.EqualValues(t, expression.MaxBytes, catalog.MaxCalculationBytes)
	rapid.Check(t, func(t *rapid.T) {
		s := drawStore(t)
		if s.tags[0].Current().Type != model.Float64 {
			t.Skip("not a number")
		}
		names := strings.NewReplacer("A", expression.Quote(s.tags[0].Name), "B", expression.Quote(s.tags[len(s.tags)-1].Name))
		first, second := names.Replace("A + 1"), names.Replace(rapid.SampledFrom([]string{"B * 2", "A - B"}).Draw(t, "second"))
		from := rapid.Int64Range(0, 60).Draw(t, "from")
		s.stored = map[string][]*model.Calculation{"calculated": {
			{Name: "calculated", Version: 1, From: model.MinTime, Expression: first}, {Name: "calculated", Version: 2, From: from, Expression: second},
		}}
		read := func(tags Tags, start, end int64) []row {
			return rowsOf(t, answerBytes(t, s, (*Engine).ReadRange, RangeRequest{Tags: tags, Start: start, End: end}))
		}
		want := append(read(Tags{Expressions: []string{"calculated := " + first}}, -5, from), read(Tags{Expressions: []string{"calculated := " + second}}, from, 80)...)
		got := read(Tags{Names: []string{"calculated"}}, -5, 80)
		require.Len(t, got, len(want))
		for i := range want {
			require.Equal(t, want[i], got[i])
		}
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
