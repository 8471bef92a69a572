package rewrite

import (
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/varvedb/varve/server/hint"
)

// Partials is the name of the internal table that takes the place of samples in a selection whose aggregates can be told from it: a row is
// some consecutive samples of one tag, put together. Its rows are of samples that all meet the conditions of the scan on time and severity,
// and lie in one unit of time, an hour or a day; its time is that of the first, so that conditions on it, and what is made of it and is the
// same for all of a unit, come out as they would for each of the samples. Only aggregates are put in other words:
//
//	count(*)                      coalesce(sum("partial count"), 0)::BIGINT
//	avg(value)                    sum("partial sum") / sum("partial valued")
//	arg_max(value, time)          arg_max("partial last", "partial last time")
//	date_trunc('day', time), WHERE, GROUP BY, HAVING, ORDER BY …   as they are
//
// Beside the samples the selection may have small tables, joined by the tag alone: each of their rows belongs to all samples of a partial or
// to none.
//
// What rollups do not tell comes as a row for each sample, and so does everything where a condition could not be taken as it stands:
// the answer is the same.
const Partials = "partials"

// partialSelection is a selection of samples on its way to be one of partials.
type partialSelection struct {
	*scope
	of      *relation
	beside  []*Table        // that samples are joined with
	onLeft  []node          // conditions of left joins: which rows those have, not which samples there are
	aliases map[string]bool // of results
	hourly  bool            // something is the same for an hour only
	bucket  node            // the call of time_bucket, nil for none
	valued  bool            // only samples with a value are wanted
	some    bool            // an aggregate was found
	failed  bool
}

// partials makes a selection of samples one of partials, if its aggregates can be told from those. Nothing is changed where they cannot.
func (r *rewriter) partials(n node, visible []string) {
	table, samples := r.tables[Partials], r.tables["samples"]
	if table == nil || samples == nil || n["sample"] != nil {
		return
	}
	scan := &Scan{Table: table, Exact: true}
	of := &relation{scan: scan, plain: true, whole: true}
	s := &partialSelection{scope: &scope{rewriter: r, visible: visible, relations: []*relation{of}, shadowed: map[string]bool{}}, of: of, aliases: map[string]bool{}}
	from := s.leaf(child(n, "from_table"))
	if from == nil {
		return
	}
	name := r.ours(from, visible)
	if of.alias = strings.ToLower(text(from, "alias")); of.alias == "" {
		of.alias = name
	}
	for _, c := range slices.Concat(conjuncts(child(n, "where_clause")), s.on) {
		if !s.hasValue(c) && !s.condition(c) {
			return
		}
	}
	if slices.ContainsFunc(s.onLeft, func(c node) bool { return !s.ofTagAlone(c) }) {
		return
	}
	changed := clone(n).(node)
	if s.results(changed); s.failed || !s.some || s.ambiguous(n) {
		return
	}
	s.on = nil
	from = s.leaf(child(changed, "from_table"))
	for _, c := range slices.Concat(conjuncts(child(changed, "where_clause")), s.on) {
		if s.hasValue(c) {
			clear(c)
			maps.Copy(c, node{"class": "COMPARISON", "type": "COMPARE_GREATERTHAN", "alias": "", "query_location": 0, "left": s.partial("partial valued"), "right": constant("INTEGER", 0)})
		}
	}
	maps.Copy(n, changed)
	if name == "good_samples" {
		scan.Bounds = append(scan.Bounds, Bound{Bound: hint.Bound{Role: hint.Severity, Op: hint.Equal, Literal: true}, Values: []node{constant("VARCHAR", "Good")}})
	}
	s.units(scan)
	from["alias"] = of.alias
	r.place(from, scan)
	r.placed[identity(from)] = scan
}

// leaf is the samples in a FROM of samples alone, or of samples and small tables that rows of samples are joined with by the tag alone; nil of
// any other. It notes those tables, and the conditions of their joins.
func (s *partialSelection) leaf(n node) node {
	if n == nil || n["sample"] != nil {
		return nil
	}
	switch text(n, "type") {
	case "BASE_TABLE":
		name := s.ours(n, s.visible)
		if name != "samples" && name != "good_samples" || n["at_clause"] != nil || len(list(n, "column_name_alias")) > 0 {
			return nil
		}
		return n
	case "JOIN":
		kind, ref := text(n, "join_type"), text(n, "ref_type")
		if kind != "INNER" && kind != "LEFT" || ref != "REGULAR" && ref != "CROSS" {
			return nil
		}
		for _, c := range list(n, "using_columns") {
			if name, _ := c.(string); !strings.EqualFold(name, "tag") && !strings.EqualFold(name, "tag_id") {
				return nil
			}
		}
		of, with := s.leaf(child(n, "left")), child(n, "right")
		if of == nil && kind == "INNER" {
			of, with = s.leaf(child(n, "right")), child(n, "left")
		}
		if of == nil || !s.smallTable(with) {
			return nil
		}
		for _, c := range conjuncts(child(n, "condition")) {
			if kind == "LEFT" {
				s.onLeft = append(s.onLeft, c)
			} else {
				s.on = append(s.on, c)
			}
		}
		return of
	}
	return nil
}

// smallTable reports whether a place of a FROM is one small table, and notes it.
func (s *partialSelection) smallTable(n node) bool {
	t := s.tables[s.ours(n, s.visible)]
	if text(n, "type") != "BASE_TABLE" || t == nil || !t.Small || n["sample"] != nil || n["at_clause"] != nil || len(list(n, "column_name_alias")) > 0 {
		return false
	}
	s.beside = append(s.beside, t)
	return true
}

// ambiguous reports whether a selection names a column of samples that is as well one of a table beside them, and does not say of which: the
// engine refuses that, or knows from USING.
func (s *partialSelection) ambiguous(n node) bool {
	found := false
	visit(n, func(n node) bool {
		if parts := names(n); len(parts) == 1 && s.tables["samples"].column(parts[0]) >= 0 && parts[0] != "tag" && parts[0] != "tag_id" {
			found = found || slices.ContainsFunc(s.beside, func(t *Table) bool { return t.column(parts[0]) >= 0 })
		}
		return !found
	})
	return found
}

// hasValue reports whether a condition is that samples have a value, and notes it.
func (s *partialSelection) hasValue(c node) bool {
	given := list(c, "children")
	if text(c, "type") != "OPERATOR_IS_NOT_NULL" || len(given) != 1 {
		return false
	}
	of, _ := given[0].(node)
	if !s.is(of, "value") {
		return false
	}
	s.valued = true
	return true
}

// ofTags is the bounds that are of the tag.
func ofTags(all []Bound) (out []Bound) {
	for _, b := range all {
		if b.Role == hint.Tag || b.Role == hint.TagID {
			out = append(out, b)
		}
	}
	return out
}

// units notes of a scan what unit of time its rows may be of.
func (s *partialSelection) units(scan *Scan) {
	unit := "day"
	if s.hourly {
		unit = "hour"
	}
	scan.Arguments = []Argument{{"unit", constant("VARCHAR", unit)}}
	if s.bucket == nil {
		return
	}
	given := clone(list(s.bucket, "children")).([]any)
	width := cast(given[0], "INTERVAL")
	years, months := call("datepart", constant("VARCHAR", "year"), clone(width)), call("datepart", constant("VARCHAR", "month"), clone(width))
	one := clone(s.bucket).(node)
	one["alias"] = ""
	list(one, "children")[1] = cast(constant("VARCHAR", "2026-01-01 00:00:00+00"), "TIMESTAMP WITH TIME ZONE")
	scan.Arguments = append(scan.Arguments,
		Argument{"width", call("epoch_us", width)},
		Argument{"months", operator("+", operator("*", years, constant("INTEGER", 12)), months)},
		Argument{"edge", call("epoch_us", one)},
	)
}

func operator(name string, args ...any) node {
	n := call(name, args...)
	n["is_operator"] = true
	return n
}

// condition takes a condition that must hold: of time and severity one that the scan can take as it stands, else any of the tag.
func (s *partialSelection) condition(c node) bool {
	scan, before := s.of.scan, len(s.of.scan.Bounds)
	if s.bound(c) {
		for _, b := range scan.Bounds[before:] {
			if (b.Role == hint.Time || b.Role == hint.TimeNS || b.Role == hint.Severity) && len(b.Values) != 1 {
				return false
			}
		}
		scan.Bounds = append(scan.Bounds[:before:before], withoutTags(scan.Bounds[before:])...) // those are found again
		return true
	}
	scan.Bounds = scan.Bounds[:before]
	return s.ofTagAlone(c)
}

// ofTagAlone reports whether a condition is the same for all samples of a tag.
func (s *partialSelection) ofTagAlone(c node) bool {
	ok := true
	visit(c, func(n node) bool {
		switch text(n, "class") {
		case "COLUMN_REF":
			ok = ok && s.ofTag(n)
		case "FUNCTION":
			ok = ok && !volatile[strings.ToLower(text(n, "function_name"))]
		case "SUBQUERY":
			inner := child(child(n, "subquery"), "node")
			ok = ok && text(n, "subquery_type") == "ANY" && s.small(inner) && s.apart(inner)
			if ok && child(n, "child") != nil {
				visit(n["child"], func(n node) bool {
					ok = ok && (names(n) == nil || s.ofTag(n)) && text(n, "class") != "SUBQUERY"
					return ok
				})
			}
			return false
		case "WINDOW", "STAR", "LAMBDA":
			ok = false
		}
		return ok
	})
	return ok
}

func withoutTags(all []Bound) (out []Bound) {
	for _, b := range all {
		if b.Role != hint.Tag && b.Role != hint.TagID {
			out = append(out, b)
		}
	}
	return out
}

// column is the name of the column of samples that a reference means, empty of what is none of theirs; false where it may be either.
func (s *partialSelection) column(n node) (string, bool) {
	parts := names(n)
	name := parts[len(parts)-1]
	if strings.HasPrefix(name, "partial ") {
		return "", false
	}
	switch {
	case len(parts) == 2 && parts[0] != s.of.alias:
		return "", s.tables["samples"].column(parts[0]) < 0 // a field of a column, or of another table around
	case len(parts) > 2:
		return "", false
	case s.tables["samples"].column(name) >= 0:
		return name, true
	}
	return "", len(parts) == 1
}

// ofTag reports whether a reference is to the tag of samples, or to nothing of theirs.
func (s *partialSelection) ofTag(n node) bool {
	name, ok := s.column(n)
	return ok && (name == "" || name == "tag" || name == "tag_id")
}

// apart reports whether a tree of small tables knows nothing of the samples around it.
func (s *partialSelection) apart(inner node) bool {
	var inside []*Table
	ok := true
	visit(inner, func(n node) bool {
		if text(n, "type") == "BASE_TABLE" {
			inside = append(inside, s.tables[strings.ToLower(text(n, "table_name"))])
		}
		return true
	})
	visit(inner, func(n node) bool {
		parts := names(n)
		if len(parts) == 0 {
			return true
		}
		own := false
		for _, t := range inside {
			own = own || t.column(parts[len(parts)-1]) >= 0
		}
		ok = ok && own && (len(parts) == 1 || parts[0] != s.of.alias)
		return ok
	})
	return ok
}

// results puts the aggregates of a selection in other words.
func (s *partialSelection) results(n node) {
	selected := list(n, "select_list")
	for _, x := range selected {
		if x, _ := x.(node); text(x, "alias") != "" {
			s.aliases[strings.ToLower(text(x, "alias"))] = true
		}
	}
	for alias := range s.aliases {
		s.failed = s.failed || strings.HasPrefix(alias, "partial ")
	}
	groups := list(n, "group_expressions")
	s.some = len(groups) > 0 || text(n, "aggregate_handling") == "FORCE_AGGREGATES"
	for i, x := range selected {
		x, _ := x.(node)
		before := clone(x)
		y := s.expression(x)
		if text(y, "alias") == "" && names(y) == nil && !reflect.DeepEqual(before, any(y)) {
			y["alias"] = s.title(before)
		}
		selected[i] = y
	}
	for i, x := range groups {
		x, _ := x.(node)
		groups[i] = s.expression(x)
	}
	for _, k := range []string{"having", "qualify"} {
		if x := child(n, k); x != nil {
			n[k] = s.expression(x)
		}
	}
	for _, m := range list(n, "modifiers") {
		m, _ := m.(node)
		switch text(m, "type") {
		case "ORDER_MODIFIER":
			for _, o := range list(m, "orders") {
				o, _ := o.(node)
				x := child(o, "expression")
				if parts := names(x); len(parts) == 1 && s.aliases[parts[0]] {
					continue // the result of that name, whatever column has it
				}
				if text(x, "class") == "STAR" { // ALL
					continue
				}
				o["expression"] = s.expression(x)
			}
		case "DISTINCT_MODIFIER":
			s.some = s.some || !hasWindow(n)
			s.failed = s.failed || len(list(m, "distinct_on_targets")) > 0
		case "LIMIT_MODIFIER", "LIMIT_PERCENT_MODIFIER":
		default:
			s.failed = true
		}
	}
}

// hasWindow reports whether a selection looks at other rows of itself.
func hasWindow(n node) bool {
	found := false
	for _, k := range []string{"select_list", "qualify", "modifiers"} {
		visit(n[k], func(x node) bool {
			found = found || text(x, "class") == "WINDOW"
			return !found
		})
	}
	return found
}

// title is the name that the engine gives a result that is given none.
func (s *partialSelection) title(x any) string {
	if s.titles == nil {
		s.failed = true
		return ""
	}
	sql, err := s.titles(encode(selectNode([]any{x}, emptyNode(), nil), nil))
	title, ok := strings.CutPrefix(sql, "SELECT ")
	s.failed = s.failed || err != nil || !ok
	return title
}

// plainClasses are the expressions that have the same value for the samples of a partial as for that, if what they are made of has.
var plainClasses = map[string]bool{
	"": true, "CONSTANT": true, "CAST": true, "COMPARISON": true, "CONJUNCTION": true, "CASE": true, "BETWEEN": true, "PARAMETER": true, "OPERATOR": true, "WINDOW": true,
	"FUNCTION": true,
}

// scalars are functions that are no aggregates, beside those that are steady.
var scalars = map[string]bool{
	"abs": true, "ceil": true, "ceiling": true, "floor": true, "round": true, "sqrt": true, "ln": true, "log": true, "log10": true, "exp": true, "pow": true, "power": true, "sign": true,
	"greatest": true, "least": true, "isnan": true, "isfinite": true, "isinf": true, "nullif": true, "ifnull": true, "strftime": true, "date_part": true, "datepart": true, "year": true,
	"month": true, "day": true, "hour": true, "dayofweek": true, "isodow": true, "weekofyear": true, "week": true, "dayofyear": true, "quarter": true, "monthname": true, "dayname": true,
	"epoch": true, "split_part": true, "regexp_extract": true, "regexp_replace": true, "regexp_matches": true, "replace": true, "substring": true, "substr": true, "left": true,
	"right": true, "length": true, "strlen": true, "trim": true, "ltrim": true, "rtrim": true, "starts_with": true, "prefix": true, "suffix": true, "contains": true, "printf": true, "format": true,
	"struct_pack": true, "row": true, "list_value": true, "concat_ws": true, "~~": true, "!~~": true, "~~*": true, "!~~*": true, "error": false,
}

// expression is an expression over partials that is one over samples.
func (s *partialSelection) expression(x node) node {
	if x == nil || s.failed {
		return x
	}
	class, typ := text(x, "class"), text(x, "type")
	if !plainClasses[class] && class != "COLUMN_REF" || typ == "SELECT_NODE" || typ == "OPERATOR_UNNEST" || typ == "UNNEST" {
		s.failed = true
		return x
	}
	switch class {
	case "COLUMN_REF":
		s.failed = !s.ofTag(x)
		return x
	case "CAST":
		if text(child(x, "cast_type"), "id") == "DATE" && s.is(child(x, "child"), "time") {
			return x
		}
	case "FUNCTION":
		if y := s.aggregate(x); y != nil {
			s.some = true
			y["alias"] = text(x, "alias")
			return y
		}
		if s.sameInUnit(x) {
			return x
		}
		name := strings.ToLower(text(x, "function_name"))
		is, _ := x["is_operator"].(bool)
		if s.failed = s.failed || volatile[name] || !is && !steady[name] && !scalars[name]; s.failed {
			return x
		}
	}
	for k, c := range x {
		x[k] = s.within(c)
	}
	return x
}

func (s *partialSelection) within(x any) any {
	switch x := x.(type) {
	case node:
		return s.expression(x)
	case []any:
		for i, c := range x {
			x[i] = s.within(c)
		}
	}
	return x
}

// is reports whether an expression is a column of samples.
func (s *partialSelection) is(x node, column string) bool {
	if text(x, "class") != "COLUMN_REF" {
		return false
	}
	name, ok := s.column(x)
	return ok && name == column
}

// truncations are the parts of a time that a unit of it has whole.
var truncations = map[string]string{
	"hour": "hour", "hours": "hour", "day": "day", "days": "day", "week": "day", "weeks": "day", "month": "day", "months": "day", "quarter": "day", "quarters": "day",
	"year": "day", "years": "day",
}

// sameInUnit reports whether a call has one value for all of a unit of time, and notes which unit that is.
func (s *partialSelection) sameInUnit(x node) bool {
	given := list(x, "children")
	if len(given) < 2 || !plainCall(x) {
		return false
	}
	if of, _ := given[1].(node); !s.is(of, "time") {
		return false
	}
	first, _ := given[0].(node)
	switch strings.ToLower(text(x, "function_name")) {
	case "date_trunc", "datetrunc":
		part, _ := child(first, "value")["value"].(string)
		unit := truncations[strings.ToLower(part)]
		s.hourly = s.hourly || unit == "hour"
		return len(given) == 2 && text(first, "class") == "CONSTANT" && unit != ""
	case "time_bucket":
		if !needsNoColumn(first) || short(first) {
			return false
		}
		if len(given) > 3 || len(given) == 3 && !origin(given[2]) {
			return false
		}
		if s.bucket == nil {
			s.bucket = x
		}
		return sameCall(s.bucket, x)
	}
	return false
}

// origin reports whether an argument of time_bucket is certain to be an instant or an interval, and no zone.
func origin(x any) bool {
	n, _ := x.(node)
	typ := text(child(n, "cast_type"), "id")
	return n != nil && needsNoColumn(n) && (text(n, "class") == "CAST" && (typ == "INTERVAL" || typ == "TIMESTAMP WITH TIME ZONE") ||
		text(n, "class") == "FUNCTION" && strings.HasPrefix(text(n, "function_name"), "to_") && text(n, "function_name") != "to_timestamp")
}

var fewMinutes = regexp.MustCompile(`(?i)^\s*(\d+)\s*(m|mins?|minutes?)\s*$|^\s*\d+\s*(s|secs?|seconds?|ms|msecs?|milliseconds?|us|usecs?|microseconds?)\s*$`)

// short reports whether an interval is one that is plainly no whole hours: samples answer sooner by themselves.
func short(x node) bool {
	for text(x, "class") == "CAST" {
		x = child(x, "child")
	}
	switch text(x, "class") {
	case "CONSTANT":
		said, _ := child(x, "value")["value"].(string)
		m := fewMinutes.FindStringSubmatch(said)
		if m == nil {
			return false
		}
		n, err := strconv.Atoi(m[1])
		return err != nil || n%60 != 0
	case "FUNCTION":
		switch text(x, "function_name") {
		case "to_seconds", "to_milliseconds", "to_microseconds", "to_minutes":
			return true
		}
	}
	return false
}

// sameCall reports whether two calls are one, wherever they stand.
func sameCall(a, b node) bool {
	return reflect.DeepEqual(placeless(clone(a)), placeless(clone(b)))
}

func placeless(x any) any {
	visit(x, func(n node) bool {
		delete(n, "query_location")
		delete(n, "alias")
		if parts := names(n); len(parts) == 2 {
			n["column_names"] = []any{parts[1]}
		}
		return true
	})
	return x
}

// plainCall reports whether a call has nothing but arguments.
func plainCall(x node) bool {
	return x["filter"] == nil && x["distinct"] != true && x["export_state"] != true && len(list(child(x, "order_bys"), "orders")) == 0 && text(x, "schema") == "" && text(x, "catalog") == ""
}

// aggregate is an aggregate of samples as one of partials, nil of what is none that can be told from them.
func (s *partialSelection) aggregate(x node) node {
	name, given := strings.ToLower(text(x, "function_name")), list(x, "children")
	arg := func(i int) node {
		if i < len(given) {
			n, _ := given[i].(node)
			return n
		}
		return nil
	}
	if name == "first" || name == "last" {
		return s.ordered(x, name, given)
	}
	if len(given) == 1 && takesOnce(name, x) && text(arg(0), "class") == "COLUMN_REF" && s.ofTag(arg(0)) {
		return clone(x).(node)
	}
	if !plainCall(x) {
		return nil
	}
	all, earliest, latest := "partial count", "time", "partial latest time"
	if s.valued {
		all, earliest, latest = "partial valued", "partial first time", "partial last time"
	}
	switch name {
	case "count_star":
		return s.count(all)
	case "count":
		switch {
		case len(given) == 0, len(given) == 1 && text(arg(0), "class") == "CONSTANT" && child(arg(0), "value")["is_null"] == false,
			len(given) == 1 && (s.is(arg(0), "time") || s.is(arg(0), "tag") || s.is(arg(0), "tag_id")):
			return s.count(all)
		case len(given) == 1 && s.is(arg(0), "value"):
			return s.count("partial valued")
		}
	case "sum", "avg", "mean", "min", "max":
		if len(given) != 1 {
			return nil
		}
		switch {
		case s.is(arg(0), "value") && (name == "avg" || name == "mean"):
			return operator("/", call("sum", s.partial("partial sum")), call("sum", s.partial("partial valued")))
		case s.is(arg(0), "value"):
			return call(name, s.partial("partial "+name))
		case name == "min" && s.is(arg(0), "time"):
			return call(name, s.partial(earliest))
		case name == "max" && s.is(arg(0), "time"):
			return call(name, s.partial(latest))
		}
	case "arg_min", "argmin", "min_by":
		if len(given) == 2 && s.is(arg(0), "value") && s.is(arg(1), "time") {
			return call(name, s.partial("partial first"), s.partial("partial first time"))
		}
	case "arg_max", "argmax", "max_by":
		if len(given) == 2 && s.is(arg(0), "value") && s.is(arg(1), "time") {
			return call(name, s.partial("partial last"), s.partial("partial last time"))
		}
	}
	return nil
}

// takesOnce reports whether an aggregate is the same however often it is given a value.
func takesOnce(name string, x node) bool {
	switch name {
	case "count":
		once := maps.Clone(x)
		delete(once, "distinct")
		return x["distinct"] == true && plainCall(once)
	case "min", "max", "any_value", "arbitrary":
		return plainCall(x)
	}
	return false
}

// ordered is first(value ORDER BY time), or last, of partials.
func (s *partialSelection) ordered(x node, name string, given []any) node {
	orders := list(child(x, "order_bys"), "orders")
	if len(given) != 1 || len(orders) != 1 || x["filter"] != nil || x["distinct"] == true {
		return nil
	}
	of, _ := given[0].(node)
	order, _ := orders[0].(node)
	if !s.is(of, "value") || !s.is(child(order, "expression"), "time") || text(order, "type") != "ORDER_DEFAULT" && text(order, "type") != "ASCENDING" {
		return nil
	}
	y := clone(x).(node)
	order, _ = list(child(y, "order_bys"), "orders")[0].(node)
	value, at := "partial earliest", "time"
	switch {
	case name == "first" && s.valued:
		value, at = "partial first", "partial first time"
	case name == "last" && s.valued:
		value, at = "partial last", "partial last time"
	case name == "last":
		value, at = "partial latest", "partial latest time"
	}
	y["children"], order["expression"] = []any{s.partial(value)}, s.partial(at)
	return y
}

func (s *partialSelection) partial(name string) node { return column(s.of.alias, name) }

// count is how many samples there are, 0 where there is no partial.
func (s *partialSelection) count(name string) node {
	return cast(coalesce(call("sum", s.partial(name)), constant("INTEGER", 0)), "BIGINT")
}

func coalesce(args ...any) node {
	return node{"class": "OPERATOR", "type": "OPERATOR_COALESCE", "alias": "", "query_location": 0, "children": args}
}
