package log

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// FuzzRecover opens a log whose newest segment and mark are arbitrary bytes.
func FuzzRecover(f *testing.F) {
	id := logID{0xC0, 0xC1, 0xC2, 0xC3}
	whole := header{id: id, first: 1, synced: 0, serial: 1}.encode()
	for offset := range uint64(4) {
		whole = appendRecord(whole, id.nonce(), offset+1, checksum([]byte("sample")), []byte("sample"))
		stampFrames(whole[len(whole)-frameBytes-6:], offset)
	}
	f.Add(whole, encodeMark(id, 4))
	f.Add(whole[:len(whole)-3], encodeMark(id, 3))
	f.Add(whole[:10], []byte{})
	f.Add([]byte{}, encodeMark(id, 7))
	f.Fuzz(func(t *testing.T, segmentFile, markFile []byte) {
		recoverAnything(t, segmentFile, markFile)
	})
}

// FuzzRecoverFrames lets the fuzzer choose what frames state, under checksums that match, which arbitrary bytes never have.
func FuzzRecoverFrames(f *testing.F) {
	f.Add([]byte{1, 0, 5, 0, 2, 1, 5, 0, 3, 2, 0, 1, 4, 1, 9, 2}, uint64(3), uint64(0))
	f.Add([]byte{1, 0, 5, 3, 200, 1, 5, 0, 3, 2, 0, 1}, uint64(1), uint64(1<<61))
	f.Fuzz(func(t *testing.T, script []byte, first, marked uint64) {
		id := logID{0xC0, 0xC1, 0xC2, 0xC3}
		b := header{id: id, first: 1, synced: 0, serial: 1}.encode()
		first %= maxOffset
		for ; len(script) >= 4; script = script[4:] {
			at := len(b)
			b = appendRecord(b, id.nonce(), first+uint64(script[0]), 0, make([]byte, script[2]))
			if script[3]&1 != 0 { // claims a length that the file does not have
				binary.LittleEndian.PutUint32(b[at+frameLength:], uint32(script[2])<<20)
			}
			if script[3]&2 == 0 {
				binary.LittleEndian.PutUint32(b[at+frameSum:], checksum(b[at+frameBytes:]))
			}
			binary.LittleEndian.PutUint64(b[at+frameSynced:], first+uint64(script[1]))
			binary.LittleEndian.PutUint32(b[at+frameCheck:], checksum(b[at:at+frameCheck]))
		}
		recoverAnything(t, b, encodeMark(id, marked))
	})
}

func recoverAnything(t *testing.T, segmentFile, markFile []byte) {
	fs := vfs.NewMem()
	require.NoError(t, fs.MkdirAll(testDir, 0o755))
	writeFile(t, fs, segmentName(1, 1), segmentFile)
	writeFile(t, fs, markName, markFile)
	l, rec, err := Open(testDir, Options{FS: fs, Rand: bytes.NewReader([]byte("another log's id"))})
	if err != nil {
		require.True(t, errors.Is(err, ErrVersion) || errors.Is(err, ErrCorrupt), "%v", err)
		return
	}
	require.LessOrEqual(t, rec.First, rec.Next)
	end := rec.First
	for _, lost := range rec.Lost {
		require.LessOrEqual(t, end, lost.First)
		require.Less(t, lost.First, lost.End)
		end = lost.End
	}
	require.LessOrEqual(t, end, rec.Next)
	readAll(t, l, rec.First)
	offset, err := l.Append(ctx, []byte("behind it"))
	require.NoError(t, err)
	require.Equal(t, rec.Next, offset)
	require.NoError(t, l.Close())
	l, again, err := Open(testDir, Options{FS: fs, Rand: fixedRand{}})
	require.NoError(t, err)
	require.Equal(t, offset+1, again.Next)
	require.Equal(t, len(rec.Lost), len(again.Lost))
	require.NoError(t, l.Close())
}
