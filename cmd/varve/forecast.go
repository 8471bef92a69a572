package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/varvedb/varve/collector/session"
	"github.com/varvedb/varve/internal/answer"
	"github.com/varvedb/varve/internal/timeexpr"
	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

func newForecastCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "forecast",
		Short: "Write forecast runs of tags, read them, and compare them to what came to be",
		Long: `A forecast run is what was forecast of a tag at one issue time: samples beside those of the tag and apart from them, by a model
that may have a name. The same run written again stands in place of the earlier one; an equal one changes nothing.`,
		Example: `  varve forecast put --tag DEMAND --issued 2026-03-01T12:00:00Z --model day-ahead run.csv
  varve forecast runs DEMAND
  varve forecast read --start now DEMAND
  varve forecast compare --start -7d --lead 24h --summary DEMAND`,
		Args: asUsage(cobra.NoArgs),
	}
	cmd.AddCommand(newForecastPutCommand(), newForecastRunsCommand(), newForecastReadCommand(), newForecastCompareCommand())
	return cmd
}

func newForecastPutCommand() *cobra.Command {
	var f clientFlags
	var tag, issued, forecaster, author, zoneName string
	cmd := &cobra.Command{
		Use:   "put --tag TAG --issued TIME [--model NAME] FILE",
		Short: "Write a forecast run from a CSV file",
		Long: `Writes a run from a CSV file with the columns time, value and, where they are given, quality, named in its first line; - is the
standard input. Rows ascend by time. A value of a tag that is no text may be empty: then there is none.

Times are ` + timeexpr.Help + `.`,
		Example: `  varve forecast put --tag DEMAND --issued 2026-03-01T12:00:00Z run.csv
  model | varve forecast put --tag DEMAND --issued now --model day-ahead -`,
		Args: exactlyNames(1, "one file"),
		RunE: func(cmd *cobra.Command, names []string) error {
			zone, err := loadZone(zoneName)
			if err != nil {
				return usageError(err)
			}
			if tag == "" || issued == "" {
				return usageError(errors.New("--tag and --issued are required: which tag was forecast, and when"))
			}
			at, err := timeexpr.Parse(issued, time.Now(), zone)
			if err != nil {
				return usageError(fmt.Errorf("--issued: %w", err))
			}
			if author == "" {
				author = userName()
			}
			c, err := f.dial()
			if err != nil {
				return err
			}
			defer c.close()
			run, err := c.forecastRun(cmd, tag, names[0], zone)
			if err != nil {
				return err
			}
			r, err := c.forecasts.PutForecast(cmd.Context(), &varvev1.PutForecastRequest{IssuedNs: at, Model: forecaster, Samples: run.Run(0, run.Len()), Author: author})
			if err != nil {
				return c.explain(err)
			}
			did := "written"
			if !r.Changed {
				did = "stands already"
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "run of %s issued at %s: %d samples, %s\n", tag, model.FormatTime(at), run.Len(), did)
			return err
		},
	}
	f.register(cmd)
	flags := cmd.Flags()
	flags.StringVar(&tag, "tag", "", "the tag; required")
	flags.StringVar(&issued, "issued", "", "when the run was issued; required")
	flags.StringVar(&forecaster, "model", "", "what made it, at most 64 bytes (default no name)")
	flags.StringVar(&author, "author", "", "who (default the user's name; the server takes the authenticated one where there is one)")
	flags.StringVar(&zoneName, "tz", "UTC", "time zone of times without one")
	return cmd
}

// forecastRun reads a file.
func (c *client) forecastRun(cmd *cobra.Command, tag, file string, zone *time.Location) (*session.RunBuilder, error) {
	of, err := c.editTag(cmd.Context(), tag)
	if err != nil {
		return nil, err
	}
	in := cmd.InOrStdin()
	if file != "-" {
		opened, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer opened.Close()
		in = opened
	}
	run, err := readForecast(in, of, zone)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return run, nil
}

// readForecast reads a run from CSV.
func readForecast(in io.Reader, tag *editTag, zone *time.Location) (*session.RunBuilder, error) {
	r := csv.NewReader(in)
	r.ReuseRecord = true
	head, err := r.Read()
	if err != nil {
		return nil, fmt.Errorf("read the names of the columns: %w", err)
	}
	timeAt, valueAt, qualityAt := slices.Index(head, "time"), slices.Index(head, "value"), slices.Index(head, "quality")
	if timeAt < 0 || valueAt < 0 {
		return nil, fmt.Errorf("columns %s: there must be time and value", strings.Join(head, ", "))
	}
	b := &session.RunBuilder{Name: tag.name, Type: tag.typ}
	now := time.Now()
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		line, _ := r.FieldPos(0)
		e := edit{value: record[valueAt], quality: "Good"}
		if qualityAt >= 0 && record[qualityAt] != "" {
			e.quality = record[qualityAt]
		}
		e.null = e.value == "" && tag.typ != model.String && tag.typ != model.Bytes
		at, err := timeexpr.Parse(record[timeAt], now, zone)
		if err == nil {
			err = e.addTo(b, tag, at)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
	}
	if b.Len() == 0 {
		return nil, errors.New("there are no samples")
	}
	return b, nil
}

// forecastFlags say which runs are asked for.
type forecastFlags struct {
	queryFlags
	models     []string
	issued     string
	issuedFrom string
	issuedTo   string
	asOf       string
	known      string
	curve      bool
	current    bool
	lead       time.Duration
}

func (f *forecastFlags) register(cmd *cobra.Command) {
	f.client.register(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.zone, "tz", "UTC", "time zone of times without one")
	flags.StringSliceVar(&f.models, "model", nil, "only runs of these models")
	flags.StringVar(&f.issuedFrom, "issued-from", "", "every run issued from then on")
	flags.StringVar(&f.issuedTo, "issued-to", "", "every run issued before then")
}

func (f *forecastFlags) registerRead(cmd *cobra.Command) {
	f.register(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.start, "start", "", "first time of what is forecast (default the beginning)")
	flags.StringVar(&f.end, "end", "", "time behind the last (default the end)")
	flags.StringVar(&f.issued, "issued", "", "the run issued at that very time")
	flags.StringVar(&f.asOf, "as-of", "", "runs issued at or before then (default now)")
	flags.StringVar(&f.known, "known", "", "runs as they stood then, by ingest time (default as they stand)")
	flags.BoolVar(&f.curve, "curve", false, "at each time the run issued last that covers it")
	flags.DurationVar(&f.lead, "lead", 0, "with --curve, which it implies: runs issued so long or longer before each time, such as 24h")
	flags.StringVarP(&f.output, "output", "o", "table", "one of "+strings.Join(queryOutputs, ", "))
	flags.StringVar(&f.file, "file", "", "where to write (default the standard output)")
}

// instant is what a flag says; nil for nothing.
func (f *forecastFlags) instant(flag, text string, zone *time.Location) (*int64, error) {
	if text == "" {
		return nil, nil
	}
	t, err := timeexpr.Parse(text, time.Now(), zone)
	if err != nil {
		return nil, usageError(fmt.Errorf("%s: %w", flag, err))
	}
	return &t, nil
}

// question is what the flags ask, but for tags.
func (f *forecastFlags) question(zone *time.Location) (q *varvev1.ReadForecastRequest, err error) {
	if !slices.Contains(queryOutputs, f.output) {
		return nil, usageError(fmt.Errorf("output %q: must be one of %s", f.output, strings.Join(queryOutputs, ", ")))
	}
	q = &varvev1.ReadForecastRequest{Models: f.models, LeadNs: f.lead.Nanoseconds()}
	var issued, from, to, known *int64
	for _, x := range []struct {
		flag, text string
		into       **int64
	}{
		{"--start", f.start, &q.StartNs}, {"--end", f.end, &q.EndNs}, {"--as-of", f.asOf, &q.AsOfNs}, {"--issued", f.issued, &issued},
		{"--issued-from", f.issuedFrom, &from}, {"--issued-to", f.issuedTo, &to}, {"--known", f.known, &known},
	} {
		if *x.into, err = f.instant(x.flag, x.text, zone); err != nil {
			return nil, err
		}
	}
	if known != nil {
		q.KnownNs = *known
	}
	ways := 0
	for _, x := range []struct {
		asked bool
		pick  varvev1.ForecastPick
	}{
		{f.curve || f.lead != 0, varvev1.ForecastPick_FORECAST_PICK_CURVE}, {f.current, varvev1.ForecastPick_FORECAST_PICK_CURRENT},
		{issued != nil || from != nil || to != nil, varvev1.ForecastPick_FORECAST_PICK_EACH},
	} {
		if x.asked {
			q.Pick = x.pick
			ways++
		}
	}
	if ways > 1 || issued != nil && (from != nil || to != nil) {
		return nil, usageError(errors.New("give one of --curve or --lead, --current, --issued, and --issued-from with --issued-to"))
	}
	if q.Pick == varvev1.ForecastPick_FORECAST_PICK_EACH {
		q.IssuedFromNs, q.IssuedToNs = model.All.Start, model.All.End
		if issued != nil {
			from, q.IssuedToNs = issued, *issued+1
		}
		if from != nil {
			q.IssuedFromNs = *from
		}
		if to != nil {
			q.IssuedToNs = *to
		}
	}
	return q, nil
}

// print asks about tags and prints the answer.
func (f *forecastFlags) print(cmd *cobra.Command, names []string, ask func(context.Context, *client, *varvev1.ReadForecastRequest) (answer.Stream, error)) error {
	zone, err := loadZone(f.zone)
	if err != nil {
		return usageError(err)
	}
	q, err := f.question(zone)
	if err != nil {
		return err
	}
	c, err := f.client.dial()
	if err != nil {
		return err
	}
	defer c.close()
	tags, err := c.findTags(cmd.Context(), names)
	if err != nil {
		return err
	}
	for _, t := range tags {
		q.Tags = append(q.Tags, t.asked)
	}
	stream, err := ask(cmd.Context(), c, q)
	if err != nil {
		return c.explain(err)
	}
	out, finish, err := f.openOutput(cmd.OutOrStdout())
	if err != nil {
		return err
	}
	f.wide = true // columns as they come
	_, warning, err := f.write(out, stream, tags, zone)
	if warning != "" {
		fmt.Fprintln(cmd.ErrOrStderr(), "varve: "+warning)
	}
	return errors.Join(c.explain(err), finish(err == nil))
}

func newForecastReadCommand() *cobra.Command {
	var f forecastFlags
	cmd := &cobra.Command{
		Use:   "read [flags] TAG...",
		Short: "Print forecast samples of tags",
		Long: `Prints the samples of the run of each tag that was issued last, each with its issue time and model; or of the run --issued at a time,
of every run issued in a range, or with --curve at each time those of the newest run that covers it. --lead 24h is the curve as
it was known a day ahead. --current is the value now of the run issued last.

Times are ` + timeexpr.Help + `.`,
		Example: `  varve forecast read --start now DEMAND
  varve forecast read --issued 2026-03-01T12:00:00Z --output csv DEMAND
  varve forecast read --start -7d --end now --lead 24h DEMAND
  varve forecast read --current DEMAND`,
		Args: asUsage(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, names []string) error {
			return f.print(cmd, names, func(ctx context.Context, c *client, q *varvev1.ReadForecastRequest) (answer.Stream, error) {
				return c.query.ReadForecast(ctx, q)
			})
		},
	}
	f.registerRead(cmd)
	cmd.Flags().BoolVar(&f.current, "current", false, "the value now of the run issued last")
	return cmd
}

func newForecastCompareCommand() *cobra.Command {
	var f forecastFlags
	var uncertain, summary bool
	cmd := &cobra.Command{
		Use:   "compare [flags] TAG...",
		Short: "Print forecast samples beside the actual values, and how far they were off",
		Long: `Prints for each sample that varve forecast read prints the value of the tag at its time, and the error: forecast less actual. With
--summary a row per tag: how many errors there are, their mean (bias), the mean of their sizes (mae), the root of the mean of their
squares (rmse), and the mean of their sizes in percent of actual values that are not 0 (mape).

Times are ` + timeexpr.Help + `.`,
		Example: `  varve forecast compare --start -1d --end now DEMAND
  varve forecast compare --start -30d --end now --lead 24h --summary --output csv DEMAND`,
		Args: asUsage(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, names []string) error {
			return f.print(cmd, names, func(ctx context.Context, c *client, q *varvev1.ReadForecastRequest) (answer.Stream, error) {
				return c.query.CompareForecast(ctx, &varvev1.CompareForecastRequest{Forecast: q, UseUncertain: uncertain, Summary: summary})
			})
		},
	}
	f.registerRead(cmd)
	cmd.Flags().BoolVar(&uncertain, "use-uncertain", false, "values whose quality is Uncertain have errors too")
	cmd.Flags().BoolVar(&summary, "summary", false, "a row per tag")
	return cmd
}

func newForecastRunsCommand() *cobra.Command {
	var f forecastFlags
	var replaced bool
	cmd := &cobra.Command{
		Use:   "runs [flags] TAG...",
		Short: "List the forecast runs of tags",
		Example: `  varve forecast runs DEMAND
  varve forecast runs --issued-from -1d --replaced --output json DEMAND`,
		Args: asUsage(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, names []string) error {
			if f.output != "table" && f.output != "csv" && f.output != "json" {
				return usageError(fmt.Errorf("output %q: must be table, csv or json", f.output))
			}
			zone, err := loadZone(f.zone)
			if err != nil {
				return usageError(err)
			}
			ask := &varvev1.ListForecastsRequest{Models: f.models, Replaced: replaced}
			if ask.IssuedFromNs, err = f.instant("--issued-from", f.issuedFrom, zone); err != nil {
				return err
			}
			if ask.IssuedToNs, err = f.instant("--issued-to", f.issuedTo, zone); err != nil {
				return err
			}
			return f.list(cmd, names, ask)
		},
	}
	f.register(cmd)
	cmd.Flags().StringVarP(&f.output, "output", "o", "table", "table, csv or json (one object per line)")
	cmd.Flags().BoolVar(&replaced, "replaced", false, "those too in whose place others stand")
	return cmd
}

// list prints the runs of tags, page by page.
func (f *forecastFlags) list(cmd *cobra.Command, names []string, ask *varvev1.ListForecastsRequest) error {
	c, err := f.client.dial()
	if err != nil {
		return err
	}
	defer c.close()
	tags, err := c.findTags(cmd.Context(), names)
	if err != nil {
		return err
	}
	for _, t := range tags {
		ask.TagIds = append(ask.TagIds, t.Id)
	}
	l := newForecastLister(cmd.OutOrStdout(), f.output)
	for {
		page, err := c.forecasts.ListForecasts(cmd.Context(), ask)
		if err != nil {
			return errors.Join(c.explain(err), l.finish())
		}
		for _, r := range page.Runs {
			if err := l.add(r); err != nil {
				return err
			}
		}
		if ask.PageToken = page.NextPageToken; ask.PageToken == "" {
			return l.finish()
		}
	}
}

var forecastColumns = []string{"tag", "issued", "model", "first", "last", "samples", "ingested", "author", "replaced"}

// forecastLister prints runs.
type forecastLister struct {
	json  *json.Encoder
	csv   *csv.Writer
	table *tabwriter.Writer
}

func newForecastLister(w io.Writer, output string) *forecastLister {
	l := &forecastLister{}
	switch output {
	case "json":
		l.json = json.NewEncoder(w)
	case "csv":
		l.csv = csv.NewWriter(w)
		_ = l.csv.Write(forecastColumns) // finish tells
	default:
		l.table = tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(l.table, strings.ToUpper(strings.Join(forecastColumns, "\t")))
	}
	return l
}

func (l *forecastLister) add(r *varvev1.ForecastRun) error {
	replaced := ""
	if r.ReplacedNs != 0 {
		replaced = model.FormatTime(r.ReplacedNs)
	}
	cells := []string{
		r.Tag, model.FormatTime(r.IssuedNs), r.Model, model.FormatTime(r.FirstNs), model.FormatTime(r.LastNs),
		strconv.FormatUint(uint64(r.Samples), 10), model.FormatTime(r.IngestNs), r.Author, replaced,
	}
	switch {
	case l.json != nil:
		object := map[string]any{}
		for i, name := range forecastColumns {
			object[name] = cells[i]
		}
		object["samples"] = r.Samples
		return l.json.Encode(object)
	case l.csv != nil:
		return l.csv.Write(cells)
	}
	_, err := fmt.Fprintln(l.table, strings.Join(cells, "\t"))
	return err
}

func (l *forecastLister) finish() error {
	switch {
	case l.csv != nil:
		l.csv.Flush()
		return l.csv.Error()
	case l.table != nil:
		return l.table.Flush()
	}
	return nil
}
