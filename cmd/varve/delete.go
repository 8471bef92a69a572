package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/varvedb/varve/internal/timeexpr"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// deleteFlags are what range deletes and undoing them say.
type deleteFlags struct {
	client clientFlags
	author string
	reason string
	start  string
	end    string
	zone   string
	output string
}

func newDeleteCommand() *cobra.Command {
	f := &deleteFlags{}
	cmd := &cobra.Command{
		Use:   "delete --start TIME --end TIME --reason WHY TAG...",
		Short: "Take away the samples of tags in a time range; they stay readable as modified values",
		Long: `Takes away the samples of tags from --start up to, but not including, --end. A name with * or ? means every tag that
matches. What was there stays readable with varve query --modified and --as-of, and varve undelete brings it back for as
long as the server's window lasts, by default 30 days. What is written into the range later stands.

Times are ` + timeexpr.Help + `.`,
		Example: `  varve delete --start 2026-03-01T08:00:00Z --end 2026-03-01T09:30:00Z --reason 'test rig was connected' FI-101 FI-102
  varve delete list
  varve undelete 4711 --reason 'wrong tags'`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError(fmt.Errorf("no tag to delete of; see %s --help", cmd.CommandPath()))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	f.client.register(cmd)
	f.who(cmd)
	f.span(cmd)
	cmd.AddCommand(newDeleteListCommand())
	return cmd
}

func (f *deleteFlags) who(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.author, "author", "", "who (default the user's name; the server takes the authenticated one where there is one)")
	cmd.Flags().StringVar(&f.reason, "reason", "", "why; required")
	cmd.Flags().StringVarP(&f.output, "output", "o", "text", "text or json")
}

// check refuses flags that make no sense.
func (f *deleteFlags) check() error {
	if f.output != "text" && f.output != "json" {
		return usageError(fmt.Errorf("output %q: must be text or json", f.output))
	}
	if f.reason == "" {
		return usageError(errors.New("--reason is required: it says why, for ever"))
	}
	if f.author == "" {
		f.author = userName()
	}
	return nil
}

// span registers the flags of a range.
func (f *deleteFlags) span(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.start, "start", "", "first instant; required")
	cmd.Flags().StringVar(&f.end, "end", "", "instant behind the last; required")
	cmd.Flags().StringVar(&f.zone, "tz", "", "IANA zone of times that carry none (default UTC)")
}

// readSpan is the range that the flags say.
func (f *deleteFlags) readSpan() (start, end int64, err error) {
	zone, err := loadZone(f.zone)
	if err != nil {
		return 0, 0, usageError(err)
	}
	now := time.Now()
	if f.start == "" || f.end == "" {
		return 0, 0, usageError(errors.New("--start and --end are required"))
	}
	if start, err = timeexpr.Parse(f.start, now, zone); err != nil {
		return 0, 0, usageError(fmt.Errorf("--start: %w", err))
	}
	if end, err = timeexpr.Parse(f.end, now, zone); err != nil {
		return 0, 0, usageError(fmt.Errorf("--end: %w", err))
	}
	if start >= end {
		return 0, 0, usageError(errors.New("--end must be later than --start"))
	}
	return start, end, nil
}

// selection is tags and a range, and who asks for something to be done with them.
type selection struct {
	*client
	tags       []uint32
	start, end int64
}

// choose reads the flags and finds the tags. The client is to be closed.
func (f *deleteFlags) choose(cmd *cobra.Command, names []string) (*selection, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	start, end, err := f.readSpan()
	if err != nil {
		return nil, err
	}
	c, err := f.client.dial()
	if err != nil {
		return nil, err
	}
	tags, err := c.findTags(cmd.Context(), names)
	if err != nil {
		c.close()
		return nil, err
	}
	return &selection{c, idsOf(tags), start, end}, nil
}

// done prints what was done: as text, or the record that says so.
func (f *deleteFlags) done(cmd *cobra.Command, offset uint64, format string, a ...any) error {
	if f.output == "json" {
		return printJSON(cmd.OutOrStdout(), offsetJSON{offset})
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), format+"\n", a...)
	return err
}

func (f *deleteFlags) run(cmd *cobra.Command, names []string) error {
	x, err := f.choose(cmd, names)
	if err != nil {
		return err
	}
	defer x.close()
	answer, err := x.admin.DeleteRange(cmd.Context(), &varvev1.DeleteRangeRequest{TagIds: x.tags, StartNs: x.start, EndNs: x.end, Author: f.author, Reason: f.reason})
	if err != nil {
		return x.explain(err)
	}
	return f.done(cmd, answer.Offset, "deleted of %d tags, as log record %d; varve undelete %d brings it back", len(x.tags), answer.Offset, answer.Offset)
}

func idsOf(tags []foundTag) (ids []uint32) {
	for _, t := range tags {
		ids = append(ids, t.Id)
	}
	return ids
}

type offsetJSON struct {
	Offset uint64 `json:"offset"`
}

func newUndeleteCommand() *cobra.Command {
	f := &deleteFlags{}
	return f.byNumber(&cobra.Command{
		Use:     "undelete --reason WHY RECORD",
		Short:   "Bring back what a delete took away, by its log record",
		Example: "  varve undelete 4711 --reason 'wrong tags'\n  varve delete list",
		Args:    exactlyNames(1, "the log record of a delete, as varve delete list shows it"),
	}, "log record", "varve delete list", "delete %d is undone, as log record %d", func(ctx context.Context, c *client, offset uint64) (uint64, error) {
		answer, err := c.admin.UndeleteRange(ctx, &varvev1.UndeleteRangeRequest{Offset: offset, Author: f.author, Reason: f.reason})
		return answer.GetOffset(), err
	})
}

// byNumber makes cmd end something that a list shows under a number.
func (f *deleteFlags) byNumber(cmd *cobra.Command, what, list, said string, call func(context.Context, *client, uint64) (uint64, error)) *cobra.Command {
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := f.check(); err != nil {
			return err
		}
		offset, err := strconv.ParseUint(args[0], 10, 64)
		if err != nil {
			return usageError(fmt.Errorf("%s %q: must be a number as %s shows it", what, args[0], list))
		}
		c, err := f.client.dial()
		if err != nil {
			return err
		}
		defer c.close()
		record, err := call(cmd.Context(), c, offset)
		if err != nil {
			return c.explain(err)
		}
		return f.done(cmd, record, said, offset, record)
	}
	f.client.register(cmd)
	f.who(cmd)
	return cmd
}

func newDeleteListCommand() *cobra.Command {
	return listCommand("Print every range delete there was, oldest first", "varve delete list", func(cmd *cobra.Command, c *client) (any, func(io.Writer), error) {
		deletes, err := c.deletes(cmd.Context())
		return deletes, func(w io.Writer) { printDeletes(w, deletes) }, err
	})
}

// rangeDelete is a range delete as JSON. Scripts read it: fields are added, never renamed.
type rangeDelete struct {
	Offset uint64       `json:"offset"`
	At     string       `json:"at"`
	Tags   []string     `json:"tags"`
	Start  string       `json:"start"`
	End    string       `json:"end"`
	Author string       `json:"author"`
	Reason string       `json:"reason"`
	Undone *undoneRange `json:"undone"`
}

type undoneRange struct {
	Offset uint64 `json:"offset"`
	At     string `json:"at"`
	Author string `json:"author"`
	Reason string `json:"reason"`
}

func (c *client) deletes(ctx context.Context) ([]rangeDelete, error) {
	stream, err := c.admin.ListDeletes(ctx, &varvev1.ListDeletesRequest{})
	if err != nil {
		return nil, err
	}
	out := []rangeDelete{}
	for {
		d, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		r := rangeDelete{Offset: d.Offset, At: utcText(d.IngestNs), Tags: slices.Clone(d.Tags), Start: utcText(d.StartNs), End: utcText(d.EndNs), Author: d.Author, Reason: d.Reason}
		if u := d.Undone; u != nil {
			r.Undone = &undoneRange{u.Offset, utcText(u.IngestNs), u.Author, u.Reason}
		}
		out = append(out, r)
	}
}

// utcText is an instant as JSON and tables have it.
func utcText(ns int64) string { return time.Unix(0, ns).UTC().Format(time.RFC3339Nano) }

func printDeletes(t io.Writer, deletes []rangeDelete) {
	fmt.Fprintln(t, "RECORD\tAT\tTAGS\tSTART\tEND\tAUTHOR\tREASON\tUNDONE")
	for _, d := range deletes {
		tags, undone := strconv.Itoa(len(d.Tags)), ""
		if len(d.Tags) == 1 {
			tags = d.Tags[0]
		}
		if d.Undone != nil {
			undone = fmt.Sprintf("%s by %q: %q", d.Undone.At, d.Undone.Author, d.Undone.Reason)
		}
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%q\t%q\t%s\n", d.Offset, d.At, tags, d.Start, d.End, d.Author, d.Reason, undone)
	}
}

// listCommand is a command that prints what a call lists, as a table or as JSON.
func listCommand(short, example string, list func(*cobra.Command, *client) (any, func(io.Writer), error)) *cobra.Command {
	var f clientFlags
	var output string
	cmd := &cobra.Command{
		Use:     "list",
		Short:   short,
		Example: "  " + example + "\n  " + example + " --output json",
		Args:    asUsage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "table" && output != "json" {
				return usageError(fmt.Errorf("output %q: must be table or json", output))
			}
			c, err := f.dial()
			if err != nil {
				return err
			}
			defer c.close()
			data, table, err := list(cmd, c)
			if err != nil {
				return c.explain(err)
			}
			if output == "json" {
				return printJSON(cmd.OutOrStdout(), data)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			table(w)
			return w.Flush()
		},
	}
	f.register(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	return cmd
}
