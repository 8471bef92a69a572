package rewrite

import (
	"encoding/json"
	"slices"
	"strings"
)

// A row of samples whose time is the greatest, or least, of its tag is one of the first of the tag from that end on. So a selection that wants
// no others can use few, whatever else it does:
//
//	FROM samples s JOIN (SELECT tag, max(time) AS t FROM samples GROUP BY tag) m ON s.tag = m.tag AND s.time = m.t
//	WHERE (tag, time) IN (SELECT tag, max(time) FROM samples GROUP BY tag)
//	WHERE time = (SELECT max(time) FROM samples x WHERE x.tag = s.tag)
//	WHERE time = (SELECT max(time) FROM samples)
//
// The greatest has to be of all samples of a tag: of those before an instant, or with a value, the newest row might be none.

// ends is a selection of the greatest or least times of samples.
type ends struct {
	table, alias string
	where        []node
	grouped      bool // by tag
	newest       bool
	columns      []string          // of each result the column of samples that it is, or is the end of; empty of others
	named        map[string]string // the same by the name of the result
}

// endsOf is what a selection of ends is, nil of another.
func (s *scope) endsOf(n node) *ends {
	if text(n, "type") != "SELECT_NODE" || n["having"] != nil || n["qualify"] != nil || n["sample"] != nil ||
		len(list(n, "modifiers"))+len(list(child(n, "cte_map"), "map")) > 0 || len(list(n, "group_sets")) > 1 {
		return nil
	}
	from := child(n, "from_table")
	e := &ends{table: s.ours(from, s.visible), alias: strings.ToLower(text(from, "alias")), where: conjuncts(child(n, "where_clause")), named: map[string]string{}}
	if text(from, "type") != "BASE_TABLE" || e.table != "samples" && e.table != "good_samples" || from["at_clause"] != nil || from["sample"] != nil || len(list(from, "column_name_alias")) > 0 {
		return nil
	}
	if e.alias == "" {
		e.alias = e.table
	}
	selected := list(n, "select_list")
	for _, g := range list(n, "group_expressions") {
		if at := ordinal(g); at > 0 && at <= len(selected) {
			g = selected[at-1]
		}
		if !e.isOf(g, "tag", "tag_id") {
			return nil
		}
		e.grouped = true
	}
	found, others := 0, 0
	for _, x := range selected {
		x, _ := x.(node)
		of, name := "", strings.ToLower(text(x, "alias"))
		given := list(x, "children")
		switch function := strings.ToLower(text(x, "function_name")); {
		case e.isOf(x, "tag", "tag_id"):
			of = last(x)
			if name == "" {
				name = of
			}
		case text(x, "class") == "FUNCTION" && (function == "max" || function == "min") && plainCall(x) && len(given) == 1 && e.isOf(given[0], "time", "time_ns"):
			of = last(given[0].(node))
			e.newest = function == "max"
			found++
		default:
			others++
		}
		e.columns = append(e.columns, of)
		if _, twice := e.named[name]; twice {
			of = ""
		}
		e.named[name] = of
	}
	if text(n, "aggregate_handling") == "FORCE_AGGREGATES" { // GROUP BY ALL
		e.grouped = len(selected) > found
		found += others // by which it might group as well
	}
	if found != 1 {
		return nil
	}
	return e
}

// ordinal is the place of a result that a GROUP BY names by its number, 0 of what is none.
func ordinal(x any) int {
	n, _ := x.(node)
	value := child(n, "value")
	if text(n, "class") != "CONSTANT" || text(child(value, "type"), "id") != "INTEGER" {
		return 0
	}
	said, _ := value["value"].(json.Number)
	at, _ := said.Int64()
	return int(at)
}

// last is the name of the column that a reference names.
func last(n node) string {
	parts := names(n)
	return parts[len(parts)-1]
}

// isOf reports whether an expression is one of some columns of the table.
func (e *ends) isOf(x any, columns ...string) bool {
	n, _ := x.(node)
	parts := names(n)
	return (len(parts) == 1 || len(parts) == 2 && parts[0] == e.alias) && slices.Contains(columns, parts[len(parts)-1])
}

// wholeTags reports whether the ends are of all samples of the tags they are of.
func (e *ends) wholeTags() bool {
	for _, c := range e.where {
		ok := true
		visit(c, func(n node) bool {
			switch text(n, "class") {
			case "COLUMN_REF":
				ok = ok && e.isOf(n, "tag", "tag_id")
			case "FUNCTION":
				ok = ok && !volatile[strings.ToLower(text(n, "function_name"))]
			case "SUBQUERY", "WINDOW", "STAR", "LAMBDA":
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

// atEnds looks for conditions that only the first rows of a tag meet.
func (s *scope) atEnds(all []node) {
	for _, c := range all {
		switch {
		case text(c, "class") == "SUBQUERY" && text(c, "subquery_type") == "ANY" && text(c, "comparison_type") == "COMPARE_EQUAL":
			s.pairIn(c)
		case text(c, "class") == "COMPARISON" && text(c, "type") == "COMPARE_EQUAL":
			for _, sides := range [2][2]node{{child(c, "left"), child(c, "right")}, {child(c, "right"), child(c, "left")}} {
				if text(sides[1], "class") == "SUBQUERY" {
					s.timeIs(sides[0], sides[1])
				} else {
					s.timeJoined(sides[0], sides[1], all)
				}
			}
		}
	}
}

// atEndsUsing takes JOIN (SELECT tag, max(time) AS time … GROUP BY tag) USING (tag, time).
func (s *scope) atEndsUsing(left, right *relation, columns []any) {
	for _, sides := range [2][2]*relation{{left, right}, {right, left}} {
		r, m := sides[0], sides[1]
		if r.scan == nil || m.inner == nil {
			continue
		}
		e := s.endsOf(m.inner)
		if e == nil || !e.grouped || !e.wholeTags() {
			continue
		}
		tag, time := false, false
		for _, c := range columns {
			c, _ := c.(string)
			at := r.column(strings.ToLower(c))
			if at < 0 {
				continue
			}
			if of := r.scan.Table.Columns[at]; e.named[strings.ToLower(c)] == of {
				tag, time = tag || of == "tag" || of == "tag_id", time || of == "time" || of == "time_ns"
			}
		}
		if tag && time {
			s.fewest(r, e)
		}
	}
}

// fewest notes that of a relation the first rows of each tag are enough.
func (s *scope) fewest(r *relation, e *ends) {
	if name := r.scan.Table.Name; name != e.table && e.table != "samples" || name != "samples" && name != "good_samples" || !r.whole || r.outer || len(r.scan.Arguments) > 0 {
		return
	}
	if r.scan.Few.Rows == 0 {
		r.scan.Few = Few{Rows: 1, Newest: e.newest}
	}
}

// columnOf is the relation of a reference and the name its column has in the table.
func (s *scope) columnOf(x any) (*relation, string) {
	n, _ := x.(node)
	if names(n) == nil {
		return nil, ""
	}
	r, at := s.find(n)
	if r == nil {
		return nil, ""
	}
	return r, r.scan.Table.Columns[at]
}

// pairIn takes (tag, time) IN (SELECT tag, max(time) … GROUP BY tag).
func (s *scope) pairIn(c node) {
	pair, e := child(c, "child"), s.endsOf(child(child(c, "subquery"), "node"))
	if e == nil || !e.grouped || !e.wholeTags() || len(e.columns) != 2 || text(pair, "class") != "FUNCTION" || text(pair, "function_name") != "row" {
		return
	}
	parts := list(pair, "children")
	if len(parts) != 2 {
		return
	}
	a, first := s.columnOf(parts[0])
	b, second := s.columnOf(parts[1])
	if a != nil && a == b && first == e.columns[0] && second == e.columns[1] {
		s.fewest(a, e)
	}
}

// timeIs takes time = (SELECT max(time) FROM samples x WHERE x.tag = s.tag), and the same without a condition.
func (s *scope) timeIs(side, sub node) {
	r, name := s.columnOf(side)
	if r == nil || text(sub, "subquery_type") != "SCALAR" {
		return
	}
	e := s.endsOf(child(child(sub, "subquery"), "node"))
	if e == nil || e.grouped || len(e.columns) != 1 || e.columns[0] != name || len(e.where) > 1 {
		return
	}
	for _, c := range e.where { // what it holds the tag to
		if text(c, "class") != "COMPARISON" || text(c, "type") != "COMPARE_EQUAL" {
			return
		}
		own, other := child(c, "left"), child(c, "right")
		if !e.isOf(own, "tag", "tag_id") || len(names(other)) == 2 && names(other)[0] == e.alias {
			own, other = other, own
		}
		parts := names(other)
		of, tag := s.columnOf(other)
		if !e.isOf(own, "tag", "tag_id") || len(parts) != 2 || parts[0] == e.alias || of != r || tag != last(own) {
			return
		}
	}
	s.fewest(r, e)
}

// timeJoined takes s.time = m.t, where m is SELECT tag, max(time) AS t … GROUP BY tag and s.tag = m.tag holds as well.
func (s *scope) timeJoined(side, other node, all []node) {
	r, name := s.columnOf(side)
	parts := names(other)
	if r == nil || name != "time" && name != "time_ns" || len(parts) != 2 {
		return
	}
	m := s.selectionNamed(parts[0])
	if m == nil {
		return
	}
	e := s.endsOf(m.inner)
	if e == nil || !e.grouped || !e.wholeTags() || e.named[parts[1]] != name {
		return
	}
	for _, c := range all {
		if text(c, "class") != "COMPARISON" || text(c, "type") != "COMPARE_EQUAL" {
			continue
		}
		for _, sides := range [2][2]node{{child(c, "left"), child(c, "right")}, {child(c, "right"), child(c, "left")}} {
			of, tag := s.columnOf(sides[0])
			theirs := names(sides[1])
			if of == r && (tag == "tag" || tag == "tag_id") && len(theirs) == 2 && theirs[0] == parts[0] && e.named[theirs[1]] == tag {
				s.fewest(r, e)
				return
			}
		}
	}
}

// selectionNamed is the one relation of a name, if it is a selection that does more than choose rows.
func (s *scope) selectionNamed(alias string) (of *relation) {
	for _, r := range s.relations {
		if r.alias == alias {
			if of != nil || r.inner == nil {
				return nil
			}
			of = r
		}
	}
	return of
}
