// Package queue keeps samples on disk between whoever reads them and the servers that store them, for as long as a network is away.
//
//	Put → log on disk → place of each destination → live lane, backlog lane → Ingest stream → Ack → place → trim
//
// # What it promises
//
// A batch that Put took is on disk, and every destination gets it, in spite of crashes of either side, or a gap is recorded there that
// says of which tags and times samples were lost and why; of what it refuses too. Nothing is stored twice: a record is sent under one identity (source, epoch,
// sequence) for as long as its destination may have it, and the default write mode makes a resend that is equal change nothing.
//
// What comes now goes first. A destination that was away finds the newest records on the live lane at once, and the older ones behind them
// on the backlog lane, which has a quarter of the turns while the live lane is busy and all of them while it is not. Order holds within a
// lane. Each lane is a source of its own to the server, so that neither fences the other.
//
// The disk is bounded. A full queue makes Put wait, or drops or thins out its oldest segment, as its owner chose; what is dropped or left out
// becomes gaps. So does what may have been in records that are damaged.
//
// # The parts
//
// queue.go is what callers use. record.go is a record on the disk and on its way. place.go is how far a destination is and which sequence each record has: a value without locks, kept in a
// small file. contents.go is what records may hold, damaged.go what is told of those that cannot be read. sender.go and lane.go send, gaps.go reports what is missing, waiting.go keeps that of tags that are not there yet, merge.go makes it less where
// it is much, refused.go knows what a server does not take, and drop.go and thin.go make room.
package queue
