package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/varvedb/varve/internal/timeexpr"
	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

type explainFlags struct {
	client       clientFlags
	start        string
	end          string
	zone         string
	output       string
	unit         string
	aggregate    string
	useUncertain bool
	percentGood  uint32
	percentBad   uint32
	sloped       bool
	stepped      bool
	resolution   time.Duration
}

func newExplainCommand() *cobra.Command {
	var f explainFlags
	cmd := &cobra.Command{
		Use:   "explain --aggregate NAME [flags] TAG",
		Short: "Say how one aggregate of one interval came about",
		Long: `Prints an aggregate of a tag between --start and --end with all that it came from: the formula, the settings in force, the bounds at the edges and
the samples they are made of, samples by quality, how long what held, why the answer is Partial or not Good, how it was read (rollups,
chunks, memory), and what was replaced or removed in the interval.

NAME is an aggregate of OPC UA Part 13 (TimeAverage2) or one of Varve's own (time_weighted_average); see varve query --help. A start later than the
end is the interval (end, start].

Times are ` + timeexpr.Help + `.
Those without a zone are in --tz. --output json is the message varve.v1.Explanation in the JSON of protocol buffers.`,
		Example: `  varve explain --aggregate TimeAverage2 --start 2026-03-01T05:00:00Z --end 2026-03-01T06:00:00Z FI-101
  varve explain --aggregate time_weighted_average --start -1d --output json FI-101
  varve explain --aggregate Maximum --start -1h --unit bar PI-101`,
		Args: asUsage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args[0]) },
	}
	f.client.register(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.aggregate, "aggregate", "", "the aggregate; required")
	flags.StringVar(&f.start, "start", "-1h", "where the interval begins")
	flags.StringVar(&f.end, "end", "now", "where it ends")
	flags.StringVar(&f.zone, "tz", "", "IANA zone in which times without one are read, and all printed (default UTC)")
	flags.StringVarP(&f.output, "output", "o", "text", "text or json")
	flags.StringVar(&f.unit, "unit", "", "UCUM code of the unit to convert values to, such as bar (default as stored)")
	flags.BoolVar(&f.useUncertain, "use-uncertain", false, "calculate with Uncertain samples too")
	flags.Uint32Var(&f.percentGood, "percent-good", 100, "of Part 13: percent of Good data that makes a result Good")
	flags.Uint32Var(&f.percentBad, "percent-bad", 100, "of Part 13: percent of Bad data that makes a result Bad")
	flags.BoolVar(&f.sloped, "sloped-extrapolation", false, "of Part 13: go on behind the last sample along the slope of the last two")
	flags.BoolVar(&f.stepped, "stepped", false, "of Part 13: hold each sample up to the next, or with =false slope (default as the tag)")
	flags.DurationVar(&f.resolution, "time-resolution", time.Millisecond, "of Part 13: the unit of time")
	return cmd
}

func (f *explainFlags) run(cmd *cobra.Command, name string) error {
	if f.output != "text" && f.output != "json" {
		return usageError(fmt.Errorf("output %q: must be text or json", f.output))
	}
	if f.aggregate == "" {
		return usageError(fmt.Errorf("--aggregate: which one, such as TimeAverage2 or time_weighted_average?"))
	}
	zone, err := loadZone(f.zone)
	if err != nil {
		return usageError(err)
	}
	uncertainAsBad := !f.useUncertain
	ask := &varvev1.ExplainRequest{
		Tag: name, Aggregate: f.aggregate, TreatUncertainAsBad: &uncertainAsBad, PercentDataBad: &f.percentBad, PercentDataGood: &f.percentGood,
		UseSlopedExtrapolation: f.sloped, TimeResolutionNs: int64(f.resolution), Unit: f.unit,
	}
	if cmd.Flags().Changed("stepped") {
		ask.Stepped = &f.stepped
	}
	now := time.Now()
	if ask.StartNs, err = timeexpr.Parse(f.start, now, zone); err != nil {
		return usageError(fmt.Errorf("--start: %w", err))
	}
	if ask.EndNs, err = timeexpr.Parse(f.end, now, zone); err != nil {
		return usageError(fmt.Errorf("--end: %w", err))
	}
	c, err := f.client.dial()
	if err != nil {
		return err
	}
	defer c.close()
	x, err := c.query.Explain(cmd.Context(), ask)
	if err != nil {
		return c.explain(err)
	}
	if f.output == "json" {
		return printExplanationJSON(cmd.OutOrStdout(), x)
	}
	return printExplanation(cmd.OutOrStdout(), x, zone)
}

// printExplanationJSON prints the same bytes for the same message, which protojson does not promise.
func printExplanationJSON(w io.Writer, x *varvev1.Explanation) error {
	b, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(x)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err := json.Indent(&out, b, "", "  "); err != nil {
		return err
	}
	_, err = fmt.Fprintln(w, out.String())
	return err
}

// printExplanation prints a line for each thing there is to say.
func printExplanation(w io.Writer, x *varvev1.Explanation, zone *time.Location) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	at := func(ns int64) string { return time.Unix(0, ns).In(zone).Format(time.RFC3339Nano) }
	line := func(label, format string, args ...any) {
		fmt.Fprintf(t, "%s\t%s\n", label, fmt.Sprintf(format, args...))
	}
	line(x.Aggregate, "%s  %s", explainedText(x.Value), x.QualityText)
	line("tag", "%s", x.Tag)
	line("interval", "%s to %s", at(x.StartNs), at(x.EndNs))
	if x.TimeNs != x.StartNs {
		line("time", "%s", at(x.TimeNs))
	}
	if x.Unit != "" {
		line("unit", "%s", x.Unit)
	}
	line("formula", "%s", x.Formula)
	for _, r := range x.Reasons {
		line("because", "%s", r)
	}
	for _, s := range explainedSettings(x.Configuration, at) {
		line("settings", "%s", s)
	}
	for _, b := range x.Bounds {
		line("bound", "%s at %s  %s", explainedText(b.Value), at(b.EdgeNs), b.QualityText)
		for _, s := range b.From {
			line("", "of %s at %s  %s", explainedText(s.Value), at(s.TimeNs), s.QualityText)
		}
	}
	line("samples", "%d Good, %d Uncertain, %d Bad, %d without a value", x.Samples.Good, x.Samples.Uncertain, x.Samples.Bad, x.Samples.WithoutValue)
	d := x.Durations
	line("duration", "%s Good, %s Uncertain, %s Bad, %s not covered", explainedDuration(d.GoodNs), explainedDuration(d.UncertainNs), explainedDuration(d.BadNs), explainedDuration(d.UncoveredNs))
	r := x.Reading
	line("read", "rollups of %d days, %d hours, %d times ten minutes", r.RollupDays, r.RollupHours, r.RollupTenMinutes)
	line("", "%d samples of %d chunks, of which %d headers were looked at; %d samples in memory", r.ChunkSamples, r.Chunks, r.ChunkHeaders, r.MemorySamples)
	if r.SamplesBesides > 0 {
		line("", "and one by one: %d", r.SamplesBesides)
	}
	line("versions", "%s", explainedVersions(x.Versions, at))
	return t.Flush()
}

func explainedText(v *varvev1.ExplainedValue) string {
	switch {
	case v.Null:
		return "null"
	case v.Number == nil:
		return fmt.Sprintf("%q", v.Text)
	}
	return v.Text
}

// explainedSettings are lines about what was in force.
func explainedSettings(c *varvev1.ExplainedConfiguration, at func(int64) string) []string {
	shape := "sloped"
	if c.Stepped {
		shape = "stepped"
	}
	switch {
	case c.SteppedBy == "request":
		shape += ", as the request says"
	case c.SteppedBy == "type":
		shape += ", as values of its type are"
	case c.SettingsFromNs != nil:
		shape += ", as the tag's settings say from " + at(*c.SettingsFromNs) + " on"
	default:
		shape += ", as the tag's settings say"
	}
	uncertain := "Uncertain samples count as Bad"
	if !c.TreatUncertainAsBad {
		uncertain = "Uncertain samples are calculated with"
	}
	lines := []string{shape, uncertain}
	if c.PercentDataGood != nil {
		behind := "behind the last sample its value is held"
		if c.GetUseSlopedExtrapolation() {
			behind = "behind the last sample the line of the last two goes on"
		}
		lines = append(lines, fmt.Sprintf("PercentDataGood %d, PercentDataBad %d; unit of time %s; %s",
			c.GetPercentDataGood(), c.GetPercentDataBad(), time.Duration(c.GetTimeResolutionNs()), behind))
	}
	return lines
}

// explainedDuration is nanoseconds for people; more than a time.Duration holds stay a number.
func explainedDuration(ns uint64) string {
	if ns > uint64(model.MaxTime) {
		return fmt.Sprintf("%dns", ns)
	}
	return time.Duration(ns).String()
}

func explainedVersions(v *varvev1.ExplainedVersions, at func(int64) string) string {
	if v.Replaced+v.Removed == 0 {
		return "nothing was replaced or removed"
	}
	s := fmt.Sprintf("%d values replaced, %d removed", v.Replaced, v.Removed)
	if v.More {
		s += ", and more"
	}
	if v.EditTimeNs != nil {
		s += fmt.Sprintf("; the newest edit at %s by %s", at(*v.EditTimeNs), v.EditAuthor)
		if v.EditReason != "" {
			s += ": " + v.EditReason
		}
	}
	return s
}
