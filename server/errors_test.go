package server

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestEveryErrorHasAStatus finds the exported errors of the packages that clients may meet in their sources: one that
// is not in the table would reach clients as INTERNAL.
func TestEveryErrorHasAStatus(t *testing.T) {
	source, err := os.ReadFile("errors.go")
	require.NoError(t, err)
	for _, dir := range []string{"../model", "../query", "../query/expression", "../storage", "../storage/catalog", "../storage/identity", "../storage/log", "../server/relation", "../server/sqlchild"} {
		for _, name := range exportedErrors(t, dir) {
			entry := "{" + filepath.Base(dir) + "." + name + ","
			require.True(t, strings.Contains(string(source), entry), "statusOf has no entry %s", entry)
		}
	}
}

func exportedErrors(t *testing.T, dir string) (names []string) {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		for _, d := range parsed.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.VAR {
				continue
			}
			for _, spec := range g.Specs {
				for _, ident := range spec.(*ast.ValueSpec).Names {
					if strings.HasPrefix(ident.Name, "Err") {
						names = append(names, ident.Name)
					}
				}
			}
		}
	}
	return names
}
