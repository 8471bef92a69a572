package storage

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/varvedb/varve/storage/keys"
)

// Collector states, gaps and annotations are kept as the bodies of the records that brought them, version 1: ingest
// time, body, CRC-32C of all before it.
const noteVersion = 1

func noteRow(key []byte, ingest int64, body []byte) row {
	v := append(make([]byte, 0, 13+len(body)), noteVersion)
	v = binary.LittleEndian.AppendUint64(v, uint64(ingest))
	v = append(v, body...)
	return row{key: key, value: binary.LittleEndian.AppendUint32(v, crc32.Checksum(v, castagnoli))}
}

// noteGap keeps what a collector reported. DB.mu is held.
func (db *DB) noteGap(offset uint64, ingest int64, body []byte) {
	key := binary.BigEndian.AppendUint64([]byte{byte(keys.Gaps)}, offset)
	db.pendingRows = append(db.pendingRows, noteRow(key, ingest, body))
}
