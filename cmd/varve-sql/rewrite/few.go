package rewrite

import (
	"encoding/json"
	"math"
	"slices"
	"strings"

	"github.com/varvedb/varve/server/hint"
)

// Few is how many rows of each tag a selection can use, from one end of time on, and with them all others in the microsecond of the last:
// whatever the order among rows of one time, those that come first are there. The zero value is all rows.
//
// What is known to use few is a selection from samples alone of which every condition narrows the scan to the row, and that keeps the first
// rows of each tag by time:
//
//	… QUALIFY row_number() OVER (PARTITION BY tag ORDER BY time DESC) <= n
//	SELECT * FROM (SELECT *, row_number() OVER (PARTITION BY tag ORDER BY time DESC) AS place FROM samples) WHERE place <= n
//	SELECT DISTINCT ON (tag) … ORDER BY tag, time DESC
//
// or the first of all, which are among the first of each:
//
//	SELECT … ORDER BY time DESC LIMIT n
//
// The statement stays as it is. Nothing else in the selection may look at other rows: the ranks of rows that are left are what they were, and
// sums or rows before would not be.
type Few struct {
	Rows   uint64
	Newest bool // else oldest
	Valued bool // rows without a value do not count
}

// ranked is a condition on a column of a selection in a FROM, which a rank may be.
type ranked struct {
	name string
	most uint64
}

// few is what a selection can use of its one table. left is the conditions that did not narrow it.
func (s *scope) few(n node, left []node) (f Few) {
	of := s.relations[0]
	if name := of.scan.Table.Name; name != "samples" && name != "good_samples" || !of.whole || of.outer || n["sample"] != nil || n["having"] != nil ||
		text(n, "aggregate_handling") != "STANDARD_HANDLING" || len(list(n, "group_expressions"))+len(list(n, "group_sets")) > 0 {
		return Few{}
	}
	for _, c := range left {
		given := list(c, "children")
		if text(c, "type") != "OPERATOR_IS_NOT_NULL" || len(given) != 1 || !s.isOf(given[0], "value") {
			return Few{}
		}
		f.Valued = true
	}
	directions, ok := s.directions(n)
	switch {
	case !ok || len(directions) > 1:
		return Few{}
	case len(directions) == 1:
		f.Newest = directions[0]
		f.Rows = s.most(n)
	case n["qualify"] == nil:
		f.Newest, f.Rows = s.first(n)
	}
	if f.Rows == 0 && n["qualify"] == nil {
		newest, ok := s.distinctOn(n)
		if !ok || len(directions) == 1 && newest != f.Newest {
			return Few{}
		}
		f.Newest, f.Rows = newest, 1
	}
	if f.Rows == 0 {
		return Few{}
	}
	return f
}

// isOf reports whether an expression is one of some columns of the table.
func (s *scope) isOf(x any, columns ...string) bool {
	n, _ := x.(node)
	if names(n) == nil {
		return false
	}
	r, at := s.find(n)
	return r != nil && r == s.relations[0] && slices.Contains(columns, r.scan.Table.Columns[at])
}

// directions is those of the ranks of a selection, each once: true is the newest first. ok says that nothing else in it looks at other rows.
func (s *scope) directions(n node) (out []bool, ok bool) {
	ok = true
	for _, k := range []string{"select_list", "qualify", "modifiers"} {
		visit(n[k], func(x node) bool {
			switch text(x, "class") {
			case "WINDOW":
				newest, is := s.rank(x)
				if ok = ok && is; !slices.Contains(out, newest) {
					out = append(out, newest)
				}
				return false
			case "FUNCTION":
				name := strings.ToLower(text(x, "function_name"))
				is, _ := x["is_operator"].(bool)
				ok = ok && !volatile[name] && (is || steady[name] || scalars[name])
			case "STAR": // one that replaces or renames may make what else is named time, or tag
				ok = ok && keepsColumns(x)
			case "SUBQUERY", "LAMBDA", "POSITIONAL_REFERENCE":
				ok = false
			case "OPERATOR":
				ok = ok && text(x, "type") != "UNNEST" && text(x, "type") != "OPERATOR_UNNEST"
			}
			return ok
		})
	}
	return out, ok
}

// rank reports whether a window ranks the rows of each tag by time, and whether the newest come first.
func (s *scope) rank(x node) (newest, ok bool) {
	if typ := text(x, "type"); typ != "WINDOW_ROW_NUMBER" && typ != "WINDOW_RANK" {
		return false, false
	}
	if len(list(x, "arg_orders")) > 0 || x["filter_expr"] != nil || len(list(x, "partitions")) == 0 || !s.ofTags(list(x, "partitions")) {
		return false, false
	}
	return s.byTime(list(x, "orders"))
}

func (s *scope) ofTags(all []any) bool {
	return !slices.ContainsFunc(all, func(x any) bool { return !s.isOf(x, "tag", "tag_id") })
}

// byTime reports whether rows of one tag come in the order of time first of all, and whether the newest come first.
func (s *scope) byTime(orders []any) (newest, ok bool) {
	for _, o := range orders {
		o, _ := o.(node)
		switch {
		case s.isOf(o["expression"], "tag", "tag_id"):
		case s.isOf(o["expression"], "time", "time_ns"):
			return text(o, "type") == "DESCENDING", true
		default:
			return false, false
		}
	}
	return false, false
}

// distinctOn reports whether a selection keeps the first row of each tag by time, and whether that is the newest.
func (s *scope) distinctOn(n node) (newest, ok bool) {
	distinct := false
	var orders []any
	for _, m := range list(n, "modifiers") {
		m, _ := m.(node)
		switch on := list(m, "distinct_on_targets"); text(m, "type") {
		case "DISTINCT_MODIFIER":
			distinct = len(on) > 0 && s.ofTags(on)
		case "ORDER_MODIFIER":
			orders = list(m, "orders")
		}
	}
	if !distinct {
		return false, false
	}
	return s.byTime(orders)
}

// first is how many rows a selection without ranks keeps that orders all of them by time, with those it skips, and whether they are the newest; 0 of others.
func (s *scope) first(n node) (newest bool, rows uint64) {
	ordered := false
	for _, m := range list(n, "modifiers") {
		m, _ := m.(node)
		switch text(m, "type") {
		case "ORDER_MODIFIER":
			orders := list(m, "orders")
			if len(orders) > 0 {
				by, _ := orders[0].(node)
				newest, ordered = text(by, "type") == "DESCENDING", s.isOf(selected(n, child(by, "expression")), "time", "time_ns")
			}
		case "LIMIT_MODIFIER":
			limit, skipped := whole(child(m, "limit")), int64(0)
			if m["offset"] != nil {
				skipped = whole(child(m, "offset"))
			}
			if limit < 1 || skipped < 0 {
				return false, 0
			}
			rows = uint64(limit) + uint64(skipped)
		default:
			return false, 0
		}
	}
	if !ordered {
		return false, 0
	}
	return newest, rows
}

// selected is what an order by the place or the name of something selected means, else the expression itself.
func selected(n, by node) node {
	all := list(n, "select_list")
	if slices.ContainsFunc(all, func(x any) bool { return text(x.(node), "class") == "STAR" }) {
		return by
	}
	if at := whole(by); at > 0 && at <= int64(len(all)) {
		return all[at-1].(node)
	}
	var found []node
	for _, x := range all {
		if x := x.(node); len(names(by)) == 1 && strings.EqualFold(text(x, "alias"), names(by)[0]) {
			found = append(found, x)
		}
	}
	if len(found) != 1 {
		return by // which is no column of ours if it is a name of several
	}
	return found[0]
}

// most is the highest rank that a selection, or the one around it, keeps; 0 for all.
func (s *scope) most(n node) uint64 {
	for _, c := range conjuncts(child(n, "qualify")) {
		x, most := limited(c)
		if text(x, "class") == "WINDOW" || len(names(x)) == 1 && s.namesRank(n, names(x)[0]) {
			if most > 0 {
				return most
			}
		}
	}
	for _, m := range list(n, "modifiers") {
		if m, _ := m.(node); text(m, "type") != "ORDER_MODIFIER" {
			return 0 // which leaves out rows before the condition around does
		}
	}
	for _, c := range s.ranked[identity(n)] {
		if s.namesRank(n, c.name) {
			return c.most
		}
	}
	return 0
}

// namesRank reports whether a name is that of a rank a selection has, and of nothing else.
func (s *scope) namesRank(n node, name string) bool {
	found, rank := 0, false
	for _, x := range list(n, "select_list") {
		x, _ := x.(node)
		parts := names(x)
		if as := strings.ToLower(text(x, "alias")); as == name || as == "" && len(parts) > 0 && parts[len(parts)-1] == name {
			found++
			rank = text(x, "class") == "WINDOW"
		}
	}
	return found == 1 && rank && s.relations[0].scan.Table.column(name) < 0
}

// limited is what a condition holds to be at most a number, and that; 0 of other conditions.
func limited(c node) (x node, most uint64) {
	ops, ok := comparisons[text(c, "type")]
	if !ok || text(c, "class") != "COMPARISON" {
		return nil, 0
	}
	x, number, op := child(c, "left"), child(c, "right"), ops[0]
	if text(x, "class") == "CONSTANT" {
		x, number, op = number, x, ops[1]
	}
	n := whole(number)
	if op == hint.Less {
		n--
	}
	if n < 1 || n == math.MaxInt64 || op != hint.Equal && op != hint.Less && op != hint.LessOrEqual {
		return nil, 0
	}
	return x, uint64(n)
}

// whole is a number that is said; -1 of one below zero and of anything else.
func whole(x node) int64 {
	value := child(x, "value")
	if null, _ := value["is_null"].(bool); null || text(x, "class") != "CONSTANT" || !slices.Contains([]string{"INTEGER", "BIGINT"}, text(child(value, "type"), "id")) {
		return -1
	}
	said, _ := value["value"].(json.Number)
	if n, err := said.Int64(); err == nil && n >= 0 {
		return n
	}
	return -1
}

// ranks notes the conditions on what may be a rank of the one selection in the FROM of another.
func (s *scope) ranks(n node) {
	if len(s.relations) != 1 || s.relations[0].inner == nil || !s.relations[0].whole || s.relations[0].outer {
		return
	}
	of := s.relations[0]
	for _, c := range conjuncts(child(n, "where_clause")) {
		x, most := limited(c)
		if parts := names(x); most > 0 && (len(parts) == 1 && !s.shadowed[parts[0]] || len(parts) == 2 && parts[0] == of.alias) {
			s.ranked[identity(of.inner)] = append(s.ranked[identity(of.inner)], ranked{parts[len(parts)-1], most})
		}
	}
}
