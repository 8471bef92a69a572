"""Asks a Varve server what Npgsql and, through it, Power BI's PostgreSQL connector ask: npgsql.py HOST PORT

There is no .NET here, so the driver itself does not run. Its texts are simple queries of several statements, on a connection that is reset with
DISCARD ALL before it is used again. The statements here name the relations, columns, joins and orders of its own, in words of ours.
"""
import sys

import psycopg

from report import ran

host, port = sys.argv[1], int(sys.argv[2])

# The first text on a connection: version, types with the types of their elements, fields of composites, labels of enums.
OPEN = """
SELECT version();
SELECT n.nspname, x.oid, x.typname, x.kind, x.typnotnull, x.of_type
FROM (
    SELECT ty.oid, ty.typnamespace, ty.typname, ty.typnotnull, c.relkind,
        CASE WHEN p.proname = 'array_recv' THEN 'a' ELSE ty.typtype END AS kind,
        CASE WHEN p.proname = 'array_recv' THEN ty.typelem WHEN ty.typtype = 'r' THEN rngsubtype
            WHEN ty.typtype = 'm' THEN (SELECT rngtypid FROM pg_range WHERE rngmultitypid = ty.oid) WHEN ty.typtype = 'd' THEN ty.typbasetype END AS of_type
    FROM pg_type AS ty
    LEFT JOIN pg_class AS c ON (c.oid = ty.typrelid)
    LEFT JOIN pg_proc AS p ON p.oid = ty.typreceive
    LEFT JOIN pg_range ON (pg_range.rngtypid = ty.oid)
) AS x
JOIN pg_namespace AS n ON (n.oid = typnamespace)
WHERE kind IN ('b', 'r', 'm', 'e', 'd', 'a') OR (kind = 'c' AND relkind='c') OR (kind = 'p' AND typname IN ('record', 'void'))
ORDER BY CASE WHEN kind IN ('b', 'e', 'p') THEN 0 WHEN kind = 'r' THEN 1 WHEN kind = 'a' THEN 5 ELSE 2 END;
SELECT ty.oid, a.attname, a.atttypid
FROM pg_type AS ty JOIN pg_namespace AS n ON (n.oid = ty.typnamespace) JOIN pg_class AS c ON (c.oid = ty.typrelid) JOIN pg_attribute AS a ON (a.attrelid = ty.typrelid)
WHERE ty.typtype = 'c' AND c.relkind='c' AND attnum > 0 AND NOT attisdropped ORDER BY ty.oid, a.attnum;
SELECT pg_type.oid, enumlabel FROM pg_enum JOIN pg_type ON pg_type.oid=enumtypid ORDER BY oid, enumsortorder;
"""

# What GetSchema and the navigator of Power BI ask, with how many rows must come at least and how many at most.
ABOUT = [
    ("databases", "SELECT d.datname AS database_name, u.usename AS owner, pg_catalog.pg_encoding_to_char(d.encoding) AS encoding"
     " FROM pg_catalog.pg_database d LEFT JOIN pg_catalog.pg_user u ON d.datdba = u.usesysid", 1, 1),
    ("users", "SELECT usename as user_name, usesysid as user_sysid FROM pg_catalog.pg_user", 1, 1),
    ("tables", "SELECT table_catalog, table_schema, table_name, table_type FROM information_schema.tables WHERE table_type IN ('BASE TABLE', 'FOREIGN', 'LOCAL TEMPORARY')", 5, 99),
    ("views", "SELECT table_catalog, table_schema, table_name, check_option, is_updatable FROM information_schema.views WHERE table_schema NOT IN ('pg_catalog', 'information_schema')", 2, 2),
    ("columns", "SELECT table_catalog, table_schema, table_name, column_name, ordinal_position, column_default, is_nullable, udt_name::regtype::text AS data_type,"
     " character_maximum_length, numeric_precision, numeric_scale, datetime_precision FROM information_schema.columns WHERE table_name = 'samples'", 11, 11),
    ("indexes", "select i.relname from pg_catalog.pg_class i join pg_catalog.pg_index ix ON ix.indexrelid = i.oid join pg_catalog.pg_class t ON ix.indrelid = t.oid"
     " left join pg_catalog.pg_namespace n ON n.oid = t.relnamespace where i.relkind = 'i' and pg_catalog.pg_table_is_visible(i.oid) and t.relkind = 'r'", 0, 0),
    ("columns of indexes", "select a.attname from pg_class t join pg_index ix on t.oid = ix.indrelid join pg_attribute a on t.oid = a.attrelid where a.attnum = ANY(ix.indkey)", 0, 0),
    ("constraints", "select c.conname, c.condeferrable from pg_catalog.pg_constraint c inner join pg_catalog.pg_class t on c.conrelid = t.oid where c.contype IN ('f', 'u', 'p')", 0, 0),
    ("character sets", "select character_set_name from INFORMATION_SCHEMA.character_sets", 1, 1),
    ("tables of the navigator", "select TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE from INFORMATION_SCHEMA.tables where TABLE_SCHEMA not in ('information_schema', 'pg_catalog')"
     " order by TABLE_SCHEMA, TABLE_NAME", 7, 99),
    ("columns of the navigator", "select COLUMN_NAME, ORDINAL_POSITION, IS_NULLABLE, case when (data_type like '%unsigned%') then DATA_TYPE || ' unsigned' else DATA_TYPE end as DATA_TYPE"
     " from INFORMATION_SCHEMA.columns where TABLE_SCHEMA = 'main' and TABLE_NAME = 'samples' order by TABLE_SCHEMA, TABLE_NAME, ORDINAL_POSITION", 11, 11),
    ("related tables", "select k.COLUMN_NAME from (select distinct constraint_schema, unique_constraint_schema, constraint_name, unique_constraint_name"
     " from INFORMATION_SCHEMA.referential_constraints) r inner join INFORMATION_SCHEMA.key_column_usage k on r.CONSTRAINT_SCHEMA = k.CONSTRAINT_SCHEMA"
     " and r.CONSTRAINT_NAME = k.CONSTRAINT_NAME where k.TABLE_SCHEMA = 'main' and k.TABLE_NAME = 'samples' order by k.ORDINAL_POSITION", 0, 0),
    ("keys", "select i.CONSTRAINT_NAME, k.COLUMN_NAME from INFORMATION_SCHEMA.table_constraints i inner join INFORMATION_SCHEMA.key_column_usage k"
     " on i.CONSTRAINT_SCHEMA = k.CONSTRAINT_SCHEMA and i.CONSTRAINT_NAME = k.CONSTRAINT_NAME where i.TABLE_NAME = 'samples' and i.CONSTRAINT_TYPE in ('PRIMARY KEY', 'UNIQUE')", 0, 0),
]


def main():
    with psycopg.connect(host=host, port=port, user="me", dbname="varve", autocommit=True) as c:
        opened = c.pgconn.exec_(OPEN.encode())  # the simple protocol, several statements in a text; the last result
        if opened.error_message:
            sys.exit(f"Npgsql does not connect: {opened.error_message.decode()}")
        cursor = c.execute(OPEN.split(";")[1])
        types = {name: kind for _, _, name, kind, _, _ in cursor}
        if [types.get(t) for t in ("int8", "float8", "text", "timestamptz", "bytea", "_float8")] != ["b", "b", "b", "b", "b", "a"]:
            sys.exit(f"types for Npgsql are {types}")
        for name, sql, least, most in ABOUT:
            rows = c.execute(sql).fetchall()
            if not least <= len(rows) <= most:
                sys.exit(f"{name}: {len(rows)} rows, must be {least} to {most}: {rows[:3]}")
        for reset in ("DISCARD ALL", "UNLISTEN *", "CLOSE ALL", "RESET ALL", "SELECT pg_advisory_unlock_all()", "SELECT pg_is_in_recovery()", "SHOW default_transaction_read_only"):
            c.execute(reset)
        ran("Npgsql, statements", "-", "metadata", f"the text that opens a connection, {len(ABOUT)} questions of its schemas and of Power BI's navigator, what resets a connection")
        with c.transaction():
            got = c.execute('select "$Table"."time" as "time", "$Table"."value" as "value" from "main"."samples" "$Table" where "$Table"."tag" = \'TEP.XMEAS_01\''
                            ' and "$Table"."time" < timestamp \'2001-01-01 00:06:00\' order by "$Table"."time" limit 1000 offset 0', binary=True).fetchall()
        if [v for _, v in got] != [0.25058, 0.24944]:
            sys.exit(f"a page of a table is {got}")
        ran("Npgsql, statements", "-", "read", "a page of a table as Power BI folds it, binary")


main()
