package server

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// unaryStatus stands outermost: it turns whatever ends a call into a status and counts it.
func (s *Server) unaryStatus(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	end := s.metrics.call(info.FullMethod)
	resp, err := handler(ctx, req)
	err = toStatus(err)
	end(status.Code(err))
	s.logInternal(info.FullMethod, err)
	return resp, err
}

func (s *Server) streamStatus(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	end := s.metrics.call(info.FullMethod)
	err := toStatus(handler(srv, stream))
	end(status.Code(err))
	s.logInternal(info.FullMethod, err)
	return err
}

// logInternal logs what an operator should look at: faults of ours and of stored data.
func (s *Server) logInternal(method string, err error) {
	if c := status.Code(err); c == codes.Internal || c == codes.DataLoss || c == codes.Unknown {
		s.log.Error("call failed", "method", method, "error", err)
	}
}

func (s *Server) unaryRecover(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (resp any, err error) {
	err = s.guard(info.FullMethod, func() error {
		resp, err = handler(ctx, req)
		return err
	})
	return resp, err
}

func (s *Server) streamRecover(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	return s.guard(info.FullMethod, func() error { return handler(srv, stream) })
}

// waiting is the methods whose calls end only when their client wants it. A drain ends them.
var waiting = map[string]bool{
	"/grpc.health.v1.Health/Watch":            true,
	"/varve.v1.SubscriptionService/Subscribe": true,

	"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo":      true,
	"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": true,
}

func (s *Server) streamDrain(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	if !waiting[info.FullMethod] {
		return handler(srv, stream)
	}
	return s.runUntil(s.drain, info.FullMethod, func() error { return handler(srv, stream) })
}

// lastWord is how long a call that is over may still speak: a watcher hears that the server does not serve any more.
const lastWord = 500 * time.Millisecond

// runUntil is run, but for that the end of ctx is enough to end the call. A send to a client that does not read, and a
// receive from one that does not write, are let go by nothing else than that.
func (s *Server) runUntil(ctx context.Context, what string, run func() error) error {
	done := make(chan error, 1)
	s.background.Add(1)
	go func() {
		defer s.background.Done()
		done <- s.guard(what, run)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	last := time.NewTimer(lastWord)
	defer last.Stop()
	select {
	case err := <-done:
		return err
	case <-last.C:
		return context.Cause(ctx)
	}
}
