package session

import varvev1 "github.com/varvedb/varve/proto/varve/v1"

// queue is what is under way: batches not yet done, ascending by sequence without holes, and questions not yet
// answered, in the order asked. It is a plain state machine without locks.
type queue struct {
	batches []flight
	next    int    // the first of batches not yet written to the present connection
	bytes   int    // of batches
	last    uint64 // sequence of the newest batch ever pushed

	settled uint64 // batches done and questions answered since the beginning

	questions []*question
	nextAsk   int // the first of questions not yet written to the present connection
}

type flight struct {
	batch *varvev1.Batch
	size  int
	done  bool
}

type question struct {
	tags   []*varvev1.NewTag
	answer *varvev1.Resolved
}

func (q *queue) push(b *varvev1.Batch, size int) {
	q.batches = append(q.batches, flight{batch: b, size: size})
	q.bytes += size
	q.last = b.Sequence
}

func (q *queue) ask(tags []*varvev1.NewTag) *question {
	a := &question{tags: tags}
	q.questions = append(q.questions, a)
	return a
}

// reconnected makes everything under way be written again, but for batches applied through sequence through, which it
// takes out and returns.
func (q *queue) reconnected(through uint64) []*varvev1.Batch {
	for i := range q.batches {
		if q.batches[i].batch.Sequence <= through {
			q.batches[i].done = true
		}
	}
	done := q.pop()
	q.next, q.nextAsk = 0, 0
	return done
}

// finish marks a batch as done and takes out the batches that now are done with all before them. It reports false for
// a sequence that is not under way.
func (q *queue) finish(sequence uint64) ([]*varvev1.Batch, bool) {
	f := q.at(sequence)
	if f == nil {
		return nil, false
	}
	f.done = true
	return q.pop(), true
}

// at is what is under way of a sequence, nil for nothing.
func (q *queue) at(sequence uint64) *flight {
	if len(q.batches) == 0 {
		return nil
	}
	i := sequence - q.batches[0].batch.Sequence // wraps to a large number for an earlier one
	if i >= uint64(len(q.batches)) {
		return nil
	}
	return &q.batches[i]
}

// find is the batch of a sequence, nil where it is not under way.
func (q *queue) find(sequence uint64) *varvev1.Batch {
	if f := q.at(sequence); f != nil {
		return f.batch
	}
	return nil
}

func (q *queue) pop() []*varvev1.Batch {
	var out []*varvev1.Batch
	n := 0
	for n < len(q.batches) && q.batches[n].done {
		out = append(out, q.batches[n].batch)
		q.bytes -= q.batches[n].size
		n++
	}
	q.settled += uint64(n)
	rest := copy(q.batches, q.batches[n:])
	clear(q.batches[rest:])
	q.batches = q.batches[:rest]
	q.next = max(q.next-n, 0)
	return out
}

// idle reports that nothing is under way.
func (q *queue) idle() bool { return len(q.batches) == 0 && len(q.questions) == 0 }

// answered gives the oldest question its answer. It reports false where nothing was asked.
func (q *queue) answered(r *varvev1.Resolved) bool {
	if len(q.questions) == 0 || q.nextAsk == 0 {
		return false
	}
	q.questions[0].answer = r
	q.questions = q.questions[1:]
	q.nextAsk--
	q.settled++
	return true
}

// toWrite is the next message for the present connection, nil for none. Questions go first: a batch may need them.
func (q *queue) toWrite() *varvev1.IngestRequest {
	if q.nextAsk < len(q.questions) {
		r := &varvev1.Resolve{Tags: q.questions[q.nextAsk].tags}
		q.nextAsk++
		return &varvev1.IngestRequest{Message: &varvev1.IngestRequest_Resolve{Resolve: r}}
	}
	if q.next < len(q.batches) {
		b := q.batches[q.next].batch
		q.next++
		return &varvev1.IngestRequest{Message: &varvev1.IngestRequest_Batch{Batch: b}}
	}
	return nil
}
