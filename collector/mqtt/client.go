package mqtt

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/varvedb/varve/collector/mqtt/packet"
)

const (
	// patience is how long the broker may take to answer, and a packet to be written.
	patience = 10 * time.Second
	// aheadBytes bounds the messages that were read and not yet looked at.
	aheadBytes = 64 << 20
)

// client is one connection. Packets arrive on in, which is closed when the connection is over; err says why then.
type client struct {
	v         packet.Version
	connack   packet.Connack
	conn      net.Conn
	r         *bufio.Reader
	limit     int
	keepAlive time.Duration
	in        chan packet.Packet
	now       func() time.Time
	heard     atomic.Int64 // when the last packet came, ns UTC
	err       error
	ahead     *semaphore.Weighted
	stop      context.CancelFunc
	work      sync.WaitGroup

	mu sync.Mutex // one packet is written at a time
}

// dial connects and introduces itself. The caller has to close the client.
func dial(ctx context.Context, s *Settings, now func() time.Time, hello packet.Connect) (*client, error) {
	address, _, err := s.address()
	if err != nil {
		return nil, err
	}
	within, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var conn net.Conn
	if s.secure() {
		config, err := s.tlsConfig()
		if err != nil {
			return nil, err
		}
		conn, err = (&tls.Dialer{Config: config}).DialContext(within, "tcp", address)
		if err != nil {
			return nil, fmt.Errorf("connect to %s: %w", s.Broker, err)
		}
	} else if conn, err = (&net.Dialer{}).DialContext(within, "tcp", address); err != nil {
		return nil, fmt.Errorf("connect to %s: %w", s.Broker, err)
	}
	c := &client{v: s.version(), conn: conn, r: bufio.NewReaderSize(conn, 64<<10), limit: int(s.MaxPacket), keepAlive: s.KeepAlive,
		now: now, in: make(chan packet.Packet, 1024), ahead: semaphore.NewWeighted(aheadBytes)}
	// Closing the connection is what ends a read or a write that is under way.
	unwatch := context.AfterFunc(within, func() { conn.Close() })
	err = c.hello(hello)
	if !unwatch() && err == nil {
		err = within.Err()
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("connect to %s: %w", s.Broker, err)
	}
	running, stop := context.WithCancel(context.Background())
	c.stop = stop
	c.work.Add(2)
	go c.read(running)
	go c.ping(running)
	return c, nil
}

func (c *client) hello(hello packet.Connect) error {
	b, err := hello.Encode(c.v)
	if err != nil {
		return err
	}
	if err := c.write(b); err != nil {
		return err
	}
	first, err := c.r.Peek(1)
	if err != nil {
		return fmt.Errorf("the broker does not answer CONNECT: %w", err)
	}
	if first[0] != byte(packet.TypeConnack)<<4 { // what another protocol says would be taken for a length, and waited for
		return fmt.Errorf("%w: the answer to CONNECT begins with %#x: that is no broker of MQTT", packet.ErrPacket, first[0])
	}
	p, err := packet.Read(c.r, c.limit)
	if err != nil {
		return fmt.Errorf("the broker's answer to CONNECT: %w", err)
	}
	if c.connack, err = p.Connack(c.v); err != nil {
		return err
	}
	if c.connack.Code != 0 {
		return refusal("the broker refuses", packet.Reason(c.v, c.connack.Code), c.connack.Reason)
	}
	c.heard.Store(c.now().UnixNano())
	if c.connack.HasKeepAlive && c.connack.KeepAlive > 0 {
		c.keepAlive = time.Duration(c.connack.KeepAlive) * time.Second
	}
	return nil
}

func refusal(what, code, reason string) error {
	if reason != "" {
		return fmt.Errorf("%s: %s (%.200q)", what, code, reason)
	}
	return fmt.Errorf("%s: %s", what, code)
}

// read takes packets off the connection. It waits while too much is ahead: the broker notices then, by TCP.
func (c *client) read(running context.Context) {
	defer c.work.Done()
	defer close(c.in)
	for {
		// The broker answers pings, which are sent twice in the time: silence is a connection that broke without a word.
		if err := c.conn.SetReadDeadline(time.Now().Add(c.keepAlive * 3 / 2)); err != nil {
			c.err = err
			return
		}
		p, err := packet.Read(c.r, c.limit)
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				err = fmt.Errorf("the broker is silent for %s", c.keepAlive*3/2)
			}
			c.err = err
			return
		}
		c.heard.Store(c.now().UnixNano())
		if p.Type == packet.TypePingresp {
			continue
		}
		if c.ahead.Acquire(running, weight(p)) != nil {
			c.err = net.ErrClosed
			return
		}
		select {
		case c.in <- p:
		case <-running.Done():
			c.err = net.ErrClosed
			return
		}
	}
}

func weight(p packet.Packet) int64 { return int64(min(len(p.Body), aheadBytes)) }

// done says that a packet of in has been dealt with.
func (c *client) done(p packet.Packet) { c.ahead.Release(weight(p)) }

func (c *client) ping(running context.Context) {
	defer c.work.Done()
	tick := time.NewTicker(c.keepAlive / 2)
	defer tick.Stop()
	for {
		select {
		case <-running.Done():
			return
		case <-tick.C:
			if c.write(packet.EncodePing()) != nil {
				c.conn.Close() // read says so
				return
			}
		}
	}
}

func (c *client) write(b []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.conn.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err := c.conn.Write(b)
	return err
}

// publish sends a message. The broker's answer to one of QoS 1 is not waited for.
func (c *client) publish(m packet.Publish) error {
	b, err := m.Encode(c.v)
	if err != nil {
		return err
	}
	if limit := c.connack.MaximumPacketSize; limit > 0 && uint64(len(b)) > uint64(limit) {
		return fmt.Errorf("publish %d bytes on %s: the broker takes at most %d", len(b), m.Topic, limit)
	}
	return c.write(b)
}

// close ends the connection and everything of it.
func (c *client) close() {
	c.stop()
	c.conn.Close()
	c.work.Wait()
}
