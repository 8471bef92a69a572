package chunk

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/model"
)

// Each target gets its bytes as they are, and once more under a checksum that is right: few mutations would get past it.

func FuzzDecodeChunk(f *testing.F) {
	for _, name := range []string{"chunk-one-sample", "chunk-four-samples"} {
		f.Add(withoutSum(examples()[name]))
	}
	if err := Each(encodeFixturePack(), func(_ model.TagID, b []byte) error { f.Add(withoutSum(b)); return nil }); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var d, again Data
		_ = Decode(b, &d)
		b = seal(bytes.Clone(b), 0)
		info, inspectErr := Inspect(b)
		if Decode(b, &d) != nil {
			return
		}
		require.NoError(t, inspectErr)
		require.Equal(t, Info{Type: d.Type, Count: d.Len(), First: d.Times[0], Last: d.Times[d.Len()-1]}, info)
		var e Encoder
		require.NoError(t, Decode(e.Append(nil, &d.Samples, d.Origins), &again))
		requireSame(t, &d.Samples, &again.Samples)
		require.Equal(t, d.Origins, again.Origins)
	})
}

func withoutSum(b []byte) []byte { return b[:len(b)-crcBytes] }

func FuzzFind(f *testing.F) {
	f.Add(uint32(7), examples()["pack-two-tags"][1:7], examples()["pack-two-tags"][11:])
	f.Add(uint32(1), []byte{0}, []byte{})
	f.Fuzz(func(t *testing.T, tag uint32, directory, chunks []byte) {
		_, _, _ = Find(chunks, model.TagID(tag))
		pack := append(seal(append([]byte{kindPack | version}, directory...), 0), chunks...)
		found, ok, err := Find(pack, model.TagID(tag))
		walked := false
		walkErr := Each(pack, func(at model.TagID, b []byte) error {
			if at == model.TagID(tag) && err == nil && ok {
				require.Equal(t, b, found)
				walked = true
			}
			return nil
		})
		if walkErr == nil {
			require.NoError(t, err)
			require.Equal(t, walked, ok)
		}
	})
}

func FuzzDecodeVersions(f *testing.F) {
	f.Add(withoutSum(examples()["versions-two"]))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = DecodeVersions(b)
		rows, err := DecodeVersions(seal(bytes.Clone(b), 0))
		if err != nil {
			return
		}
		again, err := DecodeVersions(AppendVersions(nil, rows))
		require.NoError(t, err)
		require.Equal(t, len(rows), len(again))
		for i := range rows {
			require.Equal(t, string(rows[i].Blob), string(again[i].Blob))
			rows[i].Blob, again[i].Blob = nil, nil
			require.Equal(t, rows[i], again[i])
		}
	})
}

func FuzzDecodeDeletions(f *testing.F) {
	f.Add(withoutSum(examples()["deletions-three"]))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = DecodeDeletions(b)
		deletions, err := DecodeDeletions(seal(bytes.Clone(b), 0))
		if err != nil {
			return
		}
		again, err := DecodeDeletions(AppendDeletions(nil, deletions))
		require.NoError(t, err)
		require.Equal(t, len(deletions), len(again))
		for i := range deletions {
			require.Equal(t, deletions[i], again[i])
		}
	})
}
