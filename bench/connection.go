package main

import (
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/varvedb/varve/bench/wire"
)

// dial prepares a connection for our own messages.
func dial(server string) (*grpc.ClientConn, error) {
	return dialWith(server, grpc.ForceCodecV2(wire.Codec{}))
}

// dialPlain prepares a connection for messages that bring their codec.
func dialPlain(server string) (*grpc.ClientConn, error) { return dialWith(server) }

// dialWith makes a connection for large messages at full rate.
func dialWith(server string, calls ...grpc.CallOption) (*grpc.ClientConn, error) {
	conn, err := grpc.NewClient(server, dialOptions(calls...)...)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", server, err)
	}
	return conn, nil
}

// dialOptions are for large messages at full rate: fixed windows, because those the transport estimates grow only with the
// round trips it sees, and no copies kept for retries.
func dialOptions(calls ...grpc.CallOption) []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(append(calls, grpc.MaxCallRecvMsgSize(64<<20))...),
		grpc.WithInitialWindowSize(8 << 20),
		grpc.WithInitialConnWindowSize(16 << 20),
		grpc.WithReadBufferSize(256 << 10),
		grpc.WithWriteBufferSize(256 << 10),
		grpc.WithDisableRetry(),
	}
}
