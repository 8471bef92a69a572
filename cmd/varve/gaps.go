package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/varvedb/varve/internal/timeexpr"
	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

func newGapsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "gaps",
		Short: "Say of which times samples are missing, and why",
		Long: `A gap says that samples of a tag are missing from one time to another: not_collected, lost, device_down, quarantined or thinned. Reads take the tag for
Bad there, up to the next sample, in place of a line or a value held across; samples that are written later count where they stand. A gap
without an end is open. Ends and withdrawals leave what was said before readable.`,
		Example: `  varve gaps add --kind device_down --start 2026-03-01T10:04:00Z --end 2026-03-01T10:20:00Z 'BOILER1.*'
  varve gaps list --start -7d 'BOILER1.*'
  varve gaps withdraw --reason 'the queue came through after all' 4711`,
		Args: asUsage(cobra.NoArgs),
	}
	cmd.AddCommand(newGapsAddCommand(), newGapsEndCommand(), newGapsWithdrawCommand(), newGapsListCommand())
	return cmd
}

// gapFlags are what the commands about gaps share.
type gapFlags struct {
	client clientFlags
	author string
	reason string
	zone   string
	output string
}

func (f *gapFlags) register(cmd *cobra.Command) {
	f.client.register(cmd)
	cmd.Flags().StringVarP(&f.output, "output", "o", "table", "table, csv or json (one object per line)")
	cmd.Flags().StringVar(&f.zone, "tz", "", "IANA zone of times that carry none (default UTC)")
}

func (f *gapFlags) who(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.author, "author", "", "who (default the user's name; the server takes the authenticated one where there is one)")
	cmd.Flags().StringVar(&f.reason, "reason", "", "why, up to 1,024 bytes")
}

// time is what a flag says, nil where it says nothing.
func (f *gapFlags) time(flag, text string) (*int64, error) {
	zone, err := loadZone(f.zone)
	if err != nil {
		return nil, usageError(err)
	}
	if text == "" {
		return nil, nil
	}
	at, err := timeexpr.Parse(text, time.Now(), zone)
	if err != nil {
		return nil, usageError(fmt.Errorf("%s: %w", flag, err))
	}
	return &at, nil
}

// dial checks what the commands share and connects.
func (f *gapFlags) dial() (*client, error) {
	if f.output != "table" && f.output != "csv" && f.output != "json" {
		return nil, usageError(fmt.Errorf("output %q: must be table, csv or json", f.output))
	}
	if f.author == "" {
		f.author = userName()
	}
	return f.client.dial()
}

// change runs a call that changes gaps and prints the numbers it answers with.
func (f *gapFlags) change(cmd *cobra.Command, names []string, call func(ctx context.Context, c *client, ids []uint32) (gapNumbers, error)) error {
	c, err := f.dial()
	if err != nil {
		return err
	}
	defer c.close()
	var ids []uint32
	if len(names) > 0 {
		tags, err := c.findTags(cmd.Context(), names)
		if err != nil {
			return err
		}
		ids = idsOf(tags)
	}
	n, err := call(cmd.Context(), c, ids)
	if err != nil {
		return c.explain(err)
	}
	return n.print(cmd.OutOrStdout(), f.output)
}

// gapNumbers is what a change answers with.
type gapNumbers struct {
	names  []string
	values []uint64
}

func (n gapNumbers) print(w io.Writer, output string) error {
	texts := make([]string, len(n.values))
	for i, v := range n.values {
		texts[i] = strconv.FormatUint(v, 10)
	}
	switch output {
	case "json":
		var b strings.Builder
		for i := range texts {
			fmt.Fprintf(&b, ",%q:%s", n.names[i], texts[i])
		}
		_, err := fmt.Fprintf(w, "{%s}\n", strings.TrimPrefix(b.String(), ","))
		return err
	case "csv":
		out := csv.NewWriter(w)
		return out.WriteAll([][]string{n.names, texts})
	}
	parts := make([]string, len(texts))
	for i := range texts {
		parts[i] = n.names[i] + " " + texts[i]
	}
	_, err := fmt.Fprintln(w, strings.Join(parts, ", "))
	return err
}

// gapKinds are the kinds of gaps, from the number 1 of the wire on.
var gapKinds = []string{model.NotCollected.String(), model.Lost.String(), model.DeviceDown.String(), model.Quarantined.String(), model.Thinned.String()}

func newGapsAddCommand() *cobra.Command {
	f := &gapFlags{}
	var kind, start, end, source string
	cmd := &cobra.Command{
		Use:   "add --kind KIND --start TIME [--end TIME] TAG...",
		Short: "Report that samples are missing",
		Long: `Reports that samples of tags are missing from --start up to, but not including, --end; without it the gap is open. A name with * or ?
means every tag that matches. KIND is not_collected, lost, device_down, quarantined or thinned. Prints the id of the gap and of how many tags it
is: a tag of which the same gap stands already gets no other one.

Times are ` + timeexpr.Help + `.`,
		Example: `  varve gaps add --kind device_down --start 2026-03-01T10:04:00Z --end 2026-03-01T10:20:00Z --source plc-7 'BOILER1.*'
  varve gaps add --kind not_collected --start now --reason 'cable pulled' FI-101 --output json`,
		Args: tagsToName("report a gap of"),
		RunE: func(cmd *cobra.Command, names []string) error {
			number := slices.Index(gapKinds, kind) + 1
			if number == 0 {
				return usageError(fmt.Errorf("--kind %q: must be one of %s", kind, strings.Join(gapKinds, ", ")))
			}
			from, err := f.time("--start", start)
			if err == nil && from == nil {
				err = usageError(errors.New("--start is required: from when on samples are missing"))
			}
			if err != nil {
				return err
			}
			to, err := f.time("--end", end)
			if err != nil {
				return err
			}
			if to != nil && *to <= *from {
				return usageError(errors.New("--end must be later than --start"))
			}
			return f.change(cmd, names, func(ctx context.Context, c *client, ids []uint32) (gapNumbers, error) {
				r, err := c.gaps.RecordGaps(ctx, &varvev1.RecordGapsRequest{
					TagIds: ids, Kind: varvev1.GapKind(number), StartNs: *from, EndNs: to, Source: source, Author: f.author, Reason: f.reason,
				})
				return gapNumbers{[]string{"id", "recorded"}, []uint64{r.GetId(), uint64(r.GetRecorded())}}, err
			})
		},
	}
	f.register(cmd)
	f.who(cmd)
	cmd.Flags().StringVar(&kind, "kind", "", "one of "+strings.Join(gapKinds, ", ")+"; required")
	cmd.Flags().StringVar(&start, "start", "", "from when on samples are missing; required")
	cmd.Flags().StringVar(&end, "end", "", "first instant that is not missing any more (default not known)")
	cmd.Flags().StringVar(&source, "source", "", "whose samples are missing, up to 256 bytes")
	return cmd
}

// tagsToName refuses a command without tags.
func tagsToName(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usageError(fmt.Errorf("no tag to %s; see %s --help", what, cmd.CommandPath()))
		}
		return nil
	}
}

func newGapsEndCommand() *cobra.Command {
	f := &gapFlags{}
	var end, source string
	cmd := &cobra.Command{
		Use:   "end [--end TIME] [--source NAME] TAG...",
		Short: "End open gaps",
		Long: `Ends the open gaps of tags that began before --end, there: those of --source, or of every source. A name with * or ? means every tag that
matches. Prints how many.

Times are ` + timeexpr.Help + `.`,
		Example: `  varve gaps end --end 2026-03-01T10:20:00Z --reason 'cable is back' FI-101`,
		Args:    tagsToName("end gaps of"),
		RunE: func(cmd *cobra.Command, names []string) error {
			at, err := f.time("--end", end)
			if err != nil {
				return err
			}
			return f.change(cmd, names, func(ctx context.Context, c *client, ids []uint32) (gapNumbers, error) {
				r, err := c.gaps.EndGaps(ctx, &varvev1.EndGapsRequest{TagIds: ids, EndNs: *at, Source: source, Author: f.author, Reason: f.reason})
				return gapNumbers{[]string{"ended"}, []uint64{uint64(r.GetEnded())}}, err
			})
		},
	}
	f.register(cmd)
	f.who(cmd)
	cmd.Flags().StringVar(&end, "end", "now", "first instant that is not missing any more")
	cmd.Flags().StringVar(&source, "source", "", "whose gaps to end (default those of every source)")
	return cmd
}

func newGapsWithdrawCommand() *cobra.Command {
	f := &gapFlags{}
	cmd := &cobra.Command{
		Use:   "withdraw ID [TAG...]",
		Short: "Say that a gap is none after all; it stays readable",
		Long: `Withdraws the gap of an id, as varve gaps list shows it, of all tags that have it or of some. A name with * or ? means every tag that
matches. Prints how many.`,
		Example: `  varve gaps withdraw --reason 'the queue came through after all' 4711`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError(fmt.Errorf("no gap to withdraw; see %s --help", cmd.CommandPath()))
			}
			if _, err := strconv.ParseUint(args[0], 10, 64); err != nil {
				return usageError(fmt.Errorf("gap %q: must be an id as varve gaps list shows it", args[0]))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			id, _ := strconv.ParseUint(args[0], 10, 64)
			return f.change(cmd, args[1:], func(ctx context.Context, c *client, ids []uint32) (gapNumbers, error) {
				r, err := c.gaps.WithdrawGaps(ctx, &varvev1.WithdrawGapsRequest{Id: id, TagIds: ids, Author: f.author, Reason: f.reason})
				return gapNumbers{[]string{"withdrawn"}, []uint64{uint64(r.GetWithdrawn())}}, err
			})
		},
	}
	f.register(cmd)
	f.who(cmd)
	return cmd
}

func newGapsListCommand() *cobra.Command {
	f := &gapFlags{}
	var start, end string
	withdrawn := false
	cmd := &cobra.Command{
		Use:   "list TAG...",
		Short: "Print the gaps of tags",
		Long: `Prints the gaps of which any instant lies from --start up to, but not including, --end. A name with * or ? means every tag that matches. With
--withdrawn those that were withdrawn too.

Times are ` + timeexpr.Help + `.`,
		Example: `  varve gaps list FI-101
  varve gaps list --start -1d --end now 'FI-*' --output csv
  varve gaps list --withdrawn FI-101 --output json`,
		Args: tagsToName("list gaps of"),
		RunE: func(cmd *cobra.Command, names []string) error {
			from, err := f.time("--start", start)
			if err != nil {
				return err
			}
			to, err := f.time("--end", end)
			if err != nil {
				return err
			}
			c, err := f.dial()
			if err != nil {
				return err
			}
			defer c.close()
			tags, err := c.findTags(cmd.Context(), names)
			if err != nil {
				return err
			}
			list := newGapLister(cmd.OutOrStdout(), f.output)
			r := &varvev1.ListGapsRequest{TagIds: idsOf(tags), StartNs: from, EndNs: to, Withdrawn: withdrawn}
			for {
				page, err := c.gaps.ListGaps(cmd.Context(), r)
				if err != nil {
					return c.explain(err)
				}
				for _, g := range page.Gaps {
					list.add(g)
				}
				if r.PageToken = page.NextPageToken; r.PageToken == "" {
					return list.finish()
				}
			}
		},
	}
	f.register(cmd)
	cmd.Flags().StringVar(&start, "start", "", "first instant of the range (default the first there is)")
	cmd.Flags().StringVar(&end, "end", "", "instant behind the last (default the last there is)")
	cmd.Flags().BoolVar(&withdrawn, "withdrawn", false, "gaps that were withdrawn too")
	return cmd
}

// gapJSON is a gap as JSON. Scripts read it: fields are added, never renamed.
type gapJSON struct {
	ID            uint64 `json:"id"`
	Tag           string `json:"tag"`
	Kind          string `json:"kind"`
	Source        string `json:"source,omitempty"`
	Start         string `json:"start"`
	End           string `json:"end,omitempty"` // none: open
	Author        string `json:"author"`
	Reason        string `json:"reason,omitempty"`
	Recorded      string `json:"recorded"`
	Withdrawn     bool   `json:"withdrawn"`
	ChangedBy     string `json:"changed_by,omitempty"`
	ChangedReason string `json:"changed_reason,omitempty"`
	Changed       string `json:"changed,omitempty"`
}

func gapToJSON(g *varvev1.Gap) *gapJSON {
	out := &gapJSON{
		ID: g.Id, Tag: g.Tag, Kind: model.GapKind(g.Kind).String(), Source: g.Source, Start: utcText(g.StartNs), Author: g.Author, Reason: g.Reason,
		Recorded: utcText(g.RecordedNs), Withdrawn: g.Withdrawn, ChangedBy: g.ChangedBy, ChangedReason: g.ChangedReason,
	}
	if g.EndNs != nil {
		out.End = utcText(*g.EndNs)
	}
	if g.ChangedNs != 0 {
		out.Changed = utcText(g.ChangedNs)
	}
	return out
}

// state is what became of a gap.
func (g *gapJSON) state() string {
	switch {
	case g.Withdrawn:
		return "withdrawn"
	case g.End == "":
		return "open"
	}
	return "closed"
}

// gapLister prints gaps as they come.
type gapLister struct {
	json  *json.Encoder
	csv   *csv.Writer
	table *tabwriter.Writer
	err   error
}

func newGapLister(w io.Writer, output string) *gapLister {
	switch output {
	case "json":
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		return &gapLister{json: e}
	case "csv":
		l := &gapLister{csv: csv.NewWriter(w)}
		l.err = l.csv.Write([]string{"id", "tag", "kind", "source", "start", "end", "state", "recorded", "author", "reason", "changed", "changed_by", "changed_reason"})
		return l
	}
	l := &gapLister{table: tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	fmt.Fprintln(l.table, "ID\tTAG\tKIND\tSTART\tEND\tSTATE\tAUTHOR\tREASON")
	return l
}

func (l *gapLister) add(wire *varvev1.Gap) {
	g := gapToJSON(wire)
	switch {
	case l.json != nil:
		l.err = errors.Join(l.err, l.json.Encode(g))
	case l.csv != nil:
		l.err = errors.Join(l.err, l.csv.Write([]string{
			strconv.FormatUint(g.ID, 10), g.Tag, g.Kind, g.Source, g.Start, g.End, g.state(), g.Recorded, g.Author, g.Reason, g.Changed, g.ChangedBy, g.ChangedReason,
		}))
	default:
		author, reason := g.Author, g.Reason
		if g.Changed != "" {
			author, reason = g.ChangedBy, g.ChangedReason
		}
		fmt.Fprintf(l.table, "%d\t%s\t%s\t%s\t%s\t%s\t%q\t%q\n", g.ID, g.Tag, g.Kind, g.Start, g.End, g.state(), author, reason)
	}
}

func (l *gapLister) finish() error {
	switch {
	case l.csv != nil:
		l.csv.Flush()
		return errors.Join(l.err, l.csv.Error())
	case l.table != nil:
		return l.table.Flush()
	}
	return l.err
}
