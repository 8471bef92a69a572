package pgwire

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/query/table"
	"github.com/varvedb/varve/server/pgwire/pgcatalog"
)

func testSession() *session {
	samples, _ := table.Named("samples")
	tags, _ := table.Named("tags")
	return &session{server: &Server{options: Options{Version: "test", Tables: []table.Table{samples, tags}}}, user: "o'brien", process: 42, values: map[string]string{}}
}

// TestStatementsThatAskForTheCatalogue holds what becomes of them. REL stands for the text of the relations.
func TestStatementsThatAskForTheCatalogue(t *testing.T) {
	for _, c := range []struct{ sql, want string }{
		{"select value from samples where tag ~ 'x' collate \"C\"", ""},
		{"select user_name, t.user, 'pg_class' from t", ""},
		{"select array_length(x, 1), '{1,2}' from t", ""},
		{"select version()", "select 'PostgreSQL 15.0 (Varve test, read-only; statements are in DuckDB''s SQL)' AS \"version\""},
		{"version()", "'PostgreSQL 15.0 (Varve test, read-only; statements are in DuckDB''s SQL)'"},
		{"select current_user, f(current_user)", "select 'o''brien' AS \"current_user\", f('o''brien')"},
		{"select pg_backend_pid() as p", "select 42 as p"},
		{"select current_schemas(true), current_schemas(false)", "select ['pg_catalog', 'main'] AS \"current_schemas\", ['main'] AS \"current_schemas\""},
		{"select pg_catalog.count(*) from pg_catalog.pg_class c", "WITH REL select count(*) from pg_class c"},
		{"with x as (select 1) select * from pg_type, x", "WITH REL,  x as (select 1) select * from pg_type, x"},
		{"with recursive x as (select 1) select * from pg_type", "WITH RECURSIVE REL,  x as (select 1) select * from pg_type"},
		{"select tables.table_name from information_schema.tables", "WITH REL select tables.table_name from pg_info_tables AS \"tables\""},
		{"select t.* from varve.information_schema.tables t where 1=1", "WITH REL select t.* from pg_info_tables t where 1=1"},
		{`select 1 from "information_schema"."tables" where true`, `WITH REL select 1 from pg_info_tables AS "tables" where true`},
		{"select pg_catalog.pg_class.oid from pg_catalog.pg_class", "WITH REL select pg_class.oid from pg_class"},
		{"select 'samples'::regclass::oid, 'pg_catalog.pg_class'::regclass, 'int8'::regtype, 'no'::regclass", "select 16384::BIGINT, 1259, 20, NULL::BIGINT"},
		{"select x::pg_catalog.text, y::name, cast(z as pg_catalog.\"char\"), CAST(CAST(a AS REGCLASS) AS TEXT)", "select x::text, y::VARCHAR, CAST(z AS VARCHAR), CAST(CAST(a AS VARCHAR) AS TEXT)"},
		{"select 1 from pg_class where relname operator(pg_catalog.~) '^(s.*)$' collate pg_catalog.default", "WITH REL select 1 from pg_class where relname ~ ('(?s).*(?:' || '^(s.*)$' || ').*')  "},
		{"select 1 from pg_class where a !~* $1 and b ~~ 'c' and d ~ e", "WITH REL select 1 from pg_class where a !~ ('(?is).*(?:' || $1 || ').*') and b ~~ 'c' and d ~ e"},
		{"select 1 from pg_class where oid = any('{1,2}'::int[]) or relname = any('{a,b}') or relacl = '{}'", "WITH REL select 1 from pg_class where oid = any([1, 2]::int[]) or relname = any(['a', 'b']) or relacl = []"},
		{"select pg_get_constraintdef(oid, $1) from pg_constraint", "WITH REL select (CASE WHEN $1::VARCHAR IS NULL THEN NULL::VARCHAR ELSE NULL::VARCHAR END) AS \"pg_get_constraintdef\" from pg_constraint"},
		{"select s from pg_class, pg_catalog.generate_series(1, 3) s, unnest(relacl) as x(y)", "WITH REL select s from pg_class, generate_series(1, 3) AS \"s\"(\"s\"), unnest(relacl) as x(y)"},
		{"select a, unnest(relacl) as x from pg_class", ""}, // only the relation is added
		{"select has_table_privilege('samples', 'INSERT')", "select (upper('INSERT') IN ('SELECT', 'CONNECT', 'USAGE', 'EXECUTE')) AS \"has_table_privilege\""},
		{"select version(", ""},
	} {
		st := split(c.sql)[0]
		got, changed := testSession().translate(st)
		if c.want == "" && !strings.Contains(c.sql, "pg_class c") && !strings.Contains(c.sql, "from pg_class") {
			require.False(t, changed, c.sql)
			require.Equal(t, st.text, got)
			continue
		}
		if c.want == "" {
			c.want = "WITH REL " + c.sql
		}
		require.Equal(t, c.want, withoutRelations(got), c.sql)
	}
}

func TestReplaceParameters(t *testing.T) {
	got := ReplaceParameters("select $1, '$1', $2 /* $3 */ from f($3::text) where a$1 = $0 and b = $99999999999999999999", func(n int) string { return fmt.Sprintf("<%d>", n) })
	require.Equal(t, "select <1>, '$1', <2> /* $3 */ from f(<3>::text) where a$1 = $0 and b = $99999999999999999999", got)
}

// withoutRelations is a statement with REL in place of its relations.
func withoutRelations(sql string) string {
	s := split(sql)[0]
	from, depth := 1, 0
	if s.is(1, "RECURSIVE") {
		from = 2
	}
	if !s.is(0, "WITH") || !strings.HasPrefix(s.raw(from), "pg_") {
		return sql
	}
	for i := from; i < len(s.tokens); i++ {
		switch s.raw(i) {
		case "(":
			depth++
		case ")":
			if depth--; depth == 0 && !(s.raw(i+1) == "," && strings.HasPrefix(s.raw(i+2), "pg_") && s.is(i+3, "AS", "(", "SELECT")) {
				return sql[:s.tokens[from].start] + "REL" + sql[s.tokens[i].end:]
			}
		}
	}
	return sql
}

// TestTheCatalogueHasWhatItSaysItHas: rows fit their columns, which are those of the relation.
func TestTheCatalogueHasWhatItSaysItHas(t *testing.T) {
	rows := regexp.MustCompile(`^pg_\w+ AS \(SELECT .* FROM \(VALUES \(.*\)\) AS v\((".*")\)\)$`)
	for _, relation := range []string{"pg_class", "pg_attribute", "pg_type", "pg_namespace", "pg_database", "pg_settings", "pg_description"} {
		cte, err := testSession().catalog().CTE(pgcatalog.Pg, relation)
		require.NoError(t, err)
		require.Regexp(t, rows, cte)
		st := split(cte)[0]
		require.True(t, len(st.tokens) > 10 && st.raw(len(st.tokens)-1) == ")")
	}
	cte, err := pgcatalog.Catalog{}.CTE(pgcatalog.Pg, "pg_policy")
	require.NoError(t, err)
	require.True(t, strings.HasSuffix(cte, " WHERE false)"))
	_, err = pgcatalog.Catalog{}.CTE(pgcatalog.Pg, "pg_nothing")
	require.Error(t, err)
}

func FuzzTranslate(f *testing.F) {
	for _, s := range []string{
		"select version()", "select 'a'::regclass from pg_catalog.pg_class c where x !~* $1", "cast(a as regclass)", "operator(pg_catalog.~)", "collate a.b.c", "::", "$1::",
		"quote_ident(quote_ident(quote_ident(quote_ident(quote_ident(x)))))", "information_schema.", "pg_catalog.a(", "unnest(", "with pg_class", "has_table_privilege(,)", "pg_class !~",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, st := range split(s) {
			got, changed := testSession().translate(st)
			if !changed {
				require.Equal(t, st.text, got)
			}
			require.Less(t, len(got), maxTranslated+8*maxTranslation)
		}
	})
}

// FuzzSession gives a connection whatever bytes, before somebody is let in and after.
func FuzzSession(f *testing.F) {
	login := "\x00\x00\x00\x1f\x00\x03\x00\x00user\x00me\x00database\x00varve\x00\x00"
	for _, s := range []string{
		"", "\x00\x00\x00\x08\x04\xd2\x16\x2f", "\x00\x00\x00\x10\x04\xd2\x16\x2e\x00\x00\x00\x01\x00\x00\x00\x02", "\x16\x03\x01",
		login, login + "Q\x00\x00\x00\x0dselect 1\x00", login + "P\x00\x00\x00\x10\x00select n\x00\x00\x00B\x00\x00\x00\x0c\x00\x00\x00\x00\x00\x00\x00\x00E\x00\x00\x00\x09\x00\x00\x00\x00\x01S\x00\x00\x00\x04",
		login + "D\x00\x00\x00\x06S\x00C\x00\x00\x00\x06P\x00H\x00\x00\x00\x04X\x00\x00\x00\x04", login + "Q\x00\x00\x00\x2abegin;declare c cursor for select n;fetch c\x00",
		login + "Q\x00\x00\x00\x20set datestyle=iso;discard all\x00F\x00\x00\x00\x0e\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
	} {
		f.Add([]byte(s))
	}
	// What drivers send: statements with parameters of both formats, described and executed in parts, closed; cursors; an end.
	for _, messages := range [][]pgproto3.FrontendMessage{
		{&pgproto3.Query{String: "select n; set timezone to 'UTC'; show all"}},
		{&pgproto3.Parse{Name: "s", Query: "select n", ParameterOIDs: []uint32{20, 25, 1184}}, &pgproto3.Describe{ObjectType: 'S', Name: "s"}, &pgproto3.Sync{},
			&pgproto3.Bind{PreparedStatement: "s", DestinationPortal: "p", ParameterFormatCodes: []int16{1, 0}, Parameters: [][]byte{{0, 0, 0, 0, 0, 0, 0, 7}, []byte("x"), nil}, ResultFormatCodes: []int16{1}},
			&pgproto3.Describe{ObjectType: 'P', Name: "p"}, &pgproto3.Execute{Portal: "p", MaxRows: 2}, &pgproto3.Flush{}, &pgproto3.Execute{Portal: "p"}, &pgproto3.Sync{},
			&pgproto3.Close{ObjectType: 'P', Name: "p"}, &pgproto3.Close{ObjectType: 'S', Name: "s"}, &pgproto3.Sync{}, &pgproto3.Terminate{}},
		{&pgproto3.Query{String: "begin"}, &pgproto3.Query{String: "declare c cursor for select n"}, &pgproto3.Query{String: "fetch forward 2 from c"}, &pgproto3.Query{String: "selct"}, &pgproto3.Query{String: "rollback"}},
		{&pgproto3.FunctionCall{Function: 1, ArgFormatCodes: []uint16{0}, Arguments: [][]byte{{1}}}, &pgproto3.CopyData{Data: []byte("x")}, &pgproto3.CopyDone{}, &pgproto3.CopyFail{Message: "x"}, &pgproto3.Sync{}},
	} {
		b := []byte(login)
		for _, m := range messages {
			var err error
			b, err = m.Encode(b)
			require.NoError(f, err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) { feed(t, b) })
}
