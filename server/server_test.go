package server

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/storage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// running is a server on loopback over a store in memory.
type running struct {
	*Server
	addr string
	stop func() // drains; may be called more than once
	conn *grpc.ClientConn
}

func start(t testing.TB, o Options, dial ...grpc.DialOption) *running {
	t.Helper()
	return startOn(t, storage.Options{FS: vfs.NewMem(), MinFreeBytes: -1, BallastBytes: -1, SegmentBytes: 1 << 20, MemoryBytes: 64 << 20, GenerationBytes: 64 << 20}, o, dial...)
}

// startOn starts a server over a store of its own options.
func startOn(t testing.TB, store storage.Options, o Options, dial ...grpc.DialOption) *running {
	t.Helper()
	db, err := storage.Open("store", store)
	require.NoError(t, err)
	s, err := New(db, o)
	require.NoError(t, err)
	l, err := s.Listen("127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, l) }()
	var once sync.Once
	r := &running{Server: s, addr: l.Addr().String()}
	r.stop = func() {
		once.Do(func() {
			cancel()
			require.NoError(t, <-served)
			require.NoError(t, db.Close())
		})
	}
	if len(dial) == 0 {
		dial = []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
	}
	r.conn, err = grpc.NewClient(r.addr, dial...)
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = r.conn.Close()
		r.stop()
	})
	return r
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func requireCode(t *testing.T, want codes.Code, err error, text string) {
	t.Helper()
	require.Error(t, err)
	require.Equal(t, want, status.Code(err), err.Error())
	require.Contains(t, err.Error(), text)
}

func TestEveryMethodHasAScope(t *testing.T) {
	s := start(t, Options{})
	offered := map[string]bool{}
	for name, info := range s.grpc.GetServiceInfo() {
		for _, m := range info.Methods {
			offered["/"+name+"/"+m.Name] = true
		}
	}
	for method := range scopeOf {
		require.True(t, offered[method], "%s has a scope and is not offered", method)
	}
	// Flight's other methods are offered by its generated code and refused.
	for method := range offered {
		_, ok := scopeOf[method]
		require.True(t, ok || len(method) > 36 && method[:37] == "/arrow.flight.protocol.FlightService/", "%s has no scope", method)
	}
	err := s.conn.Invoke(testContext(t), "/arrow.flight.protocol.FlightService/ListFlights", &healthpb.HealthCheckRequest{}, &healthpb.HealthCheckResponse{})
	require.Error(t, err)
	requireCode(t, codes.Unimplemented, s.conn.Invoke(testContext(t), "/varve.v1.AdminService/Nothing", &healthpb.HealthCheckRequest{}, &healthpb.HealthCheckResponse{}), "not offered")
}

func TestHealthSaysWhetherTheServerServes(t *testing.T) {
	s := start(t, Options{})
	health := healthpb.NewHealthClient(s.conn)
	got, err := health.Check(testContext(t), &healthpb.HealthCheckRequest{})
	require.NoError(t, err)
	require.Equal(t, healthpb.HealthCheckResponse_SERVING, got.Status)
	watch, err := health.Watch(testContext(t), &healthpb.HealthCheckRequest{})
	require.NoError(t, err)
	_, err = watch.Recv()
	require.NoError(t, err)
	reflection, err := reflectionpb.NewServerReflectionClient(s.conn).ServerReflectionInfo(testContext(t))
	require.NoError(t, err)
	require.NoError(t, reflection.Send(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}}))
	_, err = reflection.Recv()
	require.NoError(t, err)
	begun := time.Now()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		s.stop()
	}()
	got, err = watch.Recv()
	require.NoError(t, err)
	require.Equal(t, healthpb.HealthCheckResponse_NOT_SERVING, got.Status)
	_, err = watch.Recv()
	requireCode(t, codes.Unavailable, err, "shutting down")
	_, err = reflection.Recv()
	requireCode(t, codes.Unavailable, err, "shutting down")
	<-stopped
	require.Less(t, time.Since(begun), s.options.DrainTimeout, "streams that only wait hold up no drain")
}

func TestPanicsEndTheCallAlone(t *testing.T) {
	s := start(t, Options{})
	err := s.guard("test", func() error { panic("secret detail") })
	requireCode(t, codes.Internal, toStatus(err), "internal error")
	require.NotContains(t, err.Error(), "secret")

	broken := &Server{options: s.options, log: s.log, metrics: s.metrics}
	_, err = broken.unaryRecover(testContext(t), nil, &grpc.UnaryServerInfo{}, func(context.Context, any) (any, error) {
		var db *storage.DB
		return db.Catalog(), nil
	})
	require.ErrorIs(t, err, errPanic)
	_, err = varvev1.NewAdminServiceClient(s.conn).Status(testContext(t), &varvev1.StatusRequest{})
	require.NoError(t, err)
}

func TestConnectionsAreLimited(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	limited := limitListener(l, 1)
	defer limited.Close()
	dial := func() net.Conn {
		c, err := net.Dial("tcp", l.Addr().String())
		require.NoError(t, err)
		return c
	}
	a, b := dial(), dial()
	defer a.Close()
	defer b.Close()
	first, err := limited.Accept()
	require.NoError(t, err)
	second := make(chan net.Conn, 1)
	go func() {
		c, _ := limited.Accept()
		second <- c
	}()
	select {
	case <-second:
		t.Fatal("a second connection was accepted beside the first")
	case <-time.After(50 * time.Millisecond):
	}
	require.NoError(t, first.Close())
	require.NoError(t, (<-second).Close())
}
