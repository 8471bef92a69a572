package log

import "context"

// group is the records that share one write and one fsync.
type group struct {
	frames []byte
	end    uint64 // one above its last offset
	done   chan struct{}
	err    error // set before done is closed
}

// Commit is a record on its way to the disk. Its methods may be called from any goroutine, more than once.
type Commit struct {
	offset uint64
	group  *group
}

// Offset is the offset of the record. If the commit fails, a later record gets the same offset.
func (c *Commit) Offset() uint64 { return c.offset }

// Done is closed once the record is durable or has failed. Records of one group share it.
func (c *Commit) Done() <-chan struct{} { return c.group.done }

// Wait returns nil once the record is durable, the reason why it never will be, or the error of ctx.
func (c *Commit) Wait(ctx context.Context) error {
	select {
	case <-c.group.done:
		return c.group.err
	default:
	}
	select {
	case <-c.group.done:
		return c.group.err
	case <-ctx.Done():
		return ctx.Err()
	}
}
