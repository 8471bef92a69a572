package pgcatalog

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/varvedb/varve/query/table"
)

// Numbers of things that PostgreSQL always has, and the first that is free for ours.
const (
	schemaPg      = 11
	schemaMain    = 2200
	schemaInfo    = 13000
	owner         = 10
	tablespace    = 1663
	database      = 5
	procArrayIn   = 750
	procArrayRecv = 2400
	firstProc     = 100_000 // the functions that read values of types, which have no numbers that clients rely on
	firstTable    = 16384
	Owner         = "varve" // who everything belongs to
	utf8Encoding  = 6
	classRelation = 1259
)

// catalogRelations is the numbers of relations of the catalogue that clients name to ask what is described.
var catalogRelations = map[string]int{
	"pg_type": 1247, "pg_attribute": 1249, "pg_proc": 1255, "pg_class": classRelation, "pg_authid": 1260, "pg_database": 1262, "pg_constraint": 2606,
	"pg_attrdef": 2604, "pg_description": 2609, "pg_index": 2610, "pg_namespace": 2615, "pg_rewrite": 2618, "pg_trigger": 2620, "pg_tablespace": 1213,
	"pg_extension": 3079, "pg_foreign_data_wrapper": 2328, "pg_foreign_server": 1417, "pg_language": 2612, "pg_cast": 2605, "pg_collation": 3456,
	"pg_event_trigger": 3466, "pg_policy": 3256, "pg_opclass": 2616, "pg_operator": 2617, "pg_sequence": 2224, "pg_shdescription": 2396,
}

// tableOID is the number of the n-th table; the one behind it is that of its row type.
func tableOID(n int) int { return firstTable + 2*n }

// ClassOID is an expression for the number of the relation that the expression name calls, with its schema or without.
func (c Catalog) ClassOID(name string) string {
	var b strings.Builder
	b.WriteString("(CASE replace(replace(replace(lower(" + name + `), '"', ''), 'main.', ''), 'pg_catalog.', '')`)
	for i, t := range c.Tables {
		b.WriteString(" WHEN " + Quote(t.Name) + " THEN " + itoa(tableOID(i)))
	}
	for _, n := range slices.Sorted(maps.Keys(catalogRelations)) {
		b.WriteString(" WHEN " + Quote(n) + " THEN " + itoa(catalogRelations[n]))
	}
	b.WriteString(" END)")
	return b.String()
}

// NamedOID is the number that a literal of one of the types regclass, regtype, regproc, regnamespace and regrole stands for.
func (c Catalog) NamedOID(kind, name string) (int, bool) {
	plain := strings.ReplaceAll(name, `"`, "")
	plain = strings.TrimPrefix(strings.TrimPrefix(plain, "pg_catalog."), table.Schema+".")
	if n, err := strconv.Atoi(plain); err == nil {
		return n, true
	}
	switch kind {
	case "regclass":
		for i, t := range c.Tables {
			if t.Name == plain {
				return tableOID(i), true
			}
		}
		n, ok := catalogRelations[plain]
		return n, ok
	case "regtype":
		for _, t := range types {
			switch plain {
			case t.Name, t.SQL:
				return t.OID, true
			case "_" + t.Name, t.Name + "[]", t.SQL + "[]":
				return t.Array, t.Array != 0
			}
		}
	case "regproc", "regprocedure":
		switch plain {
		case "array_in":
			return procArrayIn, true
		case "array_recv":
			return procArrayRecv, true
		}
		return 0, true // a function, which none of ours is
	case "regnamespace":
		n, ok := map[string]int{"pg_catalog": schemaPg, table.Schema: schemaMain, "information_schema": schemaInfo}[plain]
		return n, ok
	case "regrole":
		return owner, plain == Owner
	}
	return 0, false
}

// filler is what a relation holds: the columns that differ from row to row, the rows, and the values of columns that are the same in
// all of them.
type filler func(c Catalog) (given []string, rows [][]string, constant map[string]string)

var content = map[string]filler{
	Pg + ".pg_namespace": func(Catalog) ([]string, [][]string, map[string]string) {
		return []string{"oid", "nspname"}, [][]string{
			{itoa(schemaPg), "'pg_catalog'"}, {itoa(schemaMain), Quote(table.Schema)}, {itoa(schemaInfo), "'information_schema'"},
		}, map[string]string{"nspowner": itoa(owner)}
	},
	Pg + ".pg_class": func(c Catalog) ([]string, [][]string, map[string]string) {
		var rows [][]string
		for i, t := range c.Tables {
			rows = append(rows, []string{itoa(tableOID(i)), Quote(t.Name), itoa(tableOID(i) + 1), Quote(relkind(t)), itoa(len(t.Columns))})
		}
		return []string{"oid", "relname", "reltype", "relkind", "relnatts"}, rows, map[string]string{
			"relnamespace": itoa(schemaMain), "relowner": itoa(owner), "reltuples": "-1", "relpersistence": "'p'", "relreplident": "'n'", "relispopulated": "true",
		}
	},
	Pg + ".pg_attribute": func(c Catalog) ([]string, [][]string, map[string]string) {
		var rows [][]string
		for i, t := range c.Tables {
			for n, col := range t.Columns {
				typ := typeOf(col.Type)
				rows = append(rows, []string{itoa(tableOID(i)), Quote(col.Name), itoa(typ.OID), itoa(typ.Bytes), itoa(n + 1), strconv.FormatBool(col.NotNull)})
			}
		}
		return []string{"attrelid", "attname", "atttypid", "attlen", "attnum", "attnotnull"}, rows, map[string]string{
			"atttypmod": "-1", "attstattarget": "-1", "attcacheoff": "-1", "attidentity": "''", "attgenerated": "''", "attcompression": "''",
			"attstorage": "'p'", "attalign": "'d'", "attislocal": "true",
		}
	},
	Pg + ".pg_type": func(Catalog) ([]string, [][]string, map[string]string) {
		var rows [][]string
		for i, t := range types {
			kind := "'b'"
			if t.Category == "X" || t.Category == "P" {
				kind = "'p'"
			}
			rows = append(rows, []string{itoa(t.OID), Quote(t.Name), itoa(t.Bytes), kind, Quote(t.Category), "0", itoa(t.Array), itoa(firstProc + 2*i), itoa(firstProc + 2*i + 1)})
			if t.Array != 0 {
				rows = append(rows, []string{itoa(t.Array), Quote("_" + t.Name), "-1", "'b'", "'A'", itoa(t.OID), "0", itoa(procArrayIn), itoa(procArrayRecv)})
			}
		}
		return []string{"oid", "typname", "typlen", "typtype", "typcategory", "typelem", "typarray", "typinput", "typreceive"}, rows, map[string]string{
			"typnamespace": itoa(schemaPg), "typowner": itoa(owner), "typisdefined": "true", "typdelim": "','", "typtypmod": "-1", "typalign": "'d'", "typstorage": "'p'",
		}
	},
	Pg + ".pg_proc": func(Catalog) ([]string, [][]string, map[string]string) {
		rows := [][]string{{itoa(procArrayIn), "'array_in'"}, {itoa(procArrayRecv), "'array_recv'"}}
		for i, t := range types {
			rows = append(rows, []string{itoa(firstProc + 2*i), Quote(reads(t.Name, "in"))}, []string{itoa(firstProc + 2*i + 1), Quote(reads(t.Name, "recv"))})
		}
		return []string{"oid", "proname"}, rows, map[string]string{
			"pronamespace": itoa(schemaPg), "proowner": itoa(owner), "prokind": "'f'", "provolatile": "'i'", "proparallel": "'s'", "proisstrict": "true", "pronargs": "1", "prorettype": "2278",
		}
	},
	Pg + ".pg_database": func(Catalog) ([]string, [][]string, map[string]string) {
		return []string{"oid", "datname"}, [][]string{{itoa(database), Quote(table.Catalog)}}, map[string]string{
			"datdba": itoa(owner), "encoding": itoa(utf8Encoding), "datlocprovider": "'c'", "datallowconn": "true", "datconnlimit": "-1", "dattablespace": itoa(tablespace),
			"datcollate": "'C'", "datctype": "'C'",
		}
	},
	Pg + ".pg_tablespace": func(Catalog) ([]string, [][]string, map[string]string) {
		return []string{"oid", "spcname"}, [][]string{{itoa(tablespace), "'pg_default'"}}, map[string]string{"spcowner": itoa(owner)}
	},
	Pg + ".pg_roles": role("rolname"),
	Pg + ".pg_user": func(Catalog) ([]string, [][]string, map[string]string) {
		return []string{"usesysid", "usename"}, [][]string{{itoa(owner), Quote(Owner)}}, nil
	},
	Pg + ".pg_settings": func(c Catalog) ([]string, [][]string, map[string]string) {
		var rows [][]string
		for _, v := range c.Settings {
			rows = append(rows, []string{Quote(v[0]), Quote(v[1])})
		}
		return []string{"name", "setting"}, rows, map[string]string{"category": "''", "short_desc": "''", "context": "'user'", "vartype": "'string'", "source": "'session'"}
	},
	Pg + ".pg_description": func(c Catalog) ([]string, [][]string, map[string]string) {
		var rows [][]string
		for i, t := range c.Tables {
			if t.Remarks != "" {
				rows = append(rows, []string{itoa(tableOID(i)), "0", Quote(t.Remarks)})
			}
			for n, col := range t.Columns {
				if col.Remarks != "" {
					rows = append(rows, []string{itoa(tableOID(i)), itoa(n + 1), Quote(col.Remarks)})
				}
			}
		}
		return []string{"objoid", "objsubid", "description"}, rows, map[string]string{"classoid": itoa(classRelation)}
	},
	Pg + ".pg_tables": func(c Catalog) ([]string, [][]string, map[string]string) {
		return []string{"schemaname", "tablename"}, listTables(c, false), listedBy("tableowner")
	},
	Pg + ".pg_views": func(c Catalog) ([]string, [][]string, map[string]string) {
		return []string{"schemaname", "viewname"}, listTables(c, true), listedBy("viewowner")
	},

	Info + ".information_schema_catalog_name": func(Catalog) ([]string, [][]string, map[string]string) {
		return []string{"catalog_name"}, [][]string{{Quote(table.Catalog)}}, nil
	},
	Info + ".schemata": func(Catalog) ([]string, [][]string, map[string]string) {
		return []string{"schema_name"}, [][]string{{Quote(table.Schema)}, {"'information_schema'"}, {"'pg_catalog'"}},
			map[string]string{"catalog_name": Quote(table.Catalog), "schema_owner": Quote(Owner)}
	},
	Info + ".tables": func(c Catalog) ([]string, [][]string, map[string]string) {
		var rows [][]string
		for _, t := range c.Tables {
			kind := "'BASE TABLE'"
			if t.View {
				kind = "'VIEW'"
			}
			rows = append(rows, []string{Quote(t.Name), kind})
		}
		return []string{"table_name", "table_type"}, rows, inMain("table_catalog", "table_schema", map[string]string{"is_insertable_into": "'NO'", "is_typed": "'NO'"})
	},
	Info + ".views": func(c Catalog) ([]string, [][]string, map[string]string) {
		return []string{"table_name"}, dropFirst(listTables(c, true)), inMain("table_catalog", "table_schema", map[string]string{
			"check_option": "'NONE'", "is_updatable": "'NO'", "is_insertable_into": "'NO'", "is_trigger_updatable": "'NO'", "is_trigger_deletable": "'NO'", "is_trigger_insertable_into": "'NO'",
		})
	},
	Info + ".columns": func(c Catalog) ([]string, [][]string, map[string]string) {
		var rows [][]string
		for _, t := range c.Tables {
			for n, col := range t.Columns {
				typ, nullable := typeOf(col.Type), "'YES'"
				if col.NotNull {
					nullable = "'NO'"
				}
				precision, radix, scale, fraction := "NULL", "NULL", "NULL", "NULL"
				switch col.Type {
				case table.Int64:
					precision, radix, scale = "64", "2", "0"
				case table.Float64:
					precision, radix = "53", "2"
				case table.Time:
					fraction = "6"
				}
				rows = append(rows, []string{Quote(t.Name), Quote(col.Name), itoa(n + 1), nullable, Quote(typ.SQL), Quote(typ.Name), precision, radix, scale, fraction})
			}
		}
		return []string{"table_name", "column_name", "ordinal_position", "is_nullable", "data_type", "udt_name", "numeric_precision", "numeric_precision_radix", "numeric_scale", "datetime_precision"},
			rows, inMain("table_catalog", "table_schema", map[string]string{
				"udt_catalog": Quote(table.Catalog), "udt_schema": "'pg_catalog'", "is_self_referencing": "'NO'", "is_identity": "'NO'", "identity_cycle": "'NO'",
				"is_generated": "'NEVER'", "is_updatable": "'NO'", "character_maximum_length": "NULL", "character_octet_length": "NULL", "interval_precision": "NULL", "maximum_cardinality": "NULL",
			})
	},
	Info + ".character_sets": func(Catalog) ([]string, [][]string, map[string]string) {
		return []string{"character_set_name"}, [][]string{{"'UTF8'"}}, map[string]string{
			"character_repertoire": "'UCS'", "form_of_use": "'UTF8'", "default_collate_catalog": Quote(table.Catalog),
		}
	},
	Info + ".enabled_roles": func(Catalog) ([]string, [][]string, map[string]string) {
		return []string{"role_name"}, [][]string{{Quote(Owner)}}, nil
	},
}

func role(name string) filler {
	return func(Catalog) ([]string, [][]string, map[string]string) {
		return []string{"oid", name}, [][]string{{itoa(owner), Quote(Owner)}}, map[string]string{"rolinherit": "true", "rolconnlimit": "-1"}
	}
}

func relkind(t table.Table) string {
	if t.View {
		return "v"
	}
	return "r"
}

func inMain(catalog, schema string, more map[string]string) map[string]string {
	more[catalog], more[schema] = Quote(table.Catalog), Quote(table.Schema)
	return more
}

func listedBy(column string) map[string]string { return map[string]string{column: Quote(Owner)} }

// listTables is the names of the tables that are views or are not, with their schema.
func listTables(c Catalog, views bool) (rows [][]string) {
	for _, t := range c.Tables {
		if t.View == views {
			rows = append(rows, []string{Quote(table.Schema), Quote(t.Name)})
		}
	}
	return rows
}

func dropFirst(rows [][]string) [][]string {
	for i := range rows {
		rows[i] = rows[i][1:]
	}
	return rows
}
