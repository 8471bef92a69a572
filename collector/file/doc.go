// Package file is a source that follows files as they are written: tables of CSV, lines of JSON, and line protocol.
//
//	look at the folder → which file is which → read what was added → whole lines → readings → Put … Flush → places
//
// # What it promises
//
// Every line of a file that is there when it is looked at is read once, in spite of restarts of either side: files may be renamed and begun anew, copied
// and cut off, or follow each other with names of their own. A line counts when its newline is there. What cannot be read, a line or a field, is
// counted and logged; a file that went away before it was read to its end, while the collector was off, is told as lost.
//
// A place is stored only when what is before it is on disk. After a crash some lines are read again, which changes nothing that is stored, because a line
// names its time; objects of JSON without one are the exception.
//
// # Which file is which
//
// A file is known by its number in the file system, and by its content: hashes of its first bytes and of those before the place. Where the content is
// another one the file was cut off or replaced: it is read from its beginning, and what stood there before is looked for among files that are not
// known, as a copy of it. A copy of a file that is as it was is left alone.
package file
