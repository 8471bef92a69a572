// Package engine runs statements in DuckDB over tables that it asks for as Arrow streams.
//
//	text → serialized → package rewrite → prepared → values and sets that narrow scans → streaming result → Arrow
//
// The database is in memory and empty. It opens no file but temporary ones of its own, loads nothing, and its settings are locked before the
// first statement; Open reads them back. Statements run one to a connection.
package engine
