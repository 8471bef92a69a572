package server

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/apache/arrow/go/v15/arrow/flight/gen/flight"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// putStream is a stream of DoPut whose first message was read.
type putStream struct {
	flight.FlightService_DoPutServer
	first *flight.FlightData // nil once it was handed on
}

// next is the header and the body of the next Arrow message, as arrowin takes them.
func (p *putStream) next() (header, body []byte, err error) {
	m := p.first
	if p.first = nil; m == nil {
		if m, err = p.Recv(); err != nil {
			return nil, nil, err
		}
	}
	return m.GetDataHeader(), m.GetDataBody(), nil
}

// Handshake is part of flight.FlightServiceServer. Whoever authenticated by name and token is told to show the token from now on.
func (s *flightService) Handshake(stream flight.FlightService_HandshakeServer) error {
	if _, token, ok := basicAuth(header(stream.Context(), "authorization")); ok {
		if err := stream.SendHeader(metadata.Pairs("authorization", "Bearer "+token)); err != nil {
			return err
		}
	}
	if _, err := stream.Recv(); err != nil && err != io.EOF {
		return err
	}
	return nil
}

// DoPut is part of flight.FlightServiceServer: parameters of prepared statements, which whoever reads may bind, and samples.
func (s *flightService) DoPut(stream flight.FlightService_DoPutServer) error {
	first, err := stream.Recv()
	if err == io.EOF {
		return fmt.Errorf("DoPut without a message: %w", errProtocol)
	}
	if err != nil {
		return err
	}
	d := first.GetFlightDescriptor()
	if d.GetType() != flight.FlightDescriptor_CMD || !isSQL(d.GetCmd()) {
		return fmt.Errorf("the first message of DoPut must have a descriptor with a command of Flight SQL: %w", errProtocol)
	}
	command, err := parseSQL(d.GetCmd())
	if err != nil {
		return err
	}
	in := &putStream{FlightService_DoPutServer: stream, first: first}
	switch c := command.(type) {
	case *flight.CommandPreparedStatementQuery:
		if err := needs(stream.Context(), Read, "to bind parameters"); err != nil {
			return err
		}
		err := s.flightSQL.bind(c, in)
		if err != nil {
			s.takeRest(in)
		}
		return err
	case *statementIngest:
		if err := needs(stream.Context(), Write, "to ingest"); err != nil {
			return err
		}
		rows, err := s.flightSQL.ingestRows(c, in)
		if err != nil {
			return err
		}
		done, err := proto.Marshal(&flight.DoPutUpdateResult{RecordCount: rows})
		if err != nil {
			return fmt.Errorf("encode the count of rows: %w", err)
		}
		return stream.Send(&flight.PutResult{AppMetadata: done})
	}
	_, err = metadataOf(command, s.options.Version)
	if err == nil {
		err = fmt.Errorf("%T is a question, ask it with GetFlightInfo: %w", command, errProtocol)
	}
	return err
}

// takeRest reads what is left of a short stream that is refused: clients that are still sending when it ends never learn why.
func (s *flightService) takeRest(in *putStream) {
	ctx, cancel := context.WithTimeout(in.Context(), time.Second)
	defer cancel()
	_ = s.runUntil(ctx, "rest of DoPut", func() error {
		for range 100 {
			if _, err := in.Recv(); err != nil {
				break
			}
		}
		return nil
	})
}

// needs refuses a caller without a scope, where the method alone does not say which is needed.
func needs(ctx context.Context, scope Scope, what string) error {
	if who := callerOf(ctx); who.scope&scope == 0 {
		return fmt.Errorf("%s has scope %s, %s needs %s: %w", who.name, who.scope, what, scope, errForbidden)
	}
	return nil
}

// header is a header that a client may send with a call, empty for none.
func header(ctx context.Context, name string) string {
	md, _ := metadata.FromIncomingContext(ctx)
	if v := md.Get(name); len(v) > 0 {
		return v[0]
	}
	return ""
}
