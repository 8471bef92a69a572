// Package rewrite makes a statement over the tables of a store one over scans that the engine can run, and finds what narrows each scan.
//
//	text → serialized tree (the engine's) → Rewrite → tree with scans in place of tables → text (the engine's)
//
// It is also the guard: one SELECT statement, over tables that exist and functions that are offered, and nothing else.
//
// # What narrows a scan
//
// Conditions of WHERE, and of ON where the join lets them, that compare a column of the table with something that needs no column. They
// narrow only: the engine still applies every condition of the statement, so that what is missed here costs time and nothing else, and
// what is taken here must hold for every row that the statement can use. So none is taken under OR or NOT, none for the side of an ASOF
// or positional join whose rows are chosen by what else there is, none for a table that is sampled or whose columns are renamed.
//
// # What rollups answer
//
// A selection of aggregates of samples that rollups can tell becomes one of partials, see [Partials].
//
// # What first rows answer
//
// A selection that keeps the newest or oldest samples of each tag has a scan of those, see [Few].
package rewrite

import "errors"

// ErrRefused is a statement that is none of ours: not one SELECT, or of tables and functions that there are none of.
var ErrRefused = errors.New("statement is refused")
