package log

// backlogGrain is how many bytes of records are forgotten together; finer than this is not worth an entry.
const backlogGrain = 64 << 10

// backlog counts the bytes of accepted records that are not applied.
type backlog struct {
	bytes   int64
	entries []backlogEntry // ascending
}

type backlogEntry struct {
	last  uint64
	bytes int64
}

// add counts a record. Records of different groups are kept apart, because a group may fail.
func (b *backlog) add(offset uint64, n int64, newGroup bool) {
	b.bytes += n
	if k := len(b.entries); k > 0 && !newGroup && b.entries[k-1].bytes < backlogGrain {
		b.entries[k-1].last = offset
		b.entries[k-1].bytes += n
		return
	}
	b.entries = append(b.entries, backlogEntry{offset, n})
}

// applied forgets records up to offset.
func (b *backlog) applied(offset uint64) {
	i := 0
	for i < len(b.entries) && b.entries[i].last <= offset {
		b.bytes -= b.entries[i].bytes
		i++
	}
	b.entries = b.entries[i:]
}

// failed forgets the groups that begin at next or later.
func (b *backlog) failed(next uint64) {
	k := len(b.entries)
	for k > 0 && b.entries[k-1].last >= next {
		k--
		b.bytes -= b.entries[k].bytes
	}
	b.entries = b.entries[:k]
}
