package main

import (
	"context"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/apache/arrow/go/v15/arrow/array"

	"github.com/varvedb/varve/internal/answer"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/server/pgwire"
)

// sqlCompletion knows what may stand where somebody types.
type sqlCompletion struct {
	session *sqlSession
	tables  []string            // tables and functions, these with ( behind; nil before the first question
	columns map[string][]string // of tables and functions that were asked for, with their arguments
}

const (
	// completionPatience is how long a Tab waits for the server.
	completionPatience = 2 * time.Second
	// maxCompletions is how many names of tags a Tab asks for.
	maxCompletions = 60
)

// sqlWords are the key words that are completed.
var sqlWords = strings.Fields(`all and anti any array as asc asof at avg between bigint boolean by case cast coalesce count cross current_date current_timestamp date
	date_trunc desc describe distinct double else end except exclude exists explain extract false filter first following from full generate_series group
	having ifnull ilike in inner intersect interval into is isnull join last lateral lead left like limit list max median min natural not now null nulls nullif
	offset on or order over partition pivot positional preceding qualify quantile_cont range recursive reset right row_number rows select semi set show
	sum tables tablesample then time timestamp timestamptz timezone true unbounded union unnest unpivot using values varchar when where window with within zone`)

// complete is what may stand in place of the word before the cursor, which is pos characters into the line.
func (c *sqlCompletion) complete(line string, pos int) (head string, candidates []string, tail string) {
	runes := []rune(line)
	before, tail := string(runes[:pos]), string(runes[pos:])
	if c.session.pending == "" && strings.HasPrefix(before, `\`) {
		head, candidates = c.command(before)
		return head, candidates, tail
	}
	text := c.session.pending + before
	if whole, _ := pgwire.Split(text); len(whole) > 0 { // only the statement that is being typed counts
		_, text = pgwire.Split(text)
	}
	if quote, inside := pgwire.OpenQuote(text); quote != 0 && strings.HasSuffix(before, inside) {
		return strings.TrimSuffix(before, inside), c.tagNames(quote, inside), tail
	}
	head = strings.TrimRightFunc(before, inWord)
	word := before[len(head):]
	columns := c.columnsOf(text)
	if strings.HasSuffix(head, ".") {
		return head, matching(word, columns), tail
	}
	if word == "" && len(columns) > 0 {
		return head, matching(word, columns), tail
	}
	return head, matching(word, columns, c.names(), sqlWords), tail
}

func inWord(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) }

// command completes a line with a backslash.
func (c *sqlCompletion) command(before string) (head string, candidates []string) {
	word, rest, behind := strings.Cut(before, " ")
	switch {
	case !behind:
		return "", matching(word, backslashes)
	case word == `\d`:
		names := slices.Clone(c.names())
		for i := range names {
			names[i] = strings.TrimSuffix(names[i], "(")
		}
		return word + " ", matching(rest, names)
	case word == `\output`:
		return word + " ", matching(rest, sqlOutputs)
	case word == `\tags`:
		return word + " ", c.tagNames(0, rest)
	}
	return before, nil
}

// matching is the names that begin with a word, which stays as it was typed; in order, each once.
func matching(word string, lists ...[]string) (out []string) {
	capitals := word != "" && strings.ToUpper(word) == word && strings.ToLower(word) != word
	for _, list := range lists {
		for _, name := range list {
			if len(name) < len(word) || !strings.EqualFold(name[:len(word)], word) {
				continue
			}
			behind := name[len(word):]
			if capitals {
				behind = strings.ToUpper(behind)
			}
			out = append(out, word+behind)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// tagNames is the names of tags that begin with what stands in quotes, with the quote behind. Where there are more of them than are asked
// for, the last candidate is what was typed, so that no more is filled in than all of them have.
func (c *sqlCompletion) tagNames(quote byte, inside string) (out []string) {
	doubled := strings.Repeat(string(rune(quote)), 2)
	prefix := inside
	if quote != 0 {
		prefix = strings.ReplaceAll(inside, doubled, string(rune(quote)))
	}
	if strings.ContainsAny(prefix, "*?") {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), completionPatience)
	defer cancel()
	found, err := c.session.client.catalog.ListTags(ctx, &varvev1.ListTagsRequest{Filter: prefix + "*", PageSize: maxCompletions})
	if err != nil {
		return nil
	}
	for _, t := range found.Tags {
		if answer.Printable(t.Name) != t.Name || !strings.HasPrefix(t.Name, prefix) {
			continue
		}
		if quote == 0 {
			out = append(out, t.Name)
		} else {
			out = append(out, strings.ReplaceAll(t.Name, string(rune(quote)), doubled)+string(rune(quote)))
		}
	}
	if found.NextPageToken != "" {
		out = append(out, inside+"…")
	}
	return out
}

// names is the tables and functions.
func (c *sqlCompletion) names() []string {
	if c.tables == nil {
		for _, row := range c.texts("SHOW TABLES") {
			if len(row) > 1 && row[1] == "function" {
				row[0] += "("
			}
			c.tables = append(c.tables, row[0])
		}
	}
	return c.tables
}

// columnsOf is the columns of the tables and functions that are named in a text, and the arguments of these.
func (c *sqlCompletion) columnsOf(text string) (out []string) {
	words := strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return !inWord(r) })
	for _, name := range c.names() {
		name = strings.TrimSuffix(name, "(")
		if !slices.Contains(words, name) {
			continue
		}
		columns, ok := c.columns[name]
		if !ok {
			for _, row := range c.texts("DESCRIBE " + name) {
				if len(row) > 2 && row[2] == "argument" {
					row[0] += " =>"
				}
				columns = append(columns, row[0])
			}
			if columns != nil { // else the server did not answer, and may the next time
				c.columns[name] = columns
			}
		}
		out = append(out, columns...)
	}
	return out
}

// texts asks the server for rows of texts; none where it does not answer in time.
func (c *sqlCompletion) texts(sql string) (out [][]string) {
	ctx, cancel := context.WithTimeout(context.Background(), completionPatience)
	defer cancel()
	as := *c.session
	as.parameters, as.timeout = nil, 0
	r, err := as.ask(ctx, sql)
	if err != nil {
		return nil
	}
	defer r.Close()
	for {
		rec, err := r.Next()
		if err != nil {
			return out
		}
		for i := range int(rec.NumRows()) {
			var row []string
			for _, column := range rec.Columns() {
				text, ok := column.(*array.String)
				if !ok {
					return nil
				}
				row = append(row, text.Value(i))
			}
			out = append(out, row)
		}
	}
}
