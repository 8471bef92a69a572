package server

import (
	"bytes"
	"context"
	"fmt"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/flight/gen/flight"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"google.golang.org/protobuf/proto"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/query"
)

// flightService answers the questions of package query over Arrow Flight. A ticket, or the command of a descriptor, is the
// bytes of a FlightQuestion or of a ReadRangeRequest. It grants nothing: whoever shows one is authorized as if asking anew.
type flightService struct {
	flight.UnimplementedFlightServiceServer
	*Server
}

func (s *flightService) DoGet(t *flight.Ticket, stream flight.FlightService_DoGetServer) error {
	q, err := parseTicket(t.GetTicket())
	if err != nil {
		return err
	}
	return q.read(stream.Context(), s.Server, "flight", newFlightSender(stream, &s.buffers))
}

// GetFlightInfo says what DoGet will answer. It names no location, which means this server.
func (s *flightService) GetFlightInfo(_ context.Context, d *flight.FlightDescriptor) (*flight.FlightInfo, error) {
	schema, err := s.describe(d)
	if err != nil {
		return nil, err
	}
	return &flight.FlightInfo{
		Schema: schema, FlightDescriptor: d, TotalRecords: -1, TotalBytes: -1, Ordered: true,
		Endpoint: []*flight.FlightEndpoint{{Ticket: &flight.Ticket{Ticket: d.GetCmd()}}},
	}, nil
}

func (s *flightService) GetSchema(_ context.Context, d *flight.FlightDescriptor) (*flight.SchemaResult, error) {
	schema, err := s.describe(d)
	if err != nil {
		return nil, err
	}
	return &flight.SchemaResult{Schema: schema}, nil
}

func (s *flightService) describe(d *flight.FlightDescriptor) ([]byte, error) {
	if d.GetType() != flight.FlightDescriptor_CMD {
		return nil, fmt.Errorf("flight descriptor is %s, must be a command: %w", d.GetType(), query.ErrBadRequest)
	}
	q, err := parseTicket(d.GetCmd())
	if err != nil {
		return nil, err
	}
	schema, err := q.schema(s.engine)
	if err != nil {
		return nil, err
	}
	return schemaBytes(schema)
}

// flightQuestion is what a ticket asks.
type flightQuestion interface {
	schema(*query.Engine) (*arrow.Schema, error)
	read(ctx context.Context, s *Server, door string, sink query.Sink) error
}

type (
	askRange      struct{ query.RangeRequest }
	askAggregates struct{ query.AggregatesRequest }
	askProcessed  struct{ query.ProcessedRequest }
	askAtTimes    struct{ query.AtTimesRequest }
	askPlot       struct{ query.PlotRequest }
)

func (q askRange) schema(e *query.Engine) (*arrow.Schema, error) {
	return e.RangeSchema(q.RangeRequest)
}
func (q askRange) read(ctx context.Context, s *Server, door string, sink query.Sink) error {
	return s.readRange(ctx, door, q.RangeRequest, sink)
}

func (q askAggregates) schema(e *query.Engine) (*arrow.Schema, error) {
	return e.AggregatesSchema(q.AggregatesRequest)
}

func (q askAggregates) read(ctx context.Context, s *Server, door string, sink query.Sink) error {
	return s.readAggregates(ctx, door, q.AggregatesRequest, sink)
}

func (q askProcessed) schema(e *query.Engine) (*arrow.Schema, error) {
	return e.ProcessedSchema(q.ProcessedRequest)
}

func (q askProcessed) read(ctx context.Context, s *Server, door string, sink query.Sink) error {
	return s.readProcessed(ctx, door, q.ProcessedRequest, sink)
}

func (q askAtTimes) schema(e *query.Engine) (*arrow.Schema, error) {
	return e.AtTimesSchema(q.AtTimesRequest)
}

func (q askAtTimes) read(ctx context.Context, s *Server, door string, sink query.Sink) error {
	return s.readAtTimes(ctx, door, q.AtTimesRequest, sink)
}

func (q askPlot) schema(e *query.Engine) (*arrow.Schema, error) {
	return e.PlotSchema(q.PlotRequest)
}

func (q askPlot) read(ctx context.Context, s *Server, door string, sink query.Sink) error {
	return s.readPlot(ctx, door, q.PlotRequest, sink)
}

func parseTicket(ticket []byte) (flightQuestion, error) {
	var q varvev1.FlightQuestion
	var r varvev1.ReadRangeRequest
	for _, m := range []proto.Message{&r, &q} {
		if err := checkCounts(ticket, m); err != nil {
			return nil, err
		}
	}
	if err := proto.Unmarshal(ticket, &q); err != nil {
		return nil, fmt.Errorf("ticket of %d bytes is no FlightQuestion: %w", len(ticket), query.ErrBadRequest)
	}
	switch ask := q.Question.(type) {
	case *varvev1.FlightQuestion_Aggregates:
		req, err := aggregatesRequest(ask.Aggregates)
		return askAggregates{req}, err
	case *varvev1.FlightQuestion_Processed:
		req, err := processedRequest(ask.Processed)
		return askProcessed{req}, err
	case *varvev1.FlightQuestion_AtTimes:
		req, err := atTimesRequest(ask.AtTimes)
		return askAtTimes{req}, err
	case *varvev1.FlightQuestion_Wide:
		req, err := wideRequest(ask.Wide)
		return askWide{req}, err
	case *varvev1.FlightQuestion_Tune:
		req, err := tuneRequest(ask.Tune)
		return askTune{req}, err
	case *varvev1.FlightQuestion_Plot:
		req, err := plotRequest(ask.Plot)
		return askPlot{req}, err
	case *varvev1.FlightQuestion_TimeInState:
		req, err := statesRequest(ask.TimeInState)
		return askStates{req}, err
	case *varvev1.FlightQuestion_Range:
		req, err := rangeRequest(ask.Range)
		return askRange{req}, err
	}
	// A ReadRangeRequest by itself, whose numbers a FlightQuestion does not have.
	if err := proto.Unmarshal(ticket, &r); err != nil {
		return nil, fmt.Errorf("ticket of %d bytes is no ReadRangeRequest: %w", len(ticket), query.ErrBadRequest)
	}
	req, err := rangeRequest(&r)
	return askRange{req}, err
}

// schemaBytes is a schema as Flight carries it: an IPC stream without record batches.
func schemaBytes(schema *arrow.Schema) ([]byte, error) {
	var b bytes.Buffer
	if err := ipc.NewWriter(&b, ipc.WithSchema(schema)).Close(); err != nil {
		return nil, fmt.Errorf("encode schema: %w", err)
	}
	return b.Bytes(), nil
}
