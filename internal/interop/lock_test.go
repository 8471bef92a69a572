package interop_test

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// lock reads clients.lock: the lines of a kind, their fields behind it.
func lock(t *testing.T, kind string) (out [][]string) {
	f, err := os.Open("clients.lock")
	require.NoError(t, err)
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) > 0 && fields[0] == kind {
			out = append(out, fields[1:])
		}
	}
	require.NotEmpty(t, out, kind)
	return out
}

// TestModulesAreThoseOfTheLock: the Go clients have go.mod files of their own.
func TestModulesAreThoseOfTheLock(t *testing.T) {
	for _, of := range lock(t, "go") {
		text, err := os.ReadFile(filepath.Join(of[0], "go.mod"))
		require.NoError(t, err)
		require.Regexp(t, `(?m)^\s+`+regexp.QuoteMeta(of[1]+" "+of[2])+"$", string(text), of[0])
	}
}

// TestNodePackagesAreThoseOfTheLock: npm reads a file of its own.
func TestNodePackagesAreThoseOfTheLock(t *testing.T) {
	for _, of := range lock(t, "npm") {
		var locked struct {
			Packages map[string]struct{ Version, Integrity string }
		}
		text, err := os.ReadFile(filepath.Join("opcua", "package-lock.json"))
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(text, &locked))
		require.Equal(t, of[1], locked.Packages["node_modules/"+of[0]].Version)
		for name, p := range locked.Packages {
			require.True(t, name == "" || strings.HasPrefix(p.Integrity, "sha512-"), name)
		}
		text, err = os.ReadFile(filepath.Join("opcua", "package.json"))
		require.NoError(t, err)
		require.Contains(t, string(text), `"`+of[0]+`": "`+of[1]+`"`)
	}
}

// TestBenchmarksAreOfTheSameVersions: they compare with what the clients are checked with.
func TestBenchmarksAreOfTheSameVersions(t *testing.T) {
	versions := map[string]string{}
	for _, of := range lock(t, "pypi") {
		require.Len(t, of, 2)
		require.NotContains(t, versions, of[0], "twice")
		versions[of[0]] = of[1]
	}
	text, err := os.ReadFile(filepath.Join("..", "..", "bench", "duckdb", "requirements.txt"))
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		name, version, _ := strings.Cut(strings.TrimSpace(line), "==")
		require.Equal(t, versions[name], version, name)
	}
}

// TestVersionsStandInTheLock: no script has a version of its own, and every jar has its hash.
func TestVersionsStandInTheLock(t *testing.T) {
	for _, of := range lock(t, "maven") {
		require.Len(t, of, 3)
		require.Regexp(t, "^[0-9a-f]{64}$", of[2], of[0])
	}
	pinned := regexp.MustCompile(`[a-z]==\d|:jar:\d|[a-z]:\d+\.\d+\.\d+`)
	require.NoError(t, filepath.WalkDir(".", func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".sh" && filepath.Ext(path) != ".py" {
			return err
		}
		text, err := os.ReadFile(path)
		require.NotRegexp(t, pinned, string(text), path)
		return err
	}))
}

// TestEveryClientIsReported: what a client does is one of six tests, and some program here says it did it.
func TestEveryClientIsReported(t *testing.T) {
	text, err := os.ReadFile("clients.lock")
	require.NoError(t, err)
	clients := regexp.MustCompile(`(?m)^client \|(.*)\|(.*)\|(.*)\|(.*)$`).FindAllStringSubmatch(string(text), -1)
	require.Greater(t, len(clients), 20)
	for _, c := range clients {
		require.Contains(t, []string{"always", "full"}, strings.TrimSpace(c[3]), c[0])
		for _, test := range strings.Fields(c[2]) {
			require.Contains(t, []string{"read", "prepare", "parameters", "metadata", "cancel", "ingest"}, test, c[0])
		}
	}
}
