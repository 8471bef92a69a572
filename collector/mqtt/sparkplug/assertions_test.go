package sparkplug

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// testsOf is the names of the tests in a folder.
func testsOf(t *testing.T, folder string) map[string]bool {
	names := map[string]bool{}
	files, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
	require.NoError(t, err)
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		require.NoError(t, err)
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && strings.HasPrefix(fn.Name.Name, "Test") {
				names[fn.Name.Name] = true
			}
		}
	}
	return names
}

// Each assertion of the specification that names the host application has a test, or a line that says why not.
func TestAssertions(t *testing.T) {
	b, err := os.ReadFile("testdata/assertions.tsv")
	require.NoError(t, err)
	tests := map[string]map[string]bool{"sparkplug": testsOf(t, "."), "mqtt": testsOf(t, "..")}
	rows, known := map[string]bool{}, map[string]bool{}
	spec := readSpecification(t)
	for _, id := range spec.IDs {
		known[id] = true
	}
	held := 0
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, "#") || strings.HasPrefix(line, "id\t") {
			continue
		}
		fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		require.Len(t, fields, 3, line)
		id, names, note := fields[0], fields[1], fields[2]
		require.True(t, known[id], "%s is no assertion of the specification", id)
		require.False(t, rows[id], "%s stands here twice", id)
		rows[id] = true
		if names == "-" {
			require.NotEmpty(t, note, "%s: why is there no test?", id)
			continue
		}
		held++
		for name := range strings.FieldsSeq(names) {
			folder, test, _ := strings.Cut(name, ".")
			require.True(t, tests[folder][test], "%s: there is no test %s", id, name)
		}
	}
	// The identifiers that say host in one of the ways the specification does.
	host := regexp.MustCompile(`host|phid|hid-|payloads-state|ncmd|rebirth`)
	for _, id := range spec.IDs {
		require.True(t, !host.MatchString(id) || rows[id], "%s names the host application and has no line", id)
	}
	require.GreaterOrEqual(t, held, 54)
}
