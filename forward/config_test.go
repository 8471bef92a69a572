package forward

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/model"
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

	c, err = ParseConfig([]byte("source: a\ndir: x\nfrom: {address: self}\nto: {address: 'h:1'}\nfiltered: [{tags: [A, 'B*'], exc_dev: 0}, {comp_dev: 2, comp_max: 1h, every: 10m}]\n"))
	require.NoError(t, err)
	require.Equal(t, []int{0, 0, 1}, []int{c.filterOf("A"), c.filterOf("B7"), c.filterOf("C")})
	require.Equal(t, []time.Duration{time.Minute, 10 * time.Minute}, []time.Duration{c.Filtered[0].Every, c.Filtered[1].Every})
	require.Equal(t, model.Filter{Deviation: 2, MaxTime: time.Hour}, c.Filtered[1].filter())
	require.Positive(t, c.Filtered[0].filter().Deviation, "0 leaves out what did not change")
	require.False(t, c.goesRaw("C"))

	for text, want := range map[string]string{
		"source: a\ndir: x\nfiltered: [{}]\n":                         "give one of exc_dev",
		"source: a\ndir: x\nfiltered: [{exc_dev: 1, comp_dev: 1}]\n":  "give one of exc_dev",
		"source: a\ndir: x\nfiltered: [{comp_dev: 1, exc_max: 1m}]\n": "exc_min and exc_max need exc_dev",
		"source: a\ndir: x\nfiltered: [{exc_dev: 1, comp_max: 1m}]\n": "comp_max needs comp_dev",
		"source: a\ndir: x\nfiltered: [{exc_dev: -1}]\n":              "deviation -1 must be finite",
		"source: a\ndir: x\nfiltered: [{exc_dev: 1, every: 7m}]\n":    "filtered: every 7m0s: must be 1s to 24h",
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
