package pgwire

import (
	"slices"
	"strconv"
	"strings"

	"github.com/varvedb/varve/query/table"
	"github.com/varvedb/varve/server/pgwire/pgcatalog"
)

// translate makes of a statement that asks for the catalogue one that the engine can answer, and reports whether it changed
// anything. Other statements stay as they are: what they mean is the same at every door.
//
// Relations of pg_catalog and information_schema become common table expressions that go before the statement. Functions,
// types and operators that the engine has not, or has with another meaning, become expressions that it has.
func (s *session) translate(st statement) (string, bool) {
	if len(st.text) > maxTranslated {
		return st.text, false
	}
	t := &translator{statement: st, session: s, needed: map[string]string{}, left: maxTranslation}
	t.catalog = t.asksCatalog()
	body := t.run(0, len(st.tokens), true)
	if !t.changed {
		return st.text, false
	}
	return t.withRelations(body), true
}

const (
	// maxTranslated is the longest statement that is translated, in bytes. The longest that drivers send have a quarter of it.
	maxTranslated = 64 << 10
	// maxTranslation is the most bytes that replacements add up to, beyond the relations. Calls inside calls would multiply them.
	maxTranslation = 1 << 20
	// maxNested is how deep calls are translated inside calls.
	maxNested = 8
)

type translator struct {
	statement
	session *session
	catalog bool              // the statement asks for the catalogue
	changed bool              // something was replaced
	depth   int               // calls inside calls
	left    int               // bytes that replacements may still have
	needed  map[string]string // relations that are named: their text, by the name it defines
}

// asksCatalog reports whether a relation of the catalogue, or its schema, is named.
func (t *translator) asksCatalog() bool {
	for i := range t.tokens {
		name, ok := t.name(i)
		if ok && (name == pgcatalog.Pg || name == pgcatalog.Info || pgcatalog.Has(pgcatalog.Pg, name) && t.raw(i+1) != "(") {
			return true
		}
	}
	return false
}

// withRelations puts the relations before a statement, whose tokens are still those of the original up to its first words.
func (t *translator) withRelations(body string) string {
	if len(t.needed) == 0 {
		return body
	}
	names := make([]string, 0, len(t.needed))
	for n := range t.needed {
		names = append(names, n)
	}
	slices.Sort(names)
	for i, n := range names {
		names[i] = t.needed[n]
	}
	relations := strings.Join(names, ", ")
	switch {
	case t.is(0, "WITH", "RECURSIVE"):
		return "WITH RECURSIVE " + relations + ", " + body[t.tokens[1].end:]
	case t.is(0, "WITH"):
		return "WITH " + relations + ", " + body[t.tokens[0].end:]
	}
	return "WITH " + relations + " " + body
}

// run is the tokens from one to another, translated. top is whether they are the whole statement.
func (t *translator) run(from, to int, top bool) string {
	if from >= to {
		return ""
	}
	var b strings.Builder
	last, depth := t.tokens[from].start, 0
	for i := from; i < to; {
		n, replacement := t.at(i, to)
		if n == 0 {
			switch t.raw(i) {
			case "(", "[":
				depth++
			case ")", "]":
				depth--
			}
			i++
			continue
		}
		t.changed = true
		b.WriteString(t.text[last:t.tokens[i].start])
		b.WriteString(replacement)
		if name := t.selected(i, n, to, top && depth == 0); name != "" {
			b.WriteString(" AS " + name)
		}
		last = t.tokens[i+n-1].end
		i += n
	}
	b.WriteString(t.text[last:t.tokens[to-1].end])
	return b.String()
}

// selected is the name PostgreSQL gives a column that is the function or word at i alone; empty if that is not what is there.
func (t *translator) selected(i, n, to int, top bool) string {
	if before := t.key(i - 1); i == 0 || before != "SELECT" && (before != "," || !top) {
		return ""
	}
	if after := t.key(i + n); i+n < to && after != "," && after != "FROM" && after != ")" {
		return ""
	}
	name, _ := t.name(i)
	if t.raw(i+1) == "." {
		name, _ = t.name(i + 2)
	}
	if _, ok := functions[name]; !ok && words[name] == nil {
		return ""
	}
	return `"` + name + `"`
}

// at is what stands in place of the n tokens from i on; n is 0 where nothing is replaced.
func (t *translator) at(i, to int) (n int, replacement string) {
	tok := t.tokens[i]
	afterDot := i > 0 && t.raw(i-1) == "."
	switch tok.kind {
	case word, quoted:
		if afterDot {
			return 0, ""
		}
		if n, r := t.qualified(i, to); n > 0 {
			return n, r
		}
		if tok.kind == quoted {
			return 0, ""
		}
		if n, r := t.reader(i); n > 0 {
			return n, r
		}
		return t.word(i, to)
	case text, parameter:
		if kind, n := t.castTo(i + 1); kind != "" {
			return 1 + n, t.named(kind, i)
		}
		if list, ok := t.listLiteral(i); ok {
			return 1, list
		}
	case symbol:
		switch {
		case t.raw(i) == "::":
			return t.cast(i)
		case t.catalog && (t.raw(i) == "~" || t.raw(i) == "!"):
			return t.regexp(i)
		}
	}
	return 0, ""
}

// reader translates the function that reads values of a type, in a statement about the catalogue, where PostgreSQL shows its name: a cast to text,
// and what is selected. Everywhere else it is a number.
func (t *translator) reader(i int) (int, string) {
	name, _ := t.name(i)
	if !t.catalog || name != "typreceive" && name != "typinput" {
		return 0, ""
	}
	if t.is(i+1, "::", "TEXT") {
		return 3, pgcatalog.ProcName(name)
	}
	if (t.is(i-1, "SELECT") || t.is(i-1, ",")) && (t.is(i+1, ",") || t.is(i+1, "FROM")) {
		return 1, pgcatalog.ProcName(name) + " AS " + name
	}
	return 0, ""
}

// qualified translates a name with the schema of the catalogue before it.
func (t *translator) qualified(i, to int) (int, string) {
	n := 0
	if name, _ := t.name(i); name == table.Catalog && t.raw(i+1) == "." {
		n = 2
	}
	schema, _ := t.name(i + n)
	object, ok := t.name(i + n + 2)
	if !ok || schema != pgcatalog.Pg && schema != pgcatalog.Info || t.raw(i+n+1) != "." {
		return 0, ""
	}
	n += 3
	switch {
	case t.raw(i+n) == "(" && !pgcatalog.Has(schema, object):
		if m, r := t.tableCall(object, i, i+n, to); m > 0 {
			return n + m, r
		}
		if m, r := t.call(object, i+n, to); m > 0 {
			return n + m, r
		}
		return n, t.raw(i + n - 1) // a function that the engine has
	case pgcatalog.Has(schema, object):
		t.need(schema, object)
		alias := pgcatalog.Alias(schema, object)
		if alias != object && t.raw(i+n) != "." && !t.hasAlias(i+n) {
			return n, alias + ` AS "` + object + `"`
		}
		if t.raw(i+n) == "." {
			return n, object
		}
		return n, alias
	}
	return n, typeAlias(object, t.raw(i+n-1))
}

// hasAlias reports whether a table that ends before the token i has an alias there.
func (t *translator) hasAlias(i int) bool {
	if _, ok := t.name(i); !ok {
		return false
	}
	return t.tokens[i].kind == quoted || t.is(i, "AS") || !slices.Contains(afterTable, t.key(i))
}

// afterTable is the key words that may follow a table.
var afterTable = []string{"WHERE", "JOIN", "LEFT", "RIGHT", "INNER", "FULL", "CROSS", "NATURAL", "ON", "USING", "ORDER", "GROUP", "LIMIT", "UNION", "HAVING",
	"WINDOW", "OFFSET", "FETCH", "FOR", "INTERSECT", "EXCEPT", "LATERAL", "TABLESAMPLE"}

// need notes a relation that the statement names.
func (t *translator) need(schema, name string) {
	alias := pgcatalog.Alias(schema, name)
	if _, ok := t.needed[alias]; ok {
		return
	}
	if cte, err := t.session.catalog().CTE(schema, name); err == nil {
		t.needed[alias] = cte
	}
}

// catalog is what the catalogue says to the session.
func (s *session) catalog() pgcatalog.Catalog {
	c := pgcatalog.Catalog{Tables: s.server.options.Tables}
	for _, known := range sortedSettings() {
		value, _ := s.settingOf(known.name)
		c.Settings = append(c.Settings, [2]string{known.name, value})
	}
	return c
}

// word translates a word without a schema.
func (t *translator) word(i, to int) (int, string) {
	name, _ := t.name(i)
	if t.raw(i+1) == "(" {
		switch name {
		case "cast":
			return t.castCall(i, to)
		case "operator":
			return t.operator(i)
		}
		if n, r := t.tableCall(name, i, i+1, to); n > 0 {
			return 1 + n, r
		}
		if f, ok := functions[name]; ok && (t.catalog || !f.engine) {
			n, r := t.call(name, i+1, to)
			if n > 0 {
				return 1 + n, r
			}
		}
		return 0, ""
	}
	if t.catalog && name == "collate" {
		n := 2
		for t.raw(i+n) == "." {
			n += 2
		}
		return n, " "
	}
	if t.raw(i+1) == "." {
		if column, _ := t.name(i + 2); t.catalog && column == "tableoid" {
			return 3, "0::BIGINT" // a column that no relation lists; descriptions are found by it, of things there are none of
		}
		return 0, ""
	}
	if pgcatalog.Has(pgcatalog.Pg, name) {
		t.need(pgcatalog.Pg, name)
		t.changed = true
		return 0, ""
	}
	if f := words[name]; f != nil && !t.is(i-1, "AS") {
		return 1, f(t.session)
	}
	return 0, ""
}

// arguments is the tokens of the arguments of a call whose parenthesis opens at i, and how many tokens it has with both parentheses.
func (t *translator) arguments(i, to int) (arguments [][2]int, n int) {
	depth, from := 0, i+1
	for at := i; at < to; at++ {
		switch t.raw(at) {
		case "(", "[":
			depth++
		case ")", "]":
			depth--
		case ",":
			if depth == 1 {
				arguments = append(arguments, [2]int{from, at})
				from = at + 1
			}
		}
		if depth == 0 {
			if at > from || len(arguments) > 0 {
				arguments = append(arguments, [2]int{from, at})
			}
			return arguments, at - i + 1
		}
	}
	return nil, 0
}

// call translates a call whose parenthesis opens at i. n counts from there.
func (t *translator) call(name string, i, to int) (n int, replacement string) {
	f, ok := functions[name]
	if !ok {
		return 0, ""
	}
	if t.depth++; t.depth > maxNested {
		t.depth--
		return 0, ""
	}
	defer func() { t.depth-- }()
	where, n := t.arguments(i, to)
	if n == 0 {
		return 0, ""
	}
	arguments := make([]string, len(where))
	for k, w := range where {
		arguments[k] = t.run(w[0], w[1], false)
	}
	if replacement, ok = f.of(t, arguments); !ok || len(replacement) > t.left {
		return 0, ""
	}
	replacement = t.withParameters(i, i+n, replacement)
	t.left -= len(replacement)
	return n, replacement
}

// withParameters is an expression that also has the parameters that stand between two tokens, so that their number stays what the client
// knows.
func (t *translator) withParameters(from, to int, expression string) string {
	for i := from; i < to; i++ {
		if t.tokens[i].kind == parameter && !strings.Contains(expression, t.raw(i)) {
			expression = "(CASE WHEN " + t.raw(i) + "::VARCHAR IS NULL THEN " + expression + " ELSE " + expression + " END)"
		}
	}
	return expression
}

// tableCall translates a call that stands for a table, at i, with an alias behind it that is also the name of its one column. Its
// parenthesis opens at open, from where n counts.
func (t *translator) tableCall(name string, i, open, to int) (n int, replacement string) {
	if name != "generate_series" && name != "unnest" && name != "string_to_array" || !t.catalog || !t.inFrom(i) {
		return 0, ""
	}
	_, n = t.arguments(open, to)
	if n == 0 {
		return 0, ""
	}
	at := open + n
	if t.is(at, "AS") {
		at++
	}
	alias, ok := t.name(at)
	if !ok || t.tokens[at].kind == word && slices.Contains(afterTable, t.key(at)) || t.raw(at+1) == "(" {
		return 0, ""
	}
	call := name + "(" + t.run(open+1, open+n-1, false) + ")"
	if name == "string_to_array" { // which the engine has for values only
		return at + 1 - open, "(SELECT " + call + ` AS "` + alias + `") AS "` + alias + `"`
	}
	return at + 1 - open, call + ` AS "` + alias + `"("` + alias + `")`
}

// inFrom reports whether the token at i begins a table of a FROM.
func (t *translator) inFrom(i int) bool {
	if before := t.key(i - 1); i == 0 || before != "FROM" && before != "JOIN" && before != "," {
		return false
	}
	depth := 0
	for first := max(0, i-2000); i > first && depth >= 0; {
		i--
		switch k := t.key(i); {
		case k == ")" || k == "]":
			depth++
		case k == "(" || k == "[":
			depth--
		case depth == 0 && (k == "FROM" || k == "JOIN"):
			return true
		case depth == 0 && (k == "SELECT" || k == "WHERE" || k == "BY" || k == "ON" || k == "HAVING"):
			return false
		}
	}
	return false
}

// regTypes are the types whose values are numbers and are written as names.
var regTypes = []string{"regclass", "regtype", "regproc", "regprocedure", "regnamespace", "regrole"}

// castTo is the type of regTypes that a cast at i is to, and of how many tokens it is.
func (t *translator) castTo(i int) (kind string, n int) {
	if t.raw(i) != "::" {
		return "", 0
	}
	kind, n = t.typeAt(i + 1)
	if !slices.Contains(regTypes, kind) {
		return "", 0
	}
	return kind, n + 1
}

// typeAt is the name of the type at i, without the schema of the catalogue.
func (t *translator) typeAt(i int) (name string, n int) {
	name, ok := t.name(i)
	if !ok {
		return "", 0
	}
	if name == pgcatalog.Pg && t.raw(i+1) == "." {
		name, _ = t.name(i + 2)
		return name, 3
	}
	return name, 1
}

// named is the number that the literal or parameter at i stands for as one of regTypes.
func (t *translator) named(kind string, i int) string {
	if t.tokens[i].kind == text {
		if oid, ok := t.tables().NamedOID(kind, t.value(i)); ok {
			return itoa(oid)
		}
		return "NULL::BIGINT"
	}
	switch kind {
	case "regclass":
		return t.tables().ClassOID(t.raw(i))
	case "regtype":
		return pgcatalog.TypeOID(t.raw(i))
	}
	return "NULL::BIGINT"
}

// tables is the catalogue without settings.
func (t *translator) tables() pgcatalog.Catalog {
	return pgcatalog.Catalog{Tables: t.session.server.options.Tables}
}

// cast translates the type of a cast by ::, which is at i. Numbers that would be shown as names are shown as numbers.
func (t *translator) cast(i int) (int, string) {
	name, n := t.typeAt(i + 1)
	if n == 0 {
		return 0, ""
	}
	if alias := typeAlias(name, ""); alias != "" {
		return 1 + n, "::" + alias
	}
	return 0, ""
}

// typeAlias is the type of the engine for one that it does not have; else what is given for the others.
func typeAlias(name, other string) string {
	switch name {
	case "name", "char", "xid", "pg_node_tree", "aclitem", "regclass", "regtype", "regproc", "regprocedure", "regnamespace", "regrole", "cstring", "information_schema.sql_identifier":
		return "VARCHAR"
	case "int2vector", "oidvector":
		return "BIGINT[]"
	case "oid":
		return "BIGINT"
	}
	return other
}

// castCall translates CAST(… AS type) where the type is one of those the engine does not have.
func (t *translator) castCall(i, to int) (int, string) {
	where, n := t.arguments(i+1, to)
	if len(where) != 1 {
		return 0, ""
	}
	from, end := where[0][0], where[0][1]
	as := end - 1
	for as > from && !t.is(as, "AS") {
		as--
	}
	kind, size := t.typeAt(as + 1)
	if as == from || as+1+size != end {
		return 0, ""
	}
	alias := typeAlias(kind, "")
	switch {
	case alias == "" && size == 1:
		return 0, ""
	case alias == "":
		alias = t.raw(end - 1)
	case slices.Contains(regTypes, kind) && as == from+1 && (t.tokens[from].kind == text || t.tokens[from].kind == parameter):
		return n + 1, t.named(kind, from)
	}
	return n + 1, "CAST(" + t.run(from, as, false) + " AS " + alias + ")"
}

// operator translates OPERATOR(pg_catalog.~).
func (t *translator) operator(i int) (int, string) {
	from := i + 2
	if name, _ := t.name(from); name == pgcatalog.Pg && t.raw(from+1) == "." {
		from += 2
	}
	end := from
	for t.raw(end) != ")" {
		if end++; end >= len(t.tokens) {
			return 0, ""
		}
	}
	if n, op, flags := t.matchOperator(from); n == end-from {
		if right, ok := t.pattern(end+1, flags); ok {
			return end + 2 - i, op + " " + right
		}
	}
	var b strings.Builder
	for k := from; k < end; k++ {
		b.WriteString(t.raw(k))
	}
	return end + 1 - i, b.String()
}

// regexp translates an operator of regular expressions at i and its right side. Expressions are found anywhere in a text here, and the
// engine holds them against all of it.
func (t *translator) regexp(i int) (int, string) {
	n, op, flags := t.matchOperator(i)
	if n == 0 {
		return 0, ""
	}
	right, ok := t.pattern(i+n, flags)
	if !ok {
		return 0, ""
	}
	return n + 1, op + " " + right
}

// matchOperator is the operator of regular expressions at i, with the flags of its expression, and how many tokens it has: ~, !~, ~*
// or !~*.
func (t *translator) matchOperator(i int) (n int, op, flags string) {
	follows := func(k int, s string) bool { return t.raw(k) == s && (k == i || t.tokens[k].start == t.tokens[k-1].end) }
	if i > 0 && t.tokens[i-1].end == t.tokens[i].start && strings.ContainsAny(t.raw(i-1), "~!@#%^&|<>=*/+-") {
		return 0, "", "" // part of a longer operator
	}
	op, flags = "~", "s"
	if follows(i, "!") {
		n, op = 1, "!~"
	}
	if !follows(i+n, "~") || follows(i+n+1, "~") { // ~~ is LIKE
		return 0, "", ""
	}
	if n++; follows(i+n, "*") {
		n, flags = n+1, "is"
	}
	return n, op, flags
}

// pattern is the regular expression at i, a literal or a parameter, as the engine has it.
func (t *translator) pattern(i int, flags string) (string, bool) {
	if i >= len(t.tokens) || t.tokens[i].kind != text && t.tokens[i].kind != parameter {
		return "", false
	}
	return "('(?" + flags + ").*(?:' || " + t.raw(i) + " || ').*')", true
}

// listLiteral is a literal such as '{a,b}' as a list, where a list stands in a statement about the catalogue.
func (t *translator) listLiteral(i int) (string, bool) {
	if !t.catalog || t.tokens[i].kind != text {
		return "", false
	}
	inner, opens := strings.CutPrefix(t.value(i), "{")
	inner, closes := strings.CutSuffix(inner, "}")
	if !opens || !closes || strings.ContainsAny(inner, `{}\`) {
		return "", false
	}
	if inner == "" {
		return "[]", true
	}
	items := strings.Split(inner, ",")
	numbers := true
	for _, item := range items {
		numbers = numbers && strings.Trim(item, "0123456789") == "" && item != ""
	}
	if !numbers {
		for k, item := range items {
			items[k] = pgcatalog.Quote(strings.Trim(item, `"`))
		}
	}
	return "[" + strings.Join(items, ", ") + "]", true
}

// ReplaceParameters is a statement with others in place of its parameters $1, $2 …
func ReplaceParameters(sql string, by func(n int) string) string {
	var b strings.Builder
	last := 0
	for _, tok := range lex(sql) {
		if tok.kind != parameter {
			continue
		}
		n, ok := parameterNumber(sql[tok.start:tok.end])
		if !ok {
			continue
		}
		b.WriteString(sql[last:tok.start] + by(n))
		last = tok.end
	}
	return b.String() + sql[last:]
}

// parameterNumber is the number of $1, $2 …
func parameterNumber(s string) (int, bool) {
	digits, ok := strings.CutPrefix(s, "$")
	n, err := strconv.Atoi(digits)
	return n, ok && err == nil && n > 0
}
