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

// flightService answers range questions over Arrow Flight. A ticket, or the command of a descriptor, is the bytes of a
// ReadRangeRequest. It grants nothing: whoever shows one is authorized as if asking anew.
type flightService struct {
	flight.UnimplementedFlightServiceServer
	*Server
}

func (s *flightService) DoGet(t *flight.Ticket, stream flight.FlightService_DoGetServer) error {
	req, err := parseTicket(t.GetTicket())
	if err != nil {
		return err
	}
	return s.readRange(stream.Context(), "flight", req, &flightSender{stream: stream, buffers: &s.buffers})
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
	req, err := parseTicket(d.GetCmd())
	if err != nil {
		return nil, err
	}
	schema, err := s.engine.RangeSchema(req)
	if err != nil {
		return nil, err
	}
	return schemaBytes(schema)
}

func parseTicket(ticket []byte) (query.RangeRequest, error) {
	var r varvev1.ReadRangeRequest
	if err := checkCounts(ticket, &r); err != nil {
		return query.RangeRequest{}, err
	}
	if err := proto.Unmarshal(ticket, &r); err != nil {
		return query.RangeRequest{}, fmt.Errorf("ticket of %d bytes is no ReadRangeRequest: %w", len(ticket), query.ErrBadRequest)
	}
	return rangeRequest(&r)
}

// schemaBytes is a schema as Flight carries it: an IPC stream without record batches.
func schemaBytes(schema *arrow.Schema) ([]byte, error) {
	var b bytes.Buffer
	if err := ipc.NewWriter(&b, ipc.WithSchema(schema)).Close(); err != nil {
		return nil, fmt.Errorf("encode schema: %w", err)
	}
	return b.Bytes(), nil
}
