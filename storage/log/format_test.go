package log

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// TestFormatPage holds the example of docs/format/log.md against what is written. VARVE_REWRITE=1 writes the page anew, which
// is right only while no release has written such files.
func TestFormatPage(t *testing.T) {
	fs := vfs.NewMem()
	l, _ := mustOpen(t, Options{FS: fs, Rand: fixedRand{}})
	_, err := l.Append(ctx, []byte("varve"))
	require.NoError(t, err)
	require.NoError(t, l.Close())
	mark := readFile(t, fs, markName)
	examples := []string{
		hexLines(readFile(t, fs, "0000000000000001-00000001.log")),
		hexLines(mark[:markBytes]),
		hexLines(mark[markStride:][:markBytes]),
	}

	const name = "../../docs/format/log.md"
	page, err := os.ReadFile(name)
	require.NoError(t, err)
	blocks := regexp.MustCompile("(?s)```hex\n(.*?)```").FindAllSubmatchIndex(page, -1)
	require.Len(t, blocks, len(examples))
	if os.Getenv("VARVE_REWRITE") != "" {
		for i := len(blocks) - 1; i >= 0; i-- {
			page = append(page[:blocks[i][2]:blocks[i][2]], append([]byte(examples[i]), page[blocks[i][3]:]...)...)
		}
		require.NoError(t, os.WriteFile(name, page, 0o644))
		return
	}
	for i, b := range blocks {
		require.Equal(t, string(page[b[2]:b[3]]), examples[i])
	}
}

// hexLines is b as lines of 16 bytes.
func hexLines(b []byte) string {
	var s strings.Builder
	for len(b) > 0 {
		n := min(16, len(b))
		for i, x := range b[:n] {
			if i > 0 {
				s.WriteByte(' ')
			}
			s.WriteString(hex.EncodeToString([]byte{x}))
		}
		s.WriteByte('\n')
		b = b[n:]
	}
	return s.String()
}

// TestFixtureV1 reads a log that the first release wrote: two segments, one record damaged in the first, an end torn in the
// second.
func TestFixtureV1(t *testing.T) {
	const dir = "testdata/v1"
	if os.Getenv("VARVE_REWRITE") != "" {
		writeFixture(t, dir)
	}
	fs := vfs.NewMem()
	require.NoError(t, fs.MkdirAll(testDir, 0o755))
	files, err := filepath.Glob(dir + "/*")
	require.NoError(t, err)
	require.Len(t, files, 3)
	for _, name := range files {
		b, err := os.ReadFile(name)
		require.NoError(t, err)
		writeFile(t, fs, filepath.Base(name), b)
	}
	l, rec := mustOpen(t, Options{FS: fs})
	require.Equal(t, uint64(1), rec.First)
	require.Equal(t, uint64(41), rec.Next)
	require.Equal(t, map[uint64]bool{7: true}, offsetsOf(rec.Lost))
	require.Len(t, rec.Torn, 1)
	got, lost := readAll(t, l, 1)
	require.Equal(t, map[uint64]bool{7: true}, offsetsOf(lost))
	require.Len(t, got, 39)
	for offset, p := range got {
		require.Equal(t, payloadOf(offset, 100), p)
	}
	require.NoError(t, l.Close())
}

func writeFixture(t *testing.T, dir string) {
	fs := vfs.NewMem()
	l, _ := mustOpen(t, Options{FS: fs, Rand: fixedRand{}, SegmentBytes: 4096})
	appendN(t, l, 40)
	require.NoError(t, l.Close())
	require.NoError(t, os.MkdirAll(dir, 0o755))
	names := logFiles(t, fs)
	for i, name := range names {
		b := readFile(t, fs, name)
		switch i {
		case 0:
			b[headerBytes+6*(frameBytes+100)+60] ^= 4
		case 1:
			torn := appendRecord(nil, logID(b[headerID:]).nonce(), 41, checksum(payloadOf(41, 100)), payloadOf(41, 100))
			stampFrames(torn, 40)
			b = append(b, torn[:90]...)
		}
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), b, 0o644))
	}
}

func TestNewerVersionIsNotDamage(t *testing.T) {
	fs := vfs.NewMem()
	l, _ := mustOpen(t, Options{FS: fs})
	appendN(t, l, 1)
	require.NoError(t, l.Close())
	for _, name := range logFiles(t, fs) {
		whole := readFile(t, fs, name)
		newer := append([]byte(nil), whole...)
		newer[8] = 2 // version
		check := headerCheck
		if name == markName {
			check = markCheckAt
		}
		sum := checksum(newer[:check])
		for i := range 4 {
			newer[check+i] = byte(sum >> (8 * i))
		}
		writeFile(t, fs, name, newer)
		_, _, err := Open(testDir, Options{FS: fs})
		require.ErrorIs(t, err, ErrVersion)
		require.NotErrorIs(t, err, ErrCorrupt)
		writeFile(t, fs, name, whole)
	}
}

// A segment of another log in our directory is reported, left alone and not read.
func TestForeignSegment(t *testing.T) {
	other := vfs.NewMem()
	l, _ := mustOpen(t, Options{FS: other})
	appendN(t, l, 5)
	require.NoError(t, l.Close())
	foreign := readFile(t, other, segmentName(1, 1))

	fs := vfs.NewMem()
	l, _ = mustOpen(t, Options{FS: fs})
	appendN(t, l, 3)
	require.NoError(t, l.Close())
	writeFile(t, fs, segmentName(1, 1)[:16]+"-00000009.log", foreign)
	h := header{id: logID(foreign[headerID:]), first: 1, serial: 9}
	writeFile(t, fs, segmentName(1, 9), append(h.encode(), foreign[headerBytes:]...))

	l, rec := mustOpen(t, Options{FS: fs})
	require.Len(t, rec.Damaged, 1)
	require.Equal(t, segmentName(1, 9), rec.Damaged[0].File)
	require.Equal(t, uint64(4), rec.Next)
	requireWhole(t, l, 4)
	require.NoError(t, l.Close())
	require.Equal(t, foreign[headerBytes:], readFile(t, fs, segmentName(1, 9))[headerBytes:])
}
