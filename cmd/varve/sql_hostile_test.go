package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// hostileStatements is statements that want what none may have: files, network, settings, extensions, other statements, the process.
func hostileStatements(file string) []string {
	var out []string
	f := "'" + file + "'"
	// Everything of the engine that reads or lists files, in every place of a statement where a table may stand.
	for _, call := range []string{
		"read_csv(%s)", "read_csv_auto(%s)", "sniff_csv(%s)", "read_text(%s)", "read_blob(%s)", "read_json(%s)", "read_json_auto(%s)", "read_json_objects(%s)",
		"read_json_objects_auto(%s)", "read_ndjson(%s)", "read_ndjson_auto(%s)", "read_ndjson_objects(%s)", "read_parquet(%s)", "parquet_scan(%s)", "parquet_metadata(%s)",
		"parquet_schema(%s)", "parquet_file_metadata(%s)", "parquet_kv_metadata(%s)", "parquet_bloom_probe(%s, 'a', 1)", "glob(%s)", "arrow_scan(1, 2, 3)", "arrow_scan_dumb(1, 2, 3)",
		"sqlite_scan(%s, 'x')", "postgres_scan(%s, 'x', 'y')", "mysql_query(%s, 'x')", "st_read(%s)", "read_xlsx(%s)", "iceberg_scan(%s)", "delta_scan(%s)",
		"query('select 1')", "query_table('samples')", "pragma_version()", "pragma_platform()", "pragma_database_size()", "pragma_storage_info('x')", "pragma_table_info('samples')",
		"pragma_show('samples')", "pragma_user_agent()", "pragma_collations()", "pragma_metadata_info()", "duckdb_settings()", "duckdb_extensions()", "duckdb_secrets()",
		"duckdb_functions()", "duckdb_tables()", "duckdb_memory()", "duckdb_temporary_files()", "duckdb_logs()", "duckdb_log_contexts()", "duckdb_databases()", "duckdb_optimizers()",
		"which_secret('x', 'y')", "test_all_types()", "repeat_row(1, 2)", "checkpoint()", "force_checkpoint()", "summary(samples)", "sql_auto_complete('sel')",
		"json_execute_serialized_sql('{}')", "seq_scan('x')", "index_scan('x')", "in_out_dummy()", "varve_scan(0)", "icu_calendar_names()", "pg_timezone_names()", "force_download(%s)",
	} {
		table := call
		if strings.Contains(call, "%s") {
			table = fmt.Sprintf(call, f)
		}
		out = append(out, "select * from "+table)
	}
	for _, place := range []string{
		"with x as (select * from %s) select 1", "with x as materialized (select * from %s) select * from x", "select (select count(*) from %s)", "select 1 where exists (select * from %s)",
		"select * from samples where tag in (select column0 from %s)", "select * from samples s, lateral (select * from %s) x", "select 1 order by (select count(*) from %s)",
		"select count(*) filter (where (select count(*) from %s) > 0) from samples", "values ((select count(*) from %s))", "select 1 union all select count(*) from %s",
		"select 1 limit (select count(*) from %s)", "from %s", "select * from raw(tags => (select list(column0) from %s))", "select * from raw(tags_where => exists (select * from %s))",
		"pivot %s on column0 in ('a') using count(*)", "select list_transform([1], lambda x: (select count(*) from %s))", "select * from samples tablesample 1 rows, %s",
	} {
		out = append(out, fmt.Sprintf(place, "read_text("+f+")"), fmt.Sprintf(place, f))
	}
	// What is no SELECT, by itself and behind one.
	for _, s := range []string{
		"create table t(a int)", "create temp table t as select 1", "create view v as select 1", "create macro m() as 1", "create type t as enum ('a')", "create sequence s", "create schema s",
		"create secret (type s3)", "create or replace persistent secret x (type s3)", "insert into samples values (1)", "update samples set value = 1", "delete from samples",
		"drop table samples", "alter table samples add column x int", "truncate samples", "copy samples to " + f, "copy (select 1) to " + f, "copy t from " + f, "export database " + f,
		"import database " + f, "attach " + f, "attach ':memory:' as x", "detach memory", "use memory", "install httpfs", "load httpfs", "load " + f, "force install httpfs", "update extensions",
		"set memory_limit = '100GB'", "set threads = 100", "set enable_external_access = true", "set lock_configuration = false", "set temp_directory = '/'", "reset memory_limit",
		"set variable x = 1", "pragma memory_limit = '100GB'", "pragma enable_profiling", "pragma database_list", "pragma enable_logging", "call pragma_version()", "call enable_logging()",
		"checkpoint", "vacuum", "analyze", "begin", "commit", "rollback", "prepare p as select 1", "execute p", "deallocate p", "explain create table t(a int)", "explain explain select 1", "comment on table samples is 'x'",
		"summarize samples", "describe samples", "show tables", "show all tables", "merge into samples using tags on true when matched then delete",
	} {
		out = append(out, s, "select 1; "+s, s+"; select 1")
	}
	// Functions that tell of the process or reach out of the statement.
	for _, call := range []string{
		"getenv('HOME')", "current_setting('temp_directory')", "current_setting('secret_directory')", "getvariable('x')", "nextval('x')", "currval('x')", "write_log('x')",
		"json_execute_serialized_sql('{}')", "json_serialize_plan('select 1')", "txid_current()", "in_search_path('a', 'b')", "current_query_id()", "current_connection_id()",
		"system.main.getenv('HOME')", "pg_catalog.current_setting('threads')", "main.getenv('HOME')", "\"getenv\"('HOME')", "GETENV('HOME')",
	} {
		out = append(out, "select "+call, "select * from samples where "+call+" is not null")
	}
	// Names of what is there behind the scenes, and shapes that a parser chokes on.
	return append(out,
		"select * from information_schema.tables", "select * from pg_catalog.pg_class", "select * from sqlite_master", "select * from duckdb_tables", "select * from main.duckdb_settings",
		"select * from system.main.duckdb_settings", "select * from temp.x", "select * from memory.main.samples", "select * from \"/etc/passwd\"", "select * from 'https://localhost/x.parquet'",
		"select * from 's3://x/y'", "select * from samples at (version => 1)", "select \x00", "select 'a\x00b'", "", ";", ";;", "select", "--", "/*", "'", "\"", "$$",
		"with recursive r as (select 1 as i union all select i from r) select count(*) from r, nothing",
	)
}

// deepStatements is statements whose shape is all there is to them. They may be answered.
func deepStatements() []string {
	return []string{
		"select " + strings.Repeat("(", 5000) + "1" + strings.Repeat(")", 5000), "select " + strings.Repeat("[", 5000) + strings.Repeat("]", 5000), "select " + strings.Repeat("-", 1) + strings.Repeat(" -", 20000) + "1",
		strings.Repeat("select * from (", 2000) + "samples limit 1" + strings.Repeat(")", 2000), "select not " + strings.Repeat("not ", 20000) + "true",
		"select " + strings.Repeat("case when true then ", 3000) + "1" + strings.Repeat(" end", 3000), "select 1" + strings.Repeat(" union all select 1", 20000),
	}
}

func TestHostileStatementsAreRefused(t *testing.T) {
	address, sql := serveSQL(t, "--sql-timeout", "10s", "--sql-memory", "64MiB", "--sql-temp-bytes", "16MiB")
	fillSQL(t, address)
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte("the secret"), 0o644))
	all := hostileStatements(secret)
	require.Greater(t, len(all), 250)
	for _, s := range all {
		for _, describe := range []bool{false, true} {
			args := []string{"sql", "--server", address, "-o", "csv", "--", s}
			if describe {
				args = slices.Insert(args, 1, "--describe")
			}
			var stdout, stderr bytes.Buffer
			code := run(context.Background(), args, &stdout, &stderr)
			require.NotZero(t, code, "%.200s\n%.500s", s, stdout.String())
			require.NotContains(t, stdout.String()+stderr.String(), "the secret", "%.200s", s)
		}
	}
	for _, s := range deepStatements() {
		var stdout, stderr bytes.Buffer
		run(context.Background(), []string{"sql", "--server", address, "-o", "csv", s}, &stdout, &stderr)
		require.Equal(t, "2000", sql("select count(*) from samples"), "behind %.200s: %.500s", s, stderr.String())
	}
	require.NoFileExists(t, filepath.Join(t.TempDir(), "x.csv"))
	// A statement that is too long is not even sent on.
	_, says := fails(t, "sql", "--server", address, "select '"+strings.Repeat("x", 1<<20)+"'")
	require.Contains(t, says, "most is 1048576")
}
