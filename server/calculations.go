package server

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/query"
	"github.com/varvedb/varve/storage/catalog"
)

// PutCalculation checks the expression against the tags there are and the versions it follows, and stores its text without the white space
// around it.
func (s *catalogService) PutCalculation(ctx context.Context, r *varvev1.PutCalculationRequest) (*varvev1.Calculation, error) {
	x := model.Calculation{Name: r.Name, From: r.FromNs, Expression: strings.TrimSpace(r.Expression)}
	if err := query.CheckCalculation(s.db.Catalog(), following(s.db.Catalog().CalculationInForce(r.Name), x, time.Now().UnixNano())); err != nil {
		return nil, fmt.Errorf("calculation %.80q: %w", r.Name, err)
	}
	result, err := s.change(ctx, catalog.Change{PutCalculation: &catalog.PutCalculation{Calculation: x}})
	if err != nil {
		return nil, err
	}
	return calculationToWire(result.Calculation), nil
}

// following is what is in force once x is stored.
func following(versions []*model.Calculation, x model.Calculation, now int64) []*model.Calculation {
	switch {
	case len(versions) == 0:
		x.From = model.MinTime
	case x.From == 0:
		x.From = now
	}
	x.From = max(x.From, model.MinTime)
	for len(versions) > 0 && versions[len(versions)-1].From >= x.From {
		versions = versions[:len(versions)-1]
	}
	return append(versions, &x)
}

func (s *catalogService) GetCalculation(_ context.Context, r *varvev1.GetCalculationRequest) (*varvev1.Calculation, error) {
	x, ok := s.db.Catalog().Calculation(r.Name, r.Version)
	if !ok {
		return nil, fmt.Errorf("calculation %.80q version %d: %w", r.Name, r.Version, errNotFound)
	}
	return calculationToWire(x), nil
}

func (s *catalogService) ListCalculations(_ context.Context, r *varvev1.ListCalculationsRequest) (*varvev1.ListCalculationsResponse, error) {
	out := &varvev1.ListCalculationsResponse{}
	size := 0
	for _, x := range s.db.Catalog().Calculations() {
		if x.Name <= r.PageToken {
			continue
		}
		if size >= pageBytes {
			out.NextPageToken = out.Calculations[len(out.Calculations)-1].Name
			break
		}
		out.Calculations = append(out.Calculations, calculationToWire(x))
		size += 48 + len(x.Name) + len(x.Expression)
	}
	return out, nil
}

func calculationToWire(x *model.Calculation) *varvev1.Calculation {
	return &varvev1.Calculation{Name: x.Name, Version: x.Version, FromNs: x.From, StoredNs: x.Stored, Expression: x.Expression}
}
