package rewrite

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/varvedb/varve/server/hint"
)

// Function is the name of the table function that scans are: its argument is the place of the scan in Statement.Scans.
const Function = "varve_scan"

// Table is a table that statements may name.
type Table struct {
	Name    string
	Columns []string    // lower case
	Roles   []hint.Role // of each column
	Small   bool        // its rows are of tags, not of samples: reading it to narrow another scan pays
	Exact   bool        // a scan has no rows but those it is narrowed to, and may be an answer

	Internal bool // no statement names it

	// Of a function: the types its arguments are cast to, by name; empty for as they are.
	Arguments map[string]string
}

func (t *Table) column(name string) int { return slices.Index(t.Columns, name) }

// Statement is a statement that is ready for the engine.
type Statement struct {
	Tree       []byte // serialized
	Scans      []*Scan
	Parameters []Parameter // by their numbers, which are their places; what is named otherwise comes behind
	Plain      *Plain      // nil of a statement that is not
}

// Parameter is a parameter of a statement.
type Parameter struct {
	Name string
	Type string // of the argument of a function that it is; empty of others
}

// Scan is one use of a table, or of a function.
type Scan struct {
	Table  *Table
	Bounds []Bound // all hold
	Sets   []Set   // the tag is in all of them
	Whole  bool    // they are all the conditions of the selection that the table stands in, alone

	Few Few // what it needs to have of each tag, if it has just the rows that they leave

	Arguments []Argument // of a function, of partials, and of samples AT an instant

	Exact bool // its rows are right only if all bounds of time and severity are taken; without arguments they are in any case
}

// Argument is an argument of a scan. Its value is read with the statement Given of the scan.
type Argument struct {
	Name  string
	Value node
}

// Bound is a condition on a column. Values are read with the statement Values of the scan: each is two columns of it, the value and the
// name of its type.
type Bound struct {
	hint.Bound
	Values []node
	Fixed  bool // they are the same whenever the statement is executed: made of constants alone
}

// Parameter is the name of the parameter that a value is, empty of another.
func (b Bound) Parameter(value int) string {
	if v := b.Values[value]; text(v, "class") == "PARAMETER" {
		return text(v, "identifier")
	}
	return ""
}

// Constant is a value that is a constant, as the engine has it; false of others, and of constants that it has to be asked for.
func (b Bound) Constant(value int) (hint.Value, bool) {
	v := b.Values[value]
	if text(v, "class") != "CONSTANT" {
		return hint.Value{}, false
	}
	of := child(v, "value")
	if null, _ := of["is_null"].(bool); null {
		return hint.Value{}, false
	}
	switch text(child(of, "type"), "id") {
	case "VARCHAR":
		said, ok := of["value"].(string)
		return hint.Text(said), ok
	case "INTEGER", "BIGINT":
		number, _ := of["value"].(json.Number)
		n, err := number.Int64()
		return hint.Integer(n), err == nil
	}
	return hint.Value{}, false
}

// Set is a condition on the tag of a row: one of those that a statement selects, by name or by id.
type Set struct {
	Tree  []byte // serialized; one column
	Names bool   // of names, else of ids
}

// Rewrite takes a serialized statement apart and puts it together again. Of a statement that is refused the error says why. titles is the text
// of a serialized statement, which has the names of its results.
func Rewrite(serialized []byte, tables map[string]*Table, titles func(tree []byte) (string, error)) (*Statement, error) {
	root, err := decode(serialized)
	if err != nil {
		return nil, fmt.Errorf("%w: it cannot be taken apart: a number in it is larger than a double holds, or it is nested too deeply (%w)", ErrRefused, err)
	}
	if failed, _ := root["error"].(bool); failed {
		message := text(root, "error_message")
		if text(root, "error_type") == "not implemented" {
			return nil, fmt.Errorf("%w: only SELECT statements are answered, and of PIVOT only that with a list of values: %s", ErrRefused, message)
		}
		return nil, fmt.Errorf("%w: %s", ErrRefused, message)
	}
	statements := list(root, "statements")
	if len(statements) != 1 {
		return nil, fmt.Errorf("%w: %d statements at once, must be one", ErrRefused, len(statements))
	}
	statement, _ := statements[0].(node)
	r := &rewriter{tables: tables, types: map[string]string{}, around: map[uintptr][]node{}, placed: map[uintptr]*Scan{}, ranked: map[uintptr][]ranked{}, titles: titles}
	if err := r.check(statement); err != nil {
		return nil, err
	}
	r.walk(statement["node"], nil)
	if r.err != nil {
		return nil, r.err
	}
	return &Statement{Tree: encode(statement["node"], statement["named_param_map"]), Scans: r.scans, Parameters: r.parameters(statement), Plain: r.plain(child(statement, "node"))}, nil
}

type rewriter struct {
	tables map[string]*Table
	scans  []*Scan
	types  map[string]string // of parameters that are arguments of functions
	// Conditions around selections that hold for their rows as for what they make of them, by the selection.
	around map[uintptr][]node
	placed map[uintptr]*Scan    // of partials, by the place that they have taken
	ranked map[uintptr][]ranked // conditions around a selection on its ranks, by the selection

	titles func(tree []byte) (string, error)
	err    error
}

// parameters is the parameters of a statement.
func (r *rewriter) parameters(statement node) (out []Parameter) {
	for _, e := range list(statement, "named_param_map") {
		e, _ := e.(node)
		name := text(e, "key")
		out = append(out, Parameter{name, r.types[name]})
	}
	slices.SortFunc(out, func(a, b Parameter) int {
		x, errX := strconv.Atoi(a.Name)
		y, errY := strconv.Atoi(b.Name)
		if errX == nil && errY == nil {
			return cmp.Compare(x, y)
		}
		return cmp.Or(strings.Compare(fmt.Sprint(errX != nil), fmt.Sprint(errY != nil)), strings.Compare(a.Name, b.Name))
	})
	return out
}

func (r *rewriter) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: "+format, append([]any{ErrRefused}, args...)...)
	}
}

// tableFunctions is the table functions of the engine that are offered: those that make rows of their arguments.
var tableFunctions = map[string]bool{"unnest": true, "range": true, "generate_series": true}

// refusedFunctions is the other functions that are not offered: they tell of the process, or change it.
var refusedFunctions = map[string]bool{
	"getenv": true, "getvariable": true, "nextval": true, "currval": true, "current_setting": true, "write_log": true, "parse_duckdb_log_message": true,
	"in_search_path": true, "txid_current": true, "current_connection_id": true, "current_query_id": true, "current_transaction_id": true,
	"json_execute_serialized_sql": true, "json_serialize_plan": true, "sql_auto_complete": true, "query": true, "query_table": true, "stats": true,
	"from_substrait": true, "sleep_ms": true, "scan_arrow_ipc": true,
	Function: true,
}

// check refuses what is not offered, wherever in the statement it stands, and makes columns of tables with a schema those of the tables.
func (r *rewriter) check(statement node) error {
	visit(statement, func(n node) bool {
		switch typ := text(n, "type"); typ {
		case "TABLE_FUNCTION":
			if name := strings.ToLower(text(child(n, "function"), "function_name")); !tableFunctions[name] && !r.isFunction(name) {
				known := maps.Clone(tableFunctions)
				for name, t := range r.tables {
					known[name] = t.Arguments != nil
				}
				r.fail("there is no table function %s; there are %s", name, offered(known))
			}
		case "FUNCTION", "WINDOW_AGGREGATE":
			name := strings.ToLower(text(n, "function_name"))
			if refusedFunctions[name] || strings.HasPrefix(name, "pragma_") || strings.HasPrefix(name, "duckdb_") || strings.HasPrefix(name, "read_") {
				r.fail("function %s is not offered", name)
			}
			if s := strings.ToLower(text(n, "schema")); text(n, "catalog") != "" || s != "" && s != "main" {
				r.fail("function %s of schema %s is not offered", name, s)
			}
		case "SHOW_REF":
			r.fail("SHOW, DESCRIBE and SUMMARIZE are not answered; a statement's columns are those it is described with")
		case "BASE_TABLE", "SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE", "JOIN", "SUBQUERY", "EMPTY", "EXPRESSION_LIST", "PIVOT":
		case "COLUMN_DATA", "DELIM_GET", "BOUND_TABLE_REF":
			r.fail("%s is none of a statement", typ)
		}
		if parts := list(n, "column_names"); text(n, "class") == "COLUMN_REF" && len(parts) >= 3 {
			at := len(parts) - 3
			if s, _ := parts[at].(string); strings.EqualFold(s, "main") {
				n["column_names"] = parts[at+1:]
			}
		}
		return true
	})
	return r.err
}

func offered(set map[string]bool) string {
	var names []string
	for n, is := range set {
		if is {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// walk replaces the tables of a tree. visible is the names that common table expressions have there.
func (r *rewriter) walk(x any, visible []string) {
	switch x := x.(type) {
	case []any:
		for _, c := range x {
			r.walk(c, visible)
		}
	case node:
		if text(x, "type") == "BASE_TABLE" { // outside of a FROM, which there is none of
			r.table(x, visible)
			return
		}
		if text(x, "type") == "TABLE_FUNCTION" && r.isFunction(strings.ToLower(text(child(x, "function"), "function_name"))) {
			r.function(x, visible)
			return
		}
		inline(x)
		visible = r.named(x, visible)
		if text(x, "type") == "SELECT_NODE" {
			r.partials(x, visible)
			r.selection(x, visible)
		}
		for k, c := range x {
			if k != "cte_map" {
				r.walk(c, visible)
			}
		}
	}
}

// named walks the common table expressions of a node and adds their names.
func (r *rewriter) named(n node, visible []string) []string {
	for _, e := range list(child(n, "cte_map"), "map") {
		entry, _ := e.(node)
		name, value := strings.ToLower(text(entry, "key")), child(entry, "value")
		visible = slices.Clip(visible)
		inner := visible
		if text(child(child(value, "query"), "node"), "type") == "RECURSIVE_CTE_NODE" {
			inner = append(inner, name)
		}
		r.walk(value, inner)
		visible = append(visible, name)
	}
	return visible
}

// table replaces one table by a scan and returns that, or nil where the name is that of a common table expression.
func (r *rewriter) table(n node, visible []string) *Scan {
	if r.isExpression(n, visible) {
		return nil
	}
	name := r.ours(n, visible)
	if name == "" {
		name, schema, catalog := text(n, "table_name"), text(n, "schema_name"), text(n, "catalog_name")
		known := map[string]bool{}
		for name, t := range r.tables {
			known[name] = t.Arguments == nil && !t.Internal
		}
		r.fail("there is no table %s; there are %s", strings.ToLower(strings.Trim(strings.Join([]string{catalog, schema, name}, "."), ".")), offered(known))
		return nil
	}
	scan := &Scan{Table: r.tables[name]}
	if at := child(n, "at_clause"); at != nil {
		if !r.past(at, scan, visible) {
			return nil
		}
	}
	r.place(n, scan)
	return scan
}

// AsOf is the argument of samples AT (TIMESTAMP => …).
const AsOf = "as_of"

// past makes a scan one of the samples that stood at an instant; false if the statement is refused.
func (r *rewriter) past(at node, scan *Scan, visible []string) bool {
	name, expr := scan.Table.Name, child(at, "expr")
	switch {
	case name != "samples" && name != "good_samples":
		r.fail("table %s has no AT; samples and good_samples have, and raw(as_of => …) and other functions as_of", name)
	case !strings.EqualFold(text(at, "unit"), "TIMESTAMP"):
		r.fail("%s AT (%s => …) is not answered; AT (TIMESTAMP => …) is, and raw(as_of => …)", name, strings.ToUpper(text(at, "unit")))
	default:
		if text(expr, "class") == "PARAMETER" {
			r.types[text(expr, "identifier")] = "TIMESTAMP WITH TIME ZONE"
		}
		r.walk(expr, visible)
		// NULL must not be taken for an argument that is not given.
		scan.Arguments = []Argument{{AsOf, coalesce(cast(cast(expr, "TIMESTAMP WITH TIME ZONE"), "VARCHAR"), constant("VARCHAR", "NULL"))}}
		return true
	}
	return false
}

// isExpression reports whether a table is a common table expression.
func (r *rewriter) isExpression(n node, visible []string) bool {
	return text(n, "schema_name") == "" && slices.Contains(visible, strings.ToLower(text(n, "table_name")))
}

// ours is the name of the table of ours that a table is, empty where it is none.
func (r *rewriter) ours(n node, visible []string) string {
	name, schema, catalog := strings.ToLower(text(n, "table_name")), strings.ToLower(text(n, "schema_name")), strings.ToLower(text(n, "catalog_name"))
	if schema == "varve" && catalog == "" { // a catalogue where a schema may stand
		schema = "main"
	}
	t := r.tables[name]
	if t == nil || t.Arguments != nil || t.Internal || schema != "" && schema != "main" || catalog != "" && catalog != "varve" || r.isExpression(n, visible) {
		return ""
	}
	return name
}

// place makes a table the call of its scan.
func (r *rewriter) place(n node, scan *Scan) {
	if text(n, "alias") == "" {
		n["alias"] = text(n, "table_name")
	}
	for _, k := range []string{"table_name", "schema_name", "catalog_name", "at_clause"} {
		delete(n, k)
	}
	n["type"], n["with_ordinality"] = "TABLE_FUNCTION", "WITHOUT_ORDINALITY"
	n["function"] = call(Function, constant("INTEGER", len(r.scans)))
	r.scans = append(r.scans, scan)
}

func (r *rewriter) isFunction(name string) bool {
	t := r.tables[name]
	return t != nil && t.Arguments != nil
}

// tagsWhere is the argument of every function that is a condition on tags, in place of their names.
const tagsWhere = "tags_where"

// function replaces the call of one of our functions by a scan.
func (r *rewriter) function(n node, visible []string) {
	f := child(n, "function")
	t := r.tables[strings.ToLower(text(f, "function_name"))]
	scan := &Scan{Table: t}
	given := list(f, "children")
	if text(n, "alias") == "" {
		n["alias"] = t.Name
	}
	n["function"] = call(Function, constant("INTEGER", len(r.scans)))
	r.scans = append(r.scans, scan)
	for i, a := range given {
		a, _ := a.(node)
		name := strings.ToLower(text(a, "alias"))
		if name == "" && i == 0 {
			name = "tags"
		}
		typ, ok := t.Arguments[name]
		if !ok && name != tagsWhere {
			r.fail("%s has no argument %q; it has %s, each as name => value", t.Name, name, offered(argumentsOf(t)))
			return
		}
		a["alias"] = ""
		if text(a, "class") == "PARAMETER" {
			r.types[text(a, "identifier")] = typ
		}
		if name == tagsWhere {
			scan.Sets = append(scan.Sets, Set{Tree: r.beside(selectNode([]any{column("tag_id")}, tableNode("tags"), a))})
			continue
		}
		r.walk(a, visible)
		scan.Arguments = append(scan.Arguments, Argument{name, a})
	}
}

func argumentsOf(t *Table) map[string]bool {
	out := map[string]bool{tagsWhere: true}
	for name := range t.Arguments {
		out[name] = true
	}
	return out
}
