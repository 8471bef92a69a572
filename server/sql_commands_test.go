package server

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/query"
	"github.com/varvedb/varve/query/table"
	"github.com/varvedb/varve/server/relation"
)

// TestCommands holds what the server answers without the SQL process, in the order of what they are: taken, refused, and for the process.
func TestCommands(t *testing.T) {
	for _, c := range []struct{ sql, answer string }{
		{"SET TimeZone = 'UTC'", "Success"},
		{"set timezone to 'utc';", "Success"},
		{"set time zone 'Etc/UTC'", "Success"},
		{"set session time zone default", "Success"},
		{"reset timezone", "Success"},
		{"set application_name = 'me'", "Success"},
		{"set names 'utf8'", "Success"},
		{"set statement_timeout = 0", "Success"},
		{"set default_transaction_read_only to on", "Success"},
		{"show timezone", "TimeZone: UTC"},
		{"SHOW server_version", "server_version: 15.0"},
	} {
		record, err := commandOf(context.Background(), statement{sql: c.sql})
		require.NoError(t, err, c.sql)
		require.NotNil(t, record, c.sql)
		got := record.ColumnName(0)
		if record.NumRows() > 0 {
			got += ": " + record.Column(0).(*array.String).Value(0)
		}
		require.Equal(t, c.answer, got, c.sql)
		record.Release()
	}
	for sql, says := range map[string]string{
		"set timezone = 'Europe/Berlin'":  `TimeZone cannot be "Europe/Berlin" here, only UTC; write time AT TIME ZONE`,
		"set time zone interval '1' hour": "AT TIME ZONE",
		"set time zone local 'x'":         "AT TIME ZONE",
		"set statement_timeout = '5s'":    "not kept here",
		"set memory_limit = '1GB'":        "memory_limit",
		"set lock_configuration = false":  "lock_configuration",
		"set client_encoding = 'LATIN1'":  "only UTF8",
		"set role admin":                  "cannot become",
		"set":                             "SET must be",
		"show nothing":                    "nothing",
		"reset server_version":            "cannot be changed",
		"describe select 1":               "by its name",
		"describe nothing":                "SHOW TABLES",
		"desc \"samples":                  "by its name",
	} {
		record, err := commandOf(context.Background(), statement{sql: sql})
		require.Nil(t, record, sql)
		require.ErrorContains(t, err, says, sql)
		require.True(t, errors.Is(err, query.ErrBadRequest), sql)
	}
	for _, sql := range []string{"select 1", "set timezone = 'UTC'; select 1", "show tables; select 1", "from samples", "settle", "showing", "", "/* x */ show tables", "explain show tables"} {
		record, err := commandOf(context.Background(), statement{sql: sql})
		require.NoError(t, err, sql)
		require.Nil(t, record, sql)
	}
}

func TestTablesAreShownAndDescribed(t *testing.T) {
	names := func(sql string) []string {
		t.Helper()
		record, err := commandOf(context.Background(), statement{sql: sql})
		require.NoError(t, err, sql)
		defer record.Release()
		var out []string
		for i := range int(record.NumRows()) {
			row := ""
			for _, c := range record.Columns()[:min(4, record.NumCols())] {
				row += strings.TrimPrefix(c.(*array.String).ValueStr(i), "(null)") + " "
			}
			out = append(out, strings.TrimSpace(row))
		}
		return out
	}
	shown := names("show tables;")
	require.Len(t, shown, len(relation.Tables))
	require.Contains(t, shown, "samples table current samples, in no promised order")
	require.Contains(t, shown, "good_samples view samples of severity Good")
	require.Contains(t, shown, "aggregate function")
	for _, x := range relation.Tables {
		rows := names("describe main." + x.Name)
		for i, c := range x.Columns {
			of, ok := table.TypeOf(c.Type)
			require.True(t, ok)
			require.True(t, strings.HasPrefix(rows[i], c.Name+" "+of.String()+" column "), rows[i])
		}
	}
	require.Contains(t, names(`DESC "samples"`), "value DOUBLE column YES")
	require.Contains(t, names("describe tags"), "tag_id BIGINT column NO")
	require.Contains(t, names("describe interpolated"), "every VARCHAR argument YES")
	require.Contains(t, names("describe raw"), "tags_where BOOLEAN argument YES")
}
