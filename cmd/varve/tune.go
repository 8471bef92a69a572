package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/varvedb/varve/internal/answer"
	"github.com/varvedb/varve/internal/timeexpr"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

type tuneFlags struct {
	client           clientFlags
	start, end, zone string
	output           string
	deviations       []float64
	ofSpan           bool
	minTime, maxTime time.Duration
	exception        float64
	exceptionMin     time.Duration
	exceptionMax     time.Duration
	form             string
	limits           []float64
	kept             bool
}

var (
	tuneOutputs = []string{"table", "json", "csv"}
	tuneForms   = map[string]varvev1.FilterForm{
		"strict": varvev1.FilterForm_FILTER_FORM_STRICT, "textbook": varvev1.FilterForm_FILTER_FORM_TEXTBOOK,
	}
)

func newTuneCommand() *cobra.Command {
	var f tuneFlags
	cmd := &cobra.Command{
		Use:   "tune [flags] TAG...",
		Short: "Replay stored samples through the filters and print what settings would leave out",
		Long: `Replays the stored samples of tags through the exception and compression-deviation filters, on the server, and prints for every tag
and deviation how many samples would be kept, what that saves, and how far readers would be from what was measured: the worst error
with its time, and the root of the mean square. Nothing is changed. A name with * or ? asks for every tag that matches.

--limit looks for crossings of a value, such as that of an alarm, and lists those that would be seen at another time (moved) or not
at all (lost). Deviations are in the tag's unit, with --percent-of-span in percent of its span. Times are ` + timeexpr.Help + `.

json has an object a line with all figures and crossings; csv has them too, crossings as JSON. docs/reference/tune.md explains every
figure, and docs/reference/filters.md the filters.`,
		Example: `  varve tune --start -7d --deviation 0.1,0.2,0.5 FI-101
  varve tune --start -7d --percent-of-span --deviation 0.5,1,2 --exception 0.25 'BOILER*'
  varve tune --start -7d --deviation 0.5 --max-time 8h --limit 80 --output json TI-7`,
		Args: asUsage(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	f.client.register(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.start, "start", "-1d", "first instant")
	flags.StringVar(&f.end, "end", "now", "instant behind the last")
	flags.StringVar(&f.zone, "tz", "", "IANA zone in which times without one are read, and the table printed (default UTC)")
	flags.StringVarP(&f.output, "output", "o", "table", "one of "+strings.Join(tuneOutputs, ", "))
	flags.Float64SliceVar(&f.deviations, "deviation", nil, "compression deviations, with commas between; 0 keeps everything")
	flags.BoolVar(&f.ofSpan, "percent-of-span", false, "deviations are percentages of the tag's span")
	flags.DurationVar(&f.maxTime, "max-time", 0, "keep a sample at least this often, such as 8h (default no limit)")
	flags.DurationVar(&f.minTime, "min-time", 0, "with --form textbook: leave out what comes sooner after the last one kept")
	flags.Float64Var(&f.exception, "exception", 0, "deviation of an exception filter in front (default none)")
	flags.DurationVar(&f.exceptionMax, "exception-max-time", 0, "exception filter: send a sample at least this often (default no limit)")
	flags.DurationVar(&f.exceptionMin, "exception-min-time", 0, "exception filter: send no number sooner than this after the last")
	flags.StringVar(&f.form, "form", "strict", "strict or textbook")
	flags.Float64SliceVar(&f.limits, "limit", nil, "values whose crossings are looked for, with commas between")
	flags.BoolVar(&f.kept, "with-kept", false, "with json and csv: the times of the samples kept")
	return cmd
}

func (f *tuneFlags) run(cmd *cobra.Command, names []string) error {
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
	stream, err := c.query.Tune(ctx, ask)
	if err != nil {
		return c.explain(err)
	}
	r, err := answer.NewReader(stream)
	if err != nil {
		return c.explain(err)
	}
	defer r.Close()
	if lost := r.Incomplete(); lost != "" {
		fmt.Fprintln(cmd.ErrOrStderr(), "varve: the samples replayed are incomplete: the records of log offsets "+lost+" are damaged; see varve status")
	}
	if f.output == "table" {
		_, err = answer.WriteTuneTable(cmd.OutOrStdout(), r, len(f.limits) > 0, zone)
	} else {
		_, err = answer.WriteBuckets(cmd.OutOrStdout(), r, f.output, zone)
	}
	return c.explain(err)
}

// question is what the flags ask, without the tags.
func (f *tuneFlags) question(now time.Time) (*varvev1.TuneRequest, *time.Location, error) {
	form, known := tuneForms[f.form]
	switch {
	case !slices.Contains(tuneOutputs, f.output):
		return nil, nil, fmt.Errorf("output %q: must be one of %s", f.output, strings.Join(tuneOutputs, ", "))
	case len(f.deviations) == 0:
		return nil, nil, errors.New("--deviation: give at least one, such as --deviation 0.1,0.2,0.5")
	case !known:
		return nil, nil, fmt.Errorf("--form %q: must be strict or textbook", f.form)
	case f.minTime != 0 && f.form == "strict":
		return nil, nil, errors.New("--min-time: changes nothing but with --form textbook")
	case f.kept && f.output == "table":
		return nil, nil, errors.New("--with-kept: needs --output json or csv")
	}
	zone, err := loadZone(f.zone)
	if err != nil {
		return nil, nil, err
	}
	ask := &varvev1.TuneRequest{
		Deviations: f.deviations, PercentOfSpan: f.ofSpan, MinTimeNs: int64(f.minTime), MaxTimeNs: int64(f.maxTime), Form: form,
		Exception: &varvev1.Filter{Deviation: f.exception, MinTimeNs: int64(f.exceptionMin), MaxTimeNs: int64(f.exceptionMax)},
		Limits:    f.limits, WithKept: f.kept,
	}
	if ask.StartNs, err = timeexpr.Parse(f.start, now, zone); err != nil {
		return nil, nil, fmt.Errorf("--start: %w", err)
	}
	if ask.EndNs, err = timeexpr.Parse(f.end, now, zone); err != nil {
		return nil, nil, fmt.Errorf("--end: %w", err)
	}
	return ask, zone, nil
}
