package server

import (
	"context"
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
	"/varve.v1.QueryService/Latest":              true,
	"/arrow.flight.protocol.FlightService/DoGet": true,
}

// streamStall ends an answer of which a message waits longer than StallTimeout for the client to read.
func (s *Server) streamStall(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	if !answers[info.FullMethod] {
		return handler(srv, stream)
	}
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	watched := &watchedStream{ServerStream: stream, ctx: ctx, patience: s.options.StallTimeout}
	watched.timer = time.AfterFunc(watched.patience, func() {
		cancel(fmt.Errorf("nothing of the answer was taken for %s: %w", watched.patience, errStalled))
	})
	watched.timer.Stop()
	defer watched.timer.Stop()
	err := s.runUntil(ctx, info.FullMethod, func() error { return handler(srv, watched) })
	if cause := context.Cause(ctx); errors.Is(cause, errStalled) {
		return cause
	}
	return err
}

// watchedStream is a stream whose timer runs while a message is sent.
type watchedStream struct {
	grpc.ServerStream
	ctx      context.Context
	timer    *time.Timer
	patience time.Duration
}

func (s *watchedStream) Context() context.Context { return s.ctx }

func (s *watchedStream) SendMsg(m any) error {
	s.timer.Reset(s.patience)
	defer s.timer.Stop()
	return s.ServerStream.SendMsg(m)
}
