package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/varvedb/varve/internal/timeexpr"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

func newHoldCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "hold",
		Short: "Keep what tags have in a time range from being erased, until the hold is released",
		Long: `A hold keeps what tags have in a time range from being erased by retention, a purge or the disk budget. Edits and
varve delete go on: they lose nothing.`,
		Example: `  varve hold add --start 2026-01-01 --end 2026-04-01 --reason 'investigation 12' 'FI-*'
  varve hold list
  varve hold release 4711 --reason 'investigation closed'`,
		Args: asUsage(cobra.NoArgs),
	}
	cmd.AddCommand(newHoldAddCommand(), newHoldReleaseCommand(), newHoldListCommand())
	return cmd
}

func newHoldAddCommand() *cobra.Command {
	f := &deleteFlags{}
	all := false
	cmd := &cobra.Command{
		Use:   "add --start TIME --end TIME --reason WHY (TAG... | --all)",
		Short: "Make a hold",
		Long: `Keeps what tags have from --start up to, but not including, --end from being erased. A name with * or ? means every tag that
matches now; --all means every tag, those of the future too.

Times are ` + timeexpr.Help + `.`,
		Example: `  varve hold add --start 2026-01-01 --end 2026-04-01 --reason 'investigation 12' 'FI-*'
  varve hold add --start 2026-01-01 --end 2026-04-01 --reason 'audit' --all`,
		RunE: func(cmd *cobra.Command, names []string) error {
			if all == (len(names) > 0) {
				return usageError(errors.New("name the tags, or say --all"))
			}
			x, err := f.choose(cmd, names)
			if err != nil {
				return err
			}
			defer x.close()
			answer, err := x.admin.Hold(cmd.Context(), &varvev1.HoldRequest{TagIds: x.tags, StartNs: x.start, EndNs: x.end, Author: f.author, Reason: f.reason})
			if err != nil {
				return x.explain(err)
			}
			return f.done(cmd, answer.Offset, "hold %d on %s tags", answer.Offset, countOrAll(len(x.tags)))
		},
	}
	f.client.register(cmd)
	f.who(cmd)
	f.span(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "every tag, those of the future too")
	return cmd
}

func newHoldReleaseCommand() *cobra.Command {
	f := &deleteFlags{}
	return f.byNumber(&cobra.Command{
		Use:     "release --reason WHY HOLD",
		Short:   "End a hold, by the number that varve hold list shows",
		Example: "  varve hold release 4711 --reason 'investigation closed'",
		Args:    exactlyNames(1, "the number of a hold, as varve hold list shows it"),
	}, "hold", "varve hold list", "hold %d is released, as log record %d", func(ctx context.Context, c *client, offset uint64) (uint64, error) {
		answer, err := c.admin.ReleaseHold(ctx, &varvev1.ReleaseHoldRequest{Offset: offset, Author: f.author, Reason: f.reason})
		return answer.GetOffset(), err
	})
}

// heldRange is a hold as JSON. Scripts read it: fields are added, never renamed.
type heldRange struct {
	Offset uint64   `json:"offset"`
	Since  string   `json:"since"`
	Tags   []string `json:"tags"` // none: all
	Start  string   `json:"start"`
	End    string   `json:"end"`
	Author string   `json:"author"`
	Reason string   `json:"reason"`
}

func newHoldListCommand() *cobra.Command {
	return listCommand("Print the holds in force, oldest first", "varve hold list", func(cmd *cobra.Command, c *client) (any, func(io.Writer), error) {
		stream, err := c.admin.ListHolds(cmd.Context(), &varvev1.ListHoldsRequest{})
		if err != nil {
			return nil, nil, err
		}
		list := []heldRange{}
		for {
			h, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return nil, nil, err
			}
			tags := slices.Clone(h.Tags)
			if tags == nil {
				tags = []string{}
			}
			list = append(list, heldRange{h.Offset, utcText(h.IngestNs), tags, utcText(h.StartNs), utcText(h.EndNs), h.Author, h.Reason})
		}
		return list, func(w io.Writer) {
			fmt.Fprintln(w, "HOLD\tSINCE\tTAGS\tSTART\tEND\tAUTHOR\tREASON")
			for _, h := range list {
				tags := countOrAll(len(h.Tags))
				if len(h.Tags) == 1 {
					tags = h.Tags[0]
				}
				fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%q\t%q\n", h.Offset, h.Since, tags, h.Start, h.End, h.Author, h.Reason)
			}
		}, nil
	})
}
