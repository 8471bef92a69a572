package main

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
)

// servePostgres is a server with samples that answers clients of PostgreSQL, and a client of it.
func servePostgres(t *testing.T) (address string, conn *pgx.Conn) {
	t.Helper()
	at, _ := serveDoors(t, t.TempDir(), "--sql-binary", sqlBinary(t), "--postgres", "127.0.0.1:0")
	address = at.grpc
	fillSQL(t, address)
	conn, err := pgx.Connect(context.Background(), "postgres://me@"+at.postgres+"/varve?sslmode=disable")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close(context.Background())) })
	return address, conn
}

// linesOf is the rows of an answer, columns with commas between.
func linesOf(t *testing.T, rows pgx.Rows, err error) (out []string) {
	t.Helper()
	require.NoError(t, err)
	defer rows.Close()
	for rows.Next() {
		values, err := rows.Values()
		require.NoError(t, err)
		var cells []string
		for _, v := range values {
			if at, ok := v.(time.Time); ok {
				v = at.UTC().Format(time.RFC3339Nano)
			}
			cells = append(cells, fmt.Sprint(v))
		}
		out = append(out, strings.Join(cells, ","))
	}
	require.NoError(t, rows.Err())
	return out
}

func TestPostgresReadsWhatOthersRead(t *testing.T) {
	address, conn := servePostgres(t)
	ctx := context.Background()
	ask := func(sql string, args ...any) []string {
		t.Helper()
		rows, err := conn.Query(ctx, sql, args...)
		return linesOf(t, rows, err)
	}
	const all = "select time, tag, value, quality, status, severity, value_int, value_text, time_ns, tag_id, seq from samples order by tag, time_ns"
	want := strings.Split(strings.TrimSuffix(varve(t, "sql", "--server", address, "-o", "csv", all), "\n"), "\n")[1:]
	got := ask(all)
	for i := range got {
		got[i] = strings.ReplaceAll(got[i], "<nil>", "")
	}
	require.Equal(t, want, got)

	after := time.Date(2026, 3, 1, 0, 16, 37, 0, time.UTC)
	for range 2 { // prepared, then known
		require.Equal(t, []string{"FI-101,997.5", "FI-101,998.5", "FI-101,999.5"}, ask("select tag, value from samples where tag = $1 and time > $2 and value > $3 order by time", "FI-101", after, 0.5))
	}
	require.Equal(t, []string{"3"}, ask("select count(*) from samples where tag = any(string_split($1, ',')) and time > $2", "FI-101,X", after))
	require.Equal(t, []string{"3"}, ask("select count(*) from samples where tag = any($1) and time > $2", []string{"FI-101", `no "tag", this`}, after))
	require.Equal(t, []string{"1"}, ask("select count(*) from samples where tag = any($1) and time = any($2) and value <> all($3)", []string{"FI-101"}, []time.Time{after.Add(123456 * time.Microsecond), after.Add(time.Hour)}, []float64{0.5, math.NaN()}))
	explained := ask("explain select count(quality) from samples where tag = any($1)", []string{"FI-101"})
	require.Len(t, explained, 1)
	require.NotContains(t, explained[0], ",,", "it narrows the scan")
	var copied bytes.Buffer
	_, err := conn.PgConn().CopyTo(ctx, &copied, "copy (select tag, value from samples where tag = 'FI-101' and time > '2026-03-01 00:16:37' order by time) to stdout (format csv, header)")
	require.NoError(t, err)
	require.Equal(t, "tag,value\nFI-101,997.5\nFI-101,998.5\nFI-101,999.5\n", copied.String())
	require.Equal(t, []string{"7,1.5,x,true," + after.Format(time.RFC3339Nano) + ",[0 255]"}, ask("select $1::bigint, $2::double, $3::varchar, $4::boolean, $5::timestamptz, $6::blob", int64(7), 1.5, "x", true, after, []byte{0, 255}))
	explained = ask("explain select count(quality) from samples where tag = $1", "FI-101")
	require.Len(t, explained, 1)
	require.Contains(t, explained[0], `tag "FI-101",1000,`)
	var v float64
	for _, bits := range []uint64{1 << 63, 0x7ff8dead00000001, 0x0000000000000001, 0x7fefffffffffffff} {
		require.NoError(t, conn.QueryRow(ctx, "select $1::double", math.Float64frombits(bits)).Scan(&v))
		require.Equal(t, bits, math.Float64bits(v))
	}
	require.Equal(t, []string{`{"a":1}`}, ask(`select json_object('a', $1::bigint)`, int64(1)), "a function that looks at the values of its arguments")

	for sql, code := range map[string]string{
		"select nothing from samples": "42703", "select * from nothing": "42P01", "selct": "42601", "select nothing(1)": "42883", "select 'x'::bigint from samples": "22P02",
		"select * from read_csv('/etc/passwd')": "42883", "select getenv('HOME')": "0A000", "select 1; select 2": "", "select value from samples where tag = 'TI-7'": "42704",
	} {
		_, err := conn.Exec(ctx, sql)
		if code == "" {
			require.NoError(t, err, "several statements in a text are asked for one by one")
			continue
		}
		var said *pgconn.PgError
		require.ErrorAs(t, err, &said, sql)
		require.Equal(t, code, said.Code, "%s: %s", sql, said.Message)
	}
}

// TestPostgresTellsNpgsqlItsTypes sends one text of statements like those with which Npgsql, and so Power BI, opens every connection.
func TestPostgresTellsNpgsqlItsTypes(t *testing.T) {
	_, conn := servePostgres(t)
	results, err := conn.PgConn().Exec(context.Background(), `select version();
-- types, and of which type an array is
select ns.nspname, t.oid, t.typname, case when recv.proname = 'array_recv' then 'a' else t.typtype end as kind, t.typnotnull, element.typname
from pg_type as t join pg_namespace as ns on (ns.oid = t.typnamespace) left join pg_proc as recv on recv.oid = t.typreceive
left join pg_range on (pg_range.rngtypid = t.oid) left join pg_type as element on element.oid = t.typelem
where t.typtype in ('b', 'r', 'm', 'e', 'd') order by case when recv.proname = 'array_recv' then 1 else 0 end;
select pg_type.oid, enumlabel from pg_enum join pg_type on pg_type.oid=enumtypid order by oid, enumsortorder;`).ReadAll()
	require.NoError(t, err)
	require.Len(t, results, 3)
	require.Contains(t, string(results[0].Rows[0][0]), "PostgreSQL 15")
	kinds := map[string]string{}
	for _, row := range results[1].Rows {
		kinds[string(row[2])] = string(row[3]) + string(row[5])
	}
	require.Equal(t, []string{"b", "b", "afloat8", "atimestamptz"}, []string{kinds["float8"], kinds["timestamptz"], kinds["_float8"], kinds["_timestamptz"]})
	require.Empty(t, results[2].Rows)
}

// TestPostgresCatalogueIsAnswered asks for all of every relation of the catalogue: what the door makes of them the engine runs.
func TestPostgresCatalogueIsAnswered(t *testing.T) {
	_, conn := servePostgres(t)
	ctx := context.Background()
	text, err := os.ReadFile(filepath.Join("..", "..", "server", "pgwire", "pgcatalog", "relations.txt"))
	require.NoError(t, err)
	names := regexp.MustCompile(`(?m)^[a-z]\S+`).FindAllString(string(text), -1)
	require.Greater(t, len(names), 90)
	for _, name := range names {
		for _, sql := range []string{"select * from " + name, "select count(*) from " + name + " as x where x is not null"} {
			rows, err := conn.Query(ctx, sql)
			linesOf(t, rows, err)
		}
	}
	ask := func(sql string, args ...any) []string {
		t.Helper()
		rows, err := conn.Query(ctx, sql, args...)
		return linesOf(t, rows, err)
	}
	for sql, want := range map[string]string{
		"select current_database(), current_schema(), current_user, current_setting('search_path')":                                              "varve,main,me,main",
		"select format_type(atttypid, atttypmod), attnotnull from pg_attribute where attrelid = 'main.samples'::regclass and attname = 'value'":  "double precision,false",
		"select relkind from pg_catalog.pg_class where relname ~ '^good' and pg_table_is_visible(oid)":                                           "v",
		"select data_type, is_nullable from information_schema.columns where table_name = 'samples' and column_name = 'time'":                    "timestamp with time zone,NO",
		"select col_description('samples'::regclass, 3), obj_description('tags'::regclass, 'pg_class')":                                          "numbers, to the nearest double; NULL where Bad and for other types,the tags and their current settings",
		"select has_table_privilege('samples', 'SELECT'), has_table_privilege('samples', 'INSERT')":                                              "true,false",
		"select nspname from pg_namespace where nspname !~ '^pg_' and nspname <> 'information_schema'":                                           "main",
		"select count(*) from information_schema.tables t join information_schema.columns c using (table_name) where c.table_name = 'tag_names'": "4",
		"select typname from pg_type where oid = 'timestamptz[]'::regtype":                                                                       "_timestamptz",
	} {
		require.Equal(t, []string{want}, ask(sql), sql)
	}
	require.Equal(t, []string{"samples"}, ask("select relname from pg_class where oid = to_regclass($1)", "samples"))
}

// TestPostgresPage runs the statements of docs/reference/postgres.md. Its answers are in the text format, as clients show them.
func TestPostgresPage(t *testing.T) {
	_, conn := servePostgres(t)
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "reference", "postgres.md"))
	require.NoError(t, err)
	blocks := regexp.MustCompile("(?s)```postgres\n(.*?);\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	require.Len(t, blocks, 5)
	for _, b := range blocks {
		results, err := conn.PgConn().Exec(context.Background(), b[1]).ReadAll()
		require.NoError(t, err, b[1])
		var got strings.Builder
		for _, row := range results[0].Rows {
			var cells []string
			for _, cell := range row {
				cells = append(cells, string(cell))
			}
			got.WriteString(strings.Join(cells, "|") + "\n")
		}
		require.Equal(t, b[2], got.String(), b[1])
	}
}
