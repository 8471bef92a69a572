package inherited

import (
	"context"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

func TestOneConnectionServesBothEnds(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ours, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	theirs, err := l.Accept()
	require.NoError(t, err)

	s := grpc.NewServer()
	healthpb.RegisterHealthServer(s, health.NewServer())
	one := Listen(theirs)
	served := make(chan error, 1)
	go func() { served <- s.Serve(one) }()
	client, err := Dial(ours)
	require.NoError(t, err)
	for range 3 {
		_, err = healthpb.NewHealthClient(client).Check(context.Background(), &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true))
		require.NoError(t, err)
	}
	// When it ends the server knows, and the client finds no other.
	require.NoError(t, ours.Close())
	<-one.Ended
	_, err = healthpb.NewHealthClient(client).Check(context.Background(), &healthpb.HealthCheckRequest{})
	require.Error(t, err)
	require.NoError(t, client.Close())
	s.Stop()
	require.NoError(t, <-served)
}
