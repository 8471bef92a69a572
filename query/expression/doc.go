// Package expression reads, checks and evaluates calculations over tags.
//
//	text → Parse → Expression → Check(types and units of its references) → Program → Eval(their values at one instant) → Value
//
// docs/reference/expressions.md has the grammar, the functions, and what quality and unit a result has; its examples are tests here.
// The package knows no store: whoever calls it finds the tags of [Expression.References] and their values.
//
// # What is promised
//
// An expression that Check takes evaluates for all values: what has no result, such as a division by zero, is a value without
// content of quality BadOutOfRange, never NaN or an infinity. A quality never gets better than that of what was used. A unit that
// is known is never lost on the way to a sum or a comparison, and values are converted, not taken as they are. Programs do not
// change: any number of goroutines may evaluate one.
//
// # Parts
//
//	lexer.go, parser.go  text to tree, by the grammar of the page
//	check.go             types of the tree; quantity.go units, and the conversions between them
//	functions.go         what each operator and function takes and does
//	value.go             values and their quality; number.go arithmetic of doubles and integers
package expression
