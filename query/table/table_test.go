package table

import (
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/stretchr/testify/require"
)

func TestTablesAreOnesThatClientsCanRead(t *testing.T) {
	all := All()
	require.True(t, slices.IsSortedFunc(all, func(a, b Table) int { return strings.Compare(a.Name, b.Name) }))
	for _, one := range all {
		seen := map[string]bool{}
		for _, c := range one.Columns {
			require.False(t, seen[c.Name], "%s.%s stands twice", one.Name, c.Name)
			seen[c.Name] = true
			back, ok := TypeOf(c.Type.Arrow())
			require.True(t, ok)
			require.Equal(t, c.Type, back)
			require.NotEqual(t, "unknown", c.Type.String())
			if c.Of != "" {
				of, ok := Named(c.Of)
				require.True(t, ok, c.Of)
				require.Equal(t, []string{c.Name}, of.Key, "%s.%s", one.Name, c.Name)
			}
		}
		for _, k := range one.Key {
			_, ok := one.Column(k)
			require.True(t, ok, "%s has no column %s of its key", one.Name, k)
		}
	}
	_, ok := Named("nothing")
	require.False(t, ok)
	_, ok = TypeOf(arrow.PrimitiveTypes.Uint32)
	require.False(t, ok)
}

// TestSamplesHasTheColumnsOfTheDataModel holds the table that every statement is about to its page, word for word.
func TestSamplesHasTheColumnsOfTheDataModel(t *testing.T) {
	samples, ok := Named("samples")
	require.True(t, ok)
	var got []string
	for i, f := range samples.Arrow().Fields() {
		got = append(got, f.Name+" "+f.Type.String()+" "+samples.Columns[i].Type.String())
	}
	require.Equal(t, []string{
		"time timestamp[ns, tz=UTC] TIMESTAMP WITH TIME ZONE", "tag utf8 VARCHAR", "value float64 DOUBLE", "quality int64 BIGINT",
		"status utf8 VARCHAR", "severity utf8 VARCHAR", "value_int int64 BIGINT", "value_text utf8 VARCHAR",
		"time_ns int64 BIGINT", "tag_id int64 BIGINT", "seq int64 BIGINT",
	}, got)
	meta := samples.Arrow().Field(1).Metadata
	at := meta.FindKey("ARROW:FLIGHT:SQL:TABLE_NAME")
	require.Equal(t, "samples", meta.Values()[at])
}
