package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/varvedb/varve/internal/answer"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

type sqlFlags struct {
	client     clientFlags
	output     string
	zone       string
	timeout    time.Duration
	parameters []string
	file       string
	describe   bool
}

func newSQLCommand() *cobra.Command {
	var f sqlFlags
	cmd := &cobra.Command{
		Use:   "sql [flags] [STATEMENT]",
		Short: "Print the rows of an SQL statement, or ask for one after another",
		Long: `Runs one SELECT statement over samples, tags and what else docs/reference/sql.md lists, and prints its rows. The SQL is that of DuckDB:
joins, ASOF joins, windows, common table expressions, PIVOT with a list of values. Statements read; they change nothing.

Times are instants in UTC, in whole microseconds; time_ns has the nanoseconds. Conditions on tag, time, severity and quality are looked up,
all others looked at row by row.

--parameter gives the values of $1, $2 and so on, in order: true, false and null are that, numbers are numbers, all else is text, as is
what stands in double quotes.

csv and json have the columns of the statement; in json whole numbers are numbers, however long. NaN and infinities are strings.

Without a statement those on standard input are run, each up to its semicolon, up to the first that fails. On a terminal that is a shell: \? says
what it knows beside SQL, Tab completes, Ctrl-C stops a statement, Ctrl-D leaves. It keeps what was typed in varve/sql_history in the folder for
state ($XDG_STATE_HOME, else ~/.local/state), but for statements with words such as token and password.`,
		Example: `  varve sql "select tag, count(*), avg(value) from samples where time >= now() - interval 1 day group by tag"
  varve sql -o csv --parameter FI-101 "select time, value, severity from samples where tag = \$1 order by time"
  varve sql < report.sql
  varve sql
  varve sql -o parquet --file day.parquet "select * from samples where time >= now() - interval 1 day"
  varve sql "select t.name, l.value, l.age_s from latest l join tags t using (tag_id) where t.unit = 'degC'"`,
		Args: asUsage(cobra.MaximumNArgs(1)),
		RunE: f.run,
	}
	f.client.register(cmd)
	flags := cmd.Flags()
	flags.StringVarP(&f.output, "output", "o", "table", "table, record (a line for each value), csv, json, arrow or parquet")
	flags.StringArrayVarP(&f.parameters, "parameter", "p", nil, "value of the next parameter; may be given more than once")
	flags.StringVar(&f.zone, "tz", "", "IANA zone in which a table prints times (default UTC)")
	flags.DurationVar(&f.timeout, "timeout", 0, "how long the statement may run (default what the server allows)")
	flags.StringVar(&f.file, "file", "", "write to this file")
	flags.BoolVar(&f.describe, "describe", false, "print columns and parameters of the statement, and do not run it")
	return cmd
}

var sqlOutputs = []string{"table", "record", "csv", "json", "arrow", "parquet"}

// run runs the statement that is given, or else what standard input has: a script, or a person at a terminal.
func (f *sqlFlags) run(cmd *cobra.Command, args []string) error {
	if !slices.Contains(sqlOutputs, f.output) {
		return usageError(fmt.Errorf("output %q: must be one of %s", f.output, strings.Join(sqlOutputs, ", ")))
	}
	if f.timeout < 0 || f.timeout > 0 && f.timeout < time.Millisecond {
		return usageError(fmt.Errorf("--timeout %s: must be at least 1ms", f.timeout))
	}
	if f.describe && len(args) == 0 {
		return usageError(errors.New("--describe: describe what? give a statement"))
	}
	zone, err := loadZone(f.zone)
	if err != nil {
		return usageError(err)
	}
	c, err := f.client.dial()
	if err != nil {
		return err
	}
	defer c.close()
	if f.describe {
		return f.print(cmd, c, &varvev1.SqlRequest{Sql: args[0], TimeoutMs: uint32(min(f.timeout.Milliseconds(), 1<<32-1))})
	}
	s := &sqlSession{
		client: c, out: cmd.OutOrStdout(), said: cmd.ErrOrStderr(), startZone: zone, zone: zone, startTimeout: f.timeout, timeout: f.timeout, output: f.output, file: f.file,
	}
	for _, p := range f.parameters {
		s.parameters = append(s.parameters, sqlValue(p))
	}
	if len(args) == 1 {
		_, err := s.answer(cmd.Context(), args[0])
		return c.explainSQL(err)
	}
	in := cmd.InOrStdin()
	if isTerminal(in) && isTerminal(s.out) {
		s.said, s.terminal = s.out, true
		return s.shell(cmd.Context())
	}
	return s.script(cmd.Context(), in)
}

func isTerminal(x any) bool {
	file, ok := x.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// print prints what a statement has.
func (f *sqlFlags) print(cmd *cobra.Command, c *client, r *varvev1.SqlRequest) error {
	d, err := c.sql.Describe(cmd.Context(), r)
	if err != nil {
		return c.explainSQL(err)
	}
	for _, x := range []struct {
		title string
		ipc   []byte
	}{{"column", d.Columns}, {"parameter", d.Parameters}} {
		s, err := answer.ReadSchema(x.ipc)
		if err != nil {
			return err
		}
		for _, field := range s.Fields() {
			fmt.Fprintf(cmd.OutOrStdout(), "%s\t%s\t%s\n", x.title, field.Name, field.Type)
		}
	}
	return nil
}

// explainSQL is explain for statements: that SQL is not there is not that the server is old.
func (c *client) explainSQL(err error) error {
	if s, ok := status.FromError(err); ok && err != nil && s.Code() == codes.Unimplemented && strings.HasPrefix(s.Message(), "SQL is ") {
		return fmt.Errorf("the server at %s: %s", c.address, s.Message())
	}
	return c.explain(err)
}

// sqlValue reads the value of a parameter.
func sqlValue(s string) *varvev1.SqlValue {
	switch s {
	case "null":
		return &varvev1.SqlValue{Value: &varvev1.SqlValue_Null{Null: true}}
	case "true", "false":
		return &varvev1.SqlValue{Value: &varvev1.SqlValue_Boolean{Boolean: s == "true"}}
	}
	if i, err := strconv.ParseInt(s, 10, 64); err == nil {
		return &varvev1.SqlValue{Value: &varvev1.SqlValue_Integer{Integer: i}}
	}
	if x, err := strconv.ParseFloat(s, 64); err == nil {
		return &varvev1.SqlValue{Value: &varvev1.SqlValue_Number{Number: x}}
	}
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		s = s[1 : len(s)-1]
	}
	return &varvev1.SqlValue{Value: &varvev1.SqlValue_Text{Text: s}}
}
