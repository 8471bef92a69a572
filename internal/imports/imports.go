// Package imports holds the direction of imports inside the module:
//
//	cmd → server → query → storage → compression → model
//	cmd → collector → compression, model
//	cmd → forward → collector, compression, model
//	collector/queue → storage/log, storage/durable
//	forward → storage/durable
//	server, collector, cmd → proto
//
// An arrow may skip down and never points up. The package is its test, which reads the import clauses of every file and
// says for each forbidden one why it is forbidden.
package imports

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
)

// Module is the path every import inside the module begins with.
const Module = "github.com/varvedb/varve"

// layer is one folder and what its packages must not import, each with the reason a reader of the failure
// needs. Keys of forbid are folders of this module, or import paths from outside it.
type layer struct {
	folder  string
	forbid  map[string]string
	allow   map[string]string // what it may import although a folder it lies in may not, and why
	stdOnly string            // where not empty: nothing outside the standard library, and why
}

const (
	nobodyImportsBench = "bench measures the product from outside; nothing depends on what measures it"
	programsAreLast    = "a program wires packages together; nothing can be built on one"
)

var layers = []layer{
	{folder: "model", stdOnly: "every layer shares its words, so whatever it imports the edge binary and every tool carry too"},
	{folder: "compression", forbid: map[string]string{
		"storage":   "a codec knows columns, not where chunks lie",
		"query":     "a codec knows columns, not what a question means",
		"server":    "a codec works without a network",
		"collector": "collectors use compression, not the other way round",
		"proto":     "stored bytes have their own format; wire messages change on another clock",
		"cmd":       programsAreLast,
		"bench":     nobodyImportsBench,
	}},
	{folder: "storage", forbid: map[string]string{
		"query":                               "storage answers cursors; what a question means is decided above it",
		"server":                              "storage must open and recover without a network",
		"collector":                           "collectors reach the archive through proto only",
		"proto":                               "stored bytes have their own format; wire messages change on another clock",
		"google.golang.org/grpc":              "storage must open and recover without a network",
		"google.golang.org/protobuf":          "stored bytes have their own format; wire messages change on another clock",
		"github.com/apache/arrow/go":          "Arrow is how answers travel; package query makes it from columns",
		"github.com/spf13/cobra":              "options are a struct; flags are the programs'",
		"github.com/prometheus/client_golang": "storage reports a Status; package server turns it into metrics",
		"cmd":                                 programsAreLast,
		"bench":                               nobodyImportsBench,
	}},
	{folder: "storage/rollup", forbid: map[string]string{
		"storage":                       "a partial is arithmetic on samples and stands below whatever keeps it",
		"compression":                   "columns of a row are read by number and often only a few of them; codecs of chunks are read front to back",
		"github.com/cockroachdb/pebble": "a partial is arithmetic on samples and knows no store",
	}},
	{folder: "query", forbid: map[string]string{
		"server":                 "every door calls query, so query knows none of them",
		"collector":              "collectors write; questions are none of theirs",
		"proto":                  "a question means the same at every door, whatever its messages",
		"google.golang.org/grpc": "only package server knows status codes",
		"cmd":                    programsAreLast,
		"bench":                  nobodyImportsBench,
	}},
	{folder: "query/calendar", forbid: map[string]string{
		"query":                      "buckets of time are the same for every question; the engine asks for them, not the other way round",
		"storage":                    "time is divided without knowing what lies in it",
		"compression":                "time is divided without knowing what lies in it",
		"github.com/apache/arrow/go": "buckets are instants; package query makes columns of them",
	}},
	{folder: "query/expression", forbid: map[string]string{
		"query":                      "a calculation is the same wherever it is used; the engine finds its values, not the other way round",
		"storage":                    "a calculation knows values, not where they lie",
		"compression":                "a calculation knows values, not where they lie",
		"github.com/apache/arrow/go": "a value is one value; package query makes columns of them",
	}},
	{folder: "query/table", forbid: map[string]string{
		"query":   "every door and the program that runs statements share what tables there are, and nothing else",
		"storage": "what stands in a table is for whoever answers; the package says which tables there are",
	}},
	{folder: "collector", forbid: map[string]string{
		"storage": "a collector runs on another machine than the archive and reaches it through proto",
		"query":   "a collector writes; it asks nothing",
		"server":  "a collector is a client of the server",
		"cmd":     programsAreLast,
		"bench":   nobodyImportsBench,
	}},
	{folder: "forward", forbid: map[string]string{
		"storage": "a forwarder reaches both archives through proto",
		"query":   "what a question means is the server's",
		"server":  "a forwarder is a client of both servers",
		"cmd":     programsAreLast,
		"bench":   nobodyImportsBench,
	}, allow: map[string]string{
		"storage/durable": "its place outlasts a power cut; the package knows nothing of an archive",
	}},
	{folder: "collector/queue", allow: map[string]string{
		"storage/log":     "a queue is a log, with the same promises after a crash; the package knows nothing of an archive",
		"storage/durable": "as the log does",
	}},
	{folder: "collector/file", allow: map[string]string{
		"server/lineprotocol": "agents write the same lines into files as to the server; the package that reads them imports nothing",
	}},
	{folder: "server", forbid: map[string]string{
		"collector": "the server takes batches from any sender and knows none of them",
		"cmd":       programsAreLast,
		"bench":     nobodyImportsBench,
	}},
	{folder: "server/pgwire", forbid: map[string]string{
		"storage":                "a session knows statements, not where samples lie",
		"proto":                  "clients of PostgreSQL have wire messages of their own",
		"google.golang.org/grpc": "what an error is called here is SQLSTATE; package server translates",
	}},
	{folder: "proto", forbid: map[string]string{
		"model":       "the wire contract stands by itself, for clients that use nothing else of ours",
		"compression": "the wire contract stands by itself, for clients that use nothing else of ours",
		"storage":     "the wire contract stands by itself, for clients that use nothing else of ours",
		"query":       "the wire contract stands by itself, for clients that use nothing else of ours",
		"server":      "the wire contract stands by itself, for clients that use nothing else of ours",
		"collector":   "the wire contract stands by itself, for clients that use nothing else of ours",
		"cmd":         programsAreLast,
		"bench":       nobodyImportsBench,
	}},
	{folder: "internal", forbid: map[string]string{
		"storage":   "internal holds one thing each, below every layer",
		"query":     "internal holds one thing each, below every layer",
		"server":    "internal holds one thing each, below every layer",
		"collector": "internal holds one thing each, below every layer",
		"cmd":       programsAreLast,
		"bench":     nobodyImportsBench,
	}},
	{folder: "cmd", forbid: map[string]string{"bench": nobodyImportsBench}},
	{folder: "bench", forbid: map[string]string{
		"cmd": "bench runs the program as its own process, as a user does",
	}},
}

// edge is one import clause: a file of the module, by its path under the root, and what it imports.
type edge struct{ file, path string }

// violations lists the edges that point up, with the reason, and the files of folders that have no layer.
func violations(edges []edge) []string {
	var found []string
	for _, e := range edges {
		in := layersOf(e.file)
		if len(in) == 0 {
			found = append(found, fmt.Sprintf("%s: its folder has no layer; say in package imports what it may import", e.file))
		}
		for _, l := range in {
			if why := l.refuses(e.path); why != "" && !allowed(in, e.path) {
				found = append(found, fmt.Sprintf("%s imports %s: %s", e.file, e.path, why))
				break
			}
		}
	}
	sort.Strings(found)
	return found
}

// layersOf is the layers that hold a file: that of its top-level folder, and of packages that are held to more.
func layersOf(file string) (in []layer) {
	file = filepath.ToSlash(file)
	for _, l := range layers {
		if strings.HasPrefix(file, l.folder+"/") {
			in = append(in, l)
		}
	}
	return in
}

// allowed reports whether a layer lets a path in that others keep out.
func allowed(in []layer, path string) bool {
	for _, l := range in {
		if _, ok := l.allow[strings.TrimPrefix(path, Module+"/")]; ok {
			return true
		}
	}
	return false
}

// refuses is why the layer must not import path, or empty.
func (l layer) refuses(path string) string {
	inside, ok := strings.CutPrefix(path, Module+"/")
	if !ok {
		inside = path
	}
	if inside == l.folder {
		return "" // its own tests, from outside
	}
	if l.stdOnly != "" && strings.Contains(path, ".") {
		return l.stdOnly
	}
	for forbidden, why := range l.forbid {
		if inside == forbidden || strings.HasPrefix(inside, forbidden+"/") {
			return why
		}
	}
	return ""
}

// read collects the import clauses of every Go file under root. Tests of package model may use test libraries, so its
// test files are left out; everywhere else tests keep the direction too.
func read(root string) ([]edge, error) {
	var edges []edge
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		file, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if file != "." && strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || file == "bin" || file == "data" {
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(name) != ".go" || strings.HasPrefix(file, "model") && strings.HasSuffix(file, "_test.go") {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range parsed.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return fmt.Errorf("%s: import %s: %w", file, spec.Path.Value, err)
			}
			edges = append(edges, edge{file, path})
		}
		return nil
	})
	return edges, err
}
