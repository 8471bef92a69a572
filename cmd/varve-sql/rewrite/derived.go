package rewrite

import (
	"reflect"
	"slices"
	"strings"
)

// A selection in a FROM that groups, or looks at other rows of a tag, has keys: columns of which a condition around it may as well be one of its
// rows. So that condition narrows what the selection reads. A common table expression is put in its place first, where that changes nothing.

// inline puts common table expressions of a node in the places that name them: one that is named once, and one that only chooses rows and columns
// of one table, of which each place wants others.
func inline(n node) {
	entries := list(child(n, "cte_map"), "map")
	for i := 0; i < len(entries); {
		entry, _ := entries[i].(node)
		places, ok := placesOf(n, entries, i)
		value := child(entry, "value")
		query := child(value, "query")
		if !ok || len(places) == 0 || len(places) > 1 && (text(value, "materialized") == "CTE_MATERIALIZE_ALWAYS" || !copies(child(query, "node"))) {
			i++
			continue
		}
		for _, p := range places {
			substitute(p, query, list(value, "aliases"))
		}
		entries = slices.Delete(entries, i, i+1)
		child(n, "cte_map")["map"] = entries
	}
}

// maxWithin is how many subqueries a common table expression may have that is put in its place: a list of thousands, each of the one before, would nest too deeply.
const maxWithin = 32

// placesOf is the places that name a common table expression of a node; false where what stands there could mean something else, or is read again and again.
func placesOf(n node, entries []any, i int) (places []node, ok bool) {
	entry, _ := entries[i].(node)
	body := child(child(child(entry, "value"), "query"), "node")
	if body == nil || text(body, "type") == "RECURSIVE_CTE_NODE" {
		return nil, false
	}
	within := 0
	name := strings.ToLower(text(entry, "key"))
	taken := map[string]bool{name: true} // names that must mean the same in the places
	visit(body, func(n node) bool {
		switch text(n, "type") {
		case "BASE_TABLE":
			taken[strings.ToLower(text(n, "table_name"))] = true
		case "SUBQUERY":
			within++
		}
		return true
	})
	ok = within < maxWithin
	look := func(x any) {
		visit(x, func(n node) bool {
			switch {
			case text(n, "type") == "RECURSIVE_CTE_NODE":
				ok = false
			case text(n, "type") == "BASE_TABLE" && text(n, "schema_name") == "" && strings.EqualFold(text(n, "table_name"), name):
				ok = ok && n["at_clause"] == nil
				places = append(places, n)
			}
			for _, e := range list(child(n, "cte_map"), "map") {
				e, _ := e.(node)
				ok = ok && !taken[strings.ToLower(text(e, "key"))]
			}
			return ok
		})
	}
	for _, later := range entries[i+1:] {
		later, _ := later.(node)
		ok = ok && !taken[strings.ToLower(text(later, "key"))]
		look(later)
	}
	for k, x := range n {
		if k != "cte_map" {
			look(x)
		}
	}
	return places, ok
}

// copies reports whether a selection may stand in several places: it has the same rows in each, and chooses them from one table.
func copies(body node) bool {
	tables := 0
	ok := passes(body)
	visit(body, func(n node) bool {
		switch {
		case text(n, "type") == "BASE_TABLE":
			tables++
		case text(n, "type") == "JOIN", text(n, "class") == "SUBQUERY", text(n, "class") == "FUNCTION" && volatile[strings.ToLower(text(n, "function_name"))]:
			ok = false
		}
		return ok
	})
	return ok && tables == 1
}

// substitute makes a place that names a common table expression a subquery.
func substitute(place, query node, aliases []any) {
	alias := text(place, "alias")
	if alias == "" {
		alias = text(place, "table_name")
	}
	columns := list(place, "column_name_alias")
	if len(columns) < len(aliases) {
		columns = slices.Concat(columns, aliases[len(columns):])
	}
	sub := node{
		"type": "SUBQUERY", "alias": alias, "sample": place["sample"], "query_location": place["query_location"], "subquery": clone(query), "column_name_alias": columns,
	}
	clear(place)
	for k, x := range sub {
		place[k] = x
	}
}

// keys is the columns of a selection, by name, of which a condition leaves out whole groups of its rows and changes none that it keeps: each as it
// is called within.
func (r *rewriter) keys(n node, visible []string) map[string]node {
	if text(n, "type") != "SELECT_NODE" || n["sample"] != nil || len(list(n, "group_sets")) > 1 || len(list(child(n, "cte_map"), "map")) > 0 {
		return nil
	}
	for _, m := range list(n, "modifiers") {
		m, _ := m.(node)
		if typ := text(m, "type"); typ != "ORDER_MODIFIER" && (typ != "DISTINCT_MODIFIER" || len(list(m, "distinct_on_targets")) > 0) {
			return nil
		}
	}
	from := child(n, "from_table")
	keys, twice := map[string]node{}, map[string]bool{}
	hand := func(name string, x node, key bool) {
		if twice[name] {
			delete(keys, name)
			return
		}
		if twice[name] = true; key {
			keys[name] = x
		}
	}
	for _, x := range list(n, "select_list") {
		x, _ := x.(node)
		switch name := strings.ToLower(text(x, "alias")); {
		case text(x, "class") == "STAR":
			if !isStar(x) || len(list(n, "group_expressions")) > 0 {
				return nil
			}
			for _, name := range r.columnsOf(from, visible) {
				hand(name, column(name), parted(n, []string{name}))
			}
			if text(from, "type") != "BASE_TABLE" && text(from, "type") != "SUBQUERY" {
				return nil // which columns there are is not known
			}
		case names(x) != nil:
			own := names(x)[len(names(x))-1]
			if name == "" {
				name = own
			}
			ref := clone(x).(node)
			ref["alias"] = ""
			hand(name, ref, parted(n, names(x))) // were it no key of groups, the engine would refuse it
		case name != "":
			hand(name, nil, false)
		}
	}
	return keys
}

// columnsOf is the columns of a table of ours, or the keys of a subquery.
func (r *rewriter) columnsOf(from node, visible []string) (out []string) {
	switch {
	case from["sample"] != nil || len(list(from, "column_name_alias")) > 0:
	case text(from, "type") == "BASE_TABLE":
		if t := r.tables[r.ours(from, visible)]; t != nil {
			return t.Columns
		}
	case text(from, "type") == "SUBQUERY":
		for name := range r.keys(child(child(from, "subquery"), "node"), visible) {
			out = append(out, name)
		}
	}
	return out
}

// parted reports whether every window of a selection is of rows that are equal in a column.
func parted(n node, column []string) bool {
	single := text(child(n, "from_table"), "type") != "JOIN"
	ok := true
	for _, k := range []string{"select_list", "qualify", "modifiers"} {
		visit(n[k], func(x node) bool {
			if text(x, "class") == "WINDOW" {
				ok = ok && slices.ContainsFunc(list(x, "partitions"), func(p any) bool {
					of, _ := p.(node)
					parts := names(of)
					return slices.Equal(parts, column) || single && len(parts) > 0 && parts[len(parts)-1] == column[len(column)-1]
				})
			}
			return ok
		})
	}
	return ok
}

// descend lets a condition on keys of a subquery narrow what that reads.
func (s *scope) descend(c node) {
	var of *relation
	ok := true
	visit(c, func(n node) bool {
		switch text(n, "class") {
		case "COLUMN_REF":
			r := s.keyed(n)
			ok = ok && r != nil && (of == nil || of == r)
			of = r
		case "FUNCTION":
			ok = ok && !volatile[strings.ToLower(text(n, "function_name"))]
		case "SUBQUERY", "WINDOW", "STAR", "LAMBDA":
			ok = false
		}
		return ok
	})
	if !ok || of == nil || !of.whole || of.outer {
		return
	}
	inner := within(c, of.keys)
	around := s.around[identity(of.inner)]
	if !slices.ContainsFunc(around, func(x node) bool { return reflect.DeepEqual(x, inner) }) {
		s.around[identity(of.inner)] = append(around, inner)
	}
}

// keyed is the subquery that a reference is a key of, nil where that is not certain.
func (s *scope) keyed(n node) *relation {
	parts := names(n)
	for _, r := range s.relations {
		key := r.keys[parts[len(parts)-1]]
		if key != nil && (len(parts) == 2 && r.alias == parts[0] || len(parts) == 1 && len(s.relations) == 1 && !s.shadowed[parts[0]]) {
			return r
		}
	}
	return nil
}

// within is a condition in the words of a subquery.
func within(c node, keys map[string]node) node {
	if parts := names(c); parts != nil {
		return clone(keys[parts[len(parts)-1]]).(node)
	}
	out := clone(c).(node)
	for k, x := range out {
		out[k] = replaced(x, keys)
	}
	return out
}

func replaced(x any, keys map[string]node) any {
	switch x := x.(type) {
	case node:
		return within(x, keys)
	case []any:
		for i := range x {
			x[i] = replaced(x[i], keys)
		}
	}
	return x
}
