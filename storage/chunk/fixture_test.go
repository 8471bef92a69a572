package chunk

import (
	"flag"
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/model"
)

// A fixture is what a release wrote, and is never written again: the flag is for the fixtures of a new version.
var writeFixtures = flag.Bool("write-fixtures", false, "write testdata of the current version where there is none")

func fixture(t *testing.T, name string, encode func() []byte) []byte {
	path := "testdata/" + name
	b, err := os.ReadFile(path)
	if os.IsNotExist(err) && *writeFixtures {
		b = encode()
		err = os.WriteFile(path, b, 0o644)
	}
	require.NoError(t, err)
	return b
}

// fixtureColumns is chunks that between them use every codec, one tag each from 1 on. It must go on giving the same
// samples for ever; what a later release encodes them as is its own affair.
func fixtureColumns() (out []model.Samples) {
	const n = 120
	mix := func(i int) uint64 { return uint64(i) * 0x9E3779B97F4A7C15 >> 20 }
	regular := func(i int) int64 { return noon + int64(i)*1e9 }
	late := func(i int) int64 { return noon + int64(i)*1e9 + int64(mix(i)%41)*1e6 }
	gaps := func(i int) int64 { return -noon + int64(i)*1e9 + int64(i/30)*3600e9 }
	bits := func(t model.Type, at func(int) int64, value func(i int) uint64) {
		s := model.Samples{Type: t}
		for i := range n {
			s.Append(model.Sample{Time: at(i), Type: t, Bits: value(i)})
		}
		out = append(out, s)
	}
	f64 := func(value func(i int) float64) func(int) uint64 {
		return func(i int) uint64 { return math.Float64bits(value(i)) }
	}
	bits(model.Float64, regular, f64(func(int) float64 { return math.Pi }))
	bits(model.Float64, regular, f64(func(int) float64 { return 20.01 }))
	bits(model.Float64, late, f64(func(i int) float64 { return float64(i/60) + 0.1 }))
	bits(model.Float64, gaps, f64(func(i int) float64 { return float64(i/5) * 0.1 }))
	bits(model.Float64, late, f64(func(i int) float64 { return float64(2000+mix(i)%100) / 100 }))
	bits(model.Float64, late, func(i int) uint64 { return 0x7FF0000000000000 | mix(i) }) // Inf and NaN payloads
	bits(model.Float32, regular, func(i int) uint64 { return uint64(math.Float32bits(float32(mix(i)%1000) / 10)) })
	bits(model.Int64, regular, func(i int) uint64 { return -mix(i) })
	bits(model.Int64, regular, func(i int) uint64 { return uint64(i)<<33 + uint64(i/30)<<12 })
	bits(model.Uint64, regular, func(i int) uint64 { return math.MaxUint64 - uint64(i) })
	bits(model.Uint64, regular, func(i int) uint64 { return uint64(i/7) + uint64(i/50)<<40 })
	bits(model.Bool, regular, func(i int) uint64 { return mix(i) % 2 })
	bits(model.State, gaps, func(i int) uint64 { return uint64(i / 50) })
	blobs := func(t model.Type, value func(i int) []byte) {
		s := model.Samples{Type: t}
		for i := range n {
			x := model.Sample{Time: regular(i / 2), Seq: uint32(i % 2), Type: t, Blob: value(i)}
			if i%10 == 3 {
				x.Quality, x.Null, x.Blob = model.BadSensorFailure, true, nil
			}
			s.Append(x)
		}
		out = append(out, s)
	}
	blobs(model.String, func(i int) []byte { return []byte([]string{"RUNNING", "STOPPED", ""}[mix(i)%3]) })
	blobs(model.Bytes, func(i int) []byte { return []byte{byte(i), byte(mix(i)), 0}[:i%4] })
	return out
}

func encodeFixturePack() []byte {
	var e Encoder
	var p Packer
	for i, s := range fixtureColumns() {
		p.Add(model.TagID(i+1), e.Append(nil, &s, origin(&s)))
	}
	return p.Finish(nil)
}

func TestVersion1IsStillRead(t *testing.T) {
	want := fixtureColumns()
	var d Data
	seen := 0
	require.NoError(t, Each(fixture(t, "v1.pack", encodeFixturePack), func(tag model.TagID, b []byte) error {
		require.NoError(t, Decode(b, &d), "tag %d", tag)
		requireSame(t, &want[tag-1], &d.Samples)
		require.Equal(t, origin(&want[tag-1]), d.Origins)
		seen++
		return nil
	}))
	require.Equal(t, len(want), seen)

	four, fourFrom := fourSamples()
	require.NoError(t, Decode(fixture(t, "v1.chunk", func() []byte { return examples()["chunk-four-samples"] }), &d))
	requireSame(t, &four, &d.Samples)
	require.Equal(t, fourFrom, d.Origins)

	rows, err := DecodeVersions(fixture(t, "v1.versions", func() []byte { return examples()["versions-two"] }))
	require.NoError(t, err)
	require.Equal(t, twoVersions(), rows)
	deletions, err := DecodeDeletions(fixture(t, "v1.deletions", func() []byte { return examples()["deletions-three"] }))
	require.NoError(t, err)
	require.Equal(t, threeDeletions(), deletions)
}
