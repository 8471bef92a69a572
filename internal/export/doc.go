// Package export keeps a folder of Parquet or Arrow files equal to what a server holds of some tags.
//
// # The path of a run
//
//	tags → days that may have changed (ListDays) → hashes of a day (HashDay) → files whose fingerprint differs → ReadRange → file
//
// A folder has one file for each group of tags and UTC day, group=PLANT/day=2026-03-01/part-0.parquet, and _manifest.json, which names
// them. docs/reference/export.md has the columns and the manifest.
//
// # What is promised
//
// A file is there whole or not at all: it is written under another name, synced and renamed, and takes the place of the one before
// in one step. The manifest is written last, so that it never names what is not there. Until then _journal.json has a line for each file that
// is done, so that a run that was killed goes on where it was.
//
// What decides whether a file is written anew is its fingerprint: a hash of what the server says each of its tags holds that day, of the tags'
// names and settings, and of how files are written. It is asked for before the samples are read. So a file may be newer than its
// fingerprint, which the next run sees, and is never older. Which days are asked about is no more than a saving: those that the
// server, or the folder, cannot show to be as they were.
//
// Memory holds a row group, the entries of the manifest and the tags, whatever the length of the export.
//
// # Parts
//
//	settings.go what an export is of, groups of tags, names of folders
//	folder.go   manifest, journal, putting files in place
//	tags.go     tags and their settings as the server has them
//	plan.go     fingerprints, and which days have to be looked at
//	run.go      one run: looking at days, writing and removing files
//	columns.go  rows of the server to rows of a file
//	parquet.go, arrow.go  the two kinds of file
//	verify.go   a folder against its manifest
package export
