package storage

// Reading is how buckets were read: what came from rollups, and what from samples. Finding what lies next to them is not in it.
type Reading struct {
	Days, Hours, TenMinutes int64 // rollups that went into the answer
	Listed                  int64 // headers of chunks that were looked at
	Chunks                  int64 // chunks that were decoded, each as often as it was
	Decoded                 int64 // samples decoded from them; of a sealed chunk only the blocks that the range meets
	InMemory                int64 // samples taken from memory, not yet written to chunks
}

// Add adds what another reading took.
func (r *Reading) Add(q *Reading) {
	r.Days += q.Days
	r.Hours += q.Hours
	r.TenMinutes += q.TenMinutes
	r.Listed += q.Listed
	r.Chunks += q.Chunks
	r.Decoded += q.Decoded
	r.InMemory += q.InMemory
}
