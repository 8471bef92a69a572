package server

import (
	"context"

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
