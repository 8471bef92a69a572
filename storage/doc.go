// Package storage keeps every sample, in time order per tag, and loses none that was acknowledged.
//
// # The write path
//
//	Submit → log record → fsync → (accepted) → apply → head → (applied) → generation in the LSM → flush → (archived) → log trimmed
//
// Submit encodes a batch as one record of the ingest log, package log, whose group commit makes it durable. One
// goroutine applies durable records in offset order: it decides by batch identity what is new, by write mode what each
// sample does, and puts the samples into the head. What a record does follows from the records before it and nothing
// else, so that replay after a crash is the same code and comes to the same state.
//
// The head is cut as a whole when the records in it are enough, large or old. A cut head is a generation, named by the
// offset of its last record: one LSM batch with every tag's chunks, their headers, removals, replaced values, the rows
// of catalog, identities and newest samples that changed, and the offset itself. The LSM has no log of its own. A crash
// leaves a prefix of its batches, and the ingest log has what comes behind.
//
// Quiet partitions are sealed: their generations become few large chunks, merged, with the history split off. That changes
// where samples lie and how they are packed, and nothing that a read answers.
//
// # The read path
//
// A [View] is a snapshot of the LSM, the heads not yet in it and the highest applied offset. A [Cursor] reads one tag:
// partition by partition it finds the chunks that overlap the range and delivers them as they are, or merged where
// several generations have samples of the same time, the newest winning. Versions reads what merging hides.
//
// # What to rely on
//
//   - A batch whose Accepted returned nil survives a crash and a power cut, whole; a batch that did not may be there or not,
//     whole as well. Batches come back in the order of Submit, without gaps.
//   - A view holds whole batches only, and with [Accepted] every batch accepted before it was asked for.
//   - An edit destroys nothing: what it replaced or removed stays in Versions with who, when and why.
//   - A range delete is one record and one row. What it took away stays in Versions as well, and stands again if it is undone.
//   - Damage is an error that names tag and range, [RangeError], or a lost range of offsets that views name, or a store that
//     does not open and says why. It is never a wrong value.
//   - A full disk stops ingest with [ErrLowSpace] and nothing else; ingest resumes by itself. A failed fsync ends the process.
//
// # The parts
//
// log is the ingest log; record what its payloads say; head the samples in memory; chunk how they are packed; keys where
// they lie in the LSM; catalog the tags; identity which batches were applied. This package is what ties them together:
// submit.go and apply.go the way in, cut.go and generation.go the way down, seal.go and sealer.go the way to rest, view.go,
// cursor.go, merge.go and past.go the way out, deletes.go what is taken out on it.
package storage
