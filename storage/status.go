package storage

import (
	"path"

	"github.com/varvedb/varve/storage/keys"
)

// Status is the state of the store now, without sizes once it is closed.
func (db *DB) Status() Status {
	db.mu.RLock()
	s := Status{
		Samples:     db.directory.samples + uint64(db.head.Samples),
		Partitions:  len(db.directory.parts),
		HeadSamples: uint64(db.head.Samples),
	}
	for _, h := range db.frozen {
		s.Samples += uint64(h.Samples)
		s.HeadSamples += uint64(h.Samples)
	}
	for i, p := range db.directory.parts {
		for j, g := range p.gens {
			if i == 0 && j == 0 {
				s.First, s.Last = g.first, g.last
			}
			s.First, s.Last = min(s.First, g.first), max(s.Last, g.last)
			s.Bytes.Versions += g.versions
			if g.sealed {
				s.Seals++
				if g.moved > 0 {
					s.Moved++
					s.Bytes.Moved += g.moved
				}
			} else {
				s.Generations++
			}
		}
	}
	db.mu.RUnlock()
	s.UUID = db.uuid
	s.Tags, s.Revision = db.catalog.Len(), db.catalog.Revision()
	s.Sources = db.identities.Len()
	s.Accepted, s.Applied, s.Archived = db.log.HighWatermark(), db.applied.value(), db.archived.value()
	s.IngestStopped = db.space.low.Load() || db.admit() != nil
	s.Scrub = db.scrub.status()
	s.Alarms = db.alarms.list()
	s.Lost = db.openLosses()
	if db.hold() {
		defer db.readers.Done()
		db.measure(&s.Bytes)
	}
	return s
}

// measure fills in the size by part. The engine's parts are its estimates; the total is what the files have.
func (db *DB) measure(b *BytesOnDisk) {
	size := func(from, to keys.Space) uint64 {
		n, err := db.engine.EstimateDiskUsage([]byte{byte(from)}, []byte{byte(to)})
		if err != nil {
			return 0
		}
		return n
	}
	b.Log = db.log.Bytes()
	data := size(keys.Headers, keys.SealedData+1)
	b.Sealed = size(keys.SealedData, keys.SealedData+1)
	b.Versions = min(b.Versions, data)
	b.Samples = data - b.Versions
	b.Catalog = size(keys.Meta, keys.Headers)
	b.Total = db.sizeOf(db.dir)
	if known := b.Log + b.Samples + b.Versions + b.Catalog; b.Total > known {
		b.Other = b.Total - known
	}
}

// sizeOf is the bytes of the files under dir. Files that go away meanwhile count as nothing.
func (db *DB) sizeOf(dir string) (n uint64) {
	names, err := db.o.FS.List(dir)
	if err != nil {
		return 0
	}
	for _, name := range names {
		full := path.Join(dir, name)
		info, err := db.o.FS.Stat(full)
		switch {
		case err != nil:
		case info.IsDir():
			n += db.sizeOf(full)
		default:
			n += uint64(info.Size())
		}
	}
	return n
}
