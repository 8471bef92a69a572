package main

import (
	"context"
	"slices"
	"strings"
	"time"
	"unicode"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/server/relation"
)

// keywords are what is offered besides names.
var keywords = strings.Fields(`all and any arg_max arg_min as asc asof at avg between by case cast count cross date_trunc desc distinct else end exists
	extract false filter first from full group having ilike in inner interval is join last lateral left like limit max min not null nulls now offset on or order
	over partition pivot qualify quantile_cont right rows sample select stddev sum then time_bucket time timestamptz true union unnest using values when where
	window with zone`)

// mostOffers is how many completions are shown.
const mostOffers = 60

// complete offers what the word at the cursor may be: tags between single quotes, names and keywords elsewhere.
func (s *sqlShell) complete(ctx context.Context, line string, pos int) (head string, offers []string, tail string) {
	runes := []rune(line)
	pos = min(pos, len(runes))
	before, tail := string(runes[:pos]), string(runes[pos:])
	if strings.Count(s.text+before, "'")%2 == 1 && strings.Contains(before, "'") {
		at := strings.LastIndexByte(before, '\'') + 1
		return before[:at], s.tagsFrom(ctx, before[at:]), tail
	}
	if strings.HasPrefix(before, `\`) {
		if command, word, ok := strings.Cut(before, " "); ok && command == `\d` {
			return command + " ", starting(tableNames(), word), tail
		}
		return "", starting([]string{`\d`, `\tags`, `\plot`, `\output`, `\o`, `\x`, `\timing`, `\watch`, `\q`, `\?`}, before), tail
	}
	at := strings.LastIndexFunc(before, func(r rune) bool { return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) }) + 1
	word := before[at:]
	if word == "" {
		return before, nil, tail
	}
	return before[:at], starting(s.words(s.text+line), word), tail
}

// words is every word that a statement may have, columns of the tables it names first.
func (s *sqlShell) words(statement string) (out []string) {
	statement = strings.ToLower(statement)
	named := strings.FieldsFunc(statement, func(r rune) bool { return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	for _, t := range relation.Tables {
		if !slices.Contains(named, t.Name) {
			continue
		}
		for _, c := range t.Columns {
			out = append(out, c.Name)
		}
		for _, a := range t.Arguments {
			out = append(out, a.Name)
		}
	}
	return append(append(out, tableNames()...), keywords...)
}

func tableNames() (out []string) {
	for _, t := range relation.Tables {
		out = append(out, t.Name)
	}
	return out
}

// starting is the words that begin with one, in the case that was begun with, each once.
func starting(words []string, with string) (out []string) {
	upper := with != "" && with == strings.ToUpper(with) && with != strings.ToLower(with)
	for _, w := range words {
		if strings.HasPrefix(w, strings.ToLower(with)) {
			if upper {
				w = strings.ToUpper(w)
			}
			out = append(out, w)
		}
	}
	slices.Sort(out)
	out = slices.Compact(out)
	return out[:min(len(out), mostOffers)]
}

// tagsFrom asks for tags that begin with a text. It offers none rather than make a person wait.
func (s *sqlShell) tagsFrom(ctx context.Context, with string) (out []string) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	with = strings.ReplaceAll(with, "''", "'")
	filter := strings.Map(func(r rune) rune { // filters have no way to say these characters
		if r == '*' || r == '?' {
			return '?'
		}
		return r
	}, with)
	r, err := s.c.catalog.ListTags(ctx, &varvev1.ListTagsRequest{Filter: filter + "*", PageSize: mostOffers})
	if err != nil {
		return nil
	}
	for _, t := range r.Tags {
		if strings.HasPrefix(t.Name, with) {
			out = append(out, strings.ReplaceAll(t.Name, "'", "''"))
		}
	}
	return out
}
