package relation

import (
	"context"
	"github.com/varvedb/varve/server/hint"
	"iter"
)

// Reject is a row of an ingest that was not taken.
type Reject struct {
	Ingest     string // names the ingest, as its error does
	RecordedAt int64  // nanoseconds UTC
	Row        int64  // of the rows sent, from 0
	Tag        string // as it was sent
	TimeNS     int64  // 0 where the row had none
	Code       string // as gRPC calls it: UNKNOWN_TAG
	Reason     string
}

var ingestRejects = &rowTable[Reject]{
	name: "ingest_rejects", small: true,
	fields: []field[Reject]{
		textField("ingest", hint.NoRole, func(r *Reject) string { return r.Ingest }),
		timeField("recorded_at", hint.NoRole, func(r *Reject) (int64, bool) { return some(r.RecordedAt) }),
		intField("row", hint.NoRole, func(r *Reject) (int64, bool) { return some(r.Row) }),
		textField("tag", hint.NoRole, func(r *Reject) string { return r.Tag }),
		intField("time_ns", hint.NoRole, func(r *Reject) (int64, bool) { return notZero(r.TimeNS) }),
		textField("code", hint.NoRole, func(r *Reject) string { return r.Code }),
		textField("reason", hint.NoRole, func(r *Reject) string { return r.Reason }),
	},
	rows: func(_ context.Context, at Moment, s *Scan) iter.Seq2[*Reject, error] {
		return func(yield func(*Reject, error) bool) {
			if s.Nothing || at.Rejects == nil {
				return
			}
			for r := range at.Rejects {
				if !yield(r, nil) {
					return
				}
			}
		}
	},
}
