//go:build cgo

package engine

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/cmd/varve-sql/rewrite"
)

// partialTables are those of tests and partials, which rewrite puts in the place of samples.
func partialTables() map[string]*rewrite.Table {
	tables := map[string]*rewrite.Table{}
	for _, t := range testTables() {
		tables[t.Name] = &t.Table
	}
	good := *tables["samples"]
	good.Name = "good_samples"
	tables["good_samples"] = &good
	return tables
}

// What becomes of a selection whose aggregates partials answer, with the names that its results had.
func TestSelectionsOfPartials(t *testing.T) {
	d := openTest(t)
	s, err := d.acquire()
	require.NoError(t, err)
	defer d.release(s)
	for _, x := range []struct{ sql, becomes string }{
		{
			"select tag, avg(value), count(*) n from samples where tag = 'a' and time < '2026-01-02' group by tag having max(value) > 3 order by n",
			`SELECT tag, (sum(samples."partial sum") / sum(samples."partial valued")) AS "avg(""value"")", ` +
				`CAST(COALESCE(sum(samples."partial count"), 0) AS BIGINT) AS n FROM varve_scan(0) AS samples WHERE ((tag = 'a') AND ("time" < '2026-01-02')) ` +
				`GROUP BY tag HAVING (max(samples."partial max") > 3) ORDER BY n`,
		},
		{
			"select date_trunc('day', s.time) as time, last(s.value order by s.time) from good_samples s group by 1",
			`SELECT date_trunc('day', s."time") AS "time", "last"(s."partial latest" ORDER BY s."partial latest time") AS """last""(s.""value"" ORDER BY s.""time"")" ` +
				`FROM varve_scan(0) AS s GROUP BY 1`,
		},
		{"select count(*), max(partial) from samples, (select 1 as partial)", ""},
		{"select count(*) as \"partial sum\" from samples group by tag", ""},
		{"select tag, count(*) from samples at (timestamp => now()) group by tag", ""},
		{"select tag, count(*) from samples s(a, tag) group by tag", ""},
		{"select tag, count(*) from samples tablesample 10 percent group by tag", ""},
		{"with samples as (select 'x' as tag) select tag, count(*) from samples group by tag", ""},
	} {
		tree, err := s.tree(x.sql)
		require.NoError(t, err)
		st, err := rewrite.Rewrite([]byte(tree), partialTables(), s.sql)
		require.NoError(t, err, x.sql)
		if x.becomes == "" {
			for _, scan := range st.Scans {
				require.NotEqual(t, rewrite.Partials, scan.Table.Name, x.sql)
			}
			continue
		}
		require.Equal(t, rewrite.Partials, st.Scans[0].Table.Name)
		text, err := s.sql(st.Tree)
		require.NoError(t, err)
		require.Equal(t, x.becomes, text)
	}
	for _, sql := range []string{"select * from partials", "select * from main.partials", "select * from partials('a')"} {
		tree, err := s.tree(sql)
		require.NoError(t, err)
		_, err = rewrite.Rewrite([]byte(tree), partialTables(), s.sql)
		require.ErrorIs(t, err, rewrite.ErrRefused, sql)
		require.NotContains(t, err.Error(), "there are partials")
	}
}
