package server

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
)

// errStalled ends an answer whose client does not read.
var errStalled = errors.New("the client stopped reading")

// answers is the methods that stream an answer. One holds memory for queries and a view of the store for as long as it
// is sent, so that a few clients that stop reading without leaving would refuse all others.
var answers = map[string]bool{
	"/varve.v1.QueryService/ReadRange":           true,
	"/varve.v1.QueryService/ReadModified":        true,
	"/varve.v1.QueryService/ReadAggregates":      true,
	"/varve.v1.QueryService/ReadProcessed":       true,
	"/varve.v1.QueryService/ReadAtTimes":         true,
	"/varve.v1.QueryService/ReadWide":            true,
	"/varve.v1.QueryService/ReadTimeInState":     true,
	"/varve.v1.QueryService/ReadCompleteness":    true,
	"/varve.v1.QueryService/Tune":                true,
	"/varve.v1.QueryService/ReadForecast":        true,
	"/varve.v1.QueryService/CompareForecast":     true,
	"/varve.v1.QueryService/ReadPlot":            true,
	"/varve.v1.QueryService/Latest":              true,
	"/varve.v1.QueryService/HashDay":             true,
	"/varve.v1.SqlService/Query":                 true,
	"/varve.v1.SubscriptionService/Subscribe":    true,
	"/arrow.flight.protocol.FlightService/DoGet": true,
}

// streamStall ends an answer of which a message waits longer than StallTimeout for the client to read.
func (s *Server) streamStall(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	if !answers[info.FullMethod] {
		return handler(srv, stream)
	}
	watched := &watchedStream{ServerStream: stream, server: s}
	if err := handler(srv, watched); watched.stalled == nil {
		return err
	}
	return watched.stalled
}

// watchedStream is a stream whose messages are given up when they wait too long.
type watchedStream struct {
	grpc.ServerStream
	server  *Server
	begun   bool  // a message was sent
	stalled error // why there is no more
}

// SendMsg sends the first message itself: the transport takes one without waiting, and most answers have no more. A later one may
// wait for the client, and is let go by nothing else than the end of the call, so that another goroutine waits for it.
func (s *watchedStream) SendMsg(m any) error {
	if !s.begun {
		s.begun = true
		return s.ServerStream.SendMsg(m)
	}
	if s.stalled != nil {
		return s.stalled
	}
	done := make(chan error, 1)
	s.server.background.Add(1)
	go func() {
		defer s.server.background.Done()
		done <- s.server.guard("send", func() error { return s.ServerStream.SendMsg(m) })
	}()
	patience := s.server.options.StallTimeout
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		s.stalled = fmt.Errorf("nothing of the answer was taken for %s: %w", patience, errStalled)
		return s.stalled
	}
}
