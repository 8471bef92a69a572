package expression

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Limits on an expression. They bound what reading and evaluating one costs.
const (
	MaxBytes      = 4096
	MaxDepth      = 64 // of parentheses, calls, not, minus and ^ within each other
	MaxReferences = 64 // different tags
	MaxArguments  = 256
)

// ErrExpression is met where a text is no expression, or one that has no meaning for the tags it names. The error is an [*Error].
var ErrExpression = errors.New("no valid expression")

// Error says what is wrong with an expression, and where.
type Error struct {
	Line, Column int // from 1; columns are characters
	Message      string
}

func (e *Error) Error() string {
	return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Message)
}

// Is makes every Error an ErrExpression.
func (e *Error) Is(target error) bool { return target == ErrExpression }

// Expression is a text that follows the grammar. It does not change.
type Expression struct {
	text       string
	root       *node
	references []reference
	names      []string
}

// reference is a place in the text that names a tag.
type reference struct {
	start, end int // in bytes
	name       int // of Expression.names
}

// Parse reads an expression. Whether tags exist and fit together [Expression.Check] finds.
func Parse(text string) (*Expression, error) {
	if len(text) > MaxBytes {
		return nil, &Error{1, 1, fmt.Sprintf("the expression has %d bytes, most is %d", len(text), MaxBytes)}
	}
	if !utf8.ValidString(text) {
		return nil, &Error{1, 1, "the expression is not UTF-8"}
	}
	p := parser{lexer: lexer{text: text}, expression: &Expression{text: text}}
	if err := p.advance(); err != nil {
		return nil, err
	}
	root, err := p.or()
	if err != nil {
		return nil, err
	}
	if p.token.kind != tokenEnd {
		return nil, p.unexpected("an operator or the end")
	}
	p.expression.root = root
	return p.expression, nil
}

// String is the text as it was parsed.
func (e *Expression) String() string { return e.text }

// References are the names of the tags it needs, each once, in the order in which they come first. Eval takes values in that order.
// They are the expression's own: not to be changed.
func (e *Expression) References() []string { return e.names }

// Renamed is the text with other names in place of [Expression.References], in their order; everything else stays as it is.
func (e *Expression) Renamed(names []string) string {
	var b strings.Builder
	at := 0
	for _, r := range e.references {
		b.WriteString(e.text[at:r.start])
		if old := e.names[r.name]; names[r.name] == old {
			b.WriteString(e.text[r.start:r.end])
		} else {
			b.WriteString(Quote(names[r.name]))
		}
		at = r.end
	}
	b.WriteString(e.text[at:])
	return b.String()
}

// Quote is a tag's name as an expression has it: as it is where it can be read so, else in double quotes.
func Quote(name string) string {
	l := lexer{text: name}
	if t, err := l.next(); err == nil && t.kind == tokenName && len(t.text) == len(name) && !reserved[name] {
		return name
	}
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}

// fault is an error at a byte of a text.
func fault(text string, at int, format string, args ...any) error {
	before := text[:min(at, len(text))]
	line := strings.Count(before, "\n")
	column := utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:])
	return &Error{line + 1, column + 1, fmt.Sprintf(format, args...)}
}
