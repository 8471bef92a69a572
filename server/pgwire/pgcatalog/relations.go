package pgcatalog

import (
	_ "embed"
	"fmt"
	"strconv"
	"strings"

	"github.com/varvedb/varve/query/table"
)

// Schemas of the catalogue.
const (
	Pg   = "pg_catalog"
	Info = "information_schema"
)

//go:embed relations.txt
var relationsText string

// column is one of a relation. kind is a letter of relations.txt, 0 for integers.
type column struct {
	name string
	kind byte
}

// relations is the columns of each, by schema and name.
var relations = readRelations(relationsText)

func readRelations(text string) map[string][]column {
	out := map[string][]column{}
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) == 0 || words[0] == "#" {
			continue
		}
		var columns []column
		for _, w := range words[1:] {
			name, kind, _ := strings.Cut(w, ":")
			c := column{name: name}
			if kind != "" {
				c.kind = kind[0]
			}
			columns = append(columns, c)
		}
		out[words[0]] = columns
	}
	return out
}

// Has reports whether there is a relation.
func Has(schema, name string) bool {
	_, ok := relations[schema+"."+name]
	return ok
}

// Alias is the name by which the text of a relation defines it. It begins with pg_ too, so that no table of the store has it.
func Alias(schema, name string) string {
	if schema == Info {
		return "pg_info_" + name
	}
	return name
}

// Catalog is what the catalogue is made of.
type Catalog struct {
	Tables   []table.Table
	Settings [][2]string // names and values
}

// CTE is a relation as a common table expression: name AS (query).
func (c Catalog) CTE(schema, name string) (string, error) {
	columns, ok := relations[schema+"."+name]
	if !ok {
		return "", fmt.Errorf("relation %s.%s, which there is none of", schema, name)
	}
	var given []string // columns that differ from row to row
	var rows [][]string
	constant := map[string]string{}
	if fill, ok := content[schema+"."+name]; ok {
		given, rows, constant = fill(c)
	}
	var b strings.Builder
	b.WriteString(Alias(schema, name) + " AS (SELECT ")
	for i, one := range columns {
		if i > 0 {
			b.WriteString(", ")
		}
		switch value, isConstant := constant[one.name]; {
		case isGiven(given, one.name):
			b.WriteString(`v."` + one.name + `"::` + kindTypes[one.kind])
		case isConstant:
			b.WriteString(value + "::" + kindTypes[one.kind])
		default:
			b.WriteString(kindDefaults[one.kind] + "::" + kindTypes[one.kind])
		}
		b.WriteString(` AS "` + one.name + `"`)
	}
	if len(rows) == 0 {
		b.WriteString(" WHERE false)")
		return b.String(), nil
	}
	b.WriteString(" FROM (VALUES ")
	for i, r := range rows {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString("(" + strings.Join(r, ", ") + ")")
	}
	b.WriteString(`) AS v("` + strings.Join(given, `", "`) + `"))`)
	return b.String(), nil
}

func isGiven(given []string, name string) bool {
	for _, g := range given {
		if g == name {
			return true
		}
	}
	return false
}

var kindTypes = map[byte]string{0: "BIGINT", 'b': "BOOLEAN", 's': "VARCHAR", 'f': "DOUBLE", 't': "TIMESTAMPTZ", 'I': "BIGINT[]", 'S': "VARCHAR[]"}

var kindDefaults = map[byte]string{0: "0", 'b': "false", 's': "NULL", 'f': "0", 't': "NULL", 'I': "NULL", 'S': "NULL"}

// Quote is text as a literal.
func Quote(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

func itoa(n int) string { return strconv.Itoa(n) }
