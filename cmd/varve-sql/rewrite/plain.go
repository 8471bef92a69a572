package rewrite

import (
	"slices"
	"strings"
)

// Plain is what a statement selects that has the rows of its one scan as they come: columns of one table, each once, of rows that meet
// conditions of which each narrows the scan. Whether they do so to the row is known when their values are.
type Plain struct {
	Columns []int  // by their place in the table, in the order of the answer
	Limit   uint64 // most rows; 0 for all
	// LimitBy is the name of the parameter that has the limit in place of Limit; empty for none.
	LimitBy string
}

// plain is what a statement selects that is plain, nil of others. The tables are scans already: that of a plain statement is the first.
func (r *rewriter) plain(n node) *Plain {
	from := child(n, "from_table")
	if len(r.scans) == 0 || from == nil || !r.scans[0].Whole || len(r.scans[0].Arguments) > 0 || !r.scans[0].Table.Exact || text(from, "type") != "TABLE_FUNCTION" ||
		text(child(from, "function"), "function_name") != Function || from["sample"] != nil || len(list(from, "column_name_alias")) > 0 {
		return nil
	}
	if text(n, "type") != "SELECT_NODE" || text(n, "aggregate_handling") != "STANDARD_HANDLING" || n["having"] != nil || n["qualify"] != nil || n["sample"] != nil ||
		len(list(n, "group_expressions"))+len(list(n, "group_sets"))+len(list(child(n, "cte_map"), "map")) > 0 {
		return nil
	}
	p := &Plain{}
	if !p.limit(list(n, "modifiers")) || !p.selected(list(n, "select_list"), r.scans[0].Table, strings.ToLower(text(from, "alias"))) {
		return nil
	}
	return p
}

// limit takes a limit, if there is nothing else behind the conditions.
func (p *Plain) limit(modifiers []any) bool {
	if len(modifiers) == 0 {
		return true
	}
	m, _ := modifiers[0].(node)
	if len(modifiers) > 1 || text(m, "type") != "LIMIT_MODIFIER" || m["offset"] != nil {
		return false
	}
	limit := child(m, "limit")
	switch text(limit, "class") {
	case "CONSTANT":
		if null, _ := child(limit, "value")["is_null"].(bool); null {
			return true
		}
		rows := whole(limit)
		p.Limit = uint64(max(rows, 0))
		return rows > 0
	case "PARAMETER":
		p.LimitBy = text(limit, "identifier")
		return p.LimitBy != ""
	}
	return false
}

// selected takes what is selected, if that is columns of the table. A name that is that of another column is left to the engine, which
// knows what conditions mean by it.
func (p *Plain) selected(all []any, of *Table, alias string) bool {
	for _, x := range all {
		x, _ := x.(node)
		if text(x, "class") == "STAR" {
			if !isStar(x) || text(x, "alias") != "" || text(x, "relation_name") != "" && !strings.EqualFold(text(x, "relation_name"), alias) {
				return false
			}
			for at := range of.Columns {
				p.Columns = append(p.Columns, at)
			}
			continue
		}
		at, parts := -1, names(x)
		switch {
		case len(parts) == 1:
			at = of.column(parts[0])
		case len(parts) == 2 && parts[0] == alias:
			at = of.column(parts[1])
		}
		if as := of.column(strings.ToLower(text(x, "alias"))); at < 0 || as >= 0 && as != at {
			return false
		}
		p.Columns = append(p.Columns, at)
	}
	sorted := slices.Sorted(slices.Values(p.Columns))
	return len(sorted) > 0 && len(slices.Compact(sorted)) == len(p.Columns)
}

// isStar reports whether an expression is all columns, of one relation or of all, with nothing left out, replaced or renamed.
func isStar(x node) bool {
	return keepsColumns(x) && len(list(x, "exclude_list"))+len(list(x, "qualified_exclude_list")) == 0
}

// keepsColumns reports whether an expression is columns as they are, all or all but some.
func keepsColumns(x node) bool {
	return text(x, "type") == "STAR" && len(list(x, "replace_list"))+len(list(x, "rename_list")) == 0 && x["columns"] != true && x["expr"] == nil
}
