package server

import (
	"context"
	"math"
	"time"

	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/query"
	"github.com/varvedb/varve/query/part13"
)

func (s *queryService) Explain(ctx context.Context, r *varvev1.ExplainRequest) (*varvev1.Explanation, error) {
	req, err := explainRequest(r)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	x, err := s.engine.Explain(ctx, req)
	if err != nil {
		return nil, err
	}
	s.metrics.answered("explain", 1, time.Since(start))
	return explanation(x), nil
}

func explainRequest(r *varvev1.ExplainRequest) (query.ExplainRequest, error) {
	consistency, err := consistencyOf(r.Consistency)
	if err != nil {
		return query.ExplainRequest{}, err
	}
	req := query.ExplainRequest{
		Start: r.StartNs, End: r.EndNs, Aggregate: r.Aggregate, Stepped: r.Stepped, Resolution: r.TimeResolutionNs, Consistency: consistency, Unit: r.Unit,
		Configuration: configurationOf(r.TreatUncertainAsBad, r.PercentDataBad, r.PercentDataGood, r.UseSlopedExtrapolation),
	}
	if r.Tag != "" {
		req.Names = []string{r.Tag}
	}
	if r.TagId != 0 {
		req.IDs = []model.TagID{model.TagID(r.TagId)}
	}
	return req, nil
}

// configurationOf is an AggregateConfiguration of which absent fields have the values the standard gives them.
func configurationOf(uncertainAsBad *bool, percentBad, percentGood *uint32, sloped bool) part13.Configuration {
	c := part13.Defaults
	c.SlopedExtrapolation = sloped
	if uncertainAsBad != nil {
		c.TreatUncertainAsBad = *uncertainAsBad
	}
	if percentBad != nil {
		c.PercentDataBad = uint8(min(*percentBad, math.MaxUint8))
	}
	if percentGood != nil {
		c.PercentDataGood = uint8(min(*percentGood, math.MaxUint8))
	}
	return c
}

func explanation(x *query.Explanation) *varvev1.Explanation {
	out := &varvev1.Explanation{
		Tag: x.Tag.Name, TagId: uint32(x.Tag.Owner()), Aggregate: x.Aggregate, Unit: x.Unit, Formula: x.Formula, StartNs: x.Start, EndNs: x.End,
		TimeNs: x.Time, Value: explainedValue(x.Value), Quality: uint32(x.Quality), QualityText: x.Quality.Text(), Reasons: x.Reasons,
		Configuration: explainedConfiguration(x),
		Samples:       &varvev1.ExplainedSamples{Good: x.Samples.Good, Uncertain: x.Samples.Uncertain, Bad: x.Samples.Bad, WithoutValue: x.Samples.Null},
		Durations: &varvev1.ExplainedDurations{
			GoodNs: x.Durations.Good, UncertainNs: x.Durations.Uncertain, BadNs: x.Durations.Bad, UncoveredNs: x.Durations.NotCovered,
		},
		Reading: &varvev1.ExplainedReading{
			RollupDays: x.Reading.Days, RollupHours: x.Reading.Hours, RollupTenMinutes: x.Reading.TenMinutes, ChunkHeaders: x.Reading.Listed,
			Chunks: x.Reading.Chunks, ChunkSamples: x.Reading.Decoded, MemorySamples: x.Reading.InMemory, SamplesBesides: x.Reading.Besides,
		},
		Versions: &varvev1.ExplainedVersions{Replaced: x.Versions.Replaced, Removed: x.Versions.Removed, More: x.Versions.More},
	}
	if s := x.Share; s != nil {
		out.Share = &varvev1.ExplainedShare{Of: s.Of, Good: s.Good, Uncertain: s.Uncertain, Bad: s.Bad}
	}
	if e := x.Versions.Edit; e != nil {
		out.Versions.EditTimeNs, out.Versions.EditAuthor, out.Versions.EditReason = &e.Time, e.Author, e.Reason
	}
	for _, g := range x.Gaps {
		gap := &varvev1.ExplainedGap{Id: g.ID, Kind: g.Kind.String(), StartNs: g.From}
		if g.To != model.OpenGap {
			gap.EndNs = &g.To
		}
		out.Gaps = append(out.Gaps, gap)
	}
	for i := range x.Bounds {
		out.Bounds = append(out.Bounds, explainedBound(&x.Bounds[i]))
	}
	return out
}

func explainedConfiguration(x *query.Explanation) *varvev1.ExplainedConfiguration {
	c := &varvev1.ExplainedConfiguration{TreatUncertainAsBad: x.Configuration.TreatUncertainAsBad, Stepped: x.Stepped, SteppedBy: x.SteppedBy}
	if x.SettingsFrom != model.MinTime {
		c.SettingsFromNs = &x.SettingsFrom
	}
	if x.Part13 {
		bad, good := uint32(x.Configuration.PercentDataBad), uint32(x.Configuration.PercentDataGood)
		c.PercentDataBad, c.PercentDataGood, c.UseSlopedExtrapolation, c.TimeResolutionNs = &bad, &good, &x.Configuration.SlopedExtrapolation, &x.Resolution
	}
	return c
}

func explainedBound(b *query.ExplainedBound) *varvev1.ExplainedBound {
	out := &varvev1.ExplainedBound{
		EdgeNs: b.Edge, Rule: "simple", Value: explainedValue(b.Value), Quality: uint32(b.Quality), QualityText: b.Quality.Text(), Raw: b.Raw,
	}
	if b.Rule == part13.Interpolated {
		out.Rule = "interpolated"
	}
	for _, s := range b.From {
		out.From = append(out.From, &varvev1.ExplainedSample{
			TimeNs: s.Time, Seq: s.Seq, Value: explainedValue(s.Value), Quality: uint32(s.Quality), QualityText: s.Quality.Text(),
		})
	}
	return out
}

func explainedValue(v query.ExplainedValue) *varvev1.ExplainedValue {
	return &varvev1.ExplainedValue{Text: v.Text, Number: v.Number, Null: v.Null}
}
