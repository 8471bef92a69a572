// Package forward brings what a server's archive gets to another server: an edge to its site, a site to the enterprise.
//
//	subscription of the edge → rows → parcel → site → applied there → place on disk
//	days of the edge         ↗              ↘ spool → (one way) → receiver → its site
//
// # What it promises
//
// Whatever the edge stored of the tags that are forwarded, the site holds: new samples, late ones, edits, removals, range deletes and gaps,
// in spite of restarts and crashes of all three at any moment, and of networks that are away for hours. Nothing is kept beside the edge's archive: the place is a
// position in its changes, and moves on once the site has applied what came before. What the edge's log has no more is read from its archive, day by day.
//
// Nothing is stored twice. Samples are sent so that the same once more changes nothing: under their key, each key once in a parcel, and the place is written behind every
// parcel. So what is sent again after a crash is what the site holds already. Batches have an identity all the same, so that one that a
// network kept for long cannot come behind its successor.
//
// What the edge forgets (retention, purges, its disk budget) the site keeps.
//
// # The parts
//
// forwarder.go is the loop. edge.go asks the edge, rows.go and packer.go make parcels of what it says, resync.go reads days, gaps.go gaps. site.go hands parcels to
// a server, tags.go makes its tags, place.go is the file. health.go reports. lane.go works out buckets that changed: aggregator.go aggregates of them, thinner.go the
// samples that a filter keeps. spool.go and spool_file.go write files, receiver.go stores them.
package forward
