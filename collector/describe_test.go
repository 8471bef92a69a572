package collector

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDescribe(t *testing.T) {
	f := makeFeed(t, t.TempDir(), `
    tags:
      - {address: a, tag: A, unit: bar}
      - {address: scaled, tag: S, factor: 10}
      - {address: gone, skip: true}
      - {match: "x/*", tag: "X.{1}"}
`)
	f.describe([]Offer{{Address: "a", Unit: "Cel", Description: "of a"}, {Address: "scaled", Unit: "Cel"}, {Address: "gone", Unit: "Cel"},
		{Address: "x/1", Unit: "Cel", Description: "of x"}, {Address: "x/2", Unit: "no unit", Description: strings.Repeat("x", maxDescriptionBytes+1)}})
	require.NoError(t, f.put(background, []Reading{at("a", 1, Float64(1)), at("scaled", 1, Float64(1)), at("x/1", 1, Float64(1)), at("x/2", 1, Float64(1))}, false))
	f.describe([]Offer{{Address: "x/1", Unit: "bar", Description: "another"}, {Address: "x/2", Unit: "K"}})
	for name, want := range map[string][2]string{"A": {"bar", "of a"}, "S": {"", ""}, "X.1": {"Cel", "of x"}, "X.2": {"K", ""}} {
		tag := f.names.newTag(name)
		require.Equal(t, want, [2]string{tag.Unit, tag.Description}, name)
	}
	require.NotContains(t, f.mu.tags, "gone")
}
