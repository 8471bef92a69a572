package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/varvedb/varve/internal/timeexpr"
	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

func newCalculationsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "calculations",
		Short: "Expressions over tags that the server keeps, and that varve query reads by name as it reads tags",
		Example: `  varve calculations put PUMP_101.DP 'PI_2 - PI_1'
  varve query --start -1d --every 1h --aggregate time_weighted_average PUMP_101.DP`,
		Args: asUsage(cobra.NoArgs),
	}
	cmd.AddCommand(newCalculationsPutCommand(), newCalculationsListCommand(), newCalculationsShowCommand())
	return cmd
}

func newCalculationsPutCommand() *cobra.Command {
	var f clientFlags
	var from, tz string
	cmd := &cobra.Command{
		Use:   "put NAME EXPRESSION",
		Short: "Store an expression under a name, as a new version of what is there",
		Long: `Stores an expression over tags (docs/reference/expressions.md) under a name that no tag has. Reads take the name as that of a tag.
A later version is in force from --from on, in place of all that was in force then or later; what was before stays as it was. The first
holds for all time. The expression in force once more changes nothing.

Times are ` + timeexpr.Help + `.`,
		Example: `  varve calculations put PUMP_101.DP 'PI_2 - PI_1'
  varve calculations put PUMP_101.DP 'in_unit(PI_2 - PI_1, '\''mbar'\'')' --from 2026-03-01`,
		Args: exactlyNames(2, "a name and an expression"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ask := &varvev1.PutCalculationRequest{Name: args[0], Expression: args[1]}
			zone, err := loadZone(tz)
			if err == nil && from != "" {
				ask.FromNs, err = timeexpr.Parse(from, time.Now(), zone)
			}
			if err != nil {
				return usageError(err)
			}
			c, err := f.dial()
			if err != nil {
				return err
			}
			defer c.close()
			stored, err := c.catalog.PutCalculation(cmd.Context(), ask)
			if err != nil {
				return c.explain(err)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s version %d from %s\n", stored.Name, stored.Version, fromText(stored.FromNs))
			return err
		},
	}
	f.register(cmd)
	cmd.Flags().StringVar(&from, "from", "", "since when it holds (default now)")
	cmd.Flags().StringVar(&tz, "tz", "", "IANA zone of times that carry none (default UTC)")
	return cmd
}

func newCalculationsListCommand() *cobra.Command {
	var f clientFlags
	var output string
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "Print the newest version of every calculation",
		Example: "  varve calculations list --output json",
		Args:    asUsage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkTagsOutput(output); err != nil {
				return err
			}
			c, err := f.dial()
			if err != nil {
				return err
			}
			defer c.close()
			var all []*varvev1.Calculation
			for page := ""; ; {
				answer, err := c.catalog.ListCalculations(cmd.Context(), &varvev1.ListCalculationsRequest{PageToken: page})
				if err != nil {
					return c.explain(err)
				}
				all = append(all, answer.Calculations...)
				if page = answer.NextPageToken; page == "" {
					return printCalculations(cmd.OutOrStdout(), output, all)
				}
			}
		},
	}
	f.register(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json (one object per line)")
	return cmd
}

func newCalculationsShowCommand() *cobra.Command {
	var f clientFlags
	var output string
	cmd := &cobra.Command{
		Use:     "show NAME",
		Short:   "Print all versions of a calculation, the newest last",
		Long:    "Prints all versions of a calculation. At an instant the last of those in the list holds that had begun by then.",
		Example: "  varve calculations show PUMP_101.DP",
		Args:    exactlyNames(1, "one calculation"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkTagsOutput(output); err != nil {
				return err
			}
			c, err := f.dial()
			if err != nil {
				return err
			}
			defer c.close()
			newest, err := c.catalog.GetCalculation(cmd.Context(), &varvev1.GetCalculationRequest{Name: args[0]})
			if err != nil {
				return c.explain(err)
			}
			var all []*varvev1.Calculation
			for version := uint32(1); version < newest.Version; version++ {
				x, err := c.catalog.GetCalculation(cmd.Context(), &varvev1.GetCalculationRequest{Name: args[0], Version: version})
				if err != nil {
					return c.explain(err)
				}
				all = append(all, x)
			}
			return printCalculations(cmd.OutOrStdout(), output, append(all, newest))
		},
	}
	f.register(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json (one object per line)")
	return cmd
}

type calculationJSON struct {
	Name       string `json:"name"`
	Version    uint32 `json:"version"`
	From       string `json:"from"`
	Stored     string `json:"stored"`
	Expression string `json:"expression"`
}

func printCalculations(w io.Writer, output string, all []*varvev1.Calculation) error {
	if output == "json" {
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		for _, x := range all {
			if err := e.Encode(calculationJSON{x.Name, x.Version, fromText(x.FromNs), model.FormatTime(x.StoredNs), x.Expression}); err != nil {
				return err
			}
		}
		return nil
	}
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, "name\tversion\tfrom\texpression")
	for _, x := range all {
		fmt.Fprintf(out, "%s\t%d\t%s\t%s\n", x.Name, x.Version, fromText(x.FromNs), strings.Join(strings.Fields(x.Expression), " "))
	}
	return out.Flush()
}

// findReadable is findTag for reads, which take the name of a stored calculation as that of a tag of which nothing else is known.
func (c *client) findReadable(ctx context.Context, name string) ([]foundTag, error) {
	tags, unknown := c.findTag(ctx, name)
	if unknown == nil || strings.ContainsAny(name, "*?") {
		return tags, unknown
	}
	_, err := c.catalog.GetCalculation(ctx, &varvev1.GetCalculationRequest{Name: name})
	switch status.Code(err) {
	case codes.OK:
		return []foundTag{{&varvev1.Tag{Name: name}, name}}, nil
	case codes.NotFound, codes.InvalidArgument, codes.Unimplemented:
		return nil, unknown
	}
	return nil, c.explain(err)
}
