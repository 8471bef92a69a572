package storage

import (
	"encoding/binary"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/storage/keys"
)

// What an int of 32 bits does not hold. These fail there alone: make cross runs them as linux/386.

func TestPiecesOfOneAge(t *testing.T) {
	at := func(age uint64, seq uint32) piece { return piece{age: age, key: keys.Chunk{Seq: seq}} }
	all := []piece{at(1, 0), at(1, 1), at(1, math.MaxInt32), at(1, math.MaxInt32+1), at(1, math.MaxUint32), at(2, 0), at(math.MaxUint64, 7)}
	for i := range all {
		for j := range all {
			require.Equal(t, sign(i-j), byAge(all[i], all[j]), "%d and %d", i, j)
		}
	}
}

func sign(n int) int { return max(min(n, 1), -1) }

func TestEffectsOfTooMany(t *testing.T) {
	var r entryReader
	require.ErrorIs(t, r.open(binary.AppendUvarint([]byte{entrySamples, 0}, math.MaxInt32+1)), errEntry)
	require.NoError(t, r.open(binary.AppendUvarint([]byte{entrySamples, 0}, math.MaxInt32)))
}
