package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/varvedb/varve/internal/answer"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// sqlHelp is what \? prints.
const sqlHelp = `A statement ends with ; and may have many lines. Ctrl-C stops the one that runs, or drops what is typed; Ctrl-D leaves.
Tab completes key words, tables, functions, columns and, in quotes, names of tags.

  \d                 tables and functions
  \d NAME            columns of a table; of a function its arguments too
  \tags [GLOB]       tags, those that match
  \plot [STATEMENT]  draw numbers over time, of the last statement or this one
  \watch SECONDS     run the last statement again and again, until Ctrl-C
  \output FORMAT     table, record, csv, json, arrow or parquet
  \o [FILE]          write answers to a file, without FILE to the terminal again
  \x                 a line for each value (record), or a table again
  \timing            say how long a statement took, or no longer
  \q                 leave

SET TimeZone TO 'Europe/Berlin'   the zone in which tables print times
SET statement_timeout TO '30s'    how long a statement may run
`

// errQuit ends the session.
var errQuit = errors.New("the session is left")

// backslashes are the commands, for completion.
var backslashes = []string{`\?`, `\d`, `\o`, `\output`, `\plot`, `\q`, `\tags`, `\timing`, `\watch`, `\x`}

// command does what a line with a backslash says.
func (s *sqlSession) command(ctx context.Context, line string) error {
	word, rest, _ := strings.Cut(line, " ")
	rest = strings.TrimSpace(rest)
	if word != `\plot` {
		rest = strings.TrimSpace(strings.TrimSuffix(rest, ";"))
	}
	switch word = strings.TrimSuffix(word, ";"); word {
	case `\?`, `\h`, `\help`:
		_, err := fmt.Fprint(s.out, sqlHelp)
		return err
	case `\d`, `\dt`:
		if rest == "" {
			return s.show(ctx, "SHOW TABLES")
		}
		return s.show(ctx, "DESCRIBE "+rest)
	case `\tags`:
		return s.tags(ctx, rest)
	case `\plot`:
		return s.plot(ctx, rest)
	case `\watch`:
		return s.watch(ctx, rest)
	case `\output`:
		return s.setOutput(rest)
	case `\o`:
		return s.setFile(rest)
	case `\x`:
		s.output = map[bool]string{true: "table", false: "record"}[s.output == "record"]
		s.say("Answers are written as %s.", s.output)
	case `\timing`:
		s.untimed = !s.untimed
		s.say("How long statements take is %s.", map[bool]string{true: "not said", false: "said"}[s.untimed])
	case `\q`:
		return errQuit
	default:
		return fmt.Errorf(`there is no command %.40s; \? lists them`, answer.Printable(word))
	}
	return nil
}

// say tells a person at a terminal something.
func (s *sqlSession) say(format string, args ...any) {
	if s.terminal {
		fmt.Fprintf(s.said, format+"\n", args...)
	}
}

// show prints a table about tables, whatever answers are written as and to.
func (s *sqlSession) show(ctx context.Context, sql string) error {
	as := *s
	as.output, as.file, as.parameters = "table", "", nil
	if _, err := as.answer(ctx, sql); err != nil {
		return s.client.explainSQL(err)
	}
	return nil
}

// maxShownTags is how many tags \tags lists.
const maxShownTags = 500

// tags lists the tags whose names match.
func (s *sqlSession) tags(ctx context.Context, glob string) error {
	found, err := s.client.catalog.ListTags(ctx, &varvev1.ListTagsRequest{Filter: glob, PageSize: maxShownTags})
	if err != nil {
		return s.client.explain(err)
	}
	for _, t := range found.Tags {
		set := settingsOf(t)
		about := strings.TrimSpace(strings.Join([]string{set.typ.String(), set.unit, t.Description}, "  "))
		fmt.Fprintf(s.out, "%s  %s\n", answer.Printable(t.Name), answer.Printable(about))
	}
	if found.NextPageToken != "" {
		s.say(`The first %d; \tags GLOB has fewer, such as \tags FI-*`, len(found.Tags))
	} else {
		s.say("(%s)", counted(uint64(len(found.Tags)), "tag"))
	}
	return nil
}

// watch runs the last statement again and again until ctx ends, which is no error.
func (s *sqlSession) watch(ctx context.Context, every string) error {
	seconds, err := strconv.ParseFloat(every, 64)
	if err != nil || !(seconds >= 0.1 && seconds <= 86400) {
		return fmt.Errorf(`\watch %.40s: must be seconds, 0.1 to 86400`, answer.Printable(every))
	}
	if s.last == "" {
		return errors.New(`\watch runs the last statement again; run one first`)
	}
	tick := time.NewTicker(time.Duration(seconds * float64(time.Second)))
	defer tick.Stop()
	for {
		s.say("%s", time.Now().In(s.zone).Format("2006-01-02 15:04:05Z07:00"))
		switch err := s.run(ctx, s.last); {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// setFile changes where answers go.
func (s *sqlSession) setFile(name string) error {
	if info, err := os.Stat(name); name != "" && err == nil && info.IsDir() {
		return fmt.Errorf("%s is a folder", name)
	}
	s.file, s.inFile = name, 0
	if name == "" && s.terminal && s.binary() {
		s.output = "table"
		s.say("Answers are tables on the terminal again.")
	}
	return nil
}
