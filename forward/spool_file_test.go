package forward

import (
	"crypto/sha256"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/varvedb/varve/internal/golden"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

func exampleFile(t testing.TB) []byte {
	h := spoolFile{source: "edge1", epoch: 0x1122334455667788, sequence: 3, made: 1_700_000_000_000_000_000, before: 1, beforeHash: sha256.Sum256([]byte("file 1"))}
	b, _, err := h.encode(&varvev1.Parcel{})
	require.NoError(t, err)
	return b
}

func TestSpoolFileIsAsThePageSays(t *testing.T) {
	b := golden.Block(t, "../docs/format/spool.md", "spool file")
	require.Equal(t, b, exampleFile(t))
	h, p, hash, err := decodeSpool(b)
	require.NoError(t, err)
	require.Equal(t, [32]byte(b[len(b)-32:]), hash)
	require.Equal(t, "edge1", h.source)
	require.Equal(t, []uint64{0x1122334455667788, 3, 1}, []uint64{h.epoch, h.sequence, h.before})
	require.True(t, proto.Equal(&varvev1.Parcel{}, p))
}

// A file comes back as it was, and none with a flipped bit or a cut end does.
func TestSpoolFilesAreWholeOrRefused(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := &varvev1.Parcel{Tags: []*varvev1.Tag{{Name: rapid.StringN(1, 20, 60).Draw(t, "name")}}}
		for range rapid.IntRange(0, 3).Draw(t, "steps") {
			p.Steps = append(p.Steps, &varvev1.Step{What: &varvev1.Step_Samples{Samples: &varvev1.StepSamples{
				Runs: []*varvev1.Run{{Tag: "a", TimesNs: rapid.SliceOfN(rapid.Int64(), 0, 50).Draw(t, "times")}},
			}}})
		}
		h := spoolFile{source: "edge1", epoch: rapid.Uint64Min(1).Draw(t, "epoch"), sequence: rapid.Uint64Min(1).Draw(t, "sequence"), made: rapid.Int64().Draw(t, "made")}
		h.before = rapid.Uint64Range(0, h.sequence-1).Draw(t, "before")
		b, hash, err := h.encode(p)
		require.NoError(t, err)
		got, q, gotHash, err := decodeSpool(b)
		require.NoError(t, err)
		require.Equal(t, h, got)
		require.Equal(t, hash, gotHash)
		require.True(t, proto.Equal(p, q))
		source, epoch, sequence, ok := parseSpoolName(spoolName(h.source, h.epoch, h.sequence))
		require.True(t, ok)
		require.Equal(t, h.source, source)
		require.Equal(t, []uint64{h.epoch, h.sequence}, []uint64{epoch, sequence})

		bit := rapid.IntRange(0, 8*len(b)-1).Draw(t, "bit")
		b[bit/8] ^= 1 << (bit % 8)
		_, _, _, err = decodeSpool(b)
		require.Error(t, err)
		b[bit/8] ^= 1 << (bit % 8)
		_, _, _, err = decodeSpool(b[:rapid.IntRange(0, len(b)-1).Draw(t, "cut")])
		require.Error(t, err)
	})
}

func FuzzSpoolFile(f *testing.F) {
	f.Add(exampleFile(f))
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, p, _, err := decodeSpool(b); err == nil {
			require.NotZero(t, h.sequence)
			require.NotNil(t, p)
		}
		// What stands behind the hash is reached as well.
		if len(b) >= spoolFixed {
			sum := sha256.Sum256(b)
			_, _, _, _ = decodeSpool(append(append([]byte(nil), b...), sum[:]...))
		}
	})
}
