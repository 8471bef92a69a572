package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/peterh/liner"
	"golang.org/x/term"

	"github.com/varvedb/varve/internal/answer"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/server/relation"
)

// maxShellStatement bounds what is gathered of a statement that does not end.
const maxShellStatement = 1 << 20

// sqlShell takes statements and commands one after another, from a person or from a pipe.
type sqlShell struct {
	f      *sqlFlags
	c      *client
	out    io.Writer
	zone   *time.Location
	timing bool
	person bool   // who sees a prompt, counts of rows and tables cut to the terminal's width
	last   string // the last statement that ran
	text   string // of a statement that has not ended
}

const shellHelp = `Statements end with a semicolon and may have many lines.
  \d            tables and functions
  \d NAME       columns of one
  \tags [GLOB]  names of tags
  \plot [SELECT …]  draw an answer: its first column of times across, a line for each column of numbers, a chart for each tag
  \output FORM  ` + "table, record, csv, json, arrow or parquet" + `
  \o [FILE]     write answers to a file; without one, to the terminal again
  \x            a line for each value, or a table again
  \timing       say how long statements take, or do not
  \watch [S]    run the last statement every S seconds (2) until Ctrl-C
  \q            end
SET TimeZone = 'ZONE' is how a table prints times; SET statement_timeout = '30s' how long a statement may run.
Tab completes keywords, tables, functions, columns and, between single quotes, tags. Ctrl-C stops a statement, Ctrl-D ends.
`

var errQuit = errors.New("the shell ends")

// pipe runs the statements of a reader; the first that fails ends it.
func (s *sqlShell) pipe(ctx context.Context, in io.Reader) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxShellStatement)
	for n := 1; lines.Scan(); n++ {
		switch err := s.line(ctx, lines.Text()); {
		case errors.Is(err, errQuit):
			return nil
		case err != nil:
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read statements: %w", err)
	}
	if blank(s.text) {
		return nil
	}
	return s.run(ctx, s.text) // the last one needs no semicolon
}

// terminal runs what a person types.
func (s *sqlShell) terminal(ctx context.Context, stderr io.Writer) error {
	ctx = context.WithoutCancel(ctx) // which Ctrl-C ends: here it ends a statement
	l := liner.NewLiner()
	defer func() { _ = l.Close() }() // the terminal is as it was
	l.SetCtrlCAborts(true)
	l.SetTabCompletionStyle(liner.TabPrints)
	l.SetWordCompleter(func(line string, pos int) (string, []string, string) { return s.complete(ctx, line, pos) })
	history := historyFile()
	readHistory(l, history)
	defer func() {
		if err := writeHistory(l, history); err != nil {
			fmt.Fprintf(stderr, "varve: the history is not kept: %v\n", err)
		}
	}()
	fmt.Fprintf(s.out, "varve at %s. \\? for help.\n", s.c.address)
	for {
		prompt := "varve> "
		if !blank(s.text) {
			prompt = "   ..> "
		}
		text, err := l.Prompt(prompt)
		switch {
		case errors.Is(err, liner.ErrPromptAborted):
			s.text = ""
			continue
		case errors.Is(err, io.EOF):
			fmt.Fprintln(s.out)
			return nil
		case err != nil:
			return err
		}
		if secret.MatchString(text) {
			fmt.Fprintln(stderr, "this line is not kept in the history: it may have a secret")
		} else if strings.TrimSpace(text) != "" {
			l.AppendHistory(text)
		}
		err = s.interruptible(ctx, func(ctx context.Context) error { return s.line(ctx, text) })
		if errors.Is(err, errQuit) {
			return nil
		}
		if err != nil {
			s.text = ""
			fmt.Fprintln(stderr, "varve: "+err.Error())
		}
	}
}

// secret is what no history should have.
var secret = regexp.MustCompile(`(?i)password|secret|token|varve_[a-z0-9]`)

// interruptible lets Ctrl-C end f and not the shell.
func (s *sqlShell) interruptible(ctx context.Context, f func(context.Context) error) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt)
	defer stop()
	err := f(ctx)
	if err != nil && ctx.Err() != nil {
		return errors.New("stopped")
	}
	return err
}

// line takes one line: a command, or a part of statements.
func (s *sqlShell) line(ctx context.Context, text string) error {
	if blank(s.text) && strings.HasPrefix(strings.TrimSpace(text), `\`) {
		s.text = ""
		return s.command(ctx, strings.TrimSpace(text))
	}
	s.text += text + "\n"
	if len(s.text) > maxShellStatement {
		return fmt.Errorf("the statement has more than %d bytes and no semicolon", maxShellStatement)
	}
	for {
		statement, rest, ok := splitStatement(s.text)
		if !ok {
			return nil
		}
		s.text = rest
		if blank(statement) {
			continue
		}
		if err := s.run(ctx, statement); err != nil {
			return err
		}
	}
}

// command runs a command of the shell.
func (s *sqlShell) command(ctx context.Context, text string) error {
	name, rest, _ := strings.Cut(text, " ")
	rest = strings.TrimSuffix(strings.TrimSpace(rest), ";")
	switch name {
	case `\?`, `\h`, `\help`:
		_, err := io.WriteString(s.out, shellHelp)
		return err
	case `\q`, `\quit`:
		return errQuit
	case `\d`:
		return s.describe(rest)
	case `\tags`:
		return s.tags(ctx, rest)
	case `\plot`:
		if rest == "" {
			rest = s.last
		}
		if rest == "" {
			return errors.New("there is no statement to plot yet")
		}
		return s.plot(ctx, rest)
	case `\output`:
		if !slices.Contains(sqlOutputs, rest) {
			return fmt.Errorf("output %q: must be one of %s", rest, strings.Join(sqlOutputs, ", "))
		}
		s.f.output = rest
	case `\x`:
		if s.f.output == "record" {
			s.f.output = "table"
		} else {
			s.f.output = "record"
		}
		return s.say("output is %s\n", s.f.output)
	case `\o`:
		s.f.file = rest
	case `\timing`:
		s.timing = !s.timing
		return s.say("timing is %s\n", map[bool]string{true: "on", false: "off"}[s.timing])
	case `\watch`:
		return s.watch(ctx, rest)
	default:
		return fmt.Errorf(`%s is no command; \? lists them`, name)
	}
	return nil
}

// say tells a person something.
func (s *sqlShell) say(format string, a ...any) error {
	if !s.person {
		return nil
	}
	_, err := fmt.Fprintf(s.out, format, a...)
	return err
}

// setting is SET of what the shell itself has.
var setting = regexp.MustCompile(`(?is)^\s*set\s+(?:session\s+)?(time\s*zone|statement_timeout)\s*(?:=|\bto\b|\s)\s*'?([^']*?)'?\s*$`)

// run runs one statement.
func (s *sqlShell) run(ctx context.Context, sql string) error {
	if m := setting.FindStringSubmatch(sql); m != nil {
		return s.set(m[1], m[2])
	}
	s.last = sql
	began := time.Now()
	rows, err := s.f.answer(ctx, s.c, sql, s.out, s.zone, s.cut())
	if err != nil {
		return err
	}
	took := ""
	if s.timing {
		took = fmt.Sprintf(", %s", time.Since(began).Round(10*time.Microsecond))
	}
	if s.f.file != "" || s.f.output == "table" || s.f.output == "record" {
		return s.say("%d %s%s\n", rows, plural(rows, "row", "rows"), took)
	}
	return nil
}

func plural(n uint64, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// set is SET.
func (s *sqlShell) set(name, value string) error {
	if strings.EqualFold(name, "statement_timeout") {
		d, err := time.ParseDuration(value)
		if ms, number := strconv.Atoi(value); number == nil { // as PostgreSQL has it
			d, err = time.Duration(ms)*time.Millisecond, nil
		}
		if err != nil || d < 0 || d > 0 && d < time.Millisecond {
			return fmt.Errorf("statement_timeout %q: must be a duration, such as 30s, or a number of milliseconds", value)
		}
		s.f.timeout = d
		return nil
	}
	zone, err := loadZone(value)
	if err != nil {
		return err
	}
	s.zone = zone
	return s.say("tables print times in %s; statements reckon in UTC, AT TIME ZONE %s reckons there\n", zone, "'"+zone.String()+"'")
}

// cut is the width that lines of tables are cut to, 0 for none.
func (s *sqlShell) cut() int {
	if f, ok := s.out.(*os.File); ok && s.person && s.f.file == "" && (s.f.output == "table" || s.f.output == "record") {
		if columns, _, err := term.GetSize(int(f.Fd())); err == nil {
			return columns
		}
	}
	return 0
}

// watch runs the last statement again and again.
func (s *sqlShell) watch(ctx context.Context, every string) error {
	pause := 2 * time.Second
	if every != "" {
		x, err := strconv.ParseFloat(every, 64)
		if err != nil || x < 0.1 || x > 86400 {
			return fmt.Errorf("watch %q: must be seconds, 0.1 to 86400", every)
		}
		pause = time.Duration(x * float64(time.Second))
	}
	if s.last == "" {
		return errors.New("there is no statement to watch yet")
	}
	for {
		if err := s.say("%s\n", time.Now().In(s.zone).Format(time.DateTime)); err != nil {
			return err
		}
		if err := s.run(ctx, s.last); err != nil {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
	}
}

// describe says what tables there are, or of which columns one is.
func (s *sqlShell) describe(name string) error {
	name = strings.ToLower(strings.Trim(name, `"`))
	w := bufio.NewWriter(s.out)
	for _, t := range relation.Tables {
		kind, of := "table", ""
		if t.Arguments != nil {
			kind = "function"
			for i, a := range t.Arguments {
				if i > 0 {
					of += ", "
				}
				of += a.Name
			}
			of = "(" + of + ")"
		}
		if name == "" {
			fmt.Fprintf(w, "%-8s  %s%s\n", kind, t.Name, of)
			continue
		}
		if t.Name != name {
			continue
		}
		fmt.Fprintf(w, "%s %s%s\n", kind, t.Name, of)
		for _, c := range t.Columns {
			fmt.Fprintf(w, "  %-24s %s\n", c.Name, c.Type)
		}
		if t.Dynamic() {
			fmt.Fprintln(w, "  and columns by its arguments")
		}
		return w.Flush()
	}
	if name != "" {
		return fmt.Errorf(`%q is no table and no function; \d lists them`, name)
	}
	return w.Flush()
}

// mostTags is how many names \tags prints.
const mostTags = 1000

func (s *sqlShell) tags(ctx context.Context, glob string) error {
	if glob == "" {
		glob = "*"
	}
	r, err := s.c.catalog.ListTags(ctx, &varvev1.ListTagsRequest{Filter: glob, PageSize: mostTags})
	if err != nil {
		return s.c.explain(err)
	}
	w := bufio.NewWriter(s.out)
	for _, t := range r.Tags {
		fmt.Fprintln(w, t.Name)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if r.NextPageToken != "" {
		return s.say("and more\n")
	}
	return nil
}

// answer runs one statement and writes its answer as the flags say. Lines of tables are cut to so many characters, 0 for none.
func (f *sqlFlags) answer(ctx context.Context, c *client, sql string, stdout io.Writer, zone *time.Location, cut int) (rows uint64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.sql.Query(ctx, f.request(sql))
	if err != nil {
		return 0, c.explainSQL(err)
	}
	out := queryFlags{output: f.output, file: f.file}
	w, finish, err := out.openOutput(stdout)
	if err != nil {
		return 0, err
	}
	if cut > 0 {
		w = &lineCutter{w: w, most: cut}
	}
	rows, err = f.write(w, stream, zone)
	if finishErr := finish(err == nil); err == nil {
		err = finishErr
	}
	return rows, c.explainSQL(err)
}

// lineCutter cuts lines that are longer than a terminal is wide. It is given whole runes.
type lineCutter struct {
	w    io.Writer
	most int
	at   int // characters of the present line
}

func (c *lineCutter) Write(b []byte) (int, error) {
	var out []rune
	for _, r := range string(b) {
		switch {
		case r == '\n':
			c.at = 0
			out = append(out, r)
			continue
		case c.at == c.most-1:
			out = append(out, '…')
		case c.at < c.most-1:
			out = append(out, r)
		}
		c.at++
	}
	if _, err := io.WriteString(c.w, string(out)); err != nil {
		return 0, err
	}
	return len(b), nil
}

// historyFile is where the lines of a person are kept, empty for nowhere.
func historyFile() string {
	dir := os.Getenv("XDG_STATE_HOME")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return ""
		}
		dir = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(dir, "varve", "sql_history")
}

func readHistory(l *liner.State, name string) {
	if f, err := os.Open(name); err == nil {
		_, _ = l.ReadHistory(f) // what cannot be read is not offered
		_ = f.Close()           // it was only read
	}
}

func writeHistory(l *liner.State, name string) error {
	if name == "" {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = l.WriteHistory(f)
	return errors.Join(err, f.Close())
}

// statementReader is an answer's reader; its caller closes it.
func (s *sqlShell) statementReader(ctx context.Context, sql string) (*answer.Reader, error) {
	stream, err := s.c.sql.Query(ctx, s.f.request(sql))
	if err != nil {
		return nil, s.c.explainSQL(err)
	}
	r, err := answer.NewReader(stream)
	if err != nil {
		return nil, s.c.explainSQL(err)
	}
	return r, nil
}
