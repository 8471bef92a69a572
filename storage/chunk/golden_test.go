package chunk

import (
	"encoding/hex"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/internal/golden"
	"github.com/varvedb/varve/model"
)

// noon is 2026-01-01 12:00:00 UTC.
const noon = 1767268800e9

func oneSample() (model.Samples, []Origin) {
	s := model.Samples{Type: model.Float64, Times: []int64{noon}, Bits: []uint64{math.Float64bits(21.5)}}
	return s, []Origin{{Samples: 1, Source: 3, Ingest: noon/1e9 + 2}}
}

// fourSamples is a pump's state with every optional column: a bad sample without value, and two at one time.
func fourSamples() (model.Samples, []Origin) {
	s := model.Samples{Type: model.State}
	s.Append(model.Sample{Time: noon, Type: model.State, Bits: 1})
	s.Append(model.Sample{Time: noon + 250e6, Type: model.State, Quality: model.BadNoData, Null: true})
	s.Append(model.Sample{Time: noon + 500e6, Type: model.State, Bits: 2})
	s.Append(model.Sample{Time: noon + 500e6, Type: model.State, Bits: 5, Seq: 1})
	return s, []Origin{{Samples: 3, Source: 3, Ingest: noon/1e9 + 1}, {Samples: 1, Source: 200, Ingest: noon/1e9 + 3600}}
}

// shuffledSamples is sixteen seconds of a constant that came in another order: every other one a second later, from source 3.
func shuffledSamples() (model.Samples, []Origin) {
	s := model.Samples{Type: model.Float64}
	var origins []Origin
	for i := range int64(16) {
		s.Append(model.Sample{Time: noon + i*1e9, Type: model.Float64, Bits: math.Float64bits(21.5)})
		origins = append(origins, Origin{Samples: 1, Source: 3, Ingest: noon/1e9 + 60 + i%2})
	}
	return s, origins
}

func twoVersions() []VersionRow {
	value := model.Sample{Time: noon, Type: model.Float64, Bits: math.Float64bits(21.5)}
	corrected := value
	corrected.Bits = math.Float64bits(22)
	return []VersionRow{
		{Sample: value, Kind: model.Inserted, Offset: 1000, Index: 4, Ingest: noon + 2e9, Source: 3},
		{Sample: corrected, Kind: model.Replaced, Current: true, Offset: 1200, Ingest: noon + 3600e9, Source: 9, Author: "mk", Reason: "drift"},
	}
}

func threeDeletions() []Deletion {
	return []Deletion{
		{Time: noon, Seq: 1, Offset: 1300},
		{Time: noon + 1e9, All: true, Offset: 1300},
		{From: noon, To: noon + 60e9, Offset: 1400},
	}
}

// examples are the bytes that docs/format/chunk.md spells out.
func examples() map[string][]byte {
	var e Encoder
	var p Packer
	one, oneFrom := oneSample()
	four, fourFrom := fourSamples()
	many, manyFrom := shuffledSamples()
	oneChunk, fourChunk := e.Append(nil, &one, oneFrom), e.Append(nil, &four, fourFrom)
	var sealed SealedEncoder
	p.Add(7, oneChunk)
	p.Add(300, fourChunk)
	return map[string][]byte{
		"chunk-one-sample":    oneChunk,
		"chunk-four-samples":  fourChunk,
		"sealed-one-sample":   sealed.Append(nil, &one, oneFrom),
		"sealed-four-samples": sealed.Append(nil, &four, fourFrom),
		"sealed-shuffled":     sealed.Append(nil, &many, manyFrom),
		"pack-two-tags":       p.Finish(nil),
		"versions-two":        AppendVersions(nil, twoVersions()),
		"deletions-three":     AppendDeletions(nil, threeDeletions()),
	}
}

// TestPageAndCodeAgree holds docs/format/chunk.md against what is written and read.
func TestPageAndCodeAgree(t *testing.T) {
	page := golden.Blocks(t, "../../docs/format/chunk.md")
	want := examples()
	for name, b := range want {
		require.Equal(t, hex.EncodeToString(b), hex.EncodeToString(page[name]), name)
	}
	require.Len(t, page, len(want), "an example on the page that no test writes")

	var d Data
	one, oneFrom := oneSample()
	require.NoError(t, Decode(page["chunk-one-sample"], &d))
	requireSame(t, &one, &d.Samples)
	require.Equal(t, oneFrom, d.Origins)
	four, fourFrom := fourSamples()
	require.NoError(t, Decode(page["chunk-four-samples"], &d))
	requireSame(t, &four, &d.Samples)
	require.Equal(t, fourFrom, d.Origins)
	var dec SealedDecoder
	require.NoError(t, dec.Decode(page["sealed-one-sample"], model.All, &d))
	requireSame(t, &one, &d.Samples)
	require.Equal(t, oneFrom, d.Origins)
	require.NoError(t, dec.Decode(page["sealed-four-samples"], model.All, &d))
	requireSame(t, &four, &d.Samples)
	require.Equal(t, fourFrom, d.Origins)
	many, manyFrom := shuffledSamples()
	require.NoError(t, dec.Decode(page["sealed-shuffled"], model.All, &d))
	requireSame(t, &many, &d.Samples)
	require.Equal(t, manyFrom, d.Origins)
	b, ok, err := Find(page["pack-two-tags"], 300)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, page["chunk-four-samples"], b)
	rows, err := DecodeVersions(page["versions-two"])
	require.NoError(t, err)
	require.Equal(t, twoVersions(), rows)
	deletions, err := DecodeDeletions(page["deletions-three"])
	require.NoError(t, err)
	require.Equal(t, threeDeletions(), deletions)
}
