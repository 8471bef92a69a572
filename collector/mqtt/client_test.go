package mqtt

import (
	"bytes"
	"math"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/collector/mqtt/packet"
)

// sink is a connection that takes everything.
type sink struct {
	net.Conn
	bytes.Buffer
}

func (s *sink) Write(b []byte) (int, error)        { return s.Buffer.Write(b) }
func (s *sink) Read(b []byte) (int, error)         { return s.Buffer.Read(b) }
func (s *sink) SetWriteDeadline(_ time.Time) error { return nil }

// A broker says what it takes in 32 bits, all of which an int may not have.
func TestBrokerThatTakesEverything(t *testing.T) {
	s := &sink{}
	c := &client{v: packet.V5, conn: s}
	c.connack.MaximumPacketSize = math.MaxUint32
	require.NoError(t, c.publish(packet.Publish{Topic: "a", Payload: []byte("b")}))
	require.NotZero(t, s.Len())
	c.connack.MaximumPacketSize = 4
	require.ErrorContains(t, c.publish(packet.Publish{Topic: "a", Payload: []byte("b")}), "at most 4")
}
