package model

// OnLine is the value at t on the straight line from (t0, v0) to (t1, v1), for t0 < t < t1: what a reader answers between
// two samples of a tag that is not stepped. All that interpolates calls it, because the deviation filters promise their
// bound for these very operations, each rounded to a double. The conversion keeps a compiler from joining two of them
// into one, so that every machine gives the same bits.
//
// Where v1 - v0 overflows, so does the answer. Intervals may be as long as int64 times allow.
func OnLine(t0 int64, v0 float64, t1 int64, v1 float64, t int64) float64 {
	share := float64(uint64(t)-uint64(t0)) / float64(uint64(t1)-uint64(t0))
	return v0 + float64((v1-v0)*share)
}
