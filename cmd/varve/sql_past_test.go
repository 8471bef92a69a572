package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// samples AT an instant are what raw(as_of => …) has of it.
func TestSQLReadsSamplesAsTheyWere(t *testing.T) {
	address, sql := serveSQL(t)
	csv := filepath.Join(t.TempDir(), "samples.csv")
	write := func(text string) {
		require.NoError(t, os.WriteFile(csv, []byte("time,tag,value\n"+text), 0o644))
		varve(t, "import", "--server", address, "--mode", "update", csv)
	}
	moment := func() string {
		now := time.Now()
		time.Sleep(time.Until(now.Truncate(time.Second).Add(time.Second))) // ingest time counts in whole seconds
		return now.UTC().Format("2006-01-02T15:04:05.000000Z")
	}
	before := moment()
	write("2026-03-01T00:00:00Z,a,1\n2026-03-01T01:00:00Z,a,2\n2026-03-01T02:00:00Z,b,3\n")
	first := moment()
	write("2026-03-01T01:00:00Z,a,20\n2026-03-01T03:00:00Z,b,4\n")
	second := moment()
	rows := "select tag, time, value, quality, seq from "
	for _, at := range []string{before, first, second} {
		require.Equal(t, sql(rows+"raw('*', as_of => $1::timestamptz) order by all", at), sql(rows+"samples at (timestamp => $1) order by all", at), at)
		require.Equal(t, sql("select tag, avg(value) from raw(tags => ['a', 'b'], as_of => $1::timestamptz) where tag = 'a' group by tag", at),
			sql("select tag, avg(value) from samples at (timestamp => $1) where tag = 'a' and time < '2027-01-01' group by tag", at), at)
		newest := " qualify row_number() over (partition by tag order by time desc, seq) = 1 order by all"
		require.Equal(t, sql(rows+"raw('*', as_of => $1::timestamptz)"+newest, at), sql(rows+"samples at (timestamp => $1)"+newest, at), at)
	}
	require.Equal(t, "", sql(rows+"samples at (timestamp => timestamptz '"+before+"')"))
	require.Equal(t, "a,2,20\nb,3,3", sql("select s.tag, p.value, s.value from samples s join good_samples p at (timestamp => $1) using (tag_id, time_ns) where s.time > '2026-03-01' order by s.tag", first))
	require.Equal(t, "2", sql("with past as (select * from samples at (timestamp => $1)) select value from past where tag = 'a' and time = '2026-03-01 01:00:00'", first))

	_, says := fails(t, "sql", "--server", address, "select * from samples at (timestamp => null::timestamptz)")
	require.Contains(t, says, `"NULL" is no instant`)
	_, says = fails(t, "sql", "--server", address, "select * from samples at (version => 1)")
	require.Contains(t, says, "raw(as_of => …)")
	require.Contains(t, strings.Split(sql("explain select tag from samples at (timestamp => '2026-03-01')"), "\n")[0], "as_of")
	require.Contains(t, sql("explain select distinct on (tag) tag, value from samples at (timestamp => $1) order by tag, time desc", first), "newest 1 of each tag")
}
