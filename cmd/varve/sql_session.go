package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/varvedb/varve/internal/answer"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/server/pgwire"
)

// sqlSession runs statements one after another, with what was set between them.
type sqlSession struct {
	client     *client
	out, said  io.Writer // for answers; for what is said of them
	terminal   bool      // out is one
	parameters []*varvev1.SqlValue

	startZone, zone       *time.Location // in which a table prints times
	startTimeout, timeout time.Duration  // of each statement; 0 for what the server allows
	output                string
	file                  string // that answers go to, empty for out
	inFile                int    // answers there
	untimed               bool
	last                  string // the statement that ran last

	pending string // what was read of a statement that has not ended
}

// run runs one statement: those that set something of the session here, all others in the server.
func (s *sqlSession) run(ctx context.Context, sql string) error {
	if done, err := s.set(sql); done {
		return err
	}
	s.last = sql
	begun := time.Now()
	rows, err := s.answer(ctx, sql)
	if err != nil {
		return s.client.explainSQL(err)
	}
	switch {
	case !s.terminal:
	case s.untimed:
		fmt.Fprintf(s.said, "(%s%s)\n", counted(rows, "row"), s.whither())
	default:
		fmt.Fprintf(s.said, "(%s%s, %s)\n", counted(rows, "row"), s.whither(), roundTime(time.Since(begun)))
	}
	return nil
}

// whither names the file that an answer went to.
func (s *sqlSession) whither() string {
	if s.file == "" {
		return ""
	}
	return " to " + answer.Printable(s.file)
}

func counted(n uint64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// roundTime keeps three digits or so.
func roundTime(d time.Duration) time.Duration {
	for _, unit := range []time.Duration{time.Second, time.Millisecond, time.Microsecond} {
		if d >= unit {
			return d.Round(unit / 100)
		}
	}
	return d
}

// ask begins a statement.
func (s *sqlSession) ask(ctx context.Context, sql string) (*answer.Reader, error) {
	stream, err := s.client.sql.Query(ctx, &varvev1.SqlRequest{Sql: sql, Parameters: s.parameters, TimeoutMs: uint32(min(s.timeout.Milliseconds(), 1<<32-1))})
	if err != nil {
		return nil, err
	}
	return answer.NewReader(stream)
}

// answer runs a statement and writes its rows.
func (s *sqlSession) answer(ctx context.Context, sql string) (rows uint64, err error) {
	if s.terminal && s.file == "" && s.binary() {
		return 0, fmt.Errorf(`%s is no text for a terminal; \o FILE names a file for it`, s.output)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the call where the output fails
	r, err := s.ask(ctx, sql)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	w, finish, err := s.open()
	if err != nil {
		return 0, err
	}
	rows, err = s.write(w, r)
	if finishErr := finish(err == nil); err == nil {
		err = finishErr
	}
	if err == nil {
		s.inFile++
	}
	return rows, err
}

// binary reports whether an answer is a file of its own: none can stand behind another one.
func (s *sqlSession) binary() bool { return s.output == "arrow" || s.output == "parquet" }

// open is where the next answer goes. Answers of text stand one behind another in a file.
func (s *sqlSession) open() (w io.Writer, finish func(ok bool) error, err error) {
	switch {
	case s.inFile > 0 && s.file != "" && s.binary():
		return nil, nil, fmt.Errorf(`%s has an answer already, and a file of %s holds one; \o FILE names another`, s.file, s.output)
	case s.inFile > 0 && s.file != "":
		file, err := os.OpenFile(s.file, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			return nil, nil, err
		}
		return file, func(bool) error { return file.Close() }, nil
	}
	out := queryFlags{output: s.output, file: s.file}
	return out.openOutput(s.out)
}

func (s *sqlSession) write(w io.Writer, r *answer.Reader) (uint64, error) {
	switch {
	case s.output == "arrow":
		return answer.WriteArrow(w, r)
	case s.output == "parquet":
		return answer.WriteParquet(w, r, answer.ForFiles)
	case (s.output == "table" || s.output == "record") && s.terminal && s.file == "":
		return answer.WriteScreen(w, r, answer.Screen{Zone: s.zone, Width: s.width(), Records: s.output == "record"})
	}
	return answer.WriteStatement(w, r, s.output, s.zone)
}

// width is that of the terminal in characters, 0 where it is not known.
func (s *sqlSession) width() int {
	file, ok := s.out.(*os.File)
	if !ok {
		return 0
	}
	columns, _, err := term.GetSize(int(file.Fd()))
	if err != nil {
		return 0
	}
	return columns
}

// Statements about settings that the session has and the server has not.
var (
	resetHere = regexp.MustCompile(`(?i)^\s*reset\s+(timezone|time\s+zone|statement_timeout)\s*$`)
	showHere  = regexp.MustCompile(`(?i)^\s*show\s+(timezone|time\s+zone|statement_timeout)\s*$`)
)

// set does what a statement about a setting of the session says; false of every other statement.
func (s *sqlSession) set(sql string) (done bool, err error) {
	if m := showHere.FindStringSubmatch(sql); m != nil {
		value := s.timeout.String()
		if strings.HasPrefix(strings.ToLower(m[1]), "time") {
			value = s.zone.String()
		}
		fmt.Fprintln(s.out, value)
		return true, nil
	}
	name, value, ok := pgwire.Assignment(sql)
	if m := resetHere.FindStringSubmatch(sql); m != nil {
		name, value, ok = strings.ReplaceAll(m[1], " ", ""), "DEFAULT", true
	}
	if !ok {
		return false, nil
	}
	initial := strings.EqualFold(value, "DEFAULT")
	switch strings.ToLower(name) {
	case "timezone":
		return true, s.setZone(value, initial)
	case "statement_timeout":
		timeout := s.startTimeout
		if !initial {
			if timeout, err = pgwire.ParseTimeout(value); err != nil {
				return true, err
			}
			if timeout > 0 && timeout < time.Millisecond {
				return true, fmt.Errorf("statement_timeout is %s, must be at least 1ms, or 0 for what the server allows", timeout)
			}
		}
		s.timeout = timeout
		return true, nil
	}
	return false, nil
}

// setZone changes in which zone tables print times. Statements go on to run in UTC, which a person is told.
func (s *sqlSession) setZone(name string, initial bool) error {
	zone := s.startZone
	if !initial {
		var err error
		if name == "" {
			return errors.New("TimeZone must be the name of a zone, such as 'Europe/Berlin'")
		}
		if zone, err = loadZone(name); err != nil {
			return err
		}
	}
	s.zone = zone
	if s.terminal && zone != time.UTC {
		fmt.Fprintf(s.said, "Tables print times in %s. Statements run in UTC all the same: write time AT TIME ZONE '%s' where the clock on the wall is meant.\n", zone, zone)
	}
	return nil
}

// read takes the next line of what is typed or piped in, and runs what ends in it.
func (s *sqlSession) read(ctx context.Context, line string) error {
	if trimmed := strings.TrimSpace(line); strings.HasPrefix(trimmed, `\`) {
		if quote, _ := pgwire.OpenQuote(s.pending); quote == 0 {
			return s.command(ctx, trimmed)
		}
	}
	s.pending += line + "\n"
	if len(s.pending) > maxPending {
		s.pending = ""
		return fmt.Errorf("a statement has more than %d bytes, the most that the server takes", maxPending)
	}
	if len(s.pending) > 4096 && !strings.Contains(line, ";") { // which would cut a long one again at each of its lines
		return nil
	}
	whole, rest := pgwire.Split(s.pending)
	s.pending = rest
	for _, sql := range whole {
		if err := s.run(ctx, sql); err != nil {
			s.pending = ""
			return err
		}
	}
	return nil
}

// maxPending is how long a statement may be.
const maxPending = 1 << 20

// end runs what was read last, if that has no semicolon.
func (s *sqlSession) end(ctx context.Context) error {
	text := strings.TrimSpace(s.pending)
	s.pending = ""
	switch whole, rest := pgwire.Split(text + "\n;"); {
	case len(whole) == 1:
		return s.run(ctx, whole[0])
	case rest != "": // a quote or a comment is open: the server says where
		return s.run(ctx, text)
	}
	return nil
}

// setOutput changes how answers are written.
func (s *sqlSession) setOutput(output string) error {
	if !slices.Contains(sqlOutputs, output) {
		return fmt.Errorf("output %q: must be one of %s", output, strings.Join(sqlOutputs, ", "))
	}
	s.output = output
	return nil
}
