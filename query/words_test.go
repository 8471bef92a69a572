package query

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// So many rows are more than an int of 32 bits holds. It fails there alone: make cross runs it as linux/386.
func TestRowsOfManyBuckets(t *testing.T) {
	a := &aggregation{tags: &tagList{asked: make([]asked, 5000)}, bucketing: &bucketing{edges: make([]int64, MaxBuckets+1)}}
	require.Equal(t, DefaultBatchRows, a.rows())
}
