package rewrite

import (
	"bytes"
	"encoding/json"
	"strings"
)

// node is an object of the serialized tree.
type node = map[string]any

func decode(b []byte) (node, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber() // locations are 64 bits wide
	var n node
	err := d.Decode(&n)
	return n, err
}

func child(n node, key string) node {
	c, _ := n[key].(node)
	return c
}

func list(n node, key string) []any {
	l, _ := n[key].([]any)
	return l
}

func text(n node, key string) string {
	s, _ := n[key].(string)
	return s
}

// visit calls f for every object of a tree, from the top; f says whether to go on below.
func visit(x any, f func(node) bool) {
	switch x := x.(type) {
	case node:
		if !f(x) {
			return
		}
		for _, c := range x {
			visit(c, f)
		}
	case []any:
		for _, c := range x {
			visit(c, f)
		}
	}
}

// clone is a deep copy.
func clone(x any) any {
	switch x := x.(type) {
	case node:
		out := make(node, len(x))
		for k, c := range x {
			out[k] = clone(c)
		}
		return out
	case []any:
		out := make([]any, len(x))
		for i, c := range x {
			out[i] = clone(c)
		}
		return out
	}
	return x
}

// names is the parts of a column reference in lower case, nil of anything else.
func names(n node) []string {
	if text(n, "class") != "COLUMN_REF" {
		return nil
	}
	var out []string
	for _, p := range list(n, "column_names") {
		s, _ := p.(string)
		out = append(out, strings.ToLower(s))
	}
	return out
}

// conjuncts is the conditions that must all hold.
func conjuncts(n node) (out []node) {
	if n == nil {
		return nil
	}
	if text(n, "type") == "CONJUNCTION_AND" {
		for _, c := range list(n, "children") {
			if c, ok := c.(node); ok {
				out = append(out, conjuncts(c)...)
			}
		}
		return out
	}
	return []node{n}
}

// What the engine reads back must be whole: every field of a node, also those that are empty.

func constant(typ string, value any) node {
	return node{"class": "CONSTANT", "type": "VALUE_CONSTANT", "alias": "", "query_location": 0, "value": node{"type": typeOf(typ), "is_null": false, "value": value}}
}

func typeOf(name string) node { return node{"id": name, "type_info": nil} }

func column(parts ...any) node {
	return node{"class": "COLUMN_REF", "type": "COLUMN_REF", "alias": "", "query_location": 0, "column_names": parts}
}

func call(name string, args ...any) node {
	return node{
		"class": "FUNCTION", "type": "FUNCTION", "alias": "", "query_location": 0, "function_name": name, "schema": "", "catalog": "", "children": args, "filter": nil,
		"order_bys": node{"type": "ORDER_MODIFIER", "orders": []any{}}, "distinct": false, "is_operator": false, "export_state": false,
	}
}

func cast(n any, typ string) node {
	return node{"class": "CAST", "type": "OPERATOR_CAST", "alias": "", "query_location": 0, "child": n, "cast_type": typeOf(typ), "try_cast": false}
}

func and(all []any) any {
	if len(all) == 1 {
		return all[0]
	}
	return node{"class": "CONJUNCTION", "type": "CONJUNCTION_AND", "alias": "", "query_location": 0, "children": all}
}

// selectNode is SELECT list FROM from WHERE where.
func selectNode(selected []any, from, where any) node {
	return node{
		"type": "SELECT_NODE", "modifiers": []any{}, "cte_map": node{"map": []any{}}, "select_list": selected, "from_table": from, "where_clause": where,
		"group_expressions": []any{}, "group_sets": []any{}, "aggregate_handling": "STANDARD_HANDLING", "having": nil, "sample": nil, "qualify": nil,
	}
}

func tableNode(name string) node {
	return node{"type": "BASE_TABLE", "alias": "", "sample": nil, "query_location": 0, "schema_name": "", "table_name": name, "column_name_alias": []any{}, "catalog_name": "", "at_clause": nil}
}

func emptyNode() node {
	return node{"type": "EMPTY", "alias": "", "sample": nil, "query_location": 0}
}

// encode is a statement of a tree, for the engine.
func encode(n any, parameters any) []byte {
	if parameters == nil {
		parameters = []any{}
	}
	statement := node{"node": n, "named_param_map": parameters}
	b, err := json.Marshal(node{"error": false, "statements": []any{statement}})
	if err != nil {
		panic(err) // it came from JSON
	}
	return b
}
