package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/varvedb/varve/internal/answer"
	"github.com/varvedb/varve/internal/timeexpr"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// completenessFlags are a question about a range, as varve query has it, and what only completeness knows.
type completenessFlags struct {
	queryFlags
	interval  time.Duration
	bySource  bool
	durations bool
}

func newCompletenessCommand() *cobra.Command {
	var f completenessFlags
	cmd := &cobra.Command{
		Use:   "completeness [flags] TAG...",
		Short: "Print how much of the time of tags was collected, and what became of the rest",
		Long: `Prints for each tag and bucket of --every, or for all of the range, which percentage of the time was collected, or unchanged (read, and
without a sample because the value did not change enough), and what became of the rest: not_collected, device_down, quarantined and lost, as
gaps say; buffered, read perhaps and still on its way; unknown, of which nobody says anything. Every instant is of one class. A name with * or ?
asks for every tag that matches.

--interval says how often a sample is to be expected: so long one stands for the tag's being collected, and what comes behind is unchanged where
a collector read the tag, else unknown. Without it all time between two samples is collected. --by-source adds up the tags of each source.

Times are ` + timeexpr.Help + `. Those without a zone are in --tz.

json has an object a line and csv the same columns; durations in nanoseconds are added by --durations. The table leaves out classes that are 0.
docs/reference/completeness.md has the rules.`,
		Example: `  varve completeness --start -1d --every 1h FI-101
  varve completeness --start 2026-03-01 --end 2026-04-01 --interval 10s --every 1d 'BOILER*' --output csv
  varve completeness --start -8h --by-source '*'
  varve completeness --start -1d --every shift --calendar shifts.json --durations --output parquet --file day.parquet 'PUMP*'`,
		Args: tagsToName("say the completeness of"),
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	f.client.register(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.start, "start", "-1d", "first instant")
	flags.StringVar(&f.end, "end", "now", "instant behind the last")
	flags.StringVar(&f.zone, "tz", "", "IANA zone in which times without one are read, buckets counted and the table printed (default UTC)")
	flags.StringVar(&f.every, "every", "", "length of a bucket, such as 1h, or 1d, 1mo, shift of a calendar (default all of the range)")
	flags.StringVar(&f.calendar, "calendar", "", "calendar for --every: a JSON file, a definition, or the name of a stored one")
	flags.DurationVar(&f.interval, "interval", 0, "how often a sample is expected (default however far apart)")
	flags.BoolVar(&f.bySource, "by-source", false, "a row for each source, of all its tags")
	flags.BoolVar(&f.durations, "durations", false, "nanoseconds of each class too, as csv, json, arrow or parquet")
	flags.StringVarP(&f.output, "output", "o", "table", "one of "+strings.Join(queryOutputs, ", "))
	flags.StringVar(&f.file, "file", "", "write to this file in place of standard output")
	return cmd
}

func (f *completenessFlags) run(cmd *cobra.Command, names []string) error {
	ask, zone, err := f.question(time.Now())
	if err != nil {
		return usageError(err)
	}
	c, err := f.client.dial()
	if err != nil {
		return err
	}
	defer c.close()
	ctx := cmd.Context()
	tags, err := c.findTags(ctx, names)
	if err != nil {
		return err
	}
	for _, t := range tags {
		ask.Tags = append(ask.Tags, t.asked)
	}
	stream, err := c.query.ReadCompleteness(ctx, ask)
	if err != nil {
		return c.explain(err)
	}
	out, finish, err := f.openOutput(cmd.OutOrStdout())
	if err != nil {
		return err
	}
	warning, err := f.write(out, stream, zone)
	if err = errors.Join(c.explain(err), finish(err == nil)); err != nil {
		return err
	}
	if warning != "" {
		fmt.Fprintln(cmd.ErrOrStderr(), "varve: "+warning)
	}
	return nil
}

// question is what the flags ask, without the tags.
func (f *completenessFlags) question(now time.Time) (*varvev1.ReadCompletenessRequest, *time.Location, error) {
	switch {
	case !slices.Contains(queryOutputs, f.output):
		return nil, nil, fmt.Errorf("output %q: must be one of %s", f.output, strings.Join(queryOutputs, ", "))
	case f.interval < 0:
		return nil, nil, fmt.Errorf("--interval %s: must not be negative", f.interval)
	case f.calendar != "" && f.every == "":
		return nil, nil, errors.New("--calendar: needs --every, such as --every shift")
	case f.durations && f.bySource:
		return nil, nil, errors.New("--durations: are of tags, and do not go with --by-source")
	case f.durations && f.output == "table":
		return nil, nil, errors.New("--durations: needs --output csv, json, arrow or parquet")
	}
	zone, err := loadZone(f.zone)
	if err != nil {
		return nil, nil, err
	}
	b, err := f.buckets()
	if err != nil {
		return nil, nil, err
	}
	start, end, err := f.rangeOf(now, zone)
	if err != nil {
		return nil, nil, err
	}
	if start >= end {
		return nil, nil, errors.New("--end must be later than --start")
	}
	return &varvev1.ReadCompletenessRequest{
		StartNs: start, EndNs: end, StepNs: b.step, Every: b.every, Zone: b.zone, Calendar: b.calendar,
		IntervalNs: f.interval.Nanoseconds(), BySource: f.bySource, WithDurations: f.durations,
	}, zone, nil
}

func (f *completenessFlags) write(w io.Writer, stream answer.Stream, zone *time.Location) (warning string, err error) {
	r, err := answer.NewReader(stream)
	if err != nil {
		return "", err
	}
	defer r.Close()
	if lost := r.Incomplete(); lost != "" {
		warning = "the answer is incomplete: the records of log offsets " + lost + " are damaged; see varve status"
	}
	switch f.output {
	case "arrow":
		_, err = answer.WriteArrow(w, r)
	case "parquet":
		_, err = answer.WriteParquet(w, r, answer.ForFiles)
	case "table":
		_, err = answer.WriteCompletenessTable(w, r, zone)
	default:
		_, err = answer.WriteBuckets(w, r, f.output, zone)
	}
	return warning, err
}
