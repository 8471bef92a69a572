package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/server/lineprotocol"
)

// Bodies hold every sample once, those of a series in order on one connection, and as many of a series together as they should.
func TestLineBodiesHoldEverySampleOnce(t *testing.T) {
	for _, p := range []linePlan{
		{series: 100, rounds: 7, connections: 3, together: 1, bodyLines: 10},
		{series: 100, rounds: 21, connections: 3, together: 10, bodyLines: 40},
		{series: 100, rounds: 4, connections: 1, together: 1, bodyLines: 100},
	} {
		series := map[string]int{}
		for i := range p.series {
			series[fmt.Sprintf("process,area=%s,unit=%s", lineArea(i), lineUnit(i))] = i
		}
		next := make([]int, p.series)
		warm, timed, err := lineBodies(&p, "plain")
		require.NoError(t, err)
		for c := range p.connections {
			for k, body := range append(warm[c], timed[c]...) {
				in := map[int]int{}
				r := lineprotocol.NewReader(bytes.NewReader(body), 1, 1<<20)
				for {
					err := r.Next()
					if errors.Is(err, io.EOF) {
						break
					}
					require.NoError(t, err)
					i, ok := series[string(r.Line.Series)]
					require.True(t, ok, "%s", r.Line.Series)
					require.Equal(t, lineTime(next[i]), r.Line.Time)
					require.Equal(t, float64(lineValue(i, next[i]))/1000, math.Float64frombits(r.Line.Fields[0].Bits))
					next[i]++
					in[i]++
				}
				lines := 0
				for _, n := range in {
					require.True(t, n == p.together || k == 0 || n == (p.rounds-1)%p.together)
					lines += n
				}
				require.LessOrEqual(t, lines, p.bodyLines)
			}
		}
		for i := range next {
			require.Equal(t, p.rounds, next[i])
		}
	}
}

func TestPackedBodiesUnpack(t *testing.T) {
	p := linePlan{series: 10, rounds: 3, connections: 2, together: 1, bodyLines: 5}
	plain, packed := p.bodies(1, 0, 3), p.bodies(1, 0, 3)
	require.NoError(t, pack(packed))
	for i := range packed {
		z, err := gzip.NewReader(bytes.NewReader(packed[i]))
		require.NoError(t, err)
		b, err := io.ReadAll(z)
		require.NoError(t, err)
		require.Equal(t, plain[i], b)
	}
}
