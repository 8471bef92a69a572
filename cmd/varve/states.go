package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/varvedb/varve/internal/timeexpr"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

func newStatesCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "states",
		Short:   "Digital-state sets: the texts that the codes of state tags stand for",
		Example: "  varve tags states put pump 0=stopped 1=running 2=tripped",
		Args:    asUsage(cobra.NoArgs),
	}
	cmd.AddCommand(newStatesPutCommand(), newStatesGetCommand(), newStatesListCommand())
	return cmd
}

func newStatesPutCommand() *cobra.Command {
	var f clientFlags
	var from string
	cmd := &cobra.Command{
		Use:     "put SET CODE=TEXT...",
		Short:   "Store a new version of a state set",
		Example: "  varve tags states put pump 0=stopped 1=running 2=tripped",
		Args:    asUsage(cobra.MinimumNArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			set := &varvev1.StateSet{Name: args[0]}
			for _, a := range args[1:] {
				state, err := parseState(a)
				if err != nil {
					return usageError(err)
				}
				set.States = append(set.States, state)
			}
			if from != "" {
				at, err := timeexpr.Parse(from, time.Now(), time.UTC)
				if err != nil {
					return usageError(fmt.Errorf("--from: %w", err))
				}
				set.FromNs = at
			}
			sortStates(set.States)
			c, err := f.dial()
			if err != nil {
				return err
			}
			defer c.close()
			stored, err := c.catalog.PutStateSet(cmd.Context(), &varvev1.PutStateSetRequest{Set: set})
			if err != nil {
				return c.explain(err)
			}
			return printStateSet(cmd.OutOrStdout(), stored)
		},
	}
	f.register(cmd)
	cmd.Flags().StringVar(&from, "from", "", "from when this version holds (default always for the first, now for later ones)")
	return cmd
}

func newStatesGetCommand() *cobra.Command {
	var f clientFlags
	var version uint32
	cmd := &cobra.Command{
		Use:     "get SET",
		Short:   "Print a state set",
		Example: "  varve tags states get pump --version 1",
		Args:    exactlyNames(1, "one state set"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := f.dial()
			if err != nil {
				return err
			}
			defer c.close()
			set, err := c.catalog.GetStateSet(cmd.Context(), &varvev1.GetStateSetRequest{Name: args[0], Version: version})
			if err != nil {
				return c.explain(err)
			}
			return printStateSet(cmd.OutOrStdout(), set)
		},
	}
	f.register(cmd)
	cmd.Flags().Uint32Var(&version, "version", 0, "version to print (default the newest)")
	return cmd
}

func newStatesListCommand() *cobra.Command {
	var f clientFlags
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "Print the newest version of every state set",
		Example: "  varve tags states list",
		Args:    asUsage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := f.dial()
			if err != nil {
				return err
			}
			defer c.close()
			for page := ""; ; {
				answer, err := c.catalog.ListStateSets(cmd.Context(), &varvev1.ListStateSetsRequest{PageToken: page})
				if err != nil {
					return c.explain(err)
				}
				for _, s := range answer.Sets {
					if err := printStateSet(cmd.OutOrStdout(), s); err != nil {
						return err
					}
				}
				if page = answer.NextPageToken; page == "" {
					return nil
				}
			}
		},
	}
	f.register(cmd)
	return cmd
}

func printStateSet(w io.Writer, s *varvev1.StateSet) error {
	parts := make([]string, len(s.States))
	for i, d := range s.States {
		parts[i] = fmt.Sprintf("  %d=%s\n", d.Code, d.Text)
	}
	_, err := fmt.Fprintf(w, "%s version %d from %s\n%s", s.Name, s.Version, fromText(s.FromNs), strings.Join(parts, ""))
	return err
}

func parseState(s string) (*varvev1.DigitalState, error) {
	code, text, ok := strings.Cut(s, "=")
	n, err := strconv.ParseInt(code, 10, 64)
	if !ok || err != nil {
		return nil, fmt.Errorf("state %q: must be CODE=TEXT, such as 1=running", s)
	}
	return &varvev1.DigitalState{Code: n, Text: text}, nil
}

func sortStates(s []*varvev1.DigitalState) {
	slices.SortFunc(s, func(a, b *varvev1.DigitalState) int { return cmp.Compare(a.Code, b.Code) })
}
