package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"
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
		"select * from samples asof join %s on true", "select * from (values (1)) t positional join %s", "with recursive r as (select * from %s union all select * from r) select * from r",
		"select (select list(x) from %s x)", "select * from samples order by all limit (select count(*) from %s)", "select 1 having (select count(*) from %s) > 0", "select sum(1) over (order by (select count(*) from %s))",
		"unpivot %s on column0 into name a value b", "select * from wide(tags => (select list(content) from %s))", "select coalesce(null, (select first(content) from %s))",
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
		"summarize samples", "merge into samples using tags on true when matched then delete", "set lock_configuration = true", "set global threads = 1", "set file_search_path = '/'", "set custom_extension_repository = '/'",
		"set allow_unsigned_extensions = true", "set allowed_paths = ['/']", "set home_directory = '/'", "set session authorization postgres", "reset all extensions", "pragma disable_verification",
		"execute immediate 'select 1'", "create table t as from read_csv('/etc/passwd')", "create macro f() as table from read_text('/etc/passwd')", "copy (from samples) to " + f + " (format parquet)",
		"insert into samples by name select 1", "insert or replace into tags values (1)", "attach " + f + " as x (type sqlite)", "attach 'https://localhost/x.db'", "attach 'postgres://localhost'", "call duckdb_settings()",
		"call pragma_database_size()", "call read_text(" + f + ")", "pragma import_database(" + f + ")", "explain analyze copy samples to " + f, "describe from " + f, "show databases", "show variables",
		"kill 1", "shutdown", "grant select on samples to x", "listen x", "do $$ begin end $$", "alter database memory set threads = 1", "vacuum full", "reindex", "copy samples to stdout", "copy samples from stdin", "copy (select 1) to program 'id'", "select pg_read_file(" + f + ")", "select pg_ls_dir('/')", "select lo_import(" + f + ")",
		"lock table samples", "alter system set x = 1",
	} {
		out = append(out, s, "select 1; "+s, s+"; select 1")
	}
	// Semicolons in and behind comments and quotes: what is behind one is a statement.
	out = append(out,
		"select 1 /* ; */ ; drop table samples", "select 1 -- ;\n; attach 'x'", "select 1 /* /* ; */ */ ; install httpfs", "select ';'; load httpfs", "select $$;$$; copy samples to "+f,
		"select 'a\\'; drop table samples; --'", "select e'\\''; drop table samples", "/**/;;/* x */ drop table samples", "--\n drop table samples", "/*\n*/pragma database_list", "select 1\u00a0; drop table samples",
		"\u2028drop table samples", "select 1;\u2029drop table samples", "\ufeffdrop table samples", "select $a$ ; $b$ ; $a$; drop table samples",
	)
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
		"select '\xff\xfe'", "select * from samples where tag = '\xc3\x28'", "\xf0\x28\x8c\x28", "select * from \"\u202esamples\"", "select \u202e 1 from nothing", "select * from \u0455amples",
		"from '/etc/passwd'", "from '/proc/self/environ'", "from '/proc/self/mem'", "from '/dev/zero'", "from '/dev/stdin'", "from 'file:///etc/passwd'", "from '/etc/*'", "from '~/.ssh/id_rsa'", "from \"/etc/passwd\"",
		"select * from 'http://169.254.169.254/latest/meta-data/'", "select * from read_csv(['/etc/passwd', '/etc/group'])", "select * from read_csv('/etc/passwd', delim => ':')", "select read_text('/etc/passwd')",
		"select * from read_blob('/proc/self/environ')", "select * from glob('/**')", "select 1 from samples where exists (from '/etc/passwd')", "select (from '/etc/passwd' limit 1)",
		"with recursive r as (select 1 as i union all select i from r) select count(*) from r, nothing",
	)
}

// heavyStatements is statements that want more than there is: time, memory, depth. Each is answered or refused within bounds.
func heavyStatements() []string {
	many := func(n int, f func(i int) string) string {
		var out []string
		for i := range n {
			out = append(out, f(i))
		}
		return strings.Join(out, ", ")
	}
	nested := func(n int, open, inside, shut string) string {
		return strings.Repeat(open, n) + inside + strings.Repeat(shut, n)
	}
	return []string{
		// Shapes.
		"select " + nested(5000, "(", "1", ")"), "select " + nested(5000, "[", "", "]"), "select -" + strings.Repeat(" -", 20000) + "1", nested(2000, "select * from (", "samples limit 1", ")"),
		"select not " + strings.Repeat("not ", 20000) + "true", "select " + nested(3000, "case when true then ", "1", " end"), "select 1" + strings.Repeat(" union all select 1", 20000),
		"select " + nested(5000, "abs(", "1", ")"), "select " + nested(3000, "{'a': ", "1", "}"), "select " + nested(300, "list_transform([1], lambda x: ", "1", ")"), "select 1" + strings.Repeat(" + 1", 50000),
		"select true" + strings.Repeat(" and true", 50000), "select 'a'" + strings.Repeat(" || 'a'", 20000), "select " + nested(2000, "(select ", "1", ")"), "select 1::" + "int" + strings.Repeat("[]", 2000),
		"with " + many(5000, func(i int) string { return fmt.Sprintf("c%d as (select 1)", i) }) + " select 1", "select " + many(100000, func(i int) string { return "1" }),
		"values " + many(100000, func(i int) string { return "(1)" }), "select count(*) from samples where tag in (" + many(90000, func(i int) string { return fmt.Sprintf("'x%d'", i) }) + ")",
		"select count(*) from samples where value in (" + many(100000, func(i int) string { return fmt.Sprint(i) }) + ")", "select count(*) from samples where tag like '" + strings.Repeat("%a", 100000) + "'",
		"select 1 " + strings.Repeat("/*", 100000), "select '" + strings.Repeat("''", 400000) + "'", "select * from " + many(200, func(i int) string { return fmt.Sprintf("samples s%d", i) }),
		"select \"" + strings.Repeat("x", 500000) + "\"", "select '\u202e\u2066\u200f' as \"\u202e\"", "select '\U0010ffff\ufffe\u0000'", "select 1e999999999", "select " + strings.Repeat("9", 100000), "select 0x" + strings.Repeat("f", 10000),
		"with a as (select 1 as x), b as (select * from a, a a2)" + func() (out string) {
			for i := range 40 {
				out += fmt.Sprintf(", b%d as (select x.* from %s x, %s y)", i, map[bool]string{true: "b", false: fmt.Sprintf("b%d", i-1)}[i == 0], map[bool]string{true: "b", false: fmt.Sprintf("b%d", i-1)}[i == 0])
			}
			return out
		}() + " select count(*) from b39",
		// Time.
		"select sum(i % 7) from range(1000000000000) t(i)", "select i from range(1000000000000) t(i)", "select count(*) from samples a, samples b, samples c, samples d, samples e",
		"with recursive r(i) as (select 1 union all select i + 1 from r) select max(i) from r", "with recursive r(i) as (select 1 union select i + 1 from r) select count(*) from r",
		"select levenshtein(repeat('a', 200000), repeat('b', 200000))", "select jaro_winkler_similarity(repeat('ab', 500000), repeat('ba', 500000))", "select repeat('a', 1000000) like repeat('%a', 5000) || 'b'",
		"select regexp_matches(repeat('a', 1000000), '(a+)+$b')", "select regexp_extract_all(repeat('a', 1000000), '((a{0,30}){0,30}){0,30}')", "select regexp_replace(repeat('a', 100000), '(.*)(.*)(.*)(.*)(.*)b', 'x', 'g')",
		"select count(*) from range(1000000000) a full join range(1000000000) b on a.range = b.range + 1", "select count(*) from range(1000000) a, range(1000000) b where a.range % (b.range + 1) = 7",
		"select list_sum([x for x in range(100000000) if x % 2 = 0])", "select sum(x) from (select row_number() over (order by i desc) as x from range(1000000000) t(i))",
		"select count(*) from samples s, generate_series(1, 1000000000) g", "select * from samples a, samples b order by a.value * b.value, a.time, b.tag", "select count(*) from samples a asof join samples b on a.time >= b.time, range(100000000)",
		// Memory.
		"select list(i) from range(1000000000) t(i)", "select a.i from range(100000000) a(i), range(100000000) b(i) order by b.i desc, a.i", "select count(distinct i::varchar) from range(1000000000) t(i)",
		"select repeat('x', 1000000000)", "select repeat('x', 10000000000)", "select length(repeat(repeat('x', 100000), 100000))", "select string_agg(repeat('x', 1000000), '') from range(100000)", "select lpad('x', 2000000000, 'y')",
		"with recursive r as (select repeat('x', 1000) as x union all select x || x from r) select max(length(x)) from r", "select range(1000000000000)", "select generate_series(1, 100000000000)", "select list_resize([1], 10000000000)",
		"select format('{:2000000000d}', 1)", "select printf('%2000000000d', 1)", "select bitstring('0', 2000000000)", "select list_sort(range(100000000))", "select histogram(i) from range(1000000000) t(i)",
		"select mode(i) from range(1000000000) t(i)", "select quantile_cont(i, 0.5) from range(1000000000) t(i)", "select json(nested) from (select repeat('[', 1000000) || repeat(']', 1000000) as nested)",
		"select (repeat('[', 100000) || repeat(']', 100000))::json", "select strftime(now()::timestamp, repeat('%A', 1000000))", "select map_from_entries(list(row(i, i))) from range(100000000) t(i)", "select repeat(tag, 100000000) from samples",
		"select list_aggregate(list_transform(range(1000), lambda x: repeat('x', 10000000)), 'string_agg', '')", "select unnest(range(10000000000))", "select array_agg(s) from samples s, range(100000)", "select struct_pack(a := list(i), b := list(i)) from range(1000000000) t(i)",
		// What is ours.
		"select count(*) from interpolated('*', start => timestamptz '1970-01-01', stop => timestamptz '2100-01-01', every => '1us')", "select count(*) from plot('*', start => timestamptz '1970-01-01', stop => timestamptz '2100-01-01', pixels => 2000000000)",
		"select count(*) from aggregate('*', start => timestamptz '1970-01-01', stop => timestamptz '2100-01-01', every => '1us', functions => 'Average')", "select count(*) from at_times('*', times => (select list(now() + to_microseconds(i)) from range(10000000) t(i)))",
		"select count(*) from raw(tags => (select list('x' || i) from range(10000000) t(i)))", "select count(*) from wide((select list('x' || i) from range(100000) t(i)), start => timestamptz '1970-01-01', stop => timestamptz '2100-01-01', every => '1us')",
		"select count(*) from time_in_state('*', start => timestamptz '1970-01-01', stop => timestamptz '2100-01-01', every => '1us')", "select * from raw('*', bounds => repeat('x', 100000000))",
	}
}

// answeredAtPostgres is what that door answers of what others refuse: it takes statements one by one, has transactions, which promise nothing, COPY to the client,
// and a catalogue of its own, whose settings are those of the session: of any other one it says NULL.
var answeredAtPostgres = regexp.MustCompile(`^(?i:(select 1|begin|commit|rollback|deallocate p|copy samples to stdout|\s|;|--|/\*)*|select \* from (information_schema\.tables|pg_catalog\.pg_class))$`)

var settingAtPostgres = regexp.MustCompile(`current_setting\('(temp_directory|secret_directory|threads)'\)`)

// TestHostileStatementsAtEveryDoor asks what nobody may have, in each way there is to ask: it is refused, whatever is behind it is answered,
// and nothing that is said has anything of a file.
func TestHostileStatementsAtEveryDoor(t *testing.T) {
	at, _ := serveDoors(t, t.TempDir(), "--sql-binary", sqlBinary(t), "--postgres", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--sql-timeout", "10s", "--sql-memory", "64MiB", "--sql-temp-bytes", "16MiB")
	fillSQL(t, at.grpc)
	secret := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(secret, []byte("the secret"), 0o644))
	all := hostileStatements(secret)
	require.Greater(t, len(all), 450)
	doors := sqlDoors(t, at)
	var answered []string
	for _, statement := range all {
		for _, door := range doors {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			got, err := door.ask(ctx, statement)
			cancel()
			says := got
			if err != nil {
				says += err.Error()
			}
			for _, inside := range []string{"the secret", "root:x:", "PATH="} {
				require.NotContains(t, says, inside, "%s %.200q", door.name, statement)
			}
			if strings.HasPrefix(door.name, "PostgreSQL") {
				if answeredAtPostgres.MatchString(statement) || err == nil && settingAtPostgres.MatchString(statement) && strings.TrimSpace(got) == "" {
					continue
				}
			}
			if err == nil {
				answered = append(answered, fmt.Sprintf("%s %.200q: %.200q", door.name, statement, got))
				continue
			}
			if utf8.ValidString(statement) { // else clients of gRPC do not even send it, and say so in such words
				require.NotContains(t, err.Error(), "Internal", "%s %.200q", door.name, statement)
			}
		}
		got, err := doors[0].ask(t.Context(), "select 40 + 2 as n")
		require.NoError(t, err, "behind %.200q", statement)
		require.NotEmpty(t, got)
	}
	require.Empty(t, answered, strings.Join(answered, "\n"))
	for _, door := range doors {
		_, err := door.ask(t.Context(), "select count(*) from samples")
		require.NoError(t, err, door.name)
	}
	// A statement that is too long is not even sent on.
	for _, door := range doors {
		_, err := door.ask(t.Context(), "select '"+strings.Repeat("x", 2<<20)+"'")
		require.Error(t, err, door.name)
	}
	_, says := fails(t, "sql", "--server", at.grpc, "select '"+strings.Repeat("x", 1<<20)+"'")
	require.Contains(t, says, "most is 1048576")
}

// TestHeavyStatementsAtEveryDoor asks for more than there is: each is answered or refused in time, the process stays within its memory or is
// ended, and the next statement is answered. In short each is asked at one door.
func TestHeavyStatementsAtEveryDoor(t *testing.T) {
	at, _ := serveDoors(t, t.TempDir(), "--sql-binary", sqlBinary(t), "--postgres", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--sql-timeout", "400ms", "--sql-memory", "64MiB", "--sql-temp-bytes", "16MiB")
	fillSQL(t, at.grpc)
	doors := sqlDoors(t, at)
	most, slowest := 0, time.Duration(0)
	for n, statement := range heavyStatements() {
		for k, door := range doors {
			if testing.Short() && k != n%len(doors) {
				continue
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // of which a statement takes a hundredth
			begun := time.Now()
			_, err := door.ask(ctx, statement)
			require.NoError(t, ctx.Err(), "%s %.200q does not end: %v", door.name, statement, err)
			cancel()
			slowest = max(slowest, time.Since(begun))
			if err != nil {
				require.NotContains(t, err.Error(), "Internal", "%s %.200q", door.name, statement)
			}
			for _, pid := range runningChildren(t, os.Getpid(), "varve-sql") {
				most = max(most, peakMemory(pid))
			}
			for try := 0; ; try++ { // the statement timeout of this test is no time for a process to begin
				got, err := doors[0].ask(t.Context(), "select count(*) as n from latest")
				if err == nil {
					require.NotEmpty(t, got)
					break
				}
				require.Less(t, try, 50, "behind %s %.200q: %v", door.name, statement, err)
				time.Sleep(100 * time.Millisecond)
			}
		}
	}
	t.Logf("slowest %s, most memory of the process %d MiB", slowest, most>>20)
	require.Less(t, most, 1<<30)
}

// peakMemory is the most that a process held at once, in bytes; 0 where that is not known.
func peakMemory(pid int) int {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status)
	if m == nil {
		return 0
	}
	kilobytes, _ := strconv.Atoi(string(m[1]))
	return kilobytes << 10
}

// TestTimeZoneAtEveryDoor: UTC is taken everywhere, and any other zone refused with what to write in its place.
func TestTimeZoneAtEveryDoor(t *testing.T) {
	at, _ := serveDoors(t, t.TempDir(), "--sql-binary", sqlBinary(t), "--postgres", "127.0.0.1:0", "--http-listen", "127.0.0.1:0")
	for _, door := range sqlDoors(t, at) {
		for _, statement := range []string{"SET TimeZone = 'UTC'", "set time zone 'Etc/UTC'", "show tables", "describe samples", "show timezone", "reset timezone"} {
			_, err := door.ask(t.Context(), statement)
			require.NoError(t, err, "%s %s", door.name, statement)
		}
		_, err := door.ask(t.Context(), "set timezone = 'Europe/Berlin'")
		require.ErrorContains(t, err, "Europe/Berlin", door.name)
		var told *pgconn.PgError
		says := err.Error()
		if errors.As(err, &told) {
			says = told.Hint
		}
		require.Contains(t, says, "AT TIME ZONE", door.name)
	}
}
