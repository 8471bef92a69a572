package pgwire

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/varvedb/varve/query/table"
	"github.com/varvedb/varve/server/pgwire/pgcatalog"
)

func itoa(n int) string { return strconv.Itoa(n) }

// function is how a call is written for the engine.
type function struct {
	// engine is whether the engine has a function of the name too, whose meaning counts outside of the catalogue.
	engine bool
	// of is the expression for a call with these arguments; false where it cannot be said.
	of func(t *translator, arguments []string) (string, bool)
}

// words are the key words that stand for a value of the session.
var words = map[string]func(*session) string{
	"current_user": sessionUser, "session_user": sessionUser, "user": sessionUser, "current_role": sessionUser,
	"current_catalog": func(*session) string { return pgcatalog.Quote(table.Catalog) },
	"current_schema":  func(*session) string { return pgcatalog.Quote(table.Schema) },
}

func sessionUser(s *session) string { return pgcatalog.Quote(s.user) }

// functions are those that are written anew.
var functions = listFunctions()

func listFunctions() map[string]function {
	out := map[string]function{}
	fixed := func(value string, names ...string) {
		for _, n := range names {
			out[n] = function{of: func(*translator, []string) (string, bool) { return value, true }}
		}
	}
	// What there is none of, and what is not told.
	fixed("NULL::VARCHAR", "pg_get_expr", "pg_get_constraintdef", "pg_get_indexdef", "pg_get_viewdef", "pg_get_ruledef", "pg_get_triggerdef", "pg_get_functiondef",
		"pg_get_function_result", "pg_get_function_arguments", "pg_get_function_identity_arguments", "pg_get_serial_sequence", "pg_get_statisticsobjdef_columns", "pg_get_statisticsobjdef",
		"pg_get_partkeydef", "pg_get_partition_constraintdef", "pg_tablespace_location", "shobj_description", "pg_size_pretty", "pg_describe_object", "pg_get_function_sqlbody",
		"pg_relation_filepath", "inet_client_addr", "inet_server_addr", "pg_advisory_unlock_all", "pg_get_replica_identity_index", "pg_stat_get_backend_activity")
	fixed("NULL::BIGINT", "pg_relation_size", "pg_total_relation_size", "pg_table_size", "pg_indexes_size", "pg_database_size", "pg_tablespace_size",
		"_pg_char_max_length", "_pg_numeric_precision", "_pg_numeric_scale", "_pg_datetime_precision", "inet_client_port", "inet_server_port", "to_regproc", "to_regrole")
	fixed("true", "pg_table_is_visible", "pg_type_is_visible", "pg_function_is_visible", "pg_operator_is_visible", "pg_opclass_is_visible", "pg_opfamily_is_visible",
		"pg_collation_is_visible", "pg_conversion_is_visible", "pg_statistics_obj_is_visible", "pg_ts_config_is_visible", "pg_ts_dict_is_visible", "pg_ts_parser_is_visible", "pg_ts_template_is_visible")
	fixed("false", "pg_is_in_recovery", "pg_is_other_temp_schema", "pg_relation_is_publishable", "pg_column_is_updatable", "pg_has_role", "row_security_active")
	fixed("6::BIGINT", "pg_char_to_encoding") // UTF8, and there is no other
	fixed("0::BIGINT", "pg_my_temp_schema", "pg_relation_is_updatable")
	fixed(pgcatalog.Quote(pgcatalog.Owner), "pg_get_userbyid")
	fixed(pgcatalog.Quote(table.Catalog), "current_database")
	fixed(pgcatalog.Quote(table.Schema), "current_schema")
	fixed("'UTF8'", "pg_encoding_to_char", "pg_client_encoding", "getdatabaseencoding")
	fixed("(SELECT NULL::VARCHAR AS word, NULL::VARCHAR AS catcode, NULL::VARCHAR AS catdesc WHERE false)", "pg_get_keywords")
	fixed("{'x': NULL::BIGINT, 'n': NULL::BIGINT}", "_pg_expandarray")
	for _, n := range []string{"table", "schema", "database", "column", "any_column", "function", "sequence", "type", "tablespace", "server", "foreign_data_wrapper", "language"} {
		out["has_"+n+"_privilege"] = function{of: privilege}
	}
	one := func(format string, engine bool) function {
		return function{engine, func(_ *translator, a []string) (string, bool) {
			if len(a) == 0 {
				return "", false
			}
			return fmt.Sprintf(format, a[0]), true
		}}
	}
	out["version"] = function{of: func(t *translator, _ []string) (string, bool) {
		return pgcatalog.Quote("PostgreSQL " + ServerVersion + " (Varve " + t.session.server.options.Version + ", read-only; statements are in DuckDB's SQL)"), true
	}}
	out["pg_backend_pid"] = function{of: func(t *translator, _ []string) (string, bool) {
		return strconv.FormatUint(uint64(t.session.process), 10), true
	}}
	out["current_setting"] = function{of: currentSetting}
	out["set_config"] = function{of: func(_ *translator, a []string) (string, bool) {
		if len(a) != 3 || a[0] != "'jit'" { // which asyncpg switches off beside other columns; there is none
			return "", false
		}
		return a[1], true
	}}
	out["current_schemas"] = function{of: func(_ *translator, a []string) (string, bool) {
		if len(a) == 1 && strings.EqualFold(a[0], "true") {
			return "['pg_catalog', " + pgcatalog.Quote(table.Schema) + "]", true
		}
		return "[" + pgcatalog.Quote(table.Schema) + "]", true
	}}
	out["format_type"] = function{of: func(_ *translator, a []string) (string, bool) {
		return pgcatalog.FormatType(strings.Join(a[:min(1, len(a))], "")), len(a) > 0
	}}
	out["to_regclass"] = function{of: func(t *translator, a []string) (string, bool) {
		return t.tables().ClassOID(strings.Join(a, ",")), len(a) == 1
	}}
	out["to_regtype"] = function{of: func(_ *translator, a []string) (string, bool) {
		return pgcatalog.TypeOID(strings.Join(a, ",")), len(a) == 1
	}}
	out["obj_description"] = function{of: description("0")}
	out["col_description"] = function{of: func(t *translator, a []string) (string, bool) {
		if len(a) != 2 {
			return "", false
		}
		return description(a[1])(t, a[:1])
	}}
	out["quote_ident"] = one(`(CASE WHEN regexp_full_match(%[1]s, '[a-z_][a-z0-9_]*') THEN %[1]s ELSE '"' || replace(%[1]s, '"', '""') || '"' END)`, false)
	out["quote_literal"] = one(`('''' || replace(%[1]s, '''', '''''') || '''')`, false)
	out["parse_ident"] = one(`string_split(%s, '.')`, false)
	out["array_upper"] = one("len(%s)", true)
	out["array_length"] = one("len(%s)", true)
	out["array_lower"] = one("(CASE WHEN len(%s) > 0 THEN 1 END)", true)
	out["array_remove"] = one("(%s)", true) // nothing that clients take away is ever there
	out["json_build_object"] = function{true, func(_ *translator, a []string) (string, bool) {
		return "json_object(" + strings.Join(a, ", ") + ")", true
	}}
	return out
}

// privilege is the answer to has_…_privilege: reading is allowed, and nothing else.
func privilege(_ *translator, a []string) (string, bool) {
	if len(a) < 2 {
		return "", false
	}
	return "(upper(" + a[len(a)-1] + ") IN ('SELECT', 'CONNECT', 'USAGE', 'EXECUTE'))", true
}

// currentSetting is the value of a setting, whose name may be known only when the statement runs.
func currentSetting(t *translator, a []string) (string, bool) {
	if len(a) == 0 {
		return "", false
	}
	var b strings.Builder
	b.WriteString("(CASE lower(" + a[0] + ")")
	for _, known := range sortedSettings() {
		value, _ := t.session.settingOf(known.name)
		b.WriteString(" WHEN " + pgcatalog.Quote(strings.ToLower(known.name)) + " THEN " + pgcatalog.Quote(value))
	}
	b.WriteString(" END)")
	return b.String(), true
}

// description is what there is to say of the object whose number is the first argument, or of a column of it.
func description(column string) func(*translator, []string) (string, bool) {
	return func(t *translator, a []string) (string, bool) {
		if len(a) == 0 || len(a) == 2 && !strings.Contains(a[1], "pg_class") {
			return "NULL::VARCHAR", len(a) > 0
		}
		t.need(pgcatalog.Pg, "pg_description")
		return "(SELECT described.description FROM pg_description described WHERE described.objoid = (" + a[0] + ") AND described.objsubid = (" + column + "))", true
	}
}
