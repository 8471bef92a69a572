package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/varvedb/varve/internal/answer"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// wideFlags are those of --wide.
type wideFlags struct {
	wide        bool
	mode        string
	withQuality bool
	onSamplesOf string
	maxAge      time.Duration
}

// wideModes are the names of what the wire has numbers for, from 1.
var wideModes = []string{"asof", "interpolated", "aggregate"}

func (w *wideFlags) register(flags *pflag.FlagSet) {
	flags.BoolVar(&w.wide, "wide", false, "one table: a row per --every, a column per tag")
	flags.StringVar(&w.mode, "mode", "", "with --wide: one of "+strings.Join(wideModes, ", ")+" (default asof, with --aggregate aggregate)")
	flags.BoolVar(&w.withQuality, "with-quality", false, "with --wide: a column of the quality behind each tag")
	flags.StringVar(&w.onSamplesOf, "on-samples-of", "", "with --wide: a row at each time this tag has a sample, in place of --every")
	flags.DurationVar(&w.maxAge, "max-age", 0, "with --wide: a sample older than this, such as 10m, is no value (default any age)")
}

// checkWide refuses flags that do not go together with --wide.
func (f *queryFlags) checkWide() error {
	samples := f.count > 0 || f.bounds != "none" || len(f.quality) > 0 || len(f.where) > 0 || f.gaps || f.limit > 0 || f.seq || f.source
	if f.mode == "" && len(f.aggregates) > 0 {
		f.mode = "aggregate"
	}
	aggregate := f.mode == "aggregate"
	switch {
	case f.mode != "" && !slices.Contains(wideModes, f.mode):
		return fmt.Errorf("--mode %q: must be one of %s", f.mode, strings.Join(wideModes, ", "))
	case samples || f.latest || f.modified || f.plot || f.atTimes() || f.discrete || f.timeInState:
		return errors.New("--wide: goes with none of --latest, --modified, --plot, --at, --interpolated (say --mode interpolated), --discrete, --time-in-state, --count, --bounds, --gaps, --quality, --where, --limit, --with-seq and --with-source")
	case f.reverse:
		return errors.New("--wide with --reverse: give a --start later than --end, which says where the first row stands")
	case aggregate != (len(f.aggregates) == 1) || len(f.aggregates) > 1:
		return errors.New("--wide: --mode aggregate and one --aggregate go together")
	case f.maxAge < 0 || f.maxAge > 0 && f.mode != "" && f.mode != "asof":
		return errors.New("--max-age: must be positive, and goes with --mode asof")
	case f.onSamplesOf != "" && f.every != "":
		return errors.New("--every and --on-samples-of: give one")
	case !aggregate && f.every == "" && f.onSamplesOf == "":
		return errors.New("--wide: a row how often? add --every, such as --every 1m, or --on-samples-of TAG")
	case !aggregate && (f.fill != "none" || f.fillLimit > 0 || f.while != ""):
		return errFillOfWhat
	case f.calendar != "" && f.every == "":
		return errors.New("--calendar: needs --every, such as --every shift")
	}
	return nil
}

func (f *queryFlags) askWide(ctx context.Context, c *client, r *varvev1.ReadRangeRequest) (answer.Stream, error) {
	b, err := f.buckets()
	if err != nil {
		return nil, usageError(err)
	}
	q := &varvev1.ReadWideRequest{
		Tags: r.Tags, Expressions: r.Expressions, StartNs: r.GetStartNs(), EndNs: r.GetEndNs(), StepNs: b.step, Every: b.every, Zone: b.zone, Calendar: b.calendar,
		OnSamplesOf: f.onSamplesOf, Mode: varvev1.ReadWideRequest_Mode(1 + slices.Index(wideModes, f.mode)), Consistency: r.Consistency,
		WithQuality: f.withQuality, MaxAgeNs: f.maxAge.Nanoseconds(), AsOfNs: r.AsOfNs, Stepped: f.override, BridgeBad: f.bridgeBad, UseUncertain: f.useUncertain,
		PercentDataGood: &f.percentGood, PercentDataBad: &f.percentBad, UseSlopedExtrapolation: f.sloped, TimeResolutionNs: f.resolution.Nanoseconds(),
		Fill: f.fill, FillLimit: f.fillLimit, While: f.while, Unit: r.Unit,
	}
	if len(f.aggregates) > 0 {
		q.Aggregate = f.aggregates[0]
	}
	return c.query.ReadWide(ctx, q)
}
