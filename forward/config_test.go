package forward

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestConfig(t *testing.T) {
	c, err := ParseConfig([]byte("source: edge1\ndir: x\nfrom: {address: self}\nto: {address: 'site:7420'}\nnames: {replace: [{match: '^A(\\d)', with: 'B$1'}], prefix: E.}\n"))
	require.NoError(t, err)
	require.Equal(t, []string{"*"}, c.Tags)
	require.Equal(t, []any{beginEverything, time.Second, 10 * time.Second}, []any{c.Begin, c.Linger, c.GapsEvery})
	require.Equal(t, "E.B7.x", c.Names.of("A7.x"))
	require.Equal(t, "E.XA7", c.Names.of("XA7"))

	c, err = ParseConfig([]byte("source: edge1\ndir: x\nfrom: {address: self}\nspool: {dir: y, max_bytes: 2GiB}\n"))
	require.NoError(t, err)
	require.EqualValues(t, int64(2<<30), c.Spool.MaxBytes)

	c, err = ParseConfig([]byte("source: a\ndir: x\nfrom: {address: self}\nto: {address: 'h:1'}\nraw: false\naggregates: [{function: maximum, every: 1m, suffix: .MAX}]\n"))
	require.NoError(t, err)
	require.False(t, c.raw())
	require.Equal(t, []Aggregate{{Tags: []string{"*"}, Function: "maximum", Every: time.Minute, Suffix: ".MAX", Settle: 10 * time.Second}}, c.Aggregates)

	for text, want := range map[string]string{
		"":                                            "it is empty",
		"source: edge1\nnonsense: 1\n":                "line 2: unknown key nonsense",
		"source: 'a b'\n":                             `source "a b"`,
		"source: a\n":                                 "dir is required",
		"source: a\ndir: x\n":                         "from is required",
		"source: a\ndir: x\nlinger: 1h\n":             "linger 1h0m0s: must be from 0s to 10s",
		"source: a\ndir: x\nbegin: later\n":           `begin "later"`,
		"source: a\ndir: x\nfrom: {address: x}\n":     `from: address "x": must be HOST:PORT`,
		"source: a\ndir: x\nfrom: {address: 'h:1'}\n": "give one of to",
		"source: a\ndir: x\nfrom: {address: 'h:1'}\nto: {address: 'h:1'}\nspool: {dir: y}\n": "give one of to",
		"source: a\ndir: x\nfrom: {address: 'h:1'}\nspool: {dir: x}\n":                       "that of the forwarder's place",
		"source: a\ndir: x\nfrom: {address: 'h:1'}\nspool: {dir: y, max_bytes: 5B}\n":        "must be at least 1MiB",
		"source: a\ndir: x\nnames: {replace: [{match: '(', with: x}]}\n":                     "regular expression",
		"source: a\ndir: x\ntags: ['']\n":                                                    "must be 1 to 1024 bytes",
		"source: a\ndir: x\nraw: false\n":                                                    "nothing would go",
		"source: a\ndir: x\naggregates: [{function: median, every: 1m, suffix: .M}]\n":       "must be one of count",
		"source: a\ndir: x\naggregates: [{function: sum, every: 7m, suffix: .M}]\n":          "a divisor of 24h",
		"source: a\ndir: x\naggregates: [{function: sum, every: 1m}]\n":                      "must be 1 to 100 bytes",
		"source: a\n---\nsource: b\n":                                                        "second document",
		"source: a\ndir: x\nlinger: soon\n":                                                  "line 3",
	} {
		_, err := ParseConfig([]byte(text))
		require.ErrorIs(t, err, ErrConfig, text)
		require.ErrorContains(t, err, want, text)
	}
}
