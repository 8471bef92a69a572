package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/varvedb/varve/internal/timeexpr"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

func newPurgeCommand() *cobra.Command {
	f := &deleteFlags{}
	noWait := false
	cmd := &cobra.Command{
		Use:   "purge --start TIME --end TIME --reason WHY TAG...",
		Short: "Take the samples of tags in a time range for good, with their history",
		Long: `Takes the samples of tags from --start up to, but not including, --end for good: values, everything that was replaced or
removed there, and rollups. Nothing brings them back, varve delete does that. A name with * or ? means every tag that matches.
The command waits until they are off the disk; backups made before still have them. Who did it, when and why stays on record:
varve purge list. What a hold keeps is refused.

Times are ` + timeexpr.Help + `.`,
		Example: `  varve purge --start 2026-03-01T08:00:00Z --end 2026-03-01T09:30:00Z --reason 'operator named in texts' SHIFT.NOTE
  varve purge list`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError(fmt.Errorf("no tag to purge; see %s --help", cmd.CommandPath()))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, names []string) error {
			x, err := f.choose(cmd, names)
			if err != nil {
				return err
			}
			defer x.close()
			answer, err := x.admin.Purge(cmd.Context(), &varvev1.PurgeRequest{
				TagIds: x.tags, StartNs: x.start, EndNs: x.end, Author: f.author, Reason: f.reason, NoWait: noWait,
			})
			if err != nil {
				return x.explain(err)
			}
			return f.done(cmd, answer.Offset, "purged of %d tags, as log record %d", len(x.tags), answer.Offset)
		},
	}
	f.client.register(cmd)
	f.who(cmd)
	f.span(cmd)
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "return once no read has them any more")
	cmd.AddCommand(newPurgeListCommand())
	return cmd
}

// erasure is what was taken for good as JSON. Scripts read it: fields are added, never renamed.
type erasure struct {
	Offset uint64 `json:"offset"`
	At     string `json:"at"`
	What   string `json:"what"`
	Cause  string `json:"cause"`
	Class  string `json:"class,omitempty"`
	Tags   uint32 `json:"tags"` // 0: all
	Start  string `json:"start"`
	End    string `json:"end"`
	Author string `json:"author"`
	Reason string `json:"reason"`
	OnDisk bool   `json:"on_disk"`
}

var erasedNames = map[varvev1.ErasedWhat]string{
	varvev1.ErasedWhat_ERASED_WHAT_VERSIONS: "versions", varvev1.ErasedWhat_ERASED_WHAT_SAMPLES: "samples", varvev1.ErasedWhat_ERASED_WHAT_ALL: "all",
}

var causeNames = map[varvev1.ErasedCause]string{
	varvev1.ErasedCause_ERASED_CAUSE_RETENTION: "retention", varvev1.ErasedCause_ERASED_CAUSE_PURGE: "purge", varvev1.ErasedCause_ERASED_CAUSE_DISK_BUDGET: "disk budget",
}

func newPurgeListCommand() *cobra.Command {
	return listCommand("Print everything that was ever taken for good, oldest first", "varve purge list", func(cmd *cobra.Command, c *client) (any, func(io.Writer), error) {
		stream, err := c.admin.ListErasures(cmd.Context(), &varvev1.ListErasuresRequest{})
		if err != nil {
			return nil, nil, err
		}
		list := []erasure{}
		for {
			e, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return nil, nil, err
			}
			list = append(list, erasure{
				e.Offset, utcText(e.IngestNs), erasedNames[e.What], causeNames[e.Cause], e.Class, e.TagCount, utcText(e.StartNs), utcText(e.EndNs), e.Author, e.Reason, e.OnDisk,
			})
		}
		return list, func(w io.Writer) {
			fmt.Fprintln(w, "RECORD\tAT\tCAUSE\tCLASS\tTAGS\tWHAT\tSTART\tEND\tAUTHOR\tREASON\tON DISK")
			for _, e := range list {
				fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%q\t%q\t%t\n", e.Offset, e.At, e.Cause, e.Class, countOrAll(int(e.Tags)), e.What, e.Start, e.End, e.Author, e.Reason, e.OnDisk)
			}
		}, nil
	})
}

func countOrAll(n int) string {
	if n == 0 {
		return "all"
	}
	return strconv.Itoa(n)
}
