package collector

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A source that finds by itself what there is gets the patterns of its rules, which say of an address what the rules say; others get none, and nor does one without rules,
// which would read all that a server has. Other patterns begin the source anew.
func TestPatternsOfRules(t *testing.T) {
	kind := testKinds()[0]
	kind.ByAddress, kind.ByPattern = true, true
	read := func(tags string, k Kind) *SourceEntry {
		c, err := ParseConfig("c.yaml", []byte(smallConfig+tags), []Kind{k})
		require.NoError(t, err)
		return &c.Sources[0]
	}
	tags := "    tags: [{address: a/x, tag: X}, {match: a/secret*, skip: true}, {match: 'a/*', tag: 'A.{1}'}, {regexp: '[bc]', unit: bar}]\n"
	s := read(tags, kind)
	p, err := NewPatterns(s.wanted())
	require.NoError(t, err)
	require.False(t, p.None())
	for _, address := range []string{"a/y", "a/secret", "a/secrets/x", "a/b/c", "b", "bc", "", "d"} {
		r, _ := s.mapping.rule(address)
		require.Equal(t, r != nil && !r.Skip, p.Want(address), address)
	}
	require.Empty(t, read(tags, testKinds()[0]).wanted())
	none, err := NewPatterns(read("", kind).wanted())
	require.NoError(t, err)
	require.True(t, none.None())
	require.False(t, none.Want("a"))

	require.True(t, sameSource(s, read(tags, kind)))
	require.True(t, sameSource(s, read("    tags: [{address: a/x, tag: X}, {match: a/secret*, skip: true}, {match: 'a/*', tag: 'B.{1}'}, {regexp: '[bc]'}]\n", kind)))
	require.False(t, sameSource(s, read("    tags: [{address: a/x, tag: X}, {match: 'a/*', tag: 'A.{1}'}, {regexp: '[bc]'}]\n", kind)))
}
