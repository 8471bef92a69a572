package server

import (
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// Between the words of package model and those of the wire.

func tagToWire(t *model.Tag) *varvev1.Tag {
	out := &varvev1.Tag{
		Id: uint32(t.ID), Uuid: t.UUID.String(), Name: t.Name, Description: t.Description,
		SpanLow: t.SpanLow, SpanHigh: t.SpanHigh, Exception: filterToWire(t.Exception), Compression: filterToWire(t.Compression),
		Retention: t.Retention, Attributes: t.Attributes, CreatedNs: t.Created,
		Settings: make([]*varvev1.Settings, len(t.Settings)), Aliases: make([]*varvev1.Alias, len(t.Aliases)),
	}
	for i := range t.Settings {
		out.Settings[i] = settingsToWire(&t.Settings[i])
	}
	for i, a := range t.Aliases {
		out.Aliases[i] = &varvev1.Alias{Name: a.Name, FromNs: a.From, ToNs: a.To}
	}
	return out
}

func settingsToWire(s *model.Settings) *varvev1.Settings {
	return &varvev1.Settings{
		FromNs: s.From, Type: varvev1.Type(s.Type), Stepped: s.Stepped, Unit: s.Unit, MaxGapNs: int64(s.MaxGap), StateSet: s.StateSet,
	}
}

func filterToWire(f model.Filter) *varvev1.Filter {
	if f == (model.Filter{}) {
		return nil
	}
	return &varvev1.Filter{Deviation: f.Deviation, MinTimeNs: int64(f.MinTime), MaxTimeNs: int64(f.MaxTime)}
}

// tagFromWire is a tag as somebody wants it made: what the server sets is left out.
func tagFromWire(t *varvev1.Tag) (model.Tag, error) {
	out := model.Tag{
		Name: t.GetName(), Description: t.GetDescription(), SpanLow: t.GetSpanLow(), SpanHigh: t.GetSpanHigh(),
		Exception: filterFromWire(t.GetException()), Compression: filterFromWire(t.GetCompression()),
		Retention: t.GetRetention(), Attributes: t.GetAttributes(),
	}
	if t.GetUuid() != "" {
		u, err := parseUUID(t.GetUuid())
		if err != nil {
			return out, err
		}
		out.UUID = u
	}
	for i, s := range t.GetSettings() {
		settings := settingsFromWire(s)
		if i == 0 {
			settings.From = model.MinTime // the first settings hold from the beginning of time
		}
		out.Settings = append(out.Settings, settings)
	}
	return out, nil
}

func settingsFromWire(s *varvev1.Settings) model.Settings {
	typ := typeOf(s.GetType())
	return model.Settings{
		From: s.GetFromNs(), Type: typ, Stepped: s.GetStepped() || typ.AlwaysStepped(), Unit: s.GetUnit(),
		MaxGap: time.Duration(s.GetMaxGapNs()), StateSet: s.GetStateSet(),
	}
}

func filterFromWire(f *varvev1.Filter) model.Filter {
	return model.Filter{Deviation: f.GetDeviation(), MinTime: time.Duration(f.GetMinTimeNs()), MaxTime: time.Duration(f.GetMaxTimeNs())}
}

func parseUUID(text string) (model.UUID, error) {
	u, err := uuid.Parse(text)
	if err != nil {
		return model.UUID{}, fmt.Errorf("UUID %.80q: %w: %w", text, err, errBadField)
	}
	return model.UUID(u), nil
}

func stateSetToWire(s *model.StateSet) *varvev1.StateSet {
	out := &varvev1.StateSet{Name: s.Name, Version: s.Version, FromNs: s.From, States: make([]*varvev1.DigitalState, len(s.States))}
	for i, d := range s.States {
		out.States[i] = &varvev1.DigitalState{Code: d.Code, Text: d.Text}
	}
	return out
}

func stateSetFromWire(s *varvev1.StateSet) model.StateSet {
	out := model.StateSet{Name: s.GetName(), From: s.GetFromNs(), States: make([]model.DigitalState, len(s.GetStates()))}
	for i, d := range s.GetStates() {
		out.States[i] = model.DigitalState{Code: d.GetCode(), Text: d.GetText()}
	}
	return out
}
