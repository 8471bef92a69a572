package server

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/server/relation"
)

// What the SQL process says of a plain answer is looked at before any of it is read.
func TestAPlainAnswerIsChecked(t *testing.T) {
	samples, _ := relation.Find("samples")
	schema, err := plainSchema(samples, []int{1, 0}, []string{"a", "b"})
	require.NoError(t, err)
	require.Equal(t, "schema:\n  fields: 2\n    - a: type=utf8, nullable\n    - b: type=timestamp[ns, tz=UTC], nullable", schema.String())
	for _, x := range []struct {
		table   string
		columns []int
		names   []string
	}{
		{"samples", nil, nil}, {"samples", []int{0}, nil}, {"samples", []int{0}, []string{"a", "b"}}, {"samples", []int{0, 0}, []string{"a", "b"}},
		{"samples", []int{-1}, []string{"a"}}, {"samples", []int{11}, []string{"a"}}, {"tags", []int{0}, []string{"a"}}, {"versions", []int{0}, []string{"a"}},
	} {
		table, ok := relation.Find(x.table)
		require.True(t, ok)
		_, err := plainSchema(table, x.columns, x.names)
		require.ErrorIs(t, err, relation.ErrBadScan, "%v", x)
	}
}
