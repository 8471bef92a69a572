package rewrite

import (
	"reflect"
	"slices"
	"strings"

	"github.com/varvedb/varve/server/hint"
)

// relation is what one place of a FROM offers to the conditions around it.
type relation struct {
	alias string
	scan  *Scan // nil of what is no table
	table node  // as it was, to select from it elsewhere
	plain bool  // its columns are those of the table, and its rows all of them
	whole bool  // every row that conditions want is wanted whatever other rows there are
	outer bool  // its columns may be null where it has no row

	columns map[string]int // of a subquery, by name: the columns of its table that it hands on; nil of a table
	inner   node           // of a subquery that does more, its selection; and of its columns the keys
	keys    map[string]node
}

// column is the place of a column in the table of a relation, -1 where it has none of the name that is one of the table.
func (r *relation) column(name string) int {
	if r.columns == nil {
		return r.scan.Table.column(name)
	}
	if at, ok := r.columns[name]; ok {
		return at
	}
	return -1
}

// selection replaces the tables of a FROM and lets the conditions of the selection narrow them.
func (r *rewriter) selection(n node, visible []string) *scope {
	from := child(n, "from_table")
	if from == nil {
		return nil
	}
	s := &scope{rewriter: r, visible: visible, shadowed: map[string]bool{}}
	for _, x := range list(n, "select_list") {
		x, _ := x.(node)
		alias := strings.ToLower(text(x, "alias"))
		if parts := names(x); alias != "" && (len(parts) == 0 || parts[len(parts)-1] != alias) { // one that is a column of its name means that
			s.shadowed[alias] = true
		}
	}
	s.from(from, visible, true, false)
	if r.err == nil {
		all := slices.Concat(conjuncts(child(n, "where_clause")), r.around[identity(n)], s.on)
		kept := map[*Scan]int{}
		for _, r := range s.relations {
			if r.scan != nil && r.scan.Table.Name == Partials {
				kept[r.scan] = len(r.scan.Bounds)
			}
		}
		left := s.narrow(all)
		for scan, n := range kept { // whose bounds of time and severity are those of its selection alone
			scan.Bounds = append(scan.Bounds[:n:n], ofTags(scan.Bounds[n:])...)
		}
		for _, c := range all {
			s.descend(c)
		}
		if len(s.relations) == 1 && s.relations[0].table != nil && s.relations[0].scan != nil {
			s.relations[0].scan.Whole = len(left) == 0
			s.relations[0].scan.Few = s.few(n, left)
		}
		s.atEnds(all)
		s.ranks(n)
	}
	return s
}

// scope is the FROM of one selection.
type scope struct {
	*rewriter
	visible   []string // names of common table expressions
	relations []*relation
	links     []link
	on        []node          // conditions of inner joins
	shadowed  map[string]bool // names of results, which a condition may mean
}

// link says that rows of the right side of a join are looked for that have the tag of a row of the left: by a condition, or by USING.
type link struct {
	condition node
	right     []*relation
	using     [2]*relation // left and right; nil with a condition
}

// from collects the relations below a node. whole and outer as of relation.
func (s *scope) from(n node, visible []string, whole, outer bool) {
	if scan := s.placed[identity(n)]; scan != nil {
		s.relations = append(s.relations, &relation{alias: text(n, "alias"), scan: scan, plain: true, whole: whole, outer: outer})
		return
	}
	switch text(n, "type") {
	case "BASE_TABLE":
		rel := &relation{alias: strings.ToLower(text(n, "alias")), table: clone(n).(node), outer: outer}
		if rel.alias == "" {
			rel.alias = strings.ToLower(text(n, "table_name"))
		}
		rel.plain = n["sample"] == nil && len(list(n, "column_name_alias")) == 0
		rel.whole = whole && rel.plain
		rel.scan = s.table(n, visible)
		s.relations = append(s.relations, rel)
	case "JOIN":
		s.join(n, visible, whole, outer)
	case "SUBQUERY":
		s.relations = append(s.relations, s.subquery(n, visible, whole, outer))
	default:
		s.relations = append(s.relations, &relation{alias: strings.ToLower(text(n, "alias"))})
	}
}

func (s *scope) join(n node, visible []string, whole, outer bool) {
	kind, ref := text(n, "join_type"), text(n, "ref_type")
	plain := ref == "REGULAR" || ref == "CROSS" || ref == "" || ref == "NATURAL"
	if ref == "POSITIONAL" {
		whole = false
	}
	left, right := child(n, "left"), child(n, "right")
	before := len(s.relations)
	s.from(left, visible, whole, outer || kind == "RIGHT" || kind == "OUTER" || kind == "FULL")
	middle := len(s.relations)
	s.from(right, visible, whole && plain && kind != "ANTI" && kind != "SEMI" && kind != "MARK", outer || kind == "LEFT" || kind == "OUTER" || kind == "FULL")
	condition := conjuncts(child(n, "condition"))
	var using []link
	for _, c := range list(n, "using_columns") {
		name, _ := c.(string)
		if middle-before == 1 && len(s.relations)-middle == 1 && (strings.EqualFold(name, "tag_id") || strings.EqualFold(name, "tag")) {
			using = append(using, link{using: [2]*relation{s.relations[before], s.relations[middle]}, right: s.relations[middle:]})
		}
	}
	switch {
	case ref == "ASOF" && (kind == "INNER" || kind == "LEFT"):
		// Of each tag by itself: which row is the nearest does not depend on others.
		s.links = append(s.links, using...)
		for _, c := range condition {
			s.links = append(s.links, link{condition: c, right: s.relations[middle:]})
		}
	case !plain:
	case kind == "INNER":
		if middle-before == 1 && len(s.relations)-middle == 1 {
			s.atEndsUsing(s.relations[before], s.relations[middle], list(n, "using_columns"))
		}
		s.on = append(s.on, condition...)
		s.links = append(s.links, using...)
		for _, u := range using {
			s.links = append(s.links, link{using: [2]*relation{u.using[1], u.using[0]}, right: s.relations[before:middle]})
		}
	case kind == "LEFT":
		s.links = append(s.links, using...)
		// What ON says of the right side alone its rows must meet to be of use.
		side := *s
		side.relations, side.on, side.links = s.relations[middle:], nil, nil
		for _, c := range condition {
			s.links = append(s.links, link{condition: c, right: side.relations})
		}
		qualified := slices.DeleteFunc(slices.Clone(condition), func(c node) bool { return !onlyOf(c, side.relations) })
		side.narrow(qualified)
	}
}

// onlyOf reports whether every column of a condition is qualified with the name of one of the relations.
func onlyOf(c node, relations []*relation) bool {
	ok := true
	visit(c, func(n node) bool {
		if parts := names(n); parts != nil {
			ok = ok && len(parts) == 2 && slices.ContainsFunc(relations, func(r *relation) bool { return r.alias == parts[0] })
		}
		if text(n, "class") == "SUBQUERY" {
			ok = false
		}
		return ok
	})
	return ok
}

// find is the relation and column that a reference means, nil where that is not certain.
func (s *scope) find(n node) (*relation, int) {
	parts := names(n)
	switch len(parts) {
	case 1:
		if s.shadowed[parts[0]] {
			return nil, 0
		}
		// Had two relations the column, the statement would be refused as ambiguous, but for those joined by it.
		var found *relation
		for _, r := range s.relations {
			if r.scan != nil && r.column(parts[0]) >= 0 {
				if found != nil {
					return nil, 0
				}
				found = r
			}
		}
		if found != nil {
			return found, found.column(parts[0])
		}
	case 2:
		for _, r := range s.relations {
			if r.scan != nil && r.alias == parts[0] {
				if c := r.column(parts[1]); c >= 0 {
					return r, c
				}
				return nil, 0
			}
		}
	}
	return nil, 0
}

// narrow lets conditions that all hold narrow the scans, and returns those that narrowed none by themselves.
func (s *scope) narrow(all []node) (left []node) {
	var rest []node
	for _, c := range all {
		if !s.bound(c) {
			rest = append(rest, c)
		}
	}
	for _, c := range rest {
		if !s.member(c) && !s.predicate(c) {
			left = append(left, c)
		}
	}
	for _, c := range all {
		s.joined(c, all)
	}
	for _, l := range s.links {
		s.linked(l, all)
	}
	return left
}

var comparisons = map[string][2]hint.Op{ // and what it is with its sides exchanged
	"COMPARE_EQUAL":                {hint.Equal, hint.Equal},
	"COMPARE_LESSTHAN":             {hint.Less, hint.Greater},
	"COMPARE_LESSTHANOREQUALTO":    {hint.LessOrEqual, hint.GreaterOrEqual},
	"COMPARE_GREATERTHAN":          {hint.Greater, hint.Less},
	"COMPARE_GREATERTHANOREQUALTO": {hint.GreaterOrEqual, hint.LessOrEqual},
}

// bound takes a comparison of a column with what needs none.
func (s *scope) bound(c node) bool {
	if text(c, "class") == "BETWEEN" && text(c, "type") == "COMPARE_BETWEEN" {
		low := s.add(c["input"], hint.GreaterOrEqual, c["lower"])
		return s.add(c["input"], hint.LessOrEqual, c["upper"]) && low
	}
	if text(c, "type") == "COMPARE_IN" {
		children := list(c, "children")
		return len(children) > 1 && s.add(children[0], hint.Equal, children[1:]...)
	}
	if ops, ok := comparisons[text(c, "type")]; ok && text(c, "class") == "COMPARISON" {
		return s.add(c["left"], ops[0], c["right"]) || s.add(c["right"], ops[1], c["left"])
	}
	return false
}

func (s *scope) add(of any, op hint.Op, values ...any) bool {
	n, _ := of.(node)
	r, at := s.find(n)
	if r == nil || !r.whole || r.scan.Table.Roles[at] == hint.NoRole {
		return false
	}
	b := Bound{Bound: hint.Bound{Role: r.scan.Table.Roles[at], Op: op, Literal: true}, Fixed: true}
	for _, v := range values {
		v, _ := v.(node)
		if v == nil || !needsNoColumn(v) {
			return false
		}
		b.Literal = b.Literal && (text(v, "class") == "CONSTANT" || text(v, "class") == "PARAMETER")
		visit(v, func(n node) bool {
			b.Fixed = b.Fixed && text(n, "class") != "PARAMETER" && text(n, "class") != "FUNCTION"
			return b.Fixed
		})
		b.Values = append(b.Values, clone(v).(node))
	}
	r.scan.Bounds = append(r.scan.Bounds, b)
	return true
}

// steady is the functions that a value may be made by: they have the same result whenever the statement asks.
var steady = map[string]bool{
	"+": true, "-": true, "*": true, "/": true, "//": true, "%": true, "now": true, "get_current_timestamp": true, "current_date": true, "today": true, "transaction_timestamp": true,
	"get_current_time": true, "current_localtimestamp": true, "to_days": true, "to_hours": true, "to_minutes": true, "to_seconds": true, "to_milliseconds": true, "to_microseconds": true,
	"to_months": true, "to_years": true, "to_weeks": true, "to_quarters": true, "trunc": true, "date_trunc": true, "datetrunc": true, "date_add": true, "date_sub": true, "to_timestamp": true,
	"make_timestamptz": true, "make_timestamp": true, "make_date": true, "timezone": true, "time_bucket": true, "epoch_ms": true, "epoch_us": true, "epoch_ns": true, "last_day": true,
	"lower": true, "upper": true, "concat": true, "||": true, "strptime": true, "coalesce": true,
}

// needsNoColumn reports whether an expression has one value for the whole statement.
func needsNoColumn(n node) bool {
	ok := true
	visit(n, func(n node) bool {
		switch text(n, "class") {
		case "COLUMN_REF":
			// Words such as current_timestamp are read as columns.
			ok = false
		case "FUNCTION":
			ok = ok && steady[strings.ToLower(text(n, "function_name"))]
		case "", "CONSTANT", "PARAMETER", "CAST", "OPERATOR":
		default:
			ok = false
		}
		return ok
	})
	return ok
}

// member takes a condition that the tag is one of those a statement selects.
func (s *scope) member(c node) bool {
	if text(c, "class") != "SUBQUERY" || text(c, "subquery_type") != "ANY" || text(c, "comparison_type") != "COMPARE_EQUAL" {
		return false
	}
	r, at := s.find(child(c, "child"))
	if r == nil || !r.whole {
		return false
	}
	role, inner := r.scan.Table.Roles[at], child(child(c, "subquery"), "node")
	if role != hint.Tag && role != hint.TagID || inner == nil || !s.small(inner) && !listed(inner) {
		return false
	}
	r.scan.Sets = append(r.scan.Sets, Set{Tree: s.beside(clone(inner)), Names: role == hint.Tag})
	return true
}

// small reports whether a tree is of small tables only.
func (s *scope) small(x any) bool {
	ok, some := true, false
	visit(x, func(n node) bool {
		switch text(n, "type") {
		case "BASE_TABLE":
			name := strings.ToLower(text(n, "table_name"))
			t := s.tables[name]
			ok, some = ok && t != nil && t.Small && !slices.Contains(s.visible, name), true
		case "TABLE_FUNCTION", "RECURSIVE_CTE_NODE":
			ok = false
		}
		if len(list(child(n, "cte_map"), "map")) > 0 {
			ok = false
		}
		if text(n, "class") == "FUNCTION" && strings.ToLower(text(n, "function_name")) == "random" {
			ok = false
		}
		return ok
	})
	return ok && some
}

// listed reports whether a tree is of no table, as that of a list is which is taken apart: tag = ANY($1).
func listed(x any) bool {
	ok := true
	visit(x, func(n node) bool {
		switch text(n, "type") {
		case "BASE_TABLE", "TABLE_FUNCTION", "RECURSIVE_CTE_NODE":
			ok = false
		}
		switch text(n, "class") {
		case "COLUMN_REF", "SUBQUERY", "STAR", "LAMBDA":
			ok = false
		case "FUNCTION":
			ok = ok && !volatile[strings.ToLower(text(n, "function_name"))]
		}
		return ok
	})
	return ok
}

// beside makes a tree a statement of its own, with scans of the same numbering.
func (r *rewriter) beside(x any) []byte {
	r.walk(x, nil)
	return encode(x, nil)
}

// predicate takes any condition on the tag alone.
func (s *scope) predicate(c node) bool {
	var only *relation
	ok := true
	visit(c, func(n node) bool {
		switch text(n, "class") {
		case "COLUMN_REF":
			r, at := s.find(n)
			ok = ok && r != nil && (only == nil || only == r) && (r.scan.Table.Roles[at] == hint.Tag || r.scan.Table.Roles[at] == hint.TagID)
			only = r
		case "FUNCTION":
			name := strings.ToLower(text(n, "function_name"))
			ok = ok && !volatile[name]
		case "SUBQUERY", "WINDOW", "STAR", "LAMBDA":
			ok = false
		}
		return ok
	})
	if !ok || only == nil || !only.whole || only.outer || only.scan.Table.Small {
		return false
	}
	where := clone(c).(node)
	visit(where, func(n node) bool {
		if parts := names(n); parts != nil {
			name := "name"
			if parts[len(parts)-1] == "tag_id" {
				name = "tag_id"
			}
			n["column_names"] = []any{name}
		}
		return true
	})
	from := tableNode("tags")
	only.scan.Sets = append(only.scan.Sets, Set{Tree: s.beside(selectNode([]any{column("tag_id")}, from, where))})
	return true
}

var volatile = map[string]bool{"random": true, "uuid": true, "gen_random_uuid": true, "uuidv4": true, "uuidv7": true, "setseed": true, "error": true}

// sameTag is the two relations that a condition holds to the same tag, nil for none.
func (s *scope) sameTag(c node) (l, r *relation) {
	if text(c, "class") != "COMPARISON" || text(c, "type") != "COMPARE_EQUAL" {
		return nil, nil
	}
	l, lc := s.find(child(c, "left"))
	r, rc := s.find(child(c, "right"))
	if l == nil || r == nil || l == r {
		return nil, nil
	}
	if lr, rr := l.scan.Table.Roles[lc], r.scan.Table.Roles[rc]; lr != rr || lr != hint.TagID && lr != hint.Tag {
		return nil, nil
	}
	return l, r
}

// joined takes a condition that two relations are of the same tag.
func (s *scope) joined(c node, all []node) {
	if l, r := s.sameTag(c); l != nil {
		s.follow(l, r, all)
		s.follow(r, l, all)
	}
}

// linked takes such a condition of a join of which only rows of the right side need it.
func (s *scope) linked(k link, all []node) {
	l, r := k.using[0], k.using[1]
	if l == nil {
		if l, r = s.sameTag(k.condition); l == nil {
			return
		}
	}
	if slices.Contains(k.right, l) {
		l, r = r, l
	}
	if slices.Contains(k.right, r) && !slices.Contains(k.right, l) {
		s.follow(r, l, all)
	}
}

// follow narrows a scan to the tags of another one, as far as those are narrowed, and those of a small table as far as conditions are of that
// table alone.
func (s *scope) follow(r, of *relation, all []node) {
	if r.scan == nil || of.scan == nil || !r.plain || r.scan.Table.Small || of.scan == r.scan {
		return
	}
	for _, b := range of.scan.Bounds {
		if b.Op == hint.Equal && (b.Role == hint.Tag || b.Role == hint.TagID) && !slices.ContainsFunc(r.scan.Bounds, b.same) {
			r.scan.Bounds = append(r.scan.Bounds, b)
		}
	}
	for _, x := range of.scan.Sets {
		if !slices.ContainsFunc(r.scan.Sets, func(y Set) bool { return string(y.Tree) == string(x.Tree) }) {
			r.scan.Sets = append(r.scan.Sets, x)
		}
	}
	if of.scan.Table.Small && of.columns == nil && of.scan.Table.column("tag_id") >= 0 && of.whole && !of.outer {
		s.related(r, of, all)
	}
}

// same reports whether two bounds are one.
func (b Bound) same(x Bound) bool {
	return b.Role == x.Role && b.Op == x.Op && len(b.Values) == len(x.Values) && (len(b.Values) == 0 || reflect.DeepEqual(b.Values, x.Values))
}

// related narrows a scan to the tags of a small table that meet what conditions say of that alone.
func (s *scope) related(w, n *relation, all []node) {
	var where []any
	for _, c := range all {
		own, some := true, false
		visit(c, func(x node) bool {
			switch text(x, "class") {
			case "COLUMN_REF":
				r, _ := s.find(x)
				own, some = own && r == n, true
			case "FUNCTION":
				own = own && !volatile[strings.ToLower(text(x, "function_name"))]
			case "SUBQUERY", "WINDOW", "STAR", "LAMBDA":
				own = false
			}
			return own
		})
		if own && some {
			where = append(where, clone(c))
		}
	}
	if len(where) == 0 {
		return
	}
	from := clone(n.table).(node)
	from["alias"] = n.alias
	w.scan.Sets = append(w.scan.Sets, Set{Tree: s.beside(selectNode([]any{column(n.alias, "tag_id")}, from, and(where)))})
}

// subquery is the relation that a subquery is: its table, where all it does is to choose rows and columns of one.
func (s *scope) subquery(n node, visible []string, whole, outer bool) *relation {
	rel := &relation{alias: strings.ToLower(text(n, "alias")), outer: outer}
	if n["sample"] != nil || len(list(n, "column_name_alias")) > 0 {
		return rel
	}
	inner := child(child(n, "subquery"), "node")
	rel.whole = whole
	if h := s.handedOn(inner, visible); h != nil {
		rel.scan, rel.columns, rel.plain = h.scan, h.columns, true
	} else {
		rel.inner, rel.keys = inner, s.keys(inner, visible)
	}
	return rel
}

// handed is what a selection hands on that does nothing but choose rows and columns of one table.
type handed struct {
	scan    *Scan
	columns map[string]int // as of relation
}

// identity tells a node from others that are alike, as long as there is a reference to it.
func identity(n node) uintptr { return reflect.ValueOf(n).Pointer() }

// handedOn is what a selection hands on, nil where it does more than choose rows and columns of one table.
func (r *rewriter) handedOn(inner node, visible []string) *handed {
	if !passes(inner) {
		return nil
	}
	sub := r.selection(inner, visible)
	if sub == nil || r.err != nil || len(sub.relations) != 1 || sub.relations[0].scan == nil || !sub.relations[0].plain {
		return nil
	}
	of := sub.relations[0]
	rel := &handed{scan: of.scan, columns: map[string]int{}}
	twice := map[string]bool{}
	hand := func(name string, at int) {
		if _, ok := rel.columns[name]; ok || twice[name] {
			twice[name] = true
			delete(rel.columns, name)
			return
		}
		if rel.columns[name] = at; at < 0 {
			delete(rel.columns, name)
			twice[name] = true
		}
	}
	for _, x := range list(inner, "select_list") {
		x, _ := x.(node)
		if text(x, "class") == "STAR" {
			for at, name := range of.scan.Table.Columns {
				if of.columns == nil || of.column(name) == at {
					hand(name, at)
				}
			}
			continue
		}
		at, name := -1, strings.ToLower(text(x, "alias"))
		if parts := names(x); parts != nil {
			at = of.column(parts[len(parts)-1])
			if name == "" {
				name = parts[len(parts)-1]
			}
		}
		if name != "" {
			hand(name, at)
		}
	}
	return rel
}

// passes reports whether a selection has the rows of its FROM, but for those that its WHERE leaves out, each by itself.
func passes(n node) bool {
	if text(n, "type") != "SELECT_NODE" || text(n, "aggregate_handling") != "STANDARD_HANDLING" || n["having"] != nil || n["qualify"] != nil || n["sample"] != nil ||
		len(list(n, "modifiers"))+len(list(n, "group_expressions"))+len(list(n, "group_sets"))+len(list(child(n, "cte_map"), "map")) > 0 {
		return false
	}
	for _, x := range list(n, "select_list") {
		ok := true
		visit(x, func(x node) bool {
			switch text(x, "class") {
			case "", "COLUMN_REF", "CONSTANT", "CAST", "COMPARISON", "CONJUNCTION", "CASE", "BETWEEN", "PARAMETER":
			case "OPERATOR":
				ok = ok && text(x, "type") != "UNNEST"
			case "STAR":
				ok = ok && isStar(x) && text(x, "relation_name") == ""
			case "FUNCTION":
				is, _ := x["is_operator"].(bool)
				ok = ok && (is || steady[strings.ToLower(text(x, "function_name"))])
			default:
				ok = false
			}
			return ok
		})
		if !ok {
			return false
		}
	}
	return true
}

// Values is the statement that reads the values of the bounds of a scan, nil where it has none: for each value in turn one column with it,
// cast to what the column of the bound has, and one with the name of the type it had.
func (s *Scan) Values() []byte {
	var selected []any
	for _, b := range s.Bounds {
		typ := "BIGINT"
		switch b.Role {
		case hint.Tag, hint.Severity:
			typ = "VARCHAR"
		case hint.Time:
			typ = "TIMESTAMP WITH TIME ZONE"
		}
		for _, v := range b.Values {
			selected = append(selected, cast(clone(v), typ), call("typeof", clone(v)))
		}
	}
	if selected == nil {
		return nil
	}
	return encode(selectNode(selected, emptyNode(), nil), nil)
}

// Given is the statement that reads the arguments of a scan, each as JSON, nil where it has none.
func (s *Scan) Given() []byte {
	if len(s.Arguments) == 0 {
		return nil
	}
	var selected []any
	for _, a := range s.Arguments {
		v := clone(a.Value)
		if typ := s.Table.Arguments[a.Name]; typ != "" {
			v = cast(v, typ)
		}
		selected = append(selected, cast(call("to_json", v), "VARCHAR"))
	}
	return encode(selectNode(selected, emptyNode(), nil), nil)
}
