package server

import (
	"fmt"

	"github.com/apache/arrow/go/v15/arrow/flight/gen/flight"
	"google.golang.org/protobuf/proto"
)

// sqlActions is the actions that are offered, each with what it is for.
var sqlActions = []*flight.ActionType{
	{Type: "CreatePreparedStatement", Description: "prepare a statement: ActionCreatePreparedStatementRequest to ActionCreatePreparedStatementResult"},
	{Type: "ClosePreparedStatement", Description: "close a prepared statement: ActionClosePreparedStatementRequest"},
	{Type: "CancelFlightInfo", Description: "end a statement by its FlightInfo: CancelFlightInfoRequest to CancelFlightInfoResult"},
	{Type: "CancelQuery", Description: "the same for older clients: ActionCancelQueryRequest to ActionCancelQueryResult"},
}

// ListActions is part of flight.FlightServiceServer.
func (s *flightService) ListActions(_ *flight.Empty, stream flight.FlightService_ListActionsServer) error {
	for _, a := range sqlActions {
		if err := stream.Send(a); err != nil {
			return err
		}
	}
	return nil
}

// DoAction is part of flight.FlightServiceServer.
func (s *flightService) DoAction(a *flight.Action, stream flight.FlightService_DoActionServer) error {
	result, err := s.flightSQL.act(a, stream)
	if err != nil {
		return err
	}
	return stream.Send(result)
}

func (s *flightSQL) act(a *flight.Action, stream flight.FlightService_DoActionServer) (*flight.Result, error) {
	ctx := stream.Context()
	switch a.GetType() {
	case "CancelFlightInfo":
		var r flight.CancelFlightInfoRequest
		if err := proto.Unmarshal(a.GetBody(), &r); err != nil {
			return nil, fmt.Errorf("decode CancelFlightInfoRequest: %w: %w", err, errWire)
		}
		if err := s.cancel(callerOf(ctx).name, r.GetInfo()); err != nil {
			return nil, err
		}
		return resultOf(proto.Marshal(&flight.CancelFlightInfoResult{Status: flight.CancelStatus_CANCEL_STATUS_CANCELLED}))
	case "CreatePreparedStatement", "ClosePreparedStatement", "CancelQuery":
	default:
		return nil, fmt.Errorf("action %.80q: %w", a.GetType(), errNotOffered)
	}
	request, err := parseSQL(a.GetBody())
	if err != nil {
		return nil, err
	}
	switch r := request.(type) {
	case *flight.ActionCreatePreparedStatementRequest:
		made, err := s.create(ctx, r)
		if err != nil {
			return nil, err
		}
		return resultOf(packSQL(made))
	case *flight.ActionClosePreparedStatementRequest:
		return &flight.Result{}, s.prepared.close(callerOf(ctx).name, r.GetPreparedStatementHandle())
	//lint:ignore SA1019 older clients send it
	case *flight.ActionCancelQueryRequest:
		var info flight.FlightInfo
		if err := proto.Unmarshal(r.GetInfo(), &info); err != nil {
			return nil, fmt.Errorf("decode FlightInfo: %w: %w", err, errWire)
		}
		if err := s.cancel(callerOf(ctx).name, &info); err != nil {
			return nil, err
		}
		//lint:ignore SA1019 older clients take it
		return resultOf(packSQL(&flight.ActionCancelQueryResult{Result: flight.ActionCancelQueryResult_CANCEL_RESULT_CANCELLED}))
	}
	return nil, fmt.Errorf("action %s has a message of another one: %w", a.GetType(), errBadField)
}

func resultOf(body []byte, err error) (*flight.Result, error) { return &flight.Result{Body: body}, err }

// cancel ends what runs for the tickets of info.
func (s *flightSQL) cancel(caller string, info *flight.FlightInfo) error {
	if len(info.GetEndpoint()) == 0 {
		return fmt.Errorf("FlightInfo has no endpoint: %w", errBadField)
	}
	for _, e := range info.GetEndpoint() {
		command, err := parseSQL(e.GetTicket().GetTicket())
		if err != nil {
			return err
		}
		t, ok := command.(*flight.TicketStatementQuery)
		if !ok {
			return fmt.Errorf("only statements can be cancelled: %w", errBadField)
		}
		x, err := s.tickets.verify(caller, t.GetStatementHandle())
		if err != nil {
			return err
		}
		if err := s.running.cancel(x, s.options.Now()); err != nil {
			return err
		}
	}
	return nil
}
