package server

import (
	"iter"
	"strings"
	"sync"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/server/relation"
)

const (
	// maxRejectedRows is how many rows of one ingest are listed.
	maxRejectedRows = 1000
	// maxRejectedIngests is how many ingests have their rejected rows remembered.
	maxRejectedIngests = 100
)

// rejectedRow is one row that was not taken.
type rejectedRow struct {
	row    uint64 // of the stream, from 0
	tag    string // as it was sent
	time   int64  // nanoseconds UTC; 0 where the row has none that can be read
	code   varvev1.RejectCode
	reason string
}

// ingestRejected is the rows of one ingest that were not taken.
type ingestRejected struct {
	ingest string // names the ingest
	owner  string // who may read it
	at     int64  // when it began, nanoseconds UTC
	count  uint64 // also of those that rows has no room for
	rows   []rejectedRow
}

// add notes a row.
func (l *ingestRejected) add(r rejectedRow) {
	l.count++
	if len(l.rows) < maxRejectedRows {
		l.rows = append(l.rows, r)
	}
}

// ingestRejects is the table of that name: what was rejected of the newest ingests that had rejected rows. It lies in memory.
type ingestRejects struct {
	mu   sync.Mutex
	list []*ingestRejected // oldest first
}

func (r *ingestRejects) add(l *ingestRejected) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.list = append(r.list, l); len(r.list) > maxRejectedIngests {
		r.list = append([]*ingestRejected(nil), r.list[1:]...)
	}
}

// of is the lists of one caller, oldest first. They do not change any more.
func (r *ingestRejects) of(owner string) (lists []*ingestRejected) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.list {
		if l.owner == owner {
			lists = append(lists, l)
		}
	}
	return lists
}

// rows is the rejected rows of one caller as SQL reads them.
func (r *ingestRejects) rows(owner string) iter.Seq[*relation.Reject] {
	return func(yield func(*relation.Reject) bool) {
		for _, l := range r.of(owner) {
			for _, row := range l.rows {
				if !yield(&relation.Reject{
					Ingest: l.ingest, RecordedAt: l.at, Row: int64(row.row), Tag: row.tag, TimeNS: row.time,
					Code: strings.TrimPrefix(row.code.String(), "REJECT_CODE_"), Reason: row.reason,
				}) {
					return
				}
			}
		}
	}
}
