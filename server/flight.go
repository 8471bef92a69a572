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
// bytes of a FlightQuestion or of a ReadRangeRequest. It grants nothing: whoever shows one is authorized as if asking anew. Commands
// and tickets of Flight SQL are known by their type and answered by flightSQL.
type flightService struct {
	flight.UnimplementedFlightServiceServer
	*Server
}

func (s *flightService) DoGet(t *flight.Ticket, stream flight.FlightService_DoGetServer) error {
	if isSQL(t.GetTicket()) {
		return s.flightSQL.get(t, stream)
	}
	q, err := parseTicket(t.GetTicket())
	if err != nil {
		return err
	}
	return s.answer(stream.Context(), "flight", q, newFlightSender(stream, &s.buffers))
}

// GetFlightInfo says what DoGet will answer. It names no location, which means this server.
func (s *flightService) GetFlightInfo(ctx context.Context, d *flight.FlightDescriptor) (*flight.FlightInfo, error) {
	if isSQL(d.GetCmd()) && d.GetType() == flight.FlightDescriptor_CMD {
		return s.flightSQL.info(ctx, d)
	}
	schema, err := s.describe(d)
	if err != nil {
		return nil, err
	}
	return &flight.FlightInfo{
		Schema: schema, FlightDescriptor: d, TotalRecords: -1, TotalBytes: -1, Ordered: true,
		Endpoint: []*flight.FlightEndpoint{{Ticket: &flight.Ticket{Ticket: d.GetCmd()}}},
	}, nil
}

func (s *flightService) GetSchema(ctx context.Context, d *flight.FlightDescriptor) (*flight.SchemaResult, error) {
	if isSQL(d.GetCmd()) && d.GetType() == flight.FlightDescriptor_CMD {
		return s.flightSQL.schema(ctx, d)
	}
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

// parseTicket is what a ticket asks.
func parseTicket(ticket []byte) (question, error) {
	var q varvev1.FlightQuestion
	var r varvev1.ReadRangeRequest
	for _, m := range []proto.Message{&r, &q} {
		if err := checkCounts(ticket, m); err != nil {
			return question{}, err
		}
	}
	if err := proto.Unmarshal(ticket, &q); err != nil {
		return question{}, fmt.Errorf("ticket of %d bytes is no FlightQuestion: %w", len(ticket), query.ErrBadRequest)
	}
	switch q := q.Question.(type) {
	case *varvev1.FlightQuestion_Range:
		return askRange(q.Range)
	case *varvev1.FlightQuestion_Aggregates:
		return askAggregates(q.Aggregates)
	case *varvev1.FlightQuestion_Processed:
		return askProcessed(q.Processed)
	case *varvev1.FlightQuestion_AtTimes:
		return askAtTimes(q.AtTimes)
	case *varvev1.FlightQuestion_TimeInState:
		return askStates(q.TimeInState)
	case *varvev1.FlightQuestion_Completeness:
		return askCompleteness(q.Completeness)
	case *varvev1.FlightQuestion_Wide:
		return askWide(q.Wide)
	case *varvev1.FlightQuestion_Plot:
		return askPlot(q.Plot)
	case *varvev1.FlightQuestion_Tune:
		return askTune(q.Tune)
	case *varvev1.FlightQuestion_Modified:
		return askModified(q.Modified)
	case *varvev1.FlightQuestion_Latest:
		return askLatest(q.Latest)
	case *varvev1.FlightQuestion_Forecast:
		return askForecast(q.Forecast)
	case *varvev1.FlightQuestion_Comparison:
		return askComparison(q.Comparison)
	}
	// A ReadRangeRequest by itself, whose numbers a FlightQuestion does not have.
	if err := proto.Unmarshal(ticket, &r); err != nil {
		return question{}, fmt.Errorf("ticket of %d bytes is no ReadRangeRequest: %w", len(ticket), query.ErrBadRequest)
	}
	return askRange(&r)
}

// schemaBytes is a schema as Flight carries it: an IPC stream without record batches.
func schemaBytes(schema *arrow.Schema) ([]byte, error) {
	var b bytes.Buffer
	if err := ipc.NewWriter(&b, ipc.WithSchema(schema)).Close(); err != nil {
		return nil, fmt.Errorf("encode schema: %w", err)
	}
	return b.Bytes(), nil
}
