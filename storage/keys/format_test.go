package keys

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/internal/golden"
)

const page = "../../docs/format/keys.md"

func TestKeysAreAsDocumented(t *testing.T) {
	const at = 1_700_000_000_000_000_000 // 2023-11-14T22:13:20Z
	const old = -14_182_940_000_000_000  // 1969-07-20T20:17:40Z
	chunk := Chunk{Partition: DayOf(at), Kind: Unsealed, Generation: 40, Tag: 300, Start: at, End: at + 60e9}
	pack := Chunk{Partition: DayOf(old), Kind: Packed, Generation: 40, Tag: 1, Stream: 251, Start: old, End: old, Seq: 300}
	sealed := Chunk{Partition: DayOf(at), Kind: Sealed, Generation: 48, Tag: 300, Start: at, End: at + 60e9}
	header := Header{Kind: Unsealed, Tag: 300, Start: at, Generation: 40}
	rollup := Header{Level: 2, Kind: Sealed, Tag: 300, Start: DayOf(at).Range().Start, Generation: 48}
	for name, key := range map[string][]byte{
		"chunk": chunk.Append(nil), "packed": pack.Append(nil), "sealed": sealed.Append(nil), "header": header.Append(nil), "rollup": rollup.Append(nil),
		"effects": AppendOffset(nil, Effects, 40),
		"latest":  AppendTag(nil, Latest, 288), "partitions": AppendPartitions(nil, 300, Day),
		"directory": AppendDirectory(nil, Directory, DayOf(at), 40),
	} {
		require.Equal(t, fmt.Sprintf("% x", golden.Block(t, page, name)), fmt.Sprintf("% x", key), name)
	}
	// What stands on the page is read back, whatever this release would write.
	have, err := DecodeChunk(golden.Block(t, page, "packed"))
	require.NoError(t, err)
	require.Equal(t, pack, have)
	haveHeader, err := DecodeHeader(golden.Block(t, page, "header"))
	require.NoError(t, err)
	require.Equal(t, header, haveHeader)
}
