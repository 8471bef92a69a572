// Package inherited is gRPC over one socket that a process was given by its parent: no address, nothing to connect to.
package inherited

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// Conn is the connection that an open file is. The file is closed.
func Conn(f *os.File) (net.Conn, error) {
	defer func() { _ = f.Close() }() // the connection has one of its own
	c, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("use file %s as a connection: %w", f.Name(), err)
	}
	return c, nil
}

// Dial is a client over a connection, which it uses once: when that ends the client has no other.
func Dial(c net.Conn, options ...grpc.DialOption) (*grpc.ClientConn, error) {
	var once sync.Once
	dialer := func(context.Context, string) (net.Conn, error) {
		err := errors.New("the one connection there was has ended")
		once.Do(func() { err = nil })
		if err != nil {
			return nil, err
		}
		return c, nil
	}
	return grpc.NewClient("passthrough:///inherited", append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithContextDialer(dialer), grpc.WithIdleTimeout(0),
	}, options...)...)
}

// Listener accepts one connection and then none until it is closed. Ended is closed when the connection is.
type Listener struct {
	conn   net.Conn
	first  sync.Once
	close  sync.Once
	closed chan struct{}
	Ended  chan struct{}
}

// Listen is a listener whose one connection is c.
func Listen(c net.Conn) *Listener {
	return &Listener{conn: c, closed: make(chan struct{}), Ended: make(chan struct{})}
}

// Accept is part of net.Listener.
func (l *Listener) Accept() (c net.Conn, err error) {
	l.first.Do(func() { c = &watched{Conn: l.conn, ended: l.Ended} })
	if c != nil {
		return c, nil
	}
	<-l.closed
	return nil, net.ErrClosed
}

// Close is part of net.Listener.
func (l *Listener) Close() error {
	l.close.Do(func() { close(l.closed) })
	return nil
}

// Addr is part of net.Listener.
func (l *Listener) Addr() net.Addr { return l.conn.LocalAddr() }

// watched tells when a connection is closed.
type watched struct {
	net.Conn
	once  sync.Once
	ended chan struct{}
}

func (w *watched) Close() error {
	err := w.Conn.Close()
	w.once.Do(func() { close(w.ended) })
	return err
}
