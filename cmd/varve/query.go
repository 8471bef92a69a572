package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"
	"golang.org/x/term"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/varvedb/varve/internal/answer"
	"github.com/varvedb/varve/internal/timeexpr"
	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

type queryFlags struct {
	client       clientFlags
	start        string
	end          string
	zone         string
	output       string
	file         string
	plot         bool
	pixels       uint32
	lttb         bool
	width        int
	height       int
	limit        uint64
	reverse      bool
	latest       bool
	eventual     bool
	seq          bool
	source       bool
	gaps         bool
	every        string
	calendar     string
	aggregates   []string
	useUncertain bool
	percentGood  uint32
	percentBad   uint32
	sloped       bool
	resolution   time.Duration
	asOf         string
	modified     bool
	count        uint64
	bounds       string
	quality      []string
	where        []string
	at           []string
	interpolated bool
	stepped      bool
	discrete     bool
	bridgeBad    bool
	expressions  []string
	wideFlags

	fill      string
	fillLimit uint32
	while     string

	timeInState                 bool
	counterHighest, counterStep uint64
	unit                        string

	openStart, openEnd bool  // --count in place of an edge
	override           *bool // --stepped, where it is given
}

var queryOutputs = []string{"table", "csv", "json", "arrow", "parquet"}

func newQueryCommand() *cobra.Command {
	var f queryFlags
	cmd := &cobra.Command{
		Use:   "query [flags] TAG...",
		Short: "Print the stored samples of tags in a time range",
		Long: `Prints the stored samples of tags from --start up to, but not including, --end: tag by tag in the order asked, each in
time order. A name with * or ? asks for every tag that matches.

Times are ` + timeexpr.Help + `.
Those without a zone are in --tz.

csv and json have the columns time, tag, value, quality. Times are RFC 3339 in UTC with up to nine decimals. Numbers are
the shortest that read back to the same bits. In csv a null value is nothing and empty text is "". In json int64, uint64,
NaN, +Inf and -Inf are strings; a state has its text as value and its number as code. Bytes are base64. A quality is the
name of its status code, with info bits behind it (Good, BadNoData, Good+Interpolated), else the code as 0x80FF0401. arrow is an Arrow file
and parquet a Parquet file, with the quality as uint32; a state's text is in value_text. Where tags have several types,
the columns are value (double), value_int, value_text and value_bytes.

With --aggregate a row is a bucket of --every, from --start on, with a column for each aggregate, its quality by time, and
how much of it is Good: ` + "count, sum, minimum, maximum, minimum_time, maximum_time, first, last,\nrange, standard_deviation, event_weighted_average, time_weighted_average, duration_good, percent_good, worst_quality" + `.
Uncertain samples count as Bad, unless --use-uncertain is given.

Aggregates named as in OPC UA Part 13 (Average, TimeAverage2, Minimum, PercentGood and 33 more; see docs/reference/part-13.md) are
calculated as the standard has it. A row is then one aggregate of one interval, with its own time and its status code and info
bits; --use-uncertain, --percent-good, --percent-bad and --sloped-extrapolation are the standard's AggregateConfiguration.
Such rows also answer percentile(95), median, time_weighted_percentile(95), increase, rate, total(h), integral, transitions, delta,
first_time, last_time, circular_mean and circular_deviation; see docs/reference/aggregates.md. All of them may be asked for together.
--while takes own aggregates, and times in states, over the part of each bucket in which a condition over tags holds; while_ns is how long that was.
--fill gives buckets of which nothing is known a value, of Uncertain quality; percent_good stays 0 there.
--time-in-state prints how long each tag was in each of its states, and how often it came to it.

--bounds says what stands at the edges: inside takes the end itself too, outside adds the sample at each edge or else the
nearest one outside, and a row of quality BadBoundNotFound where there is none, interpolated adds values calculated at the
edges. A column bound marks such rows. --count N reads N rows from --start on, or from --end backward: of the three two
are given, and without either edge it is the newest N. --quality and --where choose samples in the server; the operators of
--where are =, !=, <, <=, > and >=, text goes in quotes where it could be a number. --gaps shows of which times samples are missing, as
varve gaps records it: a row without a value at the start of each gap, its kind in the column gap, its end in gap_end.

--at prints the values at some instants, --interpolated those every --every: the sample that stands there, or what its
neighbours say, marked Interpolated in its quality. Values slope or step as the tag's settings say, or as --stepped says; no
value crosses more than the tag's largest gap, and nothing slopes into a Bad sample or across one, unless --bridge-bad looks for
the nearest usable ones. --discrete takes samples at exactly those times only.

--wide prints one table in place of rows for each tag: a column for each tag, a row for each --every from --start on, or for each
time at which the tag of --on-samples-of has a sample. A cell is the last sample at or before the time of its row (--mode asof; null where
it is Bad, or older than --max-age), what --interpolated would say (--mode interpolated), or the --aggregate of the bucket that begins there.

--pixels prints what a chart of so many columns of pixels shows: of each column the first, least, greatest and last value and where
the line breaks, so that a line through the rows covers the same pixels as one through all samples; --plot draws it. With --lttb it is
as many samples as stand out most, for the eye only.

--unit converts the values of tags of numbers, each from the unit its tag had at the time: before they are compared with --where,
interpolated or aggregated. docs/reference/units.md has the units.

--expression calculates a tag from others and answers all of the above about it, also without TAG: 'A + B', or 'name := A + B' to give it a
name. It has a sample wherever one of its tags has; docs/reference/expressions.md has functions, units and quality. Tags with other
characters than letters, digits, _ and . stand in double quotes. TAG may be the name of an expression that varve calculations keeps.

--as-of asks what varve query would have printed at that time: what was ingested in the second it lies in, or before, counts.
--modified prints the values that were replaced or removed in place of those that stand, with the columns kind (replaced or
removed), edit_time, author, reason and edit_offset of what ended each, behind ingest_time and source of the value.`,
		Example: `  varve query --start 2001-01-01T07:54:00Z --end 2001-01-01T08:12:00Z TEP.06.XMEAS_01
  varve query --start -1d --output csv 'BOILER*' > boiler.csv
  varve query --start -8h --plot PUMP-101.FLOW
  varve query --start 2025-01-01 --end 2026-01-01 --pixels 800 --output csv PUMP-101.FLOW
  varve query --latest '*'
  varve query --start -1d --every 1h --aggregate minimum,maximum,time_weighted_average PUMP-101.FLOW
  varve query --start -1d --every 1h --aggregate Average,TimeAverage2,PercentGood PUMP-101.FLOW
  varve query --start -1d --every 1h --aggregate 'percentile(95),total(h),increase' PUMP-101.FLOW
  varve query --start -1d --every 5m --aggregate time_weighted_average --fill linear --fill-limit 3 FI-101
  varve query --start -1d --every 1h --aggregate time_weighted_average --while "PUMP_101 = 'RUN' and FI_101 > 2" TI-204
  varve query --start -7d --every 1d --time-in-state PUMP-101.STATE
  varve query --start today+6h --end today+14h --bounds interpolated FI-101
  varve query --end 2026-03-01T06:00:00Z --count 10 FI-101
  varve query --start -1d --quality bad,uncertain 'BOILER*'
  varve query --start -1d --where '> 80' --where '<= 90' TI-204
  varve query --at 2026-03-01T06:00:00Z,2026-03-01T14:00:00Z 'BOILER*'
  varve query --start -1d --every 15m --interpolated FI-101 TI-204
  varve query --start -8h --unit '[psi]' --every 1h --aggregate minimum,maximum PI-101
  varve query --start -30d --tz Europe/Berlin --every 1d --aggregate count,time_weighted_average PUMP-101.FLOW
  varve query --start -7d --every shift --calendar shifts.json --aggregate TimeAverage2 PUMP-101.FLOW
  varve query --start -1d --expression 'dP := in_unit(PI_1 - PI_2, '\''mbar'\'')' --expression 'if("P-101.RUN" = '\''ON'\'', FI, 0)'
  varve query --start -1h --every 1s --wide 'BOILER*' --output parquet --file boiler.parquet
  varve query --start 2026-03-01 --end 2026-04-01 --as-of 2026-04-02T06:00:00Z FI-101
  varve query --start 2026-03-01 --end 2026-04-01 --modified --output csv FI-101`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 && len(f.expressions) == 0 {
				return usageError(fmt.Errorf("no tag to query; see %s --help, or varve tags list for the tags there are", cmd.CommandPath()))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	f.client.register(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.start, "start", "-1h", "first instant")
	flags.StringVar(&f.end, "end", "now", "instant behind the last; a start later than the end reads (end, start] newest first")
	flags.StringVar(&f.zone, "tz", "", "IANA zone in which times without one are read, and the table printed (default UTC)")
	flags.StringVarP(&f.output, "output", "o", "table", "one of "+strings.Join(queryOutputs, ", "))
	flags.StringVar(&f.file, "file", "", "write to this file in place of standard output")
	flags.BoolVar(&f.plot, "plot", false, "draw a chart of each tag in place of its samples")
	flags.Uint32Var(&f.pixels, "pixels", 0, "what a chart of so many columns of pixels shows of each tag, in place of its samples")
	flags.BoolVar(&f.lttb, "lttb", false, "with --pixels: keep so many samples that stand out (largest triangle three buckets)")
	flags.IntVar(&f.width, "width", 0, "characters across a chart (default the terminal's)")
	flags.IntVar(&f.height, "height", 12, "lines of a chart")
	flags.Uint64Var(&f.limit, "limit", 0, "most samples per tag (default all)")
	flags.BoolVar(&f.reverse, "reverse", false, "newest first")
	flags.BoolVar(&f.latest, "latest", false, "only the newest sample of each tag, whenever it was")
	flags.BoolVar(&f.eventual, "eventual", false, "take what is applied now, without waiting for batches accepted just before")
	flags.BoolVar(&f.seq, "with-seq", false, "add a column seq, which tells several samples at one time apart")
	flags.StringVar(&f.asOf, "as-of", "", "answer from what stood at this time (default now)")
	flags.BoolVar(&f.modified, "modified", false, "the values that were replaced or removed, with when, by whom and why")
	flags.BoolVar(&f.gaps, "gaps", false, "show gaps: a row for each at its start, and columns gap and gap_end")
	flags.BoolVar(&f.source, "with-source", false, "add columns ingest_time and source")
	flags.Uint64Var(&f.count, "count", 0, "this many rows of each tag from --start on, or from --end backward, whichever is given")
	flags.StringVar(&f.bounds, "bounds", "none", "what stands at the edges: one of "+strings.Join(boundNames, ", "))
	flags.StringSliceVar(&f.quality, "quality", nil, "only samples that are good, uncertain or bad, with commas between")
	flags.StringArrayVar(&f.where, "where", nil, "only samples whose value meets this, such as '> 80'; may be given several times")
	flags.StringSliceVar(&f.at, "at", nil, "the values at these times in place of samples, with commas between")
	flags.BoolVar(&f.interpolated, "interpolated", false, "with --every: values at even distances from --start on in place of samples")
	flags.BoolVar(&f.stepped, "stepped", false, "with --at and --interpolated: hold each sample up to the next, or with =false slope (default as the tag)")
	flags.BoolVar(&f.discrete, "discrete", false, "with --at and --interpolated: no value but at the time of a sample")
	flags.StringVar(&f.unit, "unit", "", "UCUM code of the unit to convert values to, such as bar, Cel, [degF], m3/h (default as stored)")
	flags.BoolVar(&f.bridgeBad, "bridge-bad", false, "with --at and --interpolated: calculate across samples that are not usable")
	flags.StringArrayVar(&f.expressions, "expression", nil, "a calculation over tags, as 'A + B' or 'name := A + B'; may be given several times")
	f.wideFlags.register(flags)
	flags.StringVar(&f.every, "every", "", "with --aggregate: length of a bucket: 1m from --start on, or of a calendar in --tz: 1d, 1w, 1mo, 8h of day, shift (default all of the range); with --interpolated and --wide: distance of values")
	flags.StringVar(&f.calendar, "calendar", "", "with --every: shifts and periods, in a zone of their own: name of a stored calendar, or file that ends in .json or has a slash")
	flags.StringSliceVar(&f.aggregates, "aggregate", nil, "aggregates of each bucket in place of its samples, with commas between")
	flags.StringVar(&f.fill, "fill", "none", "with --aggregate: what a bucket of which nothing is known gets: none, previous, linear, omit (no row) or a number such as 0")
	flags.Uint32Var(&f.fillLimit, "fill-limit", 0, "with --fill previous: for so many buckets; with --fill linear: of holes of so many (default any)")
	flags.StringVar(&f.while, "while", "", "with --aggregate and --time-in-state: only the time counts in which this condition holds, such as \"PUMP-101.STATE = 'RUN'\"")
	flags.BoolVar(&f.useUncertain, "use-uncertain", false, "with --aggregate, --at, --interpolated and --pixels: Uncertain samples count too")
	flags.Uint32Var(&f.percentGood, "percent-good", 100, "with aggregates of Part 13: percent of Good data that makes a result Good")
	flags.Uint32Var(&f.percentBad, "percent-bad", 100, "with aggregates of Part 13: percent of Bad data that makes a result Bad")
	flags.BoolVar(&f.sloped, "sloped-extrapolation", false, "with aggregates of Part 13: go on behind the last sample along the slope of the last two")
	flags.BoolVar(&f.timeInState, "time-in-state", false, "how long each tag was in each of its states, in buckets of --every")
	flags.Uint64Var(&f.counterHighest, "counter-highest", 0, "with increase and rate: the value after which the counter shows 0 (default it never rolls over)")
	flags.Uint64Var(&f.counterStep, "counter-step", 0, "with increase and rate: the most the counter counts from one sample to the next (default half of --counter-highest)")
	flags.DurationVar(&f.resolution, "time-resolution", time.Millisecond, "with aggregates of Part 13: their unit of time")
	return cmd
}

func (f *queryFlags) run(cmd *cobra.Command, names []string) error {
	if !slices.Contains(queryOutputs, f.output) {
		return usageError(fmt.Errorf("output %q: must be one of %s", f.output, strings.Join(queryOutputs, ", ")))
	}
	zone, err := loadZone(f.zone)
	if err != nil {
		return usageError(err)
	}
	if err := f.checkTogether(cmd.Flags()); err != nil {
		return usageError(err)
	}
	start, end, err := f.rangeOf(time.Now(), zone)
	if err != nil {
		return usageError(err)
	}
	asOf, err := f.asOfTime(time.Now(), zone)
	if err != nil {
		return usageError(err)
	}
	ask, err := f.question(start, end, asOf)
	if err != nil {
		return usageError(err)
	}
	times, err := f.times(time.Now(), zone)
	if err != nil {
		return usageError(err)
	}
	c, err := f.client.dial()
	if err != nil {
		return err
	}
	defer c.close()
	ctx := cmd.Context()
	tags, err := c.find(ctx, names, c.findReadable)
	if err != nil {
		return err
	}
	for _, t := range tags {
		ask.Tags = append(ask.Tags, t.asked)
	}
	ask.Expressions = f.expressions
	if f.plot {
		return c.explain(f.plotAll(ctx, cmd, c, ask, tags, zone))
	}
	stream, err := f.ask(ctx, c, ask, times)
	if err != nil {
		return c.explain(err)
	}
	out, finish, err := f.openOutput(cmd.OutOrStdout())
	if err != nil {
		return err
	}
	samples, warning, err := f.write(out, stream, tags, zone)
	if err = errors.Join(c.explain(err), finish(err == nil)); err != nil {
		return err
	}
	if warning != "" {
		fmt.Fprintln(cmd.ErrOrStderr(), "varve: "+warning)
	}
	if samples == 0 && f.output == "table" && f.modified {
		fmt.Fprintf(cmd.ErrOrStderr(), "varve: nothing was replaced or removed in %s\n", model.Between(start, end))
	} else if samples == 0 && f.output == "table" && !f.latest {
		fmt.Fprintf(cmd.ErrOrStderr(), "varve: no samples in %s; varve query --latest shows when each tag last had one\n", model.Between(start, end))
	}
	return nil
}

// checkTogether refuses flags that do not go together, and notes which of those with defaults were given.
func (f *queryFlags) checkTogether(flags *pflag.FlagSet) error {
	if flags.Changed("stepped") {
		f.override = &f.stepped
	}
	if len(f.expressions) > 0 && (f.plot || f.modified || f.source) {
		return errors.New("--expression: goes with none of --plot, --modified and --with-source; --pixels answers what --plot draws")
	}
	if f.wide {
		return f.checkWide()
	}
	samples := f.count > 0 || f.bounds != "none" || len(f.quality) > 0 || len(f.where) > 0 || f.gaps
	switch {
	case f.gaps && (f.count > 0 || f.limit > 0):
		return errors.New("--gaps: goes with neither --count nor --limit, which count samples")
	case f.mode != "" || f.withQuality || f.onSamplesOf != "" || f.maxAge > 0:
		return errors.New("--mode, --with-quality, --on-samples-of and --max-age: need --wide")
	case f.count > 0 && f.limit > 0:
		return errors.New("--count and --limit: give one; --count is for a range with one edge, --limit for one with two")
	case f.unit != "" && f.timeInState:
		return errors.New("--unit: goes not with --time-in-state, whose answer has no values")
	case f.count > 0 && f.reverse:
		return errors.New("--reverse with --count: give --end and no --start to read backward")
	case samples && (f.latest || f.modified || f.charted() || len(f.aggregates) > 0 || f.timeInState || f.atTimes()):
		return errors.New("--count, --bounds, --gaps, --quality and --where: go with none of --latest, --modified, --plot, --pixels, --aggregate, --time-in-state, --at and --interpolated")
	}
	if err := errors.Join(f.checkPlot(), f.checkAtTimes()); err != nil {
		return err
	}
	if f.count > 0 {
		f.openEnd = flags.Changed("start") && !flags.Changed("end")
		f.openStart = !flags.Changed("start")
	}
	return f.checkAggregates()
}

func (f *queryFlags) checkAtTimes() error {
	switch {
	case f.interpolated && f.distance() <= 0:
		return errors.New("--interpolated: at what distance? add --every, such as --every 1m")
	case f.interpolated && len(f.at) > 0:
		return errors.New("--at and --interpolated: give one")
	case f.atTimes() && (f.charted() || f.latest || f.modified || f.seq || f.source || f.limit > 0 || len(f.aggregates) > 0):
		return errors.New("--at and --interpolated: go with none of --plot, --pixels, --latest, --modified, --limit, --with-seq, --with-source and --aggregate")
	case !f.atTimes() && (f.override != nil && !f.processed() || f.discrete || f.bridgeBad):
		return errors.New("--stepped, --discrete and --bridge-bad: need --at or --interpolated; --stepped goes with aggregates of Part 13 too")
	}
	return nil
}

// atTimes reports whether values at instants are asked for.
func (f *queryFlags) atTimes() bool { return f.interpolated || len(f.at) > 0 }

func loadZone(name string) (*time.Location, error) {
	if name == "" {
		return time.UTC, nil
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("time zone %q: must be a name such as UTC, Local or Europe/Berlin", name)
	}
	return zone, nil
}

func (f *queryFlags) rangeOf(now time.Time, zone *time.Location) (start, end int64, err error) {
	if start, err = timeexpr.Parse(f.start, now, zone); err != nil {
		return 0, 0, fmt.Errorf("--start: %w", err)
	}
	if end, err = timeexpr.Parse(f.end, now, zone); err != nil {
		return 0, 0, fmt.Errorf("--end: %w", err)
	}
	switch {
	case !f.reverse || start > end:
	case f.bounds != "none":
		start, end = end, start // what stands at the edges belongs to the answer in either direction
	default:
		start, end = end-1, start-1 // (end, start] holds the same instants
	}
	return start, end, nil
}

func (f *queryFlags) consistency() varvev1.Consistency {
	if f.eventual {
		return varvev1.Consistency_CONSISTENCY_EVENTUAL
	}
	return varvev1.Consistency_CONSISTENCY_ACCEPTED
}

// asOfTime is the instant of --as-of, nil without it. The questions that flags ask together must be one.
func (f *queryFlags) asOfTime(now time.Time, zone *time.Location) (*int64, error) {
	switch {
	case f.modified && (f.latest || f.asOf != ""):
		return nil, errors.New("--modified goes with none of --latest and --as-of")
	case f.asOf == "":
		return nil, nil
	case f.latest:
		return nil, errors.New("--as-of does not go with --latest; --reverse --limit 1 with a range asks the same")
	}
	t, err := timeexpr.Parse(f.asOf, now, zone)
	if err != nil {
		return nil, fmt.Errorf("--as-of: %w", err)
	}
	return &t, nil
}

// question is the question that flags ask about a range, but for its tags.
func (f *queryFlags) question(start, end int64, asOf *int64) (*varvev1.ReadRangeRequest, error) {
	r := &varvev1.ReadRangeRequest{
		StartNs: &start, EndNs: &end, Consistency: f.consistency(), Limit: max(f.limit, f.count),
		WithSeq: f.seq, WithSource: f.source, WithGaps: f.gaps, AsOfNs: asOf, Unit: f.unit,
	}
	if f.openStart {
		r.StartNs = nil
	}
	if f.openEnd {
		r.EndNs = nil
	}
	bounds := slices.Index(boundNames, f.bounds)
	if bounds < 0 {
		return nil, fmt.Errorf("--bounds %q: must be one of %s", f.bounds, strings.Join(boundNames, ", "))
	}
	r.Bounds = varvev1.Bounds(bounds + 1)
	for _, q := range f.quality {
		i := slices.Index(severityNames, strings.ToLower(q))
		if i < 0 {
			return nil, fmt.Errorf("--quality %q: must be one of %s", q, strings.Join(severityNames, ", "))
		}
		r.Severities = append(r.Severities, varvev1.Severity(i+1))
	}
	for _, w := range f.where {
		c, err := parseComparison(w)
		if err != nil {
			return nil, err
		}
		r.Where = append(r.Where, c)
	}
	return r, nil
}

// The names of what the wire has numbers for, from 1.
var (
	boundNames    = []string{"none", "inside", "outside", "interpolated"}
	severityNames = []string{"good", "uncertain", "bad"}
	operators     = []string{"=", "!=", "<", "<=", ">", ">="}
)

// parseComparison reads an operator and what to compare with: a number, else text, in quotes or not.
func parseComparison(s string) (*varvev1.Comparison, error) {
	rest := strings.TrimSpace(s)
	n := len(rest) - len(strings.TrimLeft(rest, "=!<>"))
	op := slices.Index(operators, rest[:n])
	operand := strings.TrimSpace(rest[n:])
	if op < 0 || operand == "" {
		return nil, fmt.Errorf("--where %q: must be one of %s and a number or a text, such as '> 80' or '= \"running\"'", s, strings.Join(operators, " "))
	}
	c := &varvev1.Comparison{Operator: varvev1.Comparison_Operator(op + 1)}
	if i, err := strconv.ParseInt(operand, 10, 64); err == nil {
		c.Operand = &varvev1.Comparison_Integer{Integer: i}
	} else if x, err := strconv.ParseFloat(operand, 64); err == nil {
		c.Operand = &varvev1.Comparison_Number{Number: x}
	} else if text, err := strconv.Unquote(operand); err == nil {
		c.Operand = &varvev1.Comparison_Text{Text: text}
	} else {
		c.Operand = &varvev1.Comparison_Text{Text: operand}
	}
	return c, nil
}

// times are the instants of --at.
func (f *queryFlags) times(now time.Time, zone *time.Location) ([]int64, error) {
	out := make([]int64, len(f.at))
	for i, at := range f.at {
		t, err := timeexpr.Parse(at, now, zone)
		if err != nil {
			return nil, fmt.Errorf("--at: %w", err)
		}
		out[i] = t
	}
	return out, nil
}

func (f *queryFlags) ask(ctx context.Context, c *client, r *varvev1.ReadRangeRequest, times []int64) (answer.Stream, error) {
	switch {
	case f.wide:
		return f.askWide(ctx, c, r)
	case f.latest:
		return c.query.Latest(ctx, &varvev1.LatestRequest{Tags: r.Tags, Expressions: r.Expressions, Consistency: r.Consistency, Unit: r.Unit})
	case f.modified:
		return c.query.ReadModified(ctx, &varvev1.ReadModifiedRequest{
			Tags: r.Tags, StartNs: r.GetStartNs(), EndNs: r.GetEndNs(), Consistency: r.Consistency, Limit: r.Limit, WithSeq: r.WithSeq,
			Unit: r.Unit,
		})
	case len(f.aggregates) > 0, f.timeInState:
		return f.askAggregates(ctx, c, r)
	case f.atTimes():
		return f.askAtTimes(ctx, c, r, times)
	case f.pixels > 0:
		return f.askPlot(ctx, c, r, int(f.pixels))
	}
	return c.query.ReadRange(ctx, r)
}

func (f *queryFlags) askAtTimes(ctx context.Context, c *client, r *varvev1.ReadRangeRequest, times []int64) (answer.Stream, error) {
	q := &varvev1.ReadAtTimesRequest{
		Tags: r.Tags, Expressions: r.Expressions, TimesNs: times, Consistency: r.Consistency, Stepped: f.override, Discrete: f.discrete,
		BridgeBad: f.bridgeBad, UseUncertain: f.useUncertain, AsOfNs: r.AsOfNs, Unit: r.Unit,
	}
	if f.interpolated {
		q.StartNs, q.EndNs, q.EveryNs = r.GetStartNs(), r.GetEndNs(), f.distance().Nanoseconds()
	}
	return c.query.ReadAtTimes(ctx, q)
}

// distance is --every as the distance of interpolated values, 0 if it is none.
func (f *queryFlags) distance() time.Duration {
	d, err := time.ParseDuration(f.every)
	if err != nil {
		return 0
	}
	return d
}

// openOutput is where the answer goes. finish says whether it is whole: a file gets its name only then, so that one that
// was there before outlasts a query that fails.
func (f *queryFlags) openOutput(stdout io.Writer) (w io.Writer, finish func(ok bool) error, err error) {
	if f.file == "" {
		if file, ok := stdout.(*os.File); ok && (f.output == "arrow" || f.output == "parquet") && term.IsTerminal(int(file.Fd())) {
			return nil, nil, usageError(fmt.Errorf("%s is no text for a terminal; give --file, or send the output to one", f.output))
		}
		return stdout, func(bool) error { return nil }, nil
	}
	name, part := f.file, ""
	if target, err := filepath.EvalSymlinks(name); err == nil {
		name = target
	}
	flags, mode := os.O_WRONLY|os.O_CREATE|os.O_EXCL, os.FileMode(0o666)
	info, err := os.Stat(name)
	switch {
	case err == nil && !info.Mode().IsRegular(): // a device or a pipe is written to as it is, and never taken away
		flags = os.O_WRONLY
	case err == nil:
		mode = info.Mode().Perm()
		fallthrough
	default:
		part = fmt.Sprintf("%s.%d.part", name, os.Getpid())
	}
	file, err := os.OpenFile(orDefault(part, name), flags, mode)
	if err != nil {
		return nil, nil, err
	}
	buffered := bufio.NewWriterSize(file, 1<<20)
	return buffered, func(ok bool) error {
		flushed := buffered.Flush()
		if !ok {
			flushed = nil // what went wrong is known already
		}
		err := errors.Join(flushed, file.Close())
		switch {
		case part == "":
		case ok && err == nil:
			err = os.Rename(part, name)
		default:
			err = errors.Join(err, os.Remove(part))
		}
		return err
	}, nil
}

func (f *queryFlags) write(w io.Writer, stream answer.Stream, tags []foundTag, zone *time.Location) (samples uint64, warning string, err error) {
	r, err := answer.NewReader(stream)
	if err != nil {
		return 0, "", err
	}
	defer r.Close()
	if lost := r.Incomplete(); lost != "" {
		warning = "the answer is incomplete: the records of log offsets " + lost + " are damaged; see varve status"
	}
	if (f.wide || f.timeInState || len(f.aggregates) > 0 || f.pixels > 0) && f.output != "arrow" && f.output != "parquet" {
		samples, err = answer.WriteBuckets(w, r, f.output, zone)
		return samples, warning, err
	}
	rows := answer.NewRows(r, typesOf(tags))
	extra := answer.Extra{Seq: f.seq && !f.latest, Source: f.source && !f.latest || f.modified, Ends: f.modified, Bound: f.bounds != "none", Gaps: f.gaps}
	switch f.output {
	case "csv":
		samples, err = answer.WriteCSV(w, rows, extra)
	case "json":
		samples, err = answer.WriteJSON(w, rows, extra)
	case "arrow":
		samples, err = answer.WriteArrow(w, r)
	case "parquet":
		samples, err = answer.WriteParquet(w, r, answer.ForFiles)
	default:
		samples, err = answer.WriteTable(w, rows, zone, extra)
	}
	return samples, warning, err
}

func typesOf(tags []foundTag) map[string]answer.Types {
	types := make(map[string]answer.Types, len(tags))
	for _, t := range tags {
		typ := answer.TypesOf(t.Tag)
		types[t.Name], types[t.asked] = typ, typ
	}
	return types
}

// foundTag is a tag by the name that was asked for, which may be a former one.
type foundTag struct {
	*varvev1.Tag
	asked string
}

type tagSettings struct {
	typ     model.Type
	stepped bool
	unit    string
	states  string
}

// settingsOf is the settings of a tag in force now.
func settingsOf(t *varvev1.Tag) tagSettings {
	if len(t.Settings) == 0 {
		return tagSettings{}
	}
	s := t.Settings[len(t.Settings)-1]
	return tagSettings{typ: model.Type(s.Type), stepped: s.Stepped || model.Type(s.Type).AlwaysStepped(), unit: s.Unit, states: s.StateSet}
}

// findTagsAtOnce is how many names are looked up at the same time.
const findTagsAtOnce = 16

// findTags looks up names and patterns, in the order given; the tags of a pattern are in the order of their names.
func (c *client) findTags(ctx context.Context, names []string) ([]foundTag, error) {
	return c.find(ctx, names, c.findTag)
}

func (c *client) find(ctx context.Context, names []string, look func(ctx context.Context, name string) ([]foundTag, error)) ([]foundTag, error) {
	found := make([][]foundTag, len(names))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(findTagsAtOnce)
	for i, name := range names {
		group.Go(func() (err error) {
			found[i], err = look(ctx, name)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var out []foundTag
	seen := map[string]bool{}
	for _, tags := range found {
		for _, t := range tags {
			if !seen[t.asked] {
				seen[t.asked] = true
				out = append(out, t)
			}
		}
	}
	return out, nil
}

func (c *client) findTag(ctx context.Context, name string) ([]foundTag, error) {
	tag, err := c.catalog.GetTag(ctx, &varvev1.GetTagRequest{Name: name})
	switch {
	case err == nil:
		return []foundTag{{tag, name}}, nil
	case !strings.ContainsAny(name, "*?") && status.Code(err) == codes.NotFound:
		return nil, c.unknownTag(ctx, name)
	case !strings.ContainsAny(name, "*?"):
		return nil, c.explain(err)
	}
	var out []foundTag
	err = c.eachTag(ctx, &varvev1.ListTagsRequest{Filter: name}, func(t *varvev1.Tag) { out = append(out, foundTag{t, t.Name}) })
	if err != nil {
		return nil, err
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no tag matches %q; varve tags list shows the tags there are", name)
	}
	return out, nil
}

// unknownTag says which tags have names that hold what was asked for.
func (c *client) unknownTag(ctx context.Context, name string) error {
	answer, err := c.catalog.ListTags(ctx, &varvev1.ListTagsRequest{Filter: "*" + name + "*", PageSize: 3})
	if err != nil || len(answer.Tags) == 0 {
		return fmt.Errorf("no tag %q; varve tags list shows the tags there are", name)
	}
	var near []string
	for _, t := range answer.Tags {
		near = append(near, t.Name)
	}
	return fmt.Errorf("no tag %q; there are %s", name, strings.Join(near, ", "))
}

func (c *client) eachTag(ctx context.Context, ask *varvev1.ListTagsRequest, visit func(*varvev1.Tag)) error {
	for {
		answer, err := c.catalog.ListTags(ctx, ask)
		if err != nil {
			return c.explain(err)
		}
		for _, t := range answer.Tags {
			visit(t)
		}
		if answer.NextPageToken == "" {
			return nil
		}
		ask.PageToken = answer.NextPageToken
	}
}
