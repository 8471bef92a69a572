package main

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

func newRetentionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "retention",
		Short: "Say for how long classes of tags keep samples, rollups and replaced values",
		Long: `What is older than its class keeps is erased for good. Tags say their class with varve tags create --retention; without one they are
of the class "". Without a rule everything is kept.`,
		Example: `  varve retention set fast --samples 90d --rollups 10y --versions 2y --reason 'policy 12'
  varve retention set '' --samples 5y --rollups 5y --reason 'policy 12'
  varve retention list`,
		Args: asUsage(cobra.NoArgs),
	}
	cmd.AddCommand(newRetentionSetCommand(), newRetentionListCommand())
	return cmd
}

// age is for how long something is kept, as a flag: 90d, 10y, 36h, or for good.
type age time.Duration

var ageUnits = []struct {
	suffix string
	d      time.Duration
}{{"y", 365 * 24 * time.Hour}, {"w", 7 * 24 * time.Hour}, {"d", 24 * time.Hour}}

const forGood = "for good"

// Set is part of pflag.Value.
func (a *age) Set(s string) error {
	if s == forGood {
		*a = 0
		return nil
	}
	for _, u := range ageUnits {
		number, ok := strings.CutSuffix(s, u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(number, 10, 63)
		if err != nil || n == 0 || n > uint64(math.MaxInt64/u.d) {
			break
		}
		*a = age(n) * age(u.d)
		return nil
	}
	if d, err := time.ParseDuration(s); err == nil && d > 0 {
		*a = age(d)
		return nil
	}
	return fmt.Errorf("age %q: must be days, weeks or years such as 90d, 8w or 10y (of 365 days), or %q", s, forGood)
}

func (a *age) String() string {
	if *a == 0 {
		return forGood
	}
	for _, u := range ageUnits {
		if time.Duration(*a)%u.d == 0 {
			return strconv.FormatInt(int64(time.Duration(*a)/u.d), 10) + u.suffix
		}
	}
	return time.Duration(*a).String()
}

// Type is part of pflag.Value.
func (a *age) Type() string { return "age" }

func newRetentionSetCommand() *cobra.Command {
	f := &deleteFlags{}
	var versions, samples, rollups age
	cmd := &cobra.Command{
		Use:   "set CLASS --reason WHY [--samples AGE] [--rollups AGE] [--versions AGE]",
		Short: "Make the rule of a class, in place of the one it had",
		Long: `Samples and rollups go by their time, in whole UTC days; replaced and removed values by when they were. What is not said is
kept for good. Where rollups are kept longer than samples, days, hours and ten minutes are still answered from them. A rule is
carried out within a minute. Ages count from the clock or from the newest sample, whichever is earlier.`,
		Example: `  varve retention set fast --samples 90d --rollups 10y --versions 2y --reason 'policy 12'`,
		Args:    exactlyNames(1, "the class; '' for tags without one"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(); err != nil {
				return err
			}
			c, err := f.client.dial()
			if err != nil {
				return err
			}
			defer c.close()
			answer, err := c.admin.SetRetention(cmd.Context(), &varvev1.SetRetentionRequest{
				Rule:   &varvev1.RetentionRule{Class: args[0], VersionsNs: int64(versions), SamplesNs: int64(samples), RollupsNs: int64(rollups)},
				Author: f.author, Reason: f.reason,
			})
			if err != nil {
				return c.explain(err)
			}
			return f.done(cmd, answer.Offset, "class %q keeps samples %s, rollups %s, versions %s", args[0], &samples, &rollups, &versions)
		},
	}
	f.client.register(cmd)
	f.who(cmd)
	cmd.Flags().Var(&samples, "samples", "for how long samples are kept")
	cmd.Flags().Var(&rollups, "rollups", "for how long rollups are kept, as long as samples or longer")
	cmd.Flags().Var(&versions, "versions", "for how long replaced and removed values are kept")
	return cmd
}

// retentionRule is a rule as JSON. Scripts read it: fields are added, never renamed.
type retentionRule struct {
	Class    string `json:"class"`
	Samples  string `json:"samples"`
	Rollups  string `json:"rollups"`
	Versions string `json:"versions"`
	Since    string `json:"since"`
	Author   string `json:"author"`
	Reason   string `json:"reason"`
}

func newRetentionListCommand() *cobra.Command {
	return listCommand("Print the rules in force", "varve retention list", func(cmd *cobra.Command, c *client) (any, func(io.Writer), error) {
		answer, err := c.admin.ListRetention(cmd.Context(), &varvev1.ListRetentionRequest{})
		if err != nil {
			return nil, nil, err
		}
		kept := func(ns int64) string { a := age(ns); return a.String() }
		list := []retentionRule{}
		for _, r := range answer.Rules {
			list = append(list, retentionRule{r.Class, kept(r.SamplesNs), kept(r.RollupsNs), kept(r.VersionsNs), utcText(r.SinceNs), r.Author, r.Reason})
		}
		return list, func(w io.Writer) {
			fmt.Fprintln(w, "CLASS\tSAMPLES\tROLLUPS\tVERSIONS\tSINCE\tAUTHOR\tREASON")
			for _, r := range list {
				fmt.Fprintf(w, "%q\t%s\t%s\t%s\t%s\t%q\t%q\n", r.Class, r.Samples, r.Rollups, r.Versions, r.Since, r.Author, r.Reason)
			}
		}, nil
	})
}
