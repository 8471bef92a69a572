// Package log is the embedded ingest log: a record that it has acknowledged survives whatever happens to the process and
// to the power.
//
// # The path of a record
//
//	Submit → pending group → one write to the newest segment → fdatasync → mark → HighWatermark → Commit.Wait, Reader.Next
//
// Every record has an offset, dense from 1. A [Commit] is done once its group is on the disk; many callers share one
// write and one fsync. A [Reader] follows the log and sees only what is durable. [Log.Applied] tells how far the reader's
// owner came, which bounds what is accepted and not applied; [Log.Trim] deletes segments that nobody needs.
//
// # What a crash may take
//
// Nothing that was acknowledged, and nothing in front of something that is kept. Records in flight may be there or not,
// always as a prefix. What may be missing is decided by claims: each record, each segment and the mark file state up to
// which offset the log was fsynced when they were written. A bad place is a torn tail only if no claim covers it. If one
// does, the record is lost to damage: it is reported with its offset, its bytes stay where they are, and reading goes on
// behind it.
//
// # Parts
//
// The frame and the segment are the format (docs/format/log.md). The scanner finds frames in any bytes. Recovery turns
// what it finds into a verdict. The writer is the single-threaded machine behind all changes; a turn of it either makes a
// group durable, or fails the group and stops using the segment, or ends the process because an fsync failed. The table is
// what the writer has made durable and what readers may therefore see.
package log
