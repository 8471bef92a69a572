package storage

import (
	"context"
	"time"
)

// runTimer looks after an idle store once a second: the head of a store that nobody writes to any more is cut when it is
// old, so that it is flushed and the log trimmed; and the free space is looked at.
func (db *DB) runTimer(ctx context.Context) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	flushing := make(chan struct{}, 1) // holds one item while a flush goes on
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		db.space.check(db)
		db.mu.RLock()
		first := db.head.First
		db.mu.RUnlock()
		if first != 0 && db.o.Now().UnixNano()-first > int64(db.o.GenerationAge) && db.admit() == nil {
			select {
			case flushing <- struct{}{}:
				// Not here: a flush may wait for a disk, or for somebody to accept a loss, and space is looked at meanwhile.
				db.background.Go(func() {
					defer func() { <-flushing }()
					if _, err := db.Flush(ctx); err != nil && ctx.Err() == nil {
						db.o.Logger.Warn("flush an idle head", "error", err)
					}
				})
			default:
			}
		}
	}
}
