package backup

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/model"
)

const page = "../../docs/format/backup.md"

// fenced is the text of a fenced block of the page, found by the words behind its fence.
func fenced(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	_, block, ok := strings.Cut(string(text), "```text "+name+"\n")
	require.True(t, ok, "%s has no block %q", page, name)
	block, _, _ = strings.Cut(block, "```")
	return block
}

var exampleStore = model.UUID{0x9a, 0xa0, 6: 0x40, 8: 0x80, 15: 1}

func exampleManifest() Manifest {
	at := time.Date(2026, 11, 25, 14, 12, 0, 0, time.UTC)
	return Manifest{
		ID: makeID(7, at), Store: exampleStore, Time: at, Release: "v0.2.0", Offset: 1234, Revision: 3, Tags: 2, Samples: 1000, Versions: 2,
		First: 1_700_000_000_000_000_000, Last: 1_700_000_060_000_000_000, Content: &File{Length: 120, Hash: Hash{0xc0}},
		Files: []File{
			{"FORMAT", 60, Hash{0x01}}, {"log/0000000000000001-00000001.log", 4096, Hash{0x02}}, {"log/mark", 8192, Hash{0x03}},
			{"lsm/000005.sst", 5000, Hash{0x04}}, {"lsm/MANIFEST-000001", 200, Hash{0x05}},
		},
	}
}

func TestManifestsAreAsDocumented(t *testing.T) {
	m := exampleManifest()
	require.Equal(t, fenced(t, "manifest"), string(m.encode()))
	have, err := parseManifest([]byte(fenced(t, "manifest")))
	require.NoError(t, err)
	require.Equal(t, &m, have)
	store, err := parseFolder([]byte(fenced(t, "BACKUP")))
	require.NoError(t, err)
	require.Equal(t, exampleStore, store)
}

func TestNewerFormatsAreNoDamage(t *testing.T) {
	newer := strings.Replace(fenced(t, "manifest"), "format 1", "format 3", 1)
	_, err := parseManifest([]byte(newer))
	require.ErrorIs(t, err, ErrVersion)
	_, err = parseFolder([]byte(strings.Replace(fenced(t, "BACKUP"), "format 1", "format 2", 1)))
	require.ErrorIs(t, err, ErrVersion)
}

// FuzzManifest: whatever reads as a manifest is written again as it was, and names nothing outside a store.
func FuzzManifest(f *testing.F) {
	m := exampleManifest()
	f.Add(m.encode())
	f.Add([]byte("varve backup\nformat 1\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := parseManifest(text)
		if err != nil {
			return
		}
		require.Equal(t, string(text), string(m.encode()))
		for _, x := range m.Files {
			require.NoError(t, checkName(x.Name))
		}
	})
}
