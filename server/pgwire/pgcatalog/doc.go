// Package pgcatalog is the catalogue of PostgreSQL as clients of it ask for: pg_catalog and information_schema, of the tables that
// package table lists.
//
// The engine that runs statements has a catalogue of its own kind, with other numbers of types than the protocol's, and may
// be another one some day. So the relations are made here, from what every door knows of the tables: each is the text of a common
// table expression, which goes before the statement that names it. A relation of things there are none of, such as triggers,
// has its columns and no rows.
//
//	relations.txt   which relations and columns there are
//	relations.go    their texts
//	rows.go         what stands in those that are not empty
//	types.go        types, and how they are called
package pgcatalog
