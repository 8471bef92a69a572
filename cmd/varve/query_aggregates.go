package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/varvedb/varve/internal/answer"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/query"
)

var errFillOfWhat = errors.New("--fill and --fill-limit need --aggregate, --while that or --time-in-state")

func (f *queryFlags) checkAggregates() error {
	switch {
	case f.timeInState && (len(f.aggregates) > 0 || f.atTimes() || f.charted() || f.latest || f.modified || f.asOf != "" || f.seq || f.source || f.limit > 0):
		return errors.New("--time-in-state: goes with none of --aggregate, --at, --interpolated, --plot, --pixels, --latest, --modified, --as-of, --limit, --with-seq and --with-source")
	case (f.counterHighest > 0 || f.counterStep > 0) && !slices.Contains(f.aggregates, "increase") && !slices.Contains(f.aggregates, "rate"):
		return errors.New("--counter-highest and --counter-step: need --aggregate increase or rate")
	case len(f.aggregates) == 0 && (f.every != "" || f.calendar != "") && !f.interpolated && !f.timeInState:
		return fmt.Errorf("--every %s: of what? add --interpolated, or --aggregate, such as --aggregate minimum,maximum,time_weighted_average", f.every)
	case len(f.aggregates) == 0 && f.useUncertain && !f.atTimes() && !f.charted() && !f.timeInState:
		return errors.New("--use-uncertain: needs --aggregate, --time-in-state, --at, --interpolated or --pixels")
	case len(f.aggregates) == 0 && (f.fill != "none" || f.fillLimit > 0 || f.while != "" && !f.timeInState):
		return errFillOfWhat
	case f.calendar != "" && f.every == "":
		return errors.New("--calendar: needs --every, such as --every shift")
	case len(f.aggregates) > 0 && (f.charted() || f.latest || f.modified || f.asOf != "" || f.seq || f.source || f.limit > 0):
		return errors.New("--aggregate: goes with none of --plot, --pixels, --latest, --modified, --as-of, --limit, --with-seq and --with-source")
	}
	return nil
}

// buckets is how --every divides the range: a duration in steps from --start on, anything else by a calendar in the zone of --tz, or by
// that of --calendar.
type buckets struct {
	step                  int64
	every, zone, calendar string
}

func (f *queryFlags) buckets() (b buckets, err error) {
	if f.every == "" {
		return b, nil // all of the range
	}
	if step, err := time.ParseDuration(f.every); err == nil && f.calendar == "" {
		if step <= 0 {
			return b, fmt.Errorf("--every %s: must be positive", f.every)
		}
		return buckets{step: step.Nanoseconds()}, nil
	}
	b = buckets{every: f.every, zone: f.zone}
	if f.calendar == "" {
		return b, nil
	}
	if b.calendar, err = calendarOf(f.calendar); err != nil {
		return b, fmt.Errorf("--calendar: %w", err)
	}
	b.zone = ""
	return b, nil
}

// processed reports whether some of the aggregates are answered in long rows only.
func (f *queryFlags) processed() bool {
	return slices.ContainsFunc(f.aggregates, func(name string) bool { _, err := query.ParseAggregate(name); return err != nil })
}

func (f *queryFlags) askAggregates(ctx context.Context, c *client, r *varvev1.ReadRangeRequest) (answer.Stream, error) {
	b, err := f.buckets()
	if err != nil {
		return nil, usageError(err)
	}
	if f.timeInState {
		return c.query.ReadTimeInState(ctx, &varvev1.ReadTimeInStateRequest{
			Tags: r.Tags, Expressions: r.Expressions, StartNs: r.GetStartNs(), EndNs: r.GetEndNs(), StepNs: b.step, Every: b.every, Zone: b.zone, Calendar: b.calendar,
			Consistency: r.Consistency, UseUncertain: f.useUncertain, While: f.while,
		})
	}
	if f.processed() {
		bad := !f.useUncertain
		return c.query.ReadProcessed(ctx, &varvev1.ReadProcessedRequest{
			Tags: r.Tags, Expressions: r.Expressions, StartNs: r.GetStartNs(), EndNs: r.GetEndNs(), StepNs: b.step, Every: b.every, Zone: b.zone, Calendar: b.calendar,
			Aggregates: f.aggregates, Consistency: r.Consistency, Stepped: f.override,
			TreatUncertainAsBad: &bad, PercentDataGood: &f.percentGood, PercentDataBad: &f.percentBad,
			UseSlopedExtrapolation: f.sloped, TimeResolutionNs: f.resolution.Nanoseconds(), CounterHighest: f.counterHighest, CounterStep: f.counterStep, Fill: f.fill, FillLimit: f.fillLimit, While: f.while, Unit: r.Unit,
		})
	}
	return c.query.ReadAggregates(ctx, &varvev1.ReadAggregatesRequest{
		Tags: r.Tags, Expressions: r.Expressions, StartNs: r.GetStartNs(), EndNs: r.GetEndNs(), StepNs: b.step, Every: b.every, Zone: b.zone, Calendar: b.calendar,
		Aggregates: f.aggregates, Consistency: r.Consistency, UseUncertain: f.useUncertain, Fill: f.fill, FillLimit: f.fillLimit, While: f.while, Unit: r.Unit,
	})
}
